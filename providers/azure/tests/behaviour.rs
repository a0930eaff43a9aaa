//! The provider against the stand-in of `support`.

mod support;

use std::time::Duration;

use dcv_azure::{Config, from_config_in};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, Retry, conformance, conformance::World};
use dcv_test_vendor::Answer;
use serde_json::json;
use support::{
    ASSERTION, CLIENT, HEADER, SECRET, SUBSCRIPTION, TENANT, ZONE, plain, provider, revoke, vendor, with_secret,
    zone_id,
};

fn txt(name: &str, value: &str) -> Proof {
    Proof::Txt { name: name.to_owned(), value: value.to_owned() }
}

fn proofs(count: usize) -> Vec<Proof> {
    (0..count).map(|n| txt(&format!("_dnsauth.n{n}.{ZONE}"), "value")).collect()
}

#[tokio::test]
async fn it_behaves_as_every_provider_must() {
    conformance::run(&vendor(&[]).await).await;
}

#[tokio::test]
async fn the_zone_itself_and_long_texts_have_their_places() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    let long = "0123456789".repeat(60);
    azure.present(&[txt(ZONE, &long), txt(&format!("*.{ZONE}"), "wild")]).await.expect("presented");
    assert_eq!(vendor.values(ProofKind::Txt, &format!("*.{ZONE}")).await, ["wild"]);
    assert_eq!(vendor.account().set(ZONE, "TXT").len(), 1);
    let asked = vendor.asked();
    assert!(asked.iter().any(|asked| asked.ends_with("/TXT/@")), "{asked:?}");
    azure.retract(&[txt(ZONE, &long)]).await.expect("retracted");
    assert!(vendor.account().set(ZONE, "TXT").is_empty());
}

#[tokio::test]
async fn a_rival_between_reading_and_writing_loses_nothing() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    let ours = &proofs(1)[..];
    azure.preflight(ours).await.expect("it looks");
    for values in [vec!["rival", "value"], vec!["rival"]] {
        let presenting = values.contains(&"value");
        let _ = vendor.asked();
        vendor.race(|account| {
            let name = format!("_dnsauth.n0.{ZONE}");
            let mut there: Vec<String> = account.set(&name, "TXT").iter().map(|row| row.value.clone()).collect();
            there.retain(|value| value != "rival");
            there.insert(0, "rival".to_owned());
            let there: Vec<&str> = there.iter().map(String::as_str).collect();
            account.replace(ZONE, &name, "TXT", &there, 300).expect("the rival writes");
        });
        let done = if presenting { azure.present(ours).await } else { azure.retract(ours).await };
        done.expect("the race is run again");
        assert_eq!(vendor.values(ProofKind::Txt, ours[0].name()).await, values);
        let verbs: Vec<String> = vendor.asked().iter().filter_map(|a| a.split(' ').next().map(str::to_owned)).collect();
        assert_eq!(verbs, ["GET", "PUT", "GET", "PUT"]);
    }
    azure.retract(&[txt(ours[0].name(), "rival")]).await.expect("retracted");
    assert!(vendor.asked().last().expect("a request").starts_with("DELETE "), "an empty set is deleted");
}

