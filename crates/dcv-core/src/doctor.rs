//! What would make an order fail, found out before it is placed, by looking only.
//!
//! Names are examined as the CA will see them: which CAA records decide (RFC 8659), whether DNSSEC holds (validated by the
//! CA since March 2026, BR 3.2.2.4), whether parent and zone agree on the name servers and all of them answer alike, whether the host
//! can be reached for files, whether a proof would hide a wildcard or stand at an alias, and what is left of earlier proofs. Each
//! finding says what is wrong and what to do about it.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use certcentral::DcvScope;
use dcv_provider::{
    ProofKind,
    dns::{Answer, Dns, DnsError, Recursion, ZoneServers, exchange, is_within, to_name},
};
use futures_util::{
    future::{BoxFuture, join_all},
    join,
};
use hickory_proto::{
    dnssec::{Proof as Trust, TrustAnchors},
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{RData, RecordType},
};
use hickory_resolver::{
    Resolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    key::printable,
    name::DnsName,
    placement::{CNAME_SUFFIX, DNSAUTH_LABEL, Method, Placement, TxtOwner},
};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// An order will probably get through.
    Warn,
    /// An order will fail, or wait for ever.
    Fail,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `caa`, `dnssec`, `delegation`, `servers`, `tcp`, `web`, `mail`, `wildcard`, `alias`, `leftovers`.
    pub check: &'static str,
    /// The name, zone or server.
    pub subject: String,
    /// How it is to be taken.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it; empty when nothing is to be done.
    pub way_out: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.check, self.subject, self.text)?;
        if self.way_out.is_empty() { Ok(()) } else { write!(f, "; {}", self.way_out) }
    }
}

/// What to look for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How control would be shown.
    pub method: Method,
    /// How much of a name would be proved; the CA's default is the registrable domain.
    pub scope: Option<DcvScope>,
    /// Where records would go.
    pub placement: Placement,
    /// Issuers that CAA may name, the one to be advised first.
    pub issuers: Vec<String>,
    /// Ports of the web server: HTTP and HTTPS.
    pub web_ports: (u16, u16),
    /// A file of DNSKEY records to trust instead of the root's, in networks that have a root of their own.
    pub trust_anchors: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            method: Method::default(),
            scope: None,
            placement: Placement::default(),
            issuers: ISSUERS.map(str::to_owned).to_vec(),
            web_ports: (80, 443),
            trust_anchors: None,
        }
    }
}

/// The issuer domain names that DigiCert and its brands go by.
const ISSUERS: [&str; 6] =
    ["digicert.com", "www.digicert.com", "digicert.ne.jp", "thawte.com", "geotrust.com", "rapidssl.com"];
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take that has to be validated; bogus zones take validators long.
const VALIDATION: Duration = Duration::from_secs(5);

/// Examines a name. Everything is asked at once; the slowest dead server decides how long it takes, at most a few
/// deadlines of [`Dns`].
pub async fn examine(name: &DnsName, dns: &Dns, options: &Options) -> Vec<Finding> {
    let base = name.base();
    let domain = options.method.domain_of(name, options.scope.as_ref());
    let zone = match dns.zone_of(base).await {
        Ok(zone) => zone,
        Err(error) => {
            let way_out = "let the registrar delegate it, and look at its name servers";
            return vec![fail("delegation", base, format!("its zone cannot be found: {error}"), way_out)];
        }
    };
    let mut examinations: Vec<BoxFuture<'_, Vec<Finding>>> = vec![
        Box::pin(examine_caa(name, dns, &options.issuers)),
        Box::pin(examine_dnssec(dns, &zone, options)),
        Box::pin(examine_delegation(dns, &zone)),
        Box::pin(examine_servers(dns, &zone)),
    ];
    examinations.push(match options.method {
        Method::HttpToken | Method::HttpTokenDynamic => Box::pin(examine_web(base, dns, options.web_ports)),
        Method::Email => Box::pin(examine_mail(domain, dns)),
        Method::DnsTxtToken | Method::DnsCnameToken => Box::pin(examine_wildcards(base, dns, &zone)),
    });
    examinations.push(Box::pin(examine_place(domain, dns, options)));
    examinations.push(Box::pin(examine_leftovers(base, dns)));
    join_all(examinations).await.concat()
}

