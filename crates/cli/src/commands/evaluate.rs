//! `waxwork evaluate`: metrics of a trained model or of images, each with its protocol, in metrics.json.

use std::path::Path;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, LatentModel, device, store};
use waxwork_data::{Dataset, Split};
use waxwork_eval::{LatentProbes, Likelihood, Metric, Protocol, Report, codes, likelihood};
use waxwork_models::Classes;

use crate::args::{EvaluateArguments, Samples};
use crate::commands::data::config;
use crate::commands::foreign;
use crate::commands::judging::{Judging, report_of, samples_of};
use crate::commands::sample::{data, load, open};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(arguments: &EvaluateArguments) -> Result<String, Failure> {
    match (&arguments.run, &arguments.samples) {
        (Some(run), Samples::Count(count)) => of_run(run, *count, arguments),
        (None, Samples::Of(path)) => of_images(path, arguments),
        (Some(_), Samples::Of(_)) => {
            Err(Failure::usage("give either a run or images with --samples PATH, not both"))
        }
        (None, Samples::Count(_)) => {
            Err(Failure::usage("give a run, or images with --samples PATH --data NAME"))
        }
    }
}

fn of_run(path: &Path, samples: usize, arguments: &EvaluateArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(path, &device)?;
    let data = data(&run, arguments.data_dir.as_ref())?;
    let test = arguments.count.map_or_else(|| data.test.clone(), |count| data.test.first(count));
    let latent = run.latent();
    if latent.is_none() && samples == 0 {
        let family = &run.info.model.family;
        return Err(Failure::new(format!(
            "nothing to measure: {family} models have no likelihood, and --samples is 0"
        )));
    }
    let protocol = protocol(&data);
    let mut metrics = Vec::new();
    if let Some(latent) = latent {
        metrics.extend(likelihood_of(latent, &test, arguments, &device)?.metrics(&protocol));
        let bar = output::bar(test.len(), "looking at codes");
        let batches = test.batches(EVALUATION_BATCH, &device)?.map(|batch| batch.map_err(Failure::from));
        let codes = codes(run.model.as_ref(), latent, batches, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        metrics.extend(codes.metrics(&protocol));
        let factors = test.factors();
        if factors.len() >= 4 {
            let _bar = output::bar(0, "probing codes");
            metrics.extend(LatentProbes::of(&codes.means, &factors)?.metrics(&protocol));
        }
    }
    if samples > 0 {
        // The judge learns from all the data, whatever the model was allowed to see: one judge, and one floor, a data set.
        let mut config = run.recipe.data.clone();
        config.dir = arguments.data_dir.clone().or(config.dir);
        let cut = config.limit.take().is_some() | config.validation.take().is_some();
        let whole = if cut { &load(&config)? } else { &data };
        let judging = Judging {
            data: whole,
            generated: samples_of(&run, samples, arguments.seed)?,
            conditional: run.model.info().classes > 0,
            inception: arguments.inception.as_deref(),
            accuracy: arguments.accuracy_score,
        };
        metrics.extend(judging.metrics(&protocol)?);
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: run.folder.name(),
        training_seed: Some(run.info.seed),
        sample_seed: (samples > 0).then_some(arguments.seed),
        metrics,
    };
    finish(&report, &report_of(run.folder.path()), arguments.json)
}

fn of_images(path: &Path, arguments: &EvaluateArguments) -> Result<String, Failure> {
    let name = arguments.data.as_ref();
    let name =
        name.ok_or_else(|| Failure::usage("--samples PATH needs a data set to compare with: --data NAME"))?;
    // Checked before data is loaded or downloaded.
    std::fs::metadata(path).map_err(store::failed("read", path))?;
    let data = load(&config(name, arguments.data_dir.as_deref(), &arguments.set)?)?;
    let generated = foreign::read_split(path, data.info.shape, &Classes::named(&data.info.classes))?;
    let judging = Judging {
        conditional: generated.labels().is_some(),
        data: &data,
        generated,
        inception: arguments.inception.as_deref(),
        accuracy: arguments.accuracy_score,
    };
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: path.display().to_string(),
        training_seed: None,
        sample_seed: None,
        metrics: judging.metrics(&protocol(&data))?,
    };
    finish(&report, &report_of(path), arguments.json)
}

fn protocol(data: &Dataset) -> Protocol {
    Protocol::from([
        ("data".to_owned(), format!("{} {}", data.info.name, short(&data.info.identity))),
        ("split".to_owned(), "test".to_owned()),
    ])
}

fn finish(report: &Report, path: &Path, json: bool) -> Result<String, Failure> {
    report.check()?;
    let text = output::json(report)?;
    if let Err(error) = store::write(path, text.as_bytes()) {
        // The results, which took long to measure, are not lost.
        output::report(&if json { text } else { describe(report) })?;
        return Err(error.into());
    }
    if json {
        return Ok(text);
    }
    Ok(format!("{}written to {}\n", describe(report), path.display()))
}

/// Enough of a hash to tell data sets apart.
fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

fn likelihood_of(
    latent: &dyn LatentModel,
    test: &Split,
    arguments: &EvaluateArguments,
    device: &Device,
) -> Result<Likelihood, Failure> {
    let bar = output::bar(test.len(), "evaluating");
    let batches = test.batches(EVALUATION_BATCH, device)?.map(|batch| batch.map_err(Failure::from));
    let measured =
        likelihood(latent, batches, arguments.importance_samples, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    measured.check()?;
    Ok(measured)
}

/// Renders one row per metric, followed by the shared protocol.
fn describe(report: &Report) -> String {
    let header = ["METRIC", "VALUE", "INTERVAL", "REAL IMAGES"].map(String::from).to_vec();
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
