//! Runs that end with their best weights, as a judge measures them, and runs that stop when nothing improves.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::util::{deterministic_files, resume, run_json, text, unfinish, waxwork};

/// A small `gan-ring` that a judge of points measures every ten steps.
fn ring(run: &Path, steps: &str, more: &[&str]) -> crate::util::Call {
    let settings = ["train.validate_every=10", "train.checkpoint_every=10", "train.final_weights=best"];
    let mut arguments = vec!["train", "gan-ring", "--out", text(run), "--steps", steps];
    arguments.extend(settings.iter().chain(more).flat_map(|setting| ["--set", setting]));
    waxwork(&arguments)
}

/// The step and the distance of every measurement.
fn measured(run: &Path) -> BTreeMap<u64, f64> {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let measured = lines.filter_map(|line| {
        let found = line["judge_frechet/generated"].as_f64()?;
        assert!(line["judge_frechet/real"].as_f64().unwrap() < found, "{line}");
        Some((line["step"].as_u64().unwrap(), found))
    });
    measured.collect()
}

#[test]
fn a_run_ends_with_the_weights_of_the_step_that_measured_best() {
    let folder = tempfile::tempdir().unwrap();
    let (run, short) = (folder.path().join("run"), folder.path().join("short"));
    // The learning rate is so high that the last step is not the best one.
    let fast = ["optimizer.lr=0.02", "optimizer.ema=0.5"];
    ring(&run, "60", &fast).good();
    let measured = measured(&run);
    assert_eq!(measured.keys().copied().collect::<Vec<_>>(), [10, 20, 30, 40, 50, 60]);
    let (best, _) = measured.iter().min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    assert_ne!(*best, 60, "the test needs a run whose last step is not its best: {measured:?}");
    assert_eq!(run_json(&run)["model_step"].as_u64(), Some(*best));
    assert!(!run.join("best.safetensors").exists());
    assert!(run.join(format!("samples/step-{best:06}.png")).exists());

    ring(&short, &best.to_string(), &[&fast[..], &["train.final_weights=last"]].concat()).good();
    assert_eq!(run_json(&run)["model_sha256"], run_json(&short)["model_sha256"]);
}

#[test]
fn a_run_that_was_killed_keeps_the_same_best_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    ring(&whole, "40", &["optimizer.lr=0.02"]).good();
    ring(&halves, "40", &["optimizer.lr=0.02"]).good();
    // Restore the state after a kill that follows the last measurement.
    std::fs::copy(halves.join("model.safetensors"), halves.join("best.safetensors")).unwrap();
    unfinish(&halves);
    std::fs::remove_dir_all(halves.join("checkpoints/step-000040")).unwrap();
    resume(&halves).good();
    assert_eq!(deterministic_files(&whole), deterministic_files(&halves));
    assert_eq!(run_json(&whole)["model_step"], run_json(&halves)["model_step"]);
}

#[test]
fn a_run_out_of_patience_ends_early_and_counts_as_finished() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // At this learning rate the model learns nothing, so the measurements soon stop improving.
    ring(&run, "500", &["optimizer.lr=10", "optimizer.ema=0.5", "train.patience=2"]).good();
    let measured = measured(&run);
    let (best, _) = measured.iter().min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    let steps = run_json(&run)["steps"].as_u64().unwrap();
    assert_eq!(steps, best + 20, "{measured:?}");
    assert!(steps < 500);
    assert!(resume(&run).good().stdout.contains("already finished"));
}
