//! RFC 2136 dynamic update as a `dcv` provider: BIND, Knot, PowerDNS, Windows DNS and whatever else takes updates.
//!
//! All proofs of a zone go in one UPDATE message over TCP, signed with TSIG (RFC 8945); only what does not fit into 65535
//! octets makes a second one. Adding a record leaves the values of its set alone, and removing one names its value (RFC
//! 2136 sections 2.5.1 and 2.5.4), so that no race can be lost. Two things a server does without a word: it gives a whole
//! set the TTL of the record that joins it, so ours takes the set's; and where an alias is in the way it drops the addition
//! and answers NOERROR (section 3.4.2.2), so a prerequisite makes that an error.
//!
//! The least that the server has to allow, as BIND writes it:
//!
//! ```text
//! key "dcv-key" { algorithm hmac-sha256; secret "…"; };
//! zone "example.com" { …; update-policy { grant dcv-key name example.com. TXT; grant dcv-key subdomain _dnsauth.example.com. ANY; }; };
//! ```
//!
//! GSS-TSIG is not spoken; Windows DNS takes unsigned updates where the zone allows nonsecure ones.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use dcv_provider::{
    Descriptor, ErrorKind, OptionSpec, ProofKind, ProviderError, Result,
    dns::{Answer, Dns, DnsError, Recursion, exchange, exchange_tcp, is_within, to_name},
    secret::Secret,
    zone::{
        Change, DEFAULT_TTL, Record as ZoneRecord, RecordData, Zone, ZoneEditor, ZoneProvider,
        hosts::{alias_in_the_way, bare, checked_ttl},
        longest_suffix,
    },
};
use futures_util::{
    future::try_join_all,
    stream::{self, StreamExt},
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType, TSigner,
        rdata::{
            CNAME, TXT,
            tsig::{TsigAlgorithm, TsigError},
        },
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::timeout};

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "rfc2136",
    title: "RFC 2136 dynamic update",
    proofs: &[ProofKind::Txt, ProofKind::Cname],
    batch: "one UPDATE per zone, up to 65535 octets (about 500 records)",
    options: &[
        OptionSpec {
            name: "server",
            help: "The primary server, `host`, `host:port` or `address:port`; port 53 unless given",
            required: true,
            secret: false,
        },
        OptionSpec {
            name: "zones",
            help: "Zones to change; without them the server is asked for the zone of each name",
            required: false,
            secret: false,
        },
        OptionSpec { name: "tsig.name", help: "Name of the TSIG key", required: false, secret: false },
        OptionSpec {
            name: "tsig.algorithm",
            help: "hmac-sha256 (default), hmac-sha384 or hmac-sha512",
            required: false,
            secret: false,
        },
        OptionSpec { name: "tsig.secret", help: "The TSIG key in Base64", required: false, secret: true },
        OptionSpec {
            name: "ttl",
            help: "TTL of the records in seconds, 60 unless given",
            required: false,
            secret: false,
        },
        OptionSpec {
            name: "timeout",
            help: "Seconds to wait for an answer, 10 unless given",
            required: false,
            secret: false,
        },
    ],
    example: r#"type = "rfc2136"
server = "ns1.example.com"
tsig = { name = "dcv-key", secret = { env = "DCV_TSIG_SECRET" } }
"#,
};

/// The largest message (RFC 1035 section 4.2.2).
const LARGEST_UPDATE: usize = 65_535;
/// What header, zone section and TSIG record take at most.
const OVERHEAD: usize = 1024;
/// How far the clocks may be apart (RFC 8945 section 10).
const FUDGE: u16 = 300;
/// How long the TTL of a set is waited for; without it the change goes on.
const TTL_PATIENCE: Duration = Duration::from_secs(2);
/// How many TTLs are asked for at a time.
const QUESTIONS_AT_ONCE: usize = 64;

/// Connections to a server at the same time. BIND takes 150 from all its clients together and lets the others wait until they give up.
const CONNECTIONS: usize = 32;

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The primary server.
    pub server: String,
    /// Zones to change.
    #[serde(default)]
    pub zones: Vec<String>,
    /// The key; without one, updates are not signed.
    pub tsig: Option<Tsig>,
    /// TTL of the records in seconds.
    pub ttl: Option<u32>,
    /// Seconds to wait for an answer.
    pub timeout: Option<u64>,
}

/// A TSIG key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tsig {
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: Option<String>,
    /// The key, in Base64.
    pub secret: Secret,
}

