//! `frazil single-server`, a command for ourselves: DataFusion in a process of its own, so that its threads and memory
//! are its own.
//!
//! Its first line names the tables; then it reads a request a line from stdin and writes an answer a line to stdout, both JSON; rows, when they are asked for,
//! follow the line as an Arrow IPC stream of `answer_bytes` bytes.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufWriter, Write, stdin, stdout};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use frazil_common::Failure;
use frazil_engine::single::SingleProcess;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::failure::CommandError;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleRequest {
    pub sql: String,
    pub partitions: usize,
    pub want_rows: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleAnswer {
    /// Set when the query failed; the rest is then zero.
    pub error: Option<String>,
    pub ms: f64,
    pub rows: usize,
    pub answer_bytes: usize,
}

/// The Parquet files (or directories of them, with a `/` at the end) of each table.
pub type TableFiles = BTreeMap<String, Vec<String>>;

/// Ends with its stdin.
pub fn run(threads: usize) -> Result<(), CommandError> {
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(CommandError::doing("starting threads"))?;
    let mut lines = stdin().lock().lines();
    let Some(tables) = lines.next() else { return Ok(()) };
    let tables = tables.map_err(CommandError::doing("reading the names of tables"))?;
    let tables: TableFiles =
        serde_json::from_str(&tables).map_err(|e| CommandError::Usage(format!("tables {tables:?}: {e}")))?;
    let mut sessions = Sessions { tables, by_partitions: HashMap::new() };
    let mut out = BufWriter::new(stdout().lock());
    for line in lines {
        let line = line.map_err(CommandError::doing("reading a request"))?;
        let request: SingleRequest =
            serde_json::from_str(&line).map_err(|e| CommandError::Usage(format!("request {line:?}: {e}")))?;
        let (answer, rows) = match answer(&runtime, &mut sessions, request) {
            Ok(answered) => answered,
            Err(error) => {
                (SingleAnswer { error: Some(error.to_string()), ms: 0.0, rows: 0, answer_bytes: 0 }, Vec::new())
            }
        };
        let line = serde_json::to_string(&answer).expect("an answer is plain data");
        let written = writeln!(out, "{line}").and_then(|()| out.write_all(&rows)).and_then(|()| out.flush());
        written.map_err(CommandError::doing("writing an answer"))?;
    }
    Ok(())
}

fn answer(
    runtime: &Runtime,
    sessions: &mut Sessions,
    request: SingleRequest,
) -> Result<(SingleAnswer, Vec<u8>), Failure> {
    let SingleRequest { sql, partitions, want_rows } = request;
    let session = sessions.of(runtime, partitions)?;
    let started = Instant::now();
    // Spawned, so that the query has the worker threads and not this one as well.
    let query = runtime.spawn(async move { session.query(&sql).await });
    let batches = runtime.block_on(query).map_err(|e| Failure::internal(format!("the query panicked: {e}")))??;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let bytes = if want_rows { encode(&batches)? } else { Vec::new() };
    Ok((SingleAnswer { error: None, ms, rows, answer_bytes: bytes.len() }, bytes))
}

fn encode(batches: &[RecordBatch]) -> Result<Vec<u8>, Failure> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let encoded = || {
        let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.into_inner()
    };
    encoded().map_err(|e| Failure::internal(format!("encoding the answer: {e}")))
}

/// One for each number of partitions, kept, so that footers are read once, as in the cluster.
struct Sessions {
    tables: TableFiles,
    by_partitions: HashMap<usize, Arc<SingleProcess>>,
}

impl Sessions {
    fn of(&mut self, runtime: &Runtime, partitions: usize) -> Result<Arc<SingleProcess>, Failure> {
        if let Some(session) = self.by_partitions.get(&partitions) {
            return Ok(session.clone());
        }
        let session = SingleProcess::new(partitions);
        for (table, files) in &self.tables {
            runtime.block_on(session.register_parquet(table, files))?;
        }
        let session = Arc::new(session);
        self.by_partitions.insert(partitions, session.clone());
        Ok(session)
    }
}
