//! Speaks to a `frazil single-server` child.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::single_server::{SingleAnswer, SingleRequest, TableFiles};
use crate::failure::CommandError;
use crate::processes::{ChildProcess, Stderr};

/// For one query; the slowest of them at the largest scales takes minutes.
const QUERY_LIMIT: Duration = Duration::from_secs(3600);
/// To take a line.
const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 4 << 30;

pub struct SingleServer {
    child: ChildProcess,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

pub struct SingleTime {
    pub ms: f64,
    pub rows: usize,
    /// Empty unless asked for.
    pub batches: Vec<RecordBatch>,
}

impl SingleServer {
    pub async fn start(tables: &TableFiles, threads: usize) -> Result<Self, CommandError> {
        let arguments = ["single-server".to_owned(), "--threads".to_owned(), threads.to_string()];
        let mut child = ChildProcess::start(&format!("single-{threads}"), &arguments, Stderr::Kept)?;
        let (mut stdin, stdout) = child.take_pipes().expect("the child was started with pipes that nobody took");
        let line = serde_json::to_string(tables).expect("names and paths are plain data") + "\n";
        let told = timeout(START_LIMIT, stdin.write_all(line.as_bytes())).await;
        if !matches!(told, Ok(Ok(()))) {
            return Err(child.failed("did not take the names of its tables").await);
        }
        Ok(Self { child, stdin, stdout })
    }

    pub fn process(&self) -> &ChildProcess {
        &self.child
    }

    pub async fn query(&mut self, sql: &str, partitions: usize, want_rows: bool) -> Result<SingleTime, CommandError> {
        let request = SingleRequest { sql: sql.to_owned(), partitions, want_rows };
        let exchange = exchange(&mut self.stdin, &mut self.stdout, &request);
        let (answer, bytes) = match timeout(QUERY_LIMIT, exchange).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(e)) => return Err(self.child.failed(&format!("broke down: {e}")).await),
            Err(_) => {
                let late = format!("did not answer within {} s", QUERY_LIMIT.as_secs());
                return Err(self.child.failed(&late).await);
            }
        };
        if let Some(error) = answer.error {
            return Err(CommandError::Failed(format!("single-process DataFusion: {error}")));
        }
        Ok(SingleTime { ms: answer.ms, rows: answer.rows, batches: decode(&bytes)? })
    }

    pub async fn stop(self) {
        // End of input ends it; the signal is for one that is busy.
        drop(self.stdin);
        self.child.stop().await;
    }
}

async fn exchange(
    stdin: &mut ChildStdin,
    stdout: &mut BufReader<ChildStdout>,
    request: &SingleRequest,
) -> std::io::Result<(SingleAnswer, Vec<u8>)> {
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stdin.write_all(line.as_bytes()).await?;
    stdin.flush().await?;
    let mut line = String::new();
    stdout.read_line(&mut line).await?;
    let answer: SingleAnswer = serde_json::from_str(&line)?;
    if answer.answer_bytes > ANSWER_BYTES_MAX {
        return Err(std::io::Error::other(format!("an answer of {} bytes is too large", answer.answer_bytes)));
    }
    let mut bytes = vec![0; answer.answer_bytes];
    stdout.read_exact(&mut bytes).await?;
    Ok((answer, bytes))
}

fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, CommandError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let batches = StreamReader::try_new(bytes, None).and_then(|reader| reader.collect());
    batches.map_err(|e| CommandError::Failed(format!("reading the answer of single-process DataFusion: {e}")))
}
