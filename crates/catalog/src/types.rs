//! Column types: DuckLake's names for them, their Arrow types, and which of them may be widened to which.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};

use crate::error::{CatalogError, Result};
use crate::ids::ColumnId;
use crate::model::Column;

/// A type by DuckLake's name. The children of nested types are columns of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ColumnType {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Int128,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    UInt128,
    Float32,
    Float64,
    /// Digits in all (at most 38), and those behind the point.
    Decimal(u8, i8),
    Date,
    Time,
    TimeNs,
    TimeTz,
    TimestampS,
    TimestampMs,
    /// Microseconds, DuckLake's `timestamp`.
    Timestamp,
    TimestampNs,
    TimestampTz,
    Interval,
    Varchar,
    Json,
    Blob,
    Uuid,
    Struct,
    List,
    Map,
    /// `variant`, `geometry` and what later versions bring: kept, but not read.
    Other(String),
}

impl ColumnType {
    pub fn parse(text: &str) -> Self {
        if let Some(arguments) = text.strip_prefix("decimal(").and_then(|t| t.strip_suffix(')'))
            && let Some((width, scale)) = arguments.split_once(',')
            && let (Ok(width), Ok(scale)) = (width.trim().parse(), scale.trim().parse())
        {
            return Self::Decimal(width, scale);
        }
        match text.to_ascii_lowercase().as_str() {
            "boolean" => Self::Boolean,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "int128" => Self::Int128,
            "uint8" => Self::UInt8,
            "uint16" => Self::UInt16,
            "uint32" => Self::UInt32,
            "uint64" => Self::UInt64,
            "uint128" => Self::UInt128,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "date" => Self::Date,
            "time" => Self::Time,
            "time_ns" => Self::TimeNs,
            "timetz" => Self::TimeTz,
            "timestamp_s" => Self::TimestampS,
            "timestamp_ms" => Self::TimestampMs,
            "timestamp" | "timestamp_us" => Self::Timestamp,
            "timestamp_ns" => Self::TimestampNs,
            "timestamptz" => Self::TimestampTz,
            "interval" => Self::Interval,
            "varchar" => Self::Varchar,
            "json" => Self::Json,
            "blob" => Self::Blob,
            "uuid" => Self::Uuid,
            "struct" => Self::Struct,
            "list" => Self::List,
            "map" => Self::Map,
            _ => Self::Other(text.to_owned()),
        }
    }

    /// The integers' digits in base ten, negative ones told apart.
    fn integer(&self) -> Option<(bool, u8)> {
        Some(match self {
            Self::Int8 => (true, 1),
            Self::Int16 => (true, 2),
            Self::Int32 => (true, 4),
            Self::Int64 => (true, 8),
            Self::UInt8 => (false, 1),
            Self::UInt16 => (false, 2),
            Self::UInt32 => (false, 4),
            Self::UInt64 => (false, 8),
            _ => return None,
        })
    }

    /// Whether a column may change to `wider`, so that every value, and every statistic's text, stays what it is.
    pub fn widens_to(&self, wider: &Self) -> bool {
        if let (Some((signed, bytes)), Some((wider_signed, wider_bytes))) = (self.integer(), wider.integer()) {
            return match (signed, wider_signed) {
                (true, false) => false,
                (true, true) | (false, false) => bytes < wider_bytes,
                (false, true) => bytes < wider_bytes,
            };
        }
        match (self, wider) {
            (Self::Float32, Self::Float64) => true,
            (Self::Decimal(width, scale), Self::Decimal(wider_width, wider_scale)) => {
                self != wider
                    && scale <= wider_scale
                    && i16::from(*width) - i16::from(*scale) <= i16::from(*wider_width) - i16::from(*wider_scale)
            }
            _ => false,
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Boolean => "boolean",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Int128 => "int128",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::UInt128 => "uint128",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Decimal(width, scale) => return write!(f, "decimal({width},{scale})"),
            Self::Date => "date",
            Self::Time => "time",
            Self::TimeNs => "time_ns",
            Self::TimeTz => "timetz",
            Self::TimestampS => "timestamp_s",
            Self::TimestampMs => "timestamp_ms",
            Self::Timestamp => "timestamp",
            Self::TimestampNs => "timestamp_ns",
            Self::TimestampTz => "timestamptz",
            Self::Interval => "interval",
            Self::Varchar => "varchar",
            Self::Json => "json",
            Self::Blob => "blob",
            Self::Uuid => "uuid",
            Self::Struct => "struct",
            Self::List => "list",
            Self::Map => "map",
            Self::Other(name) => name,
        };
        f.write_str(name)
    }
}

