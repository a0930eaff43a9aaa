//! What can be known of seventy hosts without an account at any of them.

use std::{fmt::Write as _, path::Path};

use dcv_provider::DcvProvider;
use serde_json::json;

use super::{
    hosts::{Field, HOSTS, Host, Kind, REFUSED},
    *,
};

/// Loopback, at a port where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// A value that a field takes; secrets can be told from all else.
fn sample(host: &Host, field: &Field) -> Value {
    match (host.id, field.name) {
        (_, "private_key_pem") => json!("planted-no-key"),
        ("rfc2136", "key") => json!("cGxhbnRlZC1zZWNyZXQ="),
        ("rfc2136", "server") => json!("udp://127.0.0.1:9"),
        (_, "base_url" | "server_url" | "endpoint") if field.choices.is_empty() => json!(NOBODY),
        (_, "region") => json!("eu-1"),
        _ => match field.kind {
            Kind::Secret | Kind::MaybeSecret => json!(format!("planted-{}-{}", host.id, field.name)),
            Kind::Text | Kind::MaybeText => json!("text"),
            Kind::One => json!(field.choices[field.choices.len() - 1]),
            Kind::Flag => json!(true),
            Kind::Number => json!(7),
        },
    }
}

/// A host's configuration with all required fields, and no others.
fn required(host: &Host) -> Value {
    let mut config = json!({ "host": host.id, "zones": ["example.com"], "resolvers": [] });
    if host.writes == Writes::Zone {
        config["rewrites_zone"] = json!("accepted");
    }
    // One of the two ways in.
    if host.id == "joker" {
        config["api_key"] = json!("planted-key");
    }
    if host.id == "cloudns" {
        config["auth_id"] = json!("1");
    }
    for field in host.fields.iter().filter(|field| field.required()) {
        config[field.name] = sample(host, field);
    }
    config
}

async fn open(config: Value) -> Result<DnsUpdate> {
    from_config(serde_json::from_value(config).expect("the outer form")).await
}

async fn refusal(config: Value) -> String {
    let Err(error) = open(config.clone()).await else { panic!("{config} is taken") };
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    error.to_string()
}

/// Where the crate reads a key when it is made, a sample is none.
fn wants_a_real_key(host: &Host) -> bool {
    matches!(host.id, "google_cloud_dns" | "oraclecloud" | "transip" | "yandexcloud")
}

