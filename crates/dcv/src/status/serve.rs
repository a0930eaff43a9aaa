//! The server: which address shows what.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Path, Query, State},
    http::{StatusCode, header},
    middleware,
    response::{
        Html, IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};

use super::{
    Board,
    guard::{self, Guard},
    history, metrics, overview,
};
use crate::{
    config::Config,
    exit::{Code, Failure, Result},
};

/// How long a watcher is left alone after it was told: many changes at once are one to those who look.
const CALM: Duration = Duration::from_millis(250);
/// Beyond its interval, how long a look at the account may take until it counts as missed.
const LATE: SignedDuration = SignedDuration::from_mins(5);

#[derive(Clone)]
struct Served {
    board: Board,
    guard: Guard,
}

impl FromRef<Served> for Board {
    fn from_ref(served: &Served) -> Self {
        served.board.clone()
    }
}

impl FromRef<Served> for Guard {
    fn from_ref(served: &Served) -> Self {
        served.guard.clone()
    }
}

impl Board {
    /// Serves pages, metrics and health until dropped.
    pub(crate) async fn serve(&self, address: SocketAddr, config: &Config) -> Result<Server> {
        let token = match &config.keep.token {
            Some(token) => {
                let read = token.read("keep.token").await;
                Some(read.map_err(|error| Failure::new(Code::Usage, error.to_string()))?)
            }
            None => None,
        };
        let guard = Guard::new(token, &config.keep.hosts);
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            Failure::usage("keep.listen", format!("`{address}` cannot be listened on: {error}; choose another"))
        })?;
        let app = app(Served { board: self.clone(), guard });
        Ok(Server(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::warn!(%error, "the dashboard has ended");
            }
        })))
    }
}

/// Serves until dropped.
pub(crate) struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn app(served: Served) -> Router {
    let guarded = Router::new()
        .route("/", get(page))
        .route("/kept/{label}", get(page_of_one))
        .route("/events", get(events))
        .route("/metrics", get(in_prometheus))
        .route("/leave", post(guard::leave))
        .route_layer(middleware::from_fn_with_state(served.clone(), guard::admit));
    guarded
        .route("/enter", post(guard::enter))
        .route(
            "/style.css",
            get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css"))),
        )
        .route(
            "/live.js",
            get(async || ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("live.js"))),
        )
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn_with_state(served.clone(), guard::shield))
        .with_state(served)
}

async fn page(State(served): State<Served>, Query(asked): Query<overview::Asked>) -> Html<String> {
    let shared = served.board.lock();
    Html(overview::page(&shared, &asked, served.guard.has_token(), Timestamp::now()))
}

async fn page_of_one(State(served): State<Served>, Path(label): Path<String>) -> Response {
    let journal = served.board.lock().journal.clone();
    let runs = match journal {
        Some(journal) => history::read(&*journal, &label).await,
        None => Ok(Vec::new()),
    };
    let shared = served.board.lock();
    match history::page(&shared, &label, &runs, served.guard.has_token(), Timestamp::now()) {
        Some(page) => Html(page).into_response(),
        None => (StatusCode::NOT_FOUND, Html(overview::nothing(served.guard.has_token()))).into_response(),
    }
}

/// Says that something has changed, and nothing else: what, the page tells who looks.
async fn events(State(board): State<Board>) -> Response {
    let Ok(seat) = Arc::clone(&board.seats).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many watch already\n").into_response();
    };
    let watcher = (board.version.subscribe(), seat);
    let changes = stream::unfold(watcher, async |(mut watcher, seat)| {
        watcher.changed().await.ok()?;
        tokio::time::sleep(CALM).await;
        let version = *watcher.borrow_and_update();
        Some((Ok::<_, Infallible>(Event::default().data(version.to_string())), (watcher, seat)))
    });
    Sse::new(changes).keep_alive(KeepAlive::default()).into_response()
}

async fn in_prometheus(State(board): State<Board>) -> impl IntoResponse {
    let text = metrics::in_prometheus(&board.lock(), Timestamp::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Ready: the account was looked at lately, and what is done can be written down. Says no secrets, for anybody may ask.
async fn ready(State(board): State<Board>) -> (StatusCode, &'static str) {
    let (looked, interval, journal) = {
        let shared = board.lock();
        (shared.account.looked, shared.account.interval, shared.journal.clone())
    };
    let (Some(looked), Some(journal)) = (looked, journal) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: nothing was looked at yet\n");
    };
    if !is_recent(looked, interval, Timestamp::now()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the CA was not reached lately\n");
    }
    if let Err(error) = journal.check_writable().await {
        tracing::warn!(%error, "not ready");
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the journal cannot be written\n");
    }
    (StatusCode::OK, "ready\n")
}

/// Whether a look counts as one of lately: no older than the time between two, and what one may take.
fn is_recent(looked: Timestamp, interval: Duration, now: Timestamp) -> bool {
    let patience = SignedDuration::try_from(interval).unwrap_or(SignedDuration::MAX).saturating_add(LATE);
    now.duration_since(looked) <= patience
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_of_lately_until_the_next_one_was_missed() {
        let looked: Timestamp = "2027-05-01T00:00:00Z".parse().expect("a timestamp");
        let after = |minutes| is_recent(looked, Duration::from_secs(600), looked + SignedDuration::from_mins(minutes));
        assert!(after(0) && after(15) && !after(16) && !after(600));
        assert!(is_recent(looked, Duration::MAX, looked + SignedDuration::from_hours(24)));
    }
}
