//! The schema `system` of each database: tables about the instance itself, which whoever plans a statement brings along.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result;
use frazil_common::Failure;

/// No schema of a database has this name.
pub const SYSTEM_SCHEMA: &str = "system";

/// Tables about the instance, as one client may see them.
pub trait SystemTables: fmt::Debug + Send + Sync {
    fn names(&self) -> &'static [&'static str];

    /// The rows that a table has now; `None` if there is no such table.
    fn rows(&self, name: &str) -> Option<Result<SystemRows, Failure>>;
}

pub struct SystemRows {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// Read-only: what would change it is refused by what it does not have.
#[derive(Debug)]
pub(super) struct SystemSchema(pub Arc<dyn SystemTables>);

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        self.0.names().iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(rows) = self.0.rows(name) else { return Ok(None) };
        let rows = rows.map_err(frazil_exchange::to_datafusion)?;
        Ok(Some(Arc::new(MemTable::try_new(rows.schema, vec![rows.batches])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.names().contains(&name)
    }
}
