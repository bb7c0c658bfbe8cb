//! The evaluation of a run: the metrics of its family on test samples, and the comparison of its samples with
//! real ones by judges.

use std::path::Path;

use waxwork_core::collective::{Collective, OneProcess};
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::rng::Stream;
use waxwork_core::sharing::share;
use waxwork_core::{Complete, DType, Density, Device, Kind, SampleRequest, values};
use waxwork_data::table::{Tables, clinic};
use waxwork_data::{Dataset, InMemory, Split};
use waxwork_eval::judging::Stages;
use waxwork_eval::likelihood::Estimate;
use waxwork_eval::table::density::{LEAST, log_likelihoods};
use waxwork_eval::text::temperatures::{self, Curve};
use waxwork_eval::text::{exact, phrases};
use waxwork_eval::{
    CodeUse, Disentanglement, Inception, Judging, LatentProbes, Likelihood, Metric, MutualInformation,
    Protocol, Report, codes, evaluation_batch, evaluation_batches, likelihood,
};

use crate::{Error, Result, Run, rows, sounds, texts};

/// The table whose true distribution is known.
const CLINIC: &str = "clinic";

/// Metrics that the known distribution of the data minimises.
const NEGATIVE: [&str; 2] = ["neg_elbo", "neg_log_likelihood"];

/// What an evaluation measures.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationConfig<'a> {
    /// Test samples for the family's own metrics; None: all.
    pub test_samples: Option<usize>,
    /// Draws per sample for log p(x); 0 skips it.
    pub importance_samples: usize,
    /// Samples of the model for the judges; 0 skips them.
    pub samples: usize,
    /// Seed of those samples.
    pub seed: u64,
    /// Inception-v3, if its metrics are requested.
    pub inception: Option<&'a Inception>,
    /// Whether to train a classifier on the samples.
    pub accuracy: bool,
    /// Whether to train language models on texts, and score texts with them.
    pub language_model: bool,
    /// Temperatures at which to compare the quality and the diversity of as many texts.
    pub temperatures: &'a [f64],
    /// The processes that share the work. Each makes the same call.
    pub collective: &'a dyn Collective,
}

impl Default for EvaluationConfig<'_> {
    fn default() -> Self {
        Self {
            test_samples: None,
            importance_samples: 0,
            samples: 10_000,
            seed: 0,
            inception: None,
            accuracy: false,
            language_model: false,
            temperatures: &[],
            collective: &OneProcess,
        }
    }
}

/// Opens a run and measures it on its data set, which is read from where the run found it. For progress or
/// other data, see [`evaluate_on`].
///
/// ```
/// use waxwork_core::Device;
/// use waxwork_models::{EvaluationConfig, Recipe, evaluate, train};
///
/// let settings = ["train.steps=2", "train.batch_size=8", "data.limit=32"].map(String::from);
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("run");
/// train(&Recipe::named("vae-ring", &settings)?, &path, &Device::Cpu)?;
/// let config = EvaluationConfig { test_samples: Some(100), samples: 0, ..EvaluationConfig::default() };
/// let report = evaluate(&path, &config, &Device::Cpu)?;
/// assert_eq!(report.metrics[0].name, "neg_elbo");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the run has no weights, or the data cannot be read.
pub fn evaluate(path: &Path, config: &EvaluationConfig<'_>, device: &Device) -> Result<Report> {
    let run = Run::open(path, device)?;
    let data = waxwork_data::load(&run.recipe.data)?;
    let whole = run.whole_data(None);
    let whole = whole.map(|config| waxwork_data::load(&config)).transpose()?;
    evaluate_on(&run, &data, whole.as_ref().unwrap_or(&data), config, &mut |_, _, _| {})
}

