//! One validation file from one perspective: `https` first, then `http`, as the open validator fetches it. Any
//! certificate chain is trusted, but the certificate must be for the name; addresses are A records from the
//! perspective's own DNS servers.

use std::{
    fmt,
    io::Read,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::rr::{RData, RecordType};
use reqwest::{
    Client, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION},
    redirect::Policy,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use tokio::sync::Semaphore;

use super::{Config, Error, Redirects, Seen, matching, query::Dns};
use crate::names;

const USER_AGENT: &str = "DigiCert DCV/1.1";
/// How a file may be packed.
const ENCODINGS: &str = "gzip, x-gzip, deflate";
/// So much of a file is read, in characters.
const BODY_LIMIT: usize = 5000;
/// A server that is busy (429, 503) is asked once more after this.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The means of a perspective to fetch files.
pub(super) struct Web {
    https: Client,
    http: Client,
    dns: Dns,
    files: Arc<Semaphore>,
    max_redirects: u8,
    redirects: Redirects,
}

/// Any chain, but the right name.
#[derive(Debug)]
struct NameOnly(Arc<CryptoProvider>);

/// How clients validate servers; made once, for all perspectives.
pub(super) fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NameOnly(provider)))
        .with_no_client_auth();
    Ok(config)
}

impl Web {
    pub(super) fn new(config: &Config, dns: &Dns, tls: ClientConfig, files: Arc<Semaphore>) -> Result<Self, Error> {
        let client = |port| {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .no_proxy()
                .user_agent(USER_AGENT)
                .redirect(Policy::none())
                .referer(false)
                .pool_max_idle_per_host(0)
                .connect_timeout(config.timeout)
                // For the answer 5 s, where the default of 2 s holds.
                .timeout(config.timeout * 5 / 2)
                .dns_resolver(Arc::new(Addresses { dns: dns.clone(), port }))
                .build()
        };
        Ok(Self {
            https: client(config.https_port)?,
            http: client(config.http_port)?,
            dns: dns.clone(),
            files,
            max_redirects: config.max_redirects,
            redirects: config.redirects,
        })
    }

    /// Looks into the file. The second URL is asked only if the first has no file, and then the first one's reason is
    /// told; a file without the value ends the search.
    pub(super) async fn find(&self, domain: &str, file_name: &str, values: &[String]) -> Seen {
        let legal = (1..=64).contains(&file_name.len())
            && file_name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !legal {
            return Err(vec!["file_validation_invalid_content".to_owned()]);
        }
        if values.iter().any(|value| file_name.contains(value.as_str())) {
            return Err(vec!["challenge_value_in_request_not_allowed".to_owned()]);
        }
        let mut first = None;
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://{domain}/.well-known/pki-validation/{file_name}");
            let body = match Url::parse(&url) {
                Ok(parsed) => self.file(parsed).await,
                Err(_) => Err("file_validation_bad_response"),
            };
            let told = body.as_ref().map_or_else(ToString::to_string, |body| format!("{} characters", body.len()));
            self.dns.note(format!("GET {url}"), told);
            match body {
                Ok(body) => {
                    let found = matching(&[body], values);
                    return found.map(|value| (value, url)).map_err(|reason| vec![reason.to_owned()]);
                }
                Err(reason) => {
                    first.get_or_insert(reason);
                }
            }
        }
        Err(first.into_iter().map(ToOwned::to_owned).collect())
    }

    async fn file(&self, url: Url) -> Result<String, &'static str> {
        let mut at = url;
        let mut visited = vec![at.clone()];
        loop {
            let response = self.get(&at).await?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 307 | 308) {
                return body(response).await;
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| next_url(&at, location, self.redirects));
            match next {
                Some(next) if !visited.contains(&next) && visited.len() <= usize::from(self.max_redirects) => {
                    visited.push(next.clone());
                    at = next;
                }
                _ => return Err("file_validation_bad_response"),
            }
        }
    }

    async fn get(&self, url: &Url) -> Result<Response, &'static str> {
        let client = if url.scheme() == "https" { &self.https } else { &self.http };
        let fetch = || async {
            let _permit = self.files.acquire().await.map_err(|_| "file_validation_client_error")?;
            client.get(url.clone()).header(ACCEPT_ENCODING, ENCODINGS).send().await.map_err(|error| reason(&error))
        };
        let response = fetch().await?;
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            tokio::time::sleep(BUSY_PAUSE).await;
            return fetch().await;
        }
        Ok(response)
    }
}

/// Where a redirect leads, if it may be followed.
fn next_url(from: &Url, location: &str, redirects: Redirects) -> Option<Url> {
    let relative = Url::parse(location).is_err() && !location.starts_with("//");
    let next = from.join(location).ok()?;
    if relative {
        return Some(next);
    }
    let same_domain = || {
        let base = |url: &Url| names::registrable(url.host_str()?, true).map(str::to_ascii_lowercase);
        let base_from = base(from)?;
        (base(&next)? == base_from).then_some(())
    };
    let allowed = redirects == Redirects::SameDomain
        && matches!(next.scheme(), "http" | "https")
        // `port` is the port that is not the scheme's own.
        && next.port().is_none()
        && same_domain().is_some();
    allowed.then_some(next)
}

