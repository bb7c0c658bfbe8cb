//! What the variational families share: networks, objective, bounds. Without labels it is the VAE (Kingma & Welling 2014;
//! Rezende et al. 2014), with them the conditional VAE (Sohn et al. 2015); with several draws an image their
//! importance-weighted bound (Burda et al. 2016).

use candle_core::Tensor;

use waxwork_core::Mode;
use waxwork_core::model::{self, Elbo, LatentModel, ModelInfo, Posterior};
use waxwork_core::onnx::{Graph, Part};
use waxwork_core::rng::Stream;
use waxwork_core::{Batch, Error, ImageShape, Loss, ParamGroup, ParamSet, Result, StepContext};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::loss;

use crate::config::{Prior, VaeConfig};
use crate::likelihood::Likelihood;
use crate::networks::{Decoder, Encoder, LabelPrior};

/// The group of the encoder's weights.
pub const ENCODER: &str = "encoder";
/// The group of the decoder's weights, with a learned observation scale and a learned prior.
pub const DECODER: &str = "decoder";

/// Rows that one decoder pass of [`LatentModel::log_likelihood`] sees at most.
const IMPORTANCE_ROWS: usize = 2000;

/// An encoder, a decoder, a prior and an observation model.
#[derive(Clone, Debug)]
pub struct Variational {
    config: VaeConfig,
    info: ModelInfo,
    params: ParamSet,
    groups: Vec<ParamGroup>,
    encoder: Encoder,
    decoder: Decoder,
    prior: Option<LabelPrior>,
    likelihood: Likelihood,
}

impl Variational {
    /// The model of `config` for images of shape `image`, with its tensors from `params`; conditional if there are `classes`.
    ///
    /// # Errors
    /// If the configuration makes no sense, or a stored set does not fit it.
    pub fn new(
        family: &str,
        config: VaeConfig,
        image: ImageShape,
        classes: usize,
        mut params: ParamSet,
    ) -> Result<Self> {
        config.validate(classes)?;
        let encoder = Encoder::new(params.root().enter(ENCODER), &config, image, classes)?;
        let decoder = Decoder::new(params.root().enter(DECODER), &config, image, classes)?;
        let prior = match config.prior {
            Prior::Standard => None,
            Prior::Label => {
                let mut root = params.root();
                let mut decoder = root.enter(DECODER);
                Some(LabelPrior::new(decoder.enter("prior"), classes, config.latent_dim)?)
            }
        };
        let likelihood = Likelihood::new(params.root().enter(DECODER), config.likelihood)?;
        let params = params.finish()?;
        let groups = [ENCODER, DECODER].map(|name| params.group(name, &format!("{name}."))).to_vec();
        let info = ModelInfo { family: family.into(), image, latent_dim: config.latent_dim, classes };
        Ok(Self { config, info, params, groups, encoder, decoder, prior, likelihood })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Its tensors.
    pub fn params(&self) -> &ParamSet {
        &self.params
    }

    /// [`ENCODER`] and [`DECODER`].
    pub fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    /// The objective on a batch, to be minimised: the negative evidence lower bound −log p(x | z) + β KL(q(z | x) ‖ p(z)),
    /// or the importance-weighted bound; in nats per image, all of it given the label where the model is conditional.
    pub fn objective(&self, batch: &Batch, ctx: &StepContext<'_>) -> Result<Loss> {
        let (n, k) = (batch.len(), self.config.importance_samples);
        let labels = self.one_hot(batch.labels.as_ref())?;
        let targets = self.likelihood.training_targets(batch, &ctx.stream("binarisation"))?;
        let posterior = self.encoder.forward(&targets, labels.as_ref(), ctx.train())?;
        let noise = ctx.normal("latent", n, (k, self.config.latent_dim))?;
        if k > 1 {
            let log_weights = self.log_weights(&posterior, &targets, labels.as_ref(), &noise, ctx.train())?;
            return Ok(Loss::new("loss", loss::log_mean_exp(&log_weights)?.mean_all()?.neg()?));
        }

        let z = kernels::reparameterize(&posterior.mean, &posterior.log_var, &noise.squeeze(1)?)?;
        let output = self.decoder.forward(&z, labels.as_ref(), ctx.train())?;
        let reconstruction = self.likelihood.log_likelihood(&output, &targets)?.mean_all()?;
        let kl = self.kl(&posterior, labels.as_ref())?;
        let warmup = (ctx.step() as f64 / self.config.kl_warmup_steps.max(1) as f64).min(1.0);
        let beta =
            if self.config.kl_warmup_steps == 0 { self.config.beta } else { self.config.beta * warmup };
        let total = (self.paid_kl(&kl)?.affine(beta, 0.0)? - &reconstruction)?;
        Ok(Loss::new("loss", total)
            .term("reconstruction", &reconstruction)
            .term("kl", &kl.sum(1)?.mean_all()?))
    }

    /// Latents `(N, latent_dim)`, and labels `(N)` where the model is conditional → images `(N, C, H, W)` in [0, 1].
    ///
    /// # Errors
    /// If the latents have another length, or labels are missing or outside of the classes.
    pub fn generate(&self, latents: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let n = latents.dims().first().copied().unwrap_or(0);
        model::check_input("the latents", latents, &(n, self.config.latent_dim).into())?;
        let output = self.decoder.forward(latents, self.one_hot(labels)?.as_ref(), Mode::Eval)?;
        Ok(self.likelihood.mean(&output)?.detach())
    }

    /// The parts that can be exported by themselves.
    pub fn parts(&self) -> &'static [Part] {
        match self.prior {
            None => &[Part::Decoder, Part::Encoder],
            Some(_) => &[Part::Decoder, Part::Encoder, Part::Prior],
        }
    }

