//! Objectives of a VAE as functions of log p(x | z), q(z | x) and p(z): the evidence lower bound with its
//! weights, and the importance-weighted bounds.

use candle_core::Tensor;
use waxwork_core::{Loss, Result};
use waxwork_nn::loss;

use crate::config::{BoundConfig, VaeConfig};
use crate::posterior::Recognition;
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

/// −log 1/K Σ p(x, z) / q(z | x), averaged over the batch and over `bounds` bounds per sample, in nats per
/// sample (IWAE, Burda et al. 2016; MIWAE, Rainforth et al. 2018). `log_weights` is log p(x, z) − log q(z | x)
/// of every draw, `(N, bounds · K)`.
pub(crate) fn negative_importance_weighted_bound(log_weights: &Tensor, bounds: usize) -> Result<Tensor> {
    let (n, draws) = log_weights.dims2()?;
    let each = log_weights.reshape((n * bounds, draws / bounds))?;
    Ok(loss::log_mean_exp(&each)?.mean_all()?.neg()?)
}

/// The objective from importance weights for all bounds except PIWAE; arguments as in
/// [`negative_importance_weighted_bound`].
pub(crate) fn negative_weighted_bound(log_weights: &Tensor, config: &VaeConfig) -> Result<Tensor> {
    let bound = negative_importance_weighted_bound(log_weights, config.draws)?;
    let BoundConfig::Ciwae { elbo } = config.bound else { return Ok(bound) };
    let single = log_weights.mean_all()?.neg()?;
    Ok((single.affine(elbo, 0.0)? + bound.affine(1.0 - elbo, 0.0)?)?)
}

/// The objective of PIWAE. Its value is the bound of all draws; its gradient is that of `for_decoder`'s one
/// bound plus that of the mean of `bounds` bounds of `for_encoder`. Both are log-weights of the same draws,
/// `(N, bounds · K)`; the first has gradients only for the decoder's side, the second only for the encoder.
pub(crate) fn negative_partial_bounds(
    for_decoder: &Tensor,
    for_encoder: &Tensor,
    bounds: usize,
) -> Result<Tensor> {
    let whole = negative_importance_weighted_bound(for_decoder, 1)?;
    let mean = negative_importance_weighted_bound(for_encoder, bounds)?;
    Ok((whole + (&mean - mean.detach())?)?)
}

/// KL(q ‖ p) by dimension, `(N, latent_dim)` in nats. Without a closed form it is log q(z) − log p(z) at the
/// draw `z`, `(N, 1)`, whose expectation is the KL.
pub(crate) fn kl(
    q: &Recognition<'_>,
    prior: &dyn Prior,
    z: &Tensor,
    labels: Option<&Tensor>,
) -> Result<Tensor> {
    match prior.kl(q.first(), labels)? {
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
/// the model itself starts to learn.
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
    use crate::posterior::DiagonalGaussian;
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
        fn export(&self, _: GraphScope<'_>, _: &Value, _: Option<&Value>) -> Result<Option<Value>> {
            Ok(None)
        }
    }

    /// Log-weights of two samples with four draws each.
    const LOG_WEIGHTS: [[f64; 4]; 2] = [[-3.0, -1.0, -2.5, 0.5], [0.0, -4.0, 1.0, -0.5]];

    /// −log of the mean weight of each group of `k` draws, averaged.
    fn by_hand(k: usize) -> f64 {
        let groups: Vec<f64> = LOG_WEIGHTS
            .iter()
            .flat_map(|row| row.chunks(k))
            .map(|group| -(group.iter().map(|log| log.exp()).sum::<f64>() / k as f64).ln())
            .collect();
        groups.iter().sum::<f64>() / groups.len() as f64
    }

    fn value(loss: &Tensor) -> f64 {
        loss.to_scalar().unwrap()
    }

    #[test]
    fn bounds_of_groups_of_draws_are_averaged() {
        let log_weights = Tensor::new(&LOG_WEIGHTS, &Device::Cpu).unwrap();
        for (bounds, k) in [(1, 4), (2, 2), (4, 1)] {
            let found = value(&negative_importance_weighted_bound(&log_weights, bounds).unwrap());
            assert!((found - by_hand(k)).abs() < 1e-12, "{bounds}: {found}");
        }
        // M bounds of one draw each are the evidence lower bound, and fewer draws never tighten it.
        let elbo = -LOG_WEIGHTS.iter().flatten().sum::<f64>() / 8.0;
        assert!((by_hand(1) - elbo).abs() < 1e-12);
        assert!(by_hand(1) > by_hand(2) && by_hand(2) > by_hand(4));
    }

    #[test]
    fn a_combined_bound_goes_from_the_importance_weighted_to_the_evidence_lower_bound() {
        let log_weights = Tensor::new(&LOG_WEIGHTS, &Device::Cpu).unwrap();
        let of = |draws, elbo| {
            let bound = BoundConfig::Ciwae { elbo };
            let config = VaeConfig { draws, bound, importance_samples: 4 / draws, ..VaeConfig::default() };
            value(&negative_weighted_bound(&log_weights, &config).unwrap())
        };
        assert!((of(1, 0.0) - by_hand(4)).abs() < 1e-12);
        assert!((of(1, 1.0) - by_hand(1)).abs() < 1e-12);
        assert!((of(1, 0.05) - 0.05 * by_hand(1) - 0.95 * by_hand(4)).abs() < 1e-12);
        assert!((of(2, 0.5) - 0.5 * by_hand(1) - 0.5 * by_hand(2)).abs() < 1e-12);
    }

    #[test]
    fn without_a_closed_form_the_kl_is_estimated_from_draws_without_bias() {
        let n = 20_000;
        let row = |values: [f32; 2]| Tensor::new(&[values], &Device::Cpu).unwrap().repeat((n, 1)).unwrap();
        let q = DiagonalGaussian { mean: row([0.5, -1.0]), log_var: row([-0.7, 0.3]) };
        let q = Recognition::new(q, None);
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