/// The provider.
pub type Rfc2136 = ZoneProvider<Editor>;

/// Sets the provider up in code; [`from_config`] does from a configuration.
#[derive(Debug)]
pub struct Builder {
    server: String,
    zones: Vec<String>,
    tsig: Option<(String, String, SecretString)>,
    ttl: u32,
    deadline: Duration,
    clock: fn() -> SystemTime,
    dns: Option<Dns>,
}

/// Begins to set the provider up for a primary server: `host`, `host:port` or `address:port`.
pub fn builder(server: impl Into<String>) -> Builder {
    Builder {
        server: server.into(),
        zones: Vec::new(),
        tsig: None,
        ttl: DEFAULT_TTL,
        deadline: Duration::from_secs(10),
        clock: SystemTime::now,
        dns: None,
    }
}

impl Builder {
    /// Signs with this key (Base64) by hmac-sha256.
    #[must_use]
    pub fn tsig(self, name: impl Into<String>, secret: SecretString) -> Self {
        self.tsig_with(name, "hmac-sha256", secret)
    }

    /// Signs with this key (Base64) by another algorithm.
    #[must_use]
    pub fn tsig_with(mut self, name: impl Into<String>, algorithm: impl Into<String>, secret: SecretString) -> Self {
        self.tsig = Some((name.into(), algorithm.into(), secret));
        self
    }

    /// Changes these zones only, and asks for none.
    #[must_use]
    pub fn zones(mut self, zones: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.zones.extend(zones.into_iter().map(Into::into));
        self
    }

    /// Sets the TTL of the records, in seconds.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// Sets how long an answer is waited for.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Takes the time of signatures from here and not from the system.
    #[must_use]
    pub fn clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.clock = clock;
        self
    }

    /// Follows delegated `_dnsauth` aliases by asking here.
    #[must_use]
    pub fn dns(mut self, dns: Dns) -> Self {
        self.dns = Some(dns);
        self
    }

    /// Builds the provider.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the field.
    pub fn build(self) -> Result<Rfc2136> {
        let config = |message: String| ProviderError::new(ErrorKind::Config, message);
        if self.server.trim().is_empty() {
            return Err(config("server: it is empty; name the primary server, e.g. ns1.example.com:53".to_owned()));
        }
        let signer = self.tsig.map(|(name, algorithm, secret)| signer(&name, &algorithm, &secret)).transpose()?;
        let zones = self.zones.iter().map(|zone| {
            let apex = bare(zone);
            to_name(&apex).map_err(|e| config(format!("zones: {e}")))?;
            Ok(Zone { id: apex.clone(), apex })
        });
        let zones = zones.collect::<Result<_>>()?;
        let editor = Editor {
            server: with_port(&self.server),
            zones,
            signer,
            ttl: self.ttl,
            deadline: self.deadline,
            clock: self.clock,
            questions: Dns::new(Vec::new()).with_deadline(self.deadline),
            connections: Semaphore::new(CONNECTIONS),
        };
        Ok(ZoneProvider::new(editor, self.dns))
    }
}

/// Sets the provider up from a configuration; `dns` is where delegated aliases are asked about.
///
/// # Errors
/// [`ErrorKind::Config`] naming the field.
pub async fn from_config(config: Config, dns: Option<Dns>) -> Result<Rfc2136> {
    let ttl = checked_ttl(config.ttl, "DNS", DEFAULT_TTL, 0)?;
    let mut builder = builder(config.server).zones(config.zones).ttl(ttl);
    if let Some(tsig) = config.tsig {
        let secret = tsig.secret.read("tsig.secret").await?;
        builder = builder.tsig_with(tsig.name, tsig.algorithm.unwrap_or_else(|| "hmac-sha256".to_owned()), secret);
    }
    if let Some(seconds) = config.timeout {
        if seconds == 0 {
            let message = "timeout: no server answers in 0 seconds; give 1 or more";
            return Err(ProviderError::new(ErrorKind::Config, message));
        }
        builder = builder.deadline(Duration::from_secs(seconds));
    }
    builder.dns = dns;
    builder.build()
}

