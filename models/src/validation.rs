//! What a model is measured by on the validation part while it is trained, and what chooses its best checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Bound, Device, GenerativeModel, SampleRequest};
use waxwork_data::table::Tables;
use waxwork_data::{Dataset, Split};
use waxwork_eval::likelihood;
use waxwork_eval::table::{TableColumns, frames, quality};

use crate::rows;

/// Validation samples that choose the best checkpoint: enough for a tenth of a nat.
const SAMPLES: usize = 2000;

/// What a model is measured by.
pub(crate) struct Validation<'a> {
    measure: Measure<'a>,
    samples: Split,
    device: &'a Device,
}

enum Measure<'a> {
    /// The evidence lower bound of a family that has one.
    Bound(&'a dyn Bound),
    /// Columns and pairs of columns of generated rows beside real ones.
    Rows(&'a dyn GenerativeModel, Arc<Tables>),
}

impl<'a> Validation<'a> {
    /// What the model is measured by; nothing if its family has no bound and makes no rows, or there are no validation samples.
    pub(crate) fn of(model: &'a dyn GenerativeModel, data: &Dataset, device: &'a Device) -> Option<Self> {
        let samples = data.validation.subset(SAMPLES);
        let measure = match (model.bound(), &data.info.tables) {
            _ if samples.len() < 2 => return None,
            (Some(bound), _) => Measure::Bound(bound),
            (None, Some(tables)) => Measure::Rows(model, Arc::clone(tables)),
            (None, None) => return None,
        };
        Some(Self { measure, samples, device })
    }

    /// The metric that chooses the best checkpoint; lower is better.
    pub(crate) fn selection_metric(&self) -> &'static str {
        match self.measure {
            Measure::Bound(_) => "validation/neg_elbo",
            Measure::Rows(..) => "validation/gap",
        }
    }

    /// Metrics by name.
    pub(crate) fn measure(&self) -> waxwork_trainer::Result<BTreeMap<String, f64>> {
        let bound = match &self.measure {
            Measure::Bound(bound) => *bound,
            Measure::Rows(model, tables) => {
                let gap = self.gap(*model, tables).map_err(|error| match error {
                    crate::Error::Core(error) => waxwork_trainer::Error::from(error),
                    error => waxwork_trainer::Error::Validation(error.to_string()),
                })?;
                return Ok([(self.selection_metric().to_owned(), gap)].into());
            }
        };
        let batches = self.samples.batches(EVALUATION_BATCH, self.device)?;
        let batches = batches.map(|batch| batch.map_err(waxwork_trainer::Error::from));
        let measured = likelihood(bound, None, batches, |_| {})?;
        if let Err(error) = measured.check() {
            tracing::warn!("on the validation samples, {error}");
        }
        let named = [(self.selection_metric(), measured.neg_elbo), ("validation/kl", measured.kl)];
        Ok(named.map(|(name, estimate)| (name.to_owned(), estimate.mean)).into())
    }

    /// How far as many generated rows are from the real ones.
    fn gap(&self, model: &dyn GenerativeModel, tables: &Tables) -> crate::Result<f64> {
        let real: Vec<usize> = self.samples.indices().iter().map(|&index| index as usize).collect();
        let real = tables.train.subset(&real);
        let request = SampleRequest::new(0, self.samples.len());
        let made = rows::sample(model, &tables.encoder, &request, |_| {})?;
        let [real, made] = [&real, &made].map(TableColumns::of);
        let frames = frames(&[("real", &real), ("generated", &made)])?;
        Ok(quality::gap(&frames[0], &frames[1])?)
    }

    /// The samples that it measures.
    pub(crate) fn samples(&self) -> &Split {
        &self.samples
    }

    /// The same of the first batch alone, to find out how long one takes.
    pub(crate) fn first_batch(self) -> Self {
        Self { samples: self.samples.subset(EVALUATION_BATCH), ..self }
    }
}
