//! Writes parquet: every column in the type that it was read from, or in the one that its kind suggests.

use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{
    Compression, LogicalType, Repetition, TimeUnit, TimestampType, Type as Physical, ZstdLevel,
};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;

use super::super::date::Unit;
use super::super::error::{Error, Result};
use super::super::number::EXACT;
use super::super::schema::{ColumnSchema, Kind, Storage};
use super::super::{Column, Table, Values, entry_text};

/// Rows per row group.
const GROUP: usize = 1 << 20;

/// Writes a table: nulls as nulls, numbers unchanged, dates as the days or instants that they mean.
pub(in crate::table) fn write(table: &Table, path: &Path) -> Result<()> {
    let bytes = encoded(table).map_err(|error| Error::Format {
        path: path.into(),
        expected: "columns that parquet can hold".into(),
        found: error.to_string(),
    })?;
    Ok(waxwork_core::store::write(path, &bytes)?)
}

fn encoded(table: &Table) -> Result<Vec<u8>, ParquetError> {
    let schemas = &table.schema().columns;
    let fields = table.columns().iter().zip(schemas).map(|(column, schema)| field(column, schema));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let root = Type::group_type_builder("schema").with_fields(fields).build()?;
    let level = ZstdLevel::try_new(3)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(root), Arc::new(properties))?;
    for start in (0..table.rows()).step_by(GROUP) {
        let end = (start + GROUP).min(table.rows());
        let mut group = writer.next_row_group()?;
        for (column, schema) in table.columns().iter().zip(schemas) {
            let Some(mut to) = group.next_column()? else { break };
            cells(column, schema, start..end, to.untyped())?;
            to.close()?;
        }
        group.close()?;
    }
    writer.into_inner()
}

/// Returns the storage type of a column: the original one if its values still fit, else the one that its kind
/// suggests.
fn storage(column: &Column, schema: &ColumnSchema) -> Storage {
    use Storage::{Boolean, Days, Double, Float, Int32, Int64, Micros, Millis, Nanos, Text, Untyped};
    let suggested = match &schema.kind {
        Kind::Number { .. } => Double,
        Kind::Integer { .. } => Int64,
        Kind::Date { format, .. } => match format.unit() {
            Unit::Month => Text,
            Unit::Day => Days,
            Unit::Nano => Nanos,
            _ => Micros,
        },
        _ => Text,
    };
    let within = |least: f64, greatest: f64| match column.values() {
        Values::Numbers(numbers) => numbers.iter().all(|number| (least..=greatest).contains(number)),
        Values::Text(texts) => texts.iter().all(|text| {
            let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            number.is_some_and(|number| (least..=greatest).contains(&(number as f64)))
        }),
    };
    let numbers = || match column.values() {
        Values::Numbers(_) => true,
        Values::Text(texts) => {
            texts.iter().all(|text| text.parse::<f64>().is_ok_and(|number| number.to_string() == text))
        }
    };
    let is_date = matches!(schema.kind, Kind::Date { .. });
    let is_number = matches!(schema.kind, Kind::Number { .. });
    match schema.storage {
        Days | Millis | Micros | Nanos if is_date && suggested != Text => schema.storage,
        Boolean if matches!(schema.kind, Kind::Boolean { .. }) => Boolean,
        Int32 if !is_date && !is_number && within(i32::MIN.into(), i32::MAX.into()) => Int32,
        Int32 | Int64 if !is_date && !is_number && within(-EXACT, EXACT) => Int64,
        Float | Double if !is_date && numbers() => schema.storage,
        // Categories that are integers in a text file are stored as integers.
        Untyped if suggested == Text && schema.kind.is_discrete() && within(-EXACT, EXACT) => Int64,
        _ => suggested,
    }
}

