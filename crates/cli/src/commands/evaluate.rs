//! `waxwork evaluate`: metrics of a trained model or of images, each with its protocol, in metrics.json.

use std::path::{Path, PathBuf};

use waxwork_core::{hash, store};
use waxwork_data::manifest::TABLE;
use waxwork_eval::{Extractor, Inception, Judging, Metric, Report};
use waxwork_models::evaluation::protocol;
use waxwork_models::{Classes, Error, EvaluationConfig, evaluate_on};

use crate::args::{EvaluateArguments, Samples};
use crate::commands::data::config;
use crate::commands::foreign;
use crate::commands::judging::{inception, report_of};
use crate::commands::sample::{data, load, open};
use crate::commands::tables;
use crate::failure::Failure;
use crate::notes;
use crate::output::{self, Form, Stages};
use crate::processes::Together;

pub(crate) fn run(arguments: &EvaluateArguments, together: &Together) -> Result<String, Failure> {
    match (&arguments.run, &arguments.samples) {
        (Some(run), Samples::Count(count)) => of_run(run, *count, arguments, together),
        (None, Samples::Of(path)) => of_images(path, arguments, together),
        (Some(_), Samples::Of(_)) => {
            Err(Failure::usage("give either a run or images with --samples PATH, not both"))
        }
        (None, Samples::Count(_)) => {
            Err(Failure::usage("give a run, or images with --samples PATH --data NAME"))
        }
    }
}

fn of_run(
    path: &Path,
    samples: usize,
    arguments: &EvaluateArguments,
    together: &Together,
) -> Result<String, Failure> {
    if samples == 0 && !arguments.temperatures.is_empty() {
        return Err(Failure::usage("--temperatures needs samples, but --samples is 0"));
    }
    if samples == 0 && arguments.language_model {
        return Err(Failure::usage("--language-model needs samples, but --samples is 0"));
    }
    let device = together.open_device(&arguments.device)?;
    let run = open(path, &device)?;
    together.agree_on_weights(&run)?;
    if run.model.completer().is_some() && samples > 0 {
        notes::no_samples_of_completions();
    }
    let (data, whole, inception) = together.in_turns(|| {
        let data = data(&run, arguments.data_dir.as_ref())?;
        let whole = run.whole_data(arguments.data_dir.as_deref()).map(|config| load(&config)).transpose()?;
        Ok((data, whole, inception(arguments.inception.as_deref())?))
    })?;
    let whole = whole.as_ref().unwrap_or(&data);
    together.agree_on_data(&data)?;
    together.agree_on_data(whole)?;
    agree_on_inception(inception.as_ref(), arguments, together)?;
    let collective = together.collective();
    let config = EvaluationConfig {
        test_samples: arguments.count,
        importance_samples: arguments.importance_samples,
        samples,
        seed: arguments.seed,
        inception: inception.as_ref(),
        accuracy: arguments.accuracy_score,
        language_model: arguments.language_model,
        temperatures: &arguments.temperatures,
        collective: collective.as_ref(),
    };
    let mut stages = Stages::default();
    let report = evaluate_on(&run, &data, whole, &config, &mut |what, done, all| stages.set(what, done, all));
    stages.finish();
    let report = report.map_err(|error| match error {
        Error::NothingToMeasure { family } => Failure::new(format!(
            "nothing to measure: {family} models have no likelihood, and --samples is 0"
        )),
        error => error.into(),
    })?;
    if !together.is_first() {
        return Ok(String::new());
    }
    finish(&report, &report_of(run.folder.path()), arguments.json)
}

