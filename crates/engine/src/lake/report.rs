//! What writers tell of the files they have written: rows, so that they reach the coordinator as a query's answer does.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::error::Result;
use frazil_catalog::{ColumnId, NewColumnStatistics, NewDataFile, Place, Scalar, Table};
use frazil_common::Failure;
use serde::{Deserialize, Serialize};

/// One file; or none, of a writer that had no rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileReport {
    /// Below the table's location.
    pub path: String,
    pub rows: i64,
    pub size_bytes: i64,
    pub footer_bytes: i64,
    pub columns: Vec<ColumnReport>,
}

/// Statistics of a leaf column, bounds as the catalog's texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnReport {
    pub field_id: i64,
    pub size_bytes: i64,
    pub nulls: i64,
    pub values: i64,
    pub min: Option<String>,
    pub max: Option<String>,
    pub contains_nan: Option<bool>,
}

/// The column of reports on staged files, in writers' reports.
pub const STAGED: usize = 2;

/// `file`: a report as JSON, or null; `changed`: rows that the statement counts; `staged`: a report on a staged file, or null.
pub(super) fn report_schema() -> SchemaRef {
    let fields = [("file", DataType::Utf8, true), ("changed", DataType::Int64, false), ("staged", DataType::Utf8, true)];
    Arc::new(Schema::new(fields.map(|(name, kind, nullable)| Field::new(name, kind, nullable)).to_vec()))
}

pub(super) fn report_batch(files: &[FileReport], changed: i64, staged: Vec<String>) -> Result<RecordBatch> {
    let mut texts = Vec::with_capacity(files.len().max(staged.len()).max(1));
    for file in files {
        let text = serde_json::to_string(file);
        texts
            .push(Some(text.map_err(|e| frazil_exchange::to_datafusion(Failure::internal(format!("a report: {e}"))))?));
    }
    let rows = texts.len().max(staged.len()).max(1);
    texts.resize(rows, None);
    let mut staged: Vec<Option<String>> = staged.into_iter().map(Some).collect();
    staged.resize(rows, None);
    // The count is the writer's, not the file's.
    let counts: Vec<i64> = (0..rows).map(|index| if index == 0 { changed } else { 0 }).collect();
    let columns: [Arc<dyn Array>; 3] = [
        Arc::new(StringArray::from(texts)),
        Arc::new(Int64Array::from(counts)),
        Arc::new(StringArray::from(staged)),
    ];
    Ok(RecordBatch::try_new(report_schema(), columns.to_vec())?)
}

/// The files and counted rows of all writers.
pub fn read_reports(batches: &[RecordBatch]) -> Result<(Vec<FileReport>, i64), Failure> {
    let malformed = |why: &str| Failure::internal(format!("a writer's report does not decode: {why}"));
    let (mut files, mut changed) = (Vec::new(), 0);
    for batch in batches {
        let texts = batch.column(0).as_string_opt::<i32>().ok_or_else(|| malformed("no texts"))?;
        let counts = batch.column(1).as_primitive_opt::<Int64Type>().ok_or_else(|| malformed("no counts"))?;
        changed += counts.values().iter().sum::<i64>();
        for text in texts.iter().flatten() {
            files.push(serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?);
        }
    }
    Ok((files, changed))
}

impl FileReport {
    /// As the catalog takes it. Bounds that it does not understand are left out, and prune nothing.
    pub fn into_data_file(self, table: &Table) -> NewDataFile {
        let columns = self.columns.into_iter().filter_map(|column| {
            let id = ColumnId(column.field_id);
            let column_type = &table.column_by_id(id)?.column_type;
            let bound = |text: Option<String>| text.and_then(|text| Scalar::parse(column_type, &text));
            Some(NewColumnStatistics {
                column: id,
                size_bytes: Some(column.size_bytes),
                null_count: column.nulls,
                value_count: column.values,
                min: bound(column.min),
                max: bound(column.max),
                contains_nan: column.contains_nan,
            })
        });
        NewDataFile {
            path: Place::relative(self.path),
            record_count: self.rows,
            size_bytes: self.size_bytes,
            footer_size_bytes: Some(self.footer_bytes),
            columns: columns.collect(),
            row_id_start: None,
        }
    }
}
