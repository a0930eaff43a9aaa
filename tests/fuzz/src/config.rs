//! The configuration, and what is shown on a terminal.

use crate::one_line;

/// `dcv.toml`: its mistakes are told on one line.
pub(crate) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Err(error) = dcv::fuzz::config(&text) {
        one_line(&error);
        assert!(error.starts_with("dcv.toml:"), "it says not where: {error}");
    }
    if let Ok(duration) = dcv::fuzz::duration(&text) {
        assert!(duration.as_secs() < 100 * 366 * 86400, "{duration:?}");
    }
}

/// Anything that may be shown: a terminal is told to do nothing but to colour it.
pub(crate) fn screen(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let shown = dcv::fuzz::shown(&text);
    let mut rest = shown.as_str();
    while let Some(at) = rest.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("\r\n") {
            rest = after;
            continue;
        }
        let style = rest.strip_prefix("\u{1b}[").expect("nothing but a style");
        let end = style.find(|c: char| !c.is_ascii_digit() && c != ';').expect("the end of a style");
        rest = style[end..].strip_prefix('m').expect("a style");
    }
    assert_eq!(dcv::fuzz::shown(&shown), shown, "not settled");
    if !text.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c)) {
        assert_eq!(shown, text, "words are changed");
    }
}
