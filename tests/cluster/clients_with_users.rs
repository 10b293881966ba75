//! Clients of other vendors at an instance that has users: each way to log in, what is refused, and what a right is missing for.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use frazil_catalog::{AccessChange, TokenRecord};
use frazil_coordinator::{CoordinatorOptions, coordinator, log_in};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::clients::{installed, run, script};
use crate::support::cluster::{Cluster, Options};
use crate::support::login::{Key, LoggedIn};
use crate::support::paths;

const ADMIN: &str = "boss-of-all-of-it";
const PASSWORD: &str = "pass-word-of-ann";

/// A cluster whose user `ann` reads `s.open` and not `s.closed`; in another of her roles she also writes it.
struct WithUsers {
    cluster: Cluster,
    credentials: PathBuf,
    given: Value,
}

impl WithUsers {
    async fn start() -> Self {
        let mut cluster = Cluster::start(Options::executors(1)).await;
        LoggedIn::nobody(cluster.url()).must(&format!("create user boss password = '{ADMIN}'")).await;
        let boss = LoggedIn::password(cluster.url(), "boss", ADMIN);
        let key = Key::of_tests("first");
        for sql in [
            "create schema s",
            "create table s.open (a int)",
            "insert into s.open values (1), (2)",
            "create table s.closed (a int)",
            "create role reader",
            "create role writer",
            "grant usage on database frazil to role public",
            "grant usage on schema s to role public",
            "grant select on table s.open to role public",
            "grant insert, delete on table s.open to role writer",
            &format!(
                "create user ann password = '{PASSWORD}' default_role = reader rsa_public_key = '{}'",
                key.public_pem
            ),
            "grant role reader to user ann",
            "grant role writer to user ann",
        ] {
            boss.must(sql).await;
        }
        let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD);
        let add = async |wanted: &str| {
            let added = ann.must(&format!("alter user ann add programmatic access token {wanted}")).await;
            added[0][1].clone().expect("it is shown once")
        };
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let other = Key::of_tests("second");
        let keys = paths::testdata("keys");
        let (token, restricted) = (add("free").await, add("reading role_restriction = 'reader'").await);
        // Only while no coordinator has it can the catalog be written by others.
        cluster.kill_coordinator();
        let expired = expired(&cluster.directory().join("coordinator")).await;
        cluster.restart_coordinator();
        let given = json!({
            "user": "ann",
            "password": PASSWORD,
            "token": token,
            "restricted": restricted,
            "expired": expired,
            "key": keys.join("first.pem"),
            "other_key": keys.join("second.pem"),
            "signed": key.sign(&header, &key.claims("ANN", 0, 3600)),
            "signed_by_other": other.sign(&header, &other.claims("ANN", 0, 3600)),
        });
        let credentials = cluster.directory().join("credentials.json");
        std::fs::write(&credentials, given.to_string()).expect("written");
        Self { cluster, credentials, given }
    }

    fn place(&self) -> [&str; 2] {
        let (host, port) = self.cluster.url().trim_start_matches("http://").split_once(':').expect("an address");
        [host, port]
    }

    async fn drive(&self, mut command: Command, name: &str) {
        command.arg(script(name)).args(self.place()).arg(&self.credentials).env("HOME", self.cluster.directory());
        println!("{}", run(command).await);
    }
}

