//! Rules that every provider keeps who writes proofs into files that others may write, too.
//!
//! The CA asks for one name, `/.well-known/pki-validation/fileauth.txt`, whatever the order (Baseline Requirements 3.2.2.4.18), and
//! is content when the answer *contains* its value. So what is in the file stays: our value goes on a line of its own before the
//! rest, since the CA reads only the beginning, and is later taken out again alone. Where the file is, and how it is changed without
//! losing another writer's change, is the provider's matter.

use crate::{ErrorKind, Proof, ProviderError, Result};

/// The host of a file proof, and the segments of its path: none is empty or leads upwards, and the host is safe as the name of a
/// folder.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for records; [`ErrorKind::Rejected`] for hosts and paths that would lead elsewhere.
pub fn locate(proof: &Proof) -> Result<(&str, Vec<&str>)> {
    let Proof::File { host, path, .. } = proof else {
        let message = format!("a web server cannot show a {}; route the name to a DNS provider", proof.kind());
        return Err(ProviderError::new(ErrorKind::Unsupported, message).about([proof.to_string()]));
    };
    let invalid = |what: String| ProviderError::new(ErrorKind::Rejected, what).about([proof.to_string()]);
    // `.` and `..` are the host names that would lead elsewhere; a slash, NUL or backslash is in no host name.
    let host_is_plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if host.is_empty() || host.starts_with('.') || host.contains("..") || !host_is_plain {
        return Err(invalid(format!("`{}` is no host name", host.escape_debug())));
    }
    let segments: Vec<&str> = path.strip_prefix('/').map(|rest| rest.split('/').collect()).unwrap_or_default();
    let bad =
        |segment: &&str| matches!(*segment, "" | "." | "..") || segment.contains(|c: char| c == '\\' || c.is_control());
    if segments.is_empty() || segments.iter().any(bad) {
        return Err(invalid(format!("the path `{}` leads out of the document root", path.escape_debug())));
    }
    Ok((host, segments))
}

/// The content with each value on a line of its own, before whatever is there. A file that is not there becomes the
/// first value, verbatim.
#[must_use]
pub fn with_values(content: Option<&[u8]>, proofs: &[Proof]) -> Vec<u8> {
    let first = proofs.first().map_or("", Proof::value).as_bytes();
    let mut lines = split(content.unwrap_or(first));
    for line in lines_of(proofs) {
        if !lines.iter().any(|there| same(there, line)) {
            lines.insert(0, line);
        }
    }
    lines.join(&b'\n')
}

/// The content without these values; every other octet stays. Empty when nothing else was in it: the file may go.
#[must_use]
pub fn without_values(content: &[u8], proofs: &[Proof]) -> Vec<u8> {
    let mut lines = split(content);
    for line in lines_of(proofs) {
        if let Some(at) = lines.iter().position(|there| same(there, line)) {
            lines.remove(at);
        }
    }
    lines.join(&b'\n')
}

fn lines_of(proofs: &[Proof]) -> impl Iterator<Item = &[u8]> {
    proofs.iter().flat_map(|proof| split(proof.value().as_bytes())).filter(|line| !line.is_empty())
}

fn split(content: &[u8]) -> Vec<&[u8]> {
    content.split(|octet| *octet == b'\n').collect()
}

fn same(a: &[u8], b: &[u8]) -> bool {
    let plain = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len();
    a[..plain(a)] == b[..plain(b)]
}
