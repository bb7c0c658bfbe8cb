//! Errors of the evaluation of a table.

/// An error of a table's evaluation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A measure needs more rows.
    #[error("at least {needed} {whose} rows are needed, but there are only {found}")]
    TooFewRows {
        /// Real, synthetic, training, holdout …
        whose: &'static str,
        /// The number of rows that the measure needs.
        needed: usize,
        /// The number of rows that there are.
        found: usize,
    },

    /// A table without columns.
    #[error("the {whose} table has no columns")]
    NoColumns {
        /// Real or synthetic.
        whose: String,
    },

    /// The columns of two tables differ.
    #[error(
        "the columns of the {whose} table are not those of the {reference} table: missing [{}], unknown [{}]",
        missing.join(", "), unknown.join(", ")
    )]
    ColumnMismatch {
        /// The table whose columns differ.
        whose: String,
        /// The reference table.
        reference: String,
        /// The columns that it lacks.
        missing: Vec<String>,
        /// The columns that only it has.
        unknown: Vec<String>,
    },

    /// Two columns have the same name.
    #[error("the {whose} table has two columns named `{column}`")]
    DuplicateColumn {
        /// Real or synthetic.
        whose: String,
        /// The name.
        column: String,
    },

    /// A column holds numbers in one table and categories in another.
    #[error("column `{column}` holds {found} in the {whose} table and {expected} in the {reference} table")]
    ColumnKind {
        /// Name of the column.
        column: String,
        /// The table whose column differs.
        whose: String,
        /// Its contents in that table: numbers or categories.
        found: &'static str,
        /// The reference table.
        reference: String,
        /// Its contents in the reference table.
        expected: &'static str,
    },

    /// The columns of a table differ in length.
    #[error("column `{column}` of the {whose} table has {found} rows, but the first column has {expected}")]
    RaggedColumn {
        /// Name of the column.
        column: String,
        /// Real or synthetic.
        whose: String,
        /// Rows of this column.
        found: usize,
        /// Rows of the first column.
        expected: usize,
    },

    /// A number that is infinite. A NaN is a null.
    #[error("column `{column}` of the {whose} table is infinite in row {row}")]
    Infinite {
        /// Name of the column.
        column: String,
        /// Real or synthetic.
        whose: String,
        /// Row, counted from zero.
        row: usize,
    },

    /// A code without a category name.
    #[error(
        "column `{column}` of the {whose} table has code {code} in row {row}, but there are only {names} names"
    )]
    UnknownCode {
        /// Name of the column.
        column: String,
        /// Real or synthetic.
        whose: String,
        /// Row, counted from zero.
        row: usize,
        /// The code.
        code: u32,
        /// The number of names.
        names: usize,
    },

    /// The requested column does not exist in the table.
    #[error("there is no column `{column}`")]
    NoSuchColumn {
        /// Name of the column.
        column: String,
    },

    /// The requested category does not exist in the column.
    #[error("column `{column}` has no value `{value}`")]
    NoSuchValue {
        /// Name of the column.
        column: String,
        /// The value.
        value: String,
    },

    /// A target with fewer than two classes.
    #[error("the {whose} rows of `{column}` hold a single class, so no classifier can learn from them")]
    SingleClass {
        /// Real, test …
        whose: &'static str,
        /// Name of the target.
        column: String,
    },

    /// A target of numbers where categories are needed, or the reverse.
    #[error("the target `{column}` must hold {needed}")]
    TargetKind {
        /// Name of the target.
        column: String,
        /// Numbers or categories.
        needed: &'static str,
    },

    /// The target is the only column.
    #[error("`{column}` is the only column, so nothing can predict it")]
    NoFeatures {
        /// Name of the target.
        column: String,
    },

    /// Labels, weights or predictions have different lengths.
    #[error("{what}: {found} values where {expected} are needed")]
    Length {
        /// What has the wrong length.
        what: &'static str,
        /// The length found.
        found: usize,
        /// The length needed.
        expected: usize,
    },

    /// A setting outside its range.
    #[error("`{key}` is {value}: {reason}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: f64,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// More rows or features than an index can count.
    #[error("too many {what}: {found}, but at most {most} are supported")]
    TooMany {
        /// Rows, features …
        what: &'static str,
        /// The number found.
        found: usize,
        /// The largest number allowed.
        most: usize,
    },
}

/// A result with this module's error.
pub type Result<T> = std::result::Result<T, Error>;
