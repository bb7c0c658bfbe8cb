//! A small language model as a judge of texts (Semeniuta et al. 2018). A model of the real texts scores
//! generated ones, and a model of the generated texts scores real ones. The first score notices wrong texts,
//! the second one also missing texts.
//!
//! The model is one LSTM. Its training is deterministic, and the hash of its weights identifies it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use waxwork_core::hash::sha256;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Device, Kind, Loss, Mode, ParamGroup, ParamSet, StepContext, Tensor, Trainable, TrainingState,
    store,
};
use waxwork_data::text::{END, tokens_of};
use waxwork_data::{Dataset, Split};
use waxwork_nn::layers::{Embedding, Linear, Lstm, WeightInit};
use waxwork_nn::tokens::Packing;

use super::MOST;
use crate::cache::{self, Place};
use crate::judging::Stages;
use crate::report::{Metric, Protocol};
use crate::{Error, Result};

/// Increased whenever training on the same texts gives a different model; part of its identity.
const VERSION: u32 = 2;
const SEED: u64 = 0;
/// Width of a token's embedding.
const EMBEDDING: usize = 64;
/// Width of the LSTM's hidden state.
const HIDDEN: usize = 128;
/// Texts per batch.
const BATCH: usize = 64;
/// Maximum number of training steps.
const STEPS: u64 = 1500;
/// Steps between validations.
const LOOK_EVERY: u64 = 100;
/// Texts per validation.
const LOOK_AT: usize = 2000;
/// Training ends after this many validations in succession without an improvement.
const PATIENCE: u64 = 2;
/// One of this many generated texts validates the model of the others.
const HELD_OUT: usize = 10;

/// The likelihood of some texts, per token. The end of a text is one of its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean −log p per token, in nats.
    pub nats: f64,
    /// The standard error of that mean over the texts.
    pub standard_error: f64,
    /// Number of tokens.
    pub tokens: usize,
}

/// Identity of a language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageModelInfo {
    /// SHA-256 of the file of its weights.
    pub sha256: String,
    /// Identity of the data that it was trained on.
    pub data_identity: String,
    /// Number of training steps.
    pub steps: u64,
}

/// A trained language model.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    /// Its identity.
    pub info: LanguageModelInfo,
    network: Network,
}

/// p(x) = Π p(xₜ | x₁ … xₜ₋₁).
#[derive(Clone, Debug)]
struct Network {
    params: ParamSet,
    groups: Vec<ParamGroup>,
    /// One row per token, and one for the missing token before the first.
    embedding: Embedding,
    recurrent: Lstm,
    output: Linear,
    vocabulary: usize,
}

impl Network {
    fn new(vocabulary: usize, mut params: ParamSet) -> waxwork_core::Result<Self> {
        let init = WeightInit::Pytorch;
        let embedding = Embedding::new(params.root().enter("embedding"), vocabulary + 1, EMBEDDING, init)?;
        let recurrent = Lstm::new(params.root().enter("recurrent"), EMBEDDING, HIDDEN, init)?;
        let output = Linear::new(params.root().enter("output"), HIDDEN, vocabulary, init)?;
        let params = params.finish()?;
        let groups = vec![params.group("language-model", "")];
        Ok(Self { params, groups, embedding, recurrent, output, vocabulary })
    }

    /// The network with these weights, without gradients.
    fn stored(vocabulary: usize, weights: &[u8], origin: &Path) -> waxwork_core::Result<Self> {
        let tensors = store::decode(weights, origin, &Device::Cpu)?;
        let stored = Self::new(vocabulary, ParamSet::stored(tensors, &Device::Cpu)?)?;
        Self::new(vocabulary, stored.params.frozen())
    }

