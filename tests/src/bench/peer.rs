//! The tools that are measured: what each needs, how it is set up and run on each DNS host, and how it goes on after a crash.
//!
//! A peer is a name, the programs it needs, and one function that writes its files into a folder and says which command is the
//! run. Nothing about a peer is known anywhere else. Every wait that a tool lets be set is set to its lowest.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::world::{Ca, HostKind, World, zone_of};
use crate::{
    powerdns,
    world::{API_KEY, ORGANIZATION, TSIG_NAME, TSIG_SECRET},
};

/// Which CA a tool speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaKind {
    /// None: it writes records and takes them away.
    Nobody,
    /// CertCentral, as our sandbox plays it.
    Sandbox,
    /// ACME, as Pebble plays it.
    Pebble,
}

/// A command to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What is added to its environment.
    pub environment: Vec<(String, String)>,
}

/// What a peer is to do, and where it may keep its files.
pub struct Task<'a> {
    /// The servers.
    pub world: &'a World,
    /// A folder of the run's own; the same one when it goes on after a crash.
    pub dir: &'a Path,
    /// The names to be proved.
    pub names: &'a [String],
}

/// A tool.
pub struct Peer {
    /// Its name in the tables.
    pub name: &'static str,
    /// What is run, and how its waits are set.
    pub what: &'static str,
    /// Programs and Debian packages.
    pub needs: &'static [(&'static str, &'static str)],
    /// The CA it needs.
    pub ca: CaKind,
    /// The DNS hosts it can use.
    pub hosts: &'static [HostKind],
    /// How a run is set up.
    pub run: fn(&Task<'_>) -> Job,
    /// How it goes on after a crash; `None`: by the same command.
    pub again: Option<fn(&Task<'_>) -> Job>,
}

/// All of them: the floor first, then us, then the others.
pub const ALL: &[Peer] = &[
    Peer {
        name: "floor: nsupdate",
        what: "one batch for each zone in, one out: two processes, nothing looked up, nothing checked",
        needs: &[("nsupdate", "bind9-dnsutils")],
        ca: CaKind::Nobody,
        hosts: &[HostKind::Bind],
        run: nsupdate,
        again: None,
    },
    Peer {
        name: "floor: curl",
        what: "one PATCH for each zone in, one out: two processes, nothing looked up, nothing checked",
        needs: &[("curl", "curl")],
        ca: CaKind::Nobody,
        hosts: &[HostKind::PowerDns],
        run: curl,
        again: None,
    },
    Peer {
        name: "dcv",
        what: "`dcv issue`, from the order to verified files, no setting for speed; goes on by `dcv resume --all`",
        needs: &[],
        ca: CaKind::Sandbox,
        hosts: &[HostKind::Bind, HostKind::PowerDns],
        run: dcv_issue,
        again: Some(dcv_resume),
    },
    Peer {
        name: "certbot",
        what: "`certbot certonly`: on BIND the plugin rfc2136 with its sleep (60 s unless set) at 0; on PowerDNS, for which Debian has \
               no plugin, a manual hook of one `curl` for each record and no sleep",
        needs: &[("certbot", "certbot"), ("curl", "curl")],
        ca: CaKind::Pebble,
        hosts: &[HostKind::Bind, HostKind::PowerDns],
        run: certbot,
        again: None,
    },
    Peer {
        name: "lego",
        what: "`lego run`: polling interval (2 s unless set) and sequence interval (60 s) at 0; after a challenge it asks the CA at once \
               and then, not to be set, every 5 s or so",
        needs: &[("lego", "lego")],
        ca: CaKind::Pebble,
        hosts: &[HostKind::Bind, HostKind::PowerDns],
        run: lego,
        again: None,
    },
    Peer {
        name: "dehydrated",
        what: "`dehydrated --cron` with HOOK_CHAIN and a hook that writes all records of a zone in one message; no sleep in the hook; \
               it asks the CA once a second for each name, not to be set",
        needs: &[("dehydrated", "dehydrated"), ("nsupdate", "bind9-dnsutils"), ("curl", "curl")],
        ca: CaKind::Pebble,
        hosts: &[HostKind::Bind, HostKind::PowerDns],
        run: dehydrated,
        again: None,
    },
    Peer {
        name: "lexicon",
        what: "dns-lexicon's Python interface in one process, `create_record` and `delete_record` for each name; no CA",
        needs: &[("python3", "python3-venv")],
        ca: CaKind::Nobody,
        hosts: &[HostKind::Bind, HostKind::PowerDns],
        run: lexicon,
        again: None,
    },
];

/// The value that tools without a CA write.
pub const VALUE: &str = "0123456789abcdefghijklmnopqrstuv";
/// Where `tests/bench` puts dns-lexicon.
const LEXICON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/lexicon/bin/python");

impl Peer {
    /// Debian's packages that are missing here for this peer.
    pub fn missing(&self) -> Vec<&'static str> {
        let path = crate::daemon::path();
        let there = |program: &str| path.split(':').any(|folder| Path::new(folder).join(program).exists());
        let mut missing: Vec<_> = self.needs.iter().filter(|need| !there(need.0)).map(|need| need.1).collect();
        let plugin = || {
            Path::new("/usr/lib/python3/dist-packages").read_dir().is_ok_and(|mut all| {
                all.any(|one| one.is_ok_and(|one| one.file_name().to_string_lossy() == "certbot_dns_rfc2136"))
            })
        };
        if self.name == "certbot" && !plugin() {
            missing.push("python3-certbot-dns-rfc2136");
        }
        if self.ca == CaKind::Pebble && !there("pebble") {
            missing.push("pebble");
        }
        missing
    }
}

impl Job {
    fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, environment: Vec::new() }
    }

    fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

