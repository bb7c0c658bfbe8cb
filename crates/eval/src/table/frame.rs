//! Tables as the measures use them: checked, with one dictionary of categories for all tables of a
//! comparison.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::table::{Error, Result};

/// The code of a null in a [`Column::Category`].
pub const NULL: u32 = u32::MAX;

/// One column, borrowed from its reader.
#[derive(Clone, Copy, Debug)]
pub enum ColumnView<'a> {
    /// Numbers; a NaN is a null. Dates are numbers too (days or seconds).
    Number(&'a [f64]),
    /// Categories: `names[code]`.
    Category {
        /// One code per row.
        codes: &'a [u32],
        /// The name of each code. A name that occurs twice is one category.
        names: &'a [String],
        /// The code that means null, if any. It need not have a name.
        null: Option<u32>,
    },
}

/// A table, borrowed from its reader. Do not include identifiers and constants, which are never learned.
#[derive(Clone, Copy, Debug)]
pub struct TableView<'a> {
    /// One name per column, all different.
    pub names: &'a [String],
    /// One column per name, all equally long.
    pub columns: &'a [ColumnView<'a>],
}

/// A column of a [`Frame`].
#[derive(Clone, Debug)]
pub enum Column {
    /// Finite numbers, and NaN for null.
    Number(Vec<f64>),
    /// Codes into a dictionary that all frames of a comparison share.
    Category {
        /// One code per row, or [`NULL`].
        codes: Vec<u32>,
        /// The name of each code.
        names: Arc<[String]>,
    },
}

impl Column {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Category { codes, .. } => codes.len(),
        }
    }

    /// Returns the number of nulls.
    pub fn nulls(&self) -> usize {
        match self {
            Self::Number(values) => values.iter().filter(|value| value.is_nan()).count(),
            Self::Category { codes, .. } => codes.iter().filter(|&&code| code == NULL).count(),
        }
    }

    /// Returns the smallest and largest number, if there are any.
    pub fn range(&self) -> Option<(f64, f64)> {
        let Self::Number(values) = self else { return None };
        let numbers = values.iter().filter(|value| !value.is_nan());
        numbers.fold(None, |range, &value| match range {
            None => Some((value, value)),
            Some((least, most)) => Some((value.min(least), value.max(most))),
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "numbers",
            Self::Category { .. } => "categories",
        }
    }

    fn pick(&self, rows: &[u32]) -> Self {
        match self {
            Self::Number(values) => Self::Number(rows.iter().map(|&row| values[row as usize]).collect()),
            Self::Category { codes, names } => Self::Category {
                codes: rows.iter().map(|&row| codes[row as usize]).collect(),
                names: names.clone(),
            },
        }
    }
}

/// A checked table. Frames of one [`align`] call have the same columns in the same order, and share their
/// dictionaries.
#[derive(Clone, Debug)]
pub struct Frame {
    /// One name per column.
    pub names: Arc<[String]>,
    /// One column per name.
    pub columns: Vec<Column>,
    rows: usize,
}

impl Frame {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the index of the column `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchColumn`].
    pub fn position(&self, name: &str) -> Result<usize> {
        let position = self.names.iter().position(|column| column == name);
        position.ok_or_else(|| Error::NoSuchColumn { column: name.into() })
    }

    /// Returns the rows with these indices, in this order. An index may occur more than once.
    #[must_use]
    pub fn pick(&self, rows: &[u32]) -> Self {
        let columns = self.columns.iter().map(|column| column.pick(rows)).collect();
        Self { names: self.names.clone(), columns, rows: rows.len() }
    }

    /// Returns the rows of `self`, then those of `other`, which comes from the same [`align`] call.
    #[must_use]
    pub fn followed_by(&self, other: &Self) -> Self {
        let pairs = self.columns.iter().zip(&other.columns);
        let columns = pairs
            .map(|pair| match pair {
                (Column::Number(a), Column::Number(b)) => Column::Number([&a[..], b].concat()),
                (Column::Category { codes: a, names }, Column::Category { codes: b, .. }) => {
                    Column::Category { codes: [&a[..], b].concat(), names: names.clone() }
                }
                (column, _) => column.clone(), // never: `align` made both
            })
            .collect();
        Self { names: self.names.clone(), columns, rows: self.rows + other.rows }
    }

    /// Returns all columns except the one at `position`.
    #[must_use]
    pub fn without(&self, position: usize) -> Self {
        let keep = |index: &usize| *index != position;
        let names = (0..self.names.len()).filter(keep).map(|i| self.names[i].clone()).collect();
        let columns = (0..self.columns.len()).filter(keep).map(|i| self.columns[i].clone()).collect();
        Self { names, columns, rows: self.rows }
    }

    /// Fails if there are fewer than `needed` rows.
    pub(crate) fn need(&self, whose: &'static str, needed: usize) -> Result<()> {
        if self.rows < needed {
            return Err(Error::TooFewRows { whose, needed, found: self.rows });
        }
        Ok(())
    }
}

