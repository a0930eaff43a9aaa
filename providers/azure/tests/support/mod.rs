//! A stand-in for Azure, written from its documents: the resource manager's DNS zones ("Azure DNS REST API", 2018-05-01), the login
//! ("OAuth 2.0 client credentials flow on the Microsoft identity platform"), the machine's metadata service ("How to use managed
//! identities on a VM to acquire an access token") and that of App Service. Whatever is asked of the zones and whatever is answered
//! is held against a cut of Microsoft's OpenAPI document.

use dcv_azure::Config;
use dcv_provider::zone::ZoneProvider;
use dcv_test_vendor::{Account, Answer, Asked, Refused, Vendor, Zone, absolute, relative};
use serde_json::{Map, Value, json};

pub(crate) const SUBSCRIPTION: &str = "aaaaaaaa-1111-4444-8888-000000000001";
pub(crate) const TENANT: &str = "bbbbbbbb-1111-4444-8888-000000000002";
pub(crate) const CLIENT: &str = "cccccccc-1111-4444-8888-000000000003";
pub(crate) const SECRET: &str = "planted~Secret.of/an+application=";
pub(crate) const ASSERTION: &str = "planted.federated.token";
pub(crate) const HEADER: &str = "planted-identity-header";
pub(crate) const ZONE: &str = "azure-example.com";

/// Zones of a page: few, so that there are several.
const PER_PAGE: usize = 2;

/// The id that Azure would give the zone.
pub(crate) fn zone_id(group: &str, name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/Microsoft.Network/dnszones/{name}")
}

/// A configuration with a secret.
pub(crate) fn with_secret(url: &str) -> Config {
    Config {
        tenant_id: Some(TENANT.to_owned()),
        client_id: Some(CLIENT.to_owned()),
        client_secret: Some(serde_json::from_value(json!(SECRET)).expect("a secret")),
        ..plain(url)
    }
}

/// A configuration without an identity.
pub(crate) fn plain(url: &str) -> Config {
    Config {
        subscription_id: Some(SUBSCRIPTION.to_owned()),
        base_url: Some(url.to_owned()),
        login_url: Some(url.to_owned()),
        identity_url: Some(url.to_owned()),
        ..Config::default()
    }
}

/// A provider in an environment without variables.
pub(crate) async fn provider(config: Config) -> ZoneProvider<dcv_azure::Editor> {
    dcv_azure::from_config_in(&|_| None, config, None).await.expect("a provider")
}

/// The vendor with these zones beside [`ZONE`].
pub(crate) async fn vendor(others: &[(&str, &str)]) -> Vendor {
    let id = zone_id("dns", ZONE);
    let zones: Vec<(&str, &str)> = [&[(ZONE, id.as_str())], others].concat();
    Vendor::start(&zones, azure, |url| async move { provider(with_secret(&url)).await }).await
}

pub(crate) fn azure(account: &mut Account, asked: &Asked) -> Answer {
    let answer = match asked.route() {
        ("POST", path) if path[1..] == ["oauth2", "v2.0", "token"] => return login(account, asked, path[0]),
        ("GET", path) if path == ["metadata", "identity", "oauth2", "token"] => {
            return machine(account, asked, ("metadata", "true"), "2018-02-01");
        }
        ("GET", path) if path == ["msi", "token"] => {
            return machine(account, asked, ("x-identity-header", HEADER), "2019-08-01");
        }
        _ if asked.header("authorization") != format!("Bearer {}", token(account)) => {
            failed(401, "InvalidAuthenticationToken", "The access token is invalid.")
        }
        _ => zones(account, asked),
    };
    contract::hold(asked, &answer);
    answer
}

fn failed(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({ "error": { "code": code, "message": message } }))
}

/// The resource provider itself leaves out the envelope.
fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, json!({ "code": code, "message": message }))
}

/// The token that is good now: another one for each zone of this name, of which a test may have somebody revoke it.
fn token(account: &Account) -> String {
    let revoked = account.rows.iter().filter(|row| row.rtype == "REVOKED").count();
    format!("planted-token-{revoked}")
}

