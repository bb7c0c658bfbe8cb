//! Tables: rows of numbers, categories, dates and missing values, from a file to encoded vectors and back.
//!
//! A [`Table`] holds codes and one dictionary of distinct values per column. Its [`Schema`] describes the
//! columns. An [`Encoder`](encode::Encoder) turns a row into a vector of numbers, on demand, and a vector
//! into a row. This module does not depend on networks.

pub mod clinic;
pub mod csv;
pub mod date;
pub mod decode;
pub mod describe;
mod dialect;
pub mod encode;
mod error;
mod infer;
mod intern;
mod layout;
pub mod modes;
mod number;
mod options;
mod pairs;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod quantile_map;
mod raw;
mod rows;
mod schema;
mod source;
mod typed;
pub mod write;

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use error::{Error, Place, Result};
pub use intern::{Codes, Strings};
pub use number::Decimals;
pub use schema::{
    CATEGORIES, ColumnOverride, ColumnSchema, CsvFormat, Delimiter, Kind, KindName, MOST_COLUMNS, Quotes,
    Schema, Storage, TableOptions,
};
pub(crate) use source::TableRows;
pub use typed::{TypedColumn, TypedValues};

/// Without a file of held-out rows, one row in this number is held out.
const HELD_OUT: usize = 5;

/// Maximum number of rows of a table.
pub const MOST_ROWS: u64 = u32::MAX as u64 - 1;

/// The distinct values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Values of categories, booleans, identifiers and constants. Texts are sorted: by size if all are
    /// numbers, else by bytes.
    Text(Strings),
    /// Values of numbers, integers and dates, ascending.
    Numbers(Vec<f64>),
}

impl Values {
    /// Returns the number of distinct values.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(texts) => texts.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// True if no row has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One column: a dictionary, and the number of a dictionary entry for every row. A clone shares both.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    codes: Arc<Codes>,
    values: Arc<Values>,
}

impl Column {
    /// A code equal to the number of values stands for null.
    fn new(codes: Codes, values: Values) -> Self {
        Self { codes: Arc::new(codes), values: Arc::new(values) }
    }

    /// Returns the entry of a row in [`values`](Self::values), or the number of entries for a row without a
    /// value.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn code(&self, row: usize) -> usize {
        self.codes.get(row) as usize
    }

    /// Returns the distinct values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Returns the number of rows with each value. The last number counts the rows without one.
    pub fn counts(&self) -> Vec<u64> {
        self.codes.counts(self.values.len() + 1)
    }

    /// Returns the number in a row; None if it has none, or the column holds texts.
    pub fn number(&self, row: usize) -> Option<f64> {
        match &*self.values {
            Values::Numbers(numbers) => numbers.get(self.code(row)).copied(),
            Values::Text(_) => None,
        }
    }

    /// Returns the text in a row; None if it has none, or the column holds numbers.
    pub fn text(&self, row: usize) -> Option<&str> {
        match &*self.values {
            Values::Text(texts) => texts.get(self.code(row)),
            Values::Numbers(_) => None,
        }
    }

    /// Whether a row has no value.
    pub fn is_null(&self, row: usize) -> bool {
        self.code(row) >= self.values.len()
    }

    /// Returns the first row with this dictionary entry.
    fn first_row(&self, code: usize) -> Option<usize> {
        self.codes.iter().position(|other| other as usize == code)
    }

    fn bytes(&self) -> usize {
        let values = match &*self.values {
            Values::Text(texts) => texts.bytes(),
            Values::Numbers(numbers) => numbers.capacity() * size_of::<f64>(),
        };
        self.codes.bytes() + values
    }
}

/// Rows of values in columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    schema: Arc<Schema>,
    columns: Vec<Column>,
    rows: usize,
    notes: Vec<String>,
}

impl Table {
    /// Reads a file of comma-separated values or, if its name ends with `.parquet`, of parquet, and infers
    /// what `options` does not say.
    ///
    /// # Errors
    /// Those of [`csv::read`], for parquet files too.
    pub fn read(path: &Path, options: &TableOptions) -> Result<Self> {
        if !is_parquet(path) {
            return csv::read(path, options);
        }
        #[cfg(feature = "parquet")]
        return parquet::read(path, options);
        #[cfg(not(feature = "parquet"))]
        Err(Error::no_parquet(path))
    }

    /// Reads a file whose columns are those of `schema`, in any order. Values that the schema does not know
    /// are kept.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a column is missing or, unless `others` is true, if there is an additional one;
    /// [`Error::Cell`]; and as [`read`](Self::read).
    pub fn read_as(path: &Path, schema: &Schema, others: bool) -> Result<Self> {
        if !is_parquet(path) {
            return csv::read_as(path, schema, others);
        }
        #[cfg(feature = "parquet")]
        return parquet::read_as(path, schema, others);
        #[cfg(not(feature = "parquet"))]
        Err(Error::no_parquet(path))
    }

