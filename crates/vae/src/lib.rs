//! The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014) and its importance-weighted bound
//! (Burda et al. 2016).
//!
//! ```
//! use waxwork_core::{Device, GenerativeModel, ImageShape, ParamSet, SampleRequest};
//! use waxwork_vae::{Vae, VaeConfig};
//!
//! let params = ParamSet::fresh(0, &Device::Cpu);
//! let vae = Vae::new(VaeConfig::default(), ImageShape::new(1, 28, 28), params)?;
//! let images = vae.sample(&SampleRequest::new(7, 16))?;
//! assert_eq!(images.dims(), [16, 1, 28, 28]);
//! # Ok::<(), waxwork_core::Error>(())
//! ```
//!
//! [`Vae::conditional`] is the same model conditioned on labels or on a part of the image; `waxwork-cvae`
//! builds on it. [`CodeVae`] is the model whose latents are maps of codes (FSQ, VQ-VAE). [`build`] creates the
//! model that a configuration describes.

pub mod aggregate;
mod bounds;
mod codes;
mod completion;
mod config;
mod discriminator;
mod export;
mod hierarchy;
mod likelihood;
pub mod maf;
pub mod mixture;
mod mode_means;
mod networks;
mod objective;
mod observation;
mod posterior;
pub mod prior;
#[cfg(test)]
mod quadrature;
pub mod start;
mod tokens;
mod total_correlation;
mod vamp;

use std::sync::Arc;

use waxwork_core::latent::LatentLayout;
use waxwork_core::model::{self, ModelInfo};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::rng::Stream;
use waxwork_core::sample::Range;
use waxwork_core::{
    Batch, Bound, Choices, Complete, Condition, ConditionSpec, Density, Drawing, Encode, Error,
    GenerativeModel, Loss, Mode, ParamGroup, ParamSet, Reconstruct, Result, SampleSpec, StepContext, Tensor,
    Trainable,
};
use waxwork_nn::rows::repeat_rows;

pub use codes::{CodeVae, PRIOR};
pub use completion::{CompletionConfig, GUESS, GivenPart};
pub use config::{BoundConfig, LatentConfig, Network, PriorConfig, UpperConfig, VaeConfig};
pub use likelihood::{Binarisation, Likelihood, LikelihoodConfig};
pub use posterior::DiagonalGaussian;

use completion::{Completion, Given};
use discriminator::Discriminator;
use hierarchy::Hierarchy;
use maf::Maf;
use mixture::Mixture;
use networks::{Encoder, GaussianHead};
use observation::Observation;
use prior::{Computed, LabelGaussian, Prior, StandardNormal};
use tokens::Targets;
use total_correlation::total_correlation;
use vamp::Vamp;

/// The group of the encoder's weights.
pub const ENCODER: &str = "encoder";
/// The group of the decoder's weights, with a learned observation scale and a learned prior.
pub const DECODER: &str = "decoder";
/// The group of the weights of a discriminator that estimates the total correlation.
pub const DISCRIMINATOR: &str = "discriminator";

/// The model of `config` for samples like `sample`, with its tensors from `params`: a [`CodeVae`] if the latents
/// are codes, otherwise a [`Vae`]. `family` is its name in [`ModelInfo`].
///
/// # Errors
/// As [`Vae::new`].
pub fn build(
    family: &str,
    config: VaeConfig,
    sample: impl Into<SampleSpec>,
    condition: ConditionSpec,
    params: ParamSet,
) -> Result<Box<dyn GenerativeModel>> {
    Ok(match config.latent {
        LatentConfig::Gaussian => Box::new(Vae::conditional(family, config, sample, condition, params)?),
        LatentConfig::Fsq { .. } | LatentConfig::Vq { .. } => {
            Box::new(CodeVae::new(family, config, sample, condition, params)?)
        }
    })
}

/// A variational autoencoder: an encoder q(z | x), a decoder with its observation model p(x | z), and a prior
/// p(z).
#[derive(Clone, Debug)]
pub struct Vae {
    config: VaeConfig,
    info: ModelInfo,
    params: ParamSet,
    groups: Vec<ParamGroup>,
    encoder: Encoder,
    /// From the first group of latents to the second, if there are two.
    upper: Option<GaussianHead>,
    generation: Generation,
    /// The same weights without gradients, for objectives with a separate loss for the encoder.
    frozen: Option<Box<Generation>>,
    /// The same network twice: on its weights, and on weights without gradients.
    discriminator: Option<[Discriminator; 2]>,
}