/// Makes all tokens so far bad.
pub(crate) fn revoke(account: &mut Account) {
    let name = format!("revoked{}", account.rows.len());
    account.add(ZONE, &name, "REVOKED", "", 1).expect("room");
}

fn login(account: &Account, asked: &Asked, tenant: &str) -> Answer {
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(&asked.body).into_owned().collect();
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    let bad = |status, error: &str, words: &str| {
        Answer::new(status, json!({ "error": error, "error_description": words, "error_codes": [1], "trace_id": "x" }))
    };
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
    if tenant != TENANT {
        return bad(
            400,
            "invalid_request",
            "AADSTS90002: Tenant was not found. Check to make sure you have the correct tenant ID.",
        );
    }
    if get("client_id") != CLIENT {
        return bad(400, "unauthorized_client", "AADSTS700016: Application was not found in the directory.");
    }
    let by_assertion = get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    if by_assertion && get("client_assertion") != ASSERTION {
        let words =
            format!("AADSTS700213: No matching federated identity record found for {}", get("client_assertion"));
        return bad(400, "invalid_request", &words);
    }
    if !by_assertion && get("client_secret") != SECRET {
        let words = format!("AADSTS7000215: Invalid client secret provided: {}", get("client_secret"));
        return bad(401, "invalid_client", &words);
    }
    assert_eq!(get("grant_type"), "client_credentials");
    assert!(get("scope").starts_with("http://127.0.0.1:") && get("scope").ends_with("/.default"), "{}", get("scope"));
    Answer::new(
        200,
        json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token(account) }),
    )
}

fn machine(account: &Account, asked: &Asked, header: (&str, &str), version: &str) -> Answer {
    let query = |name: &str| asked.query.get(name).map_or("", String::as_str);
    if asked.header(header.0) != header.1 {
        return Answer::new(
            400,
            json!({ "error": "invalid_request", "error_description": "Required metadata header not specified" }),
        );
    }
    assert_eq!(query("api-version"), version);
    assert_eq!(query("resource"), format!("http://{}", asked.header("host")));
    if !["", CLIENT].contains(&query("client_id")) {
        return Answer::new(400, json!({ "error": "invalid_request", "error_description": "Identity not found" }));
    }
    Answer::new(
        200,
        json!({
            "access_token": token(account), "client_id": CLIENT, "expires_in": "86399", "expires_on": "4102444800",
            "ext_expires_in": "86399", "not_before": "1", "resource": query("resource"), "token_type": "Bearer",
        }),
    )
}

fn zones(account: &mut Account, asked: &Asked) -> Answer {
    let path: Vec<String> = asked.segments.iter().map(|part| part.to_ascii_lowercase()).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if path.get(1) != Some(&SUBSCRIPTION) {
        return failed(404, "SubscriptionNotFound", "The subscription could not be found.");
    }
    match (asked.method.as_str(), &path[2..]) {
        ("GET", ["providers", "microsoft.network", "dnszones"]) => list(account, asked, ""),
        ("GET", ["resourcegroups", group, "providers", "microsoft.network", "dnszones"]) => list(account, asked, group),
        (method, ["resourcegroups", group, "providers", "microsoft.network", "dnszones", zone, rest @ ..]) => {
            let Some(zone) = account.zone(&zone_id(group, zone)).cloned() else {
                let words = format!(
                    "The Resource 'Microsoft.Network/dnszones/{zone}' under resource group '{group}' was not found."
                );
                return failed(404, "ResourceNotFound", &words);
            };
            match (method, rest) {
                ("GET", []) => Answer::new(200, shown_zone(account, &zone)),
                ("GET", [_, _, "providers", "microsoft.authorization", "permissions"]) => permissions(account, &zone),
                ("GET", [rtype, name]) => get(account, &zone, rtype, name),
                ("PUT", [rtype, name]) => put(account, asked, &zone, rtype, name),
                ("DELETE", [rtype, name]) => delete(account, asked, &zone, rtype, name),
                _ => failed(405, "MethodNotAllowed", "The method is not allowed."),
            }
        }
        _ => failed(404, "InvalidResourceType", "The resource type could not be found."),
    }
}

