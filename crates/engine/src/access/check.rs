//! What a planned statement needs. One place for all statements: what is not listed here does nothing, or is checked where it is read.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use frazil_catalog::{Database, ObjectId, ObjectKind, Privilege, RetentionScope, Rights, Touch, Touched, Transaction};
use frazil_common::{ErrorCode, Failure};

use super::rights::{demand, denied};
use crate::errors::to_failure;
use crate::lake::{Change, LakeTable, Lakes, WriteKind, Written, resolve};
use crate::planner::Planned;
use crate::session::PARTITIONS;

/// Partitions that a user may force, who does not administer.
const PARTITIONS_MAX: usize = 64;

/// Fails if the role may not do what was planned. Reading is checked by [`check_reads`], and what stages need where their places are
/// looked up.
pub fn check(planned: &Planned, lakes: &Lakes) -> Result<(), Failure> {
    let rights = lakes.rights();
    if rights.is_admin() {
        return Ok(());
    }
    match planned {
        // Their plans were checked.
        Planned::Query(_) | Planned::Explain { .. } | Planned::Analyze { .. } | Planned::Unload { .. } => Ok(()),
        // Checked when they were looked up.
        Planned::Rows(_)
        | Planned::Stage(_)
        | Planned::Session(_)
        | Planned::Access(_)
        | Planned::TryLoad { .. }
        | Planned::Done(_) => Ok(()),
        Planned::Vacuum(_) => demand_admin(rights, "VACUUM"),
        Planned::Write { written, .. } | Planned::Remove { written, .. } | Planned::Load { written, .. } => {
            check_written(rights, written, lakes)
        }
        Planned::Change(change) => match change {
            Change::CreateDatabase { .. } => demand_admin(rights, "creating a database"),
            Change::CloneDatabase { .. } => demand_admin(rights, "cloning a database"),
            Change::UndropDatabase { .. } => demand_admin(rights, "restoring a database"),
            Change::DropDatabase { name, .. } => match lakes.get(name) {
                Some(seen) => {
                    let id = ObjectId::database(seen.database.id());
                    demand(rights, Privilege::Ownership, ObjectKind::Database, &id, name)
                }
                // As if it were not there.
                None => Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{name}\" not found"))),
            },
            Change::CreateSecret { .. } => demand_admin(rights, "CREATE SECRET"),
            Change::DropSecret { .. } => demand_admin(rights, "DROP SECRET"),
            Change::SetRetention { database, scope, .. } => check_retention(rights, database, *scope, lakes),
            Change::Commit { transaction, .. } => check_transaction(rights, transaction, lakes),
            Change::Nothing { .. } => Ok(()),
        },
    }
}

/// What only administrators may.
pub fn demand_admin(rights: &Rights, what: &str) -> Result<(), Failure> {
    match rights.is_admin() {
        true => Ok(()),
        false => {
            let message = format!("{what} is for the role admin, and not for \"{}\"", rights.role());
            Err(Failure::new(ErrorCode::AccessDenied, message))
        }
    }
}

/// Answers whoever may not declare external tables, or take a declaration back: those do what they do at once, with the instance's
/// secrets. What it cannot see is not there.
pub fn refuse_declaration(ddl: &DdlStatement, lakes: &Lakes, state: &SessionState) -> Result<String, Failure> {
    if let DdlStatement::DropTable(table) = ddl {
        let name = resolve(table.name.clone(), state);
        let schema = lakes.get(&name.catalog).and_then(|seen| Some((seen, seen.view.schema(&name.schema).ok()?)));
        let is_seen = schema.is_some_and(|(seen, schema)| {
            let id = ObjectId::external(seen.database.id(), &schema.uuid, &name.table);
            lakes.sees_schema(seen, schema) && lakes.rights().may_see(&id)
        });
        if !is_seen && table.if_exists {
            return Ok(format!("table {} does not exist", table.name));
        }
        if !is_seen {
            let message = format!("table \"{}.{}\" not found", name.schema, name.table);
            return Err(Failure::new(ErrorCode::UndefinedTable, message));
        }
    }
    demand_admin(lakes.rights(), "an external table").map(|()| String::new())
}

/// Settings by which one user could take the server from the others.
pub fn check_setting(rights: &Rights, key: &str, value: &str) -> Result<(), Failure> {
    let partitions = value.trim().parse::<usize>().unwrap_or(usize::MAX);
    match key.trim().eq_ignore_ascii_case(PARTITIONS) && !rights.is_admin() && partitions > PARTITIONS_MAX {
        true => {
            let message = format!("setting \"{PARTITIONS}\" above {PARTITIONS_MAX} is for the role admin");
            Err(Failure::new(ErrorCode::AccessDenied, message))
        }
        false => Ok(()),
    }
}

