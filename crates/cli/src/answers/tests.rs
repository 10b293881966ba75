use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::Float64Type;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn pairs(keys: &[Option<&str>], values: &[f64]) -> Vec<RecordBatch> {
    let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
    vec![batch(vec![("k", keys), ("v", Arc::new(Float64Array::from(values.to_vec())))])]
}

fn difference(expected: &[RecordBatch], actual: &[RecordBatch], order: Order) -> String {
    compare(expected, actual, &order).expect_err("they differ").to_string()
}

#[test]
fn layout_of_strings_and_batches_does_not_matter() {
    let plain = batch(vec![("s", Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])))]);
    let view = batch(vec![("s", Arc::new(StringViewArray::from(vec![Some("a"), None, Some("c")])))]);
    let dictionary: DictionaryArray<arrow::datatypes::Int32Type> = [Some("a"), None, Some("c")].into_iter().collect();
    let dictionary = batch(vec![("s", Arc::new(dictionary))]);
    let cut = [view.slice(0, 1), view.slice(1, 0), view.slice(1, 2)];
    for order in [Order::Any, Order::Rows, Order::Keys(vec![0])] {
        compare(std::slice::from_ref(&plain), &cut, &order).unwrap();
        compare(std::slice::from_ref(&plain), std::slice::from_ref(&dictionary), &order).unwrap();
    }
}

#[test]
fn floats_have_a_tolerance_and_nothing_else_has() {
    let expected = pairs(&[Some("a"), Some("b")], &[1e12, 0.1]);
    compare(&expected, &pairs(&[Some("a"), Some("b")], &[1e12 + 100.0, 0.1 + 1e-12]), &Order::Rows).unwrap();
    let text = difference(&expected, &pairs(&[Some("a"), Some("b")], &[1e12 + 2000.0, 0.1]), Order::Rows);
    assert!(text.contains("row 1 of 2, column \"v\": expected 1000000000000.0, got 1000000002000.0"), "{text}");
    let special = pairs(&[None; 4], &[f64::NAN, f64::INFINITY, 0.0, -1.0]);
    compare(&special, &pairs(&[None; 4], &[f64::NAN, f64::INFINITY, -0.0, -1.0]), &Order::Rows).unwrap();
    assert!(compare(&special, &pairs(&[None; 4], &[f64::NAN, f64::MAX, 0.0, -1.0]), &Order::Rows).is_err());
    let decimal = |value: i128| {
        let column = Decimal128Array::from(vec![value]).with_precision_and_scale(38, 10).unwrap();
        vec![batch(vec![("d", Arc::new(column))])]
    };
    assert!(compare(&decimal(10i128.pow(30)), &decimal(10i128.pow(30) + 1), &Order::Any).is_err());
}

#[test]
fn order_counts_only_where_it_is_said() {
    let expected = pairs(&[Some("a"), Some("a"), Some("b")], &[1.0, 2.0, 3.0]);
    let ties = pairs(&[Some("a"), Some("a"), Some("b")], &[2.0, 1.0, 3.0]);
    let other = pairs(&[Some("b"), Some("a"), Some("a")], &[3.0, 2.0, 1.0]);
    for (actual, any, keys, rows) in
        [(&expected, true, true, true), (&ties, true, true, false), (&other, true, false, false)]
    {
        assert_eq!(compare(&expected, actual, &Order::Any).is_ok(), any);
        assert_eq!(compare(&expected, actual, &Order::Keys(vec![0])).is_ok(), keys);
        assert_eq!(compare(&expected, actual, &Order::Rows).is_ok(), rows);
    }
}

#[test]
fn multisets_count_their_rows() {
    let expected = pairs(&[Some("a"), Some("a"), Some("b")], &[1.0, 1.0, 1.0]);
    let text = difference(&expected, &pairs(&[Some("a"), Some("b"), Some("b")], &[1.0; 3]), Order::Any);
    assert!(text.contains("a row is missing: k=a, v=1.0"), "{text}");
    let text = difference(&expected, &pairs(&[Some("a"), Some("a"), None], &[1.0; 3]), Order::Any);
    assert!(text.contains("a row should not be there: k=NULL"), "{text}");
    let text = difference(&expected, &pairs(&[Some("a")], &[1.0]), Order::Any);
    assert!(text.contains("expected 3 rows, got 1"), "{text}");
    compare(&[], &[expected[0].slice(0, 0)], &Order::Any).unwrap();
}

#[test]
fn floats_that_change_places_within_their_error_are_paired() {
    let columns = |a: [f64; 2], b: [f64; 2]| {
        vec![batch(vec![
            ("a", Arc::new(Float64Array::from(a.to_vec()))),
            ("b", Arc::new(Float64Array::from(b.to_vec()))),
        ])]
    };
    let expected = columns([1.0, 1.0 + 1e-12], [5.0, 6.0]);
    compare(&expected, &columns([1.0 + 1e-12, 1.0], [5.0, 6.0]), &Order::Any).unwrap();
    let text = difference(&expected, &columns([1.0 + 1e-12, 1.0], [5.0, 7.0]), Order::Any);
    assert!(text.contains("no counterpart"), "{text}");
}

#[test]
fn nested_values_are_compared_inside() {
    let list = |items: Vec<Option<f64>>| -> Vec<RecordBatch> {
        vec![batch(vec![("l", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(items), None])))])]
    };
    let expected = list(vec![Some(1.0), None]);
    compare(&expected, &list(vec![Some(1.0 + 1e-12), None]), &Order::Rows).unwrap();
    let text = difference(&expected, &list(vec![Some(1.0)]), Order::Rows);
    assert!(text.contains("expected [1.0, NULL], got [1.0]"), "{text}");
}

#[test]
fn names_and_types_count() {
    let number = |name: &str| vec![batch(vec![(name, Arc::new(Int64Array::from(vec![1])) as ArrayRef)])];
    let small = vec![batch(vec![("n", Arc::new(Int32Array::from(vec![1])) as ArrayRef)])];
    assert!(difference(&number("n"), &number("m"), Order::Any).contains("expected the name \"n\", got \"m\""));
    assert!(difference(&number("n"), &small, Order::Any).contains("expected the type Int64, got Int32"));
    assert!(
        difference(&number("n"), &pairs(&[None], &[1.0]), Order::Any).contains("expected 1 columns (n), got 2 (k, v)")
    );
}
