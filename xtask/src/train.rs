//! `cargo xtask train`: builds the program and trains models with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::process;
use crate::waxwork::{self, DataAsked, Hub, Profile, Recipe};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the program `waxwork`, optimised, and train models with it

Usage: cargo xtask train [RECIPE|FILE.toml ...] [options] [-- arguments for `waxwork train`]

Without a recipe, the command trains every family on the embedded digits, which need no files and no
network access. It evaluates each run and prints the paths of the images; runs/index.html shows all
runs side by side. Each run gets a new folder.

Options, passed to `waxwork train` unchanged; `waxwork train --help` explains all of them:
  --data NAME       Train on this data set instead of the recipe's
  --data-dir DIR    Folder with the files of data sets [default: WAXWORK_DATA_DIR]
  --set KEY=VALUE   Set a key of the recipe; can be repeated
  --steps N, --epochs N, --seed N, --threads N, --device cpu|cuda[:N]|metal, --max-time TIME
  --out RUN         Folder of the run; needs exactly one recipe
  --resume RUN      Resume an interrupted run; takes no recipe

If the data set is not found on this machine, the command first compiles the code for downloads,
which takes minutes.

Examples:
  cargo xtask train
  cargo xtask train --data mnist --data-dir path/to/data
  cargo xtask train vae-mnist --epochs 2 --seed 1
  cargo xtask train vae-digits --set optimizer.lr=5e-4 --out runs/slow
  cargo xtask train vae-digits -- --help";

/// Options of `waxwork train` that have a value. The value must not be treated as a recipe.
const WITH_VALUE: [&str; 10] = [
    "--data",
    "--data-dir",
    "--set",
    "--steps",
    "--epochs",
    "--seed",
    "--threads",
    "--device",
    "--max-time",
    "--out",
];

/// The command line: recipes, and options to pass on.
#[derive(Debug, Default, PartialEq)]
struct Args {
    recipes: Vec<String>,
    resume: Option<String>,
    out: Option<String>,
    data: Option<String>,
    data_dir: Option<String>,
    /// All arguments except recipes, `--out` and `--resume`.
    options: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let args = Args::parse(args)?;
    let workspace = Workspace::load()?;
    let program = waxwork::build_for(&workspace, Profile::Release, Hub::Off, args.device())?;
    let known = waxwork::recipes(&program)?;
    waxwork::add_hub_if_needed(&workspace, &program, &args.data_asked(&known), args.device())?;
    if args.is_quickstart() { args.train_and_evaluate(&program, &known) } else { args.train(&program) }
}

