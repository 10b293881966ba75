//! One door to SQLite and PostgreSQL: the same statements, arguments numbered `$1`, with the differences of types here.
//!
//! DuckDB declares booleans, UUIDs and timestamps in PostgreSQL, and BIGINT and VARCHAR in their place in SQLite.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Row as _, Sqlite};

use crate::error::{CatalogError, Result};

/// How long a statement waits for another's lock, SQLite's or PostgreSQL's.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a transaction waits for a connection.
const ACQUIRE_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long a single statement may run in PostgreSQL.
const STATEMENT_TIME_MAX: &str = "120s";
const CONNECTIONS_MAX: u32 = 4;
/// Rows of a full multi-row INSERT, whose statement is kept prepared.
const INSERT_ROWS: usize = 512;

/// A metadata database: an SQLite file, or a schema of a PostgreSQL database.
#[derive(Clone)]
pub(crate) enum Sql {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// An argument. The kind decides how PostgreSQL is told its type.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(Option<i64>),
    Bool(Option<bool>),
    Float(f64),
    Text(Option<String>),
    Uuid(String),
    Moment(String),
}

impl Value {
    pub(crate) fn int(value: i64) -> Self {
        Self::Int(Some(value))
    }

    pub(crate) fn text(value: impl Into<String>) -> Self {
        Self::Text(Some(value.into()))
    }

    pub(crate) fn bool(value: bool) -> Self {
        Self::Bool(Some(value))
    }
}

