//! How near are generated rows to the training rows? Distance to closest record and the holdout test.
//!
//! No distance proves that rows are anonymous. A row may be far from all training rows and still identify a
//! person, and a model that memorised a few rows has good means. These measures find copies; they do not rule
//! out leaks.

use serde::{Deserialize, Serialize};

use crate::table::features::quantile;
use crate::table::neighbours::{Distance, Points, Ranges, Two, nearest_two};
use crate::table::{Frame, Result};
use waxwork_core::rng::Stream;

/// A row's nearest reference row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closest {
    /// Index of the reference row; the first of equally near ones.
    pub row: u32,
    /// Distance in [0, 1].
    pub distance: f64,
    /// Distance of the second nearest reference row, if there is one.
    pub second: Option<f64>,
}

impl Closest {
    /// Returns the ratio of the nearest to the second nearest distance, in [0, 1]; 1 if both are 0.
    pub fn ratio(&self) -> Option<f64> {
        self.second.map(|second| if second > 0.0 { self.distance / second } else { 1.0 })
    }
}

/// Returns SDMetrics' distance to the closest record: the mean over columns of min(|Δ|/range, 1) for numbers,
/// and of 0 or 1 for categories. A null is at distance 0 from a null and 1 from a value. Ranges are those of
/// `scale`; SDMetrics takes those of `reference`.
///
/// # Errors
/// [`Error::TooFewRows`](crate::table::Error::TooFewRows) if `reference` has no rows.
pub fn closest(queries: &Frame, reference: &Frame, scale: &Frame) -> Result<Vec<Closest>> {
    reference.need("reference", 1)?;
    let ranges = Ranges::of(scale);
    let (queries, reference) = (Points::new(queries, &ranges), Points::new(reference, &ranges));
    let closest = |two: Two| Closest {
        row: two.row,
        distance: two.nearest,
        second: two.second.is_finite().then_some(two.second),
    };
    Ok(nearest_two(&queries, &reference, Distance::MeanClipped, false).into_iter().map(closest).collect())
}

/// Distances of rows to their closest training row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosestSummary {
    /// Number of rows examined.
    pub rows: usize,
    /// Mean distance.
    pub mean: f64,
    /// Median distance.
    pub median: f64,
    /// 5th percentile of the distances.
    pub percentile_5: f64,
    /// Share of rows that equal a training row in every column.
    pub copies: f64,
    /// 5th percentile of the ratio of nearest to second nearest distance (NNDR); None with a single training
    /// row.
    pub ratio_percentile_5: Option<f64>,
    /// Median of that ratio.
    pub ratio_median: Option<f64>,
}

impl ClosestSummary {
    /// Summarises distances; None without rows.
    pub fn new(closest: &[Closest]) -> Option<Self> {
        let sorted = |values: &mut dyn Iterator<Item = f64>| {
            let mut values: Vec<f64> = values.collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let distances = sorted(&mut closest.iter().map(|closest| closest.distance));
        let ratios = sorted(&mut closest.iter().filter_map(Closest::ratio));
        let mean = crate::table::quality::mean(distances.iter().copied())?;
        let ratio = |q| (!ratios.is_empty()).then(|| quantile(&ratios, q));
        Some(Self {
            rows: closest.len(),
            mean,
            median: quantile(&distances, 0.5),
            percentile_5: quantile(&distances, 0.05),
            copies: distances.iter().filter(|&&distance| distance == 0.0).count() as f64
                / closest.len() as f64,
            ratio_percentile_5: ratio(0.05),
            ratio_median: ratio(0.5),
        })
    }
}

/// A generated row and its closest training row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearestPair {
    /// Index of the generated row.
    pub synthetic: u32,
    /// Index of the training row.
    pub training: u32,
    /// Their distance in [0, 1].
    pub distance: f64,
}

/// Returns the `count` nearest pairs, the nearest first, at most one for each generated row.
pub fn nearest_pairs(closest: &[Closest], count: usize) -> Vec<NearestPair> {
    let mut pairs: Vec<NearestPair> = (0..)
        .zip(closest)
        .map(|(synthetic, closest)| NearestPair {
            synthetic,
            training: closest.row,
            distance: closest.distance,
        })
        .collect();
    pairs.sort_by(|a, b| a.distance.total_cmp(&b.distance)); // stable: equal ones in the order of rows
    pairs.truncate(count);
    pairs
}

/// The holdout test: are generated rows nearer to training rows than to unseen rows?
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldoutTest {
    /// Share of generated rows nearer to a training row than to any holdout row, ties counting half. ½ is
    /// ideal.
    pub nearer_to_training: f64,
    /// Its binomial standard error, √(p(1 − p)/rows).
    pub standard_error: f64,
    /// Share of generated rows that are equally near to both.
    pub ties: f64,
    /// SDMetrics' `DCROverfittingProtection`: min(2·(1 − share strictly nearer to training), 1).
    pub overfitting_protection: f64,
    /// Number of generated rows examined.
    pub rows: usize,
    /// Number of rows in the training sample, and in the holdout sample.
    pub reference_rows: usize,
}

/// Compares the distances to equal numbers of training and holdout rows, sampling from the larger table.
/// Numbers are scaled by the range of both tables together, so that neither is favoured; SDMetrics scales
/// each by its own.
///
/// # Errors
/// [`Error::TooFewRows`](crate::table::Error::TooFewRows) if any of the three tables is empty.
pub fn holdout_test(synthetic: &Frame, training: &Frame, holdout: &Frame, seed: u64) -> Result<HoldoutTest> {
    synthetic.need("synthetic", 1)?;
    training.need("training", 1)?;
    holdout.need("holdout", 1)?;
    let scale = training.followed_by(holdout);
    let rows = training.rows().min(holdout.rows());
    let ours = closest(synthetic, &sample(training, rows, seed, "table/holdout/training"), &scale)?;
    let others = closest(synthetic, &sample(holdout, rows, seed, "table/holdout/holdout"), &scale)?;
    let ordering = |(a, b): (&Closest, &Closest)| a.distance.total_cmp(&b.distance);
    let (mut nearer, mut ties) = (0usize, 0usize);
    for ordering in ours.iter().zip(&others).map(ordering) {
        nearer += usize::from(ordering.is_lt());
        ties += usize::from(ordering.is_eq());
    }
    let n = synthetic.rows() as f64;
    let share = (nearer as f64 + ties as f64 / 2.0) / n;
    Ok(HoldoutTest {
        nearer_to_training: share,
        standard_error: (share * (1.0 - share) / n).sqrt(),
        ties: ties as f64 / n,
        overfitting_protection: (2.0 * (1.0 - nearer as f64 / n)).min(1.0),
        rows: synthetic.rows(),
        reference_rows: rows,
    })
}

/// Returns `rows` rows drawn without replacement, or all in their order if there are no more.
pub(super) fn sample(frame: &Frame, rows: usize, seed: u64, name: &str) -> Frame {
    if frame.rows() <= rows {
        return frame.clone();
    }
    let mut order = Stream::new(seed, name, 0).permutation(frame.rows());
    order.truncate(rows);
    order.sort_unstable();
    frame.pick(&order)
}
