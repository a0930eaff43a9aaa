//! What can be ordered, for how long, and every form of the 201.

#![allow(missing_docs)]

mod common;

use certcentral_sandbox::{ApiKey, Role, account::Approval};
use common::{Bench, bench, error, order};
use reqwest::Method;
use serde_json::{Value, json};

fn id(body: &Value) -> u64 {
    body["id"].as_u64().unwrap()
}

/// Proves the order's one domain and has the order checked.
async fn prove(bench: &Bench, placed: &Value, domain: &str) {
    bench.world.put_txt(domain, placed["dcv_random_value"].as_str().unwrap());
    let (_, checked) = bench.put_nothing(&format!("/order/certificate/{}/check-dcv", id(placed))).await;
    assert_eq!(checked["order_status"], "issued", "{checked}");
}

/// Sets the sandbox's clock to a moment.
async fn travel(bench: &Bench, to: &str) {
    let to: jiff::Timestamp = to.parse().unwrap();
    let seconds = to.as_second() - bench.sandbox.clock().now().as_second();
    assert_eq!(bench.control(Method::POST, "/clock", json!({"seconds": seconds})).await.0, 200);
}

#[tokio::test]
async fn every_product_is_listed_and_can_be_ordered() {
    let bench = bench(|config| config.rate.clear()).await;
    let (_, list) = bench.get("/product").await;
    let products = list["products"].as_array().unwrap();
    assert_eq!(products.len(), 25);
    for product in products {
        let name_id = product["name_id"].as_str().unwrap();
        let (status, info) = bench.get(&format!("/product/{name_id}?container_id=1")).await;
        assert_eq!(status, 200);
        for field in [
            "group_name",
            "name",
            "type",
            "validation_type",
            "validation_name",
            "validation_description",
            "allowed_container_ids",
            "allowed_validity_years",
            "allowed_order_validity_years",
            "signature_hash_types",
            "allowed_ca_certs",
            "csr_required",
            "duplicates_allowed",
            "max_multi_year_order_validity_years",
            "additional_dns_names_allowed",
            "increased_compatibility_allowed",
            "custom_expiration_date_allowed",
            "allow_auto_renew",
            "server_platforms",
            "license_agreement",
        ] {
            assert!(info.get(field).is_some(), "{name_id}: {field}");
        }
        assert!(info["allowed_ca_certs"][0]["chain_info"].is_string());
        let path = format!("/order/certificate/{name_id}");
        for hash in info["signature_hash_types"]["allowed_hash_types"].as_array().unwrap() {
            let mut body = order(&["example.com"], json!({}));
            body["certificate"]["signature_hash"] = hash["id"].clone();
            body["certificate"]["ca_cert_id"] = info["allowed_ca_certs"][0]["id"].clone();
            let (status, placed) = bench.post(&path, body).await;
            assert_eq!(status, 201, "{name_id} {hash}: {placed}");
        }
        let wildcard = bench.post(&path, order(&["*.example.com"], json!({}))).await;
        let expected = if name_id.contains("_ev_")
            || ["plus", "securesite", "multi_domain"].iter().any(|end| name_id.ends_with(end))
        {
            (400, "wildcard_not_allowed")
        } else {
            (201, "no error")
        };
        assert_eq!(error(&wildcard), expected, "{name_id}");
    }
    assert_eq!(error(&bench.get("/product/ssl_nothing").await), (404, "not_found|product"));
    assert_eq!(error(&bench.get("/product/ssl_basic?container_id=9").await), (404, "not_found|container"));
    let types: Vec<&Value> = products.iter().map(|product| &product["validation_type"]).collect();
    assert!(types.contains(&&json!("Private SSL")) && types.contains(&&json!("OV")) && types.contains(&&json!("EV")));
    let placed = bench.order(&["example.com"], json!({})).await;
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
    assert_eq!(info["product"]["validation_type"], "ov", "orders have it in lower case");
}

#[tokio::test]
async fn the_product_is_guessed_or_ambiguous() {
    let bench = bench(|_| {}).await;
    let refused = Err((400, "ambiguous_product"));
    let table: [(Value, &[&str], _); 9] = [
        (json!({"type_hint": "ov"}), &["example.com", "www.example.com"], Ok("ssl_plus")),
        (json!({"type_hint": "ov"}), &["example.com", "example.net", "example.org"], Ok("ssl_multi_domain")),
        (json!({"type_hint": "ev"}), &["example.com"], Ok("ssl_ev_plus")),
        (json!({"type_hint": "ssl_securesite_pro"}), &["example.com"], Ok("ssl_securesite_pro")),
        (json!({"type_hint": "ev"}), &["*.example.com"], refused),
        (json!({"type_hint": "something"}), &["example.com"], refused),
        // The names alone.
        (json!({}), &["example.com"], Ok("ssl_plus")),
        (json!({}), &["*.example.com"], Ok("ssl_wildcard")),
        (json!({}), &["*.example.com", "*.example.net", "example.org"], refused),
    ];
    for (product, names, expected) in table {
        let answer = bench.post("/order/certificate/ssl", order(names, json!({ "product": product }))).await;
        match expected {
            Ok(name_id) => {
                let (_, info) = bench.get(&format!("/order/certificate/{}", id(&answer.1))).await;
                assert_eq!(info["product"]["name_id"], name_id);
            }
            Err(expected) => assert_eq!(error(&answer), expected, "{product}"),
        }
    }
}

