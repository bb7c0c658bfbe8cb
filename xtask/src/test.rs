//! `cargo xtask test`: the whole test suite, with the runner's own summary as the last lines.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

/// Folder with the files of real data sets, for tests that use them.
const DATA: &str = "WAXWORK_TEST_DATA";

pub(crate) const HELP: &str = "\
Run the whole test suite: doc tests, then unit and end-to-end tests

Usage: cargo xtask test [FILTER ...]

With filters, the command runs only the tests whose names contain one of them, and no doc tests. It
uses cargo-nextest if that is installed, and `cargo test` otherwise. The output ends with the
summary of the test runner.

Help, tables and errors must agree with their snapshots in tests/snapshots. The command never writes
a snapshot. To update the snapshots, run
`INSTA_UPDATE=always cargo nextest run --workspace snapshots` and review the diff.

WAXWORK_TEST_DATA names a folder with the files of real data sets (mnist/train-images-idx3-ubyte.gz
and so on). Without it, the tests on real data are skipped.

Examples:
  cargo xtask test
  cargo xtask test resume checkpoint
  WAXWORK_TEST_DATA=path/to/data cargo xtask test";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let data = data_folder()?;
    // The end-to-end tests run the program.
    waxwork::build(&workspace, Profile::Dev, Hub::Off)?;
    if args.is_empty() {
        process::run(with_data(&mut doc_tests(&workspace.root), data.as_deref()))?;
    }
    process::hand_over(with_data(&mut runner(&workspace.root, args), data.as_deref()))
}

/// Returns the absolute path of the folder with real data sets, if it is set. Each test runs in the folder of
/// its package, where a relative path would name another folder.
fn data_folder() -> Result<Option<PathBuf>> {
    let Some(folder) = env::var_os(DATA).filter(|folder| !folder.is_empty()) else {
        eprintln!("{DATA} is not set: tests on real data are skipped");
        return Ok(None);
    };
    let folder = PathBuf::from(folder);
    folder
        .canonicalize()
        .map(Some)
        .with_context(|| format!("failed to find `{}`, the folder that {DATA} names", folder.display()))
}

fn with_data<'a>(command: &'a mut Command, folder: Option<&Path>) -> &'a mut Command {
    match folder {
        Some(folder) => command.env(DATA, folder),
        None => command.env_remove(DATA),
    }
}

fn doc_tests(root: &Path) -> Command {
    let mut command = process::cargo(root);
    command.args(["test", "--quiet", "--doc", "--workspace", "--no-default-features"]);
    command
}

fn runner(root: &Path, filters: &[String]) -> Command {
    let mut command = process::cargo(root);
    // A snapshot that differs fails the test; no new one is written.
    command.env("INSTA_UPDATE", "no");
    if process::succeeds(process::cargo(root).args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--workspace", "--no-default-features"]).args(filters);
    } else {
        command.args([
            "test",
            "--workspace",
            "--no-default-features",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
            "--",
        ]);
        command.args(filters);
    }
    command
}
