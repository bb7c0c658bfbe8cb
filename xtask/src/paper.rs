//! `cargo xtask paper`: trains and evaluates the rows of published tables, and writes docs/papers.md.

mod page;
mod results;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::files;
use crate::nearest::nearest;
use crate::process;
use crate::waxwork::{self, DataAsked, Hub, Profile};
use crate::workspace::Workspace;
use page::{mean, time};
use results::{Outcome, Results};
use table::{Form, Row, Table};

pub(crate) const HELP: &str = "\
Train and evaluate the rows of published tables, and compare the numbers

Usage: cargo xtask paper [TABLE|TABLE/ROW ...] [options]

Each folder of models/papers is a table: its published numbers, the settings of its rows, and their
recipes. The command trains every row with each of its seeds, evaluates the runs, prints the
published number next to the mean and the range over seeds, and writes docs/papers.md. The runs are
kept in runs/papers, and their results in models/papers/TABLE/results.json.

Without names, the command trains all rows of all tables: first one seed of every row, then the
next. It skips rows whose data is not found, and continues if a run fails. The exit code is 1 if a
run failed or a mean is outside its tolerance.

Options:
  --quick          Train the quick form of each row, in minutes; it reproduces no number
  --seeds N        Train each row with N seeds instead of the number in its table
  --resume         Keep the results of finished runs, and resume unfinished runs; lists the results
                   that another version of the program measured
  --data-dir DIR   Folder with the files of data sets [default: WAXWORK_DATA_DIR]
  --page           Write docs/papers.md from the stored results, without training

Examples:
  cargo xtask paper --quick
  cargo xtask paper burda --data-dir path/to/data --resume
  cargo xtask paper pacgan/ring-gan pacgan/ring-pac2 --seeds 1";

/// The row whose quick form is a step of CI: it needs no files.
const CI: &str = "pacgan/ring-pac2";

#[derive(Debug, Default, PartialEq)]
struct Args {
    names: Vec<String>,
    quick: bool,
    seeds: Option<u64>,
    resume: bool,
    data_dir: Option<String>,
    page: bool,
}

impl Args {
    fn parse(args: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--quick" => parsed.quick = true,
                "--resume" => parsed.resume = true,
                "--page" => parsed.page = true,
                "--data-dir" => parsed.data_dir = Some(value()?),
                "--seeds" => {
                    let seeds: u64 = value()?.parse().context("`--seeds` needs a whole number")?;
                    if seeds == 0 {
                        bail!("`--seeds` must be at least 1");
                    }
                    parsed.seeds = Some(seeds);
                }
                _ if arg.starts_with('-') => {
                    bail!("unknown option `{arg}`; `cargo xtask paper --help` lists the options")
                }
                _ => parsed.names.push(arg.clone()),
            }
        }
        Ok(parsed)
    }
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let args = Args::parse(args)?;
    let tables = tables()?;
    let selected = select(&tables, &args.names)?;
    let workspace = Workspace::load()?;
    if !args.page {
        train(&workspace, &tables, &selected, &args)?;
    }
    let page = write_page(&workspace, &tables)?;
    println!("wrote {}", page.display());
    let outside = outside(&selected, if args.quick { Form::Quick } else { Form::Full })?;
    if args.page || outside.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("outside the tolerance: {}", outside.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The metrics of rows that have run whose mean is outside the tolerance.
fn outside(selected: &[(&Table, &Row)], form: Form) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (table, row) in selected {
        let (results, key) = (Results::read(&table.folder)?, table.key(row, form)?);
        let outcomes = results.of(row, form, &key);
        for published in row.values.iter().filter(|_| !outcomes.is_empty()) {
            let values =
                outcomes.iter().filter_map(|outcome| outcome.metrics.get(&published.metric).copied());
            if published.fits(form, mean(&values.collect::<Vec<_>>())) == Some(false) {
                found.push(format!("{} ({})", full_name(table, row), published.metric));
            }
        }
    }
    Ok(found)
}

