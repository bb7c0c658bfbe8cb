//! Disks that are full, read-only or lose data, and clocks that jump: the program prints one clear line,
//! leaves no incomplete files, and the run resumes to the same bytes.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::faulty::{counts, under};
use crate::kills::{arguments, assert_nothing_lost, assert_same, start_or_resume};
use crate::util::{
    command, deterministic_files, finished, last_checkpoint, resume, small, small_of_steps, unfinish, waxwork,
};

/// A small separate file system, if this process may mount one.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(folder: &'a Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: a test of full and read-only disks needs the right to mount a tmpfs");
        None
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_disk_without_space_is_refused_before_the_run_starts() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Tmpfs::mount(folder.path(), "size=4m") else { return };
    let run = folder.path().join("run");
    waxwork(&small(&run, &[])).refused(&["MiB", "free"]);
    assert!(!run.exists());
}

#[test]
fn a_full_disk_is_reported_with_the_file_and_leaves_no_incomplete_one() {
    let folder = tempfile::tempdir().unwrap();
    let done = tempfile::tempdir().unwrap();
    let whole = done.path().join("run");
    waxwork(&small(&whole, &[])).good();
    let Some(_disk) = Tmpfs::mount(folder.path(), "size=2m") else { return };
    std::fs::write(folder.path().join("ballast"), vec![0; (2 << 20) - 40_000]).unwrap();
    let out = folder.path().join("images.npy");
    waxwork(&["sample", whole.to_str().unwrap(), "--out", out.to_str().unwrap()]).refused(&["images.npy"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written may stay");
}

#[test]
fn a_read_only_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Tmpfs::mount(folder.path(), "ro") else { return };
    let run = folder.path().join("run");
    waxwork(&small(&run, &[])).refused(&["run"]);
}

#[test]
fn a_disk_that_fills_up_during_training_costs_at_most_one_interval() {
    let folder = tempfile::tempdir().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let whole = whole.path().join("run");
    let arguments = |run: &Path| small_of_steps(run, 60, &["--set", "train.checkpoint_every=3"]);
    let Some(_disk) = Tmpfs::mount(folder.path(), "size=64m") else { return };
    waxwork(&arguments(&whole)).good();
    let (run, ballast) = (folder.path().join("run"), folder.path().join("ballast"));
    let child = command(&arguments(&run)).stderr(std::process::Stdio::piped()).spawn();
    let mut child = child.unwrap();
    while std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count() < 7 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before the disk was full");
        std::thread::yield_now();
    }
    let mut file = std::fs::File::create(&ballast).unwrap();
    // Write until the run ends, so that the run does not get back the space that it frees.
    while child.try_wait().unwrap().is_none() {
        _ = std::io::Write::write_all(&mut file, &[0; 1 << 16]);
    }
    finished(&child.wait_with_output().unwrap()).refused(&["run/", "No space left"]);
    assert_nothing_lost(&run);
    resume(&run).refused(&["/run"]);
    // The space is free only once the file is closed too.
    drop(file);
    std::fs::remove_file(ballast).unwrap();
    resume(&run).good();
    assert_same(&run, &whole);
}

#[test]
fn a_file_size_limit_is_reported_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    waxwork(&arguments(&whole)).good();
    // Ignore the signal, so that a write fails as it does on a full disk.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, env!("CARGO_BIN_EXE_waxwork")]).args(arguments(&run));
    let call = finished(&limited.output().unwrap());
    call.refused(&["params.safetensors", "too large"]);
    assert!(!run.join("checkpoints/step-000003.tmp").exists());
    resume(&run).good();
    assert_same(&run, &whole);
}

#[test]
fn a_run_on_a_disk_that_became_read_only_is_refused_and_resumes_later() {
    let folder = tempfile::tempdir().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let whole = whole.path().join("run");
    waxwork(&arguments(&whole)).good();
    let Some(_disk) = Tmpfs::mount(folder.path(), "size=64m") else { return };
    let run = folder.path().join("run");
    waxwork(&[&arguments(&run)[..], &["--max-time".into(), "0".into()]].concat()).good();
    let remount = |options: &str| {
        let status = Command::new("mount").args(["-o", options]).arg(folder.path()).status();
        assert!(status.unwrap().success(), "{options}");
    };
    remount("remount,ro");
    resume(&run).refused(&["run.lock", "ead-only"]);
    remount("remount,rw");
    resume(&run).good();
    assert_same(&run, &whole);
}

