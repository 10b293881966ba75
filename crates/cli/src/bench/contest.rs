//! The contenders, alive at the same time, and one query's turn with each of them.

use std::time::Instant;

use arrow::array::RecordBatch;
use futures::future::join_all;
use serde_json::Value;

use super::figures::{ClusterTime, Measured, Peak};
use super::single::SingleServer;
use super::single_server::TableFiles;
use crate::answers::compare;
use crate::client::{Client, StatementContext};
use crate::failure::CommandError;
use crate::processes::{ChildProcess, Cluster, ClusterShape, memory};
use crate::tpch::{self, Query};

pub struct ContestPlan {
    pub scale: f64,
    /// The files that both sides read.
    pub tables: TableFiles,
    pub clusters: Vec<ClusterShape>,
    /// One single process for each number of threads; none when there is nothing to compare with.
    pub single_threads: Vec<usize>,
    /// Each single process tries each number of partitions, and is measured with the best.
    pub single_partitions: Vec<usize>,
    pub runs: usize,
}

pub struct Contest {
    plan: ContestPlan,
    context: StatementContext,
    singles: Vec<SingleServer>,
    /// The number of partitions that each single process is measured with.
    partitions: Vec<usize>,
    clusters: Vec<(Cluster, Client)>,
}

impl Contest {
    /// The tables must be there.
    pub async fn start(plan: ContestPlan) -> Result<Self, CommandError> {
        let mut contest = Self {
            context: tpch::context(plan.scale),
            plan,
            singles: Vec::new(),
            partitions: Vec::new(),
            clusters: Vec::new(),
        };
        match contest.start_all().await {
            Ok(()) => Ok(contest),
            Err(error) => {
                contest.stop().await;
                Err(error)
            }
        }
    }

    async fn start_all(&mut self) -> Result<(), CommandError> {
        for shape in &self.plan.clusters {
            let cluster = Cluster::start(shape).await?;
            let client = Client::http(cluster.url());
            self.clusters.push((cluster, client?));
        }
        for &threads in &self.plan.single_threads {
            self.singles.push(SingleServer::start(&self.plan.tables, threads).await?);
        }
        Ok(())
    }

    pub fn plan(&self) -> &ContestPlan {
        &self.plan
    }

    pub fn partitions(&self) -> &[usize] {
        &self.partitions
    }

    /// Before anything is measured: with which number of partitions each single process takes the least time for all
    /// queries together, one run of each. Apart from the measurement, because whoever has several turns in a row at one
    /// query finds its own memory and caches warm.
    pub async fn choose_partitions(&mut self, queries: &[&Query]) -> Result<(), CommandError> {
        let choices = &self.plan.single_partitions;
        self.partitions.clear();
        for single in &mut self.singles {
            let mut totals = vec![0.0; choices.len()];
            for query in queries.iter().filter(|_| choices.len() > 1) {
                for (&partitions, total) in choices.iter().zip(&mut totals) {
                    *total += single.query(query.sql, partitions, false).await?.ms;
                }
            }
            let tried = choices.iter().zip(totals);
            let best = tried.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(&partitions, _)| partitions);
            self.partitions.push(best.ok_or_else(|| CommandError::Usage("no number of partitions is given".into()))?);
        }
        Ok(())
    }

    /// All contenders in turn, as often as planned; the least time of each counts, and every answer must be right. What
    /// a cluster cannot answer is a difference; what single-process DataFusion cannot answer ends the contest.
    pub async fn measure(&mut self, query: &Query) -> Result<Measured, CommandError> {
        let mut measured = Measured {
            name: query.name,
            rows: 0,
            singles: vec![f64::INFINITY; self.singles.len()],
            clusters: self.clusters.iter().map(|_| ClusterTime::default()).collect(),
        };
        let mut expected: Option<Vec<RecordBatch>> = None;
        for _ in 0..self.plan.runs {
            let singles = self.singles.iter_mut().zip(&self.partitions);
            for ((single, &partitions), least) in singles.zip(&mut measured.singles) {
                let time = single.query(query.sql, partitions, expected.is_none()).await?;
                *least = least.min(time.ms);
                measured.rows = time.rows;
                expected.get_or_insert(time.batches);
            }
            for ((_, client), time) in self.clusters.iter().zip(&mut measured.clusters) {
                run_on_cluster(client, &self.context, query, expected.as_deref(), time).await;
            }
        }
        if self.singles.is_empty() {
            measured.rows = measured.clusters.iter().map(|time| time.rows).max().unwrap_or_default();
        }
        Ok(measured)
    }

    /// Of every process, from its start until now.
    pub fn peak_memory(&self) -> Vec<Peak> {
        let single = self.singles.iter().map(SingleServer::process).map(peak);
        let clusters = self.clusters.iter().flat_map(|(cluster, _)| {
            let executors = cluster.processes().count() - 1;
            cluster.processes().map(move |process| {
                let Peak { process, bytes } = peak(process);
                Peak { process: format!("{process} (of {executors} executors)"), bytes }
            })
        });
        single.chain(clusters).collect()
    }

    pub async fn stop(self) {
        join_all(self.singles.into_iter().map(SingleServer::stop)).await;
        join_all(self.clusters.into_iter().map(|(cluster, _)| cluster.stop())).await;
    }
}

fn peak(process: &ChildProcess) -> Peak {
    Peak { process: process.name().to_owned(), bytes: memory::peak_of(process.pid()).map(|size| size.0) }
}

/// From sending the statement to its last row.
async fn run_on_cluster(
    client: &Client,
    context: &StatementContext,
    query: &Query,
    expected: Option<&[RecordBatch]>,
    time: &mut ClusterTime,
) {
    let started = Instant::now();
    let answered = match client.query(query.sql, context).await {
        Ok(answered) => answered,
        Err(error) => {
            time.difference.get_or_insert(error.to_string());
            return;
        }
    };
    let ms = started.elapsed().as_secs_f64() * 1e3;
    time.ms = Some(time.ms.map_or(ms, |least| least.min(ms)));
    time.rows = answered.rows();
    if let Some(expected) = expected {
        let mut actual = answered.batches;
        if actual.is_empty() {
            actual.push(RecordBatch::new_empty(answered.schema));
        }
        if let Err(difference) = compare(expected, &actual, &query.order()) {
            time.difference.get_or_insert(difference.to_string());
        }
    }
    if let Some(handle) = answered.handle
        && let Ok(status) = client.status(&handle).await
    {
        let figure = |name: &str| status.get("stats").and_then(|stats| stats.get(name)).and_then(Value::as_u64);
        time.bytes_scanned = figure("bytesScanned").or(time.bytes_scanned);
        time.bytes_exchanged = figure("bytesExchanged").or(time.bytes_exchanged);
    }
}
