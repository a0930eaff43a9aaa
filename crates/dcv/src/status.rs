//! What `dcv run` shows of itself while it runs: a page for people, metrics for Prometheus, health for supervisors.
//!
//! All of it is read from one [`Board`], which the keeper writes. The page is made here, on the server, without scripts: it
//! reloads itself. It listens to this machine only, or wants a token.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use certcentral::Client;
use dcv_core::{Event, Observer, RunId, keeper::Task};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    config::Config,
    exit::{Code, Failure, Result},
    keeper::Inventory,
    show::words_of,
};

/// How many events are remembered for the page.
const EVENTS: usize = 100;
/// How often the page reloads itself, in seconds.
const RELOAD: u32 = 10;
/// Upper bounds of the histogram of propagation times, in seconds.
const BUCKETS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// What is shown. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Board {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    tasks: Vec<Task>,
    /// Life of the certificates that are there.
    lives: BTreeMap<String, (Timestamp, Timestamp)>,
    states: BTreeMap<String, (Stage, String)>,
    events: VecDeque<(Timestamp, String, String)>,
    client: Option<Client>,
    /// When the inventory was looked at last.
    looked: Option<Timestamp>,
    done: u64,
    failed: u64,
    waited: u64,
    /// When a run's proofs were presented.
    presented: BTreeMap<RunId, Instant>,
    propagation: Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Works,
    Waits,
    Failed,
    Done,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Waits => "waits",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

#[derive(Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn take(&mut self, seconds: f64) {
        for (count, bound) in self.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inventory was looked at.
    pub(crate) fn planned(&self, inventory: &Inventory, client: &Client) {
        let mut shared = self.lock();
        shared.tasks.clone_from(&inventory.tasks);
        let life = |(label, present): (&String, &dcv_core::keeper::Present)| {
            (label.clone(), (present.not_before, present.not_after))
        };
        shared.lives = inventory.present.iter().map(life).collect();
        shared.client = Some(client.clone());
        shared.looked = Some(Timestamp::now());
    }

    /// A task is worked on.
    pub(crate) fn begun(&self, label: &str, act: &str) {
        self.set(label, Stage::Works, act);
    }

    /// A task is done.
    pub(crate) fn done(&self, label: &str, text: &str) {
        self.set(label, Stage::Done, text);
        self.lock().done += 1;
    }

    /// Somebody else has to act.
    pub(crate) fn waits(&self, label: &str, text: &str) {
        self.set(label, Stage::Waits, text);
        self.lock().waited += 1;
    }

    /// Something has failed.
    pub(crate) fn failed(&self, label: &str, text: &str) {
        self.set(label, Stage::Failed, text);
        self.lock().failed += 1;
    }

    fn set(&self, label: &str, stage: Stage, text: &str) {
        let mut shared = self.lock();
        shared.states.insert(label.to_owned(), (stage, text.to_owned()));
        shared.say(label, &format!("{}: {text}", stage.word()));
    }

    /// A listener for the events of runs.
    pub(crate) fn observer(&self) -> Observer {
        let board = self.clone();
        Arc::new(move |run, event| board.tell(run, event))
    }

    fn tell(&self, run: &RunId, event: &Event) {
        let mut shared = self.lock();
        match event {
            Event::Presented { .. } => {
                shared.presented.entry(run.clone()).or_insert_with(Instant::now);
            }
            Event::Visible { .. } => {
                if let Some(began) = shared.presented.remove(run) {
                    shared.propagation.take(began.elapsed().as_secs_f64());
                }
            }
            _ => {}
        }
        for text in words_of(run, event) {
            shared.say(run.as_str(), &text);
        }
    }

    /// Serves page, metrics and health until dropped.
    pub(crate) async fn serve(&self, address: SocketAddr, config: &Config) -> Result<Server> {
        let token = match &config.keep.token {
            Some(token) => {
                let read = token.read("keep.token").await;
                Some(read.map_err(|error| Failure::new(Code::Usage, error.to_string()))?)
            }
            None => None,
        };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            Failure::usage("keep.listen", format!("`{address}` cannot be listened on: {error}; choose another"))
        })?;
        let guarded = Router::new()
            .route("/", get(page))
            .route("/metrics", get(metrics))
            .route_layer(middleware::from_fn_with_state(token, admit));
        let app =
            guarded.route("/healthz", get(async || "alive\n")).route("/readyz", get(ready)).with_state(self.clone());
        Ok(Server(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::warn!(%error, "the dashboard has ended");
            }
        })))
    }
}

