//! Connections: HTTP/1.1 and HTTP/2 on one port, over TLS or in clear text, bounded in number, in headers and in patience.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use http::{HeaderValue, Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::tls::Tls;

/// More wait unaccepted, in the operating system's bounded queue.
const CONNECTIONS_MAX: usize = 2048;

/// From accepting a connection to its first request, whichever protocol it speaks.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// HTTP/1: from the end of one request to the end of the next one's headers, so also how long an idle connection is kept.
/// Above the 90 s after which common clients drop idle connections themselves: else they would now and then send a
/// request into one that we are closing.
const HEADER_READ_LIMIT: Duration = Duration::from_secs(100);

/// From accepting a connection to the end of its TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// A silent HTTP/2 peer is asked whether it lives after this long, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long running requests may take after the shutdown began.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Pause after an accept that failed for want of file descriptors or memory, which an instant retry would not find.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `shutdown` completes, then lets running requests end within five seconds.
///
/// Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future) -> io::Result<()> {
    serve_over(listener, None, router, shutdown).await
}

/// Likewise; with `tls` it speaks nothing else.
pub async fn serve_over(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    shutdown: impl Future,
) -> io::Result<()> {
    let stopping = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            _ = &mut shutdown => break,
            (stream, permit) = accept(&listener, &permits) => {
                let (tls, router, stopping) = (tls.clone(), router.clone(), stopping.clone());
                connections.spawn(async move {
                    greeted(stream, tls, router, stopping).await;
                    drop(permit);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stopping.cancel();
    let ended = timeout(SHUTDOWN_LIMIT, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::info!(connections = connections.len(), "closing connections whose requests did not end in time");
        connections.shutdown().await;
    }
    Ok(())
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // The peer gave up while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection, after its TLS handshake if there is to be one.
async fn greeted(stream: TcpStream, tls: Option<Tls>, router: Router, stopping: CancellationToken) {
    // Else the last part of a small answer waits for the peer's delayed acknowledgement: 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection keeps its send delay");
    }
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
    let Some(tls) = tls else { return connection(stream, peer, router, stopping, FIRST_REQUEST_LIMIT).await };
    match timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, peer, router, stopping, FIRST_REQUEST_LIMIT).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Option<Peer>,
    router: Router,
    stopping: CancellationToken,
    first_request_limit: Duration,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let service = TowerToHyperService::new(Marking { inner: router, asked: asked.clone(), peer });
    let builder = builder();
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first_request = pin!(sleep(first_request_limit));
    let (mut waiting, mut draining) = (true, false);
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error, "connection ended with an error");
                }
                return;
            }
            // Before it knows the protocol, hyper waits for a peer's first bytes without a limit of its own.
            () = first_request.as_mut(), if waiting => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                waiting = false;
            }
            () = stopping.cancelled(), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Where a request comes from: among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Notes that a connection has sent a whole request, and in each where it comes from.
#[derive(Clone)]
struct Marking<S> {
    inner: S,
    asked: Arc<AtomicBool>,
    peer: Option<Peer>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Marking<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.asked.store(true, Ordering::Relaxed);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        tell_host(&mut request);
        self.inner.call(request)
    }
}

/// HTTP/2 says with a request's address what HTTP/1 says in a header: whom the client has asked.
fn tell_host<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().filter(|_| !request.headers().contains_key(header::HOST));
    // A user and its password are none of it (RFC 9110, 4.2.4).
    let host =
        authority.map(|authority| authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host));
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_LIMIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(4 * HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(
        router: Router,
    ) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, shutdown.clone().cancelled_owned()));
        (address, shutdown, server)
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_the_next_request_until_shutdown() {
        let (address, shutdown, server) = start(Router::new().route("/", get(|| async { "yes" }))).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..3 {
            ask(&mut stream, "/").await;
            let mut answer = [0; 512];
            let read = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("yes"), "{answer}");
        }
        shutdown.cancel();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn both_protocols_say_whom_the_client_has_asked() {
        let asked = |uri: &str, host: Option<&str>| {
            let builder = host.iter().fold(Request::get(uri), |builder, host| builder.header(header::HOST, *host));
            let mut request = builder.body(()).unwrap();
            tell_host(&mut request);
            request.headers().get(header::HOST).map(|host| host.to_str().unwrap().to_owned())
        };
        assert_eq!(asked("https://wh.example:8642/x", None).as_deref(), Some("wh.example:8642"));
        assert_eq!(asked("https://ann:hush@wh.example/x", None).as_deref(), Some("wh.example"));
        assert_eq!(asked("/x", Some("wh.example")).as_deref(), Some("wh.example"));
        assert_eq!(asked("/x", None), None);
    }

    #[tokio::test]
    async fn a_body_that_fails_is_broken_off() {
        let failing = || async {
            let chunks = [Ok("some rows"), Err(io::Error::other("executor lost"))];
            Body::from_stream(futures::stream::iter(chunks))
        };
        let (address, _shutdown, _server) = start(Router::new().route("/", get(failing))).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, "/").await;
        let mut answer = Vec::new();
        // The connection ends, with or without a reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.ends_with(b"0\r\n\r\n"), "the last chunk must not be marked");
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _permit) = accept(&listener, &Arc::new(Semaphore::new(1))).await;
        let limit = Duration::from_millis(20);
        let served = tokio::spawn(connection(stream, None, Router::new(), CancellationToken::new(), limit));
        // The beginning of HTTP/2's greeting, and never its end.
        client.write_all(b"PRI * HT").await.unwrap();
        served.await.unwrap();
        assert!(matches!(client.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    }
}