/// The text of an answer that is none of the errors; only its beginning is read.
async fn body(mut response: Response) -> Result<String, &'static str> {
    let status = response.status();
    if let Some(reason) = status_reason(status) {
        return Err(reason);
    }
    let charset = charset(&response);
    let encoding = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut bytes = Vec::new();
    // Four bytes are the longest character of any charset read here.
    while bytes.len() < BODY_LIMIT * 4 {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(reason(&error)),
        }
    }
    let bytes = unpacked(bytes, encoding.as_deref())?;
    let text: String = decoded(&bytes, &charset).chars().take(BODY_LIMIT).collect();
    if text.is_empty() { Err("file_validation_empty_response") } else { Ok(text) }
}

/// The beginning of what was packed.
fn unpacked(bytes: Vec<u8>, encoding: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let mut plain = Vec::new();
    let mut read = |decoder: &mut dyn Read| decoder.take(BODY_LIMIT as u64 * 4).read_to_end(&mut plain);
    let done = match encoding.map(str::to_ascii_lowercase).as_deref() {
        Some("gzip" | "x-gzip") => read(&mut flate2::read::GzDecoder::new(&*bytes)),
        // With a header and, as some write it, without: then the first two bytes are no multiple of 31.
        Some("deflate") => match bytes[..] {
            [first, second, ..] if first & 15 == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31) => {
                read(&mut flate2::read::ZlibDecoder::new(&*bytes))
            }
            _ => read(&mut flate2::read::DeflateDecoder::new(&*bytes)),
        },
        _ => return Ok(bytes),
    };
    // Only the beginning was fetched of what is too long, and then the end is missing.
    if done.is_err() && bytes.len() < BODY_LIMIT * 4 { Err("file_validation_client_error") } else { Ok(plain) }
}

/// Everything below 400 counts but what cannot have a body.
fn status_reason(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        204 | 304 => Some("file_validation_empty_response"),
        404 => Some("file_validation_not_found"),
        400..=499 => Some("file_validation_client_error"),
        500.. => Some("file_validation_server_error"),
        _ => None,
    }
}

fn charset(response: &Response) -> String {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let lower = kind.to_ascii_lowercase();
    let charset = lower.split(';').find_map(|part| part.trim().strip_prefix("charset="));
    charset.unwrap_or("utf-8").trim_matches('"').to_owned()
}

fn decoded(bytes: &[u8], charset: &str) -> String {
    let units = |pair: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|two| pair([two[0], two[1]])).collect::<Vec<u16>>();
        String::from_utf16_lossy(&units)
    };
    match charset {
        "utf-16le" => units(u16::from_le_bytes, bytes),
        "utf-16be" => units(u16::from_be_bytes, bytes),
        "utf-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => units(u16::from_le_bytes, rest),
            [0xfe, 0xff, rest @ ..] => units(u16::from_be_bytes, rest),
            _ => units(u16::from_be_bytes, bytes),
        },
        "iso-8859-1" | "latin1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn reason(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<NoAddress>() {
            return "dns_lookup_unknown_host_exception";
        }
        cause = error.source();
    }
    if error.is_timeout() && error.is_connect() {
        return "file_validation_timeout";
    }
    // Refused, reset, TLS for another name, no answer in time: the validator tells them all alike.
    "file_validation_client_error"
}

/// Gives a host's A records and the port, so that URLs need not show one that only a test has.
struct Addresses {
    dns: Dns,
    port: u16,
}

#[derive(Debug)]
struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no A record")
    }
}

impl std::error::Error for NoAddress {}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, port) = (self.dns.clone(), self.port);
        Box::pin(async move {
            let records = dns.records(name.as_str(), RecordType::A).await.map_err(|_| NoAddress)?;
            let addresses: Vec<SocketAddr> = records
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(address) => Some(SocketAddr::new(IpAddr::V4(address.0), port)),
                    _ => None,
                })
                .collect();
            if addresses.is_empty() {
                return Err(NoAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl ServerCertVerifier for NameOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_that_may_be_followed() {
        let from = Url::parse("http://www.example.com/.well-known/pki-validation/fileauth.txt").unwrap();
        // Location, followed if only relative ones are, followed within the domain.
        let table = [
            ("/other", true, true),
            ("other.txt", true, true),
            ("?a=1", true, true),
            ("http://www.example.com/x", false, true),
            ("https://example.com/x", false, true),
            ("//example.com/x", false, true),
            ("https://example.com:443/x", false, true),
            ("https://example.com:8443/x", false, false),
            ("http://example.org/x", false, false),
            ("http://192.0.2.1/x", false, false),
            ("ftp://example.com/x", false, false),
        ];
        for (location, relative, domain) in table {
            assert_eq!(next_url(&from, location, Redirects::RelativeOnly).is_some(), relative, "{location}");
            assert_eq!(next_url(&from, location, Redirects::SameDomain).is_some(), domain, "{location}");
        }
    }

    #[test]
    fn charsets() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(decoded(&utf16("token"), "utf-16le"), "token");
        assert_eq!(decoded(&[&[0xff, 0xfe][..], &utf16("token")].concat(), "utf-16"), "token");
        assert_eq!(decoded(b"\x00t", "utf-16"), "t");
        assert_eq!(decoded(b"\xe4token", "iso-8859-1"), "\u{e4}token");
        assert_eq!(decoded(b"\xe4token", "utf-8"), "\u{fffd}token");
    }
}
