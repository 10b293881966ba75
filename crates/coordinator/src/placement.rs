//! Deals the partitions of stages to executors, and writes down who sends what to whom.

use std::collections::BTreeMap;

use datafusion::physical_plan::ExecutionPlan;
use frazil_common::Failure;
use frazil_engine::codec;
use frazil_exchange::ExchangeKind;
use frazil_proto::v1;

use crate::stage_graph::{Leaf, Stage, StageGraph};

/// One stage's partitions on one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlacement {
    pub stage: u32,
    /// Index among the query's executors.
    pub executor: usize,
    /// Ascending.
    pub partitions: Vec<usize>,
}

/// Where every partition of a query runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub tasks: Vec<TaskPlacement>,
}

impl Placement {
    /// `slots`: of each executor. Partitions of spread stages go round the slots, always in the same way, so that
    /// partition `i` of two stages with as many partitions is on the same executor.
    pub fn new(graph: &StageGraph, slots: &[u32]) -> Self {
        let owners = slot_owners(slots);
        let mut tasks: Vec<TaskPlacement> = Vec::new();
        for stage in &graph.stages {
            let mut by_executor: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            if stage.spread {
                for partition in 0..stage.partitions {
                    by_executor.entry(owners[partition % owners.len()]).or_default().push(partition);
                }
            } else {
                let executor = near_producer(stage, graph, &tasks).unwrap_or(stage.id as usize % slots.len());
                by_executor.insert(executor, (0..stage.partitions).collect());
            }
            let placed = by_executor.into_iter();
            tasks.extend(placed.map(|(executor, partitions)| TaskPlacement { stage: stage.id, executor, partitions }));
        }
        Self { tasks }
    }

    pub fn of_stage(&self, stage: u32) -> impl Iterator<Item = &TaskPlacement> {
        self.tasks.iter().filter(move |task| task.stage == stage)
    }

    /// The peers that read a stage's exchange; `coordinator` is the coordinator's index.
    fn owners(&self, graph: &StageGraph, stage: &Stage, coordinator: u32) -> Vec<u32> {
        let Some(consumer) = stage.consumer else { return vec![coordinator] };
        let consumer = &graph.stages[consumer as usize];
        let reading = self.of_stage(consumer.id).flat_map(|task| {
            let leaves = consumer.leaves(&task.partitions).into_iter();
            leaves.filter_map(move |leaf| match leaf {
                Leaf::Exchange { exchange, partitions, .. } if exchange == stage.id => {
                    Some((task.executor, partitions))
                }
                _ => None,
            })
        });
        let reading: Vec<(usize, Vec<usize>)> = reading.collect();
        let reader_of = |partition: usize| {
            let reader = reading.iter().find(|(_, partitions)| partitions.contains(&partition));
            reader.expect("every partition of a stage is in some task").0 as u32
        };
        match stage.kind {
            ExchangeKind::Hash => {
                let partitions = stage.hash.as_ref().map_or(0, |hash| hash.partition_count());
                (0..partitions).map(reader_of).collect()
            }
            ExchangeKind::Gather | ExchangeKind::Merge => vec![reader_of(0)],
            ExchangeKind::Broadcast => {
                let mut readers: Vec<u32> = reading.iter().map(|(executor, _)| *executor as u32).collect();
                readers.sort_unstable();
                readers.dedup();
                readers
            }
        }
    }

    /// Streams that end each partition of the exchange of `stage`.
    pub fn producers(&self, stage: &Stage) -> u32 {
        match stage.kind {
            // Every partition of a merge is one producer partition.
            ExchangeKind::Merge => 1,
            _ => self.of_stage(stage.id).count() as u32,
        }
    }

    /// How many splits each task has, in their order.
    pub fn splits(&self, graph: &StageGraph) -> Vec<u32> {
        let splits = self.tasks.iter().map(|task| {
            let stage = &graph.stages[task.stage as usize];
            let scans = stage.scans();
            let leaves = stage.leaves(&task.partitions).into_iter();
            let counts = leaves.map(|leaf| match leaf {
                Leaf::Scan { scan, partitions } => {
                    let node = scans.iter().find(|node| codec::scan_number(node.as_ref()) == Some(scan));
                    let counts =
                        partitions.iter().map(|one| node.map_or(0, |node| codec::splits_of(node.as_ref(), *one)));
                    counts.sum()
                }
                Leaf::Exchange { .. } => 0,
            });
            counts.sum::<usize>() as u32
        });
        splits.collect()
    }

