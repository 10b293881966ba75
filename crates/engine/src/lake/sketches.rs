//! Distinct values of the columns that a writer writes, sketched as they pass.
//!
//! Hashes are kept for as long as a table is: they must never change. Numbers, dates and times are mixed by SplitMix64's finalizer
//! (integers as 64 bits, so that a column that was widened hashes as before), texts of more than 12 bytes by XXH64. Shorter ones lie in their views
//! whole, with their length, and are mixed as two numbers.

use std::collections::BTreeMap;

use arrow::array::GenericByteViewArray;
use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    ByteViewType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, SchemaRef, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use frazil_catalog::{FIELD_ID_KEY, Sketch};
use twox_hash::XxHash64;

use super::first_rows::is_prose;
use super::report::SketchReport;

/// Bytes of a text that lies in its view.
const INLINE_MAX: u32 = 12;

/// Of a table's top-level columns, by field id. Types that are not hashed have none.
pub(super) struct ColumnSketches {
    columns: Vec<Option<(i64, Sketch)>>,
    rows: i64,
}

impl ColumnSketches {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
            let id = field.metadata().get(FIELD_ID_KEY)?.parse().ok()?;
            is_hashed(field.data_type()).then(|| (id, Sketch::default()))
        };
        Self { columns: schema.fields().iter().map(column).collect(), rows: 0 }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as i64;
        let first = self.rows == batch.num_rows() as i64;
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            let Some((_, sketch)) = column else { continue };
            add_values(sketch, array);
            // Nobody joins or groups by it, and it is the dearest to hash.
            if first && is_prose(array) && 2 * sketch.estimate() > array.len() as u64 {
                *column = None;
            }
        }
    }

    /// What was added since the last call; `None` if no rows were.
    pub(super) fn report(&mut self) -> Option<SketchReport> {
        if self.rows == 0 {
            return None;
        }
        let rows = std::mem::take(&mut self.rows);
        let columns = self.columns.iter_mut().flatten();
        let columns: BTreeMap<i64, String> =
            columns.map(|(id, sketch)| (*id, std::mem::take(sketch).to_text())).collect();
        Some(SketchReport { rows, columns })
    }
}

fn is_hashed(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::UInt8
            | T::UInt16
            | T::UInt32
            | T::UInt64
            | T::Float32
            | T::Float64
    ) || matches!(data_type, T::Boolean | T::Date32 | T::Time64(_) | T::Timestamp(..) | T::Decimal128(..))
        || matches!(data_type, T::Utf8View | T::BinaryView)
}

fn add_values(sketch: &mut Sketch, array: &ArrayRef) {
    use DataType as T;
    match array.data_type() {
        T::Int8 => integers::<Int8Type>(sketch, array),
        T::Int16 => integers::<Int16Type>(sketch, array),
        T::Int32 => integers::<Int32Type>(sketch, array),
        T::Int64 => integers::<Int64Type>(sketch, array),
        T::UInt8 => integers::<UInt8Type>(sketch, array),
        T::UInt16 => integers::<UInt16Type>(sketch, array),
        T::UInt32 => integers::<UInt32Type>(sketch, array),
        T::UInt64 => primitives::<UInt64Type>(sketch, array, mix),
        T::Float32 => primitives::<Float32Type>(sketch, array, |value| float(f64::from(value))),
        T::Float64 => primitives::<Float64Type>(sketch, array, float),
        T::Date32 => integers::<Date32Type>(sketch, array),
        T::Time64(TimeUnit::Microsecond) => integers::<Time64MicrosecondType>(sketch, array),
        T::Time64(_) => integers::<Time64NanosecondType>(sketch, array),
        T::Timestamp(TimeUnit::Second, _) => integers::<TimestampSecondType>(sketch, array),
        T::Timestamp(TimeUnit::Millisecond, _) => integers::<TimestampMillisecondType>(sketch, array),
        T::Timestamp(TimeUnit::Microsecond, _) => integers::<TimestampMicrosecondType>(sketch, array),
        T::Timestamp(TimeUnit::Nanosecond, _) => integers::<TimestampNanosecondType>(sketch, array),
        T::Decimal128(..) => primitives::<Decimal128Type>(sketch, array, |value| wide(value as u128)),
        T::Boolean => {
            let Some(values) = array.as_boolean_opt() else { return };
            if values.true_count() > 0 {
                sketch.add_hash(mix(1));
            }
            if values.false_count() > 0 {
                sketch.add_hash(mix(0));
            }
        }
        T::Utf8View => {
            if let Some(values) = array.as_string_view_opt() {
                texts(sketch, values);
            }
        }
        T::BinaryView => {
            if let Some(values) = array.as_binary_view_opt() {
                texts(sketch, values);
            }
        }
        _ => {}
    }
}

