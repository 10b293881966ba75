//! What a statement is, as far as a client must know it before it runs.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::LogicalPlan;

use crate::planner::Planned;

/// What running a statement comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatementKind {
    /// It reads, and nothing is different afterwards.
    Query,
    /// Rows of a table are written or removed.
    Write,
    /// Anything else is changed: tables, stages, secrets.
    Command,
    /// Its own session is changed.
    Session,
}

#[derive(Clone, Debug)]
pub struct Description {
    pub kind: StatementKind,
    /// The columns of the answer; `None` where only running it tells.
    pub schema: Option<SchemaRef>,
    /// Of the placeholders that have no values yet, in their order; `None` where any type is as good.
    pub parameters: Vec<Option<DataType>>,
    /// Whether several rows of values may be bound at once: an `INSERT` of one row, which then is one of all of them.
    pub takes_rows: bool,
}

impl Description {
    pub fn of(planned: &Planned) -> Self {
        let kind = match planned {
            Planned::Query(_)
            | Planned::Rows(_)
            | Planned::Explain { .. }
            | Planned::Analyze { .. }
            | Planned::TryLoad { .. } => StatementKind::Query,
            Planned::Write { .. } | Planned::Remove { .. } | Planned::Load { .. } => StatementKind::Write,
            Planned::Access(_)
            | Planned::Change(_)
            | Planned::Stage(_)
            | Planned::Unload { .. }
            | Planned::Vacuum(_)
            | Planned::Done(_) => StatementKind::Command,
            Planned::Session(_) => StatementKind::Session,
        };
        let schema = match planned {
            Planned::TryLoad { .. }
            | Planned::Load { .. }
            | Planned::Unload { .. }
            | Planned::Stage(_)
            | Planned::Vacuum(_) => None,
            _ => Some(planned.schema()),
        };
        Self { kind, schema, parameters: Vec::new(), takes_rows: false }
    }

    /// With what is known of `count` placeholders that have no values: `plan` is the statement's with the placeholders in it, if it
    /// can be planned so.
    pub fn with_parameters(mut self, count: usize, plan: Option<&LogicalPlan>) -> Self {
        let types = plan.and_then(|plan| plan.get_parameter_types().ok()).unwrap_or_default();
        self.parameters = (1..=count).map(|number| types.get(&format!("${number}")).cloned().flatten()).collect();
        if let Some(plan) = plan.filter(|plan| self.kind == StatementKind::Query && !is_about_plans(plan)) {
            self.schema = Some(plan.schema().inner().clone());
        }
        self
    }
}

fn is_about_plans(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
}
