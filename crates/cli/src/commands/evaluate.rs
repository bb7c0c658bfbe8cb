//! `waxwork evaluate`: numbers about a trained model, each with its protocol, in metrics.json.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, LatentModel, SampleRequest, Tensor, device, store};
use waxwork_data::{Dataset, Split};
use waxwork_eval::{
    Distances, Extractor, Features, Judge, Likelihood, Metric, Protocol, Report, diversity, features_of,
    judged, likelihood,
};
use waxwork_models::Run;

use crate::args::EvaluateArguments;
use crate::commands::sample::{data, load, open};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(arguments: &EvaluateArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let data = data(&run, arguments.data_dir.as_ref())?;
    let test = arguments.count.map_or_else(|| data.test.clone(), |count| data.test.first(count));
    let latent = run.model.latent();
    let judging = arguments.samples > 0 && !data.info.classes.is_empty();
    if latent.is_none() && !judging {
        return Err(Failure::new(format!(
            "nothing to measure: a {} has no likelihood, and its samples need --samples and data with labels to judge them",
            run.info.model.family
        )));
    }
    let protocol = Protocol::from([
        ("data".to_owned(), format!("{} {}", data.info.name, short(&data.info.identity))),
        ("split".to_owned(), "test".to_owned()),
    ]);
    let mut metrics = Vec::new();
    if let Some(latent) = latent {
        metrics.extend(likelihood_of(latent, &test, arguments, &device)?.metrics(&protocol));
    }
    if judging {
        metrics.extend(samples_of(&run, &data, arguments, &protocol)?);
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: run.folder.name(),
        training_seed: Some(run.info.seed),
        sample_seed: judging.then_some(arguments.seed),
        metrics,
    };
    let path = run.folder.path().join("metrics.json");
    let json = output::json(&report)?;
    store::write(&path, json.as_bytes())?;
    if arguments.json {
        return Ok(json);
    }
    Ok(format!("{}written to {}\n", describe(&report), path.display()))
}

/// Enough of a hash to tell data sets apart.
fn short(hash: &str) -> &str {
    &hash[..hash.len().min(16)]
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
    Ok(measured)
}

fn samples_of(
    run: &Run,
    limited: &Dataset,
    arguments: &EvaluateArguments,
    protocol: &Protocol,
) -> Result<Vec<Metric>, Failure> {
    // The judge learns from all the data, whatever the model was allowed to see.
    let mut config = run.recipe.data.clone();
    config.limit = None;
    config.dir = arguments.data_dir.clone().or(config.dir);
    let whole = if run.recipe.data.limit.is_some() { load(&config)? } else { limited.clone() };
    let bar = output::bar(0, "training the judge");
    let cache = waxwork_data::files::cache_dir()?;
    let judge = Judge::of(&whole, &cache, |done, most| {
        bar.set_length(most);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();

    let bar = output::bar(arguments.samples, "judging samples");
    let (mut features, mut asked) = (Vec::new(), Vec::new());
    let classes = run.model.info().classes;
    for first in (0..arguments.samples).step_by(EVALUATION_BATCH) {
        let count = EVALUATION_BATCH.min(arguments.samples - first);
        let request = SampleRequest { first: first as u64, ..SampleRequest::new(arguments.seed, count) };
        let images = run.model.sample(&request)?.to_device(&Device::Cpu)?;
        features.push(judge.features(&images)?);
        asked.extend((first..first + count).map(|number| (number % classes.max(1)) as u32));
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    let features = Tensor::cat(&features, 0)?;
    let probabilities = judge.probabilities(&features)?;
    let judged = judged(&probabilities, (classes > 0).then_some(asked.as_slice()));

    let bar = output::bar(2 * arguments.samples, "looking at real images");
    let real = |split: &Split, name: &str, done: usize| -> Result<Tensor, Failure> {
        let identity = format!("{} {name}", whole.info.identity);
        let progress = |n| bar.set_position((done + n) as u64);
        Ok(features_of(&judge, split, &identity, arguments.samples, &cache, progress)?)
    };
    let test = real(&whole.test, "test", 0)?;
    let train = Features::new("real", &real(&whole.train, "train", arguments.samples)?)?;
    bar.finish_and_clear();
    let spinner = output::bar(0, "comparing");
    let (real, generated) = (Features::new("real", &test)?, Features::new("generated", &features)?);
    let distances = Distances::between(&real, &generated)?;
    let floor = Distances::between(&real, &train)?;
    let mut protocol = protocol.clone();
    protocol.extend(judge.protocol());
    protocol.insert(
        "judge".into(),
        format!("{:.2} % right on the test images", 100.0 * judge.info.test_accuracy),
    );
    let mut metrics = judged.metrics(judge.name(), &protocol);
    metrics.extend(distances.metrics(&floor, judge.name(), &protocol));
    protocol.insert("n_real".into(), real.rows().to_string());
    protocol.insert("n_generated".into(), generated.rows().to_string());
    let spread = diversity(&generated, &probabilities)?;
    let of_real = diversity(&real, &judge.probabilities(&test)?)?;
    metrics.push(Metric::new("judge_class_diversity", spread, &protocol).floor(of_real).higher());
    spinner.finish_and_clear();
    Ok(metrics)
}

/// A line a number, then what the numbers are, said once.
fn describe(report: &Report) -> String {
    let header = ["METRIC", "VALUE", "INTERVAL", "REAL IMAGES"].map(String::from).to_vec();
    let row = |metric: &Metric| {
        let interval = metric
            .interval
            .map_or_else(String::new, |[low, high]| format!("{} to {}", number(low), number(high)));
        let unit = if metric.unit.is_empty() { String::new() } else { format!(" {}", metric.unit) };
        let floor = metric.floor.map_or_else(String::new, number);
        vec![metric.name.clone(), number(metric.value) + &unit, interval, floor]
    };
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(report.metrics.iter().map(row)).collect();
    let mut text = output::table(&rows) + "\n";
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
    for (line, names) in said {
        let whose = match names.as_slice() {
            names if names.len() == report.metrics.len() => String::new(),
            [first, .., last] if names.len() > 3 => format!("  ({first} … {last})"),
            names => format!("  ({})", names.join(", ")),
        };
        text += &format!("{line}{whose}\n");
    }
    text
}

/// Four digits, or as many as an integer has.
pub(crate) fn number(value: f64) -> String {
    let digits = if value == 0.0 || !value.is_finite() { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", (3 - digits).clamp(0, 4) as usize)
}
