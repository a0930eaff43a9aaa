//! Fuzz targets: every parser that reads bytes which others have written.
//!
//! A [`Target`] is a plain function of bytes. It panics when a promise is broken: parsers never panic and never hang, what
//! was parsed prints back to what it was parsed from, limits hold, and what an error says fits on one line of a terminal.
//! Two things run the same functions: `tests/corpus.rs` over the kept seeds and over [`mutate`]d ones (a bounded number,
//! with every run of the tests), and `tests/fuzz/run` under libFuzzer, which looks at coverage and goes deep.
//!
//! What crashed once stands among the seeds of its target as `regression-…`.

mod ca;
mod config;
mod dns;
mod journal;
pub mod mutate;
mod names;
mod plugin;
mod sandbox;
mod text;
mod x509;

/// One parser, or a few that read the same thing.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder with its seeds.
    pub name: &'static str,
    /// Takes an input apart, and panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Words that a mutation may put in.
    pub words: &'static [&'static str],
    /// How many times as long as a usual input one of these takes.
    pub cost: usize,
}

const JSON: &[&str] = &[
    "{}",
    "[]",
    "null",
    "true",
    "\"\"",
    "0",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"1\"",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    ",",
    ":",
    "[[[[",
    "{\"a\":",
    "\"\\u001b[31m\"",
    "\"status\":",
    "\"id\":",
    "\"name\":",
    "\"errors\":",
    "\"code\":",
];
const PEM: &[&str] = &[
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN CERTIFICATE REQUEST-----\n",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    "-----BEGIN RSA PRIVATE KEY-----\n",
    "-----END ",
    "-----",
    "\r\n",
    "====",
    "Proc-Type: 4,ENCRYPTED\n",
    "MIIB",
    "AAAA",
    "////",
];
const NAME: &[&str] = &[
    ".",
    "..",
    "*.",
    "xn--",
    "xn--a",
    "-",
    "_",
    "example.com",
    "co.uk",
    "github.io",
    "\u{3002}",
    "\u{ad}",
    "\u{202e}",
    "ß",
    "münchen",
    "пример",
    "[::1]",
    "127.0.0.1",
    "https://",
    "@",
    "%00",
    ":",
    "/",
    "\0",
    "\u{1f4a9}",
];
const DNS: &[&str] =
    &["\u{c0}\u{c}", "\0\0\u{5}", "\0\u{10}", "\0\u{2}", "\0\u{6}", "\0\u{ff}", "\u{7}example\u{3}com\0", "\u{1}*"];
const TOML: &[&str] = &[
    "[ca]\n",
    "[provider.a]\n",
    "type = \"plugin\"\n",
    "[route]\n",
    "[keep]\n",
    "[certificate.a]\n",
    "key = { env = \"A\" }\n",
    "\"\"\"",
    "'''",
    "= [",
    "{ file = \"",
    "listen = \"0.0.0.0:1\"\n",
    "\u{1b}[2J",
    "names = [\"a.example.com\"]\n",
    "33%",
    "1h",
    "\\u001b",
    "2027-06-09",
    "[[contact]]\n",
    "[webhook]\n",
];
const TEXT: &[&str] = &["\"", "\\", "\\0", "\\034", "\\256", "\\999", " ", "\t", "\"\"", "\" \"", "é", "\u{0}", "|"];
const HTTP: &[&str] = &[
    "GET ",
    "POST ",
    "PUT ",
    "DELETE ",
    "/order/certificate",
    "/domain/",
    "/organization/",
    "/webhook",
    "/request/",
    "/user/me",
    "?filters[status]=",
    "?limit=",
    "&offset=",
    "sort=",
    "\n\n",
    "%",
    "\"csr\":",
    "\"dns_names\":",
    "\"organization\":",
    "\"custom_expiration_date\":",
    "9999-12-31",
    "-9999-01-01",
    "99999999999999999999",
];

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "ca-answer", run: ca::answer, words: JSON, cost: 1 },
    Target { name: "ca-error", run: ca::error, words: JSON, cost: 1 },
    Target {
        name: "ca-header",
        run: ca::header,
        words: &["9", " GMT", "Mon, 23 Nov 2026", "-", "18446744073709551616"],
        cost: 1,
    },
    Target { name: "dns-answer", run: dns::answer, words: DNS, cost: 1 },
    Target { name: "dns-network", run: dns::network, words: DNS, cost: 20 },
    Target { name: "zone-text", run: text::zone, words: TEXT, cost: 1 },
    Target { name: "web-file", run: text::web, words: TEXT, cost: 1 },
    Target { name: "vendor-answer", run: text::vendor, words: JSON, cost: 1 },
    Target { name: "bridge", run: text::bridge, words: JSON, cost: 1 },
    Target { name: "record-set", run: text::record_set, words: JSON, cost: 1 },
    Target { name: "key", run: x509::key, words: PEM, cost: 4 },
    Target { name: "csr", run: x509::csr, words: PEM, cost: 1 },
    Target { name: "chain", run: x509::chain, words: PEM, cost: 2 },
    Target { name: "name", run: names::name, words: NAME, cost: 1 },
    Target { name: "config", run: config::config, words: TOML, cost: 1 },
    Target {
        name: "screen",
        run: config::screen,
        words: &["\u{1b}[", "\u{1b}]0;", "\u{9b}", "\u{202e}", "\r", "\u{8}", "31m", "\u{7}"],
        cost: 1,
    },
    Target { name: "plugin", run: plugin::reply, words: JSON, cost: 1 },
    Target { name: "journal", run: journal::entries, words: JSON, cost: 1 },
    Target { name: "sandbox-api", run: sandbox::api, words: HTTP, cost: 8 },
    Target { name: "sandbox-dns", run: sandbox::dns, words: DNS, cost: 1 },
    Target { name: "sandbox-va", run: sandbox::va, words: DNS, cost: 1 },
];

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// What people are told stands on one line and does nothing to their terminal.
fn one_line(said: &str) {
    assert!(!said.chars().any(char::is_control), "not for a terminal: {said:?}");
}

/// The JSON texts of an input: its lines that are some.
fn json_lines(input: &[u8]) -> Vec<serde_json::Value> {
    input.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The input in parts, which a line of dashes holds apart. Missing ones are empty.
fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    const MARK: &[u8] = b"\n--\n";
    let mut rest = input;
    let mut parts = [&[][..]; N];
    for (index, part) in parts.iter_mut().enumerate() {
        let cut = rest.windows(MARK.len()).position(|window| window == MARK).filter(|_| index + 1 < N);
        (*part, rest) = cut.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + MARK.len()..]));
    }
    parts
}