    /// [`Variational::generate`], the encoder, or the way from noise to latents as a graph.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a part that is none of [`Variational::parts`].
    pub fn graph(&self, part: Part) -> Result<Graph> {
        let ModelInfo { image, latent_dim, classes, .. } = self.info;
        let image = [image.channels, image.height, image.width];
        let mut graph = Graph::new(part.name());
        match (part, &self.prior) {
            (Part::Decoder, _) => {
                let latents = graph.input("latents", &[latent_dim]);
                let labels = graph.labels(classes)?;
                let output = self.decoder.export(graph.root().enter(DECODER), &latents, labels.as_ref())?;
                // As `Likelihood::mean`, for every observation model.
                let images = graph.root().activate(output, Activation::Sigmoid);
                graph.output("images", &images, &image);
            }
            (Part::Encoder, _) => {
                let images = graph.input("images", &image);
                let labels = graph.labels(classes)?;
                let posterior = self.encoder.export(graph.root().enter(ENCODER), &images, labels.as_ref())?;
                graph.output("mean", &posterior.0, &[latent_dim]);
                graph.output("log_var", &posterior.1, &[latent_dim]);
            }
            (Part::Prior, Some(prior)) => {
                let noise = graph.input("noise", &[latent_dim]);
                let labels =
                    graph.labels(classes)?.ok_or_else(|| Error::no_part(&self.info, part, self.parts()))?;
                let latents = prior.export(graph.root().enter(DECODER).enter("prior"), &noise, &labels)?;
                graph.output("latents", &latents, &[latent_dim]);
            }
            (Part::Generator | Part::Prior, _) => return Err(Error::no_part(&self.info, part, self.parts())),
        }
        Ok(graph)
    }

    /// Standard normal noise `(N, latent_dim)` → latents under the prior.
    pub fn latents(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let labels = self.one_hot(labels)?;
        let (Some(prior), Some(labels)) = (&self.prior, &labels) else { return Ok(noise.clone()) };
        let Posterior { mean, log_var } = prior.forward(labels)?;
        Ok(kernels::reparameterize(&mean, &log_var, noise)?.detach())
    }

    fn one_hot(&self, labels: Option<&Tensor>) -> Result<Option<Tensor>> {
        self.info.one_hot(labels, &self.params)
    }

    /// KL(q(z | x) ‖ p(z)) by dimension, `(N, latent_dim)`.
    fn kl(&self, posterior: &Posterior, labels: Option<&Tensor>) -> Result<Tensor> {
        let Posterior { mean, log_var } = posterior;
        let (Some(prior), Some(labels)) = (&self.prior, labels) else {
            return Ok(kernels::gaussian_kl(mean, log_var)?);
        };
        let prior = prior.forward(labels)?;
        let distance = ((mean - &prior.mean)?.sqr()? + kernels::exp(log_var)?)?
            .mul(&kernels::exp(&prior.log_var.neg()?)?)?;
        Ok(((distance + &prior.log_var)? - log_var)?.affine(0.5, -0.5)?)
    }

