//! `clinic`, a table that needs no file: hospital admissions, drawn from a Bayesian network of thirteen
//! columns. Its density is known exactly, so generated rows can be scored by the true density.
//!
//! It has all the difficulties of real tables: several modes (`age` and `temperature` are mixtures whose
//! component depends on another column), a heavy tail (`cost`), integers (`age`, `days`), informative missing
//! values (`creatinine` is missing more often in mild cases), rare categories (a region of 2 %, a diagnosis
//! of 0.5 %) and a column that another one almost determines (`ward`).
//!
//! | column | given | distribution |
//! |---|---|---|
//! | `sex`, `region` | | categories |
//! | `insurance` | `region` | categories |
//! | `age` | `insurance` | binomial of 110 |
//! | `smoker` | age band, `sex` | truth value |
//! | `diagnosis` | age band, `smoker` | categories |
//! | `severity`, `ward` | `diagnosis` | categories |
//! | `temperature` | `diagnosis` | normal |
//! | `creatinine` | `severity` | missing, or log-normal |
//! | `days` | `severity` | negative binomial with r = 2 |
//! | `cost` | `ward`, `days` | log-normal, its logarithm linear in `days` |
//! | `readmitted` | `severity`, days band, age band | truth value |
//!
//! Each of them can be fitted by maximum likelihood in closed form. Numbers with decimals have a density per
//! unit, taken at the written value. Rounding to two decimals changes the mean by less than 10⁻³ nats.

mod network;
mod refit;

use std::path::Path;

use super::error::{Error, Result};
use super::raw::{Raw, RawColumn};
use super::schema::{ColumnOverride, CsvFormat, Kind, KindName, Storage, TableOptions};
use super::{Column, Table};
pub use network::{Network, Record};
use waxwork_core::rng::Stream;

/// Version of the generator. The same seed and version give the same rows.
pub(crate) const VERSION: u32 = 1;
/// Number of training rows, starting at row 0.
pub const TRAIN: usize = 10_000;
/// Number of test rows, which follow the training rows.
pub const TEST: usize = 10_000;
/// The score of an impossible value in [`Network::score`], in nats: ln 10⁻⁸, as in SDGym.
pub const FLOOR: f64 = -18.420_680_743_952_367;

pub(crate) const COLUMNS: [&str; 13] = [
    "age",
    "sex",
    "region",
    "smoker",
    "insurance",
    "diagnosis",
    "severity",
    "ward",
    "temperature",
    "creatinine",
    "days",
    "cost",
    "readmitted",
];
const SEX: [&str; 2] = ["female", "male"];
const REGION: [&str; 6] = ["north", "east", "south", "west", "coast", "islands"];
const INSURANCE: [&str; 4] = ["family", "private", "public", "senior"];
const DIAGNOSIS: [&str; 9] =
    ["checkup", "fracture", "asthma", "infection", "influenza", "diabetes", "cardiac", "stroke", "sepsis"];
const SEVERITY: [&str; 3] = ["mild", "moderate", "severe"];
const WARD: [&str; 5] = ["general", "surgery", "pulmonary", "cardiology", "intensive"];
const TRUTH: [&str; 2] = ["no", "yes"];

/// Returns row `index` of the table of a seed.
pub fn record(seed: u64, index: u64) -> Record {
    Network::truth().draw(&mut Stream::new(seed, "clinic", 0).at(index))
}

/// Returns `rows` rows, starting at `first`.
///
/// # Errors
/// None for at least two rows; with fewer, a column may have no value.
pub fn table(seed: u64, first: u64, rows: usize) -> Result<Table> {
    let truth = Network::truth();
    let stream = Stream::new(seed, "clinic", 0);
    let records = (0..rows as u64).map(|row| truth.draw(&mut stream.at(first + row)));
    from_records(records)
}