fn field(column: &Column, schema: &ColumnSchema) -> Result<Arc<Type>, ParquetError> {
    let stamp = |unit| Some(LogicalType::Timestamp(TimestampType { is_adjusted_to_u_t_c: false, unit }));
    let (physical, logical) = match storage(column, schema) {
        Storage::Boolean => (Physical::BOOLEAN, None),
        Storage::Int32 => (Physical::INT32, None),
        Storage::Int64 => (Physical::INT64, None),
        Storage::Float => (Physical::FLOAT, None),
        Storage::Double => (Physical::DOUBLE, None),
        Storage::Days => (Physical::INT32, Some(LogicalType::Date)),
        Storage::Millis => (Physical::INT64, stamp(TimeUnit::MILLIS)),
        Storage::Micros => (Physical::INT64, stamp(TimeUnit::MICROS)),
        Storage::Nanos => (Physical::INT64, stamp(TimeUnit::NANOS)),
        Storage::Untyped | Storage::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let repetition = if schema.has_null() { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let field = Type::primitive_type_builder(&schema.name, physical).with_repetition(repetition);
    Ok(Arc::new(field.with_logical_type(logical).build()?))
}

fn cells(
    column: &Column,
    schema: &ColumnSchema,
    rows: std::ops::Range<usize>,
    to: &mut ColumnWriter,
) -> Result<(), ParquetError> {
    let number = |code: usize| match column.values() {
        Values::Numbers(numbers) => numbers[code],
        Values::Text(texts) => texts.get(code).and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
    };
    let integer = |code: usize| match column.values() {
        Values::Numbers(numbers) => numbers[code] as i64,
        Values::Text(texts) => texts.get(code).and_then(|text| text.parse().ok()).unwrap_or(0),
    };
    let instant = |code: usize, unit: i64| match &schema.kind {
        Kind::Date { format, .. } => {
            let nanos = i128::from(format.unit().nanos().unwrap_or(1));
            i64::try_from(i128::from(integer(code)) * nanos / i128::from(unit)).unwrap_or(i64::MAX)
        }
        _ => integer(code),
    };
    let units = match storage(column, schema) {
        Storage::Days => 86_400_000_000_000,
        Storage::Millis => 1_000_000,
        Storage::Micros => 1_000,
        _ => 1,
    };
    let yes = |code: usize| {
        let text = entry_text(column, schema, code);
        matches!(&schema.kind, Kind::Boolean { yes, .. } if text.as_deref() == Some(yes))
    };
    let text = |code: usize| ByteArray::from(entry_text(column, schema, code).unwrap_or_default().as_str());
    let is_date = matches!(schema.kind, Kind::Date { .. });
    match to {
        ColumnWriter::BoolColumnWriter(to) => batch(column, schema, rows, to, yes),
        ColumnWriter::Int32ColumnWriter(to) => batch(column, schema, rows, to, |code| {
            i32::try_from(if is_date { instant(code, units) } else { integer(code) }).unwrap_or(i32::MAX)
        }),
        ColumnWriter::Int64ColumnWriter(to) => {
            batch(column, schema, rows, to, |code| if is_date { instant(code, units) } else { integer(code) })
        }
        ColumnWriter::FloatColumnWriter(to) => batch(column, schema, rows, to, |code| number(code) as f32),
        ColumnWriter::DoubleColumnWriter(to) => batch(column, schema, rows, to, number),
        ColumnWriter::ByteArrayColumnWriter(to) => batch(column, schema, rows, to, text),
        _ => Err(ParquetError::General("a column of another type than was asked for".into())),
    }
}

fn batch<T: DataType>(
    column: &Column,
    schema: &ColumnSchema,
    rows: std::ops::Range<usize>,
    to: &mut ::parquet::column::writer::ColumnWriterImpl<'_, T>,
    value: impl Fn(usize) -> T::T,
) -> Result<(), ParquetError> {
    let known = column.values().len();
    let entries: Vec<T::T> = (0..known).map(value).collect();
    let codes = rows.map(|row| column.code(row));
    let levels: Vec<i16> = codes.clone().map(|code| i16::from(code < known)).collect();
    if !schema.has_null() && levels.contains(&0) {
        return Err(ParquetError::General(format!("column `{}` has nulls, its schema none", schema.name)));
    }
    let values: Vec<T::T> = codes.filter(|code| *code < known).map(|code| entries[code].clone()).collect();
    to.write_batch(&values, schema.has_null().then_some(&levels[..]), None).map(drop)
}
