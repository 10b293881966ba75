//! `CREATE TABLE | SCHEMA | DATABASE … CLONE …`: new names for files that are there. No data are copied.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::ResolvedTableReference;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, TableFactor, VisitMut, VisitorMut};
use frazil_catalog::{
    At, Database, ObjectId, ObjectKind, Pin, Privilege, Relation, Rights, SchemaId, SnapshotView, Transaction, View,
};
use frazil_common::{ErrorCode, Failure};

use super::ddl::{self, VIEW_DIALECT, begin, commit};
use super::names::Lakes;
use super::past::moment;
use super::statements::{CloneStatement, Kind};
use super::{Change, to_failure};
use crate::access::demand;
use crate::errors::to_failure as from_datafusion;

pub async fn plan_clone(
    statement: &CloneStatement,
    lakes: &Arc<Lakes>,
    state: &SessionState,
) -> Result<Change, Failure> {
    if lakes.transaction().is_some() {
        return Err(not_supported("CLONE in a transaction"));
    }
    let at = match &statement.version {
        None => At::Latest,
        Some(version) => moment(version, state).await?,
    };
    let cloning = Cloning { statement, lakes, state };
    match statement.kind {
        Kind::Database => cloning.database(at),
        Kind::Schema => cloning.schema(at).await,
        Kind::Table => cloning.table(at).await,
        Kind::View => Err(not_supported("cloning a view")),
    }
}

struct Cloning<'a> {
    statement: &'a CloneStatement,
    lakes: &'a Arc<Lakes>,
    state: &'a SessionState,
}

impl Cloning<'_> {
    fn database(&self, at: At) -> Result<Change, Failure> {
        if self.statement.or_replace {
            return Err(not_supported("CREATE OR REPLACE DATABASE"));
        }
        let source = ddl::one_part(&self.statement.source)?;
        if self.lakes.get(&source).is_none() {
            return Err(undefined_database(&source));
        }
        let name = ddl::one_part(&self.statement.name)?;
        Ok(Change::CloneDatabase { source, at, name, if_not_exists: self.statement.if_not_exists })
    }

    async fn schema(&self, at: At) -> Result<Change, Failure> {
        let target = ddl::schema_reference(&self.statement.name, self.state)?;
        ddl::refuse_reserved(&target.schema)?;
        let source = ddl::schema_reference(&self.statement.source, self.state)?;
        let (mut transaction, _) = begin(self.lakes, &target)?;
        if transaction.view().schema(&target.schema).is_ok() {
            if self.statement.if_not_exists {
                return Ok(Change::Nothing { done: format!("schema {} exists already", target.schema) });
            }
            if self.statement.or_replace {
                return Err(not_supported("CREATE OR REPLACE SCHEMA"));
            }
        }
        let (database, view, _pin) = self.source(&source, at).await?;
        let former = view.schema(&source.schema).map_err(|error| to_failure(&error))?.id;
        let new = transaction.create_schema(&target.schema).map_err(|error| to_failure(&error))?;
        let from = Place { database: &source.catalog, schema: Some(&source.schema) };
        let to = Place { database: &target.catalog, schema: Some(&target.schema) };
        let original = Original { database: &database, view: &view, schema: former, place: from };
        copy_schema(&mut transaction, original, new, to, self.lakes.rights()).await?;
        Ok(commit(transaction, format!("schema {} cloned from {}", target.schema, source.schema)))
    }

    async fn table(&self, at: At) -> Result<Change, Failure> {
        let target = ddl::reference(&self.statement.name, self.state)?;
        let source = ddl::reference(&self.statement.source, self.state)?;
        let (mut transaction, _) = begin(self.lakes, &target)?;
        let (database, view, _pin) = self.source(&source, at).await?;
        let relation = view.schema(&source.schema).ok().and_then(|schema| view.relation(schema.id, &source.table));
        let original = match relation {
            Some(Relation::Table(id)) => id,
            Some(Relation::View(_)) => {
                let message = format!("\"{}.{}\" is a view: only a table can be cloned", source.schema, source.table);
                return Err(Failure::new(ErrorCode::InvalidStatement, message));
            }
            None => {
                if self.lakes.external().has(&source.catalog, &source.schema, &source.table) {
                    let what = format!("cloning external table \"{}.{}\"", source.schema, source.table);
                    return Err(not_supported(&what));
                }
                let message = format!("table \"{}.{}\" not found", source.schema, source.table);
                return Err(Failure::new(ErrorCode::UndefinedTable, message));
            }
        };
        let contents = transaction.view();
        let schema = contents.schema(&target.schema).map_err(|error| to_failure(&error))?.id;
        match contents.relation(schema, &target.table) {
            Some(_) if self.statement.if_not_exists => {
                return Ok(Change::Nothing { done: format!("table {} exists already", target.table) });
            }
            Some(Relation::Table(id)) if self.statement.or_replace => {
                transaction.drop_table(id).map_err(|error| to_failure(&error))?;
            }
            _ => {}
        }
        ddl::refuse_external(self.lakes, &target)?;
        let cloned = transaction.clone_table(&database, &view, original, schema, &target.table).await;
        cloned.map_err(|error| to_failure(&error))?;
        Ok(commit(transaction, format!("table {} cloned from {}", target.table, source.table)))
    }

    async fn source(
        &self,
        name: &ResolvedTableReference,
        at: At,
    ) -> Result<(Database, Arc<SnapshotView>, Pin), Failure> {
        let Some(seen) = self.lakes.get(&name.catalog) else {
            return Err(undefined_database(&name.catalog));
        };
        self.lakes.check_schema(&name.catalog, &name.schema)?;
        let (view, pin) = match at {
            // As the statement sees it.
            At::Latest => (seen.view.clone(), seen.database.pin(seen.view.snapshot.id)),
            at => seen.database.pinned(at).await.map_err(|error| to_failure(&error))?,
        };
        Ok((seen.database.clone(), view, pin))
    }
}

