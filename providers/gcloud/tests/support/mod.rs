//! A stand-in for Google, written from its documents: Cloud DNS ("Cloud DNS API" v1), the token endpoint for service accounts and
//! users ("Using OAuth 2.0 for Server to Server Applications"), the security token service and impersonation (AIP-4117), and the
//! machine's metadata ("About VM metadata"). Whatever is asked of Cloud DNS and whatever is answered is held against a cut of
//! Google's discovery document.

use std::{collections::BTreeMap, sync::OnceLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dcv_gcloud::{Config, Editor, from_config_in};
use dcv_provider::zone::{ZoneProvider, quote};
use dcv_test_vendor::{Account, Answer, Asked, Refused, Vendor};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rsa::{
    pkcs1::EncodeRsaPublicKey,
    pkcs8::{EncodePrivateKey, LineEnding},
};
use serde_json::{Map, Value, json};

pub(crate) const PROJECT: &str = "example-project";
pub(crate) const ZONE: &str = "gcp-example.com";
pub(crate) const ZONE_NAME: &str = "gcp-example-com";
pub(crate) const EMAIL: &str = "dcv@example-project.iam.gserviceaccount.com";
pub(crate) const CLIENT_SECRET: &str = "planted-client-secret";
pub(crate) const REFRESH_TOKEN: &str = "1//planted-refresh-token";
pub(crate) const SUBJECT: &str = "planted.subject.token";
pub(crate) const PER_PAGE: usize = 2;
/// Record sets of a page.
const SETS_PER_PAGE: usize = 100;
const SCOPE: &str = "https://www.googleapis.com/auth/ndev.clouddns.readwrite";
const IAM: &str = "https://www.googleapis.com/auth/iam";
/// How often a change is looked at before it is done.
const PENDING: usize = 1;

/// A user's credentials for the vendor at this URL.
pub(crate) fn user(url: &str) -> Value {
    json!({
        "type": "authorized_user", "client_id": "id", "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN,
        "token_uri": format!("{url}/token"),
    })
}

/// A service account's credentials. The key is made for this run.
pub(crate) fn service_account(url: &str) -> Value {
    json!({
        "type": "service_account", "project_id": PROJECT, "private_key_id": "key-1", "private_key": keys().0,
        "client_email": EMAIL, "client_id": "1", "token_uri": format!("{url}/token"),
    })
}

/// A private key in PEM and its public half in DER.
fn keys() -> &'static (String, Vec<u8>) {
    static KEYS: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).expect("a key");
        let public = key.to_public_key().to_pkcs1_der().expect("a public key");
        (key.to_pkcs8_pem(LineEnding::LF).expect("PEM").to_string(), public.as_bytes().to_vec())
    })
}

/// A configuration with these credentials.
pub(crate) fn with(url: &str, credentials: &Value) -> Config {
    Config {
        project: Some(PROJECT.to_owned()),
        credentials: Some(serde_json::from_value(json!(credentials.to_string())).expect("a secret")),
        base_url: Some(url.to_owned()),
        ..Config::default()
    }
}

/// A provider in an environment without variables.
pub(crate) async fn provider(config: Config) -> ZoneProvider<Editor> {
    from_config_in(&|_| None, config, None).await.expect("a provider")
}

/// The vendor with these zones beside [`ZONE`].
pub(crate) async fn vendor(others: &[(&str, &str)]) -> Vendor {
    let zones: Vec<(&str, &str)> = [&[(ZONE, ZONE_NAME)], others].concat();
    Vendor::start(&zones, google, |url| async move { provider(with(&url, &user(&url))).await }).await
}

