//! The database `sample`: each directory below the sample directory is a schema, each directory in it a table of Parquet
//! files. What `frazil load` writes is there at once, without a declaration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use parking_lot::Mutex;

/// The database's name in SQL.
pub const DATABASE: &str = "sample";

#[derive(Debug)]
pub struct SampleDatabase {
    directory: PathBuf,
    state: Box<SessionState>,
    schemas: Mutex<HashMap<String, Arc<SampleSchema>>>,
}

impl SampleDatabase {
    /// `state` reads footers; it needs no catalogs.
    pub fn new(directory: PathBuf, state: SessionState) -> Self {
        Self { directory, state: Box::new(state), schemas: Mutex::default() }
    }
}

impl CatalogProvider for SampleDatabase {
    fn schema_names(&self) -> Vec<String> {
        directories(&self.directory)
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let directory = child(&self.directory, name)?;
        let mut schemas = self.schemas.lock();
        let schema = schemas.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(SampleSchema { directory, state: self.state.clone(), tables: Mutex::default() })
        });
        Some(schema.clone())
    }
}

type ReadTable = (SystemTime, Arc<dyn TableProvider>);

#[derive(Debug)]
struct SampleSchema {
    directory: PathBuf,
    state: Box<SessionState>,
    /// By name, with the directory's time of change: a table that was generated anew is read anew.
    tables: Mutex<HashMap<String, ReadTable>>,
}

#[async_trait]
impl SchemaProvider for SampleSchema {
    fn table_names(&self) -> Vec<String> {
        directories(&self.directory)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(directory) = child(&self.directory, name) else { return Ok(None) };
        let changed = std::fs::metadata(&directory)?.modified()?;
        if let Some((read, table)) = self.tables.lock().get(name)
            && *read == changed
        {
            return Ok(Some(table.clone()));
        }
        let table = parquet_directory(&directory, &self.state).await?;
        self.tables.lock().insert(name.to_owned(), (changed, table.clone()));
        Ok(Some(table))
    }

    fn table_exist(&self, name: &str) -> bool {
        child(&self.directory, name).is_some()
    }
}

/// A table over all `*.parquet` files directly in a directory.
pub async fn parquet_directory(directory: &Path, state: &SessionState) -> Result<Arc<dyn TableProvider>> {
    let url = ListingTableUrl::parse(format!("{}/", directory.display()))?;
    let format = ParquetFormat::default().with_options(state.table_options().parquet.clone());
    let options = ListingOptions::new(Arc::new(format)).with_file_extension(".parquet");
    let schema = options.infer_schema(state, &url).await?;
    let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema);
    let cache = state.runtime_env().cache_manager.get_file_statistic_cache();
    Ok(Arc::new(ListingTable::try_new(config)?.with_cache(cache)))
}

fn child(directory: &Path, name: &str) -> Option<PathBuf> {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let path = directory.join(name);
    (plain && !name.is_empty() && path.is_dir()).then_some(path)
}

fn directories(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return vec![] };
    let names = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
