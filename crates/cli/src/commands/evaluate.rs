//! `waxwork evaluate`: numbers about a trained model, each with what it means, in metrics.json.

use serde::Serialize;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{device, store};
use waxwork_eval::{Likelihood, likelihood};

use crate::args::EvaluateArguments;
use crate::commands::sample::{data, encoder, open};
use crate::failure::Failure;
use crate::output;

/// metrics.json.
#[derive(Serialize)]
struct Metrics {
    version: String,
    data: String,
    data_identity: String,
    split: &'static str,
    likelihood: Likelihood,
}

pub(crate) fn run(arguments: &EvaluateArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let latent = encoder(&run)?;
    let data = data(&run, arguments.data_dir.as_ref())?;
    let test = arguments.count.map_or_else(|| data.test.clone(), |count| data.test.first(count));
    let bar = output::bar(test.len(), "evaluating");
    let batches = test.batches(EVALUATION_BATCH, &device)?.map(|batch| batch.map_err(Failure::from));
    let likelihood =
        likelihood(latent, batches, arguments.importance_samples, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();

    let metrics = Metrics {
        version: env!("CARGO_PKG_VERSION").into(),
        data: data.info.name,
        data_identity: data.info.identity,
        split: "test",
        likelihood,
    };
    let path = run.folder.path().join("metrics.json");
    let json = output::json(&metrics)?;
    store::write(&path, json.as_bytes())?;
    if arguments.json {
        return Ok(json);
    }
    let measured = &metrics.likelihood;
    let mut rows = vec![
        ("test −ELBO", measured.neg_elbo),
        ("  reconstruction", measured.reconstruction),
        ("  KL", measured.kl),
    ];
    rows.extend(measured.neg_log_likelihood.map(|estimate| ("test −log p(x)", estimate)));
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(name, estimate)| vec![(*name).to_owned(), format!("{estimate} nats")]).collect();
    let draws = measured.importance_samples.map_or_else(String::new, |k| format!(", {k} importance samples"));
    Ok(format!(
        "{}({} on {} test images of {}{draws}; ± is one standard error)\nwritten to {}\n",
        output::table(&rows),
        measured.observation,
        measured.images,
        metrics.data,
        path.display()
    ))
}
