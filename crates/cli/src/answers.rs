//! Whether two answers to a query are the same, and where they first differ when they are not.
//!
//! The same means: equal column names and types (apart from how strings and lists are laid out, and what may be null),
//! and equal rows. Floats may differ by a relative error, since sums depend on the order of their terms; everything else,
//! decimals too, is exact.

mod cell;

use std::cmp::Ordering;
use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

use cell::Cell;

/// How far the query says in which order its rows come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// It does not: rows are compared as a multiset.
    Any,
    /// Entirely: rows are compared one by one.
    Rows,
    /// By these columns (numbers from 0); rows that are equal in them may come in any order.
    Keys(Vec<usize>),
}

/// The first difference, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Difference {}

/// An answer without batches has no schema, and is equal to any answer without rows.
pub fn compare(expected: &[RecordBatch], actual: &[RecordBatch], order: &Order) -> Result<(), Difference> {
    if let (Some(expected), Some(actual)) = (expected.first(), actual.first()) {
        same_schema(&expected.schema(), &actual.schema())?;
    }
    let (counted, got) = (count(expected), count(actual));
    if counted != got {
        return Err(Difference(format!("expected {counted} rows, got {got}")));
    }
    let names: Vec<String> = match expected.first() {
        Some(batch) => batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
        None => return Ok(()),
    };
    let (expected, actual) = (rows(expected)?, rows(actual)?);
    match order {
        Order::Rows => in_order(&names, &expected, &actual, &(0..names.len()).collect::<Vec<_>>()),
        Order::Keys(keys) => {
            in_order(&names, &expected, &actual, keys)?;
            as_multisets(&names, expected, actual)
        }
        Order::Any => as_multisets(&names, expected, actual),
    }
}

type Row = Vec<Cell>;

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn rows(batches: &[RecordBatch]) -> Result<Vec<Row>, Difference> {
    let mut rows = Vec::with_capacity(count(batches));
    for batch in batches {
        let columns = batch.columns().iter().map(|column| cell::cells(column.as_ref()).map(Vec::into_iter));
        let columns = columns.collect::<Result<Vec<_>, _>>();
        let mut columns = columns.map_err(|e| Difference(format!("an answer cannot be read: {e}")))?;
        for _ in 0..batch.num_rows() {
            rows.push(columns.iter_mut().map(|column| column.next().expect("columns have the batch's rows")).collect());
        }
    }
    Ok(rows)
}

fn in_order(names: &[String], expected: &[Row], actual: &[Row], columns: &[usize]) -> Result<(), Difference> {
    for (number, (wanted, got)) in expected.iter().zip(actual).enumerate() {
        for &column in columns {
            if !wanted[column].is_close_to(&got[column]) {
                return Err(Difference(format!(
                    "row {} of {}, column {:?}: expected {}, got {}\n  expected row: {}\n  actual row:   {}",
                    number + 1,
                    expected.len(),
                    names[column],
                    wanted[column],
                    got[column],
                    Shown(names, wanted),
                    Shown(names, got),
                )));
            }
        }
    }
    Ok(())
}

/// Sorts both by everything but floats, and within rows that are equal in that, pairs up what is close.
fn as_multisets(names: &[String], mut expected: Vec<Row>, mut actual: Vec<Row>) -> Result<(), Difference> {
    let order = |a: &Row, b: &Row| exact_order(a, b).then_with(|| float_order(a, b));
    expected.sort_unstable_by(order);
    actual.sort_unstable_by(order);
    let (mut wanted, mut got) = (expected.as_slice(), actual.as_slice());
    while let (Some(first), Some(other)) = (wanted.first(), got.first()) {
        let missing = |row: &Row| Difference(format!("a row is missing: {}", Shown(names, row)));
        let surplus = |row: &Row| Difference(format!("a row should not be there: {}", Shown(names, row)));
        match exact_order(first, other) {
            Ordering::Less => return Err(missing(first)),
            Ordering::Greater => return Err(surplus(other)),
            Ordering::Equal => {}
        }
        let group = wanted.partition_point(|row| exact_order(row, first).is_eq());
        let counterpart = got.partition_point(|row| exact_order(row, first).is_eq());
        match group.cmp(&counterpart) {
            Ordering::Greater => return Err(missing(&wanted[counterpart])),
            Ordering::Less => return Err(surplus(&got[group])),
            Ordering::Equal => {}
        }
        if let Some((row, nearest)) = unmatched(&wanted[..group], &got[..group]) {
            return Err(Difference(format!(
                "a row has no counterpart\n  expected row: {}\n  nearest row:  {}",
                Shown(names, row),
                Shown(names, nearest)
            )));
        }
        (wanted, got) = (&wanted[group..], &got[group..]);
    }
    Ok(())
}

/// Sorting brings close rows together except where a float that is off by its error changes places with another. Those
/// are looked for among all: quadratic, but only in the rows that are equal in all else.
fn unmatched<'a>(expected: &'a [Row], actual: &'a [Row]) -> Option<(&'a Row, &'a Row)> {
    if expected.iter().zip(actual).all(|(a, b)| close(a, b)) {
        return None;
    }
    let mut taken = vec![false; actual.len()];
    for (position, row) in expected.iter().enumerate() {
        let mut around = (position..actual.len()).chain(0..position);
        let found = around.find(|&other| !taken[other] && close(row, &actual[other]));
        match found {
            Some(other) => taken[other] = true,
            None => return Some((row, &actual[position])),
        }
    }
    None
}

fn close(a: &Row, b: &Row) -> bool {
    a.iter().zip(b).all(|(a, b)| a.is_close_to(b))
}

fn exact_order(a: &Row, b: &Row) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.exact_order(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn float_order(a: &Row, b: &Row) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.float_order(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

struct Shown<'a>(&'a [String], &'a Row);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, cell)) in self.0.iter().zip(self.1).enumerate() {
            write!(f, "{}{name}={cell}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn same_schema(expected: &Schema, actual: &Schema) -> Result<(), Difference> {
    if expected.fields().len() != actual.fields().len() {
        let names = |schema: &Schema| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(", ");
        return Err(Difference(format!(
            "expected {} columns ({}), got {} ({})",
            expected.fields().len(),
            names(expected),
            actual.fields().len(),
            names(actual)
        )));
    }
    for (number, (expected, actual)) in expected.fields().iter().zip(actual.fields()).enumerate() {
        if expected.name() != actual.name() {
            let (expected, actual) = (expected.name(), actual.name());
            return Err(Difference(format!("column {}: expected the name {expected:?}, got {actual:?}", number + 1)));
        }
        if !same_type(expected.data_type(), actual.data_type()) {
            let (wanted, got) = (expected.data_type(), actual.data_type());
            return Err(Difference(format!("column {:?}: expected the type {wanted}, got {got}", expected.name())));
        }
    }
    Ok(())
}

fn same_type(a: &DataType, b: &DataType) -> bool {
    use DataType::*;
    let same_field = |a: &Field, b: &Field| same_type(a.data_type(), b.data_type());
    match (a, b) {
        (Dictionary(_, a), b) => same_type(a, b),
        (a, Dictionary(_, b)) => same_type(a, b),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (List(a) | LargeList(a) | ListView(a), List(b) | LargeList(b) | ListView(b)) => same_field(a, b),
        (FixedSizeList(a, n), FixedSizeList(b, m)) => n == m && same_field(a, b),
        (Map(a, _), Map(b, _)) => same_field(a, b),
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && same_field(a, b))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests;
