//! The Services API as a foreign client meets it: raw HTTP, raw JSON, real lookups, real certificates.

mod common;

use certcentral_sandbox::{
    ApiKey, Role,
    account::{Approval, CheckAnswer, IdType, NoChanges, OrderDomains, Scope},
    limits::Window,
};
use common::{bench, error, order};
use reqwest::Method;
use serde_json::{Value, json};

fn id(body: &Value) -> u64 {
    body["id"].as_u64().unwrap()
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {at} in {value}"))
}

#[tokio::test]
async fn an_order_is_proved_with_its_own_value_and_issued() {
    let bench = bench(|_| {}).await;
    let placed = bench
        .order(&["example.com", "www.example.com", "*.api.example.net"], json!({"alternative_order_id": "mine-1"}))
        .await;
    let (order_id, value) = (id(&placed), text(&placed, "/dcv_random_value").to_owned());
    assert!(placed["certificate_id"].is_u64() && placed.get("requests").is_none());
    assert_eq!(value.len(), 32);
    assert_eq!(placed["domains"].as_array().unwrap().len(), 2);
    assert_eq!(placed["domains"][0]["name"], "example.com");
    assert_ne!(text(&placed, "/domains/0/dcv_token/token"), value, "the domain has a value of its own");

    let path = format!("/order/certificate/{order_id}");
    let (status, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!((status, &checked["order_status"], &checked["dcv_status"]), (200, &json!("pending"), &json!("pending")));
    assert_eq!(checked["dns_name_validations"][2], json!({"dns_name": "*.api.example.net", "status": "pending"}));

    bench.world.put_txt("_dnsauth.example.com", &value);
    let (_, checked) =
        bench.put(&format!("{path}/check-dcv"), json!({"dns_names_validations": ["www.example.com"]})).await;
    assert_eq!(
        checked["dns_name_validations"],
        json!([
        {"dns_name": "example.com", "status": "approved"}, {"dns_name": "www.example.com", "status": "approved"}])
    );
    assert_eq!(checked["order_status"], "pending");
    bench.world.put_txt("example.net", &value);
    let (_, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!((&checked["order_status"], &checked["dcv_status"]), (&json!("issued"), &json!("valid")));
    let (_, stranger) =
        bench.put(&format!("{path}/check-dcv"), json!({"dns_names_validations": ["example.org"]})).await;
    assert_eq!((&stranger["dcv_status"], &stranger["dns_name_validations"]), (&json!("pending"), &json!([])));
    assert_eq!(checked["certificate_id"], placed["certificate_id"]);

    let (_, info) = bench.get(&path).await;
    assert_eq!(info["status"], "issued");
    assert_eq!(info["alternative_order_id"], "mine-1");
    assert_eq!(info["certificate"]["dns_names"], json!(["example.com", "www.example.com", "*.api.example.net"]));
    let days = |from: &str, till: &str| {
        let date = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
        date(from).until(date(till)).unwrap().get_days()
    };
    assert_eq!(days(text(&info, "/certificate/valid_from"), text(&info, "/certificate/valid_till")), 198);
    for reference in [text(&info, "/certificate/thumbprint"), text(&info, "/certificate/serial_number")] {
        assert_eq!(bench.get(&format!("/order/certificate/{reference}")).await.1["id"], order_id);
    }

    let answer = bench
        .raw(Method::GET, &format!("/certificate/{}/download/format/pem_all", placed["certificate_id"]), None, &[])
        .await;
    assert_eq!(answer.headers()["content-type"], "application/x-pem-file");
    let pem = answer.text().await.unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 3);
    let (_, leaf) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let leaf = leaf.parse_x509().unwrap();
    assert_eq!(leaf.subject().iter_organization().next().unwrap().as_str().unwrap(), "Example Organization");
    let (_, by_order) = bench.get(&format!("/certificate/{}/chain", placed["certificate_id"])).await;
    assert!(text(&by_order, "/intermediates/0/pem").ends_with("-----END CERTIFICATE-----\r\n"));
}

#[tokio::test]
async fn an_order_is_proved_with_the_value_of_its_domain() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["www.example.com"], json!({})).await;
    let (_, validation) = bench.get(&format!("/order/certificate/{}/validation", id(&placed))).await;
    let domain = text(&validation, "/dns_name_validations/0/domain_id").to_owned();
    assert_eq!(validation["order_id"], id(&placed).to_string());
    assert_eq!(validation["organization_id"], "10001");
    assert_eq!(validation["organization_validations"][0]["status"], "active");
    assert_eq!(validation["dns_name_validations"][0]["name_scope"], "example.com");
    assert_eq!(validation["dns_name_validations"][0]["status"], "pending");

    let (_, info) = bench.get(&format!("/domain/{domain}")).await;
    assert!(
        info.get("dcv_token").is_none() && info.get("validations").is_none() && info.get("dcv_expiration").is_none()
    );
    assert_eq!(info["organization"]["is_active"], "1");
    let (_, info) = bench.get(&format!("/domain/{domain}?include_dcv=true&include_validation=true")).await;
    let first = text(&info, "/dcv_token/token").to_owned();
    assert_eq!(info["validations"][0]["dcv_status"], "pending");

    // A new value ends the old one.
    let (_, fresh) = bench.post(&format!("/domain/{domain}/dcv/token"), json!({})).await;
    bench.world.put_txt("example.com", &first);
    let refused = bench.put_nothing(&format!("/domain/{domain}/dcv/validate-token")).await;
    assert_eq!(error(&refused), (400, "invalid_dns_txt"));
    bench.world.put_txt("example.com", text(&fresh, "/token"));
    let (status, active) = bench.put_nothing(&format!("/domain/{domain}/dcv/validate-token")).await;
    assert_eq!((status, active), (200, json!({"token": fresh["token"], "status": "active"})));

    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
    assert_eq!(info["status"], "issued", "the last proof completes the order");
    let (_, list) = bench.get("/domain?include_dcv_expiration_time=true&filters[search]=%25example").await;
    assert_eq!(text(&list, "/domains/0/dcv_expiration/ov").len(), "2026-11-23T21:46:29+00:00".len());
    let (_, list) = bench.get("/domain").await;
    assert_eq!(text(&list, "/domains/0/dcv_expiration/ov").len(), "2026-11-23".len());
}

