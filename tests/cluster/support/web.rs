//! A web server in this process: files by path, with and without ranges, redirects, and files for those with a token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Of files below `/private/`.
pub const TOKEN: &str = "token-of-the-tests";

/// Stops when dropped.
pub struct Web {
    address: String,
    contents: Arc<Contents>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Contents {
    files: BTreeMap<String, Bytes>,
    asked: Mutex<Vec<(Method, String, bool)>>,
}

impl Web {
    /// Below `/whole/` ranges are ignored; what is below `/moved/` is said to be in `/`.
    pub async fn start(files: BTreeMap<String, Bytes>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let contents = Arc::new(Contents { files, asked: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(contents.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, contents, server }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Method, path, and whether a range was wanted.
    pub fn asked(&self) -> Vec<(Method, String, bool)> {
        self.contents.asked.lock().expect("no handler panics").clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(contents): State<Arc<Contents>>, request: Request) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let range = text(header::RANGE).map(str::to_owned);
    let allowed = text(header::AUTHORIZATION) == Some(&format!("Bearer {TOKEN}"));
    contents.asked.lock().expect("no handler panics").push((request.method().clone(), path.clone(), range.is_some()));
    let with = |status: StatusCode| Response::builder().status(status);
    let empty = |status: StatusCode| with(status).body(Body::empty()).expect("valid headers");
    if let Some(rest) = path.strip_prefix("/moved/") {
        return with(StatusCode::FOUND)
            .header(header::LOCATION, format!("/{rest}"))
            .body(Body::empty())
            .expect("valid");
    }
    if path.starts_with("/private/") && !allowed {
        return empty(StatusCode::UNAUTHORIZED);
    }
    let Some(file) = contents.files.get(&path) else { return empty(StatusCode::NOT_FOUND) };
    if request.method() == Method::HEAD {
        return with(StatusCode::OK).header(header::CONTENT_LENGTH, file.len()).body(Body::empty()).expect("valid");
    }
    let bounds = range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (from, to) = match bounds.map(|(from, to)| (from.parse::<usize>(), to.parse::<usize>())) {
        _ if path.starts_with("/whole/") => return with(StatusCode::OK).body(file.clone().into()).expect("valid"),
        None => return with(StatusCode::OK).body(file.clone().into()).expect("valid"),
        Some((Ok(from), Ok(to))) => (from, (to + 1).min(file.len())),
        Some((Ok(from), Err(_))) => (from, file.len()),
        Some((Err(_), Ok(last))) => (file.len().saturating_sub(last), file.len()),
        Some(_) => return empty(StatusCode::BAD_REQUEST),
    };
    if from >= to {
        return empty(StatusCode::RANGE_NOT_SATISFIABLE);
    }
    let written = format!("bytes {from}-{}/{}", to - 1, file.len());
    with(StatusCode::PARTIAL_CONTENT)
        .header(header::CONTENT_RANGE, written)
        .body(file.slice(from..to).into())
        .expect("valid headers")
}
