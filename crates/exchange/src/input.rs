//! The consumer's end of an exchange: one bounded queue for each partition that this task reads.
//!
//! A queue that is full holds its producers back: local ones wait in [`ExchangeInput::push`], remote ones run out of
//! credits. The bound is in bytes and softens while a sibling partition's reader starves, because the same producers feed
//! both: holding them back for the full one would keep the starving one waiting for nothing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::RecordBatchStream;
use frazil_common::{ErrorCode, Failure};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::memory::held_bytes;
use crate::server::CreditLedger;
use crate::to_datafusion;

/// Bytes of batches that wait in one partition's queue before its producers are held back.
pub const WINDOW_BYTES: usize = 4 << 20;
/// The same while a sibling starves.
const WINDOW_BYTES_STARVING: usize = 4 * WINDOW_BYTES;

pub struct ExchangeInput {
    schema: SchemaRef,
    /// The exchange's number of each local partition, ascending; a broadcast or gather has the one partition 0.
    numbers: Vec<u32>,
    producers: u32,
    queues: Vec<Mutex<Queue>>,
    /// Partitions whose reader waits on an empty queue.
    starving: AtomicUsize,
    /// Some queue has room again, or nobody needs it to.
    space: Notify,
    ledgers: Mutex<Vec<Weak<CreditLedger>>>,
    reservation: Option<MemoryReservation>,
}

struct Queue {
    batches: VecDeque<Queued>,
    bytes: usize,
    producers_left: u32,
    failure: Option<Failure>,
    /// Nobody reads it any more.
    closed: bool,
    reader: Option<Waker>,
    starving: bool,
}

struct Queued {
    batch: RecordBatch,
    bytes: usize,
    credit: Option<Arc<CreditLedger>>,
}

impl ExchangeInput {
    /// `numbers`: the exchange's partitions read here; `producers`: streams that will end each of them.
    pub fn new(
        schema: SchemaRef,
        numbers: Vec<u32>,
        producers: u32,
        reservation: Option<MemoryReservation>,
    ) -> Arc<Self> {
        let queue = || {
            Mutex::new(Queue {
                batches: VecDeque::new(),
                bytes: 0,
                producers_left: producers,
                failure: None,
                closed: false,
                reader: None,
                starving: false,
            })
        };
        Arc::new(Self {
            schema,
            queues: numbers.iter().map(|_| queue()).collect(),
            numbers,
            producers,
            starving: AtomicUsize::new(0),
            space: Notify::new(),
            ledgers: Mutex::default(),
            reservation,
        })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Streams that end each partition, of all of them also those that have ended.
    pub fn producers(&self) -> u32 {
        self.producers
    }

    /// The local index of the exchange's partition `number`.
    pub fn index_of(&self, number: u32) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    /// The stream of local partition `index`. Dropping it closes the partition.
    pub fn stream(self: &Arc<Self>, index: usize) -> ExchangeStream {
        ExchangeStream { input: self.clone(), index }
    }

    /// Hands over a batch without waiting; false when nobody reads the partition any more.
    pub(crate) fn offer(
        &self,
        index: usize,
        batch: RecordBatch,
        bytes: usize,
        credit: Option<Arc<CreditLedger>>,
    ) -> bool {
        let mut queue = self.queues[index].lock();
        if queue.closed {
            return false;
        }
        if let Some(reservation) = &self.reservation {
            reservation.grow(bytes);
        }
        queue.bytes += bytes;
        queue.batches.push_back(Queued { batch, bytes, credit });
        let reader = self.stop_starving(&mut queue);
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }

    /// Hands over a batch of this process and then waits until there is room for another; false when nobody reads the
    /// partition any more.
    pub async fn push(&self, index: usize, batch: RecordBatch) -> bool {
        let bytes = held_bytes(&batch);
        if !self.offer(index, batch, bytes, None) {
            return false;
        }
        if self.has_room(index) {
            return true;
        }
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            // Registered before the check, so that a change between check and wait is not missed.
            space.as_mut().enable();
            if self.has_room(index) {
                return true;
            }
            space.await;
        }
    }

    fn has_room(&self, index: usize) -> bool {
        let queue = self.queues[index].lock();
        if queue.closed || queue.failure.is_some() || queue.bytes < WINDOW_BYTES {
            return true;
        }
        queue.bytes < WINDOW_BYTES_STARVING && self.starving.load(Ordering::Relaxed) > 0
    }

