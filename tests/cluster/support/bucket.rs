//! A bucket in this process: as much of the REST APIs of S3, Google Cloud Storage and Azure's Blob service as `object_store` speaks.
//! Objects are kept in memory.
//!
//! Not a crate: those that serve these APIs bring some dozens of others, and cannot be asked what was requested of them.

mod azure;
mod xml_api;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Entries in one page of a list, so few that every list has several.
const PAGE_KEYS: usize = 3;
const BODY_BYTES_MAX: usize = 64 << 20;

pub const KEY_ID: &str = "key-of-the-tests";
/// S3's secret key, Google's token and, as base64, Azure's account key.
pub const SECRET_KEY: &str = "secretOfTheTestsAbcdefgh";
/// Azure's name for who has the key.
pub const ACCOUNT: &str = "accountoftests";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    S3,
    Gcs,
    Azure,
}

impl Dialect {
    pub const ALL: [Self; 3] = [Self::S3, Self::Gcs, Self::Azure];

    /// Whether an upload can be given up, or is forgotten by the store after some days.
    pub fn has_aborts(self) -> bool {
        self != Self::Azure
    }
}

/// Stops when dropped.
pub struct Bucket {
    pub dialect: Dialect,
    address: String,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

struct Server {
    dialect: Dialect,
    name: String,
    state: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, Upload>,
    uploads_begun: usize,
    /// What takes the place of an object after the next list.
    swap: Option<(String, Bytes)>,
    seen: Seen,
}

struct Object {
    bytes: Bytes,
    modified: SystemTime,
}

/// Parts by number, or by name.
struct Upload {
    key: String,
    begun: SystemTime,
    parts: BTreeMap<String, Bytes>,
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

impl Bucket {
    pub async fn start(dialect: Dialect, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = Arc::new(Server { dialect, name: name.to_owned(), state: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(server.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { dialect, address, server, task }
    }

    /// Of a path in it.
    pub fn url(&self, path: &str) -> String {
        let scheme = match self.dialect {
            Dialect::S3 => "s3",
            Dialect::Gcs => "gs",
            Dialect::Azure => "az",
        };
        format!("{scheme}://{}/{path}", self.server.name)
    }

    /// What a process needs in its environment to write here: an endpoint and credentials.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.credentials();
        let endpoint = match self.dialect {
            Dialect::S3 => vec![("AWS_ENDPOINT_URL", self.address.as_str()), ("AWS_ALLOW_HTTP", "true")],
            Dialect::Gcs => vec![("GOOGLE_BASE_URL", self.address.as_str())],
            Dialect::Azure => vec![("AZURE_STORAGE_ENDPOINT", self.address.as_str()), ("AZURE_ALLOW_HTTP", "true")],
        };
        environment.extend(endpoint.into_iter().map(owned));
        environment
    }

    /// The credentials alone: the endpoint of a cluster is an option of its own.
    pub fn credentials(&self) -> Vec<(String, String)> {
        let pairs = match self.dialect {
            Dialect::S3 => vec![("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)],
            // As its emulators want it: without a token. There is none in the environment that would not be asked of Google.
            Dialect::Gcs => {
                let key = r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
                vec![("GOOGLE_SERVICE_ACCOUNT_KEY", key)]
            }
            Dialect::Azure => vec![("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT), ("AZURE_STORAGE_ACCOUNT_KEY", SECRET_KEY)],
        };
        pairs.into_iter().chain([("NO_PROXY", "127.0.0.1")]).map(owned).collect()
    }

    /// What a process of a cluster needs: credentials, and the endpoint as an option.
    pub fn cluster_environment(&self) -> Vec<(String, String)> {
        let mut environment = self.credentials();
        let address = self.address.as_str();
        let endpoint = match self.dialect {
            Dialect::S3 => {
                vec![("FRAZIL_STORAGE_S3_ENDPOINT", address), ("FRAZIL_STORAGE_S3_ALLOW_HTTP", "true")]
            }
            Dialect::Gcs => vec![("FRAZIL_STORAGE_GCS_ENDPOINT", address)],
            Dialect::Azure => vec![("FRAZIL_STORAGE_AZURE_ENDPOINT", address)],
        };
        environment.extend(endpoint.into_iter().map(owned));
        environment
    }

    /// Credentials of nobody. Google's would be asked for elsewhere.
    pub fn strangers_environment(&self) -> Option<Vec<(String, String)>> {
        let mut environment = self.environment();
        environment.push(owned(match self.dialect {
            Dialect::S3 => ("AWS_ACCESS_KEY_ID", "a-stranger"),
            Dialect::Gcs => return None,
            Dialect::Azure => ("AZURE_STORAGE_ACCOUNT_NAME", "astranger"),
        }));
        Some(environment)
    }

    /// What a secret that opens it says, or one that does not.
    pub fn secret_options(&self, is_good: bool) -> String {
        let endpoint = &self.address;
        match (self.dialect, is_good) {
            (Dialect::S3, good) => {
                let id = if good { KEY_ID } else { "a-stranger" };
                format!("type s3, key_id '{id}', secret '{SECRET_KEY}', endpoint '{endpoint}', region 'here'")
            }
            (Dialect::Gcs, good) => {
                let token = if good { SECRET_KEY } else { "a-stranger" };
                format!("type gcs, bearer_token '{token}', endpoint '{endpoint}'")
            }
            (Dialect::Azure, good) => {
                let account = if good { ACCOUNT } else { "astranger" };
                format!("type azure, account_name '{account}', account_key '{SECRET_KEY}', endpoint '{endpoint}'")
            }
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.server.state.lock().expect("no handler panics")
    }

    pub fn keys(&self) -> Vec<String> {
        self.contents().objects.keys().cloned().collect()
    }

    pub fn seen(&self) -> Seen {
        self.contents().seen
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub fn uploads_open(&self) -> usize {
        self.contents().uploads.len()
    }

    /// Puts an object there as somebody else would.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.contents().objects.insert(key.to_owned(), Object::new(bytes.into()));
    }

    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.contents().objects.get(key).map(|object| object.bytes.clone())
    }

    /// Puts an object there as soon as the bucket has been listed again.
    pub fn put_after_list(&self, key: &str, bytes: impl Into<Bytes>) {
        self.contents().swap = Some((key.to_owned(), bytes.into()));
    }

    /// Begins an upload that nobody will complete.
    pub fn begin_upload(&self, key: &str) {
        self.contents().begin_upload(key);
    }

    /// As if all objects and uploads of a name had been there for a month.
    pub fn make_old(&self, key: &str) {
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 3600);
        let mut contents = self.contents();
        if let Some(object) = contents.objects.get_mut(key) {
            object.modified = long_ago;
        }
        contents.uploads.values_mut().filter(|upload| upload.key == key).for_each(|upload| upload.begun = long_ago);
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

type Parameters = HashMap<String, String>;

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return refusal(StatusCode::BAD_REQUEST, "EntityTooLarge");
    };
    let Ok(Query(query)) = Query::<Parameters>::try_from_uri(&parts.uri) else {
        return refusal(StatusCode::BAD_REQUEST, "InvalidArgument");
    };
    let mut contents = server.state.lock().expect("no handler panics");
    let signed = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_allowed = match server.dialect {
        Dialect::S3 => signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/")),
        // Without a token as its emulators.
        Dialect::Gcs => [format!("Bearer {SECRET_KEY}").as_str(), "Bearer", ""].contains(&signed.trim()),
        Dialect::Azure => signed.starts_with(&format!("SharedKey {ACCOUNT}:")),
    };
    if !is_allowed {
        contents.seen.refused += 1;
        return refusal(StatusCode::FORBIDDEN, "AccessDenied");
    }
    let path = percent_decoded(parts.uri.path().trim_start_matches('/'));
    let (name, key) = path.split_once('/').unwrap_or((&path, ""));
    if name != server.name {
        return refusal(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let is_list = query.contains_key("list-type") || query.get("comp").is_some_and(|comp| comp == "list");
    let answer = match server.dialect {
        Dialect::S3 | Dialect::Gcs => xml_api::answer(&mut contents, &parts, key, &query, body),
        Dialect::Azure => azure::answer(&mut contents, &parts, key, &query, body),
    };
    if let Some((key, bytes)) = contents.swap.take_if(|_| is_list) {
        contents.objects.insert(key, Object::new(bytes));
    }
    answer
}

impl Object {
    fn new(bytes: Bytes) -> Self {
        Self { bytes, modified: SystemTime::now() }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    fn modified_http(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// Some name of the contents; it need not be a digest.
    fn tag(&self) -> String {
        tag(&self.bytes)
    }
}

/// One page of a list.
struct Page<'a> {
    objects: Vec<(&'a String, &'a Object)>,
    folders: Vec<String>,
    /// The last key of it, if there are more.
    next: Option<String>,
}

impl Contents {
    fn begin_upload(&mut self, key: &str) -> String {
        self.uploads_begun += 1;
        let id = format!("upload-{}", self.uploads_begun);
        let upload = Upload { key: key.to_owned(), begun: SystemTime::now(), parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        id
    }

    /// Returns the copy's tag.
    fn copy(&mut self, from: &str, to: &str, if_absent: bool) -> Result<String, StatusCode> {
        let bytes = self.objects.get(from).map(|object| object.bytes.clone()).ok_or(StatusCode::NOT_FOUND)?;
        if if_absent && self.objects.contains_key(to) {
            return Err(StatusCode::CONFLICT);
        }
        let copy = Object::new(bytes);
        let tag = copy.tag();
        self.objects.insert(to.to_owned(), copy);
        Ok(tag)
    }

    /// Of the keys that begin with a prefix, those after a key.
    fn page(&mut self, prefix: &str, delimiter: &str, after: &str) -> Page<'_> {
        self.seen.pages_listed += 1;
        let mut keys = self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let (mut objects, mut folders, mut last) = (Vec::new(), Vec::new(), None);
        for (key, object) in keys.by_ref().take(if delimiter.is_empty() { PAGE_KEYS } else { usize::MAX }) {
            last = Some(key);
            let folder = if delimiter.is_empty() { None } else { key[prefix.len()..].split_once(delimiter) };
            match folder {
                Some((folder, _)) => {
                    let folder = format!("{prefix}{folder}{delimiter}");
                    if folders.last() != Some(&folder) {
                        folders.push(folder);
                    }
                }
                None => objects.push((key, object)),
            }
        }
        let next = last.filter(|_| keys.next().is_some()).cloned();
        Page { objects, folders, next }
    }

    fn read(&mut self, method: &Method, key: &str, headers: &HeaderMap) -> Response {
        let Some(object) = self.objects.get(key) else { return refusal(StatusCode::NOT_FOUND, "NoSuchKey") };
        let tag = object.tag();
        let wanted = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
        if wanted.is_some_and(|wanted| wanted != tag) {
            return refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        let answer =
            |status| response(status).header(header::ETAG, &tag).header(header::LAST_MODIFIED, object.modified_http());
        if method == Method::HEAD {
            self.seen.heads += 1;
            let answer = answer(StatusCode::OK).header(header::CONTENT_LENGTH, object.bytes.len());
            return answer.body(Body::empty()).expect("valid headers");
        }
        let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
            return answer(StatusCode::OK).body(object.bytes.clone().into()).expect("valid headers");
        };
        let length = object.bytes.len();
        let Some(range) = range_of(range, length) else { return refusal(StatusCode::BAD_REQUEST, "InvalidRange") };
        if range.start >= range.end {
            return refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        self.seen.gets_of_a_range += 1;
        let written = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        let answer = answer(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, written);
        answer.body(object.bytes.slice(range).into()).expect("valid headers")
    }
}

fn range_of(text: &str, length: usize) -> Option<Range<usize>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => Some(from..(to + 1).min(length)),
        (Ok(from), Err(_)) => Some(from..length),
        (Err(_), Ok(last)) => Some(length.saturating_sub(last)..length),
        _ => None,
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

fn tag(bytes: &Bytes) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
