//! What a whole run costs, with peers beside it in the same run: `tests/bench [N…]` (1, 10 and 100 names unless given).
//!
//! All names are in one zone on a real BIND and each has to be proved by itself. Ours is the program `dcv issue`, from order to
//! verified files, against the sandbox with no delays; the peers are `nsupdate` with all records in one batch (the floor for the DNS
//! part) and certbot against Pebble with every wait at zero. Walls are medians; processes are measured by GNU time.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use certcentral_sandbox::{Config, Sandbox, account::Scope};
use dcv_core::propagation::{Policy, wait_visible};
use dcv_provider::{DcvProvider, Proof};
use dcv_tests::{
    bind::Bind,
    daemon::{Daemon, folder, free_port},
    world::{API_KEY, Address, ORGANIZATION, TSIG_NAME, TSIG_SECRET, sandbox_config},
};

const ZONE: &str = "bench-example.com";
const REPEATS: usize = 3;

/// One measured process or phase.
#[derive(Clone, Debug, Default)]
struct Cost {
    wall: f64,
    cpu: f64,
    rss_mib: f64,
    updates: usize,
    queries: usize,
}

#[tokio::main]
async fn main() {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1, 10, 100] } else { counts };
    println!(
        "{:<34} {:>5} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "", "names", "wall s", "cpu s", "RSS MiB", "UPDATEs", "queries"
    );
    plugin_calls().await;
    for count in counts {
        let ours = median(repeat(async || whole_run(count).await).await);
        row("dcv issue, order to files", count, &ours);
        let phase = median(repeat(async || dns_phase(count).await).await);
        row("  DNS: present, verify, retract", count, &phase);
        let floor = median(repeat(async || nsupdate_batch(count)).await);
        row("nsupdate, one batch in, one out", count, &floor);
        let certbot = if installed("certbot") && installed("pebble") { Some(certbot(count)) } else { None };
        match &certbot {
            Some(cost) => row("certbot + Pebble, waits at 0", count, cost),
            None => println!(
                "{:<34} {count:>5}  not installed (apt-get install certbot python3-certbot-dns-rfc2136 pebble)",
                "certbot + Pebble"
            ),
        }
        println!("  ratio: DNS phase / nsupdate batch = {:.2}", phase.wall / floor.wall);
        if let Some(cost) = certbot {
            println!(
                "  ratio: certbot / dcv issue = {:.1} (wall), {} (UPDATEs)",
                cost.wall / ours.wall,
                cost.updates / ours.updates.max(1)
            );
        }
    }
}

/// What the boundary of a plugin costs: the same call of the example in C (it only answers), in this process and in its own.
async fn plugin_calls() {
    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
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
            walls.push(began.elapsed());
        }
        walls.sort();
        walls[walls.len() / 2]
    };
    let plugin = dcv_plugin::Plugin::load(&library, None).expect("loaded");
    let loaded = per_call(&plugin.open(config.clone()).await.expect("opened")).await;
    let program = std::env::current_exe().expect("our own path").with_file_name("dcv");
    let host = vec![program.into(), "plugin".into(), "host".into(), library.into()];
    let isolated = per_call(&dcv_plugin::Isolated::start(host, config).await.expect("started")).await;
    println!(
        "plugin call, median of {CALLS}: {:.1} us in this process, {:.1} us in its own (ratio {:.1})\n",
        loaded.as_secs_f64() * 1e6,
        isolated.as_secs_f64() * 1e6,
        isolated.as_secs_f64() / loaded.as_secs_f64()
    );
}

async fn repeat(mut measure: impl AsyncFnMut() -> Cost) -> Vec<Cost> {
    let mut costs = Vec::new();
    for _ in 0..REPEATS {
        costs.push(measure().await);
    }
    costs
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    costs.swap_remove(costs.len() / 2)
}

