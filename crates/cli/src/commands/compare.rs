//! `waxwork compare`: a table of runs and their metrics. Metrics with different protocols are not compared;
//! notes name the difference.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use serde::Serialize;
use waxwork_core::{Condition, DType, Device, SampleRequest, Tensor};
use waxwork_eval::report::ProtocolMismatch;
use waxwork_eval::{Metric, differences};
use waxwork_kernels as kernels;
use waxwork_models::{Recipe, Run};
use waxwork_trainer::{RunFolder, Status, metrics};

use crate::args::{Arguments, Command, CompareArguments};
use crate::commands::run_view::evaluation_of;
use crate::commands::runs::{Row, list};
use crate::commands::sample::open;
use crate::commands::{compare_page, evaluate};
use crate::failure::Failure;
use crate::output::{self, number};
use crate::processes::Together;

/// Number of images per timed sampling, and number of repetitions.
const SAMPLED: usize = 100;
const ROUNDS: usize = 5;

/// Runs that differ only in their seed.
#[derive(Serialize)]
struct Column {
    runs: Vec<String>,
    /// Values of the model and of this machine, by name.
    costs: BTreeMap<&'static str, f64>,
    /// The values of all runs, for each metric that can be compared.
    values: BTreeMap<String, Vec<f64>>,
    /// Metrics that cannot be compared, and what differs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_compared: BTreeMap<String, Vec<String>>,
    #[serde(skip)]
    recipe: Option<Recipe>,
    /// The data, and the weights that the runs start from.
    #[serde(skip)]
    origin: Option<(String, Option<String>)>,
    #[serde(skip)]
    metrics: Vec<Metric>,
}

pub(crate) fn run(arguments: &CompareArguments) -> Result<String, Failure> {
    let runs = collected(&arguments.runs)?;
    if arguments.evaluate {
        evaluate_all(&runs)?;
    }
    let Compared { mut columns, refused, unmeasured } = compared(&runs)?;
    let notes = notes(&refused, &unmeasured);
    if let Some(path) = &arguments.html {
        return Ok(compare_page::write(path, &runs, &rows(&columns), &refused)? + &notes);
    }
    if arguments.json {
        for column in &mut columns {
            column.mark(&refused);
        }
        return output::json(&columns);
    }
    let is_refused = |name: &str| refused.iter().any(|refused| refused.metric == name);
    let mut rows = rows(&columns);
    for row in rows.iter_mut().filter(|row| row.first().is_some_and(|name| is_refused(name))) {
        row.truncate(1);
        row.push("not compared".into());
    }
    let space = if notes.is_empty() { "" } else { "\n" };
    Ok(format!("{}{space}{notes}", output::table(&rows)))
}

/// The runs to compare: a folder of runs stands for the finished runs in it.
fn collected(asked: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in asked {
        let is_itself =
            ["recipe.toml", "metrics.json", "run.json"].iter().any(|name| path.join(name).is_file());
        let below = if path.is_dir() && !is_itself { list(path)? } else { Vec::new() };
        if below.is_empty() {
            all.push(path.clone());
            continue;
        }
        for Row { run, info } in below {
            if info.status == Status::Finished {
                all.push(run.into());
            } else {
                tracing::warn!("skipping `{run}`, which is not finished");
            }
        }
    }
    Ok(all)
}

/// Evaluates the runs that have no evaluation, with the default settings of `waxwork evaluate`.
fn evaluate_all(runs: &[PathBuf]) -> Result<(), Failure> {
    for path in runs {
        if path.join("run.json").is_file() && evaluation_of(path)?.is_none() {
            tracing::info!(run = %path.display(), "evaluating");
            let run = path.as_os_str().to_owned();
            let command = Arguments::try_parse_from(["waxwork".into(), "evaluate".into(), run])?.command;
            if let Command::Evaluate(arguments) = command {
                evaluate::run(&arguments, &Together::alone())?;
            }
        }
    }
    Ok(())
}

impl Column {
    /// Removes the values that cannot be compared, and records what differs.
    fn mark(&mut self, refused: &[ProtocolMismatch]) {
        for ProtocolMismatch { metric, difference } in refused {
            self.values.remove(metric);
            self.not_compared.entry(metric.clone()).or_default().push(difference.clone());
        }
    }
}

/// The reasons for missing numbers, one line per reason.
fn notes(refused: &[ProtocolMismatch], unmeasured: &[PathBuf]) -> String {
    let mut differences: Vec<(&str, Vec<&str>)> = Vec::new();
    for ProtocolMismatch { metric, difference } in refused {
        match differences.iter_mut().find(|(known, _)| known == difference) {
            Some((_, metrics)) if metrics.contains(&metric.as_str()) => {}
            Some((_, metrics)) => metrics.push(metric),
            None => differences.push((difference, vec![metric])),
        }
    }
    let mut lines = String::new();
    for (difference, metrics) in differences {
        lines += &format!("not compared, {difference} ({})\n", metrics.join(", "));
    }
    for run in unmeasured {
        let run = run.display();
        lines +=
            &format!("`{run}` has no evaluation: run `waxwork evaluate {run}`, or compare with --evaluate\n");
    }
    lines
}

/// Runs next to each other.
struct Compared {
    /// One column for runs that differ only in their seed.
    columns: Vec<Column>,
    /// What cannot be compared.
    refused: Vec<ProtocolMismatch>,
    /// Runs without a metrics.json.
    unmeasured: Vec<PathBuf>,
}

