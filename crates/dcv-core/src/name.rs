//! Names that may be ordered, and how they are written.
//!
//! A person writes `München.DE.`; the CA wants `xn--mnchen-3ya.de`. [`DnsName`] is the one spelling used everywhere
//! else: A-labels, lower case, no final dot, at most 253 octets, below a public suffix. What no public CA may sign is
//! refused here, before anything is ordered: internal names, bare public suffixes, IP addresses, underscores, labels
//! that mix look-alike scripts. Whether the CA *will* sign a name (blocklists, CAA) is left to the CA.
//!
//! Sources: RFC 1035 section 2.3.4, RFC 5890, UTS #46 (non-transitional, STD3 rules), UTS #39 section 5.2 (highly
//! restrictive), Baseline Requirements 3.2.2.6 and 7.1.4.2, and the ICANN section of the Public Suffix List.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};
use unicode_script::{Script, ScriptExtension, UnicodeScript};

/// A checked name, perhaps a wildcard: `www.example.com`, `*.example.com`.
///
/// ```
/// use dcv_core::name::DnsName;
///
/// let name = DnsName::parse("*.Shop.München.DE.")?;
/// assert_eq!(name.as_str(), "*.shop.xn--mnchen-3ya.de");
/// assert_eq!(name.base(), "shop.xn--mnchen-3ya.de");
/// assert_eq!(name.registrable(), "xn--mnchen-3ya.de");
/// # Ok::<(), dcv_core::name::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName {
    text: String,
    /// Where the registrable domain begins in `text`.
    registrable_at: usize,
}

/// Why a name cannot be ordered. The text is one line: the value, what is wrong with it, the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all, or only a dot.
    #[error("the name is empty; write a domain name, e.g. www.example.com")]
    Empty,
    /// A blank or a control character.
    #[error("`{name}` holds a blank or a control character; give each name on its own, without spaces")]
    Blank {
        /// As given, with control characters escaped.
        name: String,
    },
    /// A scheme, a path, a port or a query.
    #[error("`{name}` is a URL, not a name; give only the host: {host}")]
    Url {
        /// As given.
        name: String,
        /// What is left of it.
        host: String,
    },
    /// An IPv4 or IPv6 address.
    #[error("`{name}` is an IP address; dcv orders certificates for domain names only: give the name of the host")]
    IpAddress {
        /// As given.
        name: String,
    },
    /// Two dots in a row, or one at the beginning.
    #[error("`{name}` has an empty label; remove the superfluous dot")]
    EmptyLabel {
        /// As given.
        name: String,
    },
    /// More than 63 octets between two dots (RFC 1035 section 2.3.4).
    #[error(
        "`{name}`: the label `{label}` has {octets} octets as it is written in the DNS, 63 are allowed; shorten it"
    )]
    LabelTooLong {
        /// As given, shortened.
        name: String,
        /// The label, shortened.
        label: String,
        /// Length as an A-label.
        octets: usize,
    },
    /// More than 253 octets (RFC 1035 section 2.3.4, without the root).
    #[error("`{name}` has {octets} octets as it is written in the DNS, 253 are allowed; shorten it")]
    TooLong {
        /// As given, shortened.
        name: String,
        /// Length with A-labels.
        octets: usize,
    },
    /// Baseline Requirements 7.1.4.2: no underscore in a certificate's names since 2019.
    #[error("`{name}` holds an underscore, which no public CA may certify; use a name with a hyphen instead")]
    Underscore {
        /// As given.
        name: String,
    },
    /// Something besides letters, digits, hyphens and dots.
    #[error("`{name}` holds `{character}`; a name consists of letters, digits, hyphens and dots")]
    Character {
        /// As given.
        name: String,
        /// The first offender.
        character: char,
    },
    /// A label begins or ends with a hyphen.
    #[error("`{name}`: the label `{label}` begins or ends with a hyphen; remove it")]
    Hyphen {
        /// As given.
        name: String,
        /// The label.
        label: String,
    },
    /// Hyphens at the third and fourth place are reserved (RFC 5890 section 2.3.1).
    #[error("`{name}`: the label `{label}` has `--` at its third place, which only xn-- labels may; use another name")]
    ReservedLabel {
        /// As given.
        name: String,
        /// The label.
        label: String,
    },
    /// Not valid under UTS #46: letters that are not allowed, or an `xn--` label that stands for no such letters.
    #[error("`{name}`: the label `{label}` is no valid internationalized label (UTS #46); check the spelling")]
    Idn {
        /// As given.
        name: String,
        /// The label.
        label: String,
    },
    /// Letters of several scripts in one label, as in look-alikes of other people's names.
    #[error("`{name}`: the label `{label}` mixes scripts ({scripts}); write it in one script")]
    MixedScripts {
        /// As given.
        name: String,
        /// The label, in Unicode.
        label: String,
        /// The scripts found, e.g. "Cyrillic, Latin".
        scripts: String,
    },
    /// `*` elsewhere than as the whole leftmost label.
    #[error("`{name}`: `*` can only be the whole leftmost label, once: *.example.com")]
    Wildcard {
        /// As given.
        name: String,
    },
    /// A public suffix itself, or a wildcard right below one (Baseline Requirements 3.2.2.6).
    #[error(
        "`{name}`: {suffix} is a public suffix under which anyone may register; give a name below it, e.g. example.{suffix}"
    )]
    PublicSuffix {
        /// As given.
        name: String,
        /// The suffix.
        suffix: String,
    },
    /// Not below any public suffix (ICANN section): an internal name.
    #[error(
        "`{name}` ends in `.{tld}`, which is no public top-level domain; a public CA signs only names of the public DNS"
    )]
    NotPublic {
        /// As given.
        name: String,
        /// The last label.
        tld: String,
    },
}

