//! The meaning of a parquet column's bits, and their text form.

use ::parquet::basic::{LogicalType, TimeUnit, Type as Physical};
use ::parquet::schema::types::ColumnDescriptor;

use super::super::schema::Storage;

/// Maximum number of decimals of a decimal: what 128 bits can hold.
const MOST_SCALE: u8 = 38;

/// A cell's bits, by physical type.
pub(super) enum Cell {
    Bool(bool),
    Int(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
}

/// The meaning of a column's bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    Bool,
    Int {
        bits: u8,
        signed: bool,
    },
    /// Integers divided by this power of ten.
    Decimal {
        scale: u8,
    },
    Float,
    Double,
    Text,
    Date(Storage),
}

impl Meaning {
    /// Returns the meaning of a column.
    ///
    /// # Errors
    /// What the column is, if it is none of these.
    pub(super) fn of(column: &ColumnDescriptor) -> Result<Self, String> {
        use ::parquet::basic::ConvertedType as Converted;
        let bits = if column.physical_type() == Physical::INT32 { 32 } else { 64 };
        let converted = column.converted_type();
        let refused = || Err(format!("of type {:?}, which is not read", column.physical_type()));
        if converted == Converted::DECIMAL {
            let scale = u8::try_from(column.type_scale()).ok().filter(|scale| *scale <= MOST_SCALE);
            return scale.map_or_else(refused, |scale| Ok(Self::Decimal { scale }));
        }
        Ok(match column.physical_type() {
            Physical::BOOLEAN => Self::Bool,
            Physical::FLOAT => Self::Float,
            Physical::DOUBLE => Self::Double,
            Physical::BYTE_ARRAY => match converted {
                Converted::UTF8 | Converted::ENUM | Converted::JSON | Converted::NONE => Self::Text,
                _ => return refused(),
            },
            Physical::INT32 | Physical::INT64 => match (column.logical_type_ref(), converted) {
                (Some(LogicalType::Timestamp(stamp)), _) => Self::Date(match stamp.unit {
                    TimeUnit::MILLIS => Storage::Millis,
                    TimeUnit::MICROS => Storage::Micros,
                    TimeUnit::NANOS => Storage::Nanos,
                }),
                (_, Converted::DATE) => Self::Date(Storage::Days),
                (_, Converted::TIMESTAMP_MILLIS) => Self::Date(Storage::Millis),
                (_, Converted::TIMESTAMP_MICROS) => Self::Date(Storage::Micros),
                (_, Converted::UINT_8 | Converted::UINT_16 | Converted::UINT_32 | Converted::UINT_64) => {
                    Self::Int { bits, signed: false }
                }
                _ => Self::Int { bits, signed: true },
            },
            _ => return refused(),
        })
    }

    pub(super) fn storage(self) -> Storage {
        match self {
            Self::Bool => Storage::Boolean,
            Self::Int { bits: 32, signed: true } => Storage::Int32,
            Self::Int { .. } => Storage::Int64,
            Self::Float => Storage::Float,
            Self::Decimal { .. } | Self::Double => Storage::Double,
            Self::Text => Storage::Text,
            Self::Date(storage) => storage,
        }
    }

    /// Returns the text that a text file would have; None for a NaN, which is a missing number.
    pub(super) fn text(self, cell: Cell) -> Result<Option<String>, String> {
        Ok(Some(match (cell, self) {
            (Cell::Bool(value), _) => value.to_string(),
            (Cell::Int(value), Self::Int { bits: 32, signed: false }) => (value as u32).to_string(),
            (Cell::Int(value), Self::Int { signed: false, .. }) => (value as u64).to_string(),
            (Cell::Int(value), Self::Decimal { scale }) => decimal(value.into(), scale),
            (Cell::Bytes(bytes), Self::Decimal { scale }) => {
                // Big-endian, in two's complement.
                let sign = if bytes.first().is_some_and(|first| *first > 127) { 255 } else { 0 };
                let mut all = [sign; 16];
                let start = 16usize.checked_sub(bytes.len()).ok_or("a decimal of more than 16 bytes")?;
                all[start..].copy_from_slice(&bytes);
                decimal(i128::from_be_bytes(all), scale)
            }
            (Cell::Int(value), _) => value.to_string(),
            (Cell::Float(value), _) if value.is_nan() => return Ok(None),
            (Cell::Double(value), _) if value.is_nan() => return Ok(None),
            (Cell::Float(value), _) => value.to_string(),
            (Cell::Double(value), _) => value.to_string(),
            (Cell::Bytes(bytes), _) => {
                String::from_utf8(bytes).map_err(|_| "bytes that are not text in UTF-8".to_string())?
            }
        }))
    }
}

fn decimal(value: i128, scale: u8) -> String {
    let one = 10u128.pow(scale.into());
    let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    match scale {
        0 => value.to_string(),
        _ => format!("{sign}{}.{:0width$}", size / one, size % one, width = usize::from(scale)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_texts_as_a_file_of_text_has_them() {
        let text = |meaning: Meaning, cell| meaning.text(cell).unwrap();
        let is = |expected: &str| Some(expected.to_string());
        let decimal = Meaning::Decimal { scale: 2 };
        assert_eq!(text(decimal, Cell::Int(-5)), is("-0.05"));
        assert_eq!(text(decimal, Cell::Bytes(vec![0xff, 0x85])), is("-1.23"));
        assert_eq!(text(decimal, Cell::Bytes(vec![0x04, 0xd2])), is("12.34"));
        assert_eq!(text(Meaning::Decimal { scale: 0 }, Cell::Int(7)), is("7"));
        assert!(decimal.text(Cell::Bytes(vec![1; 17])).is_err());
        assert_eq!(text(Meaning::Int { bits: 32, signed: false }, Cell::Int(-1)), is("4294967295"));
        assert_eq!(text(Meaning::Int { bits: 64, signed: false }, Cell::Int(-1)), is("18446744073709551615"));
        assert_eq!(text(Meaning::Float, Cell::Float(0.1)), is("0.1"));
        assert_eq!(text(Meaning::Double, Cell::Double(f64::NAN)), None);
        assert!(Meaning::Text.text(Cell::Bytes(vec![0xff])).is_err());
    }
}
