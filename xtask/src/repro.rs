//! `cargo xtask repro`: checks reproducibility. It trains each recipe in several ways that must not change
//! the result, and compares the bytes of the runs with each other and with `models/*.lock`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::lock::{self, Lock, Machine};
use crate::outcome::{GROUPS, Outcome, TRAINED, different_groups, groups, parse_metrics};
use crate::process;
use crate::waxwork::{self, DataAsked, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Check reproducibility: train recipes in several ways and compare the bytes

Usage: cargo xtask repro [RECIPE ...] [options]

The command trains each recipe for a few steps, in several ways that must not change the result:
twice in the same way; with 1, 2 and 8 threads; killed at random steps and resumed; with more and
with fewer samples, measurements, checkpoints and messages. The SHA-256 hashes of every tensor
(weights, moving average, optimiser state, final model), of the metrics and of the samples must
agree.

The default recipes are all that have a file models/RECIPE.lock, and with --quick those of
`cargo xtask train`. Recipes whose data is not found are skipped. The run folders stay in
target/repro.

Options:
  --quick          Make fewer runs, with the dev profile and embedded data, as `cargo xtask ci` does
  --check          Also compare with models/RECIPE.lock: the same bits on the same class of
                   processor with the same compiler; elsewhere, nearly the same first losses, and
                   last losses within the spread over seeds
  --write-locks    Write models/RECIPE.lock, after a change that is meant to change bits
  --data-dir DIR   Folder with the files of data sets [default: WAXWORK_DATA_DIR]
  --seed N         Seed for the steps at which runs are killed [default: random; printed]

Examples:
  cargo xtask repro --check
  cargo xtask repro vae-digits --quick
  cargo xtask repro --write-locks --data-dir path/to/data";

/// The length of all runs. Short runs are enough, because bits diverge in the first steps or at a checkpoint,
/// a preview or a measurement.
const STEPS: u64 = 24;
const SETTINGS: [&str; 5] = [
    "train.steps=24",
    "train.log_every=1",
    "train.checkpoint_every=8",
    "train.sample_every=12",
    "train.validate_every=12",
];
/// Settings for more events during a run, and for fewer.
const BUSY: [&str; 3] = ["train.checkpoint_every=1", "train.sample_every=1", "train.validate_every=1"];
const CALM: [&str; 4] =
    ["train.checkpoint_every=0", "train.sample_every=0", "train.validate_every=0", "train.log_every=1000"];

/// Number of seeds whose spread a lock keeps.
const SEEDS: u64 = 5;

/// A way to train that must give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// With this number of threads.
    Threads(u32),
    /// Killed this number of times, and resumed with other numbers of threads.
    Killed(u64),
    /// With as many samples, measurements, checkpoints and messages as possible.
    Busy,
    /// With as few of these events as possible.
    Calm,
}

/// The ways to train. The first of each list is the reference for the others.
const QUICK: [Way; 4] = [Way::Threads(1), Way::Threads(3), Way::Killed(1), Way::Busy];
const FULL: [Way; 8] = [
    Way::Threads(1),
    Way::Threads(1),
    Way::Threads(2),
    Way::Threads(8),
    Way::Killed(1),
    Way::Killed(3),
    Way::Busy,
    Way::Calm,
];

/// What to do with the locks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Locks {
    #[default]
    Leave,
    Check,
    Write,
}

#[derive(Debug, Default, PartialEq)]
struct Args {
    recipes: Vec<String>,
    quick: bool,
    locks: Locks,
    data_dir: Option<String>,
    seed: Option<u64>,
}

impl Args {
    fn parse(args: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--quick" => parsed.quick = true,
                "--check" | "--write-locks" => {
                    if parsed.locks != Locks::Leave {
                        bail!("`--check` and `--write-locks` cannot be used together");
                    }
                    parsed.locks = if arg == "--check" { Locks::Check } else { Locks::Write };
                }
                "--data-dir" => parsed.data_dir = Some(value()?),
                "--seed" => {
                    parsed.seed = Some(value()?.parse().context("`--seed` needs a whole number")?);
                }
                _ if arg.starts_with('-') => {
                    bail!("unknown option `{arg}`; `cargo xtask repro --help` lists the options")
                }
                _ => parsed.recipes.push(arg.clone()),
            }
        }
        Ok(parsed)
    }
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    repro(&Workspace::load()?, Args::parse(args)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The short form, which is a step of CI.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    repro(workspace, Args { quick: true, locks: Locks::Check, ..Args::default() })
}