impl Shared {
    fn say(&mut self, whose: &str, text: &str) {
        self.events.push_front((Timestamp::now(), whose.to_owned(), text.to_owned()));
        self.events.truncate(EVENTS);
    }
}

/// Serves until dropped.
pub(crate) struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
}

/// Lets those in who know the token: as a bearer token, a cookie, or once in the address, which sets the cookie.
async fn admit(
    State(token): State<Option<SecretString>>,
    Query(given): Query<Given>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    use subtle::ConstantTimeEq;
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok()).unwrap_or_default();
    let Some(token) = token else {
        // Without a token it listens to this machine only, where a browser asks on behalf of any page whose name leads here.
        if is_this_machine(text(header::HOST)) {
            return next.run(request).await;
        }
        let wanted = "ask for localhost or an address; under another name a token is wanted (keep.token)\n";
        return (StatusCode::MISDIRECTED_REQUEST, wanted).into_response();
    };
    let is_it = |text: &str| bool::from(text.as_bytes().ct_eq(token.expose_secret().as_bytes()));
    let bearer = text(header::AUTHORIZATION).strip_prefix("Bearer ").is_some_and(is_it);
    let cookie = text(header::COOKIE).split(';').filter_map(|one| one.trim().strip_prefix("dcv=")).any(is_it);
    if bearer || cookie {
        return next.run(request).await;
    }
    if given.token.as_deref().is_some_and(is_it) {
        let cookie = format!("dcv={}; HttpOnly; SameSite=Strict; Path=/", token.expose_secret());
        // The token leaves the address bar.
        return (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, "/".to_owned())])
            .into_response();
    }
    (StatusCode::UNAUTHORIZED, "a token is wanted: Authorization: Bearer …, or ?token=… once\n").into_response()
}

/// Whether a `Host` is an address or `localhost`: no name that somebody else can lead here (DNS rebinding).
fn is_this_machine(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
}

/// Ready: the account and the files were looked at, and not long ago.
async fn ready(State(board): State<Board>) -> (StatusCode, &'static str) {
    match board.lock().looked {
        Some(_) => (StatusCode::OK, "ready\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing was looked at yet\n"),
    }
}

async fn metrics(State(board): State<Board>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], in_prometheus(&board.lock()))
}

async fn page(State(board): State<Board>) -> impl IntoResponse {
    // Nothing is loaded from anywhere, and nothing runs.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(in_html(&board.lock(), Timestamp::now())))
}

// ---- metrics

