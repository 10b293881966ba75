//! Whose object store a URL is in, and how a bucket there is opened: with a secret, or with what the environment says.

use std::borrow::Cow;
use std::sync::Arc;

use frazil_catalog::SecretRecord;
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ObjectStore, StaticCredentialProvider};
use url::Url;

use super::StorageOptions;
use crate::secrets::{Kind, option};

/// Where Google's store is. Named, since a service account's key may name another place, which is not for statements to choose.
pub(super) const GOOGLE: &str = "https://storage.googleapis.com";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Provider {
    S3,
    Gcs,
    Azure,
}

impl Provider {
    /// By any spelling of its scheme.
    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" => Some(Self::S3),
            "gs" | "gcs" => Some(Self::Gcs),
            "az" | "azure" | "abfs" | "abfss" => Some(Self::Azure),
            _ => None,
        }
    }

    /// The spelling that is used within: in the catalog, in lists of roots and in scopes.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    /// `bucket` is a URL without a path.
    pub(super) fn open(
        self,
        bucket: &str,
        options: &StorageOptions,
        secret: Option<&SecretRecord>,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let name = bucket.split_once("://").map_or(bucket, |(_, name)| name);
        fn opened<T: ObjectStore>(built: object_store::Result<T>) -> object_store::Result<Arc<dyn ObjectStore>> {
            built.map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
        }
        let opened = match self {
            Self::S3 => s3_builder(name, options, secret).and_then(|builder| opened(builder.build())),
            Self::Gcs => gcs_builder(name, options, secret).and_then(|builder| opened(builder.build())),
            Self::Azure => azure_builder(name, options, secret).and_then(|builder| opened(builder.build())),
        };
        opened.map_err(|error| match secret {
            // Whoever could not read a key may quote it.
            Some(secret) => {
                tracing::debug!(secret = secret.name, bucket, "a store could not be opened");
                let source = format!("secret \"{}\" does not open {bucket}", secret.name).into();
                object_store::Error::Generic { store: "object store", source }
            }
            None => error,
        })
    }
}

/// The same URL, with the scheme that is used within. Text without a scheme is left as it is.
pub fn plain_scheme(location: &str) -> Cow<'_, str> {
    match location.split_once("://").and_then(|(scheme, rest)| Some((scheme, Provider::of_scheme(scheme)?, rest))) {
        Some((scheme, provider, rest)) if scheme != provider.scheme() => {
            Cow::Owned(format!("{}://{rest}", provider.scheme()))
        }
        _ => Cow::Borrowed(location),
    }
}

