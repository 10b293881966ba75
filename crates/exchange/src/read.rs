//! The leaf of a stage's plan that stands for another stage's output.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, Partitioning};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use frazil_common::Failure;

use crate::input::ExchangeInput;
use crate::output::ExchangeKind;
use crate::to_datafusion;

/// Reads the partitions of an exchange. Its partitioning and orderings are those of the operator it replaces, so that
/// operators above derive the same from it as they did when the query was planned.
#[derive(Debug, Clone)]
pub struct ExchangeReadExec {
    pub exchange: u32,
    pub kind: ExchangeKind,
    properties: Arc<PlanProperties>,
    /// Set in the task that runs it; `None` in the coordinator's plan.
    input: Option<Bound>,
}

#[derive(Clone)]
struct Bound(Arc<ExchangeInput>);

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bound")
    }
}

impl ExchangeReadExec {
    pub fn new(
        exchange: u32,
        kind: ExchangeKind,
        schema: SchemaRef,
        partitioning: Partitioning,
        orderings: Vec<LexOrdering>,
    ) -> Self {
        let equivalence = EquivalenceProperties::new_with_orderings(schema, orderings);
        let properties =
            Arc::new(PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded));
        Self { exchange, kind, properties, input: None }
    }

    pub fn bind(mut self, input: Arc<ExchangeInput>) -> Self {
        self.input = Some(Bound(input));
        self
    }

    /// Streams that end each partition it reads, in a task.
    pub fn producers(&self) -> Option<u32> {
        self.input.as_ref().map(|Bound(input)| input.producers())
    }

    pub fn orderings(&self) -> Vec<LexOrdering> {
        self.properties.equivalence_properties().oeq_class().iter().cloned().collect()
    }
}

impl DisplayAs for ExchangeReadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.properties.output_partitioning().partition_count();
        write!(f, "ExchangeReadExec: stage={} {} partitions={partitions}", self.exchange, self.kind)
    }
}

impl ExecutionPlan for ExchangeReadExec {
    fn name(&self) -> &'static str {
        "ExchangeReadExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
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

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(Bound(input)) = &self.input else {
            let message = format!("exchange {} is not connected", self.exchange);
            return Err(to_datafusion(Failure::internal(message)));
        };
        Ok(make_cooperative(Box::pin(input.stream(partition))))
    }
}
