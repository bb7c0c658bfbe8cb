//! The total correlation of the aggregate posterior q(z) = 1/N Σ_n q(z | x_n), estimated from a batch (β-TC-VAE,
//! Chen et al. 2018).

use candle_core::Tensor;
use waxwork_core::Result;
use waxwork_kernels as kernels;
use waxwork_nn::loss;

use crate::mixture::like;
use crate::posterior::DiagonalGaussian;

/// KL(q(z) ‖ Π_d q(z_d)), a scalar in nats, from one draw `z` `(B, latent_dim)` of each posterior of a batch.
///
/// `samples` is the number N of training samples, from which the batch was drawn without replacement; None
/// means that the batch contains all of them.
///
/// The estimate of q(z) is unbiased if the sample of z itself has weight 1 / N and the others share the rest
/// ("minibatch stratified sampling"). In Chen et al., one of the others has a smaller weight; here, all have
/// the same.
pub(crate) fn total_correlation(q: &DiagonalGaussian, z: &Tensor, samples: Option<usize>) -> Result<Tensor> {
    let n = z.dim(0)?;
    // log q(z_d | x_j) of every draw, dimension and sample, `(B, latent_dim, B)`.
    let turned = |x: &Tensor| -> Result<Tensor> { Ok(x.t()?.contiguous()?.unsqueeze(0)?) };
    let (mean, log_var) = (turned(&q.mean)?, turned(&q.log_var)?);
    let squares = z.unsqueeze(2)?.broadcast_sub(&mean)?.sqr()?;
    let squares = squares.broadcast_mul(&kernels::exp(&log_var.neg()?)?)?;
    let densities = squares.broadcast_add(&log_var)?.affine(-0.5, -0.5 * loss::LN_TWO_PI)?;

    let (own, other) = log_weights(n, samples.unwrap_or(n));
    let weight = |place: usize| if place % n == place / n { own } else { other };
    let weights: Vec<f64> = (0..n * n).map(weight).collect();
    let weights = like(z, weights, &[n, n])?;
    let joint = loss::log_sum_exp(&(densities.sum(1)? + &weights)?)?;
    let marginals = loss::log_sum_exp(&densities.broadcast_add(&weights.unsqueeze(1)?)?)?.sum(1)?;
    Ok((joint - marginals)?.mean_all()?)
}

/// The logarithms of the weights of a draw's own sample, and of each other one in a batch of `batch` of
/// `samples`.
fn log_weights(batch: usize, samples: usize) -> (f64, f64) {
    if batch == 1 {
        return (0.0, 0.0);
    }
    // A batch that is larger than the data set repeats samples.
    let all = samples.max(batch) as f64;
    (-libm::log(all), libm::log((all - 1.0) / (all * (batch - 1) as f64)))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use waxwork_core::rng::Stream;

    use super::*;

    fn matrix(rows: &[[f64; 2]]) -> Tensor {
        Tensor::from_slice(rows.as_flattened(), (rows.len(), 2), &Device::Cpu).unwrap()
    }

    fn value(q: &DiagonalGaussian, z: &Tensor, samples: Option<usize>) -> f64 {
        total_correlation(q, z, samples).unwrap().to_scalar().unwrap()
    }

    /// Means from N(0, [[0.75, 0.7], [0.7, 0.75]]) and a variance of 0.25 give an aggregate posterior with a
    /// correlation of 0.7. The total correlation of a Gaussian is −½ log det of its correlation matrix.
    #[test]
    fn finds_that_of_a_gaussian_aggregate() {
        let n = 2000;
        let rows: Vec<u64> = (0..n as u64).collect();
        let normal = |name: &str| -> Vec<Vec<f64>> {
            let drawn = Stream::new(0, name, 0).normal(&rows, 2, &Device::Cpu).unwrap();
            drawn.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
        };
        let noise = normal("noise");
        for (correlation, expected) in [(0.7f64, -0.5 * (1.0f64 - 0.49).ln()), (0.0, 0.0)] {
            let slope: f64 = correlation / 0.75;
            let rest = (0.75 - correlation * slope).sqrt();
            let means: Vec<[f64; 2]> = normal("means")
                .iter()
                .map(|row| {
                    let first = 0.75f64.sqrt() * row[0];
                    [first, slope * first + rest * row[1]]
                })
                .collect();
            let drawn = means.iter().zip(&noise);
            let z: Vec<[f64; 2]> =
                drawn.map(|(mean, noise)| [mean[0] + 0.5 * noise[0], mean[1] + 0.5 * noise[1]]).collect();
            let log_var = matrix(&vec![[0.25f64.ln(); 2]; n]);
            let q = DiagonalGaussian { mean: matrix(&means), log_var };
            let found = value(&q, &matrix(&z), None);
            assert!((found - expected).abs() < 0.05, "{found} against {expected}");
        }
    }

    /// Two samples of ten, with the sums written out.
    #[test]
    fn is_the_mean_log_ratio_of_the_weighted_densities() {
        let (mean, log_var) = ([[0.3, -0.5], [1.1, 0.4]], [[-0.2, 0.6], [0.1, -1.0]]);
        let z = [[0.5, -0.1], [0.9, 0.2]];
        let density = |i: usize, j: usize, d: usize| {
            let variance = f64::exp(log_var[j][d]);
            let distance: f64 = z[i][d] - mean[j][d];
            (-0.5 * distance * distance / variance).exp() / (std::f64::consts::TAU * variance).sqrt()
        };
        let mut expected = 0.0;
        for i in 0..2 {
            let mixed = |of: &dyn Fn(usize) -> f64| 0.1 * of(i) + 0.9 * of(1 - i);
            let joint = mixed(&|j| density(i, j, 0) * density(i, j, 1));
            let each = mixed(&|j| density(i, j, 0)) * mixed(&|j| density(i, j, 1));
            expected += 0.5 * (joint / each).ln();
        }
        let q = DiagonalGaussian { mean: matrix(&mean), log_var: matrix(&log_var) };
        let found = value(&q, &matrix(&z), Some(10));
        assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        // With a single sample, there is nothing to correlate with.
        let one = DiagonalGaussian { mean: matrix(&mean[..1]), log_var: matrix(&log_var[..1]) };
        assert!(value(&one, &matrix(&z[..1]), Some(10)).abs() < 1e-12);
    }

    /// Over all batches that contain a sample, the estimate of q(z) has the mean of the densities of all
    /// samples as its mean.
    #[test]
    fn the_weights_are_unbiased() {
        let densities = [0.3, 1.7, 0.2, 0.9, 0.05];
        let all = densities.iter().sum::<f64>() / 5.0;
        let (own, other) = log_weights(3, 5);
        let mut estimates = Vec::new();
        for first in 1..5 {
            for second in first + 1..5 {
                let others = densities[first] + densities[second];
                estimates.push(own.exp() * densities[0] + other.exp() * others);
            }
        }
        assert_eq!(estimates.len(), 6);
        assert!((estimates.iter().sum::<f64>() / 6.0 - all).abs() < 1e-12);
        // If the batch is the whole data set, all samples have the same weight.
        let (own, other) = log_weights(4, 4);
        assert!((own + 4f64.ln()).abs() < 1e-12 && (other + 4f64.ln()).abs() < 1e-12);
    }
}
