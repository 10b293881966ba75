//! `COPY INTO @stage`: rows of a query to files, each partition its own.
//!
//! ```text
//!  executors     each partition writes <stage>/.frazil-unload-<id>/<name nobody else has>, and reports its files
//!  coordinator   all reported: the files get their names in the stage; anything failed: the directory is removed
//! ```
//!
//! Listings leave such directories out, so files are seen only when all rows are written. The files of a try that was lost stay in
//! the directory, and go with it.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use frazil_catalog::Privilege;
use frazil_common::{ErrorCode, Failure};
use frazil_exchange::memory::own_bytes;
use frazil_exchange::to_datafusion;
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::format::{Compression, FileFormat, FileKind, not_supported};
use super::place::{Context, StagedPlace, UNFINISHED, check_path, leads_out, unavailable};
use super::rows::{batch, numbers};
use super::statement::CopyIntoPlace;
use super::unload_file::OpenFile;
use crate::lake::{store_path, store_url};
use crate::metrics::{BYTES_WRITTEN, ROWS_WRITTEN};
use crate::per_partition::{PartitionWork, PerPartitionExec, Place};

/// Snowflake's default of `MAX_FILE_SIZE`.
const FILE_BYTES: u64 = 16 << 20;

/// Where rows go. It travels to executors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnloadTarget {
    /// Of the files before they have their names, with a `/` at the end.
    pub directory: String,
    pub format: FileFormat,
    /// Names of columns come first, in CSV.
    pub header: bool,
    /// A file is closed when it has so many bytes; `None`: there is one file.
    pub file_bytes: Option<u64>,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UnloadReport {
    /// In the directory.
    name: String,
    /// The partition that wrote it, and the number among its files.
    writer: Uuid,
    number: u32,
    rows: u64,
    /// In memory, and in the file.
    input_bytes: u64,
    output_bytes: u64,
}

/// Writes its input's rows.
pub type UnloadExec = PerPartitionExec<UnloadRows>;

#[derive(Clone, Debug)]
pub struct UnloadRows {
    pub target: UnloadTarget,
}

impl UnloadExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, target: UnloadTarget) -> Self {
        Self::of(input, UnloadRows { target })
    }
}

impl PartitionWork for UnloadRows {
    const NAME: &'static str = "UnloadExec";
    const EMISSION: EmissionType = EmissionType::Final;

    fn schema(&self, _: &SchemaRef) -> SchemaRef {
        report_schema()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: format={}", Self::NAME, self.target.format.kind.name())
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream> {
        let store = place.context.runtime_env().object_store(store_url(&self.target.directory)?)?;
        let counters = Counters::new(place.metrics, place.partition);
        let report = futures::stream::once(write_all(self.target.clone(), store, place.rows()?, counters));
        Ok(Box::pin(RecordBatchStreamAdapter::new(report_schema(), report)))
    }
}

fn report_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("file", DataType::Utf8, false)]))
}

/// Of one partition, for whoever watches.
struct Counters {
    rows: Count,
    bytes: Count,
}

impl Counters {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self { rows: counter(ROWS_WRITTEN), bytes: counter(BYTES_WRITTEN) }
    }
}

