//! Runs the binary, and inspects its output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use waxwork_core::{Device, Tensor, store};

/// The result of one call of the binary.
pub(crate) struct Call {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary with these arguments, not yet started.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waxwork"));
    command.args(arguments).stdin(Stdio::null()).env_remove("WAXWORK_DATA_DIR").env_remove("RUST_LOG");
    // Keep the binary's cache between tests, but not among the user's own files.
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Trains a small model of `recipe`. Returns the temporary folder, which is removed when dropped,
/// and the run in it.
pub(crate) fn trained(recipe: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = folder.path().join("run");
    waxwork(&small_of(recipe, &run, &[])).good();
    (folder, run)
}

/// Runs the binary to its end.
pub(crate) fn waxwork<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Call {
    finished(&command(arguments).output().expect("the binary starts"))
}

pub(crate) fn finished(output: &Output) -> Call {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Call { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

impl Call {
    /// Asserts success.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Asserts failure with one clear line that contains every one of `words`, and without a panic.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) {
        assert!(matches!(self.code, Some(1 | 2)), "code {:?}: {}{}", self.code, self.stdout, self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for word in words {
            assert!(errors[0].contains(word), "`{word}` is not in: {}", errors[0]);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// A metric of metrics.json with all its fields; null if it does not exist.
pub(crate) fn metric<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let metrics = report["metrics"].as_array().expect("a list of metrics");
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or(&serde_json::Value::Null)
}

/// The arguments that train a small VAE on embedded digits in `folder`, and `more`.
pub(crate) fn small(folder: &Path, more: &[&str]) -> Vec<String> {
    small_of("vae-digits", folder, more)
}

/// The arguments that train a small model of a recipe in `folder`, and `more`.
pub(crate) fn small_of(recipe: &str, folder: &Path, more: &[&str]) -> Vec<String> {
    let out = folder.to_str().expect("a readable path");
    let base = [
        "train",
        recipe,
        "--out",
        out,
        "-q",
        "--steps",
        "4",
        "--set",
        "train.seed=3",
        "--set",
        "train.batch_size=16",
        "--set",
        "train.log_every=1",
        "--set",
        "data.limit=200",
        "--set",
        "data.validation=64",
        "--set",
        "optimizer.ema=0.9",
    ];
    base.iter().chain(more).map(ToString::to_string).collect()
}

/// [`small`] with another number of steps.
pub(crate) fn small_of_steps(folder: &Path, steps: u64, more: &[&str]) -> Vec<String> {
    let mut arguments = small(folder, more);
    let at = arguments.iter().position(|argument| argument == "--steps").expect("steps");
    arguments[at + 1] = steps.to_string();
    arguments
}

/// Resumes a run.
pub(crate) fn resume(run: &Path) -> Call {
    finished(&resumption(run).output().expect("the binary starts"))
}

/// The command that resumes a run.
pub(crate) fn resumption(run: &Path) -> Command {
    command(&["train", "--resume", run.to_str().expect("a readable path"), "-q"])
}

/// Returns a finished run to its state between its last checkpoint and its end.
pub(crate) fn unfinish(run: &Path) {
    std::fs::remove_file(run.join("model.safetensors")).expect("a result");
    let info = std::fs::read_to_string(run.join("run.json")).expect("run.json");
    std::fs::write(run.join("run.json"), info.replace("\"finished\"", "\"running\"")).expect("run.json");
}

/// The contents of a run's run.json.
pub(crate) fn run_json(run: &Path) -> serde_json::Value {
    let bytes = std::fs::read(run.join("run.json")).expect("run.json");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Checks that a finished run has the bytes of a run that is trained next to it, by the arguments for its
/// folder, and that a resume gives the same bytes.
pub(crate) fn check_repeats(run: &Path, arguments: impl FnOnce(&Path) -> Vec<String>) {
    let again = run.with_file_name("again");
    let arguments = arguments(&again);
    waxwork(&arguments).good();
    let before = deterministic_files(run);
    assert_eq!(before, deterministic_files(&again), "{arguments:?}");
    unfinish(run);
    resume(run).good();
    assert_eq!(before, deterministic_files(run), "{arguments:?}");
}

/// The contents of every file of a finished run that must depend only on recipe and seed.
pub(crate) fn deterministic_files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in ["recipe.toml", "metrics.jsonl", "model.safetensors"] {
        files.insert(PathBuf::from(name), std::fs::read(run.join(name)).expect(name));
    }
    // Only calibrated models of tables have it.
    if let Ok(maps) = std::fs::read(run.join("quantiles.json")) {
        files.insert(PathBuf::from("quantiles.json"), maps);
    }
    let last = last_checkpoint(run);
    for name in ["params.safetensors", "optimizers.safetensors", "state.json"] {
        files.insert(PathBuf::from(name), std::fs::read(last.join(name)).expect(name));
    }
    for entry in std::fs::read_dir(run.join("samples")).expect("samples") {
        let path = entry.expect("an entry").path();
        files.insert(path.file_name().expect("a name").into(), std::fs::read(&path).expect("a picture"));
    }
    files
}

pub(crate) fn last_checkpoint(run: &Path) -> PathBuf {
    let entries = std::fs::read_dir(run.join("checkpoints")).expect("checkpoints");
    entries.map(|entry| entry.expect("an entry").path()).max().expect("a checkpoint")
}

/// The named tensor of a safetensors file.
pub(crate) fn tensor(path: &Path, name: &str) -> Tensor {
    store::load(path, &Device::Cpu).expect("a tensor file").remove(name).expect(name)
}

/// The folder with real data, if there is one; otherwise prints that there is none.
pub(crate) fn real_data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WAXWORK_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {test} needs real data; set WAXWORK_TEST_DATA");
    }
    folder
}