fn repro(workspace: &Workspace, args: Args) -> Result<()> {
    let profile = if args.quick { Profile::Dev } else { Profile::Release };
    let program = waxwork::build(workspace, profile, Hub::Off)?;
    let random = Sha256::digest(format!("{:?} {}", SystemTime::now(), std::process::id()));
    let seed = args
        .seed
        .unwrap_or_else(|| u64::from(u32::from_le_bytes([random[0], random[1], random[2], random[3]])));
    let trainer = Trainer {
        data_dir: args.data_dir.clone(),
        folder: workspace.target.join("repro"),
        machine: Machine::of(&program)?,
        program,
        seed,
    };
    println!(
        "{} on {}, {}; kills at steps from seed {seed}",
        trainer.machine.version, trainer.machine.cpu_class, trainer.machine.toolchain
    );
    let models = workspace.root.join("models");
    let recipes = if args.recipes.is_empty() { trainer.recipes(&models, args.quick)? } else { args.recipes };
    let ways: &[Way] = if args.quick { &QUICK } else { &FULL };
    let mut problems = Vec::new();
    for recipe in &recipes {
        let (first, differences) = trainer.compare(recipe, ways)?;
        problems.extend(differences);
        let path = lock_of(&models, recipe);
        match args.locks {
            Locks::Leave => {}
            Locks::Check => problems.extend(check_lock(recipe, &path, &trainer.machine, &first)?),
            Locks::Write => trainer.write_lock(recipe, &path, &first)?,
        }
    }
    if !problems.is_empty() {
        bail!("not reproduced:\n  {}", problems.join("\n  "));
    }
    println!("reproduced: {}", recipes.join(", "));
    Ok(())
}

/// The file with the expected results of a recipe.
fn lock_of(models: &Path, recipe: &str) -> PathBuf {
    models.join(format!("{recipe}.lock"))
}

struct Trainer {
    program: PathBuf,
    data_dir: Option<String>,
    /// The folder for the runs.
    folder: PathBuf,
    machine: Machine,
    seed: u64,
}

impl Trainer {
    /// The default recipes: a small one per family or, in full, every recipe that has a lock in `models` and
    /// whose data is here.
    fn recipes(&self, models: &Path, quick: bool) -> Result<Vec<String>> {
        let known = waxwork::recipes(&self.program)?;
        if quick {
            return Ok(waxwork::quickstart(&known));
        }
        let (mut recipes, mut skipped) = (Vec::new(), Vec::new());
        for recipe in known.into_iter().filter(|recipe| lock_of(models, &recipe.name).exists()) {
            let data = DataAsked { name: recipe.data, dir: self.data_dir.clone() };
            let absent = data.needs_download(&self.program)?;
            if absent { &mut skipped } else { &mut recipes }.push(recipe.name);
        }
        if !skipped.is_empty() {
            let skipped = skipped.join(", ");
            println!(
                "skipped {skipped}: the data's files were not found; name their folder with `--data-dir`"
            );
        }
        Ok(recipes)
    }

