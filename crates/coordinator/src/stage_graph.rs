//! The cut: a physical plan becomes stages where rows change partition.
//!
//! The plan is DataFusion's, unchanged. Cutting replaces an operator that moves rows between partitions with an
//! [`ExchangeReadExec`], and makes what was below it a stage of its own:
//!
//! ```text
//!  RepartitionExec(Hash, P) ─▶ hash: consumer partition i reads the rows that hash to i
//!  CoalescePartitionsExec   ─▶ gather
//!  SortPreservingMergeExec  ─▶ merge, read below the same node
//!  build side of a join whose probe side has several partitions ─▶ broadcast, to every task of the stage
//! ```
//!
//! A stage is *spread* when each of its partitions can run in any process: its leaves map one to one to its partitions.
//! Everything else (limits over several partitions, joins that emit build rows, recursive queries, what DataFusion may
//! invent next) is *whole*: one task runs all of its partitions and shares their state as a single process does.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::{ScalarSubqueryExec, ScalarSubqueryLink};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use frazil_engine::build_rows::{NumberRowsExec, ROW_NUMBER, SettleRowsExec, Verdict, is_numbered};
use frazil_engine::codec::{SplitScanExec, number_scans, scan_number};
use frazil_engine::explain::lines;
use frazil_engine::generate::GenerateExec;
use frazil_engine::rules::{can_be_settled, emits_build_rows};
use frazil_exchange::{ExchangeKind, ExchangeReadExec};

/// A part of the plan between exchanges.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its position in the graph, and the number of the exchange it writes.
    pub id: u32,
    /// With numbered scans ([`SplitScanExec`]) and [`ExchangeReadExec`] as leaves.
    pub plan: Arc<dyn ExecutionPlan>,
    pub partitions: usize,
    /// Whether its partitions may run in different processes.
    pub spread: bool,
    pub kind: ExchangeKind,
    /// For a hash exchange: by what, into how many.
    pub hash: Option<Partitioning>,
    /// The stage that reads its exchange; `None` is the root, on the coordinator.
    pub consumer: Option<u32>,
}

/// Stages in an order in which producers come before their consumers.
#[derive(Debug, Clone)]
pub struct StageGraph {
    pub stages: Vec<Stage>,
    /// What the coordinator runs itself: the last merge, over an exchange.
    pub root: Arc<dyn ExecutionPlan>,
    /// Scalar subqueries, innermost first; they run before the stages do.
    pub subqueries: Vec<Subqueries>,
}

/// The subqueries of one level of a plan, and where their values are put.
#[derive(Debug, Clone)]
pub struct Subqueries {
    pub links: Vec<ScalarSubqueryLink>,
    pub results: datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults,
}

/// How a plan is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// At every exchange, for several executors.
    Spread,
    /// Not at all: one executor runs everything, as a single process would.
    Whole,
}

/// Cuts a plan. Fails when DataFusion refuses a rebuilt operator.
pub fn cut(plan: Arc<dyn ExecutionPlan>, cut: Cut) -> Result<StageGraph> {
    let promised = plan.output_ordering().cloned();
    let mut cutter = Cutter { stages: vec![], subqueries: vec![] };
    let top = match cut {
        Cut::Spread => cutter.cut(plan)?,
        Cut::Whole => cutter.take_subqueries(plan)?,
    };
    let root = if runs_on_coordinator(&top) { top } else { cutter.gather_to_root(top)? };
    let mut graph = StageGraph { stages: cutter.stages, root, subqueries: cutter.subqueries };
    graph.name_consumers();
    if cut == Cut::Spread {
        graph.check(promised)?;
    }
    Ok(graph)
}

/// Merges and limits over exchanges cost little and save a hop; everything else runs on executors.
fn runs_on_coordinator(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let light = plan.is::<SortPreservingMergeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<ExchangeReadExec>();
    let exchange_below = plan.is::<ExchangeReadExec>() || !plan.children().is_empty();
    light && exchange_below && plan.children().into_iter().all(runs_on_coordinator)
}

struct Cutter {
    stages: Vec<Stage>,
    subqueries: Vec<Subqueries>,
}

