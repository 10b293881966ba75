//! Staged files as a file source of DataFusion's scan: so that files are dealt, shipped, counted and taken from each other as those
//! of any scan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileOpenFuture, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, PhysicalExpr};
use object_store::ObjectStore;

use super::check::Checker;
use super::load::load;
use super::shape::{LoadShape, scan_schema};

#[derive(Clone)]
pub struct StagedSource {
    pub shape: LoadShape,
    /// The table's.
    pub table: SchemaRef,
    schema: TableSchema,
    metrics: ExecutionPlanMetricsSet,
}

impl StagedSource {
    pub fn new(shape: LoadShape, table: SchemaRef) -> Self {
        let schema = TableSchema::from(scan_schema(&table, shape.reports));
        Self { shape, table, schema, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// A scan of these files; a group is a partition.
    pub fn scan(self, store: ObjectStoreUrl, groups: Vec<FileGroup>) -> Arc<dyn ExecutionPlan> {
        let config = FileScanConfigBuilder::new(store, Arc::new(self)).with_file_groups(groups);
        DataSourceExec::from_data_source(config.build())
    }
}

impl FileSource for StagedSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let checker = Arc::new(Checker { shape: self.shape.clone(), schema: self.table.clone() });
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition);
        Ok(Arc::new(Opener { store, checker, schema: self.schema.table_schema().clone(), bytes }))
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, _: usize) -> Arc<dyn FileSource> {
        Arc::new(self.clone())
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "staged"
    }

    fn fmt_extra(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", format={}, policy={:?}", self.shape.format.kind.name(), self.shape.policy)
    }

    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}

struct Opener {
    store: Arc<dyn ObjectStore>,
    checker: Arc<Checker>,
    schema: SchemaRef,
    bytes: Count,
}

impl FileOpener for Opener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        self.bytes.add(usize::try_from(file.effective_size()).unwrap_or(0));
        let stream = load(self.store.clone(), file, self.checker.clone(), self.schema.clone());
        Ok(Box::pin(async move { Ok(stream) }))
    }
}
