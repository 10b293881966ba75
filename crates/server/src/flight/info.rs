//! What a client gets before rows: columns, and endpoints whose tickets bring the rows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::Schema;
use arrow_flight::{FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use arrow_ipc::writer::IpcWriteOptions;
use bytes::Bytes;
use frazil_common::{Failure, Principal};
use prost_types::Timestamp;

use super::rows::plain;
use super::sealed::{Content, Sealer};

/// A schema as an encapsulated IPC message.
pub fn schema_bytes(schema: &Schema) -> Result<Bytes, Failure> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(&plain(schema), &options).try_into();
    message.map(|IpcMessage(bytes)| bytes).map_err(|error| Failure::internal(format!("a schema as a message: {error}")))
}

/// Without a schema a client waits for that of the first endpoint's rows, and so until the statement is done.
pub fn flight_info(schema: Option<&Schema>, endpoints: Vec<FlightEndpoint>) -> Result<FlightInfo, Failure> {
    let schema = schema.map(schema_bytes).transpose()?.unwrap_or_default();
    Ok(FlightInfo {
        schema,
        flight_descriptor: None,
        endpoint: endpoints,
        // Not known.
        total_records: -1,
        total_bytes: -1,
        ordered: true,
        app_metadata: Bytes::new(),
    })
}

/// Where the rows of `content` are to be had: here, on the connection that the client has.
pub fn endpoint(sealer: &Sealer, principal: &Principal, content: Content, valid: Duration) -> FlightEndpoint {
    let (ticket, expires) = sealer.seal(principal, content, valid);
    FlightEndpoint {
        ticket: Some(Ticket { ticket }),
        location: Vec::new(),
        expiration_time: Some(timestamp(expires)),
        app_metadata: Bytes::new(),
    }
}

pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}
