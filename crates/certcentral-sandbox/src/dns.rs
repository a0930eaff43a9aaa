//! A small authoritative name server to put proofs into, for demonstrations and tests that should not need BIND.
//!
//! Decides who may update (TSIG, RFC 8945) and what goes on the wire; what a zone answers and how an update changes it
//! is decided in `dns/zone.rs`. Sockets and framing are `hickory-server`'s. Zones live in memory and end with the server.

mod zone;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use hickory_net::{runtime::Time, xfer::Protocol};
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode},
    rr::{
        DNSClass, LowerName, Name, Record, RecordType, TSigner,
        rdata::{
            TSIG,
            tsig::{TsigAlgorithm, TsigError, make_tsig_record},
        },
    },
    serialize::binary::BinEncoder,
};
use hickory_server::{
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

use zone::{Outcome, Zone};

/// Largest answer over UDP, whatever the asker allows: what passes every network without fragments.
const UDP_PAYLOAD: u16 = 1232;
/// How far clocks may differ, in seconds (RFC 8945 section 10).
const FUDGE: u16 = 300;
/// An idle TCP connection is closed after this.
const TCP_IDLE: Duration = Duration::from_secs(30);
const CNAME_HOPS: usize = 8;

/// What to serve and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP and TCP address; port 0 takes a port that is free for both.
    pub listen: SocketAddr,
    /// Zones, such as `example.com`. Each starts with SOA, NS `ns1.<zone>` and the address of that server.
    pub zones: Vec<String>,
    /// With a key only signed updates are accepted, without one every update is.
    pub tsig: Option<TsigKey>,
    /// Address of each zone's apex and of every name in it that has no records of its own.
    pub web_addr: Option<Ipv4Addr>,
}

impl Default for Config {
    /// `example.com` on a free loopback port, open for updates.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            zones: vec!["example.com".to_owned()],
            tsig: None,
            web_addr: None,
        }
    }
}

/// A shared key for updates; the algorithm is hmac-sha256.
#[derive(Clone)]
pub struct TsigKey {
    /// Name of the key.
    pub name: String,
    /// The secret, decoded from its base64 form.
    pub secret: Vec<u8>,
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A zone's or key's name is no domain name.
    #[error("'{name}' is not a domain name")]
    Name {
        /// The text as configured.
        name: String,
    },
    /// The key cannot be used.
    #[error("TSIG key '{name}' cannot be used")]
    Key {
        /// Name of the key.
        name: String,
    },
}

/// A running name server. It ends when it is dropped.
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    running: hickory_server::Server<Handler>,
}

impl Server {
    /// Opens the sockets and answers from then on.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let (udp, tcp) =
            bind(config.listen).await.map_err(|source| Error::Listen { address: config.listen, source })?;
        let addr = tcp.local_addr().map_err(|source| Error::Listen { address: config.listen, source })?;
        let mut zones = BTreeMap::new();
        for text in &config.zones {
            let origin = name(text)?;
            zones.insert(LowerName::new(&origin), Zone::new(&origin, addr.ip(), config.web_addr));
        }
        let signer = match config.tsig {
            None => None,
            Some(TsigKey { name: text, secret }) => Some(
                TSigner::new(secret, TsigAlgorithm::HmacSha256, name(&text)?, FUDGE)
                    .map_err(|_| Error::Key { name: text })?,
            ),
        };
        let shared = Arc::new(Shared {
            zones: RwLock::new(zones),
            signer,
            queries: AtomicU64::new(0),
            updates: AtomicU64::new(0),
        });
        let mut running = hickory_server::Server::new(Handler(Arc::clone(&shared)));
        running.register_socket(udp);
        running.register_listener(tcp, TCP_IDLE, 64);
        Ok(Self { addr, shared, running })
    }

    /// Where it listens, UDP and TCP.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Queries answered so far.
    pub fn query_count(&self) -> u64 {
        self.shared.queries.load(Ordering::Relaxed)
    }

    /// Updates accepted so far.
    pub fn update_count(&self) -> u64 {
        self.shared.updates.load(Ordering::Relaxed)
    }

    /// Every record that was not there at the start, in presentation form: empty when nothing was left behind.
    pub fn records(&self) -> Vec<String> {
        self.shared.zones.read().expect("no panic while held").values().flat_map(Zone::added).collect()
    }

    /// Closes the sockets and waits until nothing is answered any more.
    pub async fn shutdown(mut self) {
        if let Err(error) = self.running.shutdown_gracefully().await {
            tracing::debug!(%error, "the name server ended with an error");
        }
    }
}

fn name(text: &str) -> Result<Name, Error> {
    let mut name = Name::from_ascii(text).map_err(|_| Error::Name { name: text.to_owned() })?;
    name.set_fqdn(true);
    Ok(name)
}

