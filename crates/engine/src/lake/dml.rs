//! Statements that write rows: `CREATE TABLE`, `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`. Each becomes a transaction that lacks only
//! its new files, and a query that writes them.
//!
//! Files are never changed. `UPDATE` and `DELETE` write anew, without or with other rows, the files that may hold a row they
//! mean, as far as the catalog's statistics tell.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column as NamedColumn, DFSchema};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, DmlStatement, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableScan,
    Values, WriteOp, cast, lit, when,
};
use frazil_catalog::{Column, DataFile, DefaultValue, FileFilter, Relation, Table, TableId, Transaction, from_arrow};
use frazil_common::{ErrorCode, Failure};

use super::change::{WriteKind, Written};
use super::columns::table_schema;
use super::ddl::{begin, literal_text, resolve, table_id};
use super::names::Lakes;
use super::table::LakeTable;
use super::write::WriteTarget;
use super::{Change, to_failure};
use crate::errors::to_failure as from_datafusion;

/// The last column of rewritten rows: whether the statement has changed the row.
const CHANGED: &str = "__frazil_changed";

pub enum PlannedWrite {
    /// Rows of `input` go into files, which complete `written`.
    Rows {
        input: Box<LogicalPlan>,
        target: WriteTarget,
        table_schema: SchemaRef,
        written: Written,
    },
    /// No rows are written: the transaction is complete, and `rows` is what it counts.
    NoRows {
        written: Written,
        rows: i64,
    },
    Change(Change),
}

/// Plans a statement that writes, if it is one. `file_bytes`: of a file that is full.
pub async fn plan_write(
    plan: &LogicalPlan,
    lakes: &Lakes,
    state: &SessionState,
    file_bytes: u64,
) -> Result<Option<PlannedWrite>, Failure> {
    let dml = Dml { lakes, state, file_bytes };
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => dml.create_table(create).await.map(Some),
        LogicalPlan::Dml(statement) => dml.write(statement).await.map(Some),
        _ => Ok(None),
    }
}

struct Dml<'a> {
    lakes: &'a Lakes,
    state: &'a SessionState,
    file_bytes: u64,
}

