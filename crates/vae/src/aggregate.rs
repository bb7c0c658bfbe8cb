//! Fits a mixture of Gaussians to latents by expectation-maximisation (Dempster, Laird & Rubin 1977).
//!
//! A VAE's samples are only as good as the match between its prior and the aggregate posterior, E_x q(z | x).
//! A mixture that is fitted to that posterior after training closes much of the gap, as Ghosh et al. (2020)
//! found for autoencoders.

use std::collections::BTreeMap;

// Those of the C library differ between machines.
use libm::{exp, log};
use rayon::prelude::*;
use waxwork_core::model::Posterior;
use waxwork_core::rng::{Draws, Stream};
use waxwork_core::{DType, Device, Error, Result, Tensor, values};
use waxwork_nn::loss::log_sum_exp_of;

use crate::DECODER;
use crate::mixture::{Gaussian, Mixture};
use crate::posterior::DiagonalGaussian;

/// Maximum number of iterations.
const ITERATIONS: usize = 200;
/// The fit ends when an iteration improves the mean log-likelihood by less than this, in nats.
const TOLERANCE: f64 = 1e-3;
/// Rows whose statistics one task sums. It is fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 512;
/// Pseudo-observations per component, with the covariance of all rows. They keep small components from
/// collapsing.
const IMAGINED: f64 = 1.0;

/// The number of components that are fitted to a group of `rows` latents: at most one for each
/// `latent_dim + 1` rows, and at least one.
pub fn fitting(rows: usize, latent_dim: usize, components: usize) -> usize {
    (rows / (latent_dim + 1)).clamp(1, components.max(1))
}

/// Fits one mixture of `components` per group of latents, and returns the tensors of a model's prior by name.
/// `latents` has the rows of each group, `latent_dim` values each; a model without classes has one group. A
/// group of few rows has [fewer components](fitting), and is pulled towards a standard normal. The result is
/// a function of the latents and the seed. `progress` gets the number of fitted groups.
///
/// # Errors
/// [`Error::Config`] if there are no components, or a value is not finite.
pub fn fit(
    latents: &[Vec<f32>],
    latent_dim: usize,
    components: usize,
    seed: u64,
    mut progress: impl FnMut(usize),
) -> Result<BTreeMap<String, Tensor>> {
    let mut groups = Vec::with_capacity(latents.len());
    for (number, latents) in latents.iter().enumerate() {
        if components == 0 || latent_dim == 0 {
            return Err(unfit("a mixture has at least one component and one latent value".into()));
        }
        let rows: Vec<f64> = latents.iter().map(|value| f64::from(*value)).collect();
        if !rows.iter().all(|value| value.is_finite()) {
            return Err(unfit("a latent value is not finite".into()));
        }
        let mut draws = Stream::new(seed, "prior/start", 0).at(number as u64);
        groups.push(fit_group(&rows, latent_dim, components, &mut draws)?);
        progress(number + 1);
    }
    let named = Mixture::tensors(&groups)?.into_iter();
    Ok(named.map(|(name, tensor)| (format!("{DECODER}.prior.{name}"), tensor)).collect())
}

/// Draws once from each posterior of a batch, with standard normal noise `(N, latent_dim)`.
///
/// # Errors
/// If a latent is not finite.
pub fn draws(posterior: Posterior, noise: &Tensor) -> Result<Vec<Vec<f32>>> {
    let Posterior { mean, log_var } = posterior;
    let noise = noise.to_dtype(mean.dtype())?;
    let drawn = DiagonalGaussian { mean, log_var }.draw(&noise)?.to_device(&Device::Cpu)?;
    values::check("latents", &drawn)?;
    Ok(drawn.to_dtype(DType::F32)?.to_vec2()?)
}

/// True if a tensor of a model is one of its prior's.
pub fn is_of_prior(name: &str) -> bool {
    name.strip_prefix(DECODER).is_some_and(|rest| rest.starts_with(".prior."))
}

