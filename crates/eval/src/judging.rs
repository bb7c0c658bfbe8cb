//! Measures samples that a model or another program made against a data set: with the judge, with Inception,
//! by the distance to training samples and, if it is known, by the true distribution.

use std::path::Path;

use waxwork_core::collective::Collective;
use waxwork_core::{Device, Kind, Tensor};
use waxwork_data::embedded::PlaneMixture;
use waxwork_data::{Dataset, Split, stacked};

use crate::judge::named;
use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};
use crate::text::language_model;
use crate::{
    Distances, Error, Extractor, Features, Inception, Judge, Result, StackedModes, classification_accuracy,
    clips, coverage, different_bins, diversity, drums, features, features_of, inception_score, judged,
    nearest, nearest_shifted, text,
};

/// Number of samples whose nearest training sample is searched.
const NEIGHBOURS: usize = 500;
/// Maximum shift of a sound, in columns of its spectrogram, when it is compared with another.
pub const SHIFT: usize = 4;
/// Number of training samples that are compared at once.
pub const NEIGHBOUR_BATCH: usize = 1000;

/// Gets the name of the current stage, the amount that is done, and the total; 0 of 0 if the amounts are
/// unknown.
pub type Stages<'a> = dyn FnMut(&'static str, usize, usize) + 'a;

/// The samples to measure, and everything that they are measured with.
#[derive(Debug)]
pub struct Judging<'a> {
    /// The data set to compare with.
    pub data: &'a Dataset,
    /// The samples, with the requested labels.
    pub generated: Split,
    /// Whether their order is that of a model's labels.
    pub conditional: bool,
    /// Inception-v3, if its metrics are wanted.
    pub inception: Option<&'a Inception>,
    /// Whether to train a classifier on the samples ([`classification_accuracy`]).
    pub accuracy: bool,
    /// Whether to train language models on texts ([`text::language_model`]).
    pub language_model: bool,
    /// The distribution of the data, if it is known.
    pub truth: Option<&'a PlaneMixture>,
    /// Real sounds after the conversions that generated ones go through, for the floors of their metrics.
    pub round_trip: Option<RoundTrip>,
    /// Where the judge and the features of real samples are stored.
    pub cache: &'a Path,
    /// The processes that measure together. Each has the same samples and data.
    pub collective: &'a dyn Collective,
}

/// Real sounds, as a model would make them if it reproduced their spectrograms exactly.
#[derive(Debug)]
pub struct RoundTrip {
    /// Test sounds.
    pub test: Split,
    /// Training sounds.
    pub train: Split,
    /// The distance of each test sound from its original (spectral convergence).
    pub convergence: Vec<f64>,
}

