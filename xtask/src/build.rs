//! `cargo xtask build`: builds the program `waxwork`, by default optimised and with its default features.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::process;
use crate::waxwork::{self, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build `waxwork`, optimised and with default features, and print its path

Usage: cargo xtask build [--features LIST] [--no-default-features] [--debug]

Options:
  --features LIST         Enable features, separated by commas: cuda, cudnn, metal
  --no-default-features   Leave out downloads from the Hub, which halves the compile time
  --debug                 Use the dev profile, which compiles faster

The program is not tied to this machine: it selects the fastest code for the processor at run time.

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
                None => bail!("`--features` needs a list, such as `--features cuda`"),
            },
            _ if arg.starts_with("--features=") => _ = cargo.arg(arg),
            _ => bail!("unknown argument `{arg}`; `cargo xtask build --help` lists the options"),
        }
    }
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    println!("{}", waxwork::program(&workspace, profile).display());
    Ok(ExitCode::SUCCESS)
}