    /// log p in nats of all tokens up to each text's end, one text after the other: `(N, L)` u32 → `(T)`.
    fn log_likelihood(&self, texts: &Tensor, mode: Mode<'_>) -> waxwork_core::Result<Tensor> {
        let (n, length) = texts.dims2()?;
        let none = Tensor::full(self.vocabulary as u32, (n, 1), texts.device())?;
        let given = Tensor::cat(&[&none, &texts.narrow(1, 0, length - 1)?], 1)?;
        let packing = Packing::of(texts)?;
        let features = self.embedding.forward(&packing.pack(&given.flatten_all()?)?)?;
        let start = Tensor::zeros((n, 2 * HIDDEN), features.dtype(), features.device())?;
        let states = self.recurrent.forward(&features, &start, packing.lengths())?;
        self.output.log_likelihood(&states, &packing.pack(&texts.flatten_all()?)?, mode)
    }

    fn score(&self, texts: &[Vec<u32>]) -> waxwork_core::Result<Score> {
        let mut each = Vec::with_capacity(texts.len());
        for texts in texts.chunks(BATCH) {
            let some: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let mut logs = self.log_likelihood(&padded(&some)?, Mode::Eval)?.to_vec1::<f32>()?.into_iter();
            for text in texts {
                let own = logs.by_ref().take(text.len());
                each.push((-own.map(f64::from).sum::<f64>(), text.len()));
            }
        }
        Ok(per_token(&each))
    }
}

impl Trainable for Network {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> waxwork_core::Result<()> {
        let mean = self.log_likelihood(&batch.inputs, ctx.train())?.mean_all()?;
        ctx.update(&["language-model"], Loss::new("loss", mean.neg()?))
    }
}

