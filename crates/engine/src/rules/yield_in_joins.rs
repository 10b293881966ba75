//! Operators that make many rows of few let go of their thread now and then.
//!
//! A task can be stopped only where it waits. DataFusion sees to that at the leaves of a plan, which count what they hand out; but below
//! `count(*)` a cross join can be busy for hours with one batch of a leaf, and would go on after its statement was cancelled. So what it
//! hands out is counted, too.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Puts a [`CooperativeExec`] above each join and each `unnest`. To be run after the rules that look at joins.
#[derive(Debug)]
pub struct YieldInJoins;

impl PhysicalOptimizerRule for YieldInJoins {
    fn name(&self) -> &str {
        "yield_in_joins"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let yielding = plan.transform_up(|node| {
            Ok(match makes_many_rows(node.name()) {
                true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(node),
            })
        })?;
        Ok(yielding.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn makes_many_rows(operator: &str) -> bool {
    matches!(
        operator,
        "CrossJoinExec"
            | "NestedLoopJoinExec"
            | "HashJoinExec"
            | "SortMergeJoinExec"
            | "PiecewiseMergeJoinExec"
            | "UnnestExec"
    )
}
