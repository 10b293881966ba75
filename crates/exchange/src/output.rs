//! The producer's end of an exchange: deals the rows of a stage's partitions to their consumers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use frazil_common::{Failure, QueryId};
use futures::StreamExt;
use futures::future::try_join_all;
use tokio::runtime::Handle;

use crate::coalesce::Coalescer;
use crate::frame::ALL;
use crate::hub::{Hub, Token};
use crate::input::ExchangeInput;
use crate::link::OutgoingLink;
use crate::to_datafusion;

/// How rows change partition between two stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExchangeKind {
    /// By the hash of some expressions, into the consumer's partitions.
    Hash,
    /// All into one partition, in no order.
    Gather,
    /// Each producer partition stays one, to be merged by its order where it is read.
    Merge,
    /// All to every task of the consumer.
    Broadcast,
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "hash",
            Self::Gather => "gather",
            Self::Merge => "merge",
            Self::Broadcast => "broadcast",
        })
    }
}

enum Sink {
    Local(Arc<ExchangeInput>),
    Remote(Box<OutgoingLink>),
}

/// One task's connection to all consumers of its exchange.
pub struct ExchangeOutput {
    kind: ExchangeKind,
    schema: SchemaRef,
    sinks: Vec<Sink>,
    /// hash: the sink of each partition. Otherwise unused: gather and merge have one sink, broadcast goes to all.
    sink_of_partition: Vec<usize>,
    batch_rows: usize,
    rows: AtomicU64,
}

/// Where the consumers are.
pub struct OutputTarget<'a> {
    pub query: QueryId,
    pub token: Token,
    pub exchange: u32,
    pub kind: ExchangeKind,
    /// hash: the address that reads partition i; gather, merge: one; broadcast: each reader once.
    pub owners: Vec<&'a str>,
    pub schema: SchemaRef,
    /// Rows that batches are coalesced to before they are sent.
    pub batch_rows: usize,
}

impl ExchangeOutput {
    /// Finds local consumers in `hub` or elsewhere in this process, and connects to the others.
    pub async fn connect(target: OutputTarget<'_>, hub: &Arc<Hub>, io: &Handle) -> Result<Self, Failure> {
        let mut addresses: Vec<&str> = Vec::new();
        let mut sink_of_partition = Vec::with_capacity(target.owners.len());
        for owner in &target.owners {
            let known = addresses.iter().position(|address| address == owner);
            sink_of_partition.push(known.unwrap_or_else(|| {
                addresses.push(owner);
                addresses.len() - 1
            }));
        }
        let sinks = addresses.into_iter().map(|address| connect_sink(&target, address, hub, io));
        let sinks = try_join_all(sinks).await?;
        Ok(Self {
            kind: target.kind,
            schema: target.schema,
            sinks,
            sink_of_partition,
            batch_rows: target.batch_rows,
            rows: AtomicU64::new(0),
        })
    }

    /// Bytes that went to other processes.
    pub fn remote_bytes(&self) -> u64 {
        self.sinks.iter().map(|sink| if let Sink::Remote(link) = sink { link.bytes() } else { 0 }).sum()
    }

    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Drains the stream of the stage's partition `number` into the exchange. Returns early, without an error, when no
    /// consumer wants more.
    pub async fn write(
        &self,
        number: u32,
        stream: SendableRecordBatchStream,
        hash: Option<&[Arc<dyn PhysicalExpr>]>,
    ) -> Result<()> {
        match self.kind {
            ExchangeKind::Hash => {
                let expressions = hash.ok_or_else(|| internal("a hash exchange without expressions"))?;
                self.write_hashed(stream, expressions).await
            }
            ExchangeKind::Gather | ExchangeKind::Broadcast => self.write_whole(0, stream).await,
            ExchangeKind::Merge => {
                self.write_whole(number, stream).await?;
                for sink in &self.sinks {
                    match sink {
                        Sink::Local(input) => input.end(number),
                        Sink::Remote(link) => link.end(number).await.map_err(to_datafusion)?,
                    }
                }
                Ok(())
            }
        }
    }

