//! Side-by-side measurement: dcv beside the floor and beside other tools, on the same servers in the same run, and how dcv grows.
//!
//! [`peer`] says what each tool is and how it is run, [`world`] starts the servers and counts what they were asked, [`run`] measures,
//! [`curves`] and [`keeper`] look at dcv alone, and [`page`] writes it all down. No figure is asserted: a slow machine is not a bug.

pub mod curves;
pub mod keeper;
pub mod page;
pub mod peer;
pub mod run;
pub mod world;

use std::{path::Path, process::Command, time::Duration, time::Instant};

use dcv_provider::{DcvProvider, Proof};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::daemon::folder;
use curves::{Limits, Point};
use keeper::Kept;
use run::{DeadServer, Extent, Kills, Race, Row};
use world::HostKind;

/// The workspace.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Where the pages are.
pub const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/figures");

/// Everything that is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Beside others.
    pub peers: Option<Peers>,
    /// By itself.
    pub curves: Option<Curves>,
}

/// When, of what and on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The day.
    pub date: String,
    /// The commit, with `+` where files were changed.
    pub commit: String,
    /// How it was built.
    pub profile: String,
    /// Processors, memory, kernel.
    pub machine: String,
    /// Load averages over a minute.
    pub load: (String, String),
    /// What else has to be said of the machine.
    pub note: String,
}

/// Beside others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The circumstances.
    pub made: Made,
    /// Of servers and tools.
    pub versions: Vec<String>,
    /// Whole runs.
    pub rows: Vec<Row>,
    /// Stopped runs.
    pub kills: Vec<Kills>,
    /// Two at once.
    pub races: Vec<Race>,
    /// With a dead name server.
    pub dead: Vec<DeadServer>,
}

/// By itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// The circumstances.
    pub made: Made,
    /// Names in one order.
    pub names: Vec<Point>,
    /// Orders in one process, the CA without limits.
    pub orders: Vec<Point>,
    /// The same with the documented limits.
    pub orders_limited: Vec<Point>,
    /// Orders that wait for people, in one keeper.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// The boundary of a plugin.
    pub plugin: PluginCall,
}

/// What a call of a plugin costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginCall {
    /// How many calls.
    pub calls: u32,
    /// Seconds, in this process.
    pub loaded: f64,
    /// Seconds, in a process of its own.
    pub isolated: f64,
}

/// How much of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Peers and curves; the pages are written.
    Everything,
    /// One and ten names; nothing is written.
    Quick,
    /// Curves alone; the pages are written.
    Curves,
}

/// What all peers need from Debian and is missing here.
pub fn missing() -> Vec<&'static str> {
    let mut all: Vec<_> = peer::ALL.iter().flat_map(peer::Peer::missing).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Made {
    fn begin() -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(ROOT).output();
            output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
        };
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kib: u64 =
            field(&read("/proc/meminfo"), "MemTotal").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        Self {
            date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
            commit: said("git", &["rev-parse", "--short=10", "HEAD"]) + if changed { "+" } else { "" },
            profile: match (if cfg!(debug_assertions) { "dev" } else { "release" }, std::env::var(peer::PROGRAM)) {
                (profile, Err(_)) => format!("{profile} build"),
                (profile, Ok(program)) => {
                    let program = program.rsplit("/target/").next().unwrap_or(&program);
                    format!("program {program}; sandbox and what runs in the bench's own process: {profile} build")
                }
            },
            machine: format!(
                "{} × {}, {} GiB, Linux {}",
                cores,
                field(&read("/proc/cpuinfo"), "model name"),
                (kib + 524_288) / 1_048_576,
                said("uname", &["-r"])
            ),
            load: (load(), String::new()),
            note: String::new(),
        }
    }

    /// Notes the load, which is also our own: servers, tools and sandbox work on the same processors.
    fn end(mut self) -> Self {
        self.load.1 = load();
        let began: f64 = self.load.0.parse().unwrap_or(0.0);
        self.note = if began > 0.5 {
            " (others were working on this machine, so walls are longer than they need be)".to_owned()
        } else {
            " (this measurement's own; nobody else was working when it began)".to_owned()
        };
        self
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn versions() -> Vec<String> {
    let packages = [
        "bind9",
        "bind9-dnsutils",
        "pdns-server",
        "curl",
        "certbot",
        "python3-certbot-dns-rfc2136",
        "lego",
        "dehydrated",
        "pebble",
    ];
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}\n"]).args(packages).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
    let pip = Command::new(format!("{ROOT}/target/lexicon/bin/pip")).args(["list", "--format=freeze"]).output();
    let pip = pip.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    all.extend(pip.lines().filter(|line| line.starts_with("dns-lexicon")).map(|line| line.replace("==", " ")));
    all
}

