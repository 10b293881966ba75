//! The 22 queries derived from TPC-H, and where their tables are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use frazil_datasets::{Bars, Destination, LoadReport, Tpch, load_tpch};

use crate::answers::Order;
use crate::client::StatementContext;
use crate::failure::CommandError;

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

/// Tables below `<data>/sample/<schema>` appear as `sample.<schema>.<table>`.
pub const SAMPLE_DATABASE: &str = "sample";

pub fn schema_name(scale: f64) -> String {
    format!("tpch_sf{scale}").replace('.', "_")
}

pub fn directory(data: &Path, scale: f64) -> PathBuf {
    data.join("sample").join(schema_name(scale))
}

/// In which the queries find their tables.
pub fn context(scale: f64) -> StatementContext {
    StatementContext {
        database: Some(SAMPLE_DATABASE.to_owned()),
        schema: Some(schema_name(scale)),
        ..StatementContext::default()
    }
}

/// Generates the tables if they are not there, with bars on stderr.
pub async fn ensure(data: &Path, scale: f64) -> Result<LoadReport, CommandError> {
    let destination = Destination::local(directory(data, scale));
    let made = load_tpch(Tpch::new(scale, destination), Arc::new(Bars::on_stderr())).await;
    made.map_err(|e| CommandError::Failed(format!("generating TPC-H at scale {scale}: {e}")))
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