#[tokio::test]
async fn the_ttl_and_the_metadata_of_others_stay() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    let (name, ours) = (proofs(1)[0].name().to_owned(), proofs(1));
    {
        let mut account = vendor.account();
        account.add(ZONE, &name, "METADATA-TXT", r#"{"owner":"mail team"}"#, 7200).expect("metadata");
        account.add(ZONE, &name, "TXT", "theirs", 7200).expect("a text");
    }
    azure.present(&ours).await.expect("presented");
    let shown = |vendor: &dcv_test_vendor::Vendor| -> Vec<(String, u32)> {
        vendor.account().set(&name, "TXT").iter().map(|row| (row.value.clone(), row.ttl)).collect()
    };
    assert_eq!(shown(&vendor), [("theirs".to_owned(), 7200), ("value".to_owned(), 7200)]);
    azure.retract(&ours).await.expect("retracted");
    assert_eq!(shown(&vendor), [("theirs".to_owned(), 7200)]);
    // Without a text the set is still theirs.
    azure.retract(&[txt(&name, "theirs")]).await.expect("retracted");
    let account = vendor.account();
    assert!(account.set(&name, "TXT").is_empty());
    assert_eq!(account.set(&name, "METADATA-TXT")[0].value, r#"{"owner":"mail team"}"#);
}

#[tokio::test]
async fn an_alias_in_the_way_is_named_and_the_other_names_are_done() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    let ours = proofs(3);
    vendor.account().add(ZONE, ours[1].name(), "CNAME", "elsewhere.example", 60).expect("an alias");
    let error = azure.present(&ours).await.expect_err("an alias is there");
    assert_eq!((error.kind, error.subjects.as_slice()), (ErrorKind::Rejected, &[ours[1].name().to_owned()][..]));
    assert!(error.to_string().contains("CNAME record with the same name"), "{error}");
    for done in [&ours[0], &ours[2]] {
        assert_eq!(vendor.values(ProofKind::Txt, done.name()).await, ["value"]);
    }
}

#[tokio::test]
async fn the_list_of_zones_is_read_to_its_end_once_and_private_zones_are_not_seen() {
    let ids: Vec<(String, String)> =
        ["sub.azure-example.com", "private.azure-example.com", "azure-example.net", "a.example"]
            .iter()
            .map(|name| ((*name).to_owned(), zone_id("other", name)))
            .collect();
    let others: Vec<(&str, &str)> = ids.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let vendor = vendor(&others).await;
    vendor.account().add("private.azure-example.com", "private.azure-example.com", "PRIVATE", "", 1).expect("a mark");
    let azure = provider(with_secret(&vendor.url)).await;
    let proofs = ["_dnsauth.sub.azure-example.com", "_dnsauth.private.azure-example.com", "_dnsauth.a.example"]
        .map(|name| txt(name, "v"));
    azure.present(&proofs).await.expect("presented");
    let zones: Vec<String> =
        vendor.account().rows.iter().filter(|row| row.rtype == "TXT").map(|row| row.zone.clone()).collect();
    for zone in ["sub.azure-example.com", ZONE, "a.example"] {
        assert!(zones.iter().any(|z| z == zone), "{zones:?}");
    }
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|asked| asked.ends_with("/dnsZones")).count(), 3, "three pages: {asked:?}");
    assert_eq!(asked.iter().filter(|asked| asked.ends_with("/token")).count(), 1, "one token: {asked:?}");

    let in_group = Config { resource_group: Some("other".to_owned()), ..with_secret(&vendor.url) };
    let error = provider(in_group).await.present(&proofs[1..2]).await.expect_err("its zone is in another group");
    assert_eq!(error.kind, ErrorKind::NotServed, "{error}");
}

#[tokio::test]
async fn the_next_page_is_nowhere_else() {
    let ids: Vec<String> = (0..3).map(|n| zone_id("dns", &format!("z{n}.example"))).collect();
    let others = [("z0.example", ids[0].as_str()), ("z1.example", ids[1].as_str()), ("z2.example", ids[2].as_str())];
    let vendor = vendor(&others).await;
    vendor.account().add(ZONE, "next-page", "HOST", "127.0.0.9:9", 1).expect("a mark");
    let error = provider(with_secret(&vendor.url)).await.present(&proofs(1)).await.expect_err("a page elsewhere");
    assert!(error.to_string().contains("elsewhere, at http://127.0.0.9:9/"), "{error}");
}

