//! Columns as Snowflake's drivers read them from Arrow: a physical type and metadata that say which logical type it is.
//!
//! | SQL | Arrow |
//! |---|---|
//! | numbers of up to 18 digits | `Int64` without the point, `scale` in the metadata; integers in the width they have |
//! | numbers of up to 38 digits | `Decimal128` |
//! | `TIME` | `Int64`, nanoseconds |
//! | `TIMESTAMP_NTZ` | `Int64` ticks, or of nanoseconds `struct{epoch, fraction}` |
//! | `TIMESTAMP_TZ` | `struct{epoch, fraction, timezone}`, with minutes east of Greenwich and 1440 |
//! | lists, structs, maps, intervals, longer numbers | text; JSON where it has parts |

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Fields, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use frazil_common::Failure;

use super::row_type::Column;
use crate::cells;

/// Digits that 64 bits hold.
const NARROW_PRECISION: u8 = 18;

/// The columns as they are sent.
pub fn schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(field).collect::<Fields>()))
}

/// The rows as they are sent.
pub fn encode(batch: &RecordBatch, columns: &[Column], schema: &SchemaRef) -> Result<RecordBatch, Failure> {
    let arrays = batch.columns().iter().zip(columns).zip(schema.fields()).map(|((array, column), field)| {
        encoded(array, field).map_err(|error| {
            Failure::internal(format!("column {:?} of type {} cannot be sent: {error}", column.name, array.data_type()))
        })
    });
    let arrays = arrays.collect::<Result<Vec<_>, Failure>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &rows)
        .map_err(|error| Failure::internal(format!("rows cannot be sent: {error}")))
}

fn field(column: &Column) -> FieldRef {
    let mut metadata = HashMap::from([
        ("logicalType".to_owned(), column.type_name.to_ascii_uppercase()),
        ("precision".to_owned(), column.precision.unwrap_or(38).to_string()),
        ("scale".to_owned(), column.scale.unwrap_or(0).to_string()),
        ("charLength".to_owned(), column.length.unwrap_or(0).to_string()),
        ("nullable".to_owned(), column.nullable.to_string()),
        ("finalType".to_owned(), "T".to_owned()),
    ]);
    let of_instant = |parts: &[&str], metadata: &HashMap<String, String>| {
        let parts = parts.iter().map(|part| {
            let data_type = if *part == "epoch" { DataType::Int64 } else { DataType::Int32 };
            // Clients look at the struct for nulls, and some at its parts.
            Field::new(*part, data_type, true).with_metadata(metadata.clone())
        });
        DataType::Struct(parts.collect::<Fields>())
    };
    let byte_length = match column.type_name {
        "timestamp_tz" => 16,
        _ => column.byte_length.unwrap_or(8),
    };
    metadata.insert("byteLength".to_owned(), byte_length.to_string());
    let data_type = match (column.type_name, &column.data_type) {
        ("fixed", DataType::Int8) => DataType::Int8,
        ("fixed", DataType::Int16 | DataType::UInt8) => DataType::Int16,
        ("fixed", DataType::Int32 | DataType::UInt16) => DataType::Int32,
        ("fixed", DataType::Int64 | DataType::UInt32) => DataType::Int64,
        ("fixed", _) => {
            let precision = column.precision.and_then(|digits| u8::try_from(digits).ok()).unwrap_or(38);
            let scale = column.scale.and_then(|digits| i8::try_from(digits).ok()).unwrap_or(0);
            match precision <= NARROW_PRECISION {
                true => DataType::Int64,
                false => DataType::Decimal128(precision, scale),
            }
        }
        ("real", _) => DataType::Float64,
        ("boolean", _) => DataType::Boolean,
        ("date", _) => DataType::Date32,
        ("time", _) => DataType::Int64,
        ("timestamp_ntz", DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            of_instant(&["epoch", "fraction"], &metadata)
        }
        ("timestamp_ntz", _) => DataType::Int64,
        ("timestamp_tz", _) => of_instant(&["epoch", "fraction", "timezone"], &metadata),
        ("binary", _) => DataType::Binary,
        _ => DataType::Utf8,
    };
    Arc::new(Field::new(&column.name, data_type, column.nullable).with_metadata(metadata))
}

