//! `cargo xtask bench`: training steps of the plain reference recipes against the same networks in PyTorch.

mod measure;
mod report;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use self::report::Rounds;
use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Times training steps of the plain reference recipes against the same networks in PyTorch

Usage: cargo xtask bench [--python PYTHON] [--threads N] [--rounds N] [--plain] [--write]
                         [RECIPE ...]

Both sides run alternately, never at once, on images of the recipe's shape that are in memory before
the clock starts. The time of a step is the median of a round, without the first fifth of its steps;
the ratio is ours to PyTorch's, the median of the rounds with the least and the largest. Then come
what a step's time is made of, the same with one thread, and batches from 32 to 512. Run it on a
machine that does nothing else: PyTorch's threads suffer most from company. It takes about ten
minutes, and one with --plain and --rounds 1.

Options:
  --python PYTHON   a Python that has torch (default: python3)
  --threads N       threads of either side (default: 2)
  --rounds N        how often each side runs (default: 3)
  --plain           the recipes as they are: no other threads, no other batches
  --write           write docs/benchmarks.md too

Examples:
  cargo xtask bench --python ~/venv/bin/python --write
  cargo xtask bench --rounds 1 --plain vae-mlp-mnist";

/// A recipe, a data set of the same shape that needs no files, its batch and the steps of a round.
struct Bench {
    recipe: &'static str,
    data: &'static str,
    batch: usize,
    steps: usize,
    /// Whether it is timed with other batches too.
    scaled: bool,
}

const BENCHES: [Bench; 5] = [
    Bench { recipe: "vae-mlp-mnist", data: "digits", batch: 128, steps: 400, scaled: true },
    Bench { recipe: "cvae-mlp-mnist", data: "digits", batch: 128, steps: 400, scaled: false },
    Bench { recipe: "gan-dcgan-mnist", data: "digits", batch: 64, steps: 60, scaled: true },
    Bench { recipe: "cgan-dcgan-mnist", data: "digits", batch: 64, steps: 60, scaled: false },
    Bench { recipe: "gan-dcgan-cifar10", data: "shapes", batch: 64, steps: 40, scaled: false },
];

/// The batches of scaled recipes.
const BATCHES: [usize; 5] = [32, 64, 128, 256, 512];
/// Fewer steps of a large batch would leave no median.
const LEAST_STEPS: usize = 15;

/// How a recipe is run.
struct Setting {
    bench: &'static Bench,
    batch: usize,
    threads: usize,
    /// Whether images are sampled after training.
    sampling: bool,
}

impl Setting {
    /// About as many images a round for any batch.
    fn steps(&self) -> usize {
        (self.bench.steps * self.bench.batch / self.batch).clamp(LEAST_STEPS, self.bench.steps)
    }
}

