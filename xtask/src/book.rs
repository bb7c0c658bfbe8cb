//! `cargo xtask book`: builds the book in docs/book with mdBook, and the page with digits that it links to.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::web;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the book, docs/book, as a web site in target/book

Usage: cargo xtask book

The front page links to a page that draws digits in a browser. For it, the command builds the
program and its sampler for browsers, and trains `cgan-digits`, once: the run stays in target.

This needs mdBook (`cargo install mdbook`) and Rust's standard library for browsers (`rustup target
add wasm32-unknown-unknown`). To check only the links and inclusions of the book, run
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
    let book = workspace.root.join("target").join("book");
    draw_digits(&workspace, &book.join("digits.html"))?;
    println!("{}", book.join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Writes the page that draws digits in a browser.
fn draw_digits(workspace: &Workspace, page: &Path) -> Result<()> {
    let module = web::module(workspace)?;
    let program = waxwork::build(workspace, Profile::Release, Hub::Off)?;
    let run = workspace.target.join("cgan-digits");
    process::run(Command::new(&program).args(["train", "cgan-digits", "--continue", "--out"]).arg(&run))?;
    let mut export = Command::new(&program);
    export.arg("export").arg(&run).args(["--format", "web", "--wasm"]).arg(module).arg("--out").arg(page);
    process::run(&mut export)
}

/// Builds the book if mdBook is installed. Returns whether it is.
pub(crate) fn build_if_possible(workspace: &Workspace) -> Result<bool> {
    if !process::succeeds(Command::new("mdbook").arg("--version")) {
        return Ok(false);
    }
    process::run(Command::new("mdbook").arg("build").arg(workspace.root.join("docs").join("book")))?;
    Ok(true)
}
