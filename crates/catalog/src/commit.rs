//! Writes a transaction's changes as one snapshot, in one SQL transaction.
//!
//! ```text
//! lock ─▶ request known? ─▶ conflicts? ─▶ schema rows ─▶ file rows ─▶ snapshot row ─▶ COMMIT ─▶ acknowledged
//!              │ yes: refused    │ yes: refused              durable from here on ──────▲
//! ```

mod data;
mod schema;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::changes::Changes;
use crate::database::find_request;
use crate::error::{CatalogError, Result};
use crate::failpoints::Step;
use crate::ids::{SchemaId, SnapshotId, TableId, ViewId};
use crate::snapshot::{At, Snapshot, latest};
use crate::sql::{Tx, Value};
use crate::time;
use crate::transaction::{CommitInfo, Committed, Transaction};

/// The snapshot being written, and the ids drawn for it.
struct Draw {
    snapshot: SnapshotId,
    next_catalog_id: i64,
    next_file_id: i64,
    schemas: BTreeMap<SchemaId, SchemaId>,
    tables: BTreeMap<TableId, TableId>,
    views: BTreeMap<ViewId, ViewId>,
}

impl Draw {
    fn catalog_id(&mut self) -> i64 {
        self.next_catalog_id += 1;
        self.next_catalog_id - 1
    }

    fn file_id(&mut self) -> i64 {
        self.next_file_id += 1;
        self.next_file_id - 1
    }

    fn schema(&self, id: SchemaId) -> SchemaId {
        self.schemas.get(&id).copied().unwrap_or(id)
    }

    fn table(&self, id: TableId) -> TableId {
        self.tables.get(&id).copied().unwrap_or(id)
    }

    fn view(&self, id: ViewId) -> ViewId {
        self.views.get(&id).copied().unwrap_or(id)
    }
}

pub(crate) async fn commit(mut work: Transaction, info: CommitInfo) -> Result<Committed> {
    work.data.retain(|_, data| !data.is_empty());
    let diff = schema::Diff::between(&work.base.contents, &work.draft);
    if diff.is_empty() && work.data.is_empty() && work.loaded.is_empty() {
        return Ok(Committed {
            snapshot: work.base.snapshot.id,
            schemas: BTreeMap::new(),
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
        });
    }
    let inner = work.database.inner.clone();
    let _turn = inner.committing.lock().await;
    let mut tx = inner.sql.write("ducklake_snapshot").await?;
    let latest = latest(&mut tx).await?;
    if let Some(request_id) = &info.request_id
        && let Some(snapshot) = find_request(&mut tx, request_id).await?
    {
        return Err(CatalogError::RequestCommitted { request_id: request_id.clone(), snapshot });
    }
    let mut draw = Draw {
        snapshot: SnapshotId(latest.id.0 + 1),
        next_catalog_id: latest.next_catalog_id,
        next_file_id: latest.next_file_id,
        schemas: BTreeMap::new(),
        tables: BTreeMap::new(),
        views: BTreeMap::new(),
    };
    draw_ids(&work, &mut draw);
    let changes = list_changes(&work, &diff, &draw);
    if latest.id > work.base.snapshot.id {
        let others = changes_since(&mut tx, work.base.snapshot.id, latest.id).await?;
        changes.check_against(&others, latest.id, |id| match work.base.table_by_id(id) {
            Ok(table) => format!("table \"{}\"", work.base.full_name(table)),
            Err(_) => format!("table #{id}"),
        })?;
    }
    check_sources(&work, latest.id).await?;
    reach(&work, Step::BeforeRows)?;
    schema::write(&mut tx, &work, &diff, &mut draw, latest.id).await?;
    data::write(&mut tx, &work, &mut draw, latest.id).await?;
    reach(&work, Step::AfterRows)?;
    let schema_version = write_snapshot(&mut tx, &latest, &draw, &changes, &info).await?;
    schema::write_versions(&mut tx, &diff, &draw, schema_version).await?;
    reach(&work, Step::BeforeCommit)?;
    tx.commit().await?;
    work.database.committed(draw.snapshot);
    reach(&work, Step::AfterCommit)?;
    Ok(Committed { snapshot: draw.snapshot, schemas: draw.schemas, tables: draw.tables, views: draw.views })
}