impl DnsName {
    /// Reads a name as people write it: any case, U-labels or A-labels, with or without a final dot.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(input: &str) -> Result<Self, NameError> {
        let given = || shown(input);
        if input.is_empty() || input == "." {
            return Err(NameError::Empty);
        }
        if input.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(NameError::Blank { name: given() });
        }
        refuse_address_or_url(input)?;

        // The ideographic full stops separate labels too (UTS #46 section 2.3).
        let dotted = input.replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
        let dotted = dotted.strip_suffix('.').unwrap_or(&dotted);
        let (wildcard, base) = match dotted.strip_prefix("*.") {
            Some(base) => (true, base),
            None => (false, dotted),
        };
        if base.contains('*') {
            return Err(NameError::Wildcard { name: given() });
        }
        let base = to_ascii(input, base)?;

        let text = if wildcard { format!("*.{base}") } else { base.into_owned() };
        if text.len() > 253 {
            return Err(NameError::TooLong { name: given(), octets: text.len() });
        }
        let base = &text[if wildcard { 2 } else { 0 }..];
        let registrable = registrable(base).map_err(|not| match not {
            NoRegistrable::Suffix(suffix) => NameError::PublicSuffix { name: given(), suffix: unicode(suffix) },
            NoRegistrable::Unknown(tld) => NameError::NotPublic { name: given(), tld: unicode(tld) },
        })?;
        let registrable_at = text.len() - registrable.len();
        Ok(Self { text, registrable_at })
    }

    /// The name as it is ordered, with `*.` for a wildcard.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the name is a wildcard.
    pub fn is_wildcard(&self) -> bool {
        self.text.starts_with("*.")
    }

    /// The name without `*.`: where control is shown.
    pub fn base(&self) -> &str {
        self.text.strip_prefix("*.").unwrap_or(&self.text)
    }

    /// The registrable domain: one label below the public suffix (ICANN section, so `github.io` is registrable).
    pub fn registrable(&self) -> &str {
        &self.text[self.registrable_at..]
    }

    /// [`base`](Self::base) and each parent down to [`registrable`](Self::registrable): the domains at which control
    /// may be shown for this name (Baseline Requirements, "Authorization Domain Name").
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let shortest = self.registrable().len();
        std::iter::successors(Some(self.base()), move |name| {
            name.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.len() >= shortest)
        })
    }

    /// Whether the name is `domain` or below it; `*.` does not matter on either side.
    pub fn ends_with(&self, domain: &DnsName) -> bool {
        self.base().strip_suffix(domain.base()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether a certificate for this name is good for `other`: the same, or a host one label below this wildcard
    /// (RFC 6125 section 6.4.3).
    pub fn covers(&self, other: &DnsName) -> bool {
        self == other
            || self.is_wildcard()
                && !other.is_wildcard()
                && other.base().split_once('.').is_some_and(|(_, parent)| parent == self.base())
    }

    /// The name in the letters of its language, for people: `münchen.de`.
    pub fn to_unicode(&self) -> String {
        unicode(&self.text)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(input: &str) -> Result<Self, NameError> {
        Self::parse(input)
    }
}

impl TryFrom<String> for DnsName {
    type Error = NameError;

    fn try_from(input: String) -> Result<Self, NameError> {
        Self::parse(&input)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.text
    }
}

impl AsRef<str> for DnsName {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// What [`check_set`] makes of a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSet {
    /// Each name once, the common name first, the others in the order given.
    pub names: Vec<DnsName>,
    /// Names that a wildcard of the same set is good for already: (name, wildcard). They are kept in
    /// [`names`](Self::names), since someone asked for them; each may cost a place and a proof of its own.
    pub covered: Vec<(DnsName, DnsName)>,
}

/// Puts the names of one certificate in order: the common name first, every name once, and says which ones a wildcard
/// among them makes superfluous.
pub fn check_set(names: &[DnsName], common_name: Option<&DnsName>) -> NameSet {
    let mut seen = std::collections::HashSet::new();
    let names: Vec<DnsName> =
        common_name.into_iter().chain(names).filter(|name| seen.insert(name.as_str())).cloned().collect();
    let wildcards: std::collections::HashMap<&str, &DnsName> =
        names.iter().filter(|name| name.is_wildcard()).map(|name| (name.base(), name)).collect();
    let covered = names
        .iter()
        .filter(|name| !name.is_wildcard())
        .filter_map(|name| {
            let (_, parent) = name.base().split_once('.')?;
            wildcards.get(parent).map(|wildcard| (name.clone(), (*wildcard).clone()))
        })
        .collect();
    NameSet { names, covered }
}

fn refuse_address_or_url(input: &str) -> Result<(), NameError> {
    let is_ip = |text: &str| {
        let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        text.strip_suffix('.').unwrap_or(text).parse::<IpAddr>().is_ok()
    };
    if is_ip(input) {
        return Err(NameError::IpAddress { name: shown(input) });
    }
    if !input.contains(['/', ':', '?', '#']) {
        return Ok(());
    }
    let after_scheme = input.split_once("://").map_or(input, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || port.is_empty() || name.ends_with(']') => name,
        _ => host,
    };
    if is_ip(host) {
        return Err(NameError::IpAddress { name: shown(input) });
    }
    let host = if host.is_empty() { "www.example.com" } else { host };
    Err(NameError::Url { name: shown(input), host: shown(host) })
}

/// `base` (without `*.` and final dot) as A-labels in lower case, each label checked.
fn to_ascii<'a>(input: &str, base: &'a str) -> Result<Cow<'a, str>, NameError> {
    if let Some(character) = base.chars().find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-.".contains(*c)) {
        return Err(match character {
            '_' => NameError::Underscore { name: shown(input) },
            _ => NameError::Character { name: shown(input), character },
        });
    }
    for label in base.split('.') {
        check_label(input, label)?;
    }
    let process =
        |text: &'a str| Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore);
    let ascii = process(base).map_err(|_| {
        // No single label is to blame where the rules for right-to-left writing are broken: they concern the whole name.
        let culprit = base.split('.').find(|label| process(label).is_err()).unwrap_or(base);
        NameError::Idn { name: shown(input), label: shown(culprit) }
    })?;
    // Mapping may have emptied a label (soft hyphens) or made an A-label too long.
    for label in ascii.split('.') {
        check_label(input, label)?;
        if label.len() > 63 {
            let octets = label.len();
            return Err(NameError::LabelTooLong { name: shown(input), label: shown(label), octets });
        }
        if label.starts_with("xn--") {
            check_scripts(input, &unicode(label))?;
        }
    }
    Ok(ascii)
}

