//! A query's physical plan: for how many partitions, and what goes with it to executors.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use frazil_common::Failure;
use futures::future::try_join_all;
use futures::{FutureExt, TryStreamExt};

use super::refusals::refuse_unsupported;
use super::{PlannedQuery, Planner};
use crate::access::check_reads;
use crate::balance::balance_scans;
use crate::base_session::running_context;
use crate::errors::{panic_message, to_failure};
use crate::generate::GeneratedProvider;
use crate::lake::{self, LakeTable, PrunedScans};
use crate::rules::ClusterOptions;
use crate::storage::ObjectStores;
use crate::suspects;

/// Compressed bytes of scanned files that one partition may have before there are more of them than slots. More cost
/// something: at scale 10 (7 GB) four partitions a slot instead of one made q21 5.8 s of 3.8 s on two slots. Too few cost more,
/// where a hash table grows large: q18 (5.4 GB) on one slot takes 60 s in one partition, 22 in two, 16 in three, 15 in four.
const PARTITION_BYTES_MAX: u64 = 4 << 30;
/// What a partition has when there are more.
const PARTITION_BYTES: u64 = 2 << 30;
/// More partitions a slot than this cost more than they gain.
const PARTITIONS_PER_SLOT_MAX: usize = 4;

impl Planner {
    pub(super) async fn plan_query(
        &self,
        state: &mut SessionState,
        plan: &LogicalPlan,
        forced: Option<usize>,
        slots: usize,
        stores: &Arc<ObjectStores>,
    ) -> Result<(PlannedQuery, String), Failure> {
        refuse_unsupported(plan)?;
        check_reads(plan)?;
        let optimized = state.optimize(plan).map_err(|error| to_failure(&error))?;
        let optimized = lake::answer_from_catalog(optimized).await.map_err(|error| to_failure(&error))?;
        let planning = AssertUnwindSafe(self.plan_physical(state, &optimized, forced, slots, stores)).catch_unwind();
        let planned = planning.await.unwrap_or_else(|panic| {
            // Statistics come from footers, and readers panic over some malformed ones.
            Err(Failure::internal(format!("planning panicked: {}", panic_message(&*panic))))
        });
        let query = match planned {
            Ok(query) => query,
            Err(failure) => return Err(suspects::name_file(failure, &suspects::of_plan(&optimized), state).await),
        };
        Ok((query, optimized.display_indent().to_string()))
    }

    async fn plan_physical(
        &self,
        state: &mut SessionState,
        optimized: &LogicalPlan,
        forced: Option<usize>,
        slots: usize,
        stores: &Arc<ObjectStores>,
    ) -> Result<PlannedQuery, Failure> {
        let Scanned { bytes: scan_bytes, only_catalog_tables } = scanned(optimized, state).await?;
        let partitions = forced.unwrap_or_else(|| self.choose_partitions(scan_bytes, slots));
        let pruned = Arc::new(PrunedScans::default());
        state.config_mut().set_extension(pruned.clone());
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = partitions;
        options.optimizer.repartition_file_scans = partitions > 1;
        let physical = state.query_planner().create_physical_plan(optimized, state).await;
        let physical = physical.map_err(|error| to_failure(&error))?;
        // One executor runs all partitions in one process, where they take files from each other.
        let executors =
            state.config_options().extensions.get::<ClusterOptions>().map_or(1, |cluster| cluster.executors);
        let physical = match executors > 1 {
            true => balance_scans(physical, state.runtime_env()).await.map_err(|error| to_failure(&error))?,
            false => physical,
        };
        Ok(PlannedQuery {
            schema: physical.schema(),
            plan: physical,
            context: running_context(state),
            partitions,
            scan_bytes,
            only_catalog_tables,
            catalogs: state.catalog_list().clone(),
            pruned: pruned.take(),
            stores: stores.clone(),
        })
    }

    pub(super) fn choose_partitions(&self, scan_bytes: u64, slots: usize) -> usize {
        if scan_bytes <= self.options.small_scan.0 {
            return 1;
        }
        let slots = slots.max(1);
        let base = slots * self.options.partitions_per_slot.max(1);
        if scan_bytes / base as u64 <= PARTITION_BYTES_MAX {
            return base;
        }
        let by_size = usize::try_from(scan_bytes.div_ceil(PARTITION_BYTES)).unwrap_or(usize::MAX);
        // A multiple of the slots, so that each gets as many as the others.
        by_size.div_ceil(slots).saturating_mul(slots).clamp(base, base.max(slots * PARTITIONS_PER_SLOT_MAX))
    }
}

struct Scanned {
    bytes: u64,
    only_catalog_tables: bool,
}

/// Compressed bytes of the files that the scans read, as far as the catalog's statistics tell; a file counted for each of them.
/// Of generated tables, what they would have.
async fn scanned(plan: &LogicalPlan, state: &SessionState) -> Result<Scanned, Failure> {
    let (mut tables, mut lakes) = (Vec::new(), Vec::new());
    let mut only_catalog_tables = true;
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let Ok(provider) = source_as_provider(&scan.source) else {
                only_catalog_tables = false;
                return Ok(TreeNodeRecursion::Continue);
            };
            match provider.downcast_ref::<LakeTable>() {
                Some(_) => lakes.push((provider.clone(), scan.filters.clone())),
                None => only_catalog_tables = false,
            }
            tables.push(provider);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_err(|error| to_failure(&error))?;
    let mut urls: HashMap<&str, (&ListingTable, &ListingTableUrl, u64)> = HashMap::new();
    let listed = tables.iter().filter_map(|provider| provider.downcast_ref::<ListingTable>());
    for (table, url) in listed.flat_map(|table| table.table_paths().iter().map(move |url| (table, url))) {
        urls.entry(url.as_str()).or_insert((table, url, 0)).2 += 1;
    }
    // Together, since each waits for its directory; the listings stay in the statement's cache.
    let sizes = urls.into_values().map(|(table, url, times)| async move {
        let store = state.runtime_env().object_store(url)?;
        let files = url.list_all_files(state, store.as_ref(), &table.options().file_extension).await?;
        let bytes: u64 = files.try_fold(0, async |sum, file| Ok(sum + file.size)).await?;
        Result::<u64, DataFusionError>::Ok(bytes * times)
    });
    let sizes = try_join_all(sizes).await.map_err(|error| to_failure(&error))?;
    let lakes = lakes.iter().filter_map(|(provider, filters)| Some((provider.downcast_ref::<LakeTable>()?, filters)));
    let lakes = lakes.map(|(table, filters)| table.bytes(filters));
    let lakes = try_join_all(lakes).await.map_err(|error| to_failure(&error))?;
    let made = tables.iter().filter_map(|provider| provider.downcast_ref::<GeneratedProvider>());
    let bytes = sizes.into_iter().chain(lakes).chain(made.map(GeneratedProvider::bytes)).sum();
    Ok(Scanned { bytes, only_catalog_tables })
}