/// What the boundary of a plugin costs: the same call of the example in C (it only answers), in this process and in its own.
async fn plugin_calls() -> PluginCall {
    const CALLS: u32 = 2000;
    let dir = folder();
    let library = dir.path().join("libledger.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-I"]).arg(format!("{ROOT}/crates/dcv-plugin/include")).arg("-o").arg(&library);
    assert!(cc.arg(format!("{ROOT}/examples/plugin-c/plugin.c")).status().expect("cc").success());
    let config = serde_json::json!({ "file": dir.path().join("ledger") });
    let proofs = [Proof::Txt { name: "_dnsauth.example.com".to_owned(), value: "v".repeat(32) }];
    let per_call = async |provider: &dyn DcvProvider| {
        let mut walls = Vec::new();
        for _ in 0..CALLS {
            let began = Instant::now();
            provider.preflight(&proofs).await.expect("an answer");
            walls.push(began.elapsed().as_secs_f64());
        }
        run::median(walls)
    };
    let plugin = dcv_plugin::Plugin::load(&library, None).expect("loaded");
    let loaded = per_call(&plugin.open(config.clone()).await.expect("opened")).await;
    let host = vec![peer::program().into(), "plugin".into(), "host".into(), library.into()];
    let isolated = per_call(&dcv_plugin::Isolated::start(host, config).await.expect("started")).await;
    PluginCall { calls: CALLS, loaded, isolated }
}

/// Measures the whole runs on this host with so many zones anew, and puts them in the place of the last ones.
///
/// # Panics
/// When there are no figures yet, or a server or a tool is missing.
pub async fn measure_again(host: HostKind, zones: usize) {
    let mut all = figures().expect("figures; tests/bench measures them");
    let peers = all.peers.as_mut().expect("figures beside others; tests/bench measures them");
    let extent = extent(Mode::Everything, allowance().mul_f64(0.2));
    let rows = run::side_by_side(host, zones, &extent, tell).await;
    let same = |row: &Row| row.host == host && row.zones == zones;
    let at = peers.rows.iter().position(same).unwrap_or(peers.rows.len());
    peers.rows.retain(|row| !same(row));
    peers.rows.splice(at..at, rows);
    write(&all);
}

/// Stops our own runs anew, and puts what was left in the place of the last.
///
/// # Panics
/// As [`measure_again`].
pub async fn stop_again() {
    let mut all = figures().expect("figures; tests/bench measures them");
    let peers = all.peers.as_mut().expect("figures beside others; tests/bench measures them");
    let ours: Vec<_> = run::clients().filter(|peer| peer.name == "dcv").collect();
    let kills = run::kills(&ours, 30, allowance().mul_f64(0.2), tell).await;
    peers.kills.retain(|one| one.tool != "dcv");
    peers.kills.splice(0..0, kills);
    write(&all);
}

/// How much is done in this time at one DNS host.
fn extent(mode: Mode, share: Duration) -> Extent {
    let (names, rounds, once_from) =
        if mode == Mode::Quick { (vec![1, 10], 1, 1) } else { (vec![1, 10, 100, 250], 3, 6) };
    let once_from = Duration::from_secs(once_from);
    Extent { names, rounds, patience: share / 2, once_from, until: Instant::now() + share }
}

async fn measure_peers(mode: Mode) -> Peers {
    let made = Made::begin();
    let time = if mode == Mode::Quick { Duration::from_secs(150) } else { allowance().mul_f64(0.55) };
    let mut rows = Vec::new();
    // What a slow tool does in one zone on BIND it does everywhere: there most of the time is spent.
    for (host, zones, share) in [
        (HostKind::Bind, 1, 0.4),
        (HostKind::Bind, 10, 0.2),
        (HostKind::PowerDns, 1, 0.2),
        (HostKind::PowerDns, 10, 0.2),
    ] {
        rows.extend(run::side_by_side(host, zones, &extent(mode, time.mul_f64(share)), tell).await);
    }
    let clients: Vec<_> = run::clients().collect();
    let pairs = if allowance() < Duration::from_secs(20 * 60) { 1 } else { 2 };
    let (kills, races, dead) = if mode == Mode::Quick {
        (run::kills(&clients, 1, Duration::from_secs(60), tell).await, run::races(1, tell).await, Vec::new())
    } else {
        (
            run::kills(&clients, 10, allowance().mul_f64(0.2), tell).await,
            run::races(pairs, tell).await,
            run::dead_server(pairs, tell).await,
        )
    };
    Peers { made: made.end(), versions: versions(), rows, kills, races, dead }
}

