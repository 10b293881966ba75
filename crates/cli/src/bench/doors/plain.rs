//! What the doors are compared with: Flight servers in this process that do nothing else, and the same client.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use frazil_engine::single::SingleProcess;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use super::flight::{client, fetch};
use super::rest::failed;
use crate::client::ClientError;

/// As DataFusion makes them.
const BATCH_ROWS: usize = 8192;

/// Where the rows of a stream come from.
pub enum Source {
    /// Batches in memory, again and again until so many rows are sent.
    Memory { batches: Vec<RecordBatch>, rows: u64 },
    /// DataFusion in this process, with as many partitions.
    Query { sql: String, partitions: usize },
}

impl Source {
    /// Of batches as they came through another door, each in memory of its own: of parts of messages the encoder takes the whole
    /// message's size for that of each column, and sends small pieces.
    pub fn memory(batches: Vec<RecordBatch>, rows: u64) -> Result<Self, ClientError> {
        let Some(first) = batches.first() else { return Err(failed("no batches to stream")) };
        let mut own = BatchCoalescer::new(first.schema(), BATCH_ROWS);
        batches.into_iter().try_for_each(|batch| own.push_batch(batch)).map_err(failed)?;
        own.finish_buffered_batch().map_err(failed)?;
        let batches = std::iter::from_fn(|| own.next_completed_batch()).collect();
        Ok(Self::Memory { batches, rows })
    }

    async fn batches(&self) -> Result<BoxStream<'static, Result<RecordBatch, BoxError>>, String> {
        match self {
            Self::Memory { batches, rows } => {
                let (batches, wanted) = (batches.clone(), *rows);
                let sent = stream::iter(0..).scan(0, move |sent, next: usize| {
                    let batch = &batches[next % batches.len()];
                    let rows = usize::try_from(wanted - *sent).unwrap_or(usize::MAX).min(batch.num_rows());
                    *sent += rows as u64;
                    std::future::ready((rows > 0).then(|| Ok(batch.slice(0, rows))))
                });
                Ok(sent.boxed())
            }
            Self::Query { sql, partitions } => {
                let single = SingleProcess::new(*partitions);
                let frame = single.context().sql(sql).await.map_err(|error| error.to_string())?;
                let rows = frame.execute_stream().await.map_err(|error| error.to_string())?;
                Ok(rows.map_err(BoxError::from).boxed())
            }
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A server, and a client of it. Both are in this process: what a door's cluster and client have of the machine, they have together.
pub struct PlainFlight {
    client: FlightServiceClient<Channel>,
    server: JoinHandle<()>,
}

impl PlainFlight {
    pub async fn start(source: Source) -> Result<Self, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let service = FlightServiceServer::new(Plain { source: Arc::new(source) });
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(async move {
            // It ends with the measurement.
            Server::builder().add_service(service).serve_with_incoming(incoming).await.ok();
        });
        Ok(Self { client: client(&url).await?, server })
    }

    /// Reads all rows; returns how many there were.
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
    source: Arc<Source>,
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
        let batches = self.source.batches().await.map_err(Status::internal)?;
        let messages = FlightDataEncoderBuilder::new().build(batches.map_err(FlightError::from_external_error));
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
