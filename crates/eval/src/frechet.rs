//! The Fréchet distance of two Gaussians with the means and covariances of the features (Heusel et al. 2017,
//! who use Inception features).

use faer::{Mat, Side};
use serde::{Deserialize, Serialize};
use waxwork_core::{Device, Tensor};
use waxwork_kernels as kernels;

use crate::features::check_columns;
use crate::{Error, Features, Result};

/// Slow steps of a distance between features: the moments of both sets, a root, products and eigenvalues.
const STEPS: usize = 5;

/// Mean and covariance of a set of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// `(D)`.
    pub mean: Vec<f64>,
    /// `(D, D)`, row by row; divided by N − 1.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// Computes the moments of at least two images.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn of(whose: &'static str, features: &Features) -> Result<Self> {
        if features.rows() < 2 {
            return Err(Error::TooFew { whose, needed: 2, found: features.rows() });
        }
        let mean = features.mean()?;
        let degrees = (features.rows() - 1) as f64;
        let covariance = features.scatter(&mean)?.into_iter().map(|sum| sum / degrees).collect();
        Ok(Self { mean, covariance })
    }

    fn variance(&self) -> f64 {
        self.covariance.iter().step_by(self.mean.len() + 1).sum()
    }
}

/// Returns ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), at least 0.
///
/// The trace of the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, a symmetric matrix. So
/// singular covariances, from constant features or from fewer images than features, need no special case.
///
/// # Errors
/// If the widths differ, or the eigenvalues cannot be found.
pub fn frechet_distance(real: &Moments, generated: &Moments) -> Result<f64> {
    distance_in_steps(real, generated, &mut |_| ())
}

/// As [`frechet_distance`]; calls `done` after each of its three slow steps with the number done.
fn distance_in_steps(real: &Moments, generated: &Moments, done: &mut dyn FnMut(usize)) -> Result<f64> {
    let d = real.mean.len();
    if generated.mean.len() != d {
        return Err(Error::Widths { real: d, generated: generated.mean.len() });
    }
    let apart: f64 = real.mean.iter().zip(&generated.mean).map(|(a, b)| (a - b) * (a - b)).sum();
    let root = square_root(&real.covariance, d)?;
    done(1);
    let inner = product(&product(&root, &generated.covariance, d)?, &root, d)?;
    done(2);
    let shared: f64 = eigenvalues(&inner, d)?.iter().map(|value| value.max(0.0).sqrt()).sum();
    done(3);
    Ok((apart + real.variance() + generated.variance() - 2.0 * shared).max(0.0))
}

/// Returns the Fréchet distance of two sets of features.
///
/// # Errors
/// As for [`Moments::of`] and [`frechet_distance`].
pub fn frechet(real: &Features, generated: &Features) -> Result<f64> {
    frechet_with_progress(real, generated, &mut |_, _| ())
}

/// As [`frechet`]; calls `progress` after every slow step with the number of steps done and of all.
///
/// # Errors
/// As for [`frechet`].
pub fn frechet_with_progress(
    real: &Features,
    generated: &Features,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<f64> {
    check_columns(real, generated)?;
    let mut done = |steps| progress(steps, STEPS);
    let real = Moments::of("real", real)?;
    done(1);
    let generated = Moments::of("generated", generated)?;
    done(2);
    distance_in_steps(&real, &generated, &mut |steps| done(2 + steps))
}

/// Returns the symmetric root of a positive semidefinite matrix: U √λ Uᵀ.
fn square_root(matrix: &[f64], d: usize) -> Result<Vec<f64>> {
    let eigen = faer_matrix(matrix, d).self_adjoint_eigen(Side::Lower).map_err(|_| Error::Eigenvalues)?;
    let (vectors, values) = (eigen.U(), eigen.S().column_vector());
    let scaled = |power: f64| -> Vec<f64> {
        let at = |i: usize| vectors[(i / d, i % d)] * libm::pow(values[i % d].max(0.0), power);
        (0..d * d).map(at).collect()
    };
    // (U λ^¼)(U λ^¼)ᵀ.
    let fourth = tensor(&scaled(0.25), d)?;
    let turned = fourth.t().map_err(waxwork_core::Error::from)?;
    flat(&kernels::matmul(&fourth, &turned)?)
}

fn eigenvalues(matrix: &[f64], d: usize) -> Result<Vec<f64>> {
    faer_matrix(matrix, d).self_adjoint_eigenvalues(Side::Lower).map_err(|_| Error::Eigenvalues)
}

/// Returns the symmetric part of a matrix, because rounding may have made it asymmetric.
fn faer_matrix(matrix: &[f64], d: usize) -> Mat<f64> {
    Mat::from_fn(d, d, |i, j| f64::midpoint(matrix[i * d + j], matrix[j * d + i]))
}

fn product(a: &[f64], b: &[f64], d: usize) -> Result<Vec<f64>> {
    flat(&kernels::matmul(&tensor(a, d)?, &tensor(b, d)?)?)
}

fn tensor(matrix: &[f64], d: usize) -> Result<Tensor> {
    Ok(Tensor::from_slice(matrix, (d, d), &Device::Cpu).map_err(waxwork_core::Error::from)?)
}

fn flat(matrix: &Tensor) -> Result<Vec<f64>> {
    let flat = matrix.flatten_all().and_then(|flat| flat.to_vec1::<f64>());
    Ok(flat.map_err(waxwork_core::Error::from)?)
}
