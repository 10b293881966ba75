//! Where a row is: in which data file, at which position. Statements that change rows read it beside a table's columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use frazil_catalog::SelectedFiles;
use parking_lot::Mutex;
use parquet::arrow::RowNumber;

/// The number of a row's data file in the catalog.
pub const FILE_COLUMN: &str = "__frazil_file";
/// The row's position in its file, deleted rows counted.
pub const ROW_COLUMN: &str = "__frazil_row";

/// A table's columns, then the file, which a split knows, then the row, which the reader counts.
pub(super) fn table_schema(columns: &SchemaRef) -> TableSchema {
    let file = Arc::new(Field::new(FILE_COLUMN, DataType::Int64, false));
    let row = Arc::new(Field::new(ROW_COLUMN, DataType::Int64, false).with_extension_type(RowNumber));
    TableSchema::builder(columns.clone()).with_table_partition_cols(vec![file]).with_virtual_columns(vec![row]).build()
}

pub(super) fn file_value(file: i64) -> ScalarValue {
    ScalarValue::Int64(Some(file))
}

pub(super) fn is_virtual(field: &Field) -> bool {
    field.extension_type_name().is_some_and(|name| name.starts_with("parquet.virtual."))
}

/// The files that a scan reads, known when it is planned.
#[derive(Clone, Default, Debug)]
pub struct ScannedFiles(Arc<Mutex<Option<SelectedFiles>>>);

impl ScannedFiles {
    pub(super) fn note(&self, files: &SelectedFiles) {
        *self.0.lock() = Some(files.clone());
    }

    /// None where nothing was planned.
    pub fn take(&self) -> Option<SelectedFiles> {
        self.0.lock().take()
    }
}

/// DataFusion's message of a scan has no columns that the reader makes: they travel as if splits knew them.
pub fn without_virtual_columns(config: &FileScanConfig) -> Result<FileScanConfig> {
    let schema = config.file_source().table_schema();
    if schema.virtual_columns().is_empty() {
        return Ok(config.clone());
    }
    let known = schema.table_partition_cols().iter().chain(schema.virtual_columns()).cloned().collect::<Vec<_>>();
    with_schema(config, TableSchema::builder(schema.file_schema().clone()).with_table_partition_cols(known).build())
}

/// The way back: they tell by their types what they are.
pub fn with_virtual_columns(config: &FileScanConfig) -> Result<FileScanConfig> {
    let schema = config.file_source().table_schema();
    let (made, known): (Vec<_>, Vec<_>) =
        schema.table_partition_cols().iter().cloned().partition(|field| is_virtual(field));
    if made.is_empty() {
        return Ok(config.clone());
    }
    let schema = TableSchema::builder(schema.file_schema().clone()).with_table_partition_cols(known);
    with_schema(config, schema.with_virtual_columns(made).build())
}

/// The same scan over a schema whose columns have the same places.
fn with_schema(config: &FileScanConfig, schema: TableSchema) -> Result<FileScanConfig> {
    let Some(source) = config.file_source().downcast_ref::<ParquetSource>() else { return Ok(config.clone()) };
    let mut changed = ParquetSource::new(schema).with_table_parquet_options(source.table_parquet_options().clone());
    if let Some(readers) = source.parquet_file_reader_factory() {
        changed = changed.with_parquet_file_reader_factory(readers.clone());
    }
    if let Some(predicate) = source.filter() {
        changed = changed.with_predicate(predicate);
    }
    let mut changed: Arc<dyn FileSource> = Arc::new(changed);
    if let Some(projection) = source.projection() {
        changed = changed.try_pushdown_projection(projection)?.unwrap_or(changed);
    }
    Ok(FileScanConfigBuilder::from(config.clone()).with_source(changed).build())
}
