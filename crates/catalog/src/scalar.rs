//! Values of column statistics: their texts in DuckLake, and comparisons that never claim more than is known.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::time;
use crate::types::ColumnType;

/// A value, in the units in which it is compared.
#[derive(Clone, PartialEq, Debug)]
pub enum Scalar {
    Bool(bool),
    Int(i128),
    /// Unscaled digits, and how many of them are behind the point.
    Decimal(i128, i8),
    Float(f64),
    /// Days since 1970.
    Date(i64),
    /// Nanoseconds since midnight.
    Time(i64),
    /// Nanoseconds since 1970, in UTC.
    Timestamp(i128),
    /// Compared by bytes. A UUID is its lowercase text.
    Text(Arc<str>),
}

/// `None` where the two cannot be compared for certain.
pub fn compare(left: &Scalar, right: &Scalar) -> Option<Ordering> {
    use Scalar::*;
    const NANOS_PER_DAY: i128 = time::MICROS_PER_DAY as i128 * 1000;
    match (left, right) {
        (Bool(l), Bool(r)) => Some(l.cmp(r)),
        (Int(l), Int(r)) => Some(l.cmp(r)),
        (Decimal(l, ls), Decimal(r, rs)) => compare_decimals(*l, *ls, *r, *rs),
        (Int(l), Decimal(r, rs)) => compare_decimals(*l, 0, *r, *rs),
        (Decimal(l, ls), Int(r)) => compare_decimals(*l, *ls, *r, 0),
        (Float(l), Float(r)) => l.partial_cmp(r),
        (Date(l), Date(r)) => Some(l.cmp(r)),
        (Time(l), Time(r)) => Some(l.cmp(r)),
        (Timestamp(l), Timestamp(r)) => Some(l.cmp(r)),
        (Date(l), Timestamp(r)) => Some((i128::from(*l) * NANOS_PER_DAY).cmp(r)),
        (Timestamp(l), Date(r)) => Some(l.cmp(&(i128::from(*r) * NANOS_PER_DAY))),
        (Text(l), Text(r)) => Some(l.as_bytes().cmp(r.as_bytes())),
        _ => None,
    }
}

fn compare_decimals(left: i128, left_scale: i8, right: i128, right_scale: i8) -> Option<Ordering> {
    let scale = left_scale.max(right_scale);
    let scaled = |digits: i128, from: i8| 10_i128.checked_pow(u32::try_from(scale - from).ok()?)?.checked_mul(digits);
    Some(scaled(left, left_scale)?.cmp(&scaled(right, right_scale)?))
}

