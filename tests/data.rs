//! `waxwork data`, and errors about broken files.

use std::fs;

use crate::util::{command, finished, real_data, resume, run_json, small, text, unfinish, waxwork};

const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

#[test]
fn data_sets_are_listed_and_shown() {
    let list = waxwork(&["data", "list"]).good().stdout;
    for name in ["digits", "shapes", "mnist", "fashion-mnist", "cifar10"] {
        assert!(list.contains(name), "{list}");
    }
    let listed: serde_json::Value =
        serde_json::from_str(&waxwork(&["data", "list", "--json"]).good().stdout).unwrap();
    assert!(listed.as_array().unwrap().len() >= 5);
    assert!(waxwork(&["data", "info", "mnist"]).good().stdout.contains("train-images-idx3-ubyte"));
    waxwork(&["data", "info", "mnits"]).refused(&["mnits", "mnist"]);

    let folder = tempfile::tempdir().unwrap();
    for name in ["digits", "shapes"] {
        let out = folder.path().join(format!("{name}.png"));
        waxwork(&["data", "show", name, "-n", "20", "--out", text(&out)]).good();
        assert!(out.is_file());
        assert!(waxwork(&["data", "verify", name]).good().stdout.contains("embedded"));
    }
    let folders = waxwork(&["data", "verify", "sprites64"]).good().stdout;
    assert_eq!(folders, "the hashes of the files of `sprites64` are not known\n");
}

#[test]
fn broken_files_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let files = folder.path().join("mnist");
    let train =
        || waxwork(&["train", "vae-mlp-mnist", "--data-dir", text(folder.path()), "--out", text(&run), "-q"]);
    fs::create_dir(&files).unwrap();
    for name in FILES {
        fs::write(files.join(name), []).unwrap();
    }
    train().refused(&["train-images-idx3-ubyte"]);
    fs::write(files.join(FILES[0]), [0, 0, 8, 3, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 28, 0, 0, 0, 28]).unwrap();
    train().refused(&["train-images-idx3-ubyte"]);
    fs::write(files.join(FILES[0]), [0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
    train().refused(&["train-images-idx3-ubyte"]);
    assert!(!run.exists());
}

#[test]
fn a_file_of_another_data_set_is_refused_with_both_hashes() {
    let Some(data) = real_data("hashes of MNIST files") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let name = format!("{name}.gz");
        fs::copy(data.join("mnist").join(&name), folder.path().join(&name)).unwrap();
    }
    waxwork(&["data", "verify", "mnist", "--data-dir", text(folder.path())]).good();
    // Training labels in place of test labels: a valid IDX file, but not the right one.
    let (train, test) = (format!("{}.gz", FILES[1]), format!("{}.gz", FILES[3]));
    fs::remove_file(folder.path().join(&test)).unwrap();
    fs::copy(data.join("mnist").join(train), folder.path().join(test)).unwrap();
    let out = folder.path().join("run");
    waxwork(&["train", "vae-mlp-mnist", "--data-dir", text(folder.path()), "--out", text(&out), "-q"])
        .refused(&["t10k-labels-idx1-ubyte"]);
    waxwork(&["data", "verify", "mnist", "--data-dir", text(folder.path())]).refused(&["1 of 4"]);
}

