//! `waxwork evaluate`: numbers about a trained model, each with what it means, in metrics.json.

use serde::Serialize;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, LatentModel, SampleRequest, Tensor, device, store};
use waxwork_data::{Dataset, Split};
use waxwork_eval::{Distances, Features, Judge, JudgeInfo, Judged, Likelihood, judged, likelihood};
use waxwork_models::Run;

use crate::args::EvaluateArguments;
use crate::commands::sample::{data, load, open};
use crate::failure::Failure;
use crate::output;

/// metrics.json.
#[derive(Serialize)]
struct Metrics {
    version: String,
    family: String,
    seed: u64,
    data: String,
    data_identity: String,
    split: &'static str,
    /// Of the model itself, where it has an encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    likelihood: Option<Likelihood>,
    /// Of its samples, by a judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<Samples>,
}

#[derive(Serialize)]
struct Samples {
    seed: u64,
    judge: JudgeInfo,
    #[serde(flatten)]
    judged: Judged,
    /// Between the judge's features of the samples and of as many test images.
    distances: Distances,
    /// The same between as many training images and the test images: what a perfect model would get.
    floor: Distances,
}

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
    let metrics = Metrics {
        version: env!("CARGO_PKG_VERSION").into(),
        family: run.info.model.family.clone(),
        seed: run.info.seed,
        data: data.info.name.clone(),
        data_identity: data.info.identity.clone(),
        split: "test",
        likelihood: latent.map(|latent| likelihood_of(latent, &test, arguments, &device)).transpose()?,
        samples: judging.then(|| samples_of(&run, &data, arguments)).transpose()?,
    };
    let path = run.folder.path().join("metrics.json");
    let json = output::json(&metrics)?;
    store::write(&path, json.as_bytes())?;
    if arguments.json {
        return Ok(json);
    }
    Ok(format!("{}written to {}\n", describe(&metrics), path.display()))
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

fn samples_of(run: &Run, limited: &Dataset, arguments: &EvaluateArguments) -> Result<Samples, Failure> {
    // The judge learns from all the data, whatever the model was allowed to see.
    let mut config = run.recipe.data.clone();
    config.limit = None;
    config.dir = arguments.data_dir.clone().or(config.dir);
    let whole = if run.recipe.data.limit.is_some() { load(&config)? } else { limited.clone() };
    let bar = output::bar(0, "training the judge");
    let judge = Judge::of(&whole, &waxwork_data::files::cache_dir()?, |done, most| {
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
    let judged = judged(&judge.probabilities(&features)?, (classes > 0).then_some(asked.as_slice()));

    let bar = output::bar(2 * arguments.samples, "looking at real images");
    let real = |split: &Split, done: usize| -> Result<Features, Failure> {
        let features =
            judge.features_of(split, arguments.samples, |n| bar.set_position((done + n) as u64))?;
        Ok(Features::new("real", &features)?)
    };
    let (test, train) = (real(&whole.test, 0)?, real(&whole.train, arguments.samples)?);
    bar.finish_and_clear();
    let spinner = output::bar(0, "comparing");
    let distances = Distances::between(&test, &Features::new("generated", &features)?)?;
    let floor = Distances::between(&test, &train)?;
    spinner.finish_and_clear();
    Ok(Samples { seed: arguments.seed, judge: judge.info, judged, distances, floor })
}

/// A distance's name and how it is written.
type Line = (&'static str, fn(&Distances) -> String);

const DISTANCES: [Line; 6] = [
    ("judge Fréchet distance", |d| format!("{:.2}", d.frechet)),
    ("judge kernel distance", |d| format!("{:.4} ± {:.4}", d.kernel.mean, d.kernel.standard_deviation)),
    ("precision", |d| format!("{:.3}", d.precision)),
    ("recall", |d| format!("{:.3}", d.recall)),
    ("density", |d| format!("{:.3}", d.density)),
    ("coverage", |d| format!("{:.3}", d.coverage)),
];

fn describe(metrics: &Metrics) -> String {
    let mut text = String::new();
    let mut table = |rows: Vec<(&str, String)>, note: String| {
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        text += &format!("{}({note})\n", output::table(&rows));
    };
    if let Some(measured) = &metrics.likelihood {
        let mut rows = vec![
            ("test −ELBO", measured.neg_elbo),
            ("  reconstruction", measured.reconstruction),
            ("  KL", measured.kl),
        ];
        rows.extend(measured.neg_log_likelihood.map(|estimate| ("test −log p(x)", estimate)));
        let draws =
            measured.importance_samples.map_or_else(String::new, |k| format!(", {k} importance samples"));
        table(
            rows.into_iter().map(|(name, estimate)| (name, format!("{estimate} nats"))).collect(),
            format!(
                "{} on {} test images of {}{draws}; ± is one standard error",
                measured.observation, measured.images, metrics.data
            ),
        );
    }
    if let Some(Samples { judge, judged, distances, floor, .. }) = &metrics.samples {
        let mut rows = Vec::new();
        rows.extend(
            judged.agreement.map(|share| ("agreement with the label", format!("{:.2} %", 100.0 * share))),
        );
        rows.push(("class entropy", format!("{:.3} nats", judged.class_entropy)));
        rows.push(("judge score", format!("{:.2}", judged.judge_score)));
        for (name, of) in DISTANCES {
            rows.push((name, format!("{} (floor {})", of(distances), of(floor))));
        }
        table(
            rows,
            format!(
                "{} samples against {} test images, the floor is {} training images against them; judge {}, {:.2} % right on the test images of {}",
                judged.images,
                distances.n_real,
                floor.n_generated,
                &judge.sha256[..8],
                100.0 * judge.test_accuracy,
                metrics.data
            ),
        );
    }
    text
}
