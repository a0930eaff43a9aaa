//! What people see of the keeper, looked at with a browser; and what it shows to whom.

mod bench;
mod browser;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use bench::Bench;
use browser::{Browser, Scripts};
use serde_json::Value;
use tokio::process::Child;

const TOKEN: &str = "planted-token-of-the-dashboard";
/// A label that would be markup, and an error's text that would.
const HOSTILE: &str = "<img src=x onerror=document.title='taken'>\\\"'&";
const HOSTILE_AS_SEEN: &str = "<img src=x onerror=document.title='taken'>\"'&";
const HOSTILE_ERROR: &str = "<script>document.title='taken'</script>";

/// A keeper with something in every state: done, waiting for somebody, failed, being proved.
struct Kept {
    bench: Bench,
    url: String,
    child: Child,
}

impl Kept {
    async fn start(more: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bench = Bench::start().await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        bench.write("hook.sh", &format!("echo \"{HOSTILE_ERROR}\" >&2; exit 3\n"));
        std::fs::create_dir_all(bench.path("htdocs")).expect("a folder");
        let (hook, root) = (bench.path("hook.sh").display().to_string(), bench.path("htdocs").display().to_string());
        let mut text = bench.configuration().replace(
            "[route]",
            &format!("[provider.farm]\ntype = \"webroot\"\nroot = {root:?}\n[route]\n\"example.org\" = \"corp\""),
        );
        let kept = |label: &str, names: &str, days: u32, more: &str| {
            format!("[certificate.\"{label}\"]\nnames = [{names}]\nout = \"out/{days}\"\ncert_days = {days}\n{more}\n")
        };
        text += &kept("shop", "\"shop.example.org\", \"www.example.org\"", 190, "");
        text += &kept("mail", "\"mail.example.com\"", 90, "");
        text += &kept("api-gateway-of-the-warehouse", "\"api.example.com\"", 47, "");
        text += &kept("intranet", "\"*.intranet.example.com\"", 140, "");
        text += &kept("nobody-serves-it", "\"www.example.net\"", 30, "");
        text += &kept(HOSTILE, "\"hostile.example.com\"", 60, &format!("deploy = [\"sh\", {hook:?}]"));
        text += &kept("static-files", "\"files.example.net\"", 75, "method = \"http-token\"\nprovider = [\"farm\"]");
        text += format!("[propagation]\nhttp_port = {0}\nhttps_port = {0}\n", dead.port()).as_str();
        text +=
            format!("[keep]\ndomains = [\"example.com\"]\nlisten = \"{free}\"\ntoken = \"{TOKEN}\"\n{more}").as_str();
        bench.write("dcv.toml", &text);
        let mut command = bench.dcv("--json --log-format json -vv run");
        command.stdout(Stdio::null()).stderr(std::fs::File::create(bench.path("log")).expect("a file"));
        let mut child = command.spawn().expect("it starts");
        while tokio::net::TcpStream::connect(free).await.is_err() {
            let ended = child.try_wait().expect("a state");
            assert!(ended.is_none(), "{}", std::fs::read_to_string(bench.path("log")).expect("a log"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { bench, url: format!("http://{free}"), child }
    }

    /// Logs a browser in by the form, as people do.
    async fn enter(&self, browser: &Browser) {
        browser.open(&self.url).await;
        browser.fill("#token", TOKEN).await;
        browser.click("button.main").await;
        browser.wait_for("h2", &["What waits for whom"]).await;
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, reqwest::header::HeaderMap, String) {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let mut request = http.expect("a client").get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.headers().clone(), response.text().await.expect("text"))
    }
}

/// Everything that a script can tell of a page's accessibility. One line for each thing that is wrong.
const AUDIT: &str = r"
const wrong = [];
const say = (what, element) => wrong.push(what + ': ' + (element.outerHTML || '').slice(0, 120));
if (!document.documentElement.lang) wrong.push('no language');
if (!document.title) wrong.push('no title');
for (const one of ['header', 'main', 'h1']) if (document.querySelectorAll(one).length !== 1) wrong.push('not one ' + one);
for (const input of document.querySelectorAll('input, select, textarea'))
  if (!input.labels.length || !input.labels[0].textContent.trim()) say('no label', input);
for (const button of document.querySelectorAll('button, a'))
  if (!button.hidden && !button.textContent.trim()) say('no name', button);
for (const table of document.querySelectorAll('table')) {
  if (!table.caption) say('no caption', table);
  if (!table.querySelector('thead th[scope=col]')) say('no column headers', table);
  for (const row of table.querySelectorAll('tbody tr')) if (!row.querySelector('th[scope=row]')) say('no row header', row);
}
for (const svg of document.querySelectorAll('svg:not([aria-hidden=true])'))
  if (svg.getAttribute('role') !== 'img' || !svg.querySelector('title')) say('no text for a picture', svg);
const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) wrong.push('two of id ' + id);
for (const one of document.querySelectorAll('[aria-labelledby]'))
  for (const id of one.getAttribute('aria-labelledby').split(' ')) if (!document.getElementById(id)) say('labelled by nothing', one);
let level = 0;
for (const heading of document.querySelectorAll('h1, h2, h3, h4')) {
  const now = Number(heading.tagName[1]);
  if (now > level + 1) say('a level is left out', heading);
  level = now;
}
const channels = (color) => {
  const numbers = color.match(/[\d.]+/g).map(Number);
  return { rgb: numbers.slice(0, 3), alpha: numbers.length > 3 ? numbers[3] : 1 };
};
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const { rgb, alpha } = channels(getComputedStyle(one).backgroundColor);
    if (alpha === 1) return rgb;
  }
  return [255, 255, 255];
};
let looked = 0;
for (const element of document.querySelectorAll('body *')) {
  const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const style = getComputedStyle(element);
  if (!text || style.visibility === 'hidden' || !element.getClientRects().length || element.closest('title, desc, noscript')) continue;
  const inPicture = element instanceof SVGElement;
  let ground = behind(element);
  if (element.classList.contains('now-text')) ground = channels(getComputedStyle(document.querySelector('.now-flag')).fill).rgb;
  const found = ratio(channels(inPicture ? style.fill : style.color).rgb, ground);
  looked += 1;
  if (found < 4.5) say('contrast ' + found.toFixed(2), element);
}
if (looked < 5) wrong.push('only ' + looked + ' texts were looked at');
// What is no text and carries meaning: 3 to 1 (WCAG 1.4.11).
for (const element of document.querySelectorAll('svg .lived, svg .act, svg .part, svg .hatch-line')) {
  const style = getComputedStyle(element);
  const color = style.fill.startsWith('rgb') && element.tagName !== 'line' ? style.fill : style.stroke;
  const found = ratio(channels(color).rgb, behind(element.closest('svg').parentElement));
  if (found < 3) say('contrast of a picture ' + found.toFixed(2), element);
}
for (const field of document.querySelectorAll('input, button')) {
  if (field.hidden) continue;
  const found = ratio(channels(getComputedStyle(field).borderTopColor).rgb, behind(field.parentElement));
  if (found < 3) say('contrast of an edge ' + found.toFixed(2), field);
}
if (document.documentElement.scrollWidth > document.documentElement.clientWidth) wrong.push('wider than the window');
return wrong;
";