/// The decoder's side of a model.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    observation: Observation,
    prior: Arc<dyn Prior>,
    /// The networks for a given part, if the model completes images.
    completion: Option<Completion>,
    /// The number of latents that the decoder sees.
    first: usize,
}

impl Generation {
    fn new(
        params: &mut ParamSet,
        config: &VaeConfig,
        sample: &SampleSpec,
        condition: &ConditionSpec,
        encoder: &Encoder,
    ) -> Result<Self> {
        let width = condition.width();
        let observation = Observation::new(params, config, sample, config.seen(width))?;
        let completion =
            config.completion.map(|completion| Completion::new(params, completion, config, sample));
        let completion = completion.transpose()?;
        let mut root = params.root();
        let mut decoder = root.enter(DECODER);
        let first = config.latent_dim;
        if let Some(UpperConfig { latent_dim, hidden }) = &config.upper {
            let widths: Vec<usize> = hidden.iter().rev().copied().collect();
            let given = GaussianHead::new(decoder.enter("upper"), *latent_dim, &widths, first, config)?;
            let prior: Arc<dyn Prior> = Arc::new(Hierarchy { given, first, upper: *latent_dim });
            return Ok(Self { observation, prior, completion, first });
        }
        let scope = decoder.enter("prior");
        let prior: Arc<dyn Prior> = match config.prior {
            PriorConfig::Standard if completion.is_some() => {
                Arc::new(Computed { latent_dim: config.latent_dim })
            }
            PriorConfig::Standard => Arc::new(StandardNormal),
            PriorConfig::Label => Arc::new(LabelGaussian::new(scope, width, config.latent_dim)?),
            PriorConfig::Vamp { components } => {
                if sample.range() != Some(Range::Unit) {
                    return Err(config::unfit_prior(
                        "the pseudo-inputs of a vamp prior are images, but the samples are not",
                    ));
                }
                Arc::new(Vamp::new(scope, components, sample.len(), encoder.clone())?)
            }
            PriorConfig::Mixture { components } => {
                let groups = match condition {
                    ConditionSpec::None => 1,
                    ConditionSpec::Classes { count } => *count,
                    _ => {
                        return Err(config::unfit_prior(
                            "a mixture needs a model that is unconditional or conditioned on classes",
                        ));
                    }
                };
                Arc::new(Mixture::new(scope, groups, components, config.latent_dim)?)
            }
            PriorConfig::Maf { layers, hidden } => {
                Arc::new(Maf::new(scope, layers, hidden, config.latent_dim, width)?)
            }
            PriorConfig::Autoregressive { .. } => {
                return Err(config::unfit_prior("an autoregressive prior needs codes as latents"));
            }
        };
        Ok(Self { observation, prior, completion, first })
    }
}

impl Vae {
    /// The model of `config` for samples like `sample`, with its tensors from `params`.
    ///
    /// # Errors
    /// If the configuration is invalid or its latents are codes, or a stored set does not fit it.
    pub fn new(config: VaeConfig, sample: impl Into<SampleSpec>, params: ParamSet) -> Result<Self> {
        Self::conditional("vae", config, sample, ConditionSpec::None, params)
    }

    /// The same model for samples with a condition. `family` is its name in [`ModelInfo`]. With
    /// [`VaeConfig::completion`], the condition is a part of the sample, and `condition` is ignored.
    ///
    /// # Errors
    /// As [`Vae::new`].
    pub fn conditional(
        family: &str,
        config: VaeConfig,
        sample: impl Into<SampleSpec>,
        condition: ConditionSpec,
        mut params: ParamSet,
    ) -> Result<Self> {
        let sample = sample.into();
        let condition = match config.completion {
            Some(_) if !condition.is_none() => ConditionSpec::Part { len: sample.len() },
            _ => condition,
        };
        config.validate(condition.width())?;
        if config.latent.codes().is_some() {
            let reason = "latents that are codes need a `CodeVae`, which `build` creates".to_owned();
            return Err(Error::Config { key: "model.latent".to_owned(), reason });
        }
        let seen = config.seen(condition.width());
        let encoder = Encoder::new(params.root().enter(ENCODER), &config, &sample, seen)?;
        let upper = config.upper.as_ref().map(|UpperConfig { latent_dim, hidden }| {
            let mut root = params.root();
            let mut encoder = root.enter(ENCODER);
            GaussianHead::new(encoder.enter("upper"), config.latent_dim, hidden, *latent_dim, &config)
        });
        let upper = upper.transpose()?;
        let generation = Generation::new(&mut params, &config, &sample, &condition, &encoder)?;
        let discriminator = (!config.discriminator.is_empty())
            .then(|| Discriminator::new(params.root().enter(DISCRIMINATOR), &config))
            .transpose()?;
        let params = params.finish()?;
        let frozen = (config.bound == BoundConfig::Piwae)
            .then(|| Generation::new(&mut params.frozen(), &config, &sample, &condition, &encoder));
        let frozen = frozen.transpose()?.map(Box::new);
        let twice = |discriminator: Discriminator| -> Result<[Discriminator; 2]> {
            let frozen = Discriminator::new(params.frozen().root().enter(DISCRIMINATOR), &config)?;
            Ok([discriminator, frozen])
        };
        let discriminator = discriminator.map(twice).transpose()?;
        let guess = (config.guess_steps() > 0).then_some(GUESS);
        let names =
            [ENCODER, DECODER].into_iter().chain(guess).chain(discriminator.as_ref().map(|_| DISCRIMINATOR));
        let groups = names.map(|name| params.group(name, &format!("{name}."))).collect();
        let latent = LatentLayout::normal(config.latents());
        let info = ModelInfo { family: family.into(), sample, latent, condition };
        Ok(Self { config, info, params, groups, encoder, upper, generation, frozen, discriminator })
    }