fn signer(name: &str, algorithm: &str, secret: &SecretString) -> Result<TSigner> {
    let config = |message: String| ProviderError::new(ErrorKind::Config, message);
    let known = match algorithm.trim_end_matches('.').to_ascii_lowercase().as_str() {
        "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => {
            let known = "hmac-sha256, hmac-sha384, hmac-sha512";
            return Err(config(format!("tsig.algorithm: `{algorithm}` is not spoken here; use one of {known}")));
        }
    };
    let key = STANDARD.decode(secret.expose_secret().trim()).map_err(|_| {
        // The decoder's own message would show a part of the secret.
        config("tsig.secret: it is not Base64; copy the key as the server's configuration has it".to_owned())
    })?;
    let name = to_name(name).map_err(|e| config(format!("tsig.name: {e}")))?;
    TSigner::new(key, known, name, FUDGE).map_err(|e| config(format!("tsig: {e}")))
}

/// Adds port 53 where none is given.
fn with_port(server: &str) -> String {
    let server = server.trim();
    match server.parse::<std::net::IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 53).to_string(),
        Err(_) if server.parse::<SocketAddr>().is_ok() => server.to_owned(),
        Err(_) if server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => server.to_owned(),
        Err(_) => format!("{server}:53"),
    }
}

/// Changes zones by UPDATE.
pub struct Editor {
    server: String,
    zones: Vec<Zone>,
    signer: Option<TSigner>,
    ttl: u32,
    deadline: Duration,
    clock: fn() -> SystemTime,
    /// Asks the server itself, a bounded number of questions at a time.
    questions: Dns,
    connections: Semaphore,
}

impl std::fmt::Debug for Editor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").field("server", &self.server).field("zones", &self.zones).finish_non_exhaustive()
    }
}

impl Editor {
    fn unavailable(&self, text: impl std::fmt::Display) -> ProviderError {
        ProviderError::new(ErrorKind::Unavailable, format!("{}: {text}", self.server))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host(&self.server).await;
        let found: Vec<_> = found.map_err(|e| self.unavailable(format!("it has no address: {e}")))?.collect();
        if found.is_empty() { Err(self.unavailable("it has no address")) } else { Ok(found) }
    }

    /// Asks the server for what it holds, at the first of its addresses that answers.
    async fn ask(&self, name: &str, rtype: RecordType) -> Result<Result<Answer, DnsError>> {
        let mut last = None;
        for address in self.addresses().await? {
            match self.questions.ask(address, name, rtype, Recursion::No).await {
                Err(error @ (DnsError::Timeout { .. } | DnsError::Network { .. })) => last = Some(error),
                other => return Ok(other),
            }
        }
        let error = last.expect("there is at least one address");
        Err(self.unavailable(&error).because(error))
    }

    /// Sends a message over TCP, signed if there is a key, to the first of the server's addresses that answers. Sending it
    /// twice does no harm. A good answer's signature is checked; a refusal is believed as it stands, for it may
    /// come without one when the key itself is the trouble (RFC 8945 section 5.3.2). Also returns whether the answer was
    /// signed.
    async fn send(&self, mut message: Message) -> Result<(Message, bool)> {
        // Before it is signed: a signature is good for minutes only. The semaphore is never closed.
        let _connection = self.connections.acquire().await;
        let verifier = match &self.signer {
            Some(signer) => {
                let now = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let signed = message.finalize(signer, now);
                signed.map_err(|e| self.unavailable(format!("the message cannot be signed: {e}")))?
            }
            None => None,
        };
        let bytes = message.to_vec().map_err(|e| self.unavailable(format!("the message cannot be written: {e}")))?;
        let mut raw = Err(self.unavailable("it has no address"));
        for address in self.addresses().await? {
            raw = match timeout(self.deadline, exchange_tcp(address, &bytes)).await {
                Ok(answer) => answer.map_err(|e| self.unavailable(format!("{address}: {e}"))),
                Err(_) => Err(self.unavailable(format!("{address} gave no answer in {:?}", self.deadline))),
            };
            if raw.is_ok() {
                break;
            }
        }
        let raw = raw?;
        let answer =
            Message::from_vec(&raw).map_err(|e| self.unavailable(format!("the answer is not understood: {e}")))?;
        if answer.metadata.id != message.metadata.id {
            return Err(self.unavailable("the answer is to another question"));
        }
        let signed = answer.signature().is_some_and(|tsig| !tsig.data.mac.is_empty());
        if let Some(mut verifier) = verifier
            && answer.metadata.response_code == ResponseCode::NoError
            && (signed || answer.metadata.op_code == OpCode::Update)
        {
            verifier.verify(&raw).map_err(|e| {
                let text = format!(
                    "{}: the answer's signature is not the server's ({e}); is somebody in between?",
                    self.server
                );
                ProviderError::new(ErrorKind::Credentials, text)
            })?;
        }
        Ok((answer, signed))
    }

