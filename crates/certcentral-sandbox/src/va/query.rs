//! One DNS question of one perspective: its servers in order, UDP with repeats, TCP when truncated. Decides when an
//! answer counts and in which of the validator's words a failure is told. Keeps nothing between questions.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::opt::EdnsOption},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{Log, Perspective};

/// A question is sent again this often before a server is given up.
const SENDINGS: u32 = 4;
const UDP_PAYLOAD: u16 = 1232;
const CNAME_HOPS: usize = 8;
/// Extended DNS errors about DNSSEC (RFC 8914 section 4): 1, 2 and 5 to 12.
const DNSSEC_ERRORS: [u16; 10] = [1, 2, 5, 6, 7, 8, 9, 10, 11, 12];

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// NOERROR without an answer.
    NoRecord,
    /// NXDOMAIN.
    NoDomain,
    /// The server will not speak for this name.
    Refused,
    Dnssec,
    Timeout,
    /// Any other response code, or nobody there.
    Io,
    /// Not a name that DNS can ask for.
    Name,
}

impl Failure {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoRecord => "dns_lookup_record_not_found",
            Self::NoDomain => "dns_lookup_domain_not_found",
            Self::Dnssec => "dns_lookup_dnssec_failure",
            Self::Timeout => "dns_lookup_timeout",
            Self::Refused | Self::Io => "dns_lookup_io_exception",
            Self::Name => "dns_lookup_text_parse_exception",
        }
    }

    /// Whether a server said that there is nothing, rather than saying nothing.
    pub(super) fn is_answer(self) -> bool {
        matches!(self, Self::NoRecord | Self::NoDomain)
    }
}

/// The servers of a perspective.
#[derive(Clone)]
pub(super) struct Dns {
    perspective: Arc<str>,
    servers: Arc<[SocketAddr]>,
    timeout: Duration,
    questions: Arc<Semaphore>,
    log: Log,
}

impl Dns {
    pub(super) fn new(perspective: &Perspective, timeout: Duration, questions: Arc<Semaphore>, log: Log) -> Self {
        Self {
            perspective: perspective.name.as_str().into(),
            servers: perspective.dns.as_slice().into(),
            timeout,
            questions,
            log,
        }
    }

    pub(super) fn note(&self, question: String, answer: String) {
        self.log.add(&self.perspective, question, answer);
    }

    /// All records of the answer, CNAMEs on the way included. The servers are asked in turn until one has any.
    pub(super) async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, Failure> {
        let parsed = Name::from_ascii(name).map(|mut name| {
            name.set_fqdn(true);
            name
        });
        let Ok(parsed) = parsed else { return Err(Failure::Name) };
        let mut result = Err(Failure::Io);
        for (index, server) in self.servers.iter().enumerate() {
            let answer = self.asked_of(*server, &parsed, kind).await;
            self.note(format!("{name} {kind}"), format!("{server}: {}", summary(&answer)));
            // What the first server says is told, unless only a later one could say anything.
            let better = match (&result, &answer) {
                (_, Ok(_)) => true,
                (Err(old), Err(new)) => index == 0 || (!old.is_answer() && new.is_answer()),
                (Ok(_), Err(_)) => false,
            };
            if better {
                result = answer;
            }
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Follows CNAMEs within the server, for one that does not do so itself.
    async fn asked_of(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        let mut asked = name.clone();
        for _ in 0..CNAME_HOPS {
            let message = match self.exchange(server, &asked, kind).await {
                Ok(message) => message,
                // What was found on the way counts, unless its end is known not to exist.
                Err(_) if !records.is_empty() => return Ok(records),
                Err(failure) => return Err(failure),
            };
            let recursive = message.metadata.recursion_available;
            match judge(&message) {
                Ok(()) => {}
                Err(failure @ Failure::NoDomain) => return Err(failure),
                Err(_) if !records.is_empty() => return Ok(records),
                Err(failure) => return Err(failure),
            }
            records.extend(message.answers);
            let done = recursive || kind == RecordType::CNAME || records.iter().any(|one| one.record_type() == kind);
            match last_target(&records, &asked) {
                Some(target) if !done => asked = target,
                _ => break,
            }
        }
        if records.is_empty() { Err(Failure::NoRecord) } else { Ok(records) }
    }

    async fn exchange(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, Failure> {
        let _permit = self.questions.acquire().await.map_err(|_| Failure::Io)?;
        let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name.clone(), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        question.set_edns(edns);
        let bytes = question.to_vec().map_err(|_| Failure::Name)?;

        let answer = self.udp(server, &question, &bytes).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        timeout(self.timeout, tcp(server, &question, &bytes)).await.unwrap_or(Err(Failure::Timeout))
    }

    /// Sends the question, and again while no answer comes; takes the first answer that is one to it.
    async fn udp(&self, server: SocketAddr, question: &Message, bytes: &[u8]) -> Result<Message, Failure> {
        let any: SocketAddr =
            if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16, 0, 0, 0, 0, 0, 0, 0], 0).into() };
        let socket = UdpSocket::bind(any).await.map_err(|_| Failure::Io)?;
        socket.connect(server).await.map_err(|_| Failure::Io)?;
        let start = Instant::now();
        let mut buffer = vec![0; 4096];
        for sending in 1..=SENDINGS {
            socket.send(bytes).await.map_err(|_| Failure::Io)?;
            let until = start + self.timeout * sending / SENDINGS;
            while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
                let length = received.map_err(|_| Failure::Io)?;
                if let Some(answer) = answer_to(question, &buffer[..length]) {
                    return Ok(answer);
                }
            }
        }
        Err(Failure::Timeout)
    }
}

