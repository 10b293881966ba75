//! A statement's rows on their way to whoever asked for them: kept in partitions, or streamed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use frazil_common::{ErrorCode, Failure};
use frazil_exchange::memory::{held_bytes, own_bytes};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::lifecycle::Statement;
use crate::query::RunningQuery;
use crate::results::ResultWriter;
use crate::service::Inner;
use crate::statement::{Delivery, ResultInfo, ResultPartition, ResultStream};

/// Batches between a query and the reader of its stream.
const STREAM_BATCHES: usize = 1;
/// Batches between a query and the files of its kept result.
const SPOOLED_BATCHES: usize = 4;
/// From a stream's end to the statement's.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Where a statement's rows come from.
pub enum Rows {
    Ready(RecordBatch),
    Running(Box<RunningQuery>),
}

/// Hands the rows to whoever asked for them, in the way they asked for.
pub async fn deliver(inner: &Arc<Inner>, statement: &Arc<Statement>, rows: Rows) -> Result<(), Failure> {
    let schema = match &rows {
        Rows::Ready(batch) => batch.schema(),
        Rows::Running(running) => running.schema.clone(),
    };
    match statement.request.delivery {
        Delivery::Spooled => {
            if let Rows::Ready(rows) = &rows {
                statement.keep_answer(rows);
            }
            let (rows, partitions) = spool(inner, statement, &schema, rows).await?;
            statement.finish(ResultInfo { schema, rows, partitions });
        }
        Delivery::Streamed => {
            let rows = offer_stream(statement, &schema, rows).await?;
            statement.finish(ResultInfo { schema, rows, partitions: vec![] });
        }
    }
    Ok(())
}

async fn spool(
    inner: &Arc<Inner>,
    statement: &Statement,
    schema: &SchemaRef,
    rows: Rows,
) -> Result<(u64, Vec<ResultPartition>), Failure> {
    let mut writer = inner.results.begin(statement.id, schema.clone());
    match rows {
        Rows::Ready(batch) => {
            note(statement, &batch);
            writer.push(batch)?;
        }
        Rows::Running(mut running) => {
            while let Some(batch) = running.next().await {
                let batch = batch?;
                note(statement, &batch);
                if !writer.stays_in_memory(held_bytes(&batch)) {
                    return spool_on(writer, batch, running, statement).await;
                }
                writer.push(batch)?;
            }
        }
    }
    let partitions = match writer.stays_in_memory(0) {
        true => writer.finish()?,
        false => kept(tokio::task::spawn_blocking(move || writer.finish()).await)?,
    };
    Ok((rows_of(&partitions), partitions))
}

/// The rest of many rows. Files are written beside the query, which goes on meanwhile, and not on the threads that answer everyone.
async fn spool_on(
    mut writer: ResultWriter,
    first: RecordBatch,
    mut running: Box<RunningQuery>,
    statement: &Statement,
) -> Result<(u64, Vec<ResultPartition>), Failure> {
    let (sender, mut receiver) = mpsc::channel::<Option<RecordBatch>>(SPOOLED_BATCHES);
    let writing = tokio::task::spawn_blocking(move || {
        writer.push(first)?;
        loop {
            match receiver.blocking_recv() {
                Some(Some(batch)) => writer.push(batch)?,
                Some(None) => return writer.finish(),
                // The query has failed: what is written goes with the writer.
                None => return Err(Failure::internal("rows ended before their end")),
            }
        }
    });
    loop {
        let next = running.next().await.transpose()?;
        let is_end = next.is_none();
        if let Some(batch) = &next {
            note(statement, batch);
        }
        // Nobody takes it where writing has failed, which is told below.
        if sender.send(next).await.is_err() || is_end {
            break;
        }
    }
    let partitions = kept(writing.await)?;
    Ok((rows_of(&partitions), partitions))
}

fn rows_of(partitions: &[ResultPartition]) -> u64 {
    partitions.iter().map(|partition| partition.rows).sum()
}

fn note(statement: &Statement, batch: &RecordBatch) {
    statement.progress.add_rows(batch.num_rows() as u64, own_bytes(batch) as u64);
}

fn kept<T>(written: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    written.unwrap_or_else(|error| Err(Failure::internal(format!("keeping a result: {error}"))))
}

/// Offers the rows to one reader, at its pace. The reader going away cancels the statement.
async fn offer_stream(statement: &Arc<Statement>, schema: &SchemaRef, rows: Rows) -> Result<u64, Failure> {
    let (sender, receiver) = mpsc::channel(STREAM_BATCHES);
    let batches = received(receiver, Arc::downgrade(statement));
    let info = ResultInfo { schema: schema.clone(), rows: 0, partitions: vec![] };
    statement.offer(info, ResultStream { schema: schema.clone(), batches });
    let gone = || Failure::new(ErrorCode::Cancelled, "the reader of the rows is gone");
    let mut count = 0;
    match rows {
        Rows::Ready(batch) => {
            count = batch.num_rows() as u64;
            note(statement, &batch);
            sender.send(Ok(Some(batch))).await.map_err(|_| gone())?;
        }
        Rows::Running(mut running) => loop {
            let next = tokio::select! {
                next = running.next() => next,
                () = sender.closed() => return Err(gone()),
                () = statement.stop.cancelled() => Some(Err(statement.stop_cause())),
                () = tokio::time::sleep_until(statement.deadline) => {
                    Some(Err(Failure::new(ErrorCode::Timeout, "the statement's time limit has passed")))
                }
            };
            match next {
                None => break,
                Some(Ok(batch)) => {
                    count += batch.num_rows() as u64;
                    note(statement, &batch);
                    sender.send(Ok(Some(batch))).await.map_err(|_| gone())?;
                }
                Some(Err(failure)) => {
                    // The reader must not take what it has for the whole.
                    let _ = sender.send(Err(failure.clone())).await;
                    return Err(failure);
                }
            }
        },
    }
    // Without it the reader takes what it has for a part.
    let _ = sender.send(Ok(None)).await;
    Ok(count)
}

/// Batches up to the end that is said. Whatever stops a statement may drop its sender: rows that just stop are not the whole.
fn received(
    receiver: mpsc::Receiver<Result<Option<RecordBatch>, Failure>>,
    statement: Weak<Statement>,
) -> BoxStream<'static, Result<RecordBatch, Failure>> {
    let next = |state: Option<(mpsc::Receiver<_>, Weak<Statement>)>| async move {
        let (mut receiver, statement) = state?;
        match receiver.recv().await {
            Some(Ok(Some(batch))) => Some((Ok(batch), Some((receiver, statement)))),
            Some(Ok(None)) => None,
            Some(Err(failure)) => Some((Err(failure), None)),
            None => Some((Err(why_it_stopped(&statement).await), None)),
        }
    };
    // Readers of empty results ask once more after the end.
    stream::unfold(Some((receiver, statement)), next).fuse().boxed()
}

async fn why_it_stopped(statement: &Weak<Statement>) -> Failure {
    let Some(statement) = statement.upgrade() else {
        return Failure::new(ErrorCode::Cancelled, "the statement was stopped");
    };
    let _ = tokio::time::timeout(STOP_LIMIT, statement.ended_for_good()).await;
    statement.status().failure.unwrap_or_else(|| statement.stop_cause())
}

/// One row that says what a statement has done.
pub fn status_row(text: String) -> Result<RecordBatch, Failure> {
    let schema = Arc::new(Schema::new(vec![Field::new("status", DataType::Utf8, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![text]))])
        .map_err(|error| Failure::internal(error.to_string()))
}
