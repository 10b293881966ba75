//! The columns of a result as the drivers are told of them.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use frazil_common::NameCase;
use serde::Serialize;

/// Bytes of the longest text and binary value that clients expect; ours have no bound of their own.
const TEXT_BYTES_MAX: u64 = 16 << 20;
const BINARY_BYTES_MAX: u64 = 8 << 20;
/// Digits of the longest number.
const PRECISION_MAX: i64 = 38;

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: &'static str,
    pub length: Option<u64>,
    pub precision: Option<i64>,
    pub scale: Option<i64>,
    pub nullable: bool,
    pub byte_length: Option<u64>,
    /// Where the column comes from; planning does not keep it.
    database: &'static str,
    schema: &'static str,
    table: &'static str,
    collation: Option<&'static str>,
    #[serde(skip)]
    pub data_type: DataType,
}

impl Column {
    /// Text has nine decimals of a second, whatever the column has, and clients look for as many as they are told of.
    pub fn as_text(&mut self) {
        if self.type_name == "timestamp_ntz" {
            self.scale = Some(9);
        }
    }
}

pub fn columns(schema: &Schema, name_case: NameCase) -> Vec<Column> {
    schema.fields().iter().map(|field| column(field, name_case)).collect()
}

fn column(field: &Field, name_case: NameCase) -> Column {
    let mut column = Column {
        name: name_case.shown(field.name()).into_owned(),
        type_name: "text",
        length: None,
        precision: None,
        scale: None,
        nullable: field.is_nullable(),
        byte_length: None,
        database: "",
        schema: "",
        table: "",
        collation: None,
        data_type: field.data_type().clone(),
    };
    describe(field.data_type(), &mut column);
    column
}

fn describe(data_type: &DataType, column: &mut Column) {
    match data_type {
        DataType::Int8 | DataType::UInt8 => fixed(column, 3, 0),
        DataType::Int16 | DataType::UInt16 => fixed(column, 5, 0),
        DataType::Int32 | DataType::UInt32 => fixed(column, 10, 0),
        DataType::Int64 => fixed(column, 19, 0),
        DataType::UInt64 => fixed(column, 20, 0),
        // A negative scale means zeros before the point. Numbers that are longer than any of Snowflake's go as text.
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let (precision, scale) = (i64::from(*precision), i64::from(*scale));
            match precision - scale.min(0) {
                precision @ ..=PRECISION_MAX => fixed(column, precision, scale.max(0)),
                _ => text(column),
            }
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => column.type_name = "real",
        DataType::Boolean => column.type_name = "boolean",
        DataType::Date32 | DataType::Date64 => column.type_name = "date",
        DataType::Time32(_) | DataType::Time64(_) => timed(column, "time", TimeUnit::Nanosecond),
        DataType::Timestamp(unit, None) => timed(column, "timestamp_ntz", *unit),
        // Its text and its struct have nine decimals.
        DataType::Timestamp(_, Some(_)) => timed(column, "timestamp_tz", TimeUnit::Nanosecond),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => text(column),
        DataType::Interval(_) | DataType::Duration(_) => text(column),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => binary(column, BINARY_BYTES_MAX),
        DataType::FixedSizeBinary(bytes) => binary(column, u64::try_from(*bytes).unwrap_or(0)),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => column.type_name = "array",
        DataType::Struct(_) | DataType::Map(_, _) => column.type_name = "object",
        DataType::Union(_, _) => column.type_name = "variant",
        DataType::Dictionary(_, values) => describe(values, column),
        DataType::RunEndEncoded(_, values) => describe(values.data_type(), column),
    }
}

fn fixed(column: &mut Column, precision: i64, scale: i64) {
    column.type_name = "fixed";
    column.precision = Some(precision);
    column.scale = Some(scale);
}

fn text(column: &mut Column) {
    column.type_name = "text";
    column.length = Some(TEXT_BYTES_MAX);
    column.byte_length = Some(TEXT_BYTES_MAX);
}

fn binary(column: &mut Column, bytes: u64) {
    column.type_name = "binary";
    column.length = Some(bytes);
    column.byte_length = Some(bytes);
}

fn timed(column: &mut Column, type_name: &'static str, unit: TimeUnit) {
    column.type_name = type_name;
    column.precision = Some(0);
    column.scale = Some(match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    });
}
