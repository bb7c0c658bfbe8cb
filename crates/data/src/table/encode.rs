//! Converts rows to vectors: which numbers of a vector belong to which column, and how a value becomes
//! numbers.
//!
//! The encoding follows CTGAN's paper (Xu et al. 2019, section 4.2). A number, integer or date x becomes a
//! scalar α = (x − μ)/4σ, clipped to ±0.99, and a one-hot choice of one of the column's modes (μ, σ). The
//! mode of a value is drawn once from the probabilities of the modes given x; it is not always the most
//! likely one. A point and a missing value are modes whose α is always zero. Categories and booleans are a
//! choice. Identifiers and constants are not encoded.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
pub use super::layout::{Layout, Segment, Shape};
use super::modes::{self, Mode};
use super::quantile_map::QuantileMaps;
pub use super::rows::Encoded;
use super::rows::{EncodedCells, EncodedColumn};
use super::schema::{ColumnSchema, Kind, Schema};
use super::{Column, Table, Values};
use crate::names::nearest;
use waxwork_core::rng::{Draws, Stream};

/// Magnitude at which a scalar is clipped.
pub const MOST_ALPHA: f64 = 0.99;
/// Number of a mode's standard deviations that a scalar of 1 stands for.
pub const DEVIATIONS: f64 = 4.0;
/// Maximum number of numbers in a row.
pub const MOST_WIDTH: usize = 1 << 20;

/// Converts rows to vectors and back. It holds a schema and the modes of its columns of numbers, and is saved
/// with a run. For a calibrated model, it also holds quantile maps, which are saved in a file of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Encoder {
    #[serde(serialize_with = "inner")]
    schema: Arc<Schema>,
    /// One list per column, empty unless it is a column of numbers.
    modes: Vec<Vec<Mode>>,
    #[serde(skip)]
    layout: Layout,
    /// Saved in a file of their own, because they belong to the weights of a model.
    #[serde(skip)]
    quantile_maps: Option<Arc<QuantileMaps>>,
}

fn inner<S: serde::Serializer>(schema: &Arc<Schema>, to: S) -> Result<S::Ok, S::Error> {
    schema.as_ref().serialize(to)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    schema: Schema,
    modes: Vec<Vec<Mode>>,
}

impl TryFrom<Unchecked> for Encoder {
    type Error = Error;

    fn try_from(from: Unchecked) -> Result<Self> {
        Self::new(from.schema.into(), from.modes)
    }
}

impl Encoder {
    /// Makes an encoder from a schema and the modes of its columns.
    ///
    /// # Errors
    /// [`Error::Schema`] if a column of numbers has no modes or too many, another column has modes, a mode is
    /// not finite, or the row is too wide.
    pub fn new(schema: Arc<Schema>, modes: Vec<Vec<Mode>>) -> Result<Self> {
        if modes.len() != schema.columns.len() {
            let reason = format!("modes of {} columns for {}", modes.len(), schema.columns.len());
            return Err(Error::Schema { column: None, reason });
        }
        for (column, modes) in schema.columns.iter().zip(&modes) {
            let sane = |mode: &Mode| {
                mode.mean.is_finite()
                    && mode.sd.is_finite()
                    && mode.sd >= 0.0
                    && mode.weight > 0.0
                    && mode.weight <= 1.0
            };
            let fits = match column.kind.is_numeric() {
                true => (1..=modes::COMPONENTS).contains(&modes.len()),
                false => modes.is_empty(),
            };
            if !fits || !modes.iter().all(sane) {
                return Err(Error::schema(
                    &column.name,
                    format!("{} modes, or one that is not finite", modes.len()),
                ));
            }
        }
        let layout = layout(&schema, &modes);
        if layout.width() > MOST_WIDTH {
            let reason =
                format!("a row of {} numbers, where at most {MOST_WIDTH} are possible", layout.width());
            return Err(Error::Schema { column: None, reason });
        }
        Ok(Self { schema, modes, layout, quantile_maps: None })
    }

    /// Fits the modes of a table's columns of numbers. Calls `done` with the name of each finished column.
    ///
    /// # Errors
    /// [`Error::Schema`] if the row is too wide.
    pub fn fit(table: &Table, done: impl Fn(&str) + Sync) -> Result<Self> {
        let columns = table.schema().columns.par_iter().zip(table.columns());
        let fit = |(schema, column): (&ColumnSchema, &Column)| {
            let modes = match column.values() {
                Values::Numbers(values) => modes::fit(values, &column.counts()[..values.len()]),
                Values::Text(_) => Vec::new(),
            };
            done(&schema.name);
            modes
        };
        Self::new(Arc::clone(table.schema()), columns.map(fit).collect())
    }

