//! The program `waxwork`: builds it, and queries its recipes and data sets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

const PACKAGE: &str = "waxwork-cli";
const PROGRAM: &str = "waxwork";

/// What a build in the dev profile selects: the same packages and kinds of targets as the tests. Otherwise cargo would
/// unify the features of dependencies differently and compile candle twice.
const DEV: [&str; 4] = ["--workspace", "--bin", PROGRAM, "--examples"];

/// The tag of the recipes that `cargo xtask train` runs by default.
const QUICKSTART: &str = "quickstart";

/// Data sets that are embedded in the program.
const EMBEDDED: [&str; 2] = ["digits", "shapes"];

/// The optimisation of the build.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Whether the program can download data. By default it cannot: the Hub needs an HTTP stack, parquet and
/// tokenizers, which take longer to compile than everything else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hub {
    Off,
    On,
}

/// Builds the program, without flags that tie it to this machine, and returns its path.
pub(crate) fn build(workspace: &Workspace, profile: Profile, hub: Hub) -> Result<PathBuf> {
    build_for(workspace, profile, hub, "cpu")
}

/// Like [`build`], with support for a device: `cpu`, `cuda`, `cuda:N` or `metal`.
pub(crate) fn build_for(workspace: &Workspace, profile: Profile, hub: Hub, device: &str) -> Result<PathBuf> {
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["build", "--no-default-features"]);
    match profile {
        Profile::Dev => _ = cargo.args(DEV),
        Profile::Release => _ = cargo.args(["--release", "--package", PACKAGE]),
    }
    if hub == Hub::On {
        cargo.args(["--features", "hub"]);
    }
    // The program itself reports an unknown device.
    if let Some(feature @ ("cuda" | "metal")) = device.split(':').next() {
        cargo.args(["--features", feature]);
    }
    process::run(&mut cargo)?;
    Ok(program(workspace, profile))
}

/// Builds the program and all libraries, among them that of the Python package, in the dev profile.
pub(crate) fn build_with_libraries(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = process::cargo(&workspace.root);
    process::run(cargo.args(["build", "--no-default-features", "--lib"]).args(DEV))?;
    Ok(program(workspace, Profile::Dev))
}

/// The path at which cargo puts the program.
pub(crate) fn program(workspace: &Workspace, profile: Profile) -> PathBuf {
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    workspace.target.join(folder).join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX))
}

/// The version and revision of a program, as `VERSION (REVISION)`.
pub(crate) fn version(program: &Path) -> Result<String> {
    let text = process::output(Command::new(program).args(["doctor", "--json"]))?;
    let info: Value =
        serde_json::from_str(&text).context("failed to parse the output of `waxwork doctor --json`")?;
    Ok(version_in(&info))
}

/// The version and revision in the output of `waxwork doctor --json`, or in a run.json.
pub(crate) fn version_in(info: &Value) -> String {
    let text = |key: &str| info[key].as_str().unwrap_or("unknown");
    format!("{} ({})", text("version"), text("revision"))
}

/// A recipe as `waxwork recipes list --json` shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
}

/// All recipes of the program.
pub(crate) fn recipes(program: &Path) -> Result<Vec<Recipe>> {
    let text = process::output(Command::new(program).args(["recipes", "list", "--json"]))?;
    parse_recipes(&text).context("the output of `waxwork recipes list --json` has an unexpected structure")
}

fn parse_recipes(text: &str) -> Option<Vec<Recipe>> {
    let recipe = |value: &Value| {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let tags = value.get("tags")?.as_array()?.iter().filter_map(Value::as_str);
        let (name, data, description) = (text("name")?, text("data")?, text("description")?);
        Some(Recipe { name, data, description, tags: tags.map(str::to_owned).collect() })
    };
    serde_json::from_str::<Value>(text).ok()?.as_array()?.iter().map(recipe).collect()
}

/// The recipes to start with: one per family, small, on embedded data.
pub(crate) fn quickstart(recipes: &[Recipe]) -> Vec<String> {
    let tagged = recipes.iter().filter(|recipe| recipe.tags.iter().any(|tag| tag == QUICKSTART));
    tagged.map(|recipe| recipe.name.clone()).collect()
}