#[tokio::test]
async fn every_host_is_made_from_its_fields_and_says_which_is_missing() {
    for host in HOSTS {
        let config = required(host);
        match open(config.clone()).await {
            Ok(provider) => assert_eq!(provider.editor().place(), host.title),
            Err(error) => {
                let text = error.to_string();
                assert!(wants_a_real_key(host), "{}: {text}", host.id);
                assert!(text.contains(host.id) && !text.contains("planted"), "{text}");
            }
        }
        for field in host.fields.iter().filter(|field| field.required()) {
            let mut less = config.clone();
            less.as_object_mut().expect("a table").remove(field.name);
            let text = refusal(less).await;
            assert!(text.starts_with(&format!("{}: it is missing; `{}` takes ", field.name, host.id)), "{text}");
        }
        let mut more = config.clone();
        more["api_kye"] = json!("planted-typo");
        let text = refusal(more).await;
        assert!(text.starts_with(&format!("api_kye: `{}` has no such field; it has ", host.id)), "{text}");
        assert!(!text.contains("planted"), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_known_or_not_safe_is_refused_with_the_way_out() {
    let text = refusal(json!({ "host": "porkbum" })).await;
    assert!(text.contains("`porkbum` is not known; give one of ") && text.contains(" porkbun, "), "{text}");
    for (id, _) in REFUSED {
        assert!(!HOSTS.iter().any(|host| host.id == id), "{id}");
        let text = refusal(json!({ "host": id, "token": "t" })).await;
        assert!(text.contains("would be lost") && text.contains("prov") | text.contains("RFC 2136"), "{text}");
    }
    for host in HOSTS.iter().filter(|host| host.writes == Writes::Zone) {
        let mut config = required(host);
        config.as_object_mut().expect("a table").remove("rewrites_zone");
        let text = refusal(config).await;
        assert!(text.contains("rewrites_zone = \"accepted\""), "{text}");
    }
    let text = refusal(json!({ "host": "ionos", "api_key": "k" })).await;
    assert!(text.starts_with("zones: "), "{text}");
}

#[tokio::test]
async fn wrong_values_are_named_and_secrets_are_not() {
    let with = |host: &str, field: &str, value: Value| {
        let host = hosts::find(host).expect("a host");
        let mut config = required(host);
        config[field] = value;
        config
    };
    for (host, field, value, part) in [
        ("ovh", "endpoint", json!("ovh-xx"), "endpoint: `ovh-xx` is none of ovh-eu, "),
        ("inwx", "sandbox", json!("maybe"), "sandbox: `maybe` is neither true nor false"),
        ("autodns", "context", json!("four"), "context: `four` is no whole number"),
        ("ionos", "api_key", json!(["planted"]), "api_key: it is neither a text nor one of { env"),
        (
            "ionos",
            "api_key",
            json!({ "env": "DCV_NOT_SET" }),
            "api_key: the environment variable `DCV_NOT_SET` is not set",
        ),
        ("ionos", "api_key", json!("planted\r\nx"), "api_key: there is a line break"),
        ("rfc2136", "key", json!("planted!"), "key: it is no base64"),
        ("rfc2136", "server", json!("ns1.example.com"), "Invalid address"),
    ] {
        let text = refusal(with(host, field, value)).await;
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("planted"), "{text}");
    }
}

/// All hosts whose address can be given, at one where nobody is: their errors say so, and no secret.
#[tokio::test]
async fn a_host_that_is_down_is_told_without_its_secrets() {
    let mut tried = 0;
    for host in HOSTS {
        let Some(field) = host.fields.iter().find(|field| matches!(field.name, "base_url" | "server_url" | "endpoint"))
        else {
            continue;
        };
        if !field.choices.is_empty() {
            continue;
        }
        let mut config = required(host);
        config[field.name] = json!(NOBODY);
        let provider = open(config).await.unwrap_or_else(|error| panic!("{}: {error}", host.id));
        let proofs = [dcv_provider::Proof::Txt { name: "_dnsauth.example.com".to_owned(), value: "v".to_owned() }];
        let error = provider.present(&proofs).await.expect_err("nobody is there");
        assert_eq!(error.kind, ErrorKind::Unavailable, "{}: {error}", host.id);
        let text = error.to_string();
        assert!(text.contains(host.title) && text.contains("_dnsauth.example.com"), "{text}");
        assert!(!text.contains("planted"), "{text}");
        tried += 1;
    }
    assert!(tried >= 5, "{tried}");
}

#[test]
fn what_the_crate_says_is_put_into_a_kind() {
    let api = |said: &str| kind_of(&Error::Api(said.to_owned()));
    for (kind, said) in [
        (ErrorKind::Unavailable, "Failed to send request to https://api.example/404?key=x: error"),
        (ErrorKind::Unavailable, "HTTP 503: {\"code\":1}"),
        (ErrorKind::Credentials, "HTTP 403: no"),
        (ErrorKind::Credentials, "Route53 API error: 403 - <Error/>"),
        (ErrorKind::Credentials, "INWX login failed: code=2200 message=Authentication error"),
        (ErrorKind::RateLimited, "HTTP 429"),
        (ErrorKind::Conflict, "HTTP 409: busy"),
        (ErrorKind::NotServed, "Linode domain example.com not found"),
        (ErrorKind::NotServed, "No IONOS zone found for example.com"),
        (ErrorKind::Rejected, "BadRequest {\"error\":\"ttl\"}"),
        (ErrorKind::Rejected, "HTTP 422: taken"),
    ] {
        assert_eq!(api(said), kind, "{said}");
    }
    assert_eq!(kind_of(&Error::Unauthorized), ErrorKind::Credentials);
    assert_eq!(kind_of(&Error::Response("Query Refused".to_owned())), ErrorKind::Credentials);
    assert_eq!(kind_of(&Error::Client("io error: broken pipe".to_owned())), ErrorKind::Unavailable);
}

/// Hosts for which `dcv` has a type of its own.
const OWN: [(&str, &str); 15] = [
    ("azuredns", "azure"),
    ("cloudflare", "cloudflare"),
    ("desec", "desec"),
    ("digitalocean", "digitalocean"),
    ("edgedns", "akamai"),
    ("gandiv5", "gandi"),
    ("google_cloud_dns", "gcloud"),
    ("hetzner", "hetzner"),
    ("infoblox", "infoblox"),
    ("linode", "linode"),
    ("ns1", "ns1"),
    ("ovh", "ovh"),
    ("pdns", "powerdns"),
    ("rfc2136", "rfc2136"),
    ("route53", "route53"),
];

fn page() -> String {
    let mut page = include_str!("page.md").to_owned();
    let _ = writeln!(page, "| `host` | what | fields | writes | type of its own |\n|---|---|---|---|---|");
    for Host { id, title, writes, fields, .. } in HOSTS {
        let field = |field: &Field| {
            let name = field.name;
            let word = if field.secret() { format!("**{name}**") } else { name.to_owned() };
            let choices = field.choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
            match field.kind {
                Kind::Secret | Kind::Text => word,
                Kind::One => format!("[{word}: {choices}]"),
                Kind::Flag => format!("[{word}: true, false]"),
                _ => format!("[{word}]"),
            }
        };
        let fields = fields.iter().map(field).collect::<Vec<_>>().join(", ");
        let writes = match writes {
            Writes::Record => "record",
            Writes::Update => "UPDATE",
            Writes::Set => "set",
            Writes::Zone => "zone",
        };
        let own = OWN.iter().find(|(of, _)| of == id).map_or(String::new(), |(_, own)| format!("`{own}`"));
        let _ = writeln!(page, "| `{id}` | {title} | {fields} | {writes} | {own} |");
    }
    let _ = writeln!(page, "\nRefused:\n");
    for (id, why) in REFUSED {
        let _ = writeln!(page, "- `{id}`: {why}");
    }
    page
}

/// `DCV_WRITE_PAGES=1` writes the page anew.
#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let page = page();
    if std::env::var_os("DCV_WRITE_PAGES").is_some() {
        std::fs::write(path, &page).expect("the page is written");
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(known == page, "README.md is of another day: DCV_WRITE_PAGES=1 writes it anew");
}

#[test]
fn the_table_is_in_order_and_knows_every_type_of_its_own() {
    assert!(HOSTS.is_sorted_by(|a, b| a.id < b.id));
    assert!(OWN.iter().all(|(id, _)| HOSTS.iter().any(|host| host.id == *id)));
}
