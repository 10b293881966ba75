use std::sync::Arc;

use arrow::array::builder::{MapBuilder, StringBuilder};
use arrow::array::types::{Int8Type, Int32Type, IntervalMonthDayNano};
use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array, Decimal128Array,
    Decimal256Array, DictionaryArray, DurationMillisecondArray, FixedSizeListArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeStringArray, ListArray, NullArray, RunArray,
    StringArray, StringViewArray, StructArray, Time32SecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, i256};

use super::*;

fn batch(arrays: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<Field> =
        arrays.iter().enumerate().map(|(i, a)| Field::new(format!("c{i}"), a.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn written(batches: &[RecordBatch], null_cell: NullCell) -> String {
    let mut out = Vec::new();
    write_rows(batches, null_cell, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Writes one column and compares its cells, read back as JSON.
fn check(array: impl Array + 'static, expected: &[Option<&str>]) {
    let json = written(&[batch(vec![Arc::new(array)])], NullCell::Null);
    let rows: Vec<Vec<Option<String>>> = serde_json::from_str(&json).unwrap();
    let cells: Vec<Option<&str>> = rows.iter().map(|row| row[0].as_deref()).collect();
    assert_eq!(cells, expected);
}

#[test]
fn rows_of_several_batches_are_one_array() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b")]));
    let batch = batch(vec![numbers, names]);
    let batches = [batch.clone(), batch.slice(0, 0), batch];
    assert_eq!(written(&batches, NullCell::Null), r#"[["1","a"],[null,"b"],["1","a"],[null,"b"]]"#);
    assert_eq!(written(&batches[..1], NullCell::Text), r#"[["1","a"],["null","b"]]"#);
    assert_eq!(written(&[], NullCell::Null), "[]");
}

#[test]
fn a_slice_writes_its_own_rows() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    assert_eq!(written(&[batch(vec![numbers]).slice(1, 2)], NullCell::Null), r#"[[null],["3"]]"#);
}

#[test]
fn integers_reach_their_extremes() {
    check(
        Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None]),
        &[Some("-9223372036854775808"), Some("9223372036854775807"), None],
    );
    check(UInt64Array::from(vec![0, u64::MAX]), &[Some("0"), Some("18446744073709551615")]);
    check(Int8Array::from(vec![-128, 127]), &[Some("-128"), Some("127")]);
}

#[test]
fn booleans_are_words() {
    check(BooleanArray::from(vec![Some(true), Some(false), None]), &[Some("true"), Some("false"), None]);
}

#[test]
fn floats_read_back_as_the_same_number() {
    check(
        Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        &[Some("NaN"), Some("inf"), Some("-inf")],
    );
    check(Float64Array::from(vec![0.1, -0.0, 1.0]), &[Some("0.1"), Some("-0.0"), Some("1.0")]);
    check(Float32Array::from(vec![0.1]), &[Some("0.1")]);
    let numbers = [f64::MIN_POSITIVE, f64::MAX, f64::MIN, 5e-324, 1.0 / 3.0, 1e16, 123456789.125];
    let json = written(&[batch(vec![Arc::new(Float64Array::from(numbers.to_vec()))])], NullCell::Null);
    let rows: Vec<Vec<String>> = serde_json::from_str(&json).unwrap();
    let read: Vec<f64> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(read, numbers);
}

#[test]
fn decimals_are_exact_with_their_scale() {
    let array = Decimal128Array::from(vec![Some(12345), Some(-5), Some(0), Some(100), None]);
    check(
        array.with_precision_and_scale(15, 2).unwrap(),
        &[Some("123.45"), Some("-0.05"), Some("0.00"), Some("1.00"), None],
    );
    let nines = "9".repeat(38);
    let extreme = Decimal128Array::from(vec![nines.parse::<i128>().unwrap(), -nines.parse::<i128>().unwrap()]);
    let all_decimals = format!("0.{nines}");
    check(
        extreme.clone().with_precision_and_scale(38, 38).unwrap(),
        &[Some(&all_decimals), Some(&format!("-{all_decimals}"))],
    );
    check(extreme.with_precision_and_scale(38, 0).unwrap(), &[Some(&nines), Some(&format!("-{nines}"))]);
    let negative_scale = Decimal32Array::from(vec![12, -7, 0]).with_precision_and_scale(2, -3).unwrap();
    check(negative_scale, &[Some("12000"), Some("-7000"), Some("0")]);
}

#[test]
fn wide_decimals_are_exact() {
    let nines = "9".repeat(76);
    let values = [i256::from_string(&nines).unwrap(), i256::from_string(&format!("-{nines}")).unwrap(), i256::ZERO];
    let array = Decimal256Array::from(values.to_vec()).with_precision_and_scale(76, 10).unwrap();
    let expected = format!("{}.{}", &nines[..66], &nines[66..]);
    check(array, &[Some(&expected), Some(&format!("-{expected}")), Some("0.0000000000")]);
}

#[test]
fn text_of_every_kind_comes_back_equal() {
    let naughty = ["", "a \"quoted\" \\ text", "nul\0 tab\t line\n", "\u{202e}right to left", "emoji 🦀", "</script>"];
    let expected: Vec<Option<&str>> = naughty.iter().copied().map(Some).collect();
    check(StringArray::from(naughty.to_vec()), &expected);
    check(LargeStringArray::from(naughty.to_vec()), &expected);
    check(StringViewArray::from(naughty.to_vec()), &expected);
}

#[test]
fn binary_is_hex() {
    check(BinaryArray::from_opt_vec(vec![Some(b"\x00\xff\x1a"), Some(b""), None]), &[Some("00FF1A"), Some(""), None]);
    check(
        BinaryViewArray::from(vec![b"longer than twelve bytes".as_slice()]),
        &[Some("6C6F6E676572207468616E207477656C7665206279746573")],
    );
}

#[test]
fn dates_are_days_since_the_epoch() {
    check(
        Date32Array::from(vec![0, -1, i32::MIN, i32::MAX]),
        &[Some("0"), Some("-1"), Some("-2147483648"), Some("2147483647")],
    );
    check(Date64Array::from(vec![86_400_000, -1, 0]), &[Some("1"), Some("-1"), Some("0")]);
}

#[test]
fn times_and_timestamps_are_seconds_with_nine_decimals() {
    check(Time32SecondArray::from(vec![0, 86_399]), &[Some("0.000000000"), Some("86399.000000000")]);
    check(Time64NanosecondArray::from(vec![86_399_999_999_999]), &[Some("86399.999999999")]);
    check(
        TimestampSecondArray::from(vec![i64::MIN, i64::MAX]),
        &[Some("-9223372036854775808.000000000"), Some("9223372036854775807.000000000")],
    );
    check(
        TimestampNanosecondArray::from(vec![i64::MIN, i64::MAX, 1_000_000_001]),
        &[Some("-9223372036.854775808"), Some("9223372036.854775807"), Some("1.000000001")],
    );
}

#[test]
fn before_the_epoch_a_timestamp_is_a_negative_number() {
    check(
        TimestampMillisecondArray::from(vec![-500, -1500, -1000, -1]),
        &[Some("-0.500000000"), Some("-1.500000000"), Some("-1.000000000"), Some("-0.001000000")],
    );
}

#[test]
fn timestamps_with_a_zone_carry_its_offset() {
    let at = |zone: &str, micros: Vec<i64>| TimestampMicrosecondArray::from(micros).with_timezone(zone);
    check(at("+00:00", vec![0, -500_000]), &[Some("0.000000000 1440"), Some("-0.500000000 1440")]);
    check(at("-05:30", vec![1_000_000]), &[Some("1.000000000 1110")]);
    check(
        at("+14:00", vec![i64::MAX, i64::MIN]),
        &[Some("9223372036854.775807000 2280"), Some("-9223372036854.775808000 2280")],
    );
    // Winter and summer of 2024, and the half second before a change of the clocks.
    check(
        at("Europe/Berlin", vec![1_704_067_200_000_000, 1_719_792_000_000_000, 1_711_846_799_500_000]),
        &[Some("1704067200.000000000 1500"), Some("1719792000.000000000 1560"), Some("1711846799.500000000 1500")],
    );
}

#[test]
fn an_unknown_zone_is_a_failure() {
    let array = TimestampMicrosecondArray::from(vec![0]).with_timezone("Atlantis/Capital");
    let failure = write_rows(&[batch(vec![Arc::new(array)])], NullCell::Null, &mut Vec::new()).unwrap_err();
    assert!(failure.message.contains("Atlantis/Capital") && failure.message.contains("c0"), "{failure}");
}

#[test]
fn intervals_and_durations_are_text() {
    check(
        IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(14, -3, 1_500_000_000)]),
        &[Some("14 mons -3 days 1.500000000 secs")],
    );
    check(DurationMillisecondArray::from(vec![61_500]), &[Some("0 days 0 hours 1 mins 1.500 secs")]);
}

#[test]
fn the_null_type_is_all_nulls() {
    check(NullArray::new(2), &[None, None]);
}

#[test]
fn dictionaries_and_runs_are_decoded() {
    check(
        DictionaryArray::<Int8Type>::from_iter([Some("a"), None, Some("b"), Some("a")]),
        &[Some("a"), None, Some("b"), Some("a")],
    );
    let keys = Int8Array::from(vec![0, 1]);
    let null_value = DictionaryArray::new(keys, Arc::new(StringArray::from(vec![None, Some("x")])) as ArrayRef);
    check(null_value, &[None, Some("x")]);
    let all_null =
        DictionaryArray::new(Int8Array::from(vec![None::<i8>]), Arc::new(StringArray::new_null(0)) as ArrayRef);
    check(all_null, &[None]);
    let runs = RunArray::try_new(&Int32Array::from(vec![2, 3]), &Int64Array::from(vec![Some(7), None])).unwrap();
    check(runs.slice(1, 2), &[Some("7"), None]);
}

#[test]
fn lists_are_json() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
    check(list.clone(), &[Some("[1,null]"), Some("[]"), None]);
    check(list.slice(1, 1), &[Some("[]")]);
    let pairs = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        [Some(vec![Some(1), Some(2)]), Some(vec![Some(3), Some(4)])],
        2,
    );
    check(pairs.slice(1, 1), &[Some("[3,4]")]);
}