#[tokio::test]
async fn a_live_validation_is_used_again_until_it_is_too_old() {
    let bench = bench(|_| {}).await;
    let first = bench.order(&["example.com"], json!({})).await;
    bench.world.put_txt("example.com", text(&first, "/dcv_random_value"));
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", id(&first))).await;

    let second = bench.order(&["deep.www.example.com", "*.example.com"], json!({})).await;
    assert!(second.get("dcv_random_value").is_none());
    let chain = second["certificate_chain"].as_array().unwrap();
    assert_eq!((chain.len(), text(&chain[0], "/subject_common_name")), (3, "deep.www.example.com"));
    assert!(text(&chain[0], "/pem").contains("\r\n"));
    let refused = bench.put_nothing(&format!("/order/certificate/{}/dcv-random-value", id(&second))).await;
    assert_eq!(refused.0, 400);

    bench.control(Method::POST, "/clock", json!({"seconds": 200 * 86_400})).await;
    let third = bench.order(&["example.com"], json!({})).await;
    assert_eq!(text(&third, "/dcv_random_value").len(), 32);
}

#[tokio::test]
async fn cname_and_files() {
    let bench = bench(|_| {}).await;
    let by_cname = bench.order(&["example.com"], json!({"dcv_method": "dns-cname-token"})).await;
    let path = format!("/order/certificate/{}", id(&by_cname));
    bench
        .world
        .put_cname("_dnsauth.example.com", &format!("{}.dcv.digicert.com.", text(&by_cname, "/dcv_random_value")));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");

    let extra = json!({"dcv_method": "http-token"});
    let by_file = bench.order(&["a.example.net", "b.example.net"], extra.clone()).await;
    assert_eq!(by_file["domains"].as_array().unwrap().len(), 2, "each name has a file of its own");
    let path = format!("/order/certificate/{}", id(&by_file));
    let value = text(&by_file, "/dcv_random_value");
    bench.world.put_file("a.example.net", "fileauth.txt", value);
    let refused = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!(error(&refused), (400, "file_random_value_not_found"));
    bench.world.put_file("b.example.net", "fileauth.txt", value);
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
    let wildcard = bench.post("/order/certificate/ssl_basic", order(&["*.example.net"], extra)).await;
    assert_eq!(error(&wildcard), (400, "invalid_wildcard_dcv_method"));
    // Beside files a wildcard has another method: it is open, and no file is missing.
    let mixed = bench.order(&["d.example.org", "*.example.org"], json!({"dcv_method": "http-token"})).await;
    let path = format!("/order/certificate/{}", id(&mixed));
    assert_eq!(error(&bench.put_nothing(&format!("{path}/check-dcv")).await), (400, "file_random_value_not_found"));
    bench.world.put_file("d.example.org", "fileauth.txt", text(&mixed, "/dcv_random_value"));
    let (status, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!((status, &checked["dcv_status"]), (200, &json!("pending")));
    let each = json!([{"dns_name": "d.example.org", "status": "approved"}, {"dns_name": "*.example.org", "status": "pending"}]);
    assert_eq!(checked["dns_name_validations"], each);
    let below = bench.order(&["x.a.example.net"], json!({})).await;
    assert!(below.get("dcv_random_value").is_some(), "a file covers no name below");

    // The unique file name is in the domain's URL.
    let dynamic = bench.order(&["c.example.org"], json!({"dcv_method": "http-token-dynamic"})).await;
    let (_, domain) = bench.get(&format!("/domain/{}?include_dcv=true", dynamic["domains"][0]["id"])).await;
    let url = text(&domain, "/dcv_token/http_token_url");
    let file = url.strip_prefix("http://c.example.org/.well-known/pki-validation/").unwrap();
    bench.world.put_file("c.example.org", file, text(&dynamic, "/dcv_random_value"));
    let (_, checked) = bench.put_nothing(&format!("/order/certificate/{}/check-dcv", id(&dynamic))).await;
    assert_eq!(checked["order_status"], "issued");
}

#[tokio::test]
async fn values_expire_and_are_fetched_again() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({})).await;
    let path = format!("/order/certificate/{}", id(&placed));
    let value = text(&placed, "/dcv_random_value");
    let (status, same) = bench.put_nothing(&format!("{path}/dcv-random-value")).await;
    assert_eq!((status, text(&same, "/dcv_random_value")), (200, value));
    bench.control(Method::POST, "/clock", json!({"seconds": 30 * 86_400})).await;
    bench.world.put_txt("example.com", value);
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["dcv_status"], "pending");
    let (_, fresh) = bench.put_nothing(&format!("{path}/dcv-random-value")).await;
    assert_ne!(text(&fresh, "/dcv_random_value"), value);
    bench.world.put_txt("example.com", text(&fresh, "/dcv_random_value"));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
}

