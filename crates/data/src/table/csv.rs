//! Reads comma-separated values. It detects the dialect of a file, and accepts the file as a table only if it
//! has a header and rows of equal length.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use ::csv::{ByteRecord, Reader, ReaderBuilder};
use waxwork_core::store::refuse_special;

use super::error::{Error, Result};
use super::raw::{Raw, RawColumn};
use super::schema::{CsvFormat, Delimiter, MOST_COLUMNS, MOST_NAME, Quotes, Schema, Storage, TableOptions};
use super::{MOST_ROWS, Table, number};
use crate::files;

/// Bytes at the start of a file from which the dialect is detected.
const HEAD: usize = 1 << 16;
/// Maximum number of bytes of one cell.
const MOST_CELL: usize = 1 << 20;
/// Maximum number of bytes of one row.
const MOST_ROW: u64 = 1 << 26;
/// Maximum number of bytes of the distinct texts of one column.
const MOST_TEXT: usize = 1 << 31;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads a file with a header, gzipped or not, and infers what `options` does not say.
///
/// # Errors
/// [`Error::Io`], [`Error::Empty`], [`Error::NoHeader`], [`Error::Ragged`], [`Error::Duplicate`],
/// [`Error::Encoding`], [`Error::TooLarge`]; [`Error::DecimalComma`], [`Error::AllNull`]; [`Error::Cell`] and
/// [`Error::Schema`] if the cells do not match `options`; [`Error::UnknownColumn`] if `options` names a
/// column that does not exist.
pub fn read(path: &Path, options: &TableOptions) -> Result<Table> {
    raw(path, open(path)?)?.infer(options)
}

/// Reads a file whose columns are those of `schema`: see [`Table::read_as`].
///
/// # Errors
/// As [`Table::read_as`].
pub fn read_as(path: &Path, schema: &Schema, others: bool) -> Result<Table> {
    raw(path, open(path)?)?.conform(schema, others)
}

/// Reads the data in `from`, as [`read`]; `path` only appears in errors.
///
/// # Errors
/// As [`read`].
pub fn read_from(path: &Path, from: impl Read, options: &TableOptions) -> Result<Table> {
    raw(path, from)?.infer(options)
}

/// Reads the data in `from`, whose columns are those of `schema`; `path` only appears in errors.
///
/// # Errors
/// As [`Table::read_as`].
pub fn read_from_as(path: &Path, from: impl Read, schema: &Schema) -> Result<Table> {
    raw(path, from)?.conform(schema, false)
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    refuse_special(path).map_err(Error::io("open", path))?;
    let file = File::open(path).map_err(Error::io("open", path))?;
    files::unpacked(file).map_err(Error::io("read", path))
}

fn raw(path: &Path, mut from: impl Read) -> Result<Raw> {
    let mut head = Vec::new();
    from.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(Error::io("read", path))?;
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Err(Error::Encoding { path: path.into(), line: 1, guess: "UTF-16" });
    }
    let format = sniff(&head);
    let row = Rc::new(Cell::new(0));
    let from = Counted { from: head.as_slice().chain(from), row: Rc::clone(&row) };
    let mut reader = reader(format.delimiter, BufReader::new(from));
    let mut record = ByteRecord::new();
    if !next(path, &mut reader, &mut record, &row)? {
        return Err(Error::Empty { path: path.into(), header: false });
    }
    let mut columns = header(path, &format, &record)?;
    let mut rows = 0u64;
    while next(path, &mut reader, &mut record, &row)? {
        let line = record.position().map_or(0, ::csv::Position::line);
        if record.len() != columns.len() {
            let (expected, found) = (columns.len() as u64, record.len() as u64);
            return Err(Error::Ragged { path: path.into(), line, expected, found });
        }
        rows += 1;
        check_size(path, "a number of rows", rows, MOST_ROWS)?;
        for (index, column) in columns.iter_mut().enumerate() {
            let cell = cell(path, &format, &record, index, line)?;
            column.push(cell, line);
            if column.bytes() > MOST_TEXT {
                let what = format!("texts of column `{}`, in bytes,", column.name);
                return Err(too_large(path, what, column.bytes() as u64, MOST_TEXT as u64));
            }
        }
    }
    if rows == 0 {
        return Err(Error::Empty { path: path.into(), header: true });
    }
    // If every header cell is a number or a value of its own column, and at least one is a number, the header
    // is a row of values.
    let number = |column: &&RawColumn| number::parse(&column.name).is_some();
    if columns.iter().any(|column| number(&column))
        && columns.iter().all(|c| number(&c) || c.contains(&c.name))
    {
        return Err(Error::NoHeader { path: path.into(), first: columns[0].name.clone() });
    }
    Ok(Raw { path: path.into(), csv: format, columns, rows: rows as usize, lines: true })
}

fn reader<R: Read>(delimiter: Delimiter, from: R) -> Reader<R> {
    ReaderBuilder::new().delimiter(delimiter.byte()).has_headers(false).flexible(true).from_reader(from)
}

/// Counts the bytes that are read for a row, and ends with an error if they are too many: a gzipped file of a
/// few kilobytes may hold a row of gigabytes.
struct Counted<R> {
    from: R,
    row: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.row.get() > MOST_ROW {
            return Err(io::Error::other("the row is too long"));
        }
        let read = self.from.read(to)?;
        self.row.set(self.row.get() + read as u64);
        Ok(read)
    }
}

