//! Dialects of files of comma-separated values.

use serde::{Deserialize, Serialize};

/// The dialect of a file of comma-separated values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvFormat {
    /// The delimiter between cells.
    pub delimiter: Delimiter,
    /// Which cells are quoted.
    pub quotes: Quotes,
    /// Whether a space follows every delimiter.
    pub spaced: bool,
    /// Whether lines end with a carriage return and a line feed.
    pub crlf: bool,
    /// Whether the file begins with a byte order mark.
    pub bom: bool,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self { delimiter: Delimiter::Comma, quotes: Quotes::Needed, spaced: false, crlf: false, bom: false }
    }
}

/// The delimiter between cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Delimiter {
    Comma,
    Semicolon,
    Tab,
    Bar,
}

impl Delimiter {
    /// All delimiters.
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Bar];

    /// Returns the delimiter's byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Bar => b'|',
        }
    }
}

/// Which cells are in quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quotes {
    /// Cells that need quotation marks.
    Needed,
    /// All cells except numbers and nulls.
    Texts,
    /// All cells.
    All,
}