impl Judging<'_> {
    /// All metrics, each with `protocol` and its own entries. With several processes, only the first gets
    /// them; the others do their share of the work, and return when nothing is left to share.
    ///
    /// # Errors
    /// If samples cannot be read, there are too few of them, or a judge cannot be trained.
    pub fn metrics(&self, protocol: &Protocol, stages: &mut Stages<'_>) -> Result<Vec<Metric>> {
        self.check()?;
        let mut metrics = Vec::new();
        if !self.data.info.classes.is_empty() {
            metrics.extend(self.by_judge(protocol, stages)?);
        }
        if self.data.info.name == stacked::NAME {
            metrics.extend(self.by_judge_of_digits(protocol, stages)?);
        }
        if let Some(inception) = self.inception {
            metrics.extend(self.by_inception(inception, protocol, stages)?);
        }
        if !self.collective.is_first() {
            return Ok(metrics);
        }
        if let Some(truth) = self.truth {
            metrics.extend(coverage(truth, &self.generated, &self.data.test)?.metrics(protocol));
        }
        if let Some(RoundTrip { convergence, .. }) =
            self.round_trip.as_ref().filter(|trip| !trip.convergence.is_empty())
        {
            let estimate = Estimate::of(convergence);
            let mut protocol = protocol.clone();
            protocol.insert("n_real".into(), convergence.len().to_string());
            protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
            metrics.push(
                Metric::new("round_trip_convergence", estimate.mean, &protocol)
                    .within(estimate.interval())
                    .lower(),
            );
        }
        if matches!(self.data.info.kind, Kind::Text { .. }) {
            // Distances between one-hot rows say nothing that copies and n-grams do not say better.
            metrics.extend(text::metrics(self.data, &self.generated, self.conditional, protocol, stages)?);
            if self.language_model {
                let (data, generated) = (self.data, &self.generated);
                metrics.extend(language_model::metrics(data, generated, self.cache, protocol, stages)?);
            }
            return Ok(metrics);
        }
        if let Kind::Clip { .. } = self.data.info.kind {
            stages("measuring clips", 0, 0);
            metrics.extend(clips::metrics(self.data, &self.generated, self.conditional, protocol)?);
        }
        metrics.push(self.distance_to_training(protocol, stages)?);
        if let Kind::Clip { .. } = self.data.info.kind {
            // Bins of whole clips would be many times larger, and say little: hardly two clips are alike.
            return Ok(metrics);
        }
        stages("counting bins", 0, 0);
        if let Some(bins) = different_bins(&self.data.train, &self.generated, &self.data.test)? {
            metrics.push(bins.metric(protocol));
        }
        Ok(metrics)
    }

    /// Checks all inputs before a judge is trained for them.
    fn check(&self) -> Result<()> {
        if self.language_model && !matches!(self.data.info.kind, Kind::Text { .. }) {
            return Err(Error::NoTexts { data: self.data.info.name.clone() });
        }
        if self.accuracy && !(self.conditional && self.generated.labels().is_some()) {
            return Err(Error::NoLabels { data: "samples".into() });
        }
        if self.data.info.classes.is_empty() && self.inception.is_none() {
            return Ok(());
        }
        for (whose, found) in [("generated", self.generated.len()), ("real", self.data.test.len())] {
            if found < Distances::FEWEST {
                return Err(Error::TooFew { whose, needed: Distances::FEWEST, found });
            }
        }
        Ok(())
    }

    fn by_judge(&self, protocol: &Protocol, stages: &mut Stages<'_>) -> Result<Vec<Metric>> {
        let judge = Judge::together(self.data, self.cache, self.collective, |done, most| {
            stages("training the judge", done as usize, most as usize);
        })?;
        let seen = self.features(&judge, stages)?;
        let back = self.round_trip.as_ref();
        let back = back.map(|trip| features(&judge, &trip.test, self.collective, |_| {})).transpose()?;
        if !self.collective.is_first() {
            return Ok(Vec::new());
        }
        let mut protocol = protocol.clone();
        protocol.extend(judge.protocol());
        let test = format!("test {}", self.data.info.kind.plural());
        let right = format!("{:.2} % right on the {test}", 100.0 * judge.info.test_accuracy);
        protocol.insert("judge".into(), right);

        let probabilities = judge.probabilities(&seen.generated)?;
        let asked = self.generated.labels().filter(|_| self.conditional);
        let mut metrics = judged(&probabilities, asked.as_deref()).metrics(judge.name(), &protocol);
        if let (Some(RoundTrip { test, .. }), Some(back)) = (&self.round_trip, &back) {
            let real = judge.probabilities(back)?;
            let floors = judged(&real, test.labels().as_deref()).metrics(judge.name(), &protocol);
            for metric in &mut metrics {
                metric.floor = floors.iter().find(|floor| floor.name == metric.name).map(|floor| floor.value);
            }
        }
        if drums::are_drums(self.data) {
            let names = asked.clone().unwrap_or_else(|| named(&probabilities));
            metrics.extend(drums::factor_distances(&self.generated, &names, &self.data.test, &protocol)?);
        }
        metrics.extend(seen.distances(judge.name(), &protocol, stages)?);

        protocol.insert("n_generated".into(), self.generated.len().to_string());
        if self.accuracy {
            let accuracy = classification_accuracy(self.data, &self.generated, |done, most| {
                stages("training a classifier on the samples", done as usize, most as usize);
            })?;
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

    /// The modes of stacked digits.
    fn by_judge_of_digits(&self, protocol: &Protocol, stages: &mut Stages<'_>) -> Result<Vec<Metric>> {
        let digits = stacked::digits(self.data)?;
        let judge = Judge::together(&digits, self.cache, self.collective, |done, most| {
            stages("training the judge", done as usize, most as usize);
        })?;
        let generated = stacked::channels(&self.generated)?;
        let real = stacked::channels(&self.data.test.subset(self.generated.len()))?;
        let all = generated.len() + real.len();
        let mut modes = Vec::with_capacity(2);
        for (split, before) in [(&generated, 0), (&real, generated.len())] {
            let looked = |done: usize| stages("looking at samples", before + done, all);
            let seen = features(&judge, split, self.collective, looked)?;
            modes.push(StackedModes::of(&named(&judge.probabilities(&seen)?)));
        }
        let (true, [generated, real]) = (self.collective.is_first(), &modes[..]) else {
            return Ok(Vec::new());
        };
        let mut protocol = protocol.clone();
        protocol.extend(judge.protocol());
        let right = format!("{:.2} % right on the digits of test images", 100.0 * judge.info.test_accuracy);
        protocol.insert("judge".into(), right);
        Ok(generated.metrics(real, &protocol))
    }

    fn by_inception(
        &self,
        inception: &Inception,
        protocol: &Protocol,
        stages: &mut Stages<'_>,
    ) -> Result<Vec<Metric>> {
        let mut protocol = protocol.clone();
        protocol.extend(inception.protocol());
        let seen = self.features(inception, stages)?;
        if !self.collective.is_first() {
            return Ok(Vec::new());
        }
        let score = inception_score(&inception.probabilities(&seen.generated)?)?;
        let of_real = inception_score(&inception.probabilities(&seen.test)?)?;
        let mut metrics = vec![score.metric(of_real.mean, self.generated.len(), &protocol)];
        metrics.extend(seen.distances(inception.name(), &protocol, stages)?);
        Ok(metrics)
    }

    /// The features of the samples, of as many test samples, and of as many training samples.
    fn features(&self, extractor: &dyn Extractor, stages: &mut Stages<'_>) -> Result<ExtractedFeatures> {
        let (n, together) = (self.generated.len(), self.collective);
        let mut looked = |before: usize, done: usize| stages("looking at samples", before + done, 3 * n);
        let generated = features(extractor, &self.generated, together, |done| looked(0, done))?;
        let mut real = |split: &Split, name: &str, before: usize| {
            let identity = format!("{} {name}", self.data.info.identity);
            let progress = |done| looked(before, done);
            features_of(extractor, split, (identity.as_str(), n), self.cache, together, progress)
        };
        let test = real(&self.data.test, "test", n)?;
        let train = match &self.round_trip {
            Some(RoundTrip { train, .. }) => {
                features(extractor, train, together, |done| looked(2 * n, done))?
            }
            None => real(&self.data.train, "train", 2 * n)?,
        };
        Ok(ExtractedFeatures { generated, test, train })
    }

    /// The distance of samples from the nearest training sample. If it is less than that of test samples, the
    /// model copies.
    fn distance_to_training(&self, protocol: &Protocol, stages: &mut Stages<'_>) -> Result<Metric> {
        let count = NEIGHBOURS.min(self.generated.len()).min(self.data.test.len());
        let mut samples = Vec::new();
        for split in [&self.generated, &self.data.test] {
            samples.push(split.subset(count).batch(&(0..count).collect::<Vec<_>>(), &Device::Cpu)?.inputs);
        }
        let training = self.data.train.batches(NEIGHBOUR_BATCH, &Device::Cpu)?;
        let training = training.map(|batch| batch.map_err(crate::Error::from));
        let both = Tensor::cat(&samples, 0).map_err(waxwork_core::Error::from)?;
        let all = self.data.train.len();
        let progress = |done| stages("searching the training samples", done, all);
        let is_sound = matches!(self.data.info.kind, Kind::Sound { .. });
        let found = if is_sound {
            nearest_shifted(&both, SHIFT, training, progress)?
        } else {
            nearest(&both, training, progress)?
        };
        let median = |found: &[crate::Neighbour]| {
            let mut distances: Vec<f64> = found.iter().map(|neighbour| neighbour.distance).collect();
            distances.sort_by(f64::total_cmp);
            distances.get(distances.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let of = match self.data.info.kind {
            Kind::Image(_) | Kind::Clip { .. } => "pixel",
            Kind::Points { .. } => "coordinate",
            Kind::Rows(_) => "value",
            Kind::Sound { .. } => "log-mel",
            Kind::Text { .. } => "token",
        };
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), count.to_string());
        protocol.insert("n_training".into(), all.to_string());
        let moved = if is_sound { format!(", moved by up to {SHIFT} frames") } else { String::new() };
        protocol.insert("distance".into(), format!("root mean square of {of} differences{moved}, median"));
        let (generated, real) = found.split_at(count);
        Ok(Metric::new("distance_to_training", median(generated), &protocol).floor(median(real)))
    }
}

/// Features of one extractor.
struct ExtractedFeatures {
    generated: Tensor,
    test: Tensor,
    train: Tensor,
}

impl ExtractedFeatures {
    fn distances(
        &self,
        extractor: &str,
        protocol: &Protocol,
        stages: &mut Stages<'_>,
    ) -> Result<Vec<Metric>> {
        stages("comparing", 0, 0);
        let test = Features::new("real", &self.test)?;
        let distances = Distances::between(&test, &Features::new("generated", &self.generated)?)?;
        let floor = Distances::between(&test, &Features::new("real", &self.train)?)?;
        Ok(distances.metrics(&floor, extractor, protocol))
    }
}
