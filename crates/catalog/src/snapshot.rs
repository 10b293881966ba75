//! Moments of a database, and what it holds at them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use frazil_common::StatementId;

use crate::error::{CatalogError, Result};
use crate::ids::{SchemaId, SnapshotId, TableId};
use crate::model::Contents;
use crate::sql::{Row, Sql, Tx, Value};
use crate::time;

/// Which moment is meant.
#[derive(Clone, PartialEq, Debug)]
pub enum At {
    Latest,
    Snapshot(SnapshotId),
    /// The last snapshot that is not later.
    Timestamp(SystemTime),
    /// The snapshot that the statement committed.
    Statement(StatementId),
    /// The snapshot before that.
    BeforeStatement(StatementId),
}

/// A commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub time: SystemTime,
    /// Changes with every change of schemas, tables or views.
    pub schema_version: i64,
    pub(crate) next_catalog_id: i64,
    pub(crate) next_file_id: i64,
}

/// A commit with what is told about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotRecord {
    pub snapshot: Snapshot,
    /// DuckLake's list, such as `inserted_into_table:3`.
    pub changes: String,
    /// Whose commit it is, where it is one of ours.
    pub statement: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    pub extra_info: Option<String>,
}

/// A table that was dropped and may be restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedTable {
    pub id: TableId,
    pub schema_id: SchemaId,
    pub name: String,
    /// The snapshot that dropped it, and its time if it is still kept.
    pub dropped_in: SnapshotId,
    pub dropped_at: Option<SystemTime>,
    /// The snapshot before. Earlier ones may be kept longer, but have not what was written last.
    pub last_seen: SnapshotId,
}

/// A schema that was dropped and may be restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedSchema {
    pub id: SchemaId,
    pub name: String,
    pub dropped_in: SnapshotId,
    /// The snapshot before, which has it and what was in it.
    pub last_seen: SnapshotId,
}

/// A database as of one snapshot. Looking into it reads nothing.
#[derive(Clone, Debug)]
pub struct SnapshotView {
    pub snapshot: Snapshot,
    pub(crate) contents: Arc<Contents>,
}

impl Deref for SnapshotView {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

/// Databases whose contents are kept in memory, by schema version.
const VERSIONS_KEPT: usize = 16;

#[derive(Default)]
pub(crate) struct ContentsCache {
    /// With the tick of their last use.
    versions: HashMap<i64, (u64, Arc<Contents>)>,
    tick: u64,
}

impl ContentsCache {
    pub(crate) fn get(&mut self, version: i64) -> Option<Arc<Contents>> {
        self.tick += 1;
        let (used, contents) = self.versions.get_mut(&version)?;
        *used = self.tick;
        Some(contents.clone())
    }

