//! `cargo xtask wheel`: packs the Python package for people who have no Rust.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::python;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build a wheel of the Python package, optimised and stripped, which also contains the command

Usage: cargo xtask wheel [--features LIST] [--no-default-features]

One wheel per platform works with every Python from 3.10 on. It is written to target/wheels. The
command installs the tool that packs it, maturin, from PyPI into target/python.

Examples:
  cargo xtask wheel
  cargo xtask wheel --no-default-features    without data sets of the Hub";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut build = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match (arg.as_str(), rest.as_slice().first()) {
            ("--no-default-features", _) => build.push(arg.clone()),
            ("--features", Some(list)) => {
                build.extend([arg.clone(), (*list).clone()]);
                rest.next();
            }
            _ => bail!("unknown argument `{arg}`, or it needs a value; see `cargo xtask wheel --help`"),
        }
    }
    let interpreter = python::environment(&workspace, "wheel", &["maturin"])?;
    let out = workspace.target.join("wheels");
    let mut maturin = Command::new(&interpreter);
    maturin.args(["-m", "maturin", "build", "--release", "--locked", "--interpreter"]).arg(&interpreter);
    maturin.arg("--target-dir").arg(&workspace.target).arg("--out").arg(&out).args(&build);
    process::run(maturin.current_dir(python::folder(&workspace)))?;
    Ok(ExitCode::SUCCESS)
}
