//! Types and values: the catalog's and DataFusion's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use frazil_catalog::{Column, Result, Scalar, Table, to_arrow};

use super::nested_types::as_planned;

/// The metadata key of every column of the catalog's tables: only there field ids mean something. Files of other tables may have ids,
/// too, and each its own.
pub(super) const LAKE_COLUMN_KEY: &str = "FRAZIL:lake_column";

/// The metadata key of a column's value in rows that are older than the column.
pub(super) const INITIAL_DEFAULT_KEY: &str = "FRAZIL:initial_default";

/// The table's columns as queries see them, with their field ids; those of nested columns' parts are beside their types. Strings are
/// views, as everywhere in DataFusion's Parquet scans.
pub(crate) fn table_schema(table: &Table) -> Result<SchemaRef> {
    let fields = table.columns.iter().map(field_of).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn field_of(column: &Column) -> Result<Field> {
    let mut field = to_arrow(column)?;
    let view = match field.data_type() {
        DataType::Utf8 => Some(DataType::Utf8View),
        DataType::Binary => Some(DataType::BinaryView),
        _ => None,
    };
    let mut metadata = field.metadata().clone();
    metadata.insert(LAKE_COLUMN_KEY.to_owned(), "true".to_owned());
    if let Some(default) = &column.initial_default {
        metadata.insert(INITIAL_DEFAULT_KEY.to_owned(), default.clone());
    }
    field.set_metadata(metadata);
    Ok(match view {
        Some(view) => field.with_data_type(view),
        None => as_planned(field),
    })
}

/// A literal of a query, or the bound of a column in a file, as statistics compare it. `None` for what has no order there.
pub(super) fn scalar_of(value: &ScalarValue) -> Option<Scalar> {
    use ScalarValue as V;
    Some(match value {
        V::Boolean(Some(value)) => Scalar::Bool(*value),
        V::Int8(Some(value)) => Scalar::Int((*value).into()),
        V::Int16(Some(value)) => Scalar::Int((*value).into()),
        V::Int32(Some(value)) => Scalar::Int((*value).into()),
        V::Int64(Some(value)) => Scalar::Int((*value).into()),
        V::UInt8(Some(value)) => Scalar::Int((*value).into()),
        V::UInt16(Some(value)) => Scalar::Int((*value).into()),
        V::UInt32(Some(value)) => Scalar::Int((*value).into()),
        V::UInt64(Some(value)) => Scalar::Int((*value).into()),
        V::Float32(Some(value)) if !value.is_nan() => Scalar::Float((*value).into()),
        V::Float64(Some(value)) if !value.is_nan() => Scalar::Float(*value),
        V::Decimal128(Some(digits), _, scale) => Scalar::Decimal(*digits, *scale),
        V::Date32(Some(days)) => Scalar::Date((*days).into()),
        V::Time64Microsecond(Some(micros)) => Scalar::Time(micros.checked_mul(1000)?),
        V::Time64Nanosecond(Some(nanos)) => Scalar::Time(*nanos),
        V::TimestampSecond(Some(value), _) => Scalar::Timestamp(i128::from(*value) * 1_000_000_000),
        V::TimestampMillisecond(Some(value), _) => Scalar::Timestamp(i128::from(*value) * 1_000_000),
        V::TimestampMicrosecond(Some(value), _) => Scalar::Timestamp(i128::from(*value) * 1000),
        V::TimestampNanosecond(Some(value), _) => Scalar::Timestamp((*value).into()),
        V::Utf8(Some(text)) | V::LargeUtf8(Some(text)) | V::Utf8View(Some(text)) => Scalar::Text(text.as_str().into()),
        _ => return None,
    })
}

/// A statistic as a value of the column's type.
pub(super) fn value_of(scalar: &Scalar, data_type: &DataType) -> Option<ScalarValue> {
    use ScalarValue as V;
    Some(match (scalar, data_type) {
        (Scalar::Bool(value), DataType::Boolean) => V::Boolean(Some(*value)),
        (Scalar::Int(value), DataType::Int8) => V::Int8(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::Int16) => V::Int16(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::Int32) => V::Int32(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::Int64) => V::Int64(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::UInt8) => V::UInt8(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::UInt16) => V::UInt16(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::UInt32) => V::UInt32(Some((*value).try_into().ok()?)),
        (Scalar::Int(value), DataType::UInt64) => V::UInt64(Some((*value).try_into().ok()?)),
        (Scalar::Float(value), DataType::Float32) if f64::from(*value as f32) == *value => {
            V::Float32(Some(*value as f32))
        }
        (Scalar::Float(value), DataType::Float64) => V::Float64(Some(*value)),
        (Scalar::Decimal(digits, scale), DataType::Decimal128(precision, to)) => {
            let up = 10_i128.checked_pow(u32::try_from(*to - *scale).ok()?)?;
            V::Decimal128(Some(digits.checked_mul(up)?), *precision, *to)
        }
        (Scalar::Int(value), DataType::Decimal128(precision, to)) => {
            let up = 10_i128.checked_pow(u32::try_from(*to).ok()?)?;
            V::Decimal128(Some(value.checked_mul(up)?), *precision, *to)
        }
        (Scalar::Date(days), DataType::Date32) => V::Date32(Some((*days).try_into().ok()?)),
        (Scalar::Time(nanos), DataType::Time64(TimeUnit::Microsecond)) if nanos % 1000 == 0 => {
            V::Time64Microsecond(Some(nanos / 1000))
        }
        (Scalar::Time(nanos), DataType::Time64(TimeUnit::Nanosecond)) => V::Time64Nanosecond(Some(*nanos)),
        (Scalar::Timestamp(nanos), DataType::Timestamp(unit, zone)) => {
            let per_unit: i128 = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1000,
                TimeUnit::Nanosecond => 1,
            };
            if nanos % per_unit != 0 {
                return None;
            }
            let value = Some(i64::try_from(nanos / per_unit).ok()?);
            match unit {
                TimeUnit::Second => V::TimestampSecond(value, zone.clone()),
                TimeUnit::Millisecond => V::TimestampMillisecond(value, zone.clone()),
                TimeUnit::Microsecond => V::TimestampMicrosecond(value, zone.clone()),
                TimeUnit::Nanosecond => V::TimestampNanosecond(value, zone.clone()),
            }
        }
        (Scalar::Text(text), DataType::Utf8View) => V::Utf8View(Some(text.to_string())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_both_ways() {
        let values = [
            ScalarValue::Int32(Some(-7)),
            ScalarValue::UInt64(Some(u64::MAX)),
            ScalarValue::Decimal128(Some(1205), 12, 2),
            ScalarValue::Date32(Some(9000)),
            ScalarValue::TimestampMicrosecond(Some(-1_500_000), None),
            ScalarValue::Utf8View(Some("ö".to_owned())),
            ScalarValue::Float32(Some(0.1)),
            ScalarValue::Boolean(Some(false)),
        ];
        for value in values {
            let back = scalar_of(&value).and_then(|scalar| value_of(&scalar, &value.data_type()));
            assert_eq!(back.as_ref(), Some(&value));
        }
        assert_eq!(scalar_of(&ScalarValue::Float64(Some(f64::NAN))), None);
        assert_eq!(value_of(&Scalar::Int(300), &DataType::Int8), None);
        // A whole number is a decimal without a point.
        let five = value_of(&Scalar::Decimal(5, 0), &DataType::Decimal128(10, 2));
        assert_eq!(five, Some(ScalarValue::Decimal128(Some(500), 10, 2)));
    }
}
