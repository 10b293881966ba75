//! What a scan's partitions read: files, or pieces of a generated table. It goes to each task beside its stage's plan.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use frazil_common::Failure;

use super::split_messages::{encode_files, encode_many, encode_parts};
use crate::generate::GenerateExec;
use crate::lake::ManyFiles;

/// A file scan in the coordinator's plan of a stage: DataFusion's node, with a number by which tasks get its splits.
#[derive(Debug)]
pub struct SplitScanExec {
    pub scan: u32,
    pub original: Arc<DataSourceExec>,
}

impl SplitScanExec {
    pub fn config(&self) -> &FileScanConfig {
        self.original.data_source().downcast_ref().expect("only made over file scans")
    }
}

/// What one partition of a scan reads.
#[derive(Debug, Clone)]
pub enum Splits {
    Files(FileGroup),
    /// Pieces of a table that is generated.
    Parts(Range<usize>),
}

/// The number of a scan that [`number_scans`] has numbered.
pub fn scan_number(node: &dyn ExecutionPlan) -> Option<u32> {
    match (node.downcast_ref::<SplitScanExec>(), node.downcast_ref::<GenerateExec>()) {
        (Some(scan), _) => Some(scan.scan),
        (_, Some(made)) => Some(made.scan),
        _ => None,
    }
}

/// What a numbered scan's partition reads, as bytes.
pub fn encode_splits_of(node: &dyn ExecutionPlan, partition: usize) -> Result<Vec<u8>, Failure> {
    match (node.downcast_ref::<SplitScanExec>(), node.downcast_ref::<GenerateExec>()) {
        (Some(scan), _) => {
            let group = &scan.config().file_groups[partition];
            ManyFiles::of_group(group).map_or_else(|| encode_files(group), encode_many)
        }
        (_, Some(made)) => Ok(encode_parts(&made.parts[partition])),
        _ => Err(Failure::internal(format!("operator {} has no splits", node.name()))),
    }
}

/// How many splits a numbered scan's partition has: files and ranges of them, pieces of a generated table.
pub fn splits_of(node: &dyn ExecutionPlan, partition: usize) -> usize {
    match (node.downcast_ref::<SplitScanExec>(), node.downcast_ref::<GenerateExec>()) {
        (Some(scan), _) => {
            let group = scan.config().file_groups.get(partition);
            group.map_or(0, |group| ManyFiles::of_group(group).map_or(group.len(), ManyFiles::count))
        }
        (_, Some(made)) => made.parts.get(partition).map_or(0, |parts| parts.end - parts.start),
        _ => 0,
    }
}

/// Numbers the scans of a stage's plan, from 0.
pub fn number_scans(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut next = 0;
    let numbered = plan.transform_up(|node| {
        if let Some(series) = node.downcast_ref::<LazyMemoryExec>()
            && series.schema().fields().is_empty()
        {
            return Ok(Transformed::yes(whole_series(series)?));
        }
        if let Some(made) = node.downcast_ref::<GenerateExec>() {
            let numbered = Arc::new(made.numbered(next));
            next += 1;
            return Ok(Transformed::yes(numbered));
        }
        let Some(source) = node.downcast_ref::<DataSourceExec>() else { return Ok(Transformed::no(node)) };
        if source.data_source().downcast_ref::<FileScanConfig>().is_none() {
            return Ok(Transformed::no(node));
        }
        let scan = SplitScanExec { scan: next, original: Arc::new(source.clone()) };
        next += 1;
        Ok(Transformed::yes(Arc::new(scan) as _))
    })?;
    Ok(numbered.data)
}

/// DataFusion's message of a generated series has no projection: a series of which only the number of rows is wanted is
/// sent with its column, and the column is dropped above it.
fn whole_series(series: &LazyMemoryExec) -> Result<Arc<dyn ExecutionPlan>> {
    let generators = series.generators().clone();
    let sample = match generators.first() {
        Some(generator) => generator.read().reset_state().write().generate_next_batch()?,
        None => None,
    };
    // An empty series may be of any type.
    let any = || Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
    let schema = sample.map_or_else(any, |batch| batch.schema());
    let whole: Arc<dyn ExecutionPlan> = Arc::new(LazyMemoryExec::try_new(schema, generators)?);
    let nothing: Vec<ProjectionExpr> = vec![];
    Ok(Arc::new(ProjectionExec::try_new(nothing, whole)?))
}

impl DisplayAs for SplitScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.fmt_as(format, f)
    }
}

impl ExecutionPlan for SplitScanExec {
    fn name(&self) -> &'static str {
        "DataSourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.original.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.original.apply_expressions(visit)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.original.execute(partition, context)
    }
}
