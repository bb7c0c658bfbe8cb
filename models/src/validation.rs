//! What a model is measured by on the validation part while it is trained, and what chooses its best checkpoint.

use std::collections::BTreeMap;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Bound, Device, GenerativeModel};
use waxwork_data::{Dataset, Split};
use waxwork_eval::likelihood;

/// Validation samples that choose the best checkpoint: enough for a tenth of a nat.
const SAMPLES: usize = 2000;

/// The evidence lower bound on the validation part, of a family that has one.
pub(crate) struct Validation<'a> {
    bound: &'a dyn Bound,
    samples: Split,
    device: &'a Device,
}

impl<'a> Validation<'a> {
    /// The metric that chooses the best checkpoint; lower is better.
    pub(crate) const SELECTION_METRIC: &'static str = "validation/neg_elbo";

    /// What the model is measured by; nothing if its family has no bound or there are no validation samples.
    pub(crate) fn of(model: &'a dyn GenerativeModel, data: &Dataset, device: &'a Device) -> Option<Self> {
        let samples = data.validation.subset(SAMPLES);
        let bound = model.bound().filter(|_| !samples.is_empty())?;
        Some(Self { bound, samples, device })
    }

    /// Metrics by name.
    pub(crate) fn measure(&self) -> waxwork_trainer::Result<BTreeMap<String, f64>> {
        let batches = self.samples.batches(EVALUATION_BATCH, self.device)?;
        let batches = batches.map(|batch| batch.map_err(waxwork_trainer::Error::from));
        let measured = likelihood(self.bound, None, batches, |_| {})?;
        if let Err(error) = measured.check() {
            tracing::warn!("on the validation samples, {error}");
        }
        let named = [(Self::SELECTION_METRIC, measured.neg_elbo), ("validation/kl", measured.kl)];
        Ok(named.map(|(name, estimate)| (name.to_owned(), estimate.mean)).into())
    }

    /// The samples that it measures.
    pub(crate) fn samples(&self) -> &Split {
        &self.samples
    }

    /// The same of the first batch alone, to find out how long one takes.
    pub(crate) fn first_batch(&self) -> Self {
        Self { samples: self.samples.subset(EVALUATION_BATCH), ..*self }
    }
}