async fn tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> Result<Message, Failure> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = exchange.await.map_err(|_| Failure::Io)?;
    answer_to(question, &answer).ok_or(Failure::Io)
}

/// The message, if it answers this question and nothing else.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let same = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        // Some servers leave the question out of an error.
        && (answer.queries == question.queries
            || (answer.queries.is_empty() && answer.metadata.response_code != ResponseCode::NoError));
    same.then_some(answer)
}

/// Whatever is answered to a question, something is made of it, and no alias leads round for ever.
pub(super) fn read_once(bytes: &[u8]) -> Option<Vec<Record>> {
    let parsed = Message::from_vec(bytes).ok()?;
    let mut question = Message::new(parsed.metadata.id, MessageType::Query, OpCode::Query);
    question.queries.clone_from(&parsed.queries);
    let answer = answer_to(&question, bytes)?;
    let judged = judge(&answer).map(|()| answer.answers.clone());
    let _ = summary(&judged);
    let records = judged.ok()?;
    if let Some(query) = question.queries.first() {
        let _ = last_target(&records, query.name());
    }
    Some(records)
}

fn judge(message: &Message) -> Result<(), Failure> {
    match message.metadata.response_code {
        ResponseCode::NoError => Ok(()),
        ResponseCode::NXDomain => Err(Failure::NoDomain),
        ResponseCode::Refused => Err(Failure::Refused),
        ResponseCode::ServFail if says_dnssec(message) => Err(Failure::Dnssec),
        _ => Err(Failure::Io),
    }
}

fn says_dnssec(message: &Message) -> bool {
    let options = message.edns.as_ref().map_or(&[][..], |edns| edns.options().as_ref());
    options.iter().any(|(code, option)| match (u16::from(*code), option) {
        (15, EdnsOption::Unknown(_, data)) => {
            data.get(..2).is_some_and(|code| DNSSEC_ERRORS.contains(&u16::from_be_bytes([code[0], code[1]])))
        }
        _ => false,
    })
}

/// Where the chain of CNAMEs from `name` ends, if it leads anywhere.
fn last_target(records: &[Record], name: &Name) -> Option<Name> {
    let mut at = name.clone();
    let mut moved = false;
    for _ in 0..CNAME_HOPS {
        let next = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == at => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(next) => (at, moved) = (next, true),
            None => break,
        }
    }
    moved.then_some(at)
}

fn summary(answer: &Result<Vec<Record>, Failure>) -> String {
    match answer {
        Ok(records) => {
            let shown: Vec<String> = records.iter().take(3).map(|record| record.data.to_string()).collect();
            let more = if records.len() > 3 { ", ..." } else { "" };
            format!("{} records: {}{more}", records.len(), shown.join(", "))
        }
        Err(failure) => failure.reason().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(code: Option<u16>) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = ResponseCode::ServFail;
        let mut edns = Edns::new();
        if let Some(code) = code {
            let option = EdnsOption::Unknown(15, [&code.to_be_bytes()[..], b"text"].concat());
            edns.options_mut().insert(option);
        }
        message.set_edns(edns);
        Message::from_vec(&message.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn only_an_extended_error_makes_a_failure_one_of_dnssec() {
        assert_eq!(judge(&failing(None)), Err(Failure::Io));
        assert_eq!(judge(&failing(Some(22))), Err(Failure::Io));
        assert_eq!(judge(&failing(Some(6))), Err(Failure::Dnssec));
        assert_eq!(judge(&failing(Some(9))), Err(Failure::Dnssec));
    }

    #[test]
    fn an_answer_must_fit_its_question() {
        let ask = |id, name: &str| {
            let mut message = Message::new(id, MessageType::Query, OpCode::Query);
            message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT));
            message
        };
        let question = ask(7, "a.example.com.");
        let answer = |message: Message| message.into_response().to_vec().unwrap();
        assert!(answer_to(&question, &answer(question.clone())).is_some());
        assert!(answer_to(&question, &answer(ask(8, "a.example.com."))).is_none());
        assert!(answer_to(&question, &answer(ask(7, "b.example.com."))).is_none());
        assert!(answer_to(&question, &question.to_vec().unwrap()).is_none());
        assert!(answer_to(&question, b"noise").is_none());
    }
}
