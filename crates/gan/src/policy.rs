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
    Batch, ConditionSpec, DType, Device, Drawing, Error, Exact, LatentLayout, Loss, Mode, ParamGroup,
    ParamSet, Result, SampleSpec, StepContext,
};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::tokens;

/// How a generator learns that draws its output token by token: by maximum likelihood first, then by policy
/// gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyGradient {
    /// The first steps of a run, which train only the generator, by maximum likelihood.
    pub likelihood_steps: u64,
    /// The steps after these, which train only the discriminator. In all later steps, both learn.
    pub discriminator_steps: u64,
    /// Continuations of each beginning of a text, whose mean reward is the value of the beginning's last token.
    pub rollouts: usize,
    /// Subtracts from the value of each token the mean value of the other texts' tokens at its position. The gradient has the same
    /// expectation and less variance.
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
    /// The key of an invalid value, and what is valid.
    pub(super) fn problem(self) -> Option<(&'static str, &'static str)> {
        if self.rollouts == 0 {
            return Some(("rollouts", "must be at least 1"));
        }
        let weight = self.likelihood_weight;
        (!(weight >= 0.0 && weight.is_finite()))
            .then_some(("likelihood_weight", "must be a number, 0 or more"))
    }
}

/// The two players of SeqGAN, with their parameters and what the model reports about itself.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) info: ModelInfo,
    pub(crate) params: ParamSet,
    pub(crate) groups: Vec<ParamGroup>,
    config: GanConfig,
    generator: Autoregressive,
    discriminator: Windows,
    /// The generator on untracked weights, which writes.
    writer: Autoregressive,
    /// The discriminator on untracked weights, which rewards.
    judge: Windows,
}

impl Policy {
    /// The players of `config` for sequences like `sample`, with their tensors from `params`.
    ///
    /// # Errors
    /// If the configuration is invalid or does not fit the sequences, or a stored set does not fit it.
    pub(crate) fn new(config: &GanConfig, sample: &SampleSpec, mut params: ParamSet) -> Result<Self> {
        config.validate()?;
        let (sizes, embedding, windows) = networks(config)?;
        let make = |params: &mut ParamSet| -> Result<(Autoregressive, Windows)> {
            let generator = Autoregressive::new(params.root().enter(GENERATOR), sample, sizes, config.init)?;
            let scope = &mut params.root();
            let discriminator =
                Windows::new(scope.enter(DISCRIMINATOR), sample, embedding, &windows, config.init)?;
            Ok((generator, discriminator))
        };
        let (generator, discriminator) = make(&mut params)?;
        let params = params.finish()?;
        let (writer, judge) = make(&mut params.frozen())?;
        let length = generator.length();
        if config.latent_dim != length {
            let reason = format!(
                "must be {length}, the maximum length of a text: the latent vector is the noise of the draw of each token"
            );
            return Err(Error::Config { key: "model.latent_dim".into(), reason });
        }
        let groups = [GENERATOR, DISCRIMINATOR].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let info = ModelInfo {
            family: "gan".into(),
            sample: sample.clone(),
            latent: LatentLayout::normal(length),
            condition: ConditionSpec::None,
        };
        Ok(Self { info, params, groups, config: config.clone(), generator, discriminator, writer, judge })
    }

    /// One step: of maximum likelihood, of the discriminator, or of the game between both.
    pub(crate) fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let policy = self.config.policy.unwrap_or_default();
        let real = self.generator.read(batch)?;
        if ctx.step() < policy.likelihood_steps {
            let surprise = self.surprise(&real, ctx.train())?;
            return ctx.update(&[GENERATOR], Loss::new("likelihood", surprise));
        }