/// Trains the quick form of one row, which is a step of CI. Keeps no result.
pub(crate) fn short(workspace: &Workspace) -> Result<()> {
    let tables = tables()?;
    let selected = select(&tables, &[CI.to_owned()])?;
    let folder = workspace.target.join("paper");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to clear {}", folder.display()))?;
    }
    let runner = Runner {
        program: waxwork::build(workspace, Profile::Dev, Hub::Off)?,
        form: Form::Quick,
        data_dir: None,
    };
    for (table, row) in selected {
        let job = Job::new(table, row, Form::Quick, 0, &folder)?;
        let outcome = runner.outcome(&job)?;
        for published in &row.values {
            let value = outcome.metrics.get(&published.metric).copied().unwrap_or(f64::NAN);
            println!("{CI}, quick form: {} {}", published.metric, table::number(value));
            if published.fits(Form::Quick, value) == Some(false) {
                let allowed = published.allowed(Form::Quick);
                bail!(
                    "{CI}: `{}` is {value}, but must be {allowed} of {}",
                    published.metric,
                    published.value
                );
            }
        }
    }
    Ok(())
}

/// All tables of the workspace.
fn tables() -> Result<Vec<Table>> {
    Table::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/papers"))
}

/// The rows that `names` select: `TABLE` selects all of its rows, and an empty list selects every row.
fn select<'a>(tables: &'a [Table], names: &[String]) -> Result<Vec<(&'a Table, &'a Row)>> {
    let all = || tables.iter().flat_map(|table| table.rows.iter().map(move |row| (table, row)));
    if names.is_empty() {
        return Ok(all().collect());
    }
    for name in names {
        let known: Vec<String> = tables
            .iter()
            .map(|table| table.name.clone())
            .chain(all().map(|(table, row)| full_name(table, row)))
            .collect();
        if known.contains(name) {
            continue;
        }
        match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => bail!("unknown table or row `{name}`; did you mean `{near}`?"),
            None => bail!("unknown table or row `{name}`; models/papers has the tables"),
        }
    }
    let named = |(table, row): &(&Table, &Row)| {
        names.iter().any(|name| *name == table.name || *name == full_name(table, row))
    };
    Ok(all().filter(named).collect())
}

fn full_name(table: &Table, row: &Row) -> String {
    format!("{}/{}", table.name, row.name)
}

/// One run of one row.
struct Job<'a> {
    table: &'a Table,
    row: &'a Row,
    seed: u64,
    key: String,
    /// The run's folder. Its name contains the key, so that a changed row gets a new run.
    run: PathBuf,
}

impl<'a> Job<'a> {
    fn new(table: &'a Table, row: &'a Row, form: Form, seed: u64, folder: &Path) -> Result<Self> {
        let key = table.key(row, form)?;
        let name = format!("{}-{}-{key}-seed-{seed}", row.name, form.name());
        Ok(Self { table, row, seed, run: folder.join(&table.name).join(name), key })
    }

    fn name(&self) -> String {
        format!("{}, seed {}", full_name(self.table, self.row), self.seed)
    }

    fn outcome(&self, form: Form) -> Result<Outcome> {
        Outcome::of_run(&self.run, self.row, form, self.seed, &self.key)
    }
}

/// Trains and evaluates rows with the program.
struct Runner {
    program: PathBuf,
    form: Form,
    data_dir: Option<String>,
}

impl Runner {
    /// `waxwork train` with the recipe and the settings of a job.
    fn command(&self, job: &Job<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("train").arg(job.table.recipe(job.row)).args(["--seed", &job.seed.to_string()]);
        for setting in job.table.settings(job.row, self.form) {
            command.args(["--set", setting]);
        }
        self.with_data(&mut command);
        command
    }

    fn with_data(&self, command: &mut Command) {
        if let Some(dir) = &self.data_dir {
            command.args(["--data-dir", dir]);
        }
    }

