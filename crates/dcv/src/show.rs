//! The one door for output: results to stdout, everything else to stderr, for people or as JSON.
//!
//! Progress comes as the core's events. On a terminal they move one line for each domain; piped, each is a line of its own;
//! with `--json`, each is an object on stdout, and the result is the last one. What the lines say is decided by [`words`] and
//! [`Board`], which know nothing of terminals.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use dcv_core::{Event, Observer, RunId, propagation::Sight};
use dcv_provider::{Descriptor, Proof, dns::is_within};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    args::{Color, Global},
    exit::{Code, Failure},
    providers::KINDS,
};

/// Beyond this many domains a terminal shows one line that counts instead of a line for each.
const MOST_LINES: usize = 15;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const CARE: Style = AnsiColor::Yellow.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// How to speak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    json: bool,
    quiet: bool,
    /// A terminal that can be drawn on, and nothing else that writes to it.
    live: bool,
    color_out: bool,
    color_err: bool,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain && !dumb,
        };
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            json: global.json,
            quiet: global.quiet,
            live: err && !dumb && !global.json && !global.quiet && global.verbose == 0,
            color_out: color(out),
            color_err: color(err),
        }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// A result: text for people, or one JSON object.
    pub(crate) fn result(self, text: impl Display, json: impl Serialize) {
        if self.json {
            object(&json);
        } else {
            line(std::io::stdout(), text);
        }
    }

    /// A list: a table for people, one JSON object.
    pub(crate) fn table(self, head: &[&str], rows: &[Vec<String>], nothing: &str, json: impl Serialize) {
        if rows.is_empty() {
            return self.result(nothing, json);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(head.iter().map(|head| self.on_out(BOLD, head)));
        for row in rows {
            table.add_row(row);
        }
        self.result(table.trim_fmt(), json);
    }

    /// What is known of one thing, line by line; lines without a text are left out.
    pub(crate) fn facts(self, facts: &[(&str, String)], json: impl Serialize) {
        let lines = facts.iter().filter(|(_, text)| !text.is_empty());
        let lines: Vec<String> =
            lines.map(|(label, text)| format!("{} {text}", self.on_out(BOLD, format!("{label:<16}")))).collect();
        self.result(lines.join("\n"), json);
    }

    /// The same list as CSV (RFC 4180).
    pub(crate) fn csv(head: &[&str], rows: &[Vec<String>]) {
        let field = |text: &str| {
            let quoted = text.contains([',', '"', '\n', '\r']);
            if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
        };
        let head = head.iter().map(|text| field(&text.to_lowercase())).collect::<Vec<_>>().join(",");
        let rows = rows.iter().map(|row| row.iter().map(|text| field(text)).collect::<Vec<_>>().join(","));
        let lines: Vec<String> = std::iter::once(head).chain(rows).collect();
        line(std::io::stdout(), lines.join("\r\n"));
    }

    /// Whether to go on. Without a terminal nobody can be asked, and the answer is no.
    pub(crate) fn confirm(self, question: &str) -> bool {
        if self.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        let mut err = std::io::stderr();
        let _ = write!(err, "{question} [y/N] ");
        let _ = err.flush();
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// A word on the way: stderr, and not where only results are wanted.
    pub(crate) fn note(self, text: impl Display) {
        if !self.json && !self.quiet {
            line(std::io::stderr(), text);
        }
    }

    /// Something that should be read even by those who want it quiet.
    pub(crate) fn warn(self, text: impl Display) {
        if !self.json {
            line(std::io::stderr(), format!("{} {text}", self.on_err(CARE, "warning:")));
        }
    }

    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            line(std::io::stderr(), failure.json());
        } else {
            let style = if failure.code == Code::Interrupted { CARE } else { BAD };
            let head = if failure.code == Code::Interrupted { "stopped:" } else { "error:" };
            line(std::io::stderr(), format!("{} {}", self.on_err(style, head), failure.message));
        }
    }

    /// Text in a style, for stdout.
    pub(crate) fn on_out(self, style: Style, text: impl Display) -> String {
        paint(self.color_out, style, text)
    }

    /// Text in a style, for stderr.
    pub(crate) fn on_err(self, style: Style, text: impl Display) -> String {
        paint(self.color_err, style, text)
    }

    /// A listener for the events of runs. With `several`, each line says whose it is.
    pub(crate) fn progress(self, several: bool) -> Progress {
        let live = (self.live && !several).then(Live::new);
        Progress { screen: self, several, shared: Arc::new(Mutex::new(Shared { board: Board::default(), live })) }
    }
}