fn unfit(reason: String) -> Error {
    Error::Config { key: "model.prior".into(), reason }
}

/// Sums over rows, weighted by a component's responsibility for each row.
#[derive(Clone)]
struct Moments {
    weight: f64,
    first: Vec<f64>,
    /// In row-major order; only the lower half is used.
    second: Vec<f64>,
}

impl Moments {
    fn new(dim: usize) -> Self {
        Self { weight: 0.0, first: vec![0.0; dim], second: vec![0.0; dim * dim] }
    }

    fn add(&mut self, weight: f64, z: &[f64]) {
        self.weight += weight;
        for (i, (first, row)) in self.first.iter_mut().zip(self.second.chunks_exact_mut(z.len())).enumerate()
        {
            let scaled = weight * z[i];
            *first += scaled;
            row.iter_mut().zip(&z[..=i]).for_each(|(sum, value)| *sum += scaled * value);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.weight += other.weight;
        self.first.iter_mut().zip(&other.first).for_each(|(sum, value)| *sum += value);
        self.second.iter_mut().zip(&other.second).for_each(|(sum, value)| *sum += value);
    }

    fn mean(&self) -> Vec<f64> {
        self.first.iter().map(|sum| sum / self.weight).collect()
    }

    /// The covariance of the rows.
    fn covariance(&self) -> Vec<f64> {
        let (mean, dim) = (self.mean(), self.first.len());
        let value = |at: usize| {
            let (i, j) = ((at / dim).max(at % dim), (at / dim).min(at % dim));
            self.second[i * dim + j] / self.weight - mean[i] * mean[j]
        };
        (0..dim * dim).map(value).collect()
    }
}

fn fit_group(rows: &[f64], dim: usize, components: usize, draws: &mut Draws) -> Result<Vec<Gaussian>> {
    let n = rows.len() / dim;
    if n == 0 {
        let mut mixture = vec![Gaussian::standard(dim, 0.0); components];
        mixture[0].weight = 1.0;
        return Ok(mixture);
    }
    let fitted = fitting(n, dim, components);
    let spread = spread(rows, dim);
    let factor = cholesky(&spread, dim)?;
    let weight = 1.0 / fitted as f64;
    let starts = starts(rows, dim, fitted, draws);
    let start = |mean: Vec<f64>| Gaussian { weight, mean, factor: factor.clone() };
    let mut mixture: Vec<Gaussian> = starts.into_iter().map(start).collect();
    let mut before = f64::NEG_INFINITY;
    for _ in 0..ITERATIONS {
        let (likelihood, moments) = expectation(rows, dim, &mixture);
        for (component, moments) in mixture.iter_mut().zip(&moments) {
            maximise(component, moments, &spread, n as f64)?;
        }
        if likelihood - before < TOLERANCE {
            break;
        }
        before = likelihood;
    }
    mixture.resize(components, Gaussian::standard(dim, 0.0));
    Ok(mixture)
}

/// The covariance of all rows. If there are too few rows for a variance in every direction, `dim`
/// pseudo-observations of a standard normal are added.
fn spread(rows: &[f64], dim: usize) -> Vec<f64> {
    let mut whole = Moments::new(dim);
    rows.chunks_exact(dim).for_each(|z| whole.add(1.0, z));
    let (n, imagined) = (whole.weight, dim as f64);
    if n >= 2.0 * imagined {
        return whole.covariance();
    }
    let own = whole.covariance();
    let identity = |at: usize| f64::from(u8::from(at / dim == at % dim));
    let mixed = own.iter().enumerate().map(|(at, own)| (n * own + imagined * identity(at)) / (n + imagined));
    mixed.collect()
}

/// The mean log-likelihood of the rows under the mixture, and each component's moments.
fn expectation(rows: &[f64], dim: usize, mixture: &[Gaussian]) -> (f64, Vec<Moments>) {
    let parts: Vec<(f64, Vec<Moments>)> = rows
        .par_chunks(CHUNK * dim)
        .map(|chunk| {
            let (mut total, mut moments) = (0.0, vec![Moments::new(dim); mixture.len()]);
            let (mut scratch, mut terms) = (vec![0.0; dim], vec![0.0; mixture.len()]);
            for z in chunk.chunks_exact(dim) {
                for (term, component) in terms.iter_mut().zip(mixture) {
                    *term = log(component.weight) + component.log_density(z, &mut scratch);
                }
                let likelihood = log_sum_exp_of(&terms);
                total += likelihood;
                let shares = terms.iter().map(|term| exp(term - likelihood));
                moments.iter_mut().zip(shares).for_each(|(moments, share)| moments.add(share, z));
            }
            (total, moments)
        })
        .collect();
    let mut all = vec![Moments::new(dim); mixture.len()];
    let mut total = 0.0;
    for (likelihood, moments) in &parts {
        total += likelihood;
        all.iter_mut().zip(moments).for_each(|(sum, part)| sum.merge(part));
    }
    (total * dim as f64 / rows.len() as f64, all)
}

/// Fits a component to its moments. A component that has lost all its rows is kept with weight 0.
fn maximise(component: &mut Gaussian, moments: &Moments, spread: &[f64], rows: f64) -> Result<()> {
    component.weight = moments.weight / rows;
    if moments.weight < 1e-6 {
        component.weight = 0.0;
        return Ok(());
    }
    component.mean = moments.mean();
    let own = moments.covariance();
    let (n, total) = (moments.weight, moments.weight + IMAGINED);
    let mixed = own.iter().zip(spread).map(|(own, spread)| (n * own + IMAGINED * spread) / total);
    component.factor = cholesky(&mixed.collect::<Vec<_>>(), moments.first.len())?;
    Ok(())
}

/// The lower Cholesky factor, row by row. A small value is added to the diagonal, for latent dimensions that
/// carry no information.
fn cholesky(covariance: &[f64], dim: usize) -> Result<Vec<f64>> {
    let mut factor = vec![0.0; dim * dim];
    for i in 0..dim {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| factor[i * dim + k] * factor[j * dim + k]).sum();
            let left = covariance[i * dim + j] - known;
            factor[i * dim + j] = if i > j { left / factor[j * dim + j] } else { (left + 1e-6).sqrt() };
        }
        if !(factor[i * dim + i] > 0.0 && factor[i * dim + i].is_finite()) {
            return Err(unfit("the covariance of the latents is not valid for a mixture".into()));
        }
    }
    Ok(factor)
}

