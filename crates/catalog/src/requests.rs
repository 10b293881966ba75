//! Requests that change the registry: noted in the transaction that does it, so that one that is sent again is applied once.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::databases::Databases;
use crate::error::Result;
use crate::sql::{Tx, Value};
use crate::time;
use crate::transaction::CommitInfo;

/// A client that asks again later than this is not known any more.
const REQUESTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The id that a client gave, and what it asked for under it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub id: &'a str,
    /// See [`CommitInfo::fingerprint`].
    pub fingerprint: Option<&'a str>,
}

/// What a request has done before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoneRequest {
    pub done: String,
    /// `None`: of those that were noted without.
    pub fingerprint: Option<String>,
}

impl CommitInfo {
    pub fn request(&self) -> Option<Request<'_>> {
        let id = self.request_id.as_deref()?;
        Some(Request { id, fingerprint: self.fingerprint.as_deref() })
    }
}

impl Databases {
    /// What was done for a request that created, dropped or restored a database, or a secret.
    pub async fn find_request(&self, id: &str) -> Result<Option<DoneRequest>> {
        let mut tx = self.registry().read().await?;
        let sql = "SELECT done FROM frazil_request WHERE request_id = $1";
        tx.first("looking for a request", sql, &[Value::text(id)], |row| Ok(read(row.text(0)?))).await
    }
}

/// In one column with what was done, so that a registry of before has room for it.
fn read(text: &str) -> DoneRequest {
    let noted: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let of = |key: &str| noted.as_ref().and_then(|noted| noted[key].as_str().map(str::to_owned));
    match of("done") {
        Some(done) => DoneRequest { done, fingerprint: of("fingerprint") },
        None => DoneRequest { done: text.to_owned(), fingerprint: None },
    }
}

pub(crate) async fn note_request(tx: &mut Tx, request: Option<Request<'_>>, done: &str) -> Result<()> {
    let Some(Request { id, fingerprint }) = request else { return Ok(()) };
    let now = SystemTime::now();
    let kept_from = Value::text(time::format_moment(now - REQUESTS_KEPT));
    tx.execute("forgetting requests", "DELETE FROM frazil_request WHERE done_at < $1", &[kept_from]).await?;
    let noted = json!({ "done": done, "fingerprint": fingerprint }).to_string();
    let row = vec![Value::text(id), Value::text(noted), Value::text(time::format_moment(now))];
    tx.insert("noting a request", "frazil_request", "request_id, done, done_at", &[row]).await
}
