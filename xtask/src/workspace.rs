//! The workspace according to cargo: its folder, its packages, and its target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The workspace.
pub(crate) struct Workspace {
    /// The folder of the root Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// Its members.
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) is_library: bool,
}

impl Workspace {
    /// Loads the workspace from `cargo metadata`.
    pub(crate) fn load() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let text = process::output(process::cargo(here).args(arguments))?;
        let value = serde_json::from_str(&text).context("failed to parse the output of `cargo metadata`")?;
        Self::from_metadata(&value).context("the output of `cargo metadata` has an unexpected structure")
    }

    fn from_metadata(value: &Value) -> Option<Self> {
        let path = |key: &str| value.get(key)?.as_str().map(PathBuf::from);
        let packages = value.get("packages")?.as_array()?.iter().map(Package::from_metadata);
        Some(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            packages: packages.collect::<Option<_>>()?,
        })
    }

    /// The members that have a library.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_library)
    }
}

impl Package {
    fn from_metadata(value: &Value) -> Option<Self> {
        let is_library = |target: &Value| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"))
        };
        Some(Self {
            name: value.get("name")?.as_str()?.to_owned(),
            is_library: value.get("targets")?.as_array()?.iter().any(is_library),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargo_metadata() {
        let text = r#"{"workspace_root": "/r", "target_directory": "/r/target", "packages": [
            {"name": "a", "targets": [{"kind": ["example"]}, {"kind": ["lib"]}]},
            {"name": "b", "targets": [{"kind": ["bin"]}]}]}"#;
        let workspace = Workspace::from_metadata(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(workspace.root, Path::new("/r"));
        let a = Package { name: "a".into(), is_library: true };
        let b = Package { name: "b".into(), is_library: false };
        assert_eq!(workspace.libraries().collect::<Vec<_>>(), [&a]);
        assert_eq!(workspace.packages, [a, b]);
        assert!(Workspace::from_metadata(&Value::Null).is_none());
    }

    #[test]
    fn finds_itself() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.packages.iter().any(|package| package.name == "xtask" && !package.is_library));
        assert!(workspace.root.join("xtask").is_dir());
    }
}
