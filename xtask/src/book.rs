//! `cargo xtask book`: builds the book in docs/book with mdBook.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the book, docs/book, as a web site in target/book

Usage: cargo xtask book

This needs mdBook (`cargo install mdbook`). To check only the links and inclusions of the book, run
`cargo xtask tidy`, which needs no other program.

Examples:
  cargo xtask book";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(arg) = args.first() {
        bail!("unknown argument `{arg}`; `cargo xtask book` takes no arguments");
    }
    let workspace = Workspace::load()?;
    if !build_if_possible(&workspace)? {
        bail!("mdBook is not installed; install it with `cargo install mdbook`");
    }
    println!("{}", workspace.root.join("target").join("book").join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the book if mdBook is installed. Returns whether it is.
pub(crate) fn build_if_possible(workspace: &Workspace) -> Result<bool> {
    if !process::succeeds(Command::new("mdbook").arg("--version")) {
        return Ok(false);
    }
    process::run(Command::new("mdbook").arg("build").arg(workspace.root.join("docs").join("book")))?;
    Ok(true)
}
