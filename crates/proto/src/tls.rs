//! Certificates between the processes of a cluster: each shows one of the cluster's authority, on both ends of a connection.

use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// From accepting a connection to the end of its handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// PEM texts. Its `Debug` shows none of them.
#[derive(Clone)]
pub struct ClusterTls {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// In place of addresses, what certificates are made out to.
    pub name: Option<String>,
}

impl std::fmt::Debug for ClusterTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterTls(…)")
    }
}

impl ClusterTls {
    /// Whoever has no certificate of the authority is not served.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
            .timeout(HANDSHAKE_LIMIT)
    }

    pub fn client(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .timeout(HANDSHAKE_LIMIT);
        match &self.name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }
}
