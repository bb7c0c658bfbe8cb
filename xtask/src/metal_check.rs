//! `cargo xtask metal-check`: checks that everything compiles for Metal, on a machine that is not a Mac.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::process;
use crate::stand_in;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Type-check all packages for Metal; needs no Mac

Usage: cargo xtask metal-check

A stand-in replaces the C compiler for Apple's processors. It compiles nothing, so nothing is linked
or run. The command needs Rust's standard library for these processors.

Examples:
  rustup target add aarch64-apple-darwin && cargo xtask metal-check";

const TARGET: &str = "aarch64-apple-darwin";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(unknown) = args.first() {
        bail!("unknown argument `{unknown}`; `cargo xtask metal-check` takes no arguments");
    }
    if cfg!(target_os = "macos") {
        bail!(
            "a Mac needs no stand-in; run `cargo check --workspace --no-default-features --features metal`"
        );
    }
    let workspace = Workspace::load()?;
    let folder = workspace.target.join("metal-check");
    let bin = folder.join("stand-in");
    let mut cargo = stand_in::check(&workspace, "metal", &folder);
    cargo.args(["--target", TARGET]);
    for (variable, tool) in [("CC", "cc"), ("CXX", "cc"), ("AR", "ar")] {
        let variable = format!("{variable}_{}", TARGET.replace('-', "_"));
        cargo.env(variable, stand_in::install(&bin, tool)?);
    }
    // The folder in which build scripts look for Apple's headers.
    process::run(cargo.env("SDKROOT", &bin))?;
    eprintln!("type-checked with a stand-in for the C compiler");
    Ok(ExitCode::SUCCESS)
}
