//! Long lists of rows, thousands of them in one: SQLite's rows come from a thread of their own, each value copied and each row
//! handed over by itself, which costs many times what reading them does. Packed, a list of 100,000 files is some 25 texts.

use std::ops::Range;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::{CatalogError, Result};
use crate::sql::{Row, Sql, Tx, Value};

/// Rows in one text: some 600 KB.
const ROWS: usize = 4096;

/// A row that is read in either way. Its first column is the key, an integer by which it is found and sorted.
pub(crate) trait PackedRow: DeserializeOwned + Send {
    /// Expressions over the table's columns, each a number, a text or null.
    const COLUMNS: &'static [&'static str];

    fn key(&self) -> i64;

    fn read(row: &Row<'_>) -> Result<Self>;
}

/// Keys in a list that is read by several connections at the same time.
const SHARED_KEYS_MIN: i64 = 20_000;
/// Connections that read one list.
const READERS_MAX: usize = 4;
/// How long a list waits for a further connection before it does without: those that are taken may wait for others, too.
const READER_WAIT_MAX: Duration = Duration::from_millis(50);

/// All rows of `table` that satisfy `condition`, whose arguments are numbered from 1, with keys in the range and in their order. Long
/// lists are read by other connections as well; they see the same rows as `tx`, or later states of them.
pub(crate) async fn all_packed<T: PackedRow>(
    sql: &Sql,
    tx: &mut Tx,
    doing: &'static str,
    table: &str,
    condition: &str,
    args: &[Value],
    keys: Range<i64>,
) -> Result<Vec<T>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if keys.end - keys.start < SHARED_KEYS_MIN { 1 } else { processors.min(READERS_MAX) };
    let others = (1..wanted).map(|_| tokio::time::timeout(READER_WAIT_MAX, sql.read()));
    let others = futures::future::join_all(others).await;
    let mut others: Vec<Tx> = others.into_iter().flatten().flatten().collect();
    let readers = others.len() as i64 + 1;
    let share = (keys.end - keys.start).div_euclid(readers);
    let part = |index: i64| {
        let end = if index + 1 == readers { keys.end } else { keys.start + (index + 1) * share };
        keys.start + index * share..end
    };
    let first = collect(tx, doing, table, condition, args, part(0));
    let rest = others.iter_mut().zip(1..).map(|(tx, index)| collect(tx, doing, table, condition, args, part(index)));
    let (mut rows, rest) = futures::future::try_join(first, futures::future::try_join_all(rest)).await?;
    rest.into_iter().for_each(|more| rows.extend(more));
    Ok(rows)
}

async fn collect<T: PackedRow>(
    tx: &mut Tx,
    doing: &'static str,
    table: &str,
    condition: &str,
    args: &[Value],
    keys: Range<i64>,
) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    let take = |row| {
        rows.push(row);
        Ok(())
    };
    each_packed(tx, doing, table, condition, args, keys, take).await?;
    Ok(rows)
}

/// Calls `take` with each row of `table` that satisfies `condition`, whose arguments are numbered from 1, with keys in the range
/// and in their order.
async fn each_packed<T: PackedRow>(
    tx: &mut Tx,
    doing: &'static str,
    table: &str,
    condition: &str,
    args: &[Value],
    keys: Range<i64>,
    mut take: impl FnMut(T) -> Result<()> + Send,
) -> Result<()> {
    let columns = T::COLUMNS.join(", ");
    let (key, number) = (T::COLUMNS[0], args.len() + 1);
    let range = format!("{key} >= ${number} AND {key} < ${}", number + 1);
    let list = format!("SELECT {columns} FROM {table} WHERE {condition} AND {range} ORDER BY {key}");
    let mut from = keys.start;
    if let Tx::Postgres(_) = tx {
        let args: Vec<Value> = args.iter().cloned().chain([Value::int(from), Value::int(keys.end)]).collect();
        return tx.each(doing, &list, &args, |row| take(T::read(&row)?)).await;
    }
    let names: Vec<String> = (0..T::COLUMNS.len()).map(|index| format!("c{index}")).collect();
    let named: Vec<String> =
        T::COLUMNS.iter().zip(&names).map(|(column, name)| format!("{column} AS {name}")).collect();
    let sql = format!(
        "SELECT json_group_array(json_array({})) FROM (SELECT {} FROM {table} WHERE {condition} AND {range} \
         ORDER BY {key} LIMIT {ROWS})",
        names.join(", "),
        named.join(", "),
    );
    loop {
        let args: Vec<Value> = args.iter().cloned().chain([Value::int(from), Value::int(keys.end)]).collect();
        let unpack = |row: Row<'_>| {
            let rows: Vec<T> = serde_json::from_str(row.text(0)?)
                .map_err(|error| CatalogError::Corrupt(format!("{doing}: a value cannot be read: {error}")))?;
            Ok(rows)
        };
        let mut rows = tx.first(doing, &sql, &args, unpack).await?.unwrap_or_default();
        // An aggregate is free to take its rows in any order.
        rows.sort_by_key(PackedRow::key);
        let Some(last) = rows.last().map(PackedRow::key) else { return Ok(()) };
        let count = rows.len();
        rows.into_iter().try_for_each(&mut take)?;
        if count < ROWS {
            return Ok(());
        }
        from = last + 1;
    }
}
