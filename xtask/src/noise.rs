//! `cargo xtask noise`: trains all families on damaged data, with and without remedies, and writes
//! docs/noise.md.

mod page;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::files;
use crate::key::key;
use crate::nearest::nearest;
use crate::process;
use crate::waxwork::{self, DataAsked, Hub, Profile};
use crate::workspace::Workspace;
use results::{Outcome, Results};

pub(crate) const HELP: &str = "\
Train on damaged data, with and without remedies, and measure what helps

Usage: cargo xtask noise [DATA ...] [--data-dir DIR] [--steps N]
       cargo xtask noise --page

DATA is digits or mnist [default: digits, which needs no files]. For each of the recipes vae-DATA,
cvae-DATA, gan-DATA and cgan-DATA, the command trains one run on clean data, with 10 % and 30 % of
the labels wrong, and with two strengths of pixel noise, each without changes and with every remedy
that applies. It measures 10,000 samples of each with a judge that was trained on clean data, and
writes docs/noise.md. Runs are kept in runs/noise, and results in xtask/noise/results.json.

The command skips rows that have a result, and resumes unfinished runs, so you can interrupt it
and start it again. It continues if a run fails. The exit code is 1 if a run failed.

Options:
  --data-dir DIR   Folder with the files of mnist [default: WAXWORK_DATA_DIR]
  --steps N        Train N steps, to test the command; prints the tables and stores no results
  --page           Write docs/noise.md from the stored results, without training

Examples:
  cargo xtask noise
  cargo xtask noise mnist --data-dir path/to/data
  cargo xtask noise --steps 20";

/// The data sets: each has a recipe per family.
const DATA: [&str; 2] = ["digits", "mnist"];
const FAMILIES: [&str; 4] = ["vae", "cvae", "gan", "cgan"];
/// Samples per measurement.
const SAMPLES: &str = "10000";

/// Damage to the training data.
#[derive(Debug, PartialEq)]
struct Noise {
    name: &'static str,
    label: &'static str,
    /// The setting that causes the damage; None for clean data.
    setting: Option<&'static str>,
    /// Whether labels are wrong.
    of_labels: bool,
}

impl Noise {
    const fn new(
        name: &'static str,
        label: &'static str,
        setting: Option<&'static str>,
        of_labels: bool,
    ) -> Self {
        Self { name, label, setting, of_labels }
    }
}

const NOISES: [Noise; 5] = [
    Noise::new("clean", "none", None, false),
    Noise::new("labels-10", "10 % of the labels", Some("data.noise.labels=0.1"), true),
    Noise::new("labels-30", "30 % of the labels", Some("data.noise.labels=0.3"), true),
    Noise::new("pixels-10", "pixels, σ = 0.1", Some("data.noise.pixels=0.1"), false),
    Noise::new("pixels-30", "pixels, σ = 0.3", Some("data.noise.pixels=0.3"), false),
];

/// A remedy that may help.
#[derive(Debug, PartialEq)]
struct Remedy {
    name: &'static str,
    label: &'static str,
    families: &'static [&'static str],
    way: Way,
}

/// How a remedy is applied.
#[derive(Debug, PartialEq)]
enum Way {
    /// Training has these settings.
    Settings(&'static [&'static str]),
    /// The samples of the unchanged run are truncated at this magnitude.
    Truncation(&'static str),
    /// Training leaves out what `waxwork data doubts` lists.
    Dropping,
}

const REMEDIES: [Remedy; 6] = [
    Remedy { name: "none", label: "none: the recipe", families: &FAMILIES, way: Way::Settings(&[]) },
    Remedy {
        name: "ema",
        label: "EMA, 0.998",
        families: &["vae", "cvae"],
        way: Way::Settings(&["optimizer.ema=0.998"]),
    },
    Remedy {
        name: "no-ema",
        label: "without the recipe's EMA",
        families: &["gan", "cgan"],
        way: Way::Settings(&["optimizer.ema=0.0"]),
    },
    Remedy { name: "truncation", label: "truncation, 1.0", families: &FAMILIES, way: Way::Truncation("1.0") },
    Remedy {
        name: "smoothing",
        label: "label smoothing, 0.1",
        families: &["gan", "cgan"],
        way: Way::Settings(&["model.label_smoothing=0.1"]),
    },
    Remedy {
        name: "dropping",
        label: "leave out doubtful labels",
        families: &["cvae", "cgan"],
        way: Way::Dropping,
    },
];