    /// Sends an UPDATE and understands the answer.
    async fn update(&self, zone: &Zone, message: Message) -> Result<()> {
        let (answer, _) = self.send(message).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            rcode => Err(self.refusal(zone, rcode, answer.signature().and_then(|tsig| tsig.data.error))),
        }
    }

    /// Whether a record has still to be added after a prerequisite did not hold: an alias that is there already has not.
    /// Anything else that is in the way is not ours to replace.
    async fn is_missing(&self, zone: &Zone, record: &ZoneRecord) -> Result<bool> {
        let rejected =
            |message: String| Err(ProviderError::new(ErrorKind::Rejected, message).about([record.name.as_str()]));
        let rtype = match record.data {
            RecordData::Cname(_) => RecordType::ANY,
            RecordData::Txt(_) => RecordType::CNAME,
        };
        let answer = self.ask(&record.name, rtype).await?.map_err(|e| self.unavailable(e))?;
        match (&record.data, answer.alias()) {
            (RecordData::Cname(target), Some(there)) if there.eq_ignore_ascii_case(target) => Ok(false),
            (data, Some(there)) => {
                let mut error = alias_in_the_way(&there, &record.name);
                error.message = format!("{}, and no {} can stand beside it", error.message, data.rtype());
                Err(error)
            }
            (RecordData::Cname(_), None) if !answer.is_empty() => {
                rejected(format!("there is other data in zone {}, and a CNAME cannot stand beside it", zone.apex))
            }
            _ => Ok(true),
        }
    }

    /// The TTLs of the sets that texts are to join, by name. A set has one TTL (RFC 2181 section 5.2), and others' values in
    /// it would keep ours for good. What the server does not say counts as no set.
    async fn ttls<'r>(&self, records: &[&'r ZoneRecord]) -> Result<HashMap<&'r str, u32>> {
        let servers = self.addresses().await?;
        let texts = records.iter().filter(|record| matches!(record.data, RecordData::Txt(_)));
        let names: BTreeSet<&str> = texts.map(|record| record.name.as_str()).collect();
        let deadline = self.deadline.min(TTL_PATIENCE);
        let questions = names.into_iter().map(|owner| {
            let server = servers[0];
            async move {
                let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
                question.add_query(Query::query(name(owner).ok()?, RecordType::TXT));
                let answer = exchange(server, &question, deadline).await.ok()?;
                let set = answer.answers.iter().find(|record| record.record_type() == RecordType::TXT)?;
                Some((owner, set.ttl))
            }
        });
        let asked = stream::iter(questions.collect::<Vec<_>>()).buffer_unordered(QUESTIONS_AT_ONCE);
        Ok(asked.filter_map(std::future::ready).collect().await)
    }

    /// Sends additions in as few messages as they fit into. Each has a prerequisite, for without one the server would drop a
    /// text that is to stand beside an alias, and replace an alias by another one, and say nothing (RFC 2136 section
    /// 3.4.2.2): an alias needs a name that is not in use, a text one without an alias (sections 2.4.5 and 2.4.3).
    async fn add(&self, zone: &Zone, records: &[&ZoneRecord]) -> Result<()> {
        let ttls = self.ttls(records).await?;
        let mut messages = Vec::new();
        let mut octets = usize::MAX;
        for record in records {
            let ttl = ttls.get(record.name.as_str()).copied().unwrap_or(self.ttl);
            let addition = Record::from_rdata(name(&record.name)?, ttl, data(record)?);
            let absent = match record.data {
                RecordData::Cname(_) => RecordType::ANY,
                RecordData::Txt(_) => RecordType::CNAME,
            };
            let mut prerequisite = Record::update0(addition.name.clone(), 0, absent);
            prerequisite.dns_class = DNSClass::NONE;
            let needed = size(&addition) + size(&prerequisite);
            octets = octets.saturating_add(needed);
            if octets > LARGEST_UPDATE {
                messages.push(Self::empty_update(zone)?);
                octets = OVERHEAD + needed;
            }
            let Some(message) = messages.last_mut() else { continue };
            message.add_answer(prerequisite);
            message.add_authority(addition);
        }
        for message in messages {
            self.update(zone, message).await?;
        }
        Ok(())
    }

    /// Sends removals, each of one value, in as few messages as they fit into (RFC 2136 section 2.5.4).
    async fn remove(&self, zone: &Zone, records: &[ZoneRecord]) -> Result<()> {
        let mut message = Self::empty_update(zone)?;
        let mut octets = OVERHEAD;
        for record in records {
            let mut removal = Record::from_rdata(name(&record.name)?, 0, data(record)?);
            removal.dns_class = DNSClass::NONE;
            octets += size(&removal);
            if octets > LARGEST_UPDATE {
                self.update(zone, std::mem::replace(&mut message, Self::empty_update(zone)?)).await?;
                octets = OVERHEAD + size(&removal);
            }
            message.add_authority(removal);
        }
        self.update(zone, message).await
    }

    /// What a refusal means, and what can be done about it.
    fn refusal(&self, zone: &Zone, rcode: ResponseCode, tsig: Option<TsigError>) -> ProviderError {
        let key = self.signer.as_ref().map_or_else(
            || "an unsigned update".to_owned(),
            |signer| {
                let name = signer.signer_name().to_ascii();
                format!("TSIG key `{}` ({})", name.trim_end_matches('.'), signer.algorithm())
            },
        );
        let (kind, reason) = match (rcode, tsig) {
            (_, Some(TsigError::BadKey)) => (
                ErrorKind::Credentials,
                "the server does not know the key by this name and algorithm (BADKEY); check tsig.name and tsig.algorithm",
            ),
            (_, Some(TsigError::BadSig)) => {
                (ErrorKind::Credentials, "the server has another secret under this name (BADSIG); check tsig.secret")
            }
            (_, Some(TsigError::BadTime)) => (
                ErrorKind::Credentials,
                "the clocks of this machine and the server are more than 5 minutes apart (BADTIME); set them right",
            ),
            (_, Some(TsigError::BadTrunc)) => {
                (ErrorKind::Credentials, "the server wants a longer signature (BADTRUNC)")
            }
            (ResponseCode::NotAuth, _) => (
                ErrorKind::Credentials,
                "the server refuses the key, or is not the primary of the zone (NOTAUTH); check tsig and server",
            ),
            (ResponseCode::Refused, _) => (
                ErrorKind::Credentials,
                "the server does not let it change the zone (REFUSED); allow it in update-policy or allow-update",
            ),
            // A prerequisite does not hold.
            (ResponseCode::YXDomain | ResponseCode::YXRRSet, _) => (ErrorKind::Conflict, "a name is in use already"),
            (ResponseCode::NotZone, _) => (ErrorKind::NotServed, "the name is not in the zone (NOTZONE); check zones"),
            (ResponseCode::ServFail, _) => (ErrorKind::Unavailable, "the server failed (SERVFAIL); see its log"),
            (ResponseCode::FormErr, _) => {
                (ErrorKind::Rejected, "the server does not understand the update (FORMERR); is `server` a name server?")
            }
            (ResponseCode::NotImp, _) => (ErrorKind::Rejected, "the server takes no updates (NOTIMP)"),
            _ => (ErrorKind::Rejected, "the server refuses the update"),
        };
        let message = format!("{} answers {rcode} to {key} for zone {}: {reason}", self.server, zone.apex);
        ProviderError::new(kind, message)
    }

    /// An UPDATE without changes for a zone (RFC 2136 section 2.3).
    fn empty_update(zone: &Zone) -> Result<Message> {
        let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Update);
        message.add_query(Query::query(name(&zone.apex)?, RecordType::SOA));
        Ok(message)
    }
}

