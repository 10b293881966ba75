//! Files of stages, sent and fetched over REST.

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Method, StatusCode};
use serde_json::Value;

use super::transport::{Accept, Answer};
use super::{ANSWER_LIMIT, CALL_LIMIT, Client, ClientError, StatementContext, error, within};

/// A file of a stage.
#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Below the stage.
    pub path: String,
    pub size: u64,
}

impl Client {
    /// Sends a file to `@stage/path`. Returns how many bytes were taken, or `None`: there is one of that name.
    pub async fn put_file(
        &self,
        context: &StatementContext,
        place: &str,
        overwrite: bool,
        body: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Option<u64>, ClientError> {
        let overwrite = if overwrite { "true" } else { "false" };
        let path = query("/api/v2/stages/file", context, &[("place", place), ("overwrite", overwrite)]);
        let answer = within(ANSWER_LIMIT, self.transport.send_bytes(Method::PUT, &path, body)).await?;
        let json = checked(answer).await?;
        match json["status"].as_str() {
            Some("SKIPPED") => Ok(None),
            _ => Ok(json["bytes"].as_u64()),
        }
    }

    /// The bytes of the file at `@stage/path`.
    pub async fn get_file(
        &self,
        context: &StatementContext,
        place: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ClientError> {
        let path = query("/api/v2/stages/file", context, &[("place", place)]);
        let answer = within(ANSWER_LIMIT, self.transport.send(Method::GET, &path, Accept::Json, None)).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(error::of_answer(status, &answer.json().await?)),
        }
    }

    pub async fn list_files(
        &self,
        context: &StatementContext,
        place: &str,
        pattern: Option<&str>,
    ) -> Result<Vec<StagedFile>, ClientError> {
        let mut wanted = vec![("place", place)];
        wanted.extend(pattern.map(|pattern| ("pattern", pattern)));
        let path = query("/api/v2/stages/files", context, &wanted);
        let answer = within(CALL_LIMIT, self.transport.send(Method::GET, &path, Accept::Json, None)).await?;
        let json = checked(answer).await?;
        let files = json["files"].as_array().cloned().unwrap_or_default();
        let file =
            |file: &Value| Some(StagedFile { path: file["path"].as_str()?.to_owned(), size: file["size"].as_u64()? });
        let unreadable = || ClientError::Protocol("a list of staged files is not what it should be".to_owned());
        files.iter().map(|listed| file(listed).ok_or_else(unreadable)).collect()
    }
}

async fn checked(answer: Answer) -> Result<Value, ClientError> {
    let status = answer.status;
    let json = answer.json().await?;
    if status == StatusCode::OK { Ok(json) } else { Err(error::of_answer(status, &json)) }
}

fn query(path: &str, context: &StatementContext, wanted: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(wanted);
    let names = [("session", &context.session), ("database", &context.database), ("schema", &context.schema)];
    for (name, value) in names {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("{path}?{}", query.finish())
}