impl Cutter {
    fn cut(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(subqueries) = plan.downcast_ref::<ScalarSubqueryExec>() {
            self.note_subqueries(subqueries);
            return self.cut(subqueries.input().clone());
        }
        // Its recursive term runs many times over; an exchange runs once.
        if plan.is::<RecursiveQueryExec>() {
            return self.take_subqueries(plan);
        }
        if let Some(repartition) = plan.downcast_ref::<RepartitionExec>()
            && let Partitioning::Hash(_, partitions) = repartition.partitioning()
            && !repartition.preserve_order()
        {
            let hash = repartition.partitioning().clone();
            let partitions = *partitions;
            let input = self.cut(repartition.input().clone())?;
            if partitions == 1 && input.output_partitioning().partition_count() == 1 {
                return Ok(input);
            }
            // One producer partition would keep its order, but nothing may count on it: a merge of the consumer's
            // partitions could wait for a row of one while the producer waits for room in another.
            return self.exchange(input, ExchangeKind::Hash, Some(hash.clone()), hash, vec![]);
        }
        if plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>() {
            return self.cut_collection(plan);
        }
        if let Some(join_type) = collected_join(&plan) {
            return self.cut_collected_join(plan, join_type);
        }
        if plan.is::<UnionExec>() {
            return self.cut_union(plan);
        }
        self.cut_children(plan)
    }

    fn cut_children(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        if children.is_empty() {
            return Ok(plan);
        }
        let children = children.into_iter().map(|child| self.cut(child)).collect::<Result<Vec<_>>>()?;
        rebuild(plan, children)
    }

    /// Several partitions into one: a gather, or a merge that keeps their order.
    fn cut_collection(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = self.cut(plan.children()[0].clone())?;
        let partitions = input.output_partitioning().partition_count();
        if partitions == 1 {
            return rebuild(plan, vec![input]);
        }
        if plan.is::<SortPreservingMergeExec>() {
            let orderings = orderings(&input);
            let unknown = Partitioning::UnknownPartitioning(partitions);
            let read = self.exchange(input, ExchangeKind::Merge, None, unknown, orderings)?;
            return rebuild(plan, vec![read]);
        }
        let read = self.exchange(input, ExchangeKind::Gather, None, Partitioning::UnknownPartitioning(1), vec![])?;
        match plan.fetch() {
            Some(_) => rebuild(plan, vec![read]),
            None => Ok(read),
        }
    }

    /// A join that collects its left side: every task of a spread stage gets all of it.
    fn cut_collected_join(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        join: CollectedJoin,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = plan.children()[..] else { return self.cut_children(plan) };
        let (left, right) = (left.clone(), right.clone());
        let right = self.cut(right)?;
        let spread = right.output_partitioning().partition_count() > 1 && is_spread(&right);
        if !spread || (join.needs_all_probe_rows && !join.can_be_settled) {
            let left = self.cut(left)?;
            return rebuild(plan, vec![left, right]);
        }
        // What the coalesce would collect is sent to everyone as it is; a limit on it must be applied once, before.
        let collected = match left.downcast_ref::<CoalescePartitionsExec>() {
            Some(coalesce) if coalesce.fetch().is_none() => coalesce.input().clone(),
            _ => left,
        };
        let collected = self.cut(collected)?;
        let one = Partitioning::UnknownPartitioning(1);
        if join.needs_all_probe_rows {
            let numbered = Arc::new(NumberRowsExec::over(collected));
            let read = self.exchange(numbered, ExchangeKind::Broadcast, None, one, vec![])?;
            return self.cut_settled_join(&plan, read, right);
        }
        let orderings = match collected.output_partitioning().partition_count() {
            1 => orderings(&collected),
            _ => vec![],
        };
        let read = self.exchange(collected, ExchangeKind::Broadcast, None, one, orderings)?;
        rebuild(plan, vec![read, right])
    }