    /// The KL term that training pays for: summed over the latent, averaged over the batch, never below the free bits.
    fn paid_kl(&self, kl: &Tensor) -> Result<Tensor> {
        let per_dimension = kl.mean(0)?;
        if self.config.free_bits == 0.0 {
            return Ok(per_dimension.sum_all()?);
        }
        Ok(per_dimension.maximum(self.config.free_bits)?.sum_all()?)
    }

    /// log p(x, z) − log q(z | x) of every draw: images `(N, …)`, noise `(N, K, latent_dim)` → `(N, K)`.
    fn log_weights(
        &self,
        posterior: &Posterior,
        targets: &Tensor,
        labels: Option<&Tensor>,
        noise: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, k, _) = noise.dims3()?;
        let [mean, log_var] = [&posterior.mean, &posterior.log_var].map(|t| repeat_rows(t, k));
        let (mean, log_var) = (mean?, log_var?);
        let labels = labels.map(|labels| repeat_rows(labels, k)).transpose()?;
        let z = kernels::reparameterize(&mean, &log_var, &noise.flatten_to(1)?)?;
        let output = self.decoder.forward(&z, labels.as_ref(), mode)?;
        let prior = match (&self.prior, &labels) {
            (Some(prior), Some(labels)) => {
                let Posterior { mean, log_var } = prior.forward(labels)?;
                loss::gaussian_log_density(&z, &mean, &log_var)?
            }
            _ => loss::standard_normal_log_density(&z)?,
        };
        let joint = (self.likelihood.log_likelihood(&output, &repeat_rows(targets, k)?)? + prior)?;
        let weights = (joint - loss::gaussian_log_density(&z, &mean, &log_var)?)?;
        Ok(weights.reshape((n, k))?)
    }

    fn posterior(&self, images: &Tensor, labels: Option<&Tensor>) -> Result<Posterior> {
        let n = images.dims().first().copied().unwrap_or(0);
        model::check_input("the images", images, &self.info.image.batch(n))?;
        let Posterior { mean, log_var } = self.encoder.forward(images, labels, Mode::Eval)?;
        Ok(Posterior { mean: mean.detach(), log_var: log_var.detach() })
    }
}

impl LatentModel for Variational {
    fn encode(&self, images: &Tensor, labels: Option<&Tensor>) -> Result<Posterior> {
        self.posterior(images, self.one_hot(labels)?.as_ref())
    }

    fn elbo(&self, batch: &Batch, stream: &Stream) -> Result<Elbo> {
        let labels = self.one_hot(batch.labels.as_ref())?;
        let targets = self.likelihood.evaluation_targets(batch)?;
        let posterior = self.posterior(&targets, labels.as_ref())?;
        let noise = stream.normal(&batch.indices, self.config.latent_dim, self.params.device())?;
        let noise = noise.to_dtype(self.params.dtype())?;
        let z = kernels::reparameterize(&posterior.mean, &posterior.log_var, &noise)?;
        let output = self.decoder.forward(&z, labels.as_ref(), Mode::Eval)?;
        Ok(Elbo {
            reconstruction: self.likelihood.log_likelihood(&output, &targets)?.detach(),
            kl: self.kl(&posterior, labels.as_ref())?.sum(1)?.detach(),
        })
    }

    fn log_likelihood(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Tensor> {
        if samples == 0 || batch.is_empty() {
            return Err(Error::Unsupported(
                "importance sampling needs at least one image and one draw".into(),
            ));
        }
        let labels = self.one_hot(batch.labels.as_ref())?;
        let targets = self.likelihood.evaluation_targets(batch)?;
        let posterior = self.posterior(&targets, labels.as_ref())?;
        let noise = stream.normal(&batch.indices, (samples, self.config.latent_dim), self.params.device())?;
        let noise = noise.to_dtype(self.params.dtype())?;
        let chunk = (IMPORTANCE_ROWS / batch.len()).max(1);
        let mut weights = Vec::with_capacity(samples.div_ceil(chunk));
        for first in (0..samples).step_by(chunk) {
            let noise = noise.narrow(1, first, chunk.min(samples - first))?.contiguous()?;
            let part = self.log_weights(&posterior, &targets, labels.as_ref(), &noise, Mode::Eval)?;
            weights.push(part.detach());
        }
        loss::log_mean_exp(&Tensor::cat(&weights, 1)?)
    }

    fn protocol(&self) -> String {
        let given = if self.info.classes > 0 { ", given the label" } else { "" };
        self.likelihood.protocol() + given
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
