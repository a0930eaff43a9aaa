//! The provider against the stand-in of `support`.

mod support;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use dcv_gcloud::{Config, from_config_in};
use dcv_provider::{DcvProvider, ErrorKind, Proof, ProofKind, Retry, conformance, conformance::World};
use dcv_test_vendor::{Account, Answer};
use serde_json::{Value, json};
use support::{
    CLIENT_SECRET, EMAIL, PROJECT, SUBJECT, ZONE, ZONE_NAME, provider, revoke, service_account, user, vendor, with,
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
async fn a_hundred_names_are_one_change_that_is_watched_until_it_is_done() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    google.preflight(&proofs(1)).await.expect("it looks");
    let _ = vendor.asked();
    google.present(&proofs(100)).await.expect("presented");
    let zone = format!("/dns/v1/projects/{PROJECT}/managedZones/{ZONE_NAME}");
    let asked = vendor.asked();
    assert_eq!(asked[..2], [format!("GET {zone}/rrsets"), format!("POST {zone}/changes")]);
    assert_eq!(asked[2..].len(), 2, "pending, then done: {asked:?}");
    assert!(asked[2..].iter().all(|asked| asked.starts_with(&format!("GET {zone}/changes/"))), "{asked:?}");
    google.retract(&proofs(100)).await.expect("retracted");
    assert_eq!(vendor.asked().len(), 2, "a list and a change, which nobody waits for");
}

#[tokio::test]
async fn in_a_zone_of_many_sets_only_ours_are_read() {
    let vendor = vendor(&[]).await;
    {
        let mut account = vendor.account();
        for n in 0..150 {
            account.add(ZONE, &format!("a{n}.{ZONE}"), "TXT", "theirs", 60).expect("a text");
        }
    }
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    google.present(&proofs(10)).await.expect("presented");
    let lists = vendor.asked().iter().filter(|asked| asked.ends_with("/rrsets")).count();
    assert_eq!(lists, 11, "one page and ten sets");
    assert_eq!(vendor.values(ProofKind::Txt, proofs(10)[9].name()).await, ["value"]);
}

fn rival(account: &mut Account) {
    let name = format!("_dnsauth.n0.{ZONE}");
    let there: Vec<String> = account.set(&name, "TXT").iter().map(|row| row.value.clone()).collect();
    let mut there: Vec<&str> = there.iter().map(String::as_str).filter(|value| *value != "rival").collect();
    there.insert(0, "rival");
    account.replace(ZONE, &name, "TXT", &there, 300).expect("the rival writes");
}

#[tokio::test]
async fn a_rival_between_reading_and_writing_loses_nothing() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    let ours = &proofs(1)[..];
    google.preflight(ours).await.expect("it looks");
    let writes = |asked: Vec<String>| asked.iter().filter(|asked| asked.starts_with("POST ")).count();
    let _ = vendor.asked();
    // The set has come: 409.
    vendor.race(rival);
    google.present(ours).await.expect("the race is run again");
    assert_eq!(
        (vendor.values(ProofKind::Txt, ours[0].name()).await, writes(vendor.asked())),
        (vec!["rival".to_owned(), "value".to_owned()], 2)
    );
    // The set has changed: 412.
    vendor.race(|account| account.rows.retain(|row| row.value != "rival"));
    google.present(&[txt(ours[0].name(), "more")]).await.expect("the race is run again");
    assert_eq!(
        (vendor.values(ProofKind::Txt, ours[0].name()).await, writes(vendor.asked())),
        (vec!["value".to_owned(), "more".to_owned()], 2)
    );
    // The set has gone: 404, which is not the zone's.
    vendor.race(|account| account.rows.clear());
    google.retract(ours).await.expect("it is gone already");
    assert_eq!(writes(vendor.asked()), 1, "the second time there is nothing to do");
}

