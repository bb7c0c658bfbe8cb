//! Chooses the best checkpoint of a model whose family has no likelihood. It has its own judge, so that the
//! metrics of [`crate::judging`] come from a judge that no choice was made by.

use std::path::Path;

use waxwork_core::Tensor;
use waxwork_core::collective::OneProcess;
use waxwork_data::{Dataset, Split};

use crate::distances::PRECISION_NEIGHBOURS;
use crate::{Extractor, Features, Judge, Result, cover, features, frechet, judged};

/// Share of the class entropy of real samples below which the generated samples lack classes.
const ENOUGH_ENTROPY: f64 = 0.9;
/// Recall below which hardly any real sample is near a generated one.
const ENOUGH_RECALL: f64 = 0.02;

/// The judge, and its features of real samples.
#[derive(Debug)]
pub struct Chooser {
    judge: Judge,
    real: Features,
    real_entropy: f64,
    floor: f64,
}

/// How far generated samples are from real ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closeness {
    /// Fréchet distance of features.
    pub frechet: f64,
    /// The same distance for as many training samples.
    pub floor: f64,
    /// Entropy of the classes of generated samples, in nats.
    pub class_entropy: f64,
    /// The same of real samples.
    pub real_entropy: f64,
    /// Share of generated samples that lie among real ones.
    pub precision: f64,
    /// Share of real samples that lie among generated ones.
    pub recall: f64,
}

impl Chooser {
    /// The chooser for `data`, which compares with `samples`. Its judge is read from `cache`, or trained and
    /// stored there.
    ///
    /// # Errors
    /// If the data has no labels, cannot be read, or the cache cannot be written.
    pub fn of(data: &Dataset, samples: &Split, cache: &Path, progress: impl FnMut(u64, u64)) -> Result<Self> {
        let judge = Judge::that_chooses(data, cache, progress)?;
        let see = |split: &Split| features(&judge, split, &OneProcess, |_| {});
        let (seen, train) = (see(samples)?, see(&data.train.subset(samples.len()))?);
        let real_entropy = judged(&judge.probabilities(&seen)?, None).class_entropy;
        let real = Features::new("real", &seen)?;
        let floor = frechet(&real, &Features::new("training", &train)?)?;
        Ok(Self { judge, real, real_entropy, floor })
    }

    /// The distance of generated samples `(N, ..)`, as networks see them, from the real ones.
    ///
    /// # Errors
    /// If there are too few samples.
    pub fn closeness(&self, generated: &Tensor) -> Result<Closeness> {
        let seen = self.judge.features(generated)?;
        let class_entropy = judged(&self.judge.probabilities(&seen)?, None).class_entropy;
        let generated = Features::new("generated", &seen)?;
        let cover = cover(&self.real, &generated, PRECISION_NEIGHBOURS)?;
        Ok(Closeness {
            frechet: frechet(&self.real, &generated)?,
            floor: self.floor,
            class_entropy,
            real_entropy: self.real_entropy,
            precision: cover.precision,
            recall: cover.recall,
        })
    }
}

impl Closeness {
    /// The reason why the model looks collapsed, if it does: it makes few classes, or few different samples.
    pub fn collapse(&self) -> Option<String> {
        let (found, real) = (self.class_entropy, self.real_entropy);
        if found < ENOUGH_ENTROPY * real {
            return Some(format!(
                "the classes of samples have an entropy of {found:.2} nats, real ones {real:.2}"
            ));
        }
        let recall = 100.0 * self.recall;
        (self.recall < ENOUGH_RECALL)
            .then(|| format!("only {recall:.1} % of the real samples lie among generated ones"))
    }
}
