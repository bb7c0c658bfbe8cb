//! Images that a model or another program made, measured against real ones.

use std::path::{Path, PathBuf};

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, SampleRequest, Tensor};
use waxwork_data::{Dataset, Split};
use waxwork_eval::{
    Distances, Extractor, Features, Inception, Judge, Metric, Protocol, arrays, classification_accuracy,
    diversity, features, features_of, inception_score, judged, nearest,
};
use waxwork_models::Run;

use crate::commands::foreign;
use crate::failure::Failure;
use crate::output;

/// Images whose nearest training image is searched.
const NEIGHBOURS: usize = 500;
/// Training images that are compared at once.
const NEIGHBOUR_BATCH: usize = 1000;

/// The images that are measured, with the labels that were asked for, and all that they are measured with.
pub(crate) struct Judging<'a> {
    /// What they are compared with.
    pub(crate) data: &'a Dataset,
    /// They themselves.
    pub(crate) generated: Split,
    /// Whether their order is that of a model's labels.
    pub(crate) conditional: bool,
    /// Weights of Inception-v3.
    pub(crate) inception: Option<&'a Path>,
    /// Whether to train a classifier on them.
    pub(crate) accuracy: bool,
}

/// `count` samples of a run's model, of its classes in turn.
pub(crate) fn samples_of(run: &Run, count: usize, seed: u64) -> Result<Split, Failure> {
    let bar = output::bar(count, "sampling");
    let classes = run.model.info().classes;
    let mut pixels = Vec::new();
    for first in (0..count).step_by(EVALUATION_BATCH) {
        let many = EVALUATION_BATCH.min(count - first);
        let request = SampleRequest { first: first as u64, ..SampleRequest::new(seed, many) };
        let images = run.model.sample(&request)?.to_device(&Device::Cpu)?;
        output::check_part(&images, first)?;
        pixels.extend(arrays::pixels(&images, run.model.info().image)?);
        bar.inc(many as u64);
    }
    bar.finish_and_clear();
    let labels = (classes > 0).then(|| (0..count).map(|number| (number % classes) as u32).collect());
    foreign::split(run.model.info().image, pixels, labels)
}

