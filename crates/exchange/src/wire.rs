//! What exchange streams run over: TCP, and TLS over it where the cluster has certificates.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// Both ends show a certificate of the cluster's authority.
#[derive(Clone)]
pub struct LinkTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// In place of addresses, what certificates are made out to.
    name: Option<ServerName<'static>>,
}

impl LinkTls {
    /// Of PEM texts: the authority's certificate, one's own with those above it, and its key.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8], name: Option<&str>) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let certificates = |pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, String> {
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| text(&error))
        };
        let private = || PrivateKeyDer::from_pem_slice(key).map_err(|error| text(&error));
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots.add(root).map_err(|error| text(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider.clone());
        let verifier = verifier.build().map_err(|error| text(&error))?;
        let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server = server.map_err(|error| text(&error))?.with_client_cert_verifier(verifier);
        let server = server.with_single_cert(certificates(certificate)?, private()?).map_err(|error| text(&error))?;
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.map_err(|error| text(&error))?.with_root_certificates(roots);
        let client = client.with_client_auth_cert(certificates(certificate)?, private()?);
        let client = client.map_err(|error| text(&error))?;
        let name = name.map(|name| ServerName::try_from(name.to_owned()).map_err(|error| text(&error))).transpose()?;
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        Ok(Self { acceptor, connector, name })
    }
}

/// One connection.
pub enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// `address` is `host:port`.
    pub async fn connect(address: &str, tls: Option<&LinkTls>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Self::Tcp(stream)) };
        let name = match &tls.name {
            Some(name) => name.clone(),
            None => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
                ServerName::try_from(host.to_owned()).map_err(io::Error::other)?
            }
        };
        let stream = tls.connector.connect(name, stream).await?;
        Ok(Self::Tls(Box::new(stream.into())))
    }

    pub async fn accept(stream: TcpStream, tls: Option<&LinkTls>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        match tls {
            None => Ok(Self::Tcp(stream)),
            Some(tls) => Ok(Self::Tls(Box::new(tls.acceptor.accept(stream).await?.into()))),
        }
    }

    /// To be read by another runtime. What TLS holds stays with the one that it was made on, which then wakes the other.
    pub fn release(self) -> io::Result<Released> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Released::Tcp),
            Self::Tls(stream) => Ok(Released::Tls(stream)),
        }
    }

    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Self::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (ReadHalf::Tls(read), WriteHalf::Tls(write))
            }
        }
    }
}

/// A connection between two runtimes.
pub enum Released {
    Tcp(std::net::TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Released {
    pub fn take(self) -> io::Result<Wire> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Wire::Tcp),
            Self::Tls(stream) => Ok(Wire::Tls(stream)),
        }
    }
}

pub enum ReadHalf {
    Tcp(OwnedReadHalf),
    Tls(tokio::io::ReadHalf<TlsStream<TcpStream>>),
}

pub enum WriteHalf {
    Tcp(OwnedWriteHalf),
    Tls(tokio::io::WriteHalf<TlsStream<TcpStream>>),
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

macro_rules! writes {
    ($kind:ident, $stream:ident => $inner:expr) => {
        impl AsyncWrite for $kind {
            fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
                    Self::Tls($stream) => Pin::new($inner).poll_write(context, bytes),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
                    Self::Tls($stream) => Pin::new($inner).poll_write_vectored(context, pieces),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::Tcp(stream) => stream.is_write_vectored(),
                    Self::Tls(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
                    Self::Tls($stream) => Pin::new($inner).poll_flush(context),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
                    Self::Tls($stream) => Pin::new($inner).poll_shutdown(context),
                }
            }
        }
    };
}

writes!(Wire, stream => stream.as_mut());
writes!(WriteHalf, stream => stream);
