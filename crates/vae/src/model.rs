//! The model: its training step, its samples, its bounds.

use waxwork_core::kernels;
use waxwork_core::layers::Mode;
use waxwork_core::likelihood::Likelihood;
use waxwork_core::loss;
use waxwork_core::model::{self, Elbo, LatentModel, ModelInfo, Posterior};
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Error, GenerativeModel, ImageShape, Loss, ParamGroup, ParamSet, Result, SampleRequest,
    StepContext, Tensor, Trainable,
};

use crate::config::VaeConfig;
use crate::networks::{Decoder, Encoder};

/// The group of the encoder's weights.
pub const ENCODER: &str = "encoder";
/// The group of the decoder's weights, a learned observation scale included.
pub const DECODER: &str = "decoder";

/// Rows that one decoder pass of [`LatentModel::log_likelihood`] sees at most.
const IMPORTANCE_ROWS: usize = 2000;

/// A variational autoencoder.
#[derive(Clone, Debug)]
pub struct Vae {
    config: VaeConfig,
    info: ModelInfo,
    params: ParamSet,
    groups: Vec<ParamGroup>,
    encoder: Encoder,
    decoder: Decoder,
    likelihood: Likelihood,
}

impl Vae {
    /// The model of `config` for images of shape `image`, with its tensors from `params`.
    ///
    /// # Errors
    /// If the configuration makes no sense, or a stored set does not fit it.
    pub fn new(config: VaeConfig, image: ImageShape, mut params: ParamSet) -> Result<Self> {
        config.validate()?;
        let encoder = Encoder::new(params.root().enter(ENCODER), &config, image)?;
        let decoder = Decoder::new(params.root().enter(DECODER), &config, image)?;
        let likelihood = Likelihood::new(params.root().enter(DECODER), config.likelihood)?;
        let params = params.finish()?;
        let groups = [ENCODER, DECODER].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let info = ModelInfo { family: "vae".into(), image, latent_dim: config.latent_dim, classes: 0 };
        Ok(Self { config, info, params, groups, encoder, decoder, likelihood })
    }

    /// log p(x, z) − log q(z | x) of every draw: images `(N, …)`, noise `(N, K, latent_dim)` → `(N, K)`.
    fn log_weights(
        &self,
        posterior: &Posterior,
        targets: &Tensor,
        noise: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, k, _) = noise.dims3()?;
        let [mean, log_var] = [&posterior.mean, &posterior.log_var].map(|t| repeat_rows(t, k));
        let (mean, log_var) = (mean?, log_var?);
        let z = kernels::reparameterize(&mean, &log_var, &noise.flatten_to(1)?)?;
        let output = self.decoder.forward(&z, mode)?;
        let joint = (self.likelihood.log_likelihood(&output, &repeat_rows(targets, k)?)?
            + loss::standard_normal_log_density(&z)?)?;
        let weights = (joint - loss::gaussian_log_density(&z, &mean, &log_var)?)?;
        Ok(weights.reshape((n, k))?)
    }

    /// The KL term that training pays for: summed over the latent, averaged over the batch, never below the free bits.
    fn paid_kl(&self, kl: &Tensor) -> Result<Tensor> {
        let per_dimension = kl.mean(0)?;
        if self.config.free_bits == 0.0 {
            return Ok(per_dimension.sum_all()?);
        }
        Ok(per_dimension.maximum(self.config.free_bits)?.sum_all()?)
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
        let (n, k) = (batch.len(), self.config.importance_samples);
        let targets = self.likelihood.training_targets(batch, &ctx.stream("binarisation"))?;
        let posterior = self.encoder.forward(&targets, ctx.train())?;
        let noise = ctx.normal("latent", n, (k, self.config.latent_dim))?;
        if k > 1 {
            let log_weights = self.log_weights(&posterior, &targets, &noise, ctx.train())?;
            let bound = loss::log_mean_exp(&log_weights)?.mean_all()?.neg()?;
            return ctx.update(&[ENCODER, DECODER], Loss::new("loss", bound));
        }

        let z = kernels::reparameterize(&posterior.mean, &posterior.log_var, &noise.squeeze(1)?)?;
        let output = self.decoder.forward(&z, ctx.train())?;
        let reconstruction = self.likelihood.log_likelihood(&output, &targets)?.mean_all()?;
        let kl = kernels::gaussian_kl(&posterior.mean, &posterior.log_var)?;
        let warmup = (ctx.step() as f64 / self.config.kl_warmup_steps.max(1) as f64).min(1.0);
        let beta =
            if self.config.kl_warmup_steps == 0 { self.config.beta } else { self.config.beta * warmup };
        let total = (self.paid_kl(&kl)?.affine(beta, 0.0)? - &reconstruction)?;
        let loss = Loss::new("loss", total)
            .term("reconstruction", &reconstruction)
            .term("kl", &kl.sum(1)?.mean_all()?);
        ctx.update(&[ENCODER, DECODER], loss)
    }
}

