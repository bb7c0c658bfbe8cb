//! Rows as linear models and networks see them: numbers scaled, categories one-hot (stored as indices).

use crate::table::Frame;
use crate::table::bins::{MOST_CATEGORIES, places};
use crate::table::frame::{Column, NULL};

/// The scaling of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// The scaling of SDGym 0.2: ln max(x, 0.01) if the smallest number is not negative and the largest is at
    /// least 1,000, else 5·(x − min)/(max − min).
    SdGym,
    /// scikit-learn's `RobustScaler`: (x − median)/(upper quartile − lower quartile), or divided by the
    /// standard deviation if the quartiles are equal.
    Robust,
}

/// An encoder fitted to some rows.
#[derive(Clone, Debug)]
pub struct Encoder {
    columns: Vec<Encoding>,
    numbers: usize,
    width: usize,
}

#[derive(Clone, Debug)]
enum Encoding {
    Number {
        log: bool,
        shift: f64,
        scale: f64,
        fill: f64,
        indicator: bool,
    },
    /// One-hot features starting at this index: the place of each code, then the other codes, then null.
    Category {
        from: usize,
        places: Vec<u8>,
        kept: usize,
    },
}

/// Encoded rows: `numbers` dense features, then one-hot features. `places` lists the one-hot features that
/// are 1.
#[derive(Clone, Debug)]
pub struct Design {
    /// Number of rows.
    pub rows: usize,
    /// Number of features.
    pub width: usize,
    /// Dense features per row.
    pub numbers: usize,
    /// The dense features, (rows, numbers).
    pub dense: Vec<f64>,
    /// Number of one-hot features that are 1, per row.
    pub categories: usize,
    /// Their indices, (rows, categories), each below `width`.
    pub places: Vec<u32>,
}

impl Encoder {
    /// Fits scales to `frame`. A null number becomes the mean of the others and sets an indicator, if `frame`
    /// has nulls in that column. Null counts as a category. Beyond [`MOST_CATEGORIES`], the most frequent
    /// categories of `frame` have a feature each and the others share one, as for trees.
    pub fn fit(frame: &Frame, scaling: Scaling) -> Self {
        let number = |column: &Column| match column {
            Column::Number(values) => 1 + usize::from(values.iter().any(|value| value.is_nan())),
            Column::Category { .. } => 0,
        };
        let numbers = frame.columns.iter().map(number).sum();
        let mut width = numbers;
        let columns = frame
            .columns
            .iter()
            .map(|column| match column {
                Column::Number(values) => number_encoding(values, scaling),
                Column::Category { codes, names } => {
                    let (from, kept) = (width, names.len().min(MOST_CATEGORIES));
                    width += kept + 2;
                    Encoding::Category { from, places: places(codes, names.len()), kept }
                }
            })
            .collect();
        Self { columns, numbers, width }
    }

    /// Encodes rows of the same [`align`](crate::table::align) call.
    pub fn apply(&self, frame: &Frame) -> Design {
        let (rows, numbers) = (frame.rows(), self.numbers);
        let categories = frame.columns.iter().filter(|c| matches!(c, Column::Category { .. })).count();
        let (mut dense, mut places) = (vec![0.0; rows * numbers], vec![0; rows * categories]);
        let (mut at, mut place) = (0, 0);
        for (column, encoding) in frame.columns.iter().zip(&self.columns) {
            match (column, encoding) {
                (Column::Number(values), Encoding::Number { log, shift, scale, fill, indicator }) => {
                    for (row, &value) in values.iter().enumerate() {
                        let value = if value.is_nan() { *fill } else { logarithm(value, *log) };
                        dense[row * numbers + at] = (value - shift) * scale;
                        if *indicator {
                            dense[row * numbers + at + 1] = f64::from(u8::from(values[row].is_nan()));
                        }
                    }
                    at += 1 + usize::from(*indicator);
                }
                (Column::Category { codes, .. }, Encoding::Category { from, places: to, kept }) => {
                    for (row, &code) in codes.iter().enumerate() {
                        let offset = if code == NULL { kept + 1 } else { to[code as usize] as usize };
                        places[row * categories + place] = (from + offset) as u32;
                    }
                    place += 1;
                }
                _ => {} // never: `align` made both
            }
        }
        Design { rows, width: self.width, numbers, dense, categories, places }
    }
}

fn logarithm(value: f64, log: bool) -> f64 {
    if log { libm::log(value.max(1e-2)) } else { value }
}

