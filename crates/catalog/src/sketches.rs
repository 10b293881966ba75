//! Sketches of tables' columns in the database, in tables of our own, which DuckDB does not look at.
//!
//! `frazil_sketch` has a row for each *generation* of a table: the time from one commit after which none of the former rows
//! were there to the next such commit. What is added is merged into the sketches of the generation; deleted values stay in them. So a
//! snapshot sees its generation's sketches as they are now, which may tell of values that came later: an estimate has at most as
//! many values as the snapshot has rows.
//!
//! Rows that others have written are in no sketch, and it is known how many rows are: a sketch that does not cover most of a table's
//! rows says nothing.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::ids::{ColumnId, SnapshotId, TableId};
use crate::sketch::Sketch;
use crate::sql::{Tx, Value};

const READING: &str = "reading sketches";
const WRITING: &str = "writing sketches";

/// A sketch says something of a table where at least this share of its rows has been added to it.
const COVERED_MIN: f64 = 0.9;

/// Of what was written of a table's columns, and in how many rows.
#[derive(Clone, Debug, Default)]
pub struct NewSketches {
    /// Rows that became part of the table, those that were only written anew left out.
    pub rows: i64,
    pub columns: BTreeMap<ColumnId, Sketch>,
}

impl NewSketches {
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.columns.is_empty()
    }

    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        for (column, sketch) in other.columns {
            self.columns.entry(column).or_default().merge(&sketch);
        }
    }
}

/// What is known of a table's distinct values, of all its generations.
#[derive(Default)]
pub(crate) struct DistinctCounts {
    generations: Vec<Generation>,
}

struct Generation {
    begin: i64,
    rows: i64,
    columns: BTreeMap<ColumnId, ColumnCount>,
}

struct ColumnCount {
    /// Rows of the generation that came before the column was sketched.
    missed: i64,
    distinct: i64,
}

impl DistinctCounts {
    pub(crate) async fn read(tx: &mut Tx, table: TableId) -> Result<Self> {
        let mut generations: Vec<Generation> = Vec::new();
        let sql = "SELECT begin_snapshot, row_count FROM frazil_sketch WHERE table_id = $1 ORDER BY begin_snapshot";
        tx.each(READING, sql, &[Value::int(table.0)], |row| {
            generations.push(Generation { begin: row.int(0)?, rows: row.int(1)?, columns: BTreeMap::new() });
            Ok(())
        })
        .await?;
        if generations.is_empty() {
            return Ok(Self::default());
        }
        let sql = "SELECT begin_snapshot, column_id, rows_missed, distinct_count FROM frazil_column_sketch \
                   WHERE table_id = $1";
        tx.each(READING, sql, &[Value::int(table.0)], |row| {
            let begin = row.int(0)?;
            if let Some(generation) = generations.iter_mut().find(|generation| generation.begin == begin) {
                let count = ColumnCount { missed: row.int(2)?, distinct: row.int(3)? };
                generation.columns.insert(ColumnId(row.int(1)?), count);
            }
            Ok(())
        })
        .await?;
        Ok(Self { generations })
    }

    /// About how many distinct values the column has in a snapshot with so many rows; `None` where too little is known.
    pub(crate) fn of(&self, snapshot: SnapshotId, column: ColumnId, rows: i64) -> Option<u64> {
        let generation = self.generations.iter().rev().find(|generation| generation.begin <= snapshot.0)?;
        let known = generation.columns.get(&column)?;
        let covered = generation.rows - known.missed;
        let tells = covered as f64 >= rows as f64 * COVERED_MIN;
        tells.then(|| known.distinct.clamp(0, rows.max(0)).unsigned_abs())
    }
}

