//! The mutual information of samples and latents: how much an encoder tells about a sample, in nats.

use std::f64::consts::TAU;

use rayon::prelude::*;
use waxwork_core::Device;
use waxwork_core::rng::Stream;
use waxwork_nn::loss::log_sum_exp_of;

use crate::features::check_columns;
use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};
use crate::{Error, Features, Result};

/// The most posteriors that are compared with each other, because the time grows with their square.
const MOST: usize = 4000;

/// I(x; z) = E log q(z | x) − E log q(z) under the diagonal Gaussian posteriors of some samples, where q(z) is
/// the mean of these posteriors (Hoffman & Johnson 2016). If the prior is the same for all samples, the KL term of
/// the ELBO is I(x; z) + KL(q(z) ‖ p(z)), so a KL that comes from a displaced q(z) tells nothing about the samples.
///
/// Each posterior gives one draw z. As q(z) contains the posterior of z itself, no value exceeds the log of the
/// number of samples: an estimate close to it is a lower bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MutualInformation {
    /// The number of samples.
    pub samples: usize,
    /// The estimate in nats.
    pub estimate: Estimate,
}

impl MutualInformation {
    /// Measures the first 4,000 of the posteriors with these means and logs of variances, `(N, latent_dim)` both.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn of(means: &Features, log_vars: &Features) -> Result<Self> {
        check_columns(means, log_vars)?;
        if log_vars.rows() < means.rows() {
            return Err(Error::TooFew { whose: "encoded", needed: means.rows(), found: log_vars.rows() });
        }
        let (samples, width) = (means.rows().min(MOST), means.columns());
        let numbers: Vec<u64> = (0..samples as u64).collect();
        let noise =
            Stream::new(0, "evaluation/mutual-information", 0).normal(&numbers, width, &Device::Cpu)?;
        let noise = Features::new("drawn", &noise)?.values()?;
        let (means, log_vars) = (means.values()?, log_vars.values()?);
        let posteriors: Vec<Gaussian<'_>> = (means.chunks_exact(width))
            .zip(log_vars.chunks_exact(width))
            .take(samples)
            .map(|(mean, log_var)| Gaussian::new(mean, log_var))
            .collect();
        let told = |(number, noise): (usize, &[f64])| {
            let z = posteriors[number].draw(noise);
            let densities: Vec<f64> = posteriors.iter().map(|posterior| posterior.log_density(&z)).collect();
            densities[number] - (log_sum_exp_of(&densities) - libm::log(samples as f64))
        };
        let each: Vec<f64> = noise.par_chunks_exact(width).enumerate().map(told).collect();
        Ok(Self { samples, estimate: Estimate::of(&each) })
    }

    /// Returns its metric under a protocol.
    pub fn metric(&self, protocol: &Protocol) -> Metric {
        let mut protocol = protocol.clone();
        protocol.insert("n_real".into(), self.samples.to_string());
        protocol.insert("draws".into(), "1 per sample; at most the log of n_real".into());
        protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
        let metric = Metric::new("mutual_information", self.estimate.mean, &protocol);
        metric.nats().within(self.estimate.interval())
    }
}

/// A diagonal Gaussian.
struct Gaussian<'a> {
    mean: &'a [f64],
    deviation: Vec<f64>,
    /// −Σ log σ − D/2 log 2π
    log_norm: f64,
}

impl<'a> Gaussian<'a> {
    fn new(mean: &'a [f64], log_var: &[f64]) -> Self {
        let log_norm = log_var.iter().map(|log_var| -0.5 * (log_var + libm::log(TAU))).sum();
        Self { mean, deviation: log_var.iter().map(|log_var| libm::exp(0.5 * log_var)).collect(), log_norm }
    }

    fn draw(&self, noise: &[f64]) -> Vec<f64> {
        let scaled = self.deviation.iter().zip(noise).map(|(deviation, noise)| deviation * noise);
        self.mean.iter().zip(scaled).map(|(mean, scaled)| mean + scaled).collect()
    }

    fn log_density(&self, z: &[f64]) -> f64 {
        let squares = (z.iter().zip(self.mean).zip(&self.deviation))
            .map(|((z, mean), deviation)| ((z - mean) / deviation).powi(2));
        self.log_norm - 0.5 * squares.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxwork_core::Tensor;

    fn of(means: &[f64], log_vars: &[f64], width: usize) -> MutualInformation {
        let features = |values: &[f64]| {
            let shape = (values.len() / width, width);
            Features::new("real", &Tensor::from_slice(values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        MutualInformation::of(&features(means), &features(log_vars)).unwrap()
    }

    #[test]
    fn equal_posteriors_tell_nothing_and_distant_ones_name_the_sample() {
        // A displaced posterior has a KL term of 50 nats, but no information.
        let equal = of(&[10.0; 8], &[0.0; 8], 2);
        assert_eq!(equal.samples, 4);
        assert!(equal.estimate.mean.abs() < 1e-12 && equal.estimate.standard_error < 1e-12, "{equal:?}");
        let distant: Vec<f64> = (0..8).map(|i| 100.0 * f64::from(i)).collect();
        assert!((of(&distant, &[-1.0; 8], 1).estimate.mean - 8f64.ln()).abs() < 1e-12);
    }

    /// If the means are N(0, s²) and the posteriors have the variance v, z is N(0, s² + v), so the information is
    /// ½ ln(1 + s²/v) per unit.
    #[test]
    fn gaussian_means_have_the_closed_form() {
        let (samples, scale, log_var) = (3000, 1.5, -0.5);
        let mut draws = Stream::new(3, "means", 0).at(0);
        let means: Vec<f64> = (0..2 * samples).map(|_| scale * f64::from(draws.normal())).collect();
        let found = of(&means, &vec![log_var; 2 * samples], 2).estimate;
        let expected = (1.0 + scale * scale / log_var.exp()).ln();
        assert!((found.mean - expected).abs() < 4.0 * found.standard_error, "{found} against {expected}");
        assert!(found.standard_error < 0.03, "{found}");
    }
}