async fn write_all(
    target: UnloadTarget,
    store: Arc<dyn ObjectStore>,
    mut rows: SendableRecordBatchStream,
    counters: Counters,
) -> Result<RecordBatch> {
    let writer = Uuid::now_v7();
    let mut reports: Vec<UnloadReport> = Vec::new();
    let mut open: Option<(OpenFile, UnloadReport)> = None;
    let schema = rows.schema();
    // One file is there also when there are no rows.
    let mut first = target.file_bytes.is_none();
    loop {
        let next = rows.next().await.transpose()?;
        let ended = next.is_none();
        if let Some(batch) = next.filter(|batch| batch.num_rows() > 0).or_else(|| {
            let none = ended && std::mem::take(&mut first);
            none.then(|| RecordBatch::new_empty(schema.clone()))
        }) {
            first = false;
            let (file, report) = match &mut open {
                Some(open) => open,
                None => {
                    let number = reports.len() as u32;
                    let name = format!("{writer}-{number}");
                    let path = store_path(&format!("{}{name}", target.directory))?;
                    let file = OpenFile::create(&target, store.clone(), path, &schema)?;
                    let report = UnloadReport { name, writer, number, rows: 0, input_bytes: 0, output_bytes: 0 };
                    open.insert((file, report))
                }
            };
            file.write(&batch).await?;
            counters.rows.add(batch.num_rows());
            report.rows += batch.num_rows() as u64;
            report.input_bytes += own_bytes(&batch) as u64;
            if target.file_bytes.is_none_or(|most| file.bytes() < most) {
                continue;
            }
        } else if !ended {
            continue;
        }
        if let Some((file, mut report)) = open.take() {
            report.output_bytes = file.close().await?;
            counters.bytes.add(usize::try_from(report.output_bytes).unwrap_or(usize::MAX));
            reports.push(report);
        }
        if ended {
            break;
        }
    }
    let texts = reports.iter().map(|report| serde_json::to_string(report).map(Some));
    let texts: serde_json::Result<StringArray> = texts.collect();
    let texts = texts.map_err(|error| to_datafusion(Failure::internal(format!("a report: {error}"))))?;
    Ok(RecordBatch::try_new(report_schema(), vec![Arc::new(texts) as ArrayRef])?)
}

/// An unload, from the plan to the answer.
pub struct Unload {
    place: StagedPlace,
    target: UnloadTarget,
    /// Below the stage's root.
    directory: String,
    overwrite: bool,
}

impl Unload {
    /// Where the rows of the statement's query go.
    pub async fn new(context: &Context<'_>, copy: &CopyIntoPlace) -> Result<Self, Failure> {
        let place = context.resolve(&copy.to, Privilege::Write).await?;
        let format = copy.format.clone().unwrap_or_else(|| place.format.clone());
        let file_bytes = (!copy.single).then(|| copy.file_bytes_max.unwrap_or(FILE_BYTES).max(1));
        if copy.single && copy.file_bytes_max.is_some() {
            return Err(not_supported("MAX_FILE_SIZE with SINGLE = TRUE"));
        }
        if place.is_local() {
            let root = FilePath::new(&place.root);
            if let Ok(real) = root.canonicalize() {
                leads_out(&real, &root.join(&place.path), &place.shown(&place.path))?;
            }
        }
        if !copy.overwrite && !place.list(None).await?.is_empty() {
            let shown = place.shown(&place.path);
            let message =
                format!("there are files at \"{shown}\" already: name another place, or use OVERWRITE = TRUE");
            return Err(Failure::new(ErrorCode::DuplicateObject, message));
        }
        let directory = format!("{UNFINISHED}unload-{}/", Uuid::now_v7().simple());
        let target =
            UnloadTarget { directory: format!("{}{directory}", place.root), format, header: copy.header, file_bytes };
        Ok(Self { place, target, directory, overwrite: copy.overwrite })
    }

