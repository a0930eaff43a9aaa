//! Answers as they were seen, in all their shapes, replayed to the client by a server that also looks at what it is sent.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use certcentral::{
    Budget, CertificateId, Client, Contact, DcvMethod, DomainEmail, DomainId, DownloadFormat, Error, NewDomain,
    NewOrder, NewOrganization, NewOrganizationValidation, NewReissue, NewWebhook, OrderId, OrderStatus, OrganizationId,
    RequestId, RequestStatus, Retries, Revocation, RevocationReason, ValidationStatus, VerifiedUser,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// An answer to be given.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

/// A request that came.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: HeaderMap,
    body: Value,
}

#[derive(Clone, Default)]
struct Script {
    base: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    /// A client whose calls are answered by these answers, one after the other.
    async fn start(answers: Vec<Answer>) -> (Client, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/services/v2/", listener.local_addr().expect("its address"));
        let script = Self { base, answers: Arc::new(Mutex::new(answers.into())), ..Self::default() };
        let router = Router::new().fallback(reply).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (client(&script.base), script)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn reply(
    State(script): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<axum::body::Body> {
    let line = format!("{method} {uri}");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON is sent") };
    script.seen.lock().unwrap().push(Seen { line, headers, body });
    let answer = script.answers.lock().unwrap().pop_front().unwrap_or_else(|| ok("{}"));
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status).expect("a status"));
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(answer.body.into()).expect("a response")
}

fn client(base: &str) -> Client {
    with_patience(base, Duration::from_secs(60))
}

/// A client that takes 429 for an answer after so long.
fn with_patience(base: &str, patience: Duration) -> Client {
    let pause = Duration::from_millis(1);
    Client::builder("planted-api-key".into())
        .base_url(base)
        .budget(Budget::new(Vec::new(), 1))
        .retries(Retries { attempts: 3, pause, pause_when_limited: pause, patience_when_limited: patience })
        .timeout(Duration::from_secs(5))
        .build()
        .expect("it builds")
}

fn answer(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers: vec![("content-type", content_type)], body: body.into() }
}

fn ok(body: &str) -> Answer {
    answer(200, "application/json", body)
}

fn order() -> NewOrder {
    let mut order = NewOrder::new("www.example.com", "CSR", 7);
    order.alternative_order_id = Some("mine-1".to_owned());
    order
}

/// Body; order, certificate, needs approval, value, domains, certificates of the chain.
type Row<'a> = (&'a str, u64, Option<u64>, bool, Option<&'a str>, usize, usize);

