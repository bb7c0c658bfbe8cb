//! The kernel distance: unbiased squared maximum mean discrepancy under a cubic polynomial kernel (KID,
//! Bińkowski et al. 2018, who use Inception features).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use waxwork_core::rng::Stream;

use crate::features::check_columns;
use crate::{Error, Features, Result};

/// The kernel distance over random subsets of both sets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelDistance {
    /// Mean over the subsets. It is unbiased, so it may be slightly negative.
    pub mean: f64,
    /// Standard deviation over the subsets.
    pub standard_deviation: f64,
}

/// Returns the distance over `subsets` draws of `size` images of either set, without replacement. If a set
/// has fewer images, all draws have the smaller size.
///
/// # Errors
/// If the widths differ, there are fewer than two images of either kind, or there are no subsets.
pub fn kernel_distance(
    real: &Features,
    generated: &Features,
    subsets: usize,
    size: usize,
    seed: u64,
) -> Result<KernelDistance> {
    kernel_distance_with_progress(real, generated, subsets, size, seed, &mut |_, _| ())
}

/// As [`kernel_distance`]; calls `progress` after every subset with the number of subsets done and of all.
///
/// # Errors
/// As for [`kernel_distance`].
pub fn kernel_distance_with_progress(
    real: &Features,
    generated: &Features,
    subsets: usize,
    size: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<KernelDistance> {
    check_columns(real, generated)?;
    let size = size.min(real.rows()).min(generated.rows());
    if size < 2 || subsets == 0 {
        let whose = if real.rows() < generated.rows() { "real" } else { "generated" };
        return Err(Error::TooFew { whose, needed: 2, found: size.min(subsets) });
    }
    let draw = |features: &Features, name: &str, subset: u64| {
        features.select(&Stream::new(seed, name, subset).permutation(features.rows())[..size])
    };
    let distances: Vec<f64> = (0..subsets as u64)
        .map(|subset| {
            let real = draw(real, "evaluation/kernel-distance/real", subset)?;
            let generated = draw(generated, "evaluation/kernel-distance/generated", subset)?;
            let distance = squared_mmd(&real, &generated);
            progress(subset as usize + 1, subsets);
            distance
        })
        .collect::<Result<_>>()?;
    let mean = distances.iter().sum::<f64>() / subsets as f64;
    let squares: f64 = distances.iter().map(|distance| (distance - mean).powi(2)).sum();
    Ok(KernelDistance { mean, standard_deviation: (squares / subsets as f64).sqrt() })
}

/// Returns the unbiased estimate for two sets of equal size n: the means of k over the pairs of different
/// images in each set, minus twice the mean over all pairs between the sets.
///
/// # Errors
/// If the widths of the features differ.
pub fn squared_mmd(real: &Features, generated: &Features) -> Result<f64> {
    check_columns(real, generated)?;
    let within = |features: &Features| -> Result<f64> {
        let n = features.rows();
        let sums = kernel_sums(features, features, |i, j| i != j)?;
        Ok(sums / (n * n.saturating_sub(1)).max(1) as f64)
    };
    let between = kernel_sums(real, generated, |_, _| true)? / (real.rows() * generated.rows()) as f64;
    Ok(within(real)? + within(generated)? - 2.0 * between)
}

/// Returns Σ k(xᵢ, yⱼ) = (xᵢ·yⱼ / D + 1)³ over the pairs (i, j) that `counts` accepts, in a fixed order.
fn kernel_sums(x: &Features, y: &Features, counts: impl Fn(usize, usize) -> bool + Sync) -> Result<f64> {
    let scale = 1.0 / x.columns() as f64;
    let products = x.products(y)?;
    let sums: Vec<f64> = products
        .par_chunks_exact(y.rows())
        .enumerate()
        .map(|(i, row)| {
            let kernel = |(j, product): (usize, &f64)| {
                if counts(i, j) { product.mul_add(scale, 1.0).powi(3) } else { 0.0 }
            };
            row.iter().enumerate().map(kernel).sum()
        })
        .collect();
    Ok(sums.iter().sum())
}
