//! A file, fetched as the CA fetches it (its open validator, `client/file`): HTTPS before HTTP, IPv4 only, certificates from
//! anybody as long as they are for the host, redirects only where they are a path, the value within the first 5000 characters
//! of the page. What is no error (below 400) is a page, also a redirect that is not followed; an empty page is an error. Where the
//! CA will not find the value, the sight says why.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use dcv_provider::{Proof, dns::Dns};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_util::future::join_all;
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION},
};
use rustls::{
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{Policy, Sight, Watched};
use crate::key::printable;

/// How much of a page the CA reads, in characters.
const READ_LIMIT: usize = 5000;
/// How much we read, in octets, to be able to say that the value comes too late.
const LOOK_LIMIT: usize = 64 * 1024;
/// How many redirects the CA follows.
const MOST_REDIRECTS: usize = 5;
/// What the CA lets a page be packed with. Caches keep a page of their own for it, which may be an older one.
const CODINGS: &str = "gzip, x-gzip, deflate";
/// How much of a wrong page is shown, in characters.
const SHOWN: usize = 80;
/// Names us, and the agent that firewalls let through for the CA: what lets that one in lets us in.
const USER_AGENT: &str = concat!("dcv/", env!("CARGO_PKG_VERSION"), " (as DigiCert DCV/1.1)");

/// Fetches the file at every IPv4 address by HTTPS and by HTTP. The CA decides by the first page that comes with a good status,
/// by HTTPS first; so both have to be right where both answer, and an error on one side sends it to the other.
pub(super) async fn look(dns: &Dns, policy: &Policy, watched: &mut Watched) {
    let Proof::File { host, path, body } = &watched.proof else { return };
    watched.others.clear();
    let addresses: Vec<IpAddr> = match dns.addresses(host).await {
        Ok(addresses) => addresses.into_iter().filter(IpAddr::is_ipv4).collect(),
        Err(error) => {
            watched.trouble = Some(error.to_string());
            return;
        }
    };
    watched.trouble =
        addresses.is_empty().then(|| format!("{host} has no A record, and the CA's file check asks for no other"));
    let ports = [("https", policy.web_ports.1), ("http", policy.web_ports.0)];
    let seen = join_all(addresses.into_iter().map(|ip| async move {
        let servers = ports.map(|(scheme, port)| (scheme, SocketAddr::new(ip, port)));
        let fetched = join_all(servers.map(|(scheme, server)| fetch(scheme, host, server, path, body))).await;
        servers.into_iter().zip(judge_host(fetched))
    }))
    .await;
    for ((scheme, server), sight) in seen.into_iter().flatten() {
        watched.others.insert((format!("{scheme}://{host}{path} at"), server.to_string()), sight);
    }
}

/// Errors on both sides of a host are an answer without the value.
fn judge_host(mut sights: Vec<Sight>) -> Vec<Sight> {
    if !sights.iter().any(|sight| matches!(sight, Sight::Shows | Sight::Lacks(_))) {
        for sight in &mut sights {
            if let Sight::Lame(said) = sight {
                *sight = Sight::Lacks(vec![std::mem::take(said)]);
            }
        }
    }
    sights
}

async fn fetch(scheme: &str, host: &str, server: SocketAddr, path: &str, value: &str) -> Sight {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls_of_the_ca())
        .resolve(host, server)
        .no_proxy()
        .user_agent(USER_AGENT)
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Sight::Dead(deepest(&error)),
    };
    let Ok(mut url) = Url::parse(&format!("{scheme}://{host}:{}{path}", server.port())) else {
        return Sight::Dead(format!("{scheme}://{host}{path} is no URL"));
    };
    for _ in 0..=MOST_REDIRECTS {
        let response = match client.get(url.clone()).header(ACCEPT_ENCODING, CODINGS).send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return Sight::Dead("gives no answer in time".to_owned()),
            Err(error) => return Sight::Dead(format!("cannot be asked: {}", deepest(&error))),
        };
        let status = response.status();
        let said = match after(status, response.headers()) {
            Next::At(path) => match url.join(&path) {
                Ok(next) => {
                    url = next;
                    continue;
                }
                Err(_) => return Sight::Lame(format!("redirects to `{path}`, which is no path")),
            },
            Next::Error(said) => return Sight::Lame(said),
            Next::Page(said) => said,
        };
        return match page(response).await.map(|page| judge(value, &page)) {
            // By HTTPS it ends the CA's search; by HTTP it comes after HTTPS, and most of these only lead back there.
            Ok(Sight::Lacks(_)) if !status.is_success() && scheme == "https" => Sight::Lacks(vec![said]),
            Ok(Sight::Lacks(_) | Sight::Lame(_)) if !status.is_success() => Sight::Lame(said),
            Ok(sight) | Err(sight) => sight,
        };
    }
    Sight::Lame(format!("redirects more than {MOST_REDIRECTS} times"))
}

/// What an answer is to the CA.
#[derive(Debug, PartialEq)]
enum Next {
    /// To be looked for there.
    At(String),
    /// To be read, whatever its status, which is said here.
    Page(String),
    /// Nothing: the CA tries the other scheme.
    Error(String),
}