impl Judging<'_> {
    /// All numbers, each under `protocol` and what it adds.
    pub(crate) fn metrics(&self, protocol: &Protocol) -> Result<Vec<Metric>, Failure> {
        self.check()?;
        let inception = match self.inception {
            Some(weights) => Some(Inception::open(&fetched(weights)?)?),
            None => None,
        };
        let cache = waxwork_data::files::cache_dir()?;
        let mut metrics = Vec::new();
        if !self.data.info.classes.is_empty() {
            metrics.extend(self.by_judge(&cache, protocol)?);
        }
        if let Some(inception) = &inception {
            metrics.extend(self.by_inception(inception, &cache, protocol)?);
        }
        metrics.push(self.distance_to_training(protocol)?);
        Ok(metrics)
    }

    /// Everything that can be wrong with what is there, before a judge is trained for it.
    fn check(&self) -> Result<(), Failure> {
        if self.accuracy && !(self.conditional && self.generated.labels().is_some()) {
            return Err(Failure::new("a classifier cannot be trained on samples without labels"));
        }
        if self.data.info.classes.is_empty() && self.inception.is_none() {
            return Ok(());
        }
        for (whose, found) in [("generated", self.generated.len()), ("real", self.data.test.len())] {
            if found < Distances::FEWEST {
                let needed = Distances::FEWEST;
                return Err(waxwork_eval::Error::TooFew { whose, needed, found }.into());
            }
        }
        Ok(())
    }

    fn by_judge(&self, cache: &Path, protocol: &Protocol) -> Result<Vec<Metric>, Failure> {
        let bar = output::bar(0, "training the judge");
        let judge = Judge::of(self.data, cache, |done, most| bar.set(done, most))?;
        bar.finish_and_clear();
        let mut protocol = protocol.clone();
        protocol.extend(judge.protocol());
        let right = format!("{:.2} % right on the test images", 100.0 * judge.info.test_accuracy);
        protocol.insert("judge".into(), right);

        let seen = self.features(&judge, cache)?;
        let probabilities = judge.probabilities(&seen.generated)?;
        let asked = self.generated.labels().filter(|_| self.conditional);
        let mut metrics = judged(&probabilities, asked.as_deref()).metrics(judge.name(), &protocol);
        metrics.extend(seen.distances(judge.name(), &protocol)?);

        protocol.insert("n_generated".into(), self.generated.len().to_string());
        if self.accuracy {
            let bar = output::bar(0, "training a classifier on the samples");
            let accuracy =
                classification_accuracy(self.data, &self.generated, |done, most| bar.set(done, most))?;
            bar.finish_and_clear();
            let metric = Metric::new("classification_accuracy_score", accuracy, &protocol);
            metrics.push(metric.floor(judge.info.test_accuracy).higher());
        }
        let real = Features::new("real", &seen.test)?;
        let generated = Features::new("generated", &seen.generated)?;
        let of_real = diversity(&real, &judge.probabilities(&seen.test)?)?;
        protocol.insert("n_real".into(), real.rows().to_string());
        let spread = Metric::new("judge_class_diversity", diversity(&generated, &probabilities)?, &protocol);
        metrics.push(spread.floor(of_real).higher());
        Ok(metrics)
    }

    fn by_inception(
        &self,
        inception: &Inception,
        cache: &Path,
        protocol: &Protocol,
    ) -> Result<Vec<Metric>, Failure> {
        let mut protocol = protocol.clone();
        protocol.extend(inception.protocol());
        let seen = self.features(inception, cache)?;
        let score = inception_score(&inception.probabilities(&seen.generated)?)?;
        let of_real = inception_score(&inception.probabilities(&seen.test)?)?;
        let mut metrics = vec![score.metric(of_real.mean, self.generated.len(), &protocol)];
        metrics.extend(seen.distances(inception.name(), &protocol)?);
        Ok(metrics)
    }

    /// What an extractor makes of the images, of as many test images, and of as many training images.
    fn features(&self, extractor: &dyn Extractor, cache: &Path) -> Result<Seen, Failure> {
        let n = self.generated.len();
        let bar = output::bar(3 * n, "looking at images");
        let generated = features(extractor, &self.generated, |done| bar.set_position(done as u64))?;
        let real = |split: &Split, name: &str, before: usize| {
            let identity = format!("{} {name}", self.data.info.identity);
            let progress = |done| bar.set_position((before + done) as u64);
            features_of(extractor, split, &identity, n, cache, progress)
        };
        let seen = Seen {
            generated,
            test: real(&self.data.test, "test", n)?,
            train: real(&self.data.train, "train", 2 * n)?,
        };
        bar.finish_and_clear();
        Ok(seen)
    }

    /// How far samples are from the training image that is nearest: less than test images are, and the model copies.
    fn distance_to_training(&self, protocol: &Protocol) -> Result<Metric, Failure> {
        let count = NEIGHBOURS.min(self.generated.len()).min(self.data.test.len());
        let bar = output::bar(self.data.train.len(), "searching the training images");
        let mut images = Vec::new();
        for split in [&self.generated, &self.data.test] {
            images.push(split.subset(count).batch(&(0..count).collect::<Vec<_>>(), &Device::Cpu)?.images);
        }
        let training =
            self.data.train.batches(NEIGHBOUR_BATCH, &Device::Cpu)?.map(|batch| batch.map_err(Failure::from));
        let found = nearest(&Tensor::cat(&images, 0)?, training, |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let median = |found: &[waxwork_eval::Neighbour]| {
            let mut distances: Vec<f64> = found.iter().map(|neighbour| neighbour.distance).collect();
            distances.sort_by(f64::total_cmp);
            distances.get(distances.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), count.to_string());
        protocol.insert("n_training".into(), self.data.train.len().to_string());
        protocol.insert("distance".into(), "root mean square of pixel differences, median".into());
        let (generated, real) = found.split_at(count);
        Ok(Metric::new("distance_to_training", median(generated), &protocol).floor(median(real)))
    }
}

/// Where a file is, which may be `hf:owner/name/path` on the Hub.
fn fetched(path: &Path) -> Result<PathBuf, Failure> {
    match path.to_str().and_then(|path| path.strip_prefix("hf:")) {
        Some(address) => from_hub(address),
        None => Ok(path.to_owned()),
    }
}

#[cfg(feature = "hub")]
fn from_hub(address: &str) -> Result<PathBuf, Failure> {
    let bar = output::bar_of_bytes("downloading");
    let path = waxwork_data::fetch_file(address, &|done, all| bar.set(done, all))?;
    bar.finish_and_clear();
    Ok(path)
}

#[cfg(not(feature = "hub"))]
fn from_hub(address: &str) -> Result<PathBuf, Failure> {
    Err(Failure::new(format!("this build cannot download `{address}`: build it with `--features hub`")))
}

/// Features of one extractor.
struct Seen {
    generated: Tensor,
    test: Tensor,
    train: Tensor,
}

impl Seen {
    fn distances(&self, extractor: &str, protocol: &Protocol) -> Result<Vec<Metric>, Failure> {
        let spinner = output::bar(0, "comparing");
        let test = Features::new("real", &self.test)?;
        let distances = Distances::between(&test, &Features::new("generated", &self.generated)?)?;
        let floor = Distances::between(&test, &Features::new("real", &self.train)?)?;
        spinner.finish_and_clear();
        Ok(distances.metrics(&floor, extractor, protocol))
    }
}

/// Where numbers about the images of `path` are written.
pub(crate) fn report_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("metrics.json") } else { path.with_extension("metrics.json") }
}
