//! Estimates the total correlation with a discriminator (FactorVAE, Kim & Mnih 2018), which distinguishes
//! latents of the aggregate posterior from latents whose dimensions belong to different samples.

use candle_core::Tensor;
use waxwork_core::params::Scope;
use waxwork_core::{Device, Mode, Result, StepContext};
use waxwork_kernels::Activation;
use waxwork_nn::layers::Linear;
use waxwork_nn::loss::softplus;
use waxwork_nn::nets::{Mlp, Style};

use crate::config::VaeConfig;

/// Slope of the leaky ReLU below zero.
const SLOPE: f32 = 0.2;

/// Linear layers from latents to one logit, which estimates log q(z) − Σ_d log q(z_d).
#[derive(Clone, Debug)]
pub(crate) struct Discriminator {
    hidden: Mlp,
    output: Linear,
}

impl Discriminator {
    pub(crate) fn new(mut scope: Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let style = Style { activation: Activation::LeakyRelu(SLOPE), ..config.style() };
        let widths = &config.discriminator;
        let hidden = Mlp::new(scope.enter("hidden"), config.latent_dim, widths, style)?;
        let last = widths.last().copied().unwrap_or(config.latent_dim);
        Ok(Self { hidden, output: Linear::new(scope.enter("output"), last, 1, style.weights)? })
    }

    /// Latents `(N, latent_dim)` → logits `(N)`. Their mean over latents of the aggregate posterior estimates
    /// its total correlation; the optimal discriminator makes it unbiased.
    pub(crate) fn forward(&self, z: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let hidden = self.hidden.forward(z, mode)?;
        Ok(self.output.forward(&hidden, Activation::Identity, mode)?.squeeze(1)?)
    }
}

/// The cross-entropy −½ E[log D(z)] − ½ E[log(1 − D(z′))] from the logits `(N)` of latents of samples, and of
/// permuted latents.
pub(crate) fn cross_entropy(together: &Tensor, permuted: &Tensor) -> Result<Tensor> {
    let (together, permuted) = (softplus(&together.neg()?)?.mean_all()?, softplus(permuted)?.mean_all()?);
    Ok((together + permuted)?.affine(0.5, 0.0)?)
}

/// The latents `z` `(N, latent_dim)` with the rows of every dimension permuted independently, without a
/// graph.
pub(crate) fn permuted(z: &Tensor, ctx: &StepContext<'_>) -> Result<Tensor> {
    let (n, latent_dim) = z.dims2()?;
    let draws = ctx.stream("permutation").uniform(&ctx.rows(n), latent_dim, &Device::Cpu)?;
    let places = Tensor::from_vec(places(&draws.to_vec2::<f32>()?), (n, latent_dim), z.device())?;
    Ok(z.detach().contiguous()?.gather(&places, 0)?)
}

/// For each column, the row numbers sorted by their draws; stored row by row.
fn places(draws: &[Vec<f32>]) -> Vec<u32> {
    let columns = draws.first().map_or(0, Vec::len);
    let mut places = vec![0; draws.len() * columns];
    for column in 0..columns {
        let mut order: Vec<u32> = (0..draws.len() as u32).collect();
        order.sort_by(|a, b| draws[*a as usize][column].total_cmp(&draws[*b as usize][column]));
        order.into_iter().enumerate().for_each(|(row, from)| places[row * columns + column] = from);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_its_own_permutation() {
        let draws = [vec![0.5, 0.1], vec![0.2, 0.4], vec![0.9, 0.3], vec![0.2, 0.2]];
        // Equal draws keep their order.
        assert_eq!(places(&draws), [1, 0, 3, 3, 0, 2, 2, 1]);
        assert!(places(&[]).is_empty());
    }

    #[test]
    fn the_loss_is_the_cross_entropy() {
        let (together, permuted) = ([-1.3f64, 0.4, 2.0], [0.7f64, -0.2, -3.0]);
        let right = |logit: f64| 1.0 / (1.0 + (-logit).exp());
        let expected = together.iter().map(|logit| -right(*logit).ln()).sum::<f64>() / 6.0
            + permuted.iter().map(|logit| -(1.0 - right(*logit)).ln()).sum::<f64>() / 6.0;
        let tensor = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap();
        let found = cross_entropy(&tensor(&together), &tensor(&permuted)).unwrap();
        assert!((found.to_scalar::<f64>().unwrap() - expected).abs() < 1e-12);
    }
}