/// Converts records to a table. The kinds of the columns do not depend on the rows.
fn from_records(records: impl Iterator<Item = Record>) -> Result<Table> {
    let mut columns: Vec<RawColumn> =
        COLUMNS.iter().map(|name| RawColumn::new(name, Storage::Untyped)).collect();
    let mut rows = 0;
    for record in records {
        for (column, text) in columns.iter_mut().zip(record.texts()) {
            column.push(&text, rows);
        }
        rows += 1;
    }
    let kinds = |name: &str| match name {
        "age" | "days" => KindName::Integer,
        "temperature" | "creatinine" | "cost" => KindName::Number,
        "smoker" | "readmitted" => KindName::Boolean,
        _ => KindName::Category,
    };
    let said = |name: &&str| {
        let kind = kinds(name);
        let decimals = (kind == KindName::Number).then_some(2);
        (name.to_string(), ColumnOverride { kind: Some(kind), decimals, ..ColumnOverride::default() })
    };
    let options = TableOptions { columns: COLUMNS.iter().map(said).collect(), ..TableOptions::default() };
    let csv = CsvFormat::default();
    Raw { path: Path::new("clinic").into(), csv, columns, rows: rows as usize, lines: false }.infer(&options)
}

impl Record {
    /// Returns the cells as text, in the order of columns.
    fn texts(&self) -> [String; 13] {
        let plain = |text: &str| text.to_owned();
        [
            self.age.to_string(),
            plain(SEX[self.sex]),
            plain(REGION[self.region]),
            plain(TRUTH[self.smoker]),
            plain(INSURANCE[self.insurance]),
            plain(DIAGNOSIS[self.diagnosis]),
            plain(SEVERITY[self.severity]),
            plain(WARD[self.ward]),
            format!("{:.2}", self.temperature),
            self.creatinine.map_or(String::new(), |creatinine| format!("{creatinine:.2}")),
            self.days.to_string(),
            format!("{:.2}", self.cost),
            plain(TRUTH[self.readmitted]),
        ]
    }

    /// Reads the rows of any table with the columns of `clinic`.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`] if a column is missing; [`Error::Outside`] if a category is unknown, or a
    /// value is missing in a column without nulls; [`Error::Schema`] if a column is of another kind.
    pub fn of(table: &Table) -> Result<Vec<Self>> {
        let columns = COLUMNS
            .iter()
            .map(|name| {
                let index = table.schema().position(name)?;
                Ok(Reader {
                    name,
                    column: &table.columns()[index],
                    kind: &table.schema().columns[index].kind,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let record = |row: usize| {
            let [
                age,
                sex,
                region,
                smoker,
                insurance,
                diagnosis,
                severity,
                ward,
                temperature,
                creatinine,
                days,
                cost,
                readmitted,
            ] = &columns[..]
            else {
                return Err(Error::Schema { column: None, reason: "a clinic of other columns".into() });
            };
            Ok(Self {
                age: age.number(row)?,
                sex: sex.place(row, &SEX)?,
                region: region.place(row, &REGION)?,
                smoker: smoker.place(row, &TRUTH)?,
                insurance: insurance.place(row, &INSURANCE)?,
                diagnosis: diagnosis.place(row, &DIAGNOSIS)?,
                severity: severity.place(row, &SEVERITY)?,
                ward: ward.place(row, &WARD)?,
                temperature: temperature.number(row)?,
                creatinine: if creatinine.column.is_null(row) { None } else { Some(creatinine.number(row)?) },
                days: days.number(row)?,
                cost: cost.number(row)?,
                readmitted: readmitted.place(row, &TRUTH)?,
            })
        };
        (0..table.rows()).map(record).collect()
    }
}

/// A column by its name.
struct Reader<'a> {
    name: &'a str,
    column: &'a Column,
    kind: &'a Kind,
}

impl Reader<'_> {
    fn number(&self, row: usize) -> Result<f64> {
        if self.column.is_null(row) {
            return Err(self.outside(row, None, "no missing values here"));
        }
        let wrong =
            || Error::schema(self.name, format!("kind {} where `clinic` has numbers", self.kind.name()));
        self.column.number(row).ok_or_else(wrong)
    }

    fn place(&self, row: usize, texts: &[&str]) -> Result<usize> {
        let text = self.column.text(row);
        let place = texts.iter().position(|known| Some(*known) == text);
        place.ok_or_else(|| self.outside(row, text, &format!("`{}`", texts.join("`, `"))))
    }

    fn outside(&self, row: usize, value: Option<&str>, known: &str) -> Error {
        Error::Outside {
            column: self.name.into(),
            value: value.map(str::to_owned),
            row: Some(row),
            known: known.into(),
            nearest: None,
        }
    }
}

#[cfg(test)]
mod tests;
