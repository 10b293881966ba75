//! Writes a query's rows into Parquet files of a table, a partition at a time, and tells what it has written.
//!
//! Files get names that nobody else has, so that a try that failed leaves files that nobody refers to, and never a wrong table.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use frazil_common::{ErrorCode, Failure};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::AsyncArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::encodings::writer_properties;
use super::file_statistics::{column_reports, leaves, note_nans};
use super::nested_types::{stored_schema, with_type};
use super::report::{FileReport, Report, report_batch, report_schema};
use super::sketches::ColumnSketches;
use super::table::{local_path, store_path, store_url};
use super::upload::{Begun, ObjectFile, writing};
use crate::metrics;
use crate::per_partition::{PartitionWork, PerPartitionExec, Place};
use crate::stages::REPORT_COLUMN;

/// Each row group begins its dictionaries anew, and finds out anew which columns are not worth one: of DuckDB's 122,880 rows
/// that was a quarter of a writer's time, and 14 % of the file. Pages (20,000 rows) are what small reads skip by.
const ROW_GROUP_ROWS: usize = 512 << 10;
/// A row group is ended before where rows are wide: when it has so many encoded bytes,
const ROW_GROUP_BYTES: usize = 64 << 20;
/// or its writer so many in memory, dictionaries and open pages of all columns included.
const ROW_GROUP_MEMORY: usize = 160 << 20;
/// Of a batch that is encoded at once: a page is ended between such slices only.
const SLICE_BYTES: usize = 8 << 20;

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteTarget {
    /// The table's name, for messages.
    pub table: String,
    /// Its directory or URL, with a `/` at the end.
    pub location: String,
    /// A file is closed when it has so many bytes,
    pub file_bytes: u64,
    /// or so many rows.
    pub file_rows: u64,
}

/// Writes its input's rows. The input's columns are the table's, in its order, of its types.
pub type WriteFilesExec = PerPartitionExec<WriteFiles>;

#[derive(Clone, Debug)]
pub struct WriteFiles {
    pub target: WriteTarget,
    /// The table's, with field ids.
    pub table_schema: SchemaRef,
}

impl WriteFilesExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, target: WriteTarget, table_schema: SchemaRef) -> Self {
        Self::of(input, WriteFiles { target, table_schema })
    }
}

impl PartitionWork for WriteFiles {
    const NAME: &'static str = "WriteFilesExec";
    const EMISSION: EmissionType = EmissionType::Final;

    fn schema(&self, _: &SchemaRef) -> SchemaRef {
        report_schema()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: table={}", Self::NAME, self.target.table)
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream> {
        let rows = place.rows()?;
        // The last column of staged rows reports on their files: rows with a report have no data.
        let staged = rows.schema().fields().last().is_some_and(|field| field.name() == REPORT_COLUMN);
        let writer = PartitionWriter::at(&place, Self::NAME, self.target.clone(), &self.table_schema)?
            .counted(place.metrics, place.partition);
        let report = futures::stream::once(writer.write_all(rows, staged));
        Ok(Box::pin(RecordBatchStreamAdapter::new(report_schema(), report)))
    }
}

/// Writes files one after another.
pub(super) struct PartitionWriter {
    target: WriteTarget,
    /// As files have it.
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    reservation: MemoryReservation,
    begun: Begun,
    open: Option<OpenFile>,
    written: Vec<Report>,
    sketches: ColumnSketches,
    rows_written: Count,
    bytes_written: Count,
}

struct OpenFile {
    name: String,
    writer: AsyncArrowWriter<ObjectFile>,
    bytes_under_way: Arc<AtomicUsize>,
    /// By leaf: whether a NaN was among its values.
    nans: Vec<bool>,
    rows: u64,
    /// Bytes of it that are counted in the operator's metrics.
    counted: usize,
}

impl PartitionWriter {
    /// `table_schema`: as plans have it.
    pub(super) fn new(
        target: WriteTarget,
        table_schema: &SchemaRef,
        store: Arc<dyn ObjectStore>,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let schema = stored_schema(table_schema)?;
        let (rows_written, bytes_written) = (Count::new(), Count::new());
        let (open, written, begun) = (None, Vec::new(), Begun::new(store.clone()));
        let sketches = ColumnSketches::new(&schema);
        Ok(Self { target, schema, store, reservation, begun, open, written, sketches, rows_written, bytes_written })
    }

