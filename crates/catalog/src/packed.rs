//! Long lists of rows, thousands of them in one: SQLite's rows come from a thread of their own, each value copied and each row
//! handed over by itself, which costs many times what reading them does. Packed, a list of 100,000 files is some 25 texts.

use serde::de::DeserializeOwned;

use crate::error::{CatalogError, Result};
use crate::sql::{Row, Tx, Value};

/// Rows in one text: some 600 KB.
const ROWS: usize = 4096;

/// A row that is read in either way. Its first column is the key, an integer by which it is found and sorted.
pub(crate) trait PackedRow: DeserializeOwned + Send {
    /// Expressions over the table's columns, each a number, a text or null.
    const COLUMNS: &'static [&'static str];

    fn key(&self) -> i64;

    fn read(row: &Row<'_>) -> Result<Self>;
}

/// Rows of `table` that satisfy `condition`, whose arguments are numbered from 1, from a key on and in its order.
pub(crate) async fn each_packed<T: PackedRow>(
    tx: &mut Tx,
    doing: &'static str,
    table: &str,
    condition: &str,
    args: &[Value],
    from: i64,
    mut take: impl FnMut(T) -> Result<()> + Send,
) -> Result<()> {
    let columns = T::COLUMNS.join(", ");
    let (key, number) = (T::COLUMNS[0], args.len() + 1);
    let list = format!("SELECT {columns} FROM {table} WHERE {condition} AND {key} >= ${number} ORDER BY {key}");
    let mut from = from;
    if let Tx::Postgres(_) = tx {
        let args: Vec<Value> = args.iter().cloned().chain([Value::int(from)]).collect();
        return tx.each(doing, &list, &args, |row| take(T::read(&row)?)).await;
    }
    let names: Vec<String> = (0..T::COLUMNS.len()).map(|index| format!("c{index}")).collect();
    let named: Vec<String> =
        T::COLUMNS.iter().zip(&names).map(|(column, name)| format!("{column} AS {name}")).collect();
    let sql = format!(
        "SELECT json_group_array(json_array({})) FROM (SELECT {} FROM {table} WHERE {condition} AND {key} >= ${number} \
         ORDER BY {key} LIMIT {ROWS})",
        names.join(", "),
        named.join(", "),
    );
    loop {
        let args: Vec<Value> = args.iter().cloned().chain([Value::int(from)]).collect();
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