/// The last day of an order and of its certificate, both counted from the day of the order.
async fn lives(bench: &Bench, extra: Value, certificate: Value) -> Result<(i64, i64), String> {
    let mut body = order(&["example.com"], extra);
    if !certificate.is_null() {
        body["certificate"]["cert_validity"] = certificate;
    }
    let answer = bench.post("/order/certificate/ssl_basic", body).await;
    if answer.0 != 201 {
        return Err(error(&answer).1.to_owned());
    }
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&answer.1))).await;
    let day = |value: &Value| value.as_str().unwrap().parse::<jiff::civil::Date>().unwrap();
    let today = day(&info["certificate"]["valid_from"]);
    let after = |value: &Value| i64::from(day(value).since(today).unwrap().get_days());
    Ok((after(&info["order_valid_till"]), after(&info["certificate"]["valid_till"])))
}

#[tokio::test]
async fn validity_by_years_days_and_dates() {
    let bench = bench(|_| {}).await;
    travel(&bench, "2026-12-01T12:00:00Z").await;
    let first = bench.order(&["example.com"], json!({})).await;
    prove(&bench, &first, "example.com").await;
    // The last day is the one before as many days have passed: 199 days are today and 198 more.
    let year = || json!({"order_validity": {"years": 1}});
    let refused = |code: &str| Err(code.to_owned());
    let table = [
        (year(), Value::Null, Ok((365, 198))),
        (json!({"order_validity": {"years": 3}}), json!({"years": 1}), Ok((1095, 198))),
        (json!({"order_validity": {"days": 90}}), Value::Null, Ok((90, 90))),
        (json!({"order_validity": {"custom_expiration_date": "09 JUN 2027"}}), Value::Null, Ok((190, 190))),
        (
            json!({"order_validity": {"custom_expiration_date": "2027-06-09", "days": 5, "years": 1}}),
            Value::Null,
            Ok((190, 190)),
        ),
        (json!({"order_validity": {"days": 200, "years": 1}}), Value::Null, Ok((200, 198))),
        (json!({"order_validity": {"years": 4}}), Value::Null, refused("invalid_order_validity")),
        (json!({"order_validity": {"days": 2190}}), Value::Null, refused("invalid_order_validity")),
        (json!({"order_validity": {"days": -1}}), Value::Null, refused("invalid_validity")),
        // Clients that leave nothing out write 0 for nothing.
        (json!({"order_validity": {"days": 0}}), Value::Null, refused("missing_order_validity")),
        (
            json!({"order_validity": {"custom_expiration_date": "2026-11-30"}}),
            Value::Null,
            refused("invalid_custom_expiration_date"),
        ),
        (json!({"order_validity": {}}), Value::Null, refused("missing_order_validity")),
        // The older top level fields, and what overrides them.
        (json!({"order_validity": null, "validity_years": 1}), Value::Null, Ok((365, 198))),
        (json!({"order_validity": null, "validity_years": 1, "validity_days": 30}), Value::Null, Ok((30, 30))),
        (
            json!({"order_validity": null, "validity_days": 30, "custom_expiration_date": "2027-01-31"}),
            Value::Null,
            Ok((61, 61)),
        ),
        (json!({"order_validity": {"days": 60}, "validity_years": 1}), Value::Null, Ok((60, 60))),
        // The certificate's own.
        (year(), json!({"days": 30}), Ok((365, 29))),
        (year(), json!({"custom_expiration_date": "31 Dec 2026", "days": 90, "years": 1}), Ok((365, 30))),
        (year(), json!({"days": 90, "years": 1}), Ok((365, 89))),
        (year(), json!({"days": 199}), Ok((365, 198))),
        (year(), json!({"days": 200}), refused("invalid_cert_validity")),
        (year(), json!({"custom_expiration_date": "2027-06-18"}), Ok((365, 198))),
        (year(), json!({"custom_expiration_date": "2027-06-19"}), refused("invalid_cert_validity")),
        (json!({"order_validity": {"days": 60}}), json!({"days": 61}), refused("cert_validity_exceeds_order_validity")),
    ];
    for (extra, certificate, expected) in table {
        assert_eq!(lives(&bench, extra.clone(), certificate.clone()).await, expected, "{extra} {certificate}");
    }
}