    /// A condition as encoder and decoder see it, `(N, width)`. They do not see a given part.
    fn labels(&self, condition: &Condition) -> Result<Option<Tensor>> {
        match self.generation.completion {
            Some(_) => Ok(None),
            None => self.info.encode_condition(condition, &self.params),
        }
    }

    /// A condition as the prior sees it, `(N, width)`.
    fn condition(&self, condition: &Condition) -> Result<Option<Tensor>> {
        let encoded = self.info.encode_condition(condition, &self.params)?;
        match (&self.generation.completion, encoded) {
            (Some(completion), Some(encoded)) => {
                Ok(Some(completion.prior(&completion.decoded(&encoded)?, Mode::Eval)?))
            }
            (_, encoded) => Ok(encoded),
        }
    }

    /// The condition of a batch as the prior sees it, `(N, width)`: its label, or the given part of its images.
    fn condition_of(&self, batch: &Batch, part: Option<&Given>, mode: Mode<'_>) -> Result<Option<Tensor>> {
        match (&self.generation.completion, part) {
            (Some(completion), Some(part)) => Ok(Some(completion.prior(part, mode)?)),
            _ => self.labels(&batch.condition),
        }
    }

    /// The given part of a batch, with values from `targets`; afterwards, only the other values of `targets`
    /// count. The part is the batch's condition or, if there is none, the part that the configuration names. None
    /// for a model that does not complete images.
    fn part(
        &self,
        batch: &Batch,
        targets: &mut Targets,
        (stream, rows): (&Stream, &[u64]),
    ) -> Result<Option<Given>> {
        let Some(completion) = &self.generation.completion else { return Ok(None) };
        let given = match &batch.condition {
            condition @ Condition::Part { .. } => {
                let encoded = self.info.encode_condition(condition, &self.params)?;
                let mask = completion.decoded(&encoded.ok_or(Error::NothingGiven)?)?.mask;
                Given { values: targets.values.mul(&mask)?, mask }
            }
            // Even if the data has classes, they are not a condition of this model.
            _ => completion.part_of(&targets.values, stream, rows)?,
        };
        targets.counted = Some(given.missing()?);
        Ok(Some(given))
    }

    /// The loss of a step without importance weights, and its latents without a graph. All else is gone when the
    /// update waits for other micro-batches, which need the memory.
    fn negative_elbo(
        &self,
        x: &Targets,
        labels: Option<&Tensor>,
        noise: &Tensor,
        ctx: &StepContext<'_>,
    ) -> Result<(Loss, Tensor)> {
        let draws = self.config.draws;
        let q = self.recognise(&x.values, labels, ctx.train())?;
        // The means over all rows below are then means over the draws of each sample, too.
        let (q, x) = (q.repeat(draws)?, x.repeat(draws)?);
        let labels = labels.map(|labels| repeat_rows(labels, draws)).transpose()?;
        let labels = labels.as_ref();
        let z = q.draw(&noise.flatten_to(1)?)?;
        let log_likelihood = self.generation.log_likelihood(&z, labels, &x, ctx.train())?;
        let kl = objective::kl(&q, &*self.generation.prior, &z, labels)?;
        let correlation = match &self.discriminator {
            _ if self.config.total_correlation == 1.0 => None,
            Some([_, frozen]) => Some(frozen.forward(&z, Mode::Frozen)?.mean_all()?),
            None => Some(total_correlation(q.first(), &z, ctx.training_samples())?),
        };
        let loss =
            objective::negative_elbo(&log_likelihood, &kl, correlation.as_ref(), &self.config, ctx.step())?;
        Ok((loss, z.detach()))
    }
}