impl Task<'_> {
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        std::fs::write(&path, text).expect("a file of a peer");
        path.display().to_string()
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    }

    fn at(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Names by zone, in the order of the zones.
    fn by_zone(&self) -> Vec<(&str, Vec<&String>)> {
        let of = |zone: &String| self.names.iter().filter(|name| zone_of(name) == *zone).collect::<Vec<_>>();
        self.world.zones.iter().map(|zone| (zone.as_str(), of(zone))).filter(|(_, names)| !names.is_empty()).collect()
    }

    fn pebble(&self) -> (String, String) {
        match &self.world.ca {
            Ca::Pebble { directory, certificate, .. } => (directory.clone(), certificate.clone()),
            _ => unreachable!("a peer that speaks ACME gets Pebble"),
        }
    }
}

/// Base URL of the zones in PowerDNS's API.
fn zones_url(world: &World) -> String {
    format!("{}/api/v1/servers/localhost/zones", world.host.api())
}

fn nsupdate(task: &Task<'_>) -> Job {
    let tsig = format!("hmac-sha256:{TSIG_NAME}:{TSIG_SECRET}");
    let files = ["add", "delete"].map(|verb| {
        let mut script = format!("server {} 53\n", task.world.host.ip());
        for (zone, names) in task.by_zone() {
            let _ = writeln!(script, "zone {zone}");
            for name in names {
                let ttl = if verb == "add" { "60 " } else { "" };
                let _ = writeln!(script, "update {verb} {name} {ttl}TXT \"{VALUE}\"");
            }
            script.push_str("send\n");
        }
        task.write(verb, &script)
    });
    let [add, delete] = files;
    Job::new("sh", ["-ec".to_owned(), format!("nsupdate -v -y {tsig} {add}; nsupdate -v -y {tsig} {delete}")])
}

fn curl(task: &Task<'_>) -> Job {
    let zones = zones_url(task.world);
    let commands = ["REPLACE", "DELETE"].map(|change| {
        let mut command = "curl".to_owned();
        for (n, (zone, names)) in task.by_zone().into_iter().enumerate() {
            let sets: Vec<_> = names.iter().map(|name| set_of(name, change)).collect();
            let body = task.write(&format!("{change}{n}"), &json!({ "rrsets": sets }).to_string());
            let next = if n > 0 { " --next" } else { "" };
            let _ =
                write!(command, "{next} -sf -X PATCH -H 'X-API-Key: {}' -d @{body} {zones}/{zone}.", powerdns::API_KEY);
        }
        command
    });
    Job::new("sh", ["-ec".to_owned(), commands.join("\n")])
}

