//! The distribution of single columns: SDMetrics' Column Shapes.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::table::Frame;
use crate::table::frame::{Column, NULL};

/// The count that SDMetrics gives to values that only the synthetic column has, on the real side.
const REGULARISATION: f64 = 1e-6;

/// The score of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnShape {
    /// Name of the column.
    pub column: String,
    /// `KSComplement` of numbers, `TVComplement` of categories.
    pub metric: String,
    /// Score in [0, 1], 1 for equal distributions; None if one side is all null.
    pub score: Option<f64>,
}

/// Returns [`ks_complement`] of every column of numbers and [`tv_complement`] of every column of categories.
/// Nulls are dropped.
pub fn column_shapes(real: &Frame, synthetic: &Frame) -> Vec<ColumnShape> {
    let columns = real.columns.iter().zip(&synthetic.columns);
    let score = |(name, pair): (&String, (&Column, &Column))| {
        let (metric, score) = match pair {
            (Column::Number(real), Column::Number(synthetic)) => {
                ("KSComplement", ks_complement(real, synthetic))
            }
            (Column::Category { codes: real, .. }, Column::Category { codes: synthetic, .. }) => {
                ("TVComplement", tv_complement(real, synthetic))
            }
            _ => ("none", None),
        };
        ColumnShape { column: name.clone(), metric: metric.into(), score }
    };
    real.names.iter().zip(columns).map(score).collect()
}

/// Returns 1 − sup |F − G| of the two empirical distribution functions, in [0, 1]: the complement of the
/// two-sample Kolmogorov–Smirnov statistic. As in SDMetrics, values are first rounded to 14 decimals and NaNs
/// dropped. None if one side has no number.
pub fn ks_complement(real: &[f64], synthetic: &[f64]) -> Option<f64> {
    let (real, synthetic) = (rounded(real), rounded(synthetic));
    if real.is_empty() || synthetic.is_empty() {
        return None;
    }
    let (n, m) = (real.len() as f64, synthetic.len() as f64);
    let (mut i, mut j, mut most) = (0, 0, 0f64);
    while i < real.len() && j < synthetic.len() {
        let value = real[i].min(synthetic[j]);
        i += real[i..].iter().take_while(|&&x| x <= value).count();
        j += synthetic[j..].iter().take_while(|&&x| x <= value).count();
        most = most.max((i as f64 / n - j as f64 / m).abs());
    }
    Some(1.0 - most)
}

/// Returns `numpy.round(values, 14)` without NaNs, sorted.
fn rounded(values: &[f64]) -> Vec<f64> {
    const SCALE: f64 = 1e14;
    let round = |value: f64| {
        let scaled = value * SCALE;
        if scaled.is_finite() { scaled.round_ties_even() / SCALE } else { value }
    };
    let mut values: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).map(round).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Returns 1 − ½ Σ |f − g| of the two frequency tables, in [0, 1]: the complement of the total variation
/// distance. As in SDMetrics, nulls are dropped, and every value that only the synthetic side has counts 10⁻⁶
/// on the real side. None if one side is all null.
pub fn tv_complement(real: &[u32], synthetic: &[u32]) -> Option<f64> {
    let (real, synthetic) = (counts(real), counts(synthetic));
    let mut values: Vec<u32> = real.keys().chain(synthetic.keys()).copied().collect();
    values.sort_unstable();
    values.dedup();
    let count =
        |counts: &HashMap<u32, usize>, value: &u32| counts.get(value).map_or(0.0, |&count| count as f64);
    let n: f64 = values.iter().map(|value| count(&real, value)).sum();
    let m: f64 = values.iter().map(|value| count(&synthetic, value)).sum();
    if n == 0.0 || m == 0.0 {
        return None;
    }
    let unseen = values.iter().filter(|value| !real.contains_key(value)).count() as f64;
    let n = n + unseen * REGULARISATION;
    let difference = |value: &u32| {
        let ours = if real.contains_key(value) { count(&real, value) } else { REGULARISATION };
        (count(&synthetic, value) / m - ours / n).abs()
    };
    Some(1.0 - 0.5 * values.iter().map(difference).sum::<f64>())
}

fn counts(codes: &[u32]) -> HashMap<u32, usize> {
    let mut counts = HashMap::new();
    codes.iter().filter(|&&code| code != NULL).for_each(|&code| *counts.entry(code).or_insert(0) += 1);
    counts
}

/// Returns the plain total variation distance ½ Σ |f − g| of two columns of codes, in [0, 1]. Null counts as
/// a value. None if one side is empty.
pub fn total_variation(real: &[u32], synthetic: &[u32]) -> Option<f64> {
    if real.is_empty() || synthetic.is_empty() {
        return None;
    }
    let mut shares: HashMap<u32, (usize, usize)> = HashMap::new();
    real.iter().for_each(|&code| shares.entry(code).or_default().0 += 1);
    synthetic.iter().for_each(|&code| shares.entry(code).or_default().1 += 1);
    let mut shares: Vec<(u32, (usize, usize))> = shares.into_iter().collect();
    shares.sort_unstable();
    let (n, m) = (real.len() as f64, synthetic.len() as f64);
    let difference = |&(_, (a, b)): &(u32, (usize, usize))| (a as f64 / n - b as f64 / m).abs();
    Some(0.5 * shares.iter().map(difference).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ks_of_shifted_and_equal_samples() {
        let a: Vec<f64> = (0..10).map(f64::from).collect();
        let b: Vec<f64> = (5..15).map(f64::from).collect();
        assert_eq!(ks_complement(&a, &a), Some(1.0));
        assert_eq!(ks_complement(&a, &b), Some(0.5));
        assert_eq!(ks_complement(&a, &[100.0, f64::NAN]), Some(0.0));
        assert_eq!(ks_complement(&a, &[f64::NAN]), None);
        assert_eq!(ks_complement(&[1.0 + 1e-15], &[1.0]), Some(1.0), "rounded to 14 decimals");
    }

    #[test]
    fn tv_counts_values_that_only_one_side_has() {
        assert_eq!(tv_complement(&[0, 0, 1, 1], &[0, 0, 1, 1]), Some(1.0));
        assert_eq!(tv_complement(&[0, 0, 1, 1], &[0, 0, 0, 1]), Some(0.75));
        let disjoint = tv_complement(&[0, 0], &[1, 1]).unwrap();
        assert!((disjoint - 5e-7).abs() < 1e-12, "the regularisation of one part in two million: {disjoint}");
        assert_eq!(total_variation(&[0, 0], &[1, 1]), Some(1.0));
        assert_eq!(total_variation(&[0, NULL], &[0, 0]), Some(0.5));
        assert_eq!(tv_complement(&[NULL], &[1]), None);
    }
}
