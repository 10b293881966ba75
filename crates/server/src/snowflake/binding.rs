//! Values for placeholders, as the drivers send them: `{"1": {"type": "FIXED", "value": "12"}}`, or with a list of values for each.
//!
//! Every value is text or null: numbers as digits, dates as milliseconds, times and timestamps as nanoseconds since midnight or the epoch,
//! bytes as hexadecimal digits. Text that is no such number is read as a date or time is written.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, NullArray,
    RecordBatch, StringArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::compute::CastOptions;
use arrow::compute::cast_with_options;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use frazil_common::{ErrorCode, Failure};
use serde::Deserialize;

const MILLISECONDS_A_DAY: i64 = 86_400_000;

#[derive(Debug, Deserialize)]
pub struct Binding {
    #[serde(rename = "type")]
    type_name: String,
    value: Values,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    Many(Vec<Option<Text>>),
    One(Option<Text>),
}

/// What some clients send as what it is.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Quoted(String),
    Number(serde_json::Number),
    Truth(bool),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Quoted(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// A column for each placeholder, in their order, and a row for each run.
pub fn values(bindings: HashMap<String, Binding>) -> Result<Option<RecordBatch>, Failure> {
    if bindings.is_empty() {
        return Ok(None);
    }
    let mut numbered = Vec::with_capacity(bindings.len());
    for (name, binding) in bindings {
        let number: usize = name.parse().map_err(|_| invalid(format!("binding {name:?} is not a number")))?;
        numbered.push((number, binding));
    }
    numbered.sort_by_key(|(number, _)| *number);
    let mut columns = Vec::with_capacity(numbered.len());
    for (index, (number, binding)) in numbered.into_iter().enumerate() {
        if number != index + 1 {
            return Err(invalid(format!("binding {} is missing", index + 1)));
        }
        let texts: Vec<Option<String>> = match binding.value {
            Values::Many(values) => values.into_iter().map(|value| value.map(Text::into_string)).collect(),
            Values::One(value) => vec![value.map(Text::into_string)],
        };
        columns.push(column(number, &binding.type_name, texts)?);
    }
    let fields = columns.iter().enumerate();
    let fields: Vec<Field> =
        fields.map(|(index, column)| Field::new((index + 1).to_string(), column.data_type().clone(), true)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    batch.map(Some).map_err(|_| invalid("bindings have different numbers of values"))
}

fn column(number: usize, type_name: &str, texts: Vec<Option<String>>) -> Result<ArrayRef, Failure> {
    let wrong = |text: &str| invalid(format!("binding {number} of type {type_name}: {text:?} is no such value"));
    Ok(match type_name.to_ascii_uppercase().as_str() {
        "ANY" if texts.iter().all(Option::is_none) => Arc::new(NullArray::new(texts.len())),
        "TEXT" | "ANY" | "CHAR" | "VARIANT" | "OBJECT" | "ARRAY" => Arc::new(StringArray::from(texts)),
        "FIXED" => fixed(&texts, wrong)?,
        "REAL" => {
            Arc::new(each(&texts, |text| text.trim().parse::<f64>().ok(), wrong)?.into_iter().collect::<Float64Array>())
        }
        "BOOLEAN" => {
            let truth = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            };
            Arc::new(BooleanArray::from(each(&texts, truth, wrong)?))
        }
        "BINARY" => {
            let bytes = each(&texts, from_hexadecimal, wrong)?;
            Arc::new(BinaryArray::from_iter(bytes))
        }
        "DATE" => {
            let days = |text: &str| {
                let milliseconds: i64 = text.trim().parse().ok()?;
                i32::try_from(milliseconds.div_euclid(MILLISECONDS_A_DAY)).ok()
            };
            match each(&texts, days, wrong) {
                Ok(days) => Arc::new(Date32Array::from(days)),
                Err(_) => written(texts, &DataType::Date32, wrong)?,
            }
        }
        "TIME" => match each(&texts, |text| text.trim().parse().ok(), wrong) {
            Ok(nanoseconds) => Arc::new(Time64NanosecondArray::from(nanoseconds)),
            Err(_) => written(texts, &DataType::Time64(TimeUnit::Nanosecond), wrong)?,
        },
        "TIMESTAMP_NTZ" => match each(&texts, |text| text.trim().parse().ok(), wrong) {
            Ok(nanoseconds) => timestamps(nanoseconds, None, wrong)?,
            Err(_) => written(texts, &DataType::Timestamp(TimeUnit::Nanosecond, None), wrong)?,
        },
        "TIMESTAMP_LTZ" | "TIMESTAMP_TZ" => {
            // Behind the nanoseconds there may be an offset, by which the instant is only written.
            let nanoseconds = |text: &str| text.split_whitespace().next()?.parse().ok();
            match each(&texts, nanoseconds, wrong) {
                Ok(nanoseconds) => timestamps(nanoseconds, Some("UTC"), wrong)?,
                Err(_) => written(texts, &DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), wrong)?,
            }
        }
        _ => {
            let message = format!("binding {number} of type {type_name:?} is not supported");
            return Err(Failure::new(ErrorCode::NotSupported, message));
        }
    })
}

fn each<T>(
    texts: &[Option<String>],
    read: impl Fn(&str) -> Option<T>,
    wrong: impl Fn(&str) -> Failure,
) -> Result<Vec<Option<T>>, Failure> {
    let read = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => read(text).map(Some).ok_or_else(|| wrong(text)),
    };
    texts.iter().map(read).collect()
}

