//! The protocol of Snowflake's drivers: their real clients, and what no client sends.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::clients::{installed, run, script};
use crate::support::cluster::{Cluster, Options};

/// Host and port of a cluster.
fn place(cluster: &Cluster) -> [String; 2] {
    let (host, port) =
        cluster.url().strip_prefix("http://").and_then(|place| place.split_once(':')).expect("an address");
    [host.to_owned(), port.trim_end_matches('/').to_owned()]
}

async fn python(client: &str, name: &str, options: Options, tests: &[&str]) {
    let Some(folder) = installed(client).await else { return };
    let cluster = Cluster::start(options).await;
    let mut command = Command::new(folder.join("bin/python"));
    // Their own files, and no other configuration than what the script says.
    command
        .arg(script(&format!("snowflake/{name}")))
        .args(place(&cluster))
        .args(tests)
        .env("HOME", cluster.directory());
    run(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_connector_4() {
    python("connector-4", "connector.py", Options::executors(2), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_connector_5() {
    python("connector-5", "connector.py", Options::executors(2), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_renew_their_tokens() {
    for client in ["connector-4", "connector-5"] {
        let options = Options::executors(1).coordinator_option("token_valid_s", 2);
        python(client, "connector.py", options, &["test_expired_tokens"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy() {
    python("sqlalchemy", "alchemy.py", Options::executors(1), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_sdk() {
    let Some(folder) = installed("node").await else { return };
    let cluster = Cluster::start(Options::executors(2)).await;
    let mut command = Command::new("node");
    command.arg(script("snowflake/sdk.js")).args(place(&cluster)).env("NODE_PATH", folder.join("node_modules"));
    command.env("HOME", cluster.directory());
    run(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line() {
    let Some(folder) = installed("cli").await else { return };
    let cluster = Cluster::start(Options::executors(1)).await;
    let home = cluster.directory().join("snow");
    std::fs::create_dir_all(&home).expect("a directory");
    let [host, port] = place(&cluster);
    let config = home.join("config.toml");
    let text = format!(
        "default_connection_name = \"local\"\n[cli.logs]\nsave_logs = false\n[connections.local]\naccount = \"local\"\n\
         user = \"tester\"\npassword = \"secret\"\nhost = \"{host}\"\nport = {port}\nprotocol = \"http\"\n"
    );
    std::fs::write(&config, text).expect("a file");
    let snow = async |arguments: &[&str]| {
        let mut command = Command::new(folder.join("bin/snow"));
        command.arg("--config-file").arg(&config).args(arguments).env("SNOWFLAKE_HOME", &home).env("HOME", &home);
        // Its configuration must be the user's alone.
        run(command).await
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    let answer = snow(&["sql", "-q", "select 1 as a, 'x' as \"b\"", "--format", "json"]).await;
    let rows: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(rows, json!([{ "A": 1, "b": "x" }]));
    let several = "create table t (a int); insert into t values (1), (2); select sum(a) as s from t";
    let answers: Value = serde_json::from_str(&snow(&["sql", "-q", several, "--format", "json"]).await).expect("JSON");
    assert_eq!(answers[2], json!([{ "S": 3 }]), "{answers}");
    assert!(snow(&["connection", "test"]).await.contains("OK"));
    assert!(snow(&["object", "list", "table"]).await.contains('T'));
}

/// The protocol without a client.
struct Raw {
    http: reqwest::Client,
    base: String,
}

impl Raw {
    fn new(cluster: &Cluster) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(120)).build().expect("a client");
        Self { http, base: cluster.url().trim_end_matches('/').to_owned() }
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.base)).json(&body);
        let response = request.header("authorization", format!("Snowflake Token=\"{token}\"")).send().await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    async fn log_in(&self) -> Value {
        let body =
            json!({ "data": { "LOGIN_NAME": "tester", "PASSWORD": "secret", "CLIENT_APP_ID": "PythonConnector" } });
        let answer = self.post("/session/v1/login-request?databaseName=FRAZIL&schemaName=public&x=1", "", body).await;
        assert_eq!(answer["success"], true, "{answer}");
        answer["data"].clone()
    }

    async fn query(&self, token: &str, sql: &str) -> Value {
        let body = json!({ "sqlText": sql, "asyncExec": false, "sequenceId": 1 });
        self.post("/queries/v1/query-request", token, body).await
    }
}

fn token(session: &Value) -> &str {
    session["token"].as_str().expect("a token")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_for_their_session_and_purpose() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let raw = Raw::new(&cluster);
    let (one, two) = (raw.log_in().await, raw.log_in().await);
    assert_eq!(raw.query(token(&one), "select 1").await["success"], true);
    let renewal = one["masterToken"].as_str().expect("a token");
    for wrong in ["", "forged", renewal] {
        let answer = raw.query(wrong, "create table never (a int)").await;
        assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("390111")), "{answer}");
    }
    let renewed = raw.post("/session/token-request", renewal, json!({ "requestType": "RENEW" })).await;
    let renewed = renewed["data"]["sessionToken"].as_str().expect("another token").to_owned();
    assert_eq!(raw.query(&renewed, "select 1").await["success"], true);
    let refused = raw.post("/session/token-request", token(&one), json!({ "requestType": "RENEW" })).await;
    assert_eq!(refused["code"], "390113", "{refused}");
    assert_eq!(raw.post("/session?delete=true", token(&one), json!({})).await["success"], true);
    for gone in [token(&one), &renewed] {
        assert_eq!(raw.query(gone, "select 1").await["code"], "390111");
    }
    assert_eq!(raw.query(token(&two), "select count(*) from never").await["code"], "002003", "nothing was run");
    assert_eq!(raw.post("/session/authenticator-request", "", json!({})).await["success"], false);
    let browser = json!({ "data": { "LOGIN_NAME": "x", "AUTHENTICATOR": "EXTERNALBROWSER" } });
    let refused = raw.post("/session/v1/login-request", "", browser).await;
    assert!(refused["message"].as_str().is_some_and(|said| said.contains("EXTERNALBROWSER")), "{refused}");
}

/// Addresses of parts of results are used without any other token: they have one of their own, which is for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_results_have_addresses_that_cannot_be_guessed() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let raw = Raw::new(&cluster);
    let session = raw.log_in().await;
    let answer = raw.query(token(&session), "select value from generate_series(1, 30000) order by value").await;
    let chunks = answer["data"]["chunks"].as_array().expect("more than one part").clone();
    let url = chunks[0]["url"].as_str().expect("an address");
    let fetch = async |url: &str| raw.http.get(url).send().await.expect("an answer").status().as_u16();
    assert_eq!(fetch(url).await, 200);
    let (without, secret) = url.split_once("token=").expect("a token");
    assert_eq!(fetch(without).await, 403);
    assert_eq!(fetch(&format!("{without}token={}", token(&session))).await, 403, "another purpose");
    assert_eq!(fetch(&format!("{without}token={}x", &secret[..secret.len() - 1])).await, 403);
    assert_eq!(fetch(&url.replace("/chunks/1?", "/chunks/99?")).await, 404);
    assert_eq!(fetch(&url.replace("/chunks/1?", "/chunks/x?")).await, 404);
    assert_eq!(raw.query(secret, "select 1").await["code"], "390111", "it is for nothing else");
    raw.post("/session?delete=true", token(&session), json!({})).await;
    assert_eq!(fetch(url).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_wrong_are_refused() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let raw = Raw::new(&cluster);
    let session = raw.log_in().await;
    let send = async |path: &str, body: Vec<u8>, encoding: Option<&str>| -> Value {
        let mut request = raw.http.post(format!("{}{path}", raw.base)).body(body);
        request = request.header("authorization", format!("Snowflake Token=\"{}\"", token(&session)));
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        request.send().await.expect("an answer").json().await.expect("JSON")
    };
    let packed = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
    };
    let query = "/queries/v1/query-request";
    let good = br#"{"sqlText": "select 1"}"#;
    assert_eq!(send(query, good.to_vec(), None).await["success"], true);
    assert_eq!(send(query, packed(good), Some("gzip")).await["success"], true);
    let bomb = packed(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 2 << 20);
    let values = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(r#"{{"sqlText": "select 1", "bindings": {{"1": {{"type": "FIXED", "value": {values}}}}}}}"#);
    for (body, encoding, said) in [
        (b"{".to_vec(), None, "refused"),
        (vec![0xff; 100], None, "refused"),
        (br#"{"sqlText": 1}"#.to_vec(), None, "refused"),
        (
            br#"{"sqlText": "select ?", "bindings": {"x": {"type": "FIXED", "value": "1"}}}"#.to_vec(),
            None,
            "not a number",
        ),
        (
            br#"{"sqlText": "select ?", "bindings": {"1": {"type": "FIXED", "value": "1; drop"}}}"#.to_vec(),
            None,
            "no such value",
        ),
        (br#"{"sqlText": "select 1", "parameters": {"AUTOCOMMIT": false}}"#.to_vec(), None, "AUTOCOMMIT"),
        (deep.into_bytes(), None, "recursion limit"),
        (good.to_vec(), Some("gzip"), "unpacked"),
        (good.to_vec(), Some("br"), "not supported"),
        (bomb, Some("gzip"), "over the limit"),
    ] {
        let answer = send(query, body, encoding).await;
        assert_eq!(answer["success"], false, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(said)), "{said}: {answer}");
    }
    assert_eq!(send(query, good.to_vec(), None).await["success"], true);
}

/// A request that is sent again, because its answer was lost, is run once.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_run_once() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let raw = Raw::new(&cluster);
    let session = raw.log_in().await;
    let token = token(&session);
    assert_eq!(raw.query(token, "create table once (a int)").await["success"], true);
    let path = "/queries/v1/query-request?requestId=0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a70";
    let bound = |value: &str| json!({ "sqlText": "insert into once values (?)", "bindings": { "1": { "type": "FIXED", "value": value } } });
    let first = raw.post(path, token, bound("1")).await;
    assert_eq!(first["data"]["stats"]["numRowsInserted"], 1, "{first}");
    let again = raw.post(path, token, bound("1")).await;
    assert_eq!(first["data"]["queryId"], again["data"]["queryId"]);
    let other = raw.post(path, token, bound("2")).await;
    assert_eq!((&other["success"], &other["data"]["sqlState"]), (&json!(false), &json!("22023")), "{other}");
    let several = "/queries/v1/query-request?requestId=0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a71";
    let body = json!({
        "sqlText": "insert into once values (10); insert into once values (20)",
        "parameters": { "MULTI_STATEMENT_COUNT": 2 },
    });
    let (one, two) = tokio::join!(raw.post(several, token, body.clone()), raw.post(several, token, body.clone()));
    assert_eq!(one["data"]["resultIds"], two["data"]["resultIds"], "{one} {two}");
    let sum = raw.post(
        "/queries/v1/query-request",
        token,
        json!({ "sqlText": "select sum(a) from once", "parameters": { "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "JSON" } }),
    );
    assert_eq!(sum.await["data"]["rowset"], json!([["31"]]));
}