fn check_label(input: &str, label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel { name: shown(input) });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen { name: shown(input), label: shown(label) });
    }
    let is_a_label = label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"));
    if label.is_ascii() && label.get(2..4) == Some("--") && !is_a_label {
        return Err(NameError::ReservedLabel { name: shown(input), label: shown(label) });
    }
    Ok(())
}

/// UTS #39, "highly restrictive": one script, or Latin together with one of the three East Asian writing systems.
fn check_scripts(input: &str, label: &str) -> Result<(), NameError> {
    const TOGETHER: [&[Script]; 3] = [
        &[Script::Latin, Script::Han, Script::Hiragana, Script::Katakana],
        &[Script::Latin, Script::Han, Script::Bopomofo],
        &[Script::Latin, Script::Han, Script::Hangul],
    ];
    let fits = |scripts: &[Script]| {
        label.chars().all(|c| {
            let of_char = c.script_extension();
            scripts.iter().any(|script| of_char.contains_script(*script))
        })
    };
    if !ScriptExtension::for_str(label).is_empty() || TOGETHER.iter().any(|scripts| fits(scripts)) {
        return Ok(());
    }
    let mut scripts: Vec<&str> = label
        .chars()
        .map(|c| c.script())
        .filter(|script| !matches!(script, Script::Common | Script::Inherited))
        .map(Script::full_name)
        .collect();
    scripts.sort_unstable();
    scripts.dedup();
    Err(NameError::MixedScripts { name: shown(input), label: shown(label), scripts: scripts.join(", ") })
}

