//! Writes tables as comma-separated values, in the format of the original file.

use std::io::{self, Write};
use std::path::Path;

use super::error::{Error, Result};
use super::schema::{CsvFormat, Kind, Quotes};
use super::{Table, entry_text};

impl Table {
    /// Writes a file of comma-separated values or, if its name ends with `.parquet`, of parquet.
    ///
    /// # Errors
    /// [`Error::Io`], and errors of the parquet crate as [`Error::Format`].
    pub fn write(&self, path: &Path) -> Result<()> {
        if super::is_parquet(path) {
            #[cfg(feature = "parquet")]
            return super::parquet::write(self, path);
            #[cfg(not(feature = "parquet"))]
            return Err(Error::no_parquet(path));
        }
        let mut bytes = Vec::new();
        self.write_csv(&mut bytes).map_err(Error::io("write", path))?;
        Ok(waxwork_core::store::write(path, &bytes)?)
    }

    /// Writes comma-separated values: a header and all rows, with the delimiter, quotation marks, decimals,
    /// date formats and nulls of the schema. A file that was read and not changed is written with the same
    /// bytes if its cells are uniform: no plus signs, exponents or superfluous zeros in numbers, a single
    /// spelling of null, no needless quotation marks, and a line break at the end.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_csv(&self, to: &mut impl Write) -> io::Result<()> {
        let format = self.schema.csv;
        if format.bom {
            to.write_all(b"\xef\xbb\xbf")?;
        }
        let mut line = Vec::new();
        for (index, column) in self.schema.columns.iter().enumerate() {
            push(&format, index, column.name.as_bytes(), format.quotes != Quotes::Needed, &mut line);
        }
        end_line(&format, self.columns.len(), &mut line);
        to.write_all(&line)?;
        let spelled: Vec<Vec<Vec<u8>>> = (0..self.columns.len()).map(|column| self.spelled(column)).collect();
        for row in 0..self.rows {
            line.clear();
            for (column, spelled) in self.columns.iter().zip(&spelled) {
                line.extend_from_slice(&spelled[column.code(row)]);
            }
            end_line(&format, self.columns.len(), &mut line);
            to.write_all(&line)?;
        }
        Ok(())
    }

    /// Returns the bytes of every entry of a column and of null, with a leading delimiter.
    fn spelled(&self, index: usize) -> Vec<Vec<u8>> {
        let (column, schema, format) = (&self.columns[index], &self.schema.columns[index], &self.schema.csv);
        let is_text = match &schema.kind {
            Kind::Number { .. } | Kind::Integer { .. } => false,
            // As R does, write numeric categories as numbers.
            Kind::Category { values, .. } => values.iter().any(|value| super::number::parse(value).is_none()),
            Kind::Boolean { no, .. } => no != "0",
            _ => true,
        };
        let spell = |code| {
            let mut bytes = Vec::new();
            let text = entry_text(column, schema, code);
            let quoted =
                format.quotes == Quotes::All || format.quotes == Quotes::Texts && is_text && text.is_some();
            let text = text.as_deref().unwrap_or(schema.null_text());
            push(format, index, text.as_bytes(), quoted, &mut bytes);
            bytes
        };
        (0..=column.values().len()).map(spell).collect()
    }
}

/// Adds a cell and the delimiter before it.
fn push(format: &CsvFormat, index: usize, text: &[u8], quoted: bool, line: &mut Vec<u8>) {
    let delimiter = format.delimiter.byte();
    let mut cell = text.to_vec();
    if index > 0 {
        line.push(delimiter);
        // In quotation marks too, because a space before them would make them part of the text.
        if format.spaced {
            cell.insert(0, b' ');
        }
    }
    let special = text.iter().any(|byte| *byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r'));
    if quoted || special { quote(&cell, line) } else { line.extend_from_slice(&cell) }
}

fn end_line(format: &CsvFormat, columns: usize, line: &mut Vec<u8>) {
    // An empty line would not count as a row.
    if columns == 1 && line.is_empty() {
        line.extend_from_slice(b"\"\"");
    }
    if format.crlf {
        line.push(b'\r');
    }
    line.push(b'\n');
}

/// Adds a text in quotation marks, with those in it doubled.
pub(crate) fn quote(text: &[u8], line: &mut Vec<u8>) {
    line.push(b'"');
    for byte in text {
        if *byte == b'"' {
            line.push(b'"');
        }
        line.push(*byte);
    }
    line.push(b'"');
}