fn name(text: &str) -> Result<Name> {
    to_name(text).map_err(|e| ProviderError::new(ErrorKind::Config, e.to_string()))
}

fn data(record: &ZoneRecord) -> Result<RData> {
    Ok(match &record.data {
        RecordData::Txt(text) if text.len() > 255 => {
            let message = format!("a text of {} octets does not fit into one character-string of 255", text.len());
            return Err(ProviderError::new(ErrorKind::Rejected, message).about([record.name.as_str()]));
        }
        RecordData::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        RecordData::Cname(target) => RData::CNAME(CNAME(name(target)?)),
    })
}

/// Octets that a record takes at most in a message, uncompressed.
fn size(record: &Record) -> usize {
    let data = match &record.data {
        RData::TXT(txt) => txt.txt_data.iter().map(|part| part.len() + 1).sum(),
        RData::CNAME(target) => target.0.len(),
        _ => 0,
    };
    record.name.len() + 10 + data
}

#[async_trait]
impl ZoneEditor for Editor {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn place(&self) -> String {
        self.server.clone()
    }

    /// The closest of the configured zones, or what the server itself says: it answers with, or points to, the SOA record of
    /// the zone.
    async fn find_zone(&self, name: &str) -> Result<Option<Zone>> {
        if !self.zones.is_empty() {
            return Ok(longest_suffix(&self.zones, name).cloned());
        }
        match self.ask(name, RecordType::SOA).await? {
            Ok(answer) if answer.is_authoritative() => {
                let owner = answer.soa().map(|(owner, ..)| owner).filter(|owner| is_within(name, owner));
                match owner {
                    Some(apex) => Ok(Some(Zone { id: apex.clone(), apex })),
                    // An alias at the name: the answer's SOA is that of the target. The parent's is the zone of the alias.
                    None if answer.alias().is_some() => match name.split_once('.') {
                        Some((_, parent)) => self.find_zone(parent).await,
                        None => Ok(None),
                    },
                    None => Ok(None),
                }
            }
            Ok(_) | Err(DnsError::Refused { .. }) => Ok(None),
            Err(error) => Err(self.unavailable(&error).because(error)),
        }
    }