/// A token of `ann` that was good until a minute ago. No statement makes one: it is written into the catalog.
async fn expired(data: &Path) -> String {
    let secret = format!("{}{}", log_in::TOKEN_PREFIX, URL_SAFE_NO_PAD.encode([7; 32]));
    let databases = coordinator::open_catalog(&CoordinatorOptions::default(), data).await.expect("the catalog");
    let now = SystemTime::now();
    let record = TokenRecord {
        name: "old".to_owned(),
        user: "ann".to_owned(),
        digest: log_in::digest(&secret),
        role: None,
        created_at: now - Duration::from_secs(86_400),
        expires_at: now - Duration::from_secs(60),
    };
    databases.change_access(AccessChange::AddToken(record), None).await.expect("added");
    databases.close().await;
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_tokens_are_told_so() {
    let with_users = WithUsers::start().await;
    let token = |name: &str| with_users.given[name].as_str().expect("a token").to_owned();
    let url = with_users.cluster.url();
    let refused = LoggedIn::token(url, &token("expired"), None).refused("select 1").await;
    assert_eq!(refused.status, 401);
    assert!(refused.message.contains("token \"old\" has expired"), "{refused:?}");
    LoggedIn::token(url, &token("token"), None).must("select 1").await;
    let listed = LoggedIn::token(url, &token("token"), None).must("show user programmatic access tokens").await;
    assert!(format!("{listed:?}").contains("EXPIRED"), "{listed:?}");
}

async fn python(client: &str) {
    let Some(folder) = installed(client).await else { return };
    let with_users = WithUsers::start().await;
    with_users.drive(Command::new(folder.join("bin/python")), "snowflake/users.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_connector_4() {
    python("connector-4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_connector_5() {
    python("connector-5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy() {
    python("sqlalchemy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_sdk() {
    let Some(folder) = installed("node").await else { return };
    let with_users = WithUsers::start().await;
    let mut command = Command::new("node");
    command.env("NODE_PATH", folder.join("node_modules"));
    with_users.drive(command, "snowflake/users.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc() {
    let Some(folder) = installed("flightsql").await else { return };
    let with_users = WithUsers::start().await;
    let mut command = Command::new(folder.join("bin/python"));
    command.arg(script("flightsql/users.py")).arg(with_users.cluster.url().replace("http://", "grpc://"));
    command.arg(&with_users.credentials);
    println!("{}", run(command).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line() {
    let Some(folder) = installed("cli").await else { return };
    let with_users = WithUsers::start().await;
    let home = with_users.cluster.directory().join("snow");
    std::fs::create_dir_all(&home).expect("a directory");
    // Tokens are read from files.
    let file = |name: &str| {
        let path = home.join(name);
        std::fs::write(&path, with_users.given[name].as_str().expect("a token")).expect("written");
        path.display().to_string()
    };
    let [host, port] = with_users.place();
    let key = |name: &str| with_users.given[name].as_str().expect("a path").to_owned();
    let by_token =
        |name: &str| format!("authenticator = \"PROGRAMMATIC_ACCESS_TOKEN\"\ntoken_file_path = \"{}\"", file(name));
    let by_key = |name: &str| format!("authenticator = \"SNOWFLAKE_JWT\"\nprivate_key_file = \"{}\"", key(name));
    let ways = [
        ("password", format!("password = \"{PASSWORD}\""), None),
        ("token", by_token("token"), None),
        ("key_pair", by_key("key"), None),
        ("wrong_password", "password = \"wrong-password\"".to_owned(), Some("password is wrong")),
        ("expired", by_token("expired"), Some("has expired")),
        ("other_key", by_key("other_key"), Some("key-pair token is not valid")),
    ];
    let mut config = "[cli.logs]\nsave_logs = false\n".to_owned();
    for (name, how, _) in &ways {
        let place =
            format!("account = \"local\"\nuser = \"ann\"\nhost = \"{host}\"\nport = {port}\nprotocol = \"http\"");
        config.push_str(&format!("[connections.{name}]\n{place}\n{how}\n"));
    }
    let path = home.join("config.toml");
    std::fs::write(&path, config).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(&home).expect("a directory").flatten() {
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o600)).expect("permissions");
        }
    }
    let snow = async |name: &str, sql: &str| {
        let mut command = Command::new(folder.join("bin/snow"));
        command.arg("--config-file").arg(&path).args(["sql", "-c", name, "-q", sql, "--format", "json"]);
        command.env("SNOWFLAKE_HOME", &home).env("HOME", &home).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(300), command.output()).await.expect("it ends in time");
        let output = output.expect("snow starts");
        // Errors are drawn in boxes, with lines broken anywhere.
        let stderr = String::from_utf8_lossy(&output.stderr).replace(['│', '\n'], " ");
        let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr)
    };
    for (name, _, refused) in &ways {
        let (is_well, stdout, stderr) = snow(name, "select current_user() as u, sum(a) as s from frazil.s.open").await;
        match refused {
            None => {
                assert!(is_well, "{name}: {stdout}\n{stderr}");
                let rows: Value = serde_json::from_str(&stdout).expect("JSON");
                assert_eq!(rows, json!([{ "U": "ANN", "S": 3 }]), "{name}");
                let (is_well, _, stderr) = snow(name, "insert into frazil.s.open values (3)").await;
                assert!(!is_well && stderr.contains("does not have INSERT"), "{name}: {stderr}");
            }
            Some(said) => assert!(!is_well && stderr.contains(said), "{name}: {stdout}\n{stderr}"),
        }
    }
}