    /// The plan that writes what the query gives.
    pub fn over(&self, query: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, Failure> {
        if self.target.format.kind == FileKind::Csv
            && let Some(field) = query.schema().fields().iter().find(|field| field.data_type().is_nested())
        {
            return Err(not_supported(&format!("column \"{}\", which has parts, in a CSV file", field.name())));
        }
        let one = self.target.file_bytes.is_none() && query.output_partitioning().partition_count() > 1;
        let query = if one { Arc::new(CoalescePartitionsExec::new(query)) } else { query };
        Ok(Arc::new(UnloadExec::new(query, self.target.clone())))
    }

    /// Gives the files their names. Returns the row that counts.
    pub async fn finish(&self, rows: &[RecordBatch]) -> Result<RecordBatch, Failure> {
        let finished = self.name_files(rows).await;
        self.clean_up().await;
        finished
    }

    async fn name_files(&self, rows: &[RecordBatch]) -> Result<RecordBatch, Failure> {
        let mut reports = read(rows)?;
        reports.sort_by_key(|report| (report.writer, report.number));
        let mut named: Vec<String> = Vec::with_capacity(reports.len());
        let (mut partition, mut last) = (0, None);
        for report in &reports {
            if last.is_some_and(|last| last != report.writer) {
                partition += 1;
            }
            last = Some(report.writer);
            let name = self.final_name(partition, report.number);
            if let Err(failure) = self.rename(&report.name, &name).await {
                // All or none.
                for name in named.iter().filter(|_| !self.overwrite) {
                    if let Ok(path) = self.place.object_path(name) {
                        let _ = self.place.store.delete(&path).await;
                    }
                }
                return Err(failure);
            }
            named.push(name);
        }
        let sum = |part: fn(&UnloadReport) -> u64| i64::try_from(reports.iter().map(part).sum::<u64>()).ok();
        batch(vec![
            ("rows_unloaded", numbers([sum(|report| report.rows)])),
            ("input_bytes", numbers([sum(|report| report.input_bytes)])),
            ("output_bytes", numbers([sum(|report| report.output_bytes)])),
        ])
    }

    fn final_name(&self, partition: usize, number: u32) -> String {
        let path = &self.place.path;
        let is_directory = path.is_empty() || path.ends_with('/');
        let extension = self.target.extension();
        match (self.target.file_bytes, is_directory) {
            (None, true) => format!("{path}data.{extension}"),
            // As it was given.
            (None, false) => path.clone(),
            (Some(_), true) => format!("{path}data_{partition}_{number}.{extension}"),
            (Some(_), false) => format!("{path}_{partition}_{number}.{extension}"),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        check_path(to)?;
        let shown = self.place.shown(to);
        let from = self.place.object_path(&format!("{}{from}", self.directory))?;
        let to = self.place.object_path(to)?;
        let renamed = match self.overwrite {
            true => self.place.store.rename(&from, &to).await,
            // Where a store cannot tell, the listing before has.
            false => match self.place.store.rename_if_not_exists(&from, &to).await {
                Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                    self.place.store.rename(&from, &to).await
                }
                renamed => renamed,
            },
        };
        match renamed {
            Ok(()) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let message = format!("file \"{shown}\" has come meanwhile");
                Err(Failure::new(ErrorCode::Conflict, message))
            }
            Err(error) => Err(unavailable(&shown, &error)),
        }
    }

    /// Removes what has no name: of tries that were lost, or of an unload that failed.
    pub async fn clean_up(&self) {
        let Ok(directory) = self.place.object_path(self.directory.trim_end_matches('/')) else { return };
        let mut listing = self.place.store.list(Some(&directory));
        while let Some(Ok(meta)) = listing.next().await {
            if let Err(error) = self.place.store.delete(&meta.location).await {
                tracing::warn!(file = %meta.location, %error, "an unfinished file stays, unseen");
            }
        }
        if self.place.is_local() {
            // Stores have no directories, but file systems have.
            let _ = tokio::fs::remove_dir(&self.target.directory).await;
        }
    }
}

impl UnloadTarget {
    fn extension(&self) -> String {
        let compressed = match self.format.compression {
            Compression::Auto | Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
            Compression::None | Compression::Snappy => "",
        };
        match self.format.kind {
            FileKind::Csv => format!("csv{compressed}"),
            FileKind::Json => format!("json{compressed}"),
            FileKind::Parquet => "parquet".to_owned(),
        }
    }
}

fn read(rows: &[RecordBatch]) -> Result<Vec<UnloadReport>, Failure> {
    let malformed = |why: &str| Failure::internal(format!("a report on an unloaded file does not decode: {why}"));
    let mut reports = Vec::new();
    for batch in rows {
        let texts = batch.column(0).as_string_opt::<i32>().ok_or_else(|| malformed("no texts"))?;
        for text in texts.iter().flatten() {
            reports.push(serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?);
        }
    }
    Ok(reports)
}
