//! `system.statements`, `system.stages`, `system.tasks`, `system.executors`: the history as tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use frazil_common::{Failure, Principal, StatementId};
use frazil_engine::lake::{SystemRows, SystemTables};

use super::StatementRecord;
use crate::service::Inner;
use crate::statement::ExecutorStatus;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// The tables as a client sees them: its own statements, or all for one that administers all.
pub struct SystemView {
    inner: Arc<Inner>,
    principal: Principal,
}

impl SystemView {
    pub(crate) fn new(inner: Arc<Inner>, principal: Principal) -> Self {
        Self { inner, principal }
    }

    /// Newest first. Those that are remembered as they are now, the others as they were written.
    pub(crate) fn records(&self) -> Vec<Arc<StatementRecord>> {
        let live = self.inner.statements.lock().all();
        let mut records: BTreeMap<StatementId, Arc<StatementRecord>> = BTreeMap::new();
        for record in self.inner.history.all() {
            if self.principal.may_act_for(&Principal::new(&record.user, &record.role)) {
                records.insert(record.id, record);
            }
        }
        for statement in live.iter().filter(|one| self.principal.may_act_for(one.principal())) {
            records.insert(statement.id, Arc::new(statement.record()));
        }
        records.into_values().rev().collect()
    }
}

impl fmt::Debug for SystemView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system tables of {}", self.principal)
    }
}

impl SystemTables for SystemView {
    fn names(&self) -> &'static [&'static str] {
        &["executors", "stages", "statements", "tasks"]
    }

    fn rows(&self, name: &str) -> Option<Result<SystemRows, Failure>> {
        let rows = match name {
            "statements" => statements(&self.records()),
            "stages" => stages(&self.records()),
            "tasks" => tasks(&self.records()),
            "executors" => executors(&self.inner.runner.registry.status()),
            _ => return None,
        };
        Some(rows)
    }
}

fn statements(records: &[Arc<StatementRecord>]) -> Result<SystemRows, Failure> {
    in_batches(records, |records| {
        let text = |read: fn(&StatementRecord) -> Option<&str>| texts(records.iter().map(|record| read(record)));
        let time = |read: fn(&StatementRecord) -> Option<u64>| times(records.iter().map(|record| read(record)));
        let number = |read: fn(&StatementRecord) -> Option<u64>| numbers(records.iter().map(|record| read(record)));
        let ids: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
        let phases: Vec<String> = records.iter().map(|record| record.phase.to_string()).collect();
        let codes = records.iter().map(|record| record.failure.as_ref().map(|failure| failure.code.number()));
        let states = records.iter().map(|record| record.failure.as_ref().map(|failure| failure.code.sql_state()));
        vec![
            ("statement_id", texts(ids.iter().map(|id| Some(id.as_str())))),
            ("user_name", text(|record| Some(&record.user))),
            ("role_name", text(|record| Some(&record.role))),
            ("database_name", text(|record| record.database.as_deref())),
            ("schema_name", text(|record| record.schema.as_deref())),
            ("query_tag", text(|record| record.query_tag.as_deref())),
            ("statement_text", text(|record| Some(&record.sql))),
            ("phase", texts(phases.iter().map(|phase| Some(phase.as_str())))),
            ("created_at", time(|record| Some(record.created_ms))),
            ("planned_at", time(|record| record.planned_ms)),
            ("started_at", time(|record| record.started_ms)),
            ("ended_at", time(|record| record.ended_ms)),
            ("elapsed_ms", number(|record| Some(record.ended_ms?.saturating_sub(record.created_ms)))),
            ("error_code", texts(codes)),
            ("sql_state", texts(states)),
            ("error_message", text(|record| record.failure.as_ref().map(|failure| failure.message.as_str()))),
            ("rows", number(|record| record.rows)),
            ("stages", number(|record| Some(record.progress.stages.into()))),
            ("tasks", number(|record| Some(record.progress.tasks.into()))),
            ("tasks_finished", number(|record| Some(record.progress.tasks_finished.into()))),
            ("splits", number(|record| Some(record.progress.splits.into()))),
            ("splits_finished", number(|record| Some(record.progress.splits_finished.into()))),
            ("retries", number(|record| Some(record.progress.retries.into()))),
            ("rows_scanned", number(|record| Some(record.stats.rows_scanned))),
            ("bytes_scanned", number(|record| Some(record.stats.bytes_scanned))),
            ("bytes_exchanged", number(|record| Some(record.stats.bytes_exchanged))),
            ("rows_produced", number(|record| Some(record.stats.rows_produced))),
            ("bytes_produced", number(|record| Some(record.stats.bytes_produced))),
            ("rows_written", number(|record| Some(record.stats.rows_written))),
            ("bytes_written", number(|record| Some(record.stats.bytes_written))),
        ]
    })
}