#[tokio::test]
async fn twins_are_told_apart_by_the_configuration() {
    let twin = zone_id("twin", ZONE);
    let vendor = vendor(&[(ZONE, &twin)]).await;
    let error = provider(with_secret(&vendor.url)).await.present(&proofs(1)).await.expect_err("two zones");
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("`zones`") && error.to_string().contains(&twin), "{error}");
    let zones = [(format!("{ZONE}."), zone_id("dns", ZONE))].into();
    let fixed = Config { zones, subscription_id: None, ..with_secret(&vendor.url) };
    provider(fixed).await.present(&proofs(1)).await.expect("presented");
    let asked = vendor.asked();
    assert!(asked.iter().any(|asked| asked.starts_with("PUT ") && asked.contains("/resourceGroups/dns/")), "{asked:?}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    azure.present(&proofs(2)).await.expect("presented");
    revoke(&mut vendor.account());
    let _ = vendor.asked();
    azure.retract(&proofs(2)).await.expect("with a new token");
    let logins = vendor.asked().iter().filter(|asked| asked.ends_with("/token")).count();
    assert_eq!(logins, 1, "one for all that wait");
    vendor.limit(
        usize::MAX,
        Answer::new(401, json!({ "error": { "code": "InvalidAuthenticationToken", "message": "no" } })),
    );
    let error = azure.present(&proofs(1)).await.expect_err("no token is good");
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
}

#[tokio::test]
async fn throttling_stops_it_and_says_for_how_long() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    azure.preflight(&proofs(1)).await.expect("it looks");
    let _ = vendor.asked();
    let slow = json!({ "error": { "code": "SubscriptionRequestsThrottled", "message": "Too many requests" } });
    vendor.limit(usize::MAX, Answer::new(429, slow).header("retry-after", "17"));
    let error = azure.present(&proofs(100)).await.expect_err("throttled");
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(17))));
    assert!(error.to_string().contains("SubscriptionRequestsThrottled"), "{error}");
    let asked = vendor.asked().len();
    assert!(asked <= 16, "{asked} requests although the first was throttled");
}

#[tokio::test]
async fn a_hundred_names_are_two_hundred_requests() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    azure.preflight(&proofs(1)).await.expect("it looks");
    let _ = vendor.asked();
    azure.present(&proofs(100)).await.expect("presented");
    assert_eq!(vendor.asked().len(), 200);
}

#[tokio::test]
async fn what_is_wrong_with_the_identity_is_named_and_nothing_secret_is_told() {
    let vendor = vendor(&[]).await;
    let secret = |text: &str| Some(serde_json::from_value(json!(text)).expect("a secret"));
    let good = with_secret(&vendor.url);
    for (config, field) in [
        (Config { client_secret: secret("planted-wrong"), ..good.clone() }, "client_secret: "),
        (Config { client_id: Some("nobody".to_owned()), ..good.clone() }, "client_id: "),
        (Config { tenant_id: Some("nowhere".to_owned()), ..good.clone() }, "tenant_id: "),
    ] {
        let azure = provider(config).await;
        let error = azure.preflight(&proofs(1)).await.expect_err(field);
        assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
        let text = error.to_string();
        assert!(text.starts_with(field) && text.contains("AADSTS"), "{text}");
        assert!(!text.contains("planted"), "{text}");
        assert!(!format!("{azure:?} {error:?}").contains("planted"));
    }
    assert!(!format!("{good:?}").contains(SECRET));
    let missing = Config { subscription_id: None, ..good.clone() };
    let error = from_config_in(&|_| None, missing, None).await.expect_err("no subscription");
    assert!(error.to_string().starts_with("subscription_id: "), "{error}");
    let odd = Config { zones: [(ZONE.to_owned(), "dns".to_owned())].into(), ..good };
    let error = from_config_in(&|_| None, odd, None).await.expect_err("no id");
    assert!(error.to_string().starts_with("zones: `dns`"), "{error}");
    let unknown =
        serde_json::from_value::<Config>(json!({ "subscription": "x" })).expect_err("no such field").to_string();
    assert!(unknown.contains("subscription_id"), "{unknown}");
}

#[tokio::test]
async fn a_role_that_is_missing_is_asked_for() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    azure.preflight(&proofs(1)).await.expect("it looks");
    let words = "The client does not have authorization to perform action 'Microsoft.Network/dnsZones/TXT/write'";
    vendor.limit(1, Answer::new(403, json!({ "error": { "code": "AuthorizationFailed", "message": words } })));
    let error = azure.present(&proofs(1)).await.expect_err("no role");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains(words) && error.to_string().contains("role"), "{error}");
}

