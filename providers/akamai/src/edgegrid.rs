//! EdgeGrid, how Akamai's APIs want requests signed (EG1-HMAC-SHA256; "Authenticate with EdgeGrid" in Akamai's documentation), and
//! the `.edgerc` file in which its credentials are kept.
//!
//! A signature says who asks (two tokens), when, and over what: the method, the host, the path and the start of the body. It is
//! made with a key that holds for that second only.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use dcv_provider::{ErrorKind, ProviderError, Result};
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};

/// How much of a body is signed.
const SIGNED_BODY: usize = 131_072;

/// Who we are.
pub(crate) struct Credentials {
    pub(crate) client_token: SecretString,
    pub(crate) client_secret: SecretString,
    pub(crate) access_token: SecretString,
}

/// What is signed of a request.
pub(crate) struct Signed<'r> {
    pub(crate) method: &'r str,
    pub(crate) scheme: &'r str,
    /// With its port, if it has one of its own.
    pub(crate) host: &'r str,
    /// With the query.
    pub(crate) path: &'r str,
    pub(crate) body: &'r [u8],
}

impl Credentials {
    /// The `Authorization` of a request sent now.
    pub(crate) fn authorize(&self, request: &Signed<'_>) -> SecretString {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H:%M:%S+0000").to_string();
        let nonce = format!("{:032x}", rand::random::<u128>());
        self.sign(request, &now, &nonce, SIGNED_BODY).into()
    }

    fn sign(&self, request: &Signed<'_>, timestamp: &str, nonce: &str, signed_body: usize) -> String {
        let hmac = |key: &str, text: &str| {
            BASE64.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes()))
        };
        let unsigned = format!(
            "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={timestamp};nonce={nonce};",
            self.client_token.expose_secret(),
            self.access_token.expose_secret(),
        );
        // The bodies of POSTs only, whatever else has one.
        let body = match request.body {
            body if request.method == "POST" && !body.is_empty() => {
                BASE64.encode(digest::digest(&digest::SHA256, &body[..body.len().min(signed_body)]))
            }
            _ => String::new(),
        };
        let Signed { method, scheme, host, path, .. } = request;
        // Between path and body stand headers that some of the APIs want signed; Edge DNS wants none.
        let data = format!("{method}\t{scheme}\t{host}\t{path}\t\t{body}\t{unsigned}");
        let key = hmac(self.client_secret.expose_secret(), timestamp);
        format!("{unsigned}signature={}", hmac(&key, &data))
    }
}

/// The host and the credentials of a section of an `.edgerc` file: an INI file, whose keys people write with `_` or `-`.
pub(crate) fn edgerc(file: &SecretString, section: &str) -> Result<(String, Credentials)> {
    let wrong = |what: String| ProviderError::new(ErrorKind::Config, format!("edgerc: {what}"));
    let lines = file.expose_secret().lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let mut inside = false;
    let mut found = false;
    let mut pairs = Vec::new();
    for line in lines {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == section;
            found |= inside;
        } else if inside && let Some((key, value)) = line.split_once('=') {
            pairs.push((key.trim().replace('-', "_"), value.trim()));
        }
    }
    if !found {
        return Err(wrong(format!("there is no section [{section}]; name another one with `section`")));
    }
    let value = |name: &str| {
        let value = pairs.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| *value);
        value.ok_or_else(|| wrong(format!("section [{section}] has no {name}; download the credentials again")))
    };
    let secret = |name| value(name).map(SecretString::from);
    let credentials = Credentials {
        client_token: secret("client_token")?,
        client_secret: secret("client_secret")?,
        access_token: secret("access_token")?,
    };
    Ok((value("host")?.to_owned(), credentials))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors that Akamai publishes with its own clients (edgegrid-python, `test/testdata.json` and `test/testcases.json`).
    #[test]
    fn signatures_are_those_of_akamai_s_own_clients() {
        let credentials = Credentials {
            client_token: "akab-client-token-xxx-xxxxxxxxxxxxxxxx".into(),
            client_secret: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=".into(),
            access_token: "akab-access-token-xxx-xxxxxxxxxxxxxxxx".into(),
        };
        let long = "d".repeat(2049);
        for (name, method, path, body, signature) in [
            ("simple GET", "GET", "/", "", "tL+y4hxyHxgWVD30X3pWnGKHcPzmrIF+LThiAOhMxYU="),
            ("query", "GET", "/testapi/v1/t1?p1=1&p2=2", "", "hKDH1UlnQySSHjvIcZpDMbQHihTQ0XyVAKZaApabdeA="),
            (
                "POST inside limit",
                "POST",
                "/testapi/v1/t3",
                "datadatadatadatadatadatadatadata",
                "hXm4iCxtpN22m4cbZb4lVLW5rhX8Ca82vCFqXzSTPe4=",
            ),
            ("POST too large", "POST", "/testapi/v1/t3", &long, "6Q6PiTipLae6n4GsSIDTCJ54bEbHUBp+4MUXrbQCBoY="),
            ("POST of max_body", "POST", "/testapi/v1/t3", &long[1..], "6Q6PiTipLae6n4GsSIDTCJ54bEbHUBp+4MUXrbQCBoY="),
            ("POST empty body", "POST", "/testapi/v1/t6", "", "1gEDxeQGD5GovIkJJGcBaKnZ+VaPtrc4qBUHixjsPCQ="),
        ] {
            let host = "akaa-baseurl-xxxxxxxxxxx-xxxxxxxxxxxxx.luna.akamaiapis.net";
            let request = Signed { method, scheme: "https", host, path, body: body.as_bytes() };
            let header =
                credentials.sign(&request, "20140321T19:34:21+0000", "nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", 2048);
            let expected = format!(
                "EG1-HMAC-SHA256 client_token=akab-client-token-xxx-xxxxxxxxxxxxxxxx;\
                 access_token=akab-access-token-xxx-xxxxxxxxxxxxxxxx;timestamp=20140321T19:34:21+0000;\
                 nonce=nonce-xx-xxxx-xxxx-xxxx-xxxxxxxxxxxx;signature={signature}"
            );
            assert_eq!(header, expected, "{name}");
        }
    }

    #[test]
    fn an_edgerc_file_is_read_section_by_section() {
        let file = "; mine\n[default]\nhost = a.example\n\n[dns]\n# key\nclient-secret = planted=\nclient_token=ct\n\
                    access_token = at\nhost = b.example\nmax_body = 131072\n";
        let (host, credentials) = edgerc(&file.into(), "dns").expect("it is there");
        assert_eq!((host.as_str(), credentials.client_secret.expose_secret()), ("b.example", "planted="));
        for (section, part) in [("other", "no section [other]"), ("default", "[default] has no client_token")] {
            let error = edgerc(&file.into(), section).err().expect(part).to_string();
            assert!(error.contains(part) && !error.contains("planted"), "{error}");
        }
    }
}
