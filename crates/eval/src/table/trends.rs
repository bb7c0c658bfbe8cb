//! The joint distribution of pairs of columns: SDMetrics' Column Pair Trends, and a variant with shared bins.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::table::Frame;
use crate::table::frame::{Column, NULL};

/// Bins of a column of numbers.
pub const BINS: usize = 10;
/// The code of a null.
const NULL_CODE: u32 = u32::MAX;

/// The strength of the real relation above which a pair counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Threshold on |ρ| of two columns of numbers.
    pub correlation: f64,
    /// Threshold on Cramér's V of any other pair.
    pub association: f64,
}

impl Thresholds {
    /// The defaults of SDMetrics 0.32's `QualityReport`.
    pub const SDMETRICS: Self = Self { correlation: 0.5, association: 0.3 };
}

/// The score of one pair of columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairTrend {
    /// Name of the first column.
    pub first: String,
    /// Name of the second column.
    pub second: String,
    /// `CorrelationSimilarity` or `ContingencySimilarity`.
    pub metric: String,
    /// Score in [0, 1], 1 for equal trends; None if undefined, as for constant columns.
    pub score: Option<f64>,
    /// The strength of the relation in the real table: ρ in [−1, 1], or Cramér's V in [0, 1].
    pub real: Option<f64>,
    /// The same in the synthetic table.
    pub synthetic: Option<f64>,
    /// Whether the real relation exceeds the threshold, so that the pair counts in SDMetrics' mean.
    pub counts: bool,
}

/// Scores pairs as SDMetrics does, in the order of its report.
///
/// * Numbers and numbers: 1 − |ρ − ρ'|/2 with Pearson's ρ over the rows where both are known.
/// * Categories and categories: 1 − ½ Σ |f − g| over the joint frequencies; null counts as a value.
/// * Mixed: the same after numbers are cut into 10 equal bins between *that table's own* smallest and
///   largest number (`numpy.histogram_bin_edges`); a null shares its bin with the largest number, as in
///   `numpy.digitize`.
///
/// SDMetrics subsamples tables above 50,000 rows at random; this function does not.
pub fn pair_trends(real: &Frame, synthetic: &Frame, thresholds: Thresholds) -> Vec<PairTrend> {
    let digitised = |frame: &Frame| -> Vec<Vec<u32>> { frame.columns.iter().map(own_bins).collect() };
    let (real_codes, synthetic_codes) = (digitised(real), digitised(synthetic));
    pairs(real.columns.len())
        .into_par_iter()
        .map(|(a, b)| {
            let trend =
                |metric: &str, score, strengths: (Option<f64>, Option<f64>), threshold: f64| PairTrend {
                    first: real.names[a].clone(),
                    second: real.names[b].clone(),
                    metric: metric.into(),
                    score,
                    real: strengths.0,
                    synthetic: strengths.1,
                    counts: score.is_some() && strengths.0.is_some_and(|strength| strength.abs() > threshold),
                };
            let numbers = |frame: &Frame| correlation(&frame.columns[a], &frame.columns[b]);
            if let (Some(ours), Some(theirs)) = (numbers(real), numbers(synthetic)) {
                let score = match (ours, theirs) {
                    (Some(ours), Some(theirs)) => Some(1.0 - (ours - theirs).abs() / 2.0),
                    _ => None,
                };
                return trend("CorrelationSimilarity", score, (ours, theirs), thresholds.correlation);
            }
            let ours = Joint::new(&real_codes[a], &real_codes[b]);
            let theirs = Joint::new(&synthetic_codes[a], &synthetic_codes[b]);
            let association = ours.cramers_v();
            // SDMetrics gives no score if the real association is undefined.
            let score = association.and_then(|_| ours.similarity(&theirs));
            let strengths = (association, theirs.cramers_v());
            trend("ContingencySimilarity", score, strengths, thresholds.association)
        })
        .collect()
}

/// The score of one pair with shared bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedTrend {
    /// Name of the first column.
    pub first: String,
    /// Name of the second column.
    pub second: String,
    /// 1 − total variation of the joint frequencies, in [0, 1].
    pub score: f64,
}

/// Scores all pairs by 1 − ½ Σ |f − g| over joint frequencies. Numbers of *both* tables are cut at the
/// deciles of the real column, so that a shifted column lowers the score. Equal deciles merge, and nulls have
/// a bin of their own. Pairs of numbers are compared in the same way, not only by their correlation.
///
/// Two samples of one distribution score below 1, and lower the fewer rows there are: compare with the floor.
pub fn shared_trends(real: &Frame, synthetic: &Frame) -> Vec<SharedTrend> {
    let cuts: Vec<Vec<f64>> = real.columns.iter().map(decile_cuts).collect();
    let digitised = |frame: &Frame| -> Vec<Vec<u32>> {
        frame.columns.iter().zip(&cuts).map(|(column, cuts)| shared_bins(column, cuts)).collect()
    };
    let (real_codes, synthetic_codes) = (digitised(real), digitised(synthetic));
    pairs(real.columns.len())
        .into_par_iter()
        .filter_map(|(a, b)| {
            let ours = Joint::new(&real_codes[a], &real_codes[b]);
            let theirs = Joint::new(&synthetic_codes[a], &synthetic_codes[b]);
            let score = ours.similarity(&theirs)?;
            Some(SharedTrend { first: real.names[a].clone(), second: real.names[b].clone(), score })
        })
        .collect()
}

