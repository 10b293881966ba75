//! What an `EXPLAIN` may ask for, and the part of its answer that needs no executors.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::common::format::{ExplainFormat, ExplainStatementOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::sql::parser::Statement;
use frazil_common::{ErrorCode, Failure};

/// How DataFusion begins its message about a format that it does not know either.
const UNKNOWN_FORMAT: &str = "Invalid explain format";

/// Refuses what is not done, rather than to answer as if it had not been asked for.
pub fn check_options(statement: &mut Statement) -> Result<(), Failure> {
    let Statement::Explain(explain) = statement else { return Ok(()) };
    // All are named, so that an option that a later DataFusion adds is not ignored by us.
    let ExplainStatementOptions { analyze: _, verbose, format, analyze_level, analyze_categories, show_statistics } =
        &mut explain.options;
    if let Some(format) = format {
        check_format(format)?;
    }
    // DataFusion refuses the two together, whatever the format.
    if *verbose {
        *format = None;
    }
    let ignored = [
        (analyze_level.is_some(), "LEVEL or SUMMARY"),
        (analyze_categories.is_some(), "METRICS or TIMING"),
        (show_statistics.is_some(), "COSTS"),
    ];
    match ignored.iter().find(|(given, _)| *given) {
        Some((_, name)) => Err(not_supported(format!("EXPLAIN with option {name} is not supported"))),
        None => Ok(()),
    }
}

/// The format may also come from the setting `datafusion.explain.format`.
pub fn check_format(format: &ExplainFormat) -> Result<(), Failure> {
    match format {
        ExplainFormat::Indent => Ok(()),
        ExplainFormat::Tree | ExplainFormat::PostgresJSON | ExplainFormat::Graphviz => {
            Err(not_supported_format(&format.to_string()))
        }
    }
}

/// The refusal of a format that did not even parse, by DataFusion's message about it.
pub fn unknown_format(message: &str) -> Option<Failure> {
    let named = message.strip_prefix(UNKNOWN_FORMAT)?.rsplit_once("Got '")?.1.trim_end();
    Some(not_supported_format(named.strip_suffix('\'').unwrap_or(named)))
}

fn not_supported_format(format: &str) -> Failure {
    not_supported(format!("EXPLAIN with format {format:?} is not supported: it answers in format \"indent\""))
}

fn not_supported(message: String) -> Failure {
    Failure::new(ErrorCode::NotSupported, message)
}

/// The operators of a plan, a line for each, indented. Without those that only yield, which are between any others.
pub fn lines(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(without_yields(plan).as_ref()).indent(false).to_string()
}

/// The plan without the operators that only yield.
pub fn without_yields(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let shown = plan.clone().transform_up(|node| {
        Ok(match node.downcast_ref::<CooperativeExec>() {
            Some(yielding) => Transformed::yes(yielding.input().clone()),
            None => Transformed::no(node),
        })
    });
    shown.map_or_else(|_| plan.clone(), |shown| shown.data)
}

/// The plan as it was before the cut, with what is known of each operator's rows and bytes.
pub fn with_statistics(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut text = String::new();
    let plan = &without_yields(plan);
    let shown = DisplayableExecutionPlan::new(plan.as_ref()).set_show_statistics(true);
    match write!(text, "{}", shown.indent(false)) {
        Ok(()) => text,
        // An operator that fails to tell its statistics fails the printing.
        Err(_) => lines(plan),
    }
}