#[test]
fn an_image_folder_can_be_trained_on_and_broken_files_are_named_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    waxwork(&small(folder.path().join("source").as_path(), &[])).good();
    for (class, seed) in [("cats", "1"), ("dogs", "2")] {
        let out = path(&format!("pictures/{class}"));
        waxwork(&["sample", &path("source"), "-n", "24", "--seed", seed, "--out", &out]).good();
    }
    let train = |run: &str, more: &[&str]| {
        let (run, pictures) = (path(run), path("pictures"));
        let mut arguments = vec!["train", "cgan-digits", "-q", "--data", "folder", "--data-dir", &pictures];
        arguments.extend(["--steps", "2", "--out", &run, "--set", "train.batch_size=8"]);
        arguments.extend(["--set", "data.folder.size=28", "--set", "data.folder.grey=true"]);
        arguments.extend(more);
        waxwork(&arguments)
    };
    train("good", &[]).good();
    waxwork(&["sample", &path("good"), "--labels", "0,1", "-n", "4"]).good();
    waxwork(&["sample", &path("good"), "--labels", "2"]).refused(&["class `2`", "0 to 1"]);

    for family in ["cgan", "cvae"] {
        let (recipe, cats) = (format!("{family}-digits"), path("pictures/cats"));
        let arguments = ["train", &recipe, "-q", "--data", "folder", "--data-dir", &cats, "--steps", "2"];
        let shape = ["--set", "data.folder.size=28", "--set", "data.folder.grey=true"];
        // There are also fewer images than a batch needs, but the error must name the missing labels.
        waxwork(&[&arguments[..], &shape[..]].concat()).refused(&["one subdirectory per class"]);
    }

    fs::write(folder.path().join("pictures/cats/torn.png"), "no picture").unwrap();
    train("torn", &[]).refused(&["torn.png", "--skip-unreadable"]);
    let counted = train("counted", &["--skip-unreadable"]).good();
    assert!(counted.stderr.contains("1 sample cannot be read"), "{}", counted.stderr);
    fs::create_dir(folder.path().join("pictures/empty")).unwrap();
    train("empty", &["--skip-unreadable"]).refused(&["empty", "contains no"]);
    fs::remove_dir(folder.path().join("pictures/empty")).unwrap();
    train("large", &["--skip-unreadable", "--set", "train.batch_size=400"]).refused(&["but is 400"]);
    train("small", &["--skip-unreadable", "--set", "data.folder.size=32"]).refused(&["28×28", "32×32"]);
}

#[test]
fn doubtful_labels_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let doubts = folder.path().join("doubts.txt");
    let said = waxwork(&["data", "doubts", "ring", "--share", "0.1", "--out", text(&doubts)]).good().stdout;
    let lines = std::fs::read_to_string(&doubts).unwrap().lines().count() - 1;
    assert!(said.contains(&format!("{lines} of ")), "{said}");
    let left_out = format!("data.leave_out={}", text(&doubts));
    let run = folder.path().join("run");
    waxwork(&["train", "gan-ring", "--steps", "2", "--out", text(&run), "--set", &left_out]).good();
    let info = run_json(&run);
    let kept = info["data_images"]["training"].as_u64().unwrap() as usize;
    assert!(said.contains(&format!("{lines} of {} training points", kept + lines)), "{said}, {kept}");
    // A relative path names the same file when the run is resumed from another working directory.
    let near = folder.path().join("near");
    let relative = ["--out", text(&near), "--set", "data.leave_out=doubts.txt"];
    let mut train = command(&[&["train", "gan-ring", "--steps", "2"][..], &relative].concat());
    finished(&train.current_dir(folder.path()).output().unwrap()).good();
    unfinish(&near);
    resume(&near).good();
    assert_eq!(run_json(&near)["data_images"]["training"], kept);
    // A list of doubtful labels of other data is refused.
    let other = waxwork(&["train", "gan-ring", "--set", "data.seed=1", "--set", &left_out, "--dry-run"]);
    other.refused(&["doubts.txt", "numbers for"]);
}

#[test]
fn noise_affects_training_data_only() {
    let folder = tempfile::tempdir().unwrap();
    let (clean, noisy) = (folder.path().join("clean"), folder.path().join("noisy"));
    for (run, set) in [(&clean, "data.noise.labels=0"), (&noisy, "data.noise.labels=0.3")] {
        let limits = ["--steps", "2", "--set", "data.limit=64", "--set", set];
        waxwork(&[&["train", "cvae-digits", "--out", text(run)], &limits[..]].concat()).good();
    }
    let protocol = |run: &std::path::Path| {
        let json =
            waxwork(&["evaluate", text(run), "--samples", "0", "--count", "20", "--json"]).good().stdout;
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        report["metrics"][0]["protocol"]["data"].clone()
    };
    assert_eq!(protocol(&clean), protocol(&noisy), "both are measured on the same images");
    let refused = waxwork(&["train", "gan-ring", "--set", "data.noise.pixels=0.1", "--dry-run"]);
    refused.refused(&["data.noise", "only images"]);
}