/// Starting points: rows that are far from each other (k-means++, Arthur & Vassilvitskii 2007).
fn starts(rows: &[f64], dim: usize, components: usize, draws: &mut Draws) -> Vec<Vec<f64>> {
    let row = |at: usize| &rows[at * dim..(at + 1) * dim];
    let n = rows.len() / dim;
    let mut means = vec![row(draws.below(n as u32) as usize).to_vec()];
    let mut nearest = vec![f64::INFINITY; n];
    while let (Some(last), true) = (means.last(), means.len() < components) {
        for (z, distance) in rows.chunks_exact(dim).zip(&mut nearest) {
            let square: f64 = z.iter().zip(last).map(|(a, b)| (a - b).powi(2)).sum();
            *distance = distance.min(square);
        }
        let mut left = f64::from(draws.uniform()) * nearest.iter().sum::<f64>();
        let chosen = nearest.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        means.push(row(chosen.unwrap_or(n - 1)).to_vec());
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of three known Gaussians in the plane, with shares 0.5, 0.3 and 0.2.
    fn rows(n: u64) -> Vec<f32> {
        let noise = Stream::new(5, "rows", 0).normal(&(0..n).collect::<Vec<_>>(), 2, &Device::Cpu).unwrap();
        let noise = noise.to_vec2::<f32>().unwrap();
        let place = |i: usize, n: &[f32]| match i % 10 {
            0..5 => [4.0 + n[0], 0.5 * n[1]],
            5..8 => [-4.0 + 0.5 * n[0], 3.0 + 0.5 * n[0] + 0.5 * n[1]],
            _ => [0.3 * n[0], -5.0 + n[1]],
        };
        noise.iter().enumerate().flat_map(|(i, n)| place(i, n)).collect()
    }

    #[test]
    fn a_known_mixture_is_found() {
        let rows: Vec<f64> = rows(20_000).into_iter().map(f64::from).collect();
        let mut draws = Stream::new(1, "prior/start", 0).at(0);
        let mut found = fit_group(&rows, 2, 3, &mut draws).unwrap();
        found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let expected = [
            (0.5, [4.0, 0.0], [1.0, 0.0, 0.0, 0.5]),
            (0.3, [-4.0, 3.0], [0.5, 0.0, 0.5, 0.5]),
            (0.2, [0.0, -5.0], [0.3, 0.0, 0.0, 1.0]),
        ];
        for (component, (weight, mean, factor)) in found.iter().zip(expected) {
            assert!((component.weight - weight).abs() < 0.005, "{component:?}");
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.04);
            assert!(near(&component.mean, &mean) && near(&component.factor, &factor), "{component:?}");
        }
    }

    #[test]
    fn the_likelihood_never_falls() {
        let rows: Vec<f64> = rows(20_000).into_iter().map(f64::from).collect();
        let spread = spread(&rows, 2);
        let factor = cholesky(&spread, 2).unwrap();
        let mut draws = Stream::new(2, "prior/start", 0).at(0);
        let start = |mean: Vec<f64>| Gaussian { weight: 0.25, mean, factor: factor.clone() };
        let mut mixture: Vec<Gaussian> = starts(&rows, 2, 4, &mut draws).into_iter().map(start).collect();
        let mut before = f64::NEG_INFINITY;
        for _ in 0..30 {
            let (likelihood, moments) = expectation(&rows, 2, &mixture);
            // The pseudo-observations move the optimum by less than this.
            assert!(likelihood > before - 1e-4, "{likelihood} after {before}");
            before = likelihood;
            for (component, moments) in mixture.iter_mut().zip(&moments) {
                maximise(component, moments, &spread, 20_000.0).unwrap();
            }
        }
    }

    #[test]
    fn groups_of_few_rows_have_few_components_and_none_is_standard_normal() {
        let latents = [Vec::new(), vec![3.0, -1.0], rows(4), rows(300)];
        let fitted = fit(&latents, 2, 3, 7, |_| {}).unwrap();
        let weight = fitted["decoder.prior.weight"].to_vec2::<f32>().unwrap();
        assert_eq!(weight[0], [1.0, 0.0, 0.0]);
        assert_eq!(weight[1], [1.0, 0.0, 0.0]);
        assert_eq!(weight[2], [1.0, 0.0, 0.0]);
        assert!(weight[3].iter().all(|weight| *weight > 0.1), "{weight:?}");
        let mean = fitted["decoder.prior.mean"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((&mean[..2], &mean[6..8]), (&[0.0f32, 0.0][..], &[3.0f32, -1.0][..]));
        let values = fitted.values().flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert!(values.into_iter().all(f32::is_finite));
    }

    #[test]
    fn the_same_bits_for_any_number_of_threads_and_what_cannot_be_fitted_is_refused() {
        let latents = [rows(3_000), rows(1_000)];
        let fitted = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(&latents, 2, 4, 7, |_| {})).unwrap()
        };
        let values = |tensors: &BTreeMap<String, Tensor>| -> Vec<Vec<f32>> {
            tensors.values().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let one = fitted(1);
        assert_eq!(one["decoder.prior.lower"].dims(), [2, 4, 2, 2]);
        assert_eq!(values(&one), values(&fitted(4)));
        assert!(fit(&[vec![0.0; 6]], 2, 0, 0, |_| {}).is_err());
        assert!(fit(&[vec![f32::NAN; 60]], 2, 3, 0, |_| {}).is_err());
    }
}
