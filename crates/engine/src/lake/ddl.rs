//! Statements that change what there is: databases, schemas, tables, views, columns. Each becomes a transaction that the
//! coordinator commits.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::{ResolvedTableReference, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan};
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    self, AlterColumnOperation, AlterTableOperation, CreateView, Ident, ObjectName, ObjectType, RenameTableNameKind,
    SchemaName, Statement, TableFactor, VisitMut, VisitorMut,
};
use frazil_catalog::{Column, DefaultValue, Relation, Table, TableId, Transaction, from_arrow};
use frazil_common::{ErrorCode, Failure};

use super::clustering::keys_of;
use super::defaults::default_of;
use super::information::INFORMATION_SCHEMA;
use super::names::Lakes;
use super::past::look_back;
use super::statements::Kind;
use super::system::SYSTEM_SCHEMA;
use super::{Change, to_failure};
use crate::access::check_reads;
use crate::errors::to_failure as from_datafusion;

/// The dialect that views are kept in.
pub(super) const VIEW_DIALECT: &str = "frazil";

/// What a statement changes, if it is one of those that change what there is.
pub async fn plan_ddl(
    statement: &ParsedStatement,
    lakes: &Arc<Lakes>,
    state: &SessionState,
) -> Result<Option<Change>, Failure> {
    let ParsedStatement::Statement(statement) = statement else { return Ok(None) };
    let ddl = Ddl { lakes, state };
    let change = match statement.as_ref() {
        Statement::CreateDatabase { db_name, if_not_exists, .. } => {
            refuse_more(statement, "CREATE DATABASE", db_name, *if_not_exists)?;
            Change::CreateDatabase { name: one_part(db_name)?, if_not_exists: *if_not_exists }
        }
        Statement::CreateSchema { schema_name: SchemaName::Simple(name), if_not_exists, .. } => {
            refuse_more(statement, "CREATE SCHEMA", name, *if_not_exists)?;
            ddl.create_schema(name, *if_not_exists)?
        }
        Statement::Drop { object_type, if_exists, names, cascade, .. } => {
            let [name] = names.as_slice() else { return Err(not_supported("dropping several objects at once")) };
            match object_type {
                ObjectType::Database => Change::DropDatabase { name: one_part(name)?, if_exists: *if_exists },
                ObjectType::Schema => ddl.drop_schema(name, *if_exists, *cascade)?,
                ObjectType::Table | ObjectType::View => match ddl.drop_relation(name, *object_type, *if_exists)? {
                    Some(change) => change,
                    None => return Ok(None),
                },
                other => return Err(not_supported(&format!("DROP {other}"))),
            }
        }
        Statement::CreateView(view) => ddl.create_view(view).await?,
        Statement::AlterTable(alter) => ddl.alter_table(&alter.name, alter.if_exists, &alter.operations).await?,
        _ => return Ok(None),
    };
    Ok(Some(change))
}

/// The full name of a table or view.
pub(super) fn reference(name: &ObjectName, state: &SessionState) -> Result<ResolvedTableReference, Failure> {
    let reference = object_name_to_table_reference(name.clone(), true).map_err(|error| from_datafusion(&error))?;
    Ok(resolve(reference, state))
}

/// A schema's full name, which has one part less; the table is empty.
pub(super) fn schema_reference(name: &ObjectName, state: &SessionState) -> Result<ResolvedTableReference, Failure> {
    let reference = object_name_to_table_reference(name.clone(), true).map_err(|error| from_datafusion(&error))?;
    let default = &state.config_options().catalog.default_catalog;
    let (catalog, schema) = match &reference {
        TableReference::Bare { table } => (default.as_str(), table),
        TableReference::Partial { schema, table } => (schema.as_ref(), table),
        TableReference::Full { .. } => {
            return Err(Failure::new(ErrorCode::Syntax, format!("schema name \"{name}\" has too many parts")));
        }
    };
    Ok(ResolvedTableReference { catalog: catalog.into(), schema: schema.clone(), table: "".into() })
}

/// Every database has schemas of these names, which are not its own.
pub(super) fn refuse_reserved(schema: &str) -> Result<(), Failure> {
    match schema == SYSTEM_SCHEMA || schema == INFORMATION_SCHEMA {
        true => Err(Failure::new(ErrorCode::DuplicateSchema, format!("schema \"{schema}\" already exists"))),
        false => Ok(()),
    }
}

