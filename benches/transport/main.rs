//! What a gigabyte of exchange costs: our frames over TCP, and Arrow Flight (`DoPut`) over HTTP/2, in one process on
//! loopback, sender and receiver on a thread each. Prints wall and processor time; see `docs/adr/0002-exchange-transport.md`.
//!
//! `cargo bench --workspace --bench transport -- [GIGABYTES]`; a `cargo test` run sends a few megabytes only.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use frazil_common::QueryId;
use frazil_exchange::output::OutputTarget;
use frazil_exchange::{DataServer, ExchangeInput, ExchangeKind, ExchangeOutput, Hub, Token};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 8192;

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let gigabytes = std::env::args().skip(1).find_map(|argument| argument.parse::<f64>().ok());
    let gigabytes = gigabytes.unwrap_or(if bench { 4.0 } else { 0.02 });
    let batch = batch();
    let count = ((gigabytes * 1e9) / batch.get_array_memory_size() as f64).ceil() as usize;
    println!("{gigabytes} GB in {count} batches of {ROWS} rows; three rounds of each, in turn");
    for _ in 0..3 {
        report("frames over TCP", gigabytes, || frames(&batch, count));
        report("Arrow Flight", gigabytes, || flight(&batch, count));
    }
}

fn report(name: &str, gigabytes: f64, run: impl FnOnce() -> usize) {
    let (wall, (user, system)) = (Instant::now(), processor_time());
    let rows = run();
    let ((user_after, system_after), wall) = (processor_time(), wall.elapsed());
    let per = |time: Duration| time.as_secs_f64() / gigabytes;
    println!(
        "{name:16} {rows} rows: per GB wall {:.3} s, user {:.3} s, system {:.3} s",
        per(wall),
        per(user_after - user),
        per(system_after - system)
    );
}

fn processor_time() -> (Duration, Duration) {
    // SAFETY: getrusage fills the struct it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    (time(usage.ru_utime), time(usage.ru_stime))
}

/// Columns as a join of TPC-H exchanges them: keys, prices, a short and a longer text.
fn batch() -> RecordBatch {
    let numbers =
        |factor: i64| Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|i| i * factor))) as ArrayRef;
    let prices = Decimal128Array::from_iter_values((0..ROWS as i128).map(|i| i * 101)).with_precision_and_scale(15, 2);
    let short = StringViewArray::from_iter_values((0..ROWS).map(|i| format!("k{}", i % 7)));
    let long = StringViewArray::from_iter_values((0..ROWS).map(|i| format!("a comment of some length, number {i}")));
    RecordBatch::try_from_iter([
        ("a", numbers(1)),
        ("b", numbers(7)),
        ("price", Arc::new(prices.expect("a decimal")) as ArrayRef),
        ("short", Arc::new(short) as ArrayRef),
        ("long", Arc::new(long) as ArrayRef),
    ])
    .expect("columns of one length")
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn frames(batch: &RecordBatch, count: usize) -> usize {
    let (sending, receiving) = (runtime(), runtime());
    let (query, token) = (QueryId::mint(), Token::random());
    let (hub, server) = receiving.block_on(async {
        let listener = DataServer::bind("127.0.0.1:0").await.expect("a port");
        let hub = Hub::new(&listener.local_addr().expect("it is bound").to_string());
        (hub.clone(), DataServer::serve(listener, hub, tokio::runtime::Handle::current()).expect("it serves"))
    });
    let input = ExchangeInput::new(batch.schema(), vec![0], 1, None);
    hub.register(query, token, [(0, input.clone())]);
    let reading = receiving.spawn(async move {
        let mut rows = 0;
        let mut stream = input.stream(0);
        while let Some(batch) = stream.next().await {
            rows += batch.expect("a batch").num_rows();
        }
        rows
    });
    let (schema, batch, address) = (batch.schema(), batch.clone(), server.address().to_string());
    let io = sending.handle().clone();
    sending
        .block_on(sending.spawn(async move {
            let own = Hub::new("127.0.0.1:1");
            let target = OutputTarget {
                query,
                token,
                exchange: 0,
                kind: ExchangeKind::Gather,
                owners: vec![&address],
                schema: schema.clone(),
                batch_rows: ROWS,
            };
            let output = ExchangeOutput::connect(target, &own, &io).await.expect("a connection");
            let batches = futures::stream::iter(std::iter::repeat_n(batch, count).map(Ok));
            let stream = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
            output.write(0, stream, None).await.expect("written");
            output.finish().await.expect("finished");
        }))
        .expect("the sender does not panic");
    receiving.block_on(reading).expect("the reader does not panic")
}

fn flight(batch: &RecordBatch, count: usize) -> usize {
    let (sending, receiving) = (runtime(), runtime());
    let (rows_sender, rows) = tokio::sync::mpsc::channel(1);
    let address = receiving.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let service = FlightServiceServer::new(Counting { rows: rows_sender }).max_decoding_message_size(64 << 20);
        let server = Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(1 << 20)
            .add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        address
    });
    let batch = batch.clone();
    let sent = sending.spawn(async move {
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true);
        let mut client = FlightServiceClient::new(channel.connect().await.expect("a connection"));
        let batches = futures::stream::iter(std::iter::repeat_n(batch.clone(), count).map(Ok::<_, FlightError>));
        let data = FlightDataEncoderBuilder::new()
            .with_schema(batch.schema())
            .with_max_flight_data_size(32 << 20)
            .build(batches)
            .map(|data| data.expect("encoded"));
        let answer = client.do_put(data).await.expect("accepted").into_inner();
        answer.try_collect::<Vec<_>>().await.expect("taken");
    });
    sending.block_on(sent).expect("the sender does not panic");
    let mut rows = rows;
    rows.blocking_recv().expect("the server counts")
}

struct Counting {
    rows: tokio::sync::mpsc::Sender<usize>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("only DoPut is measured"))
}

#[tonic::async_trait]
impl FlightService for Counting {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let data = request.into_inner().map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            rows += batch.map_err(|error| Status::internal(error.to_string()))?.num_rows();
        }
        self.rows.send(rows).await.map_err(|_| Status::internal("nobody counts"))?;
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unused()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unused()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unused()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unused()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unused()
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        unused()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        unused()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        unused()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        unused()
    }
}
