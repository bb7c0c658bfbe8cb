//! The schema of a table: the kinds of its columns, the format of their values, and the possible values. A
//! schema is inferred from a file, changed by a recipe's overrides, and saved with a run.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::date::DateFormat;
pub use super::dialect::{CsvFormat, Delimiter, Quotes};
use super::error::{Error, Result};
use super::number::{Decimals, MOST_DECIMALS};
pub use super::options::{ColumnOverride, KindName, TableOptions};
use crate::names::nearest;

/// Maximum number of columns of a table.
pub const MOST_COLUMNS: usize = 20_000;
/// Maximum number of bytes of a column name.
pub(crate) const MOST_NAME: usize = 1000;
/// Default number of categories of a column beyond which the rarest become `other`.
pub const CATEGORIES: usize = 500;
/// Maximum number of categories that a recipe may allow.
pub(crate) const MOST_CATEGORIES: usize = 100_000;

/// The kind of a column's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    /// Numbers with decimals.
    Number {
        /// Smallest value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// Their format.
        decimals: Decimals,
    },
    /// Whole numbers.
    Integer {
        /// Smallest value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// Number of zeros after the decimal point, which other programs write into columns with missing
        /// values: `3.0`.
        zeros: u8,
    },
    /// One of several texts.
    Category {
        /// The texts in order. Each is a place in the encoded row.
        values: Vec<String>,
        /// The text for all rarer values, with a place of its own; None if there are no rarer ones.
        other: Option<String>,
    },
    /// One of two texts.
    Boolean {
        /// The text of false.
        no: String,
        /// The text of true.
        yes: String,
    },
    /// Dates or date-times, as whole numbers of the format's unit since 1970.
    Date {
        /// Their format.
        format: DateFormat,
        /// The first.
        min: i64,
        /// The last.
        max: i64,
    },
    /// Names of rows, which are never learned. Row r gets the number `first + r`.
    Identifier {
        /// The text before the number.
        prefix: String,
        /// Minimum number of digits of the number.
        digits: u8,
        /// The number of row 0, above all numbers in the file.
        first: u64,
    },
    /// The same value in all rows.
    Constant {
        /// The text.
        value: String,
    },
}

impl Kind {
    /// Returns the kind's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Number { .. } => "number",
            Self::Integer { .. } => "integer",
            Self::Category { .. } => "category",
            Self::Boolean { .. } => "boolean",
            Self::Date { .. } => "date",
            Self::Identifier { .. } => "identifier",
            Self::Constant { .. } => "constant",
        }
    }

    /// True for number, integer and date, which are encoded by modes.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Number { .. } | Self::Integer { .. } | Self::Date { .. })
    }

    /// True for category and boolean, whose values are places.
    pub fn is_discrete(&self) -> bool {
        matches!(self, Self::Category { .. } | Self::Boolean { .. })
    }

    /// Returns the number of places of a discrete column, including `other` but not null; 0 for other kinds.
    pub fn places(&self) -> usize {
        match self {
            Self::Category { values, other } => values.len() + usize::from(other.is_some()),
            Self::Boolean { .. } => 2,
            _ => 0,
        }
    }

    /// Returns the text of a place of a discrete column.
    pub fn place_text(&self, place: usize) -> Option<&str> {
        match self {
            Self::Category { values, other } => {
                values.get(place).or(other.as_ref().filter(|_| place == values.len())).map(String::as_str)
            }
            Self::Boolean { no, yes } => [no, yes].get(place).map(|text| text.as_str()),
            _ => None,
        }
    }

    /// Returns the place of a text in a discrete column; that of `other`, if there is one, for rarer texts.
    pub fn place_of(&self, text: &str) -> Option<usize> {
        match self {
            Self::Category { values, other } => {
                values.iter().position(|value| value == text).or(other.as_ref().map(|_| values.len()))
            }
            Self::Boolean { no, yes } => [no, yes].iter().position(|value| *value == text),
            _ => None,
        }
    }

    /// Whether the schema lists this text as a value.
    pub(crate) fn has_text(&self, text: &str) -> bool {
        match self {
            Self::Category { values, .. } => values.iter().any(|value| value == text),
            Self::Constant { value } => value == text,
            _ => false,
        }
    }

    /// Formats a number of a numeric column; None for other kinds and for a date beyond the calendar.
    pub fn number_text(&self, value: f64) -> Option<String> {
        match self {
            Self::Number { decimals, .. } => Some(decimals.text(value)),
            Self::Integer { zeros, .. } => Some(Decimals { most: 0, least: *zeros }.text(value)),
            Self::Date { format, .. } => format.text(value as i64),
            _ => None,
        }
    }

    /// Moves a number to the nearest valid value of the column: rounds it, and clips it to the range.
    pub fn snap(&self, value: f64) -> f64 {
        match self {
            Self::Number { min, max, decimals } => decimals.round(value.clamp(*min, *max)).clamp(*min, *max),
            Self::Integer { min, max, .. } => libm::rint(value).clamp(*min, *max),
            Self::Date { min, max, .. } => libm::rint(value).clamp(*min as f64, *max as f64),
            _ => value,
        }
    }
}

