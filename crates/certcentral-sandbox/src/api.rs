//! The counter: the routes of the Services API below `/services/v2`, and what every request passes on its way: faults,
//! the key, the rate limit, the key's role, the log. Handlers read JSON and write JSON; what an order may do next is
//! decided in `state`.

mod account;
mod again;
mod certificates;
mod containers;
mod control;
mod csv;
mod domains;
mod input;
mod order_list;
mod orders;
mod organizations;
mod placing;
mod products;
mod query;
mod requests;
mod revoking;
mod validity;
mod webhooks;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json, Router, ServiceExt,
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, post, put},
    serve::{IncomingStream, Listener},
};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tower::util::ServiceExt as _;

use crate::{
    account::{ApiKey, Role},
    faults::{Fault, OF_REQUEST},
    state::life::Shared,
};

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query, below the host.
    pub path: String,
    /// The answer's status; 0 when the answer was dropped on purpose.
    pub status: u16,
}

pub(crate) use certificates::chain_of;

/// Where the API is on its host.
pub(crate) const PREFIX: &str = "/services/v2";

/// The code for a key that is none.
const INVALID_KEY: &str = "access_denied|access_denied_invalid_key";

/// What a handler gives.
type Answer = Result<Response, ApiError>;
/// What all handlers work on.
type Sandbox = State<Arc<Shared>>;

/// An answer of the form `{"errors":[{"code","message"}]}`.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self { status, code: code.to_owned(), message: message.to_owned() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message }] });
        (self.status, Json(body)).into_response()
    }
}

fn bad_request(code: &str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

fn not_found(what: &str) -> ApiError {
    let message = match what {
        "route" => "The specified route was not found.".to_owned(),
        _ => format!("The specified {what} was not found."),
    };
    ApiError::new(StatusCode::NOT_FOUND, &format!("not_found|{what}"), &message)
}

/// The vendor's words for errors it does not explain.
const UNEXPLAINED: &str = "An error occurred while processing your request.";

#[expect(clippy::unnecessary_wraps, reason = "handlers end with it")]
fn ok(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

#[expect(clippy::unnecessary_wraps, reason = "handlers end with it")]
fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[expect(clippy::unnecessary_wraps, reason = "handlers end with it")]
fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Reads the id of a path; anything else is nobody's.
fn id_of(reference: &str, what: &str) -> Result<u64, ApiError> {
    reference.parse().map_err(|_| not_found(what))
}

/// The caller, once the key is known.
#[derive(Clone)]
struct Caller(ApiKey);

/// A download that must have the wrong certificate in it.
#[derive(Clone, Copy)]
struct WrongPem;

/// Answers until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    // Before the routes are looked at: clients in use write a slash before the query.
    let app = router(shared).map_request(without_final_slash as fn(Request) -> Request);
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<Peer>(app);
    let listener = match tls {
        Some(config) => Severable::tls(listener, config),
        None => Ok(Severable::Plain(listener)),
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the sandbox cannot listen"),
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the sandbox stopped");
    }
}

fn without_final_slash(mut request: Request) -> Request {
    let uri = request.uri();
    if let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(shorter) = format!("{}{query}", path.trim_end_matches('/')).parse() {
            *request.uri_mut() = shorter;
        }
    }
    request
}