fn list(account: &Account, asked: &Asked, group: &str) -> Answer {
    let at: usize =
        asked.query.get("$skipToken").map_or(0, |token| token.trim_end_matches("+=").parse().expect("our token"));
    let inside = |zone: &&Zone| group.is_empty() || zone.id.contains(&format!("/resourceGroups/{group}/"));
    let all: Vec<Value> = account.zones.iter().filter(inside).map(|zone| shown_zone(account, zone)).collect();
    let mut page = json!({ "value": all.iter().skip(at).take(PER_PAGE).collect::<Vec<_>>() });
    if at + PER_PAGE < all.len() {
        // A test says by a record where the next page is.
        let host = account.set("next-page", "HOST").first().map_or(asked.header("host"), |row| &row.value).to_owned();
        let next = at + PER_PAGE;
        page["nextLink"] = json!(format!("http://{host}{}?api-version=2018-05-01&$skipToken={next}%2B%3D", asked.path));
    }
    Answer::new(200, page)
}

fn shown_zone(account: &Account, zone: &Zone) -> Value {
    let kind = if account.set(&zone.name, "PRIVATE").is_empty() { "Public" } else { "Private" };
    json!({
        "id": zone.id, "name": zone.name, "type": "Microsoft.Network/dnszones",
        "etag": "00000002-0000-0000-76c2-f7ad90b5d701", "location": "global", "tags": {},
        "properties": {
            "maxNumberOfRecordSets": 10000, "numberOfRecordSets": 2, "zoneType": kind,
            "nameServers": ["ns1-01.azure-dns.com.", "ns2-01.azure-dns.net."],
        },
    })
}

/// What the identity's role allows: a test says by a record if it is another one, or may not be told.
fn permissions(account: &Account, zone: &Zone) -> Answer {
    let actions = account.set(&zone.name, "ROLE").first().map_or("Microsoft.Network/dnsZones/*", |row| &row.value);
    if actions.is_empty() {
        let words =
            "The client does not have authorization to perform action 'Microsoft.Authorization/permissions/read'";
        return failed(403, "AuthorizationFailed", words);
    }
    let role = json!({ "actions": [actions], "notActions": [], "dataActions": [], "notDataActions": [] });
    Answer::new(200, json!({ "value": [role] }))
}

/// A set is another one with each write: its ids are never used again.
fn etag(account: &Account, name: &str, rtype: &str) -> Option<String> {
    let metadata = account.set(name, &format!("METADATA-{rtype}"));
    let ids: Vec<&str> = account.set(name, rtype).into_iter().chain(metadata).map(|row| row.id.as_str()).collect();
    (!ids.is_empty()).then(|| ids.join("-"))
}

fn get(account: &Account, zone: &Zone, rtype: &str, relative: &str) -> Answer {
    match shown_set(account, zone, &rtype.to_uppercase(), &absolute(relative, &zone.name)) {
        Some(set) => Answer::new(200, set),
        None => {
            refused(404, "NotFound", &format!("The resource record '{relative}' does not exist in resource group."))
        }
    }
}

fn shown_set(account: &Account, zone: &Zone, rtype: &str, name: &str) -> Option<Value> {
    let etag = etag(account, name, rtype)?;
    let rows = account.set(name, rtype);
    let own = account.set(name, &format!("METADATA-{rtype}"));
    let metadata: Value = own.first().map_or(json!({}), |row| serde_json::from_str(&row.value).expect("JSON"));
    let relative = relative(name, &zone.name);
    let relative = if relative.is_empty() { "@" } else { relative };
    let mut properties = json!({
        "metadata": metadata, "fqdn": format!("{name}."), "TTL": rows.iter().chain(&own).map(|row| row.ttl).next(),
        "targetResource": {}, "provisioningState": "Succeeded",
    });
    if rtype == "TXT" {
        // As Azure keeps them: in pieces.
        let pieces = |text: &str| {
            text.as_bytes().chunks(255).map(|c| String::from_utf8_lossy(c).into_owned()).collect::<Vec<_>>()
        };
        properties["TXTRecords"] = rows.iter().map(|row| json!({ "value": pieces(&row.value) })).collect();
    } else {
        properties["CNAMERecord"] = json!({ "cname": rows[0].value });
    }
    Some(json!({
        "id": format!("{}/{rtype}/{relative}", zone.id), "name": relative,
        "type": format!("Microsoft.Network/dnszones/{rtype}"), "etag": etag, "properties": properties,
    }))
}