/// Merges what a commit adds. `was_emptied`: none of the rows that were there before it are left.
pub(crate) async fn write(
    tx: &mut Tx,
    table: TableId,
    new: &NewSketches,
    snapshot: SnapshotId,
    was_emptied: bool,
) -> Result<()> {
    let sql =
        "SELECT begin_snapshot, row_count FROM frazil_sketch WHERE table_id = $1 ORDER BY begin_snapshot DESC LIMIT 1";
    let found = tx.first(READING, sql, &[Value::int(table.0)], |row| Ok((row.int(0)?, row.int(1)?))).await?;
    let Some((begin, rows)) = found.filter(|_| !was_emptied) else {
        // What was emptied and never had sketches needs no generation to end.
        if new.is_empty() && found.is_none() {
            return Ok(());
        }
        return begin_generation(tx, table, new, snapshot).await;
    };
    if new.is_empty() {
        return Ok(());
    }
    if new.rows > 0 {
        let sql = "UPDATE frazil_sketch SET row_count = $3 WHERE table_id = $1 AND begin_snapshot = $2";
        tx.execute(WRITING, sql, &[Value::int(table.0), Value::int(begin), Value::int(rows + new.rows)]).await?;
    }
    let mut known = BTreeMap::new();
    let sql = "SELECT column_id, sketch FROM frazil_column_sketch WHERE table_id = $1 AND begin_snapshot = $2";
    tx.each(READING, sql, &[Value::int(table.0), Value::int(begin)], |row| {
        known.insert(ColumnId(row.int(0)?), row.text_or_null(1)?.and_then(Sketch::from_text).unwrap_or_default());
        Ok(())
    })
    .await?;
    let mut first = Vec::new();
    for (column, sketch) in &new.columns {
        let Some(mut merged) = known.remove(column) else {
            first.push(row(table, begin, *column, rows, sketch));
            continue;
        };
        if merged.merge(sketch) {
            let sql = "UPDATE frazil_column_sketch SET distinct_count = $4, sketch = $5 \
                       WHERE table_id = $1 AND begin_snapshot = $2 AND column_id = $3";
            let args = [
                Value::int(table.0),
                Value::int(begin),
                Value::int(column.0),
                Value::int(merged.estimate() as i64),
                Value::text(merged.to_text()),
            ];
            tx.execute(WRITING, sql, &args).await?;
        }
    }
    tx.insert(WRITING, "frazil_column_sketch", COLUMNS, &first).await
}

const COLUMNS: &str = "table_id, begin_snapshot, column_id, rows_missed, distinct_count, sketch";

async fn begin_generation(tx: &mut Tx, table: TableId, new: &NewSketches, snapshot: SnapshotId) -> Result<()> {
    let generation = vec![Value::int(table.0), Value::int(snapshot.0), Value::int(new.rows)];
    tx.insert(WRITING, "frazil_sketch", "table_id, begin_snapshot, row_count", &[generation]).await?;
    let columns = new.columns.iter().map(|(column, sketch)| row(table, snapshot.0, *column, 0, sketch));
    tx.insert(WRITING, "frazil_column_sketch", COLUMNS, &columns.collect::<Vec<_>>()).await
}

fn row(table: TableId, begin: i64, column: ColumnId, missed: i64, sketch: &Sketch) -> Vec<Value> {
    vec![
        Value::int(table.0),
        Value::int(begin),
        Value::int(column.0),
        Value::int(missed),
        Value::int(sketch.estimate() as i64),
        Value::text(sketch.to_text()),
    ]
}

/// The sketches that a snapshot sees, for a copy of the table.
pub(crate) async fn read_for_copy(tx: &mut Tx, table: TableId, snapshot: SnapshotId) -> Result<NewSketches> {
    let sql = "SELECT begin_snapshot, row_count FROM frazil_sketch WHERE table_id = $1 AND begin_snapshot <= $2 \
               ORDER BY begin_snapshot DESC LIMIT 1";
    let args = [Value::int(table.0), Value::int(snapshot.0)];
    let Some((begin, rows)) = tx.first(READING, sql, &args, |row| Ok((row.int(0)?, row.int(1)?))).await? else {
        return Ok(NewSketches::default());
    };
    // Columns that missed rows would have to say so in the copy; the few there are begin anew.
    let sql = "SELECT column_id, sketch FROM frazil_column_sketch \
               WHERE table_id = $1 AND begin_snapshot = $2 AND rows_missed = 0";
    let mut columns = BTreeMap::new();
    tx.each(READING, sql, &[Value::int(table.0), Value::int(begin)], |row| {
        if let Some(sketch) = row.text_or_null(1)?.and_then(Sketch::from_text) {
            columns.insert(ColumnId(row.int(0)?), sketch);
        }
        Ok(())
    })
    .await?;
    Ok(NewSketches { rows, columns })
}

/// Forgets generations that ended before the oldest snapshot that is kept.
pub(crate) async fn forget_unseen(tx: &mut Tx) -> Result<()> {
    for table in ["frazil_column_sketch", "frazil_sketch"] {
        let sql = format!(
            "DELETE FROM {table} WHERE begin_snapshot < (SELECT MAX(s.begin_snapshot) FROM frazil_sketch s \
             WHERE s.table_id = {table}.table_id AND s.begin_snapshot <= (SELECT MIN(snapshot_id) FROM ducklake_snapshot))"
        );
        tx.execute(WRITING, &sql, &[]).await?;
    }
    Ok(())
}
