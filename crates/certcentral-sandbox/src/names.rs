//! Domain names as the CA reads them in an order: lower-cased, LDH labels only, valid A-labels, below a public suffix
//! of the ICANN section. Decides what the registrable domain of a name is and nothing about validation.

use std::fmt;

/// A name of a certificate: `fqdn` without `*.`, lower case, no final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) fqdn: String,
    pub(crate) wildcard: bool,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.fqdn)
    }
}

/// Why a name cannot be ordered, in words for the error message.
pub(crate) type Illegal = &'static str;

/// Reads a name; `unlisted` also accepts top level names that no public suffix list knows (`.test`).
pub(crate) fn parse(input: &str, unlisted: bool) -> Result<Name, Illegal> {
    let lower = input.to_ascii_lowercase();
    let (wildcard, fqdn) = match lower.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, lower.as_str()),
    };
    if fqdn.is_empty() {
        return Err("the name is empty");
    }
    if fqdn.len() > 253 {
        return Err("the name is longer than 253 characters");
    }
    if !fqdn.contains('.') {
        return Err("the name has only one label");
    }
    for label in fqdn.split('.') {
        check_label(label)?;
    }
    if fqdn.split('.').any(|label| label.starts_with("xn--"))
        && idna::domain_to_ascii_strict(fqdn).ok().as_deref() != Some(fqdn)
    {
        return Err("the name has an invalid internationalized label");
    }
    match registrable(fqdn, unlisted) {
        Some(_) => Ok(Name { fqdn: fqdn.to_owned(), wildcard }),
        None => Err("the name is not below a public suffix"),
    }
}

fn check_label(label: &str) -> Result<(), Illegal> {
    if label.is_empty() || label.len() > 63 {
        return Err("a label must have 1 to 63 characters");
    }
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err("a label may only have letters, digits and hyphens");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a label may not begin or end with a hyphen");
    }
    if label.get(2..4) == Some("--") && !label.starts_with("xn--") {
        return Err("a label may not have hyphens in its third and fourth place");
    }
    Ok(())
}

/// The public suffix of the ICANN section plus one label; private suffixes (`github.io`) do not count.
pub(crate) fn registrable(fqdn: &str, unlisted: bool) -> Option<&str> {
    let suffix = registry_suffix(fqdn, unlisted)?;
    let above = fqdn.strip_suffix(suffix)?.strip_suffix('.')?;
    let label = above.rsplit('.').next()?;
    fqdn.get(fqdn.len() - suffix.len() - 1 - label.len()..)
}

fn registry_suffix(fqdn: &str, unlisted: bool) -> Option<&str> {
    let mut rest = fqdn;
    loop {
        let suffix = psl::suffix(rest.as_bytes())?;
        let text = fqdn.get(fqdn.len() - suffix.as_bytes().len()..)?;
        match suffix.typ() {
            Some(psl::Type::Icann) => return Some(text),
            Some(psl::Type::Private) => rest = text.split_once('.')?.1,
            None => return unlisted.then_some(text),
        }
    }
}

/// The name itself and each name above it, down to and including `base`.
pub(crate) fn up_to<'a>(fqdn: &'a str, base: &str) -> impl Iterator<Item = &'a str> {
    let base = base.len();
    std::iter::successors(Some(fqdn), |name| name.split_once('.').map(|(_, above)| above))
        .take_while(move |name| name.len() >= base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_and_illegal() {
        for legal in ["example.com", "*.EXAMPLE.com", "a.b.example.co.uk", "xn--mnchen-3ya.example.de", "x.github.io"] {
            assert!(parse(legal, false).is_ok(), "{legal}");
        }
        for illegal in [
            "",
            "com",
            "co.uk",
            "*.com",
            "a.test",
            "foo_bar.example.com",
            "example.com.",
            "-a.example.com",
            "a..example.com",
            "münchen.de",
            "xn--\u{e4}.com",
            "xn--0.com",
            "ab--c.example.com",
            "www.*.example.com",
            "**.example.com",
            "192.0.2.1",
            " example.com",
        ] {
            assert!(parse(illegal, false).is_err(), "{illegal}");
        }
        assert_eq!(parse("*.A.test", true).unwrap().to_string(), "*.a.test");
    }

    #[test]
    fn registrable_by_the_icann_section() {
        let table = [
            ("www.example.com", Some("example.com")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("me.github.io", Some("github.io")),
            ("co.uk", None),
            ("www.example.test", None),
        ];
        for (name, base) in table {
            assert_eq!(registrable(name, false), base, "{name}");
        }
        assert_eq!(registrable("www.example.test", true), Some("example.test"));
    }

    #[test]
    fn names_above() {
        assert_eq!(
            up_to("a.b.example.com", "example.com").collect::<Vec<_>>(),
            ["a.b.example.com", "b.example.com", "example.com"]
        );
    }
}