pub(super) fn refuse_external(lakes: &Lakes, name: &ResolvedTableReference) -> Result<(), Failure> {
    match lakes.external().has(&name.catalog, &name.schema, &name.table) {
        true => {
            let message = format!("table \"{}.{}\" already exists", name.schema, name.table);
            Err(Failure::new(ErrorCode::DuplicateTable, message))
        }
        false => Ok(()),
    }
}

/// A table's full name.
pub fn resolve(name: TableReference, state: &SessionState) -> ResolvedTableReference {
    let catalog = &state.config_options().catalog;
    name.resolve(&catalog.default_catalog, &catalog.default_schema)
}

/// `ALTER VIEW … RENAME TO …`. DuckLake has one row for each schema, so its name cannot change without having been another one in
/// the past as well; and a database is known by its name.
pub fn plan_rename(
    kind: Kind,
    name: &ObjectName,
    to: &ObjectName,
    lakes: &Lakes,
    state: &SessionState,
) -> Result<Change, Failure> {
    match kind {
        Kind::View => {}
        Kind::Schema => {
            let message = "ALTER SCHEMA … RENAME is not supported: CREATE SCHEMA … CLONE makes one of another name, and copies no data";
            return Err(Failure::new(ErrorCode::NotSupported, message));
        }
        Kind::Database => return Err(not_supported("ALTER DATABASE … RENAME")),
        Kind::Table => return Err(not_supported("this form of ALTER TABLE")),
    }
    let from = reference(name, state)?;
    let (mut transaction, _) = begin(lakes, &from)?;
    let contents = transaction.view();
    let view = contents.view(&from.schema, &from.table).map_err(|error| to_failure(&error))?;
    let to = new_name(to, &from)?;
    refuse_external(lakes, &ResolvedTableReference { table: to.as_str().into(), ..from.clone() })?;
    transaction.rename_view(view.id, &to).map_err(|error| to_failure(&error))?;
    Ok(commit(transaction, format!("view {} renamed to {to}", from.table)))
}

/// The last part of a new name, which must not lead elsewhere.
fn new_name(name: &ObjectName, from: &ResolvedTableReference) -> Result<String, Failure> {
    let to = object_name_to_table_reference(name.clone(), true).map_err(|error| from_datafusion(&error))?;
    let stays = to.schema().is_none_or(|schema| schema == &*from.schema)
        && to.catalog().is_none_or(|catalog| catalog == &*from.catalog);
    match stays {
        true => Ok(to.table().to_owned()),
        false => Err(not_supported(&format!("renaming \"{}.{}\" into another schema", from.schema, from.table))),
    }
}

/// A transaction on the database of a name.
pub fn begin(lakes: &Lakes, name: &ResolvedTableReference) -> Result<(Transaction, bool), Failure> {
    let Some(seen) = lakes.get(&name.catalog) else {
        return Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{}\" not found", name.catalog)));
    };
    lakes.check_schema(&name.catalog, &name.schema)?;
    let exists = seen.view.table(&name.schema, &name.table).is_ok();
    Ok((seen.begin(), exists))
}

/// The id of a name's table, or that it is not one.
pub fn table_id(transaction: &Transaction, name: &ResolvedTableReference) -> Result<TableId, Failure> {
    let view = transaction.view();
    view.table(&name.schema, &name.table).map(|table| table.id).map_err(|error| to_failure(&error))
}

/// Writes tables' full names into a query. Functions and the names of `WITH` stay.
struct Qualify<'a> {
    common: &'a HashSet<&'a str>,
    state: &'a SessionState,
}

impl VisitorMut for Qualify<'_> {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<DataFusionError> {
        let TableFactor::Table { name, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let reference = match object_name_to_table_reference(name.clone(), true) {
            Ok(reference) => reference,
            Err(error) => return ControlFlow::Break(error),
        };
        if reference.schema().is_some() || !self.common.contains(reference.table()) {
            let full = resolve(reference, self.state);
            let parts = [&full.catalog, &full.schema, &full.table];
            *name = ObjectName::from(parts.map(|part| Ident::with_quote('"', part.as_ref())).to_vec());
        }
        ControlFlow::Continue(())
    }
}

struct Ddl<'a> {
    lakes: &'a Arc<Lakes>,
    state: &'a SessionState,
}