fn of_images(path: &Path, arguments: &EvaluateArguments, together: &Together) -> Result<String, Failure> {
    together.open_device(&arguments.device)?;
    let name = arguments.data.as_ref();
    let name =
        name.ok_or_else(|| Failure::usage("--samples PATH needs a data set to compare with: --data NAME"))?;
    // Checked before data is loaded or downloaded.
    std::fs::metadata(path).map_err(store::failed("read", path))?;
    let config = config(name, arguments.data_dir.as_deref(), &arguments.set)?;
    if config.name == TABLE {
        config.check_tables()?;
        if !together.is_first() {
            return Ok(String::new());
        }
        let report = tables::measure(path, &config, arguments.seed)?;
        report.check()?;
        return finish(&report, &report_of(path), arguments.json);
    }
    let (data, inception) =
        together.in_turns(|| Ok((load(&config)?.judged()?, inception(arguments.inception.as_deref())?)))?;
    together.agree_on_data(&data)?;
    agree_on_inception(inception.as_ref(), arguments, together)?;
    let (truth, collective) = (config.mixture()?, together.collective());
    let generated = foreign::read_split(path, &Form::from(&data.info), &Classes::named(&data.info.classes))?;
    together.agree_on_read(path, || {
        let mut contents = generated.bytes(&(0..generated.len()).collect::<Vec<_>>())?;
        contents.extend(format!("{:?}", generated.labels()).into_bytes());
        Ok(hash::sha256(&contents))
    })?;
    let judging = Judging {
        conditional: generated.labels().is_some(),
        data: &data,
        generated,
        inception: inception.as_ref(),
        accuracy: arguments.accuracy_score,
        language_model: arguments.language_model,
        truth: truth.as_ref(),
        // The conversions that these sounds went through are unknown.
        round_trip: None,
        cache: &waxwork_data::files::cache_dir()?,
        collective: collective.as_ref(),
    };
    let mut stages = Stages::default();
    let metrics = judging.metrics(&protocol(&data), &mut |what, done, all| stages.set(what, done, all));
    stages.finish();
    if !together.is_first() {
        return metrics.map(|_| String::new()).map_err(Failure::from);
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: path.display().to_string(),
        training_seed: None,
        sample_seed: None,
        metrics: metrics?,
    };
    report.check()?;
    finish(&report, &report_of(path), arguments.json)
}

/// Checks that all processes have opened the same network for Inception's metrics, if there is one.
fn agree_on_inception(
    inception: Option<&Inception>,
    arguments: &EvaluateArguments,
    together: &Together,
) -> Result<(), Failure> {
    match (inception, &arguments.inception) {
        (Some(inception), Some(path)) => together.agree_on_read(path, || Ok(inception.sha256().to_owned())),
        _ => Ok(()),
    }
}

/// Writes the metrics of a run into its folder, where its page and comparisons find them, and returns the
/// path.
///
/// # Errors
/// If the file cannot be written.
pub fn write_evaluation(report: &Report, run: &Path) -> Result<PathBuf, Failure> {
    let path = report_of(run);
    store::write(&path, output::json(report)?.as_bytes())?;
    Ok(path)
}

fn finish(report: &Report, path: &Path, json: bool) -> Result<String, Failure> {
    let text = output::json(report)?;
    if let Err(error) = store::write(path, text.as_bytes()) {
        // Print the results, which took long to measure, so that they are not lost.
        output::report(&if json { text } else { describe(report) })?;
        return Err(error.into());
    }
    if json {
        return Ok(text);
    }
    Ok(format!("{}written to {}\n", describe(report), path.display()))
}

/// Renders one row per metric, followed by the shared protocol.
fn describe(report: &Report) -> String {
    let header = ["METRIC", "VALUE", "INTERVAL", "REAL DATA"].map(String::from).to_vec();
    let row = |metric: &Metric| {
        let interval = metric.interval.map_or_else(String::new, |[low, high]| {
            format!("{} to {}", output::number(low), output::number(high))
        });
        let unit = if metric.unit.is_empty() { String::new() } else { format!(" {}", metric.unit) };
        let floor = metric.floor.map_or_else(String::new, output::number);
        vec![metric.name.clone(), output::number(metric.value) + &unit, interval, floor]
    };
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(report.metrics.iter().map(row)).collect();
    let mut text = output::table(&rows) + "\n";
    for (line, whose) in said_once(report) {
        let whose = if whose.is_empty() { whose } else { format!("  ({whose})") };
        text += &format!("{line}{whose}\n");
    }
    text
}

/// Each protocol entry once, with the metrics that it applies to; empty if it applies to all.
pub(crate) fn said_once(report: &Report) -> Vec<(String, String)> {
    let mut said: Vec<(String, Vec<&str>)> = Vec::new();
    for metric in &report.metrics {
        for (key, value) in &metric.protocol {
            let line = format!("{key}: {value}");
            match said.iter_mut().find(|(known, _)| *known == line) {
                Some((_, names)) => names.push(&metric.name),
                None => said.push((line, vec![&metric.name])),
            }
        }
    }
    let whose = |names: Vec<&str>| match names.as_slice() {
        names if names.len() == report.metrics.len() => String::new(),
        [first, .., last] if names.len() > 3 => format!("{first} … {last}"),
        names => names.join(", "),
    };
    said.into_iter().map(|(line, names)| (line, whose(names))).collect()
}
