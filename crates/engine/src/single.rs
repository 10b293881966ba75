//! DataFusion in this process on the same files, with its own defaults: the oracle of every distributed answer, and what
//! times are measured against.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
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

    /// Parquet files, or directories of them with a `/` at the end, as table `name`.
    pub async fn register_parquet(&self, name: &str, paths: &[String]) -> Result<(), Failure> {
        let register = async {
            let state = self.context.state();
            let urls = paths.iter().map(ListingTableUrl::parse).collect::<Result<Vec<_>, _>>()?;
            let format = ParquetFormat::default().with_options(state.table_options().parquet.clone());
            let options = ListingOptions::new(Arc::new(format)).with_file_extension(".parquet");
            let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options);
            let table = ListingTable::try_new(config.infer_schema(&state).await?)?;
            let cache = state.runtime_env().cache_manager.get_file_statistic_cache();
            self.context.register_table(name, Arc::new(table.with_cache(cache)))
        };
        register.await.map(|_| ()).map_err(|error| to_failure(&error))
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