impl Ddl<'_> {
    fn create_schema(&self, name: &ObjectName, if_not_exists: bool) -> Result<Change, Failure> {
        let reference = schema_reference(name, self.state)?;
        refuse_reserved(&reference.schema)?;
        let (mut transaction, _) = begin(self.lakes, &reference)?;
        if if_not_exists && transaction.view().schema(&reference.schema).is_ok() {
            return Ok(Change::Nothing { done: format!("schema {} exists already", reference.schema) });
        }
        transaction.create_schema(&reference.schema).map_err(|error| to_failure(&error))?;
        Ok(commit(transaction, format!("schema {} created", reference.schema)))
    }

    fn drop_schema(&self, name: &ObjectName, if_exists: bool, cascade: bool) -> Result<Change, Failure> {
        let reference = schema_reference(name, self.state)?;
        let (mut transaction, _) = begin(self.lakes, &reference)?;
        let id = match transaction.view().schema(&reference.schema) {
            Ok(schema) => schema.id,
            Err(_) if if_exists => {
                return Ok(Change::Nothing { done: format!("schema {} does not exist", reference.schema) });
            }
            Err(error) => return Err(to_failure(&error)),
        };
        if self.lakes.external().is_used(&reference.catalog, &reference.schema) {
            let message = format!("schema \"{}\" has external tables; drop them first", reference.schema);
            return Err(Failure::new(ErrorCode::DependentObjects, message));
        }
        transaction.drop_schema(id, cascade).map_err(|error| to_failure(&error))?;
        Ok(commit(transaction, format!("schema {} dropped", reference.schema)))
    }

    /// `None`: it is not the catalog's, but may be an external table.
    fn drop_relation(&self, name: &ObjectName, kind: ObjectType, if_exists: bool) -> Result<Option<Change>, Failure> {
        let reference = reference(name, self.state)?;
        let Some(seen) = self.lakes.get(&reference.catalog) else { return Ok(None) };
        self.lakes.check_schema(&reference.catalog, &reference.schema)?;
        let view = &seen.view;
        let relation =
            view.schema(&reference.schema).ok().and_then(|schema| view.relation(schema.id, &reference.table));
        let mut transaction = seen.begin();
        let wrong = |is: &str| {
            let message = format!("\"{}.{}\" is a {is}", reference.schema, reference.table);
            Err(Failure::new(ErrorCode::InvalidStatement, message))
        };
        match (relation, kind) {
            (Some(Relation::Table(id)), ObjectType::Table) => transaction.drop_table(id),
            (Some(Relation::View(id)), ObjectType::View) => transaction.drop_view(id),
            (Some(Relation::Table(_)), _) => return wrong("table, not a view"),
            (Some(Relation::View(_)), _) => return wrong("view, not a table"),
            (None, ObjectType::View) if if_exists => {
                return Ok(Some(Change::Nothing { done: format!("view {} does not exist", reference.table) }));
            }
            (None, ObjectType::View) => {
                let message = format!("view \"{}.{}\" not found", reference.schema, reference.table);
                return Err(Failure::new(ErrorCode::UndefinedTable, message));
            }
            (None, _) => return Ok(None),
        }
        .map_err(|error| to_failure(&error))?;
        let kind = if kind == ObjectType::View { "view" } else { "table" };
        Ok(Some(commit(transaction, format!("{kind} {} dropped", reference.table))))
    }

    async fn create_view(&self, view: &CreateView) -> Result<Change, Failure> {
        if view.materialized || view.temporary {
            return Err(not_supported("a materialized or temporary view"));
        }
        let reference = reference(&view.name, self.state)?;
        let (mut transaction, _) = begin(self.lakes, &reference)?;
        let mut query = view.query.clone();
        self.qualify(&mut query)?;
        let sql = match view.columns.is_empty() {
            true => query.to_string(),
            false => {
                let names = view.columns.iter().map(|column| column.name.to_string()).collect::<Vec<_>>().join(", ");
                format!("SELECT * FROM ({query}) AS v({names})")
            }
        };
        // It must be a query that can be planned now.
        let mut parsed = crate::dialect::parse(&sql, self.state).map_err(|error| from_datafusion(&error))?;
        look_back(&mut parsed, self.lakes, self.state).await?;
        let plan = self.state.statement_to_plan(parsed).await.map_err(|error| from_datafusion(&error))?;
        crate::planner::refuse_unsupported(&plan)?;
        check_reads(&plan)?;
        let contents = transaction.view();
        let schema = contents.schema(&reference.schema).map_err(|error| to_failure(&error))?.id;
        match contents.relation(schema, &reference.table) {
            Some(_) if view.if_not_exists => {
                return Ok(Change::Nothing { done: format!("view {} exists already", reference.table) });
            }
            Some(Relation::View(id)) if view.or_replace => {
                transaction.drop_view(id).map_err(|error| to_failure(&error))?;
            }
            _ => {}
        }
        refuse_external(self.lakes, &reference)?;
        transaction.create_view(schema, &reference.table, &sql, VIEW_DIALECT).map_err(|error| to_failure(&error))?;
        Ok(commit(transaction, format!("view {} created", reference.table)))
    }

    /// Gives tables their full names, so that a view means the same to everyone who looks.
    fn qualify(&self, query: &mut ast::Query) -> Result<(), Failure> {
        let statement = ParsedStatement::Statement(Box::new(Statement::Query(Box::new(query.clone()))));
        let (tables, ctes) = resolve_table_references(&statement, true).map_err(|error| from_datafusion(&error))?;
        let common: HashSet<&str> = ctes.iter().map(TableReference::table).collect();
        if let Some(both) = tables.iter().find(|table| table.schema().is_none() && common.contains(table.table())) {
            let message = format!("\"{}\" is a table and the name of a WITH query of the view", both.table());
            return Err(Failure::new(ErrorCode::InvalidStatement, message));
        }
        match query.visit(&mut Qualify { common: &common, state: self.state }) {
            ControlFlow::Break(error) => Err(from_datafusion(&error)),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    async fn alter_table(
        &self,
        name: &ObjectName,
        if_exists: bool,
        operations: &[AlterTableOperation],
    ) -> Result<Change, Failure> {
        let reference = reference(name, self.state)?;
        let (mut transaction, exists) = begin(self.lakes, &reference)?;
        if !exists && if_exists {
            return Ok(Change::Nothing { done: format!("table {} does not exist", reference.table) });
        }
        let id = table_id(&transaction, &reference)?;
        for operation in operations {
            self.alter(&mut transaction, &reference, id, operation).await?;
        }
        Ok(commit(transaction, format!("table {} altered", reference.table)))
    }

    async fn alter(
        &self,
        transaction: &mut Transaction,
        reference: &ResolvedTableReference,
        id: TableId,
        operation: &AlterTableOperation,
    ) -> Result<(), Failure> {
        let view = transaction.view();
        let table: &Table = view.table_by_id(id).map_err(|error| to_failure(&error))?;
        let column = |ident: &Ident| {
            let name = normal(ident);
            table.column(&name).map(|column| column.id).map_err(|error| to_failure(&error))
        };
        match operation {
            AlterTableOperation::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
                if *if_not_exists && table.column(&normal(&column_def.name)).is_ok() {
                    return Ok(());
                }
                let added = self.column_of(column_def).await?;
                if let Some(DefaultValue::Expression(text)) = &added.default {
                    return Err(not_supported(&format!("ADD COLUMN with the default {text}: only literals are")));
                }
                if !added.nulls_allowed && added.default.is_none() {
                    let message =
                        format!("column \"{}\" is NOT NULL and has no DEFAULT for the rows that are there", added.name);
                    return Err(Failure::new(ErrorCode::NotNullViolation, message));
                }
                transaction.add_column(id, None, added).map(|_| ())
            }
            AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
                for name in column_names {
                    match column(name) {
                        Err(_) if *if_exists => continue,
                        found => transaction.drop_column(id, found?).map_err(|error| to_failure(&error))?,
                    }
                }
                Ok(())
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                transaction.rename_column(id, column(old_column_name)?, &normal(new_column_name))
            }
            AlterTableOperation::RenameTable {
                table_name: RenameTableNameKind::To(name) | RenameTableNameKind::As(name),
            } => {
                let to = new_name(name, reference)?;
                refuse_external(
                    self.lakes,
                    &ResolvedTableReference { table: to.as_str().into(), ..reference.clone() },
                )?;
                transaction.rename_table(id, &to)
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                let column = column(column_name)?;
                match op {
                    AlterColumnOperation::SetNotNull => {
                        let statistics = transaction.table_statistics(id, &[column]).await;
                        let statistics = statistics.map_err(|error| to_failure(&error))?;
                        // A commit that adds rows meanwhile excludes this one.
                        match statistics.columns.first().and_then(|known| known.null_count) {
                            Some(0) => transaction.set_nulls_allowed(id, column, false),
                            Some(_) => {
                                let message = format!(
                                    "column \"{column_name}\" has nulls, in rows that are there or were deleted"
                                );
                                return Err(Failure::new(ErrorCode::NotNullViolation, message));
                            }
                            None => {
                                let what = "SET NOT NULL on a column of which not all files tell whether it has nulls";
                                return Err(not_supported(what));
                            }
                        }
                    }
                    AlterColumnOperation::DropNotNull => transaction.set_nulls_allowed(id, column, true),
                    AlterColumnOperation::DropDefault => transaction.set_default(id, column, None),
                    AlterColumnOperation::SetDefault { value } => {
                        let definition = ast::ColumnDef {
                            name: column_name.clone(),
                            data_type: ast::DataType::Text,
                            options: vec![ast::ColumnOptionDef {
                                name: None,
                                option: ast::ColumnOption::Default(value.clone()),
                            }],
                        };
                        let default = self.column_of(&definition).await?.default;
                        transaction.set_default(id, column, default)
                    }
                    AlterColumnOperation::SetDataType { data_type, using: None, .. } => {
                        let definition =
                            ast::ColumnDef { name: column_name.clone(), data_type: data_type.clone(), options: vec![] };
                        let wider = self.column_of(&definition).await?.column_type;
                        transaction.widen_column(id, column, wider)
                    }
                    other => return Err(not_supported(&format!("ALTER COLUMN {other}"))),
                }
            }
            AlterTableOperation::ClusterBy { exprs } => transaction.set_sort_keys(id, keys_of(exprs, table, normal)?),
            AlterTableOperation::DropClusteringKey => transaction.set_sort_keys(id, vec![]),
            other => return Err(not_supported(&format!("ALTER TABLE {other}"))),
        }
        .map_err(|error| to_failure(&error))
    }

    /// What DataFusion makes of a definition.
    async fn column_of(&self, definition: &ast::ColumnDef) -> Result<Column, Failure> {
        let create = format!("CREATE TABLE added ({definition})");
        let plan = self.state.create_logical_plan(&create).await.map_err(|error| from_datafusion(&error))?;
        let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = plan else {
            return Err(not_supported(&format!("the column definition {definition}")));
        };
        let mut column = from_arrow(create.input.schema().field(0)).map_err(|error| to_failure(&error))?;
        if let Some((_, default)) = create.column_defaults.first() {
            column.default = Some(default_of(default)?);
        }
        Ok(column)
    }
}

