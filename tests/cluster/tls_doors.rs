//! Each front door over TLS, on one port: HTTP/2 where the client offers it, and addresses that lead back over TLS.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use serde_json::{Value, json};
use tokio::process::Command;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::support::certificates::{Authority, text};
use crate::support::clients::{installed, run, script};
use crate::support::cluster::{Cluster, Options};

async fn start() -> (Cluster, Authority) {
    let authority = Authority::new();
    let server = authority.certify("server", &["127.0.0.1", "localhost"]);
    let options = Options::executors(1)
        .coordinator_option("http_tls_certificate", text(&server.certificate))
        .coordinator_option("http_tls_key", text(&server.key));
    (Cluster::start(options).await, authority)
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_flight_sql_speak_http_2_on_one_port() {
    let (cluster, authority) = start().await;
    let root = || reqwest::Certificate::from_pem(authority.pem().as_bytes()).expect("PEM");
    let builder =
        || reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().add_root_certificate(root());
    let statements = format!("{}/api/v2/statements", cluster.url());
    for (client, version) in
        [(builder(), reqwest::Version::HTTP_2), (builder().http1_only(), reqwest::Version::HTTP_11)]
    {
        let client = client.build().expect("a client");
        let body = json!({ "statement": "select 42" });
        let answer = client.post(&statements).json(&body).send().await.expect("an answer");
        // HTTP/2 is agreed on in the handshake, or not at all.
        assert_eq!(answer.version(), version);
        assert_eq!(answer.json::<Value>().await.expect("JSON")["data"], json!([["42"]]));
    }
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem())).domain_name("127.0.0.1");
    let endpoint = |tls| Endpoint::from_shared(cluster.url().to_owned()).expect("an address").tls_config(tls);
    let channel = endpoint(tls).expect("TLS").connect().await.expect("the coordinator answers");
    let mut sql = FlightSqlServiceClient::new(channel);
    let info = sql.execute("select value from generate_series(1, 100000)".to_owned(), None).await.expect("planned");
    let mut sum = 0;
    for part in info.endpoint {
        let ticket = part.ticket.expect("an endpoint has a ticket");
        let batches: Vec<_> = sql.do_get(ticket).await.expect("rows").try_collect().await.expect("all of them");
        sum += batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values()).sum::<i64>();
    }
    assert_eq!(sum, 100_000 * 100_001 / 2);
    let stranger = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(Authority::new().pem()));
    endpoint(stranger).expect("TLS").connect().await.expect_err("another authority");
}

/// Later parts of a result are fetched by addresses that are in the answer.
#[tokio::test(flavor = "multi_thread")]
async fn snowflake_s_connectors_read_large_results() {
    for client in ["connector-4", "connector-5"] {
        let Some(folder) = installed(client).await else { continue };
        let (cluster, authority) = start().await;
        let place = cluster.url().strip_prefix("https://").and_then(|place| place.split_once(':'));
        let (host, port) = place.expect("an address");
        let mut command = Command::new(folder.join("bin/python"));
        command.arg(script("snowflake/connector.py")).args([host, port]);
        command.args(["test_types", "test_large_results", "test_arrow_and_pandas"]);
        command.env("FRAZIL_PROTOCOL", "https").env("HOME", cluster.directory());
        command.env("REQUESTS_CA_BUNDLE", authority.file());
        run(command).await;
    }
}
