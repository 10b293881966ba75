//! The columns of a result as the drivers are told of them: as the REST API tells them ([`crate::row_type`]), but for what is here.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use frazil_common::NameCase;

pub use crate::row_type::ColumnType as Column;
use crate::row_type::{row_type, text};

/// Digits of the longest number that drivers read.
const PRECISION_MAX: i64 = 38;

/// Text has nine decimals of a second, whatever the column has, and clients look for as many as they are told of.
pub fn as_text(column: &mut Column) {
    if column.type_name == "timestamp_ntz" {
        column.scale = Some(9);
    }
}

pub fn columns(schema: &Schema, name_case: NameCase) -> Vec<Column> {
    let mut columns = row_type(schema);
    for column in &mut columns {
        column.name = name_case.shown(&column.name).into_owned();
        // Longer numbers go as text, and so do columns of nulls alone.
        if column.precision.is_some_and(|precision| precision > PRECISION_MAX) {
            (column.precision, column.scale) = (None, None);
            text(column);
        }
        if *value_type(&column.data_type) == DataType::Null {
            text(column);
        }
        column.type_name = in_lower_case(column.type_name);
        // Of those with a zone, text and struct have nine decimals.
        if let DataType::Timestamp(unit, None) = value_type(&column.data_type) {
            column.scale = Some(decimals(*unit));
        }
    }
    columns
}

/// What the values are, where the type says how they are packed.
fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => value_type(values),
        DataType::RunEndEncoded(_, values) => value_type(values.data_type()),
        plain => plain,
    }
}

fn decimals(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn in_lower_case(type_name: &str) -> &'static str {
    match type_name {
        "FIXED" => "fixed",
        "REAL" => "real",
        "BOOLEAN" => "boolean",
        "DATE" => "date",
        "TIME" => "time",
        "TIMESTAMP_NTZ" => "timestamp_ntz",
        "TIMESTAMP_TZ" => "timestamp_tz",
        "BINARY" => "binary",
        "ARRAY" => "array",
        "OBJECT" => "object",
        "VARIANT" => "variant",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn drivers_are_told_what_they_read() {
        let packed =
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Timestamp(TimeUnit::Millisecond, None)));
        let types = [
            (DataType::Int64, ("fixed", Some(19), Some(0))),
            (DataType::Decimal256(76, 10), ("text", None, None)),
            (DataType::Decimal128(38, 2), ("fixed", Some(38), Some(2))),
            (DataType::Timestamp(TimeUnit::Second, None), ("timestamp_ntz", Some(0), Some(0))),
            (packed, ("timestamp_ntz", Some(0), Some(3))),
            (DataType::Timestamp(TimeUnit::Second, Some("UTC".into())), ("timestamp_tz", Some(0), Some(9))),
            (DataType::Time32(TimeUnit::Second), ("time", Some(0), Some(9))),
            (DataType::Null, ("text", None, None)),
            (DataType::Struct(vec![Arc::new(Field::new("a", DataType::Null, true))].into()), ("object", None, None)),
        ];
        for (data_type, wanted) in types {
            let schema = Schema::new(vec![Field::new("a", data_type, true)]);
            let column = columns(&schema, NameCase::Upper).remove(0);
            assert_eq!((column.type_name, column.precision, column.scale), wanted, "{:?}", column.data_type);
            assert_eq!((column.name.as_str(), column.length.is_some()), ("A", wanted.0 == "text"));
        }
    }
}