fn row(what: &str, count: usize, cost: &Cost) {
    let known = |value: f64| if value > 0.0 { format!("{value:.3}") } else { "-".to_owned() };
    let rss = if cost.rss_mib > 0.0 { format!("{:.1}", cost.rss_mib) } else { "-".to_owned() };
    println!(
        "{what:<34} {count:>5} {:>9.3} {:>9} {rss:>9} {:>8} {:>8}",
        cost.wall,
        known(cost.cpu),
        cost.updates,
        cost.queries
    );
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("h{n}.{ZONE}")).collect()
}

fn installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Runs a program under GNU time.
fn timed(program: &Path, arguments: &[String], environment: &[(&str, &str)], report: &Path) -> Cost {
    let output = Command::new("/usr/bin/time")
        .args(["-q", "-f", "%e %U %S %M", "-o"])
        .arg(report)
        .arg(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("GNU time runs (apt-get install time)");
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(report).expect("a report");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, user, system, kib] = numbers[..] else { panic!("GNU time said {text:?}") };
    Cost { wall, cpu: user + system, rss_mib: kib / 1024.0, ..Cost::default() }
}

/// The program, from order to verified files.
async fn whole_run(count: usize) -> Cost {
    let bind = Bind::primary(&[ZONE]);
    let config = Config { polling: false, default_scope: Scope::Fqdn, ..sandbox_config(bind.address()) };
    let sandbox = Sandbox::start(config).await.expect("the sandbox starts");
    let folder = folder();
    let (address, port) = (bind.address(), bind.address().port());
    let text = format!(
        "[ca]\nurl = \"{}\"\nkey = {{ env = \"BENCH_KEY\" }}\n[defaults]\nproduct = \"ssl_basic\"\norganization = {ORGANIZATION}\n\
         [state]\npath = \"{dir}/journal.sqlite\"\n[dns]\nresolvers = [\"{address}\"]\nauthority_port = {port}\n\
         [provider.bind]\ntype = \"rfc2136\"\nserver = \"{address}\"\n\
         tsig = {{ name = \"{TSIG_NAME}\", secret = {{ env = \"BENCH_TSIG\" }} }}\n[route]\n\"*\" = \"bind\"\n",
        sandbox.base_url(),
        dir = folder.path().display(),
    );
    let path = folder.path().join("dcv.toml");
    std::fs::write(&path, text).expect("a configuration");
    let out = folder.path().join("out").display().to_string();
    let mut arguments: Vec<String> = vec!["--quiet".into(), "--config".into(), path.display().to_string()];
    arguments.extend(["issue".into(), "--out".into(), out.clone()]);
    arguments.extend(names(count));
    let environment = [("BENCH_KEY", API_KEY), ("BENCH_TSIG", TSIG_SECRET)];
    let (before, began) = ((bind.updates(), bind.queries()), Instant::now());
    let program = std::env::current_exe().expect("our own path").with_file_name("dcv");
    let mut cost = timed(&program, &arguments, &environment, &folder.path().join("time"));
    // GNU time counts in hundredths of a second.
    cost.wall = began.elapsed().as_secs_f64();
    cost.updates = bind.updates() - before.0;
    cost.queries = (bind.queries() - before.1).saturating_sub(sandbox.lookups().len());
    assert!(Path::new(&out).join("fullchain.pem").exists(), "the files are there");
    assert_eq!(bind.records(ZONE), Vec::<String>::new(), "and no record is");
    cost
}

/// The provider and the check of visibility alone, in this process.
async fn dns_phase(count: usize) -> Cost {
    let bind = Bind::primary(&[ZONE]);
    let world = Address { ca: String::new(), dns: bind.address() };
    let proofs: Vec<Proof> = names(count)
        .into_iter()
        .map(|name| Proof::Txt { name, value: "0123456789abcdefghijklmnopqrstuv".to_owned() })
        .collect();
    let before = (bind.updates(), bind.queries());
    let began = Instant::now();
    let provider = world.provider();
    provider.present(&proofs).await.expect("presented");
    let verdict = wait_visible(&world.questions(), &proofs, &Policy::default(), |_| {}).await;
    provider.retract(&proofs).await.expect("retracted");
    let wall = began.elapsed().as_secs_f64();
    assert!(verdict.all_visible());
    Cost { wall, updates: bind.updates() - before.0, queries: bind.queries() - before.1, ..Cost::default() }
}

