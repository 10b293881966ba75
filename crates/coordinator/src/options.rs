//! What an operator can set of a coordinator. Every field has a default; unknown keys are refused where the file is read.

use std::time::Duration;

use frazil_common::ByteSize;
use serde::{Deserialize, Serialize};

use crate::sessions::SessionLimits;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorOptions {
    /// Address of the REST API. `127.0.0.1:0` picks a free port.
    pub http_listen: String,
    /// Address of the control plane, where executors register.
    pub rpc_listen: String,
    /// Address where executors send result rows.
    pub data_listen: String,
    /// What executors use to reach `data_listen`, if not that address itself.
    pub data_advertise: Option<String>,
    /// Threads that plan and merge.
    pub threads: usize,
    /// Statements that run at the same time; more wait in the queue.
    pub statements_running_max: usize,
    /// Statements that wait; more are refused with SQLSTATE 53300.
    pub statements_queued_max: usize,
    /// Seconds a statement may wait in the queue.
    pub queue_limit_s: u64,
    /// Seconds a statement waits for a first executor to register.
    pub no_executor_limit_s: u64,
    /// Seconds from submission to the last row when the request does not say.
    pub statement_limit_s: u64,
    /// Seconds that planning may take.
    pub planning_limit_s: u64,
    /// Bytes of SQL text.
    pub statement_bytes_max: ByteSize,
    /// Operators and operands in one statement's expressions.
    pub expression_terms_max: usize,
    /// Parentheses, subqueries and operators inside one another.
    pub nesting_max: usize,
    /// Milliseconds between an executor's heartbeats.
    pub heartbeat_interval_ms: u64,
    /// Milliseconds without a heartbeat after which an executor is lost and its queries are tried again.
    pub heartbeat_limit_ms: u64,
    /// Times a query is tried again when an executor is lost, as long as no row was handed out.
    pub retries_max: u32,
    /// Seconds a finished statement's result is kept.
    pub result_kept_s: u64,
    /// Memory for all kept results; the rest is on disk.
    pub result_memory: ByteSize,
    /// Disk for all kept results; a statement that needs more fails.
    pub result_disk: ByteSize,
    /// Finished statements that are remembered.
    pub history_max: usize,
    /// Sessions that are open; more are refused.
    pub sessions_max: usize,
    /// Seconds after which a session that sends nothing is closed.
    pub session_idle_s: u64,
    /// Seconds that a session's token is valid, for clients that log in for one.
    pub token_valid_s: u64,
    /// Seconds in which such a token can be renewed.
    pub renewal_valid_s: u64,
    /// Seconds after which a transaction is rolled back whose session sends nothing.
    pub transaction_idle_s: u64,
    /// Seconds that a transaction may be open.
    pub transaction_limit_s: u64,
    /// Where the catalog is: a directory, or a PostgreSQL URL; `<data>/catalog` when not given.
    pub catalog: Option<String>,
    /// Directory or URL below which new databases keep their files; `<data>/warehouse` when not given.
    pub warehouse: Option<String>,
    /// Seconds that tables can be looked at as they were, and that what was dropped can come back.
    pub retention_s: u64,
    /// Seconds between two removals of what is older; 0: only by `VACUUM`.
    pub vacuum_interval_s: u64,
    /// Seconds after which a file that no table has is taken for that of a failed write, and removed.
    pub orphan_grace_s: u64,
    /// Files that one vacuum removes of a kind and database; the next goes on.
    pub vacuum_files_max: usize,
    /// A file that a statement writes is closed when it has so many bytes.
    pub file_bytes: ByteSize,
    /// Bytes of a file that a client sends to a stage with `PUT`; a longer one is refused.
    pub staged_file_bytes_max: ByteSize,
    /// A data file of which a greater part of the rows is deleted, in percent, is written anew; others get a delete file. With 0
    /// every file from which rows are deleted is written anew.
    pub deleted_percent_max: u32,
    /// Partitions of a stage for each granted slot, before the size of hash tables asks for more.
    pub partitions_per_slot: usize,
    /// A query that scans less runs in one partition on one executor.
    pub small_scan: ByteSize,
    /// Memory of the queries that run on the coordinator itself (`SELECT 1`, `SHOW`, the last merge).
    pub memory: ByteSize,
}

impl Default for CoordinatorOptions {
    fn default() -> Self {
        Self {
            http_listen: "127.0.0.1:8642".to_owned(),
            rpc_listen: "127.0.0.1:8643".to_owned(),
            data_listen: "127.0.0.1:8644".to_owned(),
            data_advertise: None,
            threads: 2,
            statements_running_max: 8,
            statements_queued_max: 1000,
            queue_limit_s: 300,
            no_executor_limit_s: 15,
            statement_limit_s: 3600,
            planning_limit_s: 30,
            statement_bytes_max: ByteSize::mib(4),
            expression_terms_max: 5000,
            nesting_max: 200,
            heartbeat_interval_ms: 1000,
            heartbeat_limit_ms: 6000,
            retries_max: 3,
            result_kept_s: 600,
            result_memory: ByteSize::mib(64),
            result_disk: ByteSize::gib(20),
            history_max: 1000,
            sessions_max: 10_000,
            session_idle_s: 4 * 3600,
            token_valid_s: 3600,
            renewal_valid_s: 4 * 3600,
            transaction_idle_s: 600,
            transaction_limit_s: 4 * 3600,
            catalog: None,
            warehouse: None,
            retention_s: 7 * 24 * 3600,
            vacuum_interval_s: 3600,
            orphan_grace_s: 24 * 3600,
            vacuum_files_max: 100_000,
            file_bytes: ByteSize::mib(256),
            staged_file_bytes_max: ByteSize::gib(16),
            deleted_percent_max: 30,
            partitions_per_slot: 1,
            small_scan: ByteSize::mib(4),
            memory: ByteSize::mib(256),
        }
    }
}

impl CoordinatorOptions {
    pub fn heartbeat_limit(&self) -> Duration {
        Duration::from_millis(self.heartbeat_limit_ms)
    }

    pub fn session_limits(&self) -> SessionLimits {
        SessionLimits {
            sessions_max: self.sessions_max,
            session_idle: Duration::from_secs(self.session_idle_s.max(1)),
            transaction_idle: Duration::from_secs(self.transaction_idle_s.max(1)),
            transaction_limit: Duration::from_secs(self.transaction_limit_s.max(1)),
        }
    }

    pub fn planning_limit(&self) -> Duration {
        Duration::from_secs(self.planning_limit_s)
    }
}
