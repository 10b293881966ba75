//! What is kept of a statement when it has ended.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use frazil_common::{ErrorCode, Failure, StatementId};
use frazil_exchange::memory::held_bytes;
use serde::{Deserialize, Serialize};

use crate::progress::{StageRecord, TaskRecord};
use crate::statement::{Phase, Progress, ResultInfo, ResultPartition, StatementStatus, Stats};

/// Bytes of a text that are kept; the rest is cut off.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// One line of the log, as JSON. Fields may be added: what an older version wrote has their defaults.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatementRecord {
    pub id: StatementId,
    pub user: String,
    pub role: String,
    /// Without secrets, and at most `TEXT_BYTES_MAX` long.
    pub sql: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_tag: Option<String>,
    /// Not terminal: the statement had not ended when this was written.
    pub phase: Phase,
    /// Milliseconds since the Unix epoch, as the others.
    pub created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default)]
    pub progress: Progress,
    #[serde(default)]
    pub stats: Stats,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskRecord>,
    /// The statements of a request that held several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<StatementId>,
    /// The rows of a change: an Arrow stream, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl StatementRecord {
    /// Of a statement whose coordinator is gone.
    pub fn interrupted(mut self, now_ms: u64) -> Self {
        self.phase = Phase::Failed;
        self.ended_ms = Some(now_ms);
        let message = format!(
            "the coordinator ended while statement {} ran: a change may have been made, or not; sent again with its \
             requestId it is made once",
            self.id
        );
        self.failure = Some(Failure::new(ErrorCode::Interrupted, message));
        self
    }

    pub fn status(&self) -> StatementStatus {
        let result = match self.phase {
            Phase::Finished if !self.parts.is_empty() => {
                Some(ResultInfo { schema: Arc::new(Schema::empty()), rows: 0, partitions: vec![] })
            }
            Phase::Finished => self.rows_kept().map(|batches| ResultInfo {
                schema: batches[0].schema(),
                rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
                partitions: vec![ResultPartition {
                    rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
                    bytes: batches.iter().map(|batch| held_bytes(batch) as u64).sum(),
                }],
            }),
            _ => None,
        };
        StatementStatus {
            id: self.id,
            user: self.user.clone(),
            role: self.role.clone(),
            sql: self.sql.clone(),
            database: self.database.clone(),
            schema: self.schema.clone(),
            query_tag: self.query_tag.clone(),
            phase: self.phase,
            created_ms: self.created_ms,
            ended_ms: self.ended_ms,
            failure: self.failure.clone(),
            rows: self.rows,
            result,
            progress: self.progress,
            stats: self.stats,
            parts: self.parts.clone(),
            client_settings: vec![],
        }
    }

    /// At least one batch, if any are kept.
    pub fn rows_kept(&self) -> Option<Vec<RecordBatch>> {
        let bytes = STANDARD.decode(self.answer.as_ref()?).ok()?;
        let batches = StreamReader::try_new(bytes.as_slice(), None).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
        (!batches.is_empty()).then_some(batches)
    }

    /// A partition of its kept rows.
    pub fn partition(&self, partition: usize) -> Result<Vec<RecordBatch>, Failure> {
        match self.rows_kept() {
            Some(batches) if partition == 0 => Ok(batches),
            Some(_) => {
                let message = format!("statement {} has no partition {partition}, it has 1", self.id);
                Err(Failure::new(ErrorCode::InvalidArgument, message))
            }
            None => Err(self.failure.clone().unwrap_or_else(|| self.expired())),
        }
    }

    pub fn expired(&self) -> Failure {
        let rows = self.rows.map_or(String::new(), |rows| format!(", with {rows} rows"));
        let message = format!("the result of statement {} has expired: it is {}{rows}", self.id, self.phase);
        Failure::new(ErrorCode::ResultExpired, message)
    }
}

/// Rows as a record keeps them; `None` if they cannot be written.
pub fn written(batch: &RecordBatch) -> Option<String> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, batch.schema_ref()).ok()?;
    writer.write(batch).and_then(|()| writer.finish()).ok()?;
    Some(STANDARD.encode(bytes))
}

/// The beginning of a text, of at most `TEXT_BYTES_MAX`.
pub fn beginning(sql: &str) -> String {
    sql[..sql.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}
