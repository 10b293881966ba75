//! How long snapshots are kept: what a database, or a schema or table of it, says by itself. DuckLake has options of all three, in
//! `ducklake_metadata`; a database's is the one that DuckDB goes by, too.

use std::time::Duration;

use crate::database::Database;
use crate::error::Result;
use crate::expire::UNSEEN;
use crate::ids::{SchemaId, TableId};
use crate::sql::Value;

const KEY: &str = "expire_older_than";
const DOING: &str = "keeping how long snapshots are kept";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetentionScope {
    Database,
    Schema(SchemaId),
    Table(TableId),
}

impl RetentionScope {
    /// As DuckLake names it.
    fn parts(self) -> (Option<&'static str>, Option<i64>) {
        match self {
            Self::Database => (None, None),
            Self::Schema(id) => (Some("schema"), Some(id.0)),
            Self::Table(id) => (Some("table"), Some(id.0)),
        }
    }
}

impl Database {
    /// What the database says by itself, and the longest time that a schema or table of a kept snapshot asks for. `None`: nothing.
    pub async fn retention(&self) -> Result<(Option<Duration>, Option<Duration>)> {
        let mut tx = self.inner.sql.read().await?;
        let seen = |part: &str| format!("(SELECT {part}_id FROM ducklake_{part} WHERE NOT ({UNSEEN}))");
        let sql = format!(
            "SELECT value, scope FROM ducklake_metadata WHERE key = $1 AND (scope IS NULL \
             OR (scope = 'schema' AND scope_id IN {}) OR (scope = 'table' AND scope_id IN {}))",
            seen("schema"),
            seen("table"),
        );
        let (mut own, mut parts) = (None, None);
        tx.each("reading how long snapshots are kept", &sql, &[Value::text(KEY)], |row| {
            let time = read(row.text(0)?);
            match row.text_or_null(1)? {
                None => own = own.max(time),
                Some(_) => parts = parts.max(time),
            }
            Ok(())
        })
        .await?;
        Ok((own, parts))
    }

    /// `None`: it says nothing any more.
    pub async fn set_retention(&self, scope: RetentionScope, days: Option<u32>) -> Result<()> {
        let mut tx = self.inner.sql.write("ducklake_metadata").await?;
        let (name, id) = scope.parts();
        let of_scope = match name {
            None => "scope IS NULL".to_owned(),
            Some(name) => format!("scope = '{name}' AND scope_id = {}", id.unwrap_or_default()),
        };
        let sql = format!("DELETE FROM ducklake_metadata WHERE key = $1 AND {of_scope}");
        tx.execute(DOING, &sql, &[Value::text(KEY)]).await?;
        if let Some(days) = days {
            let row = vec![
                Value::text(KEY),
                Value::text(format!("{days} days")),
                Value::Text(name.map(str::to_owned)),
                id.map_or(Value::Int(None), Value::int),
            ];
            tx.insert(DOING, "ducklake_metadata", "key, value, scope, scope_id", &[row]).await?;
        }
        tx.commit().await
    }
}

/// `30 days`, and what else DuckDB's users write there. What cannot be read keeps everything.
fn read(text: &str) -> Option<Duration> {
    let forever = Duration::from_secs(u64::from(u32::MAX));
    let mut words = text.split_whitespace();
    let (number, unit) = (words.next().and_then(|number| number.parse::<u64>().ok()), words.next());
    let seconds = match unit.map(|unit| unit.trim_end_matches('s').to_ascii_lowercase()).as_deref() {
        Some("second") => 1,
        Some("minute") => 60,
        Some("hour") => 3600,
        Some("day") => 24 * 3600,
        Some("week") => 7 * 24 * 3600,
        Some("month") => 31 * 24 * 3600,
        Some("year") => 366 * 24 * 3600,
        _ => return Some(forever),
    };
    Some(number.and_then(|number| number.checked_mul(seconds)).map_or(forever, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(read("30 days"), Some(Duration::from_secs(30 * 24 * 3600)));
        assert_eq!(read("0 days"), Some(Duration::ZERO));
        assert_eq!(read("1 week"), read("7 days"));
        assert!(read("a while") > read("50 years") && read("-1 days") > read("50 years"));
    }
}