fn router(shared: Arc<Shared>) -> Router {
    let services = Router::new()
        .route("/order/certificate", get(order_list::list))
        .route("/order/certificate/status-changes", get(order_list::status_changes))
        .route("/order/alternate/{id}", get(order_list::by_alternative_id))
        .route("/order/certificate/{id}", get(orders::info).post(placing::place))
        .route("/order/certificate/{id}/validation", get(orders::validation))
        .route("/order/certificate/{id}/csr", post(account::add_csr))
        .route("/order/certificate/{id}/custom-field", post(account::set_custom_field))
        .route("/order/certificate/{id}/status", put(orders::update_status))
        .route("/order/certificate/{id}/dcv-method", put(orders::change_method))
        .route("/order/certificate/{id}/dcv-random-value", put(orders::random_value))
        .route("/order/certificate/{id}/check-dcv", put(orders::check))
        .route("/order/certificate/{id}/resend-emails", put(orders::resend))
        .route("/order/certificate/{id}/reissue", get(again::reissues).post(again::reissue))
        .route("/order/certificate/{id}/duplicate", get(again::duplicates).post(again::duplicate))
        .route("/order/certificate/{id}/revoke", put(revoking::revoke_order))
        .route("/certificate/intermediates", get(certificates::intermediates))
        .route("/certificate/{id}/chain", get(certificates::chain))
        .route("/certificate/{id}/archive", put(certificates::archive))
        .route("/certificate/{id}/unarchive", put(certificates::unarchive))
        .route("/certificate/{id}/revoke", put(revoking::revoke))
        .route("/certificate/{id}/download/platform", get(certificates::download_platform))
        .route("/certificate/{id}/download/platform/{platform}", get(certificates::download_of_platform))
        .route("/certificate/{id}/download/format/{format}", get(certificates::download_format))
        .route("/certificate/download/order/{id}", get(certificates::download_order))
        .route("/certificate/download/order/{id}/format/{format}", get(certificates::download_order_format))
        .route("/domain", get(domains::list).post(domains::add))
        .route("/domain/dcv/method", get(domains::methods))
        .route("/domain/validation-type", get(domains::types))
        .route("/domain/{id}", get(domains::info).delete(domains::delete))
        .route("/domain/{id}/validation", get(domains::validation).post(domains::submit))
        .route("/domain/{id}/dcv/method", put(domains::change_method))
        .route("/domain/{id}/dcv/token", post(domains::new_token))
        .route("/domain/{id}/dcv/validate-token", put(domains::check))
        .route("/domain/{id}/dcv/emails", get(domains::emails).put(domains::resend))
        .route("/domain/{id}/activate", put(domains::activate))
        .route("/domain/{id}/deactivate", put(domains::deactivate))
        .route("/organization", get(organizations::list).post(organizations::add))
        .route("/organization/potential-approvers", get(organizations::potential_approvers))
        .route("/organization/{id}", get(organizations::info))
        .route("/organization/{id}/validation", get(organizations::validation).post(organizations::submit))
        .route("/organization/{id}/activate", put(organizations::activate))
        .route("/organization/{id}/deactivate", put(organizations::deactivate))
        .route("/container", get(containers::list))
        .route("/container/{id}", get(containers::info))
        .route("/container/{id}/children", get(containers::children))
        .route("/request", get(requests::list))
        .route("/request/{id}", get(requests::info))
        .route("/request/{id}/status", put(requests::update_status))
        .route("/product", get(products::list))
        .route("/product/{name_id}", get(products::info))
        .route("/user", get(account::users))
        .route("/user/me", get(account::me))
        .route("/webhook", get(webhooks::list).post(webhooks::create))
        .route("/webhook/test-endpoint", post(webhooks::test_endpoint))
        .route("/webhook/event-logs", get(webhooks::event_logs))
        .route("/webhook/{id}", put(webhooks::update))
        .route("/webhook/{id}/activate", put(webhooks::activate))
        .route("/webhook/{id}/deactivate", put(webhooks::deactivate))
        .route("/webhook/{id}/send-challenge", put(webhooks::challenge))
        .route("/webhook/{id}/check-challenge", put(webhooks::challenge))
        .route("/account", get(account::info))
        .route("/account/metadata", get(account::custom_fields).post(account::add_custom_field))
        .route("/container/{id}/order/organization", get(containers::organizations))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), front_door));
    Router::new().nest(PREFIX, services).nest("/sandbox", control::router()).fallback(no_route).with_state(shared)
}

