//! SeqGAN (Yu et al. 2017): a generator of sequences that learns by maximum likelihood, and then from the
//! rewards that a discriminator gives to complete sequences.
//!
//! Tokens are discrete, so no gradient passes from the discriminator to the generator. The generator is a policy
//! instead, and follows the gradient of its expected reward (REINFORCE, Williams 1992). The value of a token is
//! the mean reward of several continuations of the sequence up to it (roll-outs), which the generator itself
//! writes.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::autoregressive::{Autoregressive, Sizes, Written};
use super::config::{DiscriminatorNetwork, GanConfig, GeneratorNetwork};
use super::windows::Windows;
use super::{DISCRIMINATOR, GENERATOR};
use waxwork_core::latent::uniform_of_normal;
use waxwork_core::model::{self, ModelInfo};
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Condition, ConditionSpec, DType, Device, Drawing, Error, Exact, LatentLayout, Loss, Mode,
    ParamGroup, ParamSet, Result, SampleSpec, StepContext,
};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::rows::{dropout, repeat_rows};
use waxwork_nn::tokens::{self, Packing};

/// How a generator that samples token by token learns: by maximum likelihood first, then by policy gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyGradient {
    /// Number of steps at the start of a run that train only the generator, by maximum likelihood.
    pub likelihood_steps: u64,
    /// Number of steps after these that train only the discriminator. In all later steps, both learn.
    pub discriminator_steps: u64,
    /// Number of roll-outs per prefix of a text; their mean reward is the value of the prefix's last token.
    pub rollouts: usize,
    /// Subtracts from the value of each token the mean value of the tokens of the micro-batch's other texts at its position. The
    /// gradient has the same expectation and less variance.
    pub baseline: bool,
    /// Weight of the mean −log p of the tokens of real texts in the generator's loss, in [0, ∞); 0 in the paper.
    pub likelihood_weight: f64,
}

impl Default for PolicyGradient {
    fn default() -> Self {
        Self {
            likelihood_steps: 5000,
            discriminator_steps: 500,
            rollouts: 16,
            baseline: true,
            likelihood_weight: 0.0,
        }
    }
}

impl PolicyGradient {
    /// The key of an invalid value, and a description of the valid values.
    pub(super) fn problem(self) -> Option<(&'static str, &'static str)> {
        if self.rollouts == 0 {
            return Some(("rollouts", "must be at least 1"));
        }
        let weight = self.likelihood_weight;
        (!(weight >= 0.0 && weight.is_finite()))
            .then_some(("likelihood_weight", "must be a number, 0 or more"))
    }
}

/// The two players of SeqGAN, with their parameters and the model's information about itself.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What the model is.
    pub info: ModelInfo,
    /// Every tensor.
    pub params: ParamSet,
    /// [`GENERATOR`] and [`DISCRIMINATOR`].
    pub groups: Vec<ParamGroup>,
    config: GanConfig,
    generator: Autoregressive,
    discriminator: Windows,
    /// The generator on untracked weights, for sampling.
    writer: Autoregressive,
    /// The discriminator on untracked weights, for rewards.
    judge: Windows,
}

impl Policy {
    /// The players of `config` for sequences like `sample`, with their tensors from `params`. `condition` says on
    /// what they can be conditioned.
    ///
    /// # Errors
    /// If the configuration is invalid or does not fit the sequences, or a stored set does not fit it.
    pub fn new(
        family: &str,
        config: &GanConfig,
        sample: &SampleSpec,
        condition: ConditionSpec,
        mut params: ParamSet,
    ) -> Result<Self> {
        config.validate()?;
        let (sizes, embedding, windows) = networks(config)?;
        let make = |params: &mut ParamSet| -> Result<(Autoregressive, Windows)> {
            let (init, given) = (config.init, condition.width());
            let generator = Autoregressive::new(params.root().enter(GENERATOR), sample, sizes, given, init)?;
            let scope = &mut params.root();
            let discriminator =
                Windows::new(scope.enter(DISCRIMINATOR), sample, embedding, &windows, given, init)?;
            Ok((generator, discriminator))
        };
        let (generator, discriminator) = make(&mut params)?;
        let params = params.finish()?;
        let (writer, judge) = make(&mut params.frozen())?;
        let length = generator.length();
        if config.latent_dim != length {
            let reason = format!(
                "must be {length}, the maximum length of a text: the latent vector holds one random number per token"
            );
            return Err(Error::Config { key: "model.latent_dim".into(), reason });
        }
        let groups = [GENERATOR, DISCRIMINATOR].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let info = ModelInfo {
            family: family.into(),
            sample: sample.clone(),
            latent: LatentLayout::of_draws(length),
            condition,
        };
        Ok(Self { info, params, groups, config: config.clone(), generator, discriminator, writer, judge })
    }