#[tokio::test]
async fn certificates_become_shorter_with_the_years() {
    let bench = bench(|config| config.dcv_reuse_days = Some(5000)).await;
    let first = bench.order(&["example.com"], json!({})).await;
    prove(&bench, &first, "example.com").await;
    let year = || json!({"order_validity": {"years": 1}});
    for (at, longest) in [("2027-03-14", 199), ("2027-03-15", 100), ("2029-03-14", 100), ("2029-03-15", 47)] {
        travel(&bench, &format!("{at}T10:00:00Z")).await;
        assert_eq!(lives(&bench, year(), Value::Null).await, Ok((365, longest - 1)), "{at}");
        assert_eq!(lives(&bench, year(), json!({"days": longest})).await, Ok((365, longest - 1)), "{at}");
        let long = lives(&bench, year(), json!({"days": longest + 1})).await;
        assert_eq!(long, Err("invalid_cert_validity".to_owned()), "{at}");
    }
}

/// When a limit becomes shorter, so do the validations that there are: they count from their proof, by the limit of the day.
#[tokio::test]
async fn validations_become_shorter_with_the_limits() {
    let now = Some("2026-12-01T12:00:00Z".parse().unwrap());
    let bench = bench(|config| config.now = now).await;
    let first = bench.order(&["example.com"], json!({})).await;
    prove(&bench, &first, "example.com").await;
    let clock = bench.sandbox.clock();
    let proved = clock.now();
    let ends = |days: i64| {
        let at = jiff::Timestamp::from_second(proved.as_second() + days * 86_400).unwrap();
        at.strftime("%Y-%m-%d").to_string()
    };
    assert_eq!((ends(199), ends(100)), ("2027-06-18".to_owned(), "2027-03-11".to_owned()));
    let until = async || {
        let (_, list) = bench.get("/domain?include_validation=true&include_dcv_expiration_time=true").await;
        let domain = &list["domains"][0];
        let until = domain["dcv_expiration"]["ov"].as_str().unwrap().to_owned();
        assert_eq!(domain["dcv_expiration_datetime"], until);
        assert_eq!(domain["validations"][0]["validated_until"], until);
        (until[..10].to_owned(), domain["status"].as_str().unwrap().to_owned())
    };
    travel(&bench, "2027-03-14T12:00:00Z").await;
    assert_eq!(until().await, (ends(199), "approved".to_owned()));
    travel(&bench, "2027-03-15T12:00:00Z").await;
    assert_eq!(until().await, (ends(100), "pending".to_owned()));
    let again = bench.order(&["example.com"], json!({})).await;
    assert!(again["dcv_random_value"].is_string(), "it has to be proved again: {again}");
}

#[tokio::test]
async fn the_limit_is_that_of_the_day_of_issue_and_private_certificates_have_none() {
    let bench = bench(|_| {}).await;
    travel(&bench, "2027-03-14T10:00:00Z").await;
    let placed = bench.order(&["example.com"], json!({})).await;
    travel(&bench, "2027-03-16T10:00:00Z").await;
    prove(&bench, &placed, "example.com").await;
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
    assert_eq!(info["certificate"]["valid_till"], "2027-06-23");
    let body = order(&["example.com"], json!({"order_validity": {"years": 2}}));
    let (_, private) = bench.post("/order/certificate/private_ssl_plus", body).await;
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&private))).await;
    assert_eq!(info["certificate"]["valid_till"], info["order_valid_till"]);
    assert_eq!(info["certificate"]["ca_cert"]["name"], "DCV Sandbox Private TLS CA 1 - NOT TRUSTED");
}

#[tokio::test]
async fn what_an_order_says_is_shown_again() {
    let bench = bench(|_| {}).await;
    let said = json!({
        "payment_method": "profile", "payment_profile": {"id": 3}, "comments": "for the shop",
        "custom_fields": [{"metadata_id": 12, "value": "cost center 5"}], "container": {"id": 5},
        "additional_emails": ["a@example.com", "b@example.com"], "locale": "de", "auto_renew": 1, "auto_reissue": 0,
        "dcv_emails": [{"dns_name": "example.com", "email_domain": "example.com", "email": "admin@example.com"}],
        "disable_renewal_notifications": true, "custom_renewal_message": "Renew me", "disable_ct": 0,
        "alternative_order_id": "4711", "order_validity": {"years": 1}, "skip_approval": true,
    });
    let mut body = order(&["example.com", "www.example.com"], said.clone());
    body["certificate"]["profile_option"] = json!("server_auth_only_eku");
    body["certificate"]["organization_units"] = json!(["IT"]);
    body["certificate"]["server_platform"] = json!({"id": 45});
    body["certificate"]["cert_validity"] = json!({"days": 90});
    let (_, placed) = bench.post("/order/certificate/ssl_basic", body).await;
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
    for (field, value) in said.as_object().unwrap() {
        if field == "container" {
            assert_eq!(info["container"]["id"], 5);
        } else {
            assert_eq!(&info[field], value, "{field}");
        }
    }
    let certificate = &info["certificate"];
    assert_eq!(certificate["profile_option"], "server_auth_only_eku");
    assert_eq!(certificate["organization_units"], json!(["IT"]));
    assert_eq!(certificate["server_platform"]["name"], "nginx");
    assert_eq!(certificate["cert_validity"], json!({"days": 90}));
    assert_eq!(info["validity_years"], 1);
    assert_eq!((&info["dcv_method"], &info["user"]["id"]), (&json!("dns-txt-token"), &json!(20_001)));
}