#[tokio::test]
async fn the_ttl_of_others_stays_and_a_routing_policy_is_left_alone() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    let ours = proofs(2);
    {
        let mut account = vendor.account();
        account.add(ZONE, ours[0].name(), "TXT", "theirs", 7200).expect("a text");
        account.add(ZONE, ours[1].name(), "TXT", "routed", 7200).expect("a text");
        account.add(ZONE, ours[1].name(), "ROUTED", "", 7200).expect("a mark");
    }
    let ttls = || -> Vec<u32> { vendor.account().set(ours[0].name(), "TXT").iter().map(|row| row.ttl).collect() };
    google.present(&ours[..1]).await.expect("presented");
    assert_eq!(ttls(), [7200, 7200]);
    google.retract(&ours).await.expect("retracted");
    assert_eq!(ttls(), [7200]);
    let error = google.present(&ours).await.expect_err("a policy is there");
    assert_eq!((error.kind, error.subjects.as_slice()), (ErrorKind::Rejected, &[ours[1].name().to_owned()][..]));
    assert_eq!(ttls(), [7200], "nothing is done by halves");
}

#[tokio::test]
async fn an_alias_in_the_way_of_a_text_is_googles_to_name() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    let ours = proofs(2);
    vendor.account().add(ZONE, ours[1].name(), "CNAME", "elsewhere.example", 60).expect("an alias");
    let error = google.present(&ours).await.expect_err("an alias is there");
    assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
    assert!(error.to_string().contains(&format!("'{}.'", ours[1].name())), "{error}");
    assert!(vendor.account().set(ours[0].name(), "TXT").is_empty(), "nothing is done by halves");
}

#[tokio::test]
async fn the_list_of_zones_is_read_to_its_end_once_and_private_zones_are_not_seen() {
    let others = [
        ("sub.gcp-example.com", "sub"),
        ("private.gcp-example.com", "private"),
        ("b.example", "b"),
        ("a.example", "a"),
    ];
    let vendor = vendor(&others).await;
    vendor.account().add("private", "private.gcp-example.com", "PRIVATE", "", 1).expect("a mark");
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    let proofs = ["_dnsauth.sub.gcp-example.com", "_dnsauth.private.gcp-example.com", "_dnsauth.a.example"]
        .map(|name| txt(name, "v"));
    google.present(&proofs).await.expect("presented");
    let mut zones: Vec<String> =
        vendor.account().rows.iter().filter(|row| row.rtype == "TXT").map(|row| row.zone.clone()).collect();
    zones.sort();
    assert_eq!(zones, ["a.example", ZONE, "sub.gcp-example.com"]);
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|asked| asked.ends_with("/managedZones")).count(), 3, "three pages: {asked:?}");
    assert_eq!(asked.iter().filter(|asked| asked.ends_with("/token")).count(), 1, "one token: {asked:?}");
}

#[tokio::test]
async fn twins_are_told_apart_by_the_configuration() {
    let vendor = vendor(&[(ZONE, "twin")]).await;
    let config = with(&vendor.url, &user(&vendor.url));
    let error = provider(config.clone()).await.present(&proofs(1)).await.expect_err("two zones");
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("`zones`") && error.to_string().contains("twin"), "{error}");
    let fixed = Config { zones: [(format!("{ZONE}."), ZONE_NAME.to_owned())].into(), ..config.clone() };
    let _ = vendor.asked();
    provider(fixed).await.present(&proofs(1)).await.expect("presented");
    assert!(!vendor.asked().iter().any(|asked| asked.ends_with("/managedZones")), "the list is not asked for");
    let unknown = Config { zones: [(ZONE.to_owned(), "no-such-zone".to_owned())].into(), ..config };
    let error = provider(unknown).await.present(&proofs(1)).await.expect_err("no such zone");
    assert_eq!(error.kind, ErrorKind::NotServed, "{error}");
    assert!(error.to_string().contains("check project and zones"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    google.present(&proofs(2)).await.expect("presented");
    revoke(&mut vendor.account());
    let _ = vendor.asked();
    google.retract(&proofs(2)).await.expect("with a new token");
    let logins = vendor.asked().iter().filter(|asked| asked.ends_with("/token")).count();
    assert_eq!(logins, 1, "one for all that wait");
    vendor.limit(usize::MAX, Answer::new(401, json!({ "error": { "code": 401, "message": "no" } })));
    let error = google.present(&proofs(1)).await.expect_err("no token is good");
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
}

fn refused(status: u16, reason: &str, message: &str) -> Answer {
    let errors = json!([{ "domain": "usageLimits", "reason": reason, "message": message }]);
    Answer::new(status, json!({ "error": { "code": status, "message": message, "errors": errors } }))
}

#[tokio::test]
async fn throttling_says_for_how_long_whatever_the_status() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    google.preflight(&proofs(1)).await.expect("it looks");
    for (status, reason) in [(429, "rateLimitExceeded"), (403, "userRateLimitExceeded")] {
        vendor.limit(1, refused(status, reason, "Rate Limit Exceeded").header("retry-after", "17"));
        let error = google.present(&proofs(1)).await.expect_err("throttled");
        assert_eq!(
            (error.kind, error.retry),
            (ErrorKind::RateLimited, Retry::After(Duration::from_secs(17))),
            "{error}"
        );
    }
    vendor.limit(1, refused(403, "forbidden", "The caller does not have permission"));
    let error = google.present(&proofs(1)).await.expect_err("forbidden");
    assert_eq!((error.kind, error.retry), (ErrorKind::Credentials, Retry::No));
    assert!(error.to_string().contains("does not have permission; grant"), "{error}");
}