fn number_encoding(values: &[f64], scaling: Scaling) -> Encoding {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let indicator = known.len() < values.len();
    known.sort_unstable_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (known.first(), known.last()) else {
        return Encoding::Number { log: false, shift: 0.0, scale: 0.0, fill: 0.0, indicator };
    };
    let log = scaling == Scaling::SdGym && least >= 0.0 && most >= 1e3;
    let inverse = |width: f64| if width > 0.0 { 1.0 / width } else { 0.0 };
    let transformed: Vec<f64> = known.iter().map(|&value| logarithm(value, log)).collect();
    let mean = transformed.iter().sum::<f64>() / transformed.len() as f64;
    let (shift, scale) = match scaling {
        Scaling::SdGym if log => (0.0, 1.0),
        Scaling::SdGym => (least, 5.0 * inverse(most - least)),
        Scaling::Robust => {
            let quartiles = quantile(&known, 0.75) - quantile(&known, 0.25);
            let variance =
                known.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / known.len() as f64;
            let width = if quartiles > 0.0 { quartiles } else { variance.sqrt() };
            (quantile(&known, 0.5), inverse(width))
        }
    };
    Encoding::Number { log, shift, scale, fill: mean, indicator }
}

/// Returns `numpy.quantile` of sorted values, linear between neighbours.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    let t = at - at.floor();
    // numpy's interpolation, which is exact at both ends.
    if t >= 0.5 { high - (high - low) * (1.0 - t) } else { low + (high - low) * t }
}

impl Design {
    /// Returns Σ wⱼ·xⱼ of one row, with one weight per feature.
    pub fn dot(&self, row: usize, weights: &[f64]) -> f64 {
        let dense = &self.dense[row * self.numbers..(row + 1) * self.numbers];
        let places = &self.places[row * self.categories..(row + 1) * self.categories];
        dense.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()
            + places.iter().map(|&place| weights[place as usize]).sum::<f64>()
    }

    /// Adds `factor`·x of one row to `sum`, (width,).
    pub fn add(&self, row: usize, factor: f64, sum: &mut [f64]) {
        let dense = &self.dense[row * self.numbers..(row + 1) * self.numbers];
        sum.iter_mut().zip(dense).for_each(|(sum, x)| *sum += factor * x);
        let places = &self.places[row * self.categories..(row + 1) * self.categories];
        places.iter().for_each(|&place| sum[place as usize] += factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{ColumnView, TableView, align};

    #[test]
    fn numbers_are_scaled_and_nulls_flagged() {
        let names = ["plain", "money", "gap", "word"].map(str::to_owned);
        let words = ["x", "y"].map(str::to_owned);
        let columns = [
            ColumnView::Number(&[1.0, 2.0, 3.0]),
            ColumnView::Number(&[0.0, 1.0, 1000.0]),
            ColumnView::Number(&[4.0, f64::NAN, 8.0]),
            ColumnView::Category { codes: &[1, 9, 0], names: &words, null: Some(9) },
        ];
        let frame = &align(&[("real", TableView { names: &names, columns: &columns })]).unwrap()[0];
        let design = Encoder::fit(frame, Scaling::SdGym).apply(frame);
        assert_eq!((design.numbers, design.categories, design.width), (4, 1, 8));
        let log = libm::log(0.01);
        assert_eq!(design.dense[..4], [0.0, log, 0.0, 0.0]);
        assert_eq!(design.dense[4..8], [2.5, 0.0, 2.5, 1.0], "the mean of 4 and 8, and a flag");
        assert_eq!(design.places, [5, 7, 4]);
        let weights: Vec<f64> = (0..8).map(f64::from).collect();
        assert_eq!(design.dot(1, &weights), 5.0 + 3.0 + 7.0);
        let mut sum = vec![0.0; 8];
        design.add(1, 2.0, &mut sum);
        assert_eq!(sum, [5.0, 0.0, 5.0, 2.0, 0.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn robust_scaling_is_by_quartiles_or_else_by_deviation() {
        let even: Vec<f64> = (0..=8).map(f64::from).collect();
        let spiky = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0];
        let names = ["even", "spiky"].map(str::to_owned);
        let columns = [ColumnView::Number(&even), ColumnView::Number(&spiky)];
        let frame = &align(&[("real", TableView { names: &names, columns: &columns })]).unwrap()[0];
        let design = Encoder::fit(frame, Scaling::Robust).apply(frame);
        assert_eq!(design.dense[0], -1.0, "(0 − 4)/(6 − 2)");
        assert!((design.dense[17] - 9.0 / 8f64.sqrt()).abs() < 1e-12, "over a standard deviation of √8");
    }
}
