//! Long lists of rows, thousands of them in one: SQLite's rows come from a thread of their own, each value copied and each row
//! handed over by itself, which costs many times what reading them does. Packed, a list of 100,000 files is some 50 texts.
//!
//! Rows are taken as they come and never all held: a list's memory is that of what takes it.

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;

use crate::error::{CatalogError, Result};
use crate::sql::{Row, Sql, Tx, Value};

/// Rows in one text: some 300 KB.
const ROWS: usize = 2048;
/// Keys in a list that is read by several connections at the same time.
const SHARED_KEYS_MIN: i64 = 20_000;
/// Connections that read one list.
const READERS_MAX: usize = 4;
/// How long a list waits for a further connection before it does without: those that are taken may wait for others, too.
const READER_WAIT_MAX: Duration = Duration::from_millis(50);

/// A row that is read in either way. Its first column is the key, an integer by which it is found and sorted.
pub(crate) trait PackedRow<'a>: Deserialize<'a> {
    /// Expressions over the table's columns, each a number, a text or null.
    const COLUMNS: &'static [&'static str];

    fn key(&self) -> i64;

    fn read(row: &'a Row<'a>) -> Result<Self>;
}

/// What rows become.
pub(crate) trait PackedList: Send + Sized + 'static {
    type Row<'a>: PackedRow<'a>;

    /// Rows come in the order of their keys.
    fn take(&mut self, row: Self::Row<'_>) -> Result<()>;

    /// The other one has taken rows with greater keys.
    fn append(&mut self, other: Self) -> Result<()>;
}

/// Which rows of which table are asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub doing: &'static str,
    pub table: &'static str,
    /// Its arguments are numbered from 1.
    pub condition: &'static str,
    pub args: Vec<Value>,
    pub keys: Range<i64>,
}

/// All rows that are asked for. Long lists are read by other connections as well; they see the same rows as `tx`, or later states
/// of them.
pub(crate) async fn all_packed<L: PackedList>(
    sql: &Sql,
    tx: &mut Tx,
    asked: Asked,
    empty: impl Fn() -> L,
) -> Result<L> {
    let others = further_readers(sql, &asked.keys).await;
    let mut parts = parts(&asked.keys, others.len() + 1).into_iter().map(|keys| Asked { keys, ..asked.clone() });
    let first = parts.next().unwrap_or_else(|| asked.clone());
    // Tasks of their own, so that what is read is also unpacked at the same time.
    let mut tasks = JoinSet::new();
    for (index, (mut tx, part)) in others.into_iter().zip(parts).enumerate() {
        let list = empty();
        tasks.spawn(async move { Ok((index, collect(&mut tx, part, list).await?)) });
    }
    let mut list = collect(tx, first, empty()).await?;
    let mut lists = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let done: Result<(usize, L)> =
            done.map_err(|error| CatalogError::Corrupt(format!("{}: {error}", asked.doing)))?;
        lists.push(done?);
    }
    lists.sort_by_key(|(index, _)| *index);
    lists.into_iter().try_for_each(|(_, part)| list.append(part))?;
    Ok(list)
}

/// Connections that read a list beside the one that is there: none for a short one, and none where others have them.
pub(crate) async fn further_readers(sql: &Sql, keys: &Range<i64>) -> Vec<Tx> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if keys.end.saturating_sub(keys.start) < SHARED_KEYS_MIN { 1 } else { processors.min(READERS_MAX) };
    let others = (1..wanted).map(|_| tokio::time::timeout(READER_WAIT_MAX, sql.read()));
    futures::future::join_all(others).await.into_iter().flatten().flatten().collect()
}

/// Keys in as many parts as there are readers.
pub(crate) fn parts(keys: &Range<i64>, readers: usize) -> Vec<Range<i64>> {
    let readers = readers.max(1) as i64;
    let share = (keys.end - keys.start).div_euclid(readers);
    let end = |index: i64| if index == readers { keys.end } else { keys.start + index * share };
    (0..readers).map(|index| end(index)..end(index + 1)).collect()
}

async fn collect<L: PackedList>(tx: &mut Tx, asked: Asked, mut list: L) -> Result<L> {
    let columns = <L::Row<'_> as PackedRow<'_>>::COLUMNS;
    if let Tx::Postgres(_) = tx {
        let (key, number) = (columns[0], asked.args.len() + 1);
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND {key} >= ${number} AND {key} < ${} ORDER BY {key}",
            columns.join(", "),
            asked.table,
            asked.condition,
            number + 1
        );
        let args = asked.args_from(asked.keys.start);
        tx.each(asked.doing, &sql, &args, |row| list.take(<L::Row<'_> as PackedRow<'_>>::read(&row)?)).await?;
        return Ok(list);
    }
    let sql = packing(columns, &asked);
    let mut text = pack(tx, &asked, &sql, asked.keys.start).await?;
    while let Some(Pack { rows, last, is_full }) = text {
        let mut next = pin!(async {
            match is_full {
                true => pack(tx, &asked, &sql, last + 1).await,
                false => Ok(None),
            }
        });
        // Asked for before this one is unpacked: SQLite is a thread of its own.
        let early = futures::poll!(next.as_mut());
        unpack(&asked, &rows, &mut list)?;
        text = match early {
            Poll::Ready(next) => next?,
            Poll::Pending => next.await?,
        };
    }
    Ok(list)
}

/// Rows as a JSON text.
struct Pack {
    rows: String,
    last: i64,
    is_full: bool,
}

fn pack<'a>(
    tx: &'a mut Tx,
    asked: &'a Asked,
    sql: &'a str,
    from: i64,
) -> impl Future<Output = Result<Option<Pack>>> + Send + 'a {
    let args = asked.args_from(from);
    async move {
        let read = |row: Row<'_>| {
            let Some(last) = row.int_or_null(1)? else { return Ok(None) };
            let is_full = row.int(2)? == ROWS as i64;
            Ok(Some(Pack { rows: row.text(0)?.to_owned(), last, is_full }))
        };
        Ok(tx.first(asked.doing, sql, &args, read).await?.flatten())
    }
}

/// A statement for the next rows, the greatest of their keys, and how many they are.
fn packing(columns: &[&str], asked: &Asked) -> String {
    let (key, number) = (columns[0], asked.args.len() + 1);
    let names: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
    let named: Vec<String> = columns.iter().zip(&names).map(|(column, name)| format!("{column} AS {name}")).collect();
    format!(
        "SELECT json_group_array(json_array({})), MAX(c0), COUNT(*) FROM (SELECT {} FROM {} WHERE {} \
         AND {key} >= ${number} AND {key} < ${} ORDER BY {key} LIMIT {ROWS})",
        names.join(", "),
        named.join(", "),
        asked.table,
        asked.condition,
        number + 1
    )
}

fn unpack<L: PackedList>(asked: &Asked, rows: &str, list: &mut L) -> Result<()> {
    let mut rows: Vec<L::Row<'_>> = serde_json::from_str(rows)
        .map_err(|error| CatalogError::Corrupt(format!("{}: a value cannot be read: {error}", asked.doing)))?;
    // An aggregate is free to take its rows in any order.
    if !rows.is_sorted_by_key(PackedRow::key) {
        rows.sort_by_key(PackedRow::key);
    }
    rows.into_iter().try_for_each(|row| list.take(row))
}

impl Asked {
    fn args_from(&self, from: i64) -> Vec<Value> {
        self.args.iter().cloned().chain([Value::int(from), Value::int(self.keys.end)]).collect()
    }
}
