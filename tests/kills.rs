//! Processes that die, at random moments and at every change of a file, and processes that
//! compete for a run folder.

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use waxwork_core::rng::Stream;
use waxwork_trainer::RunFolder;

use crate::util::{
    command, deterministic_files, finished, resume, resumption, small_of_steps, unfinish, waxwork,
};

/// The environment variable for more kills: the number at random moments. If it is set, every file
/// change gets a kill too.
const KILLS: &str = "WAXWORK_TEST_KILLS";
const STEPS: u64 = 12;
const EVERY: u64 = 3;

/// The arguments of a run with several checkpoints, sample grids and validations.
pub(crate) fn arguments(run: &Path) -> Vec<String> {
    let often = [
        "--set",
        "train.checkpoint_every=3",
        "--set",
        "train.sample_every=4",
        "--set",
        "train.validate_every=6",
    ];
    small_of_steps(run, STEPS, &often)
}

/// The command that starts a run, or resumes it if it exists.
pub(crate) fn start_or_resume(run: &Path) -> Command {
    if run.join("recipe.toml").exists() { resumption(run) } else { command(&arguments(run)) }
}

/// Asserts that a run lost at most one checkpoint interval of logged steps, and has no damaged checkpoint.
#[track_caller]
pub(crate) fn assert_nothing_lost(run: &Path) {
    let Ok(log) = std::fs::read_to_string(run.join("metrics.jsonl")) else { return };
    let whole = &log[..log.rfind('\n').unwrap_or(0)];
    let Some(last) = whole.lines().last() else { return };
    let logged = serde_json::from_str::<serde_json::Value>(last).unwrap()["step"].as_u64().unwrap();
    let expected = logged.saturating_sub(1) / EVERY * EVERY;
    if expected > 0 {
        let (checkpoint, damaged) = RunFolder::open(run).unwrap().checkpoints().newest().unwrap();
        assert!(checkpoint.counters.step >= expected, "{} of {logged}", checkpoint.counters.step);
        assert_eq!(damaged, [""; 0], "a kill leaves no damaged checkpoint");
    }
}

/// Asserts that the run equals the uninterrupted one, and that its folder has no other files.
#[track_caller]
pub(crate) fn assert_same(run: &Path, whole: &Path) {
    assert_eq!(deterministic_files(run), deterministic_files(whole));
    assert_eq!(names(run), names(whole));
}

/// Every file below a folder, except TensorBoard's: each process writes a separate one.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if name.to_string_lossy().starts_with("events.out.tfevents.") {
            continue;
        }
        if path.is_dir() {
            names.extend(self::names(&path).into_iter().map(|inner| name.join(inner)));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

fn kills() -> Option<u64> {
    std::env::var(KILLS).ok().map(|kills| kills.parse().expect("WAXWORK_TEST_KILLS is a number"))
}

#[test]
fn a_run_killed_at_random_moments_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    let began = Instant::now();
    waxwork(&arguments(&whole)).good();
    let takes = began.elapsed();

    let wanted = kills().unwrap_or(6);
    let (mut killed, mut ended) = (0, 0);
    for try_number in 0.. {
        let mut child = start_or_resume(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Any moment from the start of the process to a little after its end.
        let share = f64::from(Stream::new(0, "kill", try_number).at(0).uniform()) * 1.1;
        std::thread::sleep(takes.mul_f64(share));
        let ended_before = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(status) = ended_before {
            assert!(status.success());
            assert_same(&run, &whole);
            std::fs::remove_dir_all(&run).unwrap();
            ended += 1;
        } else {
            killed += 1;
            assert_nothing_lost(&run);
        }
        if killed == wanted {
            break;
        }
    }
    finished(&start_or_resume(&run).output().unwrap()).good();
    assert_same(&run, &whole);
    println!("{killed} kills, {} runs ended", ended + 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_killed_at_any_file_change_ends_with_the_same_bytes() {
    use crate::faulty::{counts, under};
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let Some(call) = under("none:0", command(&arguments(&whole))) else { return };
    let (changes, _) = counts(&call.good());
    assert!(changes > 60, "{changes}");
    // Coprime to the number of changes per checkpoint, so that the few kills hit different ones.
    let stride = if kills().is_some() { 1 } else { 23 };
    let mut killed = 0;
    for change in (1..=changes).step_by(stride) {
        let run = folder.path().join(format!("run-{change}"));
        let call = under(&format!("kill:{change}"), command(&arguments(&run))).unwrap();
        assert_eq!(call.code, None, "killed at change {change} of {changes}: {}", call.stderr);
        assert_nothing_lost(&run);
        // Kill it again during the first actions of resuming, which clean up.
        let mut again = under(&format!("kill:{}", 1 + change % 9), start_or_resume(&run)).unwrap();
        if again.code.is_none() {
            assert_nothing_lost(&run);
            again = finished(&start_or_resume(&run).output().unwrap());
            killed += 1;
        }
        again.good();
        assert_same(&run, &whole);
        std::fs::remove_dir_all(&run).unwrap();
        killed += 1;
    }
    println!("{killed} kills at {changes} changes of files");
}

/// A kill between the last checkpoint and the removal of the oldest, which random moments rarely hit.
#[test]
fn a_run_killed_after_its_last_checkpoint_keeps_no_extra_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    for run in [&whole, &run] {
        waxwork(&arguments(run)).good();
    }
    unfinish(&run);
    let checkpoint = |step: u64| run.join(format!("checkpoints/step-{step:06}"));
    std::fs::create_dir(checkpoint(STEPS - 2 * EVERY)).unwrap();
    for entry in std::fs::read_dir(checkpoint(STEPS)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, checkpoint(STEPS - 2 * EVERY).join(path.file_name().unwrap())).unwrap();
    }
    resume(&run).good();
    assert_same(&run, &whole);
}

#[test]
fn a_second_process_is_refused_and_a_dead_one_holds_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut child = command(&small_of_steps(&run, 100_000, &[])).spawn().unwrap();
    while std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before anything could be tried");
        std::thread::yield_now();
    }
    resume(&run).refused(&["in use by another process"]);
    waxwork(&small_of_steps(&run, 100_000, &[])).refused(&["already exists"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(run.join("run.lock").exists());
    let mut resumed = resumption(&run);
    resumed.args(["--max-time", "0"]);
    finished(&resumed.output().unwrap()).good();
}

/// Processes that start in one folder at the same time: one trains, each other prints one line.
#[test]
fn only_one_of_several_processes_started_at_once_trains() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    waxwork(&arguments(&whole)).good();
    let start = || command(&arguments(&run)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    let calls: Vec<_> =
        children.into_iter().map(|child| finished(&child.wait_with_output().unwrap())).collect();
    assert_eq!(calls.iter().filter(|call| call.code == Some(0)).count(), 1);
    for call in calls {
        if call.code != Some(0) {
            call.refused(&["run`"]);
        }
    }
    assert_same(&run, &whole);
}
