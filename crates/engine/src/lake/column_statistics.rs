//! What is known of a table's columns: nulls and bounds by its files' statistics, distinct values by sketches.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use frazil_catalog::Scalar;

use super::table::LakeTable;
use super::to_datafusion;

/// `column_name`; `nulls`; `min_value` and `max_value`, which enclose all values, as text; about how many `distinct_values` there are. Null is
/// what is not known.
pub(super) fn schema() -> SchemaRef {
    let column = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        Field::new("column_name", DataType::Utf8, false),
        column("nulls", DataType::Int64),
        column("min_value", DataType::Utf8),
        column("max_value", DataType::Utf8),
        column("distinct_values", DataType::Int64),
    ]))
}

pub(super) async fn rows(table: &LakeTable) -> Result<RecordBatch> {
    let columns = &table.table.columns;
    let ids: Vec<_> = columns.iter().map(|column| column.id).collect();
    let known = table.seen.table_statistics(table.table.id, &ids).await.map_err(to_datafusion)?.columns;
    let distinct = table.seen.distinct_counts(table.table.id, &ids).await.map_err(to_datafusion)?;
    let bound = |of: fn(&frazil_catalog::ColumnStatistics) -> &Option<Scalar>| {
        let texts = columns.iter().zip(&known);
        texts.map(|(column, known)| of(known).as_ref()?.to_text(&column.column_type)).collect::<StringArray>()
    };
    let (least, greatest) = (bound(|known| &known.min), bound(|known| &known.max));
    let batch = RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from_iter_values(columns.iter().map(|column| &column.name))),
            Arc::new(known.iter().map(|known| known.null_count).collect::<Int64Array>()),
            Arc::new(least),
            Arc::new(greatest),
            Arc::new(distinct.iter().map(|count| count.and_then(|c| i64::try_from(c).ok())).collect::<Int64Array>()),
        ],
    );
    Ok(batch?)
}
