//! Quantile maps: they give the numbers that a model generates in a mode the distribution that the training
//! rows have in that mode.
//!
//! A model generates a scalar within a mode. F(α) is the rank of the scalar α among those that the model
//! generates in this mode, from 0 to 1. The map returns Q(F(α)), the number that has this rank among the
//! training rows in this mode (quantile mapping, Panofsky & Brier 1968). The order of the numbers in a mode
//! does not change, so their relations to other columns remain.
//!
//! F is linear between quantiles. Equal scalars, such as those that were clipped to ±1, share their mean
//! rank. If the rows of a mode have few distinct numbers, Q is a step function, and each number comes back
//! exactly and with its share of the rows. Otherwise Q is linear between quantiles.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Table;
use super::decode::arg_max;
use super::encode::{Encoder, Segment};
use super::error::{Error, Result};
use super::modes::Mode;
use super::number::GREATEST;
use super::rows::{EncodedCells, EncodedColumn};

/// Maximum number of parts into which quantiles divide a distribution, and of steps of Q.
const PARTS: usize = 1024;
/// Minimum number of generated scalars, and of training rows, for the map of a mode.
const LEAST: usize = 16;

/// The quantile maps of a model's numbers, one per mode. They are saved with the weights that they were
/// fitted to, and contain numbers of training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantileMaps {
    /// One list per column, with an entry for each mode; empty unless it is a column of numbers.
    columns: Vec<Vec<Option<QuantileMap>>>,
}

impl QuantileMaps {
    /// Fits maps from `generated`, encoded rows one after the other, to some `rows` of the training table
    /// `real`. A point needs no map, and a mode with fewer than 16 generated or real rows gets none. Returns
    /// None if no mode gets a map.
    ///
    /// # Errors
    /// Those of [`Encoder::bind`].
    ///
    /// # Panics
    /// If `real` lacks one of the rows.
    pub fn fit(encoder: &Encoder, real: &Table, rows: &[u32], generated: &[f32]) -> Result<Option<Self>> {
        let encoded = encoder.bind(real)?;
        let generated = (generated, encoder.layout().width());
        let of_column = |own: &EncodedColumn| {
            let choice = encoder.layout().choice(own.column)?;
            Some((own.column, maps_of(own, &choice, rows, generated)))
        };
        let mut columns: Vec<Vec<Option<QuantileMap>>> = vec![Vec::new(); encoder.schema().columns.len()];
        for (column, maps) in encoded.columns.par_iter().filter_map(of_column).collect::<Vec<_>>() {
            columns[column] = maps;
        }
        let is_empty = columns.iter().flatten().all(Option::is_none);
        Ok((!is_empty).then_some(Self { columns }))
    }

    /// Checks that the maps are of the modes of an encoder.
    ///
    /// # Errors
    /// [`Error::QuantileMap`].
    pub(super) fn check(&self, encoder: &Encoder) -> Result<()> {
        let schemas = &encoder.schema().columns;
        if self.columns.len() != schemas.len() {
            let reason = format!("maps of {} columns for {}", self.columns.len(), schemas.len());
            return Err(Error::QuantileMap { column: None, reason });
        }
        for (index, (schema, maps)) in schemas.iter().zip(&self.columns).enumerate() {
            let modes = encoder.modes(index);
            let of_point = modes.iter().zip(maps).any(|(mode, map)| mode.is_point() && map.is_some());
            let reason = match maps.len() == modes.len() {
                false => format!("maps of {} modes for {}", maps.len(), modes.len()),
                true if of_point => "a map of a point, which has a single value".into(),
                true => continue,
            };
            return Err(Error::QuantileMap { column: Some(schema.name.clone()), reason });
        }
        Ok(())
    }

    /// Returns the number for a scalar in a mode of a column; None if the mode has no map.
    pub(super) fn number(&self, column: usize, mode: usize, scalar: f64) -> Option<f64> {
        let map = self.columns.get(column)?.get(mode)?.as_ref()?;
        Some(map.real.number(map.rank(scalar)))
    }
}

/// Returns the maps of a column's modes. `generated` has encoded rows and their width.
fn maps_of(
    own: &EncodedColumn,
    choice: &Segment,
    rows: &[u32],
    (generated, width): (&[f32], usize),
) -> Vec<Option<QuantileMap>> {
    let EncodedCells::Numbers { column, modes, drawn: places } = &own.cells else { return Vec::new() };
    // The place after the modes is that of null, in generated and in real rows.
    let mut scalars = vec![Vec::new(); modes.len()];
    for row in generated.chunks_exact(width) {
        if let Some(scalars) = scalars.get_mut(arg_max(choice, row)) {
            scalars.push(row[choice.start - 1].clamp(-1.0, 1.0));
        }
    }
    let mut numbers = vec![Vec::new(); modes.len()];
    for &row in rows {
        let row = row as usize;
        if let (Some(numbers), Some(number)) = (numbers.get_mut(usize::from(places[row])), column.number(row))
        {
            numbers.push(number);
        }
    }
    let pairs = modes.iter().zip(scalars.into_iter().zip(numbers));
    let map = |(mode, (scalars, numbers)): (&Mode, (Vec<f32>, Vec<f64>))| {
        if mode.is_point() { None } else { QuantileMap::fit(scalars, numbers) }
    };
    pairs.map(map).collect()
}

