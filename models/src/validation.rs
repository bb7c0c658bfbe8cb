//! The metric of a model on the validation split during training, which chooses the weights that the run ends
//! with.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use waxwork_core::collective::Collective;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Bound, Device, Exact, GenerativeModel, SampleRequest};
use waxwork_data::table::Tables;
use waxwork_data::{Dataset, Split, View};
use waxwork_eval::table::{TableColumns, frames, quality};
use waxwork_eval::text::exact::nll_test;
use waxwork_eval::{Chooser, Closeness, evaluation_batch, evaluation_batches, likelihood};
use waxwork_trainer::TrainConfig;

use crate::{rows, sounds};

/// Number of validation samples that choose: enough for a tenth of a nat.
const SAMPLES: usize = 2000;

/// How a model is validated.
pub(crate) struct Validation<'a> {
    measure: Measure<'a>,
    samples: Split,
    device: &'a Device,
    /// The processes that measure together.
    collective: Arc<dyn Collective>,
}

enum Measure<'a> {
    /// The evidence lower bound, for a family that has one.
    Bound(&'a dyn Bound),
    /// −log p per token of texts, for a model that can compute it.
    Exact(&'a dyn Exact),
    /// Columns and pairs of columns of generated rows, compared with real ones.
    Rows(&'a dyn GenerativeModel, Arc<Tables>),
    /// A judge's comparison of generated samples with real ones.
    Judged(Box<Judged<'a>>),
}

struct Judged<'a> {
    model: &'a dyn GenerativeModel,
    data: &'a Dataset,
    /// The data as the judge sees it, if the model sees it in a way that no judge supports.
    judged: Option<Dataset>,
    /// Trained or loaded from the cache when it is first needed.
    chooser: OnceCell<Chooser>,
    /// Whether the current collapse has been reported.
    collapsed: Cell<bool>,
}

impl<'a> Validation<'a> {
    /// The way to validate the model. None if there are fewer than two validation samples. Also None if the
    /// model has no bound and no likelihood and makes no rows, unless `config` has something to choose and the
    /// data has labels for a judge. All processes of `collective` measure at the same steps.
    pub(crate) fn of(
        model: &'a dyn GenerativeModel,
        data: &'a Dataset,
        config: &TrainConfig,
        device: &'a Device,
        collective: &Arc<dyn Collective>,
    ) -> Option<Self> {
        let samples = data.validation.subset(SAMPLES);
        let measure = match (model.bound(), &data.info.tables) {
            _ if samples.len() < 2 => return None,
            (Some(bound), _) => Measure::Bound(bound),
            (None, None) if model.exact().is_some() => Measure::Exact(model.exact()?),
            (None, Some(tables)) => Measure::Rows(model, Arc::clone(tables)),
            (None, None) if config.chooses() && !data.info.classes.is_empty() => {
                let (chooser, collapsed) = Default::default();
                // The other processes do not judge.
                let is_seen_anew = collective.is_first() && matches!(data.info.view, View::Waveform);
                let judged = is_seen_anew.then(|| data.judged().ok()).flatten();
                Measure::Judged(Box::new(Judged { model, data, judged, chooser, collapsed }))
            }
            (None, None) => return None,
        };
        Some(Self { measure, samples, device, collective: Arc::clone(collective) })
    }

    /// The metric that chooses the best checkpoint; lower is better.
    pub(crate) fn selection_metric(&self) -> &'static str {
        match self.measure {
            Measure::Bound(_) => "validation/neg_elbo",
            Measure::Exact(_) => "validation/nll",
            Measure::Rows(..) => "validation/gap",
            Measure::Judged(_) => "judge_frechet/generated",
        }
    }

    /// Metrics by name. Of several processes, the first has all of them. A judge measures on the first alone.
    pub(crate) fn measure(&self) -> waxwork_trainer::Result<BTreeMap<String, f64>> {
        let bound = match &self.measure {
            Measure::Bound(bound) => *bound,
            Measure::Exact(exact) => {
                let seen = (&self.samples, self.device);
                let score = nll_test(*exact, 1.0, seen, self.collective.as_ref(), |_| {});
                let score = score.map_err(|error| match error {
                    waxwork_eval::Error::Core(error) => waxwork_trainer::Error::from(error),
                    error => waxwork_trainer::Error::Validation(error.to_string()),
                })?;
                return Ok(BTreeMap::from([(self.selection_metric().to_owned(), score.nats)]));
            }
            Measure::Rows(model, tables) => {
                let gap = self.gap(*model, tables).map_err(|error| match error {
                    crate::Error::Core(error) => waxwork_trainer::Error::from(error),
                    error => waxwork_trainer::Error::Validation(error.to_string()),
                })?;
                return Ok(gap.map(|gap| (self.selection_metric().to_owned(), gap)).into_iter().collect());
            }
            Measure::Judged(_) if !self.collective.is_first() => return Ok(BTreeMap::new()),
            Measure::Judged(judged) => {
                return judged
                    .measure(&self.samples)
                    .map_err(|error| waxwork_trainer::Error::Validation(error.to_string()));
            }
        };
        let read = |number| {
            evaluation_batch(&self.samples, number, self.device).map_err(waxwork_trainer::Error::from)
        };
        let batches = (evaluation_batches(&self.samples), read);
        let measured = likelihood(bound, None, batches, self.collective.as_ref(), |_| {})?;
        if let Err(error) = measured.check() {
            tracing::warn!("on the validation samples, {error}");
        }
        let named = [(self.selection_metric(), measured.neg_elbo), ("validation/kl", measured.kl)];
        Ok(named.map(|(name, estimate)| (name.to_owned(), estimate.mean)).into())
    }

    /// The distance from the real rows to as many generated ones, on the first process.
    fn gap(&self, model: &dyn GenerativeModel, tables: &Tables) -> crate::Result<Option<f64>> {
        let real: Vec<usize> = self.samples.indices().iter().map(|&index| index as usize).collect();
        let real = tables.train.subset(&real);
        let request = SampleRequest::new(0, self.samples.len());
        let together = self.collective.as_ref();
        let made = rows::sample_together(model, &tables.encoder, &request, together, |_| {})?;
        if !together.is_first() {
            return Ok(None);
        }
        let [real, made] = [&real, &made].map(TableColumns::of);
        let frames = frames(&[("real", &real), ("generated", &made)])?;
        Ok(Some(quality::gap(&frames[0], &frames[1])?))
    }

    /// True if a measurement needs a judge, which may have to be trained first.
    pub(crate) fn is_judged(&self) -> bool {
        matches!(self.measure, Measure::Judged(_))
    }

    /// The samples that it measures on.
    pub(crate) fn samples(&self) -> &Split {
        &self.samples
    }

    /// The same validation on the first batch only, to time it.
    pub(crate) fn first_batch(self) -> Self {
        Self { samples: self.samples.subset(EVALUATION_BATCH), ..self }
    }
}

impl Judged<'_> {
    /// The distance from the real samples to as many generated ones. Warns once per collapse.
    fn measure(&self, samples: &Split) -> crate::Result<BTreeMap<String, f64>> {
        let made = self.model.sample(&SampleRequest::new(0, samples.len()))?;
        let made = match &self.judged {
            // Judges see the spectrograms of waveforms.
            Some(judged) => {
                let sounds = self.data.info.view.sounds(&self.data.info.kind, &made, 0)?;
                sounds::seen(&judged.info.kind, &judged.info.view, sounds)?
            }
            None => made,
        };
        let seen = self.chooser(samples)?.closeness(&made)?;
        let Closeness { frechet, floor, class_entropy, precision, recall, .. } = seen;
        let collapse = seen.collapse();
        if let Some(reason) = collapse.as_ref().filter(|_| !self.collapsed.get()) {
            tracing::warn!(
                "the samples look collapsed: {reason}; if that lasts, raise the penalty's weight, set \
                 model.pack=2, or lower optimizer.lr"
            );
        }
        self.collapsed.set(collapse.is_some());
        // TensorBoard draws names with one path together: the distance of generated samples next to that of
        // real ones.
        let named = [
            ("judge_frechet/generated", frechet),
            ("judge_frechet/real", floor),
            ("judge/class_entropy", class_entropy),
            ("judge/precision", precision),
            ("judge/recall", recall),
        ];
        Ok(named.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn chooser(&self, samples: &Split) -> crate::Result<&Chooser> {
        if let Some(chooser) = self.chooser.get() {
            return Ok(chooser);
        }
        tracing::info!("looking for the judge that chooses the best weights, or training it");
        let cache = waxwork_data::files::cache_dir()?;
        let chooser = match &self.judged {
            Some(judged) => {
                Chooser::of(judged, &samples.clone().seen_as(&judged.info.view)?, &cache, |_, _| {})?
            }
            None => Chooser::of(self.data, samples, &cache, |_, _| {})?,
        };
        Ok(self.chooser.get_or_init(|| chooser))
    }
}