/// The same port for both protocols. With port 0 the system chooses for TCP, and UDP may have to ask again.
async fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = 0;
    loop {
        let tcp = TcpListener::bind(listen).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(_) if listen.port() == 0 && attempts < 32 => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

struct Shared {
    zones: RwLock<BTreeMap<LowerName, Zone>>,
    signer: Option<TSigner>,
    queries: AtomicU64,
    updates: AtomicU64,
}

struct Handler(Arc<Shared>);

/// An answer before it is encoded.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

impl From<ResponseCode> for Reply {
    fn from(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: Vec::new(), authorities: Vec::new() }
    }
}

/// What the signature of a request says.
enum Signature {
    None,
    /// Good: the answer is signed too.
    Good,
    /// Bad: the answer is NOTAUTH with this error.
    Bad(TsigError),
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = self.0.authenticate(request, now);
        let reply = match (&signature, request.metadata.op_code) {
            (Signature::Bad(_), _) => ResponseCode::NotAuth.into(),
            _ if request.version() > 0 => ResponseCode::BADVERS.into(),
            (_, OpCode::Query) => self.0.query(request),
            (Signature::None, OpCode::Update) if self.0.signer.is_some() => ResponseCode::Refused.into(),
            (_, OpCode::Update) => self.0.update(request).into(),
            _ => ResponseCode::NotImp.into(),
        };
        let sent = self.0.send(request, &reply, &signature, now, &mut handle).await;
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "the name server could not answer");
            let mut metadata = Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
            metadata.response_code = ResponseCode::ServFail;
            Header { metadata, counts: HeaderCounts::default() }.into()
        })
    }
}

impl Shared {
    /// RFC 8945 section 5.2: first the key, then the MAC, then the time.
    fn authenticate(&self, request: &Request, now: u64) -> Signature {
        let Some(tsig) = &request.signature else { return Signature::None };
        let known = self.signer.as_ref().filter(|signer| {
            tsig.name.eq_ignore_root(signer.signer_name()) && tsig.data.algorithm == *signer.algorithm()
        });
        let Some(signer) = known else { return Signature::Bad(TsigError::BadKey) };
        // Checked first because the verification below subtracts it from the time without looking.
        if tsig.data.time < u64::from(tsig.data.fudge) {
            return Signature::Bad(TsigError::BadSig);
        }
        match signer.verify_message_byte(request.as_slice(), None, true) {
            Err(_) => Signature::Bad(TsigError::BadSig),
            Ok(_) if now.abs_diff(tsig.data.time) > u64::from(tsig.data.fudge) => Signature::Bad(TsigError::BadTime),
            Ok(_) => Signature::Good,
        }
    }

    fn query(&self, request: &Request) -> Reply {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let [query] = request.queries.queries() else { return ResponseCode::FormErr.into() };
        let kind = query.query_type();
        if !matches!(query.query_class(), DNSClass::IN | DNSClass::ANY)
            || matches!(kind, RecordType::AXFR | RecordType::IXFR)
        {
            return ResponseCode::Refused.into();
        }
        let zones = self.zones.read().expect("no panic while held");
        let mut asked = query.original().name().clone();
        let Some(mut zone) = zone_of(&zones, &asked) else { return ResponseCode::Refused.into() };
        let mut reply = Reply { authoritative: true, ..ResponseCode::NoError.into() };
        for _ in 0..CNAME_HOPS {
            match zone.answer(&asked, kind) {
                Outcome::Records(records) => {
                    reply.answers.extend(records);
                    break;
                }
                Outcome::Alias(record, target) => {
                    reply.answers.push(*record);
                    // A target elsewhere is the asker's business.
                    let Some(next) = zone_of(&zones, &target) else { break };
                    (zone, asked) = (next, target);
                }
                Outcome::NoData => {
                    reply.authorities.push(zone.soa());
                    break;
                }
                Outcome::NoName => {
                    reply.authorities.push(zone.soa());
                    reply.code = ResponseCode::NXDomain;
                    break;
                }
            }
        }
        reply
    }

    fn update(&self, request: &Request) -> ResponseCode {
        let [zone] = request.queries.queries() else { return ResponseCode::FormErr };
        if zone.query_type() != RecordType::SOA || zone.query_class() != DNSClass::IN {
            return ResponseCode::FormErr;
        }
        let mut zones = self.zones.write().expect("no panic while held");
        let Some(zone) = zones.get_mut(zone.name()) else { return ResponseCode::NotAuth };
        match zone.update(&request.answers, &request.authorities) {
            Ok(()) => {
                self.updates.fetch_add(1, Ordering::Relaxed);
                ResponseCode::NoError
            }
            Err(code) => code,
        }
    }

