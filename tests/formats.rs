//! Today's program opens files of earlier versions: runs resume to the recorded results, and sample.

use std::path::{Path, PathBuf};

use waxwork_core::npy;

use crate::util::{resume, waxwork};

/// The runs of `fixtures/0.1`, and the number of steps of each.
const RUNS: [(&str, u64); 4] = [("vae", 6), ("cvae", 4), ("gan", 4), ("cgan", 4)];

fn fixture(run: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/0.1").join(run)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Asserts that values agree, apart from rounding differences between processors over a few steps.
fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-4, "{what}: value {i} is {found}, not {expected}");
    }
}

#[test]
fn runs_of_version_0_1_resume_to_the_recorded_weights_and_sample_the_same_images() {
    let folder = tempfile::tempdir().unwrap();
    for (name, steps) in RUNS {
        let run = folder.path().join(name);
        copy(&fixture(name), &run);
        resume(&run).good();

        let load = |path: &Path| waxwork_core::store::load(path, &waxwork_core::Device::Cpu).unwrap();
        let expected = load(&run.join("expected/model.safetensors"));
        let found = load(&run.join("model.safetensors"));
        assert!(found.keys().eq(expected.keys()), "{name}: other tensors");
        for (tensor, expected) in &expected {
            let values = |t: &waxwork_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_near(&format!("{name}: {tensor}"), &values(&found[tensor]), &values(expected));
        }
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(lines(&run.join("metrics.jsonl")), lines(&run.join("expected/metrics.jsonl")), "{name}");

        let out = folder.path().join(format!("{name}.npy"));
        let mut arguments = vec!["sample", run.to_str().unwrap(), "-q", "-n", "2", "--seed", "5", "--out"];
        arguments.push(out.to_str().unwrap());
        if name.starts_with('c') {
            arguments.extend(["--labels", "3,7"]);
        }
        waxwork(&arguments).good();
        let read = |path: &Path| {
            let array = npy::load(path).unwrap();
            assert_eq!(array.dims(), [2, 1, 28, 28]);
            array.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_near(&format!("{name}: samples"), &read(&out), &read(&run.join("expected/samples.npy")));

        let listed = waxwork(&["runs", "list", folder.path().to_str().unwrap()]).good().stdout;
        assert!(listed.contains(name) && listed.contains(&steps.to_string()), "{listed}");
    }
}

#[test]
fn a_run_of_version_0_1_can_be_shown_forked_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (old, fork) = (folder.path().join("old"), folder.path().join("fork"));
    copy(&fixture("vae"), &old);
    resume(&old).good();
    let shown = waxwork(&["recipes", "show", old.to_str().unwrap()]).good().stdout;
    assert!(shown.contains("channels = [1, 1]"), "{shown}");
    let arguments = ["train", "--fork", old.to_str().unwrap(), "--steps", "2", "-q", "--out"];
    waxwork(&[&arguments[..], &[fork.to_str().unwrap()]].concat()).good();
    assert!(fork.join("model.safetensors").exists());
    let differences = waxwork(&["recipes", "diff", old.to_str().unwrap(), fork.to_str().unwrap()]).good();
    assert!(differences.stdout.contains("train.steps"), "{}", differences.stdout);
}
