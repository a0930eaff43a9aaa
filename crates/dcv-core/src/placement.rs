//! Where a random value goes: from a domain, a method and the CA's value to the [`Proof`] that a provider presents.
//!
//! Sources: CertCentral's pages on DNS TXT, DNS CNAME and HTTP practical demonstration, and BR 3.2.2.4.7 and 3.2.2.4.18.

use std::{fmt, str::FromStr};

use certcentral::{DcvMethod, DcvScope};
use dcv_provider::{Proof, ProofKind};
use serde::{Deserialize, Serialize};

use crate::name::DnsName;

/// The label in front of a domain under which the CA looks first (BR 3.2.2.4.7: a label that begins with an underscore).
pub const DNSAUTH_LABEL: &str = "_dnsauth";
/// The suffix of CNAME targets.
pub const CNAME_SUFFIX: &str = "dcv.digicert.com";
/// Where the file is expected on the web server (BR 3.2.2.4.18).
pub const FILE_PATH: &str = "/.well-known/pki-validation/fileauth.txt";

/// A method by which control of a domain is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The value in a TXT record. Covers wildcards and subdomains.
    #[default]
    DnsTxtToken,
    /// The value in the target of a CNAME record. Covers wildcards and subdomains.
    DnsCnameToken,
    /// The value in a file on the web server. Covers exactly the host it was fetched from, and no wildcard
    /// (BR 3.2.2.4.18, since 16 Nov 2021).
    HttpToken,
    /// The same, in a file whose name the CA gives.
    HttpTokenDynamic,
    /// A mail with a link that somebody has to open. Covers wildcards and subdomains; ends on 15 Mar 2028 (BR, ballot SC-090).
    Email,
}

impl Method {
    /// Every method, in the order of preference.
    pub const ALL: [Self; 5] =
        [Self::DnsTxtToken, Self::DnsCnameToken, Self::HttpToken, Self::HttpTokenDynamic, Self::Email];

    /// As the API and the configuration write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DnsTxtToken => "dns-txt-token",
            Self::DnsCnameToken => "dns-cname-token",
            Self::HttpToken => "http-token",
            Self::HttpTokenDynamic => "http-token-dynamic",
            Self::Email => "email",
        }
    }

    /// The kind of proof a provider must be able to present; `None` where people show control.
    #[must_use]
    pub fn proof_kind(self) -> Option<ProofKind> {
        match self {
            Self::DnsTxtToken => Some(ProofKind::Txt),
            Self::DnsCnameToken => Some(ProofKind::Cname),
            Self::HttpToken | Self::HttpTokenDynamic => Some(ProofKind::File),
            Self::Email => None,
        }
    }

    /// Whether one proof at a domain covers the names below it.
    #[must_use]
    pub fn covers_subdomains(self) -> bool {
        self.proof_kind() != Some(ProofKind::File)
    }

    /// The domain that has to be proved for a name of an order: its registrable domain (the CA's default), or the name itself where
    /// the scope is `fqdn` or the method shows control of one host only.
    #[must_use]
    pub fn domain_of<'n>(self, name: &'n DnsName, scope: Option<&DcvScope>) -> &'n str {
        let exact = scope == Some(&DcvScope::Fqdn) || !self.covers_subdomains();
        if exact { name.base() } else { name.registrable() }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|m| m.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("method: `{text}` is not a method of this version; use one of {all}")
        })
    }
}

impl From<Method> for DcvMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::DnsTxtToken => Self::DnsTxtToken,
            Method::DnsCnameToken => Self::DnsCnameToken,
            Method::HttpToken => Self::HttpToken,
            Method::HttpTokenDynamic => Self::HttpTokenDynamic,
            Method::Email => Self::Email,
        }
    }
}

/// Which of the two owner names the CA looks at gets the TXT record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TxtOwner {
    /// The domain itself, as CertCentral's pages teach.
    #[default]
    Domain,
    /// `_dnsauth.<domain>`: the CA looks here first. Best where the domain itself is a CNAME or is delegated.
    Dnsauth,
}

/// Which CNAME recipe is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CnameRule {
    /// `_dnsauth.<domain>` to `<value>.dcv.digicert.com`.
    #[default]
    Dnsauth,
    /// `<value>.<domain>` to `dcv.digicert.com`: ended at DigiCert on 28 Oct 2025, kept for CAs and test set-ups that
    /// still want it.
    ValueLabel,
}

/// The choices of placement that are the customer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// Owner name of TXT records.
    pub txt: TxtOwner,
    /// Recipe of CNAME records.
    pub cname: CnameRule,
}

impl Placement {
    /// The proof that shows control of `domain` (A-labels, no wildcard) by `value`, with the file's usual name. `None` where
    /// people show control.
    #[must_use]
    pub fn proof(self, method: Method, domain: &str, value: &str) -> Option<Proof> {
        self.proof_in(method, domain, value, FILE_PATH)
    }

