//! Statements that write rows: `CREATE TABLE`, `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`. Each becomes a transaction that lacks only
//! its new files, and a query that writes them.
//!
//! Files are never changed. `UPDATE`, `DELETE` and `MERGE` find the places of the rows they mean (`rows`, `merge`), write new ones, and
//! note the old ones as deleted.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column as NamedColumn, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, DmlStatement, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Values,
    WriteOp, cast,
};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use frazil_catalog::{Column, ColumnType, FileFilter, Relation, Table, TableId, Transaction, from_arrow};
use frazil_common::{ErrorCode, Failure};

use super::change::{WriteKind, Written};
use super::clustering::{keys_of, order_of};
use super::columns::table_schema;
use super::ddl::{begin, normal, resolve, table_id};
use super::declared::Declared;
use super::defaults::default_of;
use super::merge::{self, Merged, Spelling};
use super::names::Lakes;
use super::rows::{self, RowChanges};
use super::table::LakeTable;
use super::write::WriteTarget;
use super::{Change, to_failure};
use crate::errors::to_failure as from_datafusion;

/// How tables are written.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Of a file that is full.
    pub file_bytes: u64,
    /// A file of which more rows are deleted than this part is written anew.
    pub deleted_part_max: f64,
}

pub enum PlannedWrite {
    /// Rows of `input` go into files, which complete `written`.
    Rows {
        input: Box<LogicalPlan>,
        target: WriteTarget,
        table_schema: SchemaRef,
        /// Of a clustered table.
        order: Option<LexOrdering>,
        written: Written,
    },
    /// Files are written anew; the plan is whole.
    Compact {
        plan: Arc<dyn ExecutionPlan>,
        written: Written,
        bytes: u64,
        partitions: usize,
    },
    /// Rows of a table change; `changes` completes the plan.
    Changes {
        input: Box<LogicalPlan>,
        changes: RowChanges,
        written: Written,
    },
    /// No rows are written: the transaction is complete, and `rows` is what it counts.
    NoRows {
        written: Written,
        rows: i64,
    },
    Change(Change),
}

/// Plans a statement that writes, if it is one. `spelling`: what a merge was written as; `declared`: of a table that
/// is created.
pub async fn plan_write(
    plan: &LogicalPlan,
    spelling: Spelling,
    declared: &Declared,
    lakes: &Lakes,
    state: &SessionState,
    options: WriteOptions,
) -> Result<Option<PlannedWrite>, Failure> {
    let dml = Dml { lakes, state, spelling, declared, options };
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => dml.create_table(create).await.map(Some),
        LogicalPlan::Dml(statement) => dml.write(statement).await.map(Some),
        _ => Ok(None),
    }
}

struct Dml<'a> {
    lakes: &'a Lakes,
    state: &'a SessionState,
    spelling: Spelling,
    declared: &'a Declared,
    options: WriteOptions,
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
        if let Some(keys) = &self.declared.cluster_by {
            let view = transaction.view();
            let table = view.table_by_id(id).map_err(|error| to_failure(&error))?;
            let keys = keys_of(keys, table, normal)?;
            transaction.set_sort_keys(id, keys).map_err(|error| to_failure(&error))?;
        }
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
                column.default = Some(default_of(default)?);
            }
            Ok(column)
        });
        let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
        // Of a query's columns it is chance whether they can be null: what was declared counts.
        if !matches!(create.input.as_ref(), LogicalPlan::EmptyRelation(_)) {
            columns.iter_mut().for_each(allow_nulls);
            let not_null = |column: &&mut Column| self.declared.not_null.contains(&column.name);
            columns.iter_mut().filter(not_null).for_each(|column| column.nulls_allowed = false);
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
            WriteOp::Delete if matches!(statement.input.as_ref(), LogicalPlan::TableScan(_)) => {
                self.delete_all(transaction, id).await
            }
            WriteOp::Delete => {
                let (input, changes) = rows::delete(&statement.input, table)?;
                self.changes(input, changes, table, transaction, WriteKind::Deleted)
            }
            WriteOp::Update => {
                let (input, changes) = rows::update(&statement.input, table)?;
                self.changes(input, changes, table, transaction, WriteKind::Updated)
            }
            WriteOp::MergeInto(merge) => {
                let (merged, kind) = merge::plan(statement, merge, table, self.spelling)?;
                match merged {
                    Merged::Changes(input, changes) => self.changes(input, changes, table, transaction, kind),
                    Merged::Appends(input) => self.append(input, transaction, id, kind),
                }
            }
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
        let view = transaction.view();
        let table: &Arc<Table> = view.table_by_id(id).map_err(|error| to_failure(&error))?;
        let schema = table_schema(table).map_err(|error| to_failure(&error))?;
        let input = Box::new(as_columns(input, &schema).map_err(|error| from_datafusion(&error))?);
        let target = self.target(view.full_name(table), table);
        let order = order_of(table);
        let written = Written { transaction: Box::new(transaction), table: id, kind, compaction: None };
        Ok(PlannedWrite::Rows { input, target, table_schema: schema, order, written })
    }

    fn target(&self, name: String, table: &Table) -> WriteTarget {
        let file_bytes = self.options.file_bytes;
        WriteTarget { table: name, location: table.location.clone(), file_bytes, file_rows: u64::MAX }
    }

    /// The rows of `input` are changes of the table's.
    fn changes(
        &self,
        input: LogicalPlan,
        mut changes: RowChanges,
        table: &LakeTable,
        transaction: Transaction,
        kind: WriteKind,
    ) -> Result<PlannedWrite, Failure> {
        let input = match changes.writes {
            true => as_columns(input, table.columns()).map_err(|error| from_datafusion(&error))?,
            false => input,
        };
        changes.target = self.target(transaction.view().full_name(&table.table), &table.table);
        changes.deleted_part_max = self.options.deleted_part_max;
        let written = Written { transaction: Box::new(transaction), table: table.table.id, kind, compaction: None };
        Ok(PlannedWrite::Changes { input: Box::new(input), changes, written })
    }

    async fn delete_all(&self, mut transaction: Transaction, id: TableId) -> Result<PlannedWrite, Failure> {
        let statistics = transaction.table_statistics(id, &[]).await.map_err(|error| to_failure(&error))?;
        transaction.truncate_table(id).await.map_err(|error| to_failure(&error))?;
        let kind = WriteKind::Deleted;
        let written = Written { transaction: Box::new(transaction), table: id, kind, compaction: None };
        Ok(PlannedWrite::NoRows { written, rows: statistics.rows })
    }
}

/// In the column and all of its parts but the keys of maps.
fn allow_nulls(column: &mut Column) {
    column.nulls_allowed = true;
    column.children.iter_mut().for_each(allow_nulls);
    if let (ColumnType::Map, [key, _]) = (&column.column_type, column.children.as_mut_slice()) {
        key.nulls_allowed = false;
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

/// Casts to the table's types, in its order. Columns beyond the table's stay.
fn as_columns(input: LogicalPlan, schema: &SchemaRef) -> datafusion::error::Result<LogicalPlan> {
    let given = input.schema().clone();
    let columns = given.iter().enumerate().map(|(index, (qualifier, field))| {
        let column = Expr::Column(NamedColumn::new(qualifier.cloned(), field.name()));
        let Some(target) = schema.fields().get(index) else { return column };
        let column = match field.data_type() == target.data_type() {
            true => column,
            false => cast(column, target.data_type().clone()),
        };
        column.alias(target.name())
    });
    let columns: Vec<Expr> = columns.collect();
    for column in &columns {
        column.get_type(&given)?;
    }
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

pub(super) fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}
