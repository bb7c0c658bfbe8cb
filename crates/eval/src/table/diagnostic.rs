//! The diagnostics of SDMetrics (MIT): are ranges, categories and nulls those of the real table?

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::table::frame::{Column, NULL};
use crate::table::quality::mean;
use crate::table::{Frame, Result};

/// The diagnostics of one column. All scores are in [0, 1], and 1 is best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDiagnostic {
    /// Name of the column.
    pub column: String,
    /// `RangeCoverage` of numbers, `CategoryCoverage` of categories. None if undefined.
    pub coverage: Option<f64>,
    /// `BoundaryAdherence` of numbers, `CategoryAdherence` of categories. None if undefined.
    pub adherence: Option<f64>,
    /// `MissingValueSimilarity`.
    pub missing_similarity: f64,
    /// Share of nulls among real rows.
    pub missing_real: f64,
    /// Share of nulls among synthetic rows.
    pub missing_synthetic: f64,
}

/// The diagnostics of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Mean coverage of the columns.
    pub coverage: Option<f64>,
    /// Mean adherence of the columns.
    pub adherence: Option<f64>,
    /// Mean similarity of the shares of nulls.
    pub missing_similarity: Option<f64>,
    /// One entry per column.
    pub columns: Vec<ColumnDiagnostic>,
}

/// Diagnoses every column.
///
/// * `RangeCoverage` = max(0, 1 − max(0, (min' − min)/(max − min)) − max(0, (max − max')/(max − min))),
///   undefined for a constant real column.
/// * `BoundaryAdherence`: share of synthetic values within [min, max]. Nulls count as outside, or are left
///   out if the real column has some.
/// * `CategoryCoverage`: share of the real categories that the synthetic column has.
/// * `CategoryAdherence`: share of synthetic values that the real column has. Nulls count in the same way.
/// * `MissingValueSimilarity` = 1 − |share of nulls − share of nulls'|.
///
/// # Errors
/// [`Error::TooFewRows`](crate::table::Error::TooFewRows) without rows.
pub fn diagnose(real: &Frame, synthetic: &Frame) -> Result<Diagnostic> {
    real.need("real", 1)?;
    synthetic.need("synthetic", 1)?;
    let one = |(name, (ours, theirs)): (&String, (&Column, &Column))| {
        let (coverage, adherence) = match (ours, theirs) {
            (Column::Number(_), Column::Number(values)) => {
                (range_coverage(ours, theirs), boundary_adherence(ours, values))
            }
            (Column::Category { codes: ours, .. }, Column::Category { codes: theirs, .. }) => {
                (category_coverage(ours, theirs), category_adherence(ours, theirs))
            }
            _ => (None, None),
        };
        let share = |column: &Column| column.nulls() as f64 / column.rows() as f64;
        let (missing_real, missing_synthetic) = (share(ours), share(theirs));
        ColumnDiagnostic {
            column: name.clone(),
            coverage,
            adherence,
            missing_similarity: 1.0 - (missing_real - missing_synthetic).abs(),
            missing_real,
            missing_synthetic,
        }
    };
    let pairs = real.columns.iter().zip(&synthetic.columns);
    let columns: Vec<ColumnDiagnostic> = real.names.iter().zip(pairs).map(one).collect();
    Ok(Diagnostic {
        coverage: mean(columns.iter().filter_map(|column| column.coverage)),
        adherence: mean(columns.iter().filter_map(|column| column.adherence)),
        missing_similarity: mean(columns.iter().map(|column| column.missing_similarity)),
        columns,
    })
}

fn range_coverage(real: &Column, synthetic: &Column) -> Option<f64> {
    let ((least, most), (low, high)) = (real.range()?, synthetic.range()?);
    let width = most - least;
    if width == 0.0 {
        return None;
    }
    let missed = ((low - least) / width).max(0.0) + ((most - high) / width).max(0.0);
    Some((1.0 - missed).max(0.0))
}

fn boundary_adherence(real: &Column, synthetic: &[f64]) -> Option<f64> {
    let (least, most) = real.range()?;
    let counted = if real.nulls() > 0 {
        synthetic.iter().filter(|value| !value.is_nan()).count()
    } else {
        synthetic.len()
    };
    let valid = synthetic.iter().filter(|&&value| least <= value && value <= most).count();
    (counted > 0).then(|| valid as f64 / counted as f64)
}

fn category_coverage(real: &[u32], synthetic: &[u32]) -> Option<f64> {
    let values = |codes: &[u32]| -> HashSet<u32> { codes.iter().copied().filter(|&c| c != NULL).collect() };
    let (real, synthetic) = (values(real), values(synthetic));
    (!real.is_empty()).then(|| real.intersection(&synthetic).count() as f64 / real.len() as f64)
}

fn category_adherence(real: &[u32], synthetic: &[u32]) -> Option<f64> {
    let valid: HashSet<u32> = real.iter().copied().collect(); // the null among them, if there is one
    let count = synthetic.iter().filter(|code| valid.contains(code)).count();
    (!synthetic.is_empty()).then(|| count as f64 / synthetic.len() as f64)
}
