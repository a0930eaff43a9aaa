//! The life of an order after its first certificate: reissue, duplicate, renewal, revocation, cancelling.

#![allow(missing_docs)]

mod common;

use certcentral_sandbox::{ApiKey, Role, account::Approval};
use common::{Bench, bench, error, order};
use reqwest::Method;
use serde_json::{Value, json};

const DAY: i64 = 86_400;

fn id(body: &Value) -> u64 {
    body["id"].as_u64().unwrap()
}

/// Places an order of the product, proves all its names and gives the order's path and answer.
async fn issued(bench: &Bench, product: &str, names: &[&str], extra: Value) -> (String, Value) {
    let (status, placed) = bench.post(&format!("/order/certificate/{product}"), order(names, extra)).await;
    assert_eq!(status, 201, "{placed}");
    let path = format!("/order/certificate/{}", id(&placed));
    if placed.get("certificate_chain").is_none() {
        prove(bench, &path, &placed).await;
    }
    assert_eq!(bench.get(&path).await.1["status"], "issued");
    (path, placed)
}

/// Puts the order's value at every open name and asks for a check, which must issue.
async fn prove(bench: &Bench, path: &str, placed: &Value) {
    for domain in placed["domains"].as_array().unwrap().iter().filter(|domain| domain.get("dcv_token").is_some()) {
        bench.world.put_txt(domain["name"].as_str().unwrap(), placed["dcv_random_value"].as_str().unwrap());
    }
    assert_eq!(bench.put_nothing(&format!("{path}/check-dcv")).await.1["order_status"], "issued");
}

async fn clock(bench: &Bench, seconds: i64) {
    assert_eq!(bench.control(Method::POST, "/clock", json!({"seconds": seconds})).await.0, 200);
}