/// A data set that a recipe or a command line asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DataAsked {
    pub(crate) name: String,
    /// The folder with its files; if None, the program's own lookup (`WAXWORK_DATA_DIR`).
    pub(crate) dir: Option<String>,
}

impl DataAsked {
    /// The data set that the `[data]` table of a recipe file asks for, if the file can be read. The program
    /// itself reports an unreadable recipe.
    pub(crate) fn of_recipe_file(path: &Path) -> Option<Self> {
        Self::of_recipe(&fs::read_to_string(path).ok()?)
    }

    fn of_recipe(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim);
        let table =
            lines.skip_while(|line| *line != "[data]").skip(1).take_while(|line| !line.starts_with('['));
        let pairs: Vec<(&str, &str)> = table.filter_map(|line| line.split_once('=')).collect();
        let value = |key: &str| {
            let (_, value) = pairs.iter().find(|(found, _)| found.trim() == key)?;
            value.trim().strip_prefix('"')?.split('"').next().map(str::to_owned)
        };
        Some(Self { name: value("name")?, dir: value("dir") })
    }

    /// Whether the data set must be downloaded: it is not embedded, and the program reports that some of its
    /// files are missing. The program itself reports unknown and damaged data sets.
    pub(crate) fn needs_download(&self, program: &Path) -> Result<bool> {
        if EMBEDDED.contains(&self.name.as_str()) {
            return Ok(false);
        }
        let mut verify = Command::new(program);
        verify.args(["data", "verify", &self.name]);
        if let Some(dir) = &self.dir {
            verify.args(["--data-dir", dir]);
        }
        Ok(process::everything_printed(&mut verify)?.contains("missing"))
    }
}

/// Rebuilds the program with support for downloads if any of `asked` must be downloaded.
pub(crate) fn add_hub_if_needed(
    workspace: &Workspace,
    program: &Path,
    asked: &[DataAsked],
    device: &str,
) -> Result<()> {
    for data in asked {
        if data.needs_download(program)? {
            eprintln!(
                "files of data set `{}` are missing; building the program again with support for downloads",
                data.name
            );
            return build_for(workspace, Profile::Release, Hub::On, device).map(drop);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[
        {"name": "vae-digits", "family": "vae", "data": "digits", "description": "…", "tags": ["quickstart"]},
        {"name": "vae-mnist", "family": "vae", "data": "mnist", "description": "…", "tags": []}]"#;

    #[test]
    fn reads_the_list_of_recipes() {
        let recipes = parse_recipes(LIST).unwrap();
        assert_eq!((recipes.len(), recipes[1].data.as_str()), (2, "mnist"));
        assert_eq!(quickstart(&recipes), ["vae-digits"]);
        assert!(
            parse_recipes("{}").is_none() && parse_recipes("[{}]").is_none() && parse_recipes("").is_none()
        );
    }

    #[test]
    fn a_version_has_its_revision() {
        let of = |text: &str| version_in(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"version": "1.0.0", "revision": "abc"}"#), "1.0.0 (abc)");
        assert_eq!(of(r#"{"version": "1.0.0", "revision": null}"#), "1.0.0 (unknown)");
    }

    #[test]
    fn embedded_data_is_never_downloaded() {
        let asked = |name: &str| DataAsked { name: name.into(), dir: None };
        let program = Path::new("no-such-program-anywhere");
        assert!(!asked("digits").needs_download(program).unwrap());
        assert!(asked("mnist").needs_download(program).is_err());
    }

    #[test]
    fn finds_the_data_set_of_a_recipe_file() {
        let text =
            "name = \"no\"\n[data]\nlimit = 3\nname = \"mnist\" # real\ndir=\"d\"\n[model]\nname = \"no\"";
        let asked = DataAsked::of_recipe(text).unwrap();
        assert_eq!((asked.name.as_str(), asked.dir.as_deref()), ("mnist", Some("d")));
        assert_eq!(DataAsked::of_recipe("[data]\n[model]\nname = \"no\""), None);
        assert_eq!(DataAsked::of_recipe(""), None);
    }
}