async fn audit(browser: &Browser, page: &str) {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        let wrong = browser.run(AUDIT).await;
        assert_eq!(wrong, Value::Array(Vec::new()), "{page}, {scheme}");
        browser.picture(&format!("{page}-{scheme}")).await;
    }
    browser.prefer("light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_is_kept_what_waits_and_what_each_server_shows() {
    let kept = Kept::start("").await;
    let browser = Browser::start(Scripts::On).await;
    browser.open(&kept.url).await;
    audit(&browser, "log-in").await;
    browser.fill("#token", "wrong").await;
    browser.click("button.main").await;
    browser.wait_for("[role=alert]", &["not the token"]).await;
    audit(&browser, "log-in-wrong").await;
    kept.enter(&browser).await;

    // The page is never loaded again: what comes now was brought by the script.
    browser.run("window.sameDocument = true").await;
    browser.wait_for("#link", &["live"]).await;
    for label in ["shop", "mail", "api-gateway-of-the-warehouse", "intranet"] {
        // How much of its life is left depends on the time of day: it began at midnight.
        browser.wait_for("#kept tr", &[label, "done", " %"]).await;
    }
    browser.wait_for("#waiting tr", &["owner of the deploy command"]).await;
    browser.wait_for("#shown tr", &["0 of 1 show it"]).await;
    browser.wait_for("#budget", &["of 1000"]).await;
    assert_eq!(browser.run("return window.sameDocument").await, Value::Bool(true));

    // What a hostile label or error says is text.
    let waiting = browser.text("#waiting").await;
    assert!(waiting.contains(HOSTILE_AS_SEEN) && waiting.contains(HOSTILE_ERROR), "{waiting}");
    assert_eq!(browser.title().await, "dcv: what is kept");
    assert_eq!(browser.all("img, #waiting script, main script").await, [""; 0]);
    let scripts = browser.run("return [...document.scripts].map((script) => script.src)").await;
    assert_eq!(scripts, serde_json::json!([format!("{}/live.js", kept.url)]));

    // What each server shows, in words.
    browser.click("#shown summary").await;
    browser.wait_for("#shown .views", &["files.example.net"]).await;
    let bars = browser.all("#line svg rect.ahead").await.len();
    assert_eq!(bars, browser.all("#line svg text.label").await.len(), "a bar for each life");
    audit(&browser, "overview").await;
    browser.size(390, 800).await;
    audit(&browser, "overview-narrow").await;
    browser.size(1280, 900).await;

    // Those that are found, and the page of one.
    browser.fill("#q", "WWW.example.org").await;
    browser.click("form[role=search] button").await;
    browser.wait_for("#kept", &["shop"]).await;
    let found = browser.text("#kept").await;
    assert!(!found.contains("mail") && browser.url().await.ends_with("?q=WWW.example.org"), "{found}");
    browser.click("#kept a").await;
    browser.wait_for("h1", &["shop"]).await;
    let history = browser.text("#runs").await;
    for part in ["order", "planned", "sending the order", "visible everywhere", "issued", "removed proofs", "closed"] {
        assert!(history.contains(part), "{part} in {history}");
    }
    audit(&browser, "certificate").await;
    browser.click(".brand").await;
    browser.click("#waiting tr:nth-child(2) a").await;
    browser.wait_for("#facts", &["hostile.example.com"]).await;
    assert_eq!(browser.text("h1").await, HOSTILE_AS_SEEN);
    assert!(browser.text("#runs").await.contains(HOSTILE_ERROR));
    assert_eq!(browser.all("img, main script").await, [""; 0]);
    audit(&browser, "certificate-waits").await;

    // Whoever leaves is asked again.
    browser.click(".state form button").await;
    browser.wait_for("h1", &["Log in"]).await;
    drop(kept.bench);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_without_scripts_but_the_refreshing() {
    let kept = Kept::start("").await;
    let browser = Browser::start(Scripts::Off).await;
    kept.enter(&browser).await;
    // The page reloads itself.
    browser.wait_for("#kept tr", &["shop", "done", " %"]).await;
    browser.wait_for("#waiting tr", &[HOSTILE_ERROR]).await;
    assert_eq!(browser.all("noscript meta[http-equiv=refresh]").await.len(), 1);
    assert_eq!(browser.text("#link").await, "", "no script says that it runs");
    assert!(browser.text("#kept").await.contains("api-gateway-of-the-warehouse"));
    browser.picture("overview-without-scripts").await;
    browser.click("noscript a").await;
    browser.wait_for("#kept", &["shop"]).await;
    assert_eq!(browser.all("meta[http-equiv=refresh]").await, [""; 0], "it stands still");
    browser.click("#kept a").await;
    browser.wait_for("h2", &["History"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_look_is_looked_at() {
    let mut kept = Kept::start("hosts = [\"dcv.example.com\"]\n").await;
    let bearer = format!("Bearer {TOKEN}");
    let mine = ("Authorization", bearer.as_str());
    for path in ["/", "/metrics", "/kept/shop", "/events", "/kept/%3Cscript%3E"] {
        assert_eq!(kept.get(path, &[]).await.0, 401, "{path}");
        for wrong in ["Bearer ", "Bearer wrong", TOKEN, &bearer[..bearer.len() - 1]] {
            let (status, headers, text) = kept.get(path, &[("Authorization", wrong)]).await;
            assert_eq!(status, 401, "{path} {wrong}");
            assert!(headers.contains_key("www-authenticate") && !text.contains("shop"), "{text}");
        }
        assert_eq!(kept.get(&format!("{path}?token={TOKEN}"), &[]).await.0, 401, "a token in an address opens nothing");
        for foreign in ["evil.example", "127.0.0.1.evil.example:80", ""] {
            let (status, _, text) = kept.get(path, &[mine, ("Host", foreign)]).await;
            assert!(matches!(status, 400 | 421) && !text.contains("shop"), "{path} {foreign}: {status} {text}");
        }
    }
    for open in ["/healthz", "/style.css", "/live.js"] {
        assert_eq!(kept.get(open, &[]).await.0, 200, "{open}");
        assert_eq!(kept.get(open, &[("Host", "evil.example")]).await.0, 421, "{open}");
    }
    let (status, headers, page) = kept.get("/", &[mine, ("Host", "dcv.example.com:8080")]).await;
    assert_eq!(status, 200);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"]
    {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")]
    {
        assert_eq!(header(name), value, "{name}");
    }
    assert!(!page.contains(TOKEN));

    // The form gives a cookie that scripts and other sites do not get, and that does not hold the token.
    let http =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let enter = async |token: &str| {
        let request = http.post(format!("{}/enter", kept.url)).body(format!("token={token}"));
        request.header("Content-Type", "application/x-www-form-urlencoded").send().await.expect("an answer")
    };
    let refused = enter("wrong").await;
    assert!(refused.status() == 401 && refused.headers().get("set-cookie").is_none());
    let entered = enter(TOKEN).await;
    let cookie = entered.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let session = cookie.split(';').next().expect("a value").to_owned();
    assert_eq!(kept.get("/", &[("Cookie", &session)]).await.0, 200);
    let left = http.post(format!("{}/leave", kept.url)).header("Cookie", &session).send().await.expect("an answer");
    assert_eq!(left.status(), 303);
    assert_eq!(kept.get("/", &[("Cookie", &session)]).await.0, 401, "it is over");
    assert_eq!(kept.get("/kept/none-of-ours", &[mine]).await.0, 404);

    // However much is said, the token is not.
    kept.child.kill().await.expect("it ends");
    let log = std::fs::read_to_string(kept.bench.path("log")).expect("a log");
    assert!(log.contains("\"run\":\"dcv-") && !log.contains(TOKEN) && !log.contains(&session["dcv-session=".len()..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_read_by_prometheus_own_parser() {
    let kept = Kept::start("interval = \"3s\"\n").await;
    let bearer = format!("Bearer {TOKEN}");
    let mine = [("Authorization", bearer.as_str())];
    let mut text = String::new();
    for _ in 0..300 {
        text = kept.get("/metrics", &mine).await.2;
        let parts = [
            "dcv_kept{state=\"done\"} 5",
            "dcv_kept{state=\"waits\"} 1",
            "{label=\"example.com\",kind=\"validation\"}",
        ];
        if parts.iter().all(|part| text.contains(part)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    kept.bench.write("metrics.txt", &text);
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/prometheus/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics.py");
    let read = Command::new(python).arg(script).arg(kept.bench.path("metrics.txt")).output();
    let read = read.expect("Python with prometheus-client (tests/run installs it)");
    assert!(read.status.success(), "{}\n{text}", String::from_utf8_lossy(&read.stderr));
    let samples: Value = serde_json::from_slice(&read.stdout).expect("JSON");
    let samples = samples.as_array().expect("samples");
    let find = |name: &str, labels: &[(&str, &str)]| {
        let has = |sample: &&Value| {
            sample["name"] == name && labels.iter().all(|(label, text)| sample["labels"][*label] == *text)
        };
        let found: Vec<f64> = samples.iter().filter(has).filter_map(|sample| sample["value"].as_f64()).collect();
        assert!(!found.is_empty(), "{name} {labels:?} in\n{text}");
        found[0]
    };
    let soon = |days: u32| jiff::Timestamp::now().as_duration().as_secs_f64() + f64::from(days) * 86400.0;
    for (label, days) in [("shop", 190), ("mail", 90), (HOSTILE_AS_SEEN, 60)] {
        let until = find("dcv_valid_until_seconds", &[("label", label), ("kind", "certificate")]);
        assert!((until - soon(days)).abs() < 3.0 * 86400.0, "{label}: {until}");
    }
    assert!(find("dcv_valid_until_seconds", &[("label", "example.com"), ("kind", "validation")]) > soon(1));
    find("dcv_state", &[("label", HOSTILE_AS_SEEN), ("state", "waits")]);
    find("dcv_state", &[("label", "static-files"), ("state", "works")]);
    assert!(find("dcv_api_calls", &[("window", "180s")]) >= 5.0);
    assert!((find("dcv_api_calls_limit", &[("window", "5s")]) - 100.0).abs() < 0.1);
    assert!(find("dcv_tasks_total", &[("result", "done")]) >= 5.0);
    assert!(find("dcv_propagation_seconds_count", &[]) >= 1.0);
    let provider = [("provider", "corp"), ("verb", "present"), ("result", "ok")];
    assert!(find("dcv_provider_seconds_count", &provider) >= 1.0 && find("dcv_provider_seconds_sum", &provider) > 0.0);
    assert!(find("dcv_ca_reachable", &[]) > 0.5 && find("process_start_time_seconds", &[]) > 1e9);
    assert_eq!(kept.get("/readyz", &[]).await.0, 200);
}
