//! Reads and writes tables as parquet: flat columns of booleans, integers, numbers, dates, times and texts.

mod meaning;
mod write;

use std::fmt::Display;
use std::path::Path;

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::schema::types::ColumnDescriptor;

use super::error::{Error, Result};
use super::raw::{Raw, RawColumn};
use super::schema::{CsvFormat, MOST_COLUMNS, Schema, Storage, TableOptions};
use super::{MOST_ROWS, Table};
use crate::parquet::file::{self, CHUNK, Cause, Fault, ParquetFile};
use meaning::{Cell, Meaning};
pub(super) use write::write;

/// Maximum number of rows per byte of a file: a column of equal values takes almost no space.
const ROWS_PER_BYTE: u64 = 1000;

/// Reads a file, and infers what `options` does not say.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if it is not a parquet file, or has a column that is nested or of an
/// unsupported type; [`Error::Empty`]; [`Error::TooLarge`]; [`Error::Duplicate`]; and for the cells as
/// [`csv::read`](super::csv::read).
pub fn read(path: &Path, options: &TableOptions) -> Result<Table> {
    raw(path, None)?.infer(options)
}

/// Reads a file whose columns are those of `schema`: see [`Table::read_as`].
///
/// # Errors
/// As [`Table::read_as`].
pub fn read_as(path: &Path, schema: &Schema, others: bool) -> Result<Table> {
    raw(path, Some((schema, others)))?.conform(schema, others)
}

/// Reads the columns of a file. If `only` gives a schema and allows other columns, reads the schema's columns
/// only.
fn raw(path: &Path, only: Option<(&Schema, bool)>) -> Result<Raw> {
    let file = ParquetFile::open(path)?;
    let rows = file.rows();
    let most = MOST_ROWS.min(file.size().saturating_mul(ROWS_PER_BYTE));
    if rows > most {
        return Err(Error::TooLarge {
            path: path.into(),
            what: "a number of rows".into(),
            found: rows,
            most,
        });
    }
    let schema = file.schema();
    let count = schema.num_columns();
    if count == 0 || rows == 0 {
        return Err(Error::Empty { path: path.into(), header: count > 0 });
    }
    if count > MOST_COLUMNS {
        let what = "a number of columns".into();
        return Err(Error::TooLarge {
            path: path.into(),
            what,
            found: count as u64,
            most: MOST_COLUMNS as u64,
        });
    }
    let mut columns: Vec<RawColumn> = Vec::new();
    for leaf in 0..count {
        let descriptor = schema.column(leaf);
        let name = descriptor.path().string();
        if only.is_some_and(|(schema, others)| others && schema.position(&name).is_err()) {
            continue;
        }
        if let Some(first) = columns.iter().position(|column| column.name == name) {
            return Err(Error::Duplicate { path: path.into(), name, first: first + 1, second: leaf + 1 });
        }
        columns.push(Leaf { file: &file, index: leaf }.read(&name, &descriptor)?);
    }
    Ok(Raw { path: path.into(), csv: CsvFormat::default(), columns, rows: rows as usize, lines: false })
}

/// One column of a file.
struct Leaf<'a> {
    file: &'a ParquetFile,
    index: usize,
}

impl Leaf<'_> {
    fn read(&self, name: &str, descriptor: &ColumnDescriptor) -> Result<RawColumn> {
        let of_a_type = |what: String| damaged(self.file.path(), format!("column `{name}` {what}"));
        if descriptor.max_rep_level() > 0 || descriptor.path().parts().len() != 1 {
            return Err(of_a_type("of several values per row, which is not read".into()));
        }
        let meaning = Meaning::of(descriptor).map_err(of_a_type)?;
        let storage = meaning.storage();
        let mut column = RawColumn::new(name, storage);
        if matches!(storage, Storage::Days | Storage::Millis | Storage::Micros | Storage::Nanos) {
            self.dates(&mut column)?;
            return Ok(column);
        }
        self.each(|row, cell| {
            match cell.map(|cell| meaning.text(cell)) {
                Some(Ok(Some(text))) => drop(column.push(&text, row)),
                Some(Err(reason)) => {
                    return Err(damaged(self.file.path(), format!("row {row} of column `{name}`: {reason}")));
                }
                Some(Ok(None)) | None => column.push_null(row),
            }
            Ok(())
        })?;
        Ok(column)
    }

    /// Writes dates in the coarsest format that keeps all of them.
    fn dates(&self, column: &mut RawColumn) -> Result<()> {
        let mut all = Vec::new();
        self.each(|_, cell| {
            all.push(match cell {
                Some(Cell::Int(units)) => Some(units),
                _ => None,
            });
            Ok(())
        })?;
        let unit: i64 = match column.storage {
            Storage::Days => 86_400_000_000_000,
            Storage::Millis => 1_000_000,
            Storage::Micros => 1_000,
            _ => 1,
        };
        column.push_times(&all, unit).map_err(|reason| damaged(self.file.path(), reason))
    }

    /// Passes every cell and its row number to `take`, in order; None for a missing value.
    fn each(&self, mut take: impl FnMut(u64, Option<Cell>) -> Result<()>) -> Result<()> {
        self.file.chunks(self.index, next, |first, cells| {
            (first..).zip(cells).try_for_each(|(row, cell)| take(row, cell))
        })
    }
}

/// Returns the next rows, at most a chunk of them.
fn next(reader: &mut ColumnReader, defined: i16) -> Result<Vec<Option<Cell>>, ParquetError> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => cells(reader, defined, Cell::Bool),
        ColumnReader::Int32ColumnReader(reader) => cells(reader, defined, |value| Cell::Int(value.into())),
        ColumnReader::Int64ColumnReader(reader) => cells(reader, defined, Cell::Int),
        ColumnReader::FloatColumnReader(reader) => cells(reader, defined, Cell::Float),
        ColumnReader::DoubleColumnReader(reader) => cells(reader, defined, Cell::Double),
        ColumnReader::ByteArrayColumnReader(reader) => {
            cells(reader, defined, |value| Cell::Bytes(value.data().to_vec()))
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            cells(reader, defined, |value| Cell::Bytes(value.data().to_vec()))
        }
        _ => Err(ParquetError::General("a column of a type that is not read".into())),
    }
}

fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    defined: i16,
    cell: fn(T::T) -> Cell,
) -> Result<Vec<Option<Cell>>, ParquetError> {
    Ok(file::cells(reader, defined, CHUNK)?.into_iter().map(|value| value.map(cell)).collect())
}

impl From<Fault> for Error {
    fn from(Fault { path, cause }: Fault) -> Self {
        match cause {
            Cause::Io(operation, source) => Self::Io { operation, path, source },
            Cause::Damaged(reason) => damaged(&path, reason),
        }
    }
}

fn damaged(path: &Path, reason: impl Display) -> Error {
    Error::Format {
        path: path.into(),
        expected: "a parquet file of a table".into(),
        found: reason.to_string(),
    }
}
