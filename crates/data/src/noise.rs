//! Deliberate noise in training samples (wrong labels and noisy pixels), to test how robust a model is.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::hash::sha256;
use waxwork_core::rng::Stream;
use waxwork_core::{ImageShape, Kind};

use crate::parts::Parts;
use crate::{Cached, Error, Factor, Result, Source};

/// Noise in the training images, the same in every run. Test images do not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoiseConfig {
    /// Share of the labels to replace by one of the other classes, drawn uniformly, in [0, 1].
    pub labels: f64,
    /// Standard deviation of the Gaussian noise added to every value of an image in [0, 1]; results are clamped to [0, 1].
    pub pixels: f64,
}

pub(crate) const ONLY_IMAGES: &str = "only images can have noise";

impl NoiseConfig {
    /// Returns the parts with this noise in the training part, and with their own identity.
    pub(crate) fn apply(self, parts: Parts, classes: usize) -> Result<Parts> {
        let fail = |key, reason: &str| Err(Error::Config { key, reason: reason.to_owned() });
        if !(0.0..=1.0).contains(&self.labels) {
            return fail("data.noise.labels", "must lie in [0, 1]");
        }
        if !(self.pixels >= 0.0 && self.pixels.is_finite()) {
            return fail("data.noise.pixels", "must be a number of at least 0");
        }
        if self.labels > 0.0 && classes < 2 {
            return fail("data.noise.labels", "needs data with at least two classes");
        }
        let Some(image) = parts.train.kind().image() else {
            return fail("data.noise", ONLY_IMAGES);
        };
        let identity =
            sha256(format!("{} with noise {} {}", parts.identity, self.labels, self.pixels).as_bytes());
        let train = Noisy { inner: parts.train, image, noise: self, classes: classes as u32 };
        Ok(Parts { train: Arc::new(Cached::new(train)), identity, ..parts })
    }
}

/// Images, each with its own noise.
struct Noisy {
    inner: Arc<dyn Source>,
    image: ImageShape,
    noise: NoiseConfig,
    classes: u32,
}

impl Source for Noisy {
    fn kind(&self) -> Kind {
        self.image.into()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        self.inner.write_sample(index, out)?;
        if self.noise.pixels > 0.0 {
            let mut draws = Stream::new(0, "data/noise/pixels", 0).at(index as u64);
            for value in out {
                let noisy = f32::from(*value) + 255.0 * self.noise.pixels as f32 * draws.normal();
                *value = noisy.round().clamp(0.0, 255.0) as u8;
            }
        }
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        let label = self.inner.label(index)?;
        let mut draws = Stream::new(0, "data/noise/labels", 0).at(index as u64);
        if f64::from(draws.uniform()) >= self.noise.labels {
            return Some(label);
        }
        let other = draws.below(self.classes - 1);
        Some(other + u32::from(other >= label))
    }

    fn factors(&self, index: usize) -> Vec<Factor> {
        self.inner.factors(index)
    }
}

#[cfg(test)]
mod tests {
    use crate::{DataConfig, NoiseConfig, load};

    fn digits(labels: f64, pixels: f64) -> crate::Result<crate::Dataset> {
        load(&DataConfig {
            noise: Some(NoiseConfig { labels, pixels }),
            limit: Some(1000),
            ..DataConfig::named("digits")
        })
    }

    #[test]
    fn as_many_labels_are_wrong_as_asked_for_and_none_in_the_test_part() {
        let clean = load(&DataConfig { limit: Some(1000), ..DataConfig::named("digits") }).unwrap();
        let noisy = digits(0.3, 0.0).unwrap();
        let labels = |split: &crate::Split| split.labels().unwrap();
        assert_eq!(labels(&clean.test), labels(&noisy.test));
        assert_ne!(clean.info.identity, noisy.info.identity);
        // Labels influence the order of the training set, so look up each image by its bytes.
        let true_labels: std::collections::HashMap<Vec<u8>, u32> = (0..clean.train.len()
            + clean.validation.len())
            .map(|index| {
                let (split, at) = match index.checked_sub(clean.train.len()) {
                    Some(at) => (&clean.validation, at),
                    None => (&clean.train, index),
                };
                (split.bytes(&[at]).unwrap(), split.label(at).unwrap())
            })
            .collect();
        let known: Vec<(u32, u32)> = (0..noisy.train.len())
            .filter_map(|at| {
                let truth = true_labels.get(&noisy.train.bytes(&[at]).unwrap())?;
                Some((*truth, noisy.train.label(at).unwrap()))
            })
            .collect();
        let wrong = known.iter().filter(|(truth, label)| truth != label).count() as f64;
        let share = wrong / known.len() as f64;
        let deviation = (0.3 * 0.7 / known.len() as f64).sqrt();
        assert!(known.len() > 50 && (share - 0.3).abs() < 4.0 * deviation, "{share} of {}", known.len());
    }

    #[test]
    fn pixels_have_the_noise_asked_for() {
        let (clean, noisy) = (digits(0.0, 0.0).unwrap(), digits(0.0, 0.1).unwrap());
        let positions: Vec<usize> = (0..200).collect();
        let (clean, noisy) = (clean.train.bytes(&positions).unwrap(), noisy.train.bytes(&positions).unwrap());
        // Grey pixels whose noise is not clamped.
        let differences: Vec<f64> = clean
            .iter()
            .zip(&noisy)
            .filter(|(clean, _)| (110..=145).contains(*clean))
            .map(|(clean, noisy)| (f64::from(*noisy) - f64::from(*clean)) / 255.0)
            .collect();
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let std = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(n > 500.0 && mean.abs() < 4.0 * 0.1 / n.sqrt(), "{mean} of {n}");
        assert!((std - 0.1).abs() < 0.01, "{std}");
    }

    #[test]
    fn rejects_impossible_noise() {
        for (labels, pixels, key) in [(1.5, 0.0, "labels"), (0.0, -1.0, "pixels"), (0.0, f64::NAN, "pixels")]
        {
            let error = digits(labels, pixels).unwrap_err().to_string();
            assert!(error.contains(&format!("data.noise.{key}")), "{error}");
        }
        let rows = DataConfig { noise: Some(NoiseConfig::default()), ..DataConfig::named("ring") };
        assert!(load(&rows).unwrap_err().to_string().contains("only images"));
    }
}