fn set_of(name: &str, change: &str) -> serde_json::Value {
    let mut set = json!({ "name": format!("{name}."), "type": "TXT", "changetype": change });
    if change == "REPLACE" {
        set["ttl"] = 60.into();
        set["records"] = json!([{ "content": format!("\"{VALUE}\""), "disabled": false }]);
    }
    set
}

/// Names another build of our program than the one beside this.
pub(super) const PROGRAM: &str = "DCV_BENCH_PROGRAM";

/// Our own program.
pub(super) fn program() -> PathBuf {
    let beside = || std::env::current_exe().expect("our own path").with_file_name("dcv");
    std::env::var_os(PROGRAM).map_or_else(beside, PathBuf::from)
}

pub(super) fn dcv(task: &Task<'_>, arguments: &[&str]) -> Job {
    dcv_with(task, "", arguments)
}

/// Our program, with more in its configuration.
pub(super) fn dcv_with(task: &Task<'_>, more: &str, arguments: &[&str]) -> Job {
    let Ca::Sandbox(sandbox) = &task.world.ca else { unreachable!("we get the sandbox") };
    let ip = task.world.host.ip();
    let provider = match task.world.host.kind() {
        HostKind::Bind => format!(
            "type = \"rfc2136\"\nserver = \"{ip}\"\ntsig = {{ name = \"{TSIG_NAME}\", secret = {{ env = \"BENCH_TSIG\" }} }}"
        ),
        HostKind::PowerDns => {
            format!("type = \"powerdns\"\nurl = \"{}\"\napi_key = {{ env = \"BENCH_PDNS\" }}", task.world.host.api())
        }
    };
    let config = task.write(
        "dcv.toml",
        &format!(
            "[ca]\nurl = \"{}\"\nkey = {{ env = \"BENCH_KEY\" }}\n[defaults]\nproduct = \"ssl_basic\"\norganization = {ORGANIZATION}\n\
             [state]\npath = \"{}\"\n[dns]\nresolvers = [\"{ip}\"]\n[provider.host]\n{provider}\n[route]\n\"*\" = \"host\"\n{more}",
            sandbox.base_url(),
            task.at("journal.sqlite"),
        ),
    );
    let job = Job::new(program(), ["--quiet", "--config", &config].iter().chain(arguments).copied());
    job.env("BENCH_KEY", API_KEY).env("BENCH_TSIG", TSIG_SECRET).env("BENCH_PDNS", powerdns::API_KEY)
}

pub(super) fn dcv_issue(task: &Task<'_>) -> Job {
    let out = task.at("out");
    let names = task.names.iter().map(String::as_str);
    dcv(task, &["issue", "--out", &out].into_iter().chain(names).collect::<Vec<_>>())
}

fn dcv_resume(task: &Task<'_>) -> Job {
    dcv(task, &["resume", "--all"])
}

