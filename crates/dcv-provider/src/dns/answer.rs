//! What a server answers, or why it does not.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, RecordType},
};

use super::{MOST_HOPS, is_within};

/// What a question came to instead of an answer. The text names the server and the question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// Nothing came back in time.
    #[error("{server} gave no answer about {question} in {waited:?}")]
    Timeout {
        /// The server.
        server: SocketAddr,
        /// Name and type.
        question: String,
        /// The deadline.
        waited: Duration,
    },
    /// The network refused.
    #[error("{server} cannot be asked about {question}: {message}")]
    Network {
        /// The server.
        server: SocketAddr,
        /// Name and type.
        question: String,
        /// What the system said.
        message: String,
    },
    /// An answer that is none: SERVFAIL, REFUSED and the like.
    #[error("{server} answers {rcode} to {question}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Name and type.
        question: String,
        /// The response code.
        rcode: ResponseCode,
    },
    /// Nobody to ask.
    #[error("there is no name server to ask about {question}: {reason}")]
    NoServers {
        /// Name and type, or zone.
        question: String,
        /// Why.
        reason: String,
    },
    /// A name that cannot be asked for.
    #[error("`{name}` is not a name that can be asked for: {message}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A server's answer to one question. Negative answers are answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answered.
    pub server: SocketAddr,
    name: Name,
    rtype: RecordType,
    message: Message,
}

impl Answer {
    /// What a server answered about this name and type, if it is an answer.
    pub(crate) fn read(server: SocketAddr, name: Name, rtype: RecordType, message: Message) -> Result<Self, DnsError> {
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(Self { server, name, rtype, message }),
            rcode => Err(DnsError::Refused { server, question: format!("{} {rtype}", plain(&name)), rcode }),
        }
    }

    /// NOERROR or NXDOMAIN; anything else is a [`DnsError::Refused`].
    pub fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// Whether the server says it is an authority for the name.
    pub fn is_authoritative(&self) -> bool {
        self.message.metadata.authoritative
    }

    /// Whether the answer holds no record at all.
    pub fn is_empty(&self) -> bool {
        self.message.answers.is_empty()
    }

    /// Data of the question's type at the question's name itself.
    pub fn data(&self) -> impl Iterator<Item = &RData> {
        self.message
            .answers
            .iter()
            .filter(|record| record.name == self.name && record.record_type() == self.rtype)
            .map(|record| &record.data)
    }

    /// Data of the question's type at the end of the chain of aliases that the answer holds.
    pub fn chased(&self) -> Vec<&RData> {
        let mut name = &self.name;
        for _ in 0..MOST_HOPS {
            let here = self.message.answers.iter().filter(|record| record.name == *name);
            let found: Vec<&RData> =
                here.clone().filter(|record| record.record_type() == self.rtype).map(|record| &record.data).collect();
            let alias = here.clone().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(&target.0),
                _ => None,
            });
            match alias {
                Some(target) if found.is_empty() => name = target,
                _ => return found,
            }
        }
        Vec::new()
    }

    /// The target, when the name is an alias; its case is kept.
    pub fn alias(&self) -> Option<String> {
        self.message.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == self.name => Some(plain(&target.0)),
            _ => None,
        })
    }

    /// TXT records at the name, each as its character-strings.
    pub fn texts(&self) -> Vec<Vec<String>> {
        let strings = |data: &RData| match data {
            RData::TXT(txt) => {
                Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect())
            }
            _ => None,
        };
        self.data().filter_map(strings).collect()
    }

    /// Owner of the SOA record that the answer or its authority section holds, lower case, and the zone's serial and
    /// negative TTL in seconds.
    pub fn soa(&self) -> Option<(String, u32, u32)> {
        self.message.answers.iter().chain(&self.message.authorities).find_map(|record| match &record.data {
            RData::SOA(soa) => Some((lower(&record.name), soa.serial, soa.minimum.min(record.ttl))),
            _ => None,
        })
    }

    /// The zone that the name is in as far as the answer's authority section tells, lower case: by its SOA or NS records,
    /// or by the delegation it refers to. Servers that keep their answers short do not tell.
    pub fn zone(&self) -> Option<String> {
        // Behind an alias the authority section speaks of the target.
        if self.rtype != RecordType::CNAME && self.alias().is_some() {
            return None;
        }
        let tells = |rtype| matches!(rtype, RecordType::SOA | RecordType::NS);
        let owners = self.message.authorities.iter().filter(|record| tells(record.record_type()));
        owners.map(|record| &record.name).filter(|owner| owner.zone_of(&self.name)).map(lower).max_by_key(String::len)
    }

    /// Seconds for which a cache keeps telling this: of the records found, or of their absence (RFC 2308).
    pub fn kept_for(&self) -> Option<u32> {
        let found = self.message.answers.iter().map(|record| record.ttl).min();
        found.or_else(|| self.soa().map(|(_, _, negative)| negative))
    }

    /// Name servers to which the answer delegates this zone, lower case.
    pub fn delegation(&self, zone: &str) -> Vec<String> {
        let cuts = self.message.authorities.iter().filter(|record| lower(&record.name) == zone);
        let servers = cuts.filter_map(|record| match &record.data {
            RData::NS(ns) => Some(lower(&ns.0)),
            _ => None,
        });
        servers.collect()
    }

    /// The zone that the server points down to, if that is what its answer does.
    pub(crate) fn referral(&self, below: &str) -> Option<String> {
        if self.is_authoritative() || !self.message.answers.is_empty() {
            return None;
        }
        let mut cuts = self.message.authorities.iter().filter(|record| record.record_type() == RecordType::NS);
        cuts.find_map(|record| {
            let cut = lower(&record.name);
            (cut != below && is_within(&cut, below)).then_some(cut)
        })
    }

    /// Name servers to which the answer refers for this zone, each with the addresses that came along.
    pub(crate) fn referred(&self, zone: &str) -> impl Iterator<Item = (String, Vec<IpAddr>)> {
        let servers = if self.is_authoritative() { Vec::new() } else { self.delegation(zone) };
        servers.into_iter().map(|ns| {
            let glue = self.glue(&ns);
            (ns, glue)
        })
    }

    /// Name servers that the answer's NS records name, lower case.
    pub(crate) fn name_servers(&self) -> impl Iterator<Item = String> {
        self.data().filter_map(|data| match data {
            RData::NS(ns) => Some(lower(&ns.0)),
            _ => None,
        })
    }

    /// Whether the answer comes through a DNAME, which the CA's look-up does not read (its open validator, `client/dns`).
    pub fn has_dname(&self) -> bool {
        self.message.answers.iter().any(|record| record.record_type() == RecordType::DNAME)
    }

    /// Addresses that came along.
    pub(crate) fn glue(&self, host: &str) -> Vec<IpAddr> {
        let records = self.message.answers.iter().chain(&self.message.additionals);
        records.filter(|record| lower(&record.name) == host).filter_map(|record| address(&record.data)).collect()
    }
}

pub(super) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// A name as this project writes names, with its case.
pub(super) fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

pub(super) fn lower(name: &Name) -> String {
    plain(name).to_ascii_lowercase()
}
