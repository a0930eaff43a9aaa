//! Planted secrets are looked for in everything that the program says, writes and starts, however it ends; from each source a
//! secret can come from. What is private has the modes of private files, and files are replaced whole.

mod bench;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Router, extract::Request, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use bench::{Bench, Ran, dcv, mode, run};
use certcentral_sandbox::{ApiKey, Role};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// One for each field of the configuration that takes a secret. They hold what has to be escaped in URLs.
const API: &str = "planted-api/key+4711=";
const WRONG_API: &str = "planted-wrong/key+4712=";
const VENDOR: &str = "planted-vendor/key+4713=";
const CLOUD: &str = "planted-cloud/token+4714=";
const SCRIPT: &str = "planted-script/token+4715=";
const WEBHOOK: &str = "planted-webhook/secret+of-32-characters-4716=";
const DASHBOARD: &str = "planted-dashboard/token+4717=";
const PLUGIN: &str = "planted-plugin/token+4718=";
/// What stands at the top of every private key.
const KEY_LINE: &[u8] = b"PRIVATE KEY-----";
const WRONG_TSIG: &[u8] = b"planted-wrong-tsig-secret-4719";

/// Where the program finds its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Inline,
    Environment,
    File,
    Credential,
    Command,
}

/// A bench whose configuration has every kind of secret.
struct Planted {
    bench: Bench,
    source: Source,
    /// Names and values of variables of the environment.
    environment: Vec<(String, String)>,
}

impl Planted {
    async fn start(source: Source) -> Self {
        let bench = Bench::with(|account| account.keys = vec![ApiKey::new(API, Role::Administrator)]).await;
        for dir in ["secrets", "witness"] {
            fs::create_dir(bench.path(dir)).expect("a folder");
        }
        let mut planted = Self { bench, source, environment: Vec::new() };
        planted.programs();
        let (vendor, webhook, dashboard) = (echo().await, free(), free());
        let tsig = STANDARD.encode(bench::TSIG);
        for (file, api, tsig) in [("dcv.toml", API, &tsig), ("wrong-key.toml", WRONG_API, &tsig)] {
            let text = planted.configuration(api, tsig, vendor, webhook, dashboard);
            planted.bench.write(file, &text);
        }
        let text = planted.configuration(API, &STANDARD.encode(WRONG_TSIG), vendor, webhook, dashboard);
        planted.bench.write("wrong-tsig.toml", &text);
        planted
    }

    /// A secret, as the configuration says where it is.
    fn at(&mut self, name: &str, value: &str) -> String {
        let path = self.bench.path("secrets").join(name);
        if self.source != Source::Inline && self.source != Source::Environment {
            fs::write(&path, format!("{value}\n")).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("a mode");
        }
        match self.source {
            Source::Inline => format!("{value:?}"),
            Source::Environment => {
                let variable = format!("PLANTED_{}", name.to_uppercase().replace('-', "_"));
                self.environment.push((variable.clone(), value.to_owned()));
                format!("{{ env = {variable:?} }}")
            }
            Source::File => format!("{{ file = \"{}\" }}", path.display()),
            Source::Credential => format!("{{ credential = {name:?} }}"),
            Source::Command => format!(
                "{{ command = [\"sh\", \"{}\", \"{}\"] }}",
                self.bench.path("tell.sh").display(),
                path.display()
            ),
        }
    }

