//! The two nearest of many rows, by brute force in blocks.

use std::sync::Arc;

use rayon::prelude::*;

use crate::table::Frame;
use crate::table::frame::{Column, NULL};

/// Reference rows per block, whose distances are summed column by column before the smallest are found.
const BLOCK: usize = 1024;

/// How column differences combine into a distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distance {
    /// The mean over columns of min(|Δ|, 1) for numbers, and of 1 for different categories.
    MeanClipped,
    /// √(Σ Δ² + Σ 1 for different categories).
    Euclidean,
}

/// Rows by columns: numbers in units of their range, categories as codes.
#[derive(Clone, Debug)]
pub(super) struct Points {
    pub(super) rows: usize,
    pub(super) columns: Vec<PointColumn>,
}

#[derive(Clone, Debug)]
pub(super) struct PointColumn {
    /// Numbers with NaN for null, or whole codes.
    pub(super) values: Vec<f64>,
    pub(super) number: bool,
}

/// Smallest and largest number of each column, by which distances are scaled.
#[derive(Clone, Debug)]
pub(super) struct Ranges(Arc<[Option<(f64, f64)>]>);

impl Ranges {
    pub(super) fn of(frame: &Frame) -> Self {
        Self(frame.columns.iter().map(Column::range).collect())
    }
}

impl Points {
    /// Scales numbers to (x − min)/(max − min). In a column without a range, different values are 1 apart.
    pub(super) fn new(frame: &Frame, ranges: &Ranges) -> Self {
        let column = |(column, range): (&Column, &Option<(f64, f64)>)| match column {
            Column::Number(values) => {
                let (least, most) = range.unwrap_or((0.0, 0.0));
                let width = most - least;
                let scaled = |&value: &f64| match value {
                    value if value.is_nan() => value,
                    value if width > 0.0 => (value - least) / width,
                    value => f64::from(u8::from(range.is_none() || value != least)),
                };
                PointColumn { values: values.iter().map(scaled).collect(), number: true }
            }
            Column::Category { codes, .. } => {
                let code = |&code: &u32| if code == NULL { -1.0 } else { f64::from(code) };
                PointColumn { values: codes.iter().map(code).collect(), number: false }
            }
        };
        let columns = frame.columns.iter().zip(&*ranges.0).map(column).collect();
        Self { rows: frame.rows(), columns }
    }

    /// Adds one column's part of the distances between a query value and a block of reference rows.
    fn add(column: &PointColumn, from: usize, query: f64, distance: Distance, sums: &mut [f64]) {
        let values = &column.values[from..from + sums.len()];
        let pairs = sums.iter_mut().zip(values);
        if !column.number {
            pairs.for_each(|(sum, value)| *sum += if *value == query { 0.0 } else { 1.0 });
        } else if query.is_nan() {
            pairs.for_each(|(sum, value)| *sum += if value.is_nan() { 0.0 } else { 1.0 });
        } else if distance == Distance::MeanClipped {
            pairs.for_each(|(sum, value)| {
                let apart = (value - query).abs();
                *sum += if apart < 1.0 { apart } else { 1.0 }; // 1 for NaN too
            });
        } else {
            pairs.for_each(|(sum, value)| {
                let apart = value - query;
                *sum += apart * apart;
            });
        }
    }
}

/// The two nearest reference rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Two {
    /// Index of the nearest row; the first of equally near ones.
    pub(super) row: u32,
    /// Its distance; infinite if there is none.
    pub(super) nearest: f64,
    /// The distance to the second nearest; infinite if there is none.
    pub(super) second: f64,
}

/// Returns the two nearest rows of `reference` for each query; `same` excludes a row's own index.
pub(super) fn nearest_two(queries: &Points, reference: &Points, distance: Distance, same: bool) -> Vec<Two> {
    let mut found = vec![Two { row: 0, nearest: f64::INFINITY, second: f64::INFINITY }; queries.rows];
    const TILE: usize = 16;
    found.par_chunks_mut(TILE).enumerate().for_each(|(tile, found)| {
        let mut sums = [0.0; BLOCK];
        for from in (0..reference.rows).step_by(BLOCK) {
            let sums = &mut sums[..BLOCK.min(reference.rows - from)];
            for (offset, two) in found.iter_mut().enumerate() {
                let query = tile * TILE + offset;
                sums.fill(0.0);
                for (ours, theirs) in reference.columns.iter().zip(&queries.columns) {
                    Points::add(ours, from, theirs.values[query], distance, sums);
                }
                if same && (from..from + sums.len()).contains(&query) {
                    sums[query - from] = f64::INFINITY;
                }
                for (at, &sum) in sums.iter().enumerate() {
                    if sum < two.second {
                        if sum < two.nearest {
                            *two = Two { row: (from + at) as u32, nearest: sum, second: two.nearest };
                        } else {
                            two.second = sum;
                        }
                    }
                }
            }
        }
        let finish = |sum: f64| match distance {
            Distance::MeanClipped => sum / reference.columns.len() as f64,
            Distance::Euclidean => sum.sqrt(),
        };
        for two in found {
            two.nearest = finish(two.nearest);
            two.second = finish(two.second);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxwork_core::rng::Stream;

    fn points(rows: usize, step: u64) -> Points {
        let mut draws = Stream::new(5, "points", step).at(0);
        let number = (0..rows)
            .map(|_| if draws.below(9) == 0 { f64::NAN } else { f64::from(draws.between(-0.2, 1.2)) })
            .collect();
        let codes = (0..rows).map(|_| f64::from(draws.below(4)) - 1.0).collect();
        Points {
            rows,
            columns: vec![
                PointColumn { values: number, number: true },
                PointColumn { values: codes, number: false },
            ],
        }
    }

    #[test]
    fn blocks_find_what_a_plain_loop_finds() {
        let (queries, reference) = (points(50, 0), points(2500, 1));
        let apart = |q: usize, r: usize| {
            let (a, b) = (queries.columns[0].values[q], reference.columns[0].values[r]);
            let number = match (a.is_nan(), b.is_nan()) {
                (true, true) => 0.0,
                (false, false) => (a - b).abs().min(1.0),
                _ => 1.0,
            };
            let differ = queries.columns[1].values[q] != reference.columns[1].values[r];
            (number + f64::from(u8::from(differ))) / 2.0
        };
        for (query, two) in nearest_two(&queries, &reference, Distance::MeanClipped, false).iter().enumerate()
        {
            let mut all: Vec<(f64, usize)> = (0..reference.rows).map(|r| (apart(query, r), r)).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            assert_eq!((two.nearest, two.row as usize, two.second), (all[0].0, all[0].1, all[1].0));
        }
    }

    #[test]
    fn a_row_is_not_its_own_neighbour() {
        let points = points(2100, 2);
        let twos = nearest_two(&points, &points, Distance::MeanClipped, true);
        assert!(twos.iter().enumerate().all(|(row, two)| two.row as usize != row));
        let twos = nearest_two(&points, &points, Distance::MeanClipped, false);
        assert!(twos.iter().all(|two| two.nearest == 0.0));
    }
}
