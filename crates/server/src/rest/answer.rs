//! The bodies and statuses of the answers, as Snowflake's SQL API v2 shapes them.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use frazil_common::{ErrorCode, Failure, StatementId};
use frazil_coordinator::statement::{Phase, Progress, ResultInfo, StatementStatus, Stats};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use uuid::Uuid;

use crate::row_type::{ColumnType, row_type};

/// Snowflake's numbers for what is not a failure.
const SUCCEEDED: &str = "090001";
const IN_PROGRESS: &str = "333334";
/// "Identified SQL statement is not currently executing": a cancel that came too late.
const NOT_EXECUTING: &str = "000605";
const SUCCEEDED_STATE: &str = "00000";
/// PostgreSQL's "object not in prerequisite state".
const NOT_EXECUTING_STATE: &str = "55000";

/// Seconds after which a client that was refused for want of room may try again.
const RETRY_AFTER_S: u16 = 1;

/// Characters of a statement's text in the list: the whole text may be megabytes, a thousand times over.
const LISTED_TEXT_MAX: usize = 2000;

/// A request that is answered with a failure.
pub struct Refused {
    status: StatusCode,
    failure: Failure,
}

impl Refused {
    pub fn into_failure(self) -> Failure {
        self.failure
    }

    pub fn new(status: StatusCode, failure: Failure) -> Self {
        Self { status, failure }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { status: status_of(failure.code), failure }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        failed(self.status, &self.failure, None)
    }
}

fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureBody<'a> {
    code: &'a str,
    sql_state: &'a str,
    message: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    statement: Option<StatementRef>,
    /// These and what follows are our additions: where in the statement's text, both from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// Where in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executor: Option<&'a str>,
}

/// What identifies a statement in an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementRef {
    statement_handle: StatementId,
    /// Milliseconds since the epoch.
    created_on: u64,
    statement_status_url: String,
}

impl StatementRef {
    fn of(statement: &StatementStatus) -> Self {
        Self {
            statement_handle: statement.id,
            created_on: statement.created_ms,
            statement_status_url: path_of(statement.id),
        }
    }
}

fn path_of(id: StatementId) -> String {
    format!("/api/v2/statements/{id}")
}

fn failed(status: StatusCode, failure: &Failure, statement: Option<&StatementStatus>) -> Response {
    let (line, column) = failure.position.unzip();
    let body = FailureBody {
        code: failure.code.number(),
        sql_state: failure.code.sql_state(),
        message: &failure.message,
        statement: statement.map(StatementRef::of),
        line,
        column,
        stage: failure.place.stage,
        executor: failure.place.executor.as_deref(),
    };
    let mut response = json(status, &body);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    response
}

