//! Sample sets as tables: one statement for each table, so that what an interrupted load leaves is whole tables or none.

use std::time::{Duration, Instant};

use frazil_common::ByteSize;
use frazil_datasets::{GeneratedTable, TPCDS_TABLES, TPCH_TABLES};
use serde_json::Value;

use super::watch::{Target, watch};
use crate::client::{Client, StatementContext};
use crate::config::Config;
use crate::failure::CommandError;
use crate::tpch::{SAMPLE_DATABASE, scale_name};

/// Rows of events at scale 1, as the table function has them.
const EVENTS_PER_SCALE: f64 = frazil_engine::generate::EVENTS_PER_SCALE;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum SampleSet {
    Tpch { scale: f64 },
    Tpcds { scale: f64 },
    Events { rows: u64, seed: u64 },
}

impl SampleSet {
    pub fn events(scale: f64, seed: u64) -> Self {
        Self::Events { rows: (scale * EVENTS_PER_SCALE).round().max(0.0) as u64, seed }
    }

    /// Below the database `sample`.
    pub fn schema(&self) -> String {
        match self {
            Self::Tpch { scale } => format!("tpch_sf{}", scale_name(*scale)),
            Self::Tpcds { scale } => format!("tpcds_sf{}", scale_name(*scale)),
            Self::Events { rows, .. } => format!("events_sf{}", scale_name(*rows as f64 / EVENTS_PER_SCALE)),
        }
    }

    /// Each table, with what makes it; small ones last, so that waiting starts with what takes long.
    fn tables(&self) -> Result<Vec<(&'static str, GeneratedTable, String)>, CommandError> {
        let of = |names: &'static [&'static str], function: &str, scale: f64, made: Maker| {
            let mut tables = names
                .iter()
                .map(|name| Ok((*name, made(name, scale)?, format!("{function}('{name}', {scale})"))))
                .collect::<Result<Vec<_>, frazil_datasets::DatasetError>>()?;
            tables.sort_by_key(|(_, table, _)| std::cmp::Reverse(table.rows()));
            Ok(tables)
        };
        let tables = match *self {
            Self::Tpch { scale } => of(&TPCH_TABLES, "tpch", scale, GeneratedTable::tpch),
            Self::Tpcds { scale } => of(&TPCDS_TABLES, "tpcds", scale, GeneratedTable::tpcds),
            Self::Events { rows, seed } => GeneratedTable::events(rows, seed)
                .map(|table| vec![("events", table, format!("events({}, {seed})", rows as f64 / EVENTS_PER_SCALE))]),
        };
        tables.map_err(|error: frazil_datasets::DatasetError| CommandError::Usage(error.to_string()))
    }
}

type Maker = fn(&str, f64) -> Result<GeneratedTable, frazil_datasets::DatasetError>;

/// What a load has come to.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub schema: String,
    pub tables: Vec<LoadedTable>,
    pub elapsed: Duration,
}

#[derive(Clone, Debug)]
pub struct LoadedTable {
    pub name: &'static str,
    pub rows: u64,
    pub bytes: u64,
    /// Otherwise it was there.
    pub made: bool,
}

/// Loads into tables of the coordinator that the configuration names, or of the data directory.
pub async fn run(config: &Config, set: SampleSet, replace: bool) -> Result<(), CommandError> {
    set.tables()?;
    let target = Target::open(config).await?;
    let loaded = target.until_stopped(load_tables(target.client(), set, replace)).await;
    target.close().await;
    let loaded = loaded?;
    let (rows, bytes) = loaded.tables.iter().fold((0, 0), |sum, one| (sum.0 + one.rows, sum.1 + one.bytes));
    let (count, made) = (loaded.tables.len(), loaded.tables.iter().filter(|table| table.made).count());
    let (name, bytes) = (format!("{SAMPLE_DATABASE}.{}", loaded.schema), ByteSize(bytes));
    let tables = if count == 1 { "1 table".to_owned() } else { format!("{count} tables") };
    match made {
        0 => println!("{name} is there already: {tables}, {rows} rows, {bytes}; --replace loads it again"),
        _ if made == count => {
            println!("{name}: {tables}, {rows} rows, {bytes}, loaded in {:.1} s", loaded.elapsed.as_secs_f64());
        }
        _ => println!(
            "{name}: {tables}, {rows} rows, {bytes}; {made} loaded in {:.1} s, the others were there",
            loaded.elapsed.as_secs_f64()
        ),
    }
    if let Some(table) = loaded.tables.first() {
        println!("try: frazil sql -c 'SELECT * FROM {name}.{} LIMIT 10'", table.name);
    }
    Ok(())
}

/// Makes the tables that are not there, or all of them, with bars on a terminal.
pub async fn load_tables(client: &Client, set: SampleSet, replace: bool) -> Result<Loaded, CommandError> {
    let started = Instant::now();
    let schema = set.schema();
    let wanted = set.tables()?;
    let context = StatementContext::default();
    client.query(&format!("CREATE DATABASE IF NOT EXISTS {SAMPLE_DATABASE}"), &context).await?;
    client.query(&format!("CREATE SCHEMA IF NOT EXISTS {SAMPLE_DATABASE}.{schema}"), &context).await?;
    let create = if replace { "CREATE OR REPLACE TABLE" } else { "CREATE TABLE IF NOT EXISTS" };
    let mut tables = Vec::with_capacity(wanted.len());
    for (name, table, source) in wanted {
        let full = format!("{SAMPLE_DATABASE}.{schema}.{name}");
        let sql = format!("{create} {full} AS SELECT * FROM {source}");
        let answer = watch(client, &sql, &context, name, Some(table.rows())).await;
        let answer = answer.map_err(|error| CommandError::Failed(format!("loading {full}: {error}")))?;
        // A table that is there is left as it is, and the answer says so in a text.
        let made = first_cell(&answer).is_some_and(|cell| cell.parse::<u64>().is_ok());
        let (rows, bytes) = size_of(client, &full).await?;
        tables.push(LoadedTable { name, rows, bytes, made });
    }
    Ok(Loaded { schema, tables, elapsed: started.elapsed() })
}

/// Rows and bytes, as the catalog has them.
async fn size_of(client: &Client, table: &str) -> Result<(u64, u64), CommandError> {
    let sql = format!("SELECT coalesce(sum(rows - deleted), 0), coalesce(sum(bytes), 0) FROM table_files('{table}')");
    let answer = client.query_json(&sql, &StatementContext::default()).await?;
    let cell = |column: usize| answer["data"][0][column].as_str().and_then(|cell| cell.parse().ok());
    match (cell(0), cell(1)) {
        (Some(rows), Some(bytes)) => Ok((rows, bytes)),
        _ => Err(CommandError::Failed(format!("the size of {table} is not told: {answer}"))),
    }
}

fn first_cell(answer: &Value) -> Option<&str> {
    answer["data"][0][0].as_str()
}
