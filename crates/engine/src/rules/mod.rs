//! Our rules among DataFusion's physical optimizer rules.

mod broadcast_joins;
mod spread_joins;
mod yield_in_joins;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

pub use broadcast_joins::ClusterOptions;
pub use spread_joins::{can_be_settled, emits_build_rows};

/// DataFusion's rules, and ours where they belong.
pub fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let join_selection = rules.iter().position(|rule| rule.name() == "join_selection");
    // Before distribution is enforced, which then adds the repartitioning that a partitioned join needs.
    let after = join_selection.expect("DataFusion has a join_selection rule") + 1;
    rules.insert(after, Arc::new(spread_joins::SpreadJoins));
    rules.insert(after, Arc::new(broadcast_joins::BroadcastJoins));
    rules.push(Arc::new(yield_in_joins::YieldInJoins));
    rules
}
