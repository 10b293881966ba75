//! Lists, structs, maps and unions as JSON text; dictionaries and runs as the values they stand for.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, GenericListViewArray, OffsetSizeTrait, RunArray};
use arrow::datatypes::{ArrowNativeType, DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow::error::ArrowError;

use super::{Column, Encode, Presentation, encoder as encoder_of, push_json};

/// Inside of lists, structs and maps.
pub static READABLE: Presentation =
    Presentation { date: None, time: None, timestamp: None, zoned: None, zone: None, base64: false };

pub fn encoder<'a>(array: &'a ArrayRef, presentation: &'a Presentation) -> Result<Box<dyn Encode + 'a>, ArrowError> {
    match array.data_type() {
        DataType::List(_) => list(array.as_list::<i32>()),
        DataType::LargeList(_) => list(array.as_list::<i64>()),
        DataType::ListView(_) => list_view(array.as_list_view::<i32>()),
        DataType::LargeListView(_) => list_view(array.as_list_view::<i64>()),
        DataType::FixedSizeList(_, length) => {
            let array = array.as_fixed_size_list();
            let length = usize::try_from(*length).unwrap_or(0);
            items(array.values(), move |row| row * length..(row + 1) * length)
        }
        DataType::Struct(_) => structure(array),
        DataType::Map(_, _) => map(array),
        DataType::Union(_, _) => union(array),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            // Without values every key is null, and no row is asked for.
            let rows = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
            Ok(Box::new(Indexed { rows, values: encoder_of(values, presentation)? }))
        }
        DataType::RunEndEncoded(ends, _) => {
            let (rows, values) = match ends.data_type() {
                DataType::Int16 => run_rows(array.as_run::<Int16Type>()),
                DataType::Int32 => run_rows(array.as_run::<Int32Type>()),
                _ => run_rows(array.as_run::<Int64Type>()),
            };
            Ok(Box::new(Indexed { rows, values: encoder_of(values, presentation)? }))
        }
        other => Err(ArrowError::NotYetImplemented(format!("cells of type {other}"))),
    }
}

/// Rows that stand for rows of another array.
struct Indexed<'a> {
    rows: Vec<usize>,
    values: Box<dyn Encode + 'a>,
}

impl Encode for Indexed<'_> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        self.values.cell(self.rows[row], out);
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        self.values.value(self.rows[row], out);
    }
}

fn run_rows<R: RunEndIndexType>(array: &RunArray<R>) -> (Vec<usize>, &ArrayRef) {
    ((0..array.len()).map(|row| array.get_physical_index(row)).collect(), array.values())
}

/// JSON of its own inside a list or struct; as a cell, that JSON as the text of a string.
struct Structured<F> {
    json: F,
    text: Vec<u8>,
}

impl<F: FnMut(usize, &mut Vec<u8>)> Encode for Structured<F> {
    fn cell(&mut self, row: usize, out: &mut Vec<u8>) {
        self.text.clear();
        (self.json)(row, &mut self.text);
        push_json(str::from_utf8(&self.text).expect("encoders write UTF-8"), out);
    }

    fn value(&mut self, row: usize, out: &mut Vec<u8>) {
        (self.json)(row, out);
    }
}

fn structured<'a>(json: impl FnMut(usize, &mut Vec<u8>) + 'a) -> Box<dyn Encode + 'a> {
    Box::new(Structured { json, text: Vec::new() })
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Box<dyn Encode + '_>, ArrowError> {
    let offsets = array.value_offsets();
    items(array.values(), |row| offsets[row].as_usize()..offsets[row + 1].as_usize())
}

fn list_view<O: OffsetSizeTrait>(array: &GenericListViewArray<O>) -> Result<Box<dyn Encode + '_>, ArrowError> {
    let (offsets, sizes) = (array.value_offsets(), array.value_sizes());
    items(array.values(), |row| {
        let start = offsets[row].as_usize();
        start..start + sizes[row].as_usize()
    })
}

fn items<'a>(
    values: &'a ArrayRef,
    range: impl Fn(usize) -> Range<usize> + 'a,
) -> Result<Box<dyn Encode + 'a>, ArrowError> {
    let mut items = Column::new(values, &READABLE)?;
    Ok(structured(move |row, out| {
        out.push(b'[');
        for (index, item) in range(row).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            items.value(item, out);
        }
        out.push(b']');
    }))
}

fn structure(array: &ArrayRef) -> Result<Box<dyn Encode + '_>, ArrowError> {
    let array = array.as_struct();
    let mut fields = Vec::with_capacity(array.num_columns());
    for (name, values) in array.column_names().into_iter().zip(array.columns()) {
        let mut key = Vec::with_capacity(name.len() + 4);
        if !fields.is_empty() {
            key.push(b',');
        }
        push_json(name, &mut key);
        key.push(b':');
        fields.push((key, Column::new(values, &READABLE)?));
    }
    Ok(structured(move |row, out| {
        out.push(b'{');
        for (key, column) in &mut fields {
            out.extend_from_slice(key);
            column.value(row, out);
        }
        out.push(b'}');
    }))
}

fn map(array: &ArrayRef) -> Result<Box<dyn Encode + '_>, ArrowError> {
    let array = array.as_map();
    let offsets = array.value_offsets();
    let (mut keys, mut values) = (Column::new(array.keys(), &READABLE)?, Column::new(array.values(), &READABLE)?);
    let mut key = Vec::new();
    Ok(structured(move |row, out| {
        out.push(b'{');
        for (index, entry) in (offsets[row].as_usize()..offsets[row + 1].as_usize()).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            // JSON's keys are strings: others go by their text.
            key.clear();
            keys.value(entry, &mut key);
            if key.starts_with(b"\"") {
                out.extend_from_slice(&key);
            } else {
                push_json(str::from_utf8(&key).expect("encoders write UTF-8"), out);
            }
            out.push(b':');
            values.value(entry, out);
        }
        out.push(b'}');
    }))
}

fn union(array: &ArrayRef) -> Result<Box<dyn Encode + '_>, ArrowError> {
    let DataType::Union(fields, _) = array.data_type() else {
        return Err(ArrowError::NotYetImplemented(format!("cells of type {}", array.data_type())));
    };
    let array = array.as_union();
    let mut children = Vec::with_capacity(fields.len());
    for (type_id, _) in fields.iter() {
        children.push((type_id, Column::new(array.child(type_id), &READABLE)?));
    }
    Ok(structured(move |row, out| {
        let type_id = array.type_id(row);
        match children.iter_mut().find(|(id, _)| *id == type_id) {
            Some((_, column)) => column.value(array.value_offset(row), out),
            None => out.extend_from_slice(b"null"),
        }
    }))
}
