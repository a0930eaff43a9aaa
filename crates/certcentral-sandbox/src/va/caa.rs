//! Certification Authority Authorization (RFC 8659): climbs from a name to the top until there are CAA records, and
//! decides what these say. Deciding is pure.

use hickory_proto::rr::{RData, Record, RecordType, rdata::CAA};

use super::{
    CaaVerdict,
    query::{Dns, Failure},
};

/// Properties that a CA knows; `issuer critical` on any other forbids issuing (RFC 8659 section 4.1). Contacts are
/// Baseline Requirements appendix A, `issuemail` is RFC 9495, `issuevmc` is for mark certificates.
const KNOWN: [&str; 7] = ["issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"];

pub(super) async fn climb(dns: Dns, fqdn: String, wildcard: bool, issuers: Vec<String>) -> CaaVerdict {
    let mut name = fqdn.as_str();
    loop {
        let records = match dns.records(name, RecordType::CAA).await {
            Ok(records) => records,
            Err(failure) if failure.is_answer() => Vec::new(),
            // A server that speaks for the name but not for those above it has no more to say.
            Err(Failure::Refused) if name != fqdn => return CaaVerdict::Allowed,
            Err(failure) => return CaaVerdict::Failed { reason: failure.reason().to_owned() },
        };
        // Behind a CNAME, the target's records are the name's.
        let properties: Vec<&CAA> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::CAA(caa) => Some(caa),
                _ => None,
            })
            .collect();
        if !properties.is_empty() {
            if allows(&properties, wildcard, &issuers) {
                return CaaVerdict::Allowed;
            }
            let records = properties.iter().map(|caa| shown(caa)).collect();
            return CaaVerdict::Forbidden { at: name.to_owned(), records };
        }
        match name.split_once('.') {
            Some((_, above)) => name = above,
            None => return CaaVerdict::Allowed,
        }
    }
}

/// What the records of an answer say; with every issuer that they name allowed, they forbid nothing but by a critical property.
pub(super) fn read_once(records: &[Record]) {
    let all: Vec<&CAA> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::CAA(caa) => Some(caa),
            _ => None,
        })
        .collect();
    let named: Vec<String> = all.iter().filter_map(|caa| issuer(&caa.value)).map(str::to_owned).collect();
    for wildcard in [false, true] {
        assert!(!allows(&all, wildcard, &[]) || allows(&all, wildcard, &named), "more issuers forbid more");
    }
    for caa in all {
        drop(shown(caa));
    }
}

fn shown(caa: &CAA) -> String {
    format!("{} {} \"{}\"", caa.flags(), caa.tag, String::from_utf8_lossy(&caa.value))
}

/// What a set of CAA records says to a CA with these issuer domain names.
fn allows(properties: &[&CAA], wildcard: bool, issuers: &[String]) -> bool {
    let unknown = |caa: &&CAA| !KNOWN.iter().any(|known| caa.tag.eq_ignore_ascii_case(known));
    if properties.iter().filter(|caa| caa.issuer_critical).any(unknown) {
        return false;
    }
    let tagged = |tag: &str| -> Vec<&CAA> {
        properties.iter().copied().filter(|caa| caa.tag.eq_ignore_ascii_case(tag)).collect()
    };
    let mut relevant = if wildcard { tagged("issuewild") } else { Vec::new() };
    if relevant.is_empty() {
        relevant = tagged("issue");
    }
    relevant.is_empty()
        || relevant
            .iter()
            .any(|caa| issuer(&caa.value).is_some_and(|name| issuers.iter().any(|own| own.eq_ignore_ascii_case(name))))
}

/// The issuer domain name of a property value, `None` if it has none or is not well-formed (RFC 8659 section 4.2). This
/// CA has no parameters of its own, so they are only read.
fn issuer(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let blank = |char| matches!(char, ' ' | '\t');
    let well_formed = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(tag, value)| {
            let tag = tag.trim_matches(blank);
            !tag.is_empty()
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && value.trim_matches(blank).bytes().all(|byte| (0x21..=0x7e).contains(&byte))
        })
    };
    let parameters = parameters.trim_matches(blank);
    if !parameters.is_empty() && !parameters.split(';').all(well_formed) {
        return None;
    }
    let name = name.trim_matches(blank);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caa(text: &str) -> CAA {
        let (flags, rest) = text.split_once(' ').unwrap();
        let (tag, value) = rest.split_once(' ').unwrap();
        let mut caa = CAA::new_issue(flags == "128", None, Vec::new());
        caa.tag = tag.to_owned();
        caa.value = value.as_bytes().to_vec();
        caa
    }

    #[test]
    fn what_a_set_says() {
        // Records, whether they allow a name, whether they allow a wildcard.
        let table: [(&[&str], bool, bool); 16] = [
            (&["0 issue digicert.com"], true, true),
            (&["0 ISSUE DigiCert.com"], true, true),
            (&["0 issue letsencrypt.org"], false, false),
            (&["0 issue letsencrypt.org", "0 issue digicert.com"], true, true),
            (&["0 issue ;"], false, false),
            (&["0 issuewild digicert.com"], true, true),
            (&["0 issuewild letsencrypt.org"], true, false),
            (&["0 issue letsencrypt.org", "0 issuewild digicert.com"], false, true),
            (&["0 issue digicert.com", "0 issuewild ;"], true, false),
            (&["0 iodef mailto:ca@example.com"], true, true),
            (&["0 unknown x"], true, true),
            (&["128 unknown x", "0 issue digicert.com"], false, false),
            (&["128 issue digicert.com"], true, true),
            (&["0 issue digicert.com; cansignhttpexchanges=yes"], true, true),
            (&["0 issue digicert.com; two words"], false, false),
            (&["128 issuemail ;"], true, true),
        ];
        let issuers = ["digicert.com".to_owned()];
        for (records, name, wildcard) in table {
            let records: Vec<CAA> = records.iter().map(|text| caa(text)).collect();
            let records: Vec<&CAA> = records.iter().collect();
            assert_eq!(allows(&records, false, &issuers), name, "{records:?}");
            assert_eq!(allows(&records, true, &issuers), wildcard, "*. {records:?}");
        }
    }
}
