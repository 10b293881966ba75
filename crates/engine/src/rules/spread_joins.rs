//! Joins that collect their build side and then emit its rows, matched or not, need to see every probe partition in one
//! process. Spread over executors, each would emit the rows that *its* probe partitions left unmatched. Such joins are
//! planned as partitioned ones instead, where a build row and its matches meet in one partition; but semi and anti joins
//! stay, see [`crate::build_rows`].

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};

/// Whether a join emits rows of its build (left) side on account of probe rows it has not seen.
pub fn emits_build_rows(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => true,
        JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => false,
    }
}

/// Whether the cut can spread a join that collects its build side and emits rows of it.
pub fn can_be_settled(join: &HashJoinExec) -> bool {
    matches!(join.join_type(), JoinType::LeftSemi | JoinType::LeftAnti) && !join.null_aware
}

#[derive(Debug)]
pub struct SpreadJoins;

impl PhysicalOptimizerRule for SpreadJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if config.execution.target_partitions <= 1 {
            return Ok(plan);
        }
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            // A null-aware anti join (NOT IN) must know of a null in *any* probe partition: it stays whole.
            if *join.partition_mode() != PartitionMode::CollectLeft
                || !emits_build_rows(*join.join_type())
                || join.null_aware
                || can_be_settled(join)
            {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(join.builder().with_partition_mode(PartitionMode::Partitioned).build_exec()?))
        })
        .data()
    }

    fn name(&self) -> &str {
        "spread_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
