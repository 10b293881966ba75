//! DataFusion in this process on the same files, with its own defaults: the oracle of every distributed answer, and what
//! times are measured against.

use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::datasource::file_format::options::ParquetReadOptions;
use datafusion::prelude::{SessionConfig, SessionContext};
use frazil_common::Failure;

use crate::errors::to_failure;

/// Runs on the tokio runtime that calls it, so its threads are the caller's choice.
pub struct SingleProcess {
    context: SessionContext,
}

impl SingleProcess {
    pub fn new(partitions: usize) -> Self {
        let config = SessionConfig::new().with_target_partitions(partitions).with_information_schema(true);
        Self { context: SessionContext::new_with_config(config) }
    }

    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// All Parquet files in `directory` as table `name`.
    pub async fn register_parquet(&self, name: &str, directory: &Path) -> Result<(), Failure> {
        let path = format!("{}/", directory.display());
        let options = ParquetReadOptions::default();
        self.context.register_parquet(name, path, options).await.map_err(|error| to_failure(&error))
    }

    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
        let frame = self.context.sql(sql).await.map_err(|error| to_failure(&error))?;
        let schema = frame.schema().inner().clone();
        let mut batches = frame.collect().await.map_err(|error| to_failure(&error))?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }
}
