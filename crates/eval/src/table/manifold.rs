//! α-precision, β-recall and authenticity (Alaa, van Breugel, Saveliev & van der Schaar, ICML 2022), from
//! distances in the table itself: the variant that synthcity calls naive.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::table::features::quantile;
use crate::table::neighbours::{Distance, PointColumn, Points, Ranges, nearest_two};
use crate::table::{Frame, Result};

/// Quantiles α and β: 0, 1/29, …, 1.
pub const LEVELS: usize = 30;

/// The three numbers and their curves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifold {
    /// 1 − Σ|α − P(α)|/Σα. P(α) is the share of generated rows within the ball around the real mean that
    /// contains a share α of the real rows. 1 is best; the value may be negative.
    pub alpha_precision: f64,
    /// The same for R(β): the share of real rows with a generated row within the distance of their nearest
    /// other real row, where the generated row is within the ball around the generated mean that contains a
    /// share β of such rows.
    pub beta_recall: f64,
    /// Share of generated rows that are farther from their nearest real row than that row is from its own
    /// nearest real row.
    pub authenticity: f64,
    /// Authenticity as synthcity 0.2.12 computes it, which looks up real rows by the indices of generated
    /// ones. Only for comparison with its values; None for tables of different lengths.
    pub authenticity_synthcity: Option<f64>,
    /// P(α), (30,).
    pub precision_curve: Vec<f64>,
    /// R(β), (30,).
    pub recall_curve: Vec<f64>,
    /// Number of real rows.
    pub real_rows: usize,
    /// Number of generated rows.
    pub synthetic_rows: usize,
}

/// Compares two tables as point clouds. Numbers are scaled to [0, 1] by the real range. A null number becomes
/// the real mean and sets an indicator column. Categories are one-hot, at distance 1 from each other.
///
/// # Errors
/// [`Error::TooFewRows`](crate::table::Error::TooFewRows) below two real rows or one generated row.
pub fn manifold(real: &Frame, synthetic: &Frame) -> Result<Manifold> {
    real.need("real", 2)?;
    synthetic.need("synthetic", 1)?;
    let ranges = Ranges::of(real);
    let (real, synthetic) = without_nulls(Points::new(real, &ranges), Points::new(synthetic, &ranges));
    let levels: Vec<f64> = (0..LEVELS).map(|i| i as f64 / (LEVELS - 1) as f64).collect();

    let centre = Centre::of(&real);
    let mut radii = centre.distances(&real);
    radii.sort_unstable_by(f64::total_cmp);
    let from_centre = centre.distances(&synthetic);
    let share_within = |radius: f64| {
        from_centre.iter().filter(|&&distance| distance <= radius).count() as f64 / synthetic.rows as f64
    };
    let precision_curve: Vec<f64> =
        levels.iter().map(|&alpha| share_within(quantile(&radii, alpha))).collect();

    let among_real = nearest_two(&real, &real, Distance::Euclidean, true);
    let to_synthetic = nearest_two(&real, &synthetic, Distance::Euclidean, false);
    let to_real = nearest_two(&synthetic, &real, Distance::Euclidean, false);
    let own = Centre::of(&synthetic).distances(&synthetic);
    let depths: Vec<f64> = to_synthetic.iter().map(|two| own[two.row as usize]).collect();
    let mut sorted = depths.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let recall = |beta: &f64| {
        let radius = quantile(&sorted, *beta);
        let covered =
            |row: &usize| to_synthetic[*row].nearest <= among_real[*row].nearest && depths[*row] <= radius;
        (0..real.rows).filter(covered).count() as f64 / real.rows as f64
    };
    let recall_curve: Vec<f64> = levels.iter().map(recall).collect();

    let agreement = |curve: &[f64]| {
        let off: f64 = levels.iter().zip(curve).map(|(level, share)| (level - share).abs()).sum();
        1.0 - off / levels.iter().sum::<f64>()
    };
    let new = to_real.iter().filter(|two| two.nearest > among_real[two.row as usize].nearest).count();
    let upstream = (real.rows == synthetic.rows).then(|| {
        let new = to_synthetic.iter().filter(|two| among_real[two.row as usize].nearest < two.nearest);
        new.count() as f64 / real.rows as f64
    });
    Ok(Manifold {
        alpha_precision: agreement(&precision_curve),
        beta_recall: agreement(&recall_curve),
        authenticity: new as f64 / synthetic.rows as f64,
        authenticity_synthcity: upstream,
        precision_curve,
        recall_curve,
        real_rows: real.rows,
        synthetic_rows: synthetic.rows,
    })
}

/// Replaces null numbers by the real mean, and adds a column that is 1 for them.
fn without_nulls(mut real: Points, mut synthetic: Points) -> (Points, Points) {
    for index in 0..real.columns.len() {
        if !real.columns[index].number {
            continue;
        }
        let null = |points: &Points| points.columns[index].values.iter().any(|value| value.is_nan());
        if !null(&real) && !null(&synthetic) {
            continue;
        }
        let known = real.columns[index].values.iter().copied().filter(|value| !value.is_nan());
        let mean = crate::table::quality::mean(known).unwrap_or(0.0);
        for points in [&mut real, &mut synthetic] {
            let column = &mut points.columns[index].values;
            let flags = column.iter().map(|value| f64::from(u8::from(value.is_nan()))).collect();
            column.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = mean);
            points.columns.push(PointColumn { values: flags, number: true });
        }
    }
    (real, synthetic)
}

/// The mean of a point cloud: means of numbers, frequencies of categories.
struct Centre(Vec<Middle>);

enum Middle {
    Number(f64),
    /// Shares, keyed by the bits of the code, and the sum of their squares.
    Category(HashMap<u64, f64>, f64),
}

impl Centre {
    fn of(points: &Points) -> Self {
        let rows = points.rows as f64;
        let middle = |column: &PointColumn| {
            if column.number {
                return Middle::Number(column.values.iter().sum::<f64>() / rows);
            }
            let mut counts: HashMap<u64, usize> = HashMap::new();
            column.values.iter().for_each(|code| *counts.entry(code.to_bits()).or_default() += 1);
            let squares: usize = counts.values().map(|count| count * count).sum();
            let shares = counts.into_iter().map(|(code, count)| (code, count as f64 / rows)).collect();
            Middle::Category(shares, squares as f64 / (rows * rows))
        };
        Self(points.columns.iter().map(middle).collect())
    }

    /// Returns √(Σ (x − c)²), where one-hot categories are divided by √2.
    fn distances(&self, points: &Points) -> Vec<f64> {
        let mut sums = vec![0.0; points.rows];
        for (column, middle) in points.columns.iter().zip(&self.0) {
            for (sum, value) in sums.iter_mut().zip(&column.values) {
                *sum += match middle {
                    Middle::Number(mean) => (value - mean) * (value - mean),
                    Middle::Category(shares, squares) => {
                        let share = shares.get(&value.to_bits()).copied().unwrap_or(0.0);
                        0.5 * (1.0 - 2.0 * share + squares)
                    }
                };
            }
        }
        sums.iter_mut().for_each(|sum| *sum = sum.sqrt());
        sums
    }
}