    /// Starts the run, or resumes it if it exists. A finished run stays as it is.
    fn train(&self, job: &Job<'_>) -> Result<()> {
        if let Some(parent) = job.run.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
        }
        process::run(self.command(job).arg("--continue").arg("--out").arg(&job.run))
    }

    fn evaluate(&self, job: &Job<'_>) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("evaluate").arg(&job.run).args(job.table.evaluate(self.form));
        self.with_data(&mut command);
        process::run(&mut command)
    }

    /// Trains and evaluates a run as far as that is not done yet, and reads its outcome.
    fn outcome(&self, job: &Job<'_>) -> Result<Outcome> {
        self.train(job)?;
        // An evaluation that was interrupted has written nothing.
        if job.outcome(self.form).is_err() {
            self.evaluate(job)?;
        }
        job.outcome(self.form)
    }

    /// Seconds of training that the program forecasts from a few measured steps.
    fn forecast(&self, job: &Job<'_>) -> Result<Option<f64>> {
        let text = process::output(self.command(job).arg("--dry-run"))?;
        Ok(forecast(&text))
    }

    /// Whether the files of a row's data set are missing.
    fn lacks_data(&self, job: &Job<'_>) -> Result<bool> {
        let recipe = job.table.recipe(job.row);
        let asked = DataAsked::of_recipe_file(&recipe)
            .with_context(|| format!("{} names no data set", recipe.display()))?;
        let settings = job.table.settings(job.row, self.form);
        let name = settings.iter().rev().find_map(|setting| setting.strip_prefix("data.name="));
        let name = name.map_or(asked.name, str::to_owned);
        DataAsked { name, dir: self.data_dir.clone().or(asked.dir) }.needs_download(&self.program)
    }
}

/// Reads the seconds from the output of `waxwork train --dry-run`, which has the number of each kind of work
/// and the time of one: `# time: 3 seconds (1000 steps of 2.5 ms, 2 sample grids of 250.0 ms)`.
fn forecast(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("# time:"))?;
    let parts = line.split_once('(')?.1.split(')').next()?;
    let seconds = parts.split(", ").map(|part| {
        let count: f64 = part.split(' ').next()?.parse().ok()?;
        let each: f64 = part.rsplit_once(" of ")?.1.strip_suffix(" ms")?.parse().ok()?;
        Some(count * each / 1000.0)
    });
    seconds.sum()
}

fn train(workspace: &Workspace, tables: &[Table], selected: &[(&Table, &Row)], args: &Args) -> Result<()> {
    let form = if args.quick { Form::Quick } else { Form::Full };
    let folder = workspace.root.join("runs").join("papers");
    let jobs = jobs(selected, form, args.seeds, &folder)?;
    if !args.resume
        && let Some(job) = jobs.iter().find(|job| job.run.exists())
    {
        bail!(
            "{} has run before, in {}; resume with `--resume`, or remove the folder to train it again",
            job.name(),
            job.run.display()
        );
    }
    let program = waxwork::build(workspace, Profile::Release, Hub::Off)?;
    let current = waxwork::version(&program)?;
    let runner = Runner { program, form, data_dir: args.data_dir.clone() };
    let mut left: Vec<Job<'_>> = Vec::new();
    for job in jobs {
        if args.resume
            && let Some(program) = measured_by(&job, form)?
        {
            if program != current {
                eprintln!("kept {}: measured by version {program}, not by {current}", job.name());
            }
            continue;
        }
        if runner.lacks_data(&job)? {
            eprintln!(
                "skipped {}: the files of its data set were not found; name their folder with `--data-dir`",
                job.name()
            );
            continue;
        }
        left.push(job);
    }
    let mut forecasts = Forecasts::default();
    // The quick form takes little longer than a forecast of it would.
    if form == Form::Full {
        for job in &left {
            if !forecasts.knows(job)
                && let Some(seconds) = runner.forecast(job)?
            {
                forecasts.guess(job, seconds);
            }
        }
    }
    let all = left.len();
    eprintln!("{all} runs to train, {}", forecasts.time_left(&left));
    let mut failed = Vec::new();
    for (number, job) in left.iter().enumerate() {
        eprintln!("\n== {}: run {} of {all}", job.name(), number + 1);
        let began = Instant::now();
        let outcome = match runner.outcome(job) {
            Ok(outcome) => outcome,
            // A run that diverges must not keep the others from training.
            Err(error) => {
                eprintln!("== {}: failed: {error:#}", job.name());
                failed.push(job.name());
                continue;
            }
        };
        forecasts.measured(job, outcome.seconds.max(began.elapsed().as_secs_f64()));
        let mut results = Results::read(&job.table.folder)?;
        results.add(outcome);
        results.write(&job.table.folder)?;
        write_page(workspace, tables)?;
        eprintln!(
            "== {} of {all} runs are finished, {}",
            number + 1,
            forecasts.time_left(&left[number + 1..])
        );
    }
    for table in tables.iter().filter(|table| selected.iter().any(|(one, _)| one.name == table.name)) {
        let results = Results::read(&table.folder)?;
        println!("\n{}, {} form\n", table.title, form.name());
        println!("{}", page::rows(table, &results, form)?);
    }
    if !failed.is_empty() {
        bail!("{} of {all} runs failed: {}", failed.len(), failed.join("; "));
    }
    Ok(())
}

