//! Stopping and resuming: the bytes must be those of an uninterrupted run.

use std::path::Path;

use crate::util::{
    command, deterministic_files, finished, last_checkpoint, resume, run_json, small, small_of_steps,
    unfinish, waxwork,
};

const OFTEN: [&str; 4] = ["--set", "train.checkpoint_every=2", "--set", "train.sample_every=2"];

#[test]
fn two_steps_and_two_more_give_the_bytes_of_four() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    waxwork(&small(&whole, &OFTEN)).good();
    waxwork(&small(&halves, &OFTEN)).good();
    // As after a kill between the two checkpoints: no result, a truncated log, status running.
    unfinish(&halves);
    std::fs::remove_dir_all(halves.join("checkpoints/step-000004")).unwrap();
    let metrics = std::fs::read_to_string(halves.join("metrics.jsonl")).unwrap();
    std::fs::write(halves.join("metrics.jsonl"), &metrics[..metrics.len() - 7]).unwrap();
    resume(&halves).good();
    assert_eq!(deterministic_files(&whole), deterministic_files(&halves));
}

#[test]
fn a_time_limit_stops_with_a_checkpoint_and_the_run_resumes_later() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    waxwork(&small(&whole, &[])).good();
    let call = waxwork(&small(&stopped, &["--max-time", "0"])).good();
    assert!(call.stdout.contains("--resume"), "{}", call.stdout);
    assert!(!stopped.join("model.safetensors").exists());
    resume(&stopped).good();
    assert_eq!(deterministic_files(&whole), deterministic_files(&stopped));
    assert!(resume(&stopped).good().stdout.contains("already finished"));
}

#[cfg(unix)]
#[test]
fn a_signal_stops_with_a_checkpoint_at_any_step() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let arguments = |run: &Path| small_of_steps(run, 400, &["--set", "train.checkpoint_every=400"]);
    waxwork(&arguments(&whole)).good();
    let mut child = command(&arguments(&stopped)).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Lines in the log show that the training loop runs.
    while std::fs::read_to_string(stopped.join("metrics.jsonl")).unwrap_or_default().lines().count() < 5 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::yield_now();
    }
    let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let call = finished(&child.wait_with_output().unwrap());
    assert_eq!(call.code, Some(130), "{}", call.stderr);
    assert!(call.stderr.contains("--resume"), "{}", call.stderr);
    resume(&stopped).good();
    let (whole, stopped) = (deterministic_files(&whole), deterministic_files(&stopped));
    for name in ["params.safetensors", "optimizers.safetensors", "model.safetensors", "metrics.jsonl"] {
        assert!(whole[Path::new(name)] == stopped[Path::new(name)], "{name} differs");
    }
}

#[test]
fn a_damaged_checkpoint_is_skipped_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    waxwork(&small(&whole, &OFTEN)).good();
    waxwork(&small(&damaged, &[&OFTEN[..], &["--max-time", "1h"]].concat())).good();
    unfinish(&damaged);
    let params = last_checkpoint(&damaged).join("params.safetensors");
    let mut bytes = std::fs::read(&params).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&params, &bytes).unwrap();

    let sampled = waxwork(&["sample", damaged.to_str().unwrap(), "-n", "4"]).good();
    assert!(
        sampled.stderr.contains("step-000004") && sampled.stderr.contains("SHA-256"),
        "{}",
        sampled.stderr
    );
    let call = resume(&damaged).good();
    assert!(call.stderr.contains("step-000004") && call.stderr.contains("SHA-256"), "{}", call.stderr);
    assert_eq!(deterministic_files(&whole), deterministic_files(&damaged));
}

#[test]
fn a_checkpoint_renamed_to_a_later_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &OFTEN)).good();
    unfinish(&run);
    let checkpoints = run.join("checkpoints");
    std::fs::rename(checkpoints.join("step-000002"), checkpoints.join("step-000003")).unwrap();
    std::fs::remove_dir_all(checkpoints.join("step-000004")).unwrap();
    resume(&run).refused(&["no intact checkpoint", "it belongs to step 2"]);
}

#[test]
fn a_run_with_only_damaged_checkpoints_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--max-time", "1h"])).good();
    unfinish(&run);
    let state = last_checkpoint(&run).join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\"step\": 4", "\"step\": 3")).unwrap();
    resume(&run).refused(&["no intact checkpoint", "SHA-256"]);
}

/// Creates a run that is stopped before its first step.
fn stopped(run: &Path, more: &[&str]) {
    waxwork(&small(run, &[&["--max-time", "0"], more].concat())).good();
}