#[tokio::test]
async fn client_authentication_ended_in_may_2026() {
    let bench = bench(|_| {}).await;
    for (at, expected) in
        [("2026-04-30T12:00:00Z", (201, "no error")), ("2026-05-01T12:00:00Z", (400, "invalid_profile_option"))]
    {
        travel(&bench, at).await;
        let mut body = order(&["example.com"], json!({}));
        body["certificate"]["profile_option"] = json!("server_client_auth_eku");
        assert_eq!(error(&bench.post("/order/certificate/ssl_basic", body).await), expected, "{at}");
    }
}

/// The names of an answer's members.
fn members(answer: &Value) -> Vec<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_form_of_the_answer() {
    let bench = bench(|_| {}).await;
    let place = |extra: Value| {
        let bench = &bench;
        async move { bench.order(&["example.com"], extra).await }
    };
    let mail = place(json!({"dcv_method": "email"})).await;
    assert_eq!(members(&mail), ["certificate_id", "domains", "id", "order_valid_till"]);
    assert_eq!(members(&mail["domains"][0]), ["id", "name"]);

    let token = place(json!({})).await;
    assert_eq!(members(&token), ["certificate_id", "dcv_random_value", "domains", "id", "order_valid_till"]);
    assert_eq!(members(&token["domains"][0]["dcv_token"]), ["expiration_date", "status", "token"]);
    assert_ne!(token["domains"][0]["dcv_token"]["token"], token["dcv_random_value"]);

    let waiting = place(json!({"skip_approval": false})).await;
    assert_eq!(members(&waiting), ["id", "requests"]);
    assert_eq!(waiting["requests"][0]["status"], "pending");

    prove(&bench, &token, "example.com").await;
    let at_once = place(json!({})).await;
    assert_eq!(members(&at_once), ["certificate_chain", "certificate_id", "domains", "id", "order_valid_till"]);
    let names: Vec<&Value> =
        at_once["certificate_chain"].as_array().unwrap().iter().map(|one| &one["subject_common_name"]).collect();
    let ca = ["example.com", "DCV Sandbox TLS CA 1 - NOT TRUSTED", "DCV Sandbox Root CA - NOT TRUSTED"];
    assert_eq!(names, ca.map(Value::from).iter().collect::<Vec<_>>());
    assert!(at_once["domains"][0].get("dcv_token").is_none(), "nothing to prove");

    // Everything is proved, but the organization is not validated: nothing to place and no chain.
    let unknown = place(json!({"organization": {"id": 10_002}})).await;
    assert_eq!(members(&unknown), ["certificate_id", "domains", "id", "order_valid_till"]);
    let path = format!("/order/certificate/{}/dcv-random-value", id(&unknown));
    assert_eq!(bench.put_nothing(&path).await.0, 400);
}

#[tokio::test]
async fn the_account_may_approve_by_itself_or_never() {
    for (approval, expected) in [
        (
            Approval::Automatic,
            vec!["certificate_id", "dcv_random_value", "domains", "id", "order_valid_till", "requests"],
        ),
        (Approval::Required, vec!["id", "requests"]),
    ] {
        let bench = bench(|config| config.approval = approval).await;
        let placed = bench.order(&["example.com"], json!({"skip_approval": true})).await;
        assert_eq!(members(&placed), expected);
        if approval == Approval::Automatic {
            prove(&bench, &placed, "example.com").await;
            let placed = bench.order(&["example.com"], json!({"skip_approval": false})).await;
            assert_eq!(placed["requests"][0]["status"], "approved");
            assert!(placed["certificate_chain"].is_array());
        }
    }
}

#[tokio::test]
async fn view_only_keys_place_nothing() {
    let mut bench = bench(|config| config.keys.push(ApiKey::new("viewer", Role::ViewOnly))).await;
    bench.key = "viewer";
    let refused = bench.post("/order/certificate/ssl_basic", order(&["example.com"], json!({}))).await;
    assert_eq!(error(&refused), (403, "access_denied|missing_permission"));
}
