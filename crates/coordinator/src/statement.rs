//! What a front door sees of a statement: the request, its phases, its status and its result.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_ipc::writer::StreamWriter;
use frazil_common::{Failure, NameCase, Principal, SessionId, StatementId};
use frazil_engine::lake::UploadedRows;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Where a statement is in its life. One state machine (`lifecycle`) moves it; REST, history and metrics read it.
///
/// ```text
/// received ─▶ planned ─▶ queued ─▶ running ─▶ finished
///     │          │          │         │
///     └──────────┴──────────┴─────────┴─────▶ failed | cancelled
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Received,
    Planned,
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl Phase {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Planned => "planned",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// How the client takes the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Rows are kept by the coordinator (in memory, then on its disk) in partitions that can be fetched in any order and
    /// again, until the result expires. A statement is `finished` when its last row is kept.
    Spooled,
    /// Rows flow to one reader, at its pace, and are not kept. A statement is `finished` when its last row is taken, and
    /// `cancelled` when the reader goes away before.
    Streamed,
}

#[derive(Clone, Debug)]
pub struct StatementRequest {
    /// Whom it is run for: set by the caller that submits it.
    pub principal: Principal,
    pub sql: String,
    pub delivery: Delivery,
    /// From submission to the last row; `None` is the coordinator's default, and its maximum is the bound.
    pub time_limit: Option<Duration>,
    /// Whose statement it is; `None` is nobody's, with nothing before or after it.
    pub session: Option<SessionId>,
    /// The role that it is run in, if not that of its principal or session; checked when it is planned.
    pub role: Option<String>,
    /// Where unqualified table names are looked up, as exact names; `None` is the session's, or the default database and schema.
    pub database: Option<String>,
    pub schema: Option<String>,
    /// Session options for this statement alone, as `SET` takes them.
    pub settings: Vec<(String, String)>,
    /// The statements of a text that holds several, which run one after the other; empty for a text of one.
    pub parts: Vec<String>,
    /// Values for its placeholders; see [`bindings`](frazil_engine::bindings).
    pub bindings: Option<RecordBatch>,
    /// Of the values, where the request has an id: a statement that is remembered does not keep them. Set when it is submitted.
    pub bindings_digest: Option<[u8; 32]>,
    /// Rows that were sent with it; see [`Caller::upload_rows`](crate::caller::Caller). Whoever submits it holds them until it has ended:
    /// a statement is remembered for longer.
    pub uploaded: Option<Weak<UploadedRows>>,
    /// Nothing is run: the result has the columns of the statement's, and no rows.
    pub describe_only: bool,
    /// How names are shown where they are values: in `information_schema`, by `current_database()`.
    pub name_case: NameCase,
    /// What `current_warehouse()` tells.
    pub warehouse: Option<String>,
    /// A second submission with the same id is the first one's statement, not another; it is refused if its `sql`,
    /// `database`, `schema` or `bindings` differ.
    pub request_id: Option<Uuid>,
}

impl StatementRequest {
    /// Of what makes it this statement and no other: hexadecimal digits, the same in every process and version. It is kept
    /// with the commit.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for part in [Some(&self.sql), self.database.as_ref(), self.schema.as_ref()] {
            // With its length, so that no two lists of parts give the same bytes.
            digest.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            digest.update(part.map_or("", String::as_str));
        }
        if let Some(bindings) = &self.bindings_digest {
            digest.update(bindings);
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Takes the values out, and notes which they were if that is ever asked.
    pub(crate) fn take_bindings(&mut self) -> Option<RecordBatch> {
        let bindings = self.bindings.take()?;
        if self.request_id.is_some() {
            let bytes = StreamWriter::try_new(Vec::new(), &bindings.schema()).and_then(|mut writer| {
                writer.write(&bindings)?;
                writer.into_inner()
            });
            // What cannot be written is never bound either.
            self.bindings_digest = Some(Sha256::digest(bytes.unwrap_or_default()).into());
        }
        Some(bindings)
    }

    pub fn new(sql: impl Into<String>, delivery: Delivery) -> Self {
        Self {
            principal: Principal::embedded(),
            sql: sql.into(),
            delivery,
            time_limit: None,
            session: None,
            role: None,
            database: None,
            schema: None,
            settings: Vec::new(),
            parts: Vec::new(),
            bindings: None,
            bindings_digest: None,
            uploaded: None,
            describe_only: false,
            name_case: NameCase::default(),
            warehouse: None,
            request_id: None,
        }
    }
}

