//! HTML in the making. What is markup is written in this program, by its type: everything else comes in as text and is escaped.
//!
//! So a certificate's label, a name, or an error of somebody else's server can never become markup.

use std::fmt::{self, Display, Write};

use jiff::{SignedDuration, Timestamp};

/// A page or a part of one.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of ours.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody's.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string never fails.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// An opening tag with attributes, whose values may be anybody's.
    pub(super) fn tag(&mut self, name: &'static str, attributes: &[(&'static str, &dyn Display)]) -> &mut Self {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
        self.0.push('>');
        self
    }

    /// A time, for people and for machines.
    pub(super) fn time(&mut self, at: Timestamp, format: &'static str) -> &mut Self {
        self.tag("time", &[("datetime", &at.strftime("%Y-%m-%dT%H:%M:%SZ"))]);
        self.text(at.strftime(format)).raw("</time>")
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Escapes for text and for quoted attribute values alike.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // They have no place in HTML, and those that turn the direction of writing would make one thing look like another.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Where the page of a label is. The label may be anything.
pub(super) fn page_of(label: &str) -> String {
    format!("/kept/{}", percent(label))
}

/// Text as one segment of a path or one value of a query.
pub(super) fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// How far away a moment is, in the unit that suits: `in 31 days`, `2 hours ago`.
pub(super) fn distance(now: Timestamp, at: Timestamp) -> String {
    let seconds = at.duration_since(now);
    let ahead = seconds >= SignedDuration::ZERO;
    let seconds = seconds.as_secs().unsigned_abs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    if ahead { format!("in {number} {unit}{plural}") } else { format!("{number} {unit}{plural} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_as_text_is_never_markup() {
        let mut html = Html::default();
        html.tag("a", &[("href", &page_of("\"><script>/..")), ("title", &"\" onclick='x'")]);
        html.text("<b>&\u{202e}\u{1}").raw("</a>");
        let expected = "<a href=\"/kept/%22%3E%3Cscript%3E%2F%2E%2E\" title=\"&quot; onclick=&#39;x&#39;\">\
                        &lt;b&gt;&amp;\u{fffd}\u{fffd}</a>";
        assert_eq!(html.into_string(), expected);
    }

    #[test]
    fn distances_have_a_unit_that_suits() {
        let now: Timestamp = "2027-05-01T00:00:00Z".parse().expect("a timestamp");
        for (seconds, text) in [
            (0, "in 0 seconds"),
            (-61, "1 minute ago"),
            (7200, "in 2 hours"),
            (-86_400, "24 hours ago"),
            (31 * 86_400, "in 31 days"),
        ] {
            assert_eq!(distance(now, now + SignedDuration::from_secs(seconds)), text);
        }
    }
}
