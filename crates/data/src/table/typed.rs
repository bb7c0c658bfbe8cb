//! Tables from typed columns in memory, read as a typed file of the same columns would be.

use std::path::Path;

use super::Table;
use super::date::DateFormat;
use super::error::{Error, Result};
use super::raw::{Raw, RawColumn};
use super::schema::{CsvFormat, MOST_COLUMNS, Schema, Storage, TableOptions};

/// The name in errors for a table without a file.
const NAME: &str = "the table";
/// Nanoseconds per day.
const DAY: i64 = 86_400_000_000_000;
/// Date formats, the coarsest first, each with the nanoseconds of its unit.
const FORMATS: [(i64, &str); 5] = [
    (DAY, "%Y-%m-%d"),
    (1_000_000_000, "%Y-%m-%d %H:%M:%S"),
    (1_000_000, "%Y-%m-%d %H:%M:%S.%3f"),
    (1_000, "%Y-%m-%d %H:%M:%S.%6f"),
    (1, "%Y-%m-%d %H:%M:%S.%9f"),
];

/// The values of one column, one per row; None for a missing value.
#[derive(Clone, Debug, PartialEq)]
pub enum TypedValues {
    /// Texts, which are never parsed as numbers.
    Texts(Vec<Option<String>>),
    /// Booleans.
    Booleans(Vec<Option<bool>>),
    /// Whole numbers.
    Integers(Vec<Option<i64>>),
    /// Numbers; NaN is a missing value.
    Numbers(Vec<f64>),
    /// Nanoseconds since 1970.
    Times(Vec<Option<i64>>),
}

/// A named column of values in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedColumn {
    /// Its name.
    pub name: String,
    /// Its values, one per row.
    pub values: TypedValues,
}

impl TypedValues {
    fn len(&self) -> usize {
        match self {
            Self::Texts(values) => values.len(),
            Self::Booleans(values) => values.len(),
            Self::Integers(values) | Self::Times(values) => values.len(),
            Self::Numbers(values) => values.len(),
        }
    }

    fn storage(&self) -> Storage {
        match self {
            Self::Texts(_) => Storage::Text,
            Self::Booleans(_) => Storage::Boolean,
            Self::Integers(_) => Storage::Int64,
            Self::Numbers(_) => Storage::Double,
            Self::Times(_) => Storage::Nanos,
        }
    }
}

impl Table {
    /// Makes a table of columns in memory, and infers what `options` does not say. It has the schema and the
    /// values of a parquet file with the same columns.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Duplicate`], [`Error::Lengths`], [`Error::TooLarge`], and for the cells as
    /// [`csv::read`](super::csv::read).
    pub fn from_columns(columns: Vec<TypedColumn>, options: &TableOptions) -> Result<Self> {
        raw(columns)?.infer(options)
    }

    /// Makes a table of columns in memory, which are those of `schema` in any order: see [`Table::read_as`].
    ///
    /// # Errors
    /// As [`Table::read_as`] and [`Table::from_columns`].
    pub fn from_columns_as(columns: Vec<TypedColumn>, schema: &Schema, others: bool) -> Result<Self> {
        raw(columns)?.conform(schema, others)
    }
}

fn raw(columns: Vec<TypedColumn>) -> Result<Raw> {
    let path = Path::new(NAME);
    let rows = columns.first().map_or(0, |column| column.values.len());
    if rows == 0 {
        return Err(Error::Empty { path: path.into(), header: !columns.is_empty() });
    }
    let too_large = |what: &str, found: usize, most: u64| {
        let (what, found) = (what.to_owned(), found as u64);
        Err(Error::TooLarge { path: path.into(), what, found, most })
    };
    if columns.len() > MOST_COLUMNS {
        return too_large("a number of columns", columns.len(), MOST_COLUMNS as u64);
    }
    if rows as u64 > super::MOST_ROWS {
        return too_large("a number of rows", rows, super::MOST_ROWS);
    }
    let mut taken: Vec<RawColumn> = Vec::with_capacity(columns.len());
    for (index, TypedColumn { name, values }) in columns.into_iter().enumerate() {
        if let Some(first) = taken.iter().position(|column| column.name == name) {
            return Err(Error::Duplicate { path: path.into(), name, first: first + 1, second: index + 1 });
        }
        if values.len() != rows {
            return Err(Error::Lengths { path: path.into(), name, expected: rows, found: values.len() });
        }
        let mut column = RawColumn::new(&name, values.storage());
        match values {
            TypedValues::Texts(texts) => column.push_all(texts.iter().map(Option::as_deref)),
            TypedValues::Booleans(truths) => {
                column.push_all(truths.into_iter().map(|truth| Some(if truth? { "true" } else { "false" })));
            }
            TypedValues::Integers(numbers) => {
                column.push_all(numbers.into_iter().map(|number| Some(number?.to_string())));
            }
            TypedValues::Numbers(numbers) => {
                if let Some(row) = numbers.iter().position(|number| number.is_infinite()) {
                    let found = format!("row {row} of column `{name}`: an infinite number");
                    return Err(Error::Format {
                        path: path.into(),
                        expected: "finite numbers".into(),
                        found,
                    });
                }
                column.push_all(
                    numbers.into_iter().map(|number| (!number.is_nan()).then(|| number.to_string())),
                );
            }
            TypedValues::Times(times) => {
                let pushed = column.push_times(&times, 1);
                pushed.map_err(|found| Error::Format {
                    path: path.into(),
                    expected: "dates".into(),
                    found,
                })?;
            }
        }
        taken.push(column);
    }
    Ok(Raw { path: path.into(), csv: CsvFormat::default(), columns: taken, rows, lines: false })
}

