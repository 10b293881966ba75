//! Flight SQL, as a client of it does: `GetFlightInfo`, then `DoGet` of each endpoint.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use prost::Message;
use tonic::transport::{Channel, Endpoint};

use super::Door;
use super::rest::failed;
use crate::client::ClientError;

/// Of one message; batches are some megabytes.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

struct FlightSql {
    client: FlightServiceClient<Channel>,
}

pub fn connect(url: &str) -> BoxFuture<'_, Result<Arc<dyn Door>, ClientError>> {
    Box::pin(async move { Ok(Arc::new(FlightSql { client: client(url).await? }) as Arc<dyn Door>) })
}

pub async fn client(url: &str) -> Result<FlightServiceClient<Channel>, ClientError> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(failed)?.tcp_nodelay(true);
    let endpoint = endpoint.initial_stream_window_size(4 << 20).initial_connection_window_size(8 << 20);
    let channel = endpoint.connect().await.map_err(failed)?;
    Ok(FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

impl FlightSql {
    async fn info(&self, sql: &str) -> Result<FlightInfo, ClientError> {
        let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        Ok(self.client.clone().get_flight_info(descriptor).await.map_err(failed)?.into_inner())
    }
}

impl Door for FlightSql {
    fn run<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<u64, ClientError>> {
        Box::pin(async move {
            let info = self.info(sql).await?;
            let mut rows = 0;
            for endpoint in info.endpoint {
                let ticket = endpoint.ticket.ok_or_else(|| failed("an endpoint has no ticket"))?;
                let mut batches = fetch(self.client.clone(), ticket).await?;
                while let Some(batch) = batches.try_next().await.map_err(failed)? {
                    rows += batch.num_rows() as u64;
                }
            }
            Ok(rows)
        })
    }
}

pub async fn fetch(
    mut client: FlightServiceClient<Channel>,
    ticket: Ticket,
) -> Result<FlightRecordBatchStream, ClientError> {
    let stream = client.do_get(ticket).await.map_err(failed)?.into_inner();
    Ok(FlightRecordBatchStream::new_from_flight_data(stream.map_err(FlightError::from)))
}

/// The first batches of a statement, up to so many rows.
pub async fn batches(url: &str, sql: &str, rows: u64) -> Result<Vec<RecordBatch>, ClientError> {
    let door = FlightSql { client: client(url).await? };
    let info = door.info(sql).await?;
    let ticket = info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket);
    let mut batches = fetch(door.client, ticket.ok_or_else(|| failed("there is no ticket"))?).await?;
    let (mut taken, mut count) = (Vec::new(), 0);
    while count < rows
        && let Some(batch) = batches.try_next().await.map_err(failed)?
    {
        count += batch.num_rows() as u64;
        taken.push(batch);
    }
    Ok(taken)
}
