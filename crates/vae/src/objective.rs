//! Objectives of a VAE as functions of log p(x | z), q(z | x) and p(z): the evidence lower bound with its
//! weights, and the importance-weighted bound.

use candle_core::Tensor;
use waxwork_core::{Loss, Result};
use waxwork_nn::loss;

use crate::config::VaeConfig;
use crate::posterior::DiagonalGaussian;
use crate::prior::Prior;

/// −E[log p(x | z)] + β KL(q ‖ p), averaged over the batch and in nats per sample (β-VAE, Higgins et al.
/// 2017).
///
/// `log_likelihood` is log p(x | z) at one draw, `(N)`; `kl` is KL(q ‖ p) by dimension, `(N, latent_dim)`;
/// `step` counts from 0 and matters during the warm-up. `correlation` is the total correlation, a scalar. It
/// is a part of the mean of `kl` (Chen et al. 2018, eq. 2), so a weight w adds w − 1 times its value.
pub(crate) fn negative_elbo(
    log_likelihood: &Tensor,
    kl: &Tensor,
    correlation: Option<&Tensor>,
    config: &VaeConfig,
    step: u64,
) -> Result<Loss> {
    let reconstruction = log_likelihood.mean_all()?;
    let mut penalty = kl_penalty(kl, config.free_bits)?;
    if let Some(correlation) = correlation {
        penalty = (penalty + correlation.affine(config.total_correlation - 1.0, 0.0)?)?;
    }
    let penalty = weighted(&penalty, config, step)?;
    let loss = Loss::new("loss", (penalty - &reconstruction)?)
        .term("reconstruction", &reconstruction)
        .term("kl", &kl.sum(1)?.mean_all()?);
    Ok(match correlation {
        Some(correlation) => loss.term("total_correlation", correlation),
        None => loss,
    })
}

/// −log 1/K Σ p(x, z) / q(z | x), averaged over the batch and in nats per sample (IWAE, Burda et al. 2016).
/// `log_weights` is log p(x, z) − log q(z | x) of every draw, `(N, K)`.
pub(crate) fn negative_importance_weighted_bound(log_weights: &Tensor) -> Result<Loss> {
    Ok(Loss::new("loss", loss::log_mean_exp(log_weights)?.mean_all()?.neg()?))
}

/// KL(q ‖ p) by dimension, `(N, latent_dim)` in nats. Without a closed form it is log q(z) − log p(z) at the
/// draw `z`, `(N, 1)`, whose expectation is the KL.
pub(crate) fn kl(
    q: &DiagonalGaussian,
    prior: &dyn Prior,
    z: &Tensor,
    labels: Option<&Tensor>,
) -> Result<Tensor> {
    match prior.kl(q, labels)? {
        Some(kl) => Ok(kl),
        None => Ok((q.log_density(z)? - prior.log_density(z, labels)?)?.unsqueeze(1)?),
    }
}

/// The KL term times its weight.
fn weighted(penalty: &Tensor, config: &VaeConfig, step: u64) -> Result<Tensor> {
    let weight = beta(config, step);
    // candle's tape ends at a factor of zero, and the weights of a prior would have no gradient.
    if weight == 0.0 && config.learns_prior() {
        return Ok(penalty.mul(&penalty.zeros_like()?)?);
    }
    Ok(penalty.affine(weight, 0.0)?)
}

/// The weight of the KL term at a step. It rises linearly from zero to β over the warm-up, which begins when
/// the model itself begins to learn.
fn beta(config: &VaeConfig, step: u64) -> f64 {
    let step = step.saturating_sub(config.guess_steps());
    match config.kl_warmup_steps {
        0 => config.beta,
        steps => config.beta * (step as f64 / steps as f64).min(1.0),
    }
}

/// The KL term of the training objective: averaged over the batch, raised to at least `free_bits` nats in
/// every dimension (Kingma et al. 2016), and summed over the dimensions.
fn kl_penalty(kl: &Tensor, free_bits: f64) -> Result<Tensor> {
    let per_dimension = kl.mean(0)?;
    if free_bits == 0.0 {
        return Ok(per_dimension.sum_all()?);
    }
    Ok(per_dimension.maximum(free_bits)?.sum_all()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use waxwork_core::onnx::{GraphScope, Value};
    use waxwork_core::rng::Stream;

    use super::*;
    use crate::prior::StandardNormal;

    /// The standard normal, as a prior without a closed-form KL.
    #[derive(Debug)]
    struct NoClosedForm;

    impl Prior for NoClosedForm {
        fn log_density(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
            StandardNormal.log_density(z, labels)
        }
        fn draw(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
            StandardNormal.draw(noise, labels)
        }
        fn kl(&self, _q: &DiagonalGaussian, _labels: Option<&Tensor>) -> Result<Option<Tensor>> {
            Ok(None)
        }
        fn export(&self, _: GraphScope<'_>, _: &Value, _: Option<&Value>) -> Result<Option<Value>> {
            Ok(None)
        }
    }

    #[test]
    fn without_a_closed_form_the_kl_is_estimated_from_draws_without_bias() {
        let n = 20_000;
        let row = |values: [f32; 2]| Tensor::new(&[values], &Device::Cpu).unwrap().repeat((n, 1)).unwrap();
        let q = DiagonalGaussian { mean: row([0.5, -1.0]), log_var: row([-0.7, 0.3]) };
        let rows: Vec<u64> = (0..n as u64).collect();
        let z = q.draw(&Stream::new(3, "latent", 0).normal(&rows, 2, &Device::Cpu).unwrap()).unwrap();
        let mean = |kl: Tensor| kl.sum(1).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        let exact = mean(kl(&q, &StandardNormal, &z, None).unwrap());
        let estimate = kl(&q, &NoClosedForm, &z, None).unwrap();
        assert_eq!(estimate.dims(), [n, 1]);
        // The estimate has a standard deviation of about 1.4 per draw, so about 0.01 for the mean of all
        // draws.
        assert!((mean(estimate) - exact).abs() < 0.04, "against {exact}");
    }
}
