//! The web server: HTTP/1.1, one request per connection, everything limited.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{Files, Key};

/// Connections at the same time, over all addresses. The CA opens a handful from each of its perspectives.
const CONNECTIONS: usize = 256;
/// For the head of a request to arrive. DigiCert's reference client gives up after 5 s itself.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// For a whole connection, from accepting to closing.
const ALL_WITHIN: Duration = Duration::from_secs(10);
/// For the head of a request.
const HEAD_OCTETS: usize = 16 * 1024;
/// For requests under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Listens on all addresses, or on none. Addresses of a family that the system does not know are left out, as long as
/// one is left.
pub(crate) fn bind(addrs: &[SocketAddr]) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut listeners = Vec::new();
    let mut unknown = None;
    for addr in addrs {
        match listen(*addr) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_unknown_family(&error) => unknown = Some((*addr, error)),
            Err(error) => return Err((*addr, error)),
        }
    }
    match unknown {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // Otherwise `[::]:80` would claim IPv4 too, and clash with `0.0.0.0:80`.
        socket.set_only_v6(true)?;
    }
    // On Unix: connections of an earlier run in TIME_WAIT do not block the port. Elsewhere it means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

fn is_unknown_family(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own: 97 on Linux, 47 on BSD and macOS, 10047 on Windows.
    matches!(error.raw_os_error(), Some(97 | 47 | 10047))
}

/// A running server. It stops when it is dropped; [`stop`](Self::stop) also waits until the ports are free.
#[derive(Debug)]
pub(crate) struct Server {
    addrs: Vec<SocketAddr>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) fn start(listeners: Vec<TcpListener>, files: &Files) -> Self {
        let (stopping, _) = watch::channel(false);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let addrs = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(accept(listener, files.clone(), Arc::clone(&room), stopping.subscribe()));
        }
        tracing::debug!(?addrs, "web server started");
        Self { addrs, stopping, tasks }
    }

    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Stops listening at once; requests under way get a moment to end.
    pub(crate) async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        tracing::debug!(addrs = ?self.addrs, "web server stopped");
    }
}

async fn accept(listener: TcpListener, files: Files, room: Arc<Semaphore>, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        // Those that have ended, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let files = files.clone();
                connections.spawn(async move {
                    let _place = place;
                    if let Ok(Err(error)) = timeout(ALL_WITHIN, serve(stream, files)).await {
                        tracing::debug!(%peer, %error, "connection ended early");
                    }
                });
            }
            // The peer was gone again, or file descriptors have run out: those come back as connections end.
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve(stream: TcpStream, files: Files) -> hyper::Result<()> {
    let answer = service_fn(|request| {
        let response = respond(&request, &files);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .max_buf_size(HEAD_OCTETS)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn respond(request: &Request<Incoming>, files: &Files) -> Response<String> {
    let plain = |status: StatusCode, body: &str| {
        let mut response = Response::new(body.to_owned());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    };
    // In the absolute form the host of the request line counts, not the header's (RFC 9112 section 3.2.2).
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST).and_then(|host| host.to_str().ok()),
    };
    let path = request.uri().path();
    let found = host.and_then(|host| files.get(&Key { host: plain_host(host), path: path.to_owned() }));
    tracing::debug!(host, path, found = found.is_some(), "request");
    match (found, request.method()) {
        (None, _) => plain(StatusCode::NOT_FOUND, "not found\n"),
        // The body of an answer to HEAD is left out by the protocol's layer below.
        (Some(body), &Method::GET | &Method::HEAD) => plain(StatusCode::OK, &body),
        (Some(_), _) => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    }
}

/// A host as it is compared: lower case, no port, no final dot.
pub(crate) fn plain_host(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        // `[2001:db8::1]` ends in a bracket, or has its port behind one.
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}
