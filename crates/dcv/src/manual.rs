//! `dcv manual`: manual pages, completions, a page of all commands and the schema of `dcv.toml`, made of what the program is made of.

use std::{fmt::Write as _, io::Write, path::Path};

use clap::{Arg, Command, CommandFactory};
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
    if args.markdown {
        let _ = write!(std::io::stdout(), "{}", markdown());
    }
    Ok(Code::Done)
}

/// All commands on one page.
fn markdown() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page =
        String::from("# Commands\n\nMade of what the program says of itself, by `dcv manual --markdown`.\n\n");
    let is_global = |arg: &&Arg| arg.is_global_set() && !is_help(arg);
    page += "These go with every command:\n\n";
    list(&mut page, command.get_arguments().filter(is_global));
    let _ = writeln!(page, "Exit codes:\n\n| code | meaning |\n|---|---|");
    for code in Code::ALL {
        let _ = writeln!(page, "| {} | {} |", code as u8, code.meaning());
    }
    for command in command.get_subcommands() {
        section(&mut page, command, "dcv");
    }
    page
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

/// A command, or those below it.
fn section(page: &mut String, command: &Command, above: &str) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{above} {}", command.get_name());
    if command.has_subcommands() {
        command.get_subcommands().for_each(|below| section(page, below, &name));
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let positionals: Vec<String> = command.get_positionals().map(ToString::to_string).collect();
    let usage = [name.as_str(), "[OPTIONS]"].into_iter().chain(positionals.iter().map(String::as_str));
    let usage = usage.collect::<Vec<_>>().join(" ");
    let _ = writeln!(page, "\n## `{name}`\n\n{about}.\n\n`{usage}`\n");
    list(page, command.get_arguments().filter(|arg| !arg.is_global_set() && !is_help(arg)));
}

/// Arguments, what they are for, and what is taken without them.
fn list<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let mut rows = 0;
    for arg in args.filter(|arg| !arg.is_hide_set()) {
        let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let words = arg.get_possible_values();
        if arg.get_action().takes_values() && !words.is_empty() {
            let words: Vec<&str> = words.iter().map(clap::builder::PossibleValue::get_name).collect();
            let _ = write!(help, " ({})", words.join(", "));
        }
        let given: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if arg.get_action().takes_values() && !given.is_empty() {
            let _ = write!(help, "; `{}` unless given", given.join(" "));
        }
        if let Some(variable) = arg.get_env() {
            let _ = write!(help, "; also by `{}`", variable.to_string_lossy());
        }
        if rows == 0 {
            *page += "| | |\n|---|---|\n";
        }
        rows += 1;
        // A table's cell: a bar would end it, also within code.
        let plain = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(page, "| {short}`{}` | {} |", plain(&arg.to_string()), plain(&help).replace('<', "&lt;"));
    }
    if rows > 0 {
        page.push('\n');
    }
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

    /// The reference for people has every field, below its heading or with its section before it.
    #[test]
    fn the_reference_has_the_fields_of_the_schema() {
        let reference = include_str!("../README.md");
        let schema = schema();
        let properties = schema["properties"].as_object().expect("sections");
        for (section, of_section) in properties {
            let table = [
                &of_section["properties"],
                &of_section["items"]["properties"],
                &of_section["additionalProperties"]["properties"],
            ];
            let fields = table.into_iter().filter_map(Value::as_object).flat_map(Map::keys);
            for field in fields.filter(|_| section != "provider") {
                let written =
                    [format!("`{field}`"), format!("`{section}.{field}`"), format!("`{section}.LABEL.{field}`")];
                assert!(written.iter().any(|text| reference.contains(text)), "README.md: {section}.{field} is missing");
            }
        }
    }

    #[test]
    fn the_page_of_commands_has_all_with_their_options() {
        let page = markdown();
        for part in [
            "## `dcv issue`",
            "## `dcv order list`",
            "`dcv issue [OPTIONS] [NAME]...`",
            "| `--dry-run` |",
            "`-v`",
            "DCV_CONFIG",
            "`127.0.0.1:8443` unless given",
            "| 130 | interrupted",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("dcv plugin host"), "it is for the program itself");
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
