//! `cargo xtask build`: builds the program `waxwork`, by default optimised and with its default features.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::process;
use crate::waxwork::{self, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Builds the program `waxwork`, optimised, with its default features, and prints where it is

Usage: cargo xtask build [--features LIST] [--no-default-features] [--debug]

Options:
  --features LIST         turn on features, with commas between: cuda, cudnn, metal
  --no-default-features   leave out downloads from the Hub; compiles in half the time
  --debug                 build quickly, with the dev profile

No flag ties the program to this machine: fast code is chosen when it runs.

Examples:
  cargo xtask build
  cargo xtask build --features cuda";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["build", "--package", "waxwork-cli"]);
    let mut profile = Profile::Release;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--debug" => profile = Profile::Dev,
            "--no-default-features" => _ = cargo.arg(arg),
            "--features" => match args.next() {
                Some(list) => _ = cargo.args([arg, list]),
                None => bail!("`--features` needs a list, e.g. `--features cuda`"),
            },
            _ if arg.starts_with("--features=") => _ = cargo.arg(arg),
            _ => bail!("unknown argument `{arg}`; `cargo xtask build --help` lists them"),
        }
    }
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    println!("{}", waxwork::program(&workspace, profile).display());
    Ok(ExitCode::SUCCESS)
}
