//! What would make an order fail, found out before it is placed, by looking only.
//!
//! Names are examined as the CA will see them: which CAA records decide (RFC 8659), whether DNSSEC holds (validated by the
//! CA since March 2026, BR 3.2.2.4), whether parent and zone agree on the name servers and all of them answer alike, whether the host
//! can be reached for files, and what is left of earlier proofs. Each finding says what is wrong and what to do about it.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use dcv_provider::dns::{Answer, Dns, DnsError, Recursion, ZoneServers, exchange, to_name};
use futures_util::{future::join_all, join};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{RData, RecordType},
};
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    name::DnsName,
    placement::{DNSAUTH_LABEL, Method},
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
    /// What was looked at: `caa`, `dnssec`, `delegation`, `servers`, `tcp`, `web`, `leftovers`.
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
    /// Issuers that CAA may name.
    pub issuers: Vec<String>,
    /// Ports of the web server: HTTP and HTTPS.
    pub web_ports: (u16, u16),
}

impl Default for Options {
    fn default() -> Self {
        Self { method: Method::default(), issuers: vec!["digicert.com".to_owned()], web_ports: (80, 443) }
    }
}

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// Examines a name. Everything is asked at once; the slowest dead server decides how long it takes, at most a few
/// deadlines of [`Dns`].
pub async fn examine(name: &DnsName, dns: &Dns, options: &Options) -> Vec<Finding> {
    let base = name.base();
    let zone = match dns.zone_of(base).await {
        Ok(zone) => zone,
        Err(error) => {
            let way_out = "let the registrar delegate it, and look at its name servers";
            return vec![fail("delegation", base, format!("its zone cannot be found: {error}"), way_out)];
        }
    };
    let (caa, dnssec, delegation, servers, web, leftovers) = join!(
        examine_caa(name, dns, &options.issuers),
        examine_dnssec(dns, &zone),
        examine_delegation(dns, &zone),
        examine_servers(dns, &zone),
        async {
            if options.method == Method::HttpToken {
                examine_web(base, dns, options.web_ports).await
            } else {
                Vec::new()
            }
        },
        examine_leftovers(base, dns),
    );
    [caa, dnssec, delegation, servers, web, leftovers].concat()
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
    let domain = |caa: &&&Caa| caa.value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let named: Vec<String> = relevant.iter().map(|caa| domain(&caa)).collect();
    if named.iter().any(|domain| issuers.iter().any(|issuer| issuer.eq_ignore_ascii_case(domain))) {
        return ok("caa", at, format!("{tag} allows {}", named.join(", ")));
    }
    let allowed: Vec<String> = named.into_iter().filter(|domain| !domain.is_empty()).collect();
    let text = if allowed.is_empty() {
        format!("{tag} allows nobody")
    } else {
        format!("{tag} allows only {}", allowed.join(", "))
    };
    fail(
        "caa",
        at,
        text,
        format!("add the record: {at}. CAA 0 {tag} \"{}\"", issuers.first().map_or("", String::as_str)),
    )
}

// ---- DNSSEC

/// Asks a validating resolver twice, with its checks and without: an answer that is only to be had without them is bogus. And
/// looks whether the parent promises keys that the zone does not have.
async fn examine_dnssec(dns: &Dns, zone: &ZoneServers) -> Vec<Finding> {
    let apex = zone.apex.as_str();
    let (signed, promised) = join!(dns.authoritative(apex, RecordType::DNSKEY), dns.resolve(apex, RecordType::DS));
    let signed = signed.is_ok_and(|(_, answer)| answer.data().next().is_some());
    let promised = promised.is_ok_and(|answer| answer.data().next().is_some());
    if promised && !signed {
        let way_out = "sign the zone, or let the registrar remove the DS records";
        return vec![fail("dnssec", apex, "the parent has DS records, and the zone has no keys", way_out)];
    }
    let Some(resolver) = dns.resolvers().first() else { return Vec::new() };
    let (checked, unchecked) = join!(validated(*resolver, apex, false), validated(*resolver, apex, true));
    vec![match (checked, unchecked) {
        (Some((ResponseCode::ServFail, _)), Some((ResponseCode::NoError, _))) => {
            let way_out = "mend or remove its signatures: the CA validates DNSSEC and refuses what does not hold";
            fail("dnssec", apex, format!("{resolver} finds it bogus"), way_out)
        }
        (Some((_, true)), _) => ok("dnssec", apex, format!("signed, and {resolver} finds it good")),
        _ if promised => {
            let way_out = "check it with a validating resolver: the CA validates";
            warn(
                "dnssec",
                apex,
                format!("signed; {resolver} does not validate, so it is not known whether it holds"),
                way_out,
            )
        }
        _ if signed => ok("dnssec", apex, "signed, without DS records in the parent: not validated"),
        _ => ok("dnssec", apex, "not signed"),
    }]
}

/// Response code and "authentic data" of a resolver, with or without its checks.
async fn validated(resolver: SocketAddr, name: &str, checking_disabled: bool) -> Option<(ResponseCode, bool)> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = checking_disabled;
    message.add_query(Query::query(to_name(name).ok()?, RecordType::SOA));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true).set_max_payload(1232);
    message.set_edns(edns);
    // Bogus zones take validators long.
    let answer = exchange(resolver, &message, Duration::from_secs(5)).await.ok()?;
    Some((answer.metadata.response_code, answer.metadata.authentic_data))
}

// ---- delegation and servers

async fn examine_delegation(dns: &Dns, zone: &ZoneServers) -> Vec<Finding> {
    let apex = zone.apex.as_str();
    let mut named: Vec<&str> = zone.authorities.iter().map(|authority| authority.ns.as_str()).collect();
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
                    format!("{} addresses answer alike (serial {newest})", serials.len()),
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

async fn examine_leftovers(base: &str, dns: &Dns) -> Vec<Finding> {
    let dnsauth = format!("{DNSAUTH_LABEL}.{base}");
    let (here, below) = join!(dns.authoritative(base, RecordType::TXT), dns.authoritative(&dnsauth, RecordType::TXT));
    let mut findings = Vec::new();
    if let Ok((_, answer)) = &below
        && let Some(target) = answer.alias()
    {
        let text = format!("it is an alias of {target}");
        let way_out = "TXT proofs for it go there; a CNAME proof finds it taken";
        findings.push(warn("leftovers", &dnsauth, text, way_out));
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
    fn a_refused_issuer_is_told_how_to_let_us_in() {
        let records = [Caa { critical: false, tag: "issue".to_owned(), value: "ca.example".to_owned() }];
        let finding = judge_caa("example.com", &records, false, &["digicert.com".to_owned()]);
        assert_eq!(
            finding.to_string(),
            "caa example.com: issue allows only ca.example; add the record: example.com. CAA 0 issue \"digicert.com\""
        );
    }
}
