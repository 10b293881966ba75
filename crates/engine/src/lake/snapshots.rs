//! `SHOW SNAPSHOTS`: the moments of a database that can be looked at.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::ObjectName;
use frazil_catalog::{ObjectId, ObjectKind, Privilege, SnapshotRecord};
use frazil_common::{ErrorCode, Failure};

use super::names::Lakes;
use super::{ddl, to_failure};
use crate::access::demand;

/// The latest that are shown.
const SHOWN_MAX: u32 = 10_000;

/// `snapshot`, `time`, `statement`, `changes`, `author`, `message`; the latest first.
pub async fn show_snapshots(
    database: Option<&ObjectName>,
    lakes: &Lakes,
    state: &SessionState,
) -> Result<RecordBatch, Failure> {
    let name = match database {
        Some(name) => ddl::one_part(name)?,
        None => state.config_options().catalog.default_catalog.clone(),
    };
    let Some(seen) = lakes.get(&name) else {
        return Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{name}\" not found")));
    };
    // They tell the names of all that was changed.
    let id = ObjectId::database(seen.database.id());
    demand(lakes.rights(), Privilege::Ownership, ObjectKind::Database, &id, &name)?;
    let records = seen.database.snapshots(SHOWN_MAX).await.map_err(|error| to_failure(&error))?;
    let text = |of: fn(&SnapshotRecord) -> Option<&str>| -> ArrayRef {
        Arc::new(records.iter().map(of).collect::<StringArray>())
    };
    let ids: Int64Array = records.iter().map(|record| Some(record.snapshot.id.0)).collect();
    let times: TimestampMicrosecondArray = records.iter().map(|record| Some(micros(record.snapshot.time))).collect();
    RecordBatch::try_from_iter([
        ("snapshot", Arc::new(ids) as ArrayRef),
        ("time", Arc::new(times.with_timezone("+00:00"))),
        ("statement", text(|record| record.statement.as_deref())),
        ("changes", text(|record| Some(&record.changes))),
        ("author", text(|record| record.author.as_deref())),
        ("message", text(|record| record.message.as_deref())),
    ])
    .map_err(|error| Failure::internal(format!("snapshots: {error}")))
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map(|since| since.as_micros()).unwrap_or_default();
    i64::try_from(since).unwrap_or(i64::MAX)
}
