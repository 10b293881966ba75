//! The columns of a result as `resultSetMetaData.rowType` describes them.

use arrow::datatypes::{DataType, Field, Schema};
use serde::Serialize;

/// Bytes of the longest text and binary value that Snowflake clients expect; ours have no bound of their own.
const TEXT_BYTES_MAX: u64 = 16 << 20;
const BINARY_BYTES_MAX: u64 = 8 << 20;

/// Cells of times and timestamps always carry nine decimals, whatever the unit of the Arrow type.
const TIME_SCALE: i64 = 9;

/// One column. Names as Snowflake has them; what does not apply to a type is null.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColumnType {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: &'static str,
    pub length: Option<u64>,
    pub precision: Option<i64>,
    pub scale: Option<i64>,
    pub nullable: bool,
    pub byte_length: Option<u64>,
    /// Where the column comes from; planning does not keep it, so always empty.
    pub database: &'static str,
    pub schema: &'static str,
    pub table: &'static str,
    pub collation: Option<&'static str>,
    #[serde(skip)]
    pub data_type: DataType,
}

pub fn row_type(schema: &Schema) -> Vec<ColumnType> {
    schema.fields().iter().map(|field| column_type(field)).collect()
}

fn column_type(field: &Field) -> ColumnType {
    let mut column = ColumnType {
        name: field.name().clone(),
        type_name: "TEXT",
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

fn describe(data_type: &DataType, column: &mut ColumnType) {
    let mut fixed = |precision: i64, scale: i64| {
        column.type_name = "FIXED";
        column.precision = Some(precision);
        column.scale = Some(scale);
    };
    match data_type {
        DataType::Int8 | DataType::UInt8 => fixed(3, 0),
        DataType::Int16 | DataType::UInt16 => fixed(5, 0),
        DataType::Int32 | DataType::UInt32 => fixed(10, 0),
        DataType::Int64 => fixed(19, 0),
        DataType::UInt64 => fixed(20, 0),
        // A negative scale means zeros before the point: 12 of decimal(2, -3) is 12000, so five digits and no decimals.
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let (precision, scale) = (i64::from(*precision), i64::from(*scale));
            fixed(precision - scale.min(0), scale.max(0));
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => column.type_name = "REAL",
        DataType::Boolean => column.type_name = "BOOLEAN",
        DataType::Date32 | DataType::Date64 => column.type_name = "DATE",
        DataType::Time32(_) | DataType::Time64(_) => timed(column, "TIME"),
        DataType::Timestamp(_, None) => timed(column, "TIMESTAMP_NTZ"),
        DataType::Timestamp(_, Some(_)) => timed(column, "TIMESTAMP_TZ"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(column),
        // As text, so of a text's length.
        DataType::Interval(_) | DataType::Duration(_) => text(column),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => binary(column, BINARY_BYTES_MAX),
        DataType::FixedSizeBinary(bytes) => binary(column, u64::try_from(*bytes).unwrap_or(0)),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => column.type_name = "ARRAY",
        DataType::Struct(_) | DataType::Map(_, _) => column.type_name = "OBJECT",
        DataType::Union(_, _) | DataType::Null => column.type_name = "VARIANT",
        DataType::Dictionary(_, values) => describe(values, column),
        DataType::RunEndEncoded(_, values) => describe(values.data_type(), column),
    }
}

/// Of a column that is sent as text.
pub fn text(column: &mut ColumnType) {
    column.type_name = "TEXT";
    column.length = Some(TEXT_BYTES_MAX);
    column.byte_length = Some(TEXT_BYTES_MAX);
}

fn binary(column: &mut ColumnType, bytes: u64) {
    column.type_name = "BINARY";
    column.length = Some(bytes);
    column.byte_length = Some(bytes);
}

fn timed(column: &mut ColumnType, type_name: &'static str) {
    column.type_name = type_name;
    column.precision = Some(0);
    column.scale = Some(TIME_SCALE);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{IntervalUnit, TimeUnit};

    use super::*;

    fn check(data_type: DataType, type_name: &str, precision: Option<i64>, scale: Option<i64>) {
        let column = column_type(&Field::new("Name \"q\"", data_type.clone(), true));
        assert_eq!(
            (column.type_name, column.precision, column.scale, column.name.as_str(), column.nullable),
            (type_name, precision, scale, "Name \"q\"", true),
            "{data_type}"
        );
    }

    #[test]
    fn every_arrow_type_has_a_snowflake_type() {
        let item = Arc::new(Field::new("item", DataType::Int32, true));
        check(DataType::Int64, "FIXED", Some(19), Some(0));
        check(DataType::UInt64, "FIXED", Some(20), Some(0));
        check(DataType::Decimal128(15, 2), "FIXED", Some(15), Some(2));
        check(DataType::Decimal256(76, 10), "FIXED", Some(76), Some(10));
        check(DataType::Decimal128(2, -3), "FIXED", Some(5), Some(0));
        check(DataType::Float32, "REAL", None, None);
        check(DataType::Utf8View, "TEXT", None, None);
        check(DataType::Boolean, "BOOLEAN", None, None);
        check(DataType::Date32, "DATE", None, None);
        check(DataType::Time64(TimeUnit::Microsecond), "TIME", Some(0), Some(9));
        check(DataType::Timestamp(TimeUnit::Second, None), "TIMESTAMP_NTZ", Some(0), Some(9));
        check(DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), "TIMESTAMP_TZ", Some(0), Some(9));
        check(DataType::BinaryView, "BINARY", None, None);
        check(DataType::List(item.clone()), "ARRAY", None, None);
        check(DataType::Struct(vec![item].into()), "OBJECT", None, None);
        check(DataType::Interval(IntervalUnit::MonthDayNano), "TEXT", None, None);
        check(DataType::Duration(TimeUnit::Second), "TEXT", None, None);
        check(DataType::Null, "VARIANT", None, None);
        check(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "TEXT", None, None);
    }

    #[test]
    fn a_column_is_written_with_snowflakes_names() {
        let column = column_type(&Field::new("n", DataType::FixedSizeBinary(4), false));
        let json = serde_json::to_value(column).unwrap();
        assert_eq!(json["type"], "BINARY");
        assert_eq!(json["byteLength"], 4);
        assert_eq!(json["nullable"], false);
        assert!(json["precision"].is_null() && json["collation"].is_null());
    }
}