impl Args {
    fn parse(args: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                parsed.options.extend(args.cloned());
                break;
            }
            if !arg.starts_with('-') {
                parsed.recipes.push(arg.clone());
                continue;
            }
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None if WITH_VALUE.contains(&arg.as_str()) || arg == "--resume" => {
                    (arg.as_str(), args.next().cloned())
                }
                None => {
                    parsed.options.push(arg.clone());
                    continue;
                }
            };
            let Some(value) = value else { bail!("`{name}` needs a value") };
            match name {
                "--out" => parsed.out = Some(value),
                "--resume" => parsed.resume = Some(value),
                _ => {
                    parsed.options.push(format!("{name}={value}"));
                    match name {
                        "--data" => parsed.data = Some(value),
                        "--data-dir" => parsed.data_dir = Some(value),
                        _ => {}
                    }
                }
            }
        }
        if parsed.resume.is_some() && (!parsed.recipes.is_empty() || parsed.out.is_some()) {
            bail!(
                "`--resume` uses the recipe and the folder of the run; give no recipe and no `--out` with it"
            );
        }
        if parsed.out.is_some() && parsed.recipes.len() != 1 {
            bail!("`--out` names the folder of one run; give exactly one recipe with it");
        }
        Ok(parsed)
    }

    /// The device that the program is built for.
    fn device(&self) -> &str {
        self.options.iter().rev().find_map(|option| option.strip_prefix("--device=")).unwrap_or("cpu")
    }

    fn is_quickstart(&self) -> bool {
        self.recipes.is_empty() && self.resume.is_none()
    }

    /// Every data set that training will need. The program itself reports unknown ones.
    fn data_asked(&self, known: &[Recipe]) -> Vec<DataAsked> {
        if let Some(run) = &self.resume {
            return DataAsked::of_recipe_file(&Path::new(run).join("recipe.toml")).into_iter().collect();
        }
        let of_recipe = |name: &String| match known.iter().find(|recipe| recipe.name == *name) {
            Some(recipe) => Some(DataAsked { name: recipe.data.clone(), dir: None }),
            None => DataAsked::of_recipe_file(Path::new(name)),
        };
        let with_options = |asked: DataAsked| DataAsked {
            name: self.data.clone().unwrap_or(asked.name),
            dir: self.data_dir.clone().or(asked.dir),
        };
        let recipes = if self.is_quickstart() { waxwork::quickstart(known) } else { self.recipes.clone() };
        recipes.iter().filter_map(of_recipe).map(with_options).collect()
    }

    /// Resumes a run, or trains each named recipe in a new one.
    fn train(&self, program: &Path) -> Result<ExitCode> {
        if let Some(run) = &self.resume {
            return process::hand_over(
                Command::new(program).args(["train", "--resume", run]).args(&self.options),
            );
        }
        let Some((last, before)) = self.recipes.split_last() else { bail!("no recipe was given") };
        for recipe in before {
            let code = process::forward(Command::new(program).args(["train", recipe]).args(&self.options))?;
            if code != ExitCode::SUCCESS {
                return Ok(code);
            }
        }
        let mut train = Command::new(program);
        train.args(["train", last]).args(&self.options);
        if let Some(out) = &self.out {
            train.args(["--out", out]);
        }
        process::hand_over(&mut train)
    }

    fn train_and_evaluate(&self, program: &Path, known: &[Recipe]) -> Result<ExitCode> {
        let recipes = waxwork::quickstart(known);
        if recipes.is_empty() {
            bail!("no recipe has the tag `quickstart`");
        }
        let mut runs = Vec::new();
        for recipe in &recipes {
            let run = free_folder(Path::new("runs"), recipe);
            let mut train = Command::new(program);
            train.args(["train", recipe]).arg("--out").arg(&run).args(&self.options);
            for command in [&mut train, Command::new(program).arg("evaluate").arg(&run)] {
                let code = process::forward(command)?;
                if code != ExitCode::SUCCESS {
                    return Ok(code);
                }
            }
            // This fails for a model that cannot reconstruct; then there is no image to show.
            process::succeeds(Command::new(program).arg("reconstruct").arg(&run));
            // Write the report again, now with the evaluation.
            process::run(Command::new(program).arg("report").arg(&run))?;
            runs.push(run);
        }
        let index = Path::new("runs").join("index.html");
        process::run(Command::new(program).arg("compare").args(&runs).arg("--html").arg(&index))?;
        print!("{}\nAll runs side by side, with a link to each: {}\n", summary(&runs), index.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The first of the folders `<recipe>-1`, `<recipe>-2`, … that does not exist.
fn free_folder(parent: &Path, recipe: &str) -> PathBuf {
    let mut number = 1_u32;
    loop {
        let folder = parent.join(format!("{recipe}-{number}"));
        if !folder.exists() {
            return folder;
        }
        number += 1;
    }
}

/// The files to look at in each run.
fn summary(runs: &[PathBuf]) -> String {
    const SHOWN: [(&str, &str); 4] = [
        ("samples", "samples during training"),
        ("reconstructions.png", "images and their reconstructions"),
        ("report.html", "curves and images"),
        ("README.md", "model card"),
    ];
    let mut text = String::from("\nTrained and evaluated:\n");
    for run in runs {
        text += &format!("  {}\n", run.display());
        for (name, what) in SHOWN {
            let path = run.join(name);
            if path.exists() {
                text += &format!("    {:<40} {what}\n", path.display().to_string());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args> {
        Args::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    fn known() -> Vec<Recipe> {
        let recipe = |name: &str, data: &str, tags: &[&str]| Recipe {
            name: name.into(),
            data: data.into(),
            description: String::new(),
            tags: tags.iter().map(ToString::to_string).collect(),
        };
        vec![recipe("vae-digits", "digits", &["quickstart"]), recipe("vae-mnist", "mnist", &[])]
    }

    #[test]
    fn distinguishes_recipes_from_values_of_options() {
        let args = parse("--data-dir d vae-mnist --set a.b=c=d -q --seed=3 vae-digits -- --more x").unwrap();
        assert_eq!(args.recipes, ["vae-mnist", "vae-digits"]);
        assert_eq!(args.data_dir.as_deref(), Some("d"));
        assert_eq!((args.device(), parse("--device cuda:1").unwrap().device()), ("cpu", "cuda:1"));
        assert_eq!(args.options, ["--data-dir=d", "--set=a.b=c=d", "-q", "--seed=3", "--more", "x"]);
    }

    #[test]
    fn rejects_contradictory_options() {
        assert!(parse("--out a").is_err());
        assert!(parse("vae-digits vae-mnist --out a").is_err());
        assert!(parse("vae-digits --resume a").is_err());
        assert!(parse("vae-digits --seed").is_err());
        assert!(parse("vae-digits --out a").is_ok() && parse("--resume a").is_ok());
    }

    #[test]
    fn finds_the_data_sets_that_training_needs() {
        let asked = |line| parse(line).unwrap().data_asked(&known());
        let names = |line| asked(line).into_iter().map(|data| data.name).collect::<Vec<_>>();
        assert_eq!(names(""), ["digits"]);
        assert_eq!(names("--data fashion-mnist"), ["fashion-mnist"]);
        assert_eq!(names("vae-mnist vae-digits"), ["mnist", "digits"]);
        assert_eq!(names("vae-mnist --data digits"), ["digits"]);
        assert!(names("no-such-recipe").is_empty() && names("--resume no-such-run").is_empty());
        assert_eq!(asked("vae-mnist --data-dir d")[0].dir.as_deref(), Some("d"));
    }

    #[test]
    fn a_free_folder_does_not_exist() {
        let folder = free_folder(Path::new(env!("CARGO_MANIFEST_DIR")), "src");
        assert!(folder.ends_with("src-1") && !folder.exists());
    }
}
