//! `cargo xtask fuzz`: runs a fuzzer on every reader of untrusted bytes.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{nearest, process};

pub(crate) const HELP: &str = "\
Fuzzes the readers of files, one target after another, and stops at the first input that breaks one

Usage: cargo xtask fuzz [TARGET ...] [--seconds N]

Targets are the files of fuzz/targets; without any named, all run. It needs cargo-fuzz
(`cargo install cargo-fuzz --locked`) and a C++ compiler; the first build takes some minutes.
An input that panics, takes more than 600 MiB at once or 20 seconds is kept in fuzz/artifacts;
inputs that reached new code are kept in fuzz/corpus, and the next run starts from them.

Options:
  --seconds N   for each target [default: 60]

Examples:
  cargo xtask fuzz
  cargo xtask fuzz npy --seconds 600";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let known = targets(&workspace.root)?;
    let (mut seconds, mut wanted) = (60, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let number = args.next().context("--seconds wants a number")?;
                seconds = number.parse().with_context(|| format!("--seconds {number}: no number"))?;
            }
            _ if known.contains(arg) => wanted.push(arg.clone()),
            _ => {
                let near = nearest::nearest(arg, known.iter().map(String::as_str));
                let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                bail!("unknown target `{arg}`{near} (there are {})", known.join(", "));
            }
        }
    }
    if wanted.is_empty() {
        wanted = known;
    }
    if !process::succeeds(process::cargo(&workspace.root).args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not installed: `cargo install cargo-fuzz --locked`");
    }
    // Use the same dependency versions as the rest of the workspace.
    let lock = workspace.root.join("fuzz/Cargo.lock");
    if !lock.exists() {
        fs::copy(workspace.root.join("Cargo.lock"), &lock).context("failed to write fuzz/Cargo.lock")?;
    }
    for target in &wanted {
        fuzz(&workspace.root, target, seconds)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(root.join("fuzz/targets")).context("failed to list fuzz/targets")?;
    let mut names = Vec::new();
    for file in files {
        let path = file.context("failed to list fuzz/targets")?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn fuzz(root: &Path, target: &str, seconds: u32) -> Result<()> {
    let mut command = process::cargo(root);
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz"]);
    if target == "parquet" {
        // This feature is half of the build, and only one target needs it.
        command.args(["--features", "parquet"]);
    }
    command.args([target, "--"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-timeout=20", "-malloc_limit_mb=600", "-rss_limit_mb=3000", "-print_final_stats=1"]);
    // Instrumentation is unstable, but this variable enables it in the stable compiler.
    process::run(command.env("RUSTC_BOOTSTRAP", "1"))
}