    /// A semi or anti join of which each task judges the (numbered) build rows by its own probe partitions: the verdicts
    /// on a row meet in one partition, above.
    fn cut_settled_join(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        build: Arc<dyn ExecutionPlan>,
        probe: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let join: &HashJoinExec = plan.downcast_ref().expect("only hash joins can be settled");
        let verdict = match join.join_type() {
            JoinType::LeftAnti => Verdict::EveryTask,
            _ => Verdict::AnyTask,
        };
        // Such a join emits columns of its build side only: the numbers are the last of them.
        let number = build.schema().fields().len() - 1;
        let projection = join.projection.as_ref().map(|kept| kept.iter().copied().chain([number]).collect());
        let judging = join.builder().with_new_children(vec![build, probe])?.with_projection(projection);
        // A limit in the join would keep verdicts back: it is applied to what they come to.
        let judging = judging.with_fetch(None).recompute_properties().build_exec()?;
        let partitions = judging.output_partitioning().partition_count();
        let number = judging.schema().fields().len() - 1;
        let hash = Partitioning::Hash(vec![Arc::new(Column::new(ROW_NUMBER, number))], partitions);
        let unknown = Partitioning::UnknownPartitioning(partitions);
        let read = self.exchange(judging, ExchangeKind::Hash, Some(hash), unknown, vec![])?;
        let settled = Arc::new(SettleRowsExec::new(read, verdict, plan.schema()));
        Ok(match join.fetch() {
            Some(rows) => Arc::new(LocalLimitExec::new(settled, rows)),
            None => settled,
        })
    }

    /// A union's partitions are its children's, one after another. A child that is whole while others are spread becomes
    /// a stage of its own, so that the others stay spread.
    fn cut_union(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        let children = children.into_iter().map(|child| self.cut(child)).collect::<Result<Vec<_>>>()?;
        let some_spread = children.iter().any(is_spread);
        let children = children.into_iter().map(|child| {
            let single = child.output_partitioning().partition_count() == 1;
            if !some_spread || !single || is_spread(&child) {
                return Ok(child);
            }
            let orderings = orderings(&child);
            self.exchange(child, ExchangeKind::Gather, None, Partitioning::UnknownPartitioning(1), orderings)
        });
        let children = children.collect::<Result<Vec<_>>>()?;
        rebuild(plan, children)
    }

    /// Makes `plan` a stage and returns what reads it.
    fn exchange(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        kind: ExchangeKind,
        hash: Option<Partitioning>,
        partitioning: Partitioning,
        orderings: Vec<LexOrdering>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let id = self.stages.len() as u32;
        let schema = plan.schema();
        let partitions = plan.output_partitioning().partition_count();
        let spread = partitions > 1 && is_spread(&plan);
        let plan = number_scans(plan)?;
        self.stages.push(Stage { id, plan, partitions, spread, kind, hash, consumer: None });
        Ok(Arc::new(ExchangeReadExec::new(id, kind, schema, partitioning, orderings)))
    }

    fn gather_to_root(&mut self, top: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let orderings = match top.output_partitioning().partition_count() {
            1 => orderings(&top),
            _ => vec![],
        };
        self.exchange(top, ExchangeKind::Gather, None, Partitioning::UnknownPartitioning(1), orderings)
    }

    fn note_subqueries(&mut self, subqueries: &ScalarSubqueryExec) {
        let links = subqueries.subqueries().to_vec();
        self.subqueries.push(Subqueries { links, results: subqueries.results().clone() });
    }

    /// Takes the nodes that would run scalar subqueries out of a plan that is not cut.
    fn take_subqueries(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(subqueries) = plan.downcast_ref::<ScalarSubqueryExec>() {
            self.note_subqueries(subqueries);
            return self.take_subqueries(subqueries.input().clone());
        }
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        if children.is_empty() {
            return Ok(plan);
        }
        let taken = children.iter().map(|child| self.take_subqueries(child.clone())).collect::<Result<Vec<_>>>()?;
        if taken.iter().zip(&children).all(|(taken, child)| Arc::ptr_eq(taken, child)) {
            return Ok(plan);
        }
        rebuild(plan, taken)
    }
}