/// Measures a run on the test split of `data`. Judges are trained on `whole`, which is all of the data set
/// without the noise that was added for the model, whatever part the model was trained on
/// ([`Run::whole_data`]). So there is one judge, and one floor, per data set. `stages` receives the progress.
///
/// Several processes may measure together ([`EvaluationConfig::collective`]). The first one's report has the
/// bytes of one process. The others' reports lack metrics, because these processes only share the work.
///
/// Of a model that completes images, only the likelihood of the missing pixels and the codes are measured.
///
/// # Errors
/// [`Error::NothingToMeasure`] for a model without a bound or a likelihood if no samples are requested; an error
/// if language models are requested for other data than texts, or temperatures of a model that does not draw
/// texts; errors of the data and the judges.
pub fn evaluate_on(
    run: &Run,
    data: &Dataset,
    whole: &Dataset,
    config: &EvaluationConfig<'_>,
    stages: &mut Stages<'_>,
) -> Result<Report> {
    if run.bound().is_none() && run.exact().is_none() && config.samples == 0 {
        return Err(Error::NothingToMeasure { family: run.info.model.family.clone() });
    }
    if config.language_model && !matches!(data.info.kind, Kind::Text { .. }) {
        return Err(waxwork_eval::Error::NoTexts { data: data.info.name.clone() }.into());
    }
    let temperatures = temperatures_of(run, config)?;
    let test = config.test_samples.map_or_else(|| data.test.clone(), |count| data.test.subset(count));
    let protocol = protocol(whole);
    let mut metrics = of_test_samples(run, data, &test, config, &protocol, stages)?;
    // Completions share pixels with real images, so distances between the two would be meaningless.
    let samples = if run.model.completer().is_some() { 0 } else { config.samples };
    if let (Some(tables), true) = (&data.info.tables, samples > 0) {
        let request = SampleRequest::new(config.seed, config.samples);
        let (model, encoder) = (run.model.as_ref(), run.encoder_for(tables));
        let progress = |done| stages("sampling", done, config.samples);
        let made = rows::sample_together(model, encoder, &request, config.collective, progress)?;
        let target = run.recipe.data.table.as_ref().and_then(|table| table.label.clone());
        if config.collective.is_first() {
            metrics.extend(rows::measure(tables, &made, target, config.seed, stages)?.metrics(&protocol));
        }
        if config.collective.is_first() && run.model.info().condition.is_columns() {
            let found = rows::condition_agreement(model, encoder, tables, config.seed, stages)?;
            metrics.extend(rows::condition_agreement_metrics(&found, &protocol));
        }
    } else if samples > 0 {
        let mixture = run.recipe.data.mixture()?;
        let judged = whole.judged()?;
        let (count, together) = (samples, config.collective);
        let generated = samples_of(run, count, config.seed, together, stages)?.seen_as(&judged.info.view)?;
        // Before the first process measures alone, so that no other process waits for a part of it.
        let tempered = at_temperatures(run, config, &temperatures, stages)?;
        let judging = Judging {
            round_trip: sounds::round_trip(&run.info.view(), &judged, count, together, stages)?,
            data: &judged,
            generated,
            conditional: !run.model.info().condition.is_none(),
            inception: config.inception,
            accuracy: config.accuracy,
            language_model: config.language_model,
            truth: mixture.as_ref(),
            cache: &waxwork_data::files::cache_dir()?,
            collective: together,
        };
        metrics.extend(judging.metrics(&protocol, stages)?);
        if together.is_first() && !tempered.is_empty() {
            metrics.extend(curve(run, (whole, &test), config, &tempered, &protocol, stages)?);
        }
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: run.folder.name(),
        training_seed: Some(run.info.seed),
        sample_seed: (samples > 0).then_some(config.seed),
        metrics,
    };
    report.check()?;
    Ok(report)
}

/// The temperatures in their order, each once.
fn temperatures_of(run: &Run, config: &EvaluationConfig<'_>) -> Result<Vec<f64>> {
    // Models without a bound or a likelihood compute their outputs from latents.
    let likely = run.bound().is_some() || run.exact().is_some();
    let draws = matches!(run.info.kind(), Kind::Text { .. }) && likely;
    if !config.temperatures.is_empty() && !draws {
        let family = run.info.model.family.clone();
        return Err(Error::NoTemperature { family, samples: run.info.kind().plural() });
    }
    if let Some(wrong) = config.temperatures.iter().find(|asked| !(asked.is_finite() && **asked >= 0.0)) {
        let reason = format!("must be numbers, zero or more, got {wrong}");
        return Err(waxwork_core::Error::Config { key: "temperatures".into(), reason }.into());
    }
    let mut temperatures = config.temperatures.to_vec();
    temperatures.sort_by(f64::total_cmp);
    temperatures.dedup();
    Ok(temperatures)
}