/// Checks tables, puts their columns into the first table's order, and gives categories one dictionary: the
/// names of the first table in order, then those that only later tables have.
///
/// `tables` holds a word for error messages (`real`, `synthetic` …) and the table.
///
/// # Errors
/// If columns differ in name, kind or length, two columns have the same name, a number is infinite, a code
/// has no name, or a table has no columns.
pub fn align(tables: &[(&str, TableView<'_>)]) -> Result<Vec<Frame>> {
    let Some(&(first, reference)) = tables.first() else { return Ok(Vec::new()) };
    let mut orders = Vec::with_capacity(tables.len());
    for &(whose, table) in tables {
        check(whose, &table)?;
        orders.push(order(first, &reference, whose, &table)?);
    }
    let names: Arc<[String]> = reference.names.into();
    let mut frames: Vec<Frame> = tables
        .iter()
        .map(|(_, table)| Frame {
            names: names.clone(),
            columns: Vec::new(),
            rows: table.columns.first().map_or(0, |c| view_rows(c)),
        })
        .collect();
    for column in 0..reference.names.len() {
        let views: Vec<&ColumnView<'_>> =
            tables.iter().zip(&orders).map(|((_, table), order)| &table.columns[order[column]]).collect();
        for (frame, joined) in frames.iter_mut().zip(join(&views)) {
            frame.columns.push(joined);
        }
        for (frame, &(whose, _)) in frames.iter().zip(tables) {
            let (found, expected) = (frame.columns[column].kind(), view_kind(views[0]));
            if found != expected {
                return Err(Error::ColumnKind {
                    column: names[column].clone(),
                    whose: whose.into(),
                    found,
                    reference: first.into(),
                    expected,
                });
            }
        }
    }
    Ok(frames)
}

fn view_rows(view: &ColumnView<'_>) -> usize {
    match view {
        ColumnView::Number(values) => values.len(),
        ColumnView::Category { codes, .. } => codes.len(),
    }
}

fn view_kind(view: &ColumnView<'_>) -> &'static str {
    match view {
        ColumnView::Number(_) => "numbers",
        ColumnView::Category { .. } => "categories",
    }
}

fn check(whose: &str, table: &TableView<'_>) -> Result<()> {
    let Some(first) = table.columns.first() else { return Err(Error::NoColumns { whose: whose.into() }) };
    if table.names.len() != table.columns.len() {
        let (found, expected) = (table.names.len(), table.columns.len());
        return Err(Error::Length { what: "names of columns", found, expected });
    }
    let expected = view_rows(first);
    if expected >= u32::MAX as usize {
        return Err(Error::TooMany { what: "rows", found: expected, most: u32::MAX as usize - 1 });
    }
    let mut seen = HashSet::new();
    for (name, view) in table.names.iter().zip(table.columns) {
        let (column, whose) = (|| name.clone(), || whose.to_owned());
        if !seen.insert(name) {
            return Err(Error::DuplicateColumn { whose: whose(), column: column() });
        }
        let found = view_rows(view);
        if found != expected {
            return Err(Error::RaggedColumn { column: column(), whose: whose(), found, expected });
        }
        match *view {
            ColumnView::Number(values) => {
                if let Some(row) = values.iter().position(|value| value.is_infinite()) {
                    return Err(Error::Infinite { column: column(), whose: whose(), row });
                }
            }
            ColumnView::Category { codes, names, null } => {
                let unknown = |&code: &u32| Some(code) != null && code as usize >= names.len();
                if let Some(row) = codes.iter().position(unknown) {
                    let (code, names) = (codes[row], names.len());
                    return Err(Error::UnknownCode { column: column(), whose: whose(), row, code, names });
                }
            }
        }
    }
    Ok(())
}

/// Returns the position in `table` of each of `reference`'s columns.
fn order(first: &str, reference: &TableView<'_>, whose: &str, table: &TableView<'_>) -> Result<Vec<usize>> {
    let places: HashMap<&String, usize> = table.names.iter().zip(0..).collect();
    let order: Vec<usize> = reference.names.iter().filter_map(|name| places.get(name).copied()).collect();
    if order.len() != reference.names.len() || order.len() != table.names.len() {
        let lacks = |of: &TableView<'_>, from: &TableView<'_>| -> Vec<String> {
            from.names.iter().filter(|name| !of.names.contains(name)).cloned().collect()
        };
        return Err(Error::ColumnMismatch {
            whose: whose.into(),
            reference: first.into(),
            missing: lacks(table, reference),
            unknown: lacks(reference, table),
        });
    }
    Ok(order)
}

fn join(views: &[&ColumnView<'_>]) -> Vec<Column> {
    let mut dictionary: Vec<String> = Vec::new();
    let mut places: HashMap<&str, u32> = HashMap::new();
    let mut translated: Vec<Option<Vec<u32>>> = Vec::with_capacity(views.len());
    for view in views {
        translated.push(match **view {
            ColumnView::Number(_) => None,
            ColumnView::Category { names, null, .. } => {
                let mut to = Vec::with_capacity(names.len());
                for (name, own) in names.iter().zip(0u32..) {
                    to.push(if Some(own) == null {
                        NULL
                    } else {
                        *places.entry(name).or_insert_with(|| {
                            dictionary.push(name.clone());
                            dictionary.len() as u32 - 1
                        })
                    });
                }
                Some(to)
            }
        });
    }
    let names: Arc<[String]> = dictionary.into();
    let column = |(view, to): (&&ColumnView<'_>, Option<Vec<u32>>)| match (**view, to) {
        (ColumnView::Category { codes, .. }, Some(to)) => Column::Category {
            // A code beyond the names is null; `check` ensured that.
            codes: codes.iter().map(|&code| to.get(code as usize).copied().unwrap_or(NULL)).collect(),
            names: names.clone(),
        },
        (ColumnView::Number(values), _) => Column::Number(values.to_vec()),
        (ColumnView::Category { codes, .. }, None) => {
            Column::Category { codes: codes.to_vec(), names: names.clone() }
        }
    };
    views.iter().zip(translated).map(column).collect()
}
