//! Which of a column's statistics prove that a file has no row that a test asks for, as SQL: what [`crate::prune`] says of statistics
//! in memory, said of the texts in the database.
//!
//! It is coarser and must never say more: a file that it disproves has to be one that the other leaves out, too. So each text is
//! looked at first, and one that is not of the plainest form proves nothing.

use crate::prune::{Bound, RangeTest};
use crate::scalar::Scalar;
use crate::sql::Value;
use crate::time;
use crate::types::ColumnType;

/// The values of an `IN` list that are looked at.
const LIST_MAX: usize = 64;
/// By how much of itself a number of a predicate is moved away from what it is compared with: floats are texts of as few digits as
/// tell them apart, of 32 bits or 64.
const FLOAT_MARGIN: f64 = 1e-5;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// How a column's texts are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Integer,
    /// Whole days.
    Date,
    /// Whole seconds; what is behind the point is left to the other test.
    Second {
        zoned: bool,
    },
    Text,
    /// With a margin.
    Number(Number),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Float,
    /// With at most so many digits behind the point.
    Decimal(i8),
}

/// A value of a predicate as it is compared with a key: by a least and a greatest value, where only a neighbourhood is known.
enum Literal {
    Exact(Value),
    Around { low: Value, high: Value },
}

/// A condition over `min_value`, `max_value`, `null_count` and `contains_nan` that is true only where no row can pass the test. Appends its arguments.
/// None where SQL cannot tell.
pub(crate) fn disproof(
    column_type: &ColumnType,
    test: &RangeTest,
    is_postgres: bool,
    args: &mut Vec<Value>,
) -> Option<String> {
    let key = match test {
        RangeTest::IsNull => return Some("null_count = 0".to_owned()),
        RangeTest::IsNotNull => return None,
        RangeTest::Between { .. } | RangeTest::In(_) => Key::of(column_type)?,
    };
    let condition = match test {
        RangeTest::Between { low, high } => {
            let bound = |bound: &Option<Bound>| match bound {
                Some(bound) => key.literal(column_type, &bound.value).map(|value| Some((value, bound.inclusive))),
                None => Some(None),
            };
            let (low, high) = (bound(low)?, bound(high)?);
            let mut conditions = Vec::new();
            if let Some((low, inclusive)) = low {
                let operator = low.operator("<", inclusive);
                conditions.push(format!("{} {operator} {}", key.expression("max_value", is_postgres), low.least(args)));
            }
            if let Some((high, inclusive)) = high {
                let operator = high.operator(">", inclusive);
                conditions.push(format!(
                    "{} {operator} {}",
                    key.expression("min_value", is_postgres),
                    high.greatest(args)
                ));
            }
            conditions.join(" OR ")
        }
        RangeTest::In(values) if (1..=LIST_MAX).contains(&values.len()) => {
            let values = values.iter().map(|value| key.literal(column_type, value)).collect::<Option<Vec<_>>>()?;
            let (min, max) = (key.expression("min_value", is_postgres), key.expression("max_value", is_postgres));
            let each = values.into_iter().map(|value| {
                let (least, greatest) = (value.least(args), value.greatest(args));
                format!("({max} < {least} OR {min} > {greatest})")
            });
            each.collect::<Vec<_>>().join(" AND ")
        }
        RangeTest::In(_) | RangeTest::IsNull | RangeTest::IsNotNull => return None,
    };
    match key {
        _ if condition.is_empty() => None,
        // Where NaN sorts is a matter of the engine.
        Key::Number(Number::Float) if is_postgres => Some(format!("NOT contains_nan AND ({condition})")),
        Key::Number(Number::Float) => Some(format!("contains_nan = 0 AND ({condition})")),
        _ => Some(format!("({condition})")),
    }
}

impl Literal {
    /// A number or text for the statement.
    fn least(&self, args: &mut Vec<Value>) -> String {
        let (Self::Exact(value) | Self::Around { low: value, .. }) = self;
        argument(value, args)
    }

    fn greatest(&self, args: &mut Vec<Value>) -> String {
        let (Self::Exact(value) | Self::Around { high: value, .. }) = self;
        argument(value, args)
    }

    /// A bound that is not part of its range is none of a value that is equal to it, if that is certain.
    fn operator(&self, strict: &'static str, inclusive: bool) -> String {
        match self {
            Self::Exact(_) if !inclusive => format!("{strict}="),
            _ => strict.to_owned(),
        }
    }
}

fn argument(value: &Value, args: &mut Vec<Value>) -> String {
    args.push(value.clone());
    format!("${}", args.len())
}

impl Key {
    fn of(column_type: &ColumnType) -> Option<Self> {
        use ColumnType as T;
        match column_type {
            T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => Some(Self::Integer),
            T::Date => Some(Self::Date),
            T::TimestampS | T::TimestampMs | T::Timestamp | T::TimestampNs => Some(Self::Second { zoned: false }),
            T::TimestampTz => Some(Self::Second { zoned: true }),
            T::Varchar => Some(Self::Text),
            T::Decimal(_, scale) => Some(Self::Number(Number::Decimal(*scale))),
            T::Float32 | T::Float64 => Some(Self::Number(Number::Float)),
            T::Boolean | T::UInt64 | T::Int128 | T::UInt128 | T::Time | T::TimeNs | T::TimeTz => None,
            T::Interval | T::Uuid | T::Json | T::Blob | T::Struct | T::List | T::Map | T::Other(_) => None,
        }
    }

