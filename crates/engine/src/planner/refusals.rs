//! What no query may hold.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use frazil_common::{ErrorCode, Failure};

use crate::errors::to_failure;

/// Anything but reading.
pub(crate) fn refuse_unsupported(plan: &LogicalPlan) -> Result<(), Failure> {
    let mut refused = None;
    let visited = plan.apply_with_subqueries(|node| {
        refused = match node {
            LogicalPlan::Dml(dml) => Some(dml.op.to_string().to_lowercase()),
            LogicalPlan::Copy(_) => Some("copy".to_owned()),
            LogicalPlan::Ddl(ddl) => Some(ddl.name().to_lowercase()),
            LogicalPlan::Statement(statement) => Some(statement.name().to_lowercase()),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    });
    visited.map_err(|error| to_failure(&error))?;
    refused.map_or(Ok(()), |what| Err(not_supported(&what)))
}

pub fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
