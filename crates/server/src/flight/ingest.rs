//! Bulk ingestion: rows go to a file beside the tables as they come, and one statement writes them into their table, as any other does.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use frazil_common::{ErrorCode, Failure};
use frazil_coordinator::statement::{Delivery, StatementRequest};
use frazil_coordinator::uploaded_rows::UPLOADED_ROWS;
use futures::{StreamExt, TryStreamExt, stream};
use tonic::Streaming;

use super::identity::Client;
use super::statements::run_to_end;
use super::update::{rows_changed, unreadable};
use super::{Door, invalid};

/// What is to become of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Create,
    Append,
    Replace,
    CreateOrAppend,
    /// Only one that is there.
    ReplaceExisting,
}

pub async fn ingest(
    door: &Door,
    client: &Client,
    wanted: CommandStatementIngest,
    first: FlightData,
    rest: Streaming<FlightData>,
) -> Result<i64, Failure> {
    let mode = mode(&wanted)?;
    if wanted.temporary {
        return Err(Failure::new(ErrorCode::NotSupported, "a temporary table is not supported"));
    }
    if let Some(option) = wanted.options.keys().next() {
        return Err(Failure::new(
            ErrorCode::NotSupported,
            format!("option {option:?} of an ingestion is not supported"),
        ));
    }
    let session = door.transactions.enter(client, wanted.transaction_id.as_ref()).await?;
    let database = match (&wanted.catalog, session) {
        (Some(catalog), _) => Some(catalog.clone()),
        (None, Some(session)) => client.caller.session_options(session).await?.database,
        (None, None) => None,
    };
    let table = full_name(&wanted);
    // What is wrong with the table is told before the rows are taken.
    let exists = exists(client, session, &table).await?;
    let writes = match (mode, exists) {
        (Mode::Create, true) => {
            let message = format!("table {table} already exists");
            return Err(Failure::new(ErrorCode::DuplicateTable, message));
        }
        (Mode::Append | Mode::ReplaceExisting, false) => {
            return Err(Failure::new(ErrorCode::UndefinedTable, format!("table {table} not found")));
        }
        (Mode::Append | Mode::CreateOrAppend, true) => Writes::Insert,
        (Mode::Create | Mode::CreateOrAppend, false) => Writes::Create,
        (Mode::Replace | Mode::ReplaceExisting, _) => Writes::Replace,
    };
    let messages = stream::iter((!first.data_header.is_empty()).then_some(Ok(first)));
    let messages = messages.chain(rest.map_err(|status| FlightError::Tonic(Box::new(status))));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let first = batches.next().await.transpose().map_err(unreadable)?;
    let Some(schema) = batches.schema().cloned() else { return Err(invalid("no columns came with the rows")) };
    let rows = stream::iter(first.map(Ok)).chain(batches.map_err(unreadable));
    // Metadata of the sender's means nothing here.
    let schema = Arc::new(Schema::new(schema.fields().clone()));
    let uploaded = client.caller.upload_rows(database.as_deref(), schema.clone(), rows.boxed()).await?;
    let uploaded = Arc::new(uploaded);
    let sql = writes.sql(&table, &schema);
    let request = StatementRequest {
        session,
        uploaded: Some(Arc::downgrade(&uploaded)),
        ..StatementRequest::new(sql, Delivery::Spooled)
    };
    let answer = run_to_end(door, client, None, request).await?;
    Ok(rows_changed(&answer))
}

fn mode(wanted: &CommandStatementIngest) -> Result<Mode, Failure> {
    let options = wanted.table_definition_options.unwrap_or_default();
    let (missing, existing) = (options.if_not_exist(), options.if_exists());
    Ok(match (missing, existing) {
        (TableNotExistOption::Create, TableExistsOption::Fail | TableExistsOption::Unspecified) => Mode::Create,
        (TableNotExistOption::Create, TableExistsOption::Append) => Mode::CreateOrAppend,
        (TableNotExistOption::Create, TableExistsOption::Replace) => Mode::Replace,
        (TableNotExistOption::Fail | TableNotExistOption::Unspecified, TableExistsOption::Append) => Mode::Append,
        (TableNotExistOption::Fail | TableNotExistOption::Unspecified, TableExistsOption::Replace) => {
            Mode::ReplaceExisting
        }
        (TableNotExistOption::Fail | TableNotExistOption::Unspecified, _) => {
            return Err(invalid("an ingestion that neither creates a table nor takes one that exists"));
        }
    })
}

#[derive(Clone, Copy)]
enum Writes {
    Create,
    Replace,
    Insert,
}

impl Writes {
    fn sql(self, table: &str, schema: &Schema) -> String {
        let columns: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
        let columns = columns.join(", ");
        let rows = format!("SELECT {columns} FROM {UPLOADED_ROWS}");
        match self {
            Self::Create => format!("CREATE TABLE {table} AS {rows}"),
            Self::Replace => format!("CREATE OR REPLACE TABLE {table} AS {rows}"),
            // By name: columns that are not sent have their defaults.
            Self::Insert => format!("INSERT INTO {table} ({columns}) {rows}"),
        }
    }
}

async fn exists(client: &Client, session: Option<frazil_common::SessionId>, table: &str) -> Result<bool, Failure> {
    let sql = format!("SELECT * FROM {table}");
    let request = StatementRequest { session, ..StatementRequest::new(sql, Delivery::Streamed) };
    match client.caller.describe(request).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.code == ErrorCode::UndefinedTable => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn full_name(wanted: &CommandStatementIngest) -> String {
    let parts = [wanted.catalog.as_deref(), wanted.schema.as_deref(), Some(wanted.table.as_str())];
    // A database alone is looked up with the default schema.
    let parts = match parts {
        [Some(catalog), None, table] => [Some(catalog), Some("public"), table],
        parts => parts,
    };
    let parts: Vec<String> = parts.into_iter().flatten().map(quoted).collect();
    parts.join(".")
}

/// A name as SQL that means exactly it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let wanted = CommandStatementIngest {
            table: "a\"; DROP TABLE b --".to_owned(),
            schema: Some("S".to_owned()),
            ..CommandStatementIngest::default()
        };
        assert_eq!(full_name(&wanted), "\"S\".\"a\"\"; DROP TABLE b --\"");
    }
}
