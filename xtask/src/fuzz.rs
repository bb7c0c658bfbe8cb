//! `cargo xtask fuzz`: runs a fuzzer on every reader of untrusted bytes.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{nearest, process};

pub(crate) const HELP: &str = "\
Fuzz the file readers, one target after another; stop at the first failure

Usage: cargo xtask fuzz [TARGET ...] [--seconds N]

The targets are the files in fuzz/targets. By default, all of them run. The command needs cargo-fuzz
(`cargo install cargo-fuzz --locked`) and a C++ compiler. The first build takes some minutes. An
input fails if it causes a panic, a single allocation of more than 600 MiB, or a run of more than 20
seconds; the fuzzer keeps it in fuzz/artifacts. It keeps inputs that reach new code in fuzz/corpus,
and the next run starts from them.

Options:
  --seconds N   Time for each target, in seconds [default: 60]

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
                let number = args.next().context("`--seconds` needs a number")?;
                seconds = number
                    .parse()
                    .with_context(|| format!("`--seconds` needs a whole number, not `{number}`"))?;
            }
            _ if known.contains(arg) => wanted.push(arg.clone()),
            _ => {
                let near = nearest::nearest(arg, known.iter().map(String::as_str));
                let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
                bail!("unknown target `{arg}`; {near}known targets: {}", known.join(", "));
            }
        }
    }
    if wanted.is_empty() {
        wanted = known;
    }
    if !process::succeeds(process::cargo(&workspace.root).args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is not installed; install it with `cargo install cargo-fuzz --locked`");
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
        // This feature takes half of the build time, and only one target needs it.
        command.args(["--features", "parquet"]);
    }
    command.args([target, "--"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-timeout=20", "-malloc_limit_mb=600", "-rss_limit_mb=3000", "-print_final_stats=1"]);
    // The instrumentation is an unstable feature; this variable enables it in the stable compiler.
    process::run(command.env("RUSTC_BOOTSTRAP", "1"))
}
