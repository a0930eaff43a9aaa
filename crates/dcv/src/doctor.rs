//! `dcv doctor`: finds out what would make an order fail, and says what to do about it.
//!
//! What can be seen from outside is examined by the core. Added here is what only the configuration's owner can find out:
//! whether the API key works, and whether each provider really can write. For that a probe (a TXT record, or a file) is written,
//! read back as the CA would read it, and removed again, whatever happens.

use std::{sync::Arc, time::Duration};

use certcentral::DcvScope;
use dcv_core::{
    Method, Placement, Route,
    doctor::{Finding, Level, Options, examine},
    name::DnsName,
    propagation::{Policy, Sight, Verdict, wait_visible},
};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, ProviderError, dns::Dns};
use futures_util::future::join_all;
use rand::Rng;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    args,
    config::Config,
    exit::{Code, Failure, Result},
    request::{read_names, refused_key},
    run::interruptible,
    show::{BAD, CARE, DIM, GOOD, Screen},
};

/// How long a provider may take for one call.
const CALL: Duration = Duration::from_secs(60);
/// How long a probe is looked for.
const LOOK: Duration = Duration::from_secs(60);

/// Runs it.
pub(crate) async fn doctor(config: &Config, screen: Screen, args: &args::Doctor) -> Result<Code> {
    let names = read_names(&args.names)?;
    let dns = config.dns()?;
    let method = args.method.unwrap_or(config.defaults.method);
    let policy = Policy { enabled: true, give_up_after: LOOK, ..config.settings(None).propagation };
    let (scope, placement) = (config.defaults.scope.clone(), config.defaults.placement());
    let options =
        Options { method, scope: scope.clone(), placement, web_ports: policy.web_ports, ..Options::default() };
    let looking = async {
        let (names, account) =
            tokio::join!(join_all(names.iter().map(|name| examine(name, &dns, &options))), account(config));
        names.into_iter().flatten().chain([account]).collect::<Vec<Finding>>()
    };
    let interrupted = || Failure::new(Code::Interrupted, "the examination was not finished; nothing was changed");
    let mut findings = interruptible(looking).await.ok_or_else(interrupted)?;
    let mut seen = std::collections::HashSet::new();
    findings.retain(|finding| seen.insert((finding.check, finding.subject.clone(), finding.text.clone())));
    for finding in &findings {
        show(screen, finding);
    }
    let doctor = Doctor { dns: &dns, policy, method, scope, placement, probe: !args.no_probe };
    match config.router(&names, &[], &dns).await {
        Ok(router) => {
            for (domain, routes) in doctor.domains(&names, &router) {
                let routes = match routes {
                    Ok(routes) => routes,
                    Err(error) => {
                        let finding = finding("route", &domain, Level::Fail, error.to_string(), "");
                        show(screen, &finding);
                        findings.push(finding);
                        continue;
                    }
                };
                for route in routes {
                    let finding = doctor.provider(&domain, &route).await?;
                    show(screen, &finding);
                    findings.push(finding);
                }
            }
        }
        Err(failure) => {
            let finding = finding("provider", "configuration", Level::Fail, failure.message, "");
            show(screen, &finding);
            findings.push(finding);
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (fails, warnings) = (count(Level::Fail), count(Level::Warn));
    let verdict = match (fails, warnings) {
        (0, 0) => screen.on_out(GOOD, "nothing stands in the way of an order"),
        (0, 1) => screen.on_out(CARE, "an order will probably get through; one warning"),
        (0, _) => screen.on_out(CARE, format!("an order will probably get through; {warnings} warnings")),
        (1, _) => screen.on_out(BAD, "an order would fail; one finding must be dealt with"),
        (_, _) => screen.on_out(BAD, format!("an order would fail; {fails} findings must be dealt with")),
    };
    screen.result(verdict, json!({ "result": "examined", "fails": fails, "warnings": warnings, "findings": findings }));
    Ok(if fails > 0 { Code::Doctor } else { Code::Done })
}

fn finding(check: &'static str, subject: &str, level: Level, text: String, way_out: &str) -> Finding {
    Finding { check, subject: subject.to_owned(), level, text, way_out: way_out.to_owned() }
}

/// People read findings as they come; JSON has them all in the result.
fn show(screen: Screen, finding: &Finding) {
    if screen.is_json() {
        return;
    }
    let (mark, style) = match finding.level {
        Level::Ok => ("✓", GOOD),
        Level::Warn => ("!", CARE),
        Level::Fail => ("✗", BAD),
    };
    let head = format!("{} {}: {}", finding.check, finding.subject, finding.text);
    let way_out = match finding.way_out.as_str() {
        "" => String::new(),
        text => format!("\n  {}", screen.on_out(DIM, text)),
    };
    screen.result(format!("{} {head}{way_out}", screen.on_out(style, mark)), ());
}

/// Whether the API key works, and whose it is.
async fn account(config: &Config) -> Finding {
    let client = match config.client().await {
        Ok(client) => client,
        Err(failure) => return finding("account", "API key", Level::Fail, failure.message, ""),
    };
    match client.me().await {
        Ok(user) => {
            let who = user.username.or(user.last_name).unwrap_or_else(|| "a user without a name".to_owned());
            let roles: Vec<String> = user.access_roles.into_iter().filter_map(|role| role.name).collect();
            let roles = if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
            finding("account", "API key", Level::Ok, format!("it is {who}'s{roles}"), "")
        }
        Err(error) => finding("account", "API key", Level::Fail, refused_key(&error).message, ""),
    }
}

struct Doctor<'a> {
    dns: &'a Dns,
    policy: Policy,
    method: Method,
    scope: Option<DcvScope>,
    placement: Placement,
    probe: bool,
}

impl Doctor<'_> {
    /// The domains that would have to be proved, each with who would do it.
    fn domains(&self, names: &[DnsName], router: &dcv_core::Router) -> Vec<(String, dcv_core::Result<Vec<Route>>)> {
        let mut domains: Vec<&str> =
            names.iter().map(|name| self.method.domain_of(name, self.scope.as_ref())).collect();
        domains.sort_unstable();
        domains.dedup();
        let routes = |domain: &str| {
            // Where people show control, no provider is needed.
            let Some(proof) = self.placement.proof(self.method, domain, "dcv-probe") else { return Ok(Vec::new()) };
            let found = router.find(proof.name(), proof.kind())?;
            Ok(found.into_iter().cloned().collect())
        };
        domains.into_iter().map(|domain| (domain.to_owned(), routes(domain))).collect()
    }

    /// Whether a provider can prove a domain. First at a name of the probe's own; where only the real place may be written,
    /// there.
    async fn provider(&self, domain: &str, route: &Route) -> Result<Finding> {
        let provider = &route.provider;
        let subject = format!("{} for {domain}", route.label);
        let say = |level, text: String, way_out: &str| finding("provider", &subject, level, text, way_out);
        let tail: u64 = rand::rng().random();
        let value = format!("dcv-probe-{tail:016x}");
        let Some(real) = self.placement.proof(self.method, domain, &value) else {
            return Ok(say(Level::Ok, format!("{} needs none", self.method), ""));
        };
        if !self.probe {
            return Ok(match provider.preflight(std::slice::from_ref(&real)).await {
                Ok(places) => {
                    let within = places.into_iter().next().map(|place| place.within).unwrap_or_default();
                    say(Level::Ok, format!("it says it can write to {within}; not tried"), "")
                }
                Err(error) => say(Level::Fail, error.to_string(), ""),
            });
        }
        let own = match &real {
            Proof::File { host, .. } => Proof::File {
                host: host.clone(),
                path: format!("/.well-known/pki-validation/{value}.txt"),
                body: value.clone(),
            },
            _ if provider.descriptor().accepts(ProofKind::Txt) => {
                Proof::Txt { name: format!("_{value}.{domain}"), value: value.clone() }
            }
            _ => real.clone(),
        };
        let (mut probe, mut outcome) = (own, None);
        for place in [None, Some(real)] {
            if let Some(real) = place {
                probe = real;
            }
            let tried = self.try_probe(provider, &probe).await?;
            outcome = Some(tried);
            // Keys may be good for the real place alone, and an alias may lead from it to a zone that the probe's name is not in.
            let refused = [ErrorKind::Credentials, ErrorKind::Rejected, ErrorKind::NotServed];
            if !matches!(&outcome, Some(Tried::Refused(error)) if refused.contains(&error.kind)) {
                break;
            }
        }
        Ok(match outcome {
            Some(Tried::Seen { gone: true }) => say(
                Level::Ok,
                format!("a probe ({} {}) was written, read back and removed", probe.kind(), probe.name()),
                "",
            ),
            Some(Tried::Seen { gone: false }) => say(
                Level::Warn,
                format!("{probe} was written and read back, but still shows after its removal"),
                "look whether another system keeps it; remove it by hand",
            ),
            Some(Tried::Unseen(verdict)) => say(
                Level::Fail,
                format!("the probe was written, but could not be read back: {}", verdict.summary()),
                "check that these servers get the provider's changes (secondaries, anycast, document roots)",
            ),
            Some(Tried::NotRemoved(error)) => {
                say(Level::Fail, format!("the probe {probe} could not be removed: {error}"), "remove it by hand")
            }
            Some(Tried::Refused(error)) => say(Level::Fail, error.to_string(), ""),
            None => say(Level::Fail, "it was not tried".to_owned(), ""),
        })
    }

    /// Writes, reads and removes a probe.
    async fn try_probe(&self, provider: &Arc<dyn DcvProvider>, probe: &Proof) -> Result<Tried> {
        let probes = std::slice::from_ref(probe);
        let call = async {
            provider.preflight(probes).await?;
            provider.present(probes).await
        };
        let late = || Err(ProviderError::new(ErrorKind::Unavailable, format!("no answer in {CALL:?}")));
        let presented = timeout(CALL, call).await.unwrap_or_else(|_| late());
        let verdict = match &presented {
            Ok(()) => interruptible(wait_visible(self.dns, probes, &self.policy, |_| {})).await,
            Err(_) => Some(Verdict::default()),
        };
        let removed = timeout(CALL, provider.retract(probes)).await.unwrap_or_else(|_| late());
        let (verdict, ()) = match (presented, verdict, removed) {
            (Err(error), _, _) => return Ok(Tried::Refused(error)),
            (_, _, Err(error)) => return Ok(Tried::NotRemoved(error)),
            (_, None, Ok(())) => {
                return Err(Failure::new(Code::Interrupted, "the examination was not finished; the probe was removed"));
            }
            (Ok(()), Some(verdict), Ok(())) => (verdict, ()),
        };
        if !verdict.all_visible() {
            return Ok(Tried::Unseen(verdict));
        }
        Ok(Tried::Seen { gone: self.is_gone(probes).await })
    }

    /// Looks until no place shows the probe any more, for as long as caches and secondaries may reasonably take.
    async fn is_gone(&self, probes: &[Proof]) -> bool {
        let once = Policy { give_up_after: Duration::ZERO, resolvers: Vec::new(), ..self.policy.clone() };
        for pause in [0, 200, 500, 1000, 2000, 4000, 8000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let verdict = wait_visible(self.dns, probes, &once, |_| {}).await;
            let shows = verdict.proofs.iter().flat_map(|proof| &proof.views).any(|view| view.sight == Sight::Shows);
            if !shows {
                return true;
            }
        }
        false
    }
}

/// What came of a probe.
enum Tried {
    Seen { gone: bool },
    Unseen(Verdict),
    NotRemoved(ProviderError),
    Refused(ProviderError),
}
