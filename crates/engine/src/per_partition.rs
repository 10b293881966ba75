//! Operators of ours over one input, which do their work partition by partition and have no expressions: what all of them share.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{Boundedness, ChildrenPropertiesMode, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
    ReplaceChildrenOptions,
};

/// What such an operator does.
pub trait PartitionWork: fmt::Debug + Clone + Send + Sync + 'static {
    const NAME: &'static str;
    const EMISSION: EmissionType;

    /// Of what comes out of it.
    fn schema(&self, input: &SchemaRef) -> SchemaRef;

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }

    fn required_distribution(&self) -> Distribution {
        Distribution::UnspecifiedDistribution
    }

    fn run(&self, place: Place<'_>) -> Result<SendableRecordBatchStream>;
}

/// Where it does it.
pub struct Place<'a> {
    pub input: &'a Arc<dyn ExecutionPlan>,
    pub partition: usize,
    pub context: Arc<TaskContext>,
    /// Of what comes out.
    pub schema: SchemaRef,
    pub metrics: &'a ExecutionPlanMetricsSet,
}

impl Place<'_> {
    /// The partition's rows.
    pub fn rows(&self) -> Result<SendableRecordBatchStream> {
        self.input.execute(self.partition, self.context.clone())
    }
}

#[derive(Debug)]
pub struct PerPartitionExec<W> {
    pub input: Arc<dyn ExecutionPlan>,
    pub work: W,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl<W: PartitionWork> PerPartitionExec<W> {
    pub fn of(input: Arc<dyn ExecutionPlan>, work: W) -> Self {
        let partitioning = Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let equivalence = EquivalenceProperties::new(work.schema(&input.schema()));
        let properties = PlanProperties::new(equivalence, partitioning, W::EMISSION, Boundedness::Bounded);
        Self { input, work, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl<W: PartitionWork> DisplayAs for PerPartitionExec<W> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.work.describe(f)
    }
}

impl<W: PartitionWork> ExecutionPlan for PerPartitionExec<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![self.work.required_distribution()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::of(children.remove(0), self.work.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (input, schema, metrics) = (&self.input, self.schema(), &self.metrics);
        self.work.run(Place { input, partition, context, schema, metrics })
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