fn paint(color: bool, style: Style, text: impl Display) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_string() }
}

/// One JSON object on stdout.
fn object(json: &impl Serialize) {
    let text = serde_json::to_string(json).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    line(std::io::stdout(), text);
}

/// Writes a line; a reader that has gone away is no error of ours.
fn line(mut to: impl Write, text: impl Display) {
    let _ = writeln!(to, "{}", harmless(&text.to_string()));
}

/// A text that does nothing to a terminal but to be read there, and to be coloured. Much of what is shown was written by others:
/// name servers, vendors, plugins, whoever ordered. Control characters, and those that turn the direction of writing, are shown
/// by their numbers.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    use std::fmt::Write;
    let harmful = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(harmful) {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let kept = if from.starts_with("\r\n") { 2 } else { style_length(from) };
        let first = from.chars().next().map_or(0, char::len_utf8);
        if kept > 0 {
            shown.push_str(&from[..kept]);
        } else {
            // As JSON has it, too, where it means the same.
            let _ = write!(shown, "\\u{:04x}", from.chars().next().map_or(0, u32::from));
        }
        rest = &from[kept.max(first)..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// How long the style is that a text begins with (SGR, ECMA-48 section 8.3.117): the one sequence that we write ourselves.
fn style_length(text: &str) -> usize {
    let Some(style) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = style.len() - style.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').len();
    if style[digits..].starts_with('m') { 2 + digits + 1 } else { 0 }
}

/// Listens to runs and shows how they get on.
#[derive(Clone)]
pub(crate) struct Progress {
    screen: Screen,
    several: bool,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    board: Board,
    live: Option<Live>,
}

impl Progress {
    pub(crate) fn observer(&self) -> Observer {
        let listener = self.clone();
        Arc::new(move |run, event| listener.tell(run, event))
    }

    /// Leaves the lines as they are and gives the terminal back.
    pub(crate) fn end(&self) {
        if let Some(live) = self.lock().live.take() {
            live.end();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, run: &RunId, event: &Event) {
        let mut shared = self.lock();
        if self.screen.json {
            let mut json = serde_json::to_value(event).unwrap_or_default();
            if let Value::Object(fields) = &mut json {
                fields.insert("run".to_owned(), run.as_str().into());
            }
            return object(&json);
        }
        let Shared { board, live, .. } = &mut *shared;
        let moved = board.take(event);
        if let Some(live) = live {
            // What has a line of its own moves it; the rest is said above.
            if !moved {
                for text in words(run, event, board) {
                    live.say(&self.dress(event, &text));
                }
            }
            live.draw(board, self.screen);
        } else {
            let whose = if self.several { format!("{run}: ") } else { String::new() };
            for text in words(run, event, board) {
                self.screen.note(format!("{whose}{}", self.dress(event, &text)));
            }
        }
    }

    fn dress(&self, event: &Event, text: &str) -> String {
        match event {
            Event::Trouble { .. } | Event::Waiting(_) => self.screen.on_err(CARE, text),
            Event::Stored { .. } | Event::Issued { .. } => self.screen.on_err(GOOD, text),
            Event::Checked { .. } | Event::Retracted { .. } => self.screen.on_err(DIM, text),
            _ => text.to_owned(),
        }
    }
}

/// What an event says, in lines, to those who keep no board of their own.
pub(crate) fn words_of(run: &RunId, event: &Event) -> Vec<String> {
    // What each server shows is only of interest beside what it showed before.
    if matches!(event, Event::Observed { .. }) { Vec::new() } else { words(run, event, &Board::default()) }
}

/// What an event says, in lines. The words are stable: scripts may look for them.
fn words(run: &RunId, event: &Event, board: &Board) -> Vec<String> {
    match event {
        Event::Started { names, resumed, .. } => {
            let again = if *resumed { " taken up again" } else { "" };
            vec![format!("run {run}{again}: {}", names.join(", "))]
        }
        Event::Checked { places } => places.iter().map(|place| format!("checked: {place}")).collect(),
        Event::Placed { order_id, found, within } => {
            let (what, done) = match within {
                Some(purpose) => (format!("{purpose} of order {order_id}"), "asked for"),
                None => (format!("order {order_id}"), "placed"),
            };
            vec![if *found { format!("{what} found; it had got through") } else { format!("{what} {done}") }]
        }
        Event::Challenged { open, validated } => {
            let mut lines: Vec<String> = open.iter().map(|domain| format!("{domain}: to be proved")).collect();
            lines.extend(validated.iter().map(|name| format!("{name}: validated already")));
            lines
        }
        Event::Presented { proof, provider } => {
            vec![format!("{}: value placed by {provider} ({} {})", board.domain(proof), proof.kind(), proof.name())]
        }
        Event::Observed { .. } => {
            board.seen.iter().map(|domain| format!("{domain}: {}", board.domains[domain])).collect()
        }
        Event::Visible { domain } if board.blind => vec![format!("{domain}: not looked for, the CA is asked at once")],
        Event::Visible { domain } => vec![format!("{domain}: visible everywhere")],
        Event::Accepted { domain } => vec![format!("{domain}: accepted by the CA")],
        Event::Waiting(waiting) => vec![waiting.to_string()],
        Event::Issued { certificate_id: Some(id) } => vec![format!("issued: certificate {id}")],
        Event::Issued { certificate_id: None } => vec!["issued".to_owned()],
        Event::Downloaded { serial, not_after } => {
            vec![format!("downloaded: serial {serial}, valid until {not_after}; key and names are right")]
        }
        Event::Deployed { command, seconds } => vec![format!("deployed by `{command}` in {seconds:.1} s")],
        Event::Stored { dir } => vec![format!("stored in {}", dir.display())],
        Event::Retracted { proof } => vec![format!("removed again: {proof}")],
        Event::Trouble { message } => vec![message.clone()],
        _ => Vec::new(),
    }
}

/// Where each domain stands: the fold of the events.
#[derive(Debug, Default)]
struct Board {
    domains: BTreeMap<String, Stand>,
    /// Those of which the last observation told something new.
    seen: BTreeSet<String>,
    /// Whether nothing is looked at before the CA is asked.
    blind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stand {
    Open,
    Placed { provider: String },
    Seen { shows: usize, counted: usize, missing: Option<String> },
    Visible,
    Accepted,
}

impl Board {
    /// Takes an event in; whether it was about domains only.
    fn take(&mut self, event: &Event) -> bool {
        match event {
            Event::Challenged { open, validated } => {
                self.domains.retain(|_, stand| *stand == Stand::Accepted);
                self.domains.extend(open.iter().map(|domain| (domain.clone(), Stand::Open)));
                return validated.is_empty();
            }
            Event::Presented { proof, provider } => self.set(proof, Stand::Placed { provider: provider.clone() }),
            Event::Observed { verdict } => {
                self.seen.clear();
                self.blind = verdict.proofs.iter().all(|proof| proof.views.is_empty());
                for view in verdict.proofs.iter().filter(|proof| !proof.views.is_empty()) {
                    let (shows, counted) = view.count();
                    let silent = |sight: &Sight| matches!(sight, Sight::Dead(_) | Sight::Lame(_));
                    let missing = view.views.iter().find(|place| silent(&place.sight)).map(ToString::to_string);
                    let stand = Stand::Seen { shows, counted, missing };
                    let domain = self.domain(&view.proof).to_owned();
                    if self.domains.get(&domain) != Some(&stand) {
                        self.domains.insert(domain.clone(), stand);
                        self.seen.insert(domain);
                    }
                }
            }
            Event::Visible { domain } => {
                self.domains.insert(domain.clone(), Stand::Visible);
            }
            Event::Accepted { domain } => {
                self.domains.insert(domain.clone(), Stand::Accepted);
            }
            _ => return false,
        }
        true
    }

    /// Where a domain gets a proof through two providers, the later one is told.
    fn set(&mut self, proof: &Proof, stand: Stand) {
        let domain = self.domain(proof).to_owned();
        self.domains.insert(domain, stand);
    }

    /// The domain that a proof is for: the longest one that its name lies in.
    fn domain<'a>(&'a self, proof: &'a Proof) -> &'a str {
        let within = self.domains.keys().filter(|domain| is_within(proof.name(), domain));
        within.max_by_key(|domain| domain.len()).map_or(proof.name(), String::as_str)
    }

    /// One line for all.
    fn summary(&self) -> String {
        let at_least = |stand: &Stand| self.domains.values().filter(|other| *other >= stand).count();
        let placed = at_least(&Stand::Placed { provider: String::new() });
        let (visible, accepted) = (at_least(&Stand::Visible), at_least(&Stand::Accepted));
        format!("{} domains: {placed} placed, {visible} visible, {accepted} accepted", self.domains.len())
    }
}

impl Display for Stand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("to be proved"),
            Self::Placed { provider } => write!(f, "value placed by {provider}"),
            Self::Seen { shows, counted, missing } => {
                write!(f, "seen at {shows} of {counted} places")?;
                missing.as_ref().map_or(Ok(()), |missing| write!(f, "; {missing}"))
            }
            Self::Visible => f.write_str("visible everywhere, the CA is checking"),
            Self::Accepted => f.write_str("accepted by the CA"),
        }
    }
}

/// Lines on a terminal that move.
struct Live {
    lines: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
}

impl Live {
    fn new() -> Self {
        Self { lines: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: BTreeMap::new() }
    }

    fn say(&self, text: &str) {
        let _ = self.lines.println(harmless(text));
    }

    fn draw(&mut self, board: &Board, screen: Screen) {
        if board.domains.len() > MOST_LINES {
            let all_accepted = board.domains.values().all(|stand| *stand == Stand::Accepted);
            self.set("", &board.summary(), all_accepted, screen);
        } else {
            for (domain, stand) in &board.domains {
                self.set(domain, &stand.to_string(), *stand == Stand::Accepted, screen);
            }
        }
    }

    fn set(&mut self, label: &str, text: &str, done: bool, screen: Screen) {
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
        };
        let bar = self.bars.entry(label.to_owned()).or_insert_with(|| {
            let bar = self.lines.add(ProgressBar::new_spinner()).with_style(style("{spinner} {prefix} {msg}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_prefix(screen.on_err(BOLD, label));
            bar
        });
        if done && !bar.is_finished() {
            bar.set_style(style(&format!("{} {{prefix}} {{msg}}", screen.on_err(GOOD, "✓"))));
            bar.finish_with_message(screen.on_err(GOOD, text));
        } else if !bar.is_finished() {
            bar.set_message(harmless(text).into_owned());
        }
    }

    fn end(self) {
        for bar in self.bars.into_values().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
    }
}

/// Lists the kinds of providers: what each can do, its options, and an example.
pub(crate) fn providers(screen: Screen) -> Code {
    let (texts, list): (Vec<String>, Vec<Value>) = KINDS.iter().map(|kind| described(screen, kind.descriptor)).unzip();
    screen.result(texts.join("\n\n"), json!({ "providers": list }));
    Code::Done
}

/// A plugin: what it says it is, and the sum to pin it by.
pub(crate) fn plugin(screen: Screen, descriptor: &Descriptor, sha256: &str) -> Code {
    let (text, mut value) = described(screen, descriptor);
    value["sha256"] = json!(sha256);
    screen.result(format!("{text}\n\n  sha256 = \"{sha256}\""), json!({ "plugin": value }));
    Code::Done
}

/// A kind of provider with its options and its example.
fn described(screen: Screen, descriptor: &Descriptor) -> (String, Value) {
    let Descriptor { id, title, proofs, batch, options, example } = descriptor;
    let kinds: Vec<String> = proofs.iter().map(ToString::to_string).collect();
    let mut lines =
        vec![format!("{} {title}", screen.on_out(BOLD, id)), format!("  proofs: {}; {batch}", kinds.join(", "))];
    let width = options.iter().map(|option| option.name.len()).max().unwrap_or_default();
    lines.extend(options.iter().map(|option| {
        let required = if option.required { " (required)" } else { "" };
        let secret = if option.secret { " (secret)" } else { "" };
        format!("  {:<width$}  {}{required}{secret}", option.name, option.help.trim_end_matches('.'))
    }));
    lines.extend([String::new(), "  [provider.NAME]".to_owned()]);
    lines.extend(example.lines().map(|line| format!("  {line}")));
    let options: Vec<Value> = options
        .iter()
        .map(|o| json!({ "name": o.name, "help": o.help, "required": o.required, "secret": o.secret }))
        .collect();
    let value = json!({
        "type": id, "title": title, "proofs": proofs, "batch": batch, "options": options, "example": example,
    });
    (lines.join("\n"), value)
}

#[cfg(test)]
mod tests {
    use dcv_core::{
        Waiting,
        propagation::{ProofView, Verdict, View},
        state::Actor,
    };

    use super::*;

    fn txt(name: &str) -> Proof {
        Proof::Txt { name: name.to_owned(), value: "v".to_owned() }
    }

    /// Each event, what it says, and where its domain stands then.
    #[test]
    fn events_become_words_and_move_the_board() {
        let run: RunId = "dcv-1".parse().expect("an id");
        let view =
            |place: &str, address: &str, sight| View { place: place.to_owned(), address: address.to_owned(), sight };
        let views = [
            view("ns1", "192.0.2.1:53", Sight::Shows),
            view("ns1", "[2001:db8::1]:53", Sight::Lacks(Vec::new())),
            view("ns2", "192.0.2.2:53", Sight::Dead("is silent".to_owned())),
        ];
        let seen = ProofView { proof: txt("_dnsauth.example.com"), views: views.to_vec(), visible: false };
        let unseen = ProofView { proof: txt("_dnsauth.example.com"), views: Vec::new(), visible: true };
        let table: Vec<(Event, &str, &str)> = vec![
            (
                Event::Started { names: vec!["a.example.com".to_owned()], resumed: true, label: None },
                "run dcv-1 taken up again: a.example.com",
                "",
            ),
            (Event::Placed { order_id: 7.into(), found: true, within: None }, "order 7 found; it had got through", ""),
            (
                Event::Challenged { open: vec!["example.com".to_owned()], validated: vec!["b.org".to_owned()] },
                "example.com: to be proved|b.org: validated already",
                "to be proved",
            ),
            (
                Event::Presented { proof: txt("_dnsauth.example.com"), provider: "corp".to_owned() },
                "example.com: value placed by corp (TXT record _dnsauth.example.com)",
                "value placed by corp",
            ),
            (
                Event::Observed { verdict: Verdict { proofs: vec![seen.clone()] } },
                "example.com: seen at 1 of 2 places; ns2 192.0.2.2:53 is silent",
                "seen at 1 of 2 places; ns2 192.0.2.2:53 is silent",
            ),
            (
                Event::Observed { verdict: Verdict { proofs: vec![seen] } },
                "",
                "seen at 1 of 2 places; ns2 192.0.2.2:53 is silent",
            ),
            (
                Event::Visible { domain: "example.com".to_owned() },
                "example.com: visible everywhere",
                "visible everywhere, the CA is checking",
            ),
            (
                Event::Observed { verdict: Verdict { proofs: vec![unseen] } },
                "",
                "visible everywhere, the CA is checking",
            ),
            (
                Event::Visible { domain: "example.com".to_owned() },
                "example.com: not looked for, the CA is asked at once",
                "visible everywhere, the CA is checking",
            ),
            (
                Event::Accepted { domain: "example.com".to_owned() },
                "example.com: accepted by the CA",
                "accepted by the CA",
            ),
            (
                Event::Waiting(Waiting { on: Actor::Approver, what: "order 7".to_owned() }),
                "waiting for an approver of your CertCentral account: order 7",
                "accepted by the CA",
            ),
            (
                Event::Retracted { proof: txt("example.com") },
                "removed again: example.com TXT \"v\"",
                "accepted by the CA",
            ),
        ];
        let mut board = Board::default();
        for (event, said, stand) in table {
            board.take(&event);
            assert_eq!(words(&run, &event, &board).join("|"), said);
            assert_eq!(board.domains.get("example.com").map(ToString::to_string).unwrap_or_default(), stand);
        }
        assert_eq!(board.summary(), "1 domains: 1 placed, 1 visible, 1 accepted");
    }
}
