//! The approximate posterior q(z | x): a diagonal Gaussian with its draws, density and KL divergences.

use candle_core::Tensor;
use waxwork_core::model::Posterior;
use waxwork_core::{Mode, Result};
use waxwork_kernels as kernels;
use waxwork_nn::loss;
use waxwork_nn::rows::repeat_rows;

use crate::networks::GaussianHead;

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

/// q(z | x): a diagonal Gaussian of the latents or, if there are two groups of them, q(h | x) q(u | h), where z is
/// h followed by u.
#[derive(Clone, Debug)]
pub(crate) struct Recognition<'a> {
    first: DiagonalGaussian,
    /// From h to the Gaussian of u.
    upper: Option<&'a GaussianHead>,
    /// Whether draws and densities have no graph.
    constant: bool,
}

impl<'a> Recognition<'a> {
    pub(crate) fn new(first: DiagonalGaussian, upper: Option<&'a GaussianHead>) -> Self {
        Self { first, upper, constant: false }
    }

    /// The Gaussian of the first group.
    pub(crate) fn first(&self) -> &DiagonalGaussian {
        &self.first
    }

    /// Standard normal noise, with as many values per row as there are latents → draws of the same shape.
    pub(crate) fn draw(&self, noise: &Tensor) -> Result<Tensor> {
        let drawn = match self.upper {
            None => self.first.draw(noise)?,
            Some(upper) => {
                let (noise, above) = columns(noise, self.first.mean.dim(1)?)?;
                let h = self.first.draw(&noise)?;
                let u = upper.forward(&h, Mode::Eval)?.draw(&above)?;
                Tensor::cat(&[&h, &u], 1)?
            }
        };
        Ok(if self.constant { drawn.detach() } else { drawn })
    }

    /// log q(z), `(N)` in nats.
    pub(crate) fn log_density(&self, z: &Tensor) -> Result<Tensor> {
        let density = match self.upper {
            None => self.first.log_density(z)?,
            Some(upper) => {
                let (h, u) = columns(z, self.first.mean.dim(1)?)?;
                (self.first.log_density(&h)? + upper.forward(&h, Mode::Eval)?.log_density(&u)?)?
            }
        };
        Ok(if self.constant { density.detach() } else { density })
    }

    /// Repeats every row `k` times in succession.
    pub(crate) fn repeat(&self, k: usize) -> Result<Self> {
        Ok(Self { first: self.first.repeat(k)?, ..self.clone() })
    }

    /// The same posterior without a graph.
    pub(crate) fn detach(&self) -> Self {
        Self { first: self.first.detach(), upper: self.upper, constant: true }
    }

    /// Mean and log-variance of the latents; for the second group, they are conditioned on the mean of the
    /// first.
    pub(crate) fn codes(&self) -> Result<Posterior> {
        let Some(upper) = self.upper else { return Ok(self.first.clone().into()) };
        let DiagonalGaussian { mean, log_var } = &self.first;
        let above = upper.forward(mean, Mode::Eval)?.detach();
        Ok(Posterior {
            mean: Tensor::cat(&[mean, &above.mean], 1)?,
            log_var: Tensor::cat(&[log_var, &above.log_var], 1)?,
        })
    }
}

/// The first `count` columns of rows, and the others.
pub(crate) fn columns(rows: &Tensor, count: usize) -> Result<(Tensor, Tensor)> {
    let rest = rows.dim(1)?.saturating_sub(count);
    Ok((rows.narrow(1, 0, count)?.contiguous()?, rows.narrow(1, count, rest)?.contiguous()?))
}
