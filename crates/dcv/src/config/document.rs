//! The text of `dcv.toml`: what stands where in it, and an error's words without the line, which may hold a secret.

use std::{collections::BTreeMap, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Provider;
use crate::{
    exit::{Failure, Result, did_you_mean},
    providers::{self, FEATURES, KINDS},
};

const SECRET_FORMS: &str = "a secret is written { env = \"NAME\" }, { file = \"PATH\" }, { credential = \"NAME\" }, { command = [\"PROGRAM\"] } or \"…\"";

/// The text of a file, and what it is called.
pub(super) struct Document<'t> {
    pub(super) text: &'t str,
    pub(super) path: &'t Path,
}

impl<'t> Document<'t> {
    pub(super) fn providers(&self, tables: Spanned<DeValue<'t>>) -> Result<BTreeMap<String, Provider>> {
        let span = tables.span();
        let DeValue::Table(tables) = tables.into_inner() else {
            let at = self.place(span, "provider");
            return Err(Failure::usage(&at, "providers have names; write [provider.NAME]"));
        };
        let mut providers = BTreeMap::new();
        for (label, table) in tables {
            let field = format!("provider.{}", label.get_ref());
            let place = self.place(label.span(), &field);
            let span = table.span();
            let DeValue::Table(mut table) = table.into_inner() else {
                return Err(Failure::usage(&place, "it is not a table; write [provider.NAME] and its fields below"));
            };
            let known = || KINDS.iter().map(|kind| kind.descriptor.id);
            let types = known().collect::<Vec<_>>().join(", ");
            let Some(id) = table.remove("type") else {
                let meant = table
                    .keys()
                    .map(|key| key.get_ref().as_ref())
                    .find(|key: &&str| !did_you_mean(key, ["type"]).is_empty());
                let near = meant.map(|key| format!(" (is `{key}` meant to be it?)")).unwrap_or_default();
                return Err(Failure::usage(&place, format!("`type` is missing{near}; give one of {types}")));
            };
            let Some(kind) = id.get_ref().as_str().and_then(providers::find) else {
                let given = id.get_ref().as_str().unwrap_or("");
                let at = self.place(id.span(), &format!("{field}.type"));
                if FEATURES.contains(&given) {
                    let message = format!(
                        "this dcv is built without `{given}`: build it with `--features {given}`, or load it as a plugin (type = \"plugin\")"
                    );
                    return Err(Failure::usage(&at, message));
                }
                let near = did_you_mean(given, known());
                return Err(Failure::usage(&at, format!("`{given}` is no type of provider{near}; use one of {types}")));
            };
            let text = |field: &str| table.get(field).and_then(|value| value.get_ref().as_str()).map(str::to_owned);
            let is_plugin = kind.descriptor.id == dcv_plugin::DESCRIPTOR.id;
            let plugin = text("path").filter(|_| is_plugin).map(|path| (path.into(), text("sha256")));
            let inline = kind.descriptor.options.iter().filter(|option| option.secret);
            let inline = inline.map(|option| option.name).find(|name| is_inline(&table, name));
            let inline = inline.map(|name| format!("{field}.{name}"));
            let build = (kind.read)(Spanned::new(span, table).into()).map_err(|error| {
                let error = self.error(&field, error);
                // Positions inside a table without one of their own are its header's.
                if error.message.contains(':') { error } else { Failure::usage(&place, error.message) }
            })?;
            providers.insert(label.get_ref().to_string(), Provider { plugin, place, inline, build });
        }
        Ok(providers)
    }

    /// `dcv.toml:12: field`.
    pub(super) fn place(&self, span: Range<usize>, field: &str) -> String {
        let line = self.text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
        match field {
            "" => format!("{}:{line}", self.path.display()),
            _ => format!("{}:{line}: {field}", self.path.display()),
        }
    }

    /// Words for an error of the parser. Its own rendering would show the line.
    pub(super) fn error(&self, within: &str, mut error: toml::de::Error) -> Failure {
        error.set_input(None);
        let text = error.to_string();
        let inner = text.trim_end().rsplit_once("\nin `").map_or("", |(_, keys)| keys.trim_end_matches('`'));
        let field = match (within, inner) {
            ("", inner) => inner.to_owned(),
            (within, "") => within.to_owned(),
            (within, inner) => format!("{within}.{inner}"),
        };
        let mut message = error.message().trim().replace('\n', "; ");
        // Whatever the field: a text in the wrong place may be a secret.
        if let Some((before, rest)) = message.split_once("string \"")
            && let Some((_, after)) = rest.rsplit_once('"')
        {
            message = format!("{before}a string{after}");
        }
        if message.contains("untagged enum Secret") {
            SECRET_FORMS.clone_into(&mut message);
        }
        if message.starts_with("unknown ") {
            let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
            if let Some((given, known)) = words.split_first() {
                message += &did_you_mean(given, known.iter().copied());
            }
        }
        let at = match error.span() {
            Some(span) => self.place(span, &field),
            None => format!("{}: {field}", self.path.display()),
        };
        Failure::usage(&at, message)
    }
}

/// Whether a provider's option, such as `tsig.secret`, is a text in the table itself. What holds secrets by name, such as the
/// environment of a program, is looked through.
fn is_inline(table: &DeTable<'_>, option: &str) -> bool {
    const SOURCES: [&str; 4] = ["env", "file", "credential", "command"];
    let (first, rest) = option.split_once('.').map_or((option, None), |(first, rest)| (first, Some(rest)));
    let Some(value) = table.get(first).map(Spanned::get_ref) else { return false };
    match (value, rest) {
        (DeValue::Table(inner), Some(rest)) => is_inline(inner, rest),
        (DeValue::Table(inner), None) => {
            let is_source = inner.len() == 1 && inner.keys().all(|key| SOURCES.contains(&key.get_ref().as_ref()));
            !is_source && inner.values().any(|value| value.get_ref().is_str())
        }
        (value, None) => value.is_str(),
        (_, Some(_)) => false,
    }
}
