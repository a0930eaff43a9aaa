//! One message there, one back.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType},
    rr::Name,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};

use super::answer::{DnsError, plain};

/// A name for the wire: absolute, its case kept.
///
/// # Errors
/// [`DnsError::BadName`].
pub fn to_name(name: &str) -> Result<Name, DnsError> {
    let mut parsed =
        Name::from_ascii(name).map_err(|e| DnsError::BadName { name: name.to_owned(), message: e.to_string() })?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn question(message: &Message) -> String {
    message.queries.first().map_or_else(String::new, |query| format!("{} {}", plain(query.name()), query.query_type()))
}

/// Sends a message and waits for its answer: by UDP, again after a third and after two thirds of the time, for datagrams get lost where
/// hundreds are sent at once, and by TCP when the answer is cut. Answers to other questions and from other servers are ignored.
///
/// # Errors
/// [`DnsError::Timeout`] and [`DnsError::Network`].
pub async fn exchange(server: SocketAddr, message: &Message, deadline: Duration) -> Result<Message, DnsError> {
    let network = |error: &dyn std::fmt::Display| DnsError::Network {
        server,
        question: question(message),
        message: error.to_string(),
    };
    let late = || DnsError::Timeout { server, question: question(message), waited: deadline };
    let began = Instant::now();
    let until = began + deadline;
    let bytes = message.to_vec().map_err(|e| network(&e))?;
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.map_err(|e| network(&e))?;
    // Connected: the system drops what others send.
    socket.connect(server).await.map_err(|e| network(&e))?;
    socket.send(&bytes).await.map_err(|e| network(&e))?;
    let mut again = [deadline / 3, deadline * 2 / 3].into_iter().map(|after| began + after).peekable();
    let mut buffer = vec![0; 4096];
    let answer = loop {
        let received = match timeout_at(again.peek().copied().unwrap_or(until), socket.recv(&mut buffer)).await {
            Ok(received) => received.map_err(|e| network(&e))?,
            Err(_) if again.next().is_some() => {
                socket.send(&bytes).await.map_err(|e| network(&e))?;
                continue;
            }
            Err(_) => return Err(late()),
        };
        match Message::from_vec(&buffer[..received]) {
            Ok(answer) if answers(message, &answer) => break answer,
            _ => {}
        }
    };
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let left = until.saturating_duration_since(Instant::now());
    let raw = timeout(left, exchange_tcp(server, &bytes)).await.map_err(|_| late())?.map_err(|e| network(&e))?;
    let answer = Message::from_vec(&raw).map_err(|e| network(&e))?;
    if answers(message, &answer) { Ok(answer) } else { Err(network(&"its answer by TCP is to another question")) }
}

/// Whether this is the answer to that message.
fn answers(message: &Message, answer: &Message) -> bool {
    answer.metadata.id == message.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && (answer.queries.is_empty() || answer.queries == message.queries)
}

/// Sends the bytes of one message by TCP and reads one answer (RFC 1035 section 4.2.2). Without a deadline of its own.
///
/// # Errors
/// What the system says, also when the message is longer than 65535 octets.
pub async fn exchange_tcp(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(message.len()).map_err(|_| {
        std::io::Error::new(std::io::ErrorKind::InvalidInput, "the message is longer than 65535 octets")
    })?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
