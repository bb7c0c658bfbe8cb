//! Tables on their way out: the columns of generated rows, and what is known about a table's columns.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};
use waxwork_data::table::{Column, ColumnSchema, Kind, Schema, Storage, Table, Values};

use crate::errors::Fault;

/// What Python takes for a time that is missing.
const NOT_A_TIME: i64 = i64::MIN;

/// One dictionary per column: its `name`, its `kind` and what its values were `stored` as, and the values as `numbers` (f64, NaN for a missing
/// one), as `times` (i64, nanoseconds since 1970), or as `codes` (i32) of `texts`; the code after the last is
/// a missing text.
pub(crate) fn columns<'py>(py: Python<'py>, table: &Table) -> PyResult<Bound<'py, PyList>> {
    let rows = table.rows();
    let list = PyList::empty(py);
    for (index, (column, schema)) in table.columns().iter().zip(&table.schema().columns).enumerate() {
        let found = PyDict::new(py);
        found.set_item("name", &schema.name)?;
        found.set_item("kind", schema.kind.name())?;
        found.set_item("stored", stored(schema.storage))?;
        match (column.values(), &schema.kind) {
            (Values::Text(texts), kind) => {
                found.set_item("texts", texts.iter().collect::<Vec<_>>())?;
                found.set_item("codes", bytes(py, rows, |row| (column.code(row) as i32).to_ne_bytes())?)?;
                if let Kind::Boolean { yes, .. } = kind {
                    found.set_item("yes", yes)?;
                }
            }
            (Values::Numbers(_), Kind::Date { format, .. }) => match format.unit().nanos() {
                Some(nanos) => {
                    let time = |row| {
                        let units = column.number(row).map(|units| units as i64);
                        let time = units.and_then(|units| units.checked_mul(nanos)).unwrap_or(NOT_A_TIME);
                        time.to_ne_bytes()
                    };
                    found.set_item("times", bytes(py, rows, time)?)?;
                }
                // Months have no fixed length.
                None => texts_of(&found, table, column, index)?,
            },
            (Values::Numbers(_), _) => {
                let number = |row| column.number(row).unwrap_or(f64::NAN).to_ne_bytes();
                found.set_item("numbers", bytes(py, rows, number)?)?;
            }
        }
        list.append(found)?;
    }
    Ok(list)
}

/// The type of values that texts of a column stand for; empty if that is not known.
fn stored(storage: Storage) -> &'static str {
    match storage {
        Storage::Boolean => "boolean",
        Storage::Int32 | Storage::Int64 => "integer",
        Storage::Float | Storage::Double => "number",
        _ => "",
    }
}

/// Numbers as the texts that a file has.
fn texts_of(found: &Bound<'_, PyDict>, table: &Table, column: &Column, index: usize) -> PyResult<()> {
    let rows = table.rows();
    let texts: Vec<Option<String>> =
        (0..rows).map(|row| (!column.is_null(row)).then(|| table.cell_text(row, index))).collect();
    found.set_item("texts", texts)?;
    found.set_item("codes", bytes(found.py(), rows, |row| (row as i32).to_ne_bytes())?)
}

fn bytes<const SIZE: usize>(
    py: Python<'_>,
    rows: usize,
    value: impl Fn(usize) -> [u8; SIZE],
) -> PyResult<Bound<'_, PyByteArray>> {
    PyByteArray::new_with(py, SIZE * rows, |bytes| {
        bytes.as_chunks_mut::<SIZE>().0.iter_mut().enumerate().for_each(|(row, to)| *to = value(row));
        Ok(())
    })
}

/// Name, kind and possible values of a column; None where values are numbers.
pub(crate) type Described = (String, &'static str, Option<Vec<String>>);

/// Describes each column.
pub(crate) fn described(schema: &Schema) -> Vec<Described> {
    let one = |column: &ColumnSchema| {
        let kind = &column.kind;
        let texts = (0..kind.places()).filter_map(|place| kind.place_text(place).map(str::to_owned));
        (column.name.clone(), kind.name(), kind.is_discrete().then(|| texts.collect()))
    };
    schema.columns.iter().map(one).collect()
}

/// The text that means true or false in a column of booleans.
pub(crate) fn truth(schema: &Schema, name: &str, value: bool) -> Result<String, Fault> {
    match &schema.columns[schema.position(name)?].kind {
        Kind::Boolean { no, yes } => Ok(if value { yes } else { no }.clone()),
        _ => Ok(value.to_string()),
    }
}
