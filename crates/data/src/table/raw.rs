//! Raw columns: distinct texts and their codes, and their conversion to columns of a kind.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::date::DateFormat;
use super::error::{Error, Place, Result};
use super::infer::Inference;
use super::intern::{Codes, Interner, Strings};
use super::number::{self, Written};
use super::schema::{ColumnOverride, ColumnSchema, CsvFormat, Kind, Schema, Storage, TableOptions, unknown};
use super::{Column, Table, Values};

/// Texts that mean a missing value in columns of numbers and dates.
const NULLS: [&str; 15] =
    ["", "NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "Null", "null", "None", "none", "?", "-", "."];

/// A raw column: distinct texts and their codes.
#[derive(Debug, Default)]
pub(crate) struct RawColumn {
    pub(crate) name: String,
    pub(crate) storage: Storage,
    /// The format of the dates in the texts.
    pub(crate) format: Option<DateFormat>,
    pub(crate) codes: Codes,
    /// The code of cells that a typed file marks as missing.
    pub(crate) null: Option<u32>,
    interner: Interner,
    /// The place of each text's first occurrence.
    first: Vec<u64>,
}

impl RawColumn {
    pub(crate) fn new(name: &str, storage: Storage) -> Self {
        Self { name: name.into(), storage, ..Self::default() }
    }

    /// Adds a cell, and returns its code.
    pub(crate) fn push(&mut self, text: &str, place: u64) -> u32 {
        let (code, new) = self.interner.intern(text);
        if new {
            self.first.push(place);
        }
        self.codes.push(code);
        code
    }

    /// Adds a cell that is marked as missing rather than spelled.
    pub(crate) fn push_null(&mut self, place: u64) {
        // No text in a file is equal to this one.
        self.null = Some(self.push("\0missing", place));
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.interner.texts.iter().any(|other| other == text)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.interner.texts.bytes()
    }

    pub(super) fn texts(&self) -> &Strings {
        &self.interner.texts
    }

    pub(super) fn text(&self, code: usize) -> &str {
        self.texts().get(code).unwrap_or_default()
    }
}

/// All columns of a file.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) path: PathBuf,
    pub(crate) csv: CsvFormat,
    pub(crate) columns: Vec<RawColumn>,
    pub(crate) rows: usize,
    /// Whether places are lines of a text file.
    pub(crate) lines: bool,
}

impl Raw {
    /// Converts to a table whose schema follows `options` and, where they say nothing, the cells.
    pub(crate) fn infer(self, options: &TableOptions) -> Result<Table> {
        let known = || self.columns.iter().map(|column| column.name.as_str());
        let names: HashSet<&str> = known().collect();
        if let Some(name) = options.columns.keys().find(|name| !names.contains(name.as_str())) {
            return Err(unknown(name, known()));
        }
        let (path, lines) = (self.path, self.lines);
        let silent = ColumnOverride::default();
        let inferred: Vec<_> = self
            .columns
            .into_par_iter()
            .map(|raw| {
                let said = options.columns.get(&raw.name).unwrap_or(&silent);
                Inference { path: &path, lines, raw: &raw, said, most: options.max_categories }.run()
            })
            .collect::<Result<_>>()?;
        let (mut schemas, mut columns, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for (schema, column, note) in inferred {
            schemas.push(schema);
            columns.push(column);
            notes.extend(note);
        }
        let schema = Schema::new(schemas, self.csv)?.into();
        Ok(Table { schema, columns, rows: self.rows, notes })
    }

    /// Converts to a table with the columns of `schema`.
    pub(crate) fn conform(self, schema: &Schema, others: bool) -> Result<Table> {
        let mismatch = |reason: String| Error::Mismatch { path: self.path.clone(), reason };
        let names =
            |columns: &[RawColumn]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let extra = self.columns.iter().find(|raw| schema.position(&raw.name).is_err());
        if let Some(extra) = extra.filter(|_| !others) {
            return Err(mismatch(format!(
                "it has a column `{}`, which the schema does not have",
                extra.name
            )));
        }
        let build = |own: &ColumnSchema| {
            let raw = self.columns.iter().find(|raw| raw.name == own.name).ok_or_else(|| {
                let near = crate::names::nearest(&own.name, names(&self.columns).iter().map(String::as_str));
                let near = near.map_or(String::new(), |near| format!("; the most similar is `{near}`"));
                mismatch(format!("it has no column `{}`{near}", own.name))
            })?;
            let mut nulls = null_codes(raw, Some(&own.nulls), own.kind.is_numeric());
            // An empty cell is a value if the recipe says so.
            if own.kind.has_text("") {
                nulls.iter_mut().enumerate().for_each(|(code, null)| *null &= !raw.text(code).is_empty());
            }
            Cells { path: &self.path, lines: self.lines, raw, nulls: &nulls }.column(&own.kind)
        };
        let columns = schema.columns.iter().map(build).collect::<Result<_>>()?;
        Ok(Table { schema: schema.clone().into(), columns, rows: self.rows, notes: Vec::new() })
    }
}

/// Returns which texts mean a missing value: the `named` ones and the usual ones, or only those that a recipe
/// names.
pub(super) fn null_codes(raw: &RawColumn, named: Option<&[String]>, numeric: bool) -> Vec<bool> {
    let is_null = |(code, text): (usize, &str)| {
        raw.null == Some(code as u32)
            || named.is_some_and(|named| named.iter().any(|null| null == text))
            || numeric && NULLS.contains(&text.trim_matches(' '))
            || text.is_empty() && raw.storage != Storage::Text
    };
    raw.texts().iter().enumerate().map(is_null).collect()
}

/// One column's cells, and a flag for each text that means null.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) path: &'a Path,
    pub(super) lines: bool,
    pub(super) raw: &'a RawColumn,
    pub(super) nulls: &'a [bool],
}

