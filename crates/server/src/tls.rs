//! TLS for clients: a certificate and its key, and which protocols are spoken over it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a server shows its clients. TLS 1.2 and 1.3; HTTP/2 where the client can.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Of PEM files: the server's certificate with those above it, and its private key.
    pub fn from_files(certificate: &Path, key: &Path) -> io::Result<Self> {
        let wrong = |path: &Path, why: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| wrong(certificate, &error))?;
        let chain: Result<Vec<_>, _> = chain.collect();
        let chain = chain.map_err(|error| wrong(certificate, &error))?;
        if chain.is_empty() {
            return Err(wrong(certificate, &"there is no certificate in it"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| wrong(certificate, &error))?.with_no_client_auth();
        let mut config = config.with_single_cert(chain, private).map_err(|error| wrong(certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}
