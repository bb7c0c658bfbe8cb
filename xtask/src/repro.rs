//! `cargo xtask repro`: trains recipes several times and compares the bytes of what comes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Trains recipes for a few steps several times, with several numbers of threads, and compares bytes

Usage: cargo xtask repro [--quick] [RECIPE ...]

Without recipes it takes those that `cargo xtask train` runs. It compares the weights and the
metrics of all runs; the run folders stay in target/repro.

Options:
  --quick   fewer and shorter runs, with the dev profile: what `cargo xtask ci` does

Examples:
  cargo xtask repro
  cargo xtask repro --quick vae-digits";

/// The files of a run that must not depend on anything but recipe, seed and version.
const COMPARED: [&str; 2] = ["model.safetensors", "metrics.jsonl"];

/// How thoroughly to look.
struct Plan {
    profile: Profile,
    steps: u32,
    /// Threads of each run; all are compared with the first.
    threads: &'static [u32],
}

const QUICK: Plan = Plan { profile: Profile::Dev, steps: 6, threads: &[1, 2] };
const FULL: Plan = Plan { profile: Profile::Release, steps: 40, threads: &[1, 1, 2, 8] };

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let mut plan = &FULL;
    let mut recipes = Vec::new();
    for arg in args {
        match arg.as_str() {
            "--quick" => plan = &QUICK,
            _ if arg.starts_with('-') => {
                bail!("unknown option `{arg}`; `cargo xtask repro --help` lists them")
            }
            _ => recipes.push(arg.clone()),
        }
    }
    check(&Workspace::load()?, plan, recipes)?;
    Ok(ExitCode::SUCCESS)
}

/// The short form, as a step of CI.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    check(workspace, &QUICK, Vec::new())
}

fn check(workspace: &Workspace, plan: &Plan, mut recipes: Vec<String>) -> Result<()> {
    let program = waxwork::build(workspace, plan.profile, Hub::Off)?;
    if recipes.is_empty() {
        recipes = waxwork::quickstart(&waxwork::recipes(&program)?);
    }
    let mut differences = Vec::new();
    for recipe in &recipes {
        let folder = workspace.target.join("repro").join(recipe);
        let runs = train(&program, recipe, plan, &folder)?;
        differences.extend(compare(recipe, &runs)?);
    }
    if !differences.is_empty() {
        bail!("not the same bytes:\n  {}", differences.join("\n  "));
    }
    Ok(())
}

/// One run for each entry of the plan's threads, in a fresh `folder`.
fn train(program: &Path, recipe: &str, plan: &Plan, folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("failed to clear {}", folder.display()))?;
    }
    let mut runs = Vec::new();
    for (number, threads) in plan.threads.iter().enumerate() {
        let run = folder.join(format!("{number}-threads-{threads}"));
        let mut train = Command::new(program);
        train.args([
            "train",
            recipe,
            "-q",
            "--steps",
            &plan.steps.to_string(),
            "--threads",
            &threads.to_string(),
        ]);
        train.args([
            "--set",
            &format!("train.checkpoint_every={}", plan.steps / 2),
            "--set",
            "train.log_every=1",
        ]);
        train.arg("--out").arg(&run);
        process::run(&mut train)?;
        runs.push(run);
    }
    Ok(runs)
}

/// Prints the hashes and says where a run differs from the first.
fn compare(recipe: &str, runs: &[PathBuf]) -> Result<Vec<String>> {
    let Some((first, others)) = runs.split_first() else { return Ok(Vec::new()) };
    let mut differences = Vec::new();
    for name in COMPARED {
        let expected = read(&first.join(name))?;
        println!("{recipe:<20} {name:<18} {}  {} runs", &hash(&expected)[..16], runs.len());
        for run in others {
            let found = read(&run.join(name))?;
            if found != expected {
                let place = first_difference(&expected, &found);
                differences.push(format!(
                    "{} against {}: {place}",
                    run.join(name).display(),
                    first.display()
                ));
            }
        }
    }
    Ok(differences)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    if bytes.is_empty() {
        bail!("{} is empty: nothing was compared", path.display());
    }
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where two files part: a line of a text, a byte of anything else.
fn first_difference(expected: &[u8], found: &[u8]) -> String {
    let same = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    match std::str::from_utf8(expected) {
        Ok(text) if !text.contains('\0') => {
            let line = expected[..same].iter().filter(|byte| **byte == b'\n').count();
            let line_of =
                |bytes| String::from_utf8_lossy(bytes).lines().nth(line).unwrap_or("nothing").to_owned();
            format!("line {}: {} instead of {}", line + 1, line_of(found), line_of(expected))
        }
        _ => format!("byte {same} of {} and {}", found.len(), expected.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_sha256sum_does() {
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn says_where_files_part() {
        assert_eq!(first_difference(b"a\nb\nc\n", b"a\nx\nc\n"), "line 2: x instead of b");
        assert_eq!(first_difference(b"a\nb\n", b"a\n"), "line 2: nothing instead of b");
        assert_eq!(first_difference(b"\0\xff\x01", b"\0\xff\x02"), "byte 2 of 3 and 3");
    }

    #[test]
    fn runs_that_differ_are_named() {
        let folder = std::env::temp_dir().join(format!("xtask-repro-{}", std::process::id()));
        let runs = ["same", "first", "other"].map(|name| folder.join(name));
        for (run, metrics) in runs.iter().zip(["1\n2\n", "1\n2\n", "1\n3\n"]) {
            fs::create_dir_all(run).unwrap();
            fs::write(run.join("model.safetensors"), "weights").unwrap();
            fs::write(run.join("metrics.jsonl"), metrics).unwrap();
        }
        let differences = compare("recipe", &runs).unwrap();
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert!(
            differences[0].contains("other") && differences[0].contains("line 2: 3 instead of 2"),
            "{differences:?}"
        );
        fs::write(runs[0].join("metrics.jsonl"), "").unwrap();
        assert!(compare("recipe", &runs).is_err(), "an empty file proves nothing");
        fs::remove_dir_all(folder).unwrap();
    }
}
