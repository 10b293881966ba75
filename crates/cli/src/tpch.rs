//! The 22 queries derived from TPC-H, and where their tables are.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use frazil_datasets::TPCH_TABLES;

use crate::answers::Order;
use crate::bench::single_server::TableFiles;
use crate::client::{Client, StatementContext};
use crate::config::Config;
use crate::embedded::Embedded;
use crate::failure::CommandError;
use crate::load::{SampleSet, load_tables};

pub struct Query {
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! queries {
    ($($name:literal)*) => {
        /// By number, from 1.
        pub const QUERIES: &[Query] =
            &[$(Query { name: $name, sql: include_str!(concat!("../../../testdata/tpch/", $name, ".sql")) }),*];
    };
}

queries! {
    "q01" "q02" "q03" "q04" "q05" "q06" "q07" "q08" "q09" "q10" "q11"
    "q12" "q13" "q14" "q15" "q16" "q17" "q18" "q19" "q20" "q21" "q22"
}

impl Query {
    /// Queries say in their second line whether their `ORDER BY` leaves no choice.
    pub fn order(&self) -> Order {
        if self.sql.lines().nth(1) == Some("-- ordered") { Order::Rows } else { Order::Any }
    }
}

/// Where sample data are loaded to.
pub const SAMPLE_DATABASE: &str = "sample";

pub fn schema_name(scale: f64) -> String {
    format!("tpch_sf{}", scale_name(scale))
}

/// As a part of a name.
pub fn scale_name(scale: f64) -> String {
    scale.to_string().replace('.', "_")
}

/// In which the queries find their tables.
pub fn context(scale: f64) -> StatementContext {
    StatementContext {
        database: Some(SAMPLE_DATABASE.to_owned()),
        schema: Some(schema_name(scale)),
        ..StatementContext::default()
    }
}

/// The tables of `sample.tpch_sf…`: loaded if they are not there, and the files of each.
pub async fn ensure(config: &Config, scale: f64) -> Result<TableFiles, CommandError> {
    let embedded = Embedded::start_lasting(config, 1).await?;
    let client = embedded.client();
    let files = async {
        load_tables(&client, SampleSet::Tpch { scale }, false).await?;
        let mut files = TableFiles::new();
        for table in TPCH_TABLES {
            files.insert(
                table.to_owned(),
                files_of(&client, &format!("{SAMPLE_DATABASE}.{}.{table}", schema_name(scale))).await?,
            );
        }
        Ok(files)
    };
    let files = files.await;
    embedded.stop().await;
    files
}

async fn files_of(client: &Client, table: &str) -> Result<Vec<String>, CommandError> {
    let sql = format!("SELECT path, deleted FROM table_files('{table}')");
    let mut files = Vec::new();
    for batch in client.query(&sql, &StatementContext::default()).await?.batches {
        let (paths, deleted) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        if deleted.values().iter().any(|rows| *rows > 0) {
            return Err(CommandError::Failed(format!("rows of {table} were deleted: load it again with --replace")));
        }
        files.extend(paths.iter().flatten().map(str::to_owned));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_names() {
        assert_eq!(schema_name(0.1), "tpch_sf0_1");
        assert_eq!(schema_name(1.0), "tpch_sf1");
        assert_eq!(schema_name(100.0), "tpch_sf100");
    }

    #[test]
    fn all_queries_are_there() {
        assert_eq!(QUERIES.len(), 22);
        assert!(QUERIES.iter().all(|query| query.sql.starts_with("-- ")));
        assert!(QUERIES.iter().any(|query| query.order() == Order::Rows));
        assert!(QUERIES.iter().any(|query| query.order() == Order::Any));
    }
}