/// Whether the set is as the request's headers want it.
fn precondition(account: &Account, asked: &Asked, name: &str, rtype: &str) -> Option<Answer> {
    let (wanted, new, there) = (asked.header("if-match"), asked.header("if-none-match"), etag(account, name, rtype));
    assert!(!wanted.is_empty() || new == "*", "a write without a condition");
    let good = if new == "*" { there.is_none() } else { there.as_deref() == Some(wanted) };
    (!good).then(|| {
        let words = format!("The condition '{wanted}{new}' in the If-Match or If-None-Match header was not satisfied.");
        refused(412, "PreconditionFailed", &words)
    })
}

fn put(account: &mut Account, asked: &Asked, zone: &Zone, rtype: &str, relative: &str) -> Answer {
    let (rtype, name) = (rtype.to_uppercase(), absolute(relative, &zone.name));
    if let Some(refusal) = precondition(account, asked, &name, &rtype) {
        return refusal;
    }
    let properties = &asked.json["properties"];
    let Some(ttl) = properties["TTL"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()) else {
        return refused(400, "BadRequest", "The TTL is missing.");
    };
    let values: Vec<String> = if rtype == "TXT" {
        let texts = properties["TXTRecords"].as_array().expect("texts");
        let text = |record: &Value| {
            let pieces: Vec<&str> =
                record["value"].as_array().expect("pieces").iter().filter_map(Value::as_str).collect();
            assert!(pieces.iter().all(|piece| piece.len() <= 255), "a piece is too long");
            pieces.concat()
        };
        // Quotes are the text's own here, unlike in a zone file.
        texts.iter().map(|record| dcv_provider::zone::quote(&text(record))).collect()
    } else {
        vec![properties["CNAMERecord"]["cname"].as_str().expect("a target").to_owned()]
    };
    let is_new = etag(account, &name, &rtype).is_none();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    match account.replace(&zone.name, &name, &rtype, &values, ttl) {
        Ok(()) => {}
        Err(Refused::Alias) if rtype == "CNAME" => {
            let words = "The CNAME record could not be created because another record with the same name already exists in this zone.";
            return refused(409, "Conflict", words);
        }
        Err(Refused::Alias) => {
            let words = "The record could not be created because a CNAME record with the same name already exists in this zone.";
            return refused(409, "Conflict", words);
        }
        Err(_) => return refused(400, "BadRequest", "The record set contains duplicates."),
    }
    let metadata = properties["metadata"].as_object().cloned().unwrap_or_default();
    let kept = (!metadata.is_empty()).then(|| Value::Object(metadata).to_string());
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    account.replace(&zone.name, &name, &format!("METADATA-{rtype}"), &kept, ttl).expect("room for metadata");
    let shown = shown_set(account, zone, &rtype, &name).expect("what was just written");
    Answer::new(if is_new { 201 } else { 200 }, shown)
}

fn delete(account: &mut Account, asked: &Asked, zone: &Zone, rtype: &str, relative: &str) -> Answer {
    let (rtype, name) = (rtype.to_uppercase(), absolute(relative, &zone.name));
    if etag(account, &name, &rtype).is_none() {
        return Answer::new(204, Value::Null);
    }
    if let Some(refusal) = precondition(account, asked, &name, &rtype) {
        return refusal;
    }
    let metadata = format!("METADATA-{rtype}");
    account.rows.retain(|row| row.name != name || (row.rtype != rtype && row.rtype != metadata));
    Answer::new(200, Value::Null)
}