fn rebuild(plan: Arc<dyn ExecutionPlan>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

fn orderings(plan: &Arc<dyn ExecutionPlan>) -> Vec<LexOrdering> {
    plan.equivalence_properties().oeq_class().iter().cloned().collect()
}

struct CollectedJoin {
    /// Unmatched build rows, or a null on the probe side, are known only when every probe partition was seen.
    needs_all_probe_rows: bool,
    /// Verdicts of several processes can be put together.
    can_be_settled: bool,
}

/// A join that collects its left side into one table, shared by all partitions of its right side.
fn collected_join(plan: &Arc<dyn ExecutionPlan>) -> Option<CollectedJoin> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return match join.partition_mode() {
            PartitionMode::CollectLeft => Some(CollectedJoin {
                needs_all_probe_rows: join.null_aware || emits_build_rows(*join.join_type()),
                can_be_settled: can_be_settled(join),
            }),
            PartitionMode::Partitioned => None,
            // Join selection leaves none; if it did, only a whole stage would be safe.
            PartitionMode::Auto => Some(CollectedJoin { needs_all_probe_rows: true, can_be_settled: false }),
        };
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let needs_all_probe_rows = emits_build_rows(*join.join_type());
        return Some(CollectedJoin { needs_all_probe_rows, can_be_settled: false });
    }
    plan.is::<CrossJoinExec>().then_some(CollectedJoin { needs_all_probe_rows: false, can_be_settled: false })
}

/// Whether each partition of a (cut) plan can run in a process of its own: every leaf's partitions are the plan's.
pub fn is_spread(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.children().is_empty() {
        return plan.is::<ExchangeReadExec>() || plan.is::<GenerateExec>() || is_file_scan(plan);
    }
    if let Some(join) = collected_join(plan) {
        let broadcast = plan.children()[0].downcast_ref::<ExchangeReadExec>();
        let broadcast = broadcast.is_some_and(|read| read.kind == ExchangeKind::Broadcast);
        let judges = join.can_be_settled && is_numbered(plan.children()[0]);
        return broadcast && (judges || !join.needs_all_probe_rows) && is_spread(plan.children()[1]);
    }
    if plan.is::<RecursiveQueryExec>() {
        return false;
    }
    if plan.is::<UnionExec>() {
        return plan.children().into_iter().all(is_spread);
    }
    let partitions = plan.output_partitioning().partition_count();
    let one_to_one = is_partition_wise(plan)
        && plan.children().into_iter().all(|child| child.output_partitioning().partition_count() == partitions);
    one_to_one && plan.children().into_iter().all(is_spread)
}

/// Operators whose output partition `i` comes from input partition `i` alone. A list, so that an operator that is not
/// known to be one runs whole.
fn is_partition_wise(plan: &Arc<dyn ExecutionPlan>) -> bool {
    // A limit over one partition that is all there is has no siblings either.
    let counts_all = plan.is::<GlobalLimitExec>() || plan.is::<CoalescePartitionsExec>();
    let merges = counts_all || plan.is::<SortPreservingMergeExec>();
    if merges {
        return false;
    }
    // Told to sort everything into one partition, it has that one even in a task without any of its input.
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return sort.preserve_partitioning();
    }
    plan.is::<InterleaveExec>()
        || matches!(
            plan.name(),
            "ProjectionExec"
                | "FilterExec"
                | "AggregateExec"
                | "HashJoinExec"
                | "SortMergeJoinExec"
                | "WindowAggExec"
                | "BoundedWindowAggExec"
                | "LocalLimitExec"
                | "UnnestExec"
                | "CooperativeExec"
                | "NumberRowsExec"
                | "SettleRowsExec"
                | "WriteFilesExec"
                | "UnloadExec"
                | "WriteChangesExec"
                | "WriteDeletesExec"
                | "BufferExec"
                | "CoalesceBatchesExec"
                | "AsyncFuncExec"
        )
}

fn is_file_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    use datafusion::datasource::physical_plan::FileScanConfig;
    use datafusion::datasource::source::DataSourceExec;
    plan.is::<SplitScanExec>()
        || plan
            .downcast_ref::<DataSourceExec>()
            .is_some_and(|source| source.data_source().downcast_ref::<FileScanConfig>().is_some())
}

/// What a task reads at one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// Partitions of a scan, by its number in the stage.
    Scan { scan: u32, partitions: Vec<usize> },
    /// Partitions of an exchange. A broadcast is read whole by every task.
    Exchange { exchange: u32, kind: ExchangeKind, partitions: Vec<usize> },
}