/// Injects each fault of a kind into a run: one in `stride`, or all if `WAXWORK_TEST_KILLS` is set. The run
/// must end with one line that names the fault, unless nothing that could fail is left to do. It must lose
/// nothing, and resume to the same bytes.
fn hold_to(kind: &str, stride: usize, said: &str, how_many: impl Fn((u64, u64)) -> u64) {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let Some(call) = under("none:0", command(&arguments(&whole))) else { return };
    let faults = how_many(counts(&call.good()));
    assert!(faults > 20, "{faults}");
    let stride = if std::env::var_os("WAXWORK_TEST_KILLS").is_some() { 1 } else { stride };
    let mut failed = 0;
    for fault in (1..=faults).step_by(stride) {
        let run = folder.path().join(format!("run-{fault}"));
        let call = under(&format!("{kind}:{fault}"), command(&arguments(&run))).unwrap();
        if call.code != Some(0) {
            call.refused(&[folder.path().to_str().unwrap(), said]);
            failed += 1;
        }
        if run.exists() {
            assert_nothing_lost(&run);
        }
        finished(&start_or_resume(&run).output().unwrap()).good();
        assert_same(&run, &whole);
        std::fs::remove_dir_all(&run).unwrap();
    }
    assert!(failed > 0);
    println!("{failed} runs failed of {} under {kind}", faults.div_ceil(stride as u64));
}

#[test]
fn a_full_disk_at_any_moment_is_one_clear_line_and_the_run_resumes_later() {
    hold_to("full", 29, "No space left", |(changes, _)| changes);
}

#[test]
fn a_failed_sync_is_reported_and_the_run_resumes_later() {
    hold_to("sync", 13, "Input/output error", |(_, syncs)| syncs);
}

#[test]
fn clocks_that_jump_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    waxwork(&arguments(&whole)).good();
    let mut noisy = arguments(&run);
    noisy.retain(|argument| argument != "-q");
    let Some(call) = under("clock:0", command(&noisy)) else { return };
    let call = call.good();
    assert!(call.stderr.contains("step 12/12"), "{}", call.stderr);
    assert_same(&run, &whole);
}

#[test]
fn every_file_of_a_checkpoint_can_be_torn_or_flipped() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    waxwork(&arguments(&whole)).good();
    waxwork(&arguments(&run)).good();
    let newest = last_checkpoint(&run);
    let mut flips = waxwork_core::rng::Stream::new(0, "flip", 0).at(0);
    for name in ["params.safetensors", "optimizers.safetensors", "state.json"] {
        let file = newest.join(name);
        let bytes = std::fs::read(&file).unwrap();
        let mut damages = vec![None, Some(vec![]), Some(bytes[..bytes.len() / 2].to_vec())];
        for _ in 0..2 {
            let mut flipped = bytes.clone();
            flipped[flips.below(bytes.len() as u32) as usize] ^= 1 << flips.below(8);
            damages.push(Some(flipped));
        }
        damages.push(Some([&bytes[..], b"x"].concat()));
        for damage in damages {
            unfinish(&run);
            match &damage {
                None => std::fs::remove_file(&file).unwrap(),
                Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            }
            let call = resume(&run).good();
            assert!(call.stderr.contains("WARN") && call.stderr.contains(name), "{}", call.stderr);
            assert_same(&run, &whole);
        }
    }
}

#[test]
fn a_damaged_log_is_written_again_from_the_last_checkpoint_that_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    waxwork(&arguments(&whole)).good();
    waxwork(&arguments(&run)).good();
    let log = run.join("metrics.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    // The newest checkpoints are those of steps 9 and 12.
    let eleven = text.find("{\"step\":11,").unwrap();
    let five = text.find("{\"step\":5,").unwrap();
    for torn in [text[..eleven + 9].to_owned(), text.replacen("{\"step\":11,", "{\"step\":91,", 1)] {
        unfinish(&run);
        std::fs::write(&log, torn).unwrap();
        let call = resume(&run).good();
        assert!(call.stderr.contains("metrics.jsonl"), "{}", call.stderr);
        assert_same(&run, &whole);
    }
    // From before the oldest checkpoint, lines cannot be written again. The weights are still resumed, and a
    // warning says that lines are lost.
    unfinish(&run);
    std::fs::write(&log, [&text[..five], &text[five + 1..]].concat()).unwrap();
    let call = resume(&run).good();
    assert!(call.stderr.contains("some log lines are lost"), "{}", call.stderr);
    let weights = |run: &Path| deterministic_files(run).remove(Path::new("params.safetensors"));
    assert_eq!(weights(&run), weights(&whole));
}

#[test]
fn damaged_results_are_written_again_and_damaged_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    waxwork(&arguments(&whole)).good();
    waxwork(&arguments(&run)).good();
    let model = run.join("model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() - 1]).unwrap();
    waxwork(&["sample", run.to_str().unwrap()]).refused(&["model.safetensors", "SHA-256"]);
    let call = resume(&run).good();
    assert!(call.stderr.contains("model.safetensors"), "{}", call.stderr);
    std::fs::remove_file(run.join("README.md")).unwrap();
    resume(&run).good();
    assert_same(&run, &whole);
    for (name, told) in [("run.json", "run.json"), ("recipe.toml", "run")] {
        let file = run.join(name);
        let text = std::fs::read(&file).unwrap();
        std::fs::write(&file, &text[..text.len() / 2]).unwrap();
        resume(&run).refused(&[told]);
        std::fs::write(&file, text).unwrap();
    }
}
