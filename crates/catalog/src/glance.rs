//! A first look at a table of very many files: a statement that reads few of them has these picked by the database, and what all files
//! add up to, while the list itself is read into memory behind it, for later ones.
//!
//! What is picked is then tested in memory like any file of a list, so both ways answer the same.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::database::Database;
use crate::disproof::disproof;
use crate::error::{CatalogError, Result};
use crate::file_rows::{read_column_of, read_deletes_of, read_extras, read_files_of};
use crate::files::{FileFilter, TableStatistics};
use crate::ids::{ColumnId, SnapshotId, TableId};
use crate::model::Table;
use crate::packed::{further_readers, parts};
use crate::prune::RangeTest;
use crate::selected_files::SelectedFiles;
use crate::sketches::DistinctCounts;
use crate::snapshot::{SnapshotView, latest};
use crate::sql::{Sql, Tx, Value};
use crate::statistics_column::StatisticsColumn;
use crate::table_files::{TableFiles, add_to_column};

/// Tables of fewer files are read whole, which takes some 20 ms.
pub(crate) const FILES_MIN: i64 = 20_000;
/// A statement that may read more files waits for the list.
pub(crate) const PICKED_MAX: usize = 1000;
/// For so long after a first look the processors are left to the statement.
const LOAD_DELAY: Duration = Duration::from_millis(100);
const DOING: &str = "picking data files";

/// A table's files, of which only some were looked at.
pub(crate) struct Glance {
    pub(crate) snapshot: SnapshotId,
    /// Without columns.
    pub(crate) sum: TableStatistics,
    pub(crate) distinct: DistinctCounts,
}

impl Database {
    /// The files that the filter leaves, if the table is large, its list is not in memory, and they are few.
    pub(crate) async fn glance(
        &self,
        view: &SnapshotView,
        table: &Arc<Table>,
        filter: &FileFilter,
    ) -> Result<Option<SelectedFiles>> {
        let cached = self.inner.files.lock().get(table.id);
        if cached.is_loaded.load(Ordering::Acquire) {
            return Ok(None);
        }
        let picks = picks(table, filter, self.inner.sql.is_postgres());
        if picks.is_empty() {
            return Ok(None);
        }
        let mut tx = self.inner.sql.read().await?;
        let keys = 0..latest(&mut tx).await?.next_file_id;
        if !is_large(&mut tx, table.id, &keys, self.inner.glance_files_min.load(Ordering::Relaxed)).await? {
            return Ok(None);
        }
        self.refuse_inlined(&mut tx, table, view.snapshot.id).await?;
        if self.inlined_deletes_from(&mut tx, table.id).await?.is_some() {
            return Ok(None);
        }
        let Some((sum, picked)) = look(&self.inner.sql, &mut tx, table, view.snapshot.id, keys, &picks).await? else {
            return Ok(None);
        };
        let some = read_some(&mut tx, table, &picked, filter).await?;
        let distinct = DistinctCounts::read(&mut tx, table.id).await?;
        drop(tx);
        let selected = some.select_shared(table, view.snapshot.id, filter)?;
        *cached.glance.lock() = Some(Arc::new(Glance { snapshot: view.snapshot.id, sum, distinct }));
        self.load_later(view, table.id, filter.ranges.iter().map(|range| range.column).collect());
        Ok(Some(selected))
    }

    /// What the last first look has found, as long as the list is not in memory.
    pub(crate) fn glanced(&self, view: &SnapshotView, table: TableId) -> Option<Arc<Glance>> {
        let cached = self.inner.files.lock().get(table);
        if cached.is_loaded.load(Ordering::Acquire) {
            return None;
        }
        let glance = cached.glance.lock().clone();
        glance.filter(|glance| glance.snapshot == view.snapshot.id)
    }

