//! The one door for output: results to stdout, everything else to stderr, for people or as JSON.
//!
//! How runs get on is shown by [`progress`].

use std::{
    borrow::Cow,
    fmt::Display,
    io::{IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use dcv_provider::Descriptor;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    args::{Color, Global},
    exit::{Code, Failure},
    providers::KINDS,
};

mod progress;

pub(crate) use progress::{Progress, words_of};

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
        Progress::new(self, several)
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