/// The metadata key under which Parquet's readers and writers of Arrow keep a column's field id.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// The column as an Arrow field, its field id and those of its children in the metadata.
pub fn to_arrow(column: &Column) -> Result<Field> {
    let data_type = match (&column.column_type, column.children.as_slice()) {
        (ColumnType::Boolean, _) => DataType::Boolean,
        (ColumnType::Int8, _) => DataType::Int8,
        (ColumnType::Int16, _) => DataType::Int16,
        (ColumnType::Int32, _) => DataType::Int32,
        (ColumnType::Int64, _) => DataType::Int64,
        (ColumnType::UInt8, _) => DataType::UInt8,
        (ColumnType::UInt16, _) => DataType::UInt16,
        (ColumnType::UInt32, _) => DataType::UInt32,
        (ColumnType::UInt64, _) => DataType::UInt64,
        // DuckDB writes both as DOUBLE into Parquet.
        (ColumnType::Int128 | ColumnType::UInt128, _) => DataType::Float64,
        (ColumnType::Float32, _) => DataType::Float32,
        (ColumnType::Float64, _) => DataType::Float64,
        (ColumnType::Decimal(width, scale), _) => DataType::Decimal128(*width, *scale),
        (ColumnType::Date, _) => DataType::Date32,
        (ColumnType::Time | ColumnType::TimeTz, _) => DataType::Time64(TimeUnit::Microsecond),
        (ColumnType::TimeNs, _) => DataType::Time64(TimeUnit::Nanosecond),
        (ColumnType::TimestampS, _) => DataType::Timestamp(TimeUnit::Second, None),
        (ColumnType::TimestampMs, _) => DataType::Timestamp(TimeUnit::Millisecond, None),
        (ColumnType::Timestamp, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        (ColumnType::TimestampNs, _) => DataType::Timestamp(TimeUnit::Nanosecond, None),
        (ColumnType::TimestampTz, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        (ColumnType::Interval, _) => DataType::Interval(IntervalUnit::MonthDayNano),
        (ColumnType::Varchar | ColumnType::Json, _) => DataType::Utf8,
        (ColumnType::Blob, _) => DataType::Binary,
        (ColumnType::Uuid, _) => DataType::FixedSizeBinary(16),
        (ColumnType::Struct, children) => {
            DataType::Struct(children.iter().map(to_arrow).collect::<Result<Vec<_>>>()?.into())
        }
        (ColumnType::List, [element]) => DataType::List(Arc::new(to_arrow(element)?)),
        (ColumnType::Map, [key, value]) => {
            let entries = vec![to_arrow(key)?.with_nullable(false), to_arrow(value)?];
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries.into()), false)), false)
        }
        (ColumnType::List | ColumnType::Map, _) => {
            return Err(CatalogError::Corrupt(format!("column \"{}\" lacks its element columns", column.name)));
        }
        (ColumnType::Other(name), _) => {
            return Err(CatalogError::NotSupported(format!(
                "column \"{}\" has the type {name}, which cannot be read",
                column.name
            )));
        }
    };
    let mut metadata = std::collections::HashMap::from([(FIELD_ID_KEY.to_owned(), column.id.to_string())]);
    match column.column_type {
        ColumnType::Json => metadata.insert("ARROW:extension:name".to_owned(), "arrow.json".to_owned()),
        ColumnType::Uuid => metadata.insert("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned()),
        _ => None,
    };
    Ok(Field::new(&column.name, data_type, column.nulls_allowed).with_metadata(metadata))
}

