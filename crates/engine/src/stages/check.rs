//! From fields to values of the table's types, row by row: which rows are good, and what is wrong with the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat, filter};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::nested_struct::{cast_column, validate_data_type_compatibility};
use frazil_common::ErrorCode;

use super::format::BinaryFormat;
use super::shape::{Fault, LoadShape, Origin, RowError};
use crate::lake::default_value;

/// Characters of a bad value that a message shows.
const SHOWN_MAX: usize = 80;

/// Some rows of a file.
pub struct Chunk {
    /// The table's columns; bad rows are left out.
    pub columns: Vec<ArrayRef>,
    pub rows: usize,
    /// With the bad ones.
    pub parsed: u64,
    /// In the order of their lines.
    pub errors: Vec<RowError>,
}

/// Where rows of a chunk are in their file.
pub trait Places {
    fn line(&self, row: usize) -> u64;
    /// Of a column of the table, or 0.
    fn character(&self, row: usize, column: usize) -> u64;
}

pub struct Checker {
    pub shape: LoadShape,
    /// The table's.
    pub schema: SchemaRef,
}

impl Checker {
    /// `sources`: for each column of the table its values as the file has them, if it has.
    pub fn check(&self, sources: &[Option<ArrayRef>], rows: usize, places: &dyn Places) -> Result<Chunk, Fault> {
        let mut bad: BTreeMap<usize, (usize, ErrorCode, String)> = BTreeMap::new();
        let mut columns = Vec::with_capacity(sources.len());
        for (index, (field, source)) in self.schema.fields().iter().zip(sources).enumerate() {
            let target = &self.shape.columns[index];
            let column = match (source, &target.origin) {
                (Some(source), _) => {
                    let converted = self.convert(source, field)?;
                    for row in lost(source, &converted) {
                        bad.entry(row).or_insert_with(|| {
                            let message = format!("value {} is not of type {}", shown(source, row), type_name(field));
                            (index, ErrorCode::InvalidData, message)
                        });
                    }
                    converted
                }
                (None, Origin::Default(Some(text))) => {
                    let value = default_value(text, field.data_type()).and_then(|value| value.to_array_of_size(rows));
                    value.map_err(|error| Fault::of_file(format!("default of column \"{}\": {error}", field.name())))?
                }
                (None, _) => new_null_array(field.data_type(), rows),
            };
            if !target.nullable && column.null_count() > 0 {
                for row in (0..rows).filter(|row| column.is_null(*row)) {
                    let null = || (index, ErrorCode::NotNullViolation, "it may not be null".to_owned());
                    bad.entry(row).or_insert_with(null);
                }
            }
            columns.push(column);
        }
        let errors: Vec<RowError> = bad
            .iter()
            .map(|(row, (column, code, message))| RowError {
                line: places.line(*row),
                character: places.character(*row, *column),
                column: Some(self.schema.field(*column).name().clone()),
                message: message.clone(),
                code: *code,
            })
            .collect();
        let mut good = rows;
        if !bad.is_empty() {
            let keep: BooleanArray = (0..rows).map(|row| Some(!bad.contains_key(&row))).collect();
            good -= bad.len();
            let kept: Result<Vec<_>, ArrowError> = columns.iter().map(|column| filter(column, &keep)).collect();
            columns = kept.map_err(|error| Fault::of_file(error.to_string()))?;
        }
        Ok(Chunk { columns, rows: good, parsed: rows as u64, errors })
    }

    /// What has no value of the type becomes null.
    fn convert(&self, source: &ArrayRef, field: &Field) -> Result<ArrayRef, Fault> {
        let target = field.data_type();
        if source.data_type() == target {
            return Ok(source.clone());
        }
        let is_text = matches!(source.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        if is_text && *target == DataType::BinaryView && self.shape.format.binary == BinaryFormat::Hex {
            return from_hex(source);
        }
        let options = CastOptions { safe: true, format_options: FormatOptions::default() };
        let converted = match target.is_nested() {
            true => convert_nested(source, field).map_err(|error| error.strip_backtrace()),
            false => cast_with_options(source, target, &options).map_err(|error| error.to_string()),
        };
        converted.map_err(|error| {
            let (from, name) = (source.data_type(), field.name());
            let message = format!("column \"{name}\" is of type {from} there, not {}: {error}", type_name(field));
            Fault { line: 0, message, code: ErrorCode::InvalidData }
        })
    }
}

/// Fields of structs by their names. A row is null in which any part has no value of its type.
fn convert_nested(source: &ArrayRef, field: &Field) -> datafusion::error::Result<ArrayRef> {
    let target = field.data_type();
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    validate_data_type_compatibility(field.name(), source.data_type(), target)?;
    // Arrow would make a list of one text.
    if !source.data_type().is_nested() && *source.data_type() != DataType::Null {
        return datafusion::common::plan_err!("it is not read from single values");
    }
    if let Ok(converted) = cast_column(source, target, &options) {
        return Ok(converted);
    }
    let rows = (0..source.len()).map(|row| {
        let row = cast_column(&source.slice(row, 1), target, &options);
        row.unwrap_or_else(|_| new_null_array(target, 1))
    });
    let rows: Vec<ArrayRef> = rows.collect();
    let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
    Ok(concat(&rows)?)
}

/// Rows that had a value and have none now.
fn lost<'a>(source: &'a ArrayRef, converted: &'a ArrayRef) -> impl Iterator<Item = usize> + 'a {
    let any = converted.null_count() > source.null_count();
    (0..if any { source.len() } else { 0 }).filter(move |row| converted.is_null(*row) && source.is_valid(*row))
}

fn from_hex(source: &ArrayRef) -> Result<ArrayRef, Fault> {
    let texts = arrow::compute::cast(source, &DataType::Utf8).map_err(|error| Fault::of_file(error.to_string()))?;
    let texts = texts.as_string::<i32>();
    let mut builder = BinaryViewBuilder::with_capacity(texts.len());
    for text in texts {
        builder.append_option(text.and_then(hex));
    }
    Ok(Arc::new(builder.finish()))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? * 16 + digit(*low)?) as u8);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

fn shown(source: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default();
    let text = match ArrayFormatter::try_new(source, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => return "there".to_owned(),
    };
    shorten(&text)
}

/// A text of the file in quotes, not all of it if it is long.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// As `CREATE TABLE` would have it.
pub fn type_name(field: &Field) -> String {
    frazil_catalog::from_arrow(field)
        .map_or_else(|_| field.data_type().to_string(), |column| column.column_type.to_string())
}