async fn measure_curves() -> Curves {
    let made = Made::begin();
    let names = curve(&[1, 10, 50, 100, 250, 500, 1000], curves::order_of).await;
    let orders = curve(&[1, 10, 100, 1000, 10_000], |count| curves::orders(count, Limits::Off)).await;
    let orders_limited = curve(&[1, 10, 25, 100, 250], |count| curves::orders(count, Limits::On)).await;
    let mut kept = Vec::new();
    for count in [1000, 10_000] {
        kept.push(keeper::kept(count).await);
        tell(&kept.last());
    }
    Curves { made: made.end(), names, orders, orders_limited, kept, plugin: plugin_calls().await }
}

/// One size after the other, as far as a tenth of the allowance goes by what the size before has taken.
async fn curve(sizes: &[usize], mut measure: impl AsyncFnMut(usize) -> Point) -> Vec<Point> {
    let patience = allowance().mul_f64(0.1).as_secs_f64();
    let mut points: Vec<Point> = Vec::new();
    for &size in sizes {
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let expected = points.last().map(|last| match &last.cost {
            Ok(cost) => cost.wall * size as f64 / last.size as f64,
            Err(_) => f64::INFINITY,
        });
        let point = match expected {
            Some(seconds) if seconds > patience => {
                let why = "not run: by the size before it would take too long";
                Point { size, cost: Err(why.to_owned()) }
            }
            _ => measure(size).await,
        };
        tell(&point);
        points.push(point);
    }
    points
}
/// Progress, for whoever waits.
fn tell(what: &impl Serialize) {
    eprintln!("{}", serde_json::to_string(what).unwrap_or_default());
}

/// Puts the short form between its marks.
pub fn readme_with(readme: &str, short: &str) -> Option<String> {
    let (before, rest) = readme.split_once(page::BEGIN)?;
    let (_, after) = rest.split_once(page::END)?;
    Some(format!("{before}{short}{after}"))
}

/// The figures of the last measurement, if there was one.
pub fn figures() -> Option<Figures> {
    let text = std::fs::read_to_string(Path::new(FIGURES).join("figures.json")).ok()?;
    Some(serde_json::from_str(&text).expect("figures of this format; tests/bench writes them anew"))
}

/// Writes all pages, and the short form into the project's README.
///
/// # Panics
/// When README has no marks, or a file cannot be written.
pub fn write(figures: &Figures) {
    std::fs::create_dir_all(FIGURES).expect("a folder");
    let json = serde_json::to_string_pretty(figures).expect("figures are JSON");
    std::fs::write(Path::new(FIGURES).join("figures.json"), json + "\n").expect("a file of figures");
    for (name, text) in page::pages(figures) {
        std::fs::write(Path::new(FIGURES).join(name), text).expect("a page");
    }
    let path = Path::new(ROOT).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let readme = readme_with(&readme, &page::short(figures)).expect("README.md has the marks");
    std::fs::write(path, readme).expect("README.md is written");
}

/// Measures, and prints or writes what came of it.
///
/// # Panics
/// When a server or a tool is missing.
pub async fn measure(mode: Mode) {
    if mode == Mode::Quick {
        println!("{}", page::of_peers(&measure_peers(mode).await));
        return;
    }
    let mut all = figures().unwrap_or_default();
    if mode == Mode::Everything {
        all.peers = Some(measure_peers(mode).await);
        write(&all);
    }
    all.curves = Some(measure_curves().await);
    write(&all);
    println!("{}", page::short(&all));
}

/// How long the measurement of everything may take, about: `MINUTES`, or 25. What does not fit is said not to have been run.
fn allowance() -> Duration {
    let minutes = std::env::var("MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    Duration::from_secs(60 * minutes)
}