impl LanguageModel {
    /// The model of a data set's training texts. It is read from `cache` if it is there, else trained
    /// (deterministically, on the CPU) and stored there. `progress` gets the steps done and the maximum. A
    /// damaged file in the cache is replaced.
    ///
    /// # Errors
    /// If the data is no texts, cannot be read, or the cache cannot be written.
    pub fn of(data: &Dataset, cache: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Self> {
        let vocabulary = vocabulary_of(data)?;
        let key = format!("language model {VERSION} of {} of {}", data.train.len(), data.info.identity);
        let place = Place::new(cache, "language model", &key);
        let kept = place.load(|weights, notes, origin| {
            let info = cache::notes(weights, notes, &data.info.identity, origin)?;
            Ok(Self { info, network: Network::stored(vocabulary, weights, origin)? })
        });
        if let Some(model) = kept {
            return Ok(model);
        }
        let train = sequences(&data.train)?;
        let validation = sequences(&data.validation.subset(LOOK_AT))?;
        let Learned { weights: bytes, steps, .. } = learn(&train, &validation, vocabulary, &mut progress)?;
        let info =
            LanguageModelInfo { sha256: sha256(&bytes), data_identity: data.info.identity.clone(), steps };
        place.store(&bytes, &info)?;
        Ok(Self { info, network: Network::stored(vocabulary, &bytes, Path::new("the language model"))? })
    }

    /// The likelihood of texts with the vocabulary of the training texts.
    ///
    /// # Errors
    /// If they cannot be read, or have another vocabulary.
    pub fn score(&self, texts: &Split) -> Result<Score> {
        Ok(self.network.score(&sequences(texts)?)?)
    }

    /// The entries of a protocol that identify the model.
    pub fn protocol(&self) -> Protocol {
        let hash = self.info.sha256.get(..16).unwrap_or(&self.info.sha256);
        Protocol::from([
            ("language_model".to_owned(), format!("{hash}, {}, of the training texts", architecture())),
            ("interval".to_owned(), INTERVAL.to_owned()),
        ])
    }
}

const INTERVAL: &str = "95 %, ± 1.96 standard errors over texts";

fn architecture() -> String {
    format!("an LSTM of {HIDDEN} with embeddings of {EMBEDDING}")
}

/// Both scores by language models: `lm_score`, −log p of generated texts under a model of the real ones, and
/// `reverse_lm_score`, −log p of real texts under a model of the generated ones; both per token.
///
/// # Errors
/// If texts cannot be read, there are fewer than two of a kind, or the cache cannot be written.
pub fn metrics(
    data: &Dataset,
    generated: &Split,
    cache: &Path,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Vec<Metric>> {
    let vocabulary = vocabulary_of(data)?;
    let (made, tested) = (generated.subset(MOST), data.test.subset(MOST));
    let trained = data.train.subset(made.len());
    for (whose, found) in [("generated", made.len()), ("real", tested.len().min(trained.len()))] {
        if found < 2 {
            return Err(Error::TooFew { whose, needed: 2, found });
        }
    }
    let model = LanguageModel::of(data, cache, |done, most| {
        stages("training a language model", done as usize, most as usize);
    })?;
    let [made, tested, trained] = [sequences(&made)?, sequences(&tested)?, sequences(&trained)?];
    let mut protocol = protocol.clone();
    protocol.extend(model.protocol());
    protocol.insert("mean".into(), "over all tokens; a text's end is a token".into());
    protocol.insert("n_generated".into(), made.len().to_string());
    protocol.insert("n_real".into(), tested.len().to_string());
    let (found, floor) = (model.network.score(&made)?, model.network.score(&tested)?);
    let forward = found.metric("lm_score", &protocol).floor(floor.nats);

    let mut reverse = |texts: &[Vec<u32>], what: &'static str| -> Result<Score> {
        let (learned, held_out) = divided(texts);
        let mut progress = |done: u64, most: u64| stages(what, done as usize, most as usize);
        let Learned { weights, .. } = learn(&learned, &held_out, vocabulary, &mut progress)?;
        Ok(Network::stored(vocabulary, &weights, Path::new("the language model"))?.score(&tested)?)
    };
    let found = reverse(&made, "training a language model on the samples")?;
    let floor = reverse(&trained, "training a language model on as many real texts")?;
    let learner = format!("version {VERSION}, {}, of the generated texts", architecture());
    protocol.insert("language_model".into(), learner);
    protocol.insert("n_floor".into(), format!("{} training texts", trained.len()));
    let reverse = found.metric("reverse_lm_score", &protocol).floor(floor.nats).lower();
    Ok(vec![forward, reverse])
}

impl Score {
    /// The score as a metric with its interval.
    pub fn metric(&self, name: &str, protocol: &Protocol) -> Metric {
        let error = 1.96 * self.standard_error;
        Metric::new(name, self.nats, protocol).nats().within([self.nats - error, self.nats + error])
    }
}

/// The mean over all tokens of texts, each with its sum and its number of tokens.
pub(super) fn per_token(texts: &[(f64, usize)]) -> Score {
    let tokens: usize = texts.iter().map(|(_, tokens)| tokens).sum();
    let nats = texts.iter().map(|(sum, _)| sum).sum::<f64>() / tokens as f64;
    // Of a ratio of two sums over independent texts.
    let squares: f64 = texts.iter().map(|(sum, tokens)| (sum - nats * *tokens as f64).powi(2)).sum();
    Score { nats, standard_error: squares.sqrt() / tokens as f64, tokens }
}

/// The tokens of each text with its end, which only texts of the maximum length may lack.
pub(super) fn sequences(split: &Split) -> Result<Vec<Vec<u32>>> {
    let length = if let Kind::Text { length, .. } = *split.kind() { length } else { 0 };
    let ended = |text: Vec<u16>| -> Vec<u32> {
        let end = (text.len() < length).then_some(END);
        text.into_iter().chain(end).map(u32::from).collect()
    };
    Ok(tokens_of(split)?.into_iter().map(ended).collect())
}

/// Texts of at least one token as rows of one length, filled up with ends: `(N, L)` u32, L at least 2.
fn padded(texts: &[&[u32]]) -> waxwork_core::Result<Tensor> {
    let width = texts.iter().map(|text| text.len()).max().unwrap_or_default().max(2);
    let mut values = vec![u32::from(END); texts.len() * width];
    for (row, text) in values.chunks_exact_mut(width).zip(texts) {
        row[..text.len()].copy_from_slice(text);
    }
    Ok(Tensor::from_vec(values, (texts.len(), width), &Device::Cpu)?)
}

/// Texts to learn from, and a tenth to validate with.
fn divided(texts: &[Vec<u32>]) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    // Generated texts are often in an order of classes.
    let order = Stream::new(SEED, "language-model/held-out", 0).permutation(texts.len());
    let (held_out, learned) = order.split_at(texts.len() / HELD_OUT);
    let at =
        |rows: &[u32]| -> Vec<Vec<u32>> { rows.iter().map(|&row| texts[row as usize].clone()).collect() };
    (at(learned), at(held_out))
}