#[tokio::test]
async fn every_answer_to_an_order_is_understood() {
    let chain = r#"{"id":"5","requests":[{"id":1,"status":"approved"}],"certificate_id":6,
        "certificate_chain":[{"subject_common_name":"a","pem":"-----BEGIN CERTIFICATE-----\r\nAA\r\n-----END CERTIFICATE-----\r\n"}]}"#;
    let table: [Row<'_>; 11] = [
        (r#"{"id":112233,"certificate_id":123456}"#, 112_233, Some(123_456), false, None, 0, 0),
        (
            r#"{"id":112233,"certificate_id":123456,"dcv_random_value":"icru1984rnekfj"}"#,
            112_233,
            Some(123_456),
            false,
            Some("icru1984rnekfj"),
            0,
            0,
        ),
        (r#"{"id":542772,"requests":[{"id":922432,"status":"pending"}]}"#, 542_772, None, true, None, 0, 0),
        (
            r#"{"id":542772,"requests":[{"id":"922432","status":"submitted"}],"certificate_id":null}"#,
            542_772,
            None,
            true,
            None,
            0,
            0,
        ),
        (chain, 5, Some(6), false, None, 0, 1),
        (
            r#"{"id":1,"certificate_id":2,"domains":[{"id":111,"name":"example.com","dcv_token":{"token":"t","status":"pending"}}]}"#,
            1,
            Some(2),
            false,
            None,
            1,
            0,
        ),
        (
            r#"{"id":1,"certificate_id":2,"domains":[{"id":"111","dns_name":"example.com"}],"new_field":{"a":[1]}}"#,
            1,
            Some(2),
            false,
            None,
            1,
            0,
        ),
        (
            r#"{"id":1,"certificate_id":"","requests":{},"domains":{},"dcv_random_value":null,"certificate_chain":null}"#,
            1,
            None,
            false,
            None,
            0,
            0,
        ),
        ("\u{feff}{\"id\":1}", 1, None, false, None, 0, 0),
        // The order stands, whatever is odd about the rest.
        (
            r#"{"id":1,"requests":[{"id":3}],"domains":[{"dns_name":"no number"}],"certificate_chain":[{"pem":null}]}"#,
            1,
            None,
            false,
            None,
            0,
            0,
        ),
        (
            r#"{"id":1,"domains":[{"id":1,"name":"example.com","dns_name":"example.com","dcv_token":{"token":36}}]}"#,
            1,
            None,
            false,
            None,
            1,
            0,
        ),
    ];
    for (body, id, certificate, approval, value, domains, chain) in table {
        let (client, script) = Script::start(vec![answer(201, "application/json;charset=utf-8", body)]).await;
        let placed = client.place_order("ssl_basic", &order()).await.unwrap_or_else(|e| panic!("{body}: {e}"));
        assert_eq!(placed.id, OrderId(id), "{body}");
        assert_eq!(placed.certificate_id, certificate.map(CertificateId), "{body}");
        assert_eq!(placed.needs_approval(), approval, "{body}");
        assert_eq!(placed.dcv_random_value.as_deref(), value, "{body}");
        assert_eq!(placed.domains.len(), domains, "{body}");
        assert!(placed.domains.iter().all(|domain| domain.name.as_deref() == Some("example.com")), "{body}");
        assert_eq!(placed.certificate_chain.len(), chain, "{body}");
        let seen = script.seen();
        assert_eq!(seen[0].line, "POST /services/v2/order/certificate/ssl_basic");
        assert_eq!(seen[0].headers["x-dc-devkey"], "planted-api-key");
        assert!(seen[0].headers.contains_key("user-agent") && seen[0].headers.contains_key("content-length"));
        assert_eq!(seen[0].body["alternative_order_id"], "mine-1");
    }
}

#[tokio::test]
async fn every_error_keeps_its_status_code_and_words() {
    let table = [
        (
            403,
            "application/json",
            r#"{"errors":[{"code":"access_denied|missing_permission","message":"No."}]}"#,
            "access_denied|missing_permission: No; the API key's role",
        ),
        (
            404,
            "application/json; charset=utf-8",
            r#"{"errors":{"code":"not_found|order","message":"The order was not found."}}"#,
            "not_found|order: The order was not found; ",
        ),
        (
            400,
            "application/json",
            r#"{"error":{"code":"bad_request_format","message":"Broken"}}"#,
            "bad_request_format: Broken",
        ),
        (400, "application/json", r#"{"errors":[{"code":"new_code|detail","message":null}]}"#, "new_code|detail"),
        (
            400,
            "application/json",
            "\u{feff}{\"errors\":[{\"code\":\"csr_invalid_cannot_parse\",\"message\":\"CSR\"}]}",
            "csr_invalid_cannot_parse: CSR",
        ),
        (403, "text/html", "<html><body>Forbidden</body></html>", "HTTP 403"),
        (
            400,
            "application/json",
            r#"{"errors":[{"code":"x","message":"two\r\nlines"},{"code":"y","message":"more"}]}"#,
            "x: two lines; y: more",
        ),
        (
            401,
            "application/json",
            r#"{"errors":[{"code":"access_denied|planted-api-key","message":"Bad key planted-api-key."}]}"#,
            "access_denied|(the API key): Bad key (the API key); ",
        ),
        (404, "application/json", r#"{"errors":null,"error":{"code":"not_found|order"}}"#, "not_found|order"),
        (400, "application/json", "{}", "HTTP 400"),
        (400, "application/json", "", "HTTP 400"),
    ];
    for (status, content_type, body, part) in table {
        let (client, script) = Script::start(vec![answer(status, content_type, body)]).await;
        let error = client.order(OrderId(1)).await.expect_err(body);
        let text = error.to_string();
        assert_eq!(error.status(), Some(status), "{body}");
        assert!(text.contains(part) && text.contains("GET /order/certificate/1"), "{body}: {text}");
        assert!(!text.contains('\n') && !error.outcome_unknown(), "{text}");
        assert!(!format!("{error:?} {text}").contains("planted"), "{error:?}");
        assert_eq!(script.seen().len(), 1, "a refusal is not repeated: {body}");
    }
}

#[tokio::test]
async fn lists_may_be_missing_empty_objects_or_strings_of_numbers() {
    for (body, expected) in [
        ("{}", 0),
        (r#"{"orders":{}}"#, 0),
        (r#"{"orders":[]}"#, 0),
        (r#"{"orders":null}"#, 0),
        ("", 0),
        (r#"{"orders":[{"order_id":1,"certificate_id":2,"status":"issued"}]}"#, 1),
        (
            r#"{"orders":[{"order_id":"1","certificate_id":null,"status":"needs_approval"},{"order_id":2,"status":"brand_new"}]}"#,
            2,
        ),
    ] {
        let (client, script) = Script::start(vec![ok(body)]).await;
        let changes =
            client.status_changes(Duration::from_millis(90_500)).await.unwrap_or_else(|e| panic!("{body}: {e}"));
        assert_eq!(changes.len(), expected, "{body}");
        assert_eq!(script.seen()[0].line, "GET /services/v2/order/certificate/status-changes?seconds=91");
        if let Some(last) = changes.last().filter(|_| expected == 2) {
            assert_eq!(last.status, OrderStatus::Other("brand_new".to_owned()));
        }
    }
    let (client, script) = Script::start(vec![ok("{}")]).await;
    client.status_changes(Duration::from_secs(30 * 24 * 3600)).await.expect("a long window");
    assert!(script.seen()[0].line.ends_with("seconds=604800"), "seven days at most");
}

#[tokio::test]
async fn a_page_that_is_no_json_is_described_without_the_key() {
    let (client, _) = Script::start(vec![answer(200, "text/html", "<p>planted-api-key\nis welcome</p>")]).await;
    let error = client.me().await.expect_err("no JSON");
    assert!(matches!(error, Error::Decode { .. }) && !error.outcome_unknown(), "{error:?}");
    assert!(error.to_string().contains("<p>(the API key)") && !error.to_string().contains('\n'), "{error}");
    assert!(!format!("{error:?}").contains("planted"), "{error:?}");

    let (client, _) = Script::start(vec![ok(r#"{"dcv_random_value":["a-random-value"]}"#)]).await;
    let error = client.order_random_value(OrderId(1)).await.expect_err("no value");
    assert!(!error.to_string().contains("a-random-value"), "{error}");
}

#[tokio::test]
async fn validation_status_and_domains_are_read_in_all_their_shapes() {
    let body = r#"{"order_id":"112211","order_status":"pending","order_name_scope":"base_domain","organization_id":"12345",
        "organization_name":"Example","organization_validations":[{"type":"ov","name":"OV","validated_until":"2027-01-01","status":"active"}],
        "dns_name_validations":[{"domain_id":"1234","name_scope":"example.com","approval_scope":"subdomains","status":"approved",
        "method":"dns-txt-token","dns_names":["sub.example.com"]},{"domain_id":99,"status":"unheard_of"}]}"#;
    let (client, _) = Script::start(vec![ok(body)]).await;
    let validation = client.order_validation(OrderId(112_211)).await.expect("it is understood");
    let [first, second] = &validation.dns_name_validations[..] else { panic!("two domains") };
    assert_eq!((first.domain_id, first.status.is_validated()), (Some(DomainId(1234)), true));
    assert_eq!((second.domain_id, second.status.is_validated()), (Some(DomainId(99)), false));
    assert!(validation.organization_validations[0].status.is_validated());
    assert_eq!((validation.order_id, validation.organization_id.map(|id| id.0)), (Some(OrderId(112_211)), Some(12345)));

    let nulls = r#"{"order_id":null,"organization_validations":[{"type":null,"status":null,"validated_until":{}}],
        "dns_name_validations":[{"domain_id":null,"name_scope":null,"status":null,"dns_names":{}},null]}"#;
    let (client, _) = Script::start(vec![ok(nulls)]).await;
    let validation = client.order_validation(OrderId(1)).await.expect("it is understood");
    assert_eq!((validation.organization_validations.len(), validation.dns_name_validations.len()), (1, 1));

    for (body, token) in [
        (
            r#"{"id":1,"name":"example.com","is_active":"1","dcv_method":"dns-txt-token","dcv_token":{"token":"abc","status":"pending","expiration_date":"2026-12-01T00:00:00+00:00"}}"#,
            Some("abc"),
        ),
        (r#"{"id":1,"dns_name":"example.com","is_active":1,"dcv_token":{}}"#, None),
        (
            r#"{"id":"1","name":"example.com","is_active":true,"dcv_token":null,"dcv_expiration":{"ov":"2026-12-01"}}"#,
            None,
        ),
        (r#"{"id":1,"name":"example.com","dcv_expiration":[]}"#, None),
        (r#"{"id":1,"name":"example.com","dns_name":"example.com","dcv_token":{"token":36}}"#, Some("36")),
        (r#"{"id":1,"name":null,"dns_name":"example.com","dcv_token":{"token":null,"status":"valid"}}"#, Some("")),
    ] {
        let (client, script) = Script::start(vec![ok(body)]).await;
        let domain = client.domain(DomainId(1)).await.unwrap_or_else(|e| panic!("{body}: {e}"));
        assert_eq!(domain.name.as_deref(), Some("example.com"), "{body}");
        assert_eq!(domain.dcv_token.map(|t| t.token).as_deref(), token, "{body}");
        assert_eq!(script.seen()[0].line, "GET /services/v2/domain/1?include_dcv=true");
    }
}

#[tokio::test]
async fn a_proof_that_is_not_found_yet_is_no_error_in_any_age_of_the_api() {
    let found = r#"{"order_status":"issued","certificate_id":249043544,"dcv_status":"valid","dns_name_validations":[{"dns_name":"example.com","status":"approved"}]}"#;
    for (given, approved) in [
        (ok(found), true),
        (ok(r#"{"order_status":"pending","certificate_id":1,"dcv_status":"valid"}"#), true),
        (
            ok(
                r#"{"order_status":"pending","dcv_status":"pending","dns_name_validations":[{"dns_name":"example.com","status":"pending"}]}"#,
            ),
            false,
        ),
        (
            answer(
                400,
                "application/json",
                r#"{"errors":[{"code":"invalid_dns_txt","message":"Could not find a valid TXT record"}]}"#,
            ),
            false,
        ),
        (answer(400, "application/json", r#"{"errors":[{"code":"invalid_dns_cname","message":"x"}]}"#), false),
        (answer(400, "application/json", r#"{"errors":{"code":"file_random_value_not_found","message":"x"}}"#), false),
        (ok(r#"{"errors":[{"code":"invalid_dns_txt","message":"x"}]}"#), false),
        (
            ok(
                r#"{"dns_name_validations":[{"dns_name":null,"status":null},{"name":"example.com","status":"pending"}]}"#,
            ),
            false,
        ),
    ] {
        let (client, script) = Script::start(vec![given]).await;
        let check = client.check_order_dcv(OrderId(1), &[]).await.expect("no error");
        assert_eq!(check.is_approved("example.com"), approved, "{check:?}");
        assert_eq!(check.reason().is_some(), !approved, "{check:?}");
        let seen = script.seen();
        assert_eq!(
            (seen[0].line.as_str(), &seen[0].body),
            ("PUT /services/v2/order/certificate/1/check-dcv", &Value::Null)
        );
        assert_eq!(seen[0].headers["content-length"], "0");
    }
    let (client, script) = Script::start(vec![answer(
        400,
        "application/json",
        r#"{"errors":[{"code":"invalid_dns_method","message":"x"}]}"#,
    )])
    .await;
    let error = client.check_order_dcv(OrderId(1), &["a.example.com".to_owned()]).await.expect_err("another matter");
    assert!(error.has_code("invalid_dns_method"));
    assert_eq!(script.seen()[0].body, json!({"dns_names_validations": ["a.example.com"]}));

    let (client, _) = Script::start(vec![ok(r#"{"token":36,"status":"active"}"#)]).await;
    assert_eq!(client.check_domain_token(DomainId(1)).await.expect("found").status, ValidationStatus::Active);

    for given in [
        ok(r#"{"errors":[{"code":"invalid_dns_txt","message":"x"}]}"#),
        answer(400, "application/json", r#"{"errors":[{"code":"invalid_dns_txt","message":"x"}]}"#),
    ] {
        let (client, _) = Script::start(vec![given]).await;
        let check = client.check_domain_token(DomainId(1)).await.expect("no error");
        assert!(!check.status.is_validated() && check.errors[0].code.as_str() == "invalid_dns_txt", "{check:?}");
    }
    let (client, _) = Script::start(vec![answer(204, "application/json", ""), answer(200, "text/plain", "\r\n")]).await;
    assert!(!client.check_order_dcv(OrderId(1), &[]).await.expect("no error").is_approved("example.com"));
    assert!(!client.check_domain_token(DomainId(1)).await.expect("no error").status.is_validated());
}

/// A list without names says nothing of any, and nothing is proved of an order that waits for its approver.
#[tokio::test]
async fn a_check_that_names_nobody_approves_nobody() {
    for given in [
        r#"{"order_status":"pending","dcv_status":"valid","dns_name_validations":[]}"#,
        r#"{"order_status":"issued","dcv_status":"valid","dns_name_validations":{}}"#,
        r#"{"order_status":"needs_approval","dcv_status":"valid"}"#,
        r#"{"order_status":"pending","dcv_status":"pending","dns_name_validations":null}"#,
    ] {
        let (client, _) = Script::start(vec![ok(given)]).await;
        let check = client.check_order_dcv(OrderId(1), &[]).await.expect("no error");
        assert!(!check.is_approved("example.com"), "{given}");
    }
}

/// Only an answer that says nothing means that it is done; one that is not understood leaves open what was done.
#[tokio::test]
async fn a_revocation_counts_only_where_the_answer_is_understood() {
    let json = |body: &'static str| answer(201, "application/json", body);
    for done in [answer(204, "text/plain", ""), json(" \r\n"), json("{}"), json("[]")] {
        let (client, _) = Script::start(vec![done]).await;
        assert!(client.revoke_order(OrderId(9), &Revocation::default()).await.expect("revoked").is_none());
    }
    for strange in [
        r#"{"request":{"id":1,"status":"pending"}}"#,
        r#"{"status":"pending"}"#,
        r#"[{"id":1}]"#,
        r#""revoked""#,
        "null",
        "<html>",
    ] {
        let (client, script) = Script::start(vec![json(strange)]).await;
        let error = client.revoke_order(OrderId(9), &Revocation::default()).await.expect_err(strange);
        assert!(matches!(error, Error::Decode { .. }) && error.outcome_unknown(), "{strange}: {error}");
        assert_eq!(script.seen().len(), 1, "it is not sent again");
    }
}

/// Who may speak for an organization: a user by `id`, or a person in full.
#[tokio::test]
async fn people_are_named_as_each_call_wants_them() {
    let user = Contact { user_id: Some(7), contact_type: "verified_contact".to_owned(), ..Contact::default() };
    let text = |text: &str| Some(text.to_owned());
    let person = Contact {
        contact_type: "verified_contact".to_owned(),
        first_name: text("Jill"),
        telephone: text("801-555-0100"),
        telephone_extension: text("5"),
        ..Contact::default()
    };
    let (client, script) = Script::start(vec![answer(204, "text/plain", ""), ok(r#"{"id":3}"#)]).await;
    let ev = NewOrganizationValidation {
        validation_type: "ev".to_owned(),
        verified_users: vec![VerifiedUser::from(user), VerifiedUser::from(person.clone())],
    };
    client.submit_organization(OrganizationId(3), &[ev]).await.expect("submitted");
    let organization = NewOrganization {
        organization_contact: Some(Contact { contact_type: String::new(), ..person }),
        ..NewOrganization::default()
    };
    client.create_organization(&organization).await.expect("an organization");
    let seen = script.seen();
    let person = json!({"first_name": "Jill", "telephone": "801-555-0100", "telephone_extension": "5"});
    assert_eq!(seen[0].body, json!({"validations": [{"type": "ev", "verified_users": [{"id": 7}, person.clone()]}]}));
    assert_eq!(seen[1].body["organization_contact"], person);
}

#[tokio::test]
async fn writes_say_exactly_what_the_api_wants_and_take_any_answer() {
    let (client, script) = Script::start(vec![
        answer(204, "application/json", ""),
        answer(200, "application/json", ""),
        ok(r#"{"dcv_random_value":"v1","expiration_date":"2023-02-24T16:25:52+00:00"}"#),
        answer(201, "application/json", r#"{"token":"t2","expiration_date":"2026-12-20T00:00:00Z"}"#),
        answer(200, "application/x-pem-file", "PEM"),
        answer(200, "application/x-pem-file", "PEM"),
        answer(204, "application/json", ""),
    ])
    .await;
    client.cancel_order(OrderId(9), "no longer needed").await.expect("canceled");
    assert!(client.change_order_dcv_method(OrderId(9), &DcvMethod::Email).await.expect("changed").is_none());
    let value = client.change_order_dcv_method(OrderId(9), &DcvMethod::DnsTxtToken).await.expect("changed");
    assert_eq!(value.expect("a value").dcv_random_value, "v1");
    assert_eq!(client.new_domain_token(DomainId(4)).await.expect("a token").token, "t2");
    assert_eq!(client.download(CertificateId(3), DownloadFormat::PemAll).await.expect("a file"), "PEM");
    assert_eq!(client.download_order(OrderId(9), DownloadFormat::PemNoRoot).await.expect("a file"), "PEM");
    client.set_request_status(RequestId(8), &RequestStatus::Approved, "fine").await.expect("approved");
    let seen = script.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "PUT /services/v2/order/certificate/9/status",
            "PUT /services/v2/order/certificate/9/dcv-method",
            "PUT /services/v2/order/certificate/9/dcv-method",
            "POST /services/v2/domain/4/dcv/token",
            "GET /services/v2/certificate/3/download/format/pem_all",
            "GET /services/v2/certificate/download/order/9/format/pem_noroot",
            "PUT /services/v2/request/8/status",
        ]
    );
    assert_eq!(seen[0].headers["accept"], "application/json");
    assert_eq!(seen[4].headers["accept"], "*/*", "a file has whatever type it has");
    assert_eq!(seen[6].body, json!({"status": "approved", "processor_comment": "fine"}));
    assert_eq!(seen[0].body, json!({"status": "CANCELED", "note": "no longer needed"}));
    assert_eq!(seen[2].body, json!({"dcv_method": "dns-txt-token"}));
}

#[tokio::test]
async fn the_account_is_read_with_all_its_parts() {
    let (client, script) = Script::start(vec![
        ok(r#"{"id":"5","username":"u","access_roles":[{"name":"Administrator"}]}"#),
        ok(r#"{"products":[{"name_id":"ssl_basic","type":"ssl_certificate","validation_type":"OV"}]}"#),
        ok(r#"{"name_id":"ssl_basic","allowed_order_validity_years":[1,"2"],"allowed_ca_certs":[{"id":7,"name":"G2"}]}"#),
        ok(r#"{"id":3,"name":"Example","display_name":"Example","is_active":true,"country":"us"}"#),
        ok(r#"{"validations":[{"type":"ov","status":"active","validated_until":"2027-01-01T00:00:00+00:00"}]}"#),
        ok(r#"{"intermediates":[{"subject_common_name":"CA","pem":"PEM"}]}"#),
        ok(r#"{"id":8,"type":"new request","status":"pending","date":"2026-11-23T12:00:00+00:00","order":{"id":9}}"#),
        ok(r#"{"id":9,"status":"pending","renewed_order_id":0,"caa_status_message":{"example.com":"CAA check is not called yet"}}"#),
        ok(r#"{"id":4,"name":"example.com","validations":[{"type":"ov","status":"active","dcv_status":"complete"}]}"#),
    ])
    .await;
    assert_eq!(client.me().await.expect("a user").access_roles[0].name.as_deref(), Some("Administrator"));
    assert_eq!(client.products().await.expect("products")[0].product_type.as_deref(), Some("ssl_certificate"));
    let product = client.product("ssl_basic").await.expect("a product");
    assert_eq!(
        (product.allowed_order_validity_years, &*product.allowed_ca_certs[0].id),
        (vec!["1".into(), "2".into()], "7")
    );
    assert_eq!(client.organization(OrganizationId(3)).await.expect("one").is_active, Some(true));
    assert!(client.organization_validation(OrganizationId(3)).await.expect("validations")[0].status.is_validated());
    assert_eq!(client.chain(CertificateId(6)).await.expect("a chain")[0].pem, "PEM");
    let request = client.request(RequestId(8)).await.expect("a request");
    assert_eq!((request.status, request.order.map(|order| order.id)), (RequestStatus::Pending, Some(OrderId(9))));
    let order = client.order_with_caa_status(OrderId(9)).await.expect("an order");
    assert_eq!(order.caa_status_message["example.com"], "CAA check is not called yet");
    let domain = client.domain_with_validation(DomainId(4)).await.expect("a domain");
    assert_eq!(domain.validations[0].dcv_status, Some(ValidationStatus::Complete));
    let lines: Vec<String> = script.seen().into_iter().map(|seen| seen.line.replace("/services/v2", "")).collect();
    assert_eq!(
        lines,
        [
            "GET /user/me",
            "GET /product",
            "GET /product/ssl_basic",
            "GET /organization/3",
            "GET /organization/3/validation",
            "GET /certificate/6/chain",
            "GET /request/8",
            "GET /order/certificate/9?include_caa_status=true",
            "GET /domain/4?include_dcv=true&include_validation=true",
        ]
    );
}

#[tokio::test]
async fn filters_and_searches_are_sent_as_the_api_spells_them() {
    let (client, script) = Script::start(Vec::new()).await;
    client
        .orders(&[("status", "pending"), ("valid_till", ">2026-01-01"), ("status", "issued")], 50, 100)
        .await
        .expect("orders");
    client.domains(Some("example.com"), 10, 0).await.expect("domains");
    client.requests(Some(&RequestStatus::Submitted)).await.expect("requests");
    let lines: Vec<String> = script.seen().into_iter().map(|seen| seen.line.replace("/services/v2", "")).collect();
    assert_eq!(
        lines,
        [
            "GET /order/certificate?filters%5Bstatus%5D%5B0%5D=pending&filters%5Bvalid_till%5D=%3E2026-01-01&filters%5Bstatus%5D%5B1%5D=issued&limit=50&offset=100",
            "GET /domain?include_dcv_expiration_time=true&include_validation=true&filters%5Bsearch%5D=%25example.com&limit=10&offset=0",
            "GET /request?filters%5Bstatus%5D=submitted",
        ]
    );
}

/// What is sent after issue and on domains, organizations and webhooks, and the shapes of their answers.
#[tokio::test]
async fn the_life_after_issue_is_sent_as_the_api_documents_it() {
    let order = OrderId(9);
    let reissue = NewReissue {
        certificate: order_certificate(),
        skip_approval: Some(true),
        dcv_method: Some(DcvMethod::DnsTxtToken),
        ..NewReissue::default()
    };
    let reason = Revocation {
        revocation_reason: Some(RevocationReason::KeyCompromise),
        comments: Some("lost".to_owned()),
        skip_approval: false,
    };
    let copies = r#"{"certificates":[{"id":"6","status":"issued","csr":"CSR","archived":"0","dns_names":["a.example.com"],
        "date_created":"2026-01-02T03:04:05+00:00"},{"id":7,"status":"pending","archived":1}]}"#;
    let (client, script) = Script::start(vec![
        answer(201, "application/json", r#"{"id":9,"requests":[{"id":"5","status":"pending"}]}"#),
        answer(201, "application/json", r#"{"id":9,"certificate_id":7,"dcv_random_value":"v"}"#),
        ok(copies),
        ok("{}"),
        answer(201, "application/json", r#"{"id":1,"type":"revoke","status":"submitted","comments":"lost"}"#),
        answer(204, "text/plain", ""),
        answer(
            201,
            "application/json",
            r#"{"id":11,"dcv_token":{"token":"t","status":"pending","http_token_url":"http://a/b.txt"}}"#,
        ),
        answer(204, "text/plain", ""),
        ok(r#"{"validation_emails":{"name_scope":"example.net","base_emails":["webmaster@example.net"]}}"#),
        answer(204, "text/plain", ""),
        answer(204, "text/plain", ""),
        answer(201, "application/json", r#"{"id":3}"#),
        answer(201, "application/json", r#"{"webhook_id":1234}"#),
        answer(204, "text/plain", ""),
    ])
    .await;
    let placed = client.reissue(order, &reissue).await.expect("a reissue");
    assert!(placed.needs_approval() && placed.requests[0].id == RequestId(5));
    let duplicate = client.duplicate(order, &reissue).await.expect("a duplicate");
    assert_eq!((duplicate.certificate_id, duplicate.dcv_random_value.as_deref()), (Some(CertificateId(7)), Some("v")));
    let reissues = client.reissues(order).await.expect("reissues");
    assert_eq!(
        reissues.iter().map(|copy| (copy.id.0, copy.archived)).collect::<Vec<_>>(),
        [(6, Some(false)), (7, Some(true))]
    );
    assert_eq!(client.duplicates(order).await.expect("duplicates").len(), 0);
    let request = client.revoke_certificate(CertificateId(6), &reason).await.expect("a revocation");
    assert_eq!(request.map(|request| request.status), Some(RequestStatus::Submitted));
    assert!(client.revoke_order(order, &reason).await.expect("a revocation").is_none());
    let domain = NewDomain::new("example.net", OrganizationId(3), &["ov"], DcvMethod::HttpToken);
    let added = client.add_domain(&domain).await.expect("a domain");
    assert_eq!((added.id, added.start.dcv_token.map(|token| token.token)), (DomainId(11), Some("t".to_owned())));
    client.submit_domain(DomainId(11), &["ov", "ev"], &DcvMethod::Email).await.expect("submitted");
    let start = client.change_domain_dcv_method(DomainId(11), &DcvMethod::Email, false).await.expect("changed");
    assert_eq!(start.validation_emails.expect("mails").base_emails, ["webmaster@example.net"]);
    client.resend_domain_emails(DomainId(11), &["a@example.net".to_owned()]).await.expect("sent");
    let email =
        DomainEmail { domain: "a.example.net".to_owned(), email: "a@example.net".to_owned(), email_domain: None };
    client.resend_order_emails(order, &[email], Some("en")).await.expect("sent");
    let organization = NewOrganization { name: "Example".to_owned(), ..NewOrganization::default() };
    assert_eq!(client.create_organization(&organization).await.expect("an organization"), OrganizationId(3));
    let webhook = NewWebhook {
        endpoint: "https://h.example/".to_owned(),
        secret: Some("s".repeat(32).into()),
        events: Vec::new(),
    };
    let id = client.create_webhook(&webhook).await.expect("a webhook");
    client.set_webhook_active(id, true).await.expect("active");

    let seen = script.seen();
    let lines: Vec<String> = seen.iter().map(|seen| seen.line.replace("/services/v2", "")).collect();
    assert_eq!(
        lines,
        [
            "POST /order/certificate/9/reissue",
            "POST /order/certificate/9/duplicate",
            "GET /order/certificate/9/reissue?show_archived=true",
            "GET /order/certificate/9/duplicate?show_archived=true",
            "PUT /certificate/6/revoke",
            "PUT /order/certificate/9/revoke",
            "POST /domain",
            "POST /domain/11/validation",
            "PUT /domain/11/dcv/method",
            "PUT /domain/11/dcv/emails",
            "PUT /order/certificate/9/resend-emails",
            "POST /organization",
            "POST /webhook",
            "PUT /webhook/1234/activate",
        ]
    );
    let certificate = json!({"common_name": "www.example.com", "csr": "CSR", "signature_hash": "sha256"});
    assert_eq!(seen[0].body, json!({"certificate": certificate, "skip_approval": true, "dcv_method": "dns-txt-token"}));
    assert_eq!(seen[4].body, json!({"revocation_reason": "keyCompromise", "comments": "lost", "skip_approval": false}));
    assert_eq!(
        seen[6].body,
        json!({"name": "example.net", "organization": {"id": 3}, "validations": [{"type": "ov"}],
            "dcv_method": "http-token", "keep_www": true})
    );
    assert_eq!(seen[7].body, json!({"validations": [{"type": "ov"}, {"type": "ev"}], "dcv_method": "email"}));
    assert_eq!(seen[8].body, json!({"dcv_method": "email", "send_dcv_email_flag": false}));
    assert_eq!(seen[9].body, json!({"email_array": ["a@example.net"]}));
    assert_eq!(
        seen[10].body,
        json!({"domain_approval_emails": [{"domain": "a.example.net", "email": "a@example.net"}], "locale": "en"})
    );
}

/// A reissue, a duplicate and a revocation are each sent once when it is not known whether they got through.
#[tokio::test]
async fn nothing_that_makes_something_is_sent_twice() {
    let (client, script) = Script::start((0..9).map(|_| answer(502, "text/html", "<html>")).collect()).await;
    let reissue = NewReissue { certificate: order_certificate(), ..NewReissue::default() };
    let unknown = |error: Option<Error>| error.is_some_and(|error| error.outcome_unknown());
    assert!(unknown(client.reissue(OrderId(9), &reissue).await.err()));
    assert!(unknown(client.duplicate(OrderId(9), &reissue).await.err()));
    assert!(unknown(client.revoke_order(OrderId(9), &Revocation::default()).await.err()));
    let domain = NewDomain::new("example.net", OrganizationId(3), &["ov"], DcvMethod::HttpToken);
    assert!(unknown(client.add_domain(&domain).await.err()));
    assert_eq!(script.seen().len(), 4);
}

fn order_certificate() -> certcentral::NewCertificate {
    order().certificate
}

/// Names in Latin-1, small pages with and without a total, and a server that knows no offset.
#[tokio::test]
async fn lists_are_read_to_their_end() {
    let page = |id: u64, total: &str| {
        ok(&format!(r#"{{"organizations":[{{"id":{id}}}],"page":{{"total":{total},"limit":1}}}}"#))
    };
    let bare = |id: u64| ok(&format!(r#"{{"organizations":[{{"id":{id}}}]}}"#));
    let latin1 = answer(
        200,
        "application/json; charset=iso-8859-1",
        b"{\"organizations\":[{\"id\":1,\"name\":\"M\xfcller\"}],\"page\":{\"total\":1}}",
    );
    for (answers, ids, calls) in [
        (vec![page(1, "3"), page(2, "3"), page(3, "3")], vec![1, 2, 3], 3),
        (vec![page(1, "\"2\""), page(2, "\"2\"")], vec![1, 2], 2),
        (vec![bare(1), bare(2), ok("{}")], vec![1, 2], 3),
        (vec![bare(1), bare(1)], vec![1], 2),
        (vec![ok("{}")], vec![], 1),
        (vec![latin1], vec![1], 1),
    ] {
        let (client, script) = Script::start(answers).await;
        let all = client.organizations().await.expect("organizations");
        assert_eq!(all.iter().map(|organization| organization.id.0).collect::<Vec<_>>(), ids);
        let lines: Vec<String> = script.seen().into_iter().map(|seen| seen.line).collect();
        assert_eq!(lines.len(), calls, "{lines:?}");
        assert!(
            lines.iter().skip(1).enumerate().all(|(i, line)| line.ends_with(&format!("?offset={}", i + 1))),
            "{lines:?}"
        );
    }
}

/// Status; how often a read, a harmless write and an order are sent when every answer has it; and whether the order's outcome
/// is then unknown.
#[tokio::test]
async fn each_status_is_repeated_where_it_may_be() {
    for (status, read, write, order_sent, unknown) in [
        (301, 1, 1, 1, false),
        (400, 1, 1, 1, false),
        (401, 1, 1, 1, false),
        (404, 1, 1, 1, false),
        (409, 1, 1, 1, false),
        (429, 1, 1, 1, false),
        (500, 3, 3, 1, true),
        (502, 3, 3, 1, true),
        (503, 3, 3, 1, true),
        (504, 3, 3, 1, true),
    ] {
        let always = || vec![answer(status, "text/html", "<h1>No</h1>"); 4];
        // A refusal with 429 is waited out by time and not by number, which is tried with a clock.
        let start = async || {
            let (_, script) = Script::start(always()).await;
            (with_patience(&script.base, Duration::ZERO), script)
        };
        let (client, script) = start().await;
        let error = client.order(OrderId(1)).await.expect_err("refused");
        assert_eq!((script.seen().len(), error.outcome_unknown()), (read, false), "GET, {status}");
        assert_eq!(error.is_rate_limited(), status == 429);
        let (client, script) = start().await;
        client.order_random_value(OrderId(1)).await.expect_err("refused");
        assert_eq!(script.seen().len(), write, "PUT, {status}");
        let (client, script) = start().await;
        let error = client.place_order("ssl_basic", &order()).await.expect_err("refused");
        assert_eq!((script.seen().len(), error.outcome_unknown()), (order_sent, unknown), "POST, {status}");
    }
}

#[tokio::test]
async fn retry_after_holds_all_calls_back() {
    let limited = Answer { status: 429, headers: vec![("retry-after", "1")], body: Vec::new() };
    let (client, script) = Script::start(vec![limited, ok("{}"), ok("{}")]).await;
    let (began, clone) = (std::time::Instant::now(), client.clone());
    let limited = async {
        client.status_changes(Duration::from_secs(60)).await.expect("the second time");
        began.elapsed()
    };
    let other = async {
        clone.me().await.expect("after the pause");
        began.elapsed()
    };
    let (limited, other) = tokio::join!(limited, other);
    assert!(limited >= Duration::from_secs(1) && other >= Duration::from_secs(1), "{limited:?} {other:?}");
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test]
async fn the_key_does_not_follow_a_redirect() {
    let (_, elsewhere) = Script::start(Vec::new()).await;
    let target: &'static str = Box::leak(format!("{}user/me", elsewhere.base).into_boxed_str());
    let (client, _) =
        Script::start(vec![Answer { status: 302, headers: vec![("location", target)], body: Vec::new() }]).await;
    let error = client.me().await.expect_err("not followed");
    assert!(error.status() == Some(302) && error.to_string().contains("base URL"), "{error}");
    assert!(elsewhere.seen().is_empty(), "the key went along");
}

/// A proxy of the environment would see the key of a call that goes to this host in clear.
#[tokio::test]
async fn the_environments_proxy_does_not_see_a_loopback_key() {
    const CHILD: &str = "CERTCENTRAL_TEST_BASE_URL";
    if let Ok(base) = std::env::var(CHILD) {
        client(&base).me().await.expect("the server itself answers");
        return;
    }
    let (_, proxy) = Script::start(Vec::new()).await;
    let (_, server) = Script::start(vec![ok("{}")]).await;
    let child = tokio::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "the_environments_proxy_does_not_see_a_loopback_key"])
        .envs(
            [("HTTP_PROXY", &proxy.base), ("http_proxy", &proxy.base), (CHILD, &server.base)]
                .map(|(n, v)| (n, v.as_str())),
        )
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .await
        .expect("it runs");
    assert!(proxy.seen().is_empty(), "the key went through the proxy");
    assert!(child.status.success() && server.seen().len() == 1, "{child:?}");
}

#[tokio::test]
async fn what_is_harmless_is_repeated_and_an_order_is_not() {
    let html = || answer(502, "text/html", "<h1>Bad gateway</h1>");
    let limited = || {
        answer(
            429,
            "application/json",
            r#"{"errors":[{"code":"request_limit_exceeded","message":"Service unavailable, please limit request volume"}]}"#,
        )
    };
    let placed = || answer(201, "application/json", r#"{"id":1}"#);

    let (client, script) = Script::start(vec![html(), html(), ok(r#"{"id":1,"status":"issued"}"#)]).await;
    client.order(OrderId(1)).await.expect("the third time");
    assert_eq!(script.seen().len(), 3);

    let (client, script) = Script::start(vec![html(), html(), html(), html()]).await;
    let error = client.order(OrderId(1)).await.expect_err("never");
    assert_eq!((script.seen().len(), error.outcome_unknown()), (3, false), "attempts end, and a read changes nothing");

    let (client, script) = Script::start(vec![html(), placed()]).await;
    let error = client.place_order("ssl_basic", &order()).await.expect_err("a gateway's word");
    assert_eq!((script.seen().len(), error.outcome_unknown()), (1, true), "an order is sent once: {error}");

    let (client, script) = Script::start(vec![answer(201, "text/html", "<html>"), placed()]).await;
    let error = client.place_order("ssl_basic", &order()).await.expect_err("an answer without sense");
    assert_eq!((script.seen().len(), error.outcome_unknown()), (1, true), "{error}");

    let (client, script) = Script::start(vec![limited(), limited(), placed()]).await;
    client.place_order("ssl_basic", &order()).await.expect("429 means unread");
    assert_eq!(script.seen().len(), 3);
}

/// An answer that is cut off: refused is refused, and whatever else is unknown.
#[tokio::test]
async fn a_refusal_without_its_reason_is_still_one() {
    for (status, unknown) in [(400, false), (201, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 100\r\n\r\n{{\"id\":");
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let error = client(&format!("http://{address}")).place_order("ssl_basic", &order()).await.expect_err("cut off");
        assert_eq!((error.outcome_unknown(), error.status()), (unknown, (!unknown).then_some(400)), "{error}");
    }
}

/// Reads a request and closes the connection without a word.
#[tokio::test]
async fn an_order_whose_connection_breaks_is_sent_once_and_its_outcome_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            *counter.lock().unwrap() += usize::from(read > 0);
            let _ = stream.shutdown().await;
        }
    });
    let client = client(&format!("http://{address}"));
    let error = client.place_order("ssl_basic", &order()).await.expect_err("no answer");
    assert!(error.outcome_unknown() && matches!(error, Error::Transport { .. }), "{error}");
    assert_eq!(*count.lock().unwrap(), 1, "an order is sent once");
    client.order(OrderId(1)).await.expect_err("no answer");
    assert_eq!(*count.lock().unwrap(), 4, "a read is tried three times");
}

#[tokio::test]
async fn nobody_there_means_nothing_was_ordered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let error = client(&format!("http://{address}")).place_order("ssl_basic", &order()).await.expect_err("nobody");
    assert!(!error.outcome_unknown(), "{error}");
    assert!(error.to_string().contains("nothing was sent"), "{error}");
}

#[tokio::test]
async fn an_order_is_found_again_by_the_callers_own_id() {
    let since = "2026-11-23T12:00:00Z".parse().expect("a timestamp");
    let with = |items: &str| ok(&format!(r#"{{"orders":[{items}],"page":{{"total":3,"limit":1000,"offset":0}}}}"#));
    let old = r#"{"id":1,"status":"issued","date_created":"2020-01-01T00:00:00+00:00"}"#;
    let other =
        r#"{"id":2,"status":"pending","alternative_order_id":"theirs","date_created":"2026-11-23T12:00:05+00:00"}"#;
    let unknown = r#"{"id":3,"status":"pending","date_created":"2026-11-23T12:00:05+00:00"}"#;

    let no_such_call = answer(404, "application/json", r#"{"errors":[{"code":"not_found|route","message":"no"}]}"#);
    let (client, script) = Script::start(vec![
        no_such_call.clone(),
        with(&[old, other, unknown].join(",")),
        ok(r#"{"id":3,"status":"pending","alternative_order_id":"mine-1"}"#),
    ])
    .await;
    let found = client.find_order_by_alternative_id("mine-1", "www.example.com", since).await.expect("looked");
    assert_eq!(found.expect("found").id, OrderId(3));
    let lines: Vec<String> = script.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines.len(), 3, "only the candidate was asked about: {lines:?}");
    assert!(lines[1].contains("filters%5Bcommon_name%5D=www.example.com"), "{lines:?}");

    // A server that gives one order a page, whatever was asked for: stopping early would be to order twice.
    let mine = r#"{"id":4,"status":"pending","alternative_order_id":"mine-1"}"#;
    let (client, script) = Script::start(vec![no_such_call.clone(), with(old), with(other), with(mine)]).await;
    let found = client.find_order_by_alternative_id("mine-1", "www.example.com", since).await.expect("looked");
    assert_eq!(found.expect("found").id, OrderId(4));
    assert!(script.seen()[3].line.ends_with("limit=1000&offset=2"), "{:?}", script.seen()[3]);

    // Where there is a call for it, it is one call, and believed only as far as the order itself agrees.
    let by_id = ok(r#"{"orders":[{"order_id":5,"certificate_id":6,"status":"pending"}]}"#);
    let (client, script) = Script::start(vec![
        by_id.clone(),
        ok(r#"{"id":5,"status":"pending","certificate":{"common_name":"www.example.com"}}"#),
    ])
    .await;
    let found = client.find_order_by_alternative_id("mine-1", "www.example.com", since).await.expect("looked");
    assert_eq!((found.expect("found").id, script.seen().len()), (OrderId(5), 2));
    assert_eq!(script.seen()[0].line, "GET /services/v2/order/alternate/mine-1");
    for stranger in [other, r#"{"id":2,"certificate":{"common_name":"other.example.com"}}"#] {
        let (client, _) = Script::start(vec![by_id.clone(), ok(stranger), with(old)]).await;
        let found = client.find_order_by_alternative_id("mine-1", "www.example.com", since).await.expect("looked");
        assert!(found.is_none(), "{stranger}");
    }

    let (client, _) = Script::start(vec![no_such_call, with(&[old, other].join(","))]).await;
    assert!(client.find_order_by_alternative_id("mine-1", "www.example.com", since).await.expect("looked").is_none());
}