    /// One step of maximum likelihood, of the discriminator, or of the game between both players.
    ///
    /// # Errors
    /// If the batch does not fit the model, or a tensor cannot be made.
    pub fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let policy = self.config.policy.unwrap_or_default();
        let game = policy.likelihood_steps.saturating_add(policy.discriminator_steps);
        if policy.baseline && batch.len() < 2 && ctx.total_steps() > game {
            let reason =
                "must be false, because a text that is alone in its micro-batch has no other to compare with";
            return Err(Error::Config { key: "model.policy.baseline".into(), reason: reason.into() });
        }
        let real = self.generator.read(batch)?;
        let condition = self.info.encode_condition(&batch.condition, &self.params)?;
        let given = condition.as_ref();
        if ctx.step() < policy.likelihood_steps {
            let factors =
                self.generator.dropout(&|name| ctx.stream(name), &ctx.rows(batch.len()), ctx.device())?;
            let surprise = self.surprise(&real, given, factors.as_ref(), ctx.train())?;
            return ctx.update(&[GENERATOR], Loss::new("likelihood", surprise));
        }

        let (n, length) = real.dims2()?;
        let rows = ctx.rows(n);
        let noise = uniforms(&ctx.stream("written"), &rows, length)?;
        let written = self.writer.write(1.0, &noise, given, &self.params)?;
        let generated = self.tensor(&written.tokens)?;
        let (rate, features) = (self.config.discriminator.dropout(), self.discriminator.features());
        let place = (ctx.dtype(), ctx.device());
        let kept = || dropout(&ctx.stream("dropout"), (&rows, features), rate, place);
        let kept = (rate > 0.0).then(kept).transpose()?;
        let on_real = self.discriminator.forward(&real, given, kept.as_ref(), ctx.train())?;
        let on_generated = self.discriminator.forward(&generated, given, kept.as_ref(), ctx.train())?;
        ctx.log("logits/real", &on_real.mean_all()?)?;
        ctx.log("logits/generated", &on_generated.mean_all()?)?;
        let loss = self.config.loss.discriminator(&on_real, &on_generated, self.config.label_smoothing)?;
        ctx.update(&[DISCRIMINATOR], Loss::new("discriminator", loss))?;

