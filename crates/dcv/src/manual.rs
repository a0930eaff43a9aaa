//! `dcv manual`: manual pages, completions and the schema of `dcv.toml`, made of what the program is made of.

use std::{io::Write, path::Path};

use clap::CommandFactory;
use dcv_provider::Descriptor;
use serde_json::{Map, Value, json};

use crate::{
    args::{Cli, Manual},
    exit::{Code, Failure, Result},
    providers::KINDS,
};

pub(crate) fn manual(args: &Manual) -> Result<Code> {
    if let Some(dir) = &args.man {
        pages(dir)?;
    }
    if let Some(shell) = args.completions {
        clap_complete::generate(shell, &mut Cli::command(), "dcv", &mut std::io::stdout());
    }
    if args.schema {
        let text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "{text}");
    }
    Ok(Code::Done)
}

/// One page for each command: `dcv.1`, `dcv-issue.1`, `dcv-order-list.1`.
fn pages(dir: &Path) -> Result<()> {
    let cannot = |error: std::io::Error| Failure::usage("--man", format!("`{}`: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(cannot)?;
    let mut command = Cli::command();
    // Otherwise the pages of subcommands do not know the options of all.
    command.build();
    clap_mangen::generate_to(command, dir).map_err(cannot)
}

/// The JSON schema (draft 2020-12) of `dcv.toml`.
pub(crate) fn schema() -> Value {
    let mut schema: Value = serde_json::from_str(include_str!("dcv.schema.json")).expect("the schema's frame is JSON");
    let kinds: Vec<Value> = KINDS.iter().map(|kind| provider(kind.descriptor)).collect();
    schema["properties"]["provider"]["additionalProperties"] = json!({ "oneOf": kinds });
    schema
}

/// A provider's table, as its descriptor tells of it.
fn provider(descriptor: &Descriptor) -> Value {
    let mut properties = Map::from_iter([("type".to_owned(), json!({ "const": descriptor.id }))]);
    let mut required = vec!["type"];
    for option in descriptor.options {
        let mut property = json!({ "description": option.help });
        if option.secret {
            property["$ref"] = "#/$defs/secret".into();
        }
        properties.insert(option.name.to_owned(), property);
        if option.required {
            required.push(option.name);
        }
    }
    json!({
        "title": descriptor.title, "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    /// The fields that the program knows are those of the schema: it lists them when it meets one that it does not.
    #[test]
    fn the_schema_has_the_fields_of_the_configuration() {
        let schema = schema();
        for section in ["", "ca", "defaults", "state", "dns", "propagation", "webhook", "keep"] {
            let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            let Err(failure) = Config::parse(&format!("{header}no-such-field = 1\n"), Path::new("dcv.toml")) else {
                panic!("{section}: an unknown field was taken");
            };
            let properties =
                if section.is_empty() { &schema["properties"] } else { &schema["properties"][section]["properties"] };
            let in_schema = properties.as_object().expect(section);
            let listed: Vec<&str> =
                failure.message.split('`').skip(1).step_by(2).filter(|w| *w != "no-such-field").collect();
            assert!(!listed.is_empty(), "{}", failure.message);
            for field in &listed {
                assert!(
                    in_schema.contains_key(*field),
                    "{section}.{field} is missing in the schema: {}",
                    failure.message
                );
            }
            for field in in_schema.keys() {
                assert!(
                    listed.contains(&field.as_str()),
                    "{section}.{field} is in the schema only: {}",
                    failure.message
                );
            }
        }
    }

    #[test]
    fn every_command_has_its_page() {
        let dir = tempfile::tempdir().expect("a folder");
        pages(dir.path()).expect("pages");
        for page in ["dcv.1", "dcv-issue.1", "dcv-order-list.1", "dcv-domain-validate.1"] {
            let text = std::fs::read_to_string(dir.path().join(page)).expect(page);
            assert!(text.contains(".SH OPTIONS") && text.contains("json"), "{page}");
        }
    }
}