/// A model's texts at each temperature, all of the same latents. The processes share the work, and all get the
/// texts.
fn at_temperatures(
    run: &Run,
    config: &EvaluationConfig<'_>,
    temperatures: &[f64],
    stages: &mut Stages<'_>,
) -> Result<Vec<(f64, Split)>> {
    let mut tempered = Vec::with_capacity(temperatures.len());
    for &temperature in temperatures {
        let request = SampleRequest { temperature, ..SampleRequest::new(config.seed, config.samples) };
        tempered.push((temperature, drawn(run, &request, config.collective, stages)?));
    }
    Ok(tempered)
}

/// The quality and the diversity of the texts at each temperature, and the likelihood of the texts of `test` if
/// the model can compute it. One process measures them, because only one may write the language model into the
/// cache.
fn curve(
    run: &Run,
    (whole, test): (&Dataset, &Split),
    config: &EvaluationConfig<'_>,
    tempered: &[(f64, Split)],
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Vec<Metric>> {
    let cache = waxwork_data::files::cache_dir()?;
    let curve = Curve::new(whole, config.samples, config.language_model, &cache, stages)?;
    let mut metrics = Vec::new();
    for (temperature, texts) in tempered {
        metrics.extend(curve.metrics(texts, *temperature, protocol)?);
        // At temperature 0, only one text has a probability above zero.
        if let Some(model) = run.exact().filter(|_| *temperature > 0.0) {
            let seen = (test, run.model.params().device());
            let progress = |done| stages("evaluating", done, test.len());
            let score = exact::nll_test(model, *temperature, seen, &OneProcess, progress)?;
            let mut protocol = protocol.clone();
            protocol.insert("temperature".into(), temperature.to_string());
            let conditional = !run.model.info().condition.is_none();
            let mut metric = exact::metric(score, whole, test, conditional, &protocol)?;
            metric.name = temperatures::at(&metric.name, *temperature);
            metrics.push(metric);
        }
    }
    Ok(metrics)
}

/// The protocol that every metric of an evaluation on the test split of `data` records.
pub fn protocol(data: &Dataset) -> Protocol {
    // Enough of a hash to tell data sets apart.
    let identity = data.info.identity.get(..16).unwrap_or(&data.info.identity);
    Protocol::from([
        ("data".to_owned(), format!("{} {identity}", data.info.name)),
        ("split".to_owned(), "test".to_owned()),
    ])
}

/// The metrics of the model's own encoder and likelihood on test samples.
fn of_test_samples(
    run: &Run,
    data: &Dataset,
    test: &Split,
    config: &EvaluationConfig<'_>,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Vec<Metric>> {
    let (mut metrics, device, n) = (Vec::new(), run.model.params().device(), test.len());
    let conditional = !run.model.info().condition.is_none();
    let EvaluationConfig { importance_samples, collective, .. } = *config;
    let read = |number| evaluation_batch(test, number, device).map_err(Error::from);
    let batches = (evaluation_batches(test), read);
    if let Some(bound) = run.bound() {
        let density = run.density().filter(|_| importance_samples > 0);
        let density = density.map(|density| (density, importance_samples));
        let progress = |done| stages("evaluating", done, n);
        let measured: Likelihood = likelihood(bound, density, batches, collective, progress)?;
        measured.check()?;
        let truth = phrases::true_nll(data, test, conditional)?;
        let beside_truth = |metric: Metric| match truth {
            Some(truth) if NEGATIVE.contains(&metric.name.as_str()) => metric.floor(truth),
            _ => metric,
        };
        metrics.extend(measured.metrics(protocol).into_iter().map(beside_truth));
        if run.model.info().latent.code_count().is_some() {
            let mut protocol = protocol.clone();
            protocol.insert("n_real".into(), n.to_string());
            let bits = measured.kl.mean / std::f64::consts::LN_2;
            metrics.push(Metric::new("code_bits", bits, &protocol).lower());
        }
    }
    if let (Some(completer), Some(bound)) = (run.model.completer(), run.bound()) {
        let mut protocol = protocol.clone();
        protocol.insert("observation".into(), bound.protocol());
        metrics.extend(of_guesses((completer, device), test, collective, protocol, stages)?);
    }
    if let Some(model) = run.exact() {
        let progress = |done| stages("evaluating", done, n);
        let score = exact::nll_test(model, 1.0, (test, device), collective, progress)?;
        metrics.push(exact::metric(score, data, test, conditional, protocol)?);
    }
    if let (Some(tables), Some(density), true) = (&data.info.tables, run.density(), importance_samples > 0)
        && !conditional
    {
        metrics.extend(of_test_rows((density, device), data, tables, test, config, protocol, stages)?);
    }
    if let (Some(encoder), Some(reconstructor)) = (run.encoder(), run.reconstructor()) {
        let progress = |done| stages("measuring codes", done, n);
        let codes = codes(encoder, reconstructor, batches, collective, progress)?;
        let texts = texts::reconstructions(reconstructor, test, device, collective, protocol, stages)?;
        let discrete = run.model.info().latent.code_count();
        // The variance of the numbers of codes means nothing, and they have no Gaussian posterior.
        let told = |metric: &Metric| discrete.is_none() || metric.name != "active_units";
        metrics.extend(codes.metrics(protocol).into_iter().filter(told));
        metrics.extend(texts);
        match discrete {
            Some(count) => metrics.extend(CodeUse::of(&codes.means, count)?.metrics(protocol)),
            // With two groups of latents, the posterior of the second is that for the mean of the first.
            None if run.model.info().latent.parts().len() > 1 => {}
            None => metrics.push(MutualInformation::of(&codes.means, &codes.log_vars)?.metric(protocol)),
        }
        let (view, seen) = (run.info.view(), (test, device));
        metrics.extend(sounds::reconstructions(reconstructor, &view, seen, collective, protocol, stages)?);
        let factors = test.factors();
        // A linear map of code numbers is meaningless.
        if factors.len() >= 4 && discrete.is_none() && collective.is_first() {
            stages("probing codes", 0, 0);
            metrics.extend(LatentProbes::of(&codes.means, &factors)?.metrics(protocol));
            let scores = Disentanglement::of(&codes.means, &factors)?;
            metrics.extend(scores.into_iter().flat_map(|scores| scores.metrics(protocol)));
        }
    }
    Ok(metrics)
}

/// The cross-entropy of a model's guesses for the missing pixels of test images, if it has a network for
/// guesses. The model is on `device`.
fn of_guesses(
    (completer, device): (&dyn Complete, &Device),
    test: &Split,
    collective: &dyn Collective,
    mut protocol: Protocol,
    stages: &mut Stages<'_>,
) -> Result<Option<Metric>> {
    let work = |number: usize| -> Result<Option<Vec<f64>>> {
        let batch = evaluation_batch(test, number, device)?;
        let Some(each) = completer.guesses(&batch.inputs, &batch.indices)? else { return Ok(None) };
        let each = each.to_device(&Device::Cpu).and_then(|each| each.to_dtype(DType::F64)?.to_vec1());
        Ok(Some(each.map_err(waxwork_core::Error::from)?))
    };
    let mut found: Vec<f64> = Vec::with_capacity(test.len());
    share(collective, evaluation_batches(test), work, |values: Option<Vec<f64>>| -> Result<()> {
        found.extend(values.into_iter().flatten());
        stages("measuring guesses", found.len(), test.len());
        Ok(())
    })?;
    if found.is_empty() {
        return Ok(None);
    }
    let estimate = Estimate::of(&found);
    protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
    protocol.insert("n_real".into(), found.len().to_string());
    Ok(Some(
        Metric::new("guess_cross_entropy", estimate.mean, &protocol)
            .nats()
            .within(estimate.interval())
            .lower(),
    ))
}

/// −log p(row) of test rows in the table's own units, and for `clinic` the distance from the truth. The model
/// is on `device`.
fn of_test_rows(
    (density, device): (&dyn Density, &Device),
    data: &Dataset,
    tables: &Tables,
    test: &Split,
    config: &EvaluationConfig<'_>,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Vec<Metric>> {
    let rows: Vec<usize> = test.indices().iter().map(|&index| index as usize).collect();
    let draws = config.importance_samples;
    let work = |number: usize| -> Result<Option<Vec<f64>>> {
        let batch = evaluation_batch(test, number, device)?;
        let stream = Stream::new(0, "evaluation/rows", 0);
        let Some(decoded) = density.decoded(&batch, draws, &stream)? else { return Ok(None) };
        let first = number * EVALUATION_BATCH;
        let here = &rows[first..first + batch.len()];
        Ok(Some(log_likelihoods(&tables.encoder, &tables.test, here, &decoded)?))
    };
    let (mut found, mut known) = (Vec::with_capacity(rows.len()), true);
    share(config.collective, evaluation_batches(test), work, |values: Option<Vec<f64>>| -> Result<()> {
        known &= values.is_some();
        found.extend(values.into_iter().flatten());
        stages("measuring likelihoods", found.len(), rows.len());
        Ok(())
    })?;
    if !known {
        return Ok(Vec::new());
    }
    let mut protocol = protocol.clone();
    protocol.insert("draws".into(), format!("{draws} per row, importance sampling"));
    protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
    protocol.insert("n_real".into(), rows.len().to_string());
    protocol.insert("least".into(), format!("{LEAST:e} for a value given a latent"));
    let metric = |name: &str, values: &[f64]| {
        let estimate = Estimate::of(values);
        Metric::new(name, estimate.mean, &protocol).nats().within(estimate.interval()).lower()
    };
    let negative: Vec<f64> = found.iter().map(|value| -value).collect();
    let mut metrics = vec![metric("neg_log_likelihood_of_rows", &negative)];
    if data.info.name == CLINIC {
        let records = clinic::Record::of(&tables.test)?;
        let truth = clinic::Network::truth();
        let gaps: Vec<f64> =
            rows.iter().zip(&found).map(|(row, value)| truth.score(&records[*row]) - value).collect();
        metrics.push(metric("kl_from_truth", &gaps));
    }
    Ok(metrics)
}

/// `count` samples of a run's model as data, from its classes in turn. Images are rounded to eight bits, as
/// every measured image is. The processes of `collective` share the work, and all get the samples.
///
/// # Errors
/// If a sample is not finite.
pub fn samples_of(
    run: &Run,
    count: usize,
    seed: u64,
    collective: &dyn Collective,
    stages: &mut Stages<'_>,
) -> Result<Split> {
    drawn(run, &SampleRequest::new(seed, count), collective, stages)
}

/// [`samples_of`] for a request without conditions, from sample 0 on.
fn drawn(
    run: &Run,
    asked: &SampleRequest,
    collective: &dyn Collective,
    stages: &mut Stages<'_>,
) -> Result<Split> {
    let count = asked.count;
    let (kind, view, info) = (run.info.kind(), run.info.view(), run.model.info());
    let work = |number: usize| -> Result<Vec<u8>> {
        let first = number * EVALUATION_BATCH;
        let many = EVALUATION_BATCH.min(count - first);
        let request = SampleRequest { first: first as u64, count: many, ..asked.clone() };
        let samples =
            run.model.sample(&request)?.to_device(&Device::Cpu).map_err(waxwork_core::Error::from)?;
        values::check_rows("images", &samples, first)?;
        sounds::at_rest(&kind, &view, &samples, first as u64)
    };
    let (mut bytes, mut done) = (Vec::new(), 0);
    share(collective, count.div_ceil(EVALUATION_BATCH), work, |part: Vec<u8>| -> Result<()> {
        bytes.extend(part);
        done = count.min(done + EVALUATION_BATCH);
        stages("sampling", done, count);
        Ok(())
    })?;
    let classes = info.classes();
    let labels = (classes > 0).then(|| (0..count).map(|number| (number % classes) as u32).collect());
    Ok(Split::all(std::sync::Arc::new(InMemory::new(kind, bytes, labels)?))?)
}
