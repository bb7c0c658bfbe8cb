//! `cargo xtask datasets`: builds the program and passes its arguments to `waxwork data`.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the program `waxwork` and run `waxwork data`

Usage: cargo xtask datasets [list|info|fetch|verify|show] [arguments for `waxwork data`]

Without arguments, the command lists the data sets. The first `fetch` compiles the code for
downloads, which takes minutes.

Examples:
  cargo xtask datasets
  cargo xtask datasets verify mnist --data-dir path/to/data
  cargo xtask datasets fetch mnist";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let hub = if args.first().is_some_and(|arg| arg == "fetch") { Hub::On } else { Hub::Off };
    let program = waxwork::build(&Workspace::load()?, Profile::Release, hub)?;
    let mut data = Command::new(program);
    data.arg("data").args(args);
    if args.is_empty() {
        data.arg("list");
    }
    process::hand_over(&mut data)
}
