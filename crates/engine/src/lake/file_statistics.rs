//! What the catalog is told of a file's columns. DuckDB plans by it, also by what is told of the parts of nested columns: it must
//! hold for every value, and be told of every file.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Fields, Float32Type, Float64Type, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use frazil_catalog::{ColumnType, FIELD_ID_KEY, Scalar, compare};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;

use super::columns::scalar_of;
use super::report::ColumnReport;

/// The columns that have values of their own, in the order in which Parquet numbers them.
pub(super) fn leaves(fields: &Fields) -> Vec<&FieldRef> {
    fn append<'a>(field: &'a FieldRef, found: &mut Vec<&'a FieldRef>) {
        match field.data_type() {
            DataType::List(inner) | DataType::Map(inner, _) => append(inner, found),
            DataType::Struct(fields) => fields.iter().for_each(|field| append(field, found)),
            _ => found.push(field),
        }
    }
    let mut found = Vec::with_capacity(fields.len());
    fields.iter().for_each(|field| append(field, &mut found));
    found
}

/// Marks the leaves in which there is a NaN. `nans` has a place for each.
pub(super) fn note_nans(batch: &RecordBatch, nans: &mut [bool]) {
    fn note(column: &ArrayRef, nans: &mut std::slice::IterMut<'_, bool>) {
        if let Some(list) = column.as_list_opt::<i32>() {
            note(list.values(), nans);
        } else if let Some(map) = column.as_map_opt() {
            map.entries().columns().iter().for_each(|part| note(part, nans));
        } else if let Some(parts) = column.as_struct_opt() {
            parts.columns().iter().for_each(|part| note(part, nans));
        } else if let Some(has_nan) = nans.next() {
            *has_nan = *has_nan || contains_nan(column);
        }
    }
    let mut nans = nans.iter_mut();
    batch.columns().iter().for_each(|column| note(column, &mut nans));
}

fn contains_nan(column: &ArrayRef) -> bool {
    if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        return floats.iter().flatten().any(f64::is_nan);
    }
    column.as_primitive_opt::<Float32Type>().is_some_and(|floats| floats.iter().flatten().any(f32::is_nan))
}

/// Of all leaves. `schema`: as the file has it.
pub(super) fn column_reports(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    nans: &[bool],
) -> Result<Vec<ColumnReport>> {
    let parquet = metadata.file_metadata().schema_descr();
    let groups = metadata.row_groups();
    let mut reports = Vec::with_capacity(nans.len());
    for (leaf, (field, has_nan)) in leaves(schema.fields()).into_iter().zip(nans).enumerate() {
        let Some(field_id) = field.metadata().get(FIELD_ID_KEY).and_then(|id| id.parse().ok()) else { continue };
        let converter = StatisticsConverter::from_column_index(leaf, field, parquet)?;
        // Places, where a list has no elements or a struct is null too.
        let places: i64 = groups.iter().map(|group| group.column(leaf).num_values()).sum();
        let nulls_of = |group: usize| {
            let nulls = groups[group].column(leaf).statistics().and_then(|statistics| statistics.null_count_opt());
            nulls.and_then(|nulls| i64::try_from(nulls).ok())
        };
        let nulls: Option<i64> = (0..groups.len()).map(nulls_of).sum();
        let Some(nulls) = nulls else { continue };
        let column_type = frazil_catalog::from_arrow(field).map_err(super::to_datafusion)?.column_type;
        let all_null = |group: usize| nulls_of(group) == Some(groups[group].column(leaf).num_values());
        let mins = converter.row_group_mins(groups)?;
        let maxes = converter.row_group_maxes(groups)?;
        reports.push(ColumnReport {
            field_id,
            size_bytes: groups.iter().map(|group| group.column(leaf).compressed_size()).sum(),
            nulls,
            values: places - nulls,
            min: extreme(&mins, &column_type, Ordering::Less, all_null)?,
            max: extreme(&maxes, &column_type, Ordering::Greater, all_null)?,
            contains_nan: is_float(field.data_type()).then_some(*has_nan),
        });
    }
    Ok(reports)
}

/// The least or greatest bound of all row groups, as the catalog's text; none where one of them has none.
fn extreme(
    bounds: &ArrayRef,
    column_type: &ColumnType,
    wanted: Ordering,
    all_null: impl Fn(usize) -> bool,
) -> Result<Option<String>> {
    let mut best: Option<Scalar> = None;
    for group in 0..bounds.len() {
        if bounds.is_null(group) {
            match all_null(group) {
                true => continue,
                false => return Ok(None),
            }
        }
        let Some(bound) = scalar_of(&ScalarValue::try_from_array(bounds, group)?) else { return Ok(None) };
        best = match best {
            Some(best) if compare(&bound, &best) != Some(wanted) => Some(best),
            _ => Some(bound),
        };
    }
    Ok(best.and_then(|best| best.to_text(column_type)))
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}