#[tokio::test]
async fn methods_change() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({"dcv_method": "email"})).await;
    assert!(placed.get("dcv_random_value").is_none());
    let path = format!("/order/certificate/{}", id(&placed));
    assert_eq!(error(&bench.put_nothing(&format!("{path}/check-dcv")).await), (400, "invalid_dns_method"));
    assert_eq!(error(&bench.put_nothing(&format!("{path}/dcv-random-value")).await), (400, "invalid_dcv_method"));
    let domain = placed["domains"][0]["id"].clone();
    let refused = bench.post(&format!("/domain/{domain}/dcv/token"), json!({})).await;
    assert_eq!(error(&refused), (400, "invalid_dcv_method"));
    assert_eq!(bench.put(&format!("{path}/resend-emails"), json!({"domain_approval_emails": []})).await.0, 204);

    let (_, token) = bench.put(&format!("/domain/{domain}/dcv/method"), json!({"dcv_method": "dns-cname-token"})).await;
    assert_eq!(token["dcv_token"]["verification_value"], "dcv.digicert.com");
    let (_, mails) = bench.put(&format!("/domain/{domain}/dcv/method"), json!({"dcv_method": "email"})).await;
    assert_eq!(mails["validation_emails"]["base_emails"][0], "admin@example.com");
    let email = Some(json!({"dcv_method": "email"}));
    let silent = bench.raw(Method::PUT, &format!("{path}/dcv-method"), email, &[]).await;
    assert_eq!((silent.status().as_u16(), silent.text().await.unwrap()), (200, String::new()));
    let (status, value) = bench.put(&format!("{path}/dcv-method"), json!({"dcv_method": "dns-txt-token"})).await;
    assert_eq!(status, 200);
    bench.world.put_txt("example.com", text(&value, "/dcv_random_value"));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
    let unknown = bench.put(&format!("{path}/dcv-method"), json!({"dcv_method": "dns‑txt‑token"})).await;
    assert_eq!(error(&unknown), (400, "invalid_dcv_method"));
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let bench = bench(|config| config.organizations[1].active = false).await;
    let place = |path: &'static str, body| bench.post(path, body);
    let with = |key: &str, value: Value| {
        let mut body = order(&["example.com"], json!({}));
        body[key] = value;
        body
    };
    let in_certificate = |key: &str, value: Value| {
        let mut body = order(&["example.com"], json!({}));
        body["certificate"][key] = value;
        body
    };
    let ov = "/order/certificate/ssl_basic";
    let names = |names: &[&str]| order(names, json!({}));
    let table = [
        ("/order/certificate/no_such", names(&["example.com"]), (404, "not_found|product")),
        ("/order/certificate/ssl", names(&["*.example.com", "*.example.net"]), (400, "ambiguous_product")),
        (ov, in_certificate("common_name", Value::Null), (400, "missing_common_name")),
        (ov, in_certificate("csr", Value::Null), (400, "missing_csr")),
        (ov, in_certificate("csr", json!("garbage")), (400, "csr_invalid_cannot_parse")),
        (ov, in_certificate("signature_hash", Value::Null), (400, "missing_signature_hash")),
        (ov, in_certificate("signature_hash", json!("md5")), (400, "invalid_signature_hash")),
        (ov, in_certificate("cert_validity", json!({"days": 400})), (400, "cert_validity_exceeds_order_validity")),
        (ov, with("organization", Value::Null), (400, "missing_organization")),
        (ov, with("organization", json!({"id": 1})), (404, "not_found|organization")),
        (ov, with("organization", json!({"id": 10_002})), (400, "organization_inactive")),
        (ov, with("order_validity", Value::Null), (400, "missing_order_validity")),
        (ov, with("order_validity", json!({"years": 6})), (400, "invalid_order_validity")),
        (ov, with("dcv_method", json!("pigeon")), (400, "invalid_dcv_method")),
        (ov, with("renewal_of_order_id", json!(5)), (404, "not_found|order")),
        (ov, names(&["foo_bar.example.com"]), (400, "invalid_domain_name")),
        (ov, names(&["example.com", "co.uk"]), (400, "invalid_domain_name")),
        (ov, names(&["münchen.de"]), (400, "invalid_domain_name")),
        ("/order/certificate/ssl_ev_basic", names(&["*.example.com"]), (400, "wildcard_not_allowed")),
        ("/order/certificate/ssl_plus", names(&["a.com", "b.com", "c.com"]), (400, "too_many_dns_names")),
    ];
    for (path, body, expected) in table {
        let answer = place(path, body.clone()).await;
        assert_eq!(error(&answer), expected, "{path} {body}");
    }
    assert_eq!(bench.sandbox.orders(), 0, "nothing refused leaves an order behind");

    let malformed =
        bench.client.post(format!("{}{ov}", bench.sandbox.base_url())).header("X-DC-DEVKEY", "sandbox").body("{");
    let malformed = malformed.send().await.unwrap();
    assert_eq!(malformed.status(), 400);
    assert_eq!(malformed.json::<Value>().await.unwrap()["errors"][0]["code"], "bad_request_format");

    for path in ["/order/certificate/1", "/order/certificate/1/validation", "/order/certificate/FFEE"] {
        assert_eq!(error(&bench.get(path).await), (404, "not_found|order"), "{path}");
    }
    let unknown = bench.get("/no/such").await;
    assert_eq!(
        unknown.1["errors"],
        json!([{"code": "not_found|route", "message": "The specified route was not found."}])
    );
    assert_eq!(error(&bench.put_nothing("/order/certificate").await), (404, "not_found|route"));
}