impl Trainable for Vae {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn updates(&self) -> usize {
        if self.discriminator.is_some() { 2 } else { 1 }
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let VaeConfig { importance_samples, draws, .. } = self.config;
        let mut x = self.generation.observation.training_targets(batch, ctx)?;
        let part = self.part(batch, &mut x, (&ctx.stream("given"), &ctx.rows(batch.len())))?;
        if let (Some(completion), Some(part)) = (&self.generation.completion, &part)
            && completion.is_guessing(ctx.step())
            && let Some(loss) = completion.guess_loss(part, &x.values, ctx.train())?
        {
            return ctx.update(&[GUESS], loss);
        }
        let condition = self.condition_of(batch, part.as_ref(), ctx.train())?;
        let labels = condition.as_ref();
        let noise = ctx.normal("latent", batch.len(), (importance_samples * draws, self.config.latents()))?;
        if self.config.is_weighted() {
            let q = self.recognise(&x.values, labels, ctx.train())?;
            let loss = if let Some(frozen) = &self.frozen {
                // One decode cannot serve both bounds: its backward pass gives each draw one weight, but the
                // decoder needs the draw's weight among all draws and the encoder the one among K. Their
                // ratio overflows where the first underflows, and batch norm mixes the draws.
                let constant = q.detach();
                let decoder = self.generation.log_weights(&constant, &x, labels, &noise, ctx.train())?;
                let encoder = frozen.log_weights(&q, &x, labels, &noise, Mode::Frozen)?;
                objective::negative_partial_bounds(&decoder, &encoder, draws)?
            } else {
                let log_weights = self.generation.log_weights(&q, &x, labels, &noise, ctx.train())?;
                objective::negative_weighted_bound(&log_weights, &self.config)?
            };
            return ctx.update(&[ENCODER, DECODER], Loss::new("loss", loss));
        }

        let (loss, z) = self.negative_elbo(&x, labels, &noise, ctx)?;
        ctx.update(&[ENCODER, DECODER], loss)?;

        let Some([discriminator, _]) = &self.discriminator else { return Ok(()) };
        let together = discriminator.forward(&z, ctx.train())?;
        let permuted = discriminator.forward(&discriminator::permuted(&z, ctx)?, ctx.train())?;
        let loss = discriminator::cross_entropy(&together, &permuted)?;
        ctx.update(&[DISCRIMINATOR], Loss::new("discriminator", loss))
    }
}

impl GenerativeModel for Vae {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.config.latents()).into())?;
        let labels = self.labels(condition)?;
        let made = self.generation.draw(latents, labels.as_ref(), drawing)?.detach();
        let Some(completion) = &self.generation.completion else { return Ok(made) };
        let encoded = self.info.encode_condition(condition, &self.params)?.ok_or(Error::NothingGiven)?;
        completion.decoded(&encoded)?.completed(&made)
    }

    fn latents(&self, noise: &Tensor, condition: &Condition) -> Result<Tensor> {
        Ok(self.generation.prior.draw(noise, self.condition(condition)?.as_ref())?.detach())
    }

    fn direct_latents(&self) -> usize {
        self.generation.first
    }

    fn parts(&self) -> &'static [Part] {
        let by_network = self.upper.is_some() || self.generation.completion.is_some();
        match self.config.prior {
            PriorConfig::Standard | PriorConfig::Autoregressive { .. } if !by_network => {
                &[Part::Decoder, Part::Encoder]
            }
            _ => &[Part::Decoder, Part::Encoder, Part::Prior],
        }
    }

    fn graph(&self, part: Part) -> Result<Graph> {
        export::graph(self, part)
    }

    fn encoder(&self) -> Option<&dyn Encode> {
        Some(self)
    }

    fn reconstructor(&self) -> Option<&dyn Reconstruct> {
        Some(self)
    }

    fn completer(&self) -> Option<&dyn Complete> {
        self.generation.completion.as_ref().map(|_| self as &dyn Complete)
    }

    fn bound(&self) -> Option<&dyn Bound> {
        Some(self)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }

    fn choices(&self) -> Option<&dyn Choices> {
        matches!(self.config.likelihood, LikelihoodConfig::Rows { .. }).then_some(self as &dyn Choices)
    }
}
