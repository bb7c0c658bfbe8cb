//! Pairs of rows: each row of a table with its counterpart in another one, such as its reconstruction.

use std::cmp::Ordering;

use super::error::{Error, Result};
use super::intern::{Codes, Strings};
use super::number;
use super::schema::{ColumnSchema, Kind, Schema, Storage};
use super::{Column, Table, Values};

impl Table {
    /// Returns a table in which every row of this one is followed by the row of the same number in `below`,
    /// in the formats of the schema of `below`. An additional first column holds one of `names` in each row,
    /// this table's first. Its name is `column`, with underscores before it if there is such a column.
    /// Identifiers are names of rows, not values, so both rows of a pair have the one of this table.
    ///
    /// # Errors
    /// [`Error::Schema`] if the tables differ in the names or kinds of their columns, in the formats of their
    /// dates or in their numbers of rows, or if there are too many columns.
    pub fn paired(&self, below: &Self, column: &str, names: [&str; 2]) -> Result<Self> {
        let wrong = |reason: String| Error::Schema { column: None, reason };
        let [own, others] = [self, below].map(|table| &table.schema.columns);
        if own.len() != others.len() || !own.iter().zip(others).all(|(a, b)| are_alike(a, b)) {
            return Err(wrong("the rows of a pair have different columns or kinds".into()));
        }
        if self.rows != below.rows {
            return Err(wrong(format!("{} rows cannot be paired with {}", self.rows, below.rows)));
        }
        let rows = 2 * self.rows;
        let (first, which) = leading(&below.schema, column, names, rows);
        let (mut schemas, mut columns) = (vec![first], vec![which]);
        for (index, schema) in below.schema.columns.iter().enumerate() {
            let above = &self.columns[index];
            let is_name = matches!(schema.kind, Kind::Identifier { .. });
            let paired = interleaved(above, if is_name { above } else { &below.columns[index] }, self.rows);
            let paired =
                paired.ok_or_else(|| Error::schema(&schema.name, "texts cannot be paired with numbers"))?;
            let mut schema = schema.clone();
            // Columns that are not encoded may have missing values that the schema does not mention.
            let nulls = (0..rows).filter(|row| paired.is_null(*row)).count();
            if nulls > 0 && !schema.has_null() {
                schema.null_share = nulls as f64 / rows as f64;
            }
            schemas.push(schema);
            columns.push(paired);
        }
        let schema = Schema::new(schemas, below.schema.csv)?.into();
        Ok(Self { schema, columns, rows, notes: Vec::new() })
    }
}

/// Whether the values of two columns mean the same.
fn are_alike(a: &ColumnSchema, b: &ColumnSchema) -> bool {
    let kinds = match (&a.kind, &b.kind) {
        (Kind::Date { format: a, .. }, Kind::Date { format: b, .. }) => a == b,
        (a, b) => a.name() == b.name(),
    };
    kinds && a.name == b.name
}

/// Returns the column that says which row of a pair a row is.
fn leading(schema: &Schema, name: &str, names: [&str; 2], rows: usize) -> (ColumnSchema, Column) {
    let mut name = name.to_owned();
    while schema.columns.iter().any(|column| column.name == name) {
        name.insert(0, '_');
    }
    let kind = Kind::Category { values: names.map(str::to_owned).to_vec(), other: None };
    let nulls = Vec::new();
    let mut codes = Codes::for_count(names.len() + 1, rows);
    (0..rows).for_each(|row| codes.push(row as u32 % 2));
    let column = Column::new(codes, Values::Text(names.into_iter().collect()));
    (ColumnSchema { name, kind, nulls, null_share: 0.0, storage: Storage::Untyped }, column)
}

/// Returns the rows of two columns in turn; None if only one of them holds numbers.
fn interleaved(above: &Column, below: &Column, rows: usize) -> Option<Column> {
    let (values, places) = match (above.values(), below.values()) {
        (Values::Numbers(above), Values::Numbers(below)) => {
            let (values, places) = merged([above, below], f64::total_cmp);
            (Values::Numbers(values), places)
        }
        (Values::Text(above), Values::Text(below)) => {
            let texts: [Vec<&str>; 2] = [above, below].map(|texts| texts.iter().collect());
            let number = |text: &str| number::parse(text).map(|written| written.value);
            let by_size = texts.iter().flatten().all(|text| number(text).is_some());
            let order = |a: &&str, b: &&str| {
                let size = if by_size { number(a).partial_cmp(&number(b)) } else { None };
                size.unwrap_or(Ordering::Equal).then_with(|| a.cmp(b))
            };
            let (values, places) = merged([&texts[0], &texts[1]], order);
            (Values::Text(values.into_iter().collect::<Strings>()), places)
        }
        _ => return None,
    };
    let null = values.len() as u32;
    let mut codes = Codes::for_count(values.len() + 1, 2 * rows);
    for row in 0..rows {
        for (column, places) in [above, below].into_iter().zip(&places) {
            codes.push(places.get(column.code(row)).copied().unwrap_or(null));
        }
    }
    Some(Column::new(codes, values))
}

/// Returns the distinct values of two lists in order, and the place of each value of either list among them.
fn merged<T: Clone>(lists: [&[T]; 2], order: impl Fn(&T, &T) -> Ordering) -> (Vec<T>, [Vec<u32>; 2]) {
    let mut values = lists.concat();
    values.sort_by(&order);
    values.dedup_by(|a, b| order(a, b).is_eq());
    let place = |value: &T| values.binary_search_by(|other| order(other, value)).unwrap_or_default() as u32;
    let places = lists.map(|list| list.iter().map(place).collect());
    (values, places)
}
