//! The approximate posterior q(z | x): a diagonal Gaussian with its draws, density and KL divergences.

use candle_core::Tensor;
use waxwork_core::Result;
use waxwork_core::model::Posterior;
use waxwork_kernels as kernels;
use waxwork_nn::loss;

/// A diagonal Gaussian per row: mean and log-variance, `(N, latent_dim)` each.
#[derive(Clone, Debug)]
pub struct DiagonalGaussian {
    /// The mean.
    pub mean: Tensor,
    /// Log of the variance.
    pub log_var: Tensor,
}

impl DiagonalGaussian {
    /// Standard normal noise `(N, latent_dim)` → draws of the same shape, differentiable in mean and
    /// log-variance (the reparameterisation of Kingma & Welling 2014).
    pub fn draw(&self, noise: &Tensor) -> Result<Tensor> {
        Ok(kernels::reparameterize(&self.mean, &self.log_var, noise)?)
    }

    /// log q(z), `(N)` in nats, of `z` `(N, latent_dim)`.
    pub fn log_density(&self, z: &Tensor) -> Result<Tensor> {
        loss::gaussian_log_density(z, &self.mean, &self.log_var)
    }

    /// KL(self ‖ N(0, 1)) by dimension, `(N, latent_dim)` in nats.
    pub fn kl_to_standard_normal(&self) -> Result<Tensor> {
        Ok(kernels::gaussian_kl(&self.mean, &self.log_var)?)
    }

    /// KL(self ‖ other) by dimension, `(N, latent_dim)` in nats.
    pub fn kl_to(&self, other: &Self) -> Result<Tensor> {
        let distance = ((&self.mean - &other.mean)?.sqr()? + kernels::exp(&self.log_var)?)?
            .mul(&kernels::exp(&other.log_var.neg()?)?)?;
        Ok(((distance + &other.log_var)? - &self.log_var)?.affine(0.5, -0.5)?)
    }

    /// Repeats every row `k` times in succession: `(N, latent_dim)` → `(N · k, latent_dim)`.
    pub fn repeat(&self, k: usize) -> Result<Self> {
        Ok(Self { mean: repeat_rows(&self.mean, k)?, log_var: repeat_rows(&self.log_var, k)? })
    }

    /// The same posterior without a graph.
    pub(crate) fn detach(&self) -> Self {
        Self { mean: self.mean.detach(), log_var: self.log_var.detach() }
    }
}

impl From<DiagonalGaussian> for Posterior {
    fn from(DiagonalGaussian { mean, log_var }: DiagonalGaussian) -> Self {
        Self { mean, log_var }
    }
}

/// Repeats every row `k` times in succession: `(N, …)` → `(N · k, …)`.
pub(crate) fn repeat_rows(x: &Tensor, k: usize) -> Result<Tensor> {
    if k == 1 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape.insert(1, k);
    Ok(x.unsqueeze(1)?.broadcast_as(shape)?.flatten(0, 1)?)
}