fn pairs(columns: usize) -> Vec<(usize, usize)> {
    (0..columns).flat_map(|a| (a + 1..columns).map(move |b| (a, b))).collect()
}

/// Returns Pearson's ρ over the rows where both numbers are known. The outer None means that the columns are
/// not both numbers; the inner None means that a column is constant.
#[expect(clippy::option_option, reason = "two different reasons for no number, as the doc says")]
fn correlation(a: &Column, b: &Column) -> Option<Option<f64>> {
    let (Column::Number(a), Column::Number(b)) = (a, b) else { return None };
    Some(pearson(a, b))
}

/// Returns Pearson's correlation in [−1, 1] over the rows where neither is NaN; None if a column is constant
/// there.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let constant = |values: &[f64]| {
        let mut known = values.iter().filter(|value| !value.is_nan());
        known.next().is_none_or(|first| known.all(|value| value == first))
    };
    let known: Vec<(f64, f64)> =
        a.iter().copied().zip(b.iter().copied()).filter(|(x, y)| !x.is_nan() && !y.is_nan()).collect();
    let (x, y): (Vec<f64>, Vec<f64>) = known.into_iter().unzip();
    // Check the whole columns too, as SDMetrics does.
    if [a, b, &x, &y].into_iter().any(constant) {
        return None;
    }
    let n = x.len() as f64;
    let centred = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / n;
        values.iter().map(|value| value - mean).collect()
    };
    let (x, y) = (centred(&x), centred(&y));
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let rho = x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>() / (norm(&x) * norm(&y));
    rho.is_finite().then(|| rho.clamp(-1.0, 1.0))
}

/// Returns the codes of a column as in SDMetrics:
/// `numpy.digitize(x, numpy.histogram_bin_edges(x.dropna(), 10))`.
fn own_bins(column: &Column) -> Vec<u32> {
    let values = match column {
        Column::Category { codes, .. } => return codes.clone(),
        Column::Number(values) => values,
    };
    let (least, most) = match column.range() {
        None => (0.0, 1.0),
        Some((least, most)) if least == most => (least - 0.5, most + 0.5),
        Some(range) => range,
    };
    let step = (most - least) / BINS as f64;
    let mut edges: Vec<f64> = (0..=BINS).map(|i| i as f64 * step + least).collect();
    edges[BINS] = most;
    let bin = |value: &f64| {
        if value.is_nan() { edges.len() as u32 } else { edges.partition_point(|edge| edge <= value) as u32 }
    };
    values.iter().map(bin).collect()
}

/// Returns the cuts of a column of numbers at its deciles, strictly ascending; empty for categories.
pub(crate) fn decile_cuts(column: &Column) -> Vec<f64> {
    let Column::Number(values) = column else { return Vec::new() };
    let mut known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if known.is_empty() {
        return Vec::new();
    }
    known.sort_unstable_by(f64::total_cmp);
    let mut cuts: Vec<f64> = (1..BINS).map(|i| known[(known.len() - 1) * i / BINS]).collect();
    cuts.dedup();
    cuts
}

/// Returns the bin of each row: the number of cuts below its value. Categories keep their codes.
pub(crate) fn shared_bins(column: &Column, cuts: &[f64]) -> Vec<u32> {
    match column {
        Column::Category { codes, .. } => codes.clone(),
        Column::Number(values) => {
            let bin = |value: &f64| {
                if value.is_nan() { NULL } else { cuts.partition_point(|cut| cut < value) as u32 }
            };
            values.iter().map(bin).collect()
        }
    }
}

/// The joint frequencies of two columns of codes.
struct Joint {
    /// (first, second, count), sorted, without zeros.
    cells: Vec<(u32, u32, usize)>,
    rows: usize,
}

impl Joint {
    fn new(first: &[u32], second: &[u32]) -> Self {
        let width = |codes: &[u32]| {
            codes.iter().filter(|&&code| code != NULL_CODE).max().map_or(1, |&code| code as usize + 2)
        };
        let (high, wide) = (width(first), width(second));
        let cells = match high.checked_mul(wide) {
            Some(size) if size <= (1 << 16) + 4 * first.len() => Self::dense(first, second, (high, wide)),
            _ => Self::sorted(first, second),
        };
        Self { cells, rows: first.len() }
    }

    /// Counts in a dense table, with null in the last row and column.
    fn dense(first: &[u32], second: &[u32], (high, wide): (usize, usize)) -> Vec<(u32, u32, usize)> {
        let mut table = vec![0usize; high * wide];
        let place = |code: u32, last: usize| (code as usize).min(last - 1);
        for (&a, &b) in first.iter().zip(second) {
            table[place(a, high) * wide + place(b, wide)] += 1;
        }
        let code = |place: usize, last: usize| if place + 1 == last { NULL_CODE } else { place as u32 };
        let cell = |(index, &count): (usize, &usize)| {
            (count > 0).then(|| (code(index / wide, high), code(index % wide, wide), count))
        };
        table.iter().enumerate().filter_map(cell).collect()
    }