    fn configuration(
        &mut self,
        api: &str,
        tsig: &str,
        vendor: SocketAddr,
        webhook: SocketAddr,
        listen: SocketAddr,
    ) -> String {
        let name = |text: &str, usual: &str, what: &str| {
            if text == usual { what.to_owned() } else { format!("wrong-{what}") }
        };
        let api = self.at(&name(api, API, "api"), api);
        let tsig = self.at(&name(tsig, &STANDARD.encode(bench::TSIG), "tsig"), tsig);
        let [key, token, script, secret, dashboard] =
            [("vendor", VENDOR), ("cloud", CLOUD), ("script", SCRIPT), ("webhook", WEBHOOK), ("dashboard", DASHBOARD)]
                .map(|(name, value)| self.at(name, value));
        let bench = &self.bench;
        let (url, dns, port) = (bench.sandbox.base_url(), bench.server.addr(), bench.server.addr().port());
        let path = |name: &str| bench.path(name).display().to_string();
        format!(
            r#"[ca]
url = "{url}"
key = {api}
[defaults]
product = "ssl_basic"
organization = 10001
scope = "fqdn"
[state]
path = "state/journal.sqlite"
[dns]
resolvers = ["{dns}"]
authority_port = {port}
[provider.corp]
type = "rfc2136"
server = "{dns}"
tsig = {{ name = "dcv-key", secret = {tsig} }}
[provider.vendor]
type = "powerdns"
url = "http://{vendor}"
api_key = {key}
[provider.cloud]
type = "cloudflare"
base_url = "http://{vendor}/client/v4"
token = {token}
[provider.linode]
type = "linode"
base_url = "http://{vendor}/v4"
token = {token}
[provider.script]
type = "exec"
path = "{update}"
env = {{ TOKEN = {script} }}
[provider.plugged]
type = "plugin"
path = "{library}"
config = {{ token = "{PLUGIN}", witness = "{witness}" }}
[route]
"example.com" = "corp"
"vendor.example.org" = "vendor"
"cloud.example.org" = "cloud"
"linode.example.org" = "linode"
"script.example.org" = "script"
"plugged.example.org" = "plugged"
[webhook]
listen = "{webhook}"
secret = {secret}
[certificate.shop]
names = ["shop.example.com"]
out = "shop"
deploy = ["sh", "{deploy}"]
[certificate.never]
names = ["never.script.example.org"]
out = "never"
[keep]
listen = "{listen}"
token = {dashboard}
notify = ["sh", "{notify}"]
"#,
            update = path("update.sh"),
            library = path("plugin.so"),
            witness = path("witness/plugin"),
            deploy = path("deploy.sh"),
            notify = path("notify.sh"),
        )
    }

    /// The programs that the configuration names. Each leaves behind what it could know.
    fn programs(&self) {
        let bench = &self.bench;
        let witness = |name: &str| {
            let file = bench.path("witness").join(name);
            format!("cat /proc/$$/cmdline /proc/$PPID/cmdline /proc/$$/environ >>{}\n", file.display())
        };
        for (name, does) in [
            ("tell.sh", "cat \"$1\"\n"),
            ("deploy.sh", "exit 3\n"),
            ("notify.sh", "cat\n"),
            ("update.sh", "echo \"the token $TOKEN is refused\" >&2\nexit 1\n"),
        ] {
            // What the script of the provider knows by its own environment it is meant to know.
            let witness =
                if name == "update.sh" { witness(name).replace("/proc/$$/environ ", "") } else { witness(name) };
            bench.write(name, &format!("#!/bin/sh\n{witness}{does}"));
            fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        bench.write("plugin.c", PLUGIN_SOURCE);
        let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../dcv-plugin/include");
        let mut cc = std::process::Command::new("cc");
        cc.args(["-shared", "-fPIC", "-I", include, "-o"]).arg(bench.path("plugin.so")).arg(bench.path("plugin.c"));
        assert!(cc.status().expect("cc runs; tests/run installs it").success());
    }

    fn dcv(&self, arguments: &str) -> Command {
        let mut command = dcv(self.bench.dir.path());
        command.args(arguments.split_whitespace());
        // What the configuration does not name it cannot know to be a secret.
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let given = words.iter().position(|word| *word == "--config").and_then(|at| words.get(at + 1));
        let text = fs::read_to_string(self.bench.path(given.unwrap_or(&"dcv.toml"))).expect("a configuration");
        let named = self.environment.iter().filter(|(name, _)| text.contains(&format!("{name:?}")));
        command.envs(named.map(|(name, value)| (name, value)));
        if self.source == Source::Credential {
            command.env("CREDENTIALS_DIRECTORY", self.bench.path("secrets"));
        }
        command
    }

    /// Every file that the program and what it started have written, by its path.
    fn written(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut folders = vec![self.bench.dir.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                // What the test itself has put there.
                let endings = ["toml", "c", "sh", "so"];
                let ours = folder == self.bench.dir.path()
                    && endings.iter().any(|ending| path.extension().is_some_and(|e| e == *ending));
                if path.is_dir() && entry.file_name() != "secrets" {
                    folders.push(path);
                } else if path.is_file() && !ours {
                    files.push((path.clone(), fs::read(&path).expect("a file")));
                }
            }
        }
        files
    }
}

