//! The core's events for people. On a terminal they move one line for each domain; piped, each is a line of its own; with `--json`,
//! each is an object on stdout, and the result is the last one. What the lines say is decided by [`words`] and [`Tally`], which
//! know nothing of terminals.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dcv_core::{Event, Observer, RunId, propagation::Sight};
use dcv_provider::{Proof, dns::is_within};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::{BOLD, CARE, DIM, GOOD, Screen, harmless, object};

/// Beyond this many domains a terminal shows one line that counts instead of a line for each.
const MOST_LINES: usize = 15;

/// Listens to runs and shows how they get on.
#[derive(Clone)]
pub(crate) struct Progress {
    screen: Screen,
    several: bool,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    tally: Tally,
    live: Option<Live>,
}

impl Progress {
    pub(super) fn new(screen: Screen, several: bool) -> Self {
        let live = (screen.live && !several).then(Live::new);
        Self { screen, several, shared: Arc::new(Mutex::new(Shared { tally: Tally::default(), live })) }
    }

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
        let Shared { tally, live, .. } = &mut *shared;
        let moved = tally.take(event);
        if let Some(live) = live {
            // What has a line of its own moves it; the rest is said above.
            if !moved {
                for text in words(run, event, tally) {
                    live.say(&self.dress(event, &text));
                }
            }
            live.draw(tally, self.screen);
        } else {
            let whose = if self.several { format!("{run}: ") } else { String::new() };
            for text in words(run, event, tally) {
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

/// What an event says, in lines, to those who keep no tally of their own.
pub(crate) fn words_of(run: &RunId, event: &Event) -> Vec<String> {
    // What each server shows is only of interest beside what it showed before.
    if matches!(event, Event::Observed { .. }) { Vec::new() } else { words(run, event, &Tally::default()) }
}

/// What an event says, in lines. The words are stable: scripts may look for them.
fn words(run: &RunId, event: &Event, tally: &Tally) -> Vec<String> {
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
            vec![format!("{}: value placed by {provider} ({} {})", tally.domain(proof), proof.kind(), proof.name())]
        }
        Event::Observed { .. } => {
            tally.seen.iter().map(|domain| format!("{domain}: {}", tally.domains[domain])).collect()
        }
        Event::Visible { domain } if tally.blind => vec![format!("{domain}: not looked for, the CA is asked at once")],
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
struct Tally {
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

impl Tally {
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

    fn draw(&mut self, tally: &Tally, screen: Screen) {
        if tally.domains.len() > MOST_LINES {
            let all_accepted = tally.domains.values().all(|stand| *stand == Stand::Accepted);
            self.set("", &tally.summary(), all_accepted, screen);
        } else {
            for (domain, stand) in &tally.domains {
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
    fn events_become_words_and_move_the_tally() {
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
        let mut tally = Tally::default();
        for (event, said, stand) in table {
            tally.take(&event);
            assert_eq!(words(&run, &event, &tally).join("|"), said);
            assert_eq!(tally.domains.get("example.com").map(ToString::to_string).unwrap_or_default(), stand);
        }
        assert_eq!(tally.summary(), "1 domains: 1 placed, 1 visible, 1 accepted");
    }
}
