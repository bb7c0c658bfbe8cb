//! `cargo xtask figures`: generates the figures of the documentation from runs, with the program itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::waxwork::{self, Hub, Profile, Recipe};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Generate the figures of the documentation, docs/images/*.png, from runs

Usage: cargo xtask figures [RUN ...]

For each run, the command generates the figures of its recipe, which it reads from recipe.toml. It
skips a recipe that has no figures. Without arguments, it uses the newest runs of
`cargo xtask train`, such as runs/vae-digits-1. Identical runs give identical figures.

Examples:
  cargo xtask train && cargo xtask figures
  cargo xtask figures runs/cgan-mnist-20261125-101500";

/// A figure: its file, the recipe that it shows, and the command that generates it from a run of that recipe.
type Figure = (&'static str, &'static str, &'static [&'static str]);

const FIGURES: [Figure; 19] = [
    ("vae-digits", "vae-digits", &["sample", "-n", "40"]),
    ("gan-digits", "gan-digits", &["sample", "-n", "40"]),
    ("cvae-digits", "cvae-digits", &["sample", "-n", "40"]),
    ("cgan-digits", "cgan-digits", &["sample", "-n", "40"]),
    ("vae-digits-reconstructions", "vae-digits", &["reconstruct", "-n", "20"]),
    ("vae-digits-traversal", "vae-digits", &["traverse", "--dims", "0..5"]),
    ("gan-digits-interpolation", "gan-digits", &["interpolate", "-n", "4"]),
    ("gan-digits-neighbours", "gan-digits", &["sample", "-n", "10", "--neighbours"]),
    ("cvae-digits-interpolation", "cvae-digits", &["interpolate", "-n", "4", "--labels", "3,8"]),
    ("cgan-digits-labels", "cgan-digits", &["interpolate", "-n", "4", "--labels", "1,7", "--fixed-latent"]),
    ("cvae-mnist", "cvae-mnist", &["sample", "-n", "40"]),
    ("gan-mnist", "gan-mnist", &["sample", "-n", "40"]),
    ("cgan-mnist", "cgan-mnist", &["sample", "-n", "40"]),
    ("cgan-drums", "cgan-drums", &["sample", "-n", "20"]),
    ("cvae-drums", "cvae-drums", &["sample", "-n", "20"]),
    ("cgan-shapes", "cgan-shapes", &["sample", "-n", "40"]),
    ("cgan-cifar10", "cgan-cifar10", &["sample", "-n", "40"]),
    ("gan-cifar10", "gan-cifar10", &["sample", "-n", "50"]),
    ("gan-little-mnist", "gan-little-mnist", &["sample", "-n", "40"]),
];

/// Figures that no unchanged recipe generates. The page that shows one says how it was made.
#[cfg(test)]
const MADE_BY_HAND: [&str; 11] = [
    "browser",
    "from-rust-discs",
    "gan-little-mnist-not-augmented",
    "my-photos-samples",
    "my-photos-training",
    "report-gan-curves",
    "report-gan-noise",
    "report-vae-collapse",
    "report-vae-collapse-traversal",
    "report-vae-curves",
    "serve-sevens",
];

/// The plot that `cargo xtask bench --quality` writes.
#[cfg(test)]
const PLOT: &str = "quality.svg";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-')) {
        bail!("unknown option `{option}`; `cargo xtask figures` takes run folders");
    }
    let workspace = Workspace::load()?;
    let program = waxwork::build(&workspace, Profile::Release, Hub::Off)?;
    let recipes = waxwork::recipes(&program)?;
    let runs = if args.is_empty() { newest(&recipes)? } else { args.iter().map(PathBuf::from).collect() };
    let folder = workspace.root.join("docs").join("images");
    let mut made = 0;
    for run in &runs {
        let Some(recipe) = recipe_of(run, &recipes)? else {
            eprintln!("skipped {}: its recipe is not one of Waxwork's recipes", run.display());
            continue;
        };
        for (name, _, arguments) in FIGURES.iter().filter(|(_, of, _)| *of == recipe.name) {
            let (action, options) = arguments.split_at(1);
            let file = folder.join(format!("{name}.png"));
            process::run(Command::new(&program).args(action).arg(run).args(options).arg("--out").arg(&file))?;
            made += 1;
        }
    }
    println!("wrote {made} figures to {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// The recipe of a run: the one with the same description.
fn recipe_of<'a>(run: &Path, recipes: &'a [Recipe]) -> Result<Option<&'a Recipe>> {
    let path = run.join("recipe.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(recipes.iter().find(|recipe| text.contains(&format!("description = \"{}\"", recipe.description))))
}

/// The newest run of each recipe that `cargo xtask train` runs: the folder with the highest number.
fn newest(recipes: &[Recipe]) -> Result<Vec<PathBuf>> {
    let newest = waxwork::quickstart(recipes).into_iter().map(|recipe| {
        let folder = |number: u32| Path::new("runs").join(format!("{recipe}-{number}"));
        let last = (1..).take_while(|number| folder(*number).is_dir()).last();
        last.map(folder)
            .with_context(|| format!("there is no run of {recipe}; train it with `cargo xtask train`"))
    });
    newest.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_shown_and_every_image_has_a_recipe() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let mut text = fs::read_to_string(docs.join("../README.md")).unwrap();
        for folder in [docs.clone(), docs.join("book")] {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "md") {
                    text += &fs::read_to_string(path).unwrap();
                }
            }
        }
        for (name, _, _) in FIGURES {
            assert!(text.contains(&format!("images/{name}.png")), "no page shows {name}");
            assert!(docs.join(format!("images/{name}.png")).is_file(), "{name} is missing");
        }
        for entry in fs::read_dir(docs.join("images")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let made = name == PLOT || FIGURES.iter().any(|(figure, _, _)| name == format!("{figure}.png"));
            let made = made || MADE_BY_HAND.iter().any(|figure| name == format!("{figure}.png"));
            assert!(made, "no recipe generates {name}, and it is not in MADE_BY_HAND");
        }
    }
}