    /// For an operator's partition.
    pub(super) fn at(place: &Place<'_>, operator: &str, target: WriteTarget, table_schema: &SchemaRef) -> Result<Self> {
        let context = &place.context;
        let store = context.runtime_env().object_store(store_url(&target.location)?)?;
        let reservation = MemoryConsumer::new(format!("{operator}[{}]", place.partition));
        Self::new(target, table_schema, store, reservation.register(context.memory_pool()))
    }

    /// Its rows and bytes are among an operator's metrics.
    pub(super) fn counted(mut self, metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        self.rows_written = MetricBuilder::new(metrics).counter(metrics::ROWS_WRITTEN, partition);
        self.bytes_written = MetricBuilder::new(metrics).counter(metrics::BYTES_WRITTEN, partition);
        self
    }

    /// `staged`: the last column reports on staged files, in rows that have no data.
    async fn write_all(mut self, mut rows: SendableRecordBatchStream, staged: bool) -> Result<RecordBatch> {
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            match batch.columns().split_last() {
                Some((report, data)) if staged => {
                    let reports =
                        report.as_string_opt::<i32>().ok_or_else(|| internal("staged rows have no reports"))?;
                    match reports.null_count() == reports.len() {
                        true => self.write(data).await?,
                        false => reports.iter().flatten().try_for_each(|text| self.pass_on(text))?,
                    }
                }
                _ => self.write(batch.columns()).await?,
            }
        }
        let report = report_batch(&self.finish().await?)?;
        self.keep();
        Ok(report)
    }

    /// Whoever has the reports knows the files. Until then they go with the writer.
    pub(super) fn keep(&mut self) -> Vec<Path> {
        self.begun.take()
    }

    fn pass_on(&mut self, report: &str) -> Result<()> {
        let report =
            serde_json::from_str(report).map_err(|error| internal(&format!("a report does not decode: {error}")))?;
        self.written.push(Report::Staged(report));
        Ok(())
    }

    /// Ends the last file. Returns what was written.
    pub(super) async fn finish(&mut self) -> Result<Vec<Report>> {
        self.close().await?;
        self.written.extend(self.sketches.report().map(Report::Sketched));
        Ok(std::mem::take(&mut self.written))
    }

