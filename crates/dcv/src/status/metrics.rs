//! The same for machines: Prometheus' text format.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Shared, Stage};

/// A histogram: how many values were at most each bound.
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], count: 0, sum: 0.0 }
    }

    pub(super) fn take(&mut self, value: f64) {
        for (count, bound) in self.counts.iter_mut().zip(self.bounds) {
            *count += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum += value;
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Text in the making, one family after the other.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&'static str, &str)], value: f64) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of which there is one for each set of labels.
    fn each<'a>(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, f64)>) {
        self.family(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.each(name, kind, help, [(Vec::new(), value)]);
    }

    fn histogram(&mut self, name: &str, labels: &[(&'static str, &str)], histogram: &Histogram) {
        let bounds = histogram.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(histogram.counts.iter().chain([&histogram.count])) {
            let labels: Labels<'_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&format!("{name}_bucket"), &labels, count_of(*count));
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum);
        self.sample(&format!("{name}_count"), labels, count_of(histogram.count));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts")]
fn count_of(number: u64) -> f64 {
    number as f64
}

pub(super) fn in_prometheus(shared: &Shared, now: Timestamp) -> String {
    let mut text = Exposition::default();
    let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
    let kept = || shared.kept.iter().map(|(label, kept)| (label.as_str(), kept));
    text.each(
        "dcv_valid_until_seconds",
        "gauge",
        "End of a certificate or of a domain's validation, Unix time.",
        kept().filter_map(|(label, kept)| {
            Some((vec![("label", label), ("kind", kept.kind.word())], seconds(kept.task.ends?)))
        }),
    );
    text.each(
        "dcv_valid_from_seconds",
        "gauge",
        "Begin of a certificate's validity, Unix time.",
        kept().filter_map(|(label, kept)| Some((vec![("label", label)], seconds(kept.life?.0)))),
    );
    text.each(
        "dcv_due_seconds",
        "gauge",
        "When the next act is due, Unix time.",
        kept().map(|(label, kept)| (vec![("label", label), ("act", kept.task.act.word())], seconds(kept.task.at))),
    );
    text.each(
        "dcv_state",
        "gauge",
        "Where a certificate or domain stands: 1 for its state.",
        kept().map(|(label, kept)| (vec![("label", label), ("state", kept.stand.stage.word())], 1.0)),
    );
    text.each(
        "dcv_kept",
        "gauge",
        "Certificates and domains by state.",
        Stage::ALL.map(|stage| {
            let of = shared.kept.values().filter(|kept| kept.stand.stage == stage).count();
            (vec![("state", stage.word())], count_of(of as u64))
        }),
    );
    let due = shared.kept.values().filter(|kept| kept.task.is_due(now)).count();
    text.one("dcv_tasks_due", "gauge", "Tasks that are due.", count_of(due as u64));
    text.each(
        "dcv_tasks_total",
        "counter",
        "Tasks by what came of them.",
        [("done", shared.done), ("failed", shared.failed), ("waited", shared.waited)]
            .map(|(result, number)| (vec![("result", result)], count_of(number))),
    );
    budget(&mut text, shared);
    let reached = shared.account.looked.is_some() && shared.account.failure.is_none();
    text.one(
        "dcv_ca_reachable",
        "gauge",
        "Whether the last look at the account succeeded.",
        f64::from(u8::from(reached)),
    );
    if let Some(looked) = shared.account.looked {
        let help = "When files, journal and account were looked at last with success, Unix time.";
        text.one("dcv_looked_seconds", "gauge", help, seconds(looked));
    }
    text.family("dcv_propagation_seconds", "histogram", "From presenting proofs to their being visible everywhere.");
    text.histogram("dcv_propagation_seconds", &[], &shared.propagation);
    text.family("dcv_provider_seconds", "histogram", "Calls of providers: how long they took, and what came of them.");
    for ((provider, verb, result), histogram) in &shared.providers {
        let labels = [("provider", provider.as_str()), ("verb", verb.word()), ("result", result)];
        text.histogram("dcv_provider_seconds", &labels, histogram);
    }
    text.each(
        "dcv_provider_errors_total",
        "counter",
        "Calls of providers that failed, by kind of error.",
        shared.errors.iter().map(|((provider, kind), number)| {
            (vec![("provider", provider.as_str()), ("kind", kind)], count_of(*number))
        }),
    );
    text.one("process_start_time_seconds", "gauge", "When this process began, Unix time.", seconds(shared.began));
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    text.each("dcv_build_info", "gauge", "The version of this program.", [(version, 1.0)]);
    text.0
}

fn budget(text: &mut Exposition, shared: &Shared) {
    let Some(client) = &shared.account.client else { return };
    let windows = client.budget().usage().windows;
    let names: Vec<String> = windows.iter().map(|(_, of)| format!("{}s", of.length.as_secs())).collect();
    let of_window = |value: fn(&(usize, certcentral::Window)) -> usize| {
        names
            .iter()
            .zip(&windows)
            .map(move |(name, window)| (vec![("window", name.as_str())], count_of(value(window) as u64)))
    };
    let help = "Calls of the API that count in a window.";
    text.each("dcv_api_calls", "gauge", help, of_window(|(used, _)| *used));
    let help = "Calls of the API that a window allows.";
    text.each("dcv_api_calls_limit", "gauge", help, of_window(|(_, of)| of.calls));
}