impl Stage {
    /// What a task of this stage reads that runs the stage's partitions `kept` (ascending).
    pub fn leaves(&self, kept: &[usize]) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        match self.spread {
            true => collect_leaves(&self.plan, Some(kept), &mut leaves),
            false => collect_leaves(&self.plan, None, &mut leaves),
        }
        leaves
    }

    /// The scans of the stage's plan.
    pub fn scans(&self) -> Vec<Arc<dyn ExecutionPlan>> {
        let mut scans = Vec::new();
        let visited = self.plan.apply(|node| {
            if scan_number(node.as_ref()).is_some() {
                scans.push(node.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        visited.expect("the visitor never fails");
        scans
    }
}

fn collect_leaves(plan: &Arc<dyn ExecutionPlan>, kept: Option<&[usize]>, leaves: &mut Vec<Leaf>) {
    let all = || (0..plan.output_partitioning().partition_count()).collect::<Vec<_>>();
    if let Some(scan) = scan_number(plan.as_ref()) {
        let partitions = kept.map_or_else(all, <[usize]>::to_vec);
        leaves.push(Leaf::Scan { scan, partitions });
        return;
    }
    if let Some(read) = plan.downcast_ref::<ExchangeReadExec>() {
        let partitions = match read.kind {
            ExchangeKind::Broadcast => vec![0],
            _ => kept.map_or_else(all, <[usize]>::to_vec),
        };
        leaves.push(Leaf::Exchange { exchange: read.exchange, kind: read.kind, partitions });
        return;
    }
    if plan.is::<UnionExec>() {
        let mut before = 0;
        for child in plan.children() {
            let count = child.output_partitioning().partition_count();
            let own = kept.map(|kept| {
                let own = kept.iter().filter(|partition| (before..before + count).contains(partition));
                own.map(|partition| partition - before).collect::<Vec<_>>()
            });
            collect_leaves(child, own.as_deref(), leaves);
            before += count;
        }
        return;
    }
    for child in plan.children() {
        collect_leaves(child, kept, leaves);
    }
}

impl StageGraph {
    /// Operators were planned on orders and distributions that the cut may have taken away: DataFusion's own check of
    /// them is repeated for each stage, and the order of the whole must be what it was.
    fn check(&self, promised: Option<LexOrdering>) -> Result<()> {
        let (rule, config) = (SanityCheckPlan::new(), ConfigOptions::default());
        for stage in &self.stages {
            rule.optimize(stage.plan.clone(), &config)?;
        }
        rule.optimize(self.root.clone(), &config)?;
        let kept = match promised {
            Some(promised) => self.root.equivalence_properties().ordering_satisfy(promised)?,
            None => true,
        };
        if kept { Ok(()) } else { Err(DataFusionError::Plan("the cut loses the order of the result".to_owned())) }
    }

    fn name_consumers(&mut self) {
        let reads: Vec<(u32, Vec<u32>)> =
            self.stages.iter().map(|stage| (stage.id, exchanges_read(&stage.plan))).collect();
        for (consumer, exchanges) in reads {
            for exchange in exchanges {
                self.stages[exchange as usize].consumer = Some(consumer);
            }
        }
    }

    /// The stages as `EXPLAIN` shows them. `describe` adds a line for a stage: its executors, its figures.
    pub fn describe(&self, describe: impl Fn(&Stage) -> String, annotate: impl Fn(&Stage, usize) -> String) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "root on coordinator");
        let root = lines(&self.root);
        root.lines().for_each(|line| writeln!(text, "  {line}").expect("writing to a string"));
        for stage in self.stages.iter().rev() {
            let to = stage.consumer.map_or("root".to_owned(), |consumer| format!("stage {consumer}"));
            let spread = if stage.spread { "spread" } else { "whole" };
            let hash = stage.hash.as_ref().map_or(String::new(), |hash| format!(" by {hash}"));
            let _ = writeln!(
                text,
                "stage {}: partitions={} {spread}, {}{hash} to {to}{}",
                stage.id,
                stage.partitions,
                stage.kind,
                describe(stage)
            );
            let plan = lines(&stage.plan);
            for (node, line) in plan.lines().enumerate() {
                let _ = writeln!(text, "  {line}{}", annotate(stage, node));
            }
        }
        text
    }
}

fn exchanges_read(plan: &Arc<dyn ExecutionPlan>) -> Vec<u32> {
    let mut exchanges = Vec::new();
    let visited = plan.apply(|node| {
        if let Some(read) = node.downcast_ref::<ExchangeReadExec>() {
            exchanges.push(read.exchange);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.expect("the visitor never fails");
    exchanges
}
