//! Arrow Flight SQL: by the ADBC driver, and by Arrow's own Rust client, for what a well-behaved client never sends.

use std::time::{Duration, Instant};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{Any, CommandStatementQuery, EndTransaction, ProstMessageExt};
use arrow_flight::{
    Action, CancelFlightInfoRequest, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, PollInfo,
    RenewFlightEndpointRequest, Ticket,
};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::support::clients::{installed, run, script};
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Engine, Request};

/// For conditions to come true on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_adbc_driver_does_all_that_it_can() {
    let Some(folder) = installed("flightsql").await else { return };
    let cluster = Cluster::start(Options::executors(2)).await;
    let mut command = Command::new(folder.join("bin/python"));
    command.arg(script("flightsql/drive.py")).arg(cluster.url().replace("http://", "grpc://"));
    println!("{}", run(command).await);
}

async fn channel(cluster: &Cluster) -> Channel {
    let endpoint = Endpoint::from_shared(cluster.url().to_owned()).expect("an address");
    endpoint.connect().await.expect("the coordinator answers")
}

async fn sql(cluster: &Cluster) -> FlightSqlServiceClient<Channel> {
    FlightSqlServiceClient::new(channel(cluster).await)
}

async fn plain(cluster: &Cluster) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(channel(cluster).await).max_decoding_message_size(64 << 20)
}

fn ticket_of(info: &FlightInfo, endpoint: usize) -> Ticket {
    info.endpoint[endpoint].ticket.clone().expect("an endpoint has a ticket")
}

fn query(sql: &str) -> FlightDescriptor {
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

async fn rows(client: &mut FlightServiceClient<Channel>, ticket: Ticket) -> Result<Vec<RecordBatch>, Status> {
    let stream = client.do_get(ticket).await?.into_inner();
    let batches = FlightRecordBatchStream::new_from_flight_data(stream.map_err(|status| status.into()));
    batches.try_collect().await.map_err(Status::from)
}

fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    let columns = batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>());
    columns.flat_map(|column| column.values().to_vec()).collect()
}

async fn count(cluster: &Cluster, sql: &str) -> i64 {
    let answer = cluster.run(&Request::new(sql)).await.expect("a count");
    numbers(&answer.batches)[0]
}