/// A transaction; rolled back when dropped.
pub(crate) enum Tx {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

pub(crate) enum Row<'r> {
    Sqlite(&'r SqliteRow),
    Postgres(&'r PgRow),
}

impl Sql {
    /// Write-ahead logging lets readers and DuckDB read while we commit; `synchronous = FULL` makes an acknowledged
    /// commit survive a power failure.
    pub(crate) async fn open_sqlite(path: &Path, create: bool) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_WAIT_MAX)
            .foreign_keys(false)
            .row_buffer_size(1024)
            .pragma("cache_size", "-16384");
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_WAIT_MAX)
            .idle_timeout(Duration::from_secs(60))
            // SQLite itself rolls back where its disk is full. sqlx's own ROLLBACK fails then, and it goes on to count a
            // transaction that is none: such a connection could never begin another.
            .before_acquire(|connection, _| {
                let usable = !connection.is_in_transaction();
                Box::pin(async move { Ok(usable) })
            })
            .connect_with(options)
            .await
            .map_err(|e| CatalogError::sql("opening the metadata file", e))?;
        Ok(Self::Sqlite(pool))
    }

    /// `schema` becomes the search path, so that statements name tables alone.
    pub(crate) async fn open_postgres(url: &str, schema: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|e| CatalogError::sql("reading the catalog's URL", e))?
            .application_name("frazil")
            .options([
                ("search_path", quote(schema).as_str()),
                ("timezone", "UTC"),
                ("statement_timeout", STATEMENT_TIME_MAX),
                ("lock_timeout", format!("{}ms", LOCK_WAIT_MAX.as_millis()).as_str()),
                ("idle_in_transaction_session_timeout", "600s"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_WAIT_MAX)
            .idle_timeout(Duration::from_secs(60))
            .connect_with(options)
            .await
            .map_err(|e| CatalogError::sql("connecting to the catalog", e))?;
        Ok(Self::Postgres(pool))
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// All statements of it see one state of the database.
    pub(crate) async fn read(&self) -> Result<Tx> {
        let doing = "starting to read";
        match self {
            Self::Sqlite(pool) => Ok(Tx::Sqlite(pool.begin().await.map_err(|e| CatalogError::sql(doing, e))?)),
            Self::Postgres(pool) => Ok(Tx::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    .await
                    .map_err(|e| CatalogError::sql(doing, e))?,
            )),
        }
    }

    /// Writers take turns: SQLite has one write lock, and in PostgreSQL `lock_table` is locked against writers, also
    /// those that are not ours.
    pub(crate) async fn write(&self, lock_table: &str) -> Result<Tx> {
        let doing = "waiting to write";
        match self {
            Self::Sqlite(pool) => {
                Ok(Tx::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await.map_err(|e| CatalogError::sql(doing, e))?))
            }
            Self::Postgres(pool) => {
                let mut tx = Tx::Postgres(pool.begin().await.map_err(|e| CatalogError::sql(doing, e))?);
                tx.execute(doing, &format!("LOCK TABLE {lock_table} IN SHARE ROW EXCLUSIVE MODE"), &[]).await?;
                Ok(tx)
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub(crate) async fn execute(&mut self, doing: &'static str, sql: &str, args: &[Value]) -> Result<u64> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(tx) => bind_sqlite(sqlx::query(sql), args).execute(&mut **tx).await.map(|r| r.rows_affected()),
            Self::Postgres(tx) => {
                bind_postgres(sqlx::query(sql), args).execute(&mut **tx).await.map(|r| r.rows_affected())
            }
        }
        .map_err(|e| CatalogError::sql(doing, e))
    }

    /// Runs several statements without arguments.
    pub(crate) async fn script(&mut self, doing: &'static str, sql: &str) -> Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(tx) => sql.execute(&mut **tx).await.map(|_| ()),
            Self::Postgres(tx) => sql.execute(&mut **tx).await.map(|_| ()),
        }
        .map_err(|e| CatalogError::sql(doing, e))
    }

    /// Calls `take` with each row as it arrives, so that long results are never held twice.
    pub(crate) async fn each(
        &mut self,
        doing: &'static str,
        sql: &str,
        args: &[Value],
        mut take: impl FnMut(Row<'_>) -> Result<()> + Send,
    ) -> Result<()> {
        let sql = AssertSqlSafe(sql);
        macro_rules! drain {
            ($query:expr, $tx:expr, $row:path) => {{
                let mut rows = $query.fetch(&mut **$tx);
                while let Some(row) = rows.try_next().await.map_err(|e| CatalogError::sql(doing, e))? {
                    take($row(&row))?;
                }
            }};
        }
        match self {
            Self::Sqlite(tx) => drain!(bind_sqlite(sqlx::query(sql), args), tx, Row::Sqlite),
            Self::Postgres(tx) => drain!(bind_postgres(sqlx::query(sql), args), tx, Row::Postgres),
        }
        Ok(())
    }

    pub(crate) async fn all<T: Send>(
        &mut self,
        doing: &'static str,
        sql: &str,
        args: &[Value],
        mut read: impl FnMut(Row<'_>) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.each(doing, sql, args, |row| {
            found.push(read(row)?);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    pub(crate) async fn first<T: Send>(
        &mut self,
        doing: &'static str,
        sql: &str,
        args: &[Value],
        read: impl FnMut(Row<'_>) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        Ok(self.all(doing, sql, args, read).await?.into_iter().next())
    }

    /// Inserts rows of the same kinds of values, many with one statement.
    pub(crate) async fn insert(
        &mut self,
        doing: &'static str,
        table: &str,
        columns: &str,
        rows: &[Vec<Value>],
    ) -> Result<()> {
        for chunk in rows.chunks(INSERT_ROWS) {
            let mut sql = format!("INSERT INTO {table}({columns}) VALUES ");
            let mut number = 0;
            for (index, row) in chunk.iter().enumerate() {
                sql.push_str(if index == 0 { "(" } else { ",(" });
                for (index, value) in row.iter().enumerate() {
                    number += 1;
                    if index > 0 {
                        sql.push(',');
                    }
                    self.placeholder(&mut sql, number, value);
                }
                sql.push(')');
            }
            let keep = chunk.len() == INSERT_ROWS || chunk.len() == 1;
            let sql = AssertSqlSafe(sql);
            match self {
                Self::Sqlite(tx) => {
                    let query = chunk.iter().fold(sqlx::query(sql).persistent(keep), |q, row| bind_sqlite(q, row));
                    query.execute(&mut **tx).await.map(|_| ())
                }
                Self::Postgres(tx) => {
                    let query = chunk.iter().fold(sqlx::query(sql).persistent(keep), |q, row| bind_postgres(q, row));
                    query.execute(&mut **tx).await.map(|_| ())
                }
            }
            .map_err(|e| CatalogError::sql(doing, e))?;
        }
        Ok(())
    }

    fn placeholder(&self, sql: &mut String, number: usize, value: &Value) {
        use std::fmt::Write;
        let kind = match (self, value) {
            // SQLite looks numbered parameters up in a list, one by one: that is quadratic in their number.
            (Self::Sqlite(_), _) => return sql.push('?'),
            (Self::Postgres(_), Value::Uuid(_)) => "uuid",
            (Self::Postgres(_), Value::Moment(_)) => "timestamptz",
            _ => {
                write!(sql, "${number}").expect("a string takes all");
                return;
            }
        };
        write!(sql, "CAST(${number} AS {kind})").expect("a string takes all");
    }

    pub(crate) async fn rollback(self) -> Result<()> {
        let done = match self {
            Tx::Sqlite(tx) => tx.rollback().await,
            Tx::Postgres(tx) => tx.rollback().await,
        };
        done.map_err(|error| CatalogError::sql("taking back a change", error))
    }

    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
        .map_err(|e| CatalogError::sql("committing", e))
    }
}

impl Row<'_> {
    pub(crate) fn int_or_null(&self, index: usize) -> Result<Option<i64>> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(index),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(corrupt)
    }

    pub(crate) fn int(&self, index: usize) -> Result<i64> {
        self.int_or_null(index)?.ok_or_else(|| null(index))
    }

    pub(crate) fn text_or_null(&self, index: usize) -> Result<Option<&str>> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(index),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(corrupt)
    }

    pub(crate) fn text(&self, index: usize) -> Result<&str> {
        self.text_or_null(index)?.ok_or_else(|| null(index))
    }

    pub(crate) fn bool_or_null(&self, index: usize) -> Result<Option<bool>> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked::<Option<i64>, _>(index).map(|v| v.map(|v| v != 0)),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(corrupt)
    }
}

fn corrupt(error: sqlx::Error) -> CatalogError {
    CatalogError::Corrupt(format!("a value cannot be read: {error}"))
}

fn null(index: usize) -> CatalogError {
    CatalogError::Corrupt(format!("the value {index} of a row is missing"))
}

/// An identifier in double quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;
type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

fn bind_sqlite<'q>(query: SqliteQuery<'q>, args: &[Value]) -> SqliteQuery<'q> {
    args.iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(*value),
        Value::Bool(value) => query.bind(value.map(i64::from)),
        Value::Float(value) => query.bind(*value),
        Value::Text(value) => query.bind(value.clone()),
        Value::Uuid(value) | Value::Moment(value) => query.bind(value.clone()),
    })
}

fn bind_postgres<'q>(query: PostgresQuery<'q>, args: &[Value]) -> PostgresQuery<'q> {
    args.iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(*value),
        Value::Bool(value) => query.bind(*value),
        Value::Float(value) => query.bind(*value),
        Value::Text(value) => query.bind(value.clone()),
        Value::Uuid(value) | Value::Moment(value) => query.bind(value.clone()),
    })
}
