//! Rows that a client sends beside a statement: a Parquet file of their own, which that statement alone reads as a table.
//!
//! The file is beside those of tables and is called as they are. Should the coordinator end before it is removed, it is the file of a write
//! that failed, which `VACUUM` removes.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use frazil_catalog::Database;
use frazil_common::{ByteSize, ErrorCode, Failure};
use frazil_exchange::memory::own_bytes;
use futures::{Stream, StreamExt};
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use url::Url;
use uuid::Uuid;

use super::table::{local_path, store_path, store_url};
use super::upload::{Begun, ObjectFile, writing};
use crate::errors::to_failure;

/// A catalog of the statement alone. No name of a database has a space.
const CATALOG: &str = "uploaded rows";
/// By which SQL names the rows.
pub const UPLOADED_ROWS: &str = "\"uploaded rows\".\"v\".\"rows\"";

/// Of a row group in memory, encoded; it is written when it has more.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Rows that are encoded at a time: some milliseconds of work, since it is done where everybody is answered.
const SLICE_ROWS: usize = 8192;
/// How long a client may take from one batch to the next.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Dropping it removes the file.
pub struct UploadedRows {
    location: String,
    schema: SchemaRef,
    _file: Begun,
    pub rows: u64,
    /// In memory, as they came.
    pub bytes: u64,
}

impl fmt::Debug for UploadedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} uploaded rows", self.rows)
    }
}

impl PartialEq for UploadedRows {
    fn eq(&self, other: &Self) -> bool {
        self.location == other.location
    }
}

impl UploadedRows {
    /// Takes all rows, or fails and leaves nothing. At most `bytes_max` are taken, as they are in memory.
    pub async fn write(
        env: &RuntimeEnv,
        database: &Database,
        schema: SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch, Failure>>,
        bytes_max: ByteSize,
    ) -> Result<Self, Failure> {
        let location =
            format!("{}uploads/frazil-{}.parquet", with_slash(database.data_path()), Uuid::now_v7().simple());
        let url = store_url(&location).map_err(|error| to_failure(&error))?;
        let store = env.object_store(url).map_err(|error| to_failure(&error))?;
        let path = store_path(&location).map_err(|error| to_failure(&error))?;
        let mut file = Begun::new(store.clone());
        file.add(path.clone());
        let properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(false)
            .build();
        let not_written = |error| to_failure(&writing(error, "uploaded rows"));
        let object = ObjectFile::create(store, path, local_path(&location));
        let mut writer = AsyncArrowWriter::try_new(object, schema.clone(), Some(properties)).map_err(|error| {
            Failure::new(ErrorCode::NotSupported, format!("rows of these columns cannot be taken: {error}"))
        })?;
        let (mut count, mut bytes) = (0, 0);
        let mut rows = pin!(rows);
        loop {
            let next = tokio::time::timeout(PAUSE_MAX, rows.next())
                .await
                .map_err(|_| Failure::new(ErrorCode::Timeout, format!("no rows came for {} s", PAUSE_MAX.as_secs())))?;
            let Some(batch) = next.transpose()? else { break };
            bytes += own_bytes(&batch) as u64;
            if bytes > bytes_max.0 {
                let message = format!("the rows have more than {bytes_max} (coordinator.staged_file_bytes_max)");
                return Err(Failure::new(ErrorCode::ResourcesExhausted, message));
            }
            for offset in (0..batch.num_rows()).step_by(SLICE_ROWS) {
                let slice = batch.slice(offset, SLICE_ROWS.min(batch.num_rows() - offset));
                writer.write(&slice).await.map_err(not_written)?;
                if writer.in_progress_size() > ROW_GROUP_BYTES {
                    writer.flush().await.map_err(not_written)?;
                }
                tokio::task::yield_now().await;
            }
            count += batch.num_rows() as u64;
        }
        writer.close().await.map_err(not_written)?;
        Ok(Self { location, schema, _file: file, rows: count, bytes })
    }

    /// Makes them a table of a statement's.
    pub(crate) fn register(&self, state: &SessionState) -> Result<(), Failure> {
        let url = match local_path(&self.location) {
            Some(path) => Url::from_file_path(&path).ok(),
            None => Url::parse(&self.location).ok(),
        };
        let url = url.ok_or_else(|| Failure::internal(format!("location {:?} is no URL", self.location)))?;
        let register = || {
            let url = ListingTableUrl::try_new(url, None)?;
            let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
            let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(self.schema.clone());
            let schema = MemorySchemaProvider::new();
            schema.register_table("rows".to_owned(), Arc::new(ListingTable::try_new(config)?))?;
            let catalog = MemoryCatalogProvider::new();
            catalog.register_schema("v", Arc::new(schema))?;
            state.catalog_list().register_catalog(CATALOG.to_owned(), Arc::new(catalog));
            Ok(())
        };
        register().map_err(|error| to_failure(&error))
    }
}

fn with_slash(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}