fn nsupdate_batch(count: usize) -> Cost {
    let bind = Bind::primary(&[ZONE]);
    let before = bind.updates();
    let began = Instant::now();
    for verb in ["add", "delete"] {
        let mut script = format!("server {} {}\nzone {ZONE}\n", bind.address().ip(), bind.address().port());
        for name in names(count) {
            let ttl = if verb == "add" { "60 " } else { "" };
            let _ = writeln!(script, "update {verb} {name} {ttl}TXT \"0123456789abcdefghijklmnopqrstuv\"");
        }
        script.push_str("send\n");
        let mut child = Command::new("nsupdate")
            .args(["-v", "-y", &format!("hmac-sha256:{TSIG_NAME}:{TSIG_SECRET}")])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nsupdate runs");
        child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
        assert!(child.wait().expect("it ends").success());
    }
    Cost { wall: began.elapsed().as_secs_f64(), updates: bind.updates() - before, ..Cost::default() }
}

/// certbot with its rfc2136 plugin against Pebble, all of whose waits are off. Once: it has a fixed start of a second or two.
fn certbot(count: usize) -> Cost {
    let bind = Bind::primary(&[ZONE]);
    let dir = folder();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(at("key.pem"))
        .arg("-out")
        .arg(at("cert.pem"))
        .stderr(Stdio::null())
        .status()
        .expect("openssl runs");
    assert!(made.success());
    let ip = Ipv4Addr::LOCALHOST;
    let (acme, management) = (free_port(&[ip]), free_port(&[ip]));
    let config = serde_json::json!({"pebble": {
        "listenAddress": format!("{ip}:{acme}"), "managementListenAddress": format!("{ip}:{management}"),
        "certificate": at("cert.pem"), "privateKey": at("key.pem"), "httpPort": 5002, "tlsPort": 5001,
    }});
    let pebble_dir = folder();
    let path = pebble_dir.path().join("pebble.json");
    std::fs::write(&path, config.to_string()).expect("a configuration");
    let wrapper = format!(
        "PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 PEBBLE_AUTHZREUSE=0 exec pebble -config {} -dnsserver {}",
        path.display(),
        bind.address()
    );
    let ready = || std::net::TcpStream::connect((ip, acme)).is_ok();
    let _pebble = Daemon::start("sh", pebble_dir, &["-c", &wrapper], ready);
    let credentials = format!(
        "dns_rfc2136_server = {}\ndns_rfc2136_port = {}\ndns_rfc2136_name = {TSIG_NAME}.\ndns_rfc2136_secret = {TSIG_SECRET}\ndns_rfc2136_algorithm = HMAC-SHA256\n",
        bind.address().ip(),
        bind.address().port()
    );
    std::fs::write(at("rfc2136.ini"), credentials).expect("credentials");
    let mut arguments: Vec<String> =
        ["certonly", "-q", "-n", "--agree-tos", "--register-unsafely-without-email", "--dns-rfc2136"]
            .map(str::to_owned)
            .to_vec();
    let option = |name: &str, value: String| [format!("--{name}"), value];
    arguments.extend(option("server", format!("https://{ip}:{acme}/dir")));
    arguments.extend(option("dns-rfc2136-credentials", at("rfc2136.ini").display().to_string()));
    arguments.extend(option("dns-rfc2136-propagation-seconds", "0".to_owned()));
    for folder in ["config-dir", "work-dir", "logs-dir"] {
        arguments.extend(option(folder, at(folder).display().to_string()));
    }
    for name in names(count) {
        arguments.extend(option("domain", name));
    }
    let certificate = at("cert.pem").display().to_string();
    let (before, began) = ((bind.updates(), bind.queries()), Instant::now());
    let mut cost = timed(Path::new("certbot"), &arguments, &[("REQUESTS_CA_BUNDLE", &certificate)], &at("time"));
    cost.wall = began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(50));
    cost.updates = bind.updates() - before.0;
    cost.queries = bind.queries() - before.1;
    cost
}
