//! Mails of the DCV method `email`: to whom they go, the link in them, and what opening it does. Nothing leaves the sandbox: mails are
//! listed by a control endpoint and, where a mailbox folder is given, written there as files. ("Email-based DCV" of the vendor's
//! pages; BR 3.2.2.4.4 and 3.2.2.4.13.)

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DcvMethod, Proven, State, random};
use crate::{
    account::Config,
    clock::{days_later, stamp},
    names,
};

/// The constructed addresses of a domain.
const MAILBOXES: [&str; 5] = ["admin", "administrator", "webmaster", "hostmaster", "postmaster"];

/// A mail with a link that approves a domain.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) domain: u64,
    pub(crate) name: String,
    /// The secret part of the link.
    pub(crate) link: String,
    pub(crate) sent: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) approved: Option<Timestamp>,
    /// Whether it is in the mailbox folder.
    #[serde(default)]
    pub(crate) delivered: bool,
}

impl Mail {
    /// As a file (RFC 5322), the link being below `base`.
    pub(crate) fn eml(&self, base: &str) -> String {
        let date = self.sent.strftime("%a, %d %b %Y %H:%M:%S +0000");
        format!(
            "From: CertCentral Sandbox <no-reply@sandbox.invalid>\r\nTo: {to}\r\nDate: {date}\r\nSubject: Domain control \
             validation for {name}\r\nMessage-ID: <{link}@sandbox.invalid>\r\nMIME-Version: 1.0\r\nContent-Type: \
             text/plain; charset=utf-8\r\n\r\nSomebody has ordered a certificate for names of {name}. To approve it, open\r\n\r\n\
             {base}/mails/{link}\r\n\r\nThe link is good until {expires}.\r\n",
            to = self.to,
            name = self.name,
            link = self.link,
            expires = stamp(self.expires),
        )
    }
}

/// The addresses for a domain: at it, and at the domain it is registered under.
pub(crate) fn constructed(name: &str, unlisted: bool) -> Vec<String> {
    let base = names::registrable(name, unlisted).filter(|base| *base != name);
    let domains = std::iter::once(name).chain(base);
    domains.flat_map(|domain| MAILBOXES.map(|mailbox| format!("{mailbox}@{domain}"))).collect()
}

impl State {
    /// Writes to these people, or else to the constructed addresses.
    pub(crate) fn send_mails(&mut self, domain: u64, chosen: &[String], now: Timestamp, config: &Config) {
        let Some(known) = self.domains.get(&domain).filter(|known| known.method == DcvMethod::Email) else { return };
        let name = known.name.clone();
        let all =
            if chosen.is_empty() { constructed(&name, config.switches.unlisted_suffixes) } else { chosen.to_vec() };
        // One link for each domain and mailing: whoever opens it first approves.
        let link = random(32);
        let expires = days_later(now, config.random_value_days);
        let mail = |to| Mail {
            to,
            domain,
            name: name.clone(),
            link: link.clone(),
            sent: now,
            expires,
            approved: None,
            delivered: false,
        };
        self.mails.extend(all.into_iter().map(mail));
    }

    /// Opens a link: the domain is proved. `None` when there is no such link, or it is too old.
    pub(crate) fn approve_by_mail(&mut self, link: &str, now: Timestamp, config: &Config) -> Option<String> {
        let mail = self.mails.iter().find(|mail| mail.link == link && mail.expires > now)?.clone();
        let domain = self.domains.get_mut(&mail.domain).filter(|domain| domain.method == DcvMethod::Email)?;
        domain.proven = Some(Proven::new(now, true, config));
        domain.reasons.clear();
        self.emit("domain_validated", serde_json::json!({ "domain_id": mail.domain, "domain_name": mail.name }), now);
        for one in self.mails.iter_mut().filter(|one| one.link == link) {
            one.approved.get_or_insert(now);
        }
        Some(mail.name)
    }
}
