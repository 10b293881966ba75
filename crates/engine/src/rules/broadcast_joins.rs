//! Broadcasts the build side of a hash join where that moves less than hashing both sides.
//!
//! In one process repartitioning a row is a copy, and DataFusion collects only small build sides. Between processes it is
//! also encoding, two trips through the kernel and decoding, so that a larger build side is worth sending to everyone when
//! the probe side, which then stays where it was scanned, is larger still. TPC-H q5 at scale 1 on two executors: 151 ms
//! hashed, 99 ms broadcast.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::emits_build_rows;

extensions_options! {
    /// What planning knows of the executors. Set by the planner, never by users.
    pub struct ClusterOptions {
        /// Executors that the query's stages can be spread over.
        pub executors: usize, default = 1
    }
}

impl ConfigExtension for ClusterOptions {
    const PREFIX: &'static str = "frazil";
}

/// Estimated bytes of a build side beyond which it is never broadcast: every executor holds all of it.
const BUILD_BYTES_MAX: f64 = (128 << 20) as f64;

/// Nanoseconds of processor time, fitted to TPC-H q3, q5, q7 and q18 at scale 1; only their ratios matter.
/// To encode, send, receive and decode a byte.
const MOVE_NS_PER_BYTE: f64 = 0.6;
/// To hash a row and copy it into the batch of its partition.
const DEAL_NS_PER_ROW: f64 = 25.0;
/// To put a row into a hash table.
const BUILD_NS_PER_ROW: f64 = 25.0;

#[derive(Debug)]
pub struct BroadcastJoins;

impl PhysicalOptimizerRule for BroadcastJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let executors = config.extensions.get::<ClusterOptions>().map_or(1, |options| options.executors);
        if executors < 2 || config.execution.target_partitions < 2 {
            return Ok(plan);
        }
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            let partitioned = *join.partition_mode() == PartitionMode::Partitioned;
            if !partitioned || emits_build_rows(*join.join_type()) || join.null_aware {
                return Ok(Transformed::no(node));
            }
            let (Some(build), Some(probe)) = (size_of(join.left().as_ref()), size_of(join.right().as_ref())) else {
                return Ok(Transformed::no(node));
            };
            if !pays(build, probe, executors as f64) {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(join.builder().with_partition_mode(PartitionMode::CollectLeft).build_exec()?))
        })
        .data()
    }

    fn name(&self) -> &str {
        "broadcast_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[derive(Clone, Copy)]
struct Size {
    rows: f64,
    row_bytes: f64,
}

impl Size {
    fn bytes(self) -> f64 {
        self.rows * self.row_bytes
    }
}

/// As far as statistics tell.
fn size_of(plan: &dyn ExecutionPlan) -> Option<Size> {
    let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?;
    let rows = *statistics.num_rows.get_value()? as f64;
    Some(Size { rows, row_bytes: row_bytes(&plan.schema()) })
}

/// Of a batch in memory; what has no fixed width is taken for a short string.
fn row_bytes(schema: &Schema) -> f64 {
    let width = |data_type: &DataType| match data_type {
        DataType::Boolean => 1.0,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => 24.0,
        DataType::Utf8View | DataType::BinaryView => 32.0,
        other => other.primitive_width().map_or(64.0, |bytes| bytes as f64),
    };
    schema.fields().iter().map(|field| width(field.data_type())).sum()
}

/// Whether one executor's share of the work is less when all of them collect the build side.
fn pays(build: Size, probe: Size, executors: f64) -> bool {
    if build.bytes() > BUILD_BYTES_MAX {
        return false;
    }
    let dealt =
        |side: Size| side.rows * DEAL_NS_PER_ROW + side.bytes() * MOVE_NS_PER_BYTE * (executors - 1.0) / executors;
    let hashed = (dealt(build) + dealt(probe) + build.rows * BUILD_NS_PER_ROW) / executors;
    // Each sends its part to all others and takes theirs.
    let broadcast = build.bytes() * MOVE_NS_PER_BYTE * (executors - 1.0) / executors + build.rows * BUILD_NS_PER_ROW;
    broadcast < hashed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(rows: f64) -> Size {
        Size { rows, row_bytes: 24.0 }
    }

    #[test]
    fn a_small_side_of_a_large_join_is_broadcast() {
        assert!(pays(size(200e3), size(6e6), 2.0));
        assert!(pays(size(200e3), size(6e6), 8.0));
    }

    #[test]
    fn sides_of_one_size_and_huge_ones_are_hashed() {
        assert!(!pays(size(1e6), size(1e6), 4.0));
        assert!(!pays(size(10e6), size(10e9), 2.0), "240 MB are too much to hold everywhere");
        // The more executors, the dearer a copy for each of them.
        assert!(!pays(size(1.5e6), size(6e6), 16.0));
    }
}