fn after(status: StatusCode, headers: &HeaderMap) -> Next {
    match status.as_u16() {
        301 | 302 | 307 | 308 => {}
        300..=399 if status != StatusCode::NOT_MODIFIED => {
            return Next::Page(format!("HTTP {status}, which the CA does not follow; serve the file itself"));
        }
        200..=299 => return Next::Page(format!("HTTP {status}")),
        _ => return Next::Error(format!("HTTP {status}")),
    }
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default().trim();
    let refused =
        || format!("HTTP {status} to `{location}`: the CA follows redirects to a path only; serve the file itself");
    match location {
        // A host of its own without a scheme is none of the two, and nobody should rely on what the CA makes of it.
        _ if location.is_empty() || location.starts_with("//") => Next::Error(refused()),
        _ if Url::parse(location).is_ok() => Next::Page(refused()),
        path => Next::At(path.to_owned()),
    }
}

/// What a page says, as far as it is looked at; else what it is worth.
async fn page(mut response: Response) -> Result<String, Sight> {
    let header = |name: HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().trim().to_ascii_lowercase()
    };
    let (kind, coding) = (header(CONTENT_TYPE), header(CONTENT_ENCODING));
    let mut body = Vec::new();
    let mut whole = false;
    while !whole && body.len() < LOOK_LIMIT {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => whole = true,
            Err(error) => return Err(Sight::Dead(format!("breaks off: {}", deepest(&error)))),
        }
    }
    let body = unpacked(&coding, body, whole)
        .map_err(|error| Sight::Lame(format!("a page that cannot be unpacked ({coding}): {error}")))?;
    Ok(decoded(&kind, &body))
}

/// A body without its coding, as far as it is looked at. One that is not whole is read as far as it goes.
fn unpacked(coding: &str, body: Vec<u8>, whole: bool) -> io::Result<Vec<u8>> {
    let packed = body.as_slice();
    // Some leave the frame out that belongs to it (RFC 1950), and are understood all the same.
    let framed =
        matches!(packed, [first, second, ..] if first & 15 == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0);
    let mut unpack: Box<dyn Read + '_> = match coding {
        "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(packed)),
        "deflate" if framed => Box::new(ZlibDecoder::new(packed)),
        "deflate" => Box::new(DeflateDecoder::new(packed)),
        _ => return Ok(body),
    };
    let mut page = vec![0; LOOK_LIMIT];
    let mut length = 0;
    while length < LOOK_LIMIT {
        match unpack.read(&mut page[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if whole => return Err(error),
            Err(_) => break,
        }
    }
    page.truncate(length);
    Ok(page)
}

/// A page as text: UTF-16 where the content type says so, with or without a mark of its order, else UTF-8, which ASCII and most of
/// Latin-1 are read as well by: a value has none but ASCII characters. A mark alone says nothing to the CA.
fn decoded(content_type: &str, body: &[u8]) -> String {
    let units = |from_bytes: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = body.as_chunks().0.iter().map(|pair| from_bytes(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    let says = |charset: &str| content_type.contains(charset);
    if says("utf-16le") || says("utf-16") && !says("utf-16be") && body.starts_with(&[0xff, 0xfe]) {
        units(u16::from_le_bytes)
    } else if says("utf-16") {
        units(u16::from_be_bytes)
    } else {
        String::from_utf8_lossy(body).into_owned()
    }
}

/// The CA finds a value that lies wholly in what it reads, whatever stands around it. Nothing at all is an error to it.
fn judge(value: &str, page: &str) -> Sight {
    if page.is_empty() {
        return Sight::Lame("an empty page".to_owned());
    }
    let read: String = page.chars().take(READ_LIMIT).collect();
    if read.contains(value) {
        return Sight::Shows;
    }
    let instead = if page.contains(value) {
        format!("the value only after the first {READ_LIMIT} characters, of which the CA reads no more;")
    } else if read.trim().is_empty() {
        "an empty page".to_owned()
    } else {
        let words = printable(&read.split_whitespace().collect::<Vec<_>>().join(" "));
        let kind = if words.starts_with('<') { "a web page, " } else { "" };
        let cut = if words.chars().count() > SHOWN { "…" } else { "" };
        format!("{kind}\"{}{cut}\"", words.chars().take(SHOWN).collect::<String>())
    };
    Sight::Lacks(vec![instead])
}

/// What went wrong in the end: the outer errors say only that something did.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// TLS as the CA's file check uses it: the certificate has to be for the host, and may come from anybody. No secret
/// passes here, only a page that everybody may read.
fn tls_of_the_ca() -> rustls::ClientConfig {
    static CONFIG: OnceLock<rustls::ClientConfig> = OnceLock::new();
    let make = || {
        let provider = Arc::new(ring::default_provider());
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyIssuer(provider)))
            .with_no_client_auth()
    };
    CONFIG.get_or_init(make).clone()
}

#[derive(Debug)]
struct AnyIssuer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyIssuer {
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
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "0123456789abcdefghijklmnopqrstuV";