impl Dml<'_> {
    async fn create_table(&self, create: &CreateMemoryTable) -> Result<PlannedWrite, Failure> {
        if create.temporary {
            return Err(not_supported("a temporary table"));
        }
        if create.constraints.iter().next().is_some() {
            return Err(not_supported("a PRIMARY KEY or UNIQUE constraint"));
        }
        let reference = resolve(create.name.clone(), self.state);
        let (mut transaction, _) = begin(self.lakes, &reference)?;
        let view = transaction.view();
        let schema = view.schema(&reference.schema).map_err(|error| to_failure(&error))?.id;
        let external = self.lakes.external().has(&reference.catalog, &reference.schema, &reference.table);
        match view.relation(schema, &reference.table) {
            relation if create.if_not_exists && (relation.is_some() || external) => {
                let done = format!("table {} exists already", reference.table);
                return Ok(PlannedWrite::Change(Change::Nothing { done }));
            }
            Some(Relation::Table(id)) if create.or_replace => {
                transaction.drop_table(id).map_err(|error| to_failure(&error))?;
            }
            // Said by the transaction for its own tables and views.
            None if external => {
                let message = format!("table \"{}.{}\" already exists", reference.schema, reference.table);
                return Err(Failure::new(ErrorCode::DuplicateTable, message));
            }
            _ => {}
        }
        let columns = self.new_columns(create)?;
        let id = transaction.create_table(schema, &reference.table, columns).map_err(|error| to_failure(&error))?;
        let rows = match create.input.as_ref() {
            LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
            _ => true,
        };
        if !rows {
            let done = format!("table {} created", reference.table);
            return Ok(PlannedWrite::Change(Change::Commit { transaction: Box::new(transaction), done }));
        }
        self.append(create.input.as_ref().clone(), transaction, id, WriteKind::Created)
    }

    fn new_columns(&self, create: &CreateMemoryTable) -> Result<Vec<Column>, Failure> {
        let mut names = HashSet::new();
        let columns = create.input.schema().fields().iter().map(|field| {
            if !names.insert(field.name()) {
                let message = format!("column \"{}\" is there twice; name one of them with AS", field.name());
                return Err(Failure::new(ErrorCode::DuplicateColumn, message));
            }
            // Ids of the columns that rows come from mean nothing here.
            let plain = field.as_ref().clone().with_metadata(Default::default());
            let mut column = from_arrow(&plain).map_err(|error| to_failure(&error))?;
            if let Some((_, default)) = create.column_defaults.iter().find(|(name, _)| name == field.name()) {
                column.default = Some(DefaultValue::Literal(literal_text(default)?));
            }
            Ok(column)
        });
        let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
        // Of a query's columns it is chance whether they can be null; of declared ones it is said.
        if !matches!(create.input.as_ref(), LogicalPlan::EmptyRelation(_)) && create.column_defaults.is_empty() {
            columns.iter_mut().for_each(|column| column.nulls_allowed = true);
        }
        Ok(columns)
    }

    async fn write(&self, statement: &DmlStatement) -> Result<PlannedWrite, Failure> {
        let reference = resolve(statement.table_name.clone(), self.state);
        let provider = source_as_provider(&statement.target).map_err(|error| from_datafusion(&error))?;
        let Some(table) = provider.downcast_ref::<LakeTable>() else {
            let message = format!("\"{}.{}\" can only be read", reference.schema, reference.table);
            return Err(Failure::new(ErrorCode::AccessDenied, message));
        };
        let (mut transaction, _) = begin(self.lakes, &reference)?;
        let id = table_id(&transaction, &reference)?;
        match &statement.op {
            WriteOp::Insert(InsertOp::Append) => {
                self.append(statement.input.as_ref().clone(), transaction, id, WriteKind::Inserted)
            }
            WriteOp::Insert(InsertOp::Overwrite) => {
                let all = transaction.files(id, &FileFilter::default()).await.map_err(|error| to_failure(&error))?;
                let all: Vec<_> = all.iter().map(|file| file.id).collect();
                transaction.remove_files(id, &all).map_err(|error| to_failure(&error))?;
                self.append(statement.input.as_ref().clone(), transaction, id, WriteKind::Inserted)
            }
            WriteOp::Truncate => self.delete_all(transaction, id).await,
            WriteOp::Delete => match source_of(&statement.input)? {
                (None, _) => self.delete_all(transaction, id).await,
                (Some(predicate), scan) => self.delete(predicate, scan, table, transaction, id).await,
            },
            WriteOp::Update => self.update(statement, table, transaction, id).await,
            other => Err(not_supported(&other.name().to_uppercase())),
        }
    }

    /// Rows of `input`, whose columns are the table's in their order, go into new files.
    fn append(
        &self,
        input: LogicalPlan,
        transaction: Transaction,
        id: TableId,
        kind: WriteKind,
    ) -> Result<PlannedWrite, Failure> {
        let input = with_nulls(input).map_err(|error| from_datafusion(&error))?;
        self.rows(input, transaction, id, kind, 0)
    }

    fn rows(
        &self,
        input: LogicalPlan,
        transaction: Transaction,
        id: TableId,
        kind: WriteKind,
        rows_before: i64,
    ) -> Result<PlannedWrite, Failure> {
        let view = transaction.view();
        let table: &Arc<Table> = view.table_by_id(id).map_err(|error| to_failure(&error))?;
        let schema = table_schema(table).map_err(|error| to_failure(&error))?;
        let marked = kind == WriteKind::Updated;
        let input = Box::new(as_columns(input, &schema, marked).map_err(|error| from_datafusion(&error))?);
        let target = WriteTarget {
            table: view.full_name(table),
            location: table.location.clone(),
            file_bytes: self.file_bytes,
            marked,
        };
        let written = Written { transaction: Box::new(transaction), table: id, kind, rows_before };
        Ok(PlannedWrite::Rows { input, target, table_schema: schema, written })
    }

    async fn delete_all(&self, mut transaction: Transaction, id: TableId) -> Result<PlannedWrite, Failure> {
        let statistics = transaction.table_statistics(id, &[]).await.map_err(|error| to_failure(&error))?;
        transaction.truncate_table(id).await.map_err(|error| to_failure(&error))?;
        let kind = WriteKind::Deleted;
        let written = Written { transaction: Box::new(transaction), table: id, kind, rows_before: statistics.rows };
        Ok(PlannedWrite::NoRows { written, rows: statistics.rows })
    }

    async fn delete(
        &self,
        predicate: &Expr,
        scan: &TableScan,
        table: &LakeTable,
        transaction: Transaction,
        id: TableId,
    ) -> Result<PlannedWrite, Failure> {
        let Some((transaction, source, rows)) = self.rewritten(predicate, scan, table, transaction, id).await? else {
            return self.nothing(table, id, WriteKind::Deleted);
        };
        // What is neither true nor false stays.
        let kept = LogicalPlanBuilder::from(source).filter(Expr::IsNotTrue(Box::new(predicate.clone())));
        let kept = kept.and_then(LogicalPlanBuilder::build).map_err(|error| from_datafusion(&error))?;
        self.rows(kept, transaction, id, WriteKind::Deleted, rows)
    }

    async fn update(
        &self,
        statement: &DmlStatement,
        table: &LakeTable,
        transaction: Transaction,
        id: TableId,
    ) -> Result<PlannedWrite, Failure> {
        let LogicalPlan::Projection(values) = statement.input.as_ref() else {
            return Err(not_supported("an UPDATE of this form"));
        };
        let (predicate, scan) = source_of(&values.input)?;
        let predicate = predicate.cloned().unwrap_or_else(|| lit(true));
        if predicate.is_volatile() {
            // It is evaluated for each column, and would mean other rows each time.
            return Err(not_supported("an UPDATE whose condition gives another value each time"));
        }
        let Some((transaction, source, _)) = self.rewritten(&predicate, scan, table, transaction, id).await? else {
            return self.nothing(table, id, WriteKind::Updated);
        };
        let build = || {
            let changed = Expr::IsTrue(Box::new(predicate.clone()));
            let mut columns = Vec::with_capacity(values.expr.len() + 1);
            for (value, field) in values.expr.iter().zip(statement.target.schema().fields()) {
                let name = field.name();
                let old = Expr::Column(NamedColumn::new(Some(scan.table_name.clone()), name));
                let new = value.clone().unalias();
                let column = match new == old {
                    true => old,
                    false => when(changed.clone(), new).otherwise(old)?,
                };
                columns.push(column.alias(name));
            }
            columns.push(changed.alias(CHANGED));
            LogicalPlanBuilder::from(source).project(columns)?.build()
        };
        let rewritten = build().map_err(|error| from_datafusion(&error))?;
        self.rows(rewritten, transaction, id, WriteKind::Updated, 0)
    }

    /// The files that may hold rows for which the predicate is true, taken out of the table and as a scan; and their rows.
    async fn rewritten(
        &self,
        predicate: &Expr,
        scan: &TableScan,
        table: &LakeTable,
        mut transaction: Transaction,
        id: TableId,
    ) -> Result<Option<(Transaction, LogicalPlan, i64)>, Failure> {
        let filters = std::slice::from_ref(predicate);
        let files = table.files_for(filters).await.map_err(|error| from_datafusion(&error))?;
        if files.is_empty() {
            return Ok(None);
        }
        let deleted = |file: &DataFile| file.delete_file.as_ref().map_or(0, |deleted| deleted.delete_count);
        let rows = files.iter().map(|file| file.record_count - deleted(file)).sum();
        let ids: Vec<_> = files.iter().map(|file| file.id).collect();
        transaction.remove_files(id, &ids).map_err(|error| to_failure(&error))?;
        let source = provider_as_source(Arc::new(table.restricted(files)));
        let source = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None);
        let source = source.and_then(LogicalPlanBuilder::build).map_err(|error| from_datafusion(&error))?;
        Ok(Some((transaction, source, rows)))
    }

    fn nothing(&self, table: &LakeTable, id: TableId, kind: WriteKind) -> Result<PlannedWrite, Failure> {
        let transaction = Box::new(table.seen.begin());
        Ok(PlannedWrite::NoRows { written: Written { transaction, table: id, kind, rows_before: 0 }, rows: 0 })
    }
}

