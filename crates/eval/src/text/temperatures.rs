//! Quality and diversity of a model's texts at several temperatures of its draws (Caccia et al. 2020). Lower
//! temperatures give more likely and less diverse texts, so two models are compared by their whole curves.

use std::collections::HashSet;
use std::path::Path;

use waxwork_data::text::tokens_of;
use waxwork_data::{Dataset, Split};

use super::bleu::{self, References};
use super::language_model::LanguageModel;
use super::{MOST, exact, oracle, phrases};
use crate::judging::Stages;
use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};
use crate::{Error, Result};

/// The metric of diversity: of the self-BLEU scores, the one of four words.
pub const DIVERSITY: &str = "self_bleu_4";
/// The metric of quality for texts from an unknown distribution: of the BLEU scores, the one of four words.
const QUALITY: &str = "bleu_4";
/// The curves, each a metric of quality and one of diversity. The grammar of `phrases` determines the first two
/// metrics of quality; the others are BLEU and the score by a language model of the real texts. On `oracle`, the
/// curve consists of two likelihoods.
pub const CURVES: [[&str; 2]; 5] = [
    ["validity", DIVERSITY],
    ["nll_true", DIVERSITY],
    [QUALITY, DIVERSITY],
    ["lm_score", DIVERSITY],
    [oracle::NLL_ORACLE, exact::NLL_TEST],
];
/// What the grammar of `phrases` determines.
const EXACT: [&str; 3] = ["validity", "nll_true", "coverage"];
/// The place of BLEU-4 among BLEU-2 … BLEU-5.
const FOUR: usize = 2;

/// The name of a metric at a temperature.
pub fn at(name: &str, temperature: f64) -> String {
    format!("{name}_at_{temperature}")
}

/// What a curve has in common at all temperatures.
#[derive(Debug)]
pub struct Curve<'a> {
    data: &'a Dataset,
    /// Maximum number of texts at each temperature.
    count: usize,
    /// A language model of the real texts, and the score of test texts.
    model: Option<(LanguageModel, f64)>,
    /// −log p of test sequences under the oracle, for the data set `oracle`.
    truth: Option<Estimate>,
    /// The diversity of training texts.
    diversity: f64,
    /// The test texts, and the BLEU-4 of training texts; None if the distribution of the texts is known.
    references: Option<(References, f64)>,
}

impl<'a> Curve<'a> {
    /// The measures for curves of `count` texts at each temperature. `phrases` and `oracle` do not need a
    /// language model, so one is used for them only if `language_model` is true.
    ///
    /// # Errors
    /// If texts cannot be read, there are fewer than two, or the cache cannot be written.
    pub fn new(
        data: &'a Dataset,
        count: usize,
        language_model: bool,
        cache: &Path,
        stages: &mut Stages<'_>,
    ) -> Result<Self> {
        let count = count.min(MOST);
        let trained = tokens_of(&data.train.subset(count))?;
        for (whose, found) in [("generated", count), ("real", trained.len().min(data.test.len()))] {
            if found < 2 {
                return Err(Error::TooFew { whose, needed: 2, found });
            }
        }
        let mut model = None;
        let known = phrases::are_phrases(data) || data.info.oracle.is_some();
        if language_model || !known {
            let judge = LanguageModel::of(data, cache, |done, most| {
                stages("training a language model", done as usize, most as usize);
            })?;
            let floor = judge.score(&data.test.subset(MOST))?.nats;
            model = Some((judge, floor));
        }
        let truth = match &data.info.oracle {
            Some(truth) => oracle::nll(truth, &tokens_of(&data.test.subset(MOST))?),
            None => None,
        };
        let references = if known {
            None
        } else {
            let references = References::new(&tokens_of(&data.test.subset(MOST))?);
            let floor = bleu::bleu(&trained, &references)[FOUR];
            Some((references, floor))
        };
        let diversity = bleu::self_bleu(&trained)[FOUR];
        Ok(Self { data, count, model, truth, diversity, references })
    }

    /// The metrics of texts that a model drew at `temperature`, which is a part of their names.
    ///
    /// # Errors
    /// If the texts cannot be read.
    pub fn metrics(&self, generated: &Split, temperature: f64, protocol: &Protocol) -> Result<Vec<Metric>> {
        let some = generated.subset(self.count);
        let made = tokens_of(&some)?;
        let mut protocol = protocol.clone();
        protocol.insert("temperature".into(), temperature.to_string());
        protocol.insert("n_generated".into(), made.len().to_string());
        let mut metrics = Vec::new();
        if let Some((model, floor)) = &self.model {
            let mut protocol = protocol.clone();
            protocol.extend(model.protocol());
            protocol.insert("n_real".into(), self.data.test.len().min(MOST).to_string());
            metrics.push(model.score(&some)?.metric("lm_score", &protocol).floor(*floor));
        }
        if let Some(truth) = &self.data.info.oracle {
            let found = oracle::metrics(truth, &made, self.truth, &protocol);
            metrics.extend(found.into_iter().filter(|metric| metric.name == oracle::NLL_ORACLE));
        }
        if phrases::are_phrases(self.data) {
            let real = tokens_of(&self.data.test.subset(made.len()))?;
            let mut protocol = protocol.clone();
            protocol.insert("n_real".into(), real.len().to_string());
            let found = phrases::metrics(&made, None, &real, &HashSet::new(), &protocol);
            metrics.extend(found.into_iter().filter(|metric| EXACT.contains(&metric.name.as_str())));
        }
        protocol.insert("bleu".into(), "of sentences, method 1 smoothing, uniform weights; mean".into());
        if let Some((references, floor)) = &self.references {
            let mut protocol = protocol.clone();
            let count = self.data.test.len().min(MOST);
            protocol.insert("references".into(), format!("all {count} test texts"));
            metrics.push(Metric::new(QUALITY, bleu::bleu(&made, references)[FOUR], &protocol).floor(*floor));
        }
        protocol.insert("references".into(), "all other texts of its own".into());
        let diversity = Metric::new(DIVERSITY, bleu::self_bleu(&made)[FOUR], &protocol);
        metrics.push(diversity.floor(self.diversity));
        for metric in &mut metrics {
            metric.name = at(&metric.name, temperature);
        }
        Ok(metrics)
    }
}