fn stages(records: &[Arc<StatementRecord>]) -> Result<SystemRows, Failure> {
    let rows: Vec<_> =
        records.iter().flat_map(|record| record.stages.iter().map(move |stage| (record, stage))).collect();
    in_batches(&rows, |rows| {
        let ids: Vec<String> = rows.iter().map(|(record, _)| record.id.to_string()).collect();
        // Of the stage's tasks that have finished.
        let figures: Vec<_> = rows
            .iter()
            .map(|(record, stage)| {
                let tasks = record.tasks.iter().filter(|task| (task.run, task.stage) == (stage.run, stage.stage));
                let (mut finished, mut rows, mut scanned, mut exchanged, mut slowest) = (0, 0, 0, 0, None::<f64>);
                for done in tasks.filter_map(|task| task.done) {
                    finished += 1;
                    rows += done.rows_out;
                    scanned += done.bytes_scanned;
                    exchanged += done.bytes_exchanged;
                    slowest = Some(slowest.map_or(done.elapsed_ms, |slowest| slowest.max(done.elapsed_ms)));
                }
                (finished, rows, scanned, exchanged, slowest)
            })
            .collect();
        vec![
            ("statement_id", texts(ids.iter().map(|id| Some(id.as_str())))),
            ("run", small(rows.iter().map(|(_, stage)| stage.run))),
            ("stage", small(rows.iter().map(|(_, stage)| stage.stage))),
            ("exchange", texts(rows.iter().map(|(_, stage)| Some(stage.exchange.as_str())))),
            ("is_spread", Arc::new(rows.iter().map(|(_, stage)| Some(stage.spread)).collect::<BooleanArray>())),
            ("partitions", small(rows.iter().map(|(_, stage)| stage.partitions))),
            ("tasks", small(rows.iter().map(|(_, stage)| stage.tasks))),
            ("tasks_finished", small(figures.iter().map(|figures| figures.0))),
            ("rows_out", numbers(figures.iter().map(|figures| Some(figures.1)))),
            ("bytes_scanned", numbers(figures.iter().map(|figures| Some(figures.2)))),
            ("bytes_exchanged", numbers(figures.iter().map(|figures| Some(figures.3)))),
            ("elapsed_ms", Arc::new(figures.iter().map(|figures| figures.4).collect::<Float64Array>())),
        ]
    })
}

fn tasks(records: &[Arc<StatementRecord>]) -> Result<SystemRows, Failure> {
    let rows: Vec<_> = records.iter().flat_map(|record| record.tasks.iter().map(move |task| (record, task))).collect();
    in_batches(&rows, |rows| {
        let ids: Vec<String> = rows.iter().map(|(record, _)| record.id.to_string()).collect();
        let states = rows.iter().map(|(record, task)| match (task.done, record.phase.is_terminal()) {
            (Some(_), _) => Some("finished"),
            (None, false) => Some("running"),
            // It was stopped, failed, or its executor was lost.
            (None, true) => Some("ended"),
        });
        let done = |read: fn(&crate::progress::TaskDone) -> u64| {
            numbers(rows.iter().map(|(_, task)| task.done.as_ref().map(read)))
        };
        vec![
            ("statement_id", texts(ids.iter().map(|id| Some(id.as_str())))),
            ("run", small(rows.iter().map(|(_, task)| task.run))),
            ("stage", small(rows.iter().map(|(_, task)| task.stage))),
            ("executor", texts(rows.iter().map(|(_, task)| Some(task.executor.as_str())))),
            ("state", texts(states)),
            ("partitions", small(rows.iter().map(|(_, task)| task.partitions))),
            ("splits", small(rows.iter().map(|(_, task)| task.splits))),
            ("rows_out", done(|done| done.rows_out)),
            ("bytes_scanned", done(|done| done.bytes_scanned)),
            ("bytes_exchanged", done(|done| done.bytes_exchanged)),
            (
                "elapsed_ms",
                Arc::new(rows.iter().map(|(_, task)| Some(task.done?.elapsed_ms)).collect::<Float64Array>()),
            ),
        ]
    })
}

fn executors(executors: &[ExecutorStatus]) -> Result<SystemRows, Failure> {
    in_batches(executors, |executors| {
        let text = |read: fn(&ExecutorStatus) -> &str| texts(executors.iter().map(|executor| Some(read(executor))));
        let number = |read: fn(&ExecutorStatus) -> u64| numbers(executors.iter().map(|executor| Some(read(executor))));
        vec![
            ("executor", text(|executor| &executor.id)),
            ("boot_id", text(|executor| &executor.boot_id)),
            ("state", text(|executor| executor.state)),
            ("slots", small(executors.iter().map(|executor| executor.slots))),
            ("running_tasks", small(executors.iter().map(|executor| executor.running_tasks))),
            ("memory_bytes", number(|executor| executor.memory_bytes)),
            ("memory_used_bytes", number(|executor| executor.memory_used_bytes)),
            ("rpc_address", text(|executor| &executor.rpc_address)),
            ("data_address", text(|executor| &executor.data_address)),
            ("heartbeat_age_ms", number(|executor| executor.heartbeat_age_ms)),
        ]
    })
}

/// The columns of a table, in batches; at least one, for its schema.
fn in_batches<T>(rows: &[T], columns: impl Fn(&[T]) -> Vec<(&'static str, ArrayRef)>) -> Result<SystemRows, Failure> {
    let pieces: Vec<&[T]> = if rows.is_empty() { vec![rows] } else { rows.chunks(BATCH_ROWS).collect() };
    let mut batches = Vec::with_capacity(pieces.len());
    let mut schema: Option<SchemaRef> = None;
    for piece in pieces {
        let (names, arrays): (Vec<_>, Vec<_>) = columns(piece).into_iter().unzip();
        let schema = schema.get_or_insert_with(|| {
            let fields =
                names.iter().zip(&arrays).map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        });
        let batch = RecordBatch::try_new(schema.clone(), arrays);
        batches.push(batch.map_err(|error| Failure::internal(format!("a system table: {error}")))?);
    }
    let schema = schema.expect("there is at least one piece");
    Ok(SystemRows { schema, batches })
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))).collect::<Int64Array>())
}

fn small(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(values.map(|value| Some(i32::try_from(value).unwrap_or(i32::MAX))).collect::<Int32Array>())
}

/// Milliseconds since the epoch as instants in UTC.
fn times(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let times: TimestampMillisecondArray = values.map(|value| value.map(|value| value as i64)).collect();
    Arc::new(times.with_timezone("UTC"))
}