fn ok(check: &'static str, subject: &str, text: impl Into<String>) -> Finding {
    Finding { check, subject: subject.to_owned(), level: Level::Ok, text: text.into(), way_out: String::new() }
}

fn warn(check: &'static str, subject: &str, text: impl Into<String>, way_out: impl Into<String>) -> Finding {
    Finding { level: Level::Warn, way_out: way_out.into(), ..ok(check, subject, text) }
}

fn fail(check: &'static str, subject: &str, text: impl Into<String>, way_out: impl Into<String>) -> Finding {
    Finding { level: Level::Fail, way_out: way_out.into(), ..ok(check, subject, text) }
}

/// Whether mail for a domain gets anywhere: without MX records DigiCert sends none.
async fn examine_mail(domain: &str, dns: &Dns) -> Vec<Finding> {
    let way_out = "publish MX records, or use dns-txt-token";
    vec![match dns.authoritative(domain, RecordType::MX).await {
        Ok((_, answer)) if answer.data().any(|data| matches!(data, RData::MX(_))) => {
            ok("mail", domain, "it has MX records")
        }
        Ok(_) => fail("mail", domain, "it has no MX records, so no mail reaches admin@ and its like", way_out),
        Err(error) => fail("mail", domain, format!("its MX records cannot be looked up: {error}"), way_out),
    }]
}

// ---- CAA

/// One CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caa {
    critical: bool,
    tag: String,
    value: String,
}

/// The closest name with CAA records decides (RFC 8659 section 3).
async fn examine_caa(name: &DnsName, dns: &Dns, issuers: &[String]) -> Vec<Finding> {
    let mut level = name.base();
    loop {
        match caa_at(dns, level).await {
            Ok(records) if !records.is_empty() => {
                return vec![judge_caa(level, &records, name.is_wildcard(), issuers)];
            }
            Ok(_) => {}
            // Servers of one zone only refuse the names above it; a failure at or below the zone's own names counts.
            Err(DnsError::Refused { rcode: ResponseCode::Refused, .. }) if !level.contains('.') => {}
            Err(error) => {
                let way_out = "the CA does not issue while CAA cannot be looked up: mend the name servers";
                return vec![fail("caa", level, format!("it cannot be looked up: {error}"), way_out)];
            }
        }
        match level.split_once('.') {
            Some((_, parent)) => level = parent,
            None => return vec![ok("caa", name.base(), "no CAA records: every CA may issue")],
        }
    }
}

async fn caa_at(dns: &Dns, name: &str) -> Result<Vec<Caa>, DnsError> {
    let answer = if name.contains('.') {
        dns.authoritative(name, RecordType::CAA).await?.1
    } else {
        dns.resolve(name, RecordType::CAA).await?
    };
    let chased = match answer.alias() {
        // The target may be in another zone: then it is asked about there.
        Some(target) if answer.chased().is_empty() => dns.resolve(&target, RecordType::CAA).await?,
        _ => answer,
    };
    let records = chased.chased().into_iter().filter_map(|data| match data {
        RData::CAA(caa) => Some(Caa {
            critical: caa.issuer_critical,
            tag: caa.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
        }),
        _ => None,
    });
    Ok(records.collect())
}

fn judge_caa(at: &str, records: &[Caa], wildcard: bool, issuers: &[String]) -> Finding {
    const KNOWN: [&str; 7] = ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];
    if let Some(unknown) = records.iter().find(|caa| caa.critical && !KNOWN.contains(&caa.tag.as_str())) {
        let way_out = "remove it, or its critical flag";
        return fail("caa", at, format!("a critical property `{}` that no CA may ignore", unknown.tag), way_out);
    }
    let tagged = |tag: &str| records.iter().filter(|caa| caa.tag == tag).collect::<Vec<_>>();
    let (issue, issuewild) = (tagged("issue"), tagged("issuewild"));
    // For wildcards `issuewild` counts where there is any, else `issue` does (RFC 8659 section 4.3).
    let (tag, relevant) = if wildcard && !issuewild.is_empty() { ("issuewild", issuewild) } else { ("issue", issue) };
    if relevant.is_empty() {
        return ok("caa", at, "its records name no issuers: every CA may issue");
    }
    let named: Vec<String> = relevant.iter().filter_map(|caa| issuer(&caa.value)).collect();
    if named.iter().any(|domain| issuers.iter().any(|issuer| issuer.eq_ignore_ascii_case(domain))) {
        return ok("caa", at, format!("{tag} allows {}", named.join(", ")));
    }
    let allowed: Vec<String> = named.into_iter().filter(|domain| !domain.is_empty()).collect();
    let mut text = if allowed.is_empty() {
        format!("{tag} allows nobody")
    } else {
        format!("{tag} allows only {}", allowed.join(", "))
    };
    if let Some(malformed) = relevant.iter().find(|caa| issuer(&caa.value).is_none()) {
        let value = printable(&malformed.value);
        text = format!("{text}; \"{value}\" is malformed, so it allows nobody (RFC 8659 section 4.2)");
    }
    fail(
        "caa",
        at,
        text,
        format!("add the record: {at}. CAA 0 {tag} \"{}\"", issuers.first().map_or("", String::as_str)),
    )
}