    fn literal(self, column_type: &ColumnType, value: &Scalar) -> Option<Literal> {
        let exact = |text: String| Some(Literal::Exact(Value::text(text)));
        match (self, value) {
            (Self::Integer, Scalar::Int(value)) => Some(Literal::Exact(Value::int(i64::try_from(*value).ok()?))),
            (Self::Date, Scalar::Date(_)) => exact(value.to_text(column_type).filter(|text| text.len() == 10)?),
            (Self::Second { .. }, Scalar::Timestamp(nanos)) => second(*nanos),
            (Self::Second { .. }, Scalar::Date(days)) => {
                second(i128::from(*days) * i128::from(time::MICROS_PER_DAY) * 1000)
            }
            (Self::Text, Scalar::Text(text)) if !text.contains('\0') => exact(text.to_string()),
            (Self::Number(Number::Float), Scalar::Float(value)) => around(*value),
            (Self::Number(Number::Decimal(_)), Scalar::Decimal(digits, scale)) => {
                around(*digits as f64 / 10_f64.powi(i32::from(*scale)))
            }
            (Self::Number(Number::Decimal(_)), Scalar::Int(value)) => around(*value as f64),
            _ => None,
        }
    }

    /// Null for a text that is not of the plainest form.
    fn expression(self, column: &str, is_postgres: bool) -> String {
        let plain = match is_postgres {
            true => self.plain_in_postgres(column),
            false => self.plain_in_sqlite(column),
        };
        let collated = if is_postgres { " COLLATE \"C\"" } else { "" };
        let key = match self {
            Self::Integer => format!("CAST({column} AS BIGINT)"),
            Self::Number(_) => format!("CAST({column} AS DOUBLE PRECISION)"),
            Self::Second { .. } => format!("SUBSTR({column}, 1, 19){collated}"),
            Self::Date | Self::Text => format!("{column}{collated}"),
        };
        // PostgreSQL is free to look at the parts of an AND in any order, but not at those of a CASE.
        format!("CASE WHEN {plain} THEN {key} END")
    }

    fn plain_in_sqlite(self, column: &str) -> String {
        let day = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]";
        let second = format!("{day} [0-2][0-9]:[0-5][0-9]:[0-5][0-9]");
        let in_year =
            format!("SUBSTR({column}, 6, 2) BETWEEN '01' AND '12' AND SUBSTR({column}, 9, 2) BETWEEN '01' AND '31'");
        match self {
            // As SQLite itself would write it.
            Self::Integer => format!("LENGTH({column}) < 18 AND CAST(CAST({column} AS BIGINT) AS TEXT) = {column}"),
            Self::Date => format!("{column} GLOB '{day}' AND {in_year}"),
            Self::Second { zoned } => {
                // Behind the seconds there are at most nine digits.
                let (text, zone) = match zoned {
                    true => (format!("SUBSTR({column}, 1, LENGTH({column}) - 3)"), "+00"),
                    false => (column.to_owned(), ""),
                };
                format!(
                    "{column} GLOB '{second}*{zone}' AND {in_year} AND (LENGTH({text}) = 19 OR LENGTH({text}) < 30 \
                     AND SUBSTR({text}, 20, 1) = '.' AND SUBSTR({text}, 21) NOT GLOB '*[^0-9]*')"
                )
            }
            // A blob is greater than any text.
            Self::Text => format!("TYPEOF({column}) = 'text'"),
            // Equal to what it is read as only where it is read to its end.
            Self::Number(number) => {
                let decimals = match number {
                    Number::Float => String::new(),
                    Number::Decimal(scale) => {
                        format!(" AND (INSTR({column}, '.') = 0 OR LENGTH({column}) - INSTR({column}, '.') <= {scale})")
                    }
                };
                format!(
                    "LENGTH({column}) < 38 AND {column} = CAST({column} AS REAL) \
                     AND {column} NOT GLOB '*[^-.0-9]*'{decimals}"
                )
            }
        }
    }

    fn plain_in_postgres(self, column: &str) -> String {
        let day = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
        let second = format!("{day} [0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{{1,9}})?");
        let pattern = match self {
            Self::Integer => "-?[0-9]{1,17}".to_owned(),
            Self::Date => day.to_owned(),
            Self::Second { zoned: false } => second,
            Self::Second { zoned: true } => format!("{second}\\+00"),
            Self::Text => return format!("{column} IS NOT NULL"),
            Self::Number(Number::Decimal(scale)) if scale <= 0 => "-?[0-9]{1,30}".to_owned(),
            Self::Number(Number::Decimal(scale)) => format!("-?[0-9]{{1,30}}(\\.[0-9]{{1,{scale}}})?"),
            Self::Number(Number::Float) => "-?[0-9]{1,30}(\\.[0-9]{1,30})?".to_owned(),
        };
        format!("{column} ~ '^{pattern}$'")
    }
}

/// The second of a moment, where its text sorts as it does.
fn second(nanos: i128) -> Option<Literal> {
    let whole = nanos.div_euclid(NANOS_PER_SECOND) * NANOS_PER_SECOND;
    let text = Scalar::Timestamp(whole).to_text(&ColumnType::Timestamp)?;
    let text = text.get(..19).filter(|text| text.as_bytes()[4] == b'-')?.to_owned();
    // A bound of the same second may be on either side: both sides are compared without it.
    Some(Literal::Around { low: Value::text(text.clone()), high: Value::text(text) })
}

fn around(value: f64) -> Option<Literal> {
    let margin = value.abs() * FLOAT_MARGIN;
    let (low, high) = (value - margin, value + margin);
    (low.is_finite() && high.is_finite())
        .then_some(Literal::Around { low: Value::Float(low), high: Value::Float(high) })
}
