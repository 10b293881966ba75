//! Types of nested columns: as plans have them, and as files do.
//!
//! Arrow takes two types for different whose parts differ in metadata, or in whether they may be null. Constants, casts and functions
//! make types whose parts have no metadata and may be null, so the columns of tables are planned with such types. What the catalog
//! says of the parts (field ids, extension types) is kept beside the type, in the column's own metadata, and is put back where rows
//! become a file, or come from one. Whether a part may be null is not: no statement can declare that it may not, and DuckDB says so of
//! fields that it adds to structs, which are null in all rows that are there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use frazil_common::Failure;

/// The metadata key of a nested column's parts, depth first, as JSON.
const PARTS_KEY: &str = "FRAZIL:parts";

type PartMetadata = BTreeMap<String, String>;

/// The column as plans have it, from one as files do.
pub(super) fn as_planned(field: Field) -> Field {
    if !field.data_type().is_nested() {
        return field;
    }
    let mut parts = Vec::new();
    let planned = map_parts(field.data_type(), false, &mut |part| {
        let metadata = part.metadata().iter().map(|(key, value)| (key.clone(), value.clone()));
        parts.push(metadata.collect::<PartMetadata>());
        Ok(part.with_metadata(HashMap::new()).with_nullable(true))
    });
    let planned = planned.expect("no part is refused");
    let parts = serde_json::to_string(&parts).expect("texts are JSON");
    let mut metadata = field.metadata().clone();
    metadata.insert(PARTS_KEY.to_owned(), parts);
    field.with_data_type(planned).with_metadata(metadata)
}

/// The way back.
pub(super) fn as_stored(field: &Field) -> Result<Field> {
    let mut metadata = field.metadata().clone();
    let Some(parts) = metadata.remove(PARTS_KEY) else { return Ok(field.clone()) };
    let parts: Vec<PartMetadata> = serde_json::from_str(&parts).map_err(|error| internal(format!("parts: {error}")))?;
    let mut parts = parts.into_iter();
    let stored = map_parts(field.data_type(), false, &mut |field| {
        let part = parts.next().ok_or_else(|| internal("a nested column has more parts than are told"))?;
        Ok(field.with_metadata(part.into_iter().collect()))
    })?;
    Ok(field.clone().with_data_type(stored).with_metadata(metadata))
}

pub(super) fn stored_schema(planned: &Schema) -> Result<SchemaRef> {
    let fields = planned.fields().iter().map(|field| as_stored(field)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new_with_metadata(fields, planned.metadata().clone())))
}

/// The type with other parts, depth first, a part before those within it. The entries of a map and their keys are never null.
fn map_parts(
    data_type: &DataType,
    entries_of_map: bool,
    change: &mut dyn FnMut(Field) -> Result<Field>,
) -> Result<DataType> {
    let mut inner = |field: &FieldRef, required: bool, entries: bool| -> Result<FieldRef> {
        let changed = change(field.as_ref().clone())?;
        let changed = if required { changed.with_nullable(false) } else { changed };
        let data_type = map_parts(changed.data_type(), entries, change)?;
        Ok(Arc::new(changed.with_data_type(data_type)))
    };
    Ok(match data_type {
        DataType::List(element) => DataType::List(inner(element, false, false)?),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries, true, true)?, *sorted),
        DataType::Struct(fields) => {
            let fields = fields.iter().enumerate();
            let fields = fields.map(|(place, field)| inner(field, entries_of_map && place == 0, false));
            DataType::Struct(fields.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

/// The array under a type of the same shape, whose parts have other metadata. `name` is the column's.
pub(super) fn with_type(array: &ArrayRef, data_type: &DataType, name: &str) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    Ok(match data_type {
        DataType::List(element) if matches!(array.data_type(), DataType::List(_)) => {
            let list = array.as_list::<i32>();
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let values = with_type(list.values(), element.data_type(), name)?;
            Arc::new(ListArray::try_new(element.clone(), offsets, values, nulls)?)
        }
        DataType::Map(entries, sorted) if matches!(array.data_type(), DataType::Map(..)) => {
            let map = array.as_map();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let inner: ArrayRef = Arc::new(map.entries().clone());
            let inner = with_type(&inner, entries.data_type(), name)?.as_struct().clone();
            Arc::new(MapArray::try_new(entries.clone(), offsets, inner, nulls, *sorted)?)
        }
        DataType::Struct(fields) if has_columns(array, fields.len()) => {
            let parts = array.as_struct();
            let columns = fields.iter().zip(parts.columns());
            let columns = columns.map(|(field, column)| with_type(column, field.data_type(), name));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            // Without fields only the array knows how long it is.
            let length = parts.len();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, parts.nulls().cloned(), length)?)
        }
        other => return Err(internal(format!("column \"{name}\" is {}, and not {other}", array.data_type()))),
    })
}

