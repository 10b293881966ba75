//! Tables as they were: `t AT (…)` and `t BEFORE (…)`, wherever a query names a table.
//!
//! DataFusion ignores versions. So they are taken out of the statement before it is planned: the table's name becomes that of
//! the same table in a catalog `database@snapshot`, which [`Lakes`] has as soon as it was asked for it, and its alias
//! becomes what it was called.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ResolvedTableReference, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr as PlannedExpr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::sql::parser::{CopyToSource, Statement as ParsedStatement};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    Expr, FromTable, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Statement,
    TableAlias, TableFactor, TableVersion, VisitMut, VisitorMut,
};
use frazil_catalog::{At, SnapshotId};
use frazil_common::{ErrorCode, Failure, StatementId};

use super::ddl::resolve;
use super::names::Lakes;
use crate::errors::to_failure as from_datafusion;

/// Replaces each versioned name of a statement, or refuses it.
pub async fn look_back(
    statement: &mut ParsedStatement,
    lakes: &Arc<Lakes>,
    state: &SessionState,
) -> Result<(), Failure> {
    refuse_targets(statement)?;
    let mut finder = Finder::default();
    visit(statement, &mut finder)?;
    let mut names = VecDeque::with_capacity(finder.found.len());
    for (name, version) in finder.found {
        let reference = object_name_to_table_reference(name.clone(), true).map_err(|error| from_datafusion(&error))?;
        if reference.schema().is_none() && finder.common.contains(reference.table()) {
            let message =
                format!("\"{name}\" is the name of a WITH query, which has no versions; give a table its full name");
            return Err(Failure::new(ErrorCode::NotSupported, message));
        }
        let at = moment(&version, state).await?;
        let full = resolve(reference, state);
        let catalog = lakes.at(&full, at).await?;
        let parts = [&*catalog, &full.schema, &full.table];
        names.push_back(ObjectName::from(parts.map(|part| Ident::with_quote('"', part)).to_vec()));
    }
    visit(statement, &mut Replacer { names })
}

/// What has a version and is written to. There is no writing to the past.
fn refuse_targets(statement: &ParsedStatement) -> Result<(), Failure> {
    let ParsedStatement::Statement(statement) = statement else { return Ok(()) };
    let targets: Vec<&TableFactor> = match statement.as_ref() {
        Statement::Update(update) => vec![&update.table.relation],
        Statement::Delete(delete) => match &delete.from {
            FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from) => {
                from.iter().map(|table| &table.relation).collect()
            }
        },
        Statement::Merge(merge) => vec![&merge.table],
        _ => return Ok(()),
    };
    match targets.into_iter().find(|target| matches!(target, TableFactor::Table { version: Some(_), .. })) {
        Some(target) => Err(not_supported(&format!("changing a table as it was ({target})"))),
        None => Ok(()),
    }
}

/// Visits all names of a statement, in the same order each time.
fn visit(statement: &mut ParsedStatement, visitor: &mut impl VisitorMut<Break = Box<Failure>>) -> Result<(), Failure> {
    let visited = match statement {
        ParsedStatement::Statement(statement) => statement.visit(visitor),
        ParsedStatement::Explain(explain) => return visit(&mut explain.statement, visitor),
        ParsedStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(visitor),
            CopyToSource::Relation(_) => return Ok(()),
        },
        ParsedStatement::CreateExternalTable(_) | ParsedStatement::Reset(_) => return Ok(()),
    };
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(failure) => Err(*failure),
    }
}

#[derive(Default)]
struct Finder {
    found: Vec<(ObjectName, TableVersion)>,
    /// Names of `WITH` queries, wherever they are.
    common: HashSet<String>,
}