    /// Reads the list behind the statement, once.
    fn load_later(&self, view: &SnapshotView, table: TableId, columns: Vec<ColumnId>) {
        let cached = self.inner.files.lock().get(table);
        if cached.is_loading.swap(true, Ordering::AcqRel) {
            return;
        }
        let (database, view) = (self.clone(), view.clone());
        let mut loads = self.inner.loads.lock();
        while loads.try_join_next().is_some() {}
        loads.spawn(async move {
            tokio::time::sleep(LOAD_DELAY).await;
            let loaded = match view.table_by_id(table) {
                Ok(table) => database.with_files(&view, table, &columns, |_| ()).await,
                Err(error) => Err(error),
            };
            cached.is_loading.store(false, Ordering::Release);
            if let Err(error) = loaded {
                // The next statement reads it, or is told.
                tracing::debug!(database = database.name(), %table, %error, "a list of files could not be read");
            }
        });
    }
}

/// Reads of whole lists behind statements. Aborted with the database's connections.
pub(crate) type Loads = JoinSet<()>;

/// What is asked of one column: a condition that is true of files that cannot match.
struct Pick {
    column: ColumnId,
    disproved: String,
    /// From the third on.
    args: Vec<Value>,
}

fn picks(table: &Table, filter: &FileFilter, is_postgres: bool) -> Vec<Pick> {
    let mut by_column: Vec<(ColumnId, Vec<&RangeTest>)> = Vec::new();
    for range in &filter.ranges {
        match by_column.iter_mut().find(|(column, _)| *column == range.column) {
            Some((_, tests)) => tests.push(&range.test),
            None => by_column.push((range.column, vec![&range.test])),
        }
    }
    let pick = |(column, tests): (ColumnId, Vec<&RangeTest>)| {
        let column_type = &table.column_by_id(column)?.column_type;
        let mut args = vec![Value::int(table.id.0), Value::int(column.0), Value::int(0), Value::int(0)];
        let disproved: Vec<_> =
            tests.into_iter().filter_map(|test| disproof(column_type, test, is_postgres, &mut args)).collect();
        let args = args.split_off(4);
        (!disproved.is_empty()).then(|| Pick { column, disproved: disproved.join(" OR "), args })
    };
    by_column.into_iter().filter_map(pick).collect()
}

async fn is_large(tx: &mut Tx, table: TableId, keys: &Range<i64>, least: i64) -> Result<bool> {
    if keys.end < least {
        return Ok(false);
    }
    let sql = "SELECT data_file_id FROM ducklake_data_file WHERE table_id = $1 ORDER BY data_file_id LIMIT 1 OFFSET $2";
    let args = [Value::int(table.0), Value::int((least - 1).max(0))];
    Ok(tx.first(DOING, sql, &args, |row| row.int(0)).await?.is_some())
}

/// All files' sum, and the ids of those that no pick disproves. None where there are too many of them, or a sum cannot tell all.
async fn look(
    sql: &Sql,
    tx: &mut Tx,
    table: &Table,
    snapshot: SnapshotId,
    keys: Range<i64>,
    picks: &[Pick],
) -> Result<Option<(TableStatistics, Vec<i64>)>> {
    let Some(mut sum) = sum_files(sql, tx, table.id, snapshot, keys.clone()).await? else { return Ok(None) };
    if !subtract_deletes(tx, table.id, snapshot, &mut sum.statistics).await? {
        return Ok(None);
    }
    let mut picked: Option<Vec<i64>> = None;
    for pick in picks {
        let Some(found) = picked_by(sql, tx, table.id, keys.clone(), pick, &sum).await? else { continue };
        picked = Some(match picked {
            None => found,
            Some(before) => before.into_iter().filter(|id| found.binary_search(id).is_ok()).collect(),
        });
        if picked.as_ref().is_some_and(|picked| picked.len() <= PICKED_MAX) {
            break;
        }
    }
    Ok(picked.filter(|picked| picked.len() <= PICKED_MAX).map(|picked| (sum.statistics, picked)))
}

/// The files of a table, of any snapshot, by which statistics are known to be complete; and the sum of those of one snapshot.
struct Sum {
    files: i64,
    ids: i64,
    statistics: TableStatistics,
}