/// Crashes at every call, and leaves behind what its process could know. Its own secret comes by its configuration, over a pipe.
const PLUGIN_SOURCE: &str = r#"
#include "dcv_plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void say(void *c, dcv_reply r, const char *t) { r(c, (const uint8_t *)t, strlen(t)); }
static void describe(void *c, dcv_reply r) {
    say(c, r, "{\"ok\":{\"id\":\"planted\",\"title\":\"Planted\",\"proofs\":[\"txt\"],"
              "\"options\":[{\"name\":\"token\",\"secret\":true}]}}");
}
static void *open_(const uint8_t *j, size_t n, void *c, dcv_reply r) {
    char path[1024] = "", text[4096] = "";
    memcpy(text, j, n < sizeof text - 1 ? n : sizeof text - 1);
    char *at = strstr(text, "\"witness\":\"");
    if (!at || sscanf(at, "\"witness\":\"%1023[^\"]", path) != 1 || !strstr(text, "planted-plugin")) {
        say(c, r, "{\"error\":{\"kind\":\"config\",\"message\":\"it is not what was planted\"}}");
        return NULL;
    }
    const char *names[] = {"/proc/self/cmdline", "/proc/self/environ"};
    FILE *out = fopen(path, "a");
    for (int i = 0; i < 2; i++) {
        FILE *in = fopen(names[i], "r");
        for (int ch; in && out && (ch = fgetc(in)) != EOF;) fputc(ch, out);
        if (in) fclose(in);
    }
    if (out) fclose(out);
    say(c, r, "{\"ok\":null}");
    return calloc(1, 1);
}
static void call(void *h, const uint8_t *j, size_t n, void *c, dcv_reply r) { (void)h, (void)j, (void)n, (void)c, (void)r; abort(); }
static void close_(void *h) { free(h); }
const struct dcv_plugin_v1 *dcv_plugin(uint32_t abi) {
    static const struct dcv_plugin_v1 t = {DCV_PLUGIN_ABI, sizeof t, describe, open_, call, close_};
    return abi == DCV_PLUGIN_ABI ? &t : NULL;
}
"#;

/// A vendor that refuses every key, and repeats it, in a text where a number belongs and in one for people.
async fn echo() -> SocketAddr {
    let refuse = |request: Request| async move {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (key, bearer) =
            (header("x-api-key").to_owned(), header("authorization").trim_start_matches("Bearer ").to_owned());
        let message = format!("the key {key}{bearer} is unknown here");
        let body = serde_json::json!({ "success": false, "error": message, "errors": [{ "code": 9109, "message": message, "reason": message }] });
        (StatusCode::UNAUTHORIZED, body.to_string())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await });
    address
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port")
}