/// One row of a table: a recipe, the damage to its data, and a remedy.
#[derive(Clone, Copy, Debug)]
struct Row {
    data: &'static str,
    family: &'static str,
    noise: &'static Noise,
    remedy: &'static Remedy,
}

impl Row {
    fn recipe(&self) -> String {
        format!("{}-{}", self.family, self.data)
    }

    fn name(&self) -> String {
        format!("{}/{}/{}", self.recipe(), self.noise.name, self.remedy.name)
    }

    /// The settings of training, except the list of samples to leave out. Truncation changes none.
    fn settings(&self, steps: Option<u64>) -> Vec<String> {
        let mut settings: Vec<String> = self.noise.setting.iter().map(ToString::to_string).collect();
        if let Way::Settings(own) = self.remedy.way {
            settings.extend(own.iter().map(ToString::to_string));
        }
        settings.extend(steps.map(|steps| format!("train.steps={steps}")));
        settings
    }

    /// The key of the run.
    fn training_key(&self, root: &Path, steps: Option<u64>) -> Result<String> {
        let settings = self.settings(steps);
        let mut parts: Vec<&str> = settings.iter().map(String::as_str).collect();
        if self.remedy.way == Way::Dropping {
            parts.push("without doubtful labels");
        }
        key(&root.join("models").join(format!("{}.toml", self.recipe())), &parts)
    }

    /// The key of the result: of the run, and of how it is measured.
    fn key(&self, root: &Path, steps: Option<u64>) -> Result<String> {
        let training = self.training_key(root, steps)?;
        Ok(match self.remedy.way {
            Way::Truncation(magnitude) => format!("{training}, {SAMPLES} samples, truncation {magnitude}"),
            _ => format!("{training}, {SAMPLES} samples"),
        })
    }
}

/// The rows of a recipe: for each kind of damage, all remedies that apply.
fn rows(data: &'static str, family: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    for noise in &NOISES {
        for remedy in &REMEDIES {
            let fits = remedy.way != Way::Dropping || noise.of_labels;
            if fits && remedy.families.contains(&family) {
                rows.push(Row { data, family, noise, remedy });
            }
        }
    }
    rows
}

#[derive(Debug, Default, PartialEq)]
struct Args {
    data: Vec<&'static str>,
    data_dir: Option<String>,
    steps: Option<u64>,
    page: bool,
}

impl Args {
    fn parse(args: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--data-dir" => parsed.data_dir = Some(value()?.clone()),
                "--page" => parsed.page = true,
                "--steps" => {
                    let text = value()?;
                    let steps = text.parse::<u64>().ok().filter(|steps| *steps > 0);
                    let why = || format!("`--steps` needs a whole number of at least 1, not `{text}`");
                    parsed.steps = Some(steps.with_context(why)?);
                }
                _ if arg.starts_with('-') => {
                    bail!("unknown option `{arg}`; `cargo xtask noise --help` lists the options")
                }
                name => match (DATA.into_iter().find(|known| *known == name), nearest(name, DATA)) {
                    (Some(known), _) => parsed.data.push(known),
                    (None, Some(near)) => bail!("unknown data set `{name}`; did you mean `{near}`?"),
                    (None, None) => {
                        bail!("unknown data set `{name}`; known data sets: {}", DATA.join(", "))
                    }
                },
            }
        }
        if parsed.data.is_empty() {
            parsed.data.push(DATA[0]);
        }
        Ok(parsed)
    }
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let args = Args::parse(args)?;
    let workspace = Workspace::load()?;
    let kept = workspace.root.join("xtask/noise/results.json");
    let mut results = Results::read(&kept)?;
    let failed = if args.page { Vec::new() } else { train(&workspace, &args, &mut results, &kept)? };
    if args.steps.is_some() {
        for &data in &args.data {
            println!("{}", page::tables(&workspace.root, data, &results, args.steps)?);
        }
    } else {
        println!("wrote {}", write_page(&workspace.root, &results)?.display());
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} rows failed: {}", failed.len(), failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn write_page(root: &Path, results: &Results) -> Result<PathBuf> {
    let path = root.join("docs/noise.md");
    let text = page::page(root, results)?;
    files::write(&path, &text)?;
    Ok(path)
}

