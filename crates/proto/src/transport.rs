//! Where a peer is, and how to reach it: `http://host:port` over TCP, `https://host:port` over TLS, `inproc://name` inside this process.
//!
//! The second is what makes the embedded mode the same code path as the cluster: the same services, messages and
//! encodings, over a pair of in-memory pipes instead of a socket, and no port is opened.

use std::collections::HashMap;
use std::io;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tls::ClusterTls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that does not answer a ping is gone: a stopped process keeps its sockets open.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);
const PIPE_BYTES: usize = 1 << 20;
/// Connections that wait to be accepted.
const BACKLOG: usize = 64;
/// The largest control message. Plans of more are refused by the sender with a clear error.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

static IN_PROCESS: LazyLock<Mutex<HashMap<String, mpsc::Sender<io::Result<DuplexStream>>>>> =
    LazyLock::new(Mutex::default);

/// Incoming connections of an `inproc://` address; the address is free again when this is dropped.
pub struct InProcessListener {
    name: String,
    incoming: Option<ReceiverStream<io::Result<DuplexStream>>>,
}

impl InProcessListener {
    /// The address is `inproc://name`. Fails when the name is taken.
    pub fn bind(name: &str) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut listeners = IN_PROCESS.lock().expect("no code panics while it holds this lock");
        if listeners.get(name).is_some_and(|listener| !listener.is_closed()) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("inproc://{name} is taken")));
        }
        listeners.insert(name.to_owned(), sender);
        Ok(Self { name: name.to_owned(), incoming: Some(ReceiverStream::new(receiver)) })
    }

    pub fn address(&self) -> String {
        format!("inproc://{}", self.name)
    }

    /// The stream for tonic's `serve_with_incoming`; to be called once.
    pub fn incoming(&mut self) -> ReceiverStream<io::Result<DuplexStream>> {
        self.incoming.take().expect("incoming() is called once")
    }
}

impl Drop for InProcessListener {
    fn drop(&mut self) {
        IN_PROCESS.lock().expect("no code panics while it holds this lock").remove(&self.name);
    }
}

async fn connect_in_process(name: String) -> io::Result<TokioIo<DuplexStream>> {
    let listener = IN_PROCESS.lock().expect("no code panics while it holds this lock").get(&name).cloned();
    let gone = || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nothing listens at inproc://{name}"));
    let listener = listener.ok_or_else(gone)?;
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    listener.send(Ok(theirs)).await.map_err(|_| gone())?;
    Ok(TokioIo::new(ours))
}

/// A channel that connects on first use and again when the connection breaks.
pub fn channel(address: &str) -> Result<Channel, String> {
    channel_over(address, None)
}

/// Likewise; `tls` is for `https://host:port`.
pub fn channel_over(address: &str, tls: Option<&ClusterTls>) -> Result<Channel, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("address {address:?}: {e}");
    let Some(name) = address.strip_prefix("inproc://") else {
        let endpoint = configured(Endpoint::from_shared(address.to_owned()).map_err(|e| wrong(&e))?)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_while_idle(true);
        let endpoint = match (tls, address.starts_with("https://")) {
            (Some(tls), true) => endpoint.tls_config(tls.client()).map_err(|e| wrong(&e))?,
            (None, true) => return Err(wrong(&"it is spoken to with TLS, and cluster.tls_ca is not set")),
            (Some(_), false) => {
                return Err(wrong(&"it is spoken to without TLS, and cluster.tls_ca is set: write https://"));
            }
            (None, false) => endpoint,
        };
        return Ok(endpoint.connect_lazy());
    };
    let name = name.to_owned();
    let endpoint = configured(Endpoint::from_static("http://in.process"));
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| connect_in_process(name.clone()))))
}

fn configured(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
}
