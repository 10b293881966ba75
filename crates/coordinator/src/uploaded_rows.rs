//! Rows that clients send beside a statement, which writes them where it says.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use frazil_common::{ErrorCode, Failure};
pub use frazil_engine::lake::{UPLOADED_ROWS, UploadedRows};
use futures::Stream;

use crate::caller::Caller;
use crate::staged_files::UPLOADS_MAX;

impl Caller {
    /// Takes rows into a file beside the tables of a database. A statement with them in
    /// [`StatementRequest::uploaded`](crate::statement::StatementRequest) reads them as [`UPLOADED_ROWS`]. They are removed when what this
    /// returns is dropped.
    pub async fn upload_rows(
        &self,
        database: Option<&str>,
        schema: SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch, Failure>>,
    ) -> Result<UploadedRows, Failure> {
        let inner = self.inner();
        let _permit = inner.uploads.try_acquire().map_err(|_| {
            Failure::new(ErrorCode::TooManyStatements, format!("{UPLOADS_MAX} files are being sent already"))
        })?;
        inner.planner.upload(self.principal(), database, schema, rows, inner.options.staged_file_bytes_max).await
    }
}