    /// Reads the training rows and the held-out rows: those of `options.test`, or a share of the one file.
    ///
    /// # Errors
    /// Those of [`Table::read`] and [`Table::read_as`].
    pub fn read_parts(path: &Path, options: &TableOptions) -> Result<(Self, Self)> {
        let rows = Self::read(path, options)?;
        match &options.test {
            Some(test) => {
                let held_out = Self::read_as(test, rows.schema(), false)?;
                Ok((rows, held_out))
            }
            None => Ok(rows.split()),
        }
    }

    /// Splits into training rows and held-out rows: a fixed fifth that depends only on the number of rows.
    pub fn split(&self) -> (Self, Self) {
        let order = crate::selection::fixed_order(self.rows, |_| None);
        let (held_out, training) = order.split_at(self.rows / HELD_OUT);
        let ascending = |rows: &[u32]| {
            let mut rows: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
            rows.sort_unstable();
            self.subset(&rows)
        };
        (ascending(training), ascending(held_out))
    }

    /// Returns the schema of the columns.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the columns in the schema's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the doubtful points of the inferred schema, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the rows with these numbers, in this order, with the same dictionaries.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn subset(&self, rows: &[usize]) -> Self {
        let gather = |column: &Column| Column {
            codes: Arc::new(column.codes.gathered(rows)),
            values: Arc::clone(&column.values),
        };
        Self {
            schema: Arc::clone(&self.schema),
            columns: self.columns.iter().map(gather).collect(),
            rows: rows.len(),
            notes: Vec::new(),
        }
    }

    /// Returns a cell as text files write it; a null in the schema's spelling.
    ///
    /// # Panics
    /// If there is no such cell.
    pub fn cell_text(&self, row: usize, column: usize) -> String {
        let (own, schema) = (&self.columns[column], &self.schema.columns[column]);
        entry_text(own, schema, own.code(row)).unwrap_or_else(|| schema.null_text().to_owned())
    }

    /// Returns the bytes of memory of codes and dictionaries.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    /// Returns the SHA-256, in hex, of the names, kinds and values of all columns. It does not depend on the
    /// file's format, the spelling of nulls, booleans and numbers, or the size of the codes.
    pub fn content_hash(&self) -> String {
        let mut hash = Sha256::new();
        let text = |hash: &mut Sha256, bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        text(&mut hash, b"waxwork table 1");
        hash.update((self.rows as u64).to_le_bytes());
        for (column, schema) in self.columns.iter().zip(&self.schema.columns) {
            text(&mut hash, schema.name.as_bytes());
            text(&mut hash, schema.kind.name().as_bytes());
            let entries: Vec<[u8; 32]> = (0..=column.values.len())
                .map(|code| Sha256::digest(canonical(column, &schema.kind, code)).into())
                .collect();
            for code in column.codes.iter() {
                hash.update(entries[code as usize]);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns a dictionary entry as text; None for null.
fn entry_text(column: &Column, schema: &ColumnSchema, code: usize) -> Option<String> {
    match &*column.values {
        Values::Text(texts) => texts.get(code).map(str::to_owned),
        Values::Numbers(numbers) => {
            let value = *numbers.get(code)?;
            schema.kind.number_text(value).or_else(|| Some(value.to_string()))
        }
    }
}

/// Returns the bytes of an entry for the content hash.
fn canonical(column: &Column, kind: &Kind, code: usize) -> Vec<u8> {
    let tagged = |tag: u8, bytes: &[u8]| [&[tag], bytes].concat();
    match (&*column.values, kind) {
        (values, _) if code >= values.len() => vec![0],
        (Values::Numbers(numbers), Kind::Date { format, .. }) => {
            let units = numbers[code] as i64;
            match format.unit().nanos() {
                Some(nanos) => tagged(1, &(i128::from(units) * i128::from(nanos)).to_le_bytes()),
                None => tagged(2, &units.to_le_bytes()),
            }
        }
        // Give zero one sign.
        (Values::Numbers(numbers), _) => tagged(3, &(numbers[code] + 0.0).to_le_bytes()),
        (Values::Text(texts), kind) => {
            let text = texts.get(code).unwrap_or_default();
            match kind {
                Kind::Boolean { yes, .. } => tagged(4, &[u8::from(text == yes)]),
                _ => tagged(5, text.as_bytes()),
            }
        }
    }
}

/// The parts of a data set of rows, and their encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Fitted to the training rows.
    pub encoder: encode::Encoder,
    /// Training rows, including the validation part.
    pub train: Table,
    /// Test rows.
    pub test: Table,
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

#[cfg(test)]
mod tests;