    /// Trains in each way and prints a table. Returns the outcome of the first way, and a message for each
    /// difference from it.
    fn compare(&self, recipe: &str, ways: &[Way]) -> Result<(Outcome, Vec<String>)> {
        let folder = self.folder.join(recipe);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("failed to clear {}", folder.display()))?;
        }
        let mut first: Option<(PathBuf, Outcome)> = None;
        let mut differences = Vec::new();
        for (number, way) in ways.iter().enumerate() {
            let run = folder.join(format!("{number}-{}", way.name()));
            let said = self.train(recipe, *way, &run)?;
            let outcome = self.outcome(&run)?;
            let Some((first_run, expected)) = &first else {
                print_header(recipe);
                print_row(&said, |group| outcome.groups.get(group).map(|hash| hash[..8].to_owned()));
                first = Some((run, outcome));
                continue;
            };
            let among = way.compared(ends_with_best(first_run)?);
            let different = different_groups(&among, expected, &outcome);
            print_row(&said, |group| {
                let compared = among.contains(&group) && expected.groups.contains_key(group);
                compared.then(|| if different.contains(&group) { "DIFFERS" } else { "same" }.to_owned())
            });
            if !different.is_empty() {
                let place = self.first_difference(first_run, &run)?;
                differences.push(format!("{recipe}, {said}: {} differ; {place}", different.join(", ")));
            }
        }
        let (_, first) = first.context("there is no run to compare")?;
        Ok((first, differences))
    }

    /// Trains in one way and returns its description.
    fn train(&self, recipe: &str, way: Way, run: &Path) -> Result<String> {
        match way {
            Way::Threads(threads) => {
                self.finish(
                    self.start(recipe, run, &[]).arg("-q").args(["--threads", &threads.to_string()]),
                )?;
                Ok(format!("{threads} thread{}", if threads == 1 { "" } else { "s" }))
            }
            Way::Busy => {
                self.finish(self.start(recipe, run, &BUSY).env("RUST_LOG", "trace"))?;
                Ok("frequent events".into())
            }
            Way::Calm => {
                self.finish(self.start(recipe, run, &CALM).arg("-q"))?;
                Ok("few events".into())
            }
            Way::Killed(times) => {
                let mut steps: Vec<u64> =
                    (0..times).map(|time| random_step(self.seed, recipe, times, time)).collect();
                steps.sort_unstable();
                let mut killed = Vec::new();
                for (number, &step) in steps.iter().enumerate() {
                    let mut command =
                        if number == 0 { self.start(recipe, run, &[]) } else { self.resume(run, number + 1) };
                    let child = command.arg("-q").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                    let child = child.context("failed to start `waxwork`")?;
                    if kill_at(child, &run.join("metrics.jsonl"), step)? {
                        killed.push(step.to_string());
                    }
                }
                if killed.is_empty() {
                    bail!(
                        "{recipe}: every run finished before it could be killed; try again on a less busy machine"
                    );
                }
                self.finish(self.resume(run, 3).arg("-q"))?;
                Ok(format!("killed at step {}", killed.join(", ")))
            }
        }
    }

    fn start(&self, recipe: &str, run: &Path, settings: &[&str]) -> Command {
        self.start_seed(recipe, run, settings, 0)
    }

    fn start_seed(&self, recipe: &str, run: &Path, settings: &[&str], seed: u64) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["train", recipe, "--seed", &seed.to_string(), "--out"]).arg(run);
        if let Some(dir) = &self.data_dir {
            command.args(["--data-dir", dir]);
        }
        for setting in SETTINGS.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        command
    }

    fn resume(&self, run: &Path, threads: usize) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["train", "--threads", &threads.to_string(), "--resume"]).arg(run);
        command
    }

    /// Runs a command to the end; prints its output only if it fails.
    fn finish(&self, command: &mut Command) -> Result<()> {
        let output = command.output().context("failed to start `waxwork`")?;
        if !output.status.success() {
            bail!("`waxwork` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn outcome(&self, run: &Path) -> Result<Outcome> {
        let text = process::output(Command::new(&self.program).args(["runs", "hash", "--json"]).arg(run))?;
        let hashes: BTreeMap<String, String> =
            serde_json::from_str(&text).context("failed to parse the output of `waxwork runs hash`")?;
        let log = run.join("metrics.jsonl");
        let log = fs::read_to_string(&log).with_context(|| format!("failed to read {}", log.display()))?;
        Ok(Outcome { groups: groups(&hashes), metrics: parse_metrics(&log)? })
    }

    fn first_difference(&self, first: &Path, run: &Path) -> Result<String> {
        let mut diff = Command::new(&self.program);
        let said = process::everything_printed(diff.args(["runs", "diff"]).args([first, run]))?;
        Ok(said.trim().trim_start_matches("error: ").to_owned())
    }

    fn write_lock(&self, recipe: &str, path: &Path, first: &Outcome) -> Result<()> {
        let mut finals = vec![lock::last_values(&first.metrics)];
        for seed in 1..SEEDS {
            let run = self.folder.join(recipe).join(format!("seed-{seed}"));
            self.finish(self.start_seed(recipe, &run, &[], seed).arg("-q"))?;
            finals.push(lock::last_values(&self.outcome(&run)?.metrics));
        }
        let before = Lock::read(path).ok().flatten();
        let text = lock::text(&self.machine, &SETTINGS, first, &finals, before.as_ref());
        fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
        println!("wrote {}\n", path.display());
        Ok(())
    }
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::Threads(threads) => format!("threads-{threads}"),
            Self::Killed(times) => format!("killed-{times}"),
            Self::Busy => "busy".into(),
            Self::Calm => "calm".into(),
        }
    }

    /// The groups that must agree. With other settings, the log and the previews differ, and so does the
    /// result if other measurements chose it.
    fn compared(self, ends_with_best: bool) -> Vec<&'static str> {
        match self {
            Self::Threads(_) | Self::Killed(_) => GROUPS.to_vec(),
            Self::Busy | Self::Calm if ends_with_best => {
                TRAINED.into_iter().filter(|group| *group != "result").collect()
            }
            Self::Busy | Self::Calm => TRAINED.to_vec(),
        }
    }
}