/// The issuer's domain name in the value of a property, empty if it names none; `None` where the value is not written as RFC 8659
/// section 4.2 says: then it names none, either.
fn issuer(value: &str) -> Option<String> {
    let blank = |c| matches!(c, ' ' | '\t');
    let word = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let parameter = |text: &str| {
        text.split_once('=').is_some_and(|(tag, value)| {
            word(tag.trim_matches(blank)) && value.trim_matches(blank).bytes().all(|b| b.is_ascii_graphic())
        })
    };
    let (name, parameters) = value.split_once(';').unwrap_or((value, ""));
    let (name, parameters) = (name.trim_matches(blank), parameters.trim_matches(blank));
    let good = (name.is_empty() || name.split('.').all(word))
        && (parameters.is_empty() || parameters.split(';').all(parameter));
    good.then(|| name.to_ascii_lowercase())
}

// ---- DNSSEC

/// Looks whether the parent promises keys that the zone does not have, and whether the signatures hold. A validating resolver
/// is asked with its checks and without: an answer that is only to be had without them is bogus. Where the resolver
/// does not validate but passes signatures on, they are validated here.
async fn examine_dnssec(dns: &Dns, zone: &ZoneServers, options: &Options) -> Vec<Finding> {
    let apex = zone.apex.as_str();
    let (signed, promised) = join!(dns.authoritative(apex, RecordType::DNSKEY), dns.resolve(apex, RecordType::DS));
    // A question that failed is not an answer without keys.
    let signed = signed.ok().map(|(_, answer)| answer.data().next().is_some());
    let promised = promised.is_ok_and(|answer| answer.data().next().is_some());
    if promised && signed == Some(false) {
        let way_out = "sign the zone, or let the registrar remove the DS records";
        return vec![fail("dnssec", apex, "the parent has DS records, and the zone has no keys", way_out)];
    }
    let mut asked = None;
    for resolver in dns.resolvers() {
        let answers = join!(ask_secured(*resolver, apex, false), ask_secured(*resolver, apex, true));
        if let (Some(checked), Some(unchecked)) = answers {
            asked = Some((*resolver, checked, unchecked));
            break;
        }
    }
    let Some((resolver, checked, unchecked)) = asked else { return Vec::new() };
    let bogus = |who: String| {
        let way_out = "mend or remove its signatures: the CA validates DNSSEC and refuses what does not hold";
        fail("dnssec", apex, format!("{who} finds it bogus"), way_out)
    };
    let unknown = |why: &str| {
        let text = format!("signed; {resolver} does not validate and {why}, so it is not known whether it holds");
        warn("dnssec", apex, text, "check it with a validating resolver: the CA validates")
    };
    let failed = checked.metadata.response_code == ResponseCode::ServFail;
    let has_signatures = |record: &hickory_proto::rr::Record| record.record_type() == RecordType::RRSIG;
    vec![if failed && unchecked.metadata.response_code == ResponseCode::NoError {
        bogus(resolver.to_string())
    } else if checked.metadata.authentic_data {
        ok("dnssec", apex, format!("signed, and {resolver} finds it good"))
    } else if promised && unchecked.answers.iter().any(has_signatures) {
        match validate(resolver, apex, options).await {
            Ok(Trust::Secure) => ok("dnssec", apex, "signed, and good by a validation of our own"),
            Ok(Trust::Bogus) => bogus("a validation of our own".to_owned()),
            Ok(_) => unknown("gives no chain of keys"),
            Err(reason) => unknown(&reason),
        }
    } else if promised {
        unknown("passes no signatures on")
    } else {
        ok(
            "dnssec",
            apex,
            match signed {
                Some(true) => "signed, without DS records in the parent: not validated",
                Some(false) => "not signed",
                None => "no DS records in the parent: not validated",
            },
        )
    }]
}

