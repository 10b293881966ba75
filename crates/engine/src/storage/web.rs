//! Files of web servers, to be read: `HEAD`, and `GET` of ranges. No redirects, and no addresses that are this machine's or its cloud's
//! own, whatever a name resolves to: a statement must not make the server ask where its user may not.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Method, Response, StatusCode};
use url::Url;

use crate::secrets::Secrets;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_LIMIT: Duration = Duration::from_secs(30);
const TRIES_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A server that answers without ranges sends such a file whole each time; larger ones are refused.
const WHOLE_BYTES_MAX: u64 = 16 << 20;

/// The files of one `https://host:port`.
#[derive(Debug)]
pub(super) struct WebFiles {
    origin: Url,
    client: Client,
    secrets: Secrets,
}

impl WebFiles {
    /// `named` are the hosts that the operator has named: what they are is allowed, as an address or as `localhost`.
    pub(super) fn new(origin: Url, named: Vec<String>, secrets: Secrets) -> Result<Self> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names in our place, and need not be as careful.
            .no_proxy()
            .dns_resolver(Arc::new(CarefulResolver { named }))
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(READ_LIMIT)
            .user_agent(concat!("frazil/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(error.into()))?;
        Ok(Self { origin, client, secrets })
    }

    fn url(&self, location: &Path) -> Url {
        let mut url = self.origin.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(location.parts().map(|part| part.as_ref().to_owned()));
        }
        url
    }

    /// Until there is an answer that another try would not change.
    async fn ask(&self, method: Method, url: &Url, headers: HeaderMap) -> Result<Response> {
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            let mut request = self.client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(token) = self.secrets.of_url(url.as_str()).and_then(|secret| secret.options.get("bearer_token"))
            {
                request = request.bearer_auth(token);
            }
            let again = match request.send().await {
                Ok(response) => {
                    match response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS {
                        true => format!("{url} answers {}", response.status()).into(),
                        false => return judge(url, response),
                    }
                }
                Err(error) if refuses_address(&error) => {
                    return Err(denied(url, "leads to an address that is not allowed"));
                }
                Err(error) if error.is_builder() => return Err(failed(error.without_url().into())),
                Err(error) => error.into(),
            };
            if tried == TRIES_MAX {
                return Err(failed(again));
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        unreachable!("the last try returns")
    }

    async fn head(&self, location: &Path) -> Result<ObjectMeta> {
        let url = self.url(location);
        let response = self.ask(Method::HEAD, &url, HeaderMap::new()).await?;
        let size = header_of(response.headers(), header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        match size {
            Some(size) => Ok(meta(location, response.headers(), size)),
            None => Err(failed(format!("{url} does not say how long it is").into())),
        }
    }
}

/// The answer, if it has what was asked for.
fn judge(url: &Url, response: Response) -> Result<Response> {
    let status = response.status();
    let path = url.path().to_owned();
    let source = format!("{url} answers {status}").into();
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Error::NotFound { path, source }),
        StatusCode::UNAUTHORIZED => Err(Error::Unauthenticated { path, source }),
        StatusCode::FORBIDDEN => Err(Error::PermissionDenied { path, source }),
        StatusCode::PRECONDITION_FAILED => Err(Error::Precondition { path, source }),
        StatusCode::NOT_MODIFIED => Err(Error::NotModified { path, source }),
        _ if status.is_redirection() => Err(denied(url, "redirects, and redirects are not followed")),
        _ => Err(failed(source)),
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: "web server", source }
}

fn denied(url: &Url, why: &str) -> Error {
    Error::PermissionDenied { path: url.path().to_owned(), source: format!("{url} {why}").into() }
}

fn read_only(operation: &str) -> Error {
    Error::NotSupported { source: format!("{operation} a web server: it can only be read").into() }
}

fn header_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn meta(location: &Path, headers: &HeaderMap, size: u64) -> ObjectMeta {
    let changed = header_of(headers, header::LAST_MODIFIED).and_then(|text| httpdate::parse_http_date(text).ok());
    ObjectMeta {
        location: location.clone(),
        last_modified: changed.map(Into::into).unwrap_or_default(),
        size,
        e_tag: header_of(headers, header::ETAG).map(str::to_owned),
        version: None,
    }
}

/// Start and length of `bytes 10-19/100`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    Some((start.parse().ok()?..end.parse::<u64>().ok()?.checked_add(1)?, size.parse().ok()?))
}

impl fmt::Display for WebFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.as_str())
    }
}