#[tokio::test]
async fn a_preflight_names_the_permissions_that_are_missing() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    vendor.account().add(ZONE, ZONE, "LACKING", "dns.resourceRecordSets.delete", 1).expect("a mark");
    let error = google.preflight(&proofs(1)).await.expect_err("a narrow role");
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.to_string().contains("lack dns.resourceRecordSets.delete on zone gcp-example-com"), "{error}");
}

#[tokio::test]
async fn a_change_that_may_not_be_watched_is_made_all_the_same() {
    let vendor = vendor(&[]).await;
    let google = provider(with(&vendor.url, &user(&vendor.url))).await;
    vendor.account().add(ZONE, ZONE, "LACKING", "dns.changes.get", 1).expect("a mark");
    google.present(&proofs(1)).await.expect("presented");
    let asked = vendor.asked();
    assert_eq!(asked.iter().filter(|asked| asked.contains("/changes/")).count(), 1, "it is not asked again: {asked:?}");
}

#[tokio::test]
async fn a_service_account_signs_for_itself() {
    let vendor = vendor(&[]).await;
    let account = service_account(&vendor.url);
    // Its project is in its file.
    let config = Config { project: None, ..with(&vendor.url, &account) };
    let google = provider(config).await;
    assert!(!format!("{google:?}").contains("PRIVATE KEY"));
    google.present(&proofs(1)).await.expect("presented");
    let changed = |field: &str, value: &str| {
        let mut account = account.clone();
        account[field] = json!(value);
        account
    };
    for (credentials, part) in [
        (changed("client_email", "nobody@example.com"), "credentials: invalid_grant: "),
        (
            changed("private_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "private_key is not",
        ),
        (changed("private_key", "planted"), "private_key is not a key for RS256: it is no PEM"),
        (changed("token_uri", "planned"), "`planned` in it is not a URL"),
    ] {
        let error =
            provider(with(&vendor.url, &credentials)).await.preflight(&proofs(1)).await.expect_err(part).to_string();
        assert!(error.starts_with("credentials: ") && error.contains(part) && !error.contains("planted"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_that_is_wrong_is_named_and_not_told() {
    let vendor = vendor(&[]).await;
    let mut wrong = user(&vendor.url);
    wrong["refresh_token"] = json!("planted-wrong");
    let google = provider(with(&vendor.url, &wrong)).await;
    let error = google.preflight(&proofs(1)).await.expect_err("a wrong token");
    assert_eq!(error.kind, ErrorKind::Credentials);
    let text = error.to_string();
    assert!(text.starts_with("credentials: invalid_grant: ") && text.contains("[hidden] has been expired"), "{text}");
    assert!(!format!("{google:?} {error:?} {:?}", with(&vendor.url, &wrong)).contains("planted"));
    assert!(!format!("{:?}", with(&vendor.url, &user(&vendor.url))).contains(CLIENT_SECRET));
    let unknown = serde_json::from_value::<Config>(json!({ "projects": "x" })).expect_err("no such field").to_string();
    assert!(unknown.contains("`project`"), "{unknown}");
}

#[tokio::test]
async fn another_clouds_token_is_exchanged_and_may_speak_for_an_account() {
    let vendor = vendor(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{SUBJECT}\n")).expect("a token");
    let external = |source: Value| {
        json!({
            "type": "external_account", "token_url": format!("{}/v1/token", vendor.url), "credential_source": source,
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        })
    };
    let by_url = external(json!({
        "url": format!("{}/subject?audience=x", vendor.url), "headers": { "X-Subject": "planted-header" },
        "format": { "type": "json", "subject_token_field_name": "value" },
    }));
    let mut speaking = external(json!({ "file": file }));
    speaking["service_account_impersonation_url"] =
        json!(format!("{}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken", vendor.url));
    for credentials in [external(json!({ "file": file })), by_url, speaking] {
        let google = provider(with(&vendor.url, &credentials)).await;
        assert!(!format!("{google:?}").contains("planted"));
        google.present(&proofs(1)).await.expect("presented");
        google.retract(&proofs(1)).await.expect("retracted");
    }
    let asked = vendor.asked();
    assert!(asked.iter().any(|asked| asked.ends_with(":generateAccessToken")), "{asked:?}");

    // A federation's file holds no secret and may be read by all; the environment names it.
    let named = folder.path().join("federation.json");
    std::fs::write(&named, external(json!({ "file": file })).to_string()).expect("a file");
    std::fs::set_permissions(&named, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let path = named.display().to_string();
    let environment = |name: &str| match name {
        "GOOGLE_APPLICATION_CREDENTIALS" => Some(path.clone()),
        "GOOGLE_CLOUD_PROJECT" => Some(PROJECT.to_owned()),
        _ => None,
    };
    let config = Config { base_url: Some(vendor.url.clone()), ..Config::default() };
    let google = from_config_in(&environment, config, None).await.expect("a provider");
    google.present(&proofs(1)).await.expect("presented");
    std::fs::write(&file, "planted-old").expect("a token");
    revoke(&mut vendor.account());
    let error = google.present(&proofs(2)).await.expect_err("an old token").to_string();
    assert!(
        error.contains("federation.json") && error.contains("invalid_grant") && !error.contains("planted"),
        "{error}"
    );
}

#[tokio::test]
async fn a_machine_has_an_account_and_a_project() {
    let vendor = vendor(&[]).await;
    let host = vendor.url.strip_prefix("http://").expect("a URL").to_owned();
    let environment = |name: &str| (name == "GCE_METADATA_HOST").then(|| host.clone());
    let config = Config { base_url: Some(vendor.url.clone()), ..Config::default() };
    let google = from_config_in(&environment, config.clone(), None).await.expect("a provider");
    google.present(&proofs(1)).await.expect("presented");
    assert_eq!(vendor.asked()[0], "GET /computeMetadata/v1/project/project-id");
    let nowhere = |name: &str| (name == "GCE_METADATA_HOST").then(|| "127.0.0.1:1".to_owned());
    let google = from_config_in(&nowhere, config.clone(), None).await.expect("a provider");
    let error = google.preflight(&proofs(1)).await.expect_err("nobody is there");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
    let user = Config { project: None, ..with(&vendor.url, &user(&vendor.url)) };
    let error = provider(user).await.preflight(&proofs(1)).await.expect_err("no project").to_string();
    assert!(error.starts_with("project: "), "{error}");
}

#[tokio::test]
async fn who_pays_is_said() {
    let vendor = vendor(&[]).await;
    let mut credentials = user(&vendor.url);
    credentials["quota_project_id"] = json!("payer");
    provider(with(&vendor.url, &credentials)).await.present(&proofs(1)).await.expect("presented");
    let account = vendor.account();
    let calls: Vec<&str> = account
        .log
        .iter()
        .filter(|asked| asked.path.starts_with("/dns/"))
        .map(|asked| asked.header("x-goog-user-project"))
        .collect();
    assert!(!calls.is_empty() && calls.iter().all(|payer| *payer == "payer"), "{calls:?}");
}
