//! Runs peers and measures them: whole runs, runs that are stopped in the middle, two at once, and with a dead name server.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use dcv_core::propagation::{Policy, wait_visible};
use dcv_provider::{DcvProvider, Proof, Retry, zone::ZoneProvider};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use super::{
    peer::{ALL, CaKind, Job, Peer, Task, VALUE},
    world::{Count, Host, HostKind, Servers, World, names},
};
use crate::{daemon::folder, powerdns};

/// What a run costs: medians, each for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of the processors, of the tool and all that it started.
    pub cpu: f64,
    /// Resident memory of the biggest process, in MiB.
    pub rss_mib: f64,
    /// Messages.
    pub count: Count,
}

/// A line of the tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The DNS host.
    pub host: HostKind,
    /// How many zones there are.
    pub zones: usize,
    /// How many names are proved.
    pub names: usize,
    /// The tool.
    pub tool: String,
    /// How often it was run.
    pub rounds: usize,
    /// What a run costs, or why there was none.
    pub cost: Result<Cost, String>,
}

/// What was left after runs that were stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kills {
    /// The tool.
    pub tool: String,
    /// The signal.
    pub signal: String,
    /// How many runs were begun.
    pub rounds: usize,
    /// How many were still running when the signal came.
    pub struck: usize,
    /// Records that were there after the signal, of all rounds.
    pub left: usize,
    /// Records that were there after the tool had gone on in its own way.
    pub left_after_going_on: usize,
    /// How often going on succeeded.
    pub succeeded: usize,
}

/// Two runs at once for one name, each from a folder of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Race {
    /// The tool.
    pub tool: String,
    /// How many pairs.
    pub rounds: usize,
    /// How many runs of all pairs succeeded.
    pub succeeded: usize,
    /// Seconds until the slower of a pair had ended: the median.
    pub wall: f64,
    /// Records left.
    pub left: usize,
}

/// Runs in a zone one of whose two name servers never answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadServer {
    /// The tool.
    pub tool: String,
    /// How many runs.
    pub rounds: usize,
    /// How many succeeded.
    pub succeeded: usize,
    /// Seconds: the median.
    pub wall: f64,
    /// What it said of that server; empty where it said nothing.
    pub said: String,
}

/// No run takes longer.
const DEADLINE: Duration = Duration::from_secs(600);