        if !ctx.step().checked_sub(game).is_some_and(|step| (step + 1).is_multiple_of(self.config.n_critic)) {
            return Ok(());
        }
        let values = self.values(&written, given, &rows, policy.rollouts, &|name| ctx.stream(name))?;
        let values = Tensor::from_vec(values, (n, length), &Device::Cpu)?;
        ctx.log("reward", &values.narrow(1, length - 1, 1)?.mean_all()?)?;
        let advantages = if policy.baseline { above_others(&values)? } else { values };
        let advantages = advantages.to_dtype(ctx.dtype())?.to_device(ctx.device())?;
        let loss = self.regret(&generated, given, &advantages, ctx.train())?;
        if policy.likelihood_weight == 0.0 {
            return ctx.update(&[GENERATOR], Loss::new("generator", loss));
        }
        let surprise = self.surprise(&real, given, None, ctx.train())?;
        let total = (&loss + surprise.affine(policy.likelihood_weight, 0.0)?)?;
        let loss = Loss::new("generator", total).term("policy", &loss).term("likelihood", &surprise);
        ctx.update(&[GENERATOR], loss)
    }

    /// Mean −log p of the tokens of sequences `(N, L)` under conditions `(N, given)`, in nats, with the factors of
    /// dropout.
    fn surprise(
        &self,
        sequences: &Tensor,
        given: Option<&Tensor>,
        factors: Option<&[Tensor; 2]>,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let logs = self.generator.log_likelihood(sequences, given, factors, 1.0, mode)?;
        let count = Packing::of(sequences)?.total() as f64;
        Ok(logs.sum_all()?.affine(-1.0 / count.max(1.0), 0.0)?)
    }

    /// −Σ advantage · log p of all tokens of sequences `(N, L)` under conditions `(N, given)`, divided by N · L. Its gradient is the negative
    /// policy gradient. The number of tokens that were drawn would be no divisor for it, because it depends on
    /// where the texts end, and so would change the expectation.
    fn regret(
        &self,
        sequences: &Tensor,
        given: Option<&Tensor>,
        advantages: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let logs = self.generator.log_likelihood(sequences, given, None, 1.0, mode)?;
        Ok((logs * advantages)?.mean_all()?.neg()?)
    }

    /// The value of each token of the sequences, one sequence after the other, under their conditions `(N, given)`:
    /// the mean reward of `rollouts` continuations after the token; for the last token, the reward of the sequence
    /// itself.
    fn values(
        &self,
        written: &Written,
        given: Option<&Tensor>,
        rows: &[u64],
        rollouts: usize,
        stream: &dyn Fn(&str) -> Stream,
    ) -> Result<Vec<f32>> {
        let length = self.writer.length();
        let numbers: Vec<u64> = rows
            .iter()
            .flat_map(|row| (0..rollouts as u64).map(move |k| row * rollouts as u64 + k))
            .collect();
        let repeated = given.map(|given| repeat_rows(given, rollouts)).transpose()?;
        let repeated = repeated.as_ref();
        let mut values = vec![0f32; written.tokens.len()];
        for place in 0..length {
            let left = length - place - 1;
            let value = if left == 0 {
                self.rewards(&written.tokens, given)?
            } else {
                let uniforms = uniforms(&stream(&format!("rollout/{place}")), &numbers, left)?;
                let continued = self.writer.continued(written, place, rollouts, repeated, &uniforms)?;
                let rewards = self.rewards(&continued, repeated)?;
                rewards
                    .chunks_exact(rollouts)
                    .map(|some| some.iter().sum::<f32>() / rollouts as f32)
                    .collect()
            };
            for (values, value) in values.chunks_exact_mut(length).zip(value) {
                values[place] = value;
            }
        }
        Ok(values)
    }

    /// The probability of being real that the discriminator assigns to each sequence, under conditions
    /// `(N, given)`.
    fn rewards(&self, sequences: &[u32], given: Option<&Tensor>) -> Result<Vec<f32>> {
        let logits = self.judge.forward(&self.tensor(sequences)?, given, None, Mode::Eval)?;
        let rewards = kernels::activate(&logits, Activation::Sigmoid)?;
        Ok(rewards.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// Sequences that follow each other as `(N, L)` u32.
    fn tensor(&self, sequences: &[u32]) -> Result<Tensor> {
        let length = self.writer.length();
        Ok(Tensor::from_slice(sequences, (sequences.len() / length, length), self.params.device())?)
    }

    /// Latents `(N, L)`, one random number per token, and a condition if the model takes one → one-hot rows
    /// `(N, L, V)`.
    ///
    /// # Errors
    /// If the latents have another length, or the condition does not fit.
    pub fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.writer.length()).into())?;
        let condition = self.info.encode_condition(condition, &self.params)?;
        let latents = latents.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let uniforms: Vec<f32> =
            latents.flatten_all()?.to_vec1::<f32>()?.into_iter().map(uniform_of_normal).collect();
        // The texts on a path through latent space have no sample numbers. They depend on their latents
        // alone.
        let temperature = if drawing.numbers.is_empty() { 1.0 } else { drawing.temperature };
        let written = self.writer.write(temperature, &uniforms, condition.as_ref(), &self.params)?;
        tokens::one_hot(&self.tensor(&written.tokens)?, self.writer.vocabulary(), self.params.dtype())
    }
}

impl Exact for Policy {
    fn log_probability(&self, batch: &Batch, temperature: f64) -> Result<Tensor> {
        let sequences = self.writer.read(batch)?;
        let given = self.info.encode_condition(&batch.condition, &self.params)?;
        Ok(self.writer.log_likelihood(&sequences, given.as_ref(), None, temperature, Mode::Eval)?.sum(1)?)
    }
}

/// The widths of the discriminator's windows and their numbers of features.
type WindowSizes = Vec<(usize, usize)>;

/// The sizes of the generator, and the discriminator's features per token and windows.
fn networks(config: &GanConfig) -> Result<(Sizes, usize, WindowSizes)> {
    match (&config.generator, &config.discriminator) {
        (
            GeneratorNetwork::Autoregressive { embedding, hidden, cell, ends, dropout, tied },
            DiscriminatorNetwork::Windows { embedding: features, widths, filters, .. },
        ) => {
            let sizes = Sizes {
                embedding: *embedding,
                hidden: *hidden,
                cell: *cell,
                ends: *ends,
                dropout: *dropout,
                tied: *tied,
            };
            Ok((sizes, *features, widths.iter().copied().zip(filters.iter().copied()).collect()))
        }
        _ => Err(only_policy("model.generator")),
    }
}

/// The error for a network that needs training by policy gradient.
pub(super) fn only_policy(key: &str) -> Error {
    let reason = "networks of the kinds autoregressive and windows belong together";
    Error::Config { key: key.to_owned(), reason: reason.into() }
}