fn certbot(task: &Task<'_>) -> Job {
    let (directory, certificate) = task.pebble();
    let mut arguments: Vec<String> =
        ["certonly", "-q", "-n", "--agree-tos", "--register-unsafely-without-email", "--server", &directory]
            .map(str::to_owned)
            .to_vec();
    for folder in ["config-dir", "work-dir", "logs-dir"] {
        arguments.extend([format!("--{folder}"), task.at(folder)]);
    }
    match task.world.host.kind() {
        HostKind::Bind => {
            let ip = task.world.host.ip();
            let text = format!(
                "dns_rfc2136_server = {ip}\ndns_rfc2136_name = {TSIG_NAME}.\ndns_rfc2136_secret = {TSIG_SECRET}\n\
                 dns_rfc2136_algorithm = HMAC-SHA256\n"
            );
            let credentials = task.write("rfc2136.ini", &text);
            let permissions = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&credentials, permissions).expect("a mode");
            let options =
                ["--dns-rfc2136", "--dns-rfc2136-propagation-seconds", "0", "--dns-rfc2136-credentials", &credentials];
            arguments.extend(options.map(str::to_owned));
        }
        HostKind::PowerDns => {
            let hook = |change: &str, records: &str| {
                format!(
                    "#!/bin/sh\nexec curl -sf -X PATCH -H 'X-API-Key: {key}' {zones}/${{CERTBOT_DOMAIN#*.}}. -d \
                     '{{\"rrsets\":[{{\"name\":\"_acme-challenge.'$CERTBOT_DOMAIN'.\",\"type\":\"TXT\",\"ttl\":60,\
                     \"changetype\":\"{change}\",\"records\":[{records}]}}]}}'\n",
                    key = powerdns::API_KEY,
                    zones = zones_url(task.world),
                )
            };
            let value = "{\"content\":\"\\\"'$CERTBOT_VALIDATION'\\\"\",\"disabled\":false}";
            let add = task.script("auth.sh", &hook("REPLACE", value));
            let remove = task.script("cleanup.sh", &hook("DELETE", ""));
            let options = ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", &add];
            arguments.extend(options.map(str::to_owned));
            arguments.extend(["--manual-cleanup-hook".to_owned(), remove]);
        }
    }
    arguments.extend(task.names.iter().flat_map(|name| ["--domain".to_owned(), name.clone()]));
    Job::new("certbot", arguments).env("REQUESTS_CA_BUNDLE", certificate)
}

fn lego(task: &Task<'_>) -> Job {
    let (directory, certificate) = task.pebble();
    let ip = task.world.host.ip();
    let (code, settings) = match task.world.host.kind() {
        HostKind::Bind => (
            "rfc2136",
            vec![
                ("RFC2136_NAMESERVER", format!("{ip}:53")),
                ("RFC2136_TSIG_KEY", TSIG_NAME.to_owned()),
                ("RFC2136_TSIG_SECRET", TSIG_SECRET.to_owned()),
                ("RFC2136_TSIG_ALGORITHM", "hmac-sha256.".to_owned()),
                ("RFC2136_POLLING_INTERVAL", "0".to_owned()),
                ("RFC2136_SEQUENCE_INTERVAL", "0".to_owned()),
            ],
        ),
        HostKind::PowerDns => (
            "pdns",
            vec![
                ("PDNS_API_URL", task.world.host.api().to_owned()),
                ("PDNS_API_KEY", powerdns::API_KEY.to_owned()),
                ("PDNS_POLLING_INTERVAL", "0".to_owned()),
            ],
        ),
    };
    let resolver = format!("{ip}:53");
    let mut arguments: Vec<String> =
        ["--server", &directory, "--accept-tos", "--email", "bench@example.com", "--dns", code]
            .map(str::to_owned)
            .to_vec();
    arguments.extend(["--dns.resolvers".to_owned(), resolver, "--path".to_owned(), task.at("lego")]);
    arguments.extend(task.names.iter().flat_map(|name| ["--domains".to_owned(), name.clone()]));
    arguments.push("run".to_owned());
    let job = Job::new("lego", arguments).env("LEGO_CA_CERTIFICATES", certificate);
    settings.into_iter().fold(job, |job, (name, value)| job.env(name, value))
}

