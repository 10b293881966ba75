//! The REST API as it is: any body, any header, and all of the answer.

use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use serde_json::{Value, json};

pub struct Rest {
    http: reqwest::Client,
    base: String,
}

#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null if it is not JSON.
    pub body: Value,
}

impl Answered {
    pub fn handle(&self) -> String {
        self.body["statementHandle"].as_str().unwrap_or_else(|| panic!("no handle: {self:?}")).to_owned()
    }

    /// The cells, or a panic with the failure.
    pub fn rows(&self) -> Vec<Vec<Option<String>>> {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_value(self.body["data"].clone()).unwrap_or_else(|_| panic!("no rows: {self:?}"))
    }

    pub fn cells(&self) -> Vec<Option<String>> {
        self.rows().into_iter().next().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    pub fn sql_state(&self) -> &str {
        self.body["sqlState"].as_str().unwrap_or_default()
    }
}

impl Rest {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(120)).build();
        Self { http: http.expect("a client"), base: base.to_owned() }
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answered {
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut bytes = response.bytes().await.unwrap_or_else(|error| panic!("half an answer: {error:?}")).to_vec();
        if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip") {
            let mut plain = Vec::new();
            GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).expect("it is gzip");
            bytes = plain;
        }
        Answered { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.send(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answered {
        self.send(self.http.post(self.url(path)).json(body)).await
    }

    pub async fn submit(&self, body: &Value) -> Answered {
        self.post("/api/v2/statements", body).await
    }

    pub async fn sql(&self, sql: &str) -> Answered {
        self.submit(&json!({ "statement": sql })).await
    }
}