#[tokio::test]
async fn legacy_fields_and_loose_types_are_read() {
    let bench = bench(|_| {}).await;
    let mut body =
        order(&["example.com"], json!({"validity_years": 1, "organization": {"id": "10001"}, "skip_approval": 1}));
    body.as_object_mut().unwrap().remove("order_validity");
    body["certificate"]["cert_validity"] = json!({"custom_expiration_date": "2199-01-01"});
    assert_eq!(
        error(&bench.post("/order/certificate/ssl_plus", body.clone()).await).1,
        "cert_validity_exceeds_order_validity"
    );
    body["certificate"]["cert_validity"] = json!({"years": 1});
    body["product"] = json!({"type_hint": "ssl_plus"});
    let (status, placed) = bench.post("/order/certificate/ssl", body).await;
    assert_eq!(status, 201, "{placed}");
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
    assert_eq!(info["product"]["name_id"], "ssl_plus");
    assert_eq!(info["certificate"]["cert_validity"], json!({"years": 1}));
    assert!(info["certificate"].get("serial_number").is_none());
}

#[tokio::test]
async fn keys_and_roles() {
    let mut bench = bench(|config| {
        config.keys.push(ApiKey::new("viewer", Role::ViewOnly));
        config.keys.push(ApiKey::new("orders", Role::Orders));
    })
    .await;
    let nobody = bench.client.get(format!("{}/user/me", bench.sandbox.base_url())).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    bench.key = "wrong";
    assert_eq!(error(&bench.get("/user/me").await), (403, "access_denied|access_denied_invalid_key"));
    bench.key = "viewer";
    assert_eq!(bench.get("/user/me").await.1["access_roles"][0]["name"], "Limited User");
    let refused = bench.post("/order/certificate/ssl_basic", order(&["example.com"], json!({}))).await;
    assert_eq!(error(&refused), (403, "access_denied|missing_permission"));
    bench.key = "orders";
    bench.order(&["example.com"], json!({})).await;
    let domain = json!({"name": "example.org", "organization": {"id": 10_001}, "validations": [{"type": "ov"}]});
    assert_eq!(error(&bench.post("/domain", domain).await), (403, "access_denied|missing_permission"));
}

#[tokio::test]
async fn too_many_requests_are_refused_until_the_window_rolls() {
    let bench = bench(|config| config.rate = vec![Window { requests: 3, seconds: 60 }]).await;
    for _ in 0..3 {
        assert_eq!(bench.get("/user/me").await.0, 200);
    }
    let (status, body) = bench.get("/user/me").await;
    assert_eq!(status, 429);
    assert_eq!(
        body["errors"],
        json!([{
        "code": "request_limit_exceeded", "message": "Service unavailable, please limit request volume"}])
    );
    bench.control(Method::POST, "/clock", json!({"seconds": 60})).await;
    assert_eq!(bench.get("/user/me").await.0, 200);
}

