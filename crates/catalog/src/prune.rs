//! Which files can hold a row that a predicate asks for, by their columns' least and greatest values.
//!
//! A file is left out only if its statistics prove that no row matches. What is missing or not understood proves nothing.

use std::cmp::Ordering;

use crate::ids::ColumnId;
use crate::scalar::{Scalar, compare};
use crate::types::ColumnType;

/// One conjunct of a predicate over one column.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnRange {
    pub column: ColumnId,
    pub test: RangeTest,
}

#[derive(Clone, PartialEq, Debug)]
pub enum RangeTest {
    /// Not null, and between the bounds that are given.
    Between {
        low: Option<Bound>,
        high: Option<Bound>,
    },
    /// Equal to one of them.
    In(Vec<Scalar>),
    IsNull,
    IsNotNull,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Bound {
    pub value: Scalar,
    pub inclusive: bool,
}

impl ColumnRange {
    pub fn equals(column: ColumnId, value: Scalar) -> Self {
        Self { column, test: RangeTest::In(vec![value]) }
    }

    /// `low <= column <= high`.
    pub fn between(column: ColumnId, low: Option<Scalar>, high: Option<Scalar>) -> Self {
        let bound = |value| Bound { value, inclusive: true };
        Self { column, test: RangeTest::Between { low: low.map(bound), high: high.map(bound) } }
    }
}

/// What is known of a column in one file. Bounds enclose all values that are neither null nor NaN.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ColumnStatistics {
    pub null_count: Option<i64>,
    pub min: Option<Scalar>,
    pub max: Option<Scalar>,
    pub contains_nan: Option<bool>,
}

impl ColumnStatistics {
    /// Whether one of `rows` rows may pass the test.
    pub fn may_match(&self, column_type: &ColumnType, rows: i64, test: &RangeTest) -> bool {
        let only_nulls = self.null_count.is_some_and(|nulls| nulls >= rows);
        match test {
            RangeTest::IsNull => self.null_count != Some(0),
            RangeTest::IsNotNull => !only_nulls,
            _ if only_nulls => false,
            RangeTest::Between { low, high } => {
                let (min, max) = self.certain_bounds(column_type);
                let float = is_float(column_type);
                // Engines differ over -0.0 < 0.0, so that with floats a bound counts as included.
                let above = low.as_ref().zip(max).is_none_or(|(low, max)| reaches(&max, low, Ordering::Less, float));
                let below =
                    high.as_ref().zip(min).is_none_or(|(high, min)| reaches(&min, high, Ordering::Greater, float));
                above && below
            }
            RangeTest::In(values) => {
                let (min, max) = self.certain_bounds(column_type);
                values.iter().any(|value| {
                    let below = min.as_ref().is_some_and(|min| compare(value, min) == Some(Ordering::Less));
                    let above = max.as_ref().is_some_and(|max| compare(value, max) == Some(Ordering::Greater));
                    !below && !above
                })
            }
        }
    }

    fn certain_bounds(&self, column_type: &ColumnType) -> (Option<Scalar>, Option<Scalar>) {
        if !is_float(column_type) {
            return (self.min.clone(), self.max.clone());
        }
        // Where NaN sorts is a matter of the engine.
        if self.contains_nan != Some(false) {
            return (None, None);
        }
        // The shortest text of a 32-bit float is not its value as a 64-bit float, which a widened column has.
        let widen = |bound: &Option<Scalar>, direction: f64| match bound {
            Some(Scalar::Float(value)) => Some(Scalar::Float(value + direction * value.abs() * 1e-6)),
            _ => None,
        };
        (widen(&self.min, -1.0), widen(&self.max, 1.0))
    }
}

fn is_float(column_type: &ColumnType) -> bool {
    matches!(column_type, ColumnType::Float32 | ColumnType::Float64)
}