/// Shell that puts the hook's values together by zone, for dehydrated.
const BY_ZONE: &str = "#!/bin/bash
verb=$1; shift
case $verb in deploy_challenge|clean_challenge) ;; *) exit 0 ;; esac
declare -A zones
while [ $# -ge 3 ]; do
  zone=${1#*.}
  zones[$zone]+=$(change \"$1\" \"$3\")$'\\n'
  shift 3
done
for zone in \"${!zones[@]}\"; do printf '%s' \"${zones[$zone]}\" | send \"$zone\" || exit 1; done
";

fn dehydrated(task: &Task<'_>) -> Job {
    let (directory, certificate) = task.pebble();
    let functions = match task.world.host.kind() {
        HostKind::Bind => format!(
            "change() {{\n  if [ $verb = deploy_challenge ]; then echo \"update add _acme-challenge.$1 60 TXT $2\"\n  \
             else echo \"update delete _acme-challenge.$1 TXT $2\"; fi\n}}\n\
             send() {{ {{ echo \"server {} 53\"; echo \"zone $1\"; cat; echo send; }} | nsupdate -v -y \
             hmac-sha256:{TSIG_NAME}:{TSIG_SECRET}; }}\n",
            task.world.host.ip()
        ),
        HostKind::PowerDns => format!(
            "change() {{\n  change=REPLACE; [ $verb = deploy_challenge ] || change=DELETE\n  printf \
             '{{\"name\":\"_acme-challenge.%s.\",\"type\":\"TXT\",\"ttl\":60,\"changetype\":\"%s\",\"records\":[{{\"content\":\
             \"\\\\\"%s\\\\\"\",\"disabled\":false}}]}}' \"$1\" $change \"$2\"\n}}\n\
             send() {{ {{ printf '{{\"rrsets\":['; paste -sd,; printf ']}}'; }} | curl -sf -X PATCH -H 'X-API-Key: {}' -d @- \
             {}/$1.; }}\n",
            powerdns::API_KEY,
            zones_url(task.world)
        ),
    };
    let (first, rest) = BY_ZONE.split_once('\n').expect("it has lines");
    let hook = task.script("hook.sh", &format!("{first}\n{functions}{rest}"));
    let config = format!(
        "CA=\"{directory}\"\nCURL_OPTS=\"--cacert {certificate}\"\nBASEDIR=\"{}\"\nCHALLENGETYPE=dns-01\nHOOK=\"{hook}\"\n\
         HOOK_CHAIN=yes\nKEY_ALGO=prime256v1\nACCOUNT_KEYSIZE=2048\n",
        task.dir.display()
    );
    let config = task.write("config", &config);
    let mut arguments = vec!["--config".to_owned(), config, "--accept-terms".to_owned(), "--cron".to_owned()];
    arguments.extend(task.names.iter().flat_map(|name| ["--domain".to_owned(), name.clone()]));
    Job::new("dehydrated", arguments)
}

fn lexicon(task: &Task<'_>) -> Job {
    let provider = match task.world.host.kind() {
        HostKind::Bind => json!({ "provider_name": "ddns", "ddns": {
            "auth_token": format!("hmac-sha256:{TSIG_NAME}:{TSIG_SECRET}"), "ddns_server": task.world.host.ip().to_string(),
        }}),
        HostKind::PowerDns => json!({ "provider_name": "powerdns", "powerdns": {
            "auth_token": powerdns::API_KEY, "pdns_server": task.world.host.api(), "pdns_server_id": "localhost",
        }}),
    };
    let script = task.write(
        "run.py",
        "import json, sys\nfrom lexicon.client import Client\nfrom lexicon.config import ConfigResolver\n\
         task = json.load(open(sys.argv[1]))\n\
         name = task['provider']['provider_name']\n\
         for verb in ('create_record', 'delete_record'):\n\
         \x20   for zone, names in task['zones']:\n\
         \x20       config = {'provider_name': name, name: dict(task['provider'][name], domain=zone)}\n\
         \x20       config.update(domain=zone, delegated=zone, action=verb.split('_')[0], type='TXT')\n\
         \x20       with Client(ConfigResolver().with_dict(config)) as zone_of_it:\n\
         \x20           for owner in names:\n\
         \x20               if verb == 'create_record': assert zone_of_it.create_record('TXT', owner, task['value'])\n\
         \x20               else: assert zone_of_it.delete_record(None, 'TXT', owner, task['value'])\n",
    );
    let text = json!({ "provider": provider, "zones": task.by_zone(), "value": VALUE });
    let task = task.write("task.json", &text.to_string());
    Job::new(LEXICON, [script, task])
}