    /// The same, with a file of another name; see [`file_path`].
    #[must_use]
    pub fn proof_in(self, method: Method, domain: &str, value: &str, file_path: &str) -> Option<Proof> {
        Some(match method {
            Method::Email => return None,
            Method::DnsTxtToken => Proof::Txt {
                name: match self.txt {
                    TxtOwner::Domain => domain.to_owned(),
                    TxtOwner::Dnsauth => format!("{DNSAUTH_LABEL}.{domain}"),
                },
                value: value.to_owned(),
            },
            Method::DnsCnameToken => match self.cname {
                CnameRule::Dnsauth => Proof::Cname {
                    name: format!("{DNSAUTH_LABEL}.{domain}"),
                    target: format!("{value}.{CNAME_SUFFIX}"),
                },
                CnameRule::ValueLabel => {
                    Proof::Cname { name: format!("{value}.{domain}"), target: CNAME_SUFFIX.to_owned() }
                }
            },
            Method::HttpToken | Method::HttpTokenDynamic => {
                Proof::File { host: domain.to_owned(), path: file_path.to_owned(), body: value.to_owned() }
            }
        })
    }
}

/// The file that a `http_token_url` of the CA points at. Only its name is taken, and only a harmless one (the CA's open validator
/// allows 1 to 64 letters, digits, dots, hyphens and underscores): the host is the domain's, the folder is BR 3.2.2.4.18's.
#[must_use]
pub fn file_path(url: &str) -> Option<String> {
    let (folder, _) = FILE_PATH.rsplit_once('/')?;
    let (before, name) = url.trim().rsplit_once('/')?;
    let harmless = (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (harmless && before.ends_with(folder)).then(|| format!("{folder}/{name}"))
}

/// Whether `value` can be the proof's value without being altered on its way: a TXT character-string holds 255
/// octets, a label 63 of letters, digits and hyphens.
///
/// # Errors
/// Says what does not fit, without the way out: only the CA can give another value.
pub fn check_value(method: Method, value: &str) -> Result<(), String> {
    let fits = match method {
        Method::DnsTxtToken => value.len() <= 255 && value.bytes().all(|b| (0x20..0x7f).contains(&b)),
        Method::DnsCnameToken => {
            value.len() <= 63 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        }
        Method::HttpToken | Method::HttpTokenDynamic => value.len() <= 5000,
        Method::Email => true,
    };
    if value.is_empty() {
        Err("the CA gave an empty random value".to_owned())
    } else if fits {
        Ok(())
    } else {
        let kind = method.proof_kind().map_or_else(|| "mail".to_owned(), |kind| kind.to_string());
        Err(format!("the CA's random value ({} octets) does not fit into a {kind}", value.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_follow_the_published_recipes() {
        let table = [
            (Placement::default(), Method::DnsTxtToken, "example.com TXT \"v1\""),
            (
                Placement { txt: TxtOwner::Dnsauth, ..Placement::default() },
                Method::DnsTxtToken,
                "_dnsauth.example.com TXT \"v1\"",
            ),
            (Placement::default(), Method::DnsCnameToken, "_dnsauth.example.com CNAME v1.dcv.digicert.com"),
            (
                Placement { cname: CnameRule::ValueLabel, ..Placement::default() },
                Method::DnsCnameToken,
                "v1.example.com CNAME dcv.digicert.com",
            ),
            (Placement::default(), Method::HttpToken, "http://example.com/.well-known/pki-validation/fileauth.txt"),
        ];
        for (placement, method, expected) in table {
            let proof = placement.proof(method, "example.com", "v1").expect("a proof");
            assert_eq!(proof.to_string(), expected);
            assert_eq!(Some(proof.kind()), method.proof_kind());
        }
        assert_eq!(Placement::default().proof(Method::Email, "example.com", "v1"), None);
    }

    #[test]
    fn what_is_proved_for_a_name_follows_from_method_and_scope() {
        let name = DnsName::parse("*.shop.example.com").expect("a name");
        for (method, scope, domain) in [
            (Method::DnsTxtToken, None, "example.com"),
            (Method::Email, Some(DcvScope::BaseDomain), "example.com"),
            (Method::DnsCnameToken, Some(DcvScope::Fqdn), "shop.example.com"),
            (Method::HttpToken, None, "shop.example.com"),
        ] {
            assert_eq!(method.domain_of(&name, scope.as_ref()), domain, "{method} {scope:?}");
        }
    }

    #[test]
    fn the_ca_names_a_file_and_no_other_place() {
        let folder = "http://example.com/.well-known/pki-validation";
        assert_eq!(file_path(&format!("{folder}/fileauth.txt")).as_deref(), Some(FILE_PATH));
        let named = file_path(&format!("{folder}/k7c1_x.txt"));
        assert_eq!(named.as_deref(), Some("/.well-known/pki-validation/k7c1_x.txt"));
        for odd in ["/../a.txt", "/..", "/", "/a%2f.txt", "/a?b", "/.htaccess"] {
            assert_eq!(file_path(&format!("{folder}{odd}")), None, "{odd}");
        }
        assert_eq!(file_path("http://example.com/a.txt"), None);
        assert_eq!(file_path(&format!("{folder}/{}", "a".repeat(65))), None);
    }

    #[test]
    fn values_that_would_be_altered_are_refused() {
        assert!(check_value(Method::DnsCnameToken, &"a".repeat(63)).is_ok());
        assert!(check_value(Method::DnsCnameToken, &"a".repeat(64)).is_err());
        assert!(check_value(Method::DnsCnameToken, "a.b").is_err());
        assert!(check_value(Method::DnsTxtToken, &"a".repeat(256)).is_err());
        assert!(check_value(Method::HttpToken, "").is_err());
    }
}
