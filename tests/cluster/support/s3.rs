//! A bucket in this process: as much of S3's REST API as `object_store` speaks. Objects are kept in memory.
//!
//! Not a crate: those that serve S3 bring some dozens of others, and cannot be asked what was requested of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const KEY_ID: &str = "key-of-the-tests";
pub const SECRET_KEY: &str = "secret-of-the-tests";
/// Keys in one page of a list, so few that every list has several.
const PAGE_KEYS: usize = 3;
const BODY_BYTES_MAX: usize = 64 << 20;
/// Of all objects: they are not changed while a test reads them.
const CHANGED: (&str, &str) = ("2026-01-02T03:04:05.000Z", "Fri, 02 Jan 2026 03:04:05 GMT");

/// Stops when dropped.
pub struct S3 {
    address: String,
    bucket: Arc<Bucket>,
    server: JoinHandle<()>,
}

struct Bucket {
    name: String,
    state: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    objects: BTreeMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
    seen: Seen,
}

/// How often something was done.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    pub puts: usize,
    pub uploads_completed: usize,
    pub uploads_aborted: usize,
    pub gets_of_a_range: usize,
    pub heads: usize,
    pub pages_listed: usize,
    pub deleted: usize,
    pub refused: usize,
}

impl S3 {
    pub async fn start(bucket: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let bucket = Arc::new(Bucket { name: bucket.to_owned(), state: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(bucket.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, bucket, server }
    }

    /// What a process needs in its environment to write here: an endpoint and credentials.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.credentials();
        environment.push(("AWS_ENDPOINT_URL".to_owned(), self.address.clone()));
        environment.push(("AWS_ALLOW_HTTP".to_owned(), "true".to_owned()));
        environment
    }

    /// The credentials alone: the endpoint of a cluster is an option of its own.
    pub fn credentials(&self) -> Vec<(String, String)> {
        let pairs = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY), ("NO_PROXY", "127.0.0.1")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn keys(&self) -> Vec<String> {
        self.bucket.state.lock().expect("no handler panics").objects.keys().cloned().collect()
    }

    pub fn seen(&self) -> Seen {
        self.bucket.state.lock().expect("no handler panics").seen
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub fn uploads_open(&self) -> usize {
        self.bucket.state.lock().expect("no handler panics").uploads.len()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Parameters = HashMap<String, String>;

async fn answer(State(bucket): State<Arc<Bucket>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return refusal(StatusCode::BAD_REQUEST, "EntityTooLarge");
    };
    let Ok(Query(query)) = Query::<Parameters>::try_from_uri(&parts.uri) else {
        return refusal(StatusCode::BAD_REQUEST, "InvalidArgument");
    };
    let mut contents = bucket.state.lock().expect("no handler panics");
    let signed = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/")) {
        contents.seen.refused += 1;
        return refusal(StatusCode::FORBIDDEN, "AccessDenied");
    }
    // Keys of the tests have no character that is written in another way in a path.
    let path = parts.uri.path().trim_start_matches('/');
    let (name, key) = path.split_once('/').unwrap_or((path, ""));
    if name != bucket.name {
        return refusal(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    match key {
        "" => contents.of_bucket(&parts.method, &query, &body),
        key => contents.of_object(&parts.method, key, &query, &parts.headers, body),
    }
}

impl Contents {
    fn of_bucket(&mut self, method: &Method, query: &Parameters, body: &Bytes) -> Response {
        if method == Method::GET && query.get("list-type").is_some_and(|kind| kind == "2") {
            return self.list(query);
        }
        if method == Method::POST && query.contains_key("delete") {
            let text = String::from_utf8_lossy(body);
            let mut deleted = String::new();
            for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
                self.objects.remove(key);
                self.seen.deleted += 1;
                let _ = write!(deleted, "<Deleted><Key>{key}</Key></Deleted>");
            }
            return xml(format!("<DeleteResult>{deleted}</DeleteResult>"));
        }
        refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented")
    }

    fn list(&mut self, query: &Parameters) -> Response {
        self.seen.pages_listed += 1;
        let of = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, delimiter) = (of("prefix"), of("delimiter"));
        let after = of("continuation-token").max(of("start-after"));
        let mut keys = self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let (mut text, mut folders, mut last) = (String::new(), Vec::new(), None);
        for (key, object) in keys.by_ref().take(if delimiter.is_empty() { PAGE_KEYS } else { usize::MAX }) {
            last = Some(key);
            let folder = if delimiter.is_empty() { None } else { key[prefix.len()..].split_once(delimiter) };
            if let Some((folder, _)) = folder {
                let folder = format!("{prefix}{folder}{delimiter}");
                if folders.last() != Some(&folder) {
                    folders.push(folder);
                }
                continue;
            }
            let (size, changed, tag) = (object.len(), CHANGED.0, tag(object));
            let _ = write!(
                text,
                "<Contents><Key>{key}</Key><LastModified>{changed}</LastModified><ETag>{tag}</ETag><Size>{size}</Size>\
                 </Contents>"
            );
        }
        for folder in folders {
            let _ = write!(text, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
        }
        if let (Some(last), true) = (last, keys.next().is_some()) {
            let _ = write!(text, "<NextContinuationToken>{last}</NextContinuationToken>");
        }
        xml(format!("<ListBucketResult>{text}</ListBucketResult>"))
    }

    fn of_object(
        &mut self,
        method: &Method,
        key: &str,
        query: &Parameters,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response {
        let upload = query.get("uploadId");
        match *method {
            Method::PUT => {
                let tag = tag(&body);
                match upload {
                    None => {
                        self.seen.puts += 1;
                        self.objects.insert(key.to_owned(), body);
                    }
                    Some(upload) => {
                        let number = query.get("partNumber").and_then(|number| number.parse().ok());
                        let (Some(parts), Some(number)) = (self.uploads.get_mut(upload), number) else {
                            return refusal(StatusCode::NOT_FOUND, "NoSuchUpload");
                        };
                        parts.insert(number, body);
                    }
                }
                response(StatusCode::OK).header(header::ETAG, tag).body(Body::empty()).expect("valid headers")
            }
            Method::POST if query.contains_key("uploads") => {
                let id = format!("upload-{}-{}", self.uploads.len(), key.replace('/', "-"));
                self.uploads.insert(id.clone(), BTreeMap::new());
                xml(format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
            }
            Method::POST => {
                let Some(parts) = upload.and_then(|upload| self.uploads.remove(upload)) else {
                    return refusal(StatusCode::NOT_FOUND, "NoSuchUpload");
                };
                // All parts that the client names must be there, and no others.
                let named = String::from_utf8_lossy(&body).matches("<PartNumber>").count();
                if named != parts.len() || parts.keys().copied().ne(1..=named as u32) {
                    return refusal(StatusCode::BAD_REQUEST, "InvalidPart");
                }
                let whole: Bytes = parts.into_values().collect::<Vec<_>>().concat().into();
                let tag = tag(&whole);
                self.seen.uploads_completed += 1;
                self.objects.insert(key.to_owned(), whole);
                xml(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
            }
            Method::DELETE => {
                if let Some(upload) = upload {
                    self.uploads.remove(upload);
                    self.seen.uploads_aborted += 1;
                } else {
                    self.objects.remove(key);
                    self.seen.deleted += 1;
                }
                response(StatusCode::NO_CONTENT).body(Body::empty()).expect("valid headers")
            }
            Method::GET | Method::HEAD => self.read(method, key, headers),
            _ => refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        }
    }

    fn read(&mut self, method: &Method, key: &str, headers: &HeaderMap) -> Response {
        let Some(object) = self.objects.get(key) else { return refusal(StatusCode::NOT_FOUND, "NoSuchKey") };
        let answer =
            |status| response(status).header(header::ETAG, tag(object)).header(header::LAST_MODIFIED, CHANGED.1);
        if method == Method::HEAD {
            self.seen.heads += 1;
            let answer = answer(StatusCode::OK).header(header::CONTENT_LENGTH, object.len());
            return answer.body(Body::empty()).expect("valid headers");
        }
        let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
            return answer(StatusCode::OK).body(object.clone().into()).expect("valid headers");
        };
        let length = object.len();
        let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
        let range = match bounds.map(|(from, to)| (from.parse::<usize>(), to.parse::<usize>())) {
            Some((Ok(from), Ok(to))) => from..(to + 1).min(length),
            Some((Ok(from), Err(_))) => from..length,
            Some((Err(_), Ok(last))) => length.saturating_sub(last)..length,
            _ => return refusal(StatusCode::BAD_REQUEST, "InvalidRange"),
        };
        if range.start >= range.end {
            return refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        self.seen.gets_of_a_range += 1;
        let written = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        let answer = answer(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, written);
        answer.body(object.slice(range).into()).expect("valid headers")
    }
}

fn response(status: StatusCode) -> axum::http::response::Builder {
    Response::builder().status(status)
}

fn xml(text: String) -> Response {
    let answer = response(StatusCode::OK).header(header::CONTENT_TYPE, "application/xml");
    answer.body(text.into()).expect("valid headers")
}

fn refusal(status: StatusCode, code: &str) -> Response {
    let text = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    response(status).header(header::CONTENT_TYPE, "application/xml").body(text.into()).expect("valid headers")
}

/// Some name of the contents; it need not be a digest.
fn tag(bytes: &Bytes) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
