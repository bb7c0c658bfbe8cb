//! The output of `describe` for a table: kind, missing values, distinct values, modes and width of each
//! column, and which columns will make training slow.

use std::fmt;

use serde::Serialize;

use super::Table;
use super::encode::Encoder;
use super::modes::Mode;
use super::schema::Kind;

/// A column that takes more numbers than this in an encoded row is reported as slow.
const WIDE: usize = 100;
/// Maximum number of distinct numbers whose modes are quick to fit.
const MANY: usize = 100_000;

/// A table and its columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Number of rows.
    pub rows: usize,
    /// Numbers per encoded row.
    pub width: usize,
    /// The columns in order.
    pub columns: Vec<ColumnDescription>,
    /// Doubtful points, one sentence each.
    pub notes: Vec<String>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Name of its kind.
    pub kind: &'static str,
    /// A summary of its range, categories or format.
    pub values: String,
    /// Rows without a value.
    pub nulls: u64,
    /// Distinct values.
    pub distinct: usize,
    /// Its modes, if it is a column of numbers.
    pub modes: Vec<Mode>,
    /// Numbers that it takes in an encoded row.
    pub width: usize,
    /// Why it will be slow; None if it will not.
    pub slow: Option<String>,
}

impl Description {
    /// Describes a table that is encoded by `encoder`.
    pub fn new(table: &Table, encoder: &Encoder) -> Self {
        let columns = (0..table.columns().len()).map(|index| column(table, encoder, index)).collect();
        let width = encoder.layout().width();
        Self { rows: table.rows(), width, columns, notes: table.notes().to_vec() }
    }
}

fn column(table: &Table, encoder: &Encoder, index: usize) -> ColumnDescription {
    let (schema, own) = (&table.schema().columns[index], &table.columns()[index]);
    let counts = own.counts();
    let (nulls, counts) = counts.split_last().map_or((0, &counts[..]), |(nulls, counts)| (*nulls, counts));
    let distinct = counts.iter().filter(|count| **count > 0).count();
    let segments = encoder.layout().segments.iter().filter(|segment| segment.column == index);
    let width: usize = segments.map(|segment| segment.shape.width()).sum();
    let numeric = schema.kind.is_numeric();
    let slow = if width > WIDE {
        Some(format!(
            "takes up {width} of the {} numbers of an encoded row; lower `max_categories` to reduce this",
            encoder.layout().width()
        ))
    } else if numeric && distinct > MANY {
        Some(format!("has {distinct} distinct numbers to fit modes to"))
    } else {
        None
    };
    ColumnDescription {
        name: schema.name.clone(),
        kind: schema.kind.name(),
        values: values(&schema.kind),
        nulls,
        distinct,
        modes: encoder.modes(index).to_vec(),
        width,
        slow,
    }
}

/// Summarises the values of a kind.
fn values(kind: &Kind) -> String {
    let range = |least: f64, greatest: f64| {
        let text = |value| kind.number_text(value).unwrap_or_default();
        format!("{} to {}", text(least), text(greatest))
    };
    match kind {
        Kind::Number { min, max, .. } | Kind::Integer { min, max, .. } => range(*min, *max),
        Kind::Date { min, max, .. } => range(*min as f64, *max as f64),
        Kind::Category { values, other } => {
            const SHOWN: usize = 3;
            let mut text = values.iter().take(SHOWN).map(|value| short(value)).collect::<Vec<_>>().join(", ");
            if values.len() > SHOWN {
                text.push_str(&format!(" … {} in all", values.len()));
            }
            if let Some(other) = other {
                text.push_str(&format!(", the rest `{other}`"));
            }
            text
        }
        Kind::Boolean { no, yes } => format!("{}, {}", short(no), short(yes)),
        Kind::Identifier { prefix, .. } => format!("{}…, not learned", short(prefix)),
        Kind::Constant { value } => short(value),
    }
}

/// Returns the beginning of a text, without line breaks.
fn short(text: &str) -> String {
    const MOST: usize = 20;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rows, {} columns; an encoded row has {} numbers",
            self.rows,
            self.columns.len(),
            self.width
        )?;
        let head = ["column", "kind", "nulls", "distinct", "modes", "width", "values"].map(String::from);
        let mut lines = vec![head];
        lines.extend(self.columns.iter().map(|column| {
            let nulls = match column.nulls {
                0 => "0".into(),
                nulls => format!("{:.1} %", 100.0 * nulls as f64 / self.rows.max(1) as f64),
            };
            let modes = if column.modes.is_empty() { "-".into() } else { column.modes.len().to_string() };
            [
                short(&column.name),
                column.kind.into(),
                nulls,
                column.distinct.to_string(),
                modes,
                column.width.to_string(),
                column.values.clone(),
            ]
        }));
        let mut widths = [0; 7];
        for line in &lines {
            line.iter()
                .zip(&mut widths)
                .for_each(|(cell, width)| *width = (*width).max(cell.chars().count()));
        }
        for line in &lines {
            let mut text = String::new();
            for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
                match index {
                    0 | 1 => text.push_str(&format!("{cell:width$}  ")),
                    6 => text.push_str(cell),
                    _ => text.push_str(&format!("{cell:>width$}  ")),
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        let slow = self.columns.iter().filter_map(|column| Some((&column.name, column.slow.as_ref()?)));
        for (name, why) in slow {
            writeln!(f, "slow: column `{name}` {why}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
