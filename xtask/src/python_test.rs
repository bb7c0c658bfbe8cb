//! `cargo xtask python-test`: builds the Python package and runs its tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::python;
use crate::waxwork;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the Python package in the dev profile, and run its tests in a virtual environment

Usage: cargo xtask python-test [PYTEST ARGUMENT ...]
       cargo xtask python-test --notebooks

It needs Python 3.10 or newer (`python3`, or the one that WAXWORK_PYTHON names) with its module
venv, and installs NumPy, pandas, scikit-learn, tqdm, pytest and mypy from PyPI, in the versions of
crates/python/requirements.txt. The library is built in the dev profile and placed next to the
package's files in target/python/site. Without arguments, it also checks the types, and that the
type stub matches the library.

Options:
  --notebooks   Instead of the tests, run the notebooks of crates/python/notebooks, and write them
                with their output to docs/notebooks

Examples:
  cargo xtask python-test
  cargo xtask python-test -k sample";

/// What the tests use.
pub(crate) const PACKAGES: [&str; 6] = ["numpy", "pandas", "scikit-learn", "tqdm", "pytest", "mypy"];

/// What the notebooks use.
pub(crate) const NOTEBOOK_PACKAGES: [&str; 5] = ["numpy", "pandas", "scikit-learn", "nbclient", "ipykernel"];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    test(&Workspace::load()?, args)?;
    Ok(ExitCode::SUCCESS)
}

/// The step in `cargo xtask ci`.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    let suits = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))";
    if !process::succeeds(Command::new(python::interpreter()).args(["-c", suits])) {
        eprintln!("skipped: there is no Python 3.10 with venv (set {} to name another)", python::PYTHON);
        return Ok(());
    }
    if let Err(error) = python::environment(workspace, "test", &PACKAGES) {
        eprintln!("skipped: packages for the tests cannot be installed ({error:#})");
        return Ok(());
    }
    test(workspace, &[])
}

fn test(workspace: &Workspace, args: &[String]) -> Result<()> {
    let interpreter = python::environment(workspace, "test", &PACKAGES)?;
    let program = waxwork::build_with_libraries(workspace)?;
    let site = lay_out(workspace)?;
    let folder = python::folder(workspace);
    if args == ["--notebooks"] {
        return notebooks(workspace, &site);
    }
    if args.is_empty() {
        let settings = folder.join("pyproject.toml");
        let mut types = Command::new(&interpreter);
        types.args(["-m", "mypy", "--config-file"]).arg(&settings);
        types.arg("--cache-dir").arg(workspace.target.join("python/mypy"));
        process::run(types.current_dir(&site))?;
        let mut stubs = Command::new(&interpreter);
        stubs.args(["-m", "mypy.stubtest", "waxwork._native", "--mypy-config-file"]).arg(&settings);
        process::run(stubs.current_dir(&site).env("PYTHONDONTWRITEBYTECODE", "1"))?;
    }
    let mut pytest = Command::new(&interpreter);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).args(args).current_dir(&folder);
    pytest.env("PYTHONPATH", &site).env("PYTHONDONTWRITEBYTECODE", "1").env("WAXWORK_PROGRAM", program);
    process::run(&mut pytest)
}

/// Runs the notebooks, and writes them with their output.
fn notebooks(workspace: &Workspace, site: &Path) -> Result<()> {
    let interpreter = python::environment(workspace, "notebooks", &NOTEBOOK_PACKAGES)?;
    let mut run = Command::new(interpreter);
    run.arg(python::folder(workspace).join("notebooks/run.py")).arg(workspace.root.join("docs/notebooks"));
    process::run(run.env("PYTHONPATH", site))
}

/// Copies the package's files and the library to a folder that Python can import from, and returns it.
fn lay_out(workspace: &Workspace) -> Result<PathBuf> {
    let site = workspace.target.join("python/site");
    let package = site.join("waxwork");
    // Remove what is no longer part of the package.
    if package.exists() {
        fs::remove_dir_all(&package).with_context(|| format!("failed to clear {}", package.display()))?;
    }
    fs::create_dir_all(&package).with_context(|| format!("failed to create {}", package.display()))?;
    let sources = python::folder(workspace).join("python/waxwork");
    let files = fs::read_dir(&sources).with_context(|| format!("failed to list {}", sources.display()))?;
    for file in files {
        let path = file.with_context(|| format!("failed to list {}", sources.display()))?.path();
        if path.is_file() {
            copy(&path, &package.join(path.file_name().unwrap_or_default()))?;
        }
    }
    let ending = if cfg!(windows) { ".pyd" } else { ".abi3.so" };
    let (start, built) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = workspace.target.join("debug").join(format!("{start}_native{built}"));
    if !library.exists() {
        bail!("cargo did not leave the library at {}", library.display());
    }
    copy(&library, &package.join(format!("_native{ending}")))?;
    Ok(site)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