    /// All partitions of this task have been written.
    pub async fn finish(&self) -> Result<(), Failure> {
        // A merge's partitions have ended one by one.
        let end_all = self.kind != ExchangeKind::Merge;
        for sink in &self.sinks {
            match sink {
                Sink::Local(input) if end_all => input.end(ALL),
                Sink::Local(_) => {}
                Sink::Remote(link) => link.close(end_all).await?,
            }
        }
        Ok(())
    }

    /// Tells all consumers why there is no more.
    pub async fn fail(&self, failure: &Failure) {
        for sink in &self.sinks {
            match sink {
                Sink::Local(input) => input.fail(failure),
                Sink::Remote(link) => link.fail(failure).await,
            }
        }
    }

    async fn write_hashed(
        &self,
        mut stream: SendableRecordBatchStream,
        expressions: &[Arc<dyn PhysicalExpr>],
    ) -> Result<()> {
        let partitions = self.sink_of_partition.len();
        let mut partitioner = BatchPartitioner::new_hash_partitioner(expressions.to_vec(), partitions, Time::new())?;
        let mut coalescers: Vec<Coalescer> =
            (0..partitions).map(|_| Coalescer::new(&self.schema, self.batch_rows)).collect();
        let mut wanted = vec![true; partitions];
        while let Some(batch) = stream.next().await {
            self.rows.fetch_add(batch.as_ref().map_or(0, |batch| batch.num_rows() as u64), Ordering::Relaxed);
            partitioner.partition(batch?, |partition, rows| {
                if wanted[partition] { Ok(coalescers[partition].push(rows)?) } else { Ok(()) }
            })?;
            for partition in 0..partitions {
                self.send_ready(partition, &mut coalescers[partition], &mut wanted[partition]).await?;
            }
            if !wanted.iter().any(|wanted| *wanted) {
                return Ok(());
            }
        }
        for partition in 0..partitions {
            coalescers[partition].finish()?;
            self.send_ready(partition, &mut coalescers[partition], &mut wanted[partition]).await?;
        }
        Ok(())
    }

    async fn send_ready(&self, partition: usize, coalescer: &mut Coalescer, wanted: &mut bool) -> Result<()> {
        while let Some(batch) = coalescer.next() {
            if *wanted {
                let sink = &self.sinks[self.sink_of_partition[partition]];
                *wanted = send(sink, partition as u32, batch).await?;
            }
        }
        Ok(())
    }

    async fn write_whole(&self, number: u32, mut stream: SendableRecordBatchStream) -> Result<()> {
        let mut coalescer = Coalescer::new(&self.schema, self.batch_rows);
        loop {
            let ended = match stream.next().await {
                Some(batch) => {
                    let batch = batch?;
                    self.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                    coalescer.push(batch)?;
                    false
                }
                None => {
                    coalescer.finish()?;
                    true
                }
            };
            while let Some(batch) = coalescer.next() {
                let mut wanted = false;
                for sink in &self.sinks {
                    wanted |= send(sink, number, batch.clone()).await?;
                }
                if !wanted {
                    return Ok(());
                }
            }
            if ended {
                return Ok(());
            }
        }
    }
}

async fn connect_sink(target: &OutputTarget<'_>, address: &str, hub: &Arc<Hub>, io: &Handle) -> Result<Sink, Failure> {
    let same_process = if address == hub.address() { Some(hub.clone()) } else { Hub::in_process(address) };
    let OutputTarget { query, token, exchange, .. } = *target;
    match same_process {
        Some(hub) => hub.find(query, token, exchange).await.map(Sink::Local),
        None => OutgoingLink::connect(address, hub.tls(), query, token, exchange, &target.schema, io)
            .await
            .map(|link| Sink::Remote(Box::new(link))),
    }
}

async fn send(sink: &Sink, partition: u32, batch: RecordBatch) -> Result<bool> {
    match sink {
        Sink::Local(input) => {
            let index =
                input.index_of(partition).ok_or_else(|| internal("a partition that its owner does not read"))?;
            Ok(input.push(index, batch).await)
        }
        Sink::Remote(link) => link.send(partition, batch).await.map_err(to_datafusion),
    }
}

fn internal(message: &str) -> DataFusionError {
    to_datafusion(Failure::internal(message))
}