/// Uniform numbers: `each` for every row of `rows`.
fn uniforms(stream: &Stream, rows: &[u64], each: usize) -> Result<Vec<f32>> {
    Ok(stream.uniform(rows, each, &Device::Cpu)?.flatten_all()?.to_vec1()?)
}

/// Values `(N, L)` of at least two rows, less the mean of the other rows at the same place.
fn above_others(values: &Tensor) -> Result<Tensor> {
    let n = values.dim(0)? as f64;
    // v − (Σ − v) / (n − 1) = (n v − Σ) / (n − 1)
    let sums = values.sum_keepdim(0)?;
    Ok(values.affine(n, 0.0)?.broadcast_sub(&sums)?.affine(1.0 / (n - 1.0), 0.0)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use waxwork_core::optim::OptimizerConfig;
    use waxwork_core::sample::{Range, Segment};
    use waxwork_core::{GenerativeModel, SampleRequest, Trainable, TrainingState};
    use waxwork_nn::layers::CellKind;

    use super::*;
    use crate::{AdversarialLoss, Gan, Penalty};

    /// Tokens of a text.
    const LENGTH: usize = 3;
    /// The end and two tokens.
    const VOCABULARY: usize = 3;

    fn config(ends: bool) -> GanConfig {
        GanConfig {
            latent_dim: LENGTH,
            generator: GeneratorNetwork::Autoregressive {
                embedding: 2,
                hidden: 3,
                cell: CellKind::Lstm,
                ends,
                dropout: 0.0,
                tied: false,
            },
            discriminator: DiscriminatorNetwork::Windows {
                embedding: 2,
                widths: vec![1, 2],
                filters: vec![3, 2],
                dropout: 0.0,
            },
            policy: Some(PolicyGradient::default()),
            ..GanConfig::default()
        }
    }

    fn sample() -> SampleSpec {
        let segment = Segment { width: VOCABULARY, range: Range::OneHot };
        SampleSpec::new(vec![LENGTH, VOCABULARY], vec![segment]).unwrap()
    }

    fn policy(ends: bool, dtype: DType) -> Policy {
        policy_of(ConditionSpec::None, ends, dtype)
    }

    /// Weights that are large enough to make probabilities and rewards differ.
    fn policy_of(condition: ConditionSpec, ends: bool, dtype: DType) -> Policy {
        let params = ParamSet::fresh_with(5, &Device::Cpu, dtype);
        let policy = Policy::new("gan", &config(ends), &sample(), condition, params).unwrap();
        let scaled = policy.params.tensors();
        let scaled = scaled.into_iter().map(|(name, x)| (name, x.affine(2.0, 0.0).unwrap())).collect();
        policy.params.assign(&scaled).unwrap();
        policy
    }

    /// The eight sequences of the tokens 1 and 2.
    fn all() -> Vec<u32> {
        (0..8u32).flat_map(|i| [i >> 2, i >> 1, i].map(|bits| 1 + (bits & 1))).collect()
    }

    /// All texts that may end early.
    fn texts() -> Vec<[u32; LENGTH]> {
        let mut texts = vec![[0, 0, 0]];
        for one in 1..3 {
            texts.push([one, 0, 0]);
            for two in 1..3 {
                texts.push([one, two, 0]);
                texts.extend((1..3).map(|three| [one, two, three]));
            }
        }
        texts
    }

    /// The condition of `n` texts of a class; None if the model has no classes.
    fn given(policy: &Policy, class: u32, n: usize) -> Option<Tensor> {
        let classes = Condition::classes(&vec![class; n]).unwrap();
        policy.info.encode_condition(&classes, &policy.params).unwrap()
    }

    /// The probability of each sequence.
    fn probabilities(policy: &Policy, sequences: &[u32], temperature: f64) -> Vec<f64> {
        probabilities_given(policy, sequences, None, temperature)
    }

    fn probabilities_given(
        policy: &Policy,
        sequences: &[u32],
        given: Option<&Tensor>,
        temperature: f64,
    ) -> Vec<f64> {
        let sequences = policy.tensor(sequences).unwrap();
        let logs = policy.writer.log_likelihood(&sequences, given, None, temperature, Mode::Eval).unwrap();
        let logs = logs.sum(1).unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        logs.into_iter().map(f64::exp).collect()
    }

    /// The exact values: the mean reward of all sequences that begin as `sequences[row]` does up to each place.
    fn exact_values(probabilities: &[f64], rewards: &[f32], sequences: &[u32]) -> Vec<f64> {
        let mut values = Vec::new();
        for own in sequences.chunks(LENGTH) {
            for place in 0..LENGTH {
                let (mut sum, mut total) = (0.0, 0.0);
                for (row, other) in sequences.chunks(LENGTH).enumerate() {
                    if other[..=place] == own[..=place] {
                        sum += probabilities[row] * f64::from(rewards[row]);
                        total += probabilities[row];
                    }
                }
                values.push(sum / total);
            }
        }
        values
    }

    /// The loss over all sequences, weighted by their probabilities, with exact values: its gradient equals the
    /// gradient of the expected reward by central differences.
    #[test]
    fn the_gradient_is_that_of_the_expected_reward() {
        gradients_are_right(ConditionSpec::None, false, &all());
        gradients_are_right(ConditionSpec::None, true, &texts().concat());
        gradients_are_right(ConditionSpec::classes(2), true, &texts().concat());
    }

    fn gradients_are_right(condition: ConditionSpec, ends: bool, sequences: &[u32]) {
        let policy = policy_of(condition, ends, DType::F64);
        let class = given(&policy, 1, sequences.len() / LENGTH);
        let class = class.as_ref();
        let rewards = policy.rewards(sequences, class).unwrap();
        let expected = || -> f64 {
            let drawn = probabilities_given(&policy, sequences, class, 1.0);
            drawn.iter().zip(&rewards).map(|(p, reward)| p * f64::from(*reward)).sum()
        };
        let drawn = probabilities_given(&policy, sequences, class, 1.0);
        let values = exact_values(&drawn, &rewards, sequences);
        let advantages: Vec<f64> =
            values.iter().enumerate().map(|(place, value)| drawn[place / LENGTH] * value).collect();
        let advantages = Tensor::from_vec(advantages, (rewards.len(), LENGTH), &Device::Cpu).unwrap();
        let tensor = policy.tensor(sequences).unwrap();
        let loss = policy.regret(&tensor, class, &advantages, Mode::Eval).unwrap();
        let mut gradients = kernels::backward(&loss).unwrap();
        let mut compared = 0;
        for name in &policy.groups[0].params {
            let var = policy.params.get(name).unwrap();
            let gradient = gradients.take(var).unwrap().unwrap().flatten_all().unwrap();
            let gradient = gradient.affine(-(sequences.len() as f64), 0.0).unwrap().to_vec1::<f64>().unwrap();
            let start = var.as_tensor().copy().unwrap().detach();
            let values = start.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for (place, gradient) in gradient.into_iter().enumerate() {
                let at = |delta: f64| {
                    let mut moved = values.clone();
                    moved[place] += delta;
                    var.set(&Tensor::from_vec(moved, start.shape(), &Device::Cpu).unwrap()).unwrap();
                    expected()
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient - numeric).abs() < 1e-8, "{name}[{place}]: {gradient}, {numeric}");
                compared += usize::from(numeric.abs() > 1e-5);
            }
            var.set(&start).unwrap();
        }
        assert!(compared > 20, "{compared} gradients are not zero");
    }

    #[test]
    fn values_are_mean_rewards_of_continuations_and_the_last_is_the_reward_itself() {
        let policy = policy(false, DType::F32);
        let sequences = all();
        let (drawn, rewards) =
            (probabilities(&policy, &sequences, 1.0), policy.rewards(&sequences, None).unwrap());
        let exact = exact_values(&drawn, &rewards, &sequences);
        let spread = rewards.iter().copied().fold(f32::MIN, f32::max)
            - rewards.iter().copied().fold(f32::MAX, f32::min);
        assert!(spread > 1e-3, "{rewards:?}");
        let rows: Vec<u64> = (0..40).collect();
        let noise = uniforms(&Stream::new(1, "noise", 0), &rows, LENGTH).unwrap();
        let written = policy.writer.write(1.0, &noise, None, &policy.params).unwrap();
        let values = policy.values(&written, None, &rows, 2000, &|name| Stream::new(2, name, 0)).unwrap();
        for (own, values) in written.tokens.chunks(LENGTH).zip(values.chunks(LENGTH)) {
            let row = sequences.chunks(LENGTH).position(|other| other == own).unwrap();
            assert!((values[LENGTH - 1] - rewards[row]).abs() < 1e-6, "{values:?} {rewards:?}");
            for place in 0..LENGTH {
                let error = f64::from(values[place]) - exact[row * LENGTH + place];
                assert!(error.abs() < 0.06 * f64::from(spread), "{own:?} {place}: {error} of {spread}");
            }
        }
        // Each row has its own draws.
        let again = policy.values(&written, None, &rows, 2, &|name| Stream::new(2, name, 0)).unwrap();
        let some = of_the_first(&policy, &written, &rows[..3]);
        let near = some.iter().zip(&again).all(|(some, all)| (some - all).abs() < 1e-6);
        assert!(near, "{some:?} {again:?}");
    }

    /// The values of the first sequences alone.
    fn of_the_first(policy: &Policy, written: &Written, rows: &[u64]) -> Vec<f32> {
        let states = written.states.iter().map(|state| state.narrow(0, 0, rows.len()).unwrap());
        let some =
            Written { tokens: written.tokens[..rows.len() * LENGTH].to_vec(), states: states.collect() };
        policy.values(&some, None, rows, 2, &|name| Stream::new(2, name, 0)).unwrap()
    }

    /// Each class has its own distribution and rewards. Sequences and their continuations are of the class of their
    /// row.
    #[test]
    fn every_text_is_of_its_class() {
        let policy = policy_of(ConditionSpec::classes(2), false, DType::F32);
        let (sequences, texts) = (all(), 4000);
        // The label is one of several inputs, so it needs larger weights to be seen.
        let larger = policy.params.tensors();
        let larger = larger.into_iter().map(|(name, x)| (name, x.affine(1.5, 0.0).unwrap())).collect();
        policy.params.assign(&larger).unwrap();
        let of_class = |class: u32| {
            let class = given(&policy, class, 8);
            let p = probabilities_given(&policy, &sequences, class.as_ref(), 1.0);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{p:?}");
            (p, policy.rewards(&sequences, class.as_ref()).unwrap())
        };
        let classes = [of_class(0), of_class(1)];
        let differ = classes[0].0.iter().zip(&classes[1].0).any(|(one, other)| (one - other).abs() > 0.01);
        assert!(differ, "{classes:?}");
        assert!(classes[0].1.iter().zip(&classes[1].1).all(|(one, other)| (one - other).abs() > 1e-3));

        let rows: Vec<u64> = (0..texts).collect();
        let asked: Vec<u32> = rows.iter().map(|row| (row % 2) as u32).collect();
        let asked =
            policy.info.encode_condition(&Condition::classes(&asked).unwrap(), &policy.params).unwrap();
        let noise = uniforms(&Stream::new(3, "noise", 0), &rows, LENGTH).unwrap();
        let written = policy.writer.write(1.0, &noise, asked.as_ref(), &policy.params).unwrap();
        let values =
            policy.values(&written, asked.as_ref(), &rows, 50, &|name| Stream::new(2, name, 0)).unwrap();
        for (class, (p, rewards)) in classes.iter().enumerate() {
            let exact = exact_values(p, rewards, &sequences);
            let own = |row: &[u32]| sequences.chunks(LENGTH).position(|other| other == row).unwrap();
            let mine = written.tokens.chunks(LENGTH).zip(values.chunks(LENGTH)).skip(class).step_by(2);
            let (mut counts, mut errors) = ([0f64; 8], [0f64; LENGTH]);
            for (text, values) in mine {
                counts[own(text)] += 1.0;
                for (place, error) in errors.iter_mut().enumerate() {
                    *error += f64::from(values[place]) - exact[own(text) * LENGTH + place];
                }
            }
            let n = texts as f64 / 2.0;
            let squares: f64 = counts.iter().zip(p).map(|(count, p)| (count - n * p).powi(2) / (n * p)).sum();
            // Seven degrees of freedom: mean 7, standard deviation 3.7.
            assert!(squares < 7.0 + 4.0 * 3.75, "{class}: {squares}");
            // The standard error is below 3e-4; the values of the classes differ by 0.1.
            assert!(errors.iter().all(|error| (error / n).abs() < 1.5e-3), "{class}: {errors:?}");
        }
    }

    #[test]
    fn the_baseline_is_the_mean_of_the_other_texts() {
        let values = Tensor::new(&[[1f32, 0.5], [4.0, 0.5], [7.0, 2.0]], &Device::Cpu).unwrap();
        let found = above_others(&values).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found, [[-4.5, -0.75], [0.0, -0.75], [4.5, 1.5]]);
    }

    /// χ² of 20,000 sequences, at the model's own temperature and at two others.
    #[test]
    fn sequences_are_drawn_as_often_as_their_probabilities_say() {
        let policy = policy(false, DType::F32);
        let rows: Vec<u64> = (0..20_000).collect();
        let noise = uniforms(&Stream::new(3, "noise", 0), &rows, LENGTH).unwrap();
        for temperature in [1.0, 0.5, 2.0] {
            let p = probabilities(&policy, &all(), temperature);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{temperature}: {p:?}");
            let written = policy.writer.write(temperature, &noise, None, &policy.params).unwrap();
            let mut counts = BTreeMap::new();
            for own in written.tokens.chunks(LENGTH) {
                *counts.entry(own).or_insert(0u32) += 1;
            }
            let each = all();
            let squares: f64 = each
                .chunks(LENGTH)
                .zip(&p)
                .map(|(own, p)| {
                    let want = p * rows.len() as f64;
                    (f64::from(counts.get(own).copied().unwrap_or(0)) - want).powi(2) / want
                })
                .sum();
            // Seven degrees of freedom: mean 7, standard deviation 3.7.
            assert!(squares < 7.0 + 4.0 * 3.75, "{temperature}: {squares}");
        }
    }

    /// A text that ends early is complete: the probabilities of all texts add up to 1.
    #[test]
    fn ends_count_once_and_nothing_follows_them() {
        let policy = policy(true, DType::F64);
        let texts = texts();
        let p = probabilities(&policy, &texts.concat(), 1.0);
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{p:?}");
        let rows: Vec<u64> = (0..500).collect();
        let noise = uniforms(&Stream::new(3, "noise", 0), &rows, LENGTH).unwrap();
        let written = policy.writer.write(1.0, &noise, None, &policy.params).unwrap();
        assert!(written.tokens.chunks(LENGTH).all(|own| texts.iter().any(|text| text == own)));
        let continued = policy.writer.continued(&written, 0, 3, None, &[0.5; 500 * 3 * 2]).unwrap();
        assert!(continued.chunks(LENGTH).all(|own| texts.iter().any(|text| text == own)));
        for (own, more) in written.tokens.chunks(LENGTH).zip(continued.chunks(3 * LENGTH)) {
            assert!(more.chunks(LENGTH).all(|more| more[0] == own[0]));
        }
    }

    /// With all weights 0 each of the two tokens has probability ½; the likelihood is a mean over tokens.
    #[test]
    fn the_likelihood_is_minus_the_logarithm_of_the_probability() {
        let policy = policy(false, DType::F64);
        let sequences = policy.tensor(&all()).unwrap();
        let p = probabilities(&policy, &all(), 1.0);
        let want = -p.iter().map(|p| p.ln()).sum::<f64>() / 24.0;
        let found = policy.surprise(&sequences, None, None, Mode::Eval).unwrap().to_scalar::<f64>().unwrap();
        assert!((found - want).abs() < 1e-12, "{found} {want}");
        let zeros = policy.params.tensors();
        let zeros = zeros.into_iter().map(|(name, x)| (name, x.zeros_like().unwrap())).collect();
        policy.params.assign(&zeros).unwrap();
        let found = policy.surprise(&sequences, None, None, Mode::Eval).unwrap().to_scalar::<f64>().unwrap();
        assert!((found - 2f64.ln()).abs() < 1e-12, "{found}");
        let batch = batch(&[[1, 2, 1], [2, 2, 2]]);
        let logs = policy.log_probability(&batch, 0.7).unwrap().to_vec1::<f64>().unwrap();
        assert!(logs.iter().all(|log| (log + 3.0 * 2f64.ln()).abs() < 1e-12), "{logs:?}");
        let short = self::batch(&[[1, 0, 0]]);
        let said = policy.log_probability(&short, 1.0).unwrap_err().to_string();
        assert!(said.contains("model.generator.ends"), "{said}");
    }

    /// Factors of 1 change nothing. Without hidden states, the biases of the output layer alone decide.
    #[test]
    fn dropout_removes_features_from_the_likelihood() {
        let generator = GeneratorNetwork::Autoregressive {
            embedding: 2,
            hidden: 3,
            cell: CellKind::Lstm,
            ends: false,
            dropout: 0.4,
            tied: false,
        };
        let config = GanConfig { generator, ..config(false) };
        let params = ParamSet::fresh_with(5, &Device::Cpu, DType::F64);
        let policy = Policy::new("gan", &config, &sample(), ConditionSpec::None, params).unwrap();
        let sequences = policy.tensor(&all()).unwrap();
        let surprise = |factors: Option<&[Tensor; 2]>| {
            let mean = policy.surprise(&sequences, None, factors, Mode::Eval).unwrap();
            mean.to_scalar::<f64>().unwrap()
        };
        let rows: Vec<u64> = (0..8).collect();
        let drawn = policy.generator.dropout(&|name| Stream::new(1, name, 0), &rows, &Device::Cpu).unwrap();
        let drawn = drawn.unwrap();
        assert_ne!(surprise(Some(&drawn)), surprise(None));
        let [embedded, states] = drawn;
        let ones = |x: &Tensor| x.ones_like().unwrap();
        assert_eq!(surprise(Some(&[ones(&embedded), ones(&states)])), surprise(None));
        let bias = policy.params.get("generator.output.bias").unwrap().to_vec1::<f64>().unwrap();
        let total: f64 = bias.iter().map(|logit| logit.exp()).sum();
        // Each of the two tokens is in half of the places.
        let want = total.ln() - bias.iter().sum::<f64>() / 2.0;
        let found = surprise(Some(&[ones(&embedded), states.zeros_like().unwrap()]));
        assert!((found - want).abs() < 1e-12, "{found} {want}");
    }

    fn batch(texts: &[[u32; LENGTH]]) -> Batch {
        let numbers = Tensor::from_vec(texts.concat(), (texts.len(), LENGTH), &Device::Cpu).unwrap();
        Batch::unlabelled(numbers, (0..texts.len() as u64).collect())
    }

    #[test]
    fn the_stages_follow_each_other() {
        let policy =
            PolicyGradient { likelihood_steps: 2, discriminator_steps: 1, rollouts: 2, ..Default::default() };
        let config = GanConfig { policy: Some(policy), n_critic: 2, ..config(false) };
        let gan = Gan::new(config, sample(), ParamSet::fresh(1, &Device::Cpu)).unwrap();
        let mut state = TrainingState::new(&gan, OptimizerConfig::default(), 7, 5).unwrap();
        let batch = batch(&[[1, 2, 1], [2, 2, 2], [1, 1, 2], [2, 1, 2]]);
        let one = self::batch(&[[1, 2, 1]]);
        let said = state.step(&gan, &one).unwrap_err().to_string();
        assert!(said.contains("model.policy.baseline"), "{said}");
        let generator = |gan: &Gan| {
            let tensor = gan.params().tensors()["generator.output.bias"].copy().unwrap();
            tensor.to_vec1::<f32>().unwrap()
        };
        for (losses, moves) in [
            (&["likelihood"][..], true),
            (&["likelihood"][..], true),
            (&["discriminator"][..], false),
            (&["discriminator"][..], false),
            (&["discriminator", "generator"][..], true),
        ] {
            let before = generator(&gan);
            let report = state.step(&gan, &batch).unwrap();
            let found: Vec<&str> = report.scalars.iter().map(|(name, _)| name.as_str()).collect();
            for name in ["likelihood", "discriminator", "generator"] {
                assert_eq!(found.contains(&name), losses.contains(&name), "{name} in {found:?}");
            }
            assert_eq!(generator(&gan) != before, moves, "{found:?}");
        }
        assert_eq!(gan.info().latent_dim(), LENGTH);
        let request = SampleRequest::new(0, 2);
        assert_eq!(gan.sample(&request).unwrap().dims(), [2, LENGTH, VOCABULARY]);
        let truncated = SampleRequest { truncation: Some(1.0), ..request };
        assert!(gan.sample(&truncated).unwrap_err().to_string().contains("cannot be truncated"));
        assert!(gan.exact().is_some() && gan.parts().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |config: GanConfig| {
            let params = ParamSet::fresh(0, &Device::Cpu);
            Gan::new(config, sample(), params).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let policy = |policy| GanConfig { policy: Some(policy), ..config(false) };
        let dcgan = GanConfig::default();
        let wide =
            DiscriminatorNetwork::Windows { embedding: 2, widths: vec![4], filters: vec![1], dropout: 0.0 };
        let uneven = DiscriminatorNetwork::Windows {
            embedding: 2,
            widths: vec![1, 2],
            filters: vec![1],
            dropout: 0.0,
        };
        for (config, words) in [
            (GanConfig { latent_dim: 2, ..config(true) }, "model.latent_dim"),
            (GanConfig { generator: dcgan.generator.clone(), ..config(true) }, "belong together"),
            (GanConfig { policy: Some(PolicyGradient::default()), ..dcgan }, "model.policy"),
            (GanConfig { penalty: Some(Penalty::Gradient { weight: 1.0 }), ..config(true) }, "model.penalty"),
            (GanConfig { policy: None, ..config(true) }, "policy = {}"),
            (GanConfig { pack: 2, ..config(true) }, "model.pack"),
            (GanConfig { loss: AdversarialLoss::Hinge, ..config(true) }, "model.loss"),
            (GanConfig { discriminator: wide, ..config(true) }, "a window of 4 tokens"),
            (GanConfig { discriminator: uneven, ..config(true) }, "model.discriminator.filters"),
            (policy(PolicyGradient { rollouts: 0, ..Default::default() }), "model.policy.rollouts"),
            (policy(PolicyGradient { likelihood_weight: -1.0, ..Default::default() }), "likelihood_weight"),
        ] {
            let said = refused(config);
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