/// Whether the recipe ends with the weights that measured best.
fn ends_with_best(run: &Path) -> Result<bool> {
    let recipe = run.join("recipe.toml");
    let text = fs::read_to_string(&recipe).with_context(|| format!("failed to read {}", recipe.display()))?;
    Ok(text.lines().any(|line| line == "final_weights = \"best\""))
}

/// A random step before the last.
fn random_step(seed: u64, recipe: &str, times: u64, time: u64) -> u64 {
    1 + u64::from(Sha256::digest(format!("{seed} {recipe} {times} {time}"))[0]) % (STEPS - 1)
}

/// Kills a process when its log has `step` lines. Returns false if the process ended before.
fn kill_at(mut child: Child, log: &Path, step: u64) -> Result<bool> {
    loop {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        let lines = fs::read_to_string(log).unwrap_or_default().lines().count() as u64;
        if lines >= step {
            child.kill()?;
            // A process without an exit code died from the signal.
            return Ok(child.wait()?.code().is_none());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Compares an outcome with the recipe's lock. Returns a message for each difference.
fn check_lock(recipe: &str, path: &Path, machine: &Machine, outcome: &Outcome) -> Result<Vec<String>> {
    let write = format!("write it with `cargo xtask repro {recipe} --write-locks`");
    let Some(lock) = Lock::read(path)? else {
        return Ok(vec![format!("models/{recipe}.lock is missing: {write}")]);
    };
    if let Some(reason) = lock.outdated(machine, &SETTINGS) {
        return Ok(vec![format!("models/{recipe}.lock is outdated ({reason}): {write}")]);
    }
    let verdict = lock.check(machine, outcome);
    println!("  models/{recipe}.lock: {}\n", verdict.said);
    let complain = |complaint: &String| {
        format!("models/{recipe}.lock: {complaint} (if the change is meant to change bits: {write})")
    };
    Ok(verdict.complaints.iter().map(complain).collect())
}

fn print_header(recipe: &str) {
    let columns: Vec<String> = GROUPS.iter().map(|group| format!("{group:<14}")).collect();
    println!("{recipe:<26}{}", columns.concat().trim_end());
}

fn print_row(said: &str, cell: impl Fn(&'static str) -> Option<String>) {
    let cells = GROUPS.iter().map(|group| format!("{:<14}", cell(group).unwrap_or_else(|| "-".into())));
    println!("  {said:<24}{}", cells.collect::<String>().trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |text: &str| Args::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let args = parse("vae-digits --quick --check --data-dir d --seed 7").unwrap();
        assert_eq!((args.recipes.len(), args.quick, args.locks), (1, true, Locks::Check));
        assert_eq!((args.data_dir.as_deref(), args.seed), (Some("d"), Some(7)));
        assert!(
            parse("--check --write-locks").is_err() && parse("--seed").is_err() && parse("--seed x").is_err()
        );
        assert!(parse("--chekc").unwrap_err().to_string().contains("--chekc"));
    }

    #[test]
    fn kills_are_between_the_first_step_and_the_last() {
        assert!((0..500).all(|seed| (1..STEPS).contains(&random_step(seed, "vae-digits", 3, 1))));
    }
}
