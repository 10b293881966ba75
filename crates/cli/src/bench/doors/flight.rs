//! Flight SQL, as a client of it does: `GetFlightInfo`, then `DoGet` of each endpoint. And, to compare with, a plain Flight stream of the
//! same batches from memory, by a server that does nothing else.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

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

async fn client(url: &str) -> Result<FlightServiceClient<Channel>, ClientError> {
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

async fn fetch(
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

/// A server that streams batches from memory, again and again until it has sent so many rows; and a client of it.
pub struct PlainFlight {
    client: FlightServiceClient<Channel>,
    server: JoinHandle<()>,
}

impl PlainFlight {
    pub async fn start(batches: Vec<RecordBatch>, rows: u64) -> Result<Self, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let service = FlightServiceServer::new(Plain { batches: Arc::new(batches), rows });
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(async move {
            // It ends with the measurement.
            Server::builder().add_service(service).serve_with_incoming(incoming).await.ok();
        });
        Ok(Self { client: client(&url).await?, server })
    }

    pub async fn run(&self) -> Result<u64, ClientError> {
        let mut batches = fetch(self.client.clone(), Ticket { ticket: Vec::new().into() }).await?;
        let mut rows = 0;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }
}

impl Drop for PlainFlight {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Plain {
    batches: Arc<Vec<RecordBatch>>,
    rows: u64,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("it only streams"))
}

#[tonic::async_trait]
impl FlightService for Plain {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let (batches, wanted) = (self.batches.clone(), self.rows);
        let Some(schema) = batches.first().map(|first| first.schema()) else { return nothing() };
        let sent = stream::unfold((0_usize, 0_u64), move |(next, sent)| {
            let batches = batches.clone();
            async move {
                let left = wanted.saturating_sub(sent);
                let batch = &batches[next % batches.len()];
                let rows = batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX));
                (rows > 0).then(|| (Ok(batch.slice(0, rows)), (next + 1, sent + rows as u64)))
            }
        });
        let messages = FlightDataEncoderBuilder::new().with_schema(schema).build(sent);
        Ok(Response::new(messages.map_err(Status::from).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        nothing()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        nothing()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        nothing()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        nothing()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        nothing()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        nothing()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        nothing()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        nothing()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        nothing()
    }
}
