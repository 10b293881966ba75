//! What writers tell of the files they have written: rows, so that they reach the coordinator as a query's answer does.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use frazil_catalog::{
    ColumnId, DataFileId, NewColumnStatistics, NewDataFile, NewDeleteFile, NewSketches, Place, Scalar, Sketch, Table,
};
use frazil_common::Failure;
use serde::{Deserialize, Serialize};

use crate::stages::StagedReport;

/// One thing that a writer tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// A data file with rows of the statement's.
    Written(FileReport),
    /// Rows that a statement over rows of the table has written.
    Counted { inserted: i64, updated: i64 },
    /// Rows of a data file that are gone.
    Deleted(DeleteReport),
    /// Distinct values of what a writer has written.
    Sketched(SketchReport),
    /// What became of a staged file that was read.
    Staged(StagedReport),
}

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

/// Sketches of the columns of so many rows, by field id, as the catalog's texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SketchReport {
    pub rows: i64,
    pub columns: BTreeMap<i64, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteReport {
    /// Its number in the catalog.
    pub data_file: i64,
    /// Rows that the statement has deleted.
    pub rows: i64,
    /// The file that names them and those that were deleted before. Without one no row of the data file is left, or what is left
    /// was written anew and is in reports of its own.
    pub delete_file: Option<DeleteFileReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteFileReport {
    /// Below the table's location.
    pub path: String,
    /// Positions in it.
    pub rows: i64,
    pub size_bytes: i64,
    pub footer_bytes: i64,
}

/// `report`: as JSON.
pub(super) fn report_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(REPORT_COLUMN, DataType::Utf8, true)]))
}

pub(super) const REPORT_COLUMN: &str = "report";

pub(super) fn report_texts(reports: &[Report]) -> Result<StringArray> {
    let text = |report| serde_json::to_string(report).map(Some);
    let texts = reports.iter().map(text).collect::<serde_json::Result<Vec<_>>>();
    let texts = texts.map_err(|e| frazil_exchange::to_datafusion(Failure::internal(format!("a report: {e}"))))?;
    Ok(StringArray::from(texts))
}

pub(super) fn report_batch(reports: &[Report]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(report_schema(), vec![Arc::new(report_texts(reports)?)])?)
}

/// What all writers tell.
pub fn read_reports(batches: &[RecordBatch]) -> Result<Vec<Report>, Failure> {
    let malformed = |why: &str| Failure::internal(format!("a writer's report does not decode: {why}"));
    let mut reports = Vec::new();
    for batch in batches {
        let texts = batch.column(0).as_string_opt::<i32>().ok_or_else(|| malformed("no texts"))?;
        for text in texts.iter().flatten() {
            reports.push(serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?);
        }
    }
    Ok(reports)
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

impl SketchReport {
    /// As the catalog takes it. Sketches that it does not understand, and those of columns that are gone, are left out.
    pub fn into_sketches(self, table: &Table) -> NewSketches {
        let columns = self.columns.into_iter().map(|(id, text)| (ColumnId(id), text));
        let columns = columns.filter(|(id, _)| table.column_by_id(*id).is_some());
        let columns = columns.filter_map(|(id, text)| Some((id, Sketch::from_text(&text)?)));
        NewSketches { rows: self.rows, columns: columns.collect() }
    }
}

impl DeleteFileReport {
    pub fn into_delete_file(self, data_file: DataFileId) -> NewDeleteFile {
        NewDeleteFile {
            data_file,
            path: Place::relative(self.path),
            delete_count: self.rows,
            size_bytes: self.size_bytes,
            footer_size_bytes: Some(self.footer_bytes),
        }
    }
}