fn compared(runs: &[PathBuf]) -> Result<Compared, Failure> {
    let mut unmeasured = Vec::new();
    let mut columns: Vec<Column> = Vec::new();
    let mut refused = Vec::new();
    let bar = output::bar(runs.len(), "timing the models");
    for path in runs {
        // A metrics.json is enough, next to images or in a folder.
        if !path.is_file() && !path.join("metrics.json").is_file() {
            RunFolder::open(path)?;
        }
        let measured = evaluation_of(path)?.map_or_else(Vec::new, |report| report.metrics);
        if measured.is_empty() {
            unmeasured.push(path.clone());
        }
        // Images from another program have metrics, but no run.
        let run = if path.join("run.json").is_file() { Some(open(path, &Device::Cpu)?) } else { None };
        for (name, known) in
            columns.iter().flat_map(|column| column.metrics.iter().map(|known| (&column.runs[0], known)))
        {
            let same = measured.iter().find(|metric| metric.name == known.name);
            let differ = same.map_or_else(Vec::new, |metric| differences(&known.protocol, &metric.protocol));
            refused.extend(differ.into_iter().map(|difference| ProtocolMismatch {
                metric: known.name.clone(),
                difference: format!("{name} against {}: {difference}", path.display()),
            }));
        }
        let mut recipe = run.as_ref().map(|run| run.recipe.clone());
        if let Some(recipe) = &mut recipe {
            recipe.train.seed = 0;
        }
        let origin = run.as_ref().map(|Run { info, .. }| {
            (info.data_identity.clone(), info.forked_from.as_ref().map(|origin| origin.sha256.clone()))
        });
        let mut place = None;
        for (at, column) in columns.iter().enumerate() {
            if let (Some(known), Some(recipe)) = (&column.recipe, &recipe)
                && column.origin == origin
                && known.differences(recipe)?.is_empty()
            {
                place = Some(at);
                break;
            }
        }
        if place.is_none() {
            let costs = run.as_ref().map_or_else(|| Ok(BTreeMap::new()), costs)?;
            let (runs, values, metrics) = (vec![], BTreeMap::new(), measured.clone());
            columns.push(Column {
                runs,
                costs,
                values,
                not_compared: BTreeMap::new(),
                recipe,
                origin,
                metrics,
            });
        }
        let last = columns.len() - 1;
        let column = &mut columns[place.unwrap_or(last)];
        column.runs.push(path.display().to_string());
        for metric in measured {
            column.values.entry(metric.name).or_default().push(metric.value);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Compared { columns, refused, unmeasured })
}

/// The cost of the model: its size, the length of its training, and its sampling speed on this machine.
fn costs(run: &Run) -> Result<BTreeMap<&'static str, f64>, Failure> {
    let tensors = run.model.params().tensors();
    let elements: usize = tensors.values().map(Tensor::elem_count).sum();
    let mut costs = BTreeMap::from([
        ("tensor elements in the model", elements as f64),
        ("training steps", run.info.steps as f64),
    ]);
    let timing = metrics::read(&run.folder.timing())?;
    let last = timing.last().and_then(|(step, values)| Some((*step, values.get("seconds")?.as_f64()?)));
    if let Some((step, seconds)) = last.filter(|(step, _)| *step > 0) {
        costs.insert("ms per training step", 1000.0 * seconds / step as f64);
    }
    let memory = timing.iter().filter_map(|(_, values)| values.get("peak_memory_bytes")?.as_f64());
    if let Some(most) = memory.reduce(f64::max) {
        costs.insert("peak training memory, MiB", most / f64::from(1 << 20));
    }
    // Black images take a model that completes images as long as any others.
    let black = || Tensor::zeros(run.model.info().sample.batch(SAMPLED), DType::F32, &Device::Cpu);
    let numbers: Vec<u64> = (0..SAMPLED as u64).collect();
    let condition = match run.model.completer() {
        Some(completer) => completer.given(&black()?, &numbers)?,
        None => Condition::None,
    };
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let first = (round * SAMPLED) as u64;
        let condition = condition.clone();
        let (began, before) = (Instant::now(), kernels::multiply_adds());
        run.model.sample(&SampleRequest { first, condition, ..SampleRequest::new(0, SAMPLED) })?;
        // The first round only fills caches.
        if round > 0 {
            times.push(began.elapsed().as_secs_f64());
            let flops = 2 * (kernels::multiply_adds() - before);
            costs.insert("MFLOP per sample (matrix products)", flops as f64 / SAMPLED as f64 / 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    costs.insert("ms per 100 samples (this machine)", 1000.0 * times[ROUNDS / 2]);
    Ok(costs)
}

/// A header, then one row per metric.
fn rows(columns: &[Column]) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(columns.iter().map(|column| match column.runs.as_slice() {
        [run] => run.clone(),
        [first, others @ ..] => format!("{first} and {} more seeds", others.len()),
        [] => String::new(),
    }));
    let costs: std::collections::BTreeSet<_> =
        columns.iter().flat_map(|column| column.costs.keys()).collect();
    for name in costs {
        let cell =
            |column: &Column| column.costs.get(name).map_or_else(|| "-".to_owned(), |value| number(*value));
        rows.push(std::iter::once((*name).to_owned()).chain(columns.iter().map(cell)).collect());
    }
    let mut names: Vec<&str> = Vec::new();
    for metric in columns.iter().flat_map(|column| &column.metrics) {
        if !names.contains(&metric.name.as_str()) {
            names.push(&metric.name);
        }
    }
    for name in names {
        let cell =
            |column: &Column| column.values.get(name).map_or_else(|| "-".to_owned(), |values| spread(values));
        rows.push(std::iter::once(name.to_owned()).chain(columns.iter().map(cell)).collect());
    }
    rows
}

/// A value, or mean and standard deviation of several.
fn spread(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return number(mean);
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    format!("{} ± {}", number(mean), number(variance.sqrt()))
}
