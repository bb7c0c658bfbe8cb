//! Workspaces within the workspace: crates that need more than Rust and a C compiler to build.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Checks that every dependency that the Cargo.lock in `folder` shares with the main one has a version of the
/// main one.
pub(crate) fn check_lock(workspace: &Workspace, folder: &str) -> Result<()> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let own = read(workspace.root.join(folder).join("Cargo.lock"))?;
    let main = read(workspace.root.join("Cargo.lock"))?;
    let strangers = strangers(&main, &own);
    if strangers.is_empty() {
        return Ok(());
    }
    bail!(
        "{folder}/Cargo.lock differs from Cargo.lock in {}; copy Cargo.lock over it, and run `cargo metadata` in {folder} \
         to add what is missing",
        strangers.join(", ")
    )
}

/// The packages of `own` that `main` has only in other versions.
fn strangers(main: &str, own: &str) -> Vec<String> {
    let (main, own) = (locked(main), locked(own));
    let names: BTreeSet<&str> = main.iter().map(|(name, _)| *name).collect();
    let other = own.difference(&main).filter(|(name, _)| names.contains(name));
    other.map(|(name, version)| format!("{name} {version}")).collect()
}

/// Name and version of every package in a Cargo.lock.
fn locked(text: &str) -> BTreeSet<(&str, &str)> {
    let mut found = BTreeSet::new();
    let mut name = None;
    for line in text.lines() {
        let text = line.split('"').nth(1);
        if line.starts_with("name = ") {
            name = text;
        } else if line.starts_with("version = ") {
            found.extend(name.take().zip(text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_may_have_more_packages_but_no_other_versions() {
        let main = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n";
        let own = "[[package]]\nname = \"a\"\nversion = \"2.0.0\"\n[[package]]\nname = \"pyo3\"\nversion = \"0.1.0\"\n";
        assert!(strangers(main, own).is_empty());
        let newer = own.replace("2.0.0", "2.0.1");
        assert_eq!(strangers(main, &newer), ["a 2.0.1"]);
    }
}