enum NoRegistrable<'a> {
    Suffix(&'a str),
    Unknown(&'a str),
}

/// The public suffix of the ICANN section and one label more. Private suffixes (`github.io`) do not count: their
/// registrants prove control of their own names, but the CA validates the ICANN-registered domain.
fn registrable(base: &str) -> Result<&str, NoRegistrable<'_>> {
    let mut rest = base;
    let suffix = loop {
        let unknown = || NoRegistrable::Unknown(rest.rsplit('.').next().unwrap_or(rest));
        let suffix = psl::suffix(rest.as_bytes()).ok_or_else(unknown)?;
        let start = rest.len() - suffix.as_bytes().len();
        match suffix.typ() {
            Some(psl::Type::Icann) => break &rest[start..],
            // An ICANN suffix, if there is one, is shorter than the private one that was found.
            Some(psl::Type::Private) => rest = rest[start..].split_once('.').ok_or_else(unknown)?.1,
            None => return Err(unknown()),
        }
    };
    let Some(below) = base[..base.len() - suffix.len()].strip_suffix('.') else {
        return Err(NoRegistrable::Suffix(suffix));
    };
    let label_at = below.rfind('.').map_or(0, |dot| dot + 1);
    Ok(&base[label_at..])
}

fn unicode(ascii: &str) -> String {
    Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow).0.into_owned()
}

/// What was given, fit to be printed in one line.
fn shown(input: &str) -> String {
    const LIMIT: usize = 80;
    let mut text: String = input.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if input.chars().nth(LIMIT).is_some() {
        text.push('…');
    }
    text
}
