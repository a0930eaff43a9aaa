//! Organizations and their people, requests, and the rest of the account.

#![allow(missing_docs)]

mod common;

use certcentral_sandbox::{
    ApiKey, Organization, Role,
    account::{DuplicateOrganization, OrganizationValidation},
};
use common::{bench, error, order};
use reqwest::Method;
use serde_json::{Value, json};

fn id(body: &Value) -> u64 {
    body["id"].as_u64().unwrap()
}

fn described(extra: Value) -> Value {
    let mut body = json!({
        "name": "New Company, Inc.", "assumed_name": "NewCo", "address": "1 Main Street", "address2": "Suite 2",
        "zip": "12345", "city": "Lehi", "state": "Utah", "country": "US", "telephone": "801-555-0199",
        "container": {"id": 1},
        "organization_contact": {
            "first_name": "Jill", "last_name": "Valentine", "email": "jill@example.com", "job_title": "CTO",
            "telephone": "801-555-0111", "telephone_extension": "7",
        },
    });
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[tokio::test]
async fn organizations_are_listed_by_page_and_filter() {
    let more = |config: &mut certcentral_sandbox::Config| {
        for at in 0..5 {
            let mut one = Organization::validated(20_000 + at, &format!("Company {at}"));
            one.active = at != 3;
            config.organizations.push(one);
        }
    };
    let bench = bench(more).await;
    let table: [(&str, u64, &[u64]); 7] = [
        ("", 7, &[10_001, 10_002, 20_000, 20_001, 20_002, 20_003, 20_004]),
        ("limit=2&offset=1", 7, &[10_002, 20_000]),
        ("sort=-id&limit=1", 7, &[20_004]),
        ("filters[name]=Company 2", 1, &[20_002]),
        ("filters[search]=%25company&limit=1", 5, &[20_000]),
        ("filters[status]=inactive", 1, &[20_003]),
        ("filters[container_id]=2", 0, &[]),
    ];
    for (query, total, ids) in table {
        let (status, list) = bench.get(&format!("/organization?{query}")).await;
        let found: Vec<u64> = list["organizations"].as_array().into_iter().flatten().map(id).collect();
        assert_eq!((status, list["page"]["total"].as_u64().unwrap(), found.as_slice()), (200, total, ids), "{query}");
    }
}

#[tokio::test]
async fn an_organization_is_created_and_shown() {
    let bench = bench(|_| {}).await;
    let (status, created) = bench.post("/organization", described(json!({}))).await;
    assert_eq!((status, created.as_object().unwrap().len()), (201, 1));
    let path = format!("/organization/{}", id(&created));
    let (_, info) = bench.get(&path).await;
    let expected = json!({
        "id": id(&created), "status": "active", "name": "New Company, Inc.", "assumed_name": "NewCo",
        "display_name": "New Company, Inc. (NewCo)", "is_active": true, "address": "1 Main Street",
        "address2": "Suite 2", "zip": "12345", "city": "Lehi", "state": "Utah", "country": "us",
        "telephone": "801-555-0199",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&info[field], value, "{field}");
    }
    let contact = &info["organization_contact"];
    assert_eq!((&contact["job_title"], &contact["telephone_extension"]), (&json!("CTO"), &json!("7")));
    assert_eq!(info["container"], json!({"id": 1, "parent_id": 0, "name": "Sandbox", "is_active": true}));
    assert_eq!(info["validations"][0]["status"], "pending");

    // Off and on.
    assert_eq!(bench.put_nothing(&format!("{path}/deactivate")).await.0, 204);
    let (_, info) = bench.get(&path).await;
    assert_eq!((&info["status"], &info["is_active"]), (&json!("inactive"), &json!(false)));
    let refused = bench
        .post("/order/certificate/ssl_basic", order(&["example.com"], json!({"organization": {"id": id(&created)}})))
        .await;
    assert_eq!(error(&refused), (400, "organization_inactive"));
    assert_eq!(bench.put_nothing(&format!("{path}/activate")).await.0, 204);
    assert_eq!(bench.get(&path).await.1["status"], "active");
    assert_eq!(error(&bench.get("/organization/5").await), (404, "not_found|organization"));
}

#[tokio::test]
async fn what_is_wrong_with_an_organization() {
    let bench = bench(|_| {}).await;
    let long = "x".repeat(65);
    let table = [
        (json!({"name": null}), "missing_name"),
        (json!({"city": null}), "missing_city"),
        (json!({"name": long}), "invalid_organization_name"),
        (json!({"address": long}), "invalid_organization_address"),
        (json!({"telephone": long}), "invalid_organization_telephone"),
        (json!({"country": "USA"}), "invalid_organization_country"),
        (json!({"organization_contact": {"first_name": "Jill"}}), "missing_last_name"),
        (json!({"validations": [{"type": "ev"}]}), "missing_verified_users"),
        (json!({"validations": [{"type": "zv"}]}), "invalid_validation_type"),
        (json!({"validations": [{}]}), "missing_type"),
    ];
    for (extra, code) in table {
        assert_eq!(error(&bench.post("/organization", described(extra.clone())).await), (400, code), "{extra}");
    }
    assert_eq!(bench.get("/organization").await.1["page"]["total"], 2, "nothing refused is kept");
}

#[tokio::test]
async fn the_same_organization_again() {
    for (answer, again, known) in
        [(DuplicateOrganization::Refused, 400, None), (DuplicateOrganization::Reused, 201, Some(true))]
    {
        let bench = bench(|config| config.switches.duplicate_organization = answer).await;
        let (_, first) = bench.post("/organization", described(json!({}))).await;
        let (status, second) = bench.post("/organization", described(json!({"name": "new company, inc."}))).await;
        assert_eq!(status, again);
        assert_eq!(second.get("id").map(|second| *second == first["id"]), known);
        let elsewhere = bench.post("/organization", described(json!({"city": "Provo"}))).await;
        assert_eq!(elsewhere.0, 201, "another city, another organization");
        let forced = bench.post("/organization", described(json!({"skip_duplicate_org_check": true}))).await;
        assert_eq!(forced.0, 201);
        assert_ne!(forced.1["id"], first["id"]);
    }
}

#[tokio::test]
async fn an_order_describes_its_organization() {
    let bench = bench(|_| {}).await;
    let place = |organization: Value| {
        let bench = &bench;
        async move {
            let placed = bench.order(&["example.com"], json!({ "organization": organization })).await;
            let (_, info) = bench.get(&format!("/order/certificate/{}", id(&placed))).await;
            info["organization"]["id"].as_u64().unwrap()
        }
    };
    let first = place(described(json!({}))).await;
    assert!(first > 10_002, "a new one");
    let forced = place(described(json!({"skip_duplicate_org_check": true}))).await;
    assert_ne!(forced, first);
    assert_eq!(place(described(json!({}))).await, first, "the oldest of those that match");
    assert_eq!(place(json!({"name": "Example Organization"})).await, 10_001);
    let refused = bench
        .post("/order/certificate/ssl_basic", order(&["example.com"], json!({"organization": {"name": "X"}})))
        .await;
    assert_eq!(error(&refused), (400, "missing_country"));
}

#[tokio::test]
async fn submitted_for_validation() {
    let bench = bench(|_| {}).await;
    let (_, created) = bench.post("/organization", described(json!({}))).await;
    let path = format!("/organization/{}/validation", id(&created));
    let (_, before) = bench.get(&path).await;
    assert_eq!(before["validations"].as_array().unwrap().len(), 1, "OV only");
    let body = json!({"validations": [
        {"type": "ov"},
        {"type": "ev", "verified_users": [
            {"id": 20_001},
            {"first_name": "Leon", "last_name": "Kennedy", "job_title": "Agent", "telephone": "1", "email": "leon@example.com"},
        ]},
        {"type": "smime"},
    ]});
    assert_eq!(bench.post(&path, body).await, (204, Value::Null));
    // Orders call a user `user_id`; here nobody has that name.
    let wrong = json!({"validations": [{"type": "ev", "verified_users": [{"user_id": 20_001}]}]});
    assert_eq!(error(&bench.post(&path, wrong).await), (400, "missing_first_name"));
    let (_, after) = bench.get(&path).await;
    let kinds: Vec<(&str, &str)> = after["validations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["type"].as_str().unwrap(), one["status"].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [("ov", "pending"), ("ev", "pending"), ("smime", "pending")]);
    assert_eq!(after["validations"][1]["verified_users"][1]["last_name"], "Kennedy");
    assert_eq!(error(&bench.post(&path, json!({})).await), (400, "missing_validations"));

    let control = format!("/organizations/{}", id(&created));
    let until = json!({"ev": {"status": "active", "until": "2030-01-01T00:00:00Z"}});
    bench.control(Method::PUT, &control, until).await;
    let (_, done) = bench.get(&path).await;
    assert_eq!(
        (&done["validations"][1]["status"], &done["validations"][1]["validated_until"]),
        (&json!("active"), &json!("2030-01-01T00:00:00+00:00"))
    );
    let (_, info) = bench.get(&format!("/organization/{}", id(&created))).await;
    assert_eq!(info["verified_contacts"].as_array().unwrap().len(), 2);
    assert_ne!(info["verified_contacts"][0]["id"], info["verified_contacts"][0]["user_id"]);

    let (_, people) = bench.get("/organization/potential-approvers").await;
    assert_eq!(people["users"][0]["user_id"], "20001");
    assert_eq!(people["users"][0]["name"], "Sandbox User");
    let contacts: Vec<&Value> = people["contacts"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(contacts, ["Jill Valentine", "Leon Kennedy"]);
}

#[tokio::test]
async fn a_lapsed_organization_validation_holds_orders_back() {
    let until = jiff::Timestamp::now().checked_add(jiff::Span::new().hours(24)).unwrap();
    let bench = bench(|config| {
        config.organizations[0].ov = Some(OrganizationValidation::Active { until: Some(until) });
    })
    .await;
    let placed = bench.order(&["example.com"], json!({})).await;
    bench.world.put_txt("example.com", placed["dcv_random_value"].as_str().unwrap());
    bench.control(Method::POST, "/clock", json!({"seconds": 90_000})).await;
    let path = format!("/order/certificate/{}", id(&placed));
    let (_, checked) = bench.put_nothing(&format!("{path}/check-dcv")).await;
    assert_eq!((&checked["order_status"], &checked["dcv_status"]), (&json!("pending"), &json!("valid")));
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    assert_eq!(validation["organization_validations"][0]["status"], "pending");
    bench.control(Method::PUT, "/organizations/10001", json!({"ov": {"status": "active"}})).await;
    assert_eq!(bench.get(&path).await.1["status"], "issued");
}

#[tokio::test]
async fn ev_approvers_and_contacts_of_an_order() {
    let mut bench = bench(|config| {
        let mut plain = ApiKey::new("plain", Role::Administrator);
        (plain.ev_approver, plain.user_id) = (false, 20_002);
        config.keys.push(plain);
    })
    .await;
    bench.key = "plain";
    let body = order(
        &["example.com"],
        json!({"organization": {"id": 10_001, "contacts": [
            {"contact_type": "verified_contact", "user_id": 20_001},
            {"contact_type": "technical_contact", "first_name": "Ada", "last_name": "Wong", "email": "ada@example.com", "telephone": "2"},
        ]}}),
    );
    let (_, placed) = bench.post("/order/certificate/ssl_ev_securesite_flex", body).await;
    bench.world.put_txt("example.com", placed["dcv_random_value"].as_str().unwrap());
    let path = format!("/order/certificate/{}", id(&placed));
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "pending");
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    let contact = &validation["organization_validations"][0]["verified_contacts"][0];
    assert_eq!((&contact["user_id"], &contact["status"]), (&json!("20001"), &json!("pending")));
    let (_, info) = bench.get(&path).await;
    assert_eq!(info["technical_contact"]["last_name"], "Wong");
    assert_eq!(info["organization_contact"]["last_name"], "User");
    assert_eq!(info["verified_contacts"][0]["user_id"], 20_001);
    bench.control(Method::PUT, &format!("/orders/{}/ev-approval", id(&placed)), json!({})).await;
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    assert_eq!(validation["organization_validations"][0]["verified_contacts"][0]["status"], "approved");
    assert_eq!(bench.get(&path).await.1["status"], "issued");
    let wrong = json!({"organization": {"id": 10_001, "contacts": [{"contact_type": "friend", "user_id": 1}]}});
    let refused = bench.post("/order/certificate/ssl_basic", order(&["example.com"], wrong)).await;
    assert_eq!(error(&refused), (400, "invalid_contact_type"));
}

#[tokio::test]
async fn an_ev_approver_approves_the_request() {
    let mut bench = bench(|config| {
        let mut plain = ApiKey::new("plain", Role::Administrator);
        plain.ev_approver = false;
        config.keys.push(plain);
    })
    .await;
    let first = bench.order(&["example.com"], json!({})).await;
    bench.world.put_txt("example.com", first["dcv_random_value"].as_str().unwrap());
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", id(&first))).await;
    for (key, expected) in [("plain", "pending"), ("sandbox", "issued")] {
        bench.key = key;
        let body = order(&["example.com"], json!({"skip_approval": false}));
        let (_, placed) = bench.post("/order/certificate/ssl_ev_basic", body).await;
        let request = format!("/request/{}/status", placed["requests"][0]["id"]);
        assert_eq!(bench.put(&request, json!({"status": "approved"})).await.0, 204);
        assert_eq!(bench.get(&format!("/order/certificate/{}", id(&placed))).await.1["status"], expected, "{key}");
    }
}

#[tokio::test]
async fn requests_are_listed_shown_and_answered() {
    let bench = bench(|_| {}).await;
    let waiting = json!({"skip_approval": false, "comments": "for the shop"});
    let first = bench.order(&["example.com"], waiting.clone()).await;
    let second = bench.order(&["example.net"], waiting).await;
    let request = |order: &Value| order["requests"][0]["id"].as_u64().unwrap();
    let listed = |query: &'static str| {
        let bench = &bench;
        async move {
            let (_, list) = bench.get(&format!("/request?{query}")).await;
            list["requests"].as_array().into_iter().flatten().map(id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed("filters[status]=pending").await, [request(&first), request(&second)]);
    assert_eq!(listed("filters[status]=pending&limit=1&offset=1").await, [request(&second)]);
    assert_eq!(listed("filters[type]=revoke").await, [0_u64; 0]);

    let path = format!("/request/{}", request(&first));
    let (_, info) = bench.get(&path).await;
    assert!(info.get("date_processed").is_none() && info.get("processor").is_none());
    assert_eq!((&info["type"], &info["comments"]), (&json!("new_request"), &json!("for the shop")));
    let order = &info["order"];
    assert_eq!(
        (&order["certificate"]["common_name"], &order["organization"]["id"], &order["product"]["name_id"]),
        (&json!("example.com"), &json!(10_001), &json!("ssl_basic"))
    );
    assert_eq!(order["unsubmitted_domains"], json!([]));

    // Put aside, then approved, then it is too late for another answer.
    for status in ["submitted", "pending", "approved"] {
        assert_eq!(bench.put(&format!("{path}/status"), json!({ "status": status })).await, (204, Value::Null));
        assert_eq!(bench.get(&path).await.1["status"], status);
    }
    let (_, info) = bench.get(&path).await;
    assert!(info["date_processed"].is_string() && info["processor"]["id"].is_u64());
    let table = [
        (path.as_str(), json!({"status": "rejected"}), (400, "request_already_processed")),
        (path.as_str(), json!({"status": "perhaps"}), (400, "invalid_status")),
        (path.as_str(), json!({}), (400, "missing_status")),
        ("/request/5", json!({"status": "approved"}), (404, "not_found|request")),
    ];
    for (path, body, expected) in table {
        assert_eq!(error(&bench.put(&format!("{path}/status"), body).await), expected, "{path}");
    }
    let path = format!("/order/certificate/{}", id(&first));
    assert_eq!(bench.get(&path).await.1["status"], "pending");
    assert!(bench.put_nothing(&format!("{path}/dcv-random-value")).await.1["dcv_random_value"].is_string());
    let path = format!("/order/certificate/{}", id(&second));
    assert_eq!(bench.get(&path).await.1["status"], "needs_approval");
    let cancel = bench.put(&format!("{path}/status"), json!({"status": "CANCELED", "note": "no"})).await;
    assert_eq!(error(&cancel), (400, "invalid_order_status"));
}

#[tokio::test]
async fn users_and_containers() {
    let mut bench = bench(|config| {
        config.keys.push(ApiKey::new("viewer", Role::ViewOnly));
        config.keys.push(ApiKey::new("orders", Role::Orders));
    })
    .await;
    for (key, role) in [("sandbox", "Administrator"), ("viewer", "Limited User"), ("orders", "Manager")] {
        bench.key = key;
        let (_, me) = bench.get("/user/me").await;
        assert_eq!((&me["access_roles"][0]["name"], &me["id"]), (&json!(role), &json!(20_001)), "{key}");
    }
    let (_, list) = bench.get("/container").await;
    assert_eq!((list["containers"].as_array().unwrap().len(), &list["containers"][0]["id"]), (1, &json!(1)));
    let (_, one) = bench.get("/container/1").await;
    assert_eq!(one["organization_assignments"][0]["is_active"], "1");
    assert_eq!(bench.get("/container/1/children").await.1, json!({"containers": []}));
    for missing in ["/container/2", "/container/2/children", "/container/x"] {
        assert_eq!(error(&bench.get(missing).await), (404, "not_found|container"), "{missing}");
    }
}
