//! Uploads in parts that nobody has completed: what a process that was killed leaves in a bucket, unseen by lists of objects. S3 and
//! Google's store tell of them, by the same request. Azure's forgets blocks that no list names by itself, after a week.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use object_store::aws::{AmazonS3, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::HttpRequestBody;
use object_store::gcp::{GoogleCloudStorage, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, Result};
use reqwest::header::{AUTHORIZATION, HOST, HeaderValue};
use url::Url;

use super::StorageOptions;
use super::provider::{GOOGLE, Provider, gcs_builder, s3_builder};
use frazil_catalog::SecretRecord;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Of one list; a page has a thousand uploads.
const PAGES_MAX: usize = 1000;

/// An upload that was begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenUpload {
    pub key: String,
    pub id: String,
    pub begun: SystemTime,
}

/// The open uploads of a bucket.
pub struct Uploads {
    store: Store,
    /// Where the bucket is, without a `/` at the end.
    url: String,
    client: reqwest::Client,
}

enum Store {
    S3 { store: Arc<AmazonS3>, region: String },
    Gcs(Arc<GoogleCloudStorage>),
}

impl Uploads {
    /// `None`: the store has no list of them, or is none of these.
    pub(super) fn of_bucket(
        bucket: &str,
        options: &StorageOptions,
        secret: Option<&SecretRecord>,
    ) -> Result<Option<Self>> {
        let Some((scheme, name)) = bucket.split_once("://") else { return Ok(None) };
        let (store, url) = match Provider::of_scheme(scheme) {
            Some(Provider::S3) => {
                let builder = s3_builder(name, options, secret)?;
                let of = |key: AmazonS3ConfigKey| builder.get_config_value(&key).filter(|value| !value.is_empty());
                let region = of(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
                let in_host = of(AmazonS3ConfigKey::VirtualHostedStyleRequest).is_some_and(|value| value == "true");
                let url = match (of(AmazonS3ConfigKey::Endpoint), in_host) {
                    // Such an endpoint has the bucket's name already.
                    (Some(endpoint), true) => endpoint,
                    (Some(endpoint), false) => format!("{}/{name}", endpoint.trim_end_matches('/')),
                    (None, true) => format!("https://{name}.s3.{region}.amazonaws.com"),
                    (None, false) => format!("https://s3.{region}.amazonaws.com/{name}"),
                };
                (Store::S3 { store: Arc::new(builder.build()?), region }, url)
            }
            Some(Provider::Gcs) => {
                let builder = gcs_builder(name, options, secret)?;
                let base = builder.get_config_value(&GoogleConfigKey::BaseUrl).unwrap_or_else(|| GOOGLE.to_owned());
                (Store::Gcs(Arc::new(builder.build()?)), format!("{}/{name}", base.trim_end_matches('/')))
            }
            Some(Provider::Azure) | None => return Ok(None),
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .build()
            .map_err(failed)?;
        Ok(Some(Self { store, url: url.trim_end_matches('/').to_owned(), client }))
    }

    /// Those whose keys begin with a prefix.
    pub async fn list(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let mut found = Vec::new();
        let mut after: Option<(String, String)> = None;
        for _ in 0..PAGES_MAX {
            let mut url = Url::parse(&format!("{}/", self.url)).map_err(failed)?;
            url.query_pairs_mut().append_pair("uploads", "").append_pair("prefix", prefix);
            if let Some((key, id)) = &after {
                url.query_pairs_mut().append_pair("key-marker", key).append_pair("upload-id-marker", id);
            }
            let text = self.ask(url).await?;
            let (page, next) = read_page(&text)?;
            found.extend(page);
            match next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(found),
            }
        }
        Ok(found)
    }

    /// Gives one up: its parts are gone.
    pub async fn abort(&self, upload: &OpenUpload) -> Result<()> {
        let path = Path::parse(&upload.key)?;
        let aborted = match &self.store {
            Store::S3 { store, .. } => store.abort_multipart(&path, &upload.id).await,
            Store::Gcs(store) => store.abort_multipart(&path, &upload.id).await,
        };
        match aborted {
            Err(Error::NotFound { .. }) => Ok(()),
            aborted => aborted,
        }
    }

    async fn ask(&self, url: Url) -> Result<String> {
        let mut request = self.client.get(url.clone());
        match &self.store {
            Store::S3 { store, region } => {
                let credential = store.credentials().get_credential().await?;
                let mut signed = http::Request::new(HttpRequestBody::empty());
                *signed.uri_mut() = url.as_str().parse().map_err(failed)?;
                AwsAuthorizer::new(&credential, "s3", region).authorize(&mut signed, None);
                let mut headers = signed.headers().clone();
                headers.remove(HOST);
                request = request.headers(headers);
            }
            Store::Gcs(store) => {
                let credential = store.credentials().get_credential().await?;
                let value = HeaderValue::from_str(&format!("Bearer {}", credential.bearer));
                let mut value = value.map_err(failed)?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
        }
        let answer = request.send().await.map_err(|error| failed(error.without_url()))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(failed(format!("the list of uploads in {} is answered with {status}", self.url)));
        }
        answer.text().await.map_err(|error| failed(error.without_url()))
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "object store", source: source.into() }
}

/// One page of an answer, and key and id that the next begins after.
fn read_page(text: &str) -> Result<(Vec<OpenUpload>, Option<(String, String)>)> {
    let mut uploads = Vec::new();
    for one in elements(text, "Upload") {
        let of = |name: &str| elements(one, name).next().map(unescaped);
        let (Some(key), Some(id), Some(begun)) = (of("Key"), of("UploadId"), of("Initiated")) else {
            return Err(failed("an upload in a list has no key, id or time"));
        };
        let nanos = string_to_timestamp_nanos(&begun).map_err(failed)?;
        let begun = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        uploads.push(OpenUpload { key, id, begun });
    }
    let more = elements(text, "IsTruncated").next() == Some("true");
    let marker = |name: &str| elements(text, name).next().map(unescaped);
    let next = more.then(|| marker("NextKeyMarker").zip(marker("NextUploadIdMarker"))).flatten();
    Ok((uploads, next))
}

/// What is between `<name>` and `</name>`. In these answers no element has attributes, nor one of its own name in it.
fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let end = start + rest[start..].find(&close)?;
        let found = &rest[start..end];
        rest = &rest[end + close.len()..];
        Some(found)
    })
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&#39;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read() {
        let text = "<ListMultipartUploadsResult><Bucket>b</Bucket><NextKeyMarker>k&amp;2</NextKeyMarker>\
                    <NextUploadIdMarker>u2</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
                    <Upload><Key>k&amp;1</Key><UploadId>u1</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>\
                    <Upload><Key>k&amp;2</Key><UploadId>u2</UploadId><Initiated>2026-01-02T03:04:06.000Z</Initiated></Upload>\
                    </ListMultipartUploadsResult>";
        let (uploads, next) = read_page(text).unwrap();
        assert_eq!(uploads.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["k&1", "k&2"]);
        assert_eq!(uploads[1].begun.duration_since(uploads[0].begun).unwrap(), Duration::from_secs(1));
        assert_eq!(next, Some(("k&2".to_owned(), "u2".to_owned())));
        let (uploads, next) = read_page("<R><IsTruncated>false</IsTruncated></R>").unwrap();
        assert!(uploads.is_empty() && next.is_none());
    }
}
