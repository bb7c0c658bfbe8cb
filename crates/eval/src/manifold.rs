//! Mutual coverage of two sets of features: improved precision and recall (Kynkäänniemi et al. 2019), density
//! and coverage (Naeem et al. 2020). The manifold of a set is the union of balls around its images. Each ball
//! reaches to the image's k-th nearest neighbour in the set.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::features::check_columns;
use crate::{Error, Features, Result};

/// Rows per block of distances, so that not all pairs are in memory at once.
const BLOCK: usize = 512;

/// Mutual coverage of two sets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cover {
    /// Share of generated images in the real manifold: do they look real?
    pub precision: f64,
    /// Share of real images in the generated manifold: does the model make every kind?
    pub recall: f64,
    /// Mean number of real balls that contain a generated image, divided by k; 1 if both sets have the same
    /// distribution.
    pub density: f64,
    /// Share of real images whose ball contains a generated image.
    pub coverage: f64,
}

/// Measures with the `k` nearest neighbours. The papers use 3 for precision and recall, 5 for density and
/// coverage.
///
/// # Errors
/// If the widths differ, a set has at most `k` images, or `k` is 0.
pub fn cover(real: &Features, generated: &Features, k: usize) -> Result<Cover> {
    cover_with_progress(real, generated, k, &mut |_, _| ())
}

/// As [`cover`]; calls `progress` after every block of rows with the number of blocks done and of all.
///
/// # Errors
/// As for [`cover`].
pub fn cover_with_progress(
    real: &Features,
    generated: &Features,
    k: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Cover> {
    check_columns(real, generated)?;
    // Distances within each set, and from the real images to the generated ones.
    let all = 2 * real.rows().div_ceil(BLOCK) + generated.rows().div_ceil(BLOCK);
    let mut done = 0;
    let mut block = || {
        done += 1;
        progress(done, all);
    };
    let real_radii = radii("real", real, k, &mut block)?;
    let generated_radii = radii("generated", generated, k, &mut block)?;

    // For each real image: is it in a generated ball, and is a generated image in its ball? For each
    // generated image: the number of real balls around it.
    let (mut recalled, mut covered) = (0usize, 0usize);
    let mut within = vec![0u32; generated.rows()];
    for_each_block(real, generated, |first, distances| {
        let rows: Vec<(bool, bool, Vec<u32>)> = distances
            .par_chunks_exact(generated.rows())
            .enumerate()
            .map(|(row, distances)| {
                let radius = real_radii[first + row];
                let recalled = distances.iter().zip(&generated_radii).any(|(d, radius)| d < radius);
                let near = |(j, d): (usize, &f64)| (*d < radius).then_some(j as u32);
                let near: Vec<u32> = distances.iter().enumerate().filter_map(near).collect();
                (recalled, !near.is_empty(), near)
            })
            .collect();
        for (is_recalled, is_covered, near) in rows {
            recalled += usize::from(is_recalled);
            covered += usize::from(is_covered);
            near.iter().for_each(|&j| within[j as usize] += 1);
        }
        block();
    })?;
    let (n, m) = (real.rows() as f64, generated.rows() as f64);
    let balls: f64 = within.iter().map(|&count| f64::from(count)).sum();
    Ok(Cover {
        precision: within.iter().filter(|&&count| count > 0).count() as f64 / m,
        recall: recalled as f64 / n,
        density: balls / (k as f64 * m),
        coverage: covered as f64 / n,
    })
}

/// Returns the squared distance of each image to its k-th nearest other image. Calls `block` after each
/// block.
fn radii(whose: &'static str, features: &Features, k: usize, block: &mut dyn FnMut()) -> Result<Vec<f64>> {
    if k == 0 || features.rows() <= k {
        return Err(Error::TooFew { whose, needed: k.max(1) + 1, found: features.rows() });
    }
    let mut radii = Vec::with_capacity(features.rows());
    for_each_block(features, features, |first, distances| {
        let kth = |(row, distances): (usize, &[f64])| {
            let mut others = distances.to_vec();
            others.swap_remove(first + row);
            *others.select_nth_unstable_by(k - 1, f64::total_cmp).1
        };
        radii.par_extend(distances.par_chunks_exact(features.rows()).enumerate().map(kth));
        block();
    })?;
    Ok(radii)
}

/// Computes squared distances of every row of `x` to every row of `y`, in blocks of rows of `x`. Calls `f`
/// with the index of each block's first row.
fn for_each_block(x: &Features, y: &Features, mut f: impl FnMut(usize, &[f64])) -> Result<()> {
    let (x_squares, y_squares) = (x.squares()?, y.squares()?);
    for first in (0..x.rows()).step_by(BLOCK) {
        let mut distances = x.part(first, BLOCK.min(x.rows() - first))?.products(y)?;
        distances.par_chunks_exact_mut(y.rows()).zip(&x_squares[first..]).for_each(|(row, x_square)| {
            for (distance, y_square) in row.iter_mut().zip(&y_squares) {
                *distance = (x_square + y_square - 2.0 * *distance).max(0.0);
            }
        });
        f(first, &distances);
    }
    Ok(())
}