struct Options {
    python: PathBuf,
    threads: usize,
    rounds: usize,
    plain: bool,
    write: bool,
    recipes: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let options = parse(args)?;
    let workspace = Workspace::load()?;
    let version =
        process::output(Command::new(&options.python).args(["-c", "import torch; print(torch.__version__)"]))
            .context("a Python with torch is needed: name it with --python")?;
    let program = waxwork::build(&workspace, Profile::Release, Hub::Off)?;
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder)?;

    let asked = |bench: &&Bench| {
        options.recipes.is_empty() || options.recipes.iter().any(|name| name == bench.recipe)
    };
    let chosen: Vec<&'static Bench> = BENCHES.iter().filter(asked).collect();
    let measure = |setting: &Setting| -> Result<Rounds> {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let ours = measure::ours(&program, setting, &folder)?;
            rounds.push((ours, measure::theirs(&options.python, &workspace.root, setting, &folder)?));
        }
        let (ours, theirs) = rounds.last().map_or((f64::NAN, f64::NAN), |(a, b)| (a.step, b.step));
        let Setting { bench, batch, threads, .. } = setting;
        eprintln!(
            "{}, batch {batch}, {threads} threads: {:.2} ms, {:.2} ms",
            bench.recipe,
            1e3 * ours,
            1e3 * theirs
        );
        Ok(rounds)
    };

    // By recipe, batch and threads: the tables share what they have in common.
    let mut measured: BTreeMap<(&str, usize, usize), Rounds> = BTreeMap::new();
    for setting in settings(&chosen, &options) {
        let key = (setting.bench.recipe, setting.batch, setting.threads);
        if let Entry::Vacant(place) = measured.entry(key) {
            place.insert(measure(&setting)?);
        }
    }
    let rounds = |bench: &Bench, batch: usize, threads: usize| &measured[&(bench.recipe, batch, threads)];
    let plain = |bench: &Bench| rounds(bench, bench.batch, options.threads);

    let mut tables: String = report::HEAD.to_owned();
    tables.extend(chosen.iter().map(|bench| report::row(bench, plain(bench))));
    tables += "\n## What a step's time is made of\n\n";
    tables += &report::phases(&chosen.iter().map(|bench| (*bench, plain(bench))).collect::<Vec<_>>());
    if !options.plain {
        tables += "\n## Threads\n\n";
        let recipes = chosen.iter().map(|bench| (*bench, rounds(bench, bench.batch, 1), plain(bench)));
        tables += &report::threads(options.threads, &recipes.collect::<Vec<_>>());
        let of_each = |bench: &&'static Bench| {
            (*bench, BATCHES.map(|batch| rounds(bench, batch, options.threads)).to_vec())
        };
        let recipes: Vec<_> = chosen.iter().filter(|bench| bench.scaled).map(of_each).collect();
        if !recipes.is_empty() {
            tables += "\n## Batches\n\n";
            tables += &report::batches(&recipes);
        }
    }
    print!("{tables}");
    if options.write {
        let path = workspace.root.join("docs/benchmarks.md");
        fs::write(&path, report::document(&tables, &options, version.trim())?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything to be measured, the recipes as they are first.
fn settings(chosen: &[&'static Bench], options: &Options) -> Vec<Setting> {
    let threads = options.threads;
    let mut settings: Vec<Setting> =
        chosen.iter().map(|bench| Setting { bench, batch: bench.batch, threads, sampling: true }).collect();
    if options.plain {
        return settings;
    }
    let other = |bench, batch, threads| Setting { bench, batch, threads, sampling: false };
    settings.extend(chosen.iter().map(|bench| other(bench, bench.batch, 1)));
    for bench in chosen.iter().filter(|bench| bench.scaled) {
        settings.extend(BATCHES.map(|batch| other(bench, batch, threads)));
    }
    settings
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        python: "python3".into(),
        threads: 2,
        rounds: 3,
        plain: false,
        write: false,
        recipes: Vec::new(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
        let number = |text: &str| -> Result<usize> {
            let number = text.parse::<usize>().ok().filter(|number| *number > 0);
            number.with_context(|| format!("`{arg}` takes a number from 1 on, not `{text}`"))
        };
        match arg.as_str() {
            "--python" => options.python = value()?.into(),
            "--threads" => options.threads = number(value()?)?,
            "--rounds" => options.rounds = number(value()?)?,
            "--plain" => options.plain = true,
            "--write" => options.write = true,
            name if BENCHES.iter().any(|bench| bench.recipe == name) => options.recipes.push(name.to_owned()),
            other => bail!("unknown option or recipe `{other}`; `cargo xtask bench --help` lists them"),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options> {
        parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments() {
        let given = options("--rounds 2 vae-mlp-mnist --python x").unwrap();
        assert_eq!((given.rounds, given.recipes.len(), given.python), (2, 1, PathBuf::from("x")));
        assert!(options("vae-digits").is_err() && options("--threads").is_err());
        assert!(options("--rounds 0").is_err_and(|error| error.to_string().contains("--rounds")));
    }

    #[test]
    fn large_batches_take_fewer_steps_but_enough_for_a_median() {
        let steps = |batch| Setting { bench: &BENCHES[2], batch, threads: 1, sampling: false }.steps();
        assert_eq!(BATCHES.map(steps), [60, 60, 30, 15, 15]);
    }
}
