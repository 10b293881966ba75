//! Arrow Flight SQL over the statement service, on the same port as REST.
//!
//! | call | what it does |
//! |---|---|
//! | `GetFlightInfo`, `GetSchema` | plan and run nothing: columns, errors, and an endpoint whose ticket runs it |
//! | `DoGet` | runs the statement of a ticket; rows come as they are made, at the reader's pace |
//! | `PollFlightInfo` | runs a statement and keeps its rows: an endpoint for each partition, to be fetched in any order and again |
//! | `DoPut` | updates, values for placeholders, bulk ingestion |
//! | `DoAction` | prepared statements, transactions, sessions, cancelling |
//!
//! In reading order: `identity` (who asks), `sealed` (tickets and handles, which only we can make), `status` (failures), `info` (what a
//! client gets before rows), `rows` (batches to messages) and `message` (their bytes), `statements`, `poll`, `prepared`, `update`, `ingest`, `transactions`, `session`,
//! `cancel`, `actions`, and the answers about what there is: `catalog`, `keys`, `sql_info`, `sql_types`. See docs/flight-sql.md.

mod actions;
mod cancel;
mod catalog;
mod identity;
mod info;
mod ingest;
mod kept;
mod keys;
mod message;
mod poll;
mod prepared;
mod rows;
mod sealed;
mod session;
mod sql_info;
mod sql_types;
mod statements;
mod status;
mod transactions;
mod update;

use std::sync::Arc;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use axum::Router;
use axum::middleware::map_response;
use frazil_common::{ErrorCode, Failure};
use frazil_coordinator::service::StatementService;
use futures::stream::BoxStream;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use cancel::Streams;
use kept::KeptPlans;
use sealed::{Content, Sealer};
use transactions::Transactions;

/// Of one message that a client sends. A batch of rows is one message, and is in memory as a whole.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Every call of the service.
const PATH: &str = "/arrow.flight.protocol.FlightService/{call}";

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// What every call works with.
struct Door {
    statements: StatementService,
    sealer: Sealer,
    streams: Arc<Streams>,
    plans: Arc<KeptPlans>,
    transactions: Transactions,
}

/// The service as routes, to be merged with those of HTTP.
pub fn router<S: Clone + Send + Sync + 'static>(statements: StatementService) -> Router<S> {
    let door = Door {
        statements,
        sealer: Sealer::new(),
        streams: Arc::default(),
        plans: Arc::default(),
        transactions: Transactions::default(),
    };
    let service = FlightServiceServer::new(Flight { door: Arc::new(door) })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    Router::new().route_service(PATH, service).layer(map_response(rows::with_rows))
}

struct Flight {
    door: Arc<Door>,
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.door.handshake(request).await
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(not_supported("ListFlights"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let client = self.door.client(&request).await?;
        let descriptor = request.into_inner();
        let info = match command(&descriptor.cmd)? {
            Command::CommandStatementQuery(query) => statements::info(&self.door, &client, query).await,
            Command::CommandPreparedStatementQuery(query) => prepared::info(&self.door, &client, query).await,
            other => catalog::info(&self.door, &client, other, descriptor.cmd.clone()),
        };
        let mut response = Response::new(info.map_err(status::of)?.with_descriptor(descriptor));
        identity::ask_for_cookies(&mut response, &client);
        Ok(response)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let client = self.door.client(&request).await?;
        let polled = poll::poll(&self.door, &client, request.into_inner()).await;
        polled.map(Response::new).map_err(status::of)
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let client = self.door.client(&request).await?;
        let schema = match command(&request.into_inner().cmd)? {
            Command::CommandStatementQuery(query) => statements::schema(&self.door, &client, query).await,
            Command::CommandPreparedStatementQuery(query) => prepared::schema(&self.door, &client, query).await,
            other => catalog::schema(&other),
        };
        let schema = schema.and_then(|schema| info::schema_bytes(&schema)).map_err(status::of)?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let client = self.door.client(&request).await?;
        let content = self.door.sealer.open(&request.into_inner().ticket, client.caller.principal());
        let rows = match content.map_err(status::of)? {
            Content::Statement(ticket) => statements::run(&self.door, &client, ticket).await,
            Content::Kept(ticket) => poll::kept_rows(&client, &ticket).await,
            Content::Command(bytes) => catalog::rows(&client, command(&bytes)?).await,
            Content::Prepared(_) | Content::Poll(_) => Err(invalid("a handle is no ticket")),
        };
        rows.map_err(status::of)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let client = self.door.client(&request).await?;
        update::put(&self.door, &client, request.into_inner()).await
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(not_supported("DoExchange"))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        actions::perform(&self.door, request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.door.client(&request).await?;
        Ok(Response::new(actions::list()))
    }
}

/// The Flight SQL command in a descriptor's or ticket's bytes.
fn command(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|_| status::of(invalid("the descriptor holds no Flight SQL command")))?;
    Command::try_from(any).map_err(|error| status::of(invalid(format!("the command cannot be read: {error}"))))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

fn not_supported(what: &str) -> Status {
    status::of(Failure::new(ErrorCode::NotSupported, format!("{what} is not supported")))
}