fn in_prometheus(shared: &Shared) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, f64)>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
    let label =
        |text: &str| format!("label=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    let ends = shared.tasks.iter().filter_map(|task| Some((label(&task.label), seconds(task.ends?))));
    family(
        "dcv_valid_until_seconds",
        "gauge",
        "End of a certificate or of a domain's validation, Unix time.",
        ends.collect(),
    );
    let due = shared
        .tasks
        .iter()
        .map(|task| (format!("{},act=\"{}\"", label(&task.label), task.act.word()), seconds(task.at)));
    family("dcv_due_seconds", "gauge", "When the next act is due, Unix time.", due.collect());
    let states =
        shared.states.iter().map(|(name, (stage, _))| (format!("{},state=\"{}\"", label(name), stage.word()), 1.0));
    family("dcv_state", "gauge", "What was last heard of a certificate or domain.", states.collect());
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let count = |number: u64| number as f64;
    let tasks = [("done", shared.done), ("failed", shared.failed), ("waited", shared.waited)];
    let tasks = tasks.map(|(result, number)| (format!("result=\"{result}\""), count(number))).to_vec();
    family("dcv_tasks_total", "counter", "Tasks by what came of them.", tasks);
    let queued = shared.tasks.iter().filter(|task| task.is_due(Timestamp::now())).count();
    family("dcv_tasks_due", "gauge", "Tasks that are due.", vec![(String::new(), count(queued as u64))]);
    if let Some(client) = &shared.client {
        let usage = client.budget().usage();
        let window = |window: &certcentral::Window| format!("window=\"{}s\"", window.length.as_secs());
        let used = usage.windows.iter().map(|(used, of)| (window(of), count(*used as u64))).collect();
        family("dcv_api_calls", "gauge", "Calls of the API that count in a window.", used);
        let most = usage.windows.iter().map(|(_, of)| (window(of), count(of.calls as u64))).collect();
        family("dcv_api_calls_limit", "gauge", "Calls that a window allows.", most);
    }
    if let Some(looked) = shared.looked {
        family(
            "dcv_looked_seconds",
            "gauge",
            "When files, journal and account were looked at, Unix time.",
            vec![(String::new(), seconds(looked))],
        );
    }
    let histogram = &shared.propagation;
    let mut samples: Vec<(String, f64)> =
        BUCKETS.iter().zip(histogram.counts).map(|(bound, n)| (format!("le=\"{bound}\""), count(n))).collect();
    samples.push(("le=\"+Inf\"".to_owned(), count(histogram.count)));
    let name = "dcv_propagation_seconds";
    let _ = writeln!(
        text,
        "# HELP {name} From presenting proofs to their being visible everywhere.\n# TYPE {name} histogram"
    );
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}_bucket{{{labels}}} {value}");
    }
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {}", histogram.sum, histogram.count);
    text
}

// ---- the page

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--good:#2a8;--care:#c80;--bad:#c33}\
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:70rem;padding:0 1rem}\
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}\
.bar{position:relative;background:var(--line);height:.8rem;border-radius:.4rem;overflow:hidden;min-width:8rem}\
.bar i{position:absolute;inset:0 auto 0 0;background:var(--good)}.bar.soon i{background:var(--care)}.bar.over i{background:var(--bad)}\
.waits{color:var(--care)}.failed{color:var(--bad)}.done{color:var(--good)}\
small{opacity:.7}";

fn in_html(shared: &Shared, now: Timestamp) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>dcv</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"{RELOAD}\">\
         <style>{STYLE}</style></head><body><main><h1>dcv <small>{}</small></h1>",
        now.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    let due = shared.tasks.iter().filter(|task| task.is_due(now)).count();
    let of = |stage| shared.states.values().filter(|(one, _)| *one == stage).count();
    let _ = write!(
        html,
        "<p>{} kept, {due} due, {} waiting, {} failed.{}</p>",
        shared.tasks.len(),
        of(Stage::Waits),
        of(Stage::Failed),
        budget(shared)
    );
    let waiting: Vec<_> =
        shared.states.iter().filter(|(_, (stage, _))| matches!(stage, Stage::Waits | Stage::Failed)).collect();
    if !waiting.is_empty() {
        html.push_str(
            "<h2>What waits for whom</h2><table><thead><tr><th>What</th><th>State</th><th>Why</th></tr></thead><tbody>",
        );
        for (label, (stage, text)) in waiting {
            let word = stage.word();
            let _ = write!(
                html,
                "<tr><td>{}</td><td class=\"{word}\">{word}</td><td>{}</td></tr>",
                escape(label),
                escape(text)
            );
        }
        html.push_str("</tbody></table>");
    }
    html.push_str(
        "<h2>Certificates and domains</h2><table><thead><tr><th>What</th><th>Life</th><th>Ends</th><th>Next</th><th>Why</th></tr></thead><tbody>",
    );
    let mut tasks: Vec<&Task> = shared.tasks.iter().collect();
    tasks.sort_by_key(|task| task.urgency());
    for task in tasks {
        let when = if task.is_due(now) { "now".to_owned() } else { task.at.strftime("%Y-%m-%d").to_string() };
        let ends = task.ends.map_or_else(|| "-".to_owned(), |end| end.strftime("%Y-%m-%d").to_string());
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{ends}</td><td>{} {when}</td><td>{}</td></tr>",
            escape(&task.label),
            bar(shared.lives.get(&task.label), task, now),
            task.act.word(),
            escape(&task.why)
        );
    }
    html.push_str(
        "</tbody></table><h2>Lately</h2><table><thead><tr><th>When</th><th>Whose</th><th>What</th></tr></thead><tbody>",
    );
    for (at, whose, text) in &shared.events {
        let at = at.strftime("%H:%M:%S");
        let _ = write!(html, "<tr><td>{at}</td><td>{}</td><td>{}</td></tr>", escape(whose), escape(text));
    }
    html.push_str("</tbody></table></main></body></html>");
    html
}