pub(crate) fn google(account: &mut Account, asked: &Asked) -> Answer {
    match asked.route() {
        ("POST", path) if path == ["token"] => return token_endpoint(account, asked),
        ("POST", path) if path == ["v1", "token"] => return exchange(account, asked),
        ("POST", path) if path[0] == "v1" => return impersonate(account, asked, path[path.len() - 1]),
        ("GET", path) if path == ["subject"] => {
            assert_eq!(asked.header("x-subject"), "planted-header");
            return Answer::new(200, json!({ "value": SUBJECT }));
        }
        ("GET", path) if path[0] == "computeMetadata" => return metadata(account, asked, &path[2..]),
        _ => {}
    }
    let answer = if asked.header("authorization") == format!("Bearer {}", token(account)) {
        dns(account, asked)
    } else {
        failed(401, "authError", "Request had invalid authentication credentials.")
    };
    contract::hold(asked, &answer);
    answer
}

fn failed(status: u16, reason: &str, message: &str) -> Answer {
    let error = json!({ "message": message, "domain": "global", "reason": reason });
    Answer::new(status, json!({ "error": { "code": status, "message": message, "errors": [error] } }))
}

/// The token that is good now.
fn token(account: &Account) -> String {
    format!("planted-token-{}", account.rows.iter().filter(|row| row.rtype == "REVOKED").count())
}

/// Makes all tokens so far bad.
pub(crate) fn revoke(account: &mut Account) {
    let name = format!("revoked{}", account.rows.len());
    account.add(ZONE, &name, "REVOKED", "", 1).expect("room");
}

fn form(asked: &Asked) -> BTreeMap<String, String> {
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
    url::form_urlencoded::parse(&asked.body).into_owned().collect()
}

fn invalid(words: &str) -> Answer {
    Answer::new(400, json!({ "error": "invalid_grant", "error_description": words }))
}

fn granted(account: &Account) -> Answer {
    Answer::new(200, json!({ "access_token": token(account), "expires_in": 3599, "token_type": "Bearer" }))
}

fn token_endpoint(account: &Account, asked: &Asked) -> Answer {
    let form = form(asked);
    match form["grant_type"].as_str() {
        "refresh_token" => {
            if form["client_secret"] != CLIENT_SECRET || form["refresh_token"] != REFRESH_TOKEN {
                return invalid(&format!("Token {} has been expired or revoked.", form["refresh_token"]));
            }
            granted(account)
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let parts: Vec<&str> = form["assertion"].split('.').collect();
            let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
            let (header, claims): (Value, Value) = (
                serde_json::from_slice(&decode(parts[0])).expect("a header"),
                serde_json::from_slice(&decode(parts[1])).expect("claims"),
            );
            assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }));
            let signed = format!("{}.{}", parts[0], parts[1]);
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &keys().1);
            if key.verify(signed.as_bytes(), &decode(parts[2])).is_err() {
                return invalid("Invalid JWT Signature.");
            }
            if claims["iss"] != EMAIL {
                return invalid("Invalid grant: account not found");
            }
            assert_eq!(
                (claims["scope"].as_str(), claims["aud"].as_str()),
                (Some(SCOPE), Some("https://oauth2.googleapis.com/token"))
            );
            assert_eq!(claims["exp"].as_u64().expect("an end") - claims["iat"].as_u64().expect("a start"), 3600);
            granted(account)
        }
        other => panic!("{other} is no grant"),
    }
}

