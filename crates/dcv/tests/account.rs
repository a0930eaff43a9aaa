//! Commands on what the account has: orders and their successors, domains, organizations, requests, products.

mod bench;

use bench::{Bench, Ran, check_files};
use certcentral_sandbox::account::Approval;
use serde_json::Value;

fn done(ran: Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.last()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shown_listed_renewed_and_revoked() {
    let bench = Bench::start().await;
    let issued = done(bench.run("--json issue shop.example.com www.example.com --out one").await);
    let order = issued["order_id"].as_u64().expect("an order");

    let shown = done(bench.run(&format!("--json order show {order}")).await);
    assert_eq!(shown["order"]["status"], "issued");
    assert_eq!(shown["waiting"], Value::Null);
    let serial = shown["order"]["certificate"]["serial_number"].as_str().expect("a serial number").to_owned();
    let by_serial = done(bench.run(&format!("--json order show {serial}")).await);
    assert_eq!(by_serial["order"]["id"], order);

    let csv = bench.run("order list --status issued --csv").await;
    assert!(csv.stdout.starts_with("order,status,product,names,ends,organization\r\n"), "{}", csv.all());
    assert!(
        csv.stdout.contains(&format!("{order},issued,ssl_basic,shop.example.com www.example.com,")),
        "{}",
        csv.all()
    );

    let renewed = done(bench.run(&format!("--json renew {order} --add new.example.com --out two")).await);
    let second = renewed["order_id"].as_u64().expect("another order");
    assert_ne!(order, second);
    check_files(
        &bench.path("two"),
        &bench.sandbox.root_pem(),
        &["shop.example.com", "www.example.com", "new.example.com"],
    );
    let shown = done(bench.run(&format!("--json order show {second}")).await);
    assert_eq!(shown["order"]["renewed_order_id"], order);
    assert_eq!(done(bench.run(&format!("--json order show {order}")).await)["order"]["is_renewed"], true);

    for (format, start) in [("pem_all", "-----BEGIN"), ("p7b", ""), ("default", "PK")] {
        let file = done(bench.run(&format!("--json download {order} --format {format} --out file.{format}")).await);
        let body = std::fs::read(bench.path(&format!("file.{format}"))).expect("a file");
        assert_eq!(file["bytes"].as_u64(), Some(body.len() as u64));
        assert!(body.starts_with(start.as_bytes()) && body.len() > 500, "{format}");
    }

    let refused = bench.run(&format!("revoke {order} --reason superseded")).await;
    assert_eq!(refused.code, 2, "nobody was asked: {}", refused.all());
    assert_eq!(done(bench.run(&format!("--json order show {order}")).await)["order"]["status"], "issued");
    let revoked = bench.run(&format!("--json revoke {order} --reason superseded --skip-approval --yes")).await;
    assert_eq!(done(revoked)["result"], "revoked");
    assert_eq!(done(bench.run(&format!("--json order show {order}")).await)["order"]["status"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_validated_ahead_and_its_orders_are_issued_at_once() {
    let bench = Bench::start().await;
    let validated = done(bench.run("--json domain validate example.com").await);
    assert_eq!((&validated["result"], &validated["domains"][0]), (&"validated".into(), &"example.com".into()));
    assert_eq!(validated["left_behind"].as_array().map(Vec::len), Some(0));
    assert_eq!(bench.server.records(), [""; 0], "nothing is left in the zone");
    let updates = bench.server.update_count();

    let list = done(bench.run("--json domain list example.com").await);
    assert_eq!(list["domains"][0]["name"], "example.com");
    let shown = done(bench.run("--json domain show example.com").await);
    assert_eq!(shown["domain"]["dcv_method"], "dns-txt-token");

    // It is known to be valid: nothing is written, neither for itself nor for an order below it.
    assert_eq!(done(bench.run("--json domain validate example.com").await)["result"], "validated");
    let issued = done(bench.run("--json issue a.example.com b.example.com").await);
    assert_eq!(issued["result"], "issued");
    assert_eq!(bench.server.update_count(), updates, "no proof was needed");

    let unknown = bench.run("domain show nowhere.example.org").await;
    assert!(unknown.code == 2 && unknown.stderr.contains("nowhere.example.org"), "{}", unknown.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_shown_and_requests_are_decided() {
    let bench = Bench::with(|account| account.approval = Approval::Required).await;
    let organizations = done(bench.run("--json organization list").await);
    let name = organizations["organizations"][0]["name"].as_str().expect("a name").to_owned();
    let mut by_name = bench.dcv("--json organization show");
    let shown = done(bench::run(by_name.arg(&name)).await);
    assert_eq!(shown["organization"]["id"], 10001);
    let product = done(bench.run("--json product show ssl_basic").await);
    assert_eq!(product["product"]["name_id"], "ssl_basic");
    assert!(done(bench.run("--json product list").await)["products"].as_array().is_some_and(|all| all.len() > 5));
    assert_eq!(bench.run("product show ssl_basc").await.code, 2);

    let mut by_name = bench.dcv("--json issue a.example.com --wait 1s --organization");
    let waiting = bench::run(by_name.arg(&name)).await;
    assert_eq!(waiting.code, 5, "{}", waiting.all());
    assert_eq!(waiting.last()["on"], "approver");
    let requests = done(bench.run("--json request list").await);
    let request = requests["requests"][0]["id"].as_u64().expect("a request");
    assert!(waiting.last()["what"].as_str().is_some_and(|what| what.contains(&format!("request approve {request}"))));
    assert_eq!(done(bench.run(&format!("--json request show {request}")).await)["request"]["status"], "pending");
    done(bench.run(&format!("--json request approve {request} --comment fine")).await);
    let resumed = done(bench.run("--json resume --all").await);
    assert_eq!(resumed["result"], "issued");
}
