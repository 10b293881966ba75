//! One value, in a form that can be compared whatever the layout of the column it came from.

use std::cmp::Ordering;
use std::fmt;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    Float {
        value: f64,
        /// Of what can be told apart: 32-bit sums have only seven digits to begin with.
        relative_error: f64,
    },
    /// Everything exact, as it is printed: types are compared before.
    Text(String),
    /// The items of a list, the fields of a struct, the entries of a map.
    Items(Vec<Cell>),
}

const FLOAT64_ERROR: f64 = 1e-9;
const FLOAT32_ERROR: f64 = 1e-5;

/// The values of a column.
pub fn cells(column: &dyn Array) -> Result<Vec<Cell>, ArrowError> {
    match column.data_type() {
        DataType::Float16 | DataType::Float32 => floats(cast(column, &DataType::Float64)?.as_ref(), FLOAT32_ERROR),
        DataType::Float64 => floats(column, FLOAT64_ERROR),
        DataType::Dictionary(_, values) => cells(cast(column, values)?.as_ref()),
        DataType::List(_) => each(column, |row| cells(column.as_list::<i32>().value(row).as_ref())),
        DataType::LargeList(_) => each(column, |row| cells(column.as_list::<i64>().value(row).as_ref())),
        DataType::ListView(item) => cells(cast(column, &DataType::List(item.clone()))?.as_ref()),
        DataType::FixedSizeList(..) => each(column, |row| cells(column.as_fixed_size_list().value(row).as_ref())),
        DataType::Map(..) => each(column, |row| cells(&column.as_map().value(row))),
        DataType::Struct(_) => {
            let fields = column.as_struct().columns().iter().map(|field| cells(field.as_ref()));
            let fields = fields.collect::<Result<Vec<_>, _>>()?;
            each(column, |row| Ok(fields.iter().map(|field| field[row].clone()).collect()))
        }
        _ => {
            let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            let text = |row| formatter.value(row).try_to_string().map(Cell::Text);
            (0..column.len()).map(|row| if is_null(column, row) { Ok(Cell::Null) } else { text(row) }).collect()
        }
    }
}

fn floats(column: &dyn Array, relative_error: f64) -> Result<Vec<Cell>, ArrowError> {
    let values = column.as_primitive::<Float64Type>();
    Ok(values.iter().map(|value| value.map_or(Cell::Null, |value| Cell::Float { value, relative_error })).collect())
}

fn each(column: &dyn Array, items: impl Fn(usize) -> Result<Vec<Cell>, ArrowError>) -> Result<Vec<Cell>, ArrowError> {
    (0..column.len())
        .map(|row| if is_null(column, row) { Ok(Cell::Null) } else { items(row).map(Cell::Items) })
        .collect()
}

/// A column of the type `Null` is all null without a bitmap that says so.
fn is_null(column: &dyn Array, row: usize) -> bool {
    column.is_null(row) || column.data_type() == &DataType::Null
}

impl Cell {
    pub fn is_close_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Float { value: a, relative_error }, Self::Float { value: b, .. }) => {
                // Infinities and zeros are equal as they are.
                a == b
                    || (a.is_nan() && b.is_nan())
                    || (a - b).abs() <= relative_error * a.abs().max(b.abs()) && (a - b).is_finite()
            }
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Items(a), Self::Items(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_close_to(b)),
            _ => false,
        }
    }

    /// An order in which all floats are equal.
    pub fn exact_order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Items(a), Self::Items(b)) => {
                let mut items = a.iter().zip(b).map(|(a, b)| a.exact_order(b));
                items.find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
            }
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// Orders what [`Cell::exact_order`] finds equal.
    pub fn float_order(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Adding zero makes one of the two zeros of the other.
            (Self::Float { value: a, .. }, Self::Float { value: b, .. }) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Items(a), Self::Items(b)) => {
                let mut items = a.iter().zip(b).map(|(a, b)| a.float_order(b));
                items.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            }
            _ => Ordering::Equal,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Float { .. } => 1,
            Self::Text(_) => 2,
            Self::Items(_) => 3,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Float { value, .. } => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
            Self::Items(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}