    /// Returns the encoder with other quantile maps, or without any.
    ///
    /// # Errors
    /// [`Error::QuantileMap`] if the maps are of other columns or modes.
    pub fn with_quantile_maps(self, maps: Option<QuantileMaps>) -> Result<Self> {
        if let Some(maps) = &maps {
            maps.check(&self)?;
        }
        Ok(Self { quantile_maps: maps.map(Arc::new), ..self })
    }

    /// Returns the maps of the numbers that a model generates, if it is calibrated.
    pub fn quantile_maps(&self) -> Option<&QuantileMaps> {
        self.quantile_maps.as_deref()
    }

    /// Returns the schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the parts of an encoded row.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the modes of a column of numbers, in the order of its choice; empty for other columns. A place
    /// for null follows the modes in the choice if the column has nulls.
    pub fn modes(&self, column: usize) -> &[Mode] {
        self.modes.get(column).map_or(&[], Vec::as_slice)
    }

    /// Returns the place of null in the choice of a column, if it has one.
    pub fn null_place(&self, column: usize) -> Option<usize> {
        let schema = self.schema.columns.get(column).filter(|schema| schema.has_null())?;
        let places = self.modes(column).len() + schema.kind.places();
        (places > 0).then_some(places)
    }

    /// Returns the place of a value in the choice of a discrete column; `None` is null. Texts that the schema
    /// counts as `other` have its place.
    ///
    /// # Errors
    /// [`Error::NoClasses`]; [`Error::Outside`] with the nearest category.
    pub fn place(&self, column: usize, value: Option<&str>) -> Result<usize> {
        let schema = &self.schema.columns[column];
        if !schema.kind.is_discrete() {
            return Err(Error::NoClasses { column: schema.name.clone(), kind: schema.kind.name() });
        }
        let place = match value {
            Some(text) => schema.kind.place_of(text),
            None => self.null_place(column),
        };
        place.ok_or_else(|| outside(schema, value, None))
    }

    /// Prepares a table's rows for encoding. It draws the mode of every number, as a function of the number's
    /// row and column.
    ///
    /// # Errors
    /// [`Error::Schema`] if the table has other columns or kinds; [`Error::Outside`] if it has a category or
    /// a null that the schema does not know.
    pub fn bind(&self, table: &Table) -> Result<Encoded> {
        let names = |schema: &Schema| {
            schema.columns.iter().map(|c| (c.name.clone(), c.kind.name())).collect::<Vec<_>>()
        };
        if names(table.schema()) != names(&self.schema) {
            let reason = "the table has other columns or kinds than the encoder".into();
            return Err(Error::Schema { column: None, reason });
        }
        let columns = (0..table.columns().len()).into_par_iter().map(|index| self.bind_column(table, index));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let columns = columns.into_iter().flatten().collect();
        Ok(Encoded { columns, layout: self.layout.clone(), rows: table.rows() })
    }

    fn bind_column(&self, table: &Table, index: usize) -> Result<Option<EncodedColumn>> {
        let (schema, column) = (&self.schema.columns[index], &table.columns()[index]);
        let Some(choice) = self.layout.choice(index) else { return Ok(None) };
        let null = self.null_place(index);
        let known = column.values().len();
        if null.is_none()
            && let Some(row) = column.first_row(known)
        {
            return Err(outside(schema, None, Some(row)));
        }
        let cells = match column.values() {
            Values::Text(texts) => {
                let mut places: Vec<u32> = Vec::with_capacity(known + 1);
                let by_text = PlaceOf::new(&schema.kind);
                for (code, text) in texts.iter().enumerate() {
                    let place = by_text.get(text);
                    // A dictionary entry that no row has may have any value.
                    if place.is_none()
                        && let Some(row) = column.first_row(code)
                    {
                        return Err(outside(schema, Some(text), Some(row)));
                    }
                    places.push(place.unwrap_or(0) as u32);
                }
                places.push(null.unwrap_or(0) as u32);
                EncodedCells::Places(column.codes.renumbered(&places, choice.shape.width()))
            }
            Values::Numbers(_) => EncodedCells::Numbers {
                column: column.clone(),
                modes: self.modes[index].clone(),
                drawn: self.draw_modes(index, column),
            },
        };
        Ok(Some(EncodedColumn { column: index, start: choice.start, cells }))
    }