fn budget(shared: &Shared) -> String {
    let Some(client) = &shared.client else { return String::new() };
    let windows = client.budget().usage().windows;
    let each = windows.iter().map(|(used, of)| format!("{used} of {} in {} s", of.calls, of.length.as_secs()));
    format!(" Calls to CertCentral: {}.", each.collect::<Vec<_>>().join(", "))
}

/// How much of a life has passed, as a bar that says so to those who do not see it, too.
fn bar(life: Option<&(Timestamp, Timestamp)>, task: &Task, now: Timestamp) -> String {
    let Some((begin, end)) = life else { return String::new() };
    let whole = end.duration_since(*begin).as_secs_f64().max(1.0);
    let part = (now.duration_since(*begin).as_secs_f64() / whole * 100.0).clamp(0.0, 100.0);
    let class = if now >= *end {
        "bar over"
    } else if task.is_due(now) {
        "bar soon"
    } else {
        "bar"
    };
    format!(
        "<div class=\"{class}\" role=\"img\" aria-label=\"{part:.0} % of its life has passed\"><i style=\"width:{part:.1}%\"></i></div>"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use dcv_core::keeper::Act;

    use super::*;

    fn shared() -> Shared {
        let now: Timestamp = "2027-05-01T00:00:00Z".parse().expect("a timestamp");
        let board = Board::default();
        board.waits("shop", "waiting for <script>alert(1)</script>");
        let mut shared = std::mem::take(&mut *board.lock());
        let ends = "2027-06-01T00:00:00Z".parse().expect("a timestamp");
        shared.tasks = vec![Task {
            label: "shop".to_owned(),
            act: Act::Order,
            at: now,
            ends: Some(ends),
            why: "a & b".to_owned(),
        }];
        shared.lives.insert("shop".to_owned(), ("2027-03-01T00:00:00Z".parse().expect("a timestamp"), ends));
        shared.propagation.take(0.7);
        shared
    }

    #[test]
    fn the_page_says_what_waits_and_runs_nothing_foreign() {
        let html = in_html(&shared(), "2027-05-02T00:00:00Z".parse().expect("a timestamp"));
        for part in ["What waits for whom", "&lt;script&gt;", "a &amp; b", "67 % of its life", "order now"] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("<script"), "{html}");
    }

    #[test]
    fn without_a_token_only_this_machine_is_asked_for() {
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "[::1]", "10.0.0.7"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "rebound.example:9090", "127.0.0.1.example.com", "localhost.example.com:1", "localhost:x"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn metrics_are_in_the_format_of_prometheus() {
        let text = in_prometheus(&shared());
        for line in [
            "dcv_valid_until_seconds{label=\"shop\"} 1811808000",
            "dcv_due_seconds{label=\"shop\",act=\"order\"} 1809129600",
            "dcv_state{label=\"shop\",state=\"waits\"} 1",
            "dcv_tasks_total{result=\"waited\"} 1",
            "dcv_propagation_seconds_bucket{le=\"0.5\"} 0",
            "dcv_propagation_seconds_bucket{le=\"1\"} 1",
            "dcv_propagation_seconds_count 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }
}