/// The parser knows more of these statements than is done.
fn refuse_more(statement: &Statement, what: &str, name: &ObjectName, if_not_exists: bool) -> Result<(), Failure> {
    let all = format!("{what} {}{name}", if if_not_exists { "IF NOT EXISTS " } else { "" });
    match statement.to_string() == all {
        true => Ok(()),
        false => Err(not_supported(&format!("{statement}: only {all}"))),
    }
}

pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Defaults are literals for now: expressions are kept in DuckDB's dialect, which is not ours.
pub(super) fn literal_text(default: &Expr) -> Result<String, Failure> {
    match default {
        Expr::Literal(value, _) if !value.is_null() => Ok(value.to_string()),
        Expr::Negative(inner) => literal_text(inner).map(|text| format!("-{text}")),
        Expr::Cast(cast) => literal_text(&cast.expr),
        other => Err(not_supported(&format!("the default {other}: only literals are"))),
    }
}

pub(super) fn commit(transaction: Transaction, done: String) -> Change {
    Change::Commit { transaction: Box::new(transaction), done }
}

pub(super) fn one_part(name: &ObjectName) -> Result<String, Failure> {
    let reference = object_name_to_table_reference(name.clone(), true).map_err(|error| from_datafusion(&error))?;
    match reference {
        TableReference::Bare { table } => Ok(table.to_string()),
        _ => Err(Failure::new(ErrorCode::Syntax, format!("database name \"{name}\" has too many parts"))),
    }
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