    #[test]
    fn a_page_is_judged_as_the_ca_judges_it_and_the_reason_is_told() {
        for page in [
            VALUE.to_owned(),
            format!("\u{feff}{VALUE}\r\n"),
            format!("<p>{VALUE}</p>"),
            format!("{}{VALUE}", " ".repeat(READ_LIMIT - VALUE.len())),
        ] {
            assert_eq!(judge(VALUE, &page), Sight::Shows, "{page}");
        }
        for (page, said) in [
            ("\r\n".to_owned(), "an empty page"),
            (VALUE.to_ascii_lowercase(), "\"0123456789abcdefghijklmnopqrstuv\""),
            ("<!DOCTYPE html>\n<title>Shop</title>".to_owned(), "a web page, \"<!DOCTYPE html> <title>Shop</title>\""),
            (format!("{}{VALUE}", " ".repeat(READ_LIMIT - 9)), "the value only after the first 5000 characters"),
            ("x".repeat(100), "…\""),
        ] {
            let Sight::Lacks(instead) = judge(VALUE, &page) else { panic!("{page} has no value") };
            assert!(instead[0].contains(said), "{instead:?}");
        }
        assert_eq!(judge(VALUE, ""), Sight::Lame("an empty page".to_owned()), "the CA goes on to HTTP");
    }

    #[test]
    fn charsets_are_honoured() {
        let wide = |bytes: fn(u16) -> [u8; 2]| VALUE.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let marked = |mark: [u8; 2], text: Vec<u8>| [mark.to_vec(), text].concat();
        for (kind, body) in [
            ("text/plain; charset=utf-16le", wide(u16::to_le_bytes)),
            ("text/plain; charset=utf-16", wide(u16::to_be_bytes)),
            ("text/plain; charset=utf-16be", wide(u16::to_be_bytes)),
            ("text/plain; charset=utf-16", marked([0xff, 0xfe], wide(u16::to_le_bytes))),
            ("text/plain; charset=utf-16", marked([0xfe, 0xff], wide(u16::to_be_bytes))),
            ("text/plain; charset=iso-8859-1", [&[0xe9u8][..], VALUE.as_bytes()].concat()),
        ] {
            assert!(decoded(kind, &body).contains(VALUE), "{kind}");
        }
        for body in [marked([0xff, 0xfe], wide(u16::to_le_bytes)), marked([0xfe, 0xff], wide(u16::to_be_bytes))] {
            assert!(!decoded("text/plain", &body).contains(VALUE), "the CA goes by the content type alone");
        }
    }

    #[test]
    fn packed_pages_are_unpacked() {
        use flate2::{
            Compression,
            read::{DeflateEncoder, GzEncoder, ZlibEncoder},
        };
        let long = format!("{VALUE}{}", (0..60_000).map(|n| n.to_string()).collect::<String>());
        for text in [VALUE, long.as_str()] {
            let bytes = text.as_bytes();
            let pack = |mut packer: Box<dyn Read + '_>| {
                let mut packed = Vec::new();
                packer.read_to_end(&mut packed).expect("packed");
                packed
            };
            let gzip = pack(Box::new(GzEncoder::new(bytes, Compression::fast())));
            let zlib = pack(Box::new(ZlibEncoder::new(bytes, Compression::fast())));
            let bare = pack(Box::new(DeflateEncoder::new(bytes, Compression::fast())));
            for (coding, packed) in [("gzip", &gzip), ("x-gzip", &gzip), ("deflate", &zlib), ("deflate", &bare)] {
                let page = unpacked(coding, packed.clone(), true).expect("a page");
                assert_eq!(page, bytes[..bytes.len().min(LOOK_LIMIT)], "{coding}");
                let half = packed[..packed.len() * 3 / 4].to_vec();
                assert!(bytes.starts_with(&unpacked(coding, half.clone(), false).expect("its beginning")), "{coding}");
                assert!(unpacked(coding, half, true).is_err() || text.len() > LOOK_LIMIT, "{coding} breaks off");
            }
            assert_eq!(unpacked("br", gzip.clone(), true).expect("as it is"), gzip, "the CA does not ask for it");
        }
    }

    #[test]
    fn redirects_are_followed_to_paths_only() {
        let to = |status: u16, location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().expect("a header"))]);
            after(StatusCode::from_u16(status).expect("a status"), &headers)
        };
        assert_eq!(to(301, "/elsewhere.txt"), Next::At("/elsewhere.txt".to_owned()));
        assert_eq!(to(308, "elsewhere.txt"), Next::At("elsewhere.txt".to_owned()));
        for (status, location) in [(302, "//www.example.com/x"), (302, ""), (304, "/x"), (404, "/x"), (500, "")] {
            assert!(matches!(to(status, location), Next::Error(_)), "{status} {location}");
        }
        for (status, location) in [(200, ""), (206, ""), (300, "/x"), (303, "/x"), (302, "https://www.example.com/x")] {
            assert!(matches!(to(status, location), Next::Page(_)), "{status} {location}");
        }
        let Next::Page(said) = to(301, "https://example.com/") else { panic!("it is not followed") };
        assert!(said.contains("https://example.com/") && said.contains("serve the file itself"), "{said}");
    }
}
