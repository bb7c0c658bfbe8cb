//! `waxwork repeat`, `runs hash` and `runs diff`: whether two runs have the same bytes, and
//! where they diverge.

use std::path::Path;

use crate::util::{command, finished, last_checkpoint, run_json, small, text, waxwork};

#[test]
fn a_repeated_run_has_the_same_bytes_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--threads", "1"])).good();
    let call = waxwork(&["repeat", text(&run), "-q", "--threads", "2"]).good();
    assert!(call.stdout.contains("agree"), "{}", call.stdout);
    let new = folder.path().join("run-repeated");
    let info = run_json(&new);
    let all = [
        "version",
        "revision",
        "toolchain",
        "target",
        "profile",
        "machine",
        "cpu_class",
        "device",
        "threads",
    ];
    let more = ["command", "recipe", "data", "data_identity", "data_images", "seed", "model_sha256"];
    for key in all.iter().chain(&more) {
        assert!(!info[key].is_null() && info[key] != "", "{key}: {info}");
    }
    assert_eq!(info["command"][1], "repeat");
    // It does not overwrite an existing run.
    waxwork(&["repeat", text(&run), "-q"]).refused(&["already exists"]);
    let call = waxwork(&["runs", "diff", text(&run), text(&new)]).good();
    assert!(call.stdout.contains("agree"), "{}", call.stdout);
    let hash = |run: &Path| waxwork(&["runs", "hash", text(run)]).good().stdout;
    assert_eq!(hash(&run), hash(&new));
    assert!(hash(&run).contains("  optimizer/first/") && hash(&run).contains("  samples/step-000004.png"));
}

/// A run can be repeated under any name, after a move, and from within its folder.
#[cfg(unix)]
#[test]
fn a_run_of_any_name_is_repeated_next_to_itself() {
    use std::os::unix::ffi::OsStringExt;
    let folder = tempfile::tempdir().unwrap();
    let (run, moved) = (folder.path().join("run"), folder.path().join("moved"));
    waxwork(&small(&run, &[])).good();
    std::fs::rename(run, &moved).unwrap();
    let mut within = command(&["repeat", ".", "-q"]);
    finished(&within.current_dir(&moved).output().unwrap()).good();
    assert!(folder.path().join("moved-repeated/recipe.toml").is_file() && !moved.join(".-repeated").exists());
    let name = |ending: &[u8]| {
        folder.path().join(std::ffi::OsString::from_vec([b"\xff".as_slice(), ending].concat()))
    };
    std::fs::rename(moved, name(b"")).unwrap();
    waxwork(&["repeat".as_ref(), name(b"").as_os_str(), "-q".as_ref()]).good();
    assert!(name(b"-repeated").join("recipe.toml").is_file());
}

#[test]
fn the_first_difference_is_named_with_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (run, other) = (folder.path().join("run"), folder.path().join("other"));
    waxwork(&small(&run, &[])).good();
    waxwork(&small(&other, &["--seed", "4"])).good();
    let call = waxwork(&["runs", "diff", text(&run), text(&other)]);
    assert_eq!(call.code, Some(3), "{}", call.stderr);
    assert!(call.stderr.contains("metrics.jsonl at step 1: loss is"), "{}", call.stderr);

    // Change the log so that training cannot reproduce it, as if another program had trained the run.
    let log = run.join("metrics.jsonl");
    let mut lines: Vec<String> = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    lines[2] = lines[2].replacen(":3,", ":3,\"more\":1,", 1);
    std::fs::write(&log, lines.join("\n") + "\n").unwrap();
    let call = waxwork(&["repeat", text(&run), "-q"]);
    assert_eq!(call.code, Some(3), "{}{}", call.stdout, call.stderr);
    assert!(call.stderr.contains("metrics.jsonl line 3"), "{}", call.stderr);
}

#[test]
fn runs_that_cannot_be_repeated_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--max-time", "0"])).good();
    waxwork(&["repeat", text(&run)]).refused(&["not finished", "--resume"]);
    waxwork(&["train", "-q", "--resume", text(&run)]).good();
    let recipe = run.join("recipe.toml");
    let before = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, before.replace("steps = 4", "steps = 5")).unwrap();
    waxwork(&["repeat", text(&run)]).refused(&["train.steps is 5, but was 4"]);
    std::fs::write(&recipe, before).unwrap();
    let params = last_checkpoint(&run).join("params.safetensors");
    std::fs::write(&params, "short").unwrap();
    waxwork(&["repeat", text(&run)]).refused(&["params.safetensors", "SHA-256"]);
    assert!(!folder.path().join("run-repeated").exists());
}