#[tokio::test]
async fn approval() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({"skip_approval": false, "comments": "please"})).await;
    assert!(placed.get("certificate_id").is_none() && placed.get("dcv_random_value").is_none());
    assert_eq!(placed["requests"][0]["status"], "pending");
    let path = format!("/order/certificate/{}", id(&placed));
    let (_, info) = bench.get(&path).await;
    assert_eq!(info["status"], "needs_approval");
    assert!(info["certificate"].get("id").is_none());
    let (_, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    let nothing = json!({"order_status": "needs_approval", "dcv_status": "pending", "dns_name_validations": []});
    assert_eq!(checked, nothing, "nothing is looked at, and the certificate is hidden");
    let request = format!("/request/{}", placed["requests"][0]["id"]);
    let (_, waiting) = bench.get("/request?filters[status]=pending").await;
    assert_eq!(waiting["requests"][0]["order"]["id"], placed["id"]);
    assert_eq!(waiting["requests"][0]["type"], "new_request");
    let approve = json!({"status": "approved", "processor_comment": "fine"});
    assert_eq!(bench.put(&format!("{request}/status"), approve.clone()).await.0, 204);
    let (_, info) = bench.get(&request).await;
    assert_eq!((&info["status"], &info["processor_comment"]), (&json!("approved"), &json!("fine")));
    let (_, value) = bench.put_nothing(&format!("{path}/dcv-random-value")).await;
    bench.world.put_txt("example.com", text(&value, "/dcv_random_value"));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");

    let second = bench.order(&["example.com"], json!({"skip_approval": false})).await;
    let request = format!("/request/{}", second["requests"][0]["id"]);
    assert_eq!(bench.put(&format!("{request}/status"), json!({"status": "rejected"})).await.0, 204);
    assert_eq!(bench.get(&format!("/order/certificate/{}", id(&second))).await.1["status"], "rejected");
    assert_eq!(bench.put(&format!("{request}/status"), approve).await.0, 400);
}

#[tokio::test]
async fn approval_by_the_account() {
    let bench = bench(|config| config.approval = Approval::Automatic).await;
    let placed = bench.order(&["example.com"], json!({"skip_approval": false})).await;
    assert_eq!(placed["requests"][0]["status"], "approved");
    assert!(placed["certificate_id"].is_u64());
}

#[tokio::test]
async fn an_organization_must_be_validated() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({"organization": {"id": 10_002}})).await;
    bench.world.put_txt("example.com", text(&placed, "/dcv_random_value"));
    let path = format!("/order/certificate/{}", id(&placed));
    let (_, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!((&checked["order_status"], &checked["dcv_status"]), (&json!("pending"), &json!("valid")));
    let (status, _) = bench.control(Method::PUT, "/organizations/10002", json!({"ov": {"status": "active"}})).await;
    assert_eq!(status, 204);
    assert_eq!(bench.get(&path).await.1["status"], "issued");
}

#[tokio::test]
async fn ev_needs_an_approver() {
    let bench = bench(|config| config.keys[0].ev_approver = false).await;
    let (_, placed) = bench.post("/order/certificate/ssl_ev_basic", order(&["example.com"], json!({}))).await;
    bench.world.put_txt("example.com", text(&placed, "/dcv_random_value"));
    let path = format!("/order/certificate/{}", id(&placed));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "pending");
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    assert_eq!(validation["organization_validations"][0]["verified_contacts"][0]["status"], "pending");
    let (status, _) = bench.control(Method::PUT, &format!("/orders/{}/ev-approval", id(&placed)), json!({})).await;
    assert_eq!(status, 204);
    assert_eq!(bench.get(&path).await.1["status"], "issued");
}

#[tokio::test]
async fn caa_is_obeyed() {
    let bench = bench(|_| {}).await;
    bench.world.put_caa("example.com", "letsencrypt.org");
    let placed = bench.order(&["example.com"], json!({})).await;
    let path = format!("/order/certificate/{}", id(&placed));
    let (_, info) = bench.get(&format!("{path}?include_caa_status=true")).await;
    assert_eq!(info["caa_status_message"], json!({"example.com": "CAA check is not called yet"}));
    bench.world.put_txt("example.com", text(&placed, "/dcv_random_value"));
    let refused = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!(error(&refused), (400, "caa_check_failed|example.com"));
    let (_, info) = bench.get(&format!("{path}?include_caa_status=true")).await;
    assert_eq!(info["status"], "pending");
    assert!(text(&info, "/caa_status_message/example.com").contains("failed"));
    bench.world.put_caa("example.com", "digicert.com");
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
}

