//! Names, ids and values that end up in names.

use dcv_core::{
    Method, RunId,
    name::{DnsName, check_set},
    placement::{Placement, check_value, file_path},
};

use crate::one_line;

/// A name as people write it, and what the CA gives to be put at names.
pub(crate) fn name(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match DnsName::parse(&text) {
        Ok(name) => is_a_name(&name),
        Err(error) => one_line(&error.to_string()),
    }
    let names: Vec<DnsName> = text.lines().filter_map(|line| DnsName::parse(line).ok()).collect();
    let set = check_set(&names, None);
    assert!(set.names.len() <= names.len() && names.iter().all(|name| set.names.contains(name)));
    assert!(set.covered.iter().all(|(name, wildcard)| wildcard.covers(name)));
    match text.parse::<RunId>() {
        Ok(id) => assert_eq!(id.as_str(), text),
        Err(error) => one_line(&error),
    }
    if let Some(path) = file_path(&text) {
        let name = path.strip_prefix("/.well-known/pki-validation/").expect("the agreed folder");
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{path}");
    }
    for method in
        [Method::DnsTxtToken, Method::DnsCnameToken, Method::HttpToken, Method::HttpTokenDynamic, Method::Email]
    {
        match check_value(method, &text) {
            Ok(()) => {
                let proof = Placement::default().proof(method, "example.com", &text);
                assert_eq!(proof.is_some(), method != Method::Email);
            }
            Err(error) => one_line(&error),
        }
    }
}

fn is_a_name(name: &DnsName) {
    let text = name.as_str();
    assert_eq!(&DnsName::parse(text).expect("it is one"), name);
    assert!(text.len() <= 253 && text.is_ascii() && text == text.to_ascii_lowercase(), "{text}");
    assert!(name.base().split('.').all(|label| (1..=63).contains(&label.len())), "{text}");
    let ancestors: Vec<&str> = name.ancestors().collect();
    assert_eq!(ancestors.first(), Some(&name.base()));
    assert_eq!(ancestors.last(), Some(&name.registrable()));
    let unicode = name.to_unicode();
    one_line(&unicode);
    assert_eq!(&DnsName::parse(&unicode).expect("people can type what they are shown"), name, "{unicode}");
    assert!(name.covers(name) && name.ends_with(name));
}
