//! A directory, file or URL of Parquet, CSV or JSON into one table, whose columns are those of the files.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::watch::{Target, watch};
use crate::client::{Client, StatementContext};
use crate::config::Config;
use crate::failure::CommandError;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SourceFormat {
    Parquet,
    Csv,
    Json,
}

impl SourceFormat {
    fn keyword(self) -> &'static str {
        match self {
            Self::Parquet => "PARQUET",
            Self::Csv => "CSV",
            Self::Json => "JSON",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "json" | "ndjson" | "jsonl" => Some(Self::Json),
            _ => None,
        }
    }
}

pub struct SourceRequest {
    /// A directory or file of this machine, or a URL that the server may read.
    pub source: String,
    /// `None`: called as the source is.
    pub table: Option<String>,
    /// `None`: as the files' names end.
    pub format: Option<SourceFormat>,
    pub replace: bool,
    pub append: bool,
}

pub async fn run(config: &Config, request: SourceRequest) -> Result<(), CommandError> {
    let place = Place::find(&request)?;
    let target = Target::open(config).await?;
    let loaded = target.until_stopped(load(target.client(), &request, &place)).await;
    target.close().await;
    let rows = loaded?;
    println!("{}: {rows} rows loaded", place.table);
    Ok(())
}

struct Place {
    location: String,
    format: SourceFormat,
    table: String,
}

impl Place {
    fn find(request: &SourceRequest) -> Result<Self, CommandError> {
        let source = &request.source;
        let wrong = |why: String| CommandError::Usage(format!("{source:?} {why}"));
        let (location, found) = if source.contains("://") {
            (source.clone(), SourceFormat::of_name(source))
        } else {
            let path = Path::new(source).canonicalize().map_err(|error| wrong(format!("cannot be read: {error}")))?;
            let found = if path.is_dir() { format_of_directory(&path)? } else { SourceFormat::of_name(source) };
            let slash = if path.is_dir() { "/" } else { "" };
            (format!("{}{slash}", path.display()), found)
        };
        let format = request.format.or(found);
        let format =
            format.ok_or_else(|| wrong("does not tell its format: give --format parquet, csv or json".to_owned()))?;
        let table = match &request.table {
            Some(table) => table.clone(),
            None => table_name(&location)
                .ok_or_else(|| wrong("gives no name for the table: give --table NAME".to_owned()))?,
        };
        Ok(Self { location, format, table })
    }
}

/// That of its files, if they have one.
fn format_of_directory(directory: &Path) -> Result<Option<SourceFormat>, CommandError> {
    let reading = || CommandError::doing(format!("reading {directory:?}"));
    let entries = std::fs::read_dir(directory).map_err(reading())?;
    let mut found = None;
    for entry in entries {
        let name = entry.map_err(reading())?.file_name();
        let Some(format) = SourceFormat::of_name(&name.to_string_lossy()) else { continue };
        if found.is_some_and(|found| found != format) {
            let message = format!("{directory:?} has files of several formats: give --format");
            return Err(CommandError::Usage(message));
        }
        found = Some(format);
    }
    Ok(found)
}

/// `/a/b/My orders-2.parquet` is `my_orders_2`.
fn table_name(location: &str) -> Option<String> {
    let last = location.trim_end_matches('/').rsplit('/').next()?;
    let stem = last.split('.').next()?;
    let plain = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    let name: String = plain.collect();
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts_well && name.chars().any(|c| c != '_')).then_some(name)
}

/// An external table over the files, whose name nobody else has, is there for as long as it takes.
async fn load(client: &Client, request: &SourceRequest, place: &Place) -> Result<u64, CommandError> {
    let context = StatementContext::default();
    let external = format!("frazil_load_{:016x}", rand::random::<u64>());
    let location = place.location.replace('\'', "''");
    let declare =
        format!("CREATE EXTERNAL TABLE {external} STORED AS {} LOCATION '{location}'", place.format.keyword());
    client.query(&declare, &context).await?;
    let Place { table, .. } = place;
    let sql = match (request.replace, request.append) {
        (_, true) => format!("INSERT INTO {table} SELECT * FROM {external}"),
        (true, _) => format!("CREATE OR REPLACE TABLE {table} AS SELECT * FROM {external}"),
        _ => format!("CREATE TABLE {table} AS SELECT * FROM {external}"),
    };
    let answer = watch(client, &sql, &context, table, None).await;
    let dropped = client.query(&format!("DROP TABLE {external}"), &context).await;
    let answer = answer?;
    dropped?;
    let rows = answer["data"][0][0].as_str().and_then(|cell| cell.parse().ok());
    rows.ok_or_else(|| CommandError::Failed(format!("the answer does not count rows: {}", Value::to_string(&answer))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_called_as_their_files() {
        for (location, name) in [
            ("/a/My orders-2.parquet", Some("my_orders_2")),
            ("s3://bucket/some/lineitem/", Some("lineitem")),
            ("/a/2024.csv", None),
            ("/", None),
        ] {
            assert_eq!(table_name(location).as_deref(), name, "{location}");
        }
    }

    #[test]
    fn formats_are_told_by_endings() {
        assert_eq!(SourceFormat::of_name("a.b.CSV"), Some(SourceFormat::Csv));
        assert_eq!(SourceFormat::of_name("a.ndjson"), Some(SourceFormat::Json));
        assert_eq!(SourceFormat::of_name("csv"), None);
    }
}