#[tokio::test]
async fn a_preflight_names_the_permissions_that_are_missing() {
    let vendor = vendor(&[]).await;
    let azure = provider(with_secret(&vendor.url)).await;
    let role = |actions: &str| vendor.account().replace(ZONE, ZONE, "ROLE", &[actions], 1).expect("a mark");
    role("Microsoft.Network/dnsZones/*/read");
    let error = azure.preflight(&proofs(2)).await.expect_err("a narrow role");
    assert_eq!(error.kind, ErrorKind::Credentials);
    let lacking = "lacks Microsoft.Network/dnsZones/TXT/write, Microsoft.Network/dnsZones/TXT/delete;";
    assert!(error.to_string().contains(lacking), "{error}");
    role("");
    azure.preflight(&proofs(1)).await.expect("who may not ask finds out later");
}

#[tokio::test]
async fn a_federated_token_is_read_anew_for_each_login() {
    let vendor = vendor(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "planted-old").expect("a token");
    let variables = [
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().expect("text").to_owned()),
        ("AZURE_TENANT_ID", TENANT.to_owned()),
        ("AZURE_CLIENT_ID", CLIENT.to_owned()),
        ("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION.to_owned()),
        ("AZURE_AUTHORITY_HOST", format!("{}/", vendor.url)),
    ];
    let environment = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
    let config = Config { base_url: Some(vendor.url.clone()), ..Config::default() };
    let azure = from_config_in(&environment, config, None).await.expect("a provider");
    let error = azure.preflight(&proofs(1)).await.expect_err("an old token").to_string();
    assert!(error.starts_with("federated_token_file: ") && !error.contains("planted"), "{error}");
    std::fs::write(&file, format!("{ASSERTION}\n")).expect("a new token");
    azure.present(&proofs(1)).await.expect("with the new one");
    std::fs::remove_file(&file).expect("removed");
    revoke(&mut vendor.account());
    let error = azure.present(&proofs(2)).await.expect_err("no file").to_string();
    assert!(error.starts_with("federated_token_file: `/"), "{error}");
}

#[tokio::test]
async fn a_machine_shows_its_own_identity() {
    let vendor = vendor(&[]).await;
    provider(plain(&vendor.url)).await.present(&proofs(1)).await.expect("by the instance's metadata");
    let named = Config { client_id: Some(CLIENT.to_owned()), ..plain(&vendor.url) };
    provider(named).await.present(&proofs(1)).await.expect("by one of several identities");
    let unknown = Config { client_id: Some("nobody".to_owned()), ..plain(&vendor.url) };
    let error = provider(unknown).await.preflight(&proofs(1)).await.expect_err("no such identity");
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.to_string().contains("Identity not found"), "{error}");

    let url = format!("{}/msi/token", vendor.url);
    let environment = |name: &str| match name {
        "IDENTITY_ENDPOINT" => Some(url.clone()),
        "IDENTITY_HEADER" => Some(HEADER.to_owned()),
        _ => None,
    };
    let _ = vendor.asked();
    let nowhere = Config { identity_url: Some("http://127.0.0.1:1".to_owned()), ..plain(&vendor.url) };
    let azure = from_config_in(&environment, nowhere.clone(), None).await.expect("a provider");
    assert!(!format!("{azure:?}").contains("planted"));
    azure.present(&proofs(1)).await.expect("by App Service");
    assert_eq!(vendor.asked()[0], "GET /msi/token");

    vendor.limit(1, Answer::new(410, json!("")));
    let error = provider(plain(&vendor.url)).await.preflight(&proofs(1)).await.expect_err("updating");
    assert_eq!((error.kind, error.retry), (ErrorKind::Unavailable, Retry::Yes), "{error}");
    let error = provider(nowhere).await.preflight(&proofs(1)).await.expect_err("nobody is there");
    assert!(error.to_string().contains("client_secret"), "{error}");
}
