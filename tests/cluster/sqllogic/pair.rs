//! The "database" under test: in-process DataFusion for statements, and both for queries.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::logical_expr::{LogicalPlan, Statement};
use sqllogictest::{AsyncDB, DBOutput};

use super::cells::{self, Letter};
use super::mirror::Mirror;
use super::records::has_order;
use crate::support::answers::{Order, compare};
use crate::support::engine::{Answer, Engine, Request};
use crate::support::oracle::Oracle;

/// What `SET` statements have set so far; sent with each later statement.
pub type Settings = Arc<Mutex<Vec<(String, String)>>>;

pub struct Pair {
    oracle: Arc<Oracle>,
    engine: Arc<dyn Engine>,
    mirror: Mirror,
    schema: String,
    partitions: usize,
    settings: Settings,
}

#[derive(Debug)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl Pair {
    pub async fn new(oracle: Arc<Oracle>, engine: Arc<dyn Engine>, schema: &str, partitions: usize) -> Self {
        let mirror = Mirror::new(oracle.clone(), engine.clone(), schema).await;
        Self { oracle, engine, mirror, schema: schema.to_owned(), partitions, settings: Settings::default() }
    }

    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    fn request(&self, sql: &str) -> Request {
        let settings = self.settings.lock().expect("no holder panics").clone();
        Request { settings, ..Request::new(sql) }
    }

    fn engine_request(&self, sql: &str) -> Request {
        self.request(sql).schema(&self.schema).partitions(self.partitions)
    }

    async fn ask(&mut self, sql: &str, plan: &LogicalPlan) -> Result<DBOutput<Letter>, Wrong> {
        self.mirror.sync().await.map_err(Wrong)?;
        let expected = self.oracle.run(&self.request(sql)).await;
        let actual = self.engine.run(&self.engine_request(sql)).await;
        match (expected, actual) {
            (Ok(expected), Ok(actual)) => {
                compare(&expected, &actual, Order::Any)
                    .map_err(|difference| Wrong(format!("{} differs: {difference}", self.engine.name())))?;
                let mut output = rows(&actual)?;
                if let (DBOutput::Rows { rows, .. }, false) = (&mut output, has_order(plan)) {
                    rows.sort_by_cached_key(|row| cells::line(row));
                }
                Ok(output)
            }
            (Err(refusal), Err(_)) => Err(Wrong(refusal.to_string())),
            (Ok(_), Err(refusal)) => Err(Wrong(format!("{} alone fails: {refusal}", self.engine.name()))),
            (Err(refusal), Ok(_)) => {
                Ok(complete(format!("{} does not fail, but should: {refusal}", self.engine.name())))
            }
        }
    }

    /// A statement that does not plan must not run on the engine either.
    async fn refuse(&mut self, sql: &str, refusal: String) -> Result<DBOutput<Letter>, Wrong> {
        let first = sql.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        if !["select", "with", "values"].contains(&first.as_str()) {
            return Err(Wrong(refusal));
        }
        self.mirror.sync().await.map_err(Wrong)?;
        match self.engine.run(&self.engine_request(sql)).await {
            Err(_) => Err(Wrong(refusal)),
            Ok(_) => Ok(complete(format!("{} does not fail, but should: {refusal}", self.engine.name()))),
        }
    }
}

fn rows(answer: &Answer) -> Result<DBOutput<Letter>, Wrong> {
    let types = answer.schema.fields().iter().map(|f| Letter::of(f.data_type())).collect();
    Ok(DBOutput::Rows { types, rows: cells::rows(answer).map_err(|e| Wrong(e.to_string()))? })
}

/// A row that no file expects, and no error: where an error is expected this is the failure.
fn complete(message: String) -> DBOutput<Letter> {
    DBOutput::Rows { types: vec![Letter('T')], rows: vec![vec![message]] }
}

#[async_trait]
impl AsyncDB for Pair {
    type Error = Wrong;
    type ColumnType = Letter;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Letter>, Wrong> {
        let request = self.request(sql);
        let plan = match self.oracle.plan(&request).await {
            Ok(plan) => plan,
            Err(error) => return self.refuse(sql, error.strip_backtrace()).await,
        };
        match &plan {
            LogicalPlan::Statement(Statement::SetVariable(set)) => {
                self.settings.lock().expect("no holder panics").push((set.variable.clone(), set.value.clone()));
                Ok(DBOutput::StatementComplete(0))
            }
            LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_) => {
                let answer = self.oracle.run(&request).await.map_err(|refusal| Wrong(refusal.to_string()))?;
                self.mirror.changed(&plan);
                rows(&answer)
            }
            _ => self.ask(sql, &plan).await,
        }
    }

    async fn shutdown(&mut self) {
        self.mirror.drop_all().await;
    }

    fn engine_name(&self) -> &str {
        "DataFusion"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
