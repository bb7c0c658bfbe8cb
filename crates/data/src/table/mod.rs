//! Tables: rows of numbers, categories, dates and gaps, from a file to encoded vectors and back.
//!
//! A [`Table`] holds codes and one dictionary of distinct values per column. Its [`Schema`] says what the columns are. An
//! [`Encoder`](encode::Encoder) turns a row into a vector of numbers, on demand, and a vector into a row. Nothing here knows of networks.

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
#[cfg(feature = "parquet")]
pub mod parquet;
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

/// One row of so many is held out where there is no file of such rows.
const HELD_OUT: usize = 5;

/// Rows of a table.
pub const MOST_ROWS: u64 = u32::MAX as u64 - 1;

/// The distinct values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of categories, booleans, identifiers and constants; texts in order, where all are numbers by their size.
    Text(Strings),
    /// Of numbers, integers and dates, ascending.
    Numbers(Vec<f64>),
}

impl Values {
    /// How many there are.
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

/// One column: a dictionary and the number of its entry in every row. A copy shares both.
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

    /// The entry of a row in [`values`](Self::values), or as many as there are where the row has no value.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn code(&self, row: usize) -> usize {
        self.codes.get(row) as usize
    }

    /// The distinct values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// How many rows have each value; the last number is that of rows without one.
    pub fn counts(&self) -> Vec<u64> {
        self.codes.counts(self.values.len() + 1)
    }

    /// The number in a row; None if it has none, or the column holds texts.
    pub fn number(&self, row: usize) -> Option<f64> {
        match &*self.values {
            Values::Numbers(numbers) => numbers.get(self.code(row)).copied(),
            Values::Text(_) => None,
        }
    }

    /// The text in a row; None if it has none, or the column holds numbers.
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

    /// The first row with an entry of the dictionary.
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
    /// Reads a file of comma-separated values or, if its name ends with `.parquet`, of parquet, and infers what `options` does not say.
    ///
    /// # Errors
    /// Those of [`csv::read`], of parquet files too.
    pub fn read(path: &Path, options: &TableOptions) -> Result<Self> {
        if !is_parquet(path) {
            return csv::read(path, options);
        }
        #[cfg(feature = "parquet")]
        return parquet::read(path, options);
        #[cfg(not(feature = "parquet"))]
        Err(Error::no_parquet(path))
    }

    /// Reads a file whose columns are those of `schema`, in any order; values that the schema does not know stay as they are.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a column is missing or, unless `others` may be there, too many; [`Error::Cell`]; and as [`read`](Self::read).
    pub fn read_as(path: &Path, schema: &Schema, others: bool) -> Result<Self> {
        if !is_parquet(path) {
            return csv::read_as(path, schema, others);
        }
        #[cfg(feature = "parquet")]
        return parquet::read_as(path, schema, others);
        #[cfg(not(feature = "parquet"))]
        Err(Error::no_parquet(path))
    }

    /// Reads the rows to learn from, and those that are held out: the rows of `options.test`, or a part of the one file.
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

    /// The rows to learn from and those that are held out: a fifth, chosen once and for all by the number of rows alone.
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

    /// What the columns are.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The columns in the schema's order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What is doubtful in the inferred schema, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The rows of some numbers, in this order, with the same dictionaries.
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

    /// A cell as it is written to a file of text; nulls as the schema spells them.
    ///
    /// # Panics
    /// If there is no such cell.
    pub fn cell_text(&self, row: usize, column: usize) -> String {
        let (own, schema) = (&self.columns[column], &self.schema.columns[column]);
        entry_text(own, schema, own.code(row)).unwrap_or_else(|| schema.null_text().to_owned())
    }

    /// Bytes of memory that codes and dictionaries take.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    /// SHA-256, in hex, over names, kinds and values of all columns, whatever the file's format, the spelling of nulls, booleans and
    /// numbers, and the size of the codes.
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

/// An entry of a column's dictionary as it is written; None for null.
fn entry_text(column: &Column, schema: &ColumnSchema, code: usize) -> Option<String> {
    match &*column.values {
        Values::Text(texts) => texts.get(code).map(str::to_owned),
        Values::Numbers(numbers) => {
            let value = *numbers.get(code)?;
            schema.kind.number_text(value).or_else(|| Some(value.to_string()))
        }
    }
}

/// The bytes that stand for an entry in a content hash.
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
        // Zero has one sign.
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

/// The parts of a data set of rows, and what makes vectors of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Fitted to the training rows.
    pub encoder: encode::Encoder,
    /// Training rows, the validation part among them.
    pub train: Table,
    /// Test rows.
    pub test: Table,
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

#[cfg(test)]
mod tests;
