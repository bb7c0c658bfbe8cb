//! Converts vectors to rows: takes the most likely place of every choice, rounds numbers, clips them to the
//! column's range, and assigns new identifiers. The numbers of generated rows go through quantile maps first.

use super::encode::{DEVIATIONS, Encoder, Segment, Shape};
use super::error::{Error, Result};
use super::intern::{Codes, Strings};
use super::quantile_map::QuantileMaps;
use super::schema::Kind;
use super::{Column, Table, Values};

/// A decoded cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// A valid value of a column of numbers, integers or dates.
    Number(f64),
    /// A place in a discrete column.
    Place(usize),
    /// A value that only the row's number determines: an identifier or a constant.
    Given,
}

impl Encoder {
    /// Decodes a vector to a row, one cell per column of the schema. In a choice, the greatest number wins,
    /// and the first of equal ones; a scalar is clipped to ±1.
    ///
    /// # Errors
    /// [`Error::Row`] if the vector's width is not the layout's, or a number in it is not finite.
    pub fn decode_row(&self, values: &[f32]) -> Result<Vec<Cell>> {
        self.cells(values, None)
    }

    fn cells(&self, values: &[f32], maps: Option<&QuantileMaps>) -> Result<Vec<Cell>> {
        let expected = self.layout().width();
        let wrong = |found: String| Error::Row { expected, found };
        if values.len() != expected {
            return Err(wrong(format!("{} are given", values.len())));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(wrong(format!("number {at} is {}", values[at])));
        }
        let mut cells = vec![Cell::Given; self.schema().columns.len()];
        let mut scalar = 0.0;
        for segment in &self.layout().segments {
            match segment.shape {
                Shape::Scalar => scalar = f64::from(values[segment.start]).clamp(-1.0, 1.0),
                Shape::Choice(_) => {
                    cells[segment.column] = self.cell(segment, arg_max(segment, values), scalar, maps);
                }
            }
        }
        Ok(cells)
    }

    fn cell(&self, segment: &Segment, place: usize, scalar: f64, maps: Option<&QuantileMaps>) -> Cell {
        if self.null_place(segment.column) == Some(place) {
            return Cell::Null;
        }
        let kind = &self.schema().columns[segment.column].kind;
        let mapped = maps.and_then(|maps| maps.number(segment.column, place, scalar));
        match self.modes(segment.column).get(place) {
            Some(mode) => {
                Cell::Number(kind.snap(mapped.unwrap_or(mode.mean + DEVIATIONS * mode.sd * scalar)))
            }
            None => Cell::Place(place),
        }
    }

    /// Decodes consecutive vectors to a table. `first` is the number of the first row, for identifiers.
    ///
    /// # Errors
    /// As [`decode_row`](Self::decode_row).
    pub fn decode(&self, values: &[f32], first: u64) -> Result<Table> {
        Decoder::new(self, first).decode(values)
    }

    /// Decodes rows that a model generated, like [`decode`](Self::decode). Numbers go through the encoder's
    /// quantile maps, if it has any.
    ///
    /// # Errors
    /// As [`decode_row`](Self::decode_row).
    pub fn decode_generated(&self, values: &[f32], first: u64) -> Result<Table> {
        Decoder { maps: self.quantile_maps(), ..Decoder::new(self, first) }.decode(values)
    }
}

/// Builds a table from vectors, one at a time.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    encoder: &'a Encoder,
    maps: Option<&'a QuantileMaps>,
    first: u64,
    rows: usize,
    columns: Vec<Part>,
}

/// The cells of one column so far.
#[derive(Clone, Debug)]
enum Part {
    /// NaN for null.
    Numbers(Vec<f64>),
    Places(Codes),
    Given,
}

impl<'a> Decoder<'a> {
    /// An empty table, whose next row is number `first`.
    pub fn new(encoder: &'a Encoder, first: u64) -> Self {
        let part = |kind: &Kind| match kind {
            kind if kind.is_numeric() => Part::Numbers(Vec::new()),
            kind if kind.is_discrete() => Part::Places(Codes::default()),
            _ => Part::Given,
        };
        let columns = encoder.schema().columns.iter().map(|column| part(&column.kind)).collect();
        Self { encoder, maps: None, first, rows: 0, columns }
    }

    /// Adds consecutive rows, and returns the table.
    fn decode(mut self, values: &[f32]) -> Result<Table> {
        let width = self.encoder.layout().width();
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(Error::Row {
                expected: width,
                found: format!("{} are given for several", values.len()),
            });
        }
        values.chunks_exact(width).try_for_each(|row| self.push(row))?;
        Ok(self.finish())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// As [`Encoder::decode_row`].
    pub fn push(&mut self, values: &[f32]) -> Result<()> {
        let cells = self.encoder.cells(values, self.maps)?;
        for ((part, cell), column) in self.columns.iter_mut().zip(cells).zip(&self.encoder.schema().columns) {
            match (part, cell) {
                (Part::Numbers(numbers), Cell::Number(number)) => numbers.push(number),
                (Part::Numbers(numbers), _) => numbers.push(f64::NAN),
                (Part::Places(codes), Cell::Place(place)) => codes.push(place as u32),
                (Part::Places(codes), _) => codes.push(column.kind.places() as u32),
                (Part::Given, _) => {}
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Returns the table, with the encoder's schema.
    pub fn finish(self) -> Table {
        let schema = self.encoder.schema();
        let (first, rows) = (self.first, self.rows);
        let column = |(part, kind): (Part, &Kind)| match part {
            Part::Numbers(numbers) => coded(&numbers),
            Part::Places(codes) => {
                let texts: Strings = (0..kind.places()).filter_map(|place| kind.place_text(place)).collect();
                Column::new(codes, Values::Text(texts))
            }
            Part::Given => given(kind, first, rows),
        };
        let columns =
            self.columns.into_iter().zip(schema.columns.iter().map(|column| &column.kind)).map(column);
        Table { schema: schema.clone(), columns: columns.collect(), rows, notes: Vec::new() }
    }
}

/// Converts numbers to codes, and NaN to null.
fn coded(numbers: &[f64]) -> Column {
    let mut values: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup_by_key(|number| number.to_bits());
    let mut codes = Codes::for_count(values.len() + 1, numbers.len());
    for number in numbers {
        let code = values.binary_search_by(|value| value.total_cmp(number)).unwrap_or(values.len());
        codes.push(code as u32);
    }
    Column::new(codes, Values::Numbers(values))
}

/// Numbers the rows of an identifier column, or repeats a constant.
fn given(kind: &Kind, first: u64, rows: usize) -> Column {
    let mut codes = Codes::for_count(rows + 1, rows);
    let mut texts = Strings::default();
    match kind {
        Kind::Identifier { prefix, digits, first: start } => {
            for row in 0..rows {
                let number = u128::from(*start) + u128::from(first) + row as u128;
                texts.push(&format!("{prefix}{number:0width$}", width = usize::from(*digits)));
                codes.push(row as u32);
            }
        }
        kind => {
            if let Kind::Constant { value } = kind {
                texts.push(value);
            }
            (0..rows).for_each(|_| codes.push(0));
        }
    }
    Column::new(codes, Values::Text(texts))
}

/// Returns the place of the greatest number in a choice, and the first of equal ones.
pub(super) fn arg_max(segment: &Segment, values: &[f32]) -> usize {
    let places = &values[segment.start..][..segment.shape.width()];
    places.iter().enumerate().fold(0, |best, (place, value)| if *value > places[best] { place } else { best })
}