    /// The table's columns, as long as each other.
    pub(super) async fn write(&mut self, columns: &[Arc<dyn Array>]) -> Result<()> {
        if columns.first().is_none_or(|column| column.is_empty()) {
            return Ok(());
        }
        let batch = self.as_stored(columns)?;
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.create(&batch)?,
        };
        note_nans(&batch, &mut file.nans);
        self.sketches.add(&batch);
        for slice in slices(&batch) {
            file.writer.write(&slice).await.map_err(|error| self.named(error))?;
            if file.writer.in_progress_size() > ROW_GROUP_BYTES || file.writer.memory_size() > ROW_GROUP_MEMORY {
                file.writer.flush().await.map_err(|error| self.named(error))?;
            }
            self.reserve(&mut file).await?;
        }
        self.rows_written.add(batch.num_rows());
        self.count_bytes(&mut file);
        let bytes = file.writer.bytes_written() + file.writer.in_progress_size();
        file.rows += batch.num_rows() as u64;
        let full = bytes as u64 >= self.target.file_bytes || file.rows >= self.target.file_rows;
        self.open = Some(file);
        if full {
            self.close().await?;
        }
        Ok(())
    }

    /// Counts what the file has in memory. Where others have it all, the row group is ended early, and only then the
    /// statement fails.
    async fn reserve(&mut self, file: &mut OpenFile) -> Result<()> {
        let held = |file: &OpenFile| file.writer.memory_size() + file.bytes_under_way.load(Ordering::Relaxed);
        if self.reservation.try_resize(held(file)).is_ok() {
            return Ok(());
        }
        file.writer.flush().await.map_err(|error| self.named(error))?;
        self.reservation.try_resize(held(file))
    }

    fn count_bytes(&self, file: &mut OpenFile) {
        let bytes = file.writer.bytes_written();
        self.bytes_written.add(bytes.saturating_sub(file.counted));
        file.counted = bytes;
    }

    /// Under the table's names and field ids; a null where none may be is the statement's error.
    fn as_stored(&self, columns: &[Arc<dyn Array>]) -> Result<RecordBatch> {
        let mut stored = Vec::with_capacity(columns.len());
        for (field, column) in self.schema.fields().iter().zip(columns) {
            stored.push(match field.data_type().is_nested() {
                true => with_type(column, field.data_type(), field.name())?,
                false => column.clone(),
            });
            if !field.is_nullable() && column.null_count() > 0 {
                let message = format!("column \"{}\" of table \"{}\" may not be null", field.name(), self.target.table);
                return Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::NotNullViolation, message)));
            }
        }
        Ok(RecordBatch::try_new(self.schema.clone(), stored)?)
    }

    fn named(&self, error: ParquetError) -> DataFusionError {
        writing(error, &self.target.table)
    }

    fn create(&mut self, first: &RecordBatch) -> Result<OpenFile> {
        let name = format!("frazil-{}.parquet", Uuid::now_v7());
        let path = store_path(&format!("{}{name}", self.target.location))?;
        let properties = writer_properties(&self.schema, first, ROW_GROUP_ROWS)?;
        // Types come from Parquet's own annotations, so that every reader sees the same.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let local = local_path(&format!("{}{name}", self.target.location));
        self.begun.add(path.clone());
        frazil_common::failpoint::reach("file.begun");
        let object = ObjectFile::create(self.store.clone(), path, local);
        let bytes_under_way = object.bytes_under_way();
        let writer = AsyncArrowWriter::try_new_with_options(object, self.schema.clone(), options)?;
        Ok(OpenFile {
            name,
            writer,
            bytes_under_way,
            nans: vec![false; leaves(self.schema.fields()).len()],
            rows: 0,
            counted: 0,
        })
    }

    async fn close(&mut self) -> Result<()> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        let metadata = file.writer.finish().await.map_err(|error| self.named(error))?;
        self.count_bytes(&mut file);
        let size = file.writer.bytes_written();
        self.reservation.free();
        let footer = footer_bytes(&metadata, size);
        self.written.push(Report::Written(FileReport {
            path: file.name,
            rows: metadata.file_metadata().num_rows(),
            size_bytes: size as i64,
            footer_bytes: footer,
            columns: column_reports(&metadata, &self.schema, &file.nans)?,
        }));
        Ok(())
    }
}

/// A batch in pieces of at most [`SLICE_BYTES`], or of one row. A batch that is itself a piece of a larger one is taken for as
/// large as that, and cut smaller than it need be.
fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + '_ {
    let (rows, bytes) = (batch.num_rows(), batch.get_array_memory_size());
    let rows_of_slice = (rows * SLICE_BYTES / bytes.max(1)).clamp(1, rows.max(1));
    // Small batches stay whole: cutting off a few last rows gains nothing.
    let rows_of_slice = if bytes <= 2 * SLICE_BYTES { rows.max(1) } else { rows_of_slice };
    (0..rows).step_by(rows_of_slice).map(move |start| batch.slice(start, rows_of_slice.min(rows - start)))
}

/// From the end of the last thing before it: what a reader should fetch to have the footer at once.
pub(super) fn footer_bytes(metadata: &ParquetMetaData, size: usize) -> i64 {
    let ends = metadata.row_groups().iter().flat_map(|group| group.columns()).map(|column| {
        let (start, length) = column.byte_range();
        let data = start + length;
        let index = |offset: Option<i64>, length: Option<i32>| {
            offset
                .zip(length)
                .map_or(0, |(offset, length)| u64::try_from(offset).unwrap_or(0) + length.unsigned_abs() as u64)
        };
        data.max(index(column.column_index_offset(), column.column_index_length()))
            .max(index(column.offset_index_offset(), column.offset_index_length()))
    });
    let end = ends.max().unwrap_or(4);
    (size as i64 - end as i64 - 8).max(0)
}

fn internal(message: &str) -> DataFusionError {
    frazil_exchange::to_datafusion(Failure::internal(message))
}