impl RawColumn {
    fn push_all(&mut self, cells: impl Iterator<Item = Option<impl AsRef<str>>>) {
        for (row, cell) in cells.enumerate() {
            match cell {
                Some(text) => _ = self.push(text.as_ref(), row as u64),
                None => self.push_null(row as u64),
            }
        }
    }

    /// Adds times, in units of `unit` nanoseconds since 1970, as dates in the coarsest format that keeps all
    /// of them.
    ///
    /// # Errors
    /// What is wrong, and in which row.
    pub(super) fn push_times(&mut self, times: &[Option<i64>], unit: i64) -> Result<(), String> {
        let keeps =
            |nanos: i64| nanos <= unit || times.iter().flatten().all(|units| units % (nanos / unit) == 0);
        let (nanos, pattern) = FORMATS.into_iter().find(|(nanos, _)| keeps(*nanos)).unwrap_or(FORMATS[4]);
        let format = DateFormat::new(pattern)?;
        for (row, units) in times.iter().enumerate() {
            let Some(units) = units else {
                self.push_null(row as u64);
                continue;
            };
            let units = if nanos >= unit { units / (nanos / unit) } else { *units };
            let text = format
                .text(units)
                .ok_or_else(|| format!("row {row} of column `{}`: a date beyond the year 9999", self.name))?;
            self.push(&text, row as u64);
        }
        self.format = Some(format);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::csv;
    use super::*;

    fn column(name: &str, values: TypedValues) -> TypedColumn {
        TypedColumn { name: name.into(), values }
    }

    #[test]
    fn columns_in_memory_are_the_table_of_a_file_with_the_same_cells() {
        let rows = 60i64;
        let numbers: Vec<f64> =
            (0..rows).map(|i| if i == 7 { f64::NAN } else { i as f64 * 0.25 - 3.0 }).collect();
        let ages: Vec<Option<i64>> = (0..rows).map(|i| Some(i * i % 47)).collect();
        let towns: Vec<Option<String>> =
            (0..rows).map(|i| (i % 5 > 0).then(|| format!("town, {}", i % 5))).collect();
        let truths: Vec<Option<bool>> = (0..rows).map(|i| Some(i % 3 == 0)).collect();
        let days: Vec<Option<i64>> = (0..rows).map(|i| Some((i * i * 13 % 500) * DAY)).collect();
        let mut text = String::from("x,age,town,truth,day\n");
        let date = DateFormat::new("%Y-%m-%d").unwrap();
        for i in 0..rows as usize {
            let number = if numbers[i].is_nan() { String::new() } else { numbers[i].to_string() };
            let town = towns[i].as_ref().map_or(String::new(), |town| format!("\"{town}\""));
            let (age, truth) = (ages[i].unwrap(), truths[i].unwrap());
            let day = date.text(days[i].unwrap() / DAY).unwrap();
            text += &format!("{number},{age},{town},{truth},{day}\n");
        }
        let options = TableOptions::default();
        let of_file = csv::read_from(Path::new("a.csv"), text.as_bytes(), &options).unwrap();
        let of_memory = Table::from_columns(
            vec![
                column("x", TypedValues::Numbers(numbers)),
                column("age", TypedValues::Integers(ages)),
                column("town", TypedValues::Texts(towns)),
                column("truth", TypedValues::Booleans(truths)),
                column("day", TypedValues::Times(days)),
            ],
            &options,
        )
        .unwrap();
        assert_eq!(of_memory.columns(), of_file.columns());
        assert_eq!(of_memory.content_hash(), of_file.content_hash());
        let kinds = |table: &Table| table.schema().columns.iter().map(|c| c.kind.name()).collect::<Vec<_>>();
        assert_eq!(kinds(&of_memory), ["number", "integer", "category", "boolean", "date"]);
        assert_eq!(kinds(&of_memory), kinds(&of_file));
    }

    #[test]
    fn names_the_column_that_makes_a_table_invalid() {
        let options = TableOptions::default();
        let said =
            |columns: Vec<TypedColumn>| Table::from_columns(columns, &options).unwrap_err().to_string();
        let integers = |count: i64| TypedValues::Integers((0..count).map(Some).collect());
        assert_eq!(
            said(vec![column("a", integers(3)), column("a", integers(3))]),
            "the table has two columns named `a`: columns 1 and 2; rename one"
        );
        assert_eq!(
            said(vec![column("a", integers(3)), column("b", integers(2))]),
            "the table: column `b` has 2 values, but the other columns have 3"
        );
        let infinite = TypedValues::Numbers(vec![0.0, f64::INFINITY]);
        assert!(said(vec![column("a", infinite)]).contains("row 1 of column `a`: an infinite number"));
        assert!(said(vec![column("a", integers(0))]).contains("has a header but no rows"));
        assert!(said(vec![column("a", TypedValues::Texts(vec![None, None]))]).contains('a'));
        let far = TypedValues::Times(vec![Some(0), Some(i64::MAX)]);
        // 2262 is the last year that 64 bits of nanoseconds can represent.
        assert!(Table::from_columns(vec![column("a", far)], &options).is_ok());
    }
}