/// Status of a certificate of an order, from the list it is in.
async fn status_in(bench: &Bench, list: &str, certificate: &Value) -> String {
    let (_, list) = bench.get(list).await;
    let one = list["certificates"].as_array().unwrap().iter().find(|one| one["id"] == *certificate).unwrap();
    one["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_reissue_with_the_same_names_is_issued_at_once_and_the_old_certificate_stays() {
    let bench = bench(|_| {}).await;
    let (path, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let (status, again) = bench.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await;
    assert_eq!(status, 201);
    assert_eq!(again["id"], placed["id"]);
    assert_ne!(again["certificate_id"], placed["certificate_id"]);
    assert!(again.get("requests").is_none() && again.get("dcv_random_value").is_none(), "{again}");
    let chain = again["certificate_chain"].as_array().unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[0]["subject_common_name"], "example.com");
    assert!(chain.iter().all(|link| link["pem"].as_str().unwrap().ends_with("-----END CERTIFICATE-----\r\n")));

    let (_, info) = bench.get(&path).await;
    assert_eq!((&info["status"], &info["certificate"]["id"]), (&json!("issued"), &again["certificate_id"]));
    let (_, list) = bench.get(&format!("{path}/reissue")).await;
    let one = &list["certificates"][0];
    assert_eq!((&one["id"], &one["status"], &one["archived"]), (&again["certificate_id"], &json!("issued"), &json!(0)));
    assert_eq!(one["serial_number"], info["certificate"]["serial_number"]);
    // The old one can still be downloaded, and is not revoked later either.
    clock(&bench, 4 * DAY).await;
    let old = format!("/certificate/{}", placed["certificate_id"]);
    assert_eq!(bench.raw(Method::GET, &format!("{old}/download/format/pem_all"), None, &[]).await.status(), 200);
    assert_eq!(bench.put(&format!("{old}/revoke"), json!({"skip_approval": true})).await.0, 204);
}

#[tokio::test]
async fn names_added_are_proved_and_names_left_out_end_the_earlier_certificates_after_72_hours() {
    let bench = bench(|_| {}).await;
    let (path, _) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let (_, added) = bench.post(&format!("{path}/reissue"), order(&["example.com", "example.net"], json!({}))).await;
    let open: Vec<&Value> =
        added["domains"].as_array().unwrap().iter().filter(|one| one.get("dcv_token").is_some()).collect();
    assert_eq!((open.len(), &open[0]["name"]), (1, &json!("example.net")), "only the new name is open");
    assert_eq!(bench.get(&path).await.1["status"], "reissue_pending");
    prove(&bench, &path, &added).await;
    let reissues = format!("{path}/reissue");
    let (_, copy) = bench.post(&format!("{path}/duplicate"), order(&["example.net"], json!({}))).await;

    let (status, swapped) = bench.post(&reissues, order(&["example.net", "www.example.net"], json!({}))).await;
    assert_eq!((status, swapped["certificate_chain"].is_array()), (201, true), "covered by example.net: {swapped}");
    let duplicates = format!("{path}/duplicate");
    for (hours, expected) in [(71, "issued"), (2, "revoked")] {
        clock(&bench, hours * 3_600).await;
        assert_eq!(status_in(&bench, &reissues, &added["certificate_id"]).await, expected);
        assert_eq!(status_in(&bench, &duplicates, &copy["certificate_id"]).await, expected);
        assert_eq!(status_in(&bench, &reissues, &swapped["certificate_id"]).await, "issued");
        assert_eq!(bench.get(&path).await.1["status"], "issued");
    }
}

#[tokio::test]
async fn lapsed_validations_open_again_for_a_reissue() {
    let bench = bench(|_| {}).await;
    let (path, _) = issued(&bench, "ssl_basic", &["example.com"], json!({"order_validity": {"years": 3}})).await;
    bench.world.txt.lock().unwrap().clear();
    clock(&bench, 200 * DAY).await;
    let (status, again) = bench.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await;
    assert_eq!((status, again.get("certificate_chain")), (201, None));
    assert!(again["domains"][0]["dcv_token"]["token"].is_string() && again["dcv_random_value"].is_string(), "{again}");
    let (_, validation) = bench.get(&format!("{path}/validation")).await;
    assert_eq!(validation["dns_name_validations"][0]["status"], "pending");
    prove(&bench, &path, &again).await;
    let (_, info) = bench.get(&path).await;
    assert_eq!(info["certificate"]["id"], again["certificate_id"]);
}

#[tokio::test]
async fn a_pending_reissue_is_cancelled_and_everything_is_as_before() {
    let bench = bench(|_| {}).await;
    let (path, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let before = bench.get(&format!("{path}/validation")).await;
    let cancel = json!({"status": "CANCELED", "note": "changed my mind"});
    assert_eq!(error(&bench.put(&format!("{path}/status"), cancel.clone()).await), (400, "invalid_order_status"));
    let body = || order(&["example.com", "example.net"], json!({"dcv_method": "dns-cname-token"}));
    let (_, again) = bench.post(&format!("{path}/reissue"), body()).await;
    // Nothing else can be asked for meanwhile.
    for what in ["reissue", "duplicate"] {
        assert_eq!(error(&bench.post(&format!("{path}/{what}"), body()).await), (400, "invalid_order_status"));
    }
    assert_eq!(error(&bench.put(&format!("{path}/revoke"), json!({})).await), (400, "cannot_revoke"));
    assert_eq!(bench.put(&format!("{path}/status"), cancel.clone()).await, (204, Value::Null));
    let (_, info) = bench.get(&path).await;
    assert_eq!((&info["status"], &info["certificate"]["id"]), (&json!("issued"), &placed["certificate_id"]));
    assert_eq!(info["notes"][0]["text"], "changed my mind");
    assert_eq!(bench.get(&format!("{path}/validation")).await, before);
    assert_eq!(status_in(&bench, &format!("{path}/reissue"), &again["certificate_id"]).await, "canceled");
    assert_eq!(bench.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await.0, 201);
}

#[tokio::test]
async fn reissues_are_approved_or_rejected() {
    let bench = bench(|_| {}).await;
    let (path, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let ask = || order(&["example.com"], json!({"skip_approval": false, "comments": "new key"}));
    let (status, asked) = bench.post(&format!("{path}/reissue"), ask()).await;
    let request = asked["requests"][0]["id"].as_u64().unwrap();
    assert_eq!((status, asked), (201, json!({"id": placed["id"], "requests": [{"id": request, "status": "pending"}]})));
    assert_eq!(bench.get(&path).await.1["status"], "reissue_pending");
    let (_, list) = bench.get(&format!("{path}/reissue")).await;
    assert_eq!(list["certificates"][0]["status"], "pending", "the certificate has no word for an approval");
    let (_, info) = bench.get(&format!("/request/{request}")).await;
    assert_eq!((&info["type"], &info["comments"]), (&json!("reissue"), &json!("new key")));
    // Cancelling rejects the request with the note.
    bench.put(&format!("{path}/status"), json!({"status": "CANCELED", "note": "no"})).await;
    let (_, info) = bench.get(&format!("/request/{request}")).await;
    assert_eq!((&info["status"], &info["processor_comment"]), (&json!("rejected"), &json!("no")));

    for (answer, kept) in [("rejected", true), ("approved", false)] {
        let (_, asked) = bench.post(&format!("{path}/reissue"), ask()).await;
        let request = format!("/request/{}/status", asked["requests"][0]["id"]);
        assert_eq!(bench.put(&request, json!({"status": answer})).await.0, 204);
        let (_, info) = bench.get(&path).await;
        assert_eq!(info["status"], "issued", "{answer}");
        assert_eq!(info["certificate"]["id"] == placed["certificate_id"], kept, "{answer}");
    }
}

#[tokio::test]
async fn what_a_duplicate_may_be() {
    let bench = bench(|config| config.default_scope = certcentral_sandbox::account::Scope::BaseDomain).await;
    let flex = issued(&bench, "ssl_basic", &["example.com", "www.example.com", "example.net"], json!({})).await;
    let multi = issued(&bench, "ssl_multi_domain", &["example.com", "www.example.com"], json!({})).await;
    let wild = issued(&bench, "ssl_wildcard", &["*.example.com", "example.com"], json!({})).await;
    let refused = (400, "invalid_dns_name_on_duplicate");
    let fine = (201, "no error");
    let table: [(&(String, Value), &[&str], _); 9] = [
        (&flex, &["example.com", "www.example.com", "example.net"], fine),
        (&flex, &["example.net", "example.com"], fine),
        (&flex, &["www.example.com"], fine),
        (&flex, &["example.com", "a.example.com"], refused),
        (&multi, &["www.example.com", "example.com"], fine),
        (&multi, &["example.com"], refused),
        (&multi, &["example.com", "www.example.com", "a.example.com"], refused),
        (&wild, &["*.example.com", "example.com", "a.b.example.com"], fine),
        (&wild, &["*.example.com", "example.com", "example.org"], refused),
    ];
    for ((path, placed), names, expected) in table {
        let answer = bench.post(&format!("{path}/duplicate"), order(names, json!({}))).await;
        assert_eq!(error(&answer), expected, "{names:?} {}", answer.1);
        if expected == fine {
            assert_eq!(answer.1["certificate_chain"][0]["subject_common_name"], names[0]);
            // The order's own certificate stays the same.
            assert_eq!(bench.get(path).await.1["certificate"]["id"], placed["certificate_id"]);
        }
    }
    let (_, list) = bench.get(&format!("{}/duplicate", flex.0)).await;
    let one = &list["certificates"][0];
    for field in ["sub_id", "archived", "ca_cert_id"] {
        assert!(one[field].is_string(), "{field} is a string");
    }
    assert_eq!((&one["signature_hash"], &one["server_platform"]["id"]), (&json!("sha256"), &json!(-1)));
    let (_, info) = bench.get(&flex.0).await;
    assert_eq!((&info["duplicates_count"], &info["has_duplicates"]), (&json!(3), &json!(true)));
    assert_eq!(error(&bench.get("/order/certificate/7/duplicate").await), (404, "not_found|order"));
}

#[tokio::test]
async fn only_an_order_in_force_is_reissued() {
    let bench = bench(|_| {}).await;
    let pending = bench.order(&["example.com"], json!({})).await;
    let again = |path: String| {
        let bench = &bench;
        async move { bench.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await }
    };
    let path = format!("/order/certificate/{}", id(&pending));
    assert_eq!(error(&again(path.clone()).await), (400, "invalid_order_status"));
    prove(&bench, &path, &pending).await;
    bench.put(&format!("/certificate/{}/revoke", pending["certificate_id"]), json!({"skip_approval": true})).await;
    assert_eq!(bench.get(&path).await.1["status"], "issued", "the order stays");
    assert_eq!(error(&again(path.clone()).await), (400, "certificate_revoked"));
    let (path, _) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    clock(&bench, 366 * DAY).await;
    assert_eq!(error(&again(path).await), (400, "order_expired"));
    assert_eq!(error(&again("/order/certificate/1".to_owned()).await), (404, "not_found|order"));
}

#[tokio::test]
async fn renewals_are_chained() {
    let bench = bench(|_| {}).await;
    let (first, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let (_, info) = bench.get(&first).await;
    assert_eq!(
        (&info["is_renewal"], &info["is_renewed"], &info["renewed_order_id"]),
        (&json!(false), &json!(false), &json!(0))
    );
    let thumbprint = info["certificate"]["thumbprint"].clone();

    let (second, renewal) =
        issued(&bench, "ssl_basic", &["example.com"], json!({"renewal_of_order_id": id(&placed)})).await;
    assert_ne!(renewal["id"], placed["id"]);
    assert!(renewal["certificate_chain"].is_array(), "a live validation is used again");
    let (_, info) = bench.get(&second).await;
    assert_eq!((&info["is_renewal"], &info["renewed_order_id"]), (&json!(true), &placed["id"]));
    assert_eq!(bench.get(&first).await.1["is_renewed"], true);
    let (_, list) = bench.get("/order/certificate?filters[is_renewed]=1").await;
    assert_eq!((list["orders"][0]["id"].clone(), list["page"]["total"].clone()), (placed["id"].clone(), json!(1)));

    // By thumbprint, for the approver to reject: then the old order is not renewed after all.
    let (old, other) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let thumbprint_of_other = bench.get(&old).await.1["certificate"]["thumbprint"].clone();
    let waiting =
        bench.order(&["example.com"], json!({"renewed_thumbprint": thumbprint_of_other, "skip_approval": false})).await;
    assert_eq!(bench.get(&old).await.1["is_renewed"], true);
    let request = format!("/request/{}", waiting["requests"][0]["id"]);
    let (_, asked) = bench.get(&request).await;
    assert_eq!(asked["order"]["renewal_of_order_id"], other["id"]);
    bench.put(&format!("{request}/status"), json!({"status": "rejected"})).await;
    assert_eq!(bench.get(&old).await.1["is_renewed"], false);

    // Only what was issued is renewed, also by thumbprint.
    let pending = bench.order(&["example.org"], json!({})).await;
    let table = [
        (json!({"renewal_of_order_id": id(&pending)}), (400, "invalid_order_status")),
        (json!({"renewal_of_order_id": 7}), (404, "not_found|order")),
        (json!({"renewed_thumbprint": "00FF"}), (404, "not_found|order")),
        (json!({"renewed_thumbprint": thumbprint}), (201, "no error")),
    ];
    for (extra, expected) in table {
        let answer = bench.post("/order/certificate/ssl_basic", order(&["example.com"], extra.clone())).await;
        assert_eq!(error(&answer), expected, "{extra}");
    }
}

#[tokio::test]
async fn certificates_and_orders_are_revoked() {
    let mut bench = bench(|config| config.keys.push(ApiKey::new("orders", Role::Orders))).await;
    let (path, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let (_, copy) = bench.post(&format!("{path}/duplicate"), order(&["example.com"], json!({}))).await;
    let certificate = format!("/certificate/{}/revoke", copy["certificate_id"]);
    assert_eq!(
        error(&bench.put(&certificate, json!({"revocation_reason": "boredom"})).await),
        (400, "invalid_revocation_reason")
    );

    // A key that may not skip the approver gets a request.
    bench.key = "orders";
    let body = json!({"revocation_reason": "keyCompromise", "skip_approval": true, "comments": "lost"});
    let (status, asked) = bench.put(&certificate, body).await;
    assert_eq!(status, 201);
    assert_eq!(
        (&asked["type"], &asked["status"], &asked["comments"]),
        (&json!("revoke"), &json!("pending"), &json!("lost"))
    );
    assert!(asked["id"].is_u64() && asked["date"].is_string() && asked["requester"]["id"].is_u64());
    bench.key = "sandbox";
    let duplicates = format!("{path}/duplicate");
    assert_eq!(status_in(&bench, &duplicates, &copy["certificate_id"]).await, "issued");
    bench.put(&format!("/request/{}/status", asked["id"]), json!({"status": "approved"})).await;
    assert_eq!(status_in(&bench, &duplicates, &copy["certificate_id"]).await, "revoked");
    assert_eq!(error(&bench.put(&certificate, json!({})).await), (400, "cannot_revoke"));
    let (_, info) = bench.get(&path).await;
    assert_eq!((&info["status"], &info["certificate"]["id"]), (&json!("issued"), &placed["certificate_id"]));

    // By serial number, and then the order with all that is left.
    let serial = info["certificate"]["serial_number"].as_str().unwrap().to_owned();
    let (_, copy) = bench.post(&format!("{path}/duplicate"), order(&["example.com"], json!({}))).await;
    let now = json!({"skip_approval": true, "revocation_reason": "superseded"});
    assert_eq!(bench.put(&format!("/certificate/{serial}/revoke"), now.clone()).await, (204, Value::Null));
    assert_eq!(bench.get(&path).await.1["status"], "issued");
    assert_eq!(bench.put(&format!("{path}/revoke"), now.clone()).await, (204, Value::Null));
    assert_eq!(bench.get(&path).await.1["status"], "revoked");
    assert_eq!(status_in(&bench, &duplicates, &copy["certificate_id"]).await, "revoked");
    assert_eq!(error(&bench.put(&format!("{path}/revoke"), now.clone()).await), (400, "cannot_revoke"));
    assert_eq!(error(&bench.put("/certificate/5/revoke", now.clone()).await), (404, "not_found|certificate"));
    assert_eq!(error(&bench.put("/order/certificate/5/revoke", now).await), (404, "not_found|order"));
    let (_, changes) = bench.get("/order/certificate/status-changes?minutes=1").await;
    assert_eq!(changes["orders"][0]["status"], "revoked");
}

#[tokio::test]
async fn an_account_may_revoke_orders_with_their_last_certificate() {
    let bench = bench(|config| config.revoke_order_with_last_certificate = true).await;
    let (path, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({})).await;
    let (_, copy) = bench.post(&format!("{path}/duplicate"), order(&["example.com"], json!({}))).await;
    for (one, expected) in [(copy, "issued"), (placed, "revoked")] {
        let revoke = format!("/certificate/{}/revoke", one["certificate_id"]);
        assert_eq!(bench.put(&revoke, json!({"skip_approval": true})).await.0, 204);
        assert_eq!(bench.get(&path).await.1["status"], expected);
    }
}

#[tokio::test]
async fn approval_modes_hold_for_every_certificate() {
    let bench = bench(|config| config.approval = Approval::Automatic).await;
    let (path, placed) = issued(&bench, "ssl_basic", &["example.com"], json!({"skip_approval": false})).await;
    assert_eq!(placed["requests"][0]["status"], "approved");
    let (_, again) = bench.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await;
    assert_eq!((&again["requests"][0]["status"], again["certificate_chain"].is_array()), (&json!("approved"), true));
}

#[tokio::test]
async fn what_a_reissue_ends_is_ended_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_owned();
    let first = bench(|config| config.state_dir = Some(at.clone())).await;
    let (path, placed) = issued(&first, "ssl_basic", &["example.com", "www.example.com"], json!({})).await;
    let (_, again) = first.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await;
    assert!(again["certificate_chain"].is_array());
    drop(first);
    let second = bench(|config| config.state_dir = Some(at.clone())).await;
    let revoke = format!("/certificate/{}/revoke", placed["certificate_id"]);
    clock(&second, 73 * 3_600).await;
    let (_, info) = second.get(&path).await;
    assert_eq!((&info["status"], &info["certificate"]["id"]), (&json!("issued"), &again["certificate_id"]));
    assert_eq!(error(&second.put(&revoke, json!({})).await), (400, "cannot_revoke"), "it is revoked");
}
