//! The cluster's shared secret: each control message and exchange stream shows it, so that a stranger who reaches a port
//! gets nothing.

use std::fmt;

use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::tls::ClusterTls;

/// Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret(String);

impl ClusterSecret {
    /// Visible ASCII, so that it fits a header; at least 16 characters.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let text = text.trim();
        if text.len() < 16 {
            return Err("the cluster secret must have at least 16 characters".to_owned());
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the cluster secret may hold visible ASCII characters only".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string() + &uuid::Uuid::new_v4().simple().to_string())
    }

    /// For handing it to a child process or a file of mode 0600.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in time that does not depend on where the texts differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        let own = self.0.as_bytes();
        own.len() == other.len() && own.iter().zip(other).fold(0u8, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(…)")
    }
}

/// All that processes of a cluster show each other.
#[derive(Clone, Debug)]
pub struct ClusterCredentials {
    pub secret: ClusterSecret,
    /// Without it they speak in clear text.
    pub tls: Option<ClusterTls>,
}

impl From<ClusterSecret> for ClusterCredentials {
    fn from(secret: ClusterSecret) -> Self {
        Self { secret, tls: None }
    }
}

const HEADER: &str = "frazil-cluster-secret";

/// Client side: adds the secret to each request.
#[derive(Clone)]
pub struct ShowSecret(MetadataValue<tonic::metadata::Ascii>);

impl ShowSecret {
    pub fn new(secret: &ClusterSecret) -> Self {
        let mut value = MetadataValue::try_from(secret.reveal()).expect("checked to be visible ASCII when made");
        value.set_sensitive(true);
        Self(value)
    }
}

impl Interceptor for ShowSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(HEADER, self.0.clone());
        Ok(request)
    }
}

/// Server side: refuses requests without it.
#[derive(Clone)]
pub struct DemandSecret(pub ClusterSecret);

impl Interceptor for DemandSecret {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match request.metadata().get(HEADER) {
            Some(shown) if self.0.matches(shown.as_bytes()) => Ok(request),
            _ => Err(Status::unauthenticated("the cluster secret is missing or wrong")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_matches() {
        let secret = ClusterSecret::new("0123456789abcdef").unwrap();
        assert!(secret.matches(b"0123456789abcdef"));
        assert!(!secret.matches(b"0123456789abcdeg"));
        assert!(!secret.matches(b""));
        assert!(ClusterSecret::new("short").is_err());
        assert_eq!(format!("{secret:?}"), "ClusterSecret(…)");
    }
}