    /// The tasks of each executor, as messages. A stage's plan is encoded once, and shared by its tasks.
    pub fn messages(&self, graph: &StageGraph, executors: usize) -> Result<Vec<Vec<v1::Task>>, Failure> {
        let mut messages = vec![Vec::new(); executors];
        for stage in &graph.stages {
            let plan: bytes::Bytes = codec::encode_plan(&stage.plan)?.into();
            let hash = stage.hash.as_ref().map(codec::encode_partitioning).transpose()?.unwrap_or_default();
            let output = v1::ExchangeOutput {
                exchange: stage.id,
                kind: kind_message(stage.kind) as i32,
                owners: self.owners(graph, stage, executors as u32),
                hash: hash.into(),
            };
            let scans = stage.scans();
            for task in self.of_stage(stage.id) {
                let (mut splits, mut inputs) = (Vec::new(), Vec::new());
                for leaf in stage.leaves(&task.partitions) {
                    match leaf {
                        Leaf::Scan { scan, partitions } => splits.push(scan_splits(&scans, scan, &partitions)?),
                        Leaf::Exchange { exchange, partitions, .. } => inputs.push(v1::ExchangeInput {
                            exchange,
                            partitions: partitions.into_iter().map(|partition| partition as u32).collect(),
                            producers: self.producers(&graph.stages[exchange as usize]),
                        }),
                    }
                }
                messages[task.executor].push(v1::Task {
                    stage: stage.id,
                    plan: plan.clone(),
                    partitions: task.partitions.iter().map(|partition| *partition as u32).collect(),
                    scans: splits,
                    inputs,
                    output: Some(output.clone()),
                });
            }
        }
        Ok(messages)
    }
}

/// A stage of one task that reads from such a stage runs beside it: its rows then need not travel.
fn near_producer(stage: &Stage, graph: &StageGraph, placed: &[TaskPlacement]) -> Option<usize> {
    let whole: Vec<usize> = (0..stage.partitions).collect();
    stage.leaves(&whole).into_iter().find_map(|leaf| match leaf {
        Leaf::Exchange { exchange, .. } if !graph.stages[exchange as usize].spread => {
            placed.iter().find(|task| task.stage == exchange).map(|task| task.executor)
        }
        _ => None,
    })
}

/// Executors in the order in which partitions are dealt: one slot of each, then the next slot of those that have more.
fn slot_owners(slots: &[u32]) -> Vec<usize> {
    let most = slots.iter().copied().max().unwrap_or(0).max(1);
    let rounds = (0..most).flat_map(|round| {
        slots.iter().enumerate().filter(move |(_, slots)| **slots.max(&&1) > round).map(|(executor, _)| executor)
    });
    rounds.collect()
}

fn scan_splits(
    scans: &[std::sync::Arc<dyn ExecutionPlan>],
    scan: u32,
    partitions: &[usize],
) -> Result<v1::ScanSplits, Failure> {
    let node = scans.iter().find(|node| codec::scan_number(node.as_ref()) == Some(scan));
    let node = node.ok_or_else(|| Failure::internal(format!("scan {scan} is not in its stage")))?;
    let encoded = partitions.iter().map(|partition| codec::encode_splits_of(node.as_ref(), *partition).map(Into::into));
    Ok(v1::ScanSplits { scan, partitions: encoded.collect::<Result<_, _>>()? })
}

fn kind_message(kind: ExchangeKind) -> v1::ExchangeKind {
    match kind {
        ExchangeKind::Hash => v1::ExchangeKind::Hash,
        ExchangeKind::Gather => v1::ExchangeKind::Gather,
        ExchangeKind::Merge => v1::ExchangeKind::Merge,
        ExchangeKind::Broadcast => v1::ExchangeKind::Broadcast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_in_rounds() {
        assert_eq!(slot_owners(&[1, 1]), vec![0, 1]);
        assert_eq!(slot_owners(&[2, 1, 3]), vec![0, 1, 2, 0, 2, 2]);
        assert_eq!(slot_owners(&[0]), vec![0]);
    }
}