/// None where files have more to them than these numbers.
async fn sum_files(
    sql: &Sql,
    tx: &mut Tx,
    table: TableId,
    snapshot: SnapshotId,
    keys: Range<i64>,
) -> Result<Option<Sum>> {
    // By an index alone.
    let all = "SELECT COUNT(*), CAST(COALESCE(SUM(data_file_id), 0) AS BIGINT) FROM ducklake_data_file \
               WHERE table_id = $1 AND data_file_id >= $3 AND data_file_id < $4 AND $2 >= 0";
    let alive = "SELECT COUNT(*), CAST(COALESCE(SUM(record_count), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(file_size_bytes), 0) AS BIGINT), \
                 COUNT(CASE WHEN mapping_id IS NULL AND partial_max IS NULL AND encryption_key IS NULL \
                 AND file_format = 'parquet' THEN NULL ELSE 1 END) FROM ducklake_data_file \
                 WHERE table_id = $1 AND data_file_id >= $3 AND data_file_id < $4 \
                 AND begin_snapshot <= $2 AND (end_snapshot IS NULL OR end_snapshot > $2)";
    let args = vec![Value::int(table.0), Value::int(snapshot.0)];
    let mut sums = Vec::with_capacity(6);
    for (statement, numbers) in [(all, 2), (alive, 4)] {
        let answer = Answer::Numbers(numbers);
        let rows = each_part(sql, tx, statement.to_owned(), args.clone(), vec![], keys.clone(), answer).await?;
        sums.extend((0..numbers).map(|at| rows.iter().map(|(numbers, _)| numbers[at]).sum::<i64>()));
    }
    let [files, ids, alive, rows, bytes, special] = sums[..] else { return Ok(None) };
    let statistics = TableStatistics { files: alive.unsigned_abs(), rows, bytes, ..TableStatistics::default() };
    Ok((special == 0).then_some(Sum { files, ids, statistics }))
}

/// False where delete files have more to them than their counts.
async fn subtract_deletes(
    tx: &mut Tx,
    table: TableId,
    snapshot: SnapshotId,
    sum: &mut TableStatistics,
) -> Result<bool> {
    let alive = |name: &str| {
        format!("{name}.begin_snapshot <= $2 AND ({name}.end_snapshot IS NULL OR {name}.end_snapshot > $2)")
    };
    let statement = format!(
        "SELECT COUNT(*), COUNT(DISTINCT d.data_file_id), CAST(COALESCE(SUM(d.delete_count), 0) AS BIGINT), \
         COUNT(d.partial_max), CAST(COALESCE(SUM(CASE WHEN d.format = 'parquet' THEN 0 ELSE 1 END), 0) AS BIGINT) \
         FROM ducklake_delete_file d JOIN ducklake_data_file f ON f.data_file_id = d.data_file_id AND f.table_id = $1 \
         WHERE d.table_id = $1 AND {} AND {}",
        alive("d"),
        alive("f")
    );
    let args = [Value::int(table.0), Value::int(snapshot.0)];
    let read = |row: crate::sql::Row<'_>| Ok([row.int(0)?, row.int(1)?, row.int(2)?, row.int(3)?, row.int(4)?]);
    let [files, distinct, rows, partial, others] = tx.first(DOING, &statement, &args, read).await?.unwrap_or_default();
    sum.files_with_deletes = files.unsigned_abs();
    sum.rows = (sum.rows - rows).max(0);
    Ok(files == distinct && partial == 0 && others == 0)
}