/// The weights of a trained model.
struct Learned {
    /// As a safetensors file.
    weights: Vec<u8>,
    /// Number of training steps.
    steps: u64,
    /// −log p per token of the validation texts.
    validation: f64,
}

/// Trains a model, and keeps the weights that are best on the validation texts.
fn learn(
    train: &[Vec<u32>],
    validation: &[Vec<u32>],
    vocabulary: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Learned> {
    let network = Network::new(vocabulary, ParamSet::fresh(SEED, &Device::Cpu))?;
    // The moving average replaces a falling learning rate, at whatever step training ends.
    let adam = OptimizerConfig {
        lr: 3e-3,
        betas: [0.9, 0.999],
        clip_norm: Some(5.0),
        ema: Some(0.99),
        ..OptimizerConfig::default()
    };
    let mut state = TrainingState::new(&network, adam, SEED, STEPS)?;
    let average = state.ema().ok_or_else(|| waxwork_core::Error::Empty {
        what: "the language model",
        of: "moving average of its weights",
    })?;
    let average = Network::new(vocabulary, average)?;
    let validation = if validation.is_empty() { train } else { validation };
    let validation = &validation[..validation.len().min(LOOK_AT)];

    let batch = BATCH.min(train.len()).max(1);
    let per_epoch = (train.len() / batch).max(1) as u64;
    let mut order = Vec::new();
    let mut best: Option<Learned> = None;
    for step in 0..STEPS {
        let place = (step % per_epoch) as usize;
        if place == 0 {
            order = Stream::new(SEED, "language-model/order", step / per_epoch).permutation(train.len());
        }
        let rows = &order[place * batch..][..batch];
        let texts: Vec<&[u32]> = rows.iter().map(|&row| train[row as usize].as_slice()).collect();
        let indices = rows.iter().map(|&row| u64::from(row)).collect();
        state.step(&network, &Batch::unlabelled(padded(&texts)?, indices))?;
        let done = step + 1;
        progress(done, STEPS);
        if !done.is_multiple_of(LOOK_EVERY) {
            continue;
        }
        let found = average.score(validation)?.nats;
        let since = best.as_ref().filter(|best| found >= best.validation).map(|best| done - best.steps);
        match since {
            Some(steps) if steps >= PATIENCE * LOOK_EVERY => break,
            Some(_) => {}
            None => {
                let weights = store::encode(&average.params.tensors())?;
                best = Some(Learned { weights, steps: done, validation: found });
            }
        }
    }
    best.ok_or(Error::TooFew { whose: "training", needed: 1, found: train.len() })
}

fn vocabulary_of(data: &Dataset) -> Result<usize> {
    let Kind::Text { vocabulary, .. } = data.info.kind else {
        return Err(Error::NoTexts { data: data.info.name.clone() });
    };
    Ok(vocabulary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_tokens_weighs_texts_by_their_length() {
        let score = per_token(&[(2.0, 2), (10.0, 4), (3.0, 3)]);
        assert_eq!((score.nats, score.tokens), (15.0 / 9.0, 9));
        // Residuals 2 − 10/3, 10 − 20/3 and 3 − 5.
        let squares = (4.0f64 / 3.0).powi(2) + (10.0f64 / 3.0).powi(2) + 4.0;
        assert!((score.standard_error - squares.sqrt() / 9.0).abs() < 1e-12);
    }

    #[test]
    fn a_tenth_of_the_texts_validates_the_model_of_the_others() {
        let texts: Vec<Vec<u32>> = (0..100).map(|number| vec![number]).collect();
        let (learned, held_out) = divided(&texts);
        assert_eq!((learned.len(), held_out.len()), (90, 10));
        let mut all = [learned, held_out.clone()].concat();
        all.sort();
        assert_eq!(all, texts);
        // Samples have their classes in turn, so every tenth text may be of the same class.
        assert!(held_out.iter().any(|text| text[0] % 10 != held_out[0][0] % 10));
    }
}
