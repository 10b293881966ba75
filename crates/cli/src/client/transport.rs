//! One request, one answer: through a socket, or by calling the router of a coordinator in this process.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::{Access, ClientError};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// So that a coordinator's machine that is gone is noticed while an answer is awaited.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Of an answer in JSON: errors, statuses, the cluster's view. Rows come as Arrow and are not bounded by this.
const JSON_BYTES_MAX: usize = 16 << 20;

const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

#[derive(Clone)]
pub struct Transport {
    way: Way,
    authorization: Option<HeaderValue>,
}

#[derive(Clone)]
enum Way {
    Http { client: reqwest::Client, base: String },
    InProcess(axum::Router),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accept {
    Arrow,
    Json,
    Events,
}

impl Accept {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Arrow => ARROW_STREAM,
            Self::Json => "application/json",
            Self::Events => "text/event-stream",
        })
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

impl Transport {
    pub fn http(url: &str, access: &Access) -> Result<Self, ClientError> {
        let wrong = |cause: &dyn std::fmt::Display| {
            ClientError::Invalid(format!("{url:?} is not the address of a coordinator: {cause}"))
        };
        let base = url::Url::parse(url).map_err(|e| wrong(&e))?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(wrong(&"write it as http://host:port or https://host:port"));
        }
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).tcp_keepalive(KEEPALIVE).no_proxy();
        if let Some(ca) = &access.ca {
            for certificate in reqwest::Certificate::from_pem_bundle(ca).map_err(|e| wrong(&causes(&e)))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(|e| wrong(&causes(&e)))?;
        let way = Way::Http { client, base: base.as_str().trim_end_matches('/').to_owned() };
        Ok(Self { way, authorization: access.authorization.clone() })
    }

    pub fn in_process(router: axum::Router, access: &Access) -> Self {
        Self { way: Way::InProcess(router), authorization: access.authorization.clone() }
    }

    /// The headers of every request.
    fn headers(&self) -> HeaderMap {
        self.authorization.iter().map(|value| (AUTHORIZATION, value.clone())).collect()
    }

    /// `path` begins with a slash and may have a query.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        accept: Accept,
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        match &self.way {
            Way::Http { client, base } => {
                let request = client.request(method, format!("{base}{path}")).headers(self.headers());
                let mut request = request.header(ACCEPT, accept.header());
                if let Some(body) = body {
                    request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
                }
                let response = request.send().await.map_err(|e| unreachable(base, &e))?;
                let (status, headers) = (response.status(), response.headers().clone());
                let body = response.bytes_stream().map(|chunk| chunk.map_err(|e| causes(&e))).boxed();
                Ok(Answer { status, headers, body })
            }
            Way::InProcess(router) => {
                let mut request = Request::builder().method(method).uri(path).header(ACCEPT, accept.header());
                let body = match body {
                    Some(body) => {
                        request = request.header(CONTENT_TYPE, "application/json");
                        Body::from(body.to_string())
                    }
                    None => Body::empty(),
                };
                let request = request.body(body);
                let mut request = request.map_err(|e| ClientError::Invalid(format!("request {path:?}: {e}")))?;
                request.headers_mut().extend(self.headers());
                let response = match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let (parts, body) = response.into_parts();
                let body = body.into_data_stream().map(|chunk| chunk.map_err(|e| causes(&e))).boxed();
                Ok(Answer { status: parts.status, headers: parts.headers, body })
            }
        }
    }
}

impl Transport {
    /// A request whose body is the bytes of a file.
    pub async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Answer, ClientError> {
        match &self.way {
            Way::Http { client, base } => {
                let request = client.request(method, format!("{base}{path}")).headers(self.headers());
                let request = request.body(reqwest::Body::wrap_stream(body));
                let response = request.send().await.map_err(|e| unreachable(base, &e))?;
                let (status, headers) = (response.status(), response.headers().clone());
                let body = response.bytes_stream().map(|chunk| chunk.map_err(|e| causes(&e))).boxed();
                Ok(Answer { status, headers, body })
            }
            Way::InProcess(router) => {
                let request = Request::builder().method(method).uri(path).body(Body::from_stream(body));
                let mut request = request.map_err(|e| ClientError::Invalid(format!("request {path:?}: {e}")))?;
                request.headers_mut().extend(self.headers());
                let response = match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let (parts, body) = response.into_parts();
                let body = body.into_data_stream().map(|chunk| chunk.map_err(|e| causes(&e))).boxed();
                Ok(Answer { status: parts.status, headers: parts.headers, body })
            }
        }
    }
}

impl Answer {
    pub fn is_arrow(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with(ARROW_STREAM))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    pub async fn json(mut self) -> Result<Value, ClientError> {
        let mut text = Vec::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk.map_err(|cause| ClientError::Unreachable(format!("the answer broke off: {cause}")))?;
            if text.len() + chunk.len() > JSON_BYTES_MAX {
                return Err(ClientError::Protocol(format!("the answer has more than {JSON_BYTES_MAX} bytes of JSON")));
            }
            text.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&text).map_err(|e| {
            ClientError::Protocol(format!("the answer ({}) is not from a Frazil coordinator: {e}", self.status))
        })
    }
}

fn unreachable(base: &str, error: &reqwest::Error) -> ClientError {
    ClientError::Unreachable(format!("cannot reach the coordinator at {base}: {}", causes(error)))
}

/// The innermost cause says what happened; the layers around it only that something did.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