impl Scalar {
    /// Reads a statistic of a column of this type. `None`: not understood, and so of no use for pruning.
    pub fn parse(column_type: &ColumnType, text: &str) -> Option<Self> {
        use ColumnType as T;
        match column_type {
            T::Boolean => match text {
                "1" | "true" => Some(Self::Bool(true)),
                "0" | "false" => Some(Self::Bool(false)),
                _ => None,
            },
            T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
                text.parse().ok().map(Self::Int)
            }
            T::Decimal(..) => parse_decimal(text),
            T::Float32 | T::Float64 => text.parse::<f64>().ok().filter(|v| !v.is_nan()).map(Self::Float),
            T::Date => time::parse_date(text).map(Self::Date),
            T::Time | T::TimeNs => time::parse_time_nanos(text).map(Self::Time),
            T::TimestampS | T::TimestampMs | T::Timestamp | T::TimestampNs | T::TimestampTz => {
                time::parse_timestamp_nanos(text).map(Self::Timestamp)
            }
            T::Varchar => Some(Self::Text(text.into())),
            T::Uuid if text.len() == 36 => Some(Self::Text(text.to_ascii_lowercase().into())),
            // 128-bit integers lose digits in Parquet; the others have no order that engines agree on.
            T::Int128 | T::UInt128 | T::TimeTz | T::Interval | T::Json | T::Blob | T::Uuid => None,
            T::Struct | T::List | T::Map | T::Other(_) => None,
        }
    }

    /// The text that DuckDB would write for a column of this type, or `None` if the value is not one of it.
    pub fn to_text(&self, column_type: &ColumnType) -> Option<String> {
        use ColumnType as T;
        Some(match (self, column_type) {
            (Self::Bool(value), T::Boolean) => if *value { "1" } else { "0" }.to_owned(),
            (
                Self::Int(value),
                T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64,
            ) => value.to_string(),
            (Self::Int(value), T::Decimal(..)) => value.to_string(),
            (Self::Decimal(digits, scale), T::Decimal(..)) => format_decimal(*digits, *scale),
            (Self::Float(value), T::Float32 | T::Float64) if value.is_finite() => format!("{value:?}"),
            (Self::Date(days), T::Date) if in_common_years(*days) => time::format_date(*days),
            (Self::Time(nanos), T::Time | T::TimeNs) => time::format_time_nanos(*nanos),
            (Self::Timestamp(nanos), T::TimestampS | T::TimestampMs | T::Timestamp | T::TimestampNs)
                if in_common_years((nanos / 1000 / i128::from(time::MICROS_PER_DAY)) as i64) =>
            {
                time::format_timestamp_nanos(*nanos)
            }
            (Self::Timestamp(nanos), T::TimestampTz)
                if in_common_years((nanos / 1000 / i128::from(time::MICROS_PER_DAY)) as i64) =>
            {
                format!("{}+00", time::format_timestamp_nanos(*nanos))
            }
            // SQL databases cannot keep a zero in a text.
            (Self::Text(text), T::Varchar | T::Uuid | T::Json) if !text.contains('\0') => text.to_string(),
            _ => return None,
        })
    }
}

/// Years 1 to 9999: others have texts of other forms.
fn in_common_years(days: i64) -> bool {
    (-719_162..=2_932_896).contains(&days)
}

fn parse_decimal(text: &str) -> Option<Scalar> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 38 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse().ok()?;
    Some(Scalar::Decimal(digits, fraction.len() as i8))
}

fn format_decimal(digits: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let sign = if digits < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_duckdb() {
        use ColumnType as T;
        for (column_type, text) in [
            (T::Int64, "-5"),
            (T::UInt64, "18446744073709551615"),
            (T::Decimal(10, 2), "-0.50"),
            (T::Decimal(10, 0), "7"),
            (T::Float64, "0.3333333333333333"),
            (T::Float64, "333.0"),
            (T::Date, "2022-09-26"),
            (T::Timestamp, "2020-01-01 11:00:00.123456"),
            (T::TimestampTz, "2020-01-01 10:00:00.123456+00"),
            (T::Time, "10:00:01.5"),
            (T::Boolean, "1"),
            (T::Varchar, "it's"),
        ] {
            let value = Scalar::parse(&column_type, text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(value.to_text(&column_type).as_deref(), Some(text));
        }
        assert_eq!(Scalar::parse(&T::Decimal(10, 2), "1.5.2"), None);
        assert_eq!(Scalar::parse(&T::Date, "infinity"), None);
        assert_eq!(Scalar::Text("a\0b".into()).to_text(&T::Varchar), None);
    }

    #[test]
    fn comparisons_are_by_type_and_silent_otherwise() {
        assert_eq!(compare(&Scalar::Int(10), &Scalar::Int(9)), Some(Ordering::Greater));
        assert_eq!(compare(&Scalar::Decimal(150, 2), &Scalar::Decimal(15, 1)), Some(Ordering::Equal));
        assert_eq!(compare(&Scalar::Int(2), &Scalar::Decimal(15, 1)), Some(Ordering::Greater));
        assert_eq!(compare(&Scalar::Date(1), &Scalar::Timestamp(86_400_000_000_000)), Some(Ordering::Equal));
        assert_eq!(compare(&Scalar::Int(2), &Scalar::Float(1.0)), None);
        assert_eq!(compare(&Scalar::Text("10".into()), &Scalar::Text("9".into())), Some(Ordering::Less));
    }
}
