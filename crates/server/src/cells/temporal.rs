//! Dates, times, timestamps, durations and intervals.

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::temporal_conversions::as_datetime_with_timezone;
use arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};

use super::{Encode, push_json};

const MILLISECONDS_A_DAY: i64 = 86_400_000;
pub const READABLE: FormatOptions<'static> = FormatOptions::new().with_duration_format(DurationFormat::Pretty);

pub fn encoder<'a>(array: &'a ArrayRef) -> Result<Box<dyn Encode + 'a>, ArrowError> {
    match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().values();
            instant(array, |row, out| push_json(&days[row], out))
        }
        DataType::Date64 => {
            let milliseconds = array.as_primitive::<Date64Type>().values();
            instant(array, |row, out| push_json(&milliseconds[row].div_euclid(MILLISECONDS_A_DAY), out))
        }
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, TimeUnit::Second),
        DataType::Time32(_) => time::<Time32MillisecondType>(array, TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, TimeUnit::Microsecond),
        DataType::Time64(_) => time::<Time64NanosecondType>(array, TimeUnit::Nanosecond),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.as_deref();
            match unit {
                TimeUnit::Second => timestamp::<TimestampSecondType>(array, *unit, zone),
                TimeUnit::Millisecond => timestamp::<TimestampMillisecondType>(array, *unit, zone),
                TimeUnit::Microsecond => timestamp::<TimestampMicrosecondType>(array, *unit, zone),
                TimeUnit::Nanosecond => timestamp::<TimestampNanosecondType>(array, *unit, zone),
            }
        }
        // Durations and intervals, which Snowflake does not have: text.
        _ => Ok(Box::new(Readable::new(array)?)),
    }
}

fn time<T>(array: &ArrayRef, unit: TimeUnit) -> Result<Box<dyn Encode + '_>, ArrowError>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let ticks = array.as_primitive::<T>().values();
    instant(array, move |row, out| push_seconds(ticks[row].into(), unit, out))
}

fn timestamp<'a, T: ArrowPrimitiveType<Native = i64>>(
    array: &'a ArrayRef,
    unit: TimeUnit,
    zone: Option<&str>,
) -> Result<Box<dyn Encode + 'a>, ArrowError> {
    let ticks = array.as_primitive::<T>().values();
    let Some(zone) = zone else {
        return instant(array, move |row, out| push_seconds(ticks[row], unit, out));
    };
    let zone: Tz = zone.parse()?;
    instant(array, move |row, out| {
        push_seconds(ticks[row], unit, out);
        out.push(b' ');
        push_json(&(offset_minutes(ticks[row], unit, zone) + 1440), out);
    })
}

pub fn ticks_a_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Seconds with nine decimals. It is one decimal number, as clients read it: half a second before the epoch is
/// `-0.500000000`, not whole seconds rounded down beside a positive fraction.
fn push_seconds(ticks: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let ticks_a_second = ticks_a_second(unit).unsigned_abs();
    let magnitude = ticks.unsigned_abs();
    if ticks < 0 {
        out.push(b'-');
    }
    push_json(&(magnitude / ticks_a_second), out);
    let mut nanoseconds = magnitude % ticks_a_second * (1_000_000_000 / ticks_a_second);
    let mut fraction = *b".000000000";
    for digit in fraction[1..].iter_mut().rev() {
        *digit = b'0' + (nanoseconds % 10) as u8;
        nanoseconds /= 10;
    }
    out.extend_from_slice(&fraction);
}

/// Minutes east of Greenwich at an instant, in ticks of a unit, of a zone.
pub fn offsets(zone: &str, unit: TimeUnit) -> Result<impl Fn(i64) -> i64, ArrowError> {
    let zone: Tz = zone.parse()?;
    // Most instants are of a zone that is always the same.
    let always = matches!(zone.to_string().as_str(), "UTC" | "+00:00").then_some(0);
    Ok(move |ticks| always.unwrap_or_else(|| offset_minutes(ticks, unit, zone)))
}

/// East of Greenwich, at that instant.
fn offset_minutes(ticks: i64, unit: TimeUnit, zone: Tz) -> i64 {
    // Zones say nothing about the year 192,000, and the calendar ends not far behind it: such an instant gets the
    // offset of the last one that has a date.
    const SECONDS_MAX: i64 = 6_000_000_000_000;
    let seconds = ticks.div_euclid(ticks_a_second(unit)).clamp(-SECONDS_MAX, SECONDS_MAX);
    match as_datetime_with_timezone::<TimestampSecondType>(seconds, zone) {
        Some(instant) => (instant.naive_local() - instant.naive_utc()).num_seconds().div_euclid(60),
        None => 0,
    }
}

fn instant<'a, F>(array: &'a ArrayRef, number: F) -> Result<Box<dyn Encode + 'a>, ArrowError>
where
    F: Fn(usize, &mut Vec<u8>) + 'a,
{
    Ok(Box::new(Instant { number, readable: Readable::new(array)? }))
}

/// A number since the epoch or since midnight as a cell; a readable date or time inside a list, struct or map.
struct Instant<'a, F> {
    number: F,
    readable: Readable<'a>,
}

impl<F: Fn(usize, &mut Vec<u8>)> Encode for Instant<'_, F> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        (self.number)(row, out);
        out.push(b'"');
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        // What is beyond the calendar is still an exact number.
        if self.readable.write(row).is_ok() {
            push_json(&self.readable.text, out);
        } else {
            self.cell(row, out);
        }
    }
}

/// Arrow's own text: `2024-02-29`, `2024-02-29T12:30:00.5Z`, `1 mons 3 days`.
struct Readable<'a> {
    formatter: ArrayFormatter<'a>,
    text: String,
}

impl<'a> Readable<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        Ok(Self { formatter: ArrayFormatter::try_new(array, &READABLE)?, text: String::new() })
    }

    fn write(&mut self, row: usize) -> Result<(), ArrowError> {
        self.text.clear();
        self.formatter.value(row).write(&mut self.text)
    }
}

impl Encode for Readable<'_> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        if let Err(error) = self.write(row) {
            self.text = error.to_string();
        }
        push_json(&self.text, out);
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        self.cell(row, out);
    }
}
