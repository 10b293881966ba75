//! Plans that are kept from when a statement was described until it is run, for clients that always do both in turn.
//!
//! A kept plan is used only while planning anew would give the same: the same request, by whom nothing was gained or lost, over the same
//! snapshots. It pins what it reads, so whoever keeps plans bounds how many and for how long.

use std::sync::Arc;

use frazil_catalog::{AccessRecords, SecretRecord};
use frazil_common::{ByteSize, Failure};

use super::{PlanRequest, Planned, PlannedQuery, Planner};
use crate::lake::Lakes;

/// What is read quickly is worth it: beside a large scan planning is nothing, and plans over many files are large.
const SCAN_BYTES_MAX: ByteSize = ByteSize::mib(64);
const SCAN_FILES_MAX: u64 = 1000;

/// A query's plan, and what it depends on.
pub struct KeptPlan {
    query: PlannedQuery,
    request: PlanRequest,
    world: World,
}

/// What planning looks at beside the request.
pub(super) struct World {
    access: Arc<AccessRecords>,
    secrets: Vec<SecretRecord>,
    lakes: Arc<Lakes>,
}

impl Planner {
    async fn world(&self) -> Result<World, Failure> {
        Ok(World {
            access: self.databases.access().await.map_err(Failure::from)?,
            secrets: self.databases.secrets().await.map_err(Failure::from)?,
            lakes: self.snapshot().await?,
        })
    }

    /// What is asked before planning; `None` for what is never kept: it depends on more than its text and the catalog.
    pub(super) async fn world_of(&self, request: &PlanRequest) -> Result<Option<World>, Failure> {
        let is_plain = request.lakes.is_none() && request.bindings.is_none() && request.uploaded.is_none();
        // What has placeholders was planned with nulls in their places.
        match is_plain && !request.sql.contains(['?', '$', ':']) {
            true => self.world().await.map(Some),
            false => Ok(None),
        }
    }

    /// Plans a request over what was asked before.
    pub(super) async fn plan_in(&self, request: &PlanRequest, world: &World) -> Result<Planned, Failure> {
        self.plan_over(request, &world.access, &world.lakes).await
    }

    /// The plan that was kept, if planning the request now would give it again.
    pub async fn still_planned(&self, kept: KeptPlan, request: &PlanRequest) -> Result<Option<Planned>, Failure> {
        if !kept.is_for(request) {
            return Ok(None);
        }
        let now = self.world().await?;
        let is_same = Arc::ptr_eq(&now.access, &kept.world.access)
            && now.secrets == kept.world.secrets
            && now.lakes.are_at(&kept.world.lakes);
        Ok(is_same.then_some(Planned::Query(kept.query)))
    }
}

impl KeptPlan {
    /// `None`: it is no query, or one of those that are not kept.
    pub(super) fn of(planned: Planned, request: PlanRequest, world: World) -> Option<Self> {
        let Planned::Query(query) = planned else { return None };
        let files: u64 = query.pruned.iter().map(|scan| scan.files_left).sum();
        let is_small = query.scan_bytes <= SCAN_BYTES_MAX.0 && files <= SCAN_FILES_MAX;
        (query.only_catalog_tables && is_small).then_some(Self { query, request, world })
    }

    fn is_for(&self, other: &PlanRequest) -> bool {
        let PlanRequest { sql, principal, database, schema, settings, context, slots, executors, .. } = &self.request;
        other.lakes.is_none()
            && other.bindings.is_none()
            && other.uploaded.is_none()
            && !other.describe_only
            && (sql, principal, database, schema) == (&other.sql, &other.principal, &other.database, &other.schema)
            && (settings, context) == (&other.settings, &other.context)
            && (*slots, *executors) == (other.slots, other.executors)
    }
}