impl GenerativeModel for Vae {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        if request.labels.is_some() {
            return Err(Error::Unsupported("this model knows no labels: it is unconditional".into()));
        }
        let stream = Stream::new(request.seed, "sample", 0);
        model::in_passes(request.first, request.count, |numbers| {
            self.decode(&stream.normal(numbers, self.config.latent_dim, self.params.device())?, None)
        })
    }

    fn latent(&self) -> Option<&dyn LatentModel> {
        Some(self)
    }
}

impl LatentModel for Vae {
    fn encode(&self, images: &Tensor, _labels: Option<&Tensor>) -> Result<Posterior> {
        let n = images.dims().first().copied().unwrap_or(0);
        model::check_input("the images", images, &self.info.image.batch(n))?;
        let Posterior { mean, log_var } = self.encoder.forward(images, Mode::Eval)?;
        Ok(Posterior { mean: mean.detach(), log_var: log_var.detach() })
    }

    fn decode(&self, latents: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.config.latent_dim).into())?;
        Ok(self.likelihood.mean(&self.decoder.forward(latents, Mode::Eval)?)?.detach())
    }

    fn elbo(&self, batch: &Batch, stream: &Stream) -> Result<Elbo> {
        let targets = self.likelihood.evaluation_targets(batch)?;
        let posterior = self.encode(&targets, None)?;
        let noise = stream.normal(&batch.indices, self.config.latent_dim, self.params.device())?;
        let noise = noise.to_dtype(self.params.dtype())?;
        let z = kernels::reparameterize(&posterior.mean, &posterior.log_var, &noise)?;
        let output = self.decoder.forward(&z, Mode::Eval)?;
        Ok(Elbo {
            reconstruction: self.likelihood.log_likelihood(&output, &targets)?.detach(),
            kl: kernels::gaussian_kl(&posterior.mean, &posterior.log_var)?.sum(1)?,
        })
    }

    fn log_likelihood(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Tensor> {
        if samples == 0 || batch.is_empty() {
            return Err(Error::Unsupported(
                "importance sampling needs at least one image and one draw".into(),
            ));
        }
        let targets = self.likelihood.evaluation_targets(batch)?;
        let posterior = self.encode(&targets, None)?;
        let noise = stream.normal(&batch.indices, (samples, self.config.latent_dim), self.params.device())?;
        let noise = noise.to_dtype(self.params.dtype())?;
        let chunk = (IMPORTANCE_ROWS / batch.len()).max(1);
        let mut weights = Vec::with_capacity(samples.div_ceil(chunk));
        for first in (0..samples).step_by(chunk) {
            let noise = noise.narrow(1, first, chunk.min(samples - first))?.contiguous()?;
            weights.push(self.log_weights(&posterior, &targets, &noise, Mode::Eval)?.detach());
        }
        loss::log_mean_exp(&Tensor::cat(&weights, 1)?)
    }

    fn protocol(&self) -> String {
        self.likelihood.protocol()
    }
}

/// Every row `k` times in a row: `(N, …)` → `(N · k, …)`.
fn repeat_rows(x: &Tensor, k: usize) -> Result<Tensor> {
    if k == 1 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape.insert(1, k);
    Ok(x.unsqueeze(1)?.broadcast_as(shape)?.flatten(0, 1)?)
}