    /// One producer has sent its last batch of partition `number`, or of all ([`crate::frame::ALL`]).
    pub fn end(&self, number: u32) {
        for (index, own) in self.numbers.iter().enumerate() {
            if number != crate::frame::ALL && number != *own {
                continue;
            }
            let mut queue = self.queues[index].lock();
            queue.producers_left = queue.producers_left.saturating_sub(1);
            if queue.producers_left == 0 {
                let reader = self.stop_starving(&mut queue);
                drop(queue);
                if let Some(reader) = reader {
                    reader.wake();
                }
            }
        }
    }

    /// Every partition that has not ended reports the failure; the first one counts.
    pub fn fail(&self, failure: &Failure) {
        for queue in &self.queues {
            let mut queue = queue.lock();
            if queue.failure.is_none() {
                queue.failure = Some(failure.clone());
            }
            let reader = self.stop_starving(&mut queue);
            drop(queue);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        self.space.notify_waiters();
    }

    /// Whether no partition needs more: all have ended or were closed.
    pub fn is_done(&self) -> bool {
        self.queues.iter().all(|queue| {
            let queue = queue.lock();
            queue.closed || queue.producers_left == 0
        })
    }

    pub fn close_all(&self) {
        (0..self.queues.len()).for_each(|index| self.close(index));
    }

    fn close(&self, index: usize) {
        let mut queue = self.queues[index].lock();
        if queue.closed {
            return;
        }
        queue.closed = true;
        let batches = std::mem::take(&mut queue.batches);
        let bytes = std::mem::take(&mut queue.bytes);
        let _ = self.stop_starving(&mut queue);
        drop(queue);
        drop(batches);
        if let Some(reservation) = &self.reservation {
            reservation.shrink(bytes);
        }
        for ledger in self.ledgers.lock().iter().filter_map(Weak::upgrade) {
            ledger.close(self.numbers[index]);
        }
        self.space.notify_waiters();
    }

    /// A remote producer's stream has arrived: it learns of closed partitions through its ledger.
    pub(crate) fn attach(&self, ledger: &Arc<CreditLedger>) {
        self.ledgers.lock().push(Arc::downgrade(ledger));
        for (queue, number) in self.queues.iter().zip(&self.numbers) {
            if queue.lock().closed {
                ledger.close(*number);
            }
        }
    }

    fn stop_starving(&self, queue: &mut Queue) -> Option<Waker> {
        if std::mem::take(&mut queue.starving) {
            self.starving.fetch_sub(1, Ordering::Relaxed);
        }
        queue.reader.take()
    }

    fn poll(&self, index: usize, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let mut queue = self.queues[index].lock();
        if let Some(queued) = queue.batches.pop_front() {
            let was_full = queue.bytes >= WINDOW_BYTES;
            queue.bytes -= queued.bytes;
            drop(queue);
            if let Some(reservation) = &self.reservation {
                reservation.shrink(queued.bytes);
            }
            if was_full {
                self.space.notify_waiters();
            }
            if let Some(ledger) = &queued.credit {
                ledger.release(self.numbers[index], queued.bytes);
            }
            return Poll::Ready(Some(Ok(queued.batch)));
        }
        if queue.producers_left == 0 {
            return Poll::Ready(None);
        }
        if let Some(failure) = &queue.failure {
            return Poll::Ready(Some(Err(to_datafusion(failure.clone()))));
        }
        if queue.closed {
            let failure = Failure::new(ErrorCode::Cancelled, "the exchange was closed while it was read");
            return Poll::Ready(Some(Err(to_datafusion(failure))));
        }
        queue.reader = Some(context.waker().clone());
        let starts = !std::mem::replace(&mut queue.starving, true);
        drop(queue);
        if starts && self.starving.fetch_add(1, Ordering::Relaxed) == 0 && self.queues.len() > 1 {
            self.space.notify_waiters();
        }
        Poll::Pending
    }
}

impl Drop for ExchangeInput {
    fn drop(&mut self) {
        self.close_all();
    }
}

/// The batches of one partition, as they arrive.
pub struct ExchangeStream {
    input: Arc<ExchangeInput>,
    index: usize,
}

impl futures::Stream for ExchangeStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.input.poll(self.index, context)
    }
}

impl RecordBatchStream for ExchangeStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema.clone()
    }
}

impl Drop for ExchangeStream {
    fn drop(&mut self) {
        self.input.close(self.index);
    }
}