#[tokio::test]
async fn cancelling() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({})).await;
    let path = format!("/order/certificate/{}/status", id(&placed));
    assert_eq!(
        bench.put(&path, json!({"status": "rejected", "note": "no"})).await.0,
        400,
        "only canceling is for callers"
    );
    assert_eq!(bench.put(&path, json!({"status": "CANCELED", "note": "no"})).await.0, 204);
    let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
    assert_eq!((&info["status"], &info["notes"][0]["text"]), (&json!("canceled"), &json!("no")));
    assert_eq!(bench.put(&path, json!({"status": "CANCELED", "note": "no"})).await.0, 400);
}

#[tokio::test]
async fn lists_and_status_changes() {
    let bench = bench(|_| {}).await;
    assert_eq!(bench.get("/order/certificate/status-changes?minutes=5").await, (200, json!({})));
    let first = bench.order(&["example.com"], json!({"alternative_order_id": "a"})).await;
    let second = bench.order(&["www.example.net"], json!({"alternative_order_id": "b"})).await;
    let listed = |query: &'static str| {
        let bench = &bench;
        async move {
            let (_, list) = bench.get(&format!("/order/certificate?{query}")).await;
            list["orders"].as_array().into_iter().flatten().map(id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed("filters[alternative_order_id]=b").await, [id(&second)]);
    assert_eq!(listed("filters%5Bcommon_name%5D=%25example.com").await, [id(&first)]);
    assert_eq!(listed("filters[status]=pending&sort=-id").await, [id(&second), id(&first)]);
    assert_eq!(listed("filters[status]=issued").await, [0_u64; 0]);
    assert_eq!(listed("filters[domain_name]=www.example.net").await, [id(&second)]);
    assert_eq!(listed("filters[date_created]=>2020-01-01&limit=1").await, [id(&first)]);
    let (_, list) = bench.get("/order/certificate?limit=1").await;
    assert_eq!(list["page"], json!({"total": 2, "limit": 1, "offset": 0}));
    assert_eq!(list["orders"][0]["alternative_order_id"], "a");

    bench.control(Method::POST, "/clock", json!({"seconds": 3600})).await;
    assert_eq!(bench.get("/order/certificate/status-changes?minutes=30").await.1, json!({}));
    bench.world.put_txt("example.com", text(&first, "/dcv_random_value"));
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", id(&first))).await;
    let (_, changes) = bench.get("/order/certificate/status-changes?minutes=1&seconds=30").await;
    assert_eq!(
        changes,
        json!({"orders": [
        {"order_id": id(&first), "certificate_id": first["certificate_id"], "status": "issued"}]})
    );
    for long in ["minutes=10081", "seconds=604801", "minutes=10080&seconds=1"] {
        let refused = bench.get(&format!("/order/certificate/status-changes?{long}")).await;
        assert_eq!(error(&refused), (400, "time_frame_too_long"), "{long}");
    }
    let old = "/order/certificate/status-changes?filters[status_last_updated]=2020-01-01+00:00:00...2020-01-05";
    assert_eq!(bench.get(old).await.1, json!({}));
}

#[tokio::test]
async fn the_certificate_authority_looks_by_itself() {
    let bench = bench(|config| config.polling = true).await;
    let placed = bench.order(&["example.com"], json!({})).await;
    let path = format!("/order/certificate/{}", id(&placed));
    bench.world.put_txt("example.com", text(&placed, "/dcv_random_value"));
    assert_eq!(bench.get(&path).await.1["status"], "pending");
    bench.control(Method::POST, "/clock", json!({"seconds": 61})).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while bench.get(&path).await.1["status"] != "issued" {
        assert!(std::time::Instant::now() < deadline, "not polled");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn reissue_duplicate_and_revoke() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({})).await;
    let path = format!("/order/certificate/{}", id(&placed));
    bench.world.put_txt("example.com", text(&placed, "/dcv_random_value"));
    bench.put_nothing(&format!("{path}/check-dcv")).await;

    let (status, reissued) =
        bench.post(&format!("{path}/reissue"), order(&["example.com", "example.net"], json!({}))).await;
    assert_eq!((status, &reissued["id"]), (201, &placed["id"]));
    assert_ne!(reissued["certificate_id"], placed["certificate_id"]);
    assert_eq!(bench.get(&path).await.1["status"], "reissue_pending");
    assert_eq!(bench.put(&format!("{path}/revoke"), json!({"skip_approval": true})).await.0, 400);
    bench.world.put_txt("example.net", text(&reissued, "/dcv_random_value"));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
    let (_, info) = bench.get(&path).await;
    assert_eq!((&info["certificate"]["id"], &info["reissues_count"]), (&reissued["certificate_id"], &json!(1)));

    let (status, copy) = bench.post(&format!("{path}/duplicate"), order(&["example.com"], json!({}))).await;
    assert_eq!((status, copy["certificate_chain"].as_array().map(Vec::len)), (201, Some(3)));
    let (_, duplicates) = bench.get(&format!("{path}/duplicate")).await;
    assert_eq!(
        (&duplicates["certificates"][0]["id"], &duplicates["certificates"][0]["archived"]),
        (&copy["certificate_id"], &json!("0"))
    );
    assert_eq!(bench.get(&format!("{path}/reissue")).await.1["certificates"][0]["archived"], 0);

    let (status, request) = bench.put(&format!("{path}/revoke"), json!({"comments": "gone"})).await;
    assert_eq!((status, &request["type"], &request["status"]), (201, &json!("revoke"), &json!("pending")));
    let approve = json!({"status": "approved"});
    assert_eq!(bench.put(&format!("/request/{}/status", request["id"]), approve).await.0, 204);
    assert_eq!(bench.get(&path).await.1["status"], "revoked");
}

#[tokio::test]
async fn a_directory_survives() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_owned();
    let first = bench(|config| config.state_dir = Some(at.clone())).await;
    let placed = first.order(&["example.com"], json!({})).await;
    first.control(Method::POST, "/clock", json!({"seconds": 1000})).await;
    let root = first.sandbox.root_pem();
    // No shutdown: what was answered is on disk.
    drop(first);
    let second = bench(|config| config.state_dir = Some(at.clone())).await;
    assert_eq!(second.sandbox.root_pem(), root);
    assert_eq!(second.sandbox.clock().offset_seconds(), 1000);
    let path = format!("/order/certificate/{}", id(&placed));
    let (_, value) = second.put_nothing(&format!("{path}/dcv-random-value")).await;
    assert_eq!(value["dcv_random_value"], placed["dcv_random_value"]);
    second.world.put_txt("example.com", text(&value, "/dcv_random_value"));
    assert_eq!(second.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
    assert!(id(&second.order(&["example.org"], json!({})).await) > id(&placed), "ids go on");
}

#[tokio::test]
async fn faults() {
    let bench = bench(|_| {}).await;
    let add = |fault: &str, times: u32| json!({"fault": fault, "times": times, "path": "/user/me"});
    bench.control(Method::POST, "/faults", add("429", 2)).await;
    for expected in [429, 429, 200] {
        assert_eq!(bench.get("/user/me").await.0, expected);
    }
    let gateway = bench.raw(Method::GET, "/user/me", None, &[("X-Sandbox-Fault", "502")]).await;
    assert_eq!(gateway.status(), 502);
    assert!(gateway.headers()["content-type"].to_str().unwrap().starts_with("text/html"));

    // The answer is lost, the order is there.
    let url = format!("{}/order/certificate/ssl_basic", bench.sandbox.base_url());
    let body = order(&["example.com"], json!({"alternative_order_id": "lost"}));
    let request = bench.client.post(url).header("X-DC-DEVKEY", "sandbox").header("X-Sandbox-Fault", "drop");
    assert!(request.json(&body).send().await.is_err());
    let (_, found) = bench.get("/order/certificate?filters[alternative_order_id]=lost").await;
    assert_eq!(found["page"]["total"], 1);
    assert_eq!(bench.sandbox.requests_seen().iter().filter(|seen| seen.status == 0).count(), 1);

    let order_id = &found["orders"][0]["id"];
    let (_, value) = bench.put_nothing(&format!("/order/certificate/{order_id}/dcv-random-value")).await;
    bench.world.put_txt("example.com", text(&value, "/dcv_random_value"));
    bench.put_nothing(&format!("/order/certificate/{order_id}/check-dcv")).await;
    let download = |headers: &'static [(&str, &str)]| {
        let path = format!("/certificate/download/order/{order_id}/format/pem_all");
        let bench = &bench;
        async move { bench.raw(Method::GET, &path, None, headers).await.text().await.unwrap() }
    };
    assert_ne!(download(&[]).await, download(&[("X-Sandbox-Fault", "wrong-pem")]).await);
    let before = std::time::Instant::now();
    bench.raw(Method::GET, "/user/me", None, &[("X-Sandbox-Fault", "delay=50")]).await;
    assert!(before.elapsed().as_millis() >= 50);
    assert_eq!(bench.control(Method::POST, "/faults", add("nonsense", 1)).await.0, 400);
}

