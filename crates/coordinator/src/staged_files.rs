//! Files that clients send to stages and fetch from them: no statements, since their bytes are no SQL.

use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, SessionId};
pub use frazil_engine::stages::Sent;
use frazil_engine::stages::{StagedFile, StagedPlace};
use futures::Stream;
use futures::stream::BoxStream;

use crate::caller::Caller;
use crate::statement::{Delivery, StatementRequest};

/// Files that are sent at the same time; more are refused.
pub const UPLOADS_MAX: usize = 16;

/// Where a stage's name is looked up, if it is not in full.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub session: Option<SessionId>,
    pub database: Option<String>,
    pub schema: Option<String>,
}

impl Caller {
    /// Takes a file to `@stage/path`. It is in the stage when all of it has come, or not at all.
    pub async fn put_staged_file(
        &self,
        names: Names,
        place: &str,
        overwrite: bool,
        body: impl Stream<Item = Result<Bytes, Failure>>,
    ) -> Result<Sent, Failure> {
        let inner = self.inner();
        let _permit = inner.uploads.try_acquire().map_err(|_| {
            Failure::new(ErrorCode::TooManyStatements, format!("{UPLOADS_MAX} files are being sent already"))
        })?;
        let place = self.staged_place(names, place).await?;
        place.put(body, overwrite, inner.options.staged_file_bytes_max).await
    }

    /// The bytes of the file at `@stage/path`.
    pub async fn staged_file(
        &self,
        names: Names,
        place: &str,
    ) -> Result<(StagedFile, BoxStream<'static, Result<Bytes, Failure>>), Failure> {
        self.staged_place(names, place).await?.get().await
    }

    /// The files below `@stage/path`.
    pub async fn staged_files(
        &self,
        names: Names,
        place: &str,
        pattern: Option<&str>,
    ) -> Result<Vec<StagedFile>, Failure> {
        self.staged_place(names, place).await?.list(pattern).await
    }

    async fn staged_place(&self, names: Names, place: &str) -> Result<StagedPlace, Failure> {
        let inner = self.inner();
        let (database, schema) = match names.session {
            None => (names.database, names.schema),
            Some(id) => {
                let request = StatementRequest {
                    database: names.database,
                    schema: names.schema,
                    ..StatementRequest::new("", Delivery::Spooled)
                };
                inner.sessions.enter(self.principal(), id).await?.names_for(&request)
            }
        };
        inner.planner.staged_place(database.as_deref(), schema.as_deref(), place).await
    }
}