#[test]
fn structs_are_json_with_readable_dates() {
    let fields: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("te\"xt", DataType::Utf8, true)), Arc::new(StringArray::from(vec![Some("a\"b"), None]))),
        (Arc::new(Field::new("day", DataType::Date32, true)), Arc::new(Date32Array::from(vec![1, i32::MAX]))),
        (Arc::new(Field::new("x", DataType::Float64, true)), Arc::new(Float64Array::from(vec![f64::NAN, 0.5]))),
        (
            Arc::new(Field::new("price", DataType::Decimal128(5, 2), true)),
            Arc::new(Decimal128Array::from(vec![1, -1]).with_precision_and_scale(5, 2).unwrap()),
        ),
    ];
    let array = StructArray::from(fields);
    check(
        array.clone(),
        &[
            Some(r#"{"te\"xt":"a\"b","day":"1970-01-02","x":"NaN","price":0.01}"#),
            Some(r#"{"te\"xt":null,"day":"2147483647","x":0.5,"price":-0.01}"#),
        ],
    );
    let (fields, columns, _) = array.into_parts();
    let nulls = NullBuffer::from(vec![false, true]);
    let json = r#"{"te\"xt":null,"day":"2147483647","x":0.5,"price":-0.01}"#;
    check(StructArray::new(fields, columns, Some(nulls)), &[None, Some(json)]);
}

#[test]
fn maps_have_text_keys() {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    builder.keys().append_value("k\"");
    builder.values().append_null();
    builder.append(true).unwrap();
    builder.append(false).unwrap();
    check(builder.finish(), &[Some(r#"{"k\"":null}"#), None]);

    let mut builder = MapBuilder::new(None, Int32Array::builder(1), Int32Array::builder(1));
    builder.keys().append_value(1);
    builder.values().append_value(2);
    builder.append(true).unwrap();
    check(builder.finish(), &[Some(r#"{"1":2}"#)]);
}

/// Writes one column as the settings say.
fn check_presented(settings: &[(&str, &str)], array: impl Array + 'static, expected: &[&str]) {
    let settings: Vec<(String, String)> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut out = b"[".to_vec();
    let presentation = Presentation::of(&settings).unwrap();
    write_presented(&[batch(vec![Arc::new(array)])], NullCell::Null, &presentation, &mut out).unwrap();
    out.push(b']');
    let rows: Vec<Vec<String>> = serde_json::from_slice(&out).unwrap();
    assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), expected, "{settings:?}");
}

#[test]
fn output_formats_and_the_zone_are_followed() {
    check_presented(
        &[("date_output_format", "DD/MM/YYYY")],
        Date32Array::from(vec![19_782, -1]),
        &["29/02/2024", "31/12/1969"],
    );
    check_presented(&[("date_output_format", "AUTO")], Date32Array::from(vec![19_782]), &["19782"]);
    let time = Time64NanosecondArray::from(vec![86_399_999_999_999]);
    check_presented(&[("time_output_format", "HH12:MI:SS.FF3 AM")], time, &["11:59:59.999 PM"]);
    let moment = || TimestampMicrosecondArray::from(vec![-500_000, 1_709_210_096_123_456]);
    let format = "YYYY-MM-DD HH24:MI:SS.FF6";
    let wanted = ["1969-12-31 23:59:59.500000", "2024-02-29 12:34:56.123456"];
    check_presented(&[("timestamp_output_format", format)], moment(), &wanted);
    check_presented(&[("timestamp_output_format", "YY"), ("timestamp_ntz_output_format", format)], moment(), &wanted);
    let zoned = || moment().with_timezone("UTC");
    let zone = ("datafusion.execution.time_zone", "America/New_York");
    check_presented(&[zone], zoned(), &["-0.500000000 1140", "1709210096.123456000 1140"]);
    check_presented(
        &[zone, ("timestamp_tz_output_format", "MON DD HH24:MI TZH:TZM")],
        zoned(),
        &["Dec 31 18:59 -05:00", "Feb 29 07:34 -05:00"],
    );
    check_presented(&[("binary_output_format", "base64")], BinaryArray::from(vec![&b"\x00\xff\x10"[..]]), &["AP8Q"]);
    assert!(Presentation::of(&[("date_output_format".to_owned(), "QQ".to_owned())]).is_err());
}
