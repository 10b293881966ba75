//! `table_files('database.schema.table')` and `column_statistics('database.schema.table')`: what the catalog knows of a table
//! as a statement sees it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use frazil_common::{ErrorCode, Failure};

use super::column_statistics;
use super::ddl::resolve;
use super::table::LakeTable;

pub fn table_functions() -> Vec<Arc<TableFunction>> {
    [About::Files, About::Columns]
        .map(|about| Arc::new(TableFunction::new(about.name().to_owned(), Arc::new(about))))
        .into()
}

#[derive(Clone, Copy, Debug)]
enum About {
    Files,
    Columns,
}

impl About {
    fn name(self) -> &'static str {
        match self {
            Self::Files => "table_files",
            Self::Columns => "column_statistics",
        }
    }

    fn schema(self) -> SchemaRef {
        match self {
            Self::Files => schema(),
            Self::Columns => column_statistics::schema(),
        }
    }

    async fn rows(self, table: &LakeTable) -> Result<RecordBatch> {
        match self {
            Self::Files => files(table).await,
            Self::Columns => column_statistics::rows(table).await,
        }
    }
}

impl TableFunctionImpl for About {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let name = match args.exprs() {
            [Expr::Literal(name, _)] => name.try_as_str().flatten(),
            _ => None,
        };
        let Some(name) = name else {
            return refused(ErrorCode::InvalidArgument, format!("write {}('database.schema.table')", self.name()));
        };
        Ok(Arc::new(Known { about: *self, table: TableReference::parse_str(name), schema: self.schema() }))
    }
}

/// `path`: as executors find it; `rows` in the file, deleted ones included; `bytes` of the file; `deleted` rows.
fn schema() -> SchemaRef {
    let number = |name| Field::new(name, DataType::Int64, false);
    let path = Field::new("path", DataType::Utf8, false);
    Arc::new(Schema::new(vec![path, number("rows"), number("bytes"), number("deleted")]))
}

async fn files(table: &LakeTable) -> Result<RecordBatch> {
    let files = table.files_for(&[]).await?;
    let (mut paths, mut rows, mut bytes, mut deleted) = (StringBuilder::new(), Vec::new(), Vec::new(), Vec::new());
    for file in files.iter() {
        paths.append_value(&file.path);
        rows.push(file.record_count);
        bytes.push(file.size_bytes);
        deleted.push(file.delete_file.as_ref().map_or(0, |deleted| deleted.delete_count));
    }
    let numbers = [rows, bytes, deleted].map(|numbers| Arc::new(Int64Array::from(numbers)) as ArrayRef);
    let columns = std::iter::once(Arc::new(paths.finish()) as ArrayRef).chain(numbers).collect();
    let batch = RecordBatch::try_new(schema(), columns);
    Ok(batch?)
}

fn refused<T>(code: ErrorCode, message: impl Into<String>) -> Result<T> {
    Err(frazil_exchange::to_datafusion(Failure::new(code, message.into())))
}

#[derive(Debug)]
struct Known {
    about: About,
    table: TableReference,
    schema: SchemaRef,
}

impl Known {
    async fn list(&self, state: &SessionState) -> Result<RecordBatch> {
        let name = resolve(self.table.clone(), state);
        let schema = state.catalog_list().catalog(&name.catalog).and_then(|catalog| catalog.schema(&name.schema));
        let table = match schema {
            Some(schema) => schema.table(&name.table).await?,
            None => None,
        };
        let Some(table) = table else {
            return refused(ErrorCode::UndefinedTable, format!("table \"{}\" not found", self.table));
        };
        let Some(table) = table.downcast_ref::<LakeTable>() else {
            return refused(ErrorCode::InvalidArgument, format!("\"{}\" is not a table of the catalog", self.table));
        };
        table.check_read().map_err(frazil_exchange::to_datafusion)?;
        self.about.rows(table).await
    }
}

#[async_trait]
impl TableProvider for Known {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(own) = state.as_any().downcast_ref::<SessionState>() else {
            return refused(ErrorCode::Internal, format!("{} outside of a statement", self.about.name()));
        };
        let rows = self.list(own).await?;
        MemTable::try_new(self.schema.clone(), vec![vec![rows]])?.scan(state, projection, filters, limit).await
    }
}