impl<'a> Cells<'a> {
    /// Yields the texts that are values, with their codes.
    pub(super) fn values(self) -> impl Iterator<Item = (usize, &'a str)> + Clone {
        (0..self.raw.texts().len())
            .filter(move |code| !self.nulls[*code])
            .map(move |code| (code, self.raw.text(code)))
    }

    pub(super) fn place(self, code: usize) -> Place {
        let at = self.raw.first.get(code).copied().unwrap_or(0);
        if self.lines { Place::Line(at) } else { Place::Row(at) }
    }

    pub(super) fn error(self, code: usize, expected: impl Into<String>) -> Error {
        let mut value: String = self.raw.text(code).chars().take(80).collect();
        if value.len() < self.raw.text(code).len() {
            value.push('…');
        }
        Error::Cell {
            path: self.path.into(),
            column: self.raw.name.clone(),
            place: self.place(code),
            value,
            expected: expected.into(),
        }
    }

    /// Converts the cells to a column of a kind that fits all of them.
    pub(super) fn column(self, kind: &Kind) -> Result<Column> {
        match kind {
            Kind::Number { .. } => {
                self.numbers(|text| number::parse(text).map(|written| written.value), "a number")
            }
            Kind::Integer { .. } => self.numbers(
                |text| number::parse(text).filter(whole).map(|written| written.value),
                "a whole number",
            ),
            Kind::Date { format, .. } => {
                let expected = format!("a date of the format `{format}`");
                // In a typed file, the texts of times have their own format.
                let own = self.raw.format.as_ref().unwrap_or(format);
                let units = |text: &str| format.converted(own.parse(text.trim_matches(' '))?, own);
                self.numbers(|text| units(text).map(|units| units as f64), &expected)
            }
            _ => Ok(self.texts()),
        }
    }

    fn numbers(self, parse: impl Fn(&str) -> Option<f64>, expected: &str) -> Result<Column> {
        let parsed = self.values().map(|(code, text)| match parse(text) {
            Some(number) => Ok((number, code)),
            None => Err(self.error(code, expected)),
        });
        let mut sorted = parsed.collect::<Result<Vec<_>>>()?;
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut values: Vec<f64> = Vec::with_capacity(sorted.len());
        let mut renumber = vec![u32::MAX; self.nulls.len()];
        for (number, code) in sorted {
            if values.last().is_none_or(|last| last.to_bits() != number.to_bits()) {
                values.push(number);
            }
            renumber[code] = values.len() as u32 - 1;
        }
        Ok(self.renumbered(renumber, Values::Numbers(values)))
    }

    fn texts(self) -> Column {
        let sorted = self.sorted();
        let mut renumber = vec![u32::MAX; self.nulls.len()];
        sorted.iter().enumerate().for_each(|(new, code)| renumber[*code] = new as u32);
        let texts = sorted.iter().map(|code| self.raw.text(*code)).collect();
        self.renumbered(renumber, Values::Text(texts))
    }

    fn renumbered(self, mut renumber: Vec<u32>, values: Values) -> Column {
        let null = values.len() as u32;
        renumber.iter_mut().zip(self.nulls).filter(|(_, is_null)| **is_null).for_each(|(new, _)| *new = null);
        Column::new(self.raw.codes.renumbered(&renumber, values.len() + 1), values)
    }

    /// Returns the codes of values in the order of categories: by size if all are numbers, else by their
    /// bytes.
    pub(super) fn sorted(self) -> Vec<usize> {
        let numbers: Option<Vec<(f64, usize)>> = self
            .values()
            .map(|(code, text)| number::parse(text).map(|written| (written.value, code)))
            .collect();
        if let Some(mut numbers) = numbers {
            numbers
                .sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| self.raw.text(a.1).cmp(self.raw.text(b.1))));
            return numbers.into_iter().map(|(_, code)| code).collect();
        }
        let mut codes: Vec<usize> = self.values().map(|(code, _)| code).collect();
        codes.sort_by_key(|code| self.raw.text(*code));
        codes
    }
}

/// Whether a number is an exact integer.
pub(super) fn whole(written: &Written) -> bool {
    written.significant == 0 && written.value.abs() <= number::EXACT
}