impl VisitorMut for Finder {
    type Break = Box<Failure>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Failure>> {
        for common in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = ObjectName::from(vec![common.alias.name.clone()]);
            if let Ok(reference) = object_name_to_table_reference(name, true) {
                self.common.insert(reference.table().to_owned());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Failure>> {
        let TableFactor::Table {
            name,
            alias: _,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        // DataFusion would ignore these as well.
        let ignored = [
            (sample.is_some(), "TABLESAMPLE"),
            (!with_hints.is_empty() || !index_hints.is_empty(), "a table hint"),
            (!partitions.is_empty(), "PARTITION of a table"),
            (json_path.is_some(), "a path into a table"),
            (*with_ordinality && args.is_none(), "WITH ORDINALITY of a table"),
            (version.is_some() && args.is_some(), "a version of a table function"),
        ];
        if let Some((_, what)) = ignored.iter().find(|(given, _)| *given) {
            return ControlFlow::Break(Box::new(not_supported(&format!("{what} ({name})"))));
        }
        if let Some(version) = version {
            self.found.push((name.clone(), version.clone()));
        }
        ControlFlow::Continue(())
    }
}

struct Replacer {
    names: VecDeque<ObjectName>,
}

impl VisitorMut for Replacer {
    type Break = Box<Failure>;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Failure>> {
        let TableFactor::Table { name, alias, version, .. } = factor else { return ControlFlow::Continue(()) };
        if version.take().is_none() {
            return ControlFlow::Continue(());
        }
        let new = self.names.pop_front().expect("both visits see the same versions");
        let old = std::mem::replace(name, new);
        if alias.is_none()
            && let Some(called) = old.0.last().and_then(|part| part.as_ident().cloned())
        {
            *alias = Some(TableAlias { explicit: true, name: called, columns: vec![], at: None });
        }
        ControlFlow::Continue(())
    }
}

/// The moment that a version means.
pub async fn moment(version: &TableVersion, state: &SessionState) -> Result<At, Failure> {
    let function = match version {
        TableVersion::Function(Expr::Function(function)) => function,
        TableVersion::ForSystemTimeAsOf(time) | TableVersion::TimestampAsOf(time) => {
            return timestamp(time, state).map(At::Timestamp);
        }
        TableVersion::VersionAsOf(number) => return snapshot(number, state),
        other => return Err(not_supported(&format!("the version {other}"))),
    };
    let (kind, value) = argument(function)?;
    let name = function.name.to_string().to_ascii_lowercase();
    match (name.as_str(), kind.to_ascii_lowercase().as_str()) {
        ("at", "timestamp") => timestamp(value, state).map(At::Timestamp),
        ("at", "offset") => offset(value, state).map(At::Timestamp),
        ("at", "snapshot") => snapshot(value, state),
        ("at", "statement") => statement(value, state).map(At::Statement),
        ("before", "statement") => statement(value, state).map(At::BeforeStatement),
        ("before", "timestamp" | "offset" | "snapshot") => {
            Err(not_supported(&format!("BEFORE ({kind} => …): AT is, and BEFORE (STATEMENT => …)")))
        }
        _ => {
            let message =
                format!("{function}: one of TIMESTAMP, OFFSET, SNAPSHOT and STATEMENT is to be given with =>");
            Err(Failure::new(ErrorCode::Syntax, message))
        }
    }
}

/// The one argument, `name => value`.
fn argument(function: &Function) -> Result<(&str, &Expr), Failure> {
    if let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }] = list.args.as_slice()
        && list.clauses.is_empty()
    {
        return Ok((&name.value, value));
    }
    let message = format!("{function}: one of TIMESTAMP, OFFSET, SNAPSHOT and STATEMENT is to be given with =>");
    Err(Failure::new(ErrorCode::Syntax, message))
}

/// A time; without a time zone, in the session's.
fn timestamp(value: &Expr, state: &SessionState) -> Result<SystemTime, Failure> {
    let zone = state.config_options().execution.time_zone.clone().unwrap_or_else(|| "+00:00".to_owned());
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = constant(value, &zoned, state)? else {
        return Err(invalid(value, "is not a time"));
    };
    let time = after_epoch(micros).ok_or_else(|| invalid(value, "is not a time of the catalog"))?;
    if time > SystemTime::now() {
        return Err(invalid(value, "is in the future"));
    }
    Ok(time)
}

/// Seconds from now, which are negative.
fn offset(value: &Expr, state: &SessionState) -> Result<SystemTime, Failure> {
    let ScalarValue::Float64(Some(seconds)) = constant(value, &DataType::Float64, state)? else {
        return Err(invalid(value, "is not a number of seconds"));
    };
    if seconds > 0.0 {
        return Err(invalid(value, "is in the future: seconds back are negative"));
    }
    let now = state.execution_props().query_execution_start_time.map_or_else(SystemTime::now, SystemTime::from);
    let back = Duration::try_from_secs_f64(-seconds).ok();
    back.and_then(|back| now.checked_sub(back)).ok_or_else(|| invalid(value, "is not a number of seconds"))
}

fn snapshot(value: &Expr, state: &SessionState) -> Result<At, Failure> {
    match constant(value, &DataType::Int64, state)? {
        ScalarValue::Int64(Some(id)) if id >= 0 => Ok(At::Snapshot(SnapshotId(id))),
        _ => Err(invalid(value, "is not the number of a snapshot")),
    }
}

fn statement(value: &Expr, state: &SessionState) -> Result<StatementId, Failure> {
    match constant(value, &DataType::Utf8, state)? {
        ScalarValue::Utf8(Some(text)) => {
            text.trim().parse().map_err(|_| invalid(value, "is not the id of a statement"))
        }
        _ => Err(invalid(value, "is not the id of a statement")),
    }
}

/// The value of an expression without columns. It may call functions: `now() - interval '1 day'`.
fn constant(value: &Expr, data_type: &DataType, state: &SessionState) -> Result<ScalarValue, Failure> {
    let failed = |error: DataFusionError| {
        let failure = from_datafusion(&error);
        Failure::new(failure.code, format!("the version {value}: {}", failure.message))
    };
    let planned = state.create_logical_expr(&value.to_string(), &DFSchema::empty()).map_err(failed)?;
    let plan = LogicalPlanBuilder::empty(true).project(vec![cast(planned, data_type.clone()).alias("moment")]);
    let plan = plan.and_then(LogicalPlanBuilder::build).map_err(failed)?;
    let literal = match state.optimize(&plan).map_err(failed)? {
        LogicalPlan::Projection(projection) => match projection.expr.as_slice() {
            [PlannedExpr::Alias(alias)] => literal_of(&alias.expr),
            [other] => literal_of(other),
            _ => None,
        },
        _ => None,
    };
    literal.ok_or_else(|| invalid(value, "is not a constant"))
}

fn literal_of(expr: &PlannedExpr) -> Option<ScalarValue> {
    match expr {
        PlannedExpr::Literal(value, _) => Some(value.clone()),
        _ => None,
    }
}

fn after_epoch(micros: i64) -> Option<SystemTime> {
    let distance = Duration::from_micros(micros.unsigned_abs());
    match micros >= 0 {
        true => UNIX_EPOCH.checked_add(distance),
        false => UNIX_EPOCH.checked_sub(distance),
    }
}

impl Lakes {
    /// The name of a catalog that has a table as it was at a moment.
    async fn at(self: &Arc<Self>, table: &ResolvedTableReference, at: At) -> Result<String, Failure> {
        let name = format!("{}.{}", table.schema, table.table);
        let Some(seen) = self.get(&table.catalog) else {
            let message = format!("database \"{}\" not found", table.catalog);
            return Err(Failure::new(ErrorCode::UndefinedDatabase, message));
        };
        let (view, pin) = seen.database.pinned(at).await.map_err(|error| super::to_failure(&error))?;
        let schema = view.schema(&table.schema).ok();
        let relation = schema.and_then(|schema| view.relation(schema.id, &table.table));
        if relation.is_none() {
            if self.external().has(&table.catalog, &table.schema, &table.table) {
                return Err(not_supported(&format!("a version of external table \"{name}\", which has none,")));
            }
            let (was, is) = (view.snapshot.id, seen.view.snapshot.id);
            let message = format!(
                "table \"{name}\" not found at snapshot {was} of database \"{}\" (the latest is {is})",
                table.catalog
            );
            return Err(Failure::new(ErrorCode::UndefinedTable, message));
        }
        Ok(self.add_past(&seen.database, view, pin))
    }
}

fn invalid(value: &Expr, why: &str) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, format!("the version {value} {why}"))
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