/// The rows that a `DELETE` or `UPDATE` means: a scan of its table, filtered or not.
fn source_of(input: &LogicalPlan) -> Result<(Option<&Expr>, &TableScan), Failure> {
    match input {
        LogicalPlan::TableScan(scan) => Ok((None, scan)),
        LogicalPlan::Filter(filter) => match filter.input.as_ref() {
            LogicalPlan::TableScan(scan) => Ok((Some(&filter.predicate), scan)),
            _ => Err(not_supported("a DELETE or UPDATE with another table")),
        },
        _ => Err(not_supported("a DELETE or UPDATE with another table")),
    }
}

/// `VALUES` of an `INSERT` claim to be as free of nulls as the table's columns are, and would fail under names of their own.
fn with_nulls(input: LogicalPlan) -> datafusion::error::Result<LogicalPlan> {
    let relaxed = input.transform_up(|node| {
        let LogicalPlan::Values(values) = node else { return node.recompute_schema().map(Transformed::yes) };
        let fields = values
            .schema
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true))));
        let schema = DFSchema::new_with_metadata(fields.collect(), values.schema.metadata().clone())?;
        Ok(Transformed::yes(LogicalPlan::Values(Values { schema: Arc::new(schema), values: values.values })))
    });
    relaxed.data()
}

/// Casts to the table's types, in its order.
fn as_columns(input: LogicalPlan, schema: &SchemaRef, marked: bool) -> datafusion::error::Result<LogicalPlan> {
    let given = input.schema().clone();
    let own = given.iter().zip(schema.fields()).map(|((qualifier, field), target)| {
        let column = Expr::Column(NamedColumn::new(qualifier.cloned(), field.name()));
        let column = match field.data_type() == target.data_type() {
            true => column,
            false => cast(column, target.data_type().clone()),
        };
        column.alias(target.name())
    });
    let mut columns: Vec<Expr> = own.collect();
    if marked && let Some((qualifier, field)) = given.iter().last() {
        columns.push(Expr::Column(NamedColumn::new(qualifier.cloned(), field.name())));
    }
    for column in &columns {
        column.get_type(&given)?;
    }
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