fn encoded(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let logical = field.metadata().get("logicalType").map_or("", String::as_str);
    match (array.data_type(), logical) {
        (DataType::Dictionary(_, values), _) => {
            let plain = cast(array, values)?;
            return encoded(&plain, field);
        }
        (DataType::RunEndEncoded(_, values), _) => {
            let plain = cast(array, values.data_type())?;
            return encoded(&plain, field);
        }
        _ => {}
    }
    match logical {
        "FIXED" => number(array, field.data_type()),
        "TIME" => cast(&cast(array, &DataType::Time64(TimeUnit::Nanosecond))?, &DataType::Int64),
        "TIMESTAMP_NTZ" if *field.data_type() == DataType::Int64 => cast(array, &DataType::Int64),
        "TIMESTAMP_NTZ" | "TIMESTAMP_TZ" => instants(array, field),
        "REAL" | "BOOLEAN" | "DATE" | "BINARY" => cast(array, field.data_type()),
        _ => texts(array),
    }
}

fn number(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let DataType::Int64 = wanted else { return cast(array, wanted) };
    match array.data_type() {
        // The digits without the point are the same: only the width changes.
        DataType::Decimal128(_, scale) if *scale >= 0 => {
            let digits = array.as_primitive::<Decimal128Type>();
            Ok(Arc::new(digits.unary::<_, Int64Type>(|value| value as i64)))
        }
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) if *scale >= 0 => {
            number(&cast(array, &DataType::Decimal128(*precision, *scale))?, wanted)
        }
        DataType::Decimal256(precision, scale) if *scale >= 0 && *precision <= NARROW_PRECISION => {
            number(&cast(array, &DataType::Decimal128(*precision, *scale))?, wanted)
        }
        // Zeros before the point.
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let whole: Decimal128Array = cast(array, &DataType::Decimal128(38, 0))?.as_primitive().clone();
            Ok(Arc::new(whole.unary::<_, Int64Type>(|value| value as i64)))
        }
        _ => cast(array, wanted),
    }
}

/// Whole seconds, rounded down, and what is more in nanoseconds; with the zone's offset, if it has one.
fn instants(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(parts) = field.data_type() else { return cast(array, field.data_type()) };
    let DataType::Timestamp(unit, zone) = array.data_type() else {
        return Err(ArrowError::CastError(format!("{} is no timestamp", array.data_type())));
    };
    let ticks: PrimitiveArray<Int64Type> = cast(array, &DataType::Int64)?.as_primitive().clone();
    let a_second = cells::ticks_a_second(*unit);
    let nanoseconds_a_tick = 1_000_000_000 / a_second;
    let values = ticks.values();
    let epochs = Int64Array::from_iter_values(values.iter().map(|value| value.div_euclid(a_second)));
    let fractions = values.iter().map(|value| (value.rem_euclid(a_second) * nanoseconds_a_tick) as i32);
    let fractions = Int32Array::from_iter_values(fractions);
    let nulls = ticks.nulls().cloned();
    let epochs = Int64Array::new(epochs.values().clone(), nulls.clone());
    let fractions = Int32Array::new(fractions.values().clone(), nulls.clone());
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(epochs), Arc::new(fractions)];
    if let Some(zone) = zone.as_deref().filter(|_| parts.len() == 3) {
        let offset = cells::offsets(zone, *unit)?;
        let offsets = Int32Array::from_iter_values(values.iter().map(|value| (offset(*value) + 1440) as i32));
        arrays.push(Arc::new(Int32Array::new(offsets.values().clone(), nulls.clone())));
    }
    Ok(Arc::new(StructArray::try_new(parts.clone(), arrays, nulls)?))
}

fn texts(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8 => Ok(array.clone()),
        DataType::LargeUtf8 | DataType::Utf8View => cast(array, &DataType::Utf8),
        DataType::Null => Ok(Arc::new(StringArray::new_null(array.len()))),
        _ => {
            let mut builder = StringBuilder::new();
            cells::each_text(array, |text| builder.append_option(text))?;
            Ok(Arc::new(builder.finish()))
        }
    }
}