    fn sorted(first: &[u32], second: &[u32]) -> Vec<(u32, u32, usize)> {
        let mut keys: Vec<(u32, u32)> = first.iter().copied().zip(second.iter().copied()).collect();
        keys.sort_unstable();
        keys.chunk_by(|a, b| a == b).map(|run| (run[0].0, run[0].1, run.len())).collect()
    }

    /// Returns 1 − total variation distance; None if one side has no rows.
    fn similarity(&self, other: &Self) -> Option<f64> {
        if self.rows == 0 || other.rows == 0 {
            return None;
        }
        let (n, m) = (self.rows as f64, other.rows as f64);
        let (mut i, mut j, mut sum) = (0, 0, 0.0);
        let key = |cells: &[(u32, u32, usize)], at: usize| cells.get(at).map(|&(a, b, _)| (a, b));
        loop {
            let (ours, theirs) = (key(&self.cells, i), key(&other.cells, j));
            let next = match (ours, theirs) {
                (Some(a), Some(b)) => a.min(b),
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => break,
            };
            let mut share = [0.0; 2];
            if ours == Some(next) {
                share[0] = self.cells[i].2 as f64 / n;
                i += 1;
            }
            if theirs == Some(next) {
                share[1] = other.cells[j].2 as f64 / m;
                j += 1;
            }
            sum += (share[0] - share[1]).abs() / 2.0;
        }
        Some(1.0 - sum)
    }

    /// Returns √(χ²/n / min(rows − 1, columns − 1)) with χ²/n = Σ O²/(R·C) − 1 (Cramér 1946); None with a
    /// single row or column.
    fn cramers_v(&self) -> Option<f64> {
        let mut of_first: Vec<(u32, usize)> = Vec::new();
        let mut of_second: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
        for &(a, b, count) in &self.cells {
            match of_first.last_mut() {
                Some((last, sum)) if *last == a => *sum += count,
                _ => of_first.push((a, count)),
            }
            *of_second.entry(b).or_insert(0) += count;
        }
        let least = of_first.len().min(of_second.len());
        if least < 2 {
            return None;
        }
        let first: std::collections::BTreeMap<u32, usize> = of_first.into_iter().collect();
        let term = |&(a, b, count): &(u32, u32, usize)| {
            let count = count as f64;
            count * count / (first[&a] as f64 * of_second[&b] as f64)
        };
        let phi = (self.cells.iter().map(term).sum::<f64>() - 1.0).max(0.0);
        Some((phi / (least - 1) as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sorted_tables_are_the_same() {
        let first: Vec<u32> = (0..500u32).map(|i| if i % 11 == 0 { NULL } else { i * 7 % 13 }).collect();
        let second: Vec<u32> = (0..500u32).map(|i| if i % 17 == 0 { NULL } else { i * 5 % 9 }).collect();
        assert_eq!(Joint::dense(&first, &second, (14, 10)), Joint::sorted(&first, &second));
    }

    #[test]
    fn cramers_v_is_one_for_a_function_and_zero_for_independence() {
        let a: Vec<u32> = (0..60).map(|i| i % 3).collect();
        let b: Vec<u32> = (0..60).map(|i| i / 3 % 4).collect();
        assert!(Joint::new(&a, &b).cramers_v().unwrap() < 1e-7);
        assert!((Joint::new(&a, &a).cramers_v().unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(Joint::new(&a, &vec![0; 60]).cramers_v(), None);
    }

    #[test]
    fn a_shift_costs_nothing_in_own_bins_and_everything_in_shared_ones() {
        let x: Vec<f64> = (0..400).map(|i| f64::from(i % 40)).collect();
        let shifted: Vec<f64> = x.iter().map(|v| v + 1000.0).collect();
        let codes: Vec<u32> = x.iter().map(|&v| u32::from(v > 20.0)).collect();
        let own = |x: &[f64]| Joint::new(&own_bins(&Column::Number(x.to_vec())), &codes);
        assert!((own(&x).similarity(&own(&shifted)).unwrap() - 1.0).abs() < 1e-12);
        let cuts = decile_cuts(&Column::Number(x.clone()));
        let shared = |x: &[f64]| Joint::new(&shared_bins(&Column::Number(x.to_vec()), &cuts), &codes);
        assert!(shared(&x).similarity(&shared(&shifted)).unwrap() < 0.15);
    }

    #[test]
    fn pearson_of_lines_and_constants() {
        let x: Vec<f64> = (0..50).map(f64::from).collect();
        let down: Vec<f64> = x.iter().map(|v| 3.0 - 2.0 * v).collect();
        assert!((pearson(&x, &down).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&x, &[1.0; 50]), None);
        assert_eq!(pearson(&[f64::NAN; 3], &[1.0, 2.0, 3.0]), None);
    }
}