/// The map of one mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
struct QuantileMap {
    /// Quantiles of the scalars that the model generates.
    generated: Vec<f32>,
    real: Numbers,
}

/// The distribution of the numbers of training rows in a mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Numbers {
    /// Distinct numbers, ascending, each with the number of rows that have it or a smaller one.
    Steps { numbers: Vec<f64>, rows: Vec<u64> },
    /// Quantiles.
    Quantiles(Vec<f64>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    generated: Vec<f32>,
    real: Numbers,
}

impl TryFrom<Unchecked> for QuantileMap {
    type Error = Error;

    fn try_from(Unchecked { generated, real }: Unchecked) -> Result<Self> {
        let wrong = |reason: &str| Err(Error::QuantileMap { column: None, reason: reason.into() });
        let counts = 2..=PARTS + 1;
        let scalars_fit = counts.contains(&generated.len()) && generated.is_sorted();
        if !scalars_fit || !generated.iter().all(|scalar| scalar.abs() <= 1.0) {
            return wrong("its scalars are not ascending quantiles from −1 to 1");
        }
        let (numbers, fits) = match &real {
            Numbers::Steps { numbers, rows } => {
                let rows_fit = rows.len() == numbers.len() && rows.first().is_some_and(|first| *first > 0);
                let ascends = rows.is_sorted_by(|a, b| a < b) && numbers.is_sorted_by(|a, b| a < b);
                (numbers, rows_fit && ascends && numbers.len() <= PARTS)
            }
            Numbers::Quantiles(numbers) => (numbers, counts.contains(&numbers.len()) && numbers.is_sorted()),
        };
        if !fits || !numbers.iter().all(|number| number.abs() <= GREATEST) {
            return wrong("its numbers are neither ascending quantiles nor ascending steps");
        }
        Ok(Self { generated, real })
    }
}

impl QuantileMap {
    fn fit(mut generated: Vec<f32>, mut real: Vec<f64>) -> Option<Self> {
        if generated.len() < LEAST || real.len() < LEAST {
            return None;
        }
        generated.sort_unstable_by(f32::total_cmp);
        real.sort_unstable_by(f64::total_cmp);
        let scalars = quantiles(generated.len(), |at| generated[at].into());
        Some(Self {
            generated: scalars.into_iter().map(|scalar| scalar as f32).collect(),
            real: Numbers::of(&real),
        })
    }

    /// Returns the rank, 0 to 1, of a scalar among those that the model generates.
    fn rank(&self, scalar: f64) -> f64 {
        let all = &self.generated;
        let below = all.partition_point(|own| f64::from(*own) < scalar);
        let upto = all.partition_point(|own| f64::from(*own) <= scalar);
        let place = if below < upto {
            (below + upto - 1) as f64 / 2.0
        } else if below == 0 {
            0.0
        } else if below == all.len() {
            (below - 1) as f64
        } else {
            let [from, to] = [all[below - 1], all[below]].map(f64::from);
            (below - 1) as f64 + (scalar - from) / (to - from)
        };
        place / (all.len() - 1) as f64
    }
}

impl Numbers {
    /// The distribution of ascending numbers, of which there is at least one.
    fn of(sorted: &[f64]) -> Self {
        let runs: Vec<&[f64]> = sorted.chunk_by(|a, b| a == b).collect();
        if runs.len() > PARTS {
            return Self::Quantiles(quantiles(sorted.len(), |at| sorted[at]));
        }
        let upto = runs.iter().scan(0, |rows, run| {
            *rows += run.len() as u64;
            Some(*rows)
        });
        Self::Steps { rows: upto.collect(), numbers: runs.iter().map(|run| run[0]).collect() }
    }

    /// Returns the number of a rank, 0 to 1.
    fn number(&self, rank: f64) -> f64 {
        match self {
            Self::Steps { numbers, rows } => {
                let last = numbers.len() - 1;
                let wanted = rank * rows[last] as f64;
                numbers[rows.partition_point(|upto| (*upto as f64) < wanted).min(last)]
            }
            Self::Quantiles(numbers) => {
                let last = numbers.len() - 1;
                let place = rank * last as f64;
                let below = (place as usize).min(last - 1);
                between(numbers[below], numbers[below + 1], place - below as f64)
            }
        }
    }
}

/// Returns quantiles of `count` ascending values at equal distances of rank, from the smallest value to the
/// greatest. The value with index i has the rank (i + ½) / count (Hazen 1914).
fn quantiles(count: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
    let (parts, last) = (count.min(PARTS), count - 1);
    let quantile = |part: usize| {
        let place = (part as f64 * count as f64 / parts as f64 - 0.5).clamp(0.0, last as f64);
        let below = place as usize;
        between(value(below), value((below + 1).min(last)), place - below as f64)
    };
    (0..=parts).map(quantile).collect()
}

/// Returns the number at a share of the way from `a` to `b`; never beyond `b`, despite rounding.
fn between(a: f64, b: f64, share: f64) -> f64 {
    (a + (b - a) * share).min(b)
}

#[cfg(test)]
mod tests;