/// Sorted. None where some file has no statistics of the column, or several.
async fn picked_by(
    sql: &Sql,
    tx: &mut Tx,
    table: TableId,
    keys: Range<i64>,
    pick: &Pick,
    all: &Sum,
) -> Result<Option<Vec<i64>>> {
    let kept = format!("CASE WHEN {} THEN NULL ELSE data_file_id END", pick.disproved);
    let list = match sql.is_postgres() {
        true => format!("STRING_AGG(CAST({kept} AS VARCHAR), ',')"),
        false => format!("GROUP_CONCAT({kept})"),
    };
    let statement = format!(
        "SELECT COUNT(*), CAST(COALESCE(SUM(data_file_id), 0) AS BIGINT), {list} FROM ducklake_file_column_stats \
         WHERE table_id = $1 AND column_id = $2 AND data_file_id >= $3 AND data_file_id < $4"
    );
    let args = vec![Value::int(table.0), Value::int(pick.column.0)];
    let rows = each_part(sql, tx, statement, args, pick.args.clone(), keys, Answer::NumbersAndList(2)).await?;
    let (mut files, mut ids, mut picked) = (0, 0, Vec::new());
    for (numbers, list) in rows {
        files += numbers[0];
        ids += numbers[1];
        for id in list.split(',').filter(|id| !id.is_empty()) {
            let id = id.parse().map_err(|_| CatalogError::Corrupt(format!("{DOING}: \"{id}\" is no id")))?;
            picked.push(id);
        }
    }
    picked.sort_unstable();
    Ok((files == all.files && ids == all.ids).then_some(picked))
}

/// What a statement of one row answers.
#[derive(Clone, Copy)]
enum Answer {
    Numbers(usize),
    NumbersAndList(usize),
}

/// The rows of a statement over parts of the files, which the arguments 3 and 4 bound, read by several connections.
async fn each_part(
    sql: &Sql,
    tx: &mut Tx,
    statement: String,
    args: Vec<Value>,
    more: Vec<Value>,
    keys: Range<i64>,
    answer: Answer,
) -> Result<Vec<(Vec<i64>, String)>> {
    let others = further_readers(sql, &keys).await;
    let mut parts = parts(&keys, others.len() + 1).into_iter();
    let ask = move |part: Range<i64>| {
        let bounds = [Value::int(part.start), Value::int(part.end)];
        let args: Vec<_> = args.iter().chain(&bounds).chain(&more).cloned().collect();
        (statement.clone(), args)
    };
    let first = parts.next().unwrap_or(keys);
    let mut tasks = JoinSet::new();
    for (mut other, part) in others.into_iter().zip(parts) {
        let (statement, args) = ask(part);
        tasks.spawn(async move { answer_of(&mut other, &statement, &args, answer).await });
    }
    let (statement, args) = ask(first);
    let mut rows = answer_of(tx, &statement, &args, answer).await?;
    while let Some(done) = tasks.join_next().await {
        rows.extend(done.map_err(|error| CatalogError::Corrupt(format!("{DOING}: {error}")))??);
    }
    Ok(rows)
}

async fn answer_of(tx: &mut Tx, statement: &str, args: &[Value], answer: Answer) -> Result<Vec<(Vec<i64>, String)>> {
    let (Answer::Numbers(count) | Answer::NumbersAndList(count)) = answer;
    tx.all(DOING, statement, args, |row| {
        let numbers = (0..count).map(|index| row.int(index)).collect::<Result<_>>()?;
        let list = match answer {
            Answer::Numbers(_) => String::new(),
            Answer::NumbersAndList(_) => row.text_or_null(count)?.unwrap_or_default().to_owned(),
        };
        Ok((numbers, list))
    })
    .await
}

/// The files of these ids, with what the filter asks of them.
async fn read_some(tx: &mut Tx, table: &Table, ids: &[i64], filter: &FileFilter) -> Result<TableFiles> {
    let mut files = read_files_of(tx, table.id, ids).await?;
    read_extras(tx, &mut files).await?;
    read_deletes_of(tx, table.id, ids, &mut files).await?;
    let mut columns = HashMap::new();
    for range in &filter.ranges {
        let Some(column) = table.column_by_id(range.column) else { continue };
        if columns.contains_key(&column.id) {
            continue;
        }
        let mut known = StatisticsColumn::new(column.column_type.clone());
        add_to_column(&files, &mut known, read_column_of(tx, table.id, column, ids).await?);
        columns.insert(column.id, known);
    }
    Ok(TableFiles::of_some(files, columns))
}
