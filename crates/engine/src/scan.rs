//! Scans whose errors name their file. DataFusion's say what is wrong with a page or a footer, not of which file.
//!
//! Wraps a file source on the executor, when all planning is done. A reader that panics over a malformed file fails its
//! query with the file's name, too.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, PhysicalExpr};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer, PendingMorselPlanner};
use frazil_common::{ErrorCode, Failure};
use frazil_exchange::{find_failure, to_datafusion};
use futures::Stream;
use futures::stream::BoxStream;
use object_store::ObjectStore;

use crate::errors::{panic_message, to_failure};
use crate::lake::SkipDeleted;

/// A file source that adds the file's name to whatever goes wrong in it.
pub struct NamingSource {
    inner: Arc<dyn FileSource>,
    /// In place of the one that is given.
    store: Option<Arc<dyn ObjectStore>>,
}

impl NamingSource {
    pub fn wrap(inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { inner, store: None })
    }

    /// The same over another view of its store.
    pub fn over(
        inner: Arc<dyn FileSource>,
        store: Arc<dyn ObjectStore>,
        metadata: Arc<FileMetadataCache>,
    ) -> Arc<dyn FileSource> {
        let inner = match inner.downcast_ref::<ParquetSource>() {
            // It was given its store when it was decoded.
            Some(parquet) => {
                let factory = CachedParquetFileReaderFactory::new(store.clone(), metadata);
                Arc::new(parquet.clone().with_parquet_file_reader_factory(Arc::new(factory)))
            }
            None => inner,
        };
        Arc::new(Self { inner, store: Some(store) })
    }
}

impl FileSource for NamingSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let store = self.store.clone().unwrap_or(store);
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let store = self.store.clone().unwrap_or(store);
        let inner = self.inner.create_morselizer(store.clone(), config, partition)?;
        Ok(Box::new(Naming { inner: SkipDeleted::wrap(inner, store), file: () }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { inner: self.inner.with_batch_size(batch_size), store: self.store.clone() })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_extra(format, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(visit)
    }
}

/// DataFusion reads a file as a morselizer, which makes planners, which make morsels, which make streams: each is wrapped
/// with the name that the first call gave.
struct Naming<T, F> {
    inner: T,
    file: F,
}

type FileName = Arc<str>;

impl<T: fmt::Debug, F> fmt::Debug for Naming<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Morselizer for Naming<Box<dyn Morselizer>, ()> {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let name: FileName = file.object_meta.location.as_ref().into();
        let planner = guarded(&name, || self.inner.plan_file(file))?;
        Ok(Box::new(Naming { inner: planner, file: name }))
    }
}

impl MorselPlanner for Naming<Box<dyn MorselPlanner>, FileName> {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Naming { inner, file } = *self;
        let Some(mut plan) = guarded(&file, || inner.plan())? else { return Ok(None) };
        let named = |planner| -> Box<dyn MorselPlanner> { Box::new(Naming { inner: planner, file: file.clone() }) };
        let morsels = plan.take_morsels().into_iter();
        let morsels = morsels.map(|inner| -> Box<dyn Morsel> { Box::new(Naming { inner, file: file.clone() }) });
        let planners = plan.take_ready_planners().into_iter().map(named);
        let mut wrapped = MorselPlan::new().with_morsels(morsels.collect()).with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            wrapped.set_pending_planner(name_pending(pending, file.clone()));
        }
        Ok(Some(wrapped))
    }
}

async fn name_pending(pending: PendingMorselPlanner, file: FileName) -> Result<Box<dyn MorselPlanner>> {
    match pending.await {
        Ok(inner) => Ok(Box::new(Naming { inner, file })),
        Err(error) => Err(named(&file, error)),
    }
}

impl Morsel for Naming<Box<dyn Morsel>, FileName> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Naming { inner, file } = *self;
        match guarded(&file, || Ok(inner.into_stream())) {
            Ok(inner) => Box::pin(Naming { inner, file }),
            Err(error) => Box::pin(futures::stream::iter([Err(error)])),
        }
    }
}

impl Stream for Naming<BoxStream<'static, Result<RecordBatch>>, FileName> {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match catch_unwind(AssertUnwindSafe(|| this.inner.as_mut().poll_next(context))) {
            Ok(poll) => poll.map_err(|error| named(&this.file, error)),
            Err(panic) => {
                // What panicked is not polled again.
                this.inner = Box::pin(futures::stream::empty());
                Poll::Ready(Some(Err(panicked(&this.file, &*panic))))
            }
        }
    }
}

fn guarded<T>(file: &FileName, run: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| named(file, error)),
        Err(panic) => Err(panicked(file, &*panic)),
    }
}

fn panicked(file: &FileName, panic: &(dyn Any + Send)) -> DataFusionError {
    let message = format!("file \"{file}\" cannot be read: {}", panic_message(panic));
    to_datafusion(Failure::new(ErrorCode::FileCorrupt, message))
}

fn named(file: &FileName, error: DataFusionError) -> DataFusionError {
    if find_failure(&error).is_some() {
        return error;
    }
    let cause = to_failure(&error);
    let code = match cause.code {
        // A filter or cast pushed into the scan fails over the data, not over the file.
        ErrorCode::InvalidData if !matches!(error, DataFusionError::Execution(_)) => ErrorCode::InvalidData,
        ErrorCode::InvalidData | ErrorCode::Internal => ErrorCode::FileCorrupt,
        other => other,
    };
    to_datafusion(Failure::new(code, format!("file \"{file}\": {}", cause.message)))
}
