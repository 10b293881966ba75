//! Clients that say who they are, at the REST API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Cells as text; the first partition of an answer.
pub type Rows = Vec<Vec<Option<String>>>;

/// A client with its credentials, or with none.
#[derive(Clone)]
pub struct LoggedIn {
    http: reqwest::Client,
    base: String,
    headers: Vec<(&'static str, String)>,
}

/// An answer that is not a success.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    pub status: u16,
    pub sql_state: String,
    pub message: String,
}

impl LoggedIn {
    pub fn nobody(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().expect("a client");
        Self { http, base: base.to_owned(), headers: Vec::new() }
    }

    pub fn password(base: &str, user: &str, password: &str) -> Self {
        let text = STANDARD.encode(format!("{user}:{password}"));
        Self { headers: vec![("authorization", format!("Basic {text}"))], ..Self::nobody(base) }
    }

    /// `kind` as `X-Snowflake-Authorization-Token-Type` has it, if it is to be sent.
    pub fn token(base: &str, token: &str, kind: Option<&str>) -> Self {
        let mut headers = vec![("authorization", format!("Bearer {token}"))];
        headers.extend(kind.map(|kind| ("x-snowflake-authorization-token-type", kind.to_owned())));
        Self { headers, ..Self::nobody(base) }
    }

    pub async fn run(&self, sql: &str) -> Result<Rows, Refused> {
        self.submit(json!({ "statement": sql })).await.map(|answer| rows(&answer))
    }

    pub async fn run_in(&self, role: &str, sql: &str) -> Result<Rows, Refused> {
        self.submit(json!({ "statement": sql, "role": format!("\"{role}\"") })).await.map(|answer| rows(&answer))
    }

    /// That must succeed.
    pub async fn must(&self, sql: &str) -> Rows {
        self.run(sql).await.unwrap_or_else(|refused| panic!("{sql}: {refused:?}"))
    }

    pub async fn refused(&self, sql: &str) -> Refused {
        match self.run(sql).await {
            Ok(rows) => panic!("{sql} gave {rows:?}"),
            Err(refused) => refused,
        }
    }

    pub async fn submit(&self, body: Value) -> Result<Value, Refused> {
        self.send(self.http.post(format!("{}/api/v2/statements", self.base)).json(&body)).await
    }

    pub async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub async fn post(&self, path: &str) -> Result<Value, Refused> {
        self.send(self.http.post(format!("{}{path}", self.base)).json(&json!({}))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Refused> {
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let response = request.header("accept", "application/json").send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a whole answer");
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: not JSON: {text}"));
        if status.is_success() {
            return Ok(body);
        }
        let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Err(Refused { status: status.as_u16(), sql_state: field("sqlState"), message: field("message") })
    }
}

fn rows(answer: &Value) -> Rows {
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    let cells = |row: &Value| {
        let cells = row.as_array().cloned().unwrap_or_default();
        cells.iter().map(|cell| cell.as_str().map(str::to_owned)).collect()
    };
    rows.iter().map(cells).collect()
}

/// A private key of `testdata/keys`, which is good for nothing but tests.
pub struct Key {
    pair: ring::signature::RsaKeyPair,
    pub public_pem: String,
}

impl Key {
    pub fn of_tests(name: &str) -> Self {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys");
        let read = |file: String| std::fs::read_to_string(directory.join(file)).expect("a key");
        let private = read(format!("{name}.pem"));
        let body: String = private.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).expect("base64");
        let pair = ring::signature::RsaKeyPair::from_pkcs8(&der).expect("a key");
        Self { pair, public_pem: read(format!("{name}.pub.pem")) }
    }

    /// As `openssl … | openssl dgst -sha256 -binary | base64` gives it.
    pub fn fingerprint(&self) -> String {
        let body: String = self.public_pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).expect("base64");
        STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &der))
    }

    pub fn claims(&self, user: &str, issued_s_ago: i64, valid_s: i64) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        let sub = format!("FRAZIL.{user}");
        let issued = now - issued_s_ago;
        json!({ "iss": format!("{sub}.SHA256:{}", self.fingerprint()), "sub": sub, "iat": issued, "exp": issued + valid_s })
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        let padding = &ring::signature::RSA_PKCS1_SHA256;
        self.pair.sign(padding, &random, signed.as_bytes(), &mut signature).expect("signed");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
