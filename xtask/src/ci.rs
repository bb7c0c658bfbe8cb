//! `cargo xtask ci`: what CI checks, cheapest first. CI only calls this command.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;
use crate::{book, mpi_test, paper, python_test, repro, test, tidy, web};

pub(crate) const HELP: &str = "\
Run what CI checks, cheapest first; stop at the first failure

Usage: cargo xtask ci [--quick | --crates]

Options:
  --quick    Run only format, tidy, clippy and the tests
  --crates   Only check each library crate separately, which takes minutes. The other checks build
             the whole workspace, so they do not notice if a crate fails to enable a feature

Steps: format, tidy, the book (with mdBook), dependencies (with cargo-deny), packages, clippy,
documentation, Metal (on macOS), reproducibility, one row of a published table, several processes
(with MPI), the Python package (with Python), lints of the sampler for browsers (with its target),
tests. All except these lints use the dev profile, so that they share build results.

Examples:
  cargo xtask ci --quick    before a commit
  cargo xtask ci            before a pull request
  cargo xtask ci --crates   after a change to a crate's dependencies or features";

/// A check, and whether `--quick` includes it.
struct Step {
    name: &'static str,
    quick: bool,
    run: fn(&Workspace) -> Result<()>,
}

/// The steps that need only the metadata of dependencies come first, because they share it. Then come the
/// steps that run code. The tests come last, so that the output ends with their summary.
const STEPS: [Step; 13] = [
    Step { name: "format", quick: true, run: format },
    Step { name: "tidy", quick: true, run: |workspace| tidy::check(&workspace.root) },
    Step { name: "book", quick: false, run: book },
    Step { name: "dependencies", quick: false, run: dependencies },
    Step { name: "packages", quick: false, run: packages },
    Step { name: "clippy", quick: true, run: clippy },
    Step { name: "docs", quick: false, run: docs },
    Step { name: "metal", quick: false, run: metal },
    Step { name: "repro", quick: false, run: repro::quick },
    Step { name: "paper", quick: false, run: paper::short },
    Step { name: "mpi", quick: false, run: mpi_test::short },
    Step { name: "python", quick: false, run: python_test::all },
    Step { name: "web", quick: false, run: web::all },
];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let quick = match args {
        [] => false,
        [arg] if arg == "--quick" => true,
        [arg] if arg == "--crates" => {
            each_library(&Workspace::load()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => bail!("unknown arguments `{}`; `cargo xtask ci` takes `--quick` or `--crates`", args.join(" ")),
    };
    let workspace = Workspace::load()?;
    let started = Instant::now();
    let mut times = Vec::new();
    for step in STEPS.iter().filter(|step| step.quick || !quick) {
        eprintln!("\n== {}", step.name);
        let start = Instant::now();
        (step.run)(&workspace)
            .with_context(|| format!("step `{}` failed after {}", step.name, seconds(start.elapsed())))?;
        eprintln!("== {}: {}", step.name, seconds(start.elapsed()));
        times.push(format!("{} {}", step.name, seconds(start.elapsed())));
    }
    eprintln!("\n== {} so far ({}); last step: test", seconds(started.elapsed()), times.join(", "));
    test::run(&[]).context("step `test` failed")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn format(workspace: &Workspace) -> Result<()> {
    process::run(process::cargo(&workspace.root).args(["fmt", "--all", "--check"]))
}

/// Checks licences, sources and advisories of everything in Cargo.lock against `deny.toml`.
fn dependencies(workspace: &Workspace) -> Result<()> {
    let deny = |arguments: &[&str]| {
        let mut command = process::cargo(&workspace.root);
        command.arg("deny").args(arguments);
        command
    };
    if !process::succeeds(&mut deny(&["--version"])) {
        eprintln!("skipped: cargo-deny is not installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    }
    let check = ["--locked", "check", "--hide-inclusion-graph"];
    process::run(deny(&check).args(["bans", "licenses", "sources"]))?;
    // Advisories are in a git repository on another host than the crates.
    if !process::succeeds(&mut deny(&["fetch", "db"])) {
        eprintln!("skipped the advisories: failed to fetch https://github.com/RustSec/advisory-db");
        return Ok(());
    }
    process::run(deny(&check).arg("advisories"))
}

fn book(workspace: &Workspace) -> Result<()> {
    if !book::build_if_possible(workspace)? {
        eprintln!("skipped: mdBook is not installed (`cargo install mdbook`)");
    }
    Ok(())
}

/// Checks everything with the default features, so with downloads from the Hub. The tests leave the Hub out, because
/// it takes long to compile.
fn clippy(workspace: &Workspace) -> Result<()> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(process::cargo(&workspace.root).args(arguments))
}

/// Checks that every crate can be packaged for crates.io. It does not build the crates from their archives,
/// which would compile everything again.
fn packages(workspace: &Workspace) -> Result<()> {
    let mut package = process::cargo(&workspace.root);
    package.args(["package", "--quiet", "--workspace", "--exclude", "xtask", "--exclude", "waxwork-python"]);
    package.args(["--no-verify", "--allow-dirty"]);
    process::run(&mut package)
}

/// Checks each library crate separately.
fn each_library(workspace: &Workspace) -> Result<()> {
    for package in workspace.libraries() {
        let arguments = ["check", "--quiet", "--no-default-features", "--package", &package.name];
        process::run(process::cargo(&workspace.root).args(arguments))?;
    }
    Ok(())
}

fn docs(workspace: &Workspace) -> Result<()> {
    let mut doc = process::cargo(&workspace.root);
    doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut doc)
}

/// Checks everything with Metal, which only macOS can type-check without a stand-in.
fn metal(workspace: &Workspace) -> Result<()> {
    if !cfg!(target_os = "macos") {
        eprintln!("skipped: Metal exists only on macOS");
        return Ok(());
    }
    let arguments = ["check", "--workspace", "--no-default-features", "--features", "metal"];
    process::run(process::cargo(&workspace.root).args(arguments))
}