/// A resolver's answer about the zone's SOA record with signatures, checked by the resolver or not.
async fn ask_secured(resolver: SocketAddr, name: &str, checking_disabled: bool) -> Option<Message> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = checking_disabled;
    message.add_query(Query::query(to_name(name).ok()?, RecordType::SOA));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true).set_max_payload(1232);
    message.set_edns(edns);
    exchange(resolver, &message, VALIDATION).await.ok()
}

/// Follows the chain of keys down to the zone's SOA record, with what the resolver passes on.
async fn validate(resolver: SocketAddr, apex: &str, options: &Options) -> Result<Trust, String> {
    let anchors = match &options.trust_anchors {
        Some(path) => TrustAnchors::from_file(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?,
        None => TrustAnchors::default(),
    };
    let mut server = NameServerConfig::udp_and_tcp(resolver.ip());
    for connection in &mut server.connections {
        connection.port = resolver.port();
    }
    let mut settings = ResolverOpts::default();
    settings.validate = true;
    settings.timeout = VALIDATION;
    settings.attempts = 1;
    settings.use_hosts_file = ResolveHosts::Never;
    let resolver =
        Resolver::builder_with_config(ResolverConfig::from_name_servers(vec![server]), TokioRuntimeProvider::default())
            .with_options(settings)
            .with_trust_anchor(Arc::new(anchors))
            .build()
            .map_err(|e| e.to_string())?;
    let name = to_name(apex).map_err(|e| e.to_string())?;
    // Each link of the chain has a deadline of its own, and a chain has only a few.
    let lookup = match timeout(VALIDATION * 2, resolver.lookup(name, RecordType::SOA)).await {
        Ok(Ok(lookup)) => lookup,
        Ok(Err(NetError::Dns(hickory_resolver::net::DnsError::DnssecBogus))) => return Ok(Trust::Bogus),
        Ok(Err(error)) => return Err(format!("cannot be validated against: {error}")),
        Err(_) => return Err("is too slow to be validated against".to_owned()),
    };
    let records = lookup.answers().iter().filter(|record| record.record_type() == RecordType::SOA);
    records.map(|record| record.proof).min().ok_or_else(|| "knows no SOA record".to_owned())
}

// ---- delegation and servers

async fn examine_delegation(dns: &Dns, zone: &ZoneServers) -> Vec<Finding> {
    let apex = zone.apex.as_str();
    let own = zone.authorities.iter().filter(|authority| authority.in_zone);
    let mut named: Vec<&str> = own.map(|authority| authority.ns.as_str()).collect();
    named.sort_unstable();
    let Some((_, parent)) = apex.split_once('.') else { return Vec::new() };
    let Ok(above) = dns.zone_of(parent).await else { return Vec::new() };
    for (_, server) in above.addresses() {
        let Ok(answer) = dns.ask(server, apex, RecordType::NS, Recursion::No).await else { continue };
        let mut delegated = answer.delegation(apex);
        delegated.sort_unstable();
        if delegated.is_empty() || answer.is_authoritative() {
            return Vec::new();
        }
        return vec![if delegated == named {
            ok("delegation", apex, format!("{} and the zone name the same servers", above.apex))
        } else {
            let text =
                format!("{} delegates to {}, the zone names {}", above.apex, delegated.join(", "), named.join(", "));
            warn("delegation", apex, text, "make them the same: the CA may ask either")
        }];
    }
    Vec::new()
}

async fn examine_servers(dns: &Dns, zone: &Arc<ZoneServers>) -> Vec<Finding> {
    let apex = zone.apex.as_str();
    let places: Vec<(&str, SocketAddr)> = zone.addresses().collect();
    let asked = join_all(places.iter().map(|(_, server)| async move {
        let soa = dns.ask(*server, apex, RecordType::SOA, Recursion::No);
        let tcp = timeout(CONNECT, TcpStream::connect(*server));
        join!(soa, tcp)
    }))
    .await;
    let mut findings = Vec::new();
    let mut serials: Vec<(u32, String)> = Vec::new();
    for ((ns, server), (soa, tcp)) in places.iter().zip(asked) {
        let place = format!("{ns} {server}");
        match soa {
            Ok(answer) if answer.is_authoritative() => {
                serials.extend(answer.soa().map(|(_, serial, _)| (serial, place.clone())));
                if !matches!(tcp, Ok(Ok(_))) {
                    let way_out = "open it: long answers need it, and some of the CA's perspectives use it";
                    findings.push(warn("tcp", &place, "TCP port 53 is closed", way_out));
                }
            }
            Ok(_) => findings.push(warn(
                "servers",
                &place,
                format!("it is no authority for {apex}"),
                "configure the zone there, or take it out of the NS records",
            )),
            Err(error) => {
                let way_out = "mend it, or take it out of the NS records: some of the CA's perspectives will ask it";
                findings.push(warn("servers", &place, error.to_string(), way_out));
            }
        }
    }
    for authority in zone.authorities.iter().filter(|authority| authority.addresses.is_empty()) {
        let text = authority.problem.clone().unwrap_or_else(|| "it has no address".to_owned());
        findings.push(warn("servers", &authority.ns, text, "give it an address, or take it out of the NS records"));
    }
    match serials.iter().map(|(serial, _)| serial).max().copied() {
        None => {
            let way_out = "no proof can be seen: mend the name servers";
            findings.push(fail("servers", apex, "none of its name servers answers for it", way_out));
        }
        Some(newest) => {
            let lagging: Vec<&str> =
                serials.iter().filter(|(serial, _)| *serial != newest).map(|(_, place)| place.as_str()).collect();
            if lagging.is_empty() {
                findings.push(ok(
                    "servers",
                    apex,
                    match serials.len() {
                        1 => format!("its only address answers (serial {newest})"),
                        several => format!("{several} addresses answer alike (serial {newest})"),
                    },
                ));
            } else {
                let text = format!("{} lags behind serial {newest}", lagging.join(", "));
                let way_out = "look at its transfers and NOTIFY: a proof has to reach every server";
                findings.push(warn("servers", apex, text, way_out));
            }
        }
    }
    findings
}

// ---- files and leftovers

async fn examine_web(host: &str, dns: &Dns, ports: (u16, u16)) -> Vec<Finding> {
    let addresses = dns.addresses(host).await.unwrap_or_default();
    let v4: Vec<_> = addresses.iter().filter(|ip| ip.is_ipv4()).collect();
    if v4.is_empty() {
        let text = if addresses.is_empty() { "it has no address" } else { "it has AAAA records only" };
        return vec![fail("web", host, text, "add an A record: the CA's file check asks for no other")];
    }
    let open = |port: u16| {
        let v4 = &v4;
        async move {
            let connections = v4.iter().map(|ip| timeout(CONNECT, TcpStream::connect(SocketAddr::new(**ip, port))));
            join_all(connections).await.iter().all(|connection| matches!(connection, Ok(Ok(_))))
        }
    };
    let (http, https) = join!(open(ports.0), open(ports.1));
    vec![match (http, https) {
        (true, _) => ok("web", host, format!("port {} is open at every address", ports.0)),
        (false, true) => {
            let text = format!("port {} is closed, port {} is open", ports.0, ports.1);
            warn("web", host, text, "open it, or serve the same file by HTTPS with a certificate for this name")
        }
        (false, false) => {
            let way_out =
                "open port 80 to the CA, or use a DNS method (the standalone provider opens it only while it proves)";
            warn("web", host, format!("ports {} and {} are closed at some address", ports.0, ports.1), way_out)
        }
    }]
}

/// A record below a name makes the name exist, and what exists is not answered by a wildcard (RFC 4592 section 2.2.2): a TXT or
/// CNAME proof would take the addresses of a host that has them from a wildcard.
async fn examine_wildcards(base: &str, dns: &Dns, zone: &ZoneServers) -> Vec<Finding> {
    let Some((_, parent)) = base.split_once('.').filter(|_| base != zone.apex) else { return Vec::new() };
    // Nobody has made this label. A wildcard beside the name also answers below it, unless the name exists.
    let nobody = format!("dcv-{:016x}", rand::random::<u64>());
    let (beside, below) = (format!("{nobody}.{parent}"), format!("{nobody}.{base}"));
    let (beside, below) = join!(dns.authoritative(&beside, RecordType::A), dns.authoritative(&below, RecordType::A));
    let (Ok((_, beside)), Ok((_, below))) = (beside, below) else { return Vec::new() };
    let shown = |answer: &Answer| (answer.alias(), answer.data().cloned().collect::<Vec<RData>>());
    if beside.is_empty() || shown(&beside) != shown(&below) {
        return Vec::new();
    }
    let text = format!("its addresses come from the wildcard *.{parent}; a DNS proof at or below it would hide them");
    vec![warn("wildcard", base, text, format!("give {base} records of its own, or prove {parent} instead"))]
}

/// Whether the place of the proof is one that the CA reads, and that a record can be put at.
async fn examine_place(domain: &str, dns: &Dns, options: &Options) -> Vec<Finding> {
    let Some(proof) = options.placement.proof(options.method, domain, "dcv-probe") else { return Vec::new() };
    if options.method.proof_kind() == Some(ProofKind::File) {
        return Vec::new();
    }
    let Ok((_, answer)) = dns.authoritative(proof.name(), RecordType::CNAME).await else { return Vec::new() };
    let at_domain = options.method == Method::DnsTxtToken && options.placement.txt == TxtOwner::Domain;
    match answer.alias() {
        _ if answer.has_dname() => {
            let text = "it is reached through a DNAME, and the CA's look-up reads nothing there";
            let way_out = "have a domain above the DNAME proved, or put records in the place of the DNAME";
            vec![warn("alias", proof.name(), text, way_out)]
        }
        Some(target) if at_domain => {
            let text = format!("it is an alias of {target}, so that its TXT record would have to stand there");
            let way_out =
                format!("place the record at {DNSAUTH_LABEL}.{domain}: `txt = \"dnsauth\"` in the configuration");
            vec![warn("alias", domain, text, way_out)]
        }
        _ => Vec::new(),
    }
}

async fn examine_leftovers(base: &str, dns: &Dns) -> Vec<Finding> {
    let dnsauth = format!("{DNSAUTH_LABEL}.{base}");
    let nobody = format!("dcv-{:016x}.{base}", rand::random::<u64>());
    let (here, below, wild) = join!(
        dns.authoritative(base, RecordType::TXT),
        dns.authoritative(&dnsauth, RecordType::TXT),
        dns.authoritative(&nobody, RecordType::CNAME),
    );
    let mut findings = Vec::new();
    if let Ok((_, answer)) = &below
        && let Some(target) = answer.alias()
    {
        let by_wildcard = wild.is_ok_and(|(_, answer)| answer.alias().as_ref() == Some(&target));
        findings.push(judge_alias(base, &dnsauth, &target, by_wildcard));
    }
    for (name, answer) in [(base, here), (dnsauth.as_str(), below)] {
        let values: usize = answer.map_or(0, |(_, answer)| count_random_values(&answer));
        if values > 0 {
            let text = format!("{values} TXT records look like random values of earlier proofs");
            findings.push(warn("leftovers", name, text, "remove them if no order needs them any more"));
        }
    }
    if findings.is_empty() {
        findings.push(ok("leftovers", base, "nothing is left of earlier proofs"));
    }
    findings
}

fn judge_alias(base: &str, dnsauth: &str, target: &str, by_wildcard: bool) -> Finding {
    if by_wildcard {
        let way_out = format!("TXT proofs at it would go there: place them at {base} itself");
        return warn("leftovers", dnsauth, format!("the wildcard *.{base} makes it an alias of {target}"), way_out);
    }
    if is_within(target, CNAME_SUFFIX) {
        let text = format!("it is an alias of {target}, an earlier CNAME proof");
        return warn(
            "leftovers",
            dnsauth,
            text,
            "remove it if no order needs it any more: nothing else can stand there",
        );
    }
    let way_out = "TXT proofs for it go there; a CNAME proof finds it taken";
    warn("leftovers", dnsauth, format!("it is an alias of {target}"), way_out)
}

/// Random values as CertCentral makes them: 32 letters and digits, nothing else.
fn count_random_values(answer: &Answer) -> usize {
    let looks_random = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    answer.texts().iter().filter(|parts| parts.len() == 1 && looks_random(&parts[0])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caa_decides_as_rfc_8659_says() {
        let caa = |text: &str| {
            let mut words = text.split(' ');
            let critical = words.next() == Some("128");
            let tag = words.next().unwrap_or_default().to_owned();
            Caa { critical, tag, value: words.collect::<Vec<_>>().join(" ") }
        };
        let issuers = ["digicert.com".to_owned()];
        let level = |records: &[&str], wildcard: bool| {
            let records: Vec<Caa> = records.iter().map(|text| caa(text)).collect();
            judge_caa("example.com", &records, wildcard, &issuers).level
        };
        for (records, plain, wildcard) in [
            (&["0 issue digicert.com"][..], Level::Ok, Level::Ok),
            (&["0 issue DigiCert.com; account=1"], Level::Ok, Level::Ok),
            (&["0 issue ca.example"], Level::Fail, Level::Fail),
            (&["0 issue ca.example", "0 issue digicert.com"], Level::Ok, Level::Ok),
            (&["0 issue ;"], Level::Fail, Level::Fail),
            (&["0 issue digicert.com;"], Level::Ok, Level::Ok),
            (&["0 issue digicert.com; account=1; cansignhttpexchanges = yes"], Level::Ok, Level::Ok),
            (&["0 issue digicert.com; account"], Level::Fail, Level::Fail),
            (&["0 issue digicert.com; account=1;"], Level::Fail, Level::Fail),
            (&["0 issue digicert.com; account=1 2"], Level::Fail, Level::Fail),
            (&["0 issue digicert.com account=1"], Level::Fail, Level::Fail),
            (&["0 issue digicert.com; account", "0 issue digicert.com"], Level::Ok, Level::Ok),
            (&["0 issue digicert.com", "0 issuewild ca.example"], Level::Ok, Level::Fail),
            (&["0 issue ca.example", "0 issuewild digicert.com"], Level::Fail, Level::Ok),
            (&["0 issuewild ca.example"], Level::Ok, Level::Fail),
            (&["0 iodef mailto:a@example.com"], Level::Ok, Level::Ok),
            (&["128 future x", "0 issue digicert.com"], Level::Fail, Level::Fail),
            (&["0 future x", "0 issue digicert.com"], Level::Ok, Level::Ok),
        ] {
            assert_eq!(level(records, false), plain, "{records:?}");
            assert_eq!(level(records, true), wildcard, "{records:?} for a wildcard");
        }
    }

    #[test]
    fn a_malformed_value_is_told_to_be_one() {
        let records = [Caa { critical: false, tag: "issue".to_owned(), value: "digicert.com; account".to_owned() }];
        let finding = judge_caa("example.com", &records, false, &Options::default().issuers);
        assert_eq!(
            finding.to_string(),
            "caa example.com: issue allows nobody; \"digicert.com; account\" is malformed, so it allows nobody (RFC 8659 section \
             4.2); add the record: example.com. CAA 0 issue \"digicert.com\""
        );
    }

    #[test]
    fn the_brands_of_the_ca_are_the_ca() {
        for brand in ["thawte.com", "GeoTrust.com", "rapidssl.com", "digicert.ne.jp", "www.digicert.com"] {
            let records = [Caa { critical: false, tag: "issue".to_owned(), value: brand.to_owned() }];
            let finding = judge_caa("example.com", &records, false, &Options::default().issuers);
            assert_eq!(finding.level, Level::Ok, "{finding}");
        }
    }

    #[test]
    fn a_refused_issuer_is_told_how_to_let_us_in() {
        let records = [Caa { critical: false, tag: "issue".to_owned(), value: "ca.example".to_owned() }];
        let finding = judge_caa("example.com", &records, false, &["digicert.com".to_owned()]);
        assert_eq!(
            finding.to_string(),
            "caa example.com: issue allows only ca.example; add the record: example.com. CAA 0 issue \"digicert.com\""
        );
    }
}
