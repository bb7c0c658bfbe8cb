//! Discretisation of columns into at most 256 bins, the only input of the trees.

use crate::table::Frame;
use crate::table::frame::{Column, NULL};

/// Maximum number of bins of numbers, besides the bin of nulls.
pub const MOST_BINS: usize = 255;
/// Maximum number of categories with a bin each; rarer ones share one.
pub const MOST_CATEGORIES: usize = 254;

/// How bins split a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Bins up to a given one against those above: for numbers, with null as the lowest bin.
    UpTo,
    /// One bin against all others: for categories, as with a one-hot encoding.
    Only,
}

/// The bins of each column, fitted to the training rows.
#[derive(Clone, Debug)]
pub struct Binner {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Bin 0 is null. Bin 1 + i has the numbers above cut i − 1 and up to cut i.
    Cuts(Vec<f64>),
    /// The bin of each code. Other codes and null have bins of their own.
    Codes { bins: Vec<u8>, other: u8, null: u8 },
}

/// Rows in bins.
#[derive(Clone, Debug)]
pub struct Binned {
    /// One per column.
    pub columns: Vec<BinnedColumn>,
    /// Number of rows.
    pub rows: usize,
}

/// One column in bins.
#[derive(Clone, Debug)]
pub struct BinnedColumn {
    /// One bin per row.
    pub bins: Vec<u8>,
    /// Number of bins.
    pub count: usize,
    /// How they split.
    pub split: Split,
}

impl Binner {
    /// Cuts numbers between their distinct values, or at quantiles if there are more than [`MOST_BINS`]
    /// distinct values. Categories keep their codes; if there are more than 254, only the most frequent ones
    /// do.
    pub fn fit(frame: &Frame) -> Self {
        Self::fit_columns(&frame.columns)
    }

    /// [`Binner::fit`] for columns without a table.
    pub(crate) fn fit_columns(columns: &[Column]) -> Self {
        Self { rules: columns.iter().map(Rule::fit).collect() }
    }

    /// Bins rows of the same [`align`](crate::table::align) call as those it was fitted to.
    pub fn apply(&self, frame: &Frame) -> Binned {
        Binned { rows: frame.rows(), ..self.apply_columns(&frame.columns) }
    }

    /// [`Binner::apply`] for columns without a table.
    pub(crate) fn apply_columns(&self, columns: &[Column]) -> Binned {
        let rows = columns.first().map_or(0, Column::rows);
        let columns = columns.iter().zip(&self.rules).map(|(column, rule)| rule.apply(column)).collect();
        Binned { columns, rows }
    }
}

impl Rule {
    fn fit(column: &Column) -> Self {
        match column {
            Column::Number(values) => Self::Cuts(cuts(values)),
            Column::Category { codes, names } => Self::codes(codes, names.len()),
        }
    }

    fn codes(codes: &[u32], names: usize) -> Self {
        let kept = names.min(MOST_CATEGORIES);
        Self::Codes { bins: places(codes, names), other: kept as u8, null: kept as u8 + 1 }
    }

    fn apply(&self, column: &Column) -> BinnedColumn {
        let (bins, count, split) = match (self, column) {
            (Self::Cuts(cuts), Column::Number(values)) => {
                let bin = |value: &f64| {
                    if value.is_nan() { 0 } else { 1 + cuts.partition_point(|cut| cut < value) as u8 }
                };
                (values.iter().map(bin).collect(), cuts.len() + 2, Split::UpTo)
            }
            (Self::Codes { bins, other, null }, Column::Category { codes, .. }) => {
                let bin = |&code: &u32| {
                    if code == NULL { *null } else { bins.get(code as usize).copied().unwrap_or(*other) }
                };
                (codes.iter().map(bin).collect(), *null as usize + 1, Split::Only)
            }
            // This cannot happen, because `align` made both.
            (_, column) => (vec![0; column.rows()], 1, Split::UpTo),
        };
        BinnedColumn { bins, count, split }
    }
}

/// Returns the place of each code. With at most [`MOST_CATEGORIES`] names it is the code itself; else the
/// rank for the most frequent codes, and [`MOST_CATEGORIES`] for the others.
pub(super) fn places(codes: &[u32], names: usize) -> Vec<u8> {
    let kept = names.min(MOST_CATEGORIES);
    let mut counts: Vec<(usize, u32)> = (0..names as u32).map(|code| (0, code)).collect();
    codes.iter().filter(|&&code| code != NULL).for_each(|&code| counts[code as usize].0 += 1);
    if names > kept {
        counts.sort_unstable_by_key(|&(count, code)| (std::cmp::Reverse(count), code));
    }
    let mut places = vec![kept as u8; names];
    counts[..kept].iter().zip(0..).for_each(|(&(_, code), place)| places[code as usize] = place);
    places
}

/// Returns ascending cuts, at most [`MOST_BINS`] − 1, halfway between neighbouring distinct values.
fn cuts(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let between = |low: f64, high: f64| low + (high - low) / 2.0;
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() <= MOST_BINS {
        return distinct.windows(2).map(|pair| between(pair[0], pair[1])).collect();
    }
    let cut = |i: usize| {
        let last = sorted[(sorted.len() * i / MOST_BINS).saturating_sub(1)];
        let next = distinct.partition_point(|&value| value <= last);
        distinct.get(next).map(|&next| between(last, next))
    };
    let mut cuts: Vec<f64> = (1..MOST_BINS).filter_map(cut).collect();
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_have_a_bin_each_and_many_have_even_ones() {
        assert_eq!(cuts(&[3.0, 1.0, 1.0, f64::NAN, 2.0]), [1.5, 2.5]);
        let many: Vec<f64> = (0..10_000).map(f64::from).collect();
        let cuts = cuts(&many);
        assert_eq!(cuts.len(), MOST_BINS - 1);
        let binned = Rule::Cuts(cuts).apply(&Column::Number(many));
        let mut counts = vec![0; binned.count];
        binned.bins.iter().for_each(|&bin| counts[bin as usize] += 1);
        assert_eq!(counts[0], 0, "no nulls");
        assert!(counts[1..].iter().all(|&n| (38..=41).contains(&n)), "{counts:?}");
    }

    #[test]
    fn rare_categories_share_a_bin() {
        let codes: Vec<u32> = (0..400u32).chain(100..400).chain([NULL]).collect();
        let names: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let column = Column::Category { codes, names: names.into() };
        let binned = Rule::fit(&column).apply(&column);
        assert_eq!(binned.count, 256);
        let (other, null) = (binned.bins[0], binned.bins[700]);
        assert_eq!((other, null), (254, 255));
        assert_eq!(binned.bins.iter().filter(|&&bin| bin == other).count(), 100 + 2 * 46);
    }
}