/// Trains and measures every row that has no result yet. Returns the names of those that failed.
fn train(workspace: &Workspace, args: &Args, results: &mut Results, kept: &Path) -> Result<Vec<String>> {
    let root = &workspace.root;
    let runner = Runner {
        program: waxwork::build(workspace, Profile::Release, Hub::Off)?,
        folder: match args.steps {
            Some(_) => workspace.target.join("noise"),
            None => root.join("runs/noise"),
        },
        root,
        data_dir: args.data_dir.as_deref(),
        steps: args.steps,
    };
    let mut left = Vec::new();
    for &data in &args.data {
        let asked = DataAsked { name: data.to_owned(), dir: args.data_dir.clone() };
        if asked.needs_download(&runner.program)? {
            bail!("the files of data set `{data}` were not found; name their folder with `--data-dir`");
        }
        for row in FAMILIES.into_iter().flat_map(|family| rows(data, family)) {
            if results.of(&row.name(), &row.key(root, args.steps)?).is_none() {
                left.push(row);
            }
        }
    }
    let mut failed = Vec::new();
    for (number, row) in left.iter().enumerate() {
        eprintln!("\n== {}: row {} of {}", row.name(), number + 1, left.len());
        match runner.outcome(row) {
            Ok(outcome) => results.add(outcome),
            // A run that diverges must not prevent the others from training.
            Err(error) => {
                eprintln!("== {}: failed: {error:#}", row.name());
                failed.push(row.name());
                continue;
            }
        }
        if args.steps.is_none() {
            results.write(kept)?;
            write_page(root, results)?;
        }
    }
    Ok(failed)
}

/// Trains and measures rows with the program.
struct Runner<'a> {
    program: PathBuf,
    /// The folder of the runs.
    folder: PathBuf,
    root: &'a Path,
    data_dir: Option<&'a str>,
    steps: Option<u64>,
}