/// A process of a peer with the group of processes that it is the first of.
pub(super) struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    pub(super) fn start(job: &Job, wrapper: Option<&Path>) -> Self {
        let mut command = match wrapper {
            Some(report) => {
                let mut command = Command::new("/usr/bin/time");
                command.args(["-q", "-f", "%e %U %S %M", "-o"]).arg(report).arg(&job.program);
                command
            }
            None => Command::new(&job.program),
        };
        let child = command
            .args(&job.arguments)
            .envs(job.environment.iter().map(|(name, value)| (name, value)))
            .env("PATH", crate::daemon::path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{} cannot be started ({e}); tests/bench installs it", job.program.display()));
        let group = Pid::from_child(&child);
        Self { child, group }
    }

    /// Ends it at once, with all that it has started.
    pub(super) fn kill(mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }

    /// Processor time so far, in the kernel's clock ticks.
    pub(super) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The second field is the program's name, in parentheses.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
    }

    /// Resident memory now and at its most, in MiB.
    pub(super) fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
        };
        (mib("VmRSS:"), mib("VmHWM:"))
    }

    /// Waits for its end and returns whether it succeeded and what it said.
    fn end(self) -> (bool, String) {
        let (done, ended) = mpsc::channel::<()>();
        let group = self.group;
        let watch = std::thread::spawn(move || {
            if ended.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
        let output = self.child.wait_with_output().expect("it ends");
        drop(done);
        let _ = watch.join();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Runs it under GNU time.
pub(super) fn timed(job: &Job, report: &Path) -> Result<Cost, String> {
    let began = Instant::now();
    let (succeeded, said) = Running::start(job, Some(report)).end();
    // GNU time counts in hundredths of a second.
    let wall = began.elapsed().as_secs_f64();
    if !succeeded {
        return Err(last_line(&said));
    }
    let text = std::fs::read_to_string(report).map_err(|e| e.to_string())?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [_, user, system, kib] = numbers[..] else { return Err(format!("GNU time said {text:?}")) };
    Ok(Cost { wall, cpu: user + system, rss_mib: kib / 1024.0, count: Count::default() })
}

fn last_line(said: &str) -> String {
    let line = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed and said nothing").trim();
    line.chars().take(160).collect()
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn medians(costs: &[Cost]) -> Cost {
    let of = |field: fn(&Cost) -> f64| median(costs.iter().map(field).collect());
    let phases: Vec<f64> = costs.iter().filter_map(|cost| cost.count.dns_phase).collect();
    // Counts are the middle round's; they differ only where a tool polls.
    let mut by_wall: Vec<&Cost> = costs.iter().collect();
    by_wall.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    let count = by_wall[by_wall.len() / 2].count;
    let dns_phase = (!phases.is_empty()).then(|| median(phases));
    Cost { wall: of(|c| c.wall), cpu: of(|c| c.cpu), rss_mib: of(|c| c.rss_mib), count: Count { dns_phase, ..count } }
}

async fn once(peer: &Peer, host: HostKind, zones: usize, count: usize) -> Result<Cost, String> {
    let world = World::start(host, peer.ca, zones, Servers::Alive).await;
    let dir = folder();
    let names = names(&world.zones, count);
    let job = (peer.run)(&Task { world: &world, dir: dir.path(), names: &names });
    let mark = world.mark();
    let mut cost = timed(&job, &dir.path().join("time"))?;
    cost.count = world.since(&mark);
    let left = world.records();
    if left.is_empty() { Ok(cost) } else { Err(format!("{} records are still there, e.g. {}", left.len(), left[0])) }
}

/// Our provider and our check of visibility, as a library: what of a run is DNS.
async fn dns_phase(host: HostKind, zones: usize, count: usize) -> Result<Cost, String> {
    let world = World::start(host, CaKind::Nobody, zones, Servers::Alive).await;
    let address = world.address();
    let proofs: Vec<Proof> =
        names(&world.zones, count).into_iter().map(|name| Proof::Txt { name, value: VALUE.to_owned() }).collect();
    let mark = world.mark();
    let began = Instant::now();
    let provider: Box<dyn DcvProvider> = match &world.host {
        Host::Bind(_) => Box::new(address.provider()),
        Host::PowerDns(server) => {
            let editor = dcv_powerdns::Editor::new(server.api(), powerdns::API_KEY.to_owned().into());
            Box::new(ZoneProvider::new(editor.expect("a good configuration"), Some(address.questions())))
        }
    };
    patiently(async || provider.present(&proofs).await).await?;
    let verdict = wait_visible(&address.questions(), &proofs, &Policy::default(), |_| {}).await;
    patiently(async || provider.retract(&proofs).await).await?;
    let wall = began.elapsed().as_secs_f64();
    if !verdict.all_visible() {
        return Err(verdict.summary());
    }
    let count = Count { dns_phase: Some(wall), ..world.since(&mark) };
    match world.records()[..] {
        [] => Ok(Cost { wall, count, ..Cost::default() }),
        [ref first, ..] => Err(format!("records are still there, e.g. {first}")),
    }
}

/// Tries again where that can help, as the flow does: PowerDNS on SQLite refuses what comes at the same time as another zone's change.
async fn patiently(mut call: impl AsyncFnMut() -> dcv_provider::Result<()>) -> Result<(), String> {
    let mut pause = Duration::from_millis(500);
    for _ in 1..4 {
        match call().await {
            Ok(()) => return Ok(()),
            Err(error) if error.retry == Retry::No => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
    call().await.map_err(|error| error.to_string())
}

/// How much is measured.
pub struct Extent {
    /// Numbers of names.
    pub names: Vec<usize>,
    /// How often each fast run is made.
    pub rounds: usize,
    /// Runs that would take longer, by what fewer names took, are not made.
    pub patience: Duration,
    /// Runs that take longer are made once.
    pub once_from: Duration,
    /// No run begins later.
    pub until: Instant,
}

/// The tool's name of the row that is our DNS part alone.
pub const PHASE: &str = "dcv, its DNS part alone";

/// Whole runs of everybody at one DNS host.
pub async fn side_by_side(host: HostKind, zones: usize, extent: &Extent, mut tell: impl FnMut(&Row)) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut reached: Vec<(&str, f64, usize)> = Vec::new();
    for &count in extent.names.iter().filter(|count| **count >= zones) {
        for peer in ALL.iter().filter(|peer| peer.hosts.contains(&host)) {
            let mut add = |tool: &str, rounds, cost| {
                let row = Row { host, zones, names: count, tool: tool.to_owned(), rounds, cost };
                tell(&row);
                rows.push(row);
            };
            let earlier = reached.iter().find(|one| one.0 == peer.name).copied();
            #[expect(clippy::cast_precision_loss, reason = "hundreds")]
            let expected = earlier.map_or(0.0, |(_, wall, names)| wall * count as f64 / names as f64);
            if expected > extent.patience.as_secs_f64() {
                add(peer.name, 0, Err(format!("not run: by fewer names it would take about {expected:.0} s")));
                continue;
            }
            if Instant::now() > extent.until {
                add(peer.name, 0, Err("not run: the time was up".to_owned()));
                continue;
            }
            let mut costs = Vec::new();
            let mut failed = None;
            while costs.len() < extent.rounds && failed.is_none() {
                match once(peer, host, zones, count).await {
                    Ok(cost) => costs.push(cost),
                    Err(why) => failed = Some(why),
                }
                let slow = costs.first().is_some_and(|cost| cost.wall > extent.once_from.as_secs_f64());
                if slow || Instant::now() > extent.until {
                    break;
                }
            }
            let rounds = costs.len() + usize::from(failed.is_some());
            if let Some(why) = failed {
                reached.retain(|one| one.0 != peer.name);
                add(peer.name, rounds, Err(format!("failed: {why}")));
            } else {
                let cost = medians(&costs);
                reached.retain(|one| one.0 != peer.name);
                reached.push((peer.name, cost.wall, count));
                add(peer.name, rounds, Ok(cost));
            }
            if peer.ca == CaKind::Sandbox {
                let mut costs = Vec::new();
                for _ in 0..extent.rounds {
                    costs.push(dns_phase(host, zones, count).await);
                }
                let costs: Result<Vec<Cost>, String> = costs.into_iter().collect();
                add(PHASE, extent.rounds, costs.map(|costs| medians(&costs)).map_err(|why| format!("failed: {why}")));
            }
        }
    }
    rows
}

/// Those who bring a certificate home.
pub fn clients() -> impl Iterator<Item = &'static Peer> {
    ALL.iter().filter(|peer| peer.ca != CaKind::Nobody)
}

/// A moment in the first so many seconds.
fn random_moment(within: f64) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    #[expect(clippy::cast_precision_loss, reason = "53 bits are plenty")]
    let part = (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64;
    Duration::from_secs_f64(within * part)
}

/// Stops runs of three names at random moments, and has them go on: so many with each signal, or as many as the time allows.
/// Slow tools are stopped at least once with each.
pub async fn kills(peers: &[&Peer], rounds: usize, time: Duration, mut tell: impl FnMut(&Kills)) -> Vec<Kills> {
    let mut all = Vec::new();
    #[expect(clippy::cast_possible_truncation, reason = "a handful")]
    let share = time / (peers.len() * 3) as u32;
    for peer in peers {
        let wall = match once(peer, HostKind::Bind, 1, 3).await {
            Ok(cost) => cost.wall,
            Err(why) => panic!("{}: {why}", peer.name),
        };
        for (signal, name) in [(Signal::INT, "Ctrl-C"), (Signal::TERM, "TERM"), (Signal::KILL, "KILL")] {
            let mut one = Kills {
                tool: peer.name.to_owned(),
                signal: name.to_owned(),
                rounds: 0,
                struck: 0,
                left: 0,
                left_after_going_on: 0,
                succeeded: 0,
            };
            let began = Instant::now();
            while one.rounds < rounds && (one.struck == 0 || began.elapsed() < share) {
                one.rounds += 1;
                let world = World::start(HostKind::Bind, peer.ca, 1, Servers::Alive).await;
                let dir = folder();
                let names = names(&world.zones, 3);
                let task = Task { world: &world, dir: dir.path(), names: &names };
                let mut running = Running::start(&(peer.run)(&task), None);
                tokio::time::sleep(random_moment(wall)).await;
                if matches!(running.child.try_wait(), Ok(None)) {
                    one.struck += 1;
                    // A terminal sends Ctrl-C to all processes of the group, a supervisor the others to the first.
                    let _ = match signal {
                        Signal::INT => kill_process_group(running.group, signal),
                        _ => kill_process(running.group, signal),
                    };
                }
                let group = running.group;
                running.end();
                let _ = kill_process_group(group, Signal::KILL);
                one.left += world.records().len();
                let job = (peer.again.unwrap_or(peer.run))(&task);
                let (succeeded, _) = Running::start(&job, None).end();
                one.succeeded += usize::from(succeeded);
                one.left_after_going_on += world.records().len();
            }
            tell(&one);
            all.push(one);
        }
    }
    all
}

/// Two runs at once.
pub async fn races(rounds: usize, mut tell: impl FnMut(&Race)) -> Vec<Race> {
    let mut all = Vec::new();
    for peer in clients() {
        let mut race = Race { tool: peer.name.to_owned(), rounds, succeeded: 0, wall: 0.0, left: 0 };
        let mut walls = Vec::new();
        for _ in 0..rounds {
            let world = World::start(HostKind::Bind, peer.ca, 1, Servers::Alive).await;
            let dirs = [folder(), folder()];
            let names = names(&world.zones, 1);
            let jobs = dirs.each_ref().map(|dir| (peer.run)(&Task { world: &world, dir: dir.path(), names: &names }));
            let began = Instant::now();
            let both = jobs.map(|job| Running::start(&job, None));
            race.succeeded += both.into_iter().map(Running::end).filter(|(succeeded, _)| *succeeded).count();
            walls.push(began.elapsed().as_secs_f64());
            race.left += world.records().len();
        }
        race.wall = median(walls);
        tell(&race);
        all.push(race);
    }
    all
}

/// Three names, and a name server that never answers.
pub async fn dead_server(rounds: usize, mut tell: impl FnMut(&DeadServer)) -> Vec<DeadServer> {
    let mut all = Vec::new();
    for peer in clients() {
        let mut dead = DeadServer { tool: peer.name.to_owned(), rounds, succeeded: 0, wall: 0.0, said: String::new() };
        let mut walls = Vec::new();
        for _ in 0..rounds {
            let world = World::start(HostKind::Bind, peer.ca, 1, Servers::OneDead).await;
            let dir = folder();
            let names = names(&world.zones, 3);
            let mut job = (peer.run)(&Task { world: &world, dir: dir.path(), names: &names });
            // Ours tells of name servers as it goes along, unless it is to be quiet.
            job.arguments.retain(|argument| argument != "--quiet");
            let began = Instant::now();
            let (succeeded, said) = Running::start(&job, None).end();
            walls.push(began.elapsed().as_secs_f64());
            dead.succeeded += usize::from(succeeded);
            let of_it = said.lines().rfind(|line| line.contains("ns2") || line.contains("127.0.1.9"));
            if let Some(line) = of_it {
                dead.said = line.trim().chars().take(160).collect();
            }
        }
        dead.wall = median(walls);
        tell(&dead);
        all.push(dead);
    }
    all
}
