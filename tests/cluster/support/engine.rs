//! The door that every test goes through: SQL in, Arrow out, whoever computes it.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::future::BoxFuture;

/// One statement, with all that it depends on: engines keep no session between statements.
#[derive(Clone, Debug)]
pub struct Request {
    pub sql: String,
    /// Where unqualified table names are looked up.
    pub schema: Option<String>,
    /// Forces the number of partitions `P` of the plan; `None` leaves it to the engine.
    pub partitions: Option<usize>,
    /// Session options, as `SET` takes them.
    pub settings: Vec<(String, String)>,
}

impl Request {
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), schema: None, partitions: None, settings: Vec::new() }
    }

    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = Some(partitions);
        self
    }

    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Answer {
    pub fn empty() -> Self {
        Self { schema: Schema::empty().into(), batches: Vec::new() }
    }

    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// A statement that failed, as its client sees it.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status; `None` where there was no HTTP, or no whole answer.
    pub status: Option<u16>,
    pub code: Option<String>,
    pub sql_state: Option<String>,
    pub message: String,
}

impl Refusal {
    pub fn local(message: impl fmt::Display) -> Self {
        Self { status: None, code: None, sql_state: None, message: message.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status}")?;
            if let Some(state) = &self.sql_state {
                write!(f, ", SQLSTATE {state}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Cheap to share; statements may be sent at the same time.
pub trait Engine: Send + Sync {
    /// For messages: `cluster of 3 executors`.
    fn name(&self) -> &str;

    /// Returns within a deadline of its own.
    fn run<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Refusal>>;
}