fn next<R: Read>(
    path: &Path,
    reader: &mut Reader<R>,
    record: &mut ByteRecord,
    row: &Cell<u64>,
) -> Result<bool> {
    row.set(0);
    reader.read_byte_record(record).map_err(|error| match error.into_kind() {
        ::csv::ErrorKind::Io(_) if row.get() > MOST_ROW => {
            too_large(path, "a row, in bytes,".into(), row.get(), MOST_ROW)
        }
        ::csv::ErrorKind::Io(source) => Error::io("read", path)(source),
        other => Error::Format {
            path: path.into(),
            expected: "comma-separated values".into(),
            found: format!("{other:?}"),
        },
    })
}

fn header(path: &Path, format: &CsvFormat, record: &ByteRecord) -> Result<Vec<RawColumn>> {
    check_size(path, "a number of columns", record.len() as u64, MOST_COLUMNS as u64)?;
    let mut columns = Vec::with_capacity(record.len());
    let mut seen = HashMap::new();
    for index in 0..record.len() {
        let name = cell(path, format, record, index, 1)?;
        check_size(path, "a column's name, in bytes,", name.len() as u64, MOST_NAME as u64)?;
        if let Some(first) = seen.insert(name.to_owned(), index) {
            let name = name.to_owned();
            return Err(Error::Duplicate { path: path.into(), name, first: first + 1, second: index + 1 });
        }
        columns.push(RawColumn::new(name, Storage::Untyped));
    }
    Ok(columns)
}

/// Decodes the text of a cell.
fn cell<'a>(
    path: &Path,
    format: &CsvFormat,
    record: &'a ByteRecord,
    index: usize,
    line: u64,
) -> Result<&'a str> {
    let bytes = record.get(index).unwrap_or_default();
    check_size(path, "a cell, in bytes,", bytes.len() as u64, MOST_CELL as u64)?;
    let text = std::str::from_utf8(bytes).map_err(|_| {
        // ISO 8859-1 has control characters from 0x80 to 0x9f, where Windows-1252 has quotation marks and
        // dashes.
        let guess = match bytes.iter().any(|byte| (0x80..0xa0).contains(byte)) {
            false => "probably Latin-1 (ISO 8859-1)",
            true => "probably Windows-1252, which extends Latin-1",
        };
        Error::Encoding { path: path.into(), line, guess }
    })?;
    Ok(if format.spaced && index > 0 { text.strip_prefix(' ').unwrap_or(text) } else { text })
}

fn check_size(path: &Path, what: &str, found: u64, most: u64) -> Result<()> {
    if found > most { Err(too_large(path, what.into(), found, most)) } else { Ok(()) }
}

fn too_large(path: &Path, what: String, found: u64, most: u64) -> Error {
    Error::TooLarge { path: path.into(), what, found, most }
}

/// Detects the dialect of a file that begins like this.
fn sniff(head: &[u8]) -> CsvFormat {
    let bom = head.starts_with(BOM);
    let text = head.strip_prefix(BOM).unwrap_or(head);
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let first = &text[..end];
    let crlf = first.ends_with(b"\r");
    let delimiter = delimiter(first);
    let mut reader = reader(delimiter, text);
    let (mut header, mut row) = (ByteRecord::new(), ByteRecord::new());
    let read = |reader: &mut Reader<&[u8]>, record: &mut ByteRecord| {
        let from = reader.position().byte() as usize;
        let read = reader.read_byte_record(record).unwrap_or(false);
        read.then(|| text.get(from..reader.position().byte() as usize).unwrap_or_default())
    };
    let quoted = |line: Option<&[u8]>, record: &ByteRecord| {
        line.is_some_and(|line| trimmed(line) == all_quoted(record, delimiter)) && !record.is_empty()
    };
    let header_line = read(&mut reader, &mut header);
    let header_quoted = quoted(header_line, &header);
    let row_line = read(&mut reader, &mut row);
    let quotes = match (header_quoted, quoted(row_line, &row)) {
        (true, true) => Quotes::All,
        (true, false) => Quotes::Texts,
        _ => Quotes::Needed,
    };
    let is_spaced =
        |record: &ByteRecord| record.len() > 1 && record.iter().skip(1).all(|cell| cell.starts_with(b" "));
    let spaced = is_spaced(&header) && is_spaced(&row);
    CsvFormat { delimiter, quotes, spaced, crlf, bom }
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn all_quoted(record: &ByteRecord, delimiter: Delimiter) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, cell) in record.iter().enumerate() {
        if index > 0 {
            line.push(delimiter.byte());
        }
        super::write::quote(cell, &mut line);
    }
    line
}

/// Returns the most frequent delimiter in a header line, outside quotation marks.
fn delimiter(line: &[u8]) -> Delimiter {
    let mut counts = [0usize; Delimiter::ALL.len()];
    let mut inside = false;
    for byte in line {
        inside ^= *byte == b'"';
        if let Some(found) = Delimiter::ALL.iter().position(|delimiter| delimiter.byte() == *byte && !inside)
        {
            counts[found] += 1;
        }
    }
    let best = (0..counts.len()).rev().max_by_key(|index| counts[*index]).unwrap_or(0);
    Delimiter::ALL[best]
}