/// A schema that is cloned, as it is seen.
struct Original<'a> {
    database: &'a Database,
    view: &'a SnapshotView,
    schema: SchemaId,
    place: Place<'a>,
}

async fn copy_schema(
    transaction: &mut Transaction,
    original: Original<'_>,
    new: SchemaId,
    to: Place<'_>,
    rights: &Rights,
) -> Result<(), Failure> {
    let Original { database, view, schema: former, place: from } = original;
    let tables: Vec<_> = view.tables().filter(|table| table.schema_id == former).cloned().collect();
    for table in tables {
        let cloned = transaction.clone_table(database, view, table.id, new, &table.name).await;
        cloned.map_err(|error| to_failure(&error))?;
    }
    for view in view.views().filter(|view| view.schema_id == former) {
        let id = ObjectId::within(database.id(), &view.uuid);
        demand(rights, Privilege::Select, ObjectKind::View, &id, &view.name)?;
        let sql = query_elsewhere(view, from, to)?;
        transaction.create_view(new, &view.name, &sql, &view.dialect).map_err(|error| to_failure(&error))?;
    }
    Ok(())
}

/// What is cloned, and what it is cloned to: a database, or one of its schemas.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub database: &'a str,
    pub schema: Option<&'a str>,
}

/// A view's query in the clone: it looks at the clone's tables where it looked at the original's. What it looks at as it was
/// at a snapshot stays the original's, since the clone has no such snapshot.
pub fn query_elsewhere(view: &View, from: Place<'_>, to: Place<'_>) -> Result<String, Failure> {
    // DuckDB's have names as DuckDB resolves them.
    if view.dialect != VIEW_DIALECT {
        return Ok(view.sql.clone());
    }
    let mut statement = crate::dialect::parse_query(&view.sql).map_err(|error| from_datafusion(&error))?;
    if let ParsedStatement::Statement(statement) = &mut statement {
        let _ = statement.visit(&mut Move { from, to });
    }
    Ok(statement.to_string())
}

struct Move<'a> {
    from: Place<'a>,
    to: Place<'a>,
}

impl VisitorMut for Move<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, version: None, .. } = factor
            && let [database, schema, table] = name.0.as_slice()
            && let (Some(database), Some(schema)) = (database.as_ident(), schema.as_ident())
            && database.value == self.from.database
            && self.from.schema.is_none_or(|from| schema.value == from)
        {
            let schema = self.to.schema.map_or_else(|| schema.clone(), |to| Ident::with_quote('"', to));
            let moved = vec![Ident::with_quote('"', self.to.database), schema];
            let mut moved = ObjectName::from(moved);
            moved.0.push(table.clone());
            *name = moved;
        }
        ControlFlow::Continue(())
    }
}

fn undefined_database(name: &str) -> Failure {
    Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{name}\" not found"))
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
