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
//! [`Vae::conditional`] is the same model given labels, on which `waxwork-cvae` builds.

pub mod aggregate;
mod bounds;
mod config;
mod export;
mod hierarchy;
mod likelihood;
pub mod maf;
pub mod mixture;
mod networks;
mod objective;
mod observation;
mod posterior;
pub mod prior;
pub mod start;
mod tokens;
mod vamp;

use std::sync::Arc;

use waxwork_core::latent::LatentLayout;
use waxwork_core::model::{self, ModelInfo};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::sample::Range;
use waxwork_core::{
    Batch, Bound, Condition, ConditionSpec, Density, Drawing, Encode, GenerativeModel, Loss, Mode,
    ParamGroup, ParamSet, Reconstruct, Result, SampleSpec, StepContext, Tensor, Trainable,
};

pub use config::{BoundConfig, Network, PriorConfig, UpperConfig, VaeConfig};
pub use likelihood::{Binarisation, Likelihood, LikelihoodConfig};
pub use posterior::DiagonalGaussian;

use hierarchy::Hierarchy;
use maf::Maf;
use mixture::Mixture;
use networks::{Encoder, GaussianHead};
use observation::Observation;
use posterior::repeat_rows;
use prior::{LabelGaussian, Prior, StandardNormal};
use vamp::Vamp;

/// The group of the encoder's weights.
pub const ENCODER: &str = "encoder";
/// The group of the decoder's weights, with a learned observation scale and a learned prior.
pub const DECODER: &str = "decoder";

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
    /// The same weights without gradients, for an objective with a loss for the encoder alone.
    frozen: Option<Box<Generation>>,
}

/// What the decoder's side of a model computes.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    observation: Observation,
    prior: Arc<dyn Prior>,
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
        let observation = Observation::new(params, config, sample, width)?;
        let mut root = params.root();
        let mut decoder = root.enter(DECODER);
        let first = config.latent_dim;
        if let Some(UpperConfig { latent_dim, hidden }) = &config.upper {
            let widths: Vec<usize> = hidden.iter().rev().copied().collect();
            let given = GaussianHead::new(decoder.enter("upper"), *latent_dim, &widths, first, config)?;
            let prior: Arc<dyn Prior> = Arc::new(Hierarchy { given, first, upper: *latent_dim });
            return Ok(Self { observation, prior, first });
        }
        let scope = decoder.enter("prior");
        let prior: Arc<dyn Prior> = match config.prior {
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
                    _ => return Err(config::unfit_prior("a mixture is for models of classes or of nothing")),
                };
                Arc::new(Mixture::new(scope, groups, components, config.latent_dim)?)
            }
            PriorConfig::Maf { layers, hidden } => {
                Arc::new(Maf::new(scope, layers, hidden, config.latent_dim, width)?)
            }
        };
        Ok(Self { observation, prior, first })
    }
}

impl Vae {
    /// The model of `config` for samples like `sample`, with its tensors from `params`.
    ///
    /// # Errors
    /// If the configuration is invalid, or a stored set does not fit it.
    pub fn new(config: VaeConfig, sample: impl Into<SampleSpec>, params: ParamSet) -> Result<Self> {
        Self::conditional("vae", config, sample, ConditionSpec::None, params)
    }

    /// The same model for samples with a condition. `family` is its name in [`ModelInfo`].
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
        let (sample, width) = (sample.into(), condition.width());
        config.validate(width)?;
        let encoder = Encoder::new(params.root().enter(ENCODER), &config, &sample, width)?;
        let upper = config.upper.as_ref().map(|UpperConfig { latent_dim, hidden }| {
            let mut root = params.root();
            let mut encoder = root.enter(ENCODER);
            GaussianHead::new(encoder.enter("upper"), config.latent_dim, hidden, *latent_dim, &config)
        });
        let upper = upper.transpose()?;
        let generation = Generation::new(&mut params, &config, &sample, &condition, &encoder)?;
        let params = params.finish()?;
        let frozen = (config.bound == BoundConfig::Piwae)
            .then(|| Generation::new(&mut params.frozen(), &config, &sample, &condition, &encoder));
        let frozen = frozen.transpose()?.map(Box::new);
        let groups = [ENCODER, DECODER].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let latent = LatentLayout::normal(config.latents());
        let info = ModelInfo { family: family.into(), sample, latent, condition };
        Ok(Self { config, info, params, groups, encoder, upper, generation, frozen })
    }

    fn condition(&self, condition: &Condition) -> Result<Option<Tensor>> {
        self.info.encode_condition(condition, &self.params)
    }
}

impl Trainable for Vae {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let VaeConfig { importance_samples, draws, .. } = self.config;
        let condition = self.condition(&batch.condition)?;
        let labels = condition.as_ref();
        let x = self.generation.observation.training_targets(batch, ctx)?;
        let q = self.recognise(&x.values, labels, ctx.train())?;
        let noise = ctx.normal(
            "latent",
            batch.len(),
            (importance_samples.saturating_mul(draws), self.config.latents()),
        )?;
        if self.config.is_weighted() {
            let loss = if let Some(frozen) = &self.frozen {
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

        // The means over all rows below are then means over the draws of each sample, too.
        let (q, x) = (q.repeat(draws)?, x.repeat(draws)?);
        let labels = labels.map(|labels| repeat_rows(labels, draws)).transpose()?;
        let labels = labels.as_ref();
        let z = q.draw(&noise.flatten_to(1)?)?;
        let log_likelihood = self.generation.log_likelihood(&z, labels, &x, ctx.train())?;
        let kl = objective::kl(&q, &*self.generation.prior, &z, labels)?;
        let loss = objective::negative_elbo(&log_likelihood, &kl, &self.config, ctx.step())?;
        ctx.update(&[ENCODER, DECODER], loss)
    }
}

impl GenerativeModel for Vae {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.config.latents()).into())?;
        let labels = self.condition(condition)?;
        Ok(self.generation.draw(latents, labels.as_ref(), drawing)?.detach())
    }

    fn latents(&self, noise: &Tensor, condition: &Condition) -> Result<Tensor> {
        Ok(self.generation.prior.draw(noise, self.condition(condition)?.as_ref())?.detach())
    }

    fn parts(&self) -> &'static [Part] {
        match self.config.prior {
            PriorConfig::Standard if self.upper.is_none() => &[Part::Decoder, Part::Encoder],
            PriorConfig::Standard
            | PriorConfig::Label
            | PriorConfig::Mixture { .. }
            | PriorConfig::Vamp { .. }
            | PriorConfig::Maf { .. } => &[Part::Decoder, Part::Encoder, Part::Prior],
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

    fn bound(&self) -> Option<&dyn Bound> {
        Some(self)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}
