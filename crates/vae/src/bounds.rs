//! What a VAE can say of given images: codes, the evidence lower bound, and log p(x) by importance sampling.

use candle_core::Tensor;
use waxwork_core::model::{self, Elbo, LatentModel, Posterior};
use waxwork_core::rng::Stream;
use waxwork_core::{Batch, Error, Mode, Result};
use waxwork_nn::loss;

use crate::posterior::{DiagonalGaussian, repeat_rows};
use crate::{Vae, objective};

/// Rows that one decoder pass of [`LatentModel::log_likelihood`] sees at most.
const IMPORTANCE_ROWS: usize = 2000;

impl Vae {
    /// log p(x, z) − log q(z | x) of every draw: targets `(N, …)`, noise `(N, K, latent_dim)` → `(N, K)` in nats.
    pub(crate) fn log_weights(
        &self,
        q: &DiagonalGaussian,
        targets: &Tensor,
        labels: Option<&Tensor>,
        noise: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, k, _) = noise.dims3()?;
        let q = q.repeat(k)?;
        let labels = labels.map(|labels| repeat_rows(labels, k)).transpose()?;
        let z = q.draw(&noise.flatten_to(1)?)?;
        let output = self.decoder.forward(&z, labels.as_ref(), mode)?;
        let log_prior = self.prior.log_density(&z, labels.as_ref())?;
        let log_joint = (self.likelihood.log_likelihood(&output, &repeat_rows(targets, k)?)? + log_prior)?;
        Ok((log_joint - q.log_density(&z)?)?.reshape((n, k))?)
    }

    fn posterior(&self, images: &Tensor, labels: Option<&Tensor>) -> Result<DiagonalGaussian> {
        let n = images.dims().first().copied().unwrap_or(0);
        model::check_input("the images", images, &self.info.image.batch(n))?;
        Ok(self.encoder.forward(images, labels, Mode::Eval)?.detach())
    }
}

impl LatentModel for Vae {
    fn encode(&self, images: &Tensor, labels: Option<&Tensor>) -> Result<Posterior> {
        Ok(self.posterior(images, self.one_hot(labels)?.as_ref())?.into())
    }

    fn elbo(&self, batch: &Batch, stream: &Stream) -> Result<Elbo> {
        let labels = self.one_hot(batch.labels.as_ref())?;
        let targets = self.likelihood.evaluation_targets(batch)?;
        let q = self.posterior(&targets, labels.as_ref())?;
        let noise = stream.normal(&batch.indices, self.config.latent_dim, self.params.device())?;
        let z = q.draw(&noise.to_dtype(self.params.dtype())?)?;
        let output = self.decoder.forward(&z, labels.as_ref(), Mode::Eval)?;
        Ok(Elbo {
            reconstruction: self.likelihood.log_likelihood(&output, &targets)?.detach(),
            kl: objective::kl(&q, &*self.prior, &z, labels.as_ref())?.sum(1)?.detach(),
        })
    }

    fn log_likelihood(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Tensor> {
        if samples == 0 || batch.is_empty() {
            let of = if samples == 0 { "draw" } else { "image" };
            return Err(Error::Empty { what: "importance sampling", of });
        }
        let labels = self.one_hot(batch.labels.as_ref())?;
        let targets = self.likelihood.evaluation_targets(batch)?;
        let q = self.posterior(&targets, labels.as_ref())?;
        let noise = stream.normal(&batch.indices, (samples, self.config.latent_dim), self.params.device())?;
        let noise = noise.to_dtype(self.params.dtype())?;
        let chunk = (IMPORTANCE_ROWS / batch.len()).max(1);
        let mut weights = Vec::with_capacity(samples.div_ceil(chunk));
        for first in (0..samples).step_by(chunk) {
            let noise = noise.narrow(1, first, chunk.min(samples - first))?.contiguous()?;
            let part = self.log_weights(&q, &targets, labels.as_ref(), &noise, Mode::Eval)?;
            weights.push(part.detach());
        }
        loss::log_mean_exp(&Tensor::cat(&weights, 1)?)
    }

    fn protocol(&self) -> String {
        let given = if self.info.classes > 0 { ", given the label" } else { "" };
        self.likelihood.protocol() + given
    }
}