/// The column for an Arrow field, numbered later: ids are drawn by the table it becomes a part of.
pub fn from_arrow(field: &Field) -> Result<Column> {
    let extension = field.metadata().get("ARROW:extension:name").map(String::as_str);
    let (column_type, children) = match field.data_type() {
        DataType::Boolean => (ColumnType::Boolean, vec![]),
        DataType::Int8 => (ColumnType::Int8, vec![]),
        DataType::Int16 => (ColumnType::Int16, vec![]),
        DataType::Int32 => (ColumnType::Int32, vec![]),
        DataType::Int64 => (ColumnType::Int64, vec![]),
        DataType::UInt8 => (ColumnType::UInt8, vec![]),
        DataType::UInt16 => (ColumnType::UInt16, vec![]),
        DataType::UInt32 => (ColumnType::UInt32, vec![]),
        DataType::UInt64 => (ColumnType::UInt64, vec![]),
        DataType::Float32 => (ColumnType::Float32, vec![]),
        DataType::Float64 => (ColumnType::Float64, vec![]),
        DataType::Decimal32(width, scale)
        | DataType::Decimal64(width, scale)
        | DataType::Decimal128(width, scale)
        | DataType::Decimal256(width, scale)
            if *width <= 38 && *scale >= 0 =>
        {
            (ColumnType::Decimal(*width, *scale), vec![])
        }
        DataType::Date32 | DataType::Date64 => (ColumnType::Date, vec![]),
        DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => (ColumnType::Time, vec![]),
        DataType::Time64(_) => (ColumnType::TimeNs, vec![]),
        DataType::Timestamp(_, Some(_)) => (ColumnType::TimestampTz, vec![]),
        DataType::Timestamp(TimeUnit::Second, None) => (ColumnType::TimestampS, vec![]),
        DataType::Timestamp(TimeUnit::Millisecond, None) => (ColumnType::TimestampMs, vec![]),
        DataType::Timestamp(TimeUnit::Microsecond, None) => (ColumnType::Timestamp, vec![]),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => (ColumnType::TimestampNs, vec![]),
        DataType::Interval(_) => (ColumnType::Interval, vec![]),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if extension == Some("arrow.json") => {
            (ColumnType::Json, vec![])
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (ColumnType::Varchar, vec![]),
        DataType::FixedSizeBinary(16) if extension == Some("arrow.uuid") => (ColumnType::Uuid, vec![]),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            (ColumnType::Blob, vec![])
        }
        DataType::Dictionary(_, values) => {
            return from_arrow(&field.clone().with_data_type(values.as_ref().clone()));
        }
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            (ColumnType::List, vec![Column { name: "element".to_owned(), ..from_arrow(element)? }])
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            (ColumnType::Struct, fields.iter().map(|f| from_arrow(f)).collect::<Result<_>>()?)
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let key = Column { name: "key".to_owned(), ..from_arrow(&fields[0])? };
                (ColumnType::Map, vec![key, Column { name: "value".to_owned(), ..from_arrow(&fields[1])? }])
            }
            _ => return Err(unsupported(field)),
        },
        _ => return Err(unsupported(field)),
    };
    let mut column = Column::new(field.name(), column_type);
    column.nulls_allowed = field.is_nullable();
    column.children = children;
    column.id = field.metadata().get(FIELD_ID_KEY).and_then(|id| id.parse().ok()).map_or(ColumnId(0), ColumnId);
    Ok(column)
}

fn unsupported(field: &Field) -> CatalogError {
    CatalogError::NotSupported(format!(
        "column \"{}\" cannot be stored: it is of type {}",
        field.name(),
        field.data_type()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_keeps_every_value() {
        use ColumnType::*;
        assert!(Int8.widens_to(&Int64) && UInt8.widens_to(&Int16) && UInt32.widens_to(&UInt64));
        assert!(Float32.widens_to(&Float64) && Decimal(10, 2).widens_to(&Decimal(12, 4)));
        for (from, to) in [(Int64, Int32), (Int32, Int32), (Int8, UInt16), (UInt32, Int32), (Float64, Float32)] {
            assert!(!from.widens_to(&to), "{from} to {to}");
        }
        assert!(!Decimal(10, 2).widens_to(&Decimal(11, 4)) && !Int32.widens_to(&Varchar));
    }

    #[test]
    fn arrow_types_survive_the_round_trip() {
        let nested = Field::new("l", DataType::Utf8, true);
        for data_type in [
            DataType::Int32,
            DataType::Decimal128(12, 3),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Struct(vec![nested.clone()].into()),
            DataType::Date32,
        ] {
            let column = from_arrow(&Field::new("c", data_type.clone(), false)).unwrap();
            let parsed = ColumnType::parse(&column.column_type.to_string());
            assert_eq!(parsed, column.column_type);
            let back = to_arrow(&column).unwrap();
            assert!(!back.is_nullable());
            match data_type {
                DataType::Struct(_) => assert!(matches!(back.data_type(), DataType::Struct(_))),
                _ => assert_eq!(back.data_type(), &data_type),
            }
        }
    }
}