/// Waits until no statement and no task runs any more.
async fn nothing_runs(cluster: &Cluster) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = cluster.client().cluster().await.expect("the cluster is shown");
        let tasks = shown["executors"].as_array().expect("executors").iter().map(|one| one["running_tasks"].as_u64());
        if tasks.sum::<Option<u64>>() == Some(0) && shown["statements_running"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "still running: {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first side of the join is the one that is collected.
const ENDLESS: &str = "SELECT b.value FROM generate_series(1, 1000) a, generate_series(1, 1000000000) b";

#[tokio::test(flavor = "multi_thread")]
async fn get_flight_info_runs_nothing_and_a_ticket_of_a_change_is_applied_once() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = plain(&cluster).await;
    cluster.run(&Request::new("CREATE TABLE t (a BIGINT)")).await.expect("a table");
    let info = client.get_flight_info(query("INSERT INTO t VALUES (1), (2)")).await.unwrap().into_inner();
    assert_eq!(count(&cluster, "SELECT count(*) FROM t").await, 0);
    for _ in 0..3 {
        let counted = rows(&mut client, ticket_of(&info, 0)).await.unwrap();
        assert_eq!(numbers(&counted), [2]);
    }
    assert_eq!(count(&cluster, "SELECT count(*) FROM t").await, 2);
    // A query's ticket runs it each time.
    let info = client.get_flight_info(query("SELECT count(*) FROM t")).await.unwrap().into_inner();
    assert_eq!(numbers(&rows(&mut client, ticket_of(&info, 0)).await.unwrap()), [2]);
    cluster.run(&Request::new("INSERT INTO t VALUES (3)")).await.expect("a row");
    assert_eq!(numbers(&rows(&mut client, ticket_of(&info, 0)).await.unwrap()), [3]);
    let missing = client.get_flight_info(query("SELECT * FROM missing")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert!(missing.message().contains("missing"), "{missing}");
    assert_eq!(missing.metadata().get("frazil-sqlstate").unwrap(), "42P01");
}

/// What `GetFlightInfo` has planned is used by `DoGet` only while nothing has changed that it depends on.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_plan_gives_what_a_new_one_would() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = plain(&cluster).await;
    let run =
        async |sql: &str| drop(cluster.run(&Request::new(sql)).await.unwrap_or_else(|why| panic!("{sql}: {why:?}")));
    run("CREATE TABLE t (a BIGINT)").await;
    run("INSERT INTO t VALUES (1), (2)").await;
    run("CREATE VIEW v AS SELECT sum(a) AS s FROM t").await;
    let mut info = async |sql: &str| client.get_flight_info(query(sql)).await.unwrap().into_inner();
    let (sums, views, both) =
        (info("SELECT sum(a) FROM t").await, info("SELECT s FROM v").await, info("SELECT a FROM t ORDER BY a").await);
    let gone = info("SELECT max(a) FROM t").await;
    let mut client = plain(&cluster).await;
    // The plan of the first time, and those of later ones.
    for _ in 0..3 {
        assert_eq!(numbers(&rows(&mut client, ticket_of(&both, 0)).await.unwrap()), [1, 2]);
    }
    run("INSERT INTO t VALUES (40)").await;
    assert_eq!(numbers(&rows(&mut client, ticket_of(&sums, 0)).await.unwrap()), [43]);
    run("CREATE OR REPLACE VIEW v AS SELECT sum(a) * 10 AS s FROM t").await;
    assert_eq!(numbers(&rows(&mut client, ticket_of(&views, 0)).await.unwrap()), [430]);
    run("DROP TABLE t").await;
    let refused = rows(&mut client, ticket_of(&gone, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    // More than are kept.
    let mut tickets = Vec::new();
    for number in 0..200 {
        let info = client.get_flight_info(query(&format!("SELECT {number}"))).await.unwrap().into_inner();
        tickets.push(ticket_of(&info, 0));
    }
    for (number, ticket) in (0..).zip(tickets) {
        assert_eq!(numbers(&rows(&mut client, ticket).await.unwrap()), [number]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tickets_and_broken_messages_are_refused_and_others_are_served() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = plain(&cluster).await;
    let info = client.get_flight_info(query("SELECT 1")).await.unwrap().into_inner();
    let ticket = ticket_of(&info, 0);
    for at in [0, 31, 32, ticket.ticket.len() - 1] {
        let mut forged = ticket.ticket.to_vec();
        forged[at] ^= 0x40;
        let refused = rows(&mut client, Ticket { ticket: forged.into() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let plain_command = query("SELECT 1").cmd;
    for ticket in [vec![], vec![0; 32], vec![0xff; 100_000], plain_command.to_vec()] {
        let refused = rows(&mut client, Ticket { ticket: ticket.into() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    // Another coordinator's ticket, and that of one before it was started anew, are no better.
    let other = Cluster::start(Options::executors(1)).await;
    let refused = rows(&mut plain(&other).await, ticket.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    drop(other);

    let unknown =
        Any { type_url: "type.googleapis.com/arrow.flight.protocol.sql.Nothing".to_owned(), value: vec![1].into() };
    let broken = Any { type_url: CommandStatementQuery::type_url().to_owned(), value: vec![0xff; 50].into() };
    for bytes in [vec![0xff; 10], unknown.encode_to_vec(), broken.encode_to_vec(), vec![]] {
        let refused = client.get_flight_info(FlightDescriptor::new_cmd(bytes)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    for kind in
        ["CreatePreparedStatement", "EndTransaction", "CancelFlightInfo", "RenewFlightEndpoint", "SetSessionOptions"]
    {
        let action = Action { r#type: kind.to_owned(), body: vec![0xff; 20].into() };
        assert!(client.do_action(action).await.is_err(), "{kind}");
    }
    let action = Action { r#type: "Nothing".to_owned(), body: Default::default() };
    assert_eq!(client.do_action(action).await.unwrap_err().code(), Code::Unimplemented);
    for data in [FlightData::default(), FlightData { data_header: vec![0xff; 64].into(), ..FlightData::default() }] {
        let refused = client.do_put(futures::stream::iter([data])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    assert_eq!(numbers(&rows(&mut client, ticket).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_ticket_is_as_good_and_a_wrong_one_is_not_renewed() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = plain(&cluster).await;
    let info = client.get_flight_info(query("SELECT 1")).await.unwrap().into_inner();
    let endpoint = info.endpoint[0].clone();
    assert!(endpoint.expiration_time.is_some());
    let renew = |endpoint: FlightEndpoint| {
        let body = RenewFlightEndpointRequest { endpoint: Some(endpoint) }.encode_to_vec();
        Action { r#type: "RenewFlightEndpoint".to_owned(), body: body.into() }
    };
    let mut answer = client.do_action(renew(endpoint.clone())).await.unwrap().into_inner();
    let renewed = FlightEndpoint::decode(answer.message().await.unwrap().unwrap().body).unwrap();
    assert!(renewed.expiration_time.unwrap().seconds >= endpoint.expiration_time.unwrap().seconds);
    assert_eq!(numbers(&rows(&mut client, renewed.ticket.unwrap()).await.unwrap()), [1]);
    let forged = FlightEndpoint { ticket: Some(Ticket { ticket: vec![7; 80].into() }), ..endpoint };
    assert_eq!(client.do_action(renew(forged)).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_leaves_nothing_running() {
    let cluster = Cluster::start(Options::executors(2)).await;
    for _ in 0..3 {
        let mut client = plain(&cluster).await;
        let info = client.get_flight_info(query(ENDLESS)).await.unwrap().into_inner();
        let mut stream = client.do_get(ticket_of(&info, 0)).await.unwrap().into_inner();
        assert!(stream.next().await.is_some_and(|message| message.is_ok()));
        drop(stream);
        nothing_runs(&cluster).await;
    }
    // Gone before the first row.
    let slow = "SELECT max(a.value + b.value) FROM generate_series(1, 1000) a, generate_series(1, 1000000000) b";
    let mut client = plain(&cluster).await;
    let info = client.get_flight_info(query(slow)).await.unwrap().into_inner();
    let waiting = client.do_get(ticket_of(&info, 0));
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
    drop(client);
    nothing_runs(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cancelled_by_its_info() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = plain(&cluster).await;
    let info = client.get_flight_info(query(ENDLESS)).await.unwrap().into_inner();
    let cancel = |info: &FlightInfo| {
        let body = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
        Action { r#type: "CancelFlightInfo".to_owned(), body: body.into() }
    };
    let mut stream = client.do_get(ticket_of(&info, 0)).await.unwrap().into_inner();
    assert!(stream.next().await.is_some_and(|message| message.is_ok()));
    plain(&cluster).await.do_action(cancel(&info)).await.expect("it is cancelled");
    let end = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("a cancelled stream must not end as if it were whole"),
        }
    };
    assert_eq!(end.code(), Code::Cancelled, "{end}");
    nothing_runs(&cluster).await;
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory is told");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_query_back_and_gets_every_row() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = plain(&cluster).await;
    let total = 20_000_000_i64;
    // 800 MB.
    let columns = "value, value + 1 AS b, value + 2 AS c, value + 3 AS d, value + 4 AS e";
    let info = client.get_flight_info(query(&format!("SELECT {columns} FROM generate_series(1, {total})")));
    let info = info.await.unwrap().into_inner();
    let before = resident(cluster.coordinator_pid());
    let stream = client.do_get(ticket_of(&info, 0)).await.unwrap().into_inner();
    let batches = FlightRecordBatchStream::new_from_flight_data(stream.map_err(|status| status.into()));
    let mut batches = Box::pin(batches);
    let (mut count, mut sum) = (0, 0_i64);
    let mut seen = 0;
    while let Some(batch) = batches.try_next().await.unwrap() {
        if count == 0 {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                seen = seen.max(resident(cluster.coordinator_pid()));
            }
            let shown = cluster.client().cluster().await.unwrap();
            assert_eq!(shown["statements_running"], 1, "it waits for its reader");
        }
        count += batch.num_rows() as i64;
        sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
    }
    assert_eq!((count, sum), (total, total * (total + 1) / 2));
    let grown = seen.saturating_sub(before) >> 20;
    assert!(grown < 150, "the coordinator has grown by {grown} MB while its reader slept");
    nothing_runs(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_statement_has_endpoints_that_are_fetched_in_any_order_and_again() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let mut client = plain(&cluster).await;
    let total = 500_000_i64;
    let mut descriptor = query(&format!("SELECT value FROM generate_series(1, {total})"));
    let deadline = Instant::now() + PATIENCE;
    let info = loop {
        let PollInfo { info, flight_descriptor, progress, .. } =
            client.poll_flight_info(descriptor).await.unwrap().into_inner();
        assert!((0.0..=1.0).contains(&progress.unwrap()));
        match flight_descriptor {
            None => break info.unwrap(),
            Some(next) => descriptor = next,
        }
        assert!(Instant::now() < deadline, "it does not end");
    };
    assert!(info.endpoint.len() > 1, "{} endpoints", info.endpoint.len());
    assert_eq!(info.total_records, total);
    for _ in 0..2 {
        let mut sum = 0;
        for endpoint in (0..info.endpoint.len()).rev() {
            sum += numbers(&rows(&mut client, ticket_of(&info, endpoint)).await.unwrap()).iter().sum::<i64>();
        }
        assert_eq!(sum, total * (total + 1) / 2);
    }
    let refused = client.poll_flight_info(query("SELECT * FROM missing")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_s_client_prepares_binds_and_has_transactions() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut client = sql(&cluster).await;
    assert_eq!(client.execute_update("CREATE TABLE t (a BIGINT)".to_owned(), None).await.unwrap(), 0);
    let schema = std::sync::Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let values =
        |values: Vec<i64>| RecordBatch::try_new(schema.clone(), vec![std::sync::Arc::new(Int64Array::from(values))]);
    let mut insert = client.prepare("INSERT INTO t VALUES ($1)".to_owned(), None).await.unwrap();
    assert_eq!(insert.parameter_schema().unwrap().field(0).data_type(), &DataType::Int64);
    insert.set_parameters(values(vec![1, 2, 3]).unwrap()).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 3);
    insert.close().await.unwrap();
    let mut select = client.prepare("SELECT a FROM t WHERE a > ? ORDER BY a".to_owned(), None).await.unwrap();
    for (from, wanted) in [(1, vec![2, 3]), (2, vec![3]), (3, vec![])] {
        select.set_parameters(values(vec![from]).unwrap()).unwrap();
        let info = select.execute().await.unwrap();
        let got: Vec<_> = client.do_get(ticket_of(&info, 0)).await.unwrap().try_collect().await.unwrap();
        assert_eq!(numbers(&got), wanted);
    }

    let transaction = client.begin_transaction().await.unwrap();
    let insert = "INSERT INTO t VALUES (4)".to_owned();
    assert_eq!(client.execute_update(insert.clone(), Some(transaction.clone())).await.unwrap(), 1);
    assert_eq!(count(&cluster, "SELECT count(*) FROM t").await, 3);
    client.end_transaction(transaction.clone(), EndTransaction::Rollback).await.unwrap();
    assert!(client.execute_update(insert.clone(), Some(transaction)).await.is_err(), "it has ended");
    let (one, two) = (client.begin_transaction().await.unwrap(), client.begin_transaction().await.unwrap());
    assert_eq!(client.execute_update(insert.clone(), Some(one.clone())).await.unwrap(), 1);
    assert_eq!(client.execute_update(insert, Some(two.clone())).await.unwrap(), 1);
    client.end_transaction(one, EndTransaction::Commit).await.unwrap();
    client.end_transaction(two, EndTransaction::Rollback).await.unwrap();
    assert_eq!(count(&cluster, "SELECT count(*) FROM t").await, 4);
    let forged = vec![1; 16].into();
    assert!(client.execute_update("INSERT INTO t VALUES (9)".to_owned(), Some(forged)).await.is_err());
    assert_eq!(count(&cluster, "SELECT count(*) FROM t").await, 4);

    // After a handshake, a session is kept: what is set stays set.
    let mut client = sql(&cluster).await;
    client.handshake("ada", "whatever").await.unwrap();
    for (statement, wanted) in
        [("USE frazil.main", 0), ("CREATE TABLE only_here (a BIGINT)", 0), ("INSERT INTO only_here VALUES (7)", 1)]
    {
        assert_eq!(client.execute_update(statement.to_owned(), None).await.unwrap(), wanted, "{statement}");
    }
    assert_eq!(count(&cluster, "SELECT a FROM frazil.main.only_here").await, 7);
}
