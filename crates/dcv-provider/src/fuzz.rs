//! What the fuzz targets (`tests/fuzz`) reach of the inside: the readers of answers. No part of the contract.

use std::net::SocketAddr;

use hickory_proto::{op::Message, rr::RecordType};

use crate::dns::{self, Answer, DnsError};

/// A server's answer to a question about this name and type, from what stood on the wire.
///
/// # Errors
/// Those of [`Dns::ask`](crate::dns::Dns::ask), for a name or an answer that is none.
pub fn answer(name: &str, rtype: RecordType, wire: &[u8]) -> Result<Answer, DnsError> {
    let server = SocketAddr::from(([127, 0, 0, 1], 53));
    let message = Message::from_vec(wire).map_err(|e| DnsError::Network {
        server,
        question: name.to_owned(),
        message: e.to_string(),
    })?;
    Answer::read(server, dns::to_name(name)?, rtype, message)
}

/// Where an answer points down to, and the addresses that came along for a host.
pub fn leads(answer: &Answer, below: &str, host: &str) -> (Option<String>, usize) {
    (answer.referral(below), answer.glue(host).len())
}

/// The words of a vendor's error, and the wait it asks for.
#[cfg(feature = "http")]
pub fn vendor(body: &[u8], retry_after: &str) -> (String, Option<std::time::Duration>) {
    (crate::http::words(body, &[]), crate::http::retry_after(retry_after))
}