/// How a secret may show: as it is, escaped for a URL, in hexadecimal digits, and in Base64 at each of the three places in which
/// it may begin within what was encoded.
fn shapes(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut shapes = BTreeSet::from([secret.to_vec()]);
    let escaped = |plain: &dyn Fn(u8) -> bool| -> String {
        let one = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
        secret.iter().map(one).collect()
    };
    let url = escaped(&|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    shapes.extend([url.to_lowercase().into_bytes(), url.into_bytes()]);
    let hex = secret.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    shapes.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    for before in 0..3_usize {
        let text = [&vec![0; before], secret].concat();
        // Only the characters that nothing beside the secret has a part in.
        let (begin, whole) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
        let encoded = STANDARD.encode(&text);
        let core = &encoded[begin..whole];
        shapes.extend([core.as_bytes().to_vec(), core.replace('+', "-").replace('/', "_").into_bytes()]);
    }
    shapes
}

fn all_shapes() -> Vec<(String, Vec<u8>)> {
    let texts = [API, WRONG_API, VENDOR, CLOUD, SCRIPT, WEBHOOK, DASHBOARD, PLUGIN].map(str::as_bytes);
    let secrets = texts.into_iter().chain([bench::TSIG, WRONG_TSIG]);
    let named = |secret: &[u8]| {
        let name = String::from_utf8_lossy(secret).into_owned();
        shapes(secret).into_iter().map(move |shape| (name.clone(), shape)).collect::<Vec<_>>()
    };
    secrets.flat_map(named).collect()
}

/// Fails if one of the secrets is in it.
fn check(what: &str, text: &[u8], shapes: &[(String, Vec<u8>)]) {
    for (secret, shape) in shapes {
        let found = text.windows(shape.len()).position(|window| window == shape.as_slice());
        if let Some(at) = found {
            let around = &text[at.saturating_sub(200)..text.len().min(at + shape.len() + 60)];
            panic!("{what} holds {secret}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

#[test]
fn a_secret_is_found_in_every_shape() {
    let shapes = all_shapes();
    let basic = STANDARD.encode(format!("user:{API}:more"));
    let url = "https://x.example/?q=planted-api%2Fkey%2B4711%3D";
    let hex = bench::TSIG.iter().fold(String::new(), |text, byte| format!("{text}{byte:02X}"));
    for text in [&format!("a{API}b"), &basic, url, &STANDARD.encode(bench::TSIG), &hex] {
        let found = std::panic::catch_unwind(|| check("a text", text.as_bytes(), &shapes));
        assert!(found.is_err(), "not found in {text}");
    }
    check("a text", b"planted-api, planted, 4711", &shapes);
}

/// What is run, and how it has to end.
const COMMANDS: &[(&str, i32)] = &[
    ("issue www.example.com --out certs/{name}", 0),
    ("issue a.example.com --config wrong-key.toml", 3),
    ("issue b.example.com --config wrong-tsig.toml", 4),
    ("issue a.vendor.example.org", 4),
    ("issue a.cloud.example.org", 4),
    ("issue a.linode.example.org", 4),
    ("issue a.script.example.org", 4),
    ("issue a.plugged.example.org", 4),
    ("doctor www.example.com", 0),
    ("doctor a.vendor.example.org a.cloud.example.org a.linode.example.org a.plugged.example.org", 7),
    ("doctor a.script.example.org b.example.com --config wrong-tsig.toml", 7),
    ("doctor a.example.com --config wrong-key.toml", 7),
    ("webhook create https://hook.example.com/x", 0),
    ("webhook list", 0),
    ("plan", 0),
    ("run --once", 4),
    ("status --all", 0),
    ("order list", 0),
    ("domain list", 0),
    ("import", 0),
    ("plugin list", 0),
    ("providers", 0),
];

async fn nothing_is_shown(source: Source) {
    let planted = Planted::start(source).await;
    let shapes = all_shapes();
    for (arguments, expected) in COMMANDS {
        let ran = run(planted.dcv(arguments).env("RUST_LOG", "trace")).await;
        check(&format!("dcv {arguments} ({source:?})"), ran.all().as_bytes(), &shapes);
        assert_eq!(ran.code, *expected, "dcv {arguments} ({source:?}): {}", tail(&ran));
    }
    keeping(&planted, &shapes).await;
    let written = planted.written();
    for (path, octets) in &written {
        check(&path.display().to_string(), octets, &shapes);
    }
    // What was looked through is what there is to be looked through.
    let has =
        |part: &str| written.iter().any(|(path, octets)| path.to_string_lossy().contains(part) && !octets.is_empty());
    let mut expected = vec![
        "witness/update.sh",
        "witness/deploy.sh",
        "witness/notify.sh",
        "witness/plugin",
        "state/journal.sqlite",
        "privkey.pem",
    ];
    expected.extend((source == Source::Command).then_some("witness/tell.sh"));
    for part in expected {
        assert!(has(part), "{part} is missing: {:?}", written.iter().map(|(path, _)| path).collect::<Vec<_>>());
    }
    let sandbox = &planted.bench.sandbox;
    let records = format!(
        "{:?} {:?} {:?} {:?}",
        sandbox.requests_seen(),
        sandbox.lookups(),
        sandbox.deliveries(),
        sandbox.mails()
    );
    check("what the CA was asked", records.as_bytes(), &shapes);
    check("the zone", planted.bench.server.records().join(" ").as_bytes(), &shapes);
    modes(&planted.bench, &written);
}

/// The keeper with its webhook and its dashboard, told and asked by those who know the secrets and by others.
async fn keeping(planted: &Planted, shapes: &[(String, Vec<u8>)]) {
    let mut command = planted.dcv("run --json");
    let child = command.env("RUST_LOG", "trace").spawn().expect("it starts");
    let text = fs::read_to_string(planted.bench.path("dcv.toml")).expect("a file");
    let listening = |table: &str| -> String {
        let (_, rest) = text.split_once(table).expect("the table");
        let (_, rest) = rest.split_once("listen = \"").expect("the field");
        rest.split('"').next().expect("an address").to_owned()
    };
    let (webhook, dashboard) = (listening("[webhook]"), listening("[keep]"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = async |request: reqwest::RequestBuilder| {
        for _ in 0..200 {
            if let Ok(response) = request.try_clone().expect("no stream").send().await {
                let status = response.status().as_u16();
                return (status, response.text().await.expect("text"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody answers");
    };
    for (token, status) in [("planted-guess", 401), (DASHBOARD, 200)] {
        for path in ["", "metrics"] {
            let (found, page) = answer(http.get(format!("http://{dashboard}/{path}")).bearer_auth(token)).await;
            check("the dashboard", page.as_bytes(), shapes);
            assert_eq!(found, status, "{page}");
        }
    }
    for (secret, status) in [("planted-guess", 401), (WEBHOOK, 204)] {
        let event = http.post(format!("http://{webhook}/x")).header(certcentral::WEBHOOK_SECRET_HEADER, secret);
        let (found, page) = answer(event.body("{\"event\": \"order_issued\"}")).await;
        assert_eq!((found, page.as_str()), (status, ""));
    }
    let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a number")).expect("a process");
    kill_process(pid, Signal::TERM).expect("told");
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.expect("it ends");
    let ran = Ran::from(output.expect("it ends"));
    check("dcv run", ran.all().as_bytes(), shapes);
    assert_eq!(ran.code, 130, "{}", tail(&ran));
}

fn tail(ran: &Ran) -> String {
    let all = ran.all();
    let lines: Vec<&str> = all.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Keys and the journal are their owner's alone; nothing half-written lies about.
fn modes(bench: &Bench, written: &[(PathBuf, Vec<u8>)]) {
    for (path, octets) in written {
        let name = path.file_name().expect("a name").to_string_lossy();
        let is_key = octets.windows(KEY_LINE.len()).any(|window| window == KEY_LINE);
        if is_key || name.starts_with("journal.sqlite") {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
        assert!(!name.contains("tmp"), "{} was left", path.display());
    }
    assert_eq!(mode(&bench.path("state/journal.sqlite")), 0o600);
    assert!(written.iter().any(|(path, _)| path.ends_with("privkey.pem")));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_the_configuration_are_shown_nowhere() {
    nothing_is_shown(Source::Inline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_environment_are_shown_nowhere() {
    nothing_is_shown(Source::Environment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_files_are_shown_nowhere() {
    nothing_is_shown(Source::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_service_manager_are_shown_nowhere() {
    nothing_is_shown(Source::Credential).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_commands_tell_are_shown_nowhere() {
    nothing_is_shown(Source::Command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_in_any_way_of_speaking() {
    let planted = Planted::start(Source::Environment).await;
    let shapes = all_shapes();
    for (index, (arguments, _)) in COMMANDS.iter().enumerate() {
        let how = ["--json", "-vvv", "--color always"][index % 3];
        let ran = run(&mut planted.dcv(&format!("{arguments} {how}"))).await;
        check(&format!("dcv {arguments} {how}"), ran.all().as_bytes(), &shapes);
    }
}

/// A configuration that others read, with a secret in it, is refused whatever the secret is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_secret_is_not_for_others_to_read() {
    let planted = Planted::start(Source::Inline).await;
    let bench = &planted.bench;
    let text = fs::read_to_string(bench.path("dcv.toml")).expect("a file");
    let sealed = |text: &str, keep: &str| -> String {
        let hide = |line: &str| {
            let secret =
                ["key = \"", "api_key = \"", "token = \"", "secret = \""].iter().any(|field| line.starts_with(field))
                    || line.starts_with("tsig = ")
                    || line.starts_with("env = {");
            if !secret || line.starts_with(keep) {
                return line.to_owned();
            }
            let (before, after) = line
                .rsplit_once('"')
                .and_then(|(rest, after)| Some((rest.rsplit_once('"')?.0, after)))
                .expect("a text");
            format!("{before}{{ env = \"NOWHERE\" }}{after}")
        };
        text.lines().map(hide).collect::<Vec<_>>().join("\n")
    };
    for (keep, field) in [
        ("key = ", "ca.key: "),
        ("tsig = ", "provider.corp.tsig.secret: "),
        ("api_key = ", "provider.vendor.api_key: "),
        ("env = ", "provider.script.env: "),
        ("secret = ", "webhook.secret: "),
    ] {
        bench.write("open.toml", &sealed(&text, keep));
        fs::set_permissions(bench.path("open.toml"), fs::Permissions::from_mode(0o644)).expect("a mode");
        let ran = bench.run("plan --config open.toml").await;
        assert!(
            ran.code == 2 && ran.stderr.contains(field) && ran.stderr.contains("chmod 600"),
            "{keep}: {}",
            ran.all()
        );
    }
    bench.write("open.toml", &sealed(&text, "nothing"));
    fs::set_permissions(bench.path("open.toml"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let ran = bench.run("plan --config open.toml").await;
    assert!(!ran.stderr.contains("chmod"), "no secret stands in it: {}", ran.all());
}

/// A reader who has a file open goes on reading the old one, whole; a link in a file's place is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_replaced_and_links_are_not_followed() {
    let bench = Bench::start().await;
    let files = ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"];
    assert_eq!(bench.run("issue a.example.com --out home").await.code, 0);
    let read = |file: &str| fs::read(bench.path("home").join(file)).expect(file);
    let inode = |path: &Path| fs::metadata(path).expect("a file").ino();
    let before = files.map(|file| (read(file), inode(&bench.path("home").join(file))));
    let open = files.map(|file| fs::File::open(bench.path("home").join(file)).expect(file));

    let elsewhere = bench.path("elsewhere");
    bench.write("elsewhere", "somebody else's");
    fs::rename(bench.path("home/privkey.pem"), bench.path("old-key")).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, bench.path("home/privkey.pem")).expect("a link");
    assert_eq!(bench.run("issue a.example.com --out home").await.code, 0);
    assert_eq!(fs::read_to_string(&elsewhere).expect("a file"), "somebody else's");
    assert!(!fs::symlink_metadata(bench.path("home/privkey.pem")).expect("a file").is_symlink());
    bench::check_files(&bench.path("home"), &bench.sandbox.root_pem(), &["a.example.com"]);
    for ((file, (old, number)), mut open) in files.into_iter().zip(before).zip(open) {
        let mut still = Vec::new();
        std::io::Read::read_to_end(&mut open, &mut still).expect("readable");
        assert_eq!(still, old, "{file} was changed in place");
        assert_ne!(inode(&bench.path("home").join(file)), number, "{file} was written over");
    }
}