    /// Draws the mode of every row's number from the probabilities of the modes.
    fn draw_modes(&self, index: usize, column: &Column) -> Vec<u8> {
        let Values::Numbers(values) = column.values() else { return Vec::new() };
        let modes = &self.modes[index];
        let cumulative: Vec<f32> = values
            .par_iter()
            .flat_map_iter(|value| {
                let mut shares = vec![0.0; modes.len()];
                modes::responsibilities(modes, *value, &mut shares);
                shares.into_iter().scan(0.0, |sum, share| {
                    *sum += share;
                    Some(*sum as f32)
                })
            })
            .collect();
        let stream = Stream::new(0, "table/mode", index as u64);
        let rows = (0..column.codes.len()).into_par_iter();
        rows.map(|row| {
            let code = column.code(row);
            if code >= values.len() {
                return modes.len() as u8;
            }
            let sums = &cumulative[code * modes.len()..][..modes.len()];
            // Draw nothing if one mode is certain.
            if let Some(certain) = sums.iter().position(|sum| *sum > 0.0).filter(|first| sums[*first] >= 1.0)
            {
                return certain as u8;
            }
            let draw = stream.at(row as u64).uniform();
            let last = sums.iter().rposition(|sum| *sum > 0.0).unwrap_or(0);
            sums.iter().position(|sum| draw < *sum).unwrap_or(last) as u8
        })
        .collect()
    }
}

/// Finds places by text in constant time.
struct PlaceOf<'a> {
    places: HashMap<&'a str, usize>,
    other: Option<usize>,
}

impl<'a> PlaceOf<'a> {
    fn new(kind: &'a Kind) -> Self {
        let named = match kind {
            Kind::Category { values, .. } => values.len(),
            kind => kind.places(),
        };
        let places = (0..named).filter_map(|place| Some((kind.place_text(place)?, place))).collect();
        Self { places, other: (kind.places() > named).then_some(named) }
    }

    fn get(&self, text: &str) -> Option<usize> {
        self.places.get(text).copied().or(self.other)
    }
}

fn layout(schema: &Schema, modes: &[Vec<Mode>]) -> Layout {
    let mut layout = Layout::default();
    for (index, (column, modes)) in schema.columns.iter().zip(modes).enumerate() {
        let null = usize::from(column.has_null());
        if column.kind.is_numeric() {
            layout.push(index, Shape::Scalar);
            layout.push(index, Shape::Choice(modes.len() + null));
        } else if column.kind.is_discrete() {
            layout.push(index, Shape::Choice(column.kind.places() + null));
        }
    }
    layout
}

fn outside(schema: &ColumnSchema, value: Option<&str>, row: Option<usize>) -> Error {
    let places = schema.kind.places();
    let texts = || (0..places).filter_map(|place| schema.kind.place_text(place));
    const SHOWN: usize = 8;
    let mut known = match value {
        None => "no missing values here".into(),
        Some(_) => texts().take(SHOWN).map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", "),
    };
    if value.is_some() && places > SHOWN {
        known.push_str(&format!(" and {} more", places - SHOWN));
    }
    let nearest = value.and_then(|value| nearest(value, texts()));
    Error::Outside { column: schema.name.clone(), value: value.map(str::to_owned), row, known, nearest }
}

/// Returns the scalar of a value in a mode; 0 in a point.
pub fn alpha(mode: &Mode, value: f64) -> f64 {
    if mode.is_point() {
        return 0.0;
    }
    ((value - mode.mean) / (DEVIATIONS * mode.sd)).clamp(-MOST_ALPHA, MOST_ALPHA)
}

/// Draws a place by probabilities that add up to 1.
pub(crate) fn draw_place(draws: &mut Draws, probabilities: &[f64]) -> usize {
    let mut left = (f64::from(draws.bits()) + 0.5) / 4_294_967_296.0;
    for (place, probability) in probabilities.iter().enumerate() {
        left -= probability;
        if left < 0.0 {
            return place;
        }
    }
    probabilities.iter().rposition(|probability| *probability > 0.0).unwrap_or(0)
}
