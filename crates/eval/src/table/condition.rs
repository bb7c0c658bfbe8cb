//! Conditional rows: do they fulfil the condition, and are the other columns right given it?

use serde::{Deserialize, Serialize};

use crate::table::frame::{Column, NULL};
use crate::table::shapes::total_variation;
use crate::table::trends::{decile_cuts, shared_bins};
use crate::table::{Error, Frame, Result};

/// How well conditional rows fulfil their condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConditionAgreement {
    /// The column of the condition.
    pub column: String,
    /// The requested value.
    pub value: String,
    /// Share of the rows that have the value, in [0, 1].
    pub share: f64,
    /// Number of rows examined.
    pub rows: usize,
    /// Number of real rows with the value.
    pub real_rows: usize,
    /// Total variation distance of each other column from the real rows with the value, in [0, 1].
    pub others: Vec<ColumnDistance>,
    /// Mean of `others`.
    pub mean_distance: Option<f64>,
}

/// The total variation distance of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDistance {
    /// Name of the column.
    pub column: String,
    /// ½ Σ |f − g|, in [0, 1].
    pub distance: f64,
}

/// Returns the share of rows of `frame` whose `column` is `value`, or null for `None`.
///
/// # Errors
/// [`Error::NoSuchColumn`], [`Error::NoSuchValue`], [`Error::TargetKind`] for a column of numbers,
/// [`Error::TooFewRows`] without rows.
pub fn share_with(frame: &Frame, column: &str, value: Option<&str>) -> Result<f64> {
    frame.need("generated", 1)?;
    Ok(rows_with(frame, column, value)?.len() as f64 / frame.rows() as f64)
}

/// Returns the indices of the rows of `frame` whose `column` is `value`, or null for `None`.
///
/// # Errors
/// As [`share_with`].
pub fn rows_with(frame: &Frame, column: &str, value: Option<&str>) -> Result<Vec<u32>> {
    let Column::Category { codes, names } = &frame.columns[frame.position(column)?] else {
        return Err(Error::TargetKind { column: column.into(), needed: "categories" });
    };
    let code = match value {
        None => NULL,
        Some(value) => {
            let place = names.iter().position(|name| name == value);
            place.ok_or_else(|| Error::NoSuchValue { column: column.into(), value: value.into() })? as u32
        }
    };
    Ok((0..).zip(codes).filter(|(_, own)| **own == code).map(|(row, _)| row).collect())
}

/// Returns the total variation distance of every column between two tables, in [0, 1]. Numbers are cut at the
/// deciles of the real column, and null counts as a value.
///
/// # Errors
/// [`Error::TooFewRows`] if either table is empty.
pub fn distances(real: &Frame, synthetic: &Frame) -> Result<Vec<ColumnDistance>> {
    real.need("real", 1)?;
    synthetic.need("synthetic", 1)?;
    let columns = real.columns.iter().zip(&synthetic.columns);
    let distance = |(name, (ours, theirs)): (&String, (&Column, &Column))| {
        let cuts = decile_cuts(ours);
        let distance = total_variation(&shared_bins(ours, &cuts), &shared_bins(theirs, &cuts))?;
        Some(ColumnDistance { column: name.clone(), distance })
    };
    Ok(real.names.iter().zip(columns).filter_map(distance).collect())
}

/// Compares rows generated under the condition `column` = `value` with the real rows that fulfil it.
/// Generated rows that do not fulfil it are left out of the distances.
///
/// # Errors
/// As [`share_with`]; [`Error::TooFewRows`] if no real row has the value.
pub fn condition_agreement(
    real: &Frame,
    generated: &Frame,
    column: &str,
    value: Option<&str>,
) -> Result<ConditionAgreement> {
    let (ours, theirs) = (rows_with(real, column, value)?, rows_with(generated, column, value)?);
    generated.need("generated", 1)?;
    if ours.is_empty() {
        return Err(Error::TooFewRows { whose: "real, conditional", needed: 1, found: 0 });
    }
    let position = real.position(column)?;
    let (real_rows, rows) = (ours.len(), generated.rows());
    let share = theirs.len() as f64 / rows as f64;
    let others = if theirs.is_empty() {
        Vec::new()
    } else {
        distances(&real.without(position).pick(&ours), &generated.without(position).pick(&theirs))?
    };
    Ok(ConditionAgreement {
        column: column.into(),
        value: value.unwrap_or_default().into(),
        share,
        rows,
        real_rows,
        mean_distance: crate::table::quality::mean(others.iter().map(|other| other.distance)),
        others,
    })
}
