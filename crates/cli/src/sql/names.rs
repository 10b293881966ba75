//! The names that the server has, for completion: fetched in the background, and again when a statement may have changed them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::visible::visible_line;
use crate::client::{Client, ClientError, StatementContext};

/// Of each kind; what is beyond is not offered.
const TABLES_MAX: usize = 20_000;
const COLUMNS_MAX: usize = 100_000;
const OTHERS_MAX: usize = 5_000;
/// For all of them together. A server that takes longer has no completion.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// As they are in the catalog.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    pub databases: Vec<String>,
    pub schemas: Vec<String>,
    pub tables: Vec<Relation>,
    pub functions: Vec<String>,
    pub stages: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation {
    pub schema: String,
    pub name: String,
    pub columns: Vec<String>,
}

/// Shared by whoever fetches them and whoever offers them.
#[derive(Clone, Default)]
pub struct KnownNames {
    names: Arc<Mutex<Arc<Names>>>,
    fetching: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl KnownNames {
    /// As they were when they were last fetched.
    pub fn get(&self) -> Arc<Names> {
        self.names.lock().clone()
    }

    #[cfg(test)]
    pub fn of(names: Names) -> Self {
        let known = Self::default();
        *known.names.lock() = Arc::new(names);
        known
    }

    /// Begins to fetch them anew, for the database of the context. A fetch that is under way is given up.
    pub fn refresh(&self, client: &Client, context: &StatementContext) {
        let (client, names) = (client.clone(), self.names.clone());
        let mut context = StatementContext { session: None, time_limit: Some(FETCH_LIMIT), ..context.clone() };
        // Not even a setting of the session is to change what is found.
        context.parameters.clear();
        context.parameters.insert("query_tag".to_owned(), "frazil shell: names".to_owned());
        let task = tokio::spawn(async move {
            // Whoever types has no use for a failure.
            if let Ok(Ok(fetched)) = tokio::time::timeout(FETCH_LIMIT, fetch(&client, &context)).await {
                *names.lock() = Arc::new(fetched);
            }
        });
        if let Some(before) = self.fetching.lock().replace(task) {
            before.abort();
        }
    }

    pub fn stop(&self) {
        if let Some(task) = self.fetching.lock().take() {
            task.abort();
        }
    }

    /// Whether a statement that succeeded may have.
    pub fn are_changed_by(sql: &str) -> bool {
        const CHANGES: [&str; 9] =
            ["CREATE", "DROP", "ALTER", "USE", "UNDROP", "COMMIT", "ROLLBACK", "ATTACH", "DETACH"];
        let first = super::session::first_word(sql).unwrap_or_default();
        CHANGES.contains(&first.as_str())
    }
}

async fn fetch(client: &Client, context: &StatementContext) -> Result<Names, ClientError> {
    let tables = format!(
        "SELECT table_schema, table_name FROM information_schema.tables ORDER BY table_schema, table_name LIMIT {TABLES_MAX}"
    );
    let columns = format!(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns \
         ORDER BY table_schema, table_name, ordinal_position LIMIT {COLUMNS_MAX}"
    );
    let functions =
        format!("SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY 1 LIMIT {OTHERS_MAX}");
    let schemas = format!("SELECT schema_name FROM information_schema.schemata ORDER BY 1 LIMIT {OTHERS_MAX}");

    let mut found: Vec<Relation> = Vec::new();
    for [schema, name] in rows(client, context, &tables).await? {
        found.push(Relation { schema, name, columns: Vec::new() });
    }
    let mut at = 0;
    for [schema, name, column] in rows(client, context, &columns).await? {
        // Both are in one order; a table that came in between is left out.
        while found.get(at).is_some_and(|table| (&table.schema, &table.name) < (&schema, &name)) {
            at += 1;
        }
        if let Some(table) = found.get_mut(at).filter(|table| table.schema == schema && table.name == name) {
            table.columns.push(column);
        }
    }
    let one = |[name]: [String; 1]| name;
    found.retain(|table| is_harmless(&table.name) && is_harmless(&table.schema));
    found.iter_mut().for_each(|table| table.columns.retain(|name| is_harmless(name)));
    Ok(Names {
        tables: found,
        schemas: rows(client, context, &schemas).await?.into_iter().map(one).collect(),
        functions: rows(client, context, &functions).await?.into_iter().map(one).collect(),
        databases: names_of(client, context, "SHOW DATABASES").await,
        stages: names_of(client, context, "SHOW STAGES").await,
    })
}

/// Offered names are shown as they are.
fn is_harmless(name: &str) -> bool {
    visible_line(name) == name
}

/// The first columns of an answer, which are texts.
async fn rows<const N: usize>(
    client: &Client,
    context: &StatementContext,
    sql: &str,
) -> Result<Vec<[String; N]>, ClientError> {
    let answered = client.query(sql, context).await?;
    let mut found = Vec::with_capacity(answered.rows());
    for batch in &answered.batches {
        let texts = (0..N.min(batch.num_columns())).map(|column| texts(batch, column)).collect::<Vec<_>>();
        for row in 0..batch.num_rows() {
            found.push(std::array::from_fn(|column| {
                texts.get(column).and_then(|texts| texts.get(row)).cloned().unwrap_or_default()
            }));
        }
    }
    Ok(found)
}

/// The column `name` of what a `SHOW` answers; none where one may not ask.
async fn names_of(client: &Client, context: &StatementContext, sql: &str) -> Vec<String> {
    let Ok(answered) = client.query(sql, context).await else { return Vec::new() };
    let Some((column, _)) = answered.schema.column_with_name("name") else { return Vec::new() };
    answered.batches.iter().flat_map(|batch| texts(batch, column)).take(OTHERS_MAX).collect()
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<String> {
    let Ok(texts) = cast(batch.column(column), &DataType::Utf8) else { return Vec::new() };
    let texts = texts.as_string::<i32>();
    (0..texts.len()).map(|row| texts.value(row).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_statements_change_names() {
        for sql in ["create table t (a int)", "-- x\n DROP VIEW v", "use d", "ROLLBACK"] {
            assert!(KnownNames::are_changed_by(sql), "{sql}");
        }
        for sql in ["select 1", "insert into t values (1)", "", "created"] {
            assert!(!KnownNames::are_changed_by(sql), "{sql}");
        }
    }
}