/// The array as the wanted type. Fields of structs are those of the same name; `named` has the names of the array's, and those that
/// it does not have are null.
pub(super) fn with_fields_of(array: &ArrayRef, named: &DataType, wanted: &DataType) -> Result<ArrayRef> {
    Ok(match (named, wanted) {
        (DataType::List(named), DataType::List(wanted)) => {
            let list = array.as_list::<i32>();
            let values = with_fields_of(list.values(), named.data_type(), wanted.data_type())?;
            Arc::new(ListArray::try_new(wanted.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (DataType::Map(named, _), DataType::Map(wanted, sorted)) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let (DataType::Struct(parts), DataType::Struct(wanted_parts)) = (named.data_type(), wanted.data_type())
            else {
                return Err(internal("a map without entries"));
            };
            // Key and value, whatever they are called.
            let columns = entries.as_struct().columns().iter().zip(parts).zip(wanted_parts);
            let columns =
                columns.map(|((column, part), wanted)| with_fields_of(column, part.data_type(), wanted.data_type()));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let entries = StructArray::try_new(wanted_parts.clone(), columns, None)?;
            Arc::new(MapArray::try_new(wanted.clone(), map.offsets().clone(), entries, map.nulls().cloned(), *sorted)?)
        }
        (DataType::Struct(named), DataType::Struct(wanted)) => {
            let parts = array.as_struct();
            let columns =
                wanted.iter().map(|field| match named.iter().position(|named| named.name() == field.name()) {
                    Some(place) => with_fields_of(parts.column(place), named[place].data_type(), field.data_type()),
                    None => Ok(new_null_array(field.data_type(), parts.len())),
                });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let (nulls, length) = (parts.nulls().cloned(), parts.len());
            Arc::new(StructArray::try_new_with_length(wanted.clone(), columns, nulls, length)?)
        }
        _ => cast_with_options(array, wanted, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}

fn has_columns(array: &ArrayRef, columns: usize) -> bool {
    array.as_struct_opt().is_some_and(|array| array.num_columns() == columns)
}

fn internal(message: impl Into<String>) -> DataFusionError {
    frazil_exchange::to_datafusion(Failure::internal(message.into()))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn id(field: Field, id: &str) -> Field {
        field.with_metadata([("PARQUET:field_id".to_owned(), id.to_owned())].into())
    }

    fn stored() -> Field {
        let x = id(Field::new("x", DataType::Int64, true), "4");
        let pair = id(Field::new("element", DataType::Struct(vec![x].into()), true), "3");
        let key = id(Field::new("key", DataType::Utf8, false), "2");
        let value = id(Field::new("value", DataType::List(Arc::new(pair)), true), "5");
        let entries = Field::new("key_value", DataType::Struct(vec![key, value].into()), false);
        id(Field::new("m", DataType::Map(Arc::new(entries), false), true), "1")
    }

    #[test]
    fn types_survive_both_ways() {
        let planned = as_planned(stored());
        let mut names = Vec::new();
        map_parts(planned.data_type(), false, &mut |part| {
            assert!(part.metadata().is_empty(), "{part}");
            names.push((part.name().clone(), part.is_nullable()));
            Ok(part)
        })
        .unwrap();
        let expected = [("key_value", false), ("key", false), ("value", true), ("element", true), ("x", true)];
        assert_eq!(names, expected.map(|(name, nullable)| (name.to_owned(), nullable)));
        assert_eq!(as_stored(&planned).unwrap(), stored());
    }

    #[test]
    fn arrays_get_the_types_of_files() {
        let stored =
            Field::new("s", DataType::Struct(vec![id(Field::new("x", DataType::Int64, true), "2")].into()), true);
        let planned = as_planned(stored.clone());
        let DataType::Struct(fields) = planned.data_type() else { panic!("a struct") };
        let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let array: ArrayRef =
            Arc::new(StructArray::new(fields.clone(), vec![x.clone()], Some(vec![true, false, true].into())));
        let typed = with_type(&array.slice(1, 2), stored.data_type(), "s").unwrap();
        assert_eq!(typed.data_type(), stored.data_type());
        assert_eq!(typed.as_struct().column(0), &x.slice(1, 2));
        assert!(with_type(&x, stored.data_type(), "s").is_err());
    }

    #[test]
    fn fields_are_found_by_their_names() {
        let fields = |names: &[&str]| {
            DataType::Struct(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect())
        };
        let x: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let DataType::Struct(own) = fields(&["old", "gone"]) else { panic!("a struct") };
        let array: ArrayRef = Arc::new(StructArray::new(own, vec![x.clone(), x.clone()], None));
        let wanted = fields(&["added", "renamed"]);
        let found = with_fields_of(&array, &fields(&["renamed", "\u{0}1"]), &wanted).unwrap();
        assert_eq!(found.data_type(), &wanted);
        assert_eq!(found.as_struct().column(0).null_count(), 2);
        assert_eq!(found.as_struct().column(1), &x);
    }
}