#[test]
fn another_recipe_or_data_set_is_refused_with_every_difference() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    stopped(&run, &[]);
    let resume =
        |more: &[&str]| waxwork(&[&["train", "--resume", run.to_str().unwrap(), "-q"], more].concat());
    let before = std::fs::read(run.join("run.json")).unwrap();
    resume(&["--set", "model.latent_dim=7", "--steps", "9"]).refused(&[
        "model.latent_dim is 7, but was 10",
        "train.steps is 9, but was 4",
        "--fork",
    ]);
    resume(&["vae-shapes"])
        .refused(&["data.name is \"shapes\", but was \"digits\"", "train.batch_size is 64, but was 16"]);
    // Another seed of the generator gives other images of the same number and shape.
    resume(&["--set", "data.seed=1"]).refused(&["data.seed is 1, but was 0"]);
    assert_eq!(std::fs::read(run.join("run.json")).unwrap(), before, "a refusal changes nothing");

    let recipe = run.join("recipe.toml");
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, text.replace("batch_size = 16", "batch_size = 8")).unwrap();
    resume(&[]).refused(&["train.batch_size is 8, but was 16"]);
    // The description of a recipe does not affect training.
    std::fs::write(&recipe, text.replace("description = \"", "description = \"My ")).unwrap();
    resume(&[]).good();
}

#[test]
fn a_data_set_whose_files_have_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    waxwork(&["data", "show", "digits", "-n", "40", "--out", pictures.to_str().unwrap()]).good();
    let run = folder.path().join("run");
    let data = ["--data", "folder", "--data-dir", pictures.to_str().unwrap()];
    let sizes =
        ["--set", "data.validation=8", "--set", "data.limit=20", "--set", "data.folder={size=28, grey=true}"];
    stopped(&run, &[&data[..], &sizes].concat());
    // One image is replaced by another of its class.
    std::fs::copy(pictures.join("4/000013.png"), pictures.join("4/000004.png")).unwrap();
    resume(&run).refused(&["`folder`", "identity", "--fork"]);
    // The location of the files does not matter.
    let moved = folder.path().join("moved");
    waxwork(&["data", "show", "digits", "-n", "40", "--out", moved.to_str().unwrap()]).good();
    let arguments = ["train", "-q", "--resume", run.to_str().unwrap(), "--data-dir", moved.to_str().unwrap()];
    waxwork(&arguments).good();
}

#[test]
fn a_fork_starts_from_the_weights_of_another_run_and_behaves_like_any_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (source, fork) = (path("source"), path("fork"));
    waxwork(&small(&source, &[])).good();
    let arguments = |out: &Path, more: &[&str]| {
        let base = ["train", "--fork", source.to_str().unwrap(), "-q", "--out", out.to_str().unwrap()];
        waxwork(&[&base, more].concat())
    };
    let changed = ["--steps", "6", "--set", "optimizer.lr=1e-4", "--set", "train.checkpoint_every=3"];
    arguments(&fork, &changed).good();
    let weights = last_checkpoint(&source).join("params.safetensors");
    assert_eq!(std::fs::read(fork.join("initial.safetensors")).unwrap(), std::fs::read(weights).unwrap());
    let info = run_json(&fork);
    assert_eq!((&info["forked_from"]["step"], &info["steps"]), (&4.into(), &6.into()));

    // A fork that was killed before its first checkpoint starts again from the same weights, even if the
    // other run no longer exists.
    let broken = path("broken");
    arguments(&broken, &[&changed[..], &["--max-time", "0"]].concat()).good();
    std::fs::remove_dir_all(&source).unwrap();
    resume(&broken).good();
    assert_eq!(deterministic_files(&fork), deterministic_files(&broken));
    let repeated = waxwork(&["repeat", fork.to_str().unwrap(), "-q"]).good();
    assert!(repeated.stdout.contains("agree"), "{}", repeated.stdout);

    // Other initial weights give other results.
    let plain = path("plain");
    let recipe = fork.join("recipe.toml");
    waxwork(&["train", recipe.to_str().unwrap(), "-q", "--out", plain.to_str().unwrap()]).good();
    assert_ne!(deterministic_files(&fork), deterministic_files(&plain));
    // Weights that do not fit are refused with the tensor's name.
    let other = path("other");
    let call = ["train", "--fork", fork.to_str().unwrap(), "--set", "model.latent_dim=3", "--out"];
    waxwork(&[&call[..], &[other.to_str().unwrap()]].concat())
        .refused(&["fork`: tensor `decoder.hidden.0.weight`"]);
    assert!(!other.exists());
    let mut damaged = std::fs::read(broken.join("initial.safetensors")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(broken.join("initial.safetensors"), damaged).unwrap();
    waxwork(&["repeat", broken.to_str().unwrap(), "-q"]).refused(&["initial.safetensors", "SHA-256"]);
}