    async fn send(
        &self,
        request: &Request,
        reply: &Reply,
        signature: &Signature,
        now: u64,
        handle: &mut impl ResponseHandler,
    ) -> Result<ResponseInfo, hickory_net::NetError> {
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_PAYLOAD));
            edns.set_version(0);
            edns
        });
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = false;
        let build = || {
            let mut builder = MessageResponseBuilder::from_message_request(request);
            if let Some(edns) = &edns {
                builder.edns(edns);
            }
            builder.build(metadata, &reply.answers, &reply.authorities, [], [])
        };
        let mut response = build();
        if let Some(record) = self.signature_of(request, signature, now, |room| {
            let limit = match request.protocol() {
                Protocol::Udp => edns.as_ref().map_or(512, Edns::max_payload),
                _ => u16::MAX,
            };
            let mut encoder = BinEncoder::new(room);
            encoder.set_max_size(limit);
            build().destructive_emit(&mut encoder).map(|_| ())
        })? {
            response.set_signature(Box::new(record));
        }
        handle.send_response(response).await
    }

    /// The TSIG record of an answer (RFC 8945 section 5.3): unsigned for BADKEY and BADSIG, for BADTIME signed at the
    /// request's time and with ours beside it.
    fn signature_of(
        &self,
        request: &Request,
        signature: &Signature,
        now: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), hickory_proto::ProtoError>,
    ) -> Result<Option<Record<TSIG>>, hickory_proto::ProtoError> {
        let Some(asked) = &request.signature else { return Ok(None) };
        let (id, algorithm) = (asked.data.oid, asked.data.algorithm.clone());
        let empty = |time, error, other| TSIG::new(algorithm, time, FUDGE, Vec::new(), id, error, other);
        let stub = match signature {
            Signature::None => return Ok(None),
            Signature::Bad(error @ (TsigError::BadKey | TsigError::BadSig)) => {
                return Ok(Some(make_tsig_record(asked.name.clone(), empty(now, Some(*error), Vec::new()))));
            }
            Signature::Bad(error) => empty(asked.data.time, Some(*error), now.to_be_bytes()[2..].to_vec()),
            Signature::Good => empty(now, None, Vec::new()),
        };
        let Some(signer) = &self.signer else { return Ok(None) };
        let mut bytes = Vec::with_capacity(512);
        encode(&mut bytes)?;
        let signed = signer.encode_response_tbs(&asked.data.mac, &bytes, &stub)?;
        let mac = signer.sign(&signed).map_err(|error| hickory_proto::ProtoError::from(error.to_string()))?;
        Ok(Some(make_tsig_record(signer.signer_name().clone(), stub.set_mac(mac))))
    }
}

/// One message to a server of its own: it answers with a message, to that one, or not at all, and its zone keeps its top.
pub(crate) fn answer_once(message: &[u8], client: SocketAddr) {
    let Ok(request) = Request::from_bytes(message.to_vec(), client, Protocol::Udp) else { return };
    let origin = name("example.com").expect("a name");
    let zone = Zone::new(&origin, client.ip(), Some(Ipv4Addr::LOCALHOST));
    let shared = Shared {
        zones: RwLock::new(BTreeMap::from([(LowerName::new(&origin), zone)])),
        // A key that nobody has.
        signer: TSigner::new(vec![7; 32], TsigAlgorithm::HmacSha256, origin.clone(), FUDGE).ok(),
        queries: AtomicU64::new(0),
        updates: AtomicU64::new(0),
    };
    assert!(!matches!(shared.authenticate(&request, 1_790_000_000), Signature::Good), "signed by nobody");
    let reply = match request.metadata.op_code {
        OpCode::Query => shared.query(&request),
        OpCode::Update => shared.update(&request).into(),
        _ => return,
    };
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = reply.code;
    let builder = MessageResponseBuilder::from_message_request(&request);
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::MAX);
    // An answer that is too long is cut; anything else that is not written is not sent.
    if builder.build(metadata, &reply.answers, &reply.authorities, [], []).destructive_emit(&mut encoder).is_ok() {
        let answer = hickory_proto::op::Message::from_vec(&bytes).expect("it answers with a message");
        assert_eq!(answer.metadata.id, request.metadata.id);
    }
    let zones = shared.zones.read().expect("no panic while held");
    for zone in zones.values() {
        let asked = |kind| matches!(zone.answer(&origin, kind), Outcome::Records(records) if !records.is_empty());
        assert!(asked(RecordType::SOA) && asked(RecordType::NS), "the zone has lost its top");
        let _ = (zone.soa(), zone.added());
    }
}

/// The zone with the longest name that holds `name`.
fn zone_of<'z>(zones: &'z BTreeMap<LowerName, Zone>, name: &Name) -> Option<&'z Zone> {
    let mut at = LowerName::new(name);
    loop {
        if let Some(zone) = zones.get(&at) {
            return Some(zone);
        }
        if at.is_root() {
            return None;
        }
        at = at.base_name();
    }
}
