//! `GET /api/v2/statements`: the history, newest first, a page at a time.

use axum::response::Response;
use frazil_common::StatementId;
use frazil_coordinator::Caller;
use frazil_coordinator::history::{Filter, StatementRecord};
use frazil_coordinator::statement::{Phase, Progress, Stats};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::answer::{Refused, StatementRef, json};
use super::client::Client;
use super::request::{self, invalid};

/// Statements of a page when the request does not say, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// Characters of a statement's text: the whole text may be megabytes, a thousand times over.
const LISTED_TEXT_MAX: usize = 2000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ListQuery {
    limit: Option<usize>,
    phase: Option<Phase>,
    user: Option<String>,
    query_tag: Option<String>,
    /// The one that came with it, as long as the coordinator remembers it.
    request_id: Option<Uuid>,
    /// Part of the text, in lower or upper case.
    text: Option<String>,
    /// Milliseconds since the epoch: submitted then or later.
    from: Option<u64>,
    /// Likewise: submitted before.
    to: Option<u64>,
    /// `next` of the page before.
    before: Option<StatementId>,
}

impl ListQuery {
    /// `None` lets nothing through.
    fn filter(self, caller: &Caller) -> Result<Option<Filter>, Refused> {
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(invalid(format!("query parameter \"limit\" is not a number from 1 to {PAGE_MAX}")).into());
        }
        let Self { limit: _, phase, user, query_tag, request_id, text, from, to, before } = self;
        let id = match request_id.map(|request| caller.by_request(request)) {
            Some(None) => return Ok(None),
            known => known.flatten(),
        };
        Ok(Some(Filter { id, phase, user, query_tag, text, from_ms: from, to_ms: to, before, limit }))
    }
}

pub async fn list(Client(caller): Client, uri: Uri) -> Result<Response, Refused> {
    let Some(filter) = request::query::<ListQuery>(&uri)?.filter(&caller)? else {
        return Ok(json(StatusCode::OK, &Page { statements: Vec::new(), next: None }));
    };
    let limit = filter.limit;
    // Up to megabytes of texts are looked through.
    let listed = tokio::task::spawn_blocking(move || {
        let records = caller.list(&filter);
        let next = records.last().filter(|_| records.len() == limit).map(|last| last.id);
        json(StatusCode::OK, &Page { statements: records.iter().map(|record| Listed::of(record)).collect(), next })
    });
    listed.await.map_err(|_| frazil_common::Failure::internal("panic while statements were listed").into())
}

#[derive(Serialize)]
struct Page<'a> {
    statements: Vec<Listed<'a>>,
    /// There may be more: `before` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<StatementId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    #[serde(flatten)]
    statement: StatementRef,
    /// The text's beginning.
    sql: &'a str,
    user: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_tag: Option<&'a str>,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_on: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_rows: Option<u64>,
    progress: Progress,
    stats: Stats,
    #[serde(skip_serializing_if = "<[StatementId]>::is_empty")]
    statement_handles: &'a [StatementId],
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<ListedFailure<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedFailure<'a> {
    code: &'static str,
    sql_state: &'static str,
    message: &'a str,
}

impl<'a> Listed<'a> {
    fn of(record: &'a StatementRecord) -> Self {
        Self {
            statement: StatementRef::new(record.id, record.created_ms),
            sql: beginning(&record.sql),
            user: &record.user,
            role: &record.role,
            database: record.database.as_deref(),
            schema: record.schema.as_deref(),
            query_tag: record.query_tag.as_deref(),
            phase: record.phase,
            ended_on: record.ended_ms,
            num_rows: record.rows,
            progress: record.progress,
            stats: record.stats,
            statement_handles: &record.parts,
            failure: record.failure.as_ref().map(|failure| ListedFailure {
                code: failure.code.number(),
                sql_state: failure.code.sql_state(),
                message: &failure.message,
            }),
        }
    }
}

fn beginning(sql: &str) -> &str {
    match sql.char_indices().nth(LISTED_TEXT_MAX) {
        Some((end, _)) => &sql[..end],
        None => sql,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_by_its_beginning() {
        assert_eq!(beginning(&"🦀".repeat(LISTED_TEXT_MAX + 1)).chars().count(), LISTED_TEXT_MAX);
        assert_eq!(beginning("SELECT 1"), "SELECT 1");
    }
}