/// A partition of a spooled result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ResultPartition {
    pub rows: u64,
    /// In memory, as Arrow.
    pub bytes: u64,
}

/// Known when the statement is finished (spooled), or as soon as it runs (streamed: no partitions, rows so far).
#[derive(Clone, Debug)]
pub struct ResultInfo {
    pub schema: SchemaRef,
    pub rows: u64,
    pub partitions: Vec<ResultPartition>,
}

/// How far a running statement is. Tries that were lost are not in it: what they had done is done again by those after
/// them, so `retries` goes up where other figures go down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub stages: u32,
    pub tasks: u32,
    pub tasks_finished: u32,
    /// Pieces of scans: files, or ranges of files.
    pub splits: u32,
    /// Told while tasks run.
    pub splits_finished: u32,
    /// Attempts after the first, because executors were lost.
    pub retries: u32,
}

/// What a statement's tasks have moved, all attempts together; complete soon after its last row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Stats {
    /// Handed on so far: to the reader of a streamed result, or to the kept one.
    pub rows_produced: u64,
    /// Likewise, as Arrow in memory.
    pub bytes_produced: u64,
    /// Handed on by scans of files, after the filters that these apply by themselves; while it runs.
    pub rows_scanned: u64,
    /// From files, compressed; while it runs.
    pub bytes_scanned: u64,
    /// Between processes.
    pub bytes_exchanged: u64,
    /// To files of tables, while it runs.
    pub rows_written: u64,
    /// Likewise, compressed.
    pub bytes_written: u64,
}

#[derive(Clone, Debug)]
pub struct StatementStatus {
    pub id: StatementId,
    pub user: String,
    pub role: String,
    /// Without secrets.
    pub sql: String,
    pub database: Option<String>,
    pub schema: Option<String>,
    /// The client's own name for what the statement is part of.
    pub query_tag: Option<String>,
    pub phase: Phase,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Likewise; set with a terminal phase.
    pub ended_ms: Option<u64>,
    /// Set when `phase` is `Failed` or `Cancelled`.
    pub failure: Option<Failure>,
    /// Known when it has finished.
    pub rows: Option<u64>,
    /// `None` while there is none yet, and when a finished statement's rows are not kept any more.
    pub result: Option<ResultInfo>,
    pub progress: Progress,
    pub stats: Stats,
    /// Of a text that holds several statements: those that have begun, in their order.
    pub parts: Vec<StatementId>,
    /// Settings of the statement and its session that say how a client is answered, and not what is done.
    pub client_settings: Vec<(String, String)>,
}

/// One registered executor, for `GET /api/v2/cluster`.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutorStatus {
    pub id: String,
    pub boot_id: String,
    /// `live`, `draining` or `suspect` (late with heartbeats, gets no new tasks).
    pub state: &'static str,
    pub slots: u32,
    pub rpc_address: String,
    pub data_address: String,
    pub memory_bytes: u64,
    pub memory_used_bytes: u64,
    pub running_tasks: u32,
    pub heartbeat_age_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    pub version: &'static str,
    pub executors: Vec<ExecutorStatus>,
    pub statements_queued: usize,
    pub statements_running: usize,
}

/// Rows of a streamed statement. Dropping it cancels the statement. Batches come with the schema of [`ResultInfo`].
pub struct ResultStream {
    pub schema: SchemaRef,
    pub batches: futures::stream::BoxStream<'static, Result<arrow::array::RecordBatch, Failure>>,
}