fn exchange(account: &Account, asked: &Asked) -> Answer {
    let form = form(asked);
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(form["requested_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(form["subject_token_type"], "urn:ietf:params:oauth:token-type:jwt");
    assert!(form["audience"].starts_with("//iam.googleapis.com/"));
    if form["subject_token"] != SUBJECT {
        return invalid(&format!("The token {} is not good", form["subject_token"]));
    }
    // Whoever wants to speak for somebody else gets a token for that only.
    let token = if form["scope"] == IAM { "planted-federated".to_owned() } else { token(account) };
    assert!([IAM, SCOPE].contains(&form["scope"].as_str()));
    let issued = "urn:ietf:params:oauth:token-type:access_token";
    Answer::new(
        200,
        json!({ "access_token": token, "issued_token_type": issued, "token_type": "Bearer", "expires_in": 3599 }),
    )
}

fn impersonate(account: &Account, asked: &Asked, name: &str) -> Answer {
    assert_eq!(name, format!("{EMAIL}:generateAccessToken"));
    assert_eq!(asked.header("authorization"), "Bearer planted-federated");
    assert_eq!(asked.json, json!({ "scope": [SCOPE], "lifetime": "3600s" }));
    Answer::new(200, json!({ "accessToken": token(account), "expireTime": "2030-01-01T00:00:00Z" }))
}

fn metadata(account: &Account, asked: &Asked, path: &[&str]) -> Answer {
    if asked.header("metadata-flavor") != "Google" {
        return Answer::new(403, json!("Missing Metadata-Flavor:Google header."));
    }
    match path {
        ["project", "project-id"] => Answer::new(200, json!(PROJECT)).header("content-type", "application/text"),
        ["instance", "service-accounts", "default", "token"] => {
            assert_eq!(asked.query["scopes"], SCOPE);
            granted(account)
        }
        _ => Answer::new(404, json!("not found")),
    }
}

fn dns(account: &mut Account, asked: &Asked) -> Answer {
    let path: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
    let ["dns", "v1", "projects", project, "managedZones", rest @ ..] = path.as_slice() else {
        return failed(404, "notFound", "no such path");
    };
    if *project != PROJECT {
        return failed(403, "forbidden", &format!("Permission denied on project {project}"));
    }
    if rest.is_empty() {
        return zones(account, asked);
    }
    let (zone, verb) = rest[0].split_once(':').unwrap_or((rest[0], ""));
    let Some(zone) = account.zone(zone).map(|zone| zone.name.clone()) else {
        let words = format!("The 'parameters.managedZone' resource named '{zone}' does not exist.");
        return failed(404, "notFound", &words);
    };
    match (asked.method.as_str(), verb, &rest[1..]) {
        ("POST", "testIamPermissions", []) => {
            let lacking: Vec<&str> =
                account.rows_of(&zone).filter(|row| row.rtype == "LACKING").map(|row| &*row.value).collect();
            let wanted = asked.json["permissions"].as_array().expect("permissions").clone();
            let held: Vec<Value> =
                wanted.into_iter().filter(|one| !lacking.contains(&one.as_str().expect("text"))).collect();
            Answer::new(200, if held.is_empty() { json!({}) } else { json!({ "permissions": held }) })
        }
        ("GET", "", ["rrsets"]) => sets(account, asked, &zone),
        ("POST", "", ["changes"]) => create(account, asked, &zone),
        ("GET", "", ["changes", _]) if account.rows.iter().any(|row| row.value == "dns.changes.get") => {
            failed(403, "forbidden", "The caller does not have the permission dns.changes.get")
        }
        ("GET", "", ["changes", id]) => {
            let polls = account.log.iter().filter(|before| before.path == asked.path).count();
            let status = if polls > PENDING { "done" } else { "pending" };
            Answer::new(
                200,
                json!({ "kind": "dns#change", "id": id, "status": status, "startTime": "2026-01-01T00:00:00Z" }),
            )
        }
        _ => failed(405, "methodNotAllowed", "no such method"),
    }
}

fn page(asked: &Asked, all: Vec<Value>, per_page: usize, items: &str, kind: &str) -> Answer {
    let from: usize = asked
        .query
        .get("pageToken")
        .map_or(0, |token| token.strip_prefix("from+").expect("ours").parse().expect("ours"));
    let more = from + per_page < all.len();
    let mut body = json!({ "kind": kind });
    let page: Vec<Value> = all.into_iter().skip(from).take(per_page).collect();
    // An empty list is left out.
    if !page.is_empty() {
        body[items] = json!(page);
    }
    if more {
        body["nextPageToken"] = json!(format!("from+{}", from + per_page));
    }
    Answer::new(200, body)
}

fn zones(account: &Account, asked: &Asked) -> Answer {
    let zone = |zone: &dcv_test_vendor::Zone| {
        let visibility = if account.set(&zone.name, "PRIVATE").is_empty() { "public" } else { "private" };
        json!({
            "kind": "dns#managedZone", "id": "123", "name": zone.id, "dnsName": format!("{}.", zone.name), "description": "",
            "visibility": visibility, "creationTime": "2026-01-01T00:00:00Z", "nameServers": ["ns-cloud-a1.googledomains.com."],
            "cloudLoggingConfig": { "kind": "dns#managedZoneCloudLoggingConfig" },
        })
    };
    let all = account.zones.iter().map(zone).collect();
    page(asked, all, PER_PAGE, "managedZones", "dns#managedZonesListResponse")
}

fn presentation(rtype: &str, value: &str) -> String {
    if rtype == "CNAME" { format!("{value}.") } else { quote(value) }
}

/// A record set as it is shown; none where there is nothing.
fn shown(account: &Account, name: &str, rtype: &str) -> Option<Value> {
    let rows = account.set(name, rtype);
    let first = rows.first()?;
    let mut set =
        json!({ "kind": "dns#resourceRecordSet", "name": format!("{name}."), "type": rtype, "ttl": first.ttl });
    if account.set(name, "ROUTED").is_empty() {
        set["rrdatas"] = rows.iter().map(|row| presentation(rtype, &row.value)).collect();
        set["signatureRrdatas"] = json!([]);
    } else {
        let items: Vec<Value> =
            rows.iter().map(|row| json!({ "weight": 1.0, "rrdatas": [quote(&row.value)] })).collect();
        set["routingPolicy"] = json!({ "wrr": { "items": items } });
    }
    Some(set)
}

fn sets(account: &Account, asked: &Asked, zone: &str) -> Answer {
    let mut names: Vec<(String, String)> = account
        .rows_of(zone)
        .filter(|row| ["TXT", "CNAME"].contains(&row.rtype.as_str()))
        .map(|row| (row.name.clone(), row.rtype.clone()))
        .collect();
    names.dedup();
    names.sort();
    names.dedup();
    assert!(asked.query.contains_key("name") || !asked.query.contains_key("type"), "a type without a name");
    if let Some(name) = asked.query.get("name") {
        assert!(name.ends_with('.'), "{name} is not absolute");
        names.retain(|(is, rtype)| {
            format!("{is}.") == *name && asked.query.get("type").is_none_or(|wanted| wanted == rtype)
        });
    }
    let all = names.iter().filter_map(|(name, rtype)| shown(account, name, rtype)).collect();
    page(asked, all, SETS_PER_PAGE, "rrsets", "dns#resourceRecordSetsListResponse")
}

fn create(account: &mut Account, asked: &Asked, zone: &str) -> Answer {
    let before = account.rows.clone();
    let list = |field: &str| asked.json[field].as_array().cloned().unwrap_or_default();
    assert!(list("deletions").len() <= 1000 && list("additions").len() <= 1000, "too many");
    let result = change(account, zone, &list("deletions"), &list("additions"));
    if let Err(refusal) = result {
        account.rows = before;
        return refusal;
    }
    let id = account.log.len();
    let mut made = asked.json.clone();
    made["kind"] = json!("dns#change");
    made["id"] = json!(id.to_string());
    made["status"] = json!("pending");
    made["startTime"] = json!("2026-01-01T00:00:00Z");
    Answer::new(200, made)
}

fn change(account: &mut Account, zone: &str, deletions: &[Value], additions: &[Value]) -> Result<(), Answer> {
    let named = |set: &Value| {
        let text = |field: &str| set[field].as_str().expect("text").to_owned();
        (text("name").trim_end_matches('.').to_owned(), text("type"))
    };
    for (n, deletion) in deletions.iter().enumerate() {
        let (name, rtype) = named(deletion);
        let Some(there) = shown(account, &name, &rtype) else {
            let words =
                format!("The 'entity.change.deletions[{n}]' resource named '{name}. ({rtype})' does not exist.");
            return Err(failed(404, "notFound", &words));
        };
        if ["ttl", "rrdatas"].iter().any(|field| there[field] != deletion[field]) {
            return Err(failed(
                412,
                "conditionNotMet",
                &format!("Precondition not met for 'entity.change.deletions[{n}]'"),
            ));
        }
        account.replace(zone, &name, &rtype, &[], 0).expect("a deletion");
    }
    for (n, addition) in additions.iter().enumerate() {
        let (name, rtype) = named(addition);
        assert!(addition["name"].as_str().is_some_and(|name| name.ends_with('.')), "a relative name");
        let values: Vec<&str> =
            addition["rrdatas"].as_array().expect("data").iter().filter_map(Value::as_str).collect();
        let ttl = addition["ttl"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).expect("a TTL");
        if shown(account, &name, &rtype).is_some() {
            let words = format!("The resource 'entity.change.additions[{n}]' named '{name}. ({rtype})' already exists");
            return Err(failed(409, "alreadyExists", &words));
        }
        match account.replace(zone, &name, &rtype, &values, ttl) {
            Ok(()) => {}
            Err(Refused::Alias) => {
                let words = format!(
                    "The resource record set 'entity.change.additions[{n}]' is invalid because the DNS name '{name}.' may have \
                     either one CNAME resource record set or resource record sets of other types, but not both."
                );
                return Err(failed(400, "cnameResourceRecordSetConflict", &words));
            }
            Err(_) => return Err(failed(400, "invalid", "Duplicates.")),
        }
    }
    Ok(())
}

/// Google's own description of the requests and answers.
mod contract {
    use super::{Answer, Asked, Map, Value};

    /// Panics where a request or an answer is not as the document says.
    pub(super) fn hold(asked: &Asked, answer: &Answer) {
        let document: Value = serde_json::from_str(include_str!("dns-v1.json")).expect("a document");
        let what = format!("{} {}", asked.method, asked.path);
        let matches = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == asked.segments.len()
                && parts.iter().zip(&asked.segments).all(|(part, is)| match part.split_once('}') {
                    Some((_, tail)) => is.ends_with(tail) && is.contains(':') == tail.contains(':'),
                    None => part == is,
                })
        };
        let method = document["methods"]
            .as_array()
            .expect("methods")
            .iter()
            .find(|method| method["httpMethod"] == *asked.method && method["path"].as_str().is_some_and(matches))
            .unwrap_or_else(|| panic!("{what}: no such method"));
        let has = |field: &str, one: &str| method[field].as_array().is_some_and(|all| all.iter().any(|is| is == one));
        assert!(has("scopes", super::SCOPE), "{what}: our scope is too narrow");
        for name in asked.query.keys() {
            assert!(has("query", name), "{what}: {name} is no parameter");
        }
        match method["request"].as_str() {
            Some(schema) => is_one(&document["schemas"], schema, &asked.json, &what),
            None => assert!(asked.body.is_empty(), "{what}: a body nobody asked for"),
        }
        if answer.status == 200 {
            let schema = method["response"].as_str().expect("a schema");
            is_one(&document["schemas"], schema, &answer.body, &what);
        }
    }

    fn is_one(schemas: &Value, name: &str, value: &Value, at: &str) {
        let schema = schemas.get(name).unwrap_or_else(|| panic!("no schema {name}"));
        is(schemas, schema, value, &format!("{at}: {name}"));
    }

    fn is(schemas: &Value, schema: &Value, value: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            return is_one(schemas, name, value, at);
        }
        match (schema["type"].as_str(), value) {
            (Some("string"), Value::String(text)) => {
                let known = schema["enum"].as_array();
                assert!(known.is_none_or(|known| known.contains(value)), "{at}: `{text}` is not one of {known:?}");
            }
            (Some("integer" | "number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) => {}
            (Some("array"), Value::Array(items)) => {
                for item in items {
                    is(schemas, &schema["items"], item, at);
                }
            }
            (Some("object"), Value::Object(fields)) => {
                let known: Map<String, Value> = schema["properties"].as_object().cloned().unwrap_or_default();
                for (name, field) in fields {
                    let one = known.get(name).or_else(|| schema.get("additionalProperties"));
                    let one = one.unwrap_or_else(|| panic!("{at}.{name}: no such field"));
                    is(schemas, one, field, &format!("{at}.{name}"));
                }
            }
            (kind, value) => panic!("{at}: {value} is no {kind:?}"),
        }
    }
}