#[tokio::test]
async fn faults_of_looks() {
    let bench = bench(|config| config.faults = vec!["caa,name=example.com".parse().unwrap()]).await;
    let placed = bench.order(&["www.example.com"], json!({})).await;
    let path = format!("/order/certificate/{}", id(&placed));
    bench.world.put_txt("example.com", text(&placed, "/dcv_random_value"));
    let check = |fault: &'static str| {
        let (path, bench) = (format!("{path}/check-dcv"), &bench);
        async move {
            let answer = bench.raw(Method::PUT, &path, None, &[("X-Sandbox-Fault", fault)]).await;
            answer.json::<Value>().await.unwrap()
        }
    };
    for fault in ["dnssec", "perspective", "expire"] {
        let checked = check(fault).await;
        assert_eq!(checked["order_status"], "pending", "{fault}: {checked}");
    }
    let (_, value) = bench.put_nothing(&format!("{path}/dcv-random-value")).await;
    assert_ne!(value["dcv_random_value"], placed["dcv_random_value"], "the old one has expired");
    bench.world.put_txt("example.com", text(&value, "/dcv_random_value"));
    let refused = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!(error(&refused), (400, "caa_check_failed|www.example.com"));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
}

#[tokio::test]
async fn switches() {
    let bench = bench(|config| {
        config.switches.check_dcv = CheckAnswer::AllOrError;
        config.switches.order_domains = OrderDomains::DnsName;
        config.switches.validation_ids = IdType::Integer;
        config.switches.no_changes = NoChanges::EmptyList;
        config.switches.unlisted_suffixes = true;
        config.default_scope = Scope::Fqdn;
    })
    .await;
    assert_eq!(bench.get("/order/certificate/status-changes?seconds=5").await.1, json!({"orders": []}));
    let placed = bench.order(&["www.bind.test"], json!({})).await;
    assert_eq!(placed["domains"][0]["dns_name"], "www.bind.test");
    let path = format!("/order/certificate/{}", id(&placed));
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    assert!(validation["dns_name_validations"][0]["domain_id"].is_u64());
    assert_eq!(validation["order_name_scope"], "fqdn");
    assert_eq!(error(&bench.put_nothing(&format!("{path}/check-dcv")).await), (400, "invalid_dns_txt"));
    bench.world.put_txt("www.bind.test", text(&placed, "/dcv_random_value"));
    let (_, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!(
        checked,
        json!({"order_status": "issued", "certificate_id": placed["certificate_id"], "dcv_status": "valid"})
    );
}

#[tokio::test]
async fn domains_are_added_before_they_are_needed() {
    let bench = bench(|_| {}).await;
    let body = json!({
        "name": "www.example.com", "organization": {"id": 10_001}, "validations": [{"type": "ov"}, {"type": "ev"}],
        "dcv_method": "dns-txt-token",
    });
    let (status, added) = bench.post("/domain", body).await;
    assert_eq!(status, 201);
    let path = format!("/domain/{}", id(&added));
    assert_eq!(bench.get(&path).await.1["name"], "example.com", "www. is cut");
    bench.world.put_txt("example.com", text(&added, "/dcv_token/token"));
    assert_eq!(bench.put_nothing(&format!("{path}/dcv/validate-token")).await.1["status"], "active");
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    assert_eq!(
        (&validation["validations"][1]["type"], &validation["validations"][1]["dcv_status"]),
        (&json!("ov"), &json!("complete"))
    );
    let at_once = bench.order(&["shop.example.com"], json!({})).await;
    assert!(at_once["certificate_chain"].is_array());
    assert_eq!(bench.post("/domain", json!({"name": "x.com"})).await.0, 400);
}

#[tokio::test]
async fn the_account_is_visible() {
    let bench = bench(|_| {}).await;
    let (_, list) = bench.get("/organization").await;
    assert_eq!(
        (list["organizations"].as_array().unwrap().len(), &list["organizations"][0]["is_active"]),
        (2, &json!(true))
    );
    assert_eq!(bench.get("/organization/10002/validation").await.1["validations"][0]["status"], "pending");
    assert!(bench.get("/product").await.1["products"].as_array().unwrap().len() > 5);
    assert_eq!(bench.get("/product/ssl_ev_basic").await.1["validation_type"], "EV");
    assert_eq!(error(&bench.get("/product/none").await), (404, "not_found|product"));
    let (_, seen) = bench.control(Method::GET, "/requests", json!({})).await;
    assert_eq!(seen["requests"][0], json!({"method": "GET", "path": "/services/v2/organization", "status": 200}));
}

#[tokio::test]
async fn a_hundred_names() {
    let bench = bench(|_| {}).await;
    let names: Vec<String> = (0..100).map(|at| format!("host{at}.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let placed = bench.order(&names, json!({"certificate_dcv_scope": "fqdn"})).await;
    for name in &names {
        bench.world.put_txt(name, text(&placed, "/dcv_random_value"));
    }
    let (_, checked) = bench.put_nothing(&format!("/order/certificate/{}/check-dcv", id(&placed))).await;
    assert_eq!(
        (&checked["order_status"], checked["dns_name_validations"].as_array().unwrap().len()),
        (&json!("issued"), 100)
    );
}
