//! Errors of tables. Each is one line that names the file, the column and the place.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The position of a value in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The line of a text file, counted from 1.
    Line(u64),
    /// The row of a table, counted from 0 without the header.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// An error between a file of rows and a vector of numbers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written.
    #[error(transparent)]
    Core(#[from] waxwork_core::Error),

    /// The system refused to read or write a file.
    #[error("failed to {operation} {}: {source}", path.display())]
    Io {
        /// The operation: `open`, `read`, `write` …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A file is not what its format promises.
    #[error("{} is damaged: expected {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format or the file's own header requires.
        expected: String,
        /// What is there.
        found: String,
    },

    /// A file holds no rows.
    #[error("{} is an empty table: {}", path.display(), if *header { "it has a header but no rows" } else { "it has neither a header nor rows" })]
    Empty {
        /// The file.
        path: PathBuf,
        /// Whether there is a header.
        header: bool,
    },

    /// The first line of a file is a row of values.
    #[error("{} has no header: its first line is a row of values (`{first}` …); add a line with the column names above it", path.display())]
    NoHeader {
        /// The file.
        path: PathBuf,
        /// The first cell.
        first: String,
    },

    /// A row's number of cells is not that of the header.
    #[error("{}, line {line}: {found} cells, but the header has {expected}", path.display())]
    Ragged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// Columns of the header.
        expected: u64,
        /// Cells of the row.
        found: u64,
    },

    /// Two columns have the same name.
    #[error("{} has two columns named `{name}`: columns {first} and {second}; rename one", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// The first of the columns, counted from 1.
        first: usize,
        /// The second.
        second: usize,
    },

    /// Columns in memory differ in length.
    #[error("{}: column `{name}` has {found} values, but the other columns have {expected}", path.display())]
    Lengths {
        /// The name of the table.
        path: PathBuf,
        /// The column.
        name: String,
        /// Number of values in the first column.
        expected: usize,
        /// Number of values in this one.
        found: usize,
    },

    /// A file of text is not UTF-8.
    #[error("{}, line {line}: the text is not UTF-8 but {guess}; convert the file to UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The likely encoding.
        guess: &'static str,
    },

    /// A column of numbers has decimal commas.
    #[error(
        "{}, {place}: column `{column}` has numbers with a comma (`{value}`); use a decimal point and no thousands \
         separators, or set its kind to `category`", path.display()
    )]
    DecimalComma {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The first such cell.
        place: Place,
        /// Its text.
        value: String,
    },

    /// A column has no value in any row.
    #[error("{}: column `{column}` has no value in any row; remove it, or set its kind to `constant`", path.display())]
    AllNull {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },

    /// A cell is not of its column's kind.
    #[error("{}, {place}: column `{column}` holds `{value}`, which is not {expected}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The first such cell.
        place: Place,
        /// Its text.
        value: String,
        /// What it should be, with an article.
        expected: String,
    },

    /// The requested column does not exist.
    #[error("unknown column `{name}`{}", hint(nearest.as_deref()))]
    UnknownColumn {
        /// The requested name.
        name: String,
        /// The most similar name of a column.
        nearest: Option<String>,
    },

    /// The columns of a file are not those of a schema.
    #[error("{} does not fit the schema: {reason}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which column is missing or too many.
        reason: String,
    },

    /// A value is not among those that a schema knows.
    #[error(
        "column `{column}`: {} not in the schema, which allows {known}{}", outside(value.as_deref(), *row), hint(nearest.as_deref())
    )]
    Outside {
        /// The column.
        column: String,
        /// The value; None for a null.
        value: Option<String>,
        /// The first row with it, counted from 0, if it is from a table.
        row: Option<usize>,
        /// The values in the schema.
        known: String,
        /// The most similar known value.
        nearest: Option<String>,
    },

    /// A condition names a column without classes.
    #[error("column `{column}` is of kind {kind}, which has no classes")]
    NoClasses {
        /// The column.
        column: String,
        /// Its kind.
        kind: &'static str,
    },

    /// A size in a file exceeds a limit.
    #[error("{}: {what} of {found} where at most {most} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is too large.
        what: String,
        /// Its size.
        found: u64,
        /// The limit.
        most: u64,
    },

    /// A schema, an encoder or an override contradicts itself.
    #[error("invalid schema{}: {reason}", column.as_ref().map_or(String::new(), |name| format!(" of column `{name}`")))]
    Schema {
        /// The column, if only one is wrong.
        column: Option<String>,
        /// What is wrong.
        reason: String,
    },

    /// A quantile map contradicts itself, or does not fit the encoder.
    #[error("invalid quantile map{}: {reason}", column.as_ref().map_or(String::new(), |name| format!(" of column `{name}`")))]
    QuantileMap {
        /// The column, if only one is wrong.
        column: Option<String>,
        /// What is wrong.
        reason: String,
    },

    /// A vector is not an encoded row.
    #[error("an encoded row must have {expected} finite numbers, but {found}")]
    Row {
        /// The width of the layout.
        expected: usize,
        /// What the vector has instead.
        found: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

fn outside(value: Option<&str>, row: Option<usize>) -> String {
    let value = value.map_or("a missing value is".into(), |value| format!("`{value}` is"));
    row.map_or(value.clone(), |row| format!("row {row}: {value}"))
}

impl Error {
    /// Turns an `io::Error` into [`Error::Io`]: `.map_err(Error::io("open", path))`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { operation, path, source }
    }

    /// Returns the error for a parquet file in a build without parquet support.
    #[cfg(not(feature = "parquet"))]
    pub(crate) fn no_parquet(path: &Path) -> Self {
        Self::Format {
            path: path.to_path_buf(),
            expected: "comma-separated values".into(),
            found: "parquet, which needs a build with the feature `hub`".into(),
        }
    }

    /// Returns an [`Error::Schema`] of one column.
    pub(crate) fn schema(column: &str, reason: impl Into<String>) -> Self {
        Self::Schema { column: Some(column.into()), reason: reason.into() }
    }
}