/// The runs to train: the first seed of every row, then the second of every row that has one, and so on.
fn jobs<'a>(
    selected: &[(&'a Table, &'a Row)],
    form: Form,
    seeds: Option<u64>,
    folder: &Path,
) -> Result<Vec<Job<'a>>> {
    let wanted = |(table, row): &(&Table, &Row)| seeds.unwrap_or_else(|| table.seeds(row, form));
    let most = selected.iter().map(wanted).max().unwrap_or(0);
    let mut jobs = Vec::new();
    for seed in 0..most {
        for pair in selected.iter().filter(|pair| seed < wanted(pair)) {
            jobs.push(Job::new(pair.0, pair.1, form, seed, folder)?);
        }
    }
    Ok(jobs)
}

/// The program that measured the stored result of a job, if there is one.
fn measured_by(job: &Job<'_>, form: Form) -> Result<Option<String>> {
    let results = Results::read(&job.table.folder)?;
    let kept = results.of(job.row, form, &job.key).into_iter().find(|outcome| outcome.seed == job.seed);
    Ok(kept.map(|outcome| outcome.program.clone()))
}

fn write_page(workspace: &Workspace, tables: &[Table]) -> Result<PathBuf> {
    let with_results = tables.iter().map(|table| Ok((table, Results::read(&table.folder)?)));
    let text = page::page(&with_results.collect::<Result<Vec<_>>>()?)?;
    let path = workspace.root.join("docs").join("papers.md");
    files::write(&path, &text)?;
    Ok(path)
}

/// The time of one run of each row: forecast at first, and the mean of finished runs as soon as there is one.
#[derive(Debug, Default)]
struct Forecasts {
    guessed: BTreeMap<String, f64>,
    measured: BTreeMap<String, Vec<f64>>,
}

impl Forecasts {
    fn knows(&self, job: &Job<'_>) -> bool {
        self.seconds(job).is_some()
    }

    fn guess(&mut self, job: &Job<'_>, seconds: f64) {
        self.guessed.insert(full_name(job.table, job.row), seconds);
    }

    fn measured(&mut self, job: &Job<'_>, seconds: f64) {
        self.measured.entry(full_name(job.table, job.row)).or_default().push(seconds);
    }

    fn seconds(&self, job: &Job<'_>) -> Option<f64> {
        let name = full_name(job.table, job.row);
        self.measured.get(&name).map(|seconds| mean(seconds)).or_else(|| self.guessed.get(&name).copied())
    }

