//! Values that are one number, truth value, text or byte string.

use std::io::Write as _;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{Encode, push_json};

pub fn encoder<'a>(array: &'a ArrayRef, base64: bool) -> Box<dyn Encode + 'a> {
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(Bare(|row, out: &mut Vec<u8>| {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            }))
        }
        DataType::Int8 => integer::<Int8Type>(array),
        DataType::Int16 => integer::<Int16Type>(array),
        DataType::Int32 => integer::<Int32Type>(array),
        DataType::Int64 => integer::<Int64Type>(array),
        DataType::UInt8 => integer::<UInt8Type>(array),
        DataType::UInt16 => integer::<UInt16Type>(array),
        DataType::UInt32 => integer::<UInt32Type>(array),
        DataType::UInt64 => integer::<UInt64Type>(array),
        DataType::Float16 => {
            let values = array.as_primitive::<Float16Type>().values();
            Box::new(Float(|row: usize| values[row].to_f32()))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Box::new(Float(|row: usize| values[row]))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            Box::new(Float(|row: usize| values[row]))
        }
        DataType::Decimal32(_, scale) => decimal::<Decimal32Type>(array, *scale, |value, out| push_json(&value, out)),
        DataType::Decimal64(_, scale) => decimal::<Decimal64Type>(array, *scale, |value, out| push_json(&value, out)),
        DataType::Decimal128(_, scale) => decimal::<Decimal128Type>(array, *scale, |value, out| push_json(&value, out)),
        DataType::Decimal256(_, scale) => decimal::<Decimal256Type>(array, *scale, |value, out| {
            write!(out, "{value}").expect("writing into memory cannot fail");
        }),
        DataType::Utf8 => Box::new(Text(array.as_string::<i32>())),
        DataType::LargeUtf8 => Box::new(Text(array.as_string::<i64>())),
        DataType::Utf8View => Box::new(Text(array.as_string_view())),
        DataType::Binary => binary(array.as_binary::<i32>(), base64),
        DataType::LargeBinary => binary(array.as_binary::<i64>(), base64),
        DataType::BinaryView => binary(array.as_binary_view(), base64),
        DataType::FixedSizeBinary(_) => binary(array.as_fixed_size_binary(), base64),
        // The null type: its rows are null and never asked for.
        _ => Box::new(Quoted(|_, _: &mut Vec<u8>| {})),
    }
}

/// Text that is also a JSON literal, so it needs quotes only as a cell: numbers, truth values.
pub struct Bare<F>(pub F);

impl<F: FnMut(usize, &mut Vec<u8>)> Encode for Bare<F> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        (self.0)(row, out);
        out.push(b'"');
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        (self.0)(row, out);
    }
}

/// Text that is a string everywhere and never needs escapes.
pub struct Quoted<F>(pub F);

impl<F: FnMut(usize, &mut Vec<u8>)> Encode for Quoted<F> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        (self.0)(row, out);
        out.push(b'"');
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        self.cell(row, out);
    }
}

fn integer<T>(array: &ArrayRef) -> Box<dyn Encode + '_>
where
    T: ArrowPrimitiveType,
    T::Native: Serialize,
{
    let values = array.as_primitive::<T>().values();
    Box::new(Bare(|row, out: &mut Vec<u8>| push_json::<T::Native>(&values[row], out)))
}

/// The shortest digits that read back as the same number; JSON has no word for what is not finite, so that is text.
struct Float<F>(F);

impl<F, N> Float<F>
where
    F: Fn(usize) -> N,
    N: Serialize + Into<f64> + Copy,
{
    fn number(&self, row: usize) -> Result<N, &'static [u8]> {
        let number = (self.0)(row);
        match number.into() {
            wide if wide.is_finite() => Ok(number),
            wide if wide.is_nan() => Err(b"\"NaN\""),
            wide if wide > 0.0 => Err(b"\"inf\""),
            _ => Err(b"\"-inf\""),
        }
    }
}

impl<F, N> Encode for Float<F>
where
    F: Fn(usize) -> N,
    N: Serialize + Into<f64> + Copy,
{
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        match self.number(row) {
            Ok(number) => {
                out.push(b'"');
                push_json(&number, out);
                out.push(b'"');
            }
            Err(text) => out.extend_from_slice(text),
        }
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        match self.number(row) {
            Ok(number) => push_json(&number, out),
            Err(text) => out.extend_from_slice(text),
        }
    }
}

fn decimal<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    scale: i8,
    push_unscaled: impl Fn(T::Native, &mut Vec<u8>) + 'a,
) -> Box<dyn Encode + 'a> {
    let values = array.as_primitive::<T>().values();
    let mut unscaled = Vec::with_capacity(80);
    Box::new(Bare(move |row, out: &mut Vec<u8>| {
        unscaled.clear();
        push_unscaled(values[row], &mut unscaled);
        push_with_point(&unscaled, scale, out);
    }))
}

/// Sets the point into an unscaled integer: `-5` with scale 2 is `-0.05`; with scale -2, `-500`.
fn push_with_point(unscaled: &[u8], scale: i8, out: &mut Vec<u8>) {
    let digits = match unscaled.strip_prefix(b"-") {
        Some(digits) => {
            out.push(b'-');
            digits
        }
        None => unscaled,
    };
    let decimals = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + decimals, b'0');
        }
    } else if digits.len() > decimals {
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + decimals - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

struct Text<A>(A);

impl<'a, A: ArrayAccessor<Item = &'a str>> Encode for Text<A> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        push_json(self.0.value(row), out);
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        self.cell(row, out);
    }
}

fn binary<'a, A: ArrayAccessor<Item = &'a [u8]> + 'a>(array: A, base64: bool) -> Box<dyn Encode + 'a> {
    if base64 {
        return Box::new(Quoted(move |row, out: &mut Vec<u8>| {
            out.extend_from_slice(STANDARD.encode(array.value(row)).as_bytes());
        }));
    }
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    Box::new(Quoted(move |row, out: &mut Vec<u8>| {
        let bytes = array.value(row);
        out.reserve(2 * bytes.len());
        for byte in bytes {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }))
}