/// A statement that failed or was cancelled. `failure` is what the caller met on the way, if not the statement's own.
pub fn statement_failed(statement: &StatementStatus, failure: Option<&Failure>) -> Response {
    let unsaid = || match statement.phase {
        Phase::Cancelled => Failure::new(ErrorCode::Cancelled, format!("statement {} was cancelled", statement.id)),
        _ => Failure::internal(format!("statement {} failed without a cause", statement.id)),
    };
    let failure = failure.or(statement.failure.as_ref()).cloned().unwrap_or_else(unsaid);
    failed(status_of(failure.code), &failure, Some(statement))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressBody {
    code: &'static str,
    sql_state: &'static str,
    message: &'static str,
    #[serde(flatten)]
    statement: StatementRef,
    /// Our additions.
    phase: Phase,
    progress: Progress,
    stats: Stats,
}

/// A statement that has not ended.
pub fn in_progress(statement: &StatementStatus) -> Response {
    let body = ProgressBody {
        code: IN_PROGRESS,
        sql_state: SUCCEEDED_STATE,
        message: "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.",
        statement: StatementRef::of(statement),
        phase: statement.phase,
        progress: statement.progress,
        stats: statement.stats,
    };
    json(StatusCode::ACCEPTED, &body)
}

/// The answer to a cancel: 200 when the statement is being stopped, 422 when it had ended by itself.
pub fn cancelled(statement: &StatementStatus) -> Response {
    let ended = matches!(statement.phase, Phase::Finished | Phase::Failed);
    let (status, code, sql_state, message) = if ended {
        let message = format!("statement {} is not running: it is {}", statement.id, statement.phase);
        (StatusCode::UNPROCESSABLE_ENTITY, NOT_EXECUTING, NOT_EXECUTING_STATE, message)
    } else {
        let code = ErrorCode::Cancelled;
        (StatusCode::OK, code.number(), code.sql_state(), format!("statement {} was cancelled", statement.id))
    };
    let body = FailureBody {
        code,
        sql_state,
        message: &message,
        statement: Some(StatementRef::of(statement)),
        line: None,
        column: None,
        stage: None,
        executor: None,
    };
    json(status, &body)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultSetBody {
    code: &'static str,
    sql_state: &'static str,
    message: &'static str,
    #[serde(flatten)]
    statement: StatementRef,
    result_set_meta_data: ResultSetMetaData,
    /// Our addition.
    stats: Stats,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultSetMetaData {
    num_rows: u64,
    format: &'static str,
    row_type: Vec<ColumnType>,
    partition_info: Vec<PartitionInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartitionInfo {
    row_count: u64,
    /// As Arrow in memory: the text of later partitions is not made before they are asked for.
    uncompressed_size: u64,
}

/// The body of a finished statement's answer up to its rows: an object that is left open for `"data": …}`.
pub fn result_set_head(statement: &StatementStatus, result: &ResultInfo) -> Vec<u8> {
    let mut partition_info: Vec<PartitionInfo> = result
        .partitions
        .iter()
        .map(|partition| PartitionInfo { row_count: partition.rows, uncompressed_size: partition.bytes })
        .collect();
    if partition_info.is_empty() && result.rows == 0 {
        partition_info.push(PartitionInfo { row_count: 0, uncompressed_size: 0 });
    }
    let body = ResultSetBody {
        code: SUCCEEDED,
        sql_state: SUCCEEDED_STATE,
        message: "Statement executed successfully.",
        statement: StatementRef::of(statement),
        result_set_meta_data: ResultSetMetaData {
            num_rows: result.rows,
            format: "jsonv2",
            row_type: row_type(&result.schema),
            partition_info,
        },
        stats: statement.stats,
    };
    let mut head = to_json(&body);
    head.pop();
    head
}

#[derive(Serialize)]
struct ListBody<'a> {
    statements: Vec<ListedStatement<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedStatement<'a> {
    #[serde(flatten)]
    statement: StatementRef,
    /// The text's beginning.
    sql: &'a str,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_on: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_rows: Option<u64>,
    progress: Progress,
    stats: Stats,
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

impl<'a> ListedStatement<'a> {
    fn of(status: &'a StatementStatus) -> Self {
        Self {
            statement: StatementRef::of(status),
            sql: beginning(&status.sql),
            phase: status.phase,
            ended_on: status.ended_ms,
            num_rows: status.result.as_ref().map(|result| result.rows),
            progress: status.progress,
            stats: status.stats,
            failure: status.failure.as_ref().map(|failure| ListedFailure {
                code: failure.code.number(),
                sql_state: failure.code.sql_state(),
                message: &failure.message,
            }),
        }
    }
}

pub fn list(statements: &[StatementStatus]) -> Response {
    json(StatusCode::OK, &ListBody { statements: statements.iter().map(ListedStatement::of).collect() })
}

fn beginning(sql: &str) -> &str {
    match sql.char_indices().nth(LISTED_TEXT_MAX) {
        Some((end, _)) => &sql[..end],
        None => sql,
    }
}

/// Where the partitions of a result are, for a result that has several.
pub fn link(
    statement: StatementId,
    request_id: Option<Uuid>,
    partition: usize,
    partitions: usize,
) -> Option<HeaderValue> {
    if partitions < 2 {
        return None;
    }
    let path = path_of(statement);
    let request = request_id.map(|id| format!("requestId={id}&")).unwrap_or_default();
    let relations = [
        (Some(0), "first"),
        ((partition + 1 < partitions).then_some(partition + 1), "next"),
        (partition.checked_sub(1), "prev"),
        (Some(partitions - 1), "last"),
    ];
    let links: Vec<String> = relations
        .into_iter()
        .filter_map(|(target, relation)| Some((target?, relation)))
        .map(|(target, relation)| format!("<{path}?{request}partition={target}>;rel=\"{relation}\""))
        .collect();
    HeaderValue::try_from(links.join(",")).ok()
}

pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_bytes(status, to_json(body))
}

pub fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("answers have text keys and no failing serializers")
}

#[cfg(test)]
mod tests;
