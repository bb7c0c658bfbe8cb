//! The Python package in `crates/python`: environments for its tools.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// The variable that names the Python to use instead of `python3`.
pub(crate) const PYTHON: &str = "WAXWORK_PYTHON";

/// The folder of the package.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("crates/python")
}

/// The interpreter to make environments with.
pub(crate) fn interpreter() -> PathBuf {
    std::env::var_os(PYTHON).map_or_else(|| "python3".into(), PathBuf::from)
}

/// The file that has the exact version of every package from PyPI.
fn pins(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("requirements.txt")
}

/// Makes the virtual environment `name` with these packages from PyPI in the pinned versions, unless it is
/// there already, and returns its Python.
pub(crate) fn environment(workspace: &Workspace, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let pins = pins(workspace);
    let versions = fs::read_to_string(&pins).with_context(|| format!("failed to read {}", pins.display()))?;
    check_pinned(packages, &versions)?;
    let folder = workspace.target.join("python").join(name);
    let python = tool(&folder, "python");
    // Written last, so that an installation that failed is repeated.
    let done = folder.join("packages.txt");
    let wanted = format!("{}\n{versions}", packages.join("\n"));
    if fs::read_to_string(&done).is_ok_and(|found| found == wanted) && python.exists() {
        return Ok(python);
    }
    process::run(Command::new(interpreter()).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    process::run(install.arg("--constraint").arg(&pins).args(packages))?;
    fs::write(&done, wanted).with_context(|| format!("failed to write {}", done.display()))?;
    Ok(python)
}

/// Checks that each of these packages has an exact version in `pins`.
fn check_pinned(packages: &[&str], pins: &str) -> Result<()> {
    let pinned: BTreeSet<&str> = pins.lines().filter_map(|line| Some(line.split_once("==")?.0)).collect();
    match packages.iter().find(|package| !pinned.contains(**package)) {
        Some(package) => bail!("crates/python/requirements.txt has no version of {package}"),
        None => Ok(()),
    }
}

/// A program of a virtual environment.
pub(crate) fn tool(environment: &Path, name: &str) -> PathBuf {
    let folder = if cfg!(windows) { "Scripts" } else { "bin" };
    environment.join(folder).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_an_exact_version() {
        let pins = include_str!("../../crates/python/requirements.txt");
        let inexact = |line: &&str| !line.starts_with('#') && !line.contains("==");
        assert_eq!(pins.lines().find(inexact), None);
        for packages in
            [&crate::python_test::PACKAGES[..], &crate::python_test::NOTEBOOK_PACKAGES, &["maturin"]]
        {
            check_pinned(packages, pins).unwrap();
        }
        assert!(check_pinned(&["numpy"], "# numpy==2.0.0\nnumpy>=2.0.0\n").is_err());
    }
}