        let (n, length) = real.dims2()?;
        let rows = ctx.rows(n);
        let written =
            self.writer.write(1.0, &uniforms(&ctx.stream("written"), &rows, length)?, &self.params)?;
        let generated = self.tensor(&written.tokens)?;
        let kept = self.kept(&rows, ctx)?;
        let on_real = self.discriminator.forward(&real, kept.as_ref(), ctx.train())?;
        let on_generated = self.discriminator.forward(&generated, kept.as_ref(), ctx.train())?;
        ctx.log("logits/real", &on_real.mean_all()?)?;
        ctx.log("logits/generated", &on_generated.mean_all()?)?;
        let game = self.config.loss.discriminator(&on_real, &on_generated, self.config.label_smoothing)?;
        ctx.update(&[DISCRIMINATOR], Loss::new("discriminator", game))?;

        let game = ctx.step().checked_sub(policy.likelihood_steps.saturating_add(policy.discriminator_steps));
        if !game.is_some_and(|step| (step + 1).is_multiple_of(self.config.n_critic)) {
            return Ok(());
        }
        let values = self.values(&written, &rows, policy.rollouts, &|name| ctx.stream(name))?;
        let values = Tensor::from_vec(values, (n, length), &Device::Cpu)?;
        ctx.log("reward", &values.narrow(1, length - 1, 1)?.mean_all()?)?;
        let advantages = if policy.baseline { above_others(&values)? } else { values };
        let advantages = advantages.to_dtype(ctx.dtype())?.to_device(ctx.device())?;
        let loss = self.regret(&generated, &advantages, ctx.train())?;
        if policy.likelihood_weight == 0.0 {
            return ctx.update(&[GENERATOR], Loss::new("generator", loss));
        }
        let surprise = self.surprise(&real, ctx.train())?;
        let total = (&loss + surprise.affine(policy.likelihood_weight, 0.0)?)?;
        let loss = Loss::new("generator", total).term("policy", &loss).term("likelihood", &surprise);
        ctx.update(&[GENERATOR], loss)
    }

    /// Mean −log p of the tokens of sequences `(N, L)`, in nats.
    fn surprise(&self, sequences: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let ones = Tensor::ones(sequences.dims(), self.params.dtype(), sequences.device())?;
        self.regret(sequences, &ones, mode)
    }

    /// −Σ advantage · log p of all tokens of sequences `(N, L)`, divided by their number. Its gradient is the
    /// negative policy gradient.
    fn regret(&self, sequences: &Tensor, advantages: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let logs = self.generator.log_likelihood(sequences, 1.0, mode)?;
        let count = kernels::scalar(&tokens::counted(sequences, DType::F32)?.sum_all()?)?;
        Ok((logs * advantages)?.sum_all()?.affine(-1.0 / count.max(1.0), 0.0)?)
    }

    /// The value of each token of sequences, one sequence after the other: the mean reward of `rollouts`
    /// continuations after the token, and after the last one the reward of the sequence itself.
    fn values(
        &self,
        written: &Written,
        rows: &[u64],
        rollouts: usize,
        stream: &dyn Fn(&str) -> Stream,
    ) -> Result<Vec<f32>> {
        let length = self.writer.length();
        let numbers: Vec<u64> = rows
            .iter()
            .flat_map(|row| (0..rollouts as u64).map(move |k| row * rollouts as u64 + k))
            .collect();
        let mut values = vec![0f32; written.tokens.len()];
        for place in 0..length {
            let left = length - place - 1;
            let value = if left == 0 {
                self.rewards(&written.tokens)?
            } else {
                let uniforms = uniforms(&stream(&format!("rollout/{place}")), &numbers, left)?;
                let rewards = self.rewards(&self.writer.continued(written, place, rollouts, &uniforms)?)?;
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

    /// The probability of being real that the discriminator gives to each of some sequences.
    fn rewards(&self, sequences: &[u32]) -> Result<Vec<f32>> {
        let logits = self.judge.forward(&self.tensor(sequences)?, None, Mode::Eval)?;
        let rewards = kernels::activate(&logits, Activation::Sigmoid)?;
        Ok(rewards.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec1()?)
    }

    /// Factors of the discriminator's features for a step: 0 for those that dropout removes, 1 / (1 − share) for
    /// the others. None without dropout.
    fn kept(&self, rows: &[u64], ctx: &StepContext<'_>) -> Result<Option<Tensor>> {
        let share = self.config.discriminator.dropout();
        if share == 0.0 {
            return Ok(None);
        }
        let draws = ctx.stream("dropout").uniform(rows, self.discriminator.features(), ctx.device())?;
        Ok(Some(draws.ge(share)?.to_dtype(ctx.dtype())?.affine((1.0 - share).recip(), 0.0)?))
    }

    /// Sequences that follow each other as `(N, L)` u32.
    fn tensor(&self, sequences: &[u32]) -> Result<Tensor> {
        let length = self.writer.length();
        Ok(Tensor::from_slice(sequences, (sequences.len() / length, length), self.params.device())?)
    }

    /// Latents `(N, L)`, the noise of the draw of each token → one-hot rows `(N, L, V)`.
    ///
    /// # Errors
    /// If the latents have another length.
    pub(crate) fn generate(&self, latents: &Tensor, drawing: &Drawing<'_>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        let (length, vocabulary) = (self.writer.length(), self.writer.vocabulary());
        model::check_input("the latents", latents, &(n, length).into())?;
        let latents = latents.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let uniforms: Vec<f32> =
            latents.flatten_all()?.to_vec1::<f32>()?.into_iter().map(uniform_of_normal).collect();
        // The texts on a path through latent space have no numbers. Their latents alone make them.
        let temperature = if drawing.numbers.is_empty() { 1.0 } else { drawing.temperature };
        let written = self.writer.write(temperature, &uniforms, &self.params)?;
        let sequences: Vec<Vec<u32>> = written.tokens.chunks_exact(length).map(<[u32]>::to_vec).collect();
        let like = Tensor::zeros((), self.params.dtype(), self.params.device())?;
        tokens::one_hot(&sequences, (n, length, vocabulary), &like)
    }
}

impl Exact for Policy {
    fn log_probability(&self, batch: &Batch, temperature: f64) -> Result<Tensor> {
        let sequences = self.writer.read(batch)?;
        Ok(self.writer.log_likelihood(&sequences, temperature, Mode::Eval)?.sum(1)?)
    }
}

/// The widths of the discriminator's windows and their numbers of features.
type WindowSizes = Vec<(usize, usize)>;

/// The sizes of the generator, and of the discriminator its features of a token and its windows.
fn networks(config: &GanConfig) -> Result<(Sizes, usize, WindowSizes)> {
    match (&config.generator, &config.discriminator) {
        (
            GeneratorNetwork::Autoregressive { embedding, hidden, cell, ends },
            DiscriminatorNetwork::Windows { embedding: features, widths, filters, .. },
        ) => {
            let sizes = Sizes { embedding: *embedding, hidden: *hidden, cell: *cell, ends: *ends };
            Ok((sizes, *features, widths.iter().copied().zip(filters.iter().copied()).collect()))
        }
        _ => Err(only_policy("model.generator")),
    }
}

/// The error for a network that only a policy gradient trains.
pub(super) fn only_policy(key: &str) -> Error {
    let reason = "networks of the kinds autoregressive and windows belong together, in the family gan";
    Error::Config { key: key.to_owned(), reason: reason.into() }
}

/// Uniform numbers: `each` for every row of `rows`.
fn uniforms(stream: &Stream, rows: &[u64], each: usize) -> Result<Vec<f32>> {
    Ok(stream.uniform(rows, each, &Device::Cpu)?.flatten_all()?.to_vec1()?)
}

/// Values `(N, L)` less the mean of the other rows at the same place; 0 if there is no other row.
fn above_others(values: &Tensor) -> Result<Tensor> {
    let n = values.dim(0)?;
    if n == 1 {
        return Ok(values.zeros_like()?);
    }
    // v − (Σ − v) / (n − 1) = (n v − Σ) / (n − 1)
    let sums = values.sum_keepdim(0)?;
    Ok(values.affine(n as f64, 0.0)?.broadcast_sub(&sums)?.affine(1.0 / (n as f64 - 1.0), 0.0)?)
}
