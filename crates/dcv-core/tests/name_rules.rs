//! Which names may be ordered, and how they are written.

use dcv_core::name::{DnsName, NameError, check_set};
use proptest::prelude::*;

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn accepted_names_get_their_one_spelling() {
    let table = [
        ("example.com", "example.com", "example.com"),
        ("WWW.Example.COM.", "www.example.com", "example.com"),
        ("*.example.co.uk", "*.example.co.uk", "example.co.uk"),
        ("münchen.de", "xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("MÜNCHEN.de", "xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        // Non-transitional: ß stays itself.
        ("straße.de", "xn--strae-oqa.de", "xn--strae-oqa.de"),
        ("例え。jp", "xn--r8jz45g.jp", "xn--r8jz45g.jp"),
        ("例え.jp。", "xn--r8jz45g.jp", "xn--r8jz45g.jp"),
        ("www.食狮.公司.cn", "www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("рф.рф", "xn--p1ai.xn--p1ai", "xn--p1ai.xn--p1ai"),
        // The private section does not count, however deep it is.
        ("a.b.github.io", "a.b.github.io", "github.io"),
        ("github.io", "github.io", "github.io"),
        ("bucket.s3.dualstack.eu-west-1.amazonaws.com", "bucket.s3.dualstack.eu-west-1.amazonaws.com", "amazonaws.com"),
        ("a.blogspot.co.uk", "a.blogspot.co.uk", "blogspot.co.uk"),
        // Wildcard rule and its exception: *.ck, !www.ck.
        ("a.b.foo.ck", "a.b.foo.ck", "b.foo.ck"),
        ("a.www.ck", "a.www.ck", "www.ck"),
        ("a--b.example.com", "a--b.example.com", "example.com"),
        ("3com.com", "3com.com", "3com.com"),
    ];
    for (given, text, registrable) in table {
        let name = name(given);
        assert_eq!(name.as_str(), text, "{given}");
        assert_eq!(name.registrable(), registrable, "{given}");
        assert_eq!(name.is_wildcard(), given.starts_with("*."), "{given}");
        assert_eq!(name.base(), text.trim_start_matches("*."), "{given}");
    }
}

#[test]
fn one_script_or_latin_with_an_east_asian_writing_system() {
    for given in
        ["tokyo-東京タワー1.jp", "abcㄅ漢.tw", "k한글漢.kr", "ひらカタ漢.jp", "ελλάδα.gr", "россия-2.ru", "हिन्दी.in"]
    {
        assert_eq!(name(given).to_unicode(), given);
    }
}

type Expected = fn(&NameError) -> bool;

#[test]
fn refused_names_say_why() {
    let long_label = format!("{}.example.com", "a".repeat(64));
    let long_idn = format!("{}.example.com", "ü".repeat(60));
    let long = format!("{}example.com", "abcdefgh.".repeat(27));
    let long_wildcard = format!("*.{}b.com", "a.".repeat(124));
    let table: &[(&str, Expected)] = &[
        ("", |e| matches!(e, NameError::Empty)),
        (".", |e| matches!(e, NameError::Empty)),
        (" example.com", |e| matches!(e, NameError::Blank { .. })),
        ("a b.example.com", |e| matches!(e, NameError::Blank { .. })),
        ("example.com\n", |e| matches!(e, NameError::Blank { .. })),
        ("exa\u{7}mple.com", |e| matches!(e, NameError::Blank { name } if !name.contains('\u{7}'))),
        ("a..example.com", |e| matches!(e, NameError::EmptyLabel { .. })),
        (".example.com", |e| matches!(e, NameError::EmptyLabel { .. })),
        ("example.com..", |e| matches!(e, NameError::EmptyLabel { .. })),
        ("*..example.com", |e| matches!(e, NameError::EmptyLabel { .. })),
        ("a.\u{ad}.com", |e| matches!(e, NameError::EmptyLabel { .. })),
        (&long_label, |e| matches!(e, NameError::LabelTooLong { octets: 64, .. })),
        (&long_idn, |e| matches!(e, NameError::LabelTooLong { octets: 64.., .. })),
        (&long, |e| matches!(e, NameError::TooLong { octets: 254, .. })),
        (&long_wildcard, |e| matches!(e, NameError::TooLong { octets: 255, .. })),
        ("_dmarc.example.com", |e| matches!(e, NameError::Underscore { .. })),
        ("a\u{ff3f}b.example.com", |e| matches!(e, NameError::Idn { .. })),
        ("192.0.2.1", |e| matches!(e, NameError::IpAddress { .. }) && e.to_string().contains("domain names only")),
        ("192.0.2.1.", |e| matches!(e, NameError::IpAddress { .. })),
        ("2001:db8::1", |e| matches!(e, NameError::IpAddress { .. })),
        ("[2001:db8::1]", |e| matches!(e, NameError::IpAddress { .. })),
        ("http://192.0.2.1/", |e| matches!(e, NameError::IpAddress { .. })),
        ("https://[2001:db8::1]:443/", |e| matches!(e, NameError::IpAddress { .. })),
        ("https://www.example.com/shop", |e| matches!(e, NameError::Url { host, .. } if host == "www.example.com")),
        (
            "https://me:pw@www.example.com:8443",
            |e| matches!(e, NameError::Url { host, .. } if host == "www.example.com"),
        ),
        ("www.example.com:443", |e| matches!(e, NameError::Url { host, .. } if host == "www.example.com")),
        ("www.example.com/", |e| matches!(e, NameError::Url { host, .. } if host == "www.example.com")),
        ("admin@example.com", |e| matches!(e, NameError::Character { character: '@', .. })),
        ("-a.example.com", |e| matches!(e, NameError::Hyphen { label, .. } if label == "-a")),
        ("a-.example.com", |e| matches!(e, NameError::Hyphen { label, .. } if label == "a-")),
        ("-ü.example.com", |e| matches!(e, NameError::Hyphen { .. })),
        ("ab--cd.example.com", |e| matches!(e, NameError::ReservedLabel { label, .. } if label == "ab--cd")),
        ("ab--ü.example.com", |e| matches!(e, NameError::Idn { .. })),
        ("xn--a.example.com", |e| matches!(e, NameError::Idn { label, .. } if label == "xn--a")),
        ("xn--.example.com", |e| matches!(e, NameError::Hyphen { .. } | NameError::Idn { .. })),
        // The A-label of an upper-case or transitional spelling, and of plain ASCII: no round trip.
        ("xn--Mnchen-3ya-.de", |e| matches!(e, NameError::Hyphen { .. } | NameError::Idn { .. })),
        ("xn--example-.com", |e| matches!(e, NameError::Hyphen { .. } | NameError::Idn { .. })),
        ("☃\u{338}=.example.com", |e| matches!(e, NameError::Character { character: '=', .. })),
        ("*", |e| matches!(e, NameError::Wildcard { .. })),
        ("*.*.example.com", |e| matches!(e, NameError::Wildcard { .. })),
        ("www.*.example.com", |e| matches!(e, NameError::Wildcard { .. })),
        ("w*.example.com", |e| matches!(e, NameError::Wildcard { .. })),
        ("*example.com", |e| matches!(e, NameError::Wildcard { .. })),
        ("co.uk", |e| matches!(e, NameError::PublicSuffix { suffix, .. } if suffix == "co.uk")),
        ("*.co.uk", |e| matches!(e, NameError::PublicSuffix { .. })),
        ("com", |e| matches!(e, NameError::PublicSuffix { .. })),
        ("公司.cn", |e| matches!(e, NameError::PublicSuffix { suffix, .. } if suffix == "公司.cn")),
        ("foo.ck", |e| matches!(e, NameError::PublicSuffix { .. })),
        ("localhost", |e| matches!(e, NameError::NotPublic { tld, .. } if tld == "localhost")),
        ("server.corp", |e| matches!(e, NameError::NotPublic { tld, .. } if tld == "corp")),
        ("a.test", |e| matches!(e, NameError::NotPublic { .. })),
        // Cyrillic а in a Latin word; Greek ο in a Latin word.
        ("p\u{430}ypal.com", |e| matches!(e, NameError::MixedScripts { scripts, .. } if scripts == "Cyrillic, Latin")),
        ("g\u{3bf}ogle.com", |e| matches!(e, NameError::MixedScripts { scripts, .. } if scripts == "Greek, Latin")),
        ("xn--pypal-4ve.com", |e| matches!(e, NameError::MixedScripts { .. })),
        // Hangul and kana are not written together.
        ("한か.com", |e| matches!(e, NameError::MixedScripts { .. })),
    ];
    for (given, expected) in table {
        match DnsName::parse(given) {
            Ok(name) => panic!("{given:?} was taken as {name}"),
            Err(e) => {
                assert!(expected(&e), "{given:?}: {e:?}");
                let text = e.to_string();
                assert!(!text.contains('\n') && text.contains([';', ':']), "no way out: {text}");
            }
        }
    }
}

#[test]
fn ancestors_end_at_the_registrable_domain() {
    let chain = |text| name(text).ancestors().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(chain("*.a.b.example.co.uk"), ["a.b.example.co.uk", "b.example.co.uk", "example.co.uk"]);
    assert_eq!(chain("example.com"), ["example.com"]);
}

#[test]
fn covering_is_one_label_and_ending_is_whole_labels() {
    let wildcard = name("*.example.com");
    assert!(wildcard.covers(&name("www.example.com")));
    assert!(wildcard.covers(&wildcard));
    assert!(!wildcard.covers(&name("example.com")));
    assert!(!wildcard.covers(&name("a.b.example.com")));
    assert!(!wildcard.covers(&name("*.b.example.com")));
    assert!(!name("example.com").covers(&name("www.example.com")));

    assert!(name("a.b.example.com").ends_with(&name("*.b.example.com")));
    assert!(name("example.com").ends_with(&name("example.com")));
    assert!(!name("notexample.com").ends_with(&name("example.com")));
}

#[test]
fn a_set_has_every_name_once_and_the_common_name_first() {
    let names = [name("b.example.com"), name("*.example.com"), name("B.example.com"), name("x.y.example.com")];
    let set = check_set(&names, Some(&name("example.com")));
    let texts: Vec<_> = set.names.iter().map(DnsName::as_str).collect();
    assert_eq!(texts, ["example.com", "b.example.com", "*.example.com", "x.y.example.com"]);
    assert_eq!(set.covered, [(name("b.example.com"), name("*.example.com"))]);
    assert_eq!(check_set(&names, Some(&name("*.example.com"))).names[0].as_str(), "*.example.com");
    assert!(check_set(&[], None).names.is_empty());
}

#[test]
fn serde_writes_text_and_reads_with_all_checks() {
    let names: Vec<DnsName> = serde_json::from_str(r#"["MÜNCHEN.de", "*.example.com"]"#).unwrap();
    assert_eq!(serde_json::to_string(&names).unwrap(), r#"["xn--mnchen-3ya.de","*.example.com"]"#);
    let error = serde_json::from_str::<DnsName>(r#""co.uk""#).unwrap_err().to_string();
    assert!(error.contains("public suffix"), "{error}");
}

/// Text that is often, but not always, a name.
fn nearly_names() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        4 => "[a-zA-Z0-9-]{1,12}",
        2 => "[a-zäöüßéøñ]{1,8}",
        1 => "[а-я]{1,8}",
        1 => "[ぁ-んァ-ヶ一-龥a-z]{1,6}",
        1 => "\\PC{1,4}",
        1 => "xn--[a-z0-9-]{1,10}",
        1 => "[a-z]{60,66}",
    ];
    let suffix = prop_oneof![Just("com"), Just("co.uk"), Just("github.io"), Just("jp"), Just("公司.cn"), Just("CK")];
    (any::<bool>(), prop::collection::vec(label, 0..9), suffix, any::<bool>()).prop_map(
        |(star, labels, suffix, dot)| {
            let mut text = if star { "*.".to_owned() } else { String::new() };
            for label in labels {
                text.push_str(&label);
                text.push('.');
            }
            text.push_str(suffix);
            if dot {
                text.push('.');
            }
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_accepted_is_fit_for_the_dns(text in nearly_names()) {
        if let Ok(name) = DnsName::parse(&text) {
            let base = name.base();
            prop_assert!(name.as_str().len() <= 253);
            for label in base.split('.') {
                prop_assert!((1..=63).contains(&label.len()), "{label}");
                prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{label}");
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'), "{label}");
            }
            let below = base.strip_suffix(name.registrable());
            prop_assert!(below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')), "{base}");
            let ancestors: Vec<_> = name.ancestors().collect();
            prop_assert_eq!(ancestors.first().copied(), Some(base));
            prop_assert_eq!(ancestors.last().copied(), Some(name.registrable()));
            // Parsing again changes nothing, from either spelling, in either case.
            prop_assert_eq!(&DnsName::parse(name.as_str()).unwrap(), &name);
            prop_assert_eq!(&DnsName::parse(&name.as_str().to_ascii_uppercase()).unwrap(), &name);
            prop_assert_eq!(&DnsName::parse(&name.to_unicode()).unwrap(), &name);
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(&serde_json::from_str::<DnsName>(&json).unwrap(), &name);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}") {
        if let Err(e) = DnsName::parse(&text) {
            prop_assert!(!e.to_string().contains('\n'));
        }
    }
}