/// The storage type of a column in a file with typed columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// From a text file; the kind decides.
    #[default]
    Untyped,
    /// Texts.
    Text,
    /// Booleans.
    Boolean,
    /// Integers of 32 bits.
    Int32,
    /// Integers of 64 bits.
    Int64,
    /// Numbers of 32 bits.
    Float,
    /// Numbers of 64 bits.
    Double,
    /// Days since 1970.
    Days,
    /// Milliseconds since 1970.
    Millis,
    /// Microseconds since 1970.
    Micros,
    /// Nanoseconds since 1970.
    Nanos,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSchema {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// Texts that mean a missing value; the first one is used for writing.
    pub nulls: Vec<String>,
    /// Share of rows without a value, 0 to 1. If it is 0, the schema does not allow missing values.
    pub null_share: f64,
    /// The storage type in a file with typed columns.
    #[serde(default)]
    pub storage: Storage,
}

impl ColumnSchema {
    /// Whether a value may be missing.
    pub fn has_null(&self) -> bool {
        self.null_share > 0.0
    }

    /// Returns the text to write for a missing value.
    pub fn null_text(&self) -> &str {
        self.nulls.first().map_or("", String::as_str)
    }

    fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(Error::schema(&self.name, reason));
        if self.name.len() > MOST_NAME {
            return Err(Error::Schema {
                column: None,
                reason: format!("a column name has {} bytes, more than {MOST_NAME}", self.name.len()),
            });
        }
        if !(0.0..=1.0).contains(&self.null_share) {
            return wrong(format!("the null share is {}, not 0 to 1", self.null_share));
        }
        match &self.kind {
            Kind::Number { min, max, decimals } => {
                if !(min <= max && min.is_finite() && max.is_finite()) {
                    return wrong(format!("the range {min} to {max} is empty or infinite"));
                }
                if decimals.most > MOST_DECIMALS || decimals.least > MOST_DECIMALS {
                    return wrong(format!("it has more than {MOST_DECIMALS} decimals"));
                }
            }
            Kind::Integer { min, max, zeros } => {
                let whole = |value: f64| value.abs() <= super::number::EXACT && libm::rint(value) == value;
                if !(min <= max && whole(*min) && whole(*max)) || *zeros > MOST_DECIMALS {
                    return wrong(format!("there are no integers from {min} to {max} with {zeros} zeros"));
                }
            }
            Kind::Category { values, other } => {
                if values.is_empty() || values.len() > MOST_CATEGORIES {
                    return wrong(format!("it has {} categories, not 1 to {MOST_CATEGORIES}", values.len()));
                }
                let mut seen = HashSet::new();
                if let Some(twice) = values.iter().chain(other).find(|value| !seen.insert(value.as_str())) {
                    return wrong(format!("the category `{twice}` is listed twice"));
                }
            }
            Kind::Boolean { no, yes } if no == yes => {
                return wrong(format!("`{no}` means both true and false"));
            }
            Kind::Date { format, min, max } => {
                if min > max || format.text(*min).is_none() || format.text(*max).is_none() {
                    return wrong(format!(
                        "the dates {min} to {max}, in {:?}s after 1970, are not possible",
                        format.unit()
                    ));
                }
            }
            Kind::Boolean { .. } | Kind::Identifier { .. } | Kind::Constant { .. } => {}
        }
        Ok(())
    }
}

/// All columns of a table, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Schema {
    /// The columns.
    pub columns: Vec<ColumnSchema>,
    /// The dialect of a text file.
    pub csv: CsvFormat,
}