/// Microsoft's own description of the requests and answers.
mod contract {
    use super::{Answer, Asked, Map, Value};

    fn document() -> Value {
        serde_json::from_str(include_str!("dns-2018-05-01.json")).expect("a document")
    }

    /// Panics where a request or an answer is not as the document says.
    pub(super) fn hold(asked: &Asked, answer: &Answer) {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let matches = |template: &str| {
            let parts: Vec<&str> = template.trim_matches('/').split('/').collect();
            parts.len() == asked.segments.len()
                && parts
                    .iter()
                    .zip(&asked.segments)
                    .all(|(part, is)| part.starts_with('{') || part.eq_ignore_ascii_case(is))
        };
        let what = format!("{} {}", asked.method, asked.path);
        let (_, operations) =
            paths.iter().find(|(template, _)| matches(template)).unwrap_or_else(|| panic!("{what}: no such path"));
        let operation = operations.get(&asked.method).unwrap_or_else(|| panic!("{what}: no such operation"));
        let listed = |kind: &str, name: &str| {
            operation[kind]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one.as_str().is_some_and(|one| one.eq_ignore_ascii_case(name))))
        };
        for name in asked.query.keys() {
            assert!(listed("query", name) || name == "$skipToken", "{what}: {name} is no parameter");
        }
        let version = operation["version"].as_str().or(document["version"].as_str());
        assert_eq!(asked.query.get("api-version").map(String::as_str), version, "{what}");
        for name in ["if-match", "if-none-match"] {
            assert!(asked.header(name).is_empty() || listed("headers", name), "{what}: {name} is no parameter");
        }
        match operation["body"].as_str() {
            Some(schema) => holds(&document["schemas"], schema, &asked.json, &what, Sent::ByUs),
            None => assert!(asked.body.is_empty(), "{what}: a body nobody asked for"),
        }
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let schema = responses.get(&status).unwrap_or(&responses["default"]);
        if let Some(schema) = schema.as_str().filter(|schema| *schema != "CloudError") {
            holds(&document["schemas"], schema, &answer.body, &what, Sent::ByAzure);
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Sent {
        ByUs,
        ByAzure,
    }

    fn holds(schemas: &Value, name: &str, value: &Value, at: &str, sent: Sent) {
        let schema = schemas.get(name).unwrap_or_else(|| panic!("no schema {name}"));
        is(schemas, schema, value, &format!("{at}: {name}"), sent);
    }

    fn properties<'s>(schemas: &'s Value, schema: &'s Value, all: &mut Map<String, Value>) {
        for base in schema["allOf"].as_array().into_iter().flatten() {
            properties(schemas, &schemas[base["$ref"].as_str().expect("a name")], all);
        }
        all.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    }

    fn is(schemas: &Value, schema: &Value, value: &Value, at: &str, sent: Sent) {
        if let Some(name) = schema["$ref"].as_str() {
            return holds(schemas, name, value, at, sent);
        }
        match (schema["type"].as_str(), value) {
            (Some("string"), Value::String(text)) => {
                let known = schema["enum"].as_array();
                assert!(known.is_none_or(|known| known.contains(value)), "{at}: `{text}` is not one of {known:?}");
            }
            (Some("integer"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) => {}
            (Some("array"), Value::Array(items)) => {
                for item in items {
                    is(schemas, &schema["items"], item, at, sent);
                }
            }
            (None | Some("object"), Value::Object(fields)) => {
                let mut known = Map::new();
                properties(schemas, schema, &mut known);
                for (name, field) in fields {
                    let at = format!("{at}.{name}");
                    let one = known.get(name).or_else(|| schema.get("additionalProperties"));
                    let one = one.unwrap_or_else(|| panic!("{at}: no such field"));
                    assert!(sent == Sent::ByAzure || one["readOnly"] != true, "{at}: only Azure says this");
                    is(schemas, one, field, &at, sent);
                }
            }
            (kind, value) => panic!("{at}: {value} is no {kind:?}"),
        }
    }
}