fn integers<T: ArrowPrimitiveType>(sketch: &mut Sketch, array: &ArrayRef)
where
    T::Native: Into<i64>,
{
    primitives::<T>(sketch, array, |value| mix(value.into() as u64));
}

fn primitives<T: ArrowPrimitiveType>(sketch: &mut Sketch, array: &ArrayRef, hash: impl Fn(T::Native) -> u64) {
    let Some(values): Option<&PrimitiveArray<T>> = array.as_primitive_opt::<T>() else { return };
    match values.null_count() {
        0 => {
            // Rows are often in an order in which equal values follow each other.
            let mut last = None;
            for value in values.values().iter().copied() {
                if last.is_none_or(|last: T::Native| last.is_ne(value)) {
                    sketch.add_hash(hash(value));
                }
                last = Some(value);
            }
        }
        _ => values.iter().flatten().for_each(|value| sketch.add_hash(hash(value))),
    }
}

fn texts<T: ByteViewType>(sketch: &mut Sketch, values: &GenericByteViewArray<T>) {
    let hash = |at: usize| {
        let view = values.views()[at];
        match view as u32 <= INLINE_MAX {
            true => wide(view),
            false => XxHash64::oneshot(0, values.value(at).as_ref()),
        }
    };
    match values.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => {
            // Equal views of one array are equal texts.
            let mut last = None;
            for (at, view) in values.views().iter().enumerate() {
                if last != Some(*view) {
                    sketch.add_hash(hash(at));
                }
                last = Some(*view);
            }
        }
        Some(nulls) => nulls.valid_indices().for_each(|at| sketch.add_hash(hash(at))),
    }
}

/// SplitMix64's finalizer.
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[inline]
fn wide(value: u128) -> u64 {
    mix(value as u64 ^ mix((value >> 64) as u64))
}

/// Both zeros are one value, and so are all NaNs.
#[inline]
fn float(value: f64) -> u64 {
    let bits = match value {
        0.0 => 0,
        value if value.is_nan() => f64::NAN.to_bits(),
        value => value.to_bits(),
    };
    mix(bits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray};

    use super::*;

    fn estimate(array: ArrayRef) -> u64 {
        let mut sketch = Sketch::default();
        add_values(&mut sketch, &array);
        sketch.estimate()
    }

    #[track_caller]
    fn near(found: u64, count: u64) {
        assert!((found as f64 - count as f64).abs() <= 0.05 * count as f64, "{found} for {count}");
    }

    #[test]
    fn values_of_each_kind_are_counted() {
        const COUNT: i64 = 200_000;
        near(estimate(Arc::new(Int64Array::from_iter_values(0..COUNT))), COUNT as u64);
        near(estimate(Arc::new(Int64Array::from_iter_values((0..COUNT).map(|v| v << 40)))), COUNT as u64);
        near(estimate(Arc::new(Int32Array::from_iter((0..COUNT).map(|v| Some(v as i32 % 7000))))), 7000);
        near(estimate(Arc::new(Float64Array::from_iter_values((0..COUNT).map(|v| v as f64 / 8.0)))), COUNT as u64);
        near(
            estimate(Arc::new(Decimal128Array::from_iter_values((0..COUNT).map(|v| i128::from(v) * 100)))),
            COUNT as u64,
        );
        let short = (0..COUNT).map(|v| format!("{v}"));
        near(estimate(Arc::new(StringViewArray::from_iter_values(short))), COUNT as u64);
        let long = (0..COUNT).map(|v| format!("a text that is longer {v}"));
        near(estimate(Arc::new(StringViewArray::from_iter_values(long))), COUNT as u64);
        let sparse = (0..COUNT).map(|v| (v % 3 == 0).then(|| format!("{}", v % 300)));
        assert_eq!(estimate(Arc::new(StringViewArray::from_iter(sparse))), 100);
        assert_eq!(estimate(Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]))), 2);
        assert_eq!(estimate(Arc::new(Int64Array::from(vec![None, None]))), 0);
    }

    #[test]
    fn a_widened_column_goes_on() {
        let mut sketch = Sketch::default();
        add_values(&mut sketch, &(Arc::new(Int32Array::from_iter_values(-500..500)) as ArrayRef));
        let before = sketch.estimate();
        add_values(&mut sketch, &(Arc::new(Int64Array::from_iter_values(-500..500)) as ArrayRef));
        assert_eq!(sketch.estimate(), before);
    }

    /// They are in catalogs.
    #[test]
    fn hashes_stay_as_they_are() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(XxHash64::oneshot(0, b""), 0xef46_db37_51d8_e999);
        assert_eq!(XxHash64::oneshot(0, b"a"), 0xd24e_c4f1_a98c_6e5b);
    }
}