#[async_trait]
impl ObjectStore for WebFiles {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only("writing to"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only("writing to"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            let meta = self.head(location).await?;
            options.check_preconditions(&meta)?;
            let payload = GetResultPayload::Stream(futures::stream::empty().boxed());
            return Ok(GetResult { payload, range: 0..meta.size, meta, attributes: Default::default() });
        }
        let url = self.url(location);
        let mut headers = HeaderMap::new();
        if let Some(range) = &options.range {
            let text = header::HeaderValue::from_str(&range.to_string());
            headers.insert(header::RANGE, text.map_err(|error| failed(error.into()))?);
        }
        let response = self.ask(Method::GET, &url, headers).await?;
        let whole = response.status() == StatusCode::OK;
        let told = header_of(response.headers(), header::CONTENT_RANGE).and_then(content_range);
        let (range, size) = match (whole, told, response.content_length()) {
            (true, _, Some(size)) => (0..size, size),
            (true, _, None) => return Err(failed(format!("{url} does not say how long it is").into())),
            (false, Some((range, size)), _) => (range, size),
            (false, None, _) => return Err(failed(format!("{url} does not say which part it has sent").into())),
        };
        let meta = meta(location, response.headers(), size);
        options.check_preconditions(&meta)?;
        let wanted = match &options.range {
            Some(wanted) => wanted.as_range(size).map_err(|error| failed(error.into()))?,
            None => 0..size,
        };
        if range == wanted {
            let payload = response.bytes_stream().map_err(|error| failed(error.into())).boxed();
            let payload = GetResultPayload::Stream(payload);
            return Ok(GetResult { payload, meta, range, attributes: Default::default() });
        }
        if !whole || size > WHOLE_BYTES_MAX {
            let why = "does not answer with the part of it that was asked for, and it is too long to be sent whole";
            return Err(Error::NotSupported { source: format!("{url} {why}").into() });
        }
        let all = response.bytes().await.map_err(|error| failed(error.into()))?;
        let part = usize::try_from(wanted.start).ok().zip(usize::try_from(wanted.end).ok());
        let part = part.filter(|(_, end)| *end <= all.len()).map(|(start, end)| all.slice(start..end));
        let part: Bytes = part.ok_or_else(|| failed(format!("{url} has sent less than it said").into()))?;
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(part) }).boxed());
        Ok(GetResult { payload, meta, range: wanted, attributes: Default::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.and_then(|_| async { Err(read_only("deleting from")) }).boxed()
    }

    /// What is asked after a file was not found, and in place of a directory's files.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let url = self.url(prefix.unwrap_or(&Path::default()));
        let source = format!("{url} is not a file, and files of web servers cannot be listed: name one").into();
        let path = url.path().to_owned();
        futures::stream::once(async { Err(Error::NotFound { path, source }) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotSupported { source: format!("files of {} cannot be listed: name one", self.origin).into() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only("copying on"))
    }
}

/// Looks names up, and at what comes of it: on each connection, so that a name cannot change its mind.
#[derive(Debug)]
struct CarefulResolver {
    named: Vec<String>,
}

#[derive(Debug)]
struct AddressRefused;

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to an address that is not allowed")
    }
}

impl std::error::Error for AddressRefused {}

fn refuses_address(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = cause {
        if current.is::<AddressRefused>() {
            return true;
        }
        cause = current.source();
    }
    false
}

impl Resolve for CarefulResolver {
    fn resolve(&self, name: Name) -> Resolving {
        // `localhost` in the list means what it says; any other name is taken at its address.
        let is_local = name.as_str() == "localhost" && self.named.iter().any(|named| named == "localhost");
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !is_local && found.iter().any(|address| is_own(address.ip())) {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// This machine, its link, its cloud's metadata, and what is no host.
fn is_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || a == 0
                // Carrier's space, where some clouds have their metadata.
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let mapped = v6.to_ipv4_mapped().or_else(|| match segments {
                // NAT64 and 6to4 have an IPv4 address in them.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4_of(high, low)),
                [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4_of(high, low)),
                _ => None,
            });
            mapped.is_some_and(|v4| is_own(IpAddr::V4(v4)))
                || v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || (segments[0] & 0xffc0) == 0xfe80
                // Amazon's metadata.
                || segments == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

fn v4_of(high: u16, low: u16) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_our_own() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.100.100.200",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "fd00:ec2::254",
        ] {
            assert!(is_own(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2606:2800:220:1::1", "fd12::1"] {
            assert!(!is_own(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_is_what_it_resolves_to() {
        let resolve = |named: &[&str]| {
            let resolver = CarefulResolver { named: named.iter().map(|name| (*name).to_owned()).collect() };
            async move { resolver.resolve("localhost".parse().unwrap()).await.is_ok() }
        };
        assert!(!resolve(&[]).await && !resolve(&["example.org"]).await && resolve(&["localhost"]).await);
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 10-19/100"), Some((10..20, 100)));
        assert_eq!(content_range("bytes */100"), None);
        assert_eq!(content_range("bytes 0-18446744073709551615/1"), None);
    }
}