/// The answer to one call, without a connection: status and body. Nothing for what is no HTTP.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    key: &str,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Option<(u16, Vec<u8>)> {
    let peer = Peer { address: SocketAddr::from(([127, 0, 0, 1], 1)), cut: Arc::default() };
    let request = Request::builder().method(method).uri(format!("{PREFIX}{path}"));
    let request = request.header("x-dc-devkey", key).header(header::CONTENT_TYPE, "application/json");
    let mut request = request.body(body.into()).ok()?;
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router(Arc::clone(shared)).oneshot(without_final_slash(request)).await.ok()?;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.ok()?;
    Some((status, body.to_vec()))
}

async fn no_route() -> ApiError {
    not_found("route")
}

/// What every request to the API passes.
async fn front_door(
    State(shared): Sandbox,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().to_string();
    // The router has cut the prefix off.
    let path = format!("{PREFIX}{}", request.uri());
    let writes = request.method() != Method::GET;
    let asked = request.headers().get("x-sandbox-fault").and_then(|value| value.to_str().ok());
    let fault = match asked.map(str::parse::<Fault>) {
        Some(Ok(fault)) => Some(fault),
        Some(Err(unknown)) => return bad_request("sandbox_fault", &unknown).into_response(),
        None => shared.faults.of_request(&method, &path),
    };
    let mut answer = match fault {
        Some(Fault::RateLimited) => rate_limited().into_response(),
        Some(Fault::Html(status)) => html_error(status),
        _ => {
            if let Some(Fault::Delay(wait)) = fault {
                tokio::time::sleep(wait).await;
            }
            if fault == Some(Fault::WrongPem) {
                request.extensions_mut().insert(WrongPem);
            }
            if fault == Some(Fault::Expire) {
                shared.expire_values();
            }
            match (admit(&shared, &mut request), fault) {
                (Ok(()), Some(Fault::Look(fault))) => OF_REQUEST.scope(fault, next.run(request)).await,
                (Ok(()), _) => next.run(request).await,
                (Err(refused), _) => refused.into_response(),
            }
        }
    };
    if writes {
        shared.deliver();
        shared.deliver_hooks();
        shared.save().await;
        shared.wake.notify_one();
    }
    let mut status = answer.status().as_u16();
    if fault == Some(Fault::Drop) {
        peer.sever();
        answer = StatusCode::OK.into_response();
        status = 0;
    }
    tracing::debug!(method, path, status, "answered");
    shared.seen.lock().expect("no panic while held").push(Seen { method, path, status });
    answer
}

fn rate_limited() -> ApiError {
    let message = "Service unavailable, please limit request volume";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "request_limit_exceeded", message)
}

/// A page such as gateways put before an API that is down.
fn html_error(status: StatusCode) -> Response {
    let page =
        format!("<html>\r\n<head><title>{status}</title></head>\r\n<body><h1>{status}</h1></body>\r\n</html>\r\n");
    (status, Html(page)).into_response()
}

/// Key, rate limit and role.
fn admit(shared: &Shared, request: &mut Request) -> Result<(), ApiError> {
    let Some(key) = request.headers().get("x-dc-devkey").and_then(|value| value.to_str().ok()) else {
        let message = "An API key is required in the X-DC-DEVKEY header.";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, INVALID_KEY, message));
    };
    let Some(known) = shared.config.keys.iter().find(|known| known.key.expose_secret() == key).cloned() else {
        // As recorded from the service in 2023.
        let message = "Access denied due to access_denied_invalid_key.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, INVALID_KEY, message));
    };
    if !shared.limiter.admit(key, shared.clock.unhurried()) {
        return Err(rate_limited());
    }
    let path = request.uri().path();
    let account = path.starts_with("/domain") || path.starts_with("/organization");
    let allowed = match known.role {
        Role::Administrator | Role::OrdersDomainsOrganizations => true,
        Role::Orders => request.method() == Method::GET || !account,
        Role::ViewOnly => request.method() == Method::GET,
    };
    if !allowed {
        let message = "You do not have permission to perform this action.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "access_denied|missing_permission", message));
    }
    request.extensions_mut().insert(Caller(known));
    Ok(())
}