fn draw_ids(work: &Transaction, draw: &mut Draw) {
    for id in work.draft.schemas.keys().filter(|id| id.is_local()) {
        let lasting = SchemaId(draw.catalog_id());
        draw.schemas.insert(*id, lasting);
    }
    for id in work.draft.tables.keys().filter(|id| id.is_local()) {
        let lasting = TableId(draw.catalog_id());
        draw.tables.insert(*id, lasting);
    }
    for id in work.draft.views.keys().filter(|id| id.is_local()) {
        let lasting = ViewId(draw.catalog_id());
        draw.views.insert(*id, lasting);
    }
}

fn list_changes(work: &Transaction, diff: &schema::Diff, draw: &Draw) -> Changes {
    let mut changes = diff.changes(&work.base.contents, &work.draft);
    for (id, data) in &work.data {
        let id = draw.table(*id);
        if data.is_compaction {
            changes.compacted.insert(id);
            continue;
        }
        if !data.added.is_empty() {
            changes.inserted.insert(id);
        }
        if !data.removed.is_empty() || data.deletes.keys().any(|file| *file < crate::ids::LOCAL_IDS) {
            changes.deleted.insert(id);
        }
    }
    changes
}

async fn changes_since(tx: &mut Tx, base: SnapshotId, latest: SnapshotId) -> Result<Changes> {
    crate::table_files::changes_between(tx, base, latest).await?.ok_or_else(|| CatalogError::Conflict {
        object: "the database".to_owned(),
        reason: "snapshots since the transaction began have expired",
        snapshot: latest,
    })
}

/// What was copied from must still be kept: another process may have expired it, and have removed its files.
async fn check_sources(work: &Transaction, latest: SnapshotId) -> Result<()> {
    for source in &work.sources {
        match source.database().snapshot(At::Snapshot(source.snapshot())).await {
            Ok(_) => {}
            Err(CatalogError::UndefinedSnapshot { .. }) => {
                let object = format!("database \"{}\"", source.database().name());
                let reason = "the snapshot that was copied has expired";
                return Err(CatalogError::Conflict { object, reason, snapshot: latest });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn write_snapshot(
    tx: &mut Tx,
    latest: &Snapshot,
    draw: &Draw,
    changes: &Changes,
    info: &CommitInfo,
) -> Result<i64> {
    let doing = "writing a snapshot";
    let id = Value::int(draw.snapshot.0);
    // Times ascend, whatever the clock does: time travel relies on it.
    let now = info.time.unwrap_or_else(SystemTime::now).max(latest.time + Duration::from_micros(1));
    let schema_version = latest.schema_version + i64::from(changes.changes_schema());
    let row = vec![
        id.clone(),
        Value::Moment(time::format_moment(now)),
        Value::int(schema_version),
        Value::int(draw.next_catalog_id),
        Value::int(draw.next_file_id),
    ];
    let columns = "snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id";
    tx.insert(doing, "ducklake_snapshot", columns, &[row]).await?;
    let statement = info.statement.map(|statement| statement.to_string());
    let extra = (statement.is_some() || info.request_id.is_some())
        .then(|| serde_json::json!({ "statement_id": statement, "request_id": info.request_id }).to_string());
    let row = vec![
        id.clone(),
        Value::text(changes.to_text()),
        Value::Text(info.author.clone()),
        Value::Text(info.message.clone()),
        Value::Text(extra.clone()),
    ];
    let columns = "snapshot_id, changes_made, author, commit_message, commit_extra_info";
    tx.insert(doing, "ducklake_snapshot_changes", columns, &[row]).await?;
    if extra.is_some() {
        let row = vec![id, Value::Text(statement), Value::Text(info.request_id.clone())];
        tx.insert(doing, "frazil_commit", "snapshot_id, statement_id, request_id", &[row]).await?;
    }
    Ok(schema_version)
}

fn reach(work: &Transaction, step: Step) -> Result<()> {
    frazil_common::failpoint::reach(step.point());
    #[cfg(test)]
    if let Some(hook) = work.database.inner.failpoint.lock().as_ref() {
        return hook(step);
    }
    _ = work;
    Ok(())
}