fn check_retention(rights: &Rights, database: &Database, scope: RetentionScope, lakes: &Lakes) -> Result<(), Failure> {
    let Some(seen) = lakes.get(database.name()) else {
        let message = format!("database \"{}\" not found", database.name());
        return Err(Failure::new(ErrorCode::UndefinedDatabase, message));
    };
    let within = |uuid: &str| ObjectId::within(database.id(), uuid);
    let (kind, id, name) = match scope {
        RetentionScope::Database => {
            (ObjectKind::Database, ObjectId::database(database.id()), database.name().to_owned())
        }
        RetentionScope::Schema(schema) => {
            let schema = seen.view.schema_by_id(schema).map_err(Failure::from)?;
            (ObjectKind::Schema, within(&schema.uuid), schema.name.clone())
        }
        RetentionScope::Table(table) => {
            let table = seen.view.table_by_id(table).map_err(Failure::from)?;
            (ObjectKind::Table, within(&table.uuid), seen.view.full_name(table))
        }
    };
    demand(rights, Privilege::Ownership, kind, &id, &name)
}

fn check_written(rights: &Rights, written: &Written, lakes: &Lakes) -> Result<(), Failure> {
    check_transaction(rights, &written.transaction, lakes)?;
    // Its files are not known yet.
    let privileges: Vec<Privilege> = match written.kind {
        WriteKind::Created => vec![],
        WriteKind::Inserted => vec![Privilege::Insert],
        WriteKind::Updated => vec![Privilege::Update],
        WriteKind::Deleted => vec![Privilege::Delete],
        WriteKind::Compacted => vec![Privilege::Ownership],
        WriteKind::Merged { inserts, updates, deletes } => {
            let all = [(inserts, Privilege::Insert), (updates, Privilege::Update), (deletes, Privilege::Delete)];
            all.into_iter().filter(|(does, _)| *does).map(|(_, privilege)| privilege).collect()
        }
    };
    // What the session has created itself is its own.
    if written.table.is_local() {
        return Ok(());
    }
    let view = written.transaction.view();
    let table = view.table_by_id(written.table).map_err(Failure::from)?;
    let id = ObjectId::within(written.transaction.database().id(), &table.uuid);
    let name = view.full_name(table);
    privileges.into_iter().try_for_each(|privilege| demand(rights, privilege, ObjectKind::Table, &id, &name))
}

fn check_transaction(rights: &Rights, transaction: &Transaction, lakes: &Lakes) -> Result<(), Failure> {
    let touched = transaction.touched_since(lakes.transaction().map(AsRef::as_ref));
    let dropped: BTreeSet<&ObjectId> = touched
        .iter()
        .filter(|one| one.kind == ObjectKind::Schema && one.what == Touch::Dropped)
        .map(|one| &one.object)
        .collect();
    for one in &touched {
        // A schema goes with all that is in it.
        let goes_along =
            one.what == Touch::Dropped && one.schema.as_ref().is_some_and(|schema| dropped.contains(schema));
        if !goes_along {
            check_touched(rights, transaction, one)?;
        }
    }
    Ok(())
}

fn check_touched(rights: &Rights, transaction: &Transaction, touched: &Touched) -> Result<(), Failure> {
    let Touched { what, kind, object, name, schema } = touched;
    let on_it = |privilege| demand(rights, privilege, *kind, object, name);
    match what {
        Touch::Created | Touch::Restored => {
            if *what == Touch::Restored {
                on_it(Privilege::Ownership)?;
            }
            let (privilege, within, parent) = match (kind, schema) {
                (ObjectKind::Table, Some(schema)) => (Privilege::CreateTable, schema.clone(), ObjectKind::Schema),
                (ObjectKind::View, Some(schema)) => (Privilege::CreateView, schema.clone(), ObjectKind::Schema),
                (ObjectKind::Schema, None) => {
                    (Privilege::CreateSchema, ObjectId::database(transaction.database().id()), ObjectKind::Database)
                }
                _ => return Err(denied(rights, &format!("what it takes to create \"{name}\""))),
            };
            if transaction.has_created_schema(&within) {
                return Ok(());
            }
            let parent_name = match parent {
                ObjectKind::Schema => name.split_once('.').map_or(name.as_str(), |(schema, _)| schema),
                _ => transaction.database().name(),
            };
            demand(rights, privilege, parent, &within, parent_name)
        }
        Touch::Dropped | Touch::Altered => on_it(Privilege::Ownership),
        Touch::Inserted => on_it(Privilege::Insert),
        Touch::Deleted => on_it(Privilege::Delete),
        Touch::Copied => on_it(Privilege::Select),
    }
}

/// Fails if the plan reads a table that may not be read by whoever its name was resolved for: the statement's role, or the owner of
/// the view that it is in.
pub fn check_reads(plan: &LogicalPlan) -> Result<(), Failure> {
    let mut failed = None;
    let visited = plan.apply_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
        let Ok(provider) = source_as_provider(&scan.source) else { return Ok(TreeNodeRecursion::Continue) };
        let checked = match (provider.downcast_ref::<LakeTable>(), provider.get_logical_plan()) {
            (Some(table), _) => table.check_read(),
            (None, Some(inner)) => check_reads(&inner),
            (None, None) => Ok(()),
        };
        Ok(match checked {
            Ok(()) => TreeNodeRecursion::Continue,
            Err(failure) => {
                failed = Some(failure);
                TreeNodeRecursion::Stop
            }
        })
    });
    visited.map_err(|error| to_failure(&error))?;
    failed.map_or(Ok(()), Err)
}
