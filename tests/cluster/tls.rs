//! Who may listen where, and what is spoken: TLS for clients and between processes, and nothing for strangers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use frazil_proto::tls::ClusterTls;
use frazil_proto::v1::membership_client::MembershipClient;
use frazil_proto::v1::tasks_client::TasksClient;
use frazil_proto::{transport, v1};
use serde_json::json;

use crate::support::certificates::{Authority, text};
use crate::support::cluster::{Cluster, Options, binary, wait_until_ready};
use crate::support::commands::frazil;
use crate::support::engine::{Engine, Request};

fn client(ca: Option<&Authority>) -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy();
    let builder = match ca {
        Some(ca) => builder.add_root_certificate(reqwest::Certificate::from_pem(ca.pem().as_bytes()).expect("PEM")),
        None => builder,
    };
    builder.build().expect("a client")
}

/// Whether the other end closes, rather than answer or wait, within the time.
fn is_closed(mut stream: TcpStream, limit: Duration) -> bool {
    let started = Instant::now();
    stream.set_read_timeout(Some(limit)).expect("a timeout");
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            // An alert, perhaps.
            Ok(_) if started.elapsed() < limit => {}
            Ok(_) => return false,
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn port(url: &str) -> &str {
    url.rsplit_once("://").map_or(url, |(_, address)| address)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_speak_tls_and_nothing_else() {
    let authority = Authority::new();
    let server = authority.certify("server", &["127.0.0.1", "localhost"]);
    let options = Options::executors(0)
        .coordinator_option("http_tls_certificate", text(&server.certificate))
        .coordinator_option("http_tls_key", text(&server.key));
    let cluster = Cluster::start(options).await;
    assert!(cluster.url().starts_with("https://127.0.0.1:"), "{}", cluster.url());
    let statements = format!("{}/api/v2/statements", cluster.url());
    let body = json!({ "statement": "select 42" });
    let answer = client(Some(&authority)).post(&statements).json(&body).send().await.expect("an answer");
    assert!(answer.status().is_success());
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(answer["data"], json!([["42"]]));
    // A client that does not know the authority, one that knows another, and one without TLS.
    client(None).post(&statements).json(&body).send().await.expect_err("the authority is not known");
    client(Some(&Authority::new())).post(&statements).json(&body).send().await.expect_err("another authority");
    let plain = statements.replace("https://", "http://");
    client(Some(&authority)).post(plain).json(&body).send().await.expect_err("no TLS");
    let mut stream = TcpStream::connect(port(cluster.url())).expect("connected");
    stream.write_all(b"GET /api/v2/health HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    assert!(is_closed(stream, Duration::from_secs(10)), "clear text is not answered");
    // A handshake that is never made has an end.
    let silent = TcpStream::connect(port(cluster.url())).expect("connected");
    assert!(is_closed(silent, Duration::from_secs(30)), "a silent peer is waited for without end");

    let directory = tempfile::tempdir().expect("a directory");
    let arguments = |ca: &str| {
        let arguments = ["sql", "--url", cluster.url(), "--ca", ca, "-c", "select 41 + 1", "--format", "csv"];
        arguments.map(str::to_owned).to_vec()
    };
    let run = async |arguments: Vec<String>, environment: &[(String, String)]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        frazil(directory.path(), &arguments, environment).await
    };
    let ca = text(&authority.file());
    assert!(run(arguments(&ca), &[]).await.text().contains("42"));
    let other = Authority::new();
    let stranger = text(&other.file());
    assert_eq!(run(arguments(&stranger), &[]).await.code(), Some(3));
    // With a user, whose password is in the environment, and with a token.
    let create = json!({ "statement": "create user boss password = 'boss-of-all-of-it'" });
    client(Some(&authority)).post(&statements).json(&create).send().await.expect("made");
    let nobody = run(arguments(&ca), &[]).await;
    assert!(nobody.code() == Some(3) && nobody.stderr.contains("log in"), "{}", nobody.stderr);
    let mut with_user = arguments(&ca);
    with_user.extend(["--user", "boss"].map(str::to_owned));
    let no_password = run(with_user.clone(), &[]).await;
    assert_eq!(no_password.code(), Some(2), "{}", no_password.stderr);
    let password = [("FRAZIL_CLIENT_PASSWORD".to_owned(), "boss-of-all-of-it".to_owned())];
    assert!(run(with_user.clone(), &password).await.text().contains("42"));
    *with_user.iter_mut().find(|argument| *argument == "select 41 + 1").expect("it is there") =
        "alter user boss add programmatic access token t".to_owned();
    let minted = run(with_user, &password).await.text();
    let token = minted.lines().last().and_then(|line| line.split(',').nth(1)).expect("a token").to_owned();
    let mut with_token = arguments(&ca);
    with_token.extend(["--token".to_owned(), token]);
    assert!(run(with_token, &[]).await.text().contains("42"));
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_listened_to_only_with_users_and_tls_or_when_told_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let server = authority.certify("server", &["127.0.0.1"]);
    let arguments = |listen: &'static str| {
        [
            "coordinator",
            "--data",
            "d",
            "--http-listen",
            listen,
            "--rpc-listen",
            "127.0.0.1:0",
            "--data-listen",
            "127.0.0.1:0",
        ]
    };
    let option = |name: &str, value: &str| (format!("FRAZIL_COORDINATOR_HTTP_{name}"), value.to_owned());
    let tls = [option("TLS_CERTIFICATE", &text(&server.certificate)), option("TLS_KEY", &text(&server.key))];
    for (environment, named) in [
        (vec![], "http_allow_without_tls"),
        (vec![option("ALLOW_WITHOUT_USERS", "true")], "http_allow_without_tls"),
        (vec![option("ALLOW_WITHOUT_TLS", "true")], "http_allow_without_users"),
        (tls.to_vec(), "http_allow_without_users"),
        (tls[..1].to_vec(), "http_tls_key"),
    ] {
        let ran = frazil(directory.path(), &arguments("0.0.0.0:0"), &environment).await;
        assert_eq!(ran.code(), Some(2), "{environment:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(named), "{environment:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "it was ready");
    }
    let password = [("FRAZIL_CLIENT_PASSWORD".to_owned(), "boss-of-all-of-it".to_owned())];
    let added = frazil(directory.path(), &["user", "add", "boss", "--data", "d"], &password).await;
    assert!(added.text().contains("role admin"));
    let again = frazil(directory.path(), &["user", "add", "boss", "--data", "d"], &password).await;
    assert!(again.code() == Some(1) && again.stderr.contains("already exists"), "{}", again.stderr);
    let changed = frazil(directory.path(), &["user", "password", "boss", "--data", "d"], &password).await;
    assert!(changed.text().contains("altered"));

    // Now with TLS it may.
    let mut command = Command::new(binary());
    command.args(arguments("0.0.0.0:0")).current_dir(directory.path()).envs(tls.clone());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    let line = wait_until_ready(child.stdout.take().expect("piped"));
    let refused = frazil(directory.path(), &["user", "add", "other", "--data", "d"], &password).await;
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(line.expect("it is ready").contains("http=https://0.0.0.0:"));
    assert!(refused.code() == Some(1) && refused.stderr.contains("in use"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_a_cluster_show_each_other_certificates() {
    let authority = Authority::new();
    let own = authority.certify("own", &["127.0.0.1"]);
    let mut options = Options::executors(2);
    options.environment = [
        ("FRAZIL_CLUSTER_TLS_CA", text(&authority.file())),
        ("FRAZIL_CLUSTER_TLS_CERTIFICATE", text(&own.certificate)),
        ("FRAZIL_CLUSTER_TLS_KEY", text(&own.key)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let cluster = Cluster::start(options).await;
    assert!(cluster.rpc().starts_with("https://"), "{}", cluster.rpc());
    // Rows between executors, and to the coordinator.
    let sql = "create table t as select value as k, value % 1000 as g from generate_series(1, 300000)";
    cluster.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    let sql = "select count(*), sum(a.k) from t a join t b on a.k = b.k join (select g, count(*) n from t group by g) c on a.g = c.g";
    let answer = cluster.run(&Request::new(sql).partitions(4)).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    let shown = arrow::util::pretty::pretty_format_batches(&answer.batches).expect("shown").to_string();
    assert!(shown.contains("300000") && shown.contains("45000150000"), "{shown}");

    let members = cluster.client().cluster().await.expect("the cluster");
    let executor = &members["executors"][0];
    let address = |key: &str| executor[key].as_str().expect("an address").to_owned();
    let (rpc, data) = (address("rpc_address"), address("data_address"));
    assert!(rpc.starts_with("https://"), "{rpc}");
    // Clear text is not answered, neither for control nor for data.
    for address in [port(&rpc), port(cluster.rpc()), data.as_str()] {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
        stream.write_all(&[0; 64]).expect("sent");
        assert!(is_closed(stream, Duration::from_secs(20)), "{address}");
    }
    // Nor whoever has another authority's certificate, or none, whatever secret it knows.
    let other = Authority::new();
    let others = other.certify("other", &["127.0.0.1"]);
    let read = |path: &std::path::Path| std::fs::read(path).expect("PEM");
    let stranger = ClusterTls {
        ca: authority.pem().into_bytes(),
        certificate: read(&others.certificate),
        key: read(&others.key),
        name: None,
    };
    let channel = transport::channel_over(&rpc, Some(&stranger)).expect("an address");
    let refused = TasksClient::new(channel).inspect(v1::InspectRequest {}).await.expect_err("a stranger");
    // The connection is refused, and not the call: which word there is for it depends on who notices first.
    assert_ne!(format!("{:?}", refused.code()), "Unauthenticated", "{refused:?}");
    assert!(transport::channel(&rpc).is_err(), "an address with TLS is not spoken to without");

    // An executor without certificates is not registered.
    let directory = tempfile::tempdir().expect("a directory");
    let secret = [("FRAZIL_CLUSTER_SECRET".to_owned(), crate::support::cluster::SECRET.to_owned())];
    let arguments = ["executor", "--coordinator", cluster.rpc(), "--id", "stranger", "--data", "data"];
    let ran = frazil(directory.path(), &arguments, &secret).await;
    assert!(ran.code() != Some(0) && ran.stderr.contains("tls"), "{}", ran.stderr);
    let members = cluster.client().cluster().await.expect("the cluster");
    assert_eq!(members["executors"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_internal_call_answers_a_stranger() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let members = cluster.client().cluster().await.expect("the cluster");
    let rpc = members["executors"][0]["rpc_address"].as_str().expect("an address").to_owned();
    let mut membership = MembershipClient::new(transport::channel(cluster.rpc()).expect("an address"));
    let mut tasks = TasksClient::new(transport::channel(&rpc).expect("an address"));
    let refusals = [
        ("Register", membership.register(v1::RegisterRequest::default()).await.map(|_| ()).expect_err("a stranger")),
        ("Heartbeat", membership.heartbeat(v1::HeartbeatRequest::default()).await.map(|_| ()).expect_err("a stranger")),
        ("Run", tasks.run(v1::RunRequest::default()).await.map(|_| ()).expect_err("a stranger")),
        ("Cancel", tasks.cancel(v1::CancelRequest::default()).await.map(|_| ()).expect_err("a stranger")),
        ("Inspect", tasks.inspect(v1::InspectRequest {}).await.map(|_| ()).expect_err("a stranger")),
    ];
    for (call, refused) in refusals {
        assert_eq!(format!("{:?}", refused.code()), "Unauthenticated", "{call}: {refused}");
    }
    // Exchange data: a stream that shows no token of a query gets a refusal, and one that shows nothing is closed.
    let data = members["executors"][0]["data_address"].as_str().expect("an address");
    let mut stream = TcpStream::connect(data).expect("connected");
    stream.write_all(&[7; 256]).expect("sent");
    assert!(is_closed(stream, Duration::from_secs(30)), "a stream without a token is kept");
    assert!(is_closed(TcpStream::connect(data).expect("connected"), Duration::from_secs(30)), "a silent one is kept");
    cluster.run(&Request::new("select 1")).await.expect("nothing is the worse for it");
}