    /// The time that jobs will take, in words.
    fn time_left(&self, jobs: &[Job<'_>]) -> String {
        let known: Vec<f64> = jobs.iter().filter_map(|job| self.seconds(job)).collect();
        let sum = time(known.iter().sum());
        match (jobs.len(), known.len()) {
            (0, _) => "none are left".to_owned(),
            (_, 0) => "for an unknown time".to_owned(),
            (all, known) if known < all => format!("at least {sum} are left"),
            _ => format!("about {sum} are left"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Result<Args> {
        Args::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn parses_its_arguments() {
        let parsed = args("burda --quick --seeds 2 --data-dir d pacgan/ring-gan --resume").unwrap();
        assert_eq!(parsed.names, ["burda", "pacgan/ring-gan"]);
        assert_eq!((parsed.quick, parsed.resume, parsed.seeds), (true, true, Some(2)));
        assert_eq!(parsed.data_dir.as_deref(), Some("d"));
        assert!(args("--seeds").is_err() && args("--seeds 0").is_err() && args("--fast").is_err());
    }

    #[test]
    fn names_select_tables_and_rows() {
        let tables = tables().unwrap();
        let count = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            select(&tables, &names).map(|rows| rows.len())
        };
        let burda = tables.iter().find(|table| table.name == "burda").unwrap().rows.len();
        assert_eq!(count(&["burda"]).unwrap(), burda);
        assert_eq!(count(&["burda/vae-1", CI]).unwrap(), 2);
        assert_eq!(count(&["burda/vae-1", "burda"]).unwrap(), burda);
        assert_eq!(count(&[]).unwrap(), tables.iter().map(|table| table.rows.len()).sum::<usize>());
        let error = count(&["burda/vea-1"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `burda/vae-1`"), "{error}");
    }

    #[test]
    fn the_first_seed_of_every_row_comes_before_the_second_of_any() {
        let tables = tables().unwrap();
        let selected = select(&tables, &["burda".to_owned()]).unwrap();
        let made = jobs(&selected, Form::Full, None, Path::new("runs")).unwrap();
        assert!(made.windows(2).all(|pair| pair[0].seed <= pair[1].seed));
        let wanted: u64 = selected.iter().map(|(table, row)| table.seeds(row, Form::Full)).sum();
        assert_eq!(made.len() as u64, wanted);
        assert_eq!(
            jobs(&selected, Form::Full, Some(2), Path::new("runs")).unwrap().len(),
            2 * selected.len()
        );
        let mut runs: Vec<&PathBuf> = made.iter().map(|job| &job.run).collect();
        runs.dedup();
        assert_eq!(runs.len(), made.len());
        let quick = Job::new(selected[0].0, selected[0].1, Form::Quick, 0, Path::new("runs")).unwrap();
        assert!(quick.run != made[0].run && quick.key != made[0].key);
    }

    #[test]
    fn reads_the_forecast_of_a_dry_run() {
        let text = "[train]\n# parameters: encoder 5\n\
                    # time: 3 seconds (1000 steps of 2.5 ms, 2 sample grids of 250.0 ms)\n";
        assert_eq!(forecast(text), Some(3.0));
        assert_eq!(forecast("# disk: 3"), None);
        assert_eq!(forecast("# time: 3 seconds (much work)"), None);
    }

    #[test]
    fn measured_times_replace_forecasts() {
        let tables = tables().unwrap();
        let selected = select(&tables, &["burda".to_owned()]).unwrap();
        let made = jobs(&selected[..2], Form::Full, Some(1), Path::new("runs")).unwrap();
        let mut forecasts = Forecasts::default();
        assert_eq!(forecasts.time_left(&made), "for an unknown time");
        forecasts.guess(&made[0], 600.0);
        assert_eq!(forecasts.time_left(&made), "at least 10 min are left");
        forecasts.guess(&made[1], 1200.0);
        assert_eq!(forecasts.time_left(&made), "about 30 min are left");
        forecasts.measured(&made[0], 1200.0);
        assert_eq!(forecasts.time_left(&made), "about 40 min are left");
        assert_eq!(forecasts.time_left(&[]), "none are left");
    }

    /// The settings themselves are checked by the tests of the recipes, which know the keys.
    #[test]
    fn every_row_has_a_recipe_with_a_data_set() {
        for table in &tables().unwrap() {
            for row in &table.rows {
                let recipe = table.recipe(row);
                assert!(DataAsked::of_recipe_file(&recipe).is_some(), "{}", recipe.display());
            }
        }
    }
}
