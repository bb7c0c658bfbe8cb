//! The `[train]` part of a recipe.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::Precision;

use crate::{Error, Result};

/// The `[train]` part of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Images per step.
    pub batch_size: usize,
    /// Equal parts of a step's batch whose gradients are averaged, a power of two. Batch norm sees one part.
    #[serde(skip_serializing_if = "is_one")]
    pub micro_batches: usize,
    /// Passes over the training split; the last partial batch of each is dropped. Set either this or `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Number of steps. Set either this or `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Mirror each image left to right with probability 1/2, redrawn every epoch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flip: bool,
    /// Compute precision of layers: f32, or on a GPU bf16 or f16.
    #[serde(skip_serializing_if = "is_default")]
    pub dtype: Precision,
    /// Seed of all randomness in the run.
    pub seed: u64,
    /// Steps between lines of metrics.jsonl.
    pub log_every: u64,
    /// Steps between sample grids; 0: one at the end.
    pub sample_every: u64,
    /// Steps between checkpoints; 0: one at the end.
    pub checkpoint_every: u64,
    /// Steps between measurements on the validation split; 0: at the end of each epoch.
    pub validate_every: u64,
    /// Steps between histograms of all weights for TensorBoard; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub histogram_every: u64,
    /// Newest checkpoints to keep, besides the best on validation.
    pub keep: usize,
    /// The weights that model.safetensors gets.
    #[serde(skip_serializing_if = "is_default")]
    pub final_weights: FinalWeights,
    /// Validation measurements without a new best after which the run ends early; 0: it never does.
    #[serde(skip_serializing_if = "is_zero")]
    pub patience: u64,
    /// Calibrate the final weights: samples then make each choice as often as training samples do, and the
    /// numbers of a table's columns have the distribution of the training rows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
}

/// The most parts of a batch: enough for two on each of 64 nodes with 8 devices.
pub const MOST_MICRO_BATCHES: usize = 1024;

/// The weights that a run ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FinalWeights {
    /// Those of the last step.
    #[default]
    Last,
    /// Those that measured best on the validation split.
    Best,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The length of a run, in steps and in steps per epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Total number of steps.
    pub steps: u64,
    /// Full batches in one pass over the training split.
    pub steps_per_epoch: u64,
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch_size: 128,
            micro_batches: 1,
            epochs: None,
            steps: None,
            flip: false,
            dtype: Precision::F32,
            seed: 0,
            log_every: 50,
            sample_every: 500,
            checkpoint_every: 500,
            validate_every: 0,
            histogram_every: 0,
            keep: 2,
            final_weights: FinalWeights::Last,
            patience: 0,
            calibrate: false,
        }
    }
}

impl TrainConfig {
    /// True if the validation split decides which weights are kept or when the run ends.
    pub fn chooses(&self) -> bool {
        self.final_weights == FinalWeights::Best || self.patience > 0
    }

    /// Checks everything that does not depend on the data.
    ///
    /// # Errors
    /// If neither or both of `epochs` and `steps` are given, or a value is zero that must not be.
    pub fn check(&self) -> Result<()> {
        let fail = |key, reason: &str| Err(Error::Config { key, reason: reason.to_owned() });
        if self.batch_size == 0 {
            return fail("train.batch_size", "must be at least 1");
        }
        let parts = self.micro_batches;
        if !parts.is_power_of_two() || parts > MOST_MICRO_BATCHES {
            return fail(
                "train.micro_batches",
                &format!("must be a power of two up to {MOST_MICRO_BATCHES}, got {parts}"),
            );
        }
        if !self.batch_size.is_multiple_of(parts) {
            let reason =
                format!("a batch of {} samples cannot be cut into {parts} equal parts", self.batch_size);
            return fail("train.micro_batches", &reason);
        }
        if self.log_every == 0 {
            return fail("train.log_every", "must be at least 1");
        }
        if self.keep == 0 {
            return fail("train.keep", "at least one checkpoint must be kept");
        }
        match (self.epochs, self.steps) {
            (Some(0), _) | (_, Some(0)) => fail("train.steps", "a run needs at least one step"),
            (None, None) | (Some(_), Some(_)) => {
                fail("train.epochs", "give either `train.epochs` or `train.steps`")
            }
            _ => Ok(()),
        }
    }

    /// The run's length on a training split of `images` images.
    ///
    /// # Errors
    /// As [`TrainConfig::check`], or if the batch is larger than the split.
    pub fn length(&self, images: usize) -> Result<Length> {
        self.check()?;
        let fail = |key, reason: String| Err(Error::Config { key, reason });
        if self.batch_size > images {
            let reason =
                format!("must be 1 to {images} (the size of the training part), but is {}", self.batch_size);
            return fail("train.batch_size", reason);
        }
        let steps_per_epoch = (images / self.batch_size) as u64;
        let steps = match (self.epochs, self.steps) {
            (Some(epochs), None) => epochs.checked_mul(steps_per_epoch),
            (None, Some(steps)) => Some(steps),
            _ => return fail("train.epochs", "set exactly one of `train.epochs` and `train.steps`".into()),
        };
        match steps {
            Some(steps @ 1..) => Ok(Length { steps, steps_per_epoch }),
            _ => fail("train.steps", "must be at least 1 and less than 2^64".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let epochs = |epochs| TrainConfig { epochs: Some(epochs), ..TrainConfig::default() };
        assert_eq!(epochs(2).length(1000).unwrap(), Length { steps: 14, steps_per_epoch: 7 });
        assert!(epochs(2).length(100).is_err(), "the batch is larger than the data");
        assert!(epochs(u64::MAX).length(1000).is_err());
        assert!(TrainConfig::default().length(1000).is_err(), "neither epochs nor steps");
        assert!(TrainConfig { steps: Some(3), ..epochs(1) }.length(1000).is_err(), "both");
    }
}