/// A schema as read from a file, which may be inconsistent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    columns: Vec<ColumnSchema>,
    #[serde(default)]
    csv: CsvFormat,
}

impl TryFrom<Unchecked> for Schema {
    type Error = Error;

    fn try_from(from: Unchecked) -> Result<Self> {
        Self::new(from.columns, from.csv)
    }
}

impl Schema {
    /// Makes a schema of these columns.
    ///
    /// # Errors
    /// [`Error::Schema`] if there is no column or too many, two have the same name, or a column is
    /// inconsistent.
    pub fn new(columns: Vec<ColumnSchema>, csv: CsvFormat) -> Result<Self> {
        if columns.is_empty() || columns.len() > MOST_COLUMNS {
            return Err(Error::Schema { column: None, reason: format!("{} columns", columns.len()) });
        }
        columns.iter().try_for_each(ColumnSchema::check)?;
        let mut seen = HashSet::new();
        if let Some(twice) = columns.iter().find(|column| !seen.insert(column.name.as_str())) {
            return Err(Error::schema(&twice.name, "there are two columns of this name"));
        }
        Ok(Self { columns, csv })
    }

    /// Returns the position of a column.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`] with the nearest name.
    pub fn position(&self, name: &str) -> Result<usize> {
        let found = self.columns.iter().position(|column| column.name == name);
        found.ok_or_else(|| unknown(name, self.columns.iter().map(|column| column.name.as_str())))
    }

    /// Returns the schema of some columns, in the order of `names`.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`]; [`Error::Schema`] if a column is named twice, or none is named.
    pub fn select<S: AsRef<str>>(&self, names: &[S]) -> Result<Self> {
        let column = |name: &S| Ok(self.columns[self.position(name.as_ref())?].clone());
        Self::new(names.iter().map(column).collect::<Result<_>>()?, self.csv)
    }
}

/// Returns an [`Error::UnknownColumn`].
pub(crate) fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    Error::UnknownColumn { name: name.into(), nearest: nearest(name, known) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn category(name: &str, values: &[&str]) -> ColumnSchema {
        let kind = Kind::Category { values: values.iter().map(ToString::to_string).collect(), other: None };
        ColumnSchema { name: name.into(), kind, nulls: vec![], null_share: 0.0, storage: Storage::Untyped }
    }

    #[test]
    fn a_schema_comes_back_from_json_and_a_wrong_one_does_not() {
        let date = Kind::Date { format: DateFormat::new("%Y-%m-%d").unwrap(), min: -3, max: 20_000 };
        let mut columns = vec![category("a", &["x", "y"]), category("b", &["z"])];
        columns[1].kind = date;
        let schema = Schema::new(columns, CsvFormat::default()).unwrap();
        let json = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&json).unwrap(), schema);
        for (from, to, says) in [
            ("\"y\"", "\"x\"", "the category `x` is listed twice"),
            ("\"name\":\"b\"", "\"name\":\"a\"", "two columns of this name"),
            ("-3", "30000", "the dates 30000"),
            ("%Y-%m-%d", "%Y-%q", "unknown part"),
            ("\"null_share\":0.0", "\"null_share\":2.0", "the null share is 2, not 0 to 1"),
            ("\"name\":\"a\"", "\"nome\":\"a\"", "unknown field"),
        ] {
            let broken = json.replacen(from, to, 1);
            assert_ne!(broken, json, "{from}");
            let error = serde_json::from_str::<Schema>(&broken).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn an_override_with_an_unknown_key_is_refused() {
        let error =
            serde_json::from_str::<TableOptions>(r#"{"columns":{"a":{"knd":"number"}}}"#).unwrap_err();
        assert!(error.to_string().contains("knd"), "{error}");
        let options = serde_json::from_str::<TableOptions>(r#"{"columns":{"a":{"kind":"number"}}}"#).unwrap();
        assert_eq!(options.columns["a"].kind, Some(KindName::Number));
        assert_eq!(options.max_categories, 500);
    }

    #[test]
    fn an_unknown_column_is_named_with_the_nearest() {
        let schema = Schema::new(vec![category("income", &["x"])], CsvFormat::default()).unwrap();
        let error = schema.position("incom").unwrap_err().to_string();
        assert_eq!(error, "unknown column `incom` (did you mean `income`?)");
    }
}