/// `https://host:port`, or `host:port`, which leaves the scheme to `tls`. Of Azure's endpoints, the account may be the path.
pub(crate) fn endpoint_url(endpoint: &str, tls: bool, path_allowed: bool) -> Option<Url> {
    let scheme = if tls { "https" } else { "http" };
    let text = if endpoint.contains("://") { endpoint.to_owned() } else { format!("{scheme}://{endpoint}") };
    let url = Url::parse(&text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none() && (path_allowed || url.path() == "/");
    (plain && bare).then_some(url)
}

/// Of a secret, looked at again: it was when the secret was made, but the list of allowed ones may have become shorter since.
fn endpoint_of(options: &StorageOptions, secret: Option<&SecretRecord>) -> object_store::Result<Option<Url>> {
    let Some(secret) = secret else { return Ok(None) };
    let Some(endpoint) = option(&secret.options, "endpoint") else { return Ok(None) };
    options
        .check_endpoint(secret)
        .map_err(|failure| object_store::Error::Generic { store: "object store", source: Box::new(failure) })?;
    let tls = option(&secret.options, "use_ssl") != Some("false");
    Ok(endpoint_url(endpoint, tls, secret.kind == Kind::Azure.name()))
}

fn text_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

// A secret is in place of the environment, not beside it: each of these begins with one or the other.

pub(super) fn s3_builder(
    bucket: &str,
    options: &StorageOptions,
    secret: Option<&SecretRecord>,
) -> object_store::Result<AmazonS3Builder> {
    let mut builder = match secret {
        None => AmazonS3Builder::from_env(),
        Some(_) => AmazonS3Builder::new(),
    };
    builder = builder.with_bucket_name(bucket).with_allow_http(options.s3_allow_http);
    if let Some(endpoint) = &options.s3_endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.s3_region {
        builder = builder.with_region(region);
    }
    if let Some(SecretRecord { options: given, .. }) = secret {
        let set: [(&str, fn(AmazonS3Builder, String) -> AmazonS3Builder); 4] = [
            ("key_id", AmazonS3Builder::with_access_key_id),
            ("secret", AmazonS3Builder::with_secret_access_key),
            ("session_token", AmazonS3Builder::with_token),
            ("region", AmazonS3Builder::with_region),
        ];
        for (key, set) in set {
            if let Some(value) = option(given, key) {
                builder = set(builder, value.to_owned());
            }
        }
        builder = builder.with_virtual_hosted_style_request(option(given, "url_style") == Some("vhost"));
    }
    if let Some(endpoint) = endpoint_of(options, secret)? {
        builder = builder.with_allow_http(endpoint.scheme() == "http").with_endpoint(text_of(&endpoint));
    }
    Ok(builder)
}

pub(super) fn gcs_builder(
    bucket: &str,
    options: &StorageOptions,
    secret: Option<&SecretRecord>,
) -> object_store::Result<GoogleCloudStorageBuilder> {
    let configured = options.gcs_endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    let Some(given) = secret.map(|secret| &secret.options) else {
        let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
        if let Some(endpoint) = configured {
            builder = builder.with_base_url(&endpoint);
        }
        return Ok(builder);
    };
    let endpoint = endpoint_of(options, secret)?.map(|url| text_of(&url)).or(configured);
    let endpoint = endpoint.unwrap_or_else(|| GOOGLE.to_owned());
    let allow_http = endpoint.starts_with("http://").to_string();
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_base_url(&endpoint)
        .with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), allow_http);
    if let Some(key) = option(given, "service_account_key") {
        builder = builder.with_service_account_key(key);
    }
    if let Some(token) = option(given, "bearer_token") {
        let credential = GcpCredential { bearer: token.to_owned() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
    }
    Ok(builder)
}

fn azure_builder(
    container: &str,
    options: &StorageOptions,
    secret: Option<&SecretRecord>,
) -> object_store::Result<MicrosoftAzureBuilder> {
    let mut builder = match secret {
        None => MicrosoftAzureBuilder::from_env(),
        Some(_) => MicrosoftAzureBuilder::new(),
    };
    builder = builder.with_container_name(container);
    if let Some(account) = &options.azure_account {
        builder = builder.with_account(account);
    }
    if let Some(SecretRecord { options: given, .. }) = secret {
        for (key, of) in [
            ("account_name", AzureConfigKey::AccountName),
            ("account_key", AzureConfigKey::AccessKey),
            ("sas_token", AzureConfigKey::SasKey),
            ("bearer_token", AzureConfigKey::Token),
            ("tenant_id", AzureConfigKey::AuthorityId),
            ("client_id", AzureConfigKey::ClientId),
            ("client_secret", AzureConfigKey::ClientSecret),
        ] {
            if let Some(value) = option(given, key) {
                builder = builder.with_config(of, value);
            }
        }
    }
    let configured = options.azure_endpoint.as_deref().and_then(|endpoint| endpoint_url(endpoint, true, true));
    if let Some(endpoint) = endpoint_of(options, secret)?.or(configured) {
        builder = builder.with_allow_http(endpoint.scheme() == "http").with_endpoint(text_of(&endpoint));
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_place() {
        for (given, plain) in [
            ("gcs://b/p", "gs://b/p"),
            ("gs://b/p", "gs://b/p"),
            ("azure://c", "az://c"),
            ("abfss://c/p", "az://c/p"),
            ("s3://b", "s3://b"),
            ("https://host/p", "https://host/p"),
            ("/dir/gcs", "/dir/gcs"),
        ] {
            assert_eq!(plain_scheme(given), plain);
        }
    }
}