    /// A signed question for the zone's SOA record: it costs no UPDATE, and the server checks the key as it would for one;
    /// what the key may change only an UPDATE tells. Without a key, or where the server takes no notice of signatures on
    /// questions, an UPDATE that removes values which are not there: the server checks all that it checks, and changes
    /// nothing.
    async fn check(&self, zone: &Zone, records: &[ZoneRecord]) -> Result<()> {
        if self.signer.is_some() {
            let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
            message.add_query(Query::query(name(&zone.apex)?, RecordType::SOA));
            let (answer, signed) = self.send(message).await?;
            match answer.metadata.response_code {
                ResponseCode::NoError if signed && !answer.metadata.authoritative => {
                    let message = format!("{} is no authority for zone {}; name its primary", self.server, zone.apex);
                    return Err(ProviderError::new(ErrorKind::NotServed, message));
                }
                ResponseCode::NoError if signed => return Ok(()),
                ResponseCode::NoError => {}
                rcode => return Err(self.refusal(zone, rcode, answer.signature().and_then(|tsig| tsig.data.error))),
            }
        }
        let nobodys = format!("dcv-check-{:032x}", rand::random::<u128>());
        let absent = records.iter().map(|record| ZoneRecord {
            name: record.name.clone(),
            data: match record.data {
                RecordData::Txt(_) => RecordData::Txt(nobodys.clone()),
                RecordData::Cname(_) => RecordData::Cname(format!("{nobodys}.invalid")),
            },
        });
        self.remove(zone, &absent.collect::<Vec<_>>()).await
    }

    async fn apply(&self, zone: &Zone, change: &Change) -> Result<()> {
        if !change.remove.is_empty() {
            self.remove(zone, &change.remove).await?;
        }
        let additions: Vec<&ZoneRecord> = change.add.iter().collect();
        match self.add(zone, &additions).await {
            Err(error) if error.kind == ErrorKind::Conflict => {
                let missing = try_join_all(additions.iter().map(|record| self.is_missing(zone, record))).await?;
                let missing = additions.into_iter().zip(missing).filter(|(_, missing)| *missing);
                self.add(zone, &missing.map(|(record, _)| record).collect::<Vec<_>>()).await
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn servers_get_their_port() {
        for (given, expected) in [
            ("ns1.example.com", "ns1.example.com:53"),
            ("ns1.example.com:5353", "ns1.example.com:5353"),
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:54", "192.0.2.1:54"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }

    #[test]
    fn bad_configurations_name_their_field_and_no_secret() {
        let build = |algorithm: &str, secret: &str| {
            builder("127.0.0.1").tsig_with("k", algorithm, secret.to_owned().into()).build().map(drop)
        };
        assert!(build("hmac-sha512", "c2VjcmV0").is_ok());
        let error = build("hmac-md5", "c2VjcmV0").expect_err("an algorithm of old").to_string();
        assert!(error.starts_with("tsig.algorithm: `hmac-md5`"), "{error}");
        let error = build("hmac-sha256", "planted!secret").expect_err("no Base64").to_string();
        assert!(error.starts_with("tsig.secret: ") && !error.contains("planted"), "{error}");
        assert!(builder(" ").build().is_err());
        let config =
            Config { server: "127.0.0.1".to_owned(), zones: Vec::new(), tsig: None, ttl: None, timeout: Some(0) };
        let error = from_config(config, None).now_or_never().expect("nobody is asked").expect_err("no time");
        assert_eq!(error.to_string(), "timeout: no server answers in 0 seconds; give 1 or more");
    }
}