    pub(crate) fn put(&mut self, version: i64, contents: Arc<Contents>) {
        self.tick += 1;
        self.versions.insert(version, (self.tick, contents));
        if self.versions.len() > VERSIONS_KEPT
            && let Some(oldest) = self.versions.iter().min_by_key(|(_, (used, _))| *used).map(|(version, _)| *version)
        {
            self.versions.remove(&oldest);
        }
    }
}

pub(crate) const SNAPSHOT_COLUMNS: &str =
    "snapshot_id, CAST(snapshot_time AS VARCHAR), schema_version, next_catalog_id, next_file_id";

pub(crate) fn read_snapshot(row: &Row<'_>) -> Result<Snapshot> {
    let text = row.text(1)?;
    Ok(Snapshot {
        id: SnapshotId(row.int(0)?),
        time: time::parse_moment(text)
            .ok_or_else(|| CatalogError::Corrupt(format!("the time of a snapshot is \"{text}\"")))?,
        schema_version: row.int(2)?,
        next_catalog_id: row.int(3)?,
        next_file_id: row.int(4)?,
    })
}

/// The first snapshot in the given order that satisfies the condition.
async fn find(tx: &mut Tx, condition: &str, args: &[Value]) -> Result<Option<Snapshot>> {
    let sql = format!("SELECT {SNAPSHOT_COLUMNS} FROM ducklake_snapshot WHERE {condition} LIMIT 1");
    tx.first("looking for a snapshot", &sql, args, |row| read_snapshot(&row)).await
}

pub(crate) async fn latest(tx: &mut Tx) -> Result<Snapshot> {
    let found = find(tx, "snapshot_id = (SELECT MAX(snapshot_id) FROM ducklake_snapshot)", &[]).await?;
    found.ok_or_else(|| CatalogError::Corrupt("there is no snapshot".to_owned()))
}

pub(crate) async fn resolve(tx: &mut Tx, database: &str, at: &At, latest: &Snapshot) -> Result<Snapshot> {
    let missing = |moment: String| CatalogError::UndefinedSnapshot { database: database.to_owned(), moment };
    match at {
        At::Latest => Ok(latest.clone()),
        At::Snapshot(id) => find(tx, "snapshot_id = $1", &[Value::int(id.0)]).await?.ok_or_else(|| {
            let expired = id.0 >= 0 && id.0 < latest.id.0;
            missing(if expired { format!("{id} any more: it has expired") } else { id.to_string() })
        }),
        At::Timestamp(moment) => at_or_before(tx, *moment, latest)
            .await?
            .ok_or_else(|| missing(format!("of {}, or none any more", time::format_moment(*moment)))),
        At::Statement(statement) => {
            let committed = committed_by(tx, *statement).await?;
            let moment =
                || missing(format!("of statement {statement}: it changed nothing there, or its snapshot has expired"));
            let committed = committed.ok_or_else(moment)?;
            find(tx, "snapshot_id = $1", &[Value::int(committed)]).await?.ok_or_else(moment)
        }
        At::BeforeStatement(statement) => {
            let committed = committed_by(tx, *statement).await?;
            let moment = || {
                missing(format!("before statement {statement}: it changed nothing there, or its snapshot has expired"))
            };
            let committed = committed.ok_or_else(moment)?;
            find(tx, "snapshot_id = $1", &[Value::int(committed - 1)]).await?.ok_or_else(moment)
        }
    }
}

async fn committed_by(tx: &mut Tx, statement: StatementId) -> Result<Option<i64>> {
    let sql = "SELECT snapshot_id FROM frazil_commit WHERE statement_id = $1 ORDER BY snapshot_id LIMIT 1";
    tx.first("looking for a statement", sql, &[Value::text(statement.to_string())], |row| row.int(0)).await
}

/// Snapshots' times ascend, and their texts need not sort as the times do: PostgreSQL has no text, and DuckDB may write
/// in another time zone. So this halves the range of ids until it is there.
async fn at_or_before(tx: &mut Tx, moment: SystemTime, latest: &Snapshot) -> Result<Option<Snapshot>> {
    if latest.time <= moment {
        return Ok(Some(latest.clone()));
    }
    let Some(mut found) = find(tx, "TRUE ORDER BY snapshot_id", &[]).await?.filter(|first| first.time <= moment) else {
        return Ok(None);
    };
    let mut beyond = latest.id.0;
    while beyond - found.id.0 > 1 {
        let middle = found.id.0 + (beyond - found.id.0) / 2;
        // Some may have expired: the first that is left from the middle on.
        let args = [Value::int(middle), Value::int(beyond)];
        match find(tx, "snapshot_id >= $1 AND snapshot_id < $2 ORDER BY snapshot_id", &args).await? {
            Some(snapshot) if snapshot.time <= moment => found = snapshot,
            _ => beyond = middle,
        }
    }
    // Ids have no gaps but where snapshots have expired: then it may be one of those that was there at the moment.
    let args = [Value::int(found.id.0 + 1)];
    let next = find(tx, "snapshot_id = $1", &args).await?;
    // Times are kept in microseconds.
    let is_its_own = moment.duration_since(found.time).is_ok_and(|after| after < Duration::from_micros(1));
    Ok((next.is_some() || is_its_own).then_some(found))
}

pub(crate) async fn dropped_tables(sql: &Sql) -> Result<Vec<DroppedTable>> {
    let mut tx = sql.read().await?;
    let sql = "SELECT t.table_id, t.schema_id, t.table_name, t.end_snapshot, CAST(s.snapshot_time AS VARCHAR), \
               (SELECT k.snapshot_id FROM ducklake_snapshot k WHERE k.snapshot_id = t.end_snapshot - 1) \
               FROM ducklake_table t LEFT JOIN ducklake_snapshot s ON s.snapshot_id = t.end_snapshot \
               WHERE t.end_snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ducklake_table later \
                WHERE later.table_id = t.table_id AND later.begin_snapshot >= t.end_snapshot) \
               ORDER BY t.end_snapshot DESC, t.table_id";
    let tables = tx
        .all("listing dropped tables", sql, &[], |row| {
            let Some(last_seen) = row.int_or_null(5)? else { return Ok(None) };
            Ok(Some(DroppedTable {
                id: TableId(row.int(0)?),
                schema_id: SchemaId(row.int(1)?),
                name: row.text(2)?.to_owned(),
                dropped_in: SnapshotId(row.int(3)?),
                dropped_at: row.text_or_null(4)?.and_then(time::parse_moment),
                last_seen: SnapshotId(last_seen),
            }))
        })
        .await?;
    Ok(tables.into_iter().flatten().collect())
}

pub(crate) async fn dropped_schemas(sql: &Sql) -> Result<Vec<DroppedSchema>> {
    let mut tx = sql.read().await?;
    let sql = "SELECT s.schema_id, s.schema_name, s.end_snapshot FROM ducklake_schema s \
               JOIN ducklake_snapshot k ON k.snapshot_id = s.end_snapshot - 1 ORDER BY s.end_snapshot DESC, s.schema_id";
    tx.all("listing dropped schemas", sql, &[], |row| {
        let dropped_in = row.int(2)?;
        Ok(DroppedSchema {
            id: SchemaId(row.int(0)?),
            name: row.text(1)?.to_owned(),
            dropped_in: SnapshotId(dropped_in),
            last_seen: SnapshotId(dropped_in - 1),
        })
    })
    .await
}
