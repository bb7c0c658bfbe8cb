//! Stopping and going on: the bytes must be those of a run that was never stopped.

use std::path::Path;

use crate::util::{command, deterministic_files, finished, last_checkpoint, small, waxwork};

const OFTEN: [&str; 4] = ["--set", "train.checkpoint_every=2", "--set", "train.sample_every=2"];

fn resume(run: &Path) -> crate::util::Call {
    waxwork(&["train", "--resume", run.to_str().unwrap(), "-q"])
}

#[test]
fn two_and_two_steps_are_four_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    waxwork(&small(&whole, &OFTEN)).good();
    waxwork(&small(&halves, &OFTEN)).good();
    // As a kill between the two checkpoints would leave it: no result, a torn log, status running.
    std::fs::remove_file(halves.join("model.safetensors")).unwrap();
    std::fs::remove_dir_all(halves.join("checkpoints/step-000004")).unwrap();
    let info = std::fs::read_to_string(halves.join("run.json")).unwrap();
    std::fs::write(halves.join("run.json"), info.replace("\"finished\"", "\"running\"")).unwrap();
    let metrics = std::fs::read_to_string(halves.join("metrics.jsonl")).unwrap();
    std::fs::write(halves.join("metrics.jsonl"), &metrics[..metrics.len() - 7]).unwrap();
    resume(&halves).good();
    assert_eq!(deterministic_files(&whole), deterministic_files(&halves));
}

#[test]
fn a_time_limit_stops_with_a_checkpoint_and_the_rest_can_be_done_later() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    waxwork(&small(&whole, &[])).good();
    let call = waxwork(&small(&stopped, &["--max-time", "0"])).good();
    assert!(call.stdout.contains("--resume"), "{}", call.stdout);
    assert!(!stopped.join("model.safetensors").exists());
    resume(&stopped).good();
    assert_eq!(deterministic_files(&whole), deterministic_files(&stopped));
    assert!(resume(&stopped).good().stdout.contains("finished already"));
}

#[cfg(unix)]
#[test]
fn a_signal_stops_with_a_checkpoint_at_whatever_step() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let steps = ["--steps", "400", "--set", "train.checkpoint_every=400"];
    let arguments = |run: &Path| {
        let mut arguments = small(run, &steps[2..]);
        let at = arguments.iter().position(|argument| argument == "--steps").unwrap();
        arguments[at + 1] = steps[1].into();
        arguments
    };
    waxwork(&arguments(&whole)).good();
    let mut child = command(&arguments(&stopped)).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // The first line of the log says that the loop runs.
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
fn a_damaged_checkpoint_is_passed_over_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    waxwork(&small(&whole, &OFTEN)).good();
    waxwork(&small(&damaged, &[&OFTEN[..], &["--max-time", "1h"]].concat())).good();
    std::fs::remove_file(damaged.join("model.safetensors")).unwrap();
    let info = std::fs::read_to_string(damaged.join("run.json")).unwrap();
    std::fs::write(damaged.join("run.json"), info.replace("\"finished\"", "\"running\"")).unwrap();
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
fn when_every_checkpoint_is_damaged_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--max-time", "1h"])).good();
    let info = std::fs::read_to_string(run.join("run.json")).unwrap();
    std::fs::write(run.join("run.json"), info.replace("\"finished\"", "\"running\"")).unwrap();
    let state = last_checkpoint(&run).join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\"step\": 4", "\"step\": 3")).unwrap();
    resume(&run).refused(&["no whole checkpoint", "SHA-256"]);
}