/// A listener whose connections can be cut in the middle of an answer.
enum Severable {
    Plain(TcpListener),
    /// Connections whose handshake is done: a caller that dawdles over its own holds nobody up.
    Tls {
        address: SocketAddr,
        ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
        accepting: JoinHandle<()>,
    },
}

impl Severable {
    fn tls(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(64);
        let accepting = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(config);
            loop {
                let Ok((stream, peer)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = handshake {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self::Tls { address, ready, accepting })
    }
}

impl Drop for Severable {
    fn drop(&mut self) {
        if let Self::Tls { accepting, .. } = self {
            accepting.abort();
        }
    }
}

/// How long a caller may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What both kinds of connection are.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Listener for Severable {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        match self {
            Self::Plain(listener) => {
                let (stream, address) = <TcpListener as Listener>::accept(listener).await;
                // Small answers must not wait for the client's acknowledgement.
                let _ = stream.set_nodelay(true);
                (Wire::new(stream), address)
            }
            Self::Tls { ready, .. } => match ready.recv().await {
                Some((stream, address)) => (Wire::new(stream), address),
                None => std::future::pending().await,
            },
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(listener) => listener.local_addr(),
            Self::Tls { address, .. } => Ok(*address),
        }
    }
}

/// One connection.
struct Wire {
    stream: Box<dyn Stream>,
    cut: Arc<AtomicBool>,
    at: RequestLine,
    /// Read and not asked for yet.
    ready: Vec<u8>,
}

impl Wire {
    fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), cut: Arc::default(), at: RequestLine::Method, ready: Vec::new() }
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..length]);
        self.ready.drain(..length);
    }
}

/// Where a connection is in a request. Clients in use write `<` and `>` into a query as they are (`filters[valid_till]=>2026-01-01`), the
/// service takes them, and the HTTP library does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestLine {
    Method,
    Slash,
    Target,
    /// Behind the target: nothing is changed until an answer was written. Whatever does not begin like a request line is no other.
    Over,
}

impl RequestLine {
    /// What stands for `byte`, into `out`.
    fn pass(&mut self, byte: u8, out: &mut Vec<u8>) {
        *self = match (*self, byte) {
            (Self::Method, b'A'..=b'Z') => Self::Method,
            (Self::Method, b' ') => Self::Slash,
            (Self::Target, b'<' | b'>') => return out.extend(if byte == b'<' { b"%3C" } else { b"%3E" }),
            (Self::Slash, b'/') | (Self::Target, b'!'..) => Self::Target,
            _ => Self::Over,
        };
        out.push(byte);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.ready.is_empty() {
            if wire.at == RequestLine::Over {
                return Pin::new(&mut wire.stream).poll_read(cx, buf);
            }
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            std::task::ready!(Pin::new(&mut wire.stream).poll_read(cx, &mut read))?;
            for byte in read.filled() {
                wire.at.pass(*byte, &mut wire.ready);
            }
        }
        wire.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        // After an answer comes another request; after an interim one the rest of this.
        if !buf.starts_with(b"HTTP/1.1 1") {
            self.at = RequestLine::Method;
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who is at the other end, and the knife.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Peer {
    /// The connection ends instead of carrying another answer.
    fn sever(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, Severable>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Severable>) -> Self {
        Self { address: *stream.remote_addr(), cut: Arc::clone(&stream.io().cut) }
    }
}

/// An answer with a file in it.
#[expect(clippy::unnecessary_wraps, reason = "handlers end with it")]
fn file(content_type: &str, name: &str, body: Vec<u8>) -> Answer {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, body).into_response())
}