impl Runner<'_> {
    fn command(&self, action: &[&str], row: &Row) -> Command {
        let mut command = Command::new(&self.program);
        command.args(action);
        // `digits` has no files.
        if let Some(dir) = self.data_dir.filter(|_| row.data != DATA[0]) {
            command.args(["--data-dir", dir]);
        }
        command
    }

    /// A row's folder. Its name contains the key of the run, so that a changed recipe gets a new run.
    fn place(&self, row: &Row) -> Result<PathBuf> {
        let key = row.training_key(self.root, self.steps)?;
        let name = format!("{}-{}-{}-{key}", row.family, row.noise.name, row.remedy.name);
        Ok(self.folder.join(row.data).join(name))
    }

    /// Trains a run, or resumes it. A finished run stays as it is.
    fn train(&self, row: &Row) -> Result<PathBuf> {
        let run = self.place(row)?;
        let folder = self.folder.join(row.data);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let mut settings = row.settings(self.steps);
        if row.remedy.way == Way::Dropping {
            settings.push(format!("data.leave_out={}", self.doubts(row)?.display()));
        }
        let mut command = self.command(&["train", &row.recipe()], row);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        process::run(command.args(["-q", "--continue", "--out"]).arg(&run))?;
        Ok(run)
    }

    /// The list of training samples with doubtful labels. It depends on the data and its noise only.
    fn doubts(&self, row: &Row) -> Result<PathBuf> {
        let list = self.folder.join(row.data).join(format!("doubts-{}.txt", row.noise.name));
        if !list.exists() {
            let mut command = self.command(&["data", "doubts", row.data], row);
            command.args(row.noise.setting.iter().flat_map(|setting| ["--set", setting]));
            process::run(command.arg("--out").arg(&list))?;
        }
        Ok(list)
    }

    /// Trains and measures a row, as far as this has not been done yet.
    fn outcome(&self, row: &Row) -> Result<Outcome> {
        let (name, key) = (row.name(), row.key(self.root, self.steps)?);
        let (run, report) = match row.remedy.way {
            Way::Truncation(magnitude) => {
                let run = self.train(&Row { remedy: &REMEDIES[0], ..*row })?;
                let folder = self.place(row)?;
                fs::create_dir_all(&folder)
                    .with_context(|| format!("failed to create {}", folder.display()))?;
                let samples = folder.join("samples.npy");
                let mut sample = Command::new(&self.program);
                sample.arg("sample").arg(&run).args(["-n", SAMPLES, "--truncation", magnitude, "--out"]);
                process::run(sample.arg(&samples))?;
                let mut evaluate = self.command(&["evaluate", "--data", row.data], row);
                process::run(evaluate.args(["-q", "--samples"]).arg(&samples))?;
                // The samples can be drawn again.
                fs::remove_file(&samples)
                    .with_context(|| format!("failed to remove {}", samples.display()))?;
                (run, folder.join("samples.metrics.json"))
            }
            _ => {
                let run = self.train(row)?;
                let report = run.join("metrics.json");
                if Outcome::of_run(&run, &report, &name, &key).is_err() {
                    let mut evaluate = self.command(&["evaluate", "-q", "--samples", SAMPLES], row);
                    process::run(evaluate.arg(&run))?;
                }
                (run, report)
            }
        };
        Outcome::of_run(&run, &report, &name, &key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Result<Args> {
        Args::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn parses_its_arguments() {
        assert_eq!(args("").unwrap(), Args { data: vec!["digits"], ..Args::default() });
        let given = args("mnist --data-dir d --steps 20").unwrap();
        assert_eq!((given.data, given.steps, given.page), (vec!["mnist"], Some(20), false));
        assert_eq!(given.data_dir.as_deref(), Some("d"));
        for wrong in ["--steps 0", "--steps", "--fast", "cifar10"] {
            assert!(args(wrong).is_err(), "{wrong}");
        }
        assert!(args("mnits").unwrap_err().to_string().contains("did you mean `mnist`"));
    }

    #[test]
    fn remedies_are_tried_where_they_apply() {
        let count = |family| rows("digits", family).len();
        // For each kind of damage: the recipe, truncation, and one or two settings. For the two shares of
        // wrong labels, conditional models can also leave out doubtful labels.
        assert_eq!(FAMILIES.map(count), [15, 17, 20, 22]);
        let names: Vec<String> = rows("digits", "vae").iter().map(Row::name).collect();
        assert_eq!(names[..2], ["vae-digits/clean/none", "vae-digits/clean/ema"]);
        assert!(rows("mnist", "cgan").iter().all(|row| {
            row.remedy.way != Way::Dropping || row.settings(None)[0].starts_with("data.noise.labels=")
        }));
        let last = rows("mnist", "gan").pop().unwrap();
        assert_eq!(
            last.settings(Some(7)),
            ["data.noise.pixels=0.3", "model.label_smoothing=0.1", "train.steps=7"]
        );
    }

    /// Rows that share a run share the key of the run, and no two rows share the key of a result.
    #[test]
    fn keys_tell_runs_and_results_apart() {
        let mut keys = Vec::new();
        for family in FAMILIES {
            let rows = rows("digits", family);
            for row in &rows {
                let run = row.training_key(&root(), None).unwrap();
                let plain = Row { remedy: &REMEDIES[0], ..*row }.training_key(&root(), None).unwrap();
                let is_shared = matches!(row.remedy.name, "none" | "truncation");
                assert_eq!(run == plain, is_shared, "{}", row.name());
                assert_ne!(run, row.training_key(&root(), Some(5)).unwrap());
                keys.push(row.key(&root(), None).unwrap());
            }
        }
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn there_is_a_recipe_for_every_row() {
        for data in DATA {
            for family in FAMILIES {
                let recipe = root().join(format!("models/{family}-{data}.toml"));
                assert_eq!(DataAsked::of_recipe_file(&recipe).unwrap().name, data);
            }
        }
    }
}