/// Whether a file's extreme value reaches the bound; `short` is how it compares when it does not.
fn reaches(extreme: &Scalar, bound: &Bound, short: Ordering, float: bool) -> bool {
    match compare(extreme, &bound.value) {
        None => true,
        Some(Ordering::Equal) => bound.inclusive || float,
        Some(order) => order != short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(column_type: &str, min: &str, max: &str, nan: Option<bool>, test: RangeTest) -> bool {
        let column_type = ColumnType::parse(column_type);
        let statistics = ColumnStatistics {
            null_count: Some(0),
            min: Scalar::parse(&column_type, min),
            max: Scalar::parse(&column_type, max),
            contains_nan: nan,
        };
        statistics.may_match(&column_type, 10, &test)
    }

    fn above(value: Scalar, inclusive: bool) -> RangeTest {
        RangeTest::Between { low: Some(Bound { value, inclusive }), high: None }
    }

    #[test]
    fn numbers_compare_as_numbers() {
        assert!(may("int32", "9", "10", None, above(Scalar::Int(10), true)));
        assert!(!may("int32", "9", "10", None, above(Scalar::Int(10), false)));
        assert!(!may("int64", "9", "100", None, RangeTest::In(vec![Scalar::Int(8), Scalar::Int(101)])));
        assert!(may("int64", "9", "100", None, RangeTest::In(vec![Scalar::Int(8), Scalar::Int(20)])));
        assert!(may("decimal(10,2)", "9.00", "10.50", None, above(Scalar::Decimal(105, 1), true)));
        assert!(!may("decimal(10,2)", "9.00", "10.50", None, above(Scalar::Decimal(10501, 3), true)));
    }

    #[test]
    fn moments_and_texts() {
        let day = Scalar::parse(&ColumnType::Date, "2020-01-05").unwrap();
        assert!(!may("date", "2020-01-01", "2020-01-04", None, above(day.clone(), true)));
        assert!(may("date", "2020-01-01", "2020-01-05", None, above(day.clone(), true)));
        assert!(may("date", "2020-01-01", "infinity", None, above(day.clone(), true)));
        assert!(may("timestamp", "2020-01-01 00:00:00", "2020-01-05 00:00:00.5", None, above(day.clone(), false)));
        assert!(!may("timestamptz", "2020-01-01 00:00:00+00", "2020-01-05 01:00:00+02", None, above(day, true)));
        assert!(!may("varchar", "a", "b", None, RangeTest::In(vec![Scalar::Text("ba".into())])));
        assert!(may("varchar", "a", "b", None, RangeTest::In(vec![Scalar::Text("aB".into())])));
    }

    #[test]
    fn what_is_uncertain_is_kept() {
        let big = || above(Scalar::Float(99.0), true);
        assert!(!may("float64", "0.0", "1.0", Some(false), big()));
        assert!(may("float64", "0.0", "1.0", Some(true), big()));
        assert!(may("float64", "0.0", "1.0", None, big()));
        assert!(may("float64", "-1.0", "0.0", Some(false), above(Scalar::Float(0.0), false)));
        assert!(may("float64", "0.0", "0.1", Some(false), above(Scalar::Float(f64::from(0.1_f32)), true)));
        assert!(may("int64", "1", "1", None, above(Scalar::Float(99.0), true)));
        assert!(may("interval", "1", "1", None, above(Scalar::Int(99), true)));
    }

    #[test]
    fn nulls() {
        let of = |null_count| ColumnStatistics { null_count, ..Default::default() };
        let int = ColumnType::Int32;
        assert!(!of(Some(0)).may_match(&int, 10, &RangeTest::IsNull));
        assert!(of(None).may_match(&int, 10, &RangeTest::IsNull));
        assert!(!of(Some(10)).may_match(&int, 10, &RangeTest::IsNotNull));
        assert!(!of(Some(10)).may_match(&int, 10, &above(Scalar::Int(1), true)));
        assert!(of(Some(9)).may_match(&int, 10, &above(Scalar::Int(1), true)));
    }
}
