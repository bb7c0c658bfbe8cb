//! The quality report of SDMetrics (MIT): Column Shapes, Column Pair Trends and their mean.

use serde::{Deserialize, Serialize};

use crate::table::shapes::{ColumnShape, column_shapes};
use crate::table::trends::{PairTrend, SharedTrend, Thresholds, pair_trends, shared_trends};
use crate::table::{Frame, Result};

/// The SDMetrics version whose scores these match.
pub const SDMETRICS: &str = "0.32.0";

/// The quality report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The mean of `shapes` and `trends`, or the one that is defined; SDMetrics' overall score.
    pub score: Option<f64>,
    /// Mean of the column scores.
    pub shapes: Option<f64>,
    /// Mean of the pair scores that count.
    pub trends: Option<f64>,
    /// The number of pairs that count.
    pub counting_pairs: usize,
    /// Mean of all pairs with shared bins. It is not an SDMetrics score, and not part of `score`.
    pub shared_trends: Option<f64>,
    /// The thresholds of `trends`.
    pub thresholds: Thresholds,
    /// One score per column.
    pub columns: Vec<ColumnShape>,
    /// One score per pair of columns.
    pub pairs: Vec<PairTrend>,
    /// One score per pair with shared bins.
    pub shared_pairs: Vec<SharedTrend>,
}

/// Compares columns and pairs of columns of two tables from one [`align`](crate::table::align) call.
///
/// `score`, `shapes` and `trends` equal SDMetrics' if neither table has more than 50,000 rows.
///
/// # Errors
/// [`Error::TooFewRows`](crate::table::Error::TooFewRows) below two rows.
pub fn quality(real: &Frame, synthetic: &Frame, thresholds: Thresholds) -> Result<Quality> {
    real.need("real", 2)?;
    synthetic.need("synthetic", 2)?;
    let columns = column_shapes(real, synthetic);
    let pairs = pair_trends(real, synthetic, thresholds);
    let shared_pairs = shared_trends(real, synthetic);
    let shapes = mean(columns.iter().filter_map(|column| column.score));
    let counting = || pairs.iter().filter(|pair| pair.counts);
    let trends = mean(counting().filter_map(|pair| pair.score));
    Ok(Quality {
        score: mean([shapes, trends].into_iter().flatten()),
        shapes,
        trends,
        counting_pairs: counting().count(),
        shared_trends: mean(shared_pairs.iter().map(|pair| pair.score)),
        thresholds,
        columns,
        pairs,
        shared_pairs,
    })
}

/// Maximum number of columns for which [`gap`] compares pairs.
const PAIRED: usize = 40;

/// Returns the distance of columns and, if there are few columns, of pairs of columns from the real ones: 1 −
/// the mean of column shapes and of pair trends with shared bins, in [0, 1]. Use it to choose checkpoints.
///
/// # Errors
/// [`Error::TooFewRows`](crate::table::Error::TooFewRows) below two rows.
pub fn gap(real: &Frame, synthetic: &Frame) -> Result<f64> {
    real.need("real", 2)?;
    synthetic.need("synthetic", 2)?;
    let columns = column_shapes(real, synthetic);
    let shapes = mean(columns.iter().filter_map(|column| column.score));
    let pairs = if columns.len() <= PAIRED { shared_trends(real, synthetic) } else { Vec::new() };
    let trends = mean(pairs.iter().map(|pair| pair.score));
    Ok(1.0 - mean([shapes, trends].into_iter().flatten()).unwrap_or(0.0))
}

/// Returns the mean; None without values.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