/// Nanoseconds since the epoch; those that 64 bits do not hold go as microseconds.
fn timestamps(
    nanoseconds: Vec<Option<i128>>,
    zone: Option<&str>,
    wrong: impl Fn(&str) -> Failure,
) -> Result<ArrayRef, Failure> {
    let narrow: Option<Vec<Option<i64>>> =
        nanoseconds.iter().map(|value| value.map(i64::try_from).transpose().ok()).collect();
    if let Some(narrow) = narrow {
        return Ok(Arc::new(TimestampNanosecondArray::from(narrow).with_timezone_opt(zone)));
    }
    let microseconds = nanoseconds.into_iter().map(|value| match value {
        None => Ok(None),
        Some(value) if value % 1000 == 0 => {
            i64::try_from(value / 1000).map(Some).map_err(|_| wrong(&value.to_string()))
        }
        Some(value) => Err(wrong(&value.to_string())),
    });
    let microseconds: Vec<Option<i64>> = microseconds.collect::<Result<_, Failure>>()?;
    Ok(Arc::new(TimestampMicrosecondArray::from(microseconds).with_timezone_opt(zone)))
}

/// Whole numbers, or decimals with the most digits that any of them has behind the point.
fn fixed(texts: &[Option<String>], wrong: impl Fn(&str) -> Failure + Copy) -> Result<ArrayRef, Failure> {
    if let Ok(whole) = each(texts, |text| text.trim().parse().ok(), wrong) {
        return Ok(Arc::new(Int64Array::from(whole)));
    }
    let decimals = |text: &str| text.trim().split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let scale = texts.iter().flatten().map(|text| decimals(text)).max().unwrap_or(0);
    let scaled = |text: &str| {
        let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        format!("{whole}{decimals:0<scale$}").parse::<i128>().ok()
    };
    let first_wrong = || texts.iter().flatten().next().map_or("", String::as_str);
    match each(texts, scaled, wrong) {
        Ok(values) => {
            let scale = i8::try_from(scale).map_err(|_| wrong(first_wrong()))?;
            let array = Decimal128Array::from(values).with_precision_and_scale(38, scale);
            let array = array.map_err(|_| wrong(first_wrong()))?;
            array.validate_decimal_precision(38).map_err(|_| wrong(first_wrong()))?;
            Ok(Arc::new(array))
        }
        // `1E+3`, which Python writes for some decimals.
        Err(_) => written(texts.to_vec(), &DataType::Decimal128(38, i8::try_from(scale).unwrap_or(0)), wrong),
    }
}

fn written(
    texts: Vec<Option<String>>,
    data_type: &DataType,
    wrong: impl Fn(&str) -> Failure,
) -> Result<ArrayRef, Failure> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let texts = StringArray::from(texts);
    cast_with_options(&texts, data_type, &strict).map_err(|_| wrong(texts.iter().flatten().next().unwrap_or_default()))
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn bound(json: &str) -> Result<Vec<String>, String> {
        let values = values(serde_json::from_str(json).unwrap()).map_err(|failure| failure.message)?.unwrap();
        Ok(values
            .columns()
            .iter()
            .map(|column| {
                let value = array_value_to_string(column, column.len() - 1).unwrap();
                format!("{} {value}", column.data_type())
            })
            .collect())
    }

    #[test]
    fn values_are_of_their_types() {
        let json = r#"{"1": {"type": "FIXED", "value": "-5"}, "2": {"type": "FIXED", "value": "1.25"},
            "3": {"type": "REAL", "value": "0.1"}, "4": {"type": "BOOLEAN", "value": "true"},
            "5": {"type": "DATE", "value": "-86400000"}, "6": {"type": "TIME", "value": "1000000001"},
            "7": {"type": "TIMESTAMP_NTZ", "value": "1500000000123456789"}, "8": {"type": "TIMESTAMP_TZ", "value": "0 1500"},
            "9": {"type": "BINARY", "value": "00ff"}, "10": {"type": "ANY", "value": null},
            "11": {"type": "TEXT", "value": "it's"}, "12": {"type": "DATE", "value": "2024-02-29"}}"#;
        assert_eq!(
            bound(json).unwrap(),
            [
                "Int64 -5",
                "Decimal128(38, 2) 1.25",
                "Float64 0.1",
                "Boolean true",
                "Date32 1969-12-31",
                "Time64(ns) 00:00:01.000000001",
                "Timestamp(ns) 2017-07-14T02:40:00.123456789",
                "Timestamp(ns, \"UTC\") 1970-01-01T00:00:00Z",
                "Binary 00ff",
                "Null ",
                "Utf8 it's",
                "Date32 2024-02-29",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, said) in [
            (r#"{"2": {"type": "FIXED", "value": "1"}}"#, "binding 1 is missing"),
            (r#"{"1": {"type": "FIXED", "value": "x"}}"#, "binding 1 of type FIXED: \"x\" is no such value"),
            (r#"{"1": {"type": "BINARY", "value": "0"}}"#, "is no such value"),
            (r#"{"1": {"type": "VECTOR", "value": "0"}}"#, "is not supported"),
            (
                r#"{"1": {"type": "FIXED", "value": ["1", "2"]}, "2": {"type": "TEXT", "value": ["a"]}}"#,
                "different numbers of values",
            ),
        ] {
            let failure = bound(json).unwrap_err();
            assert!(failure.contains(said), "{failure}");
        }
    }
}
