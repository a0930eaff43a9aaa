//! A certificate's whole life in a moment, and the API by HTTPS.

mod common;

use common::bench;
use serde_json::json;

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_life_of_199_days_passes_in_a_moment() {
    let now = "2026-06-01T12:00:00Z".parse().unwrap();
    let bench = bench(|config| config.now = Some(now)).await;
    let placed = bench.order(&["example.com"], json!({})).await;
    bench.world.put_txt("example.com", placed["dcv_random_value"].as_str().unwrap());
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", placed["id"])).await;
    let info = async |path: String| bench.get(&path).await.1;
    let order = info(format!("/order/certificate/{}", placed["id"])).await;
    assert_eq!((&order["status"], &order["certificate"]["valid_from"]), (&json!("issued"), &json!("2026-06-01")));
    assert_eq!(order["certificate"]["valid_till"], "2026-12-16");

    // Within the validation's life an order is issued at once; after it the domain has to be proved again.
    bench.sandbox.clock().advance(190 * DAY);
    let renewal = bench.order(&["example.com"], json!({"renewal_of_order_id": placed["id"]})).await;
    assert!(renewal["certificate_chain"].is_array(), "{renewal}");
    bench.sandbox.clock().advance(20 * DAY);
    let late = bench.order(&["www.example.com"], json!({})).await;
    assert!(late["dcv_random_value"].is_string(), "{late}");
    let old = info(format!("/order/certificate/{}", placed["id"])).await;
    assert!(old["certificate"]["days_remaining"].as_i64().unwrap() < 0, "{old}");
}

/// With its last day an order is over, whatever has become of its certificates; the schedule sees to it.
#[tokio::test]
async fn an_order_expires_with_its_last_day() {
    let bench = bench(|_| {}).await;
    let issued = bench.order(&["example.com"], json!({"order_validity": {"days": 30}})).await;
    bench.world.put_txt("example.com", issued["dcv_random_value"].as_str().unwrap());
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", issued["id"])).await;
    let pending = bench.order(&["example.net"], json!({"order_validity": {"days": 30}})).await;
    let longer = bench.order(&["example.org"], json!({"order_validity": {"days": 31}})).await;
    let unapproved =
        bench.order(&["example.com"], json!({"skip_approval": false, "order_validity": {"days": 30}})).await;
    let with_status = async |status: &str| {
        let (_, list) = bench.get(&format!("/order/certificate?filters[status]={status}")).await;
        let orders = list["orders"].as_array().into_iter().flatten();
        orders.map(|order| order["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let id = |order: &serde_json::Value| order["id"].as_u64().unwrap();
    assert_eq!(with_status("issued").await, [id(&issued)]);
    let advance = json!({"seconds": 30 * DAY + 60});
    bench.control(reqwest::Method::POST, "/clock", advance).await;
    assert_eq!(with_status("expired").await, [id(&issued), id(&pending)]);
    assert_eq!(with_status("pending").await, [id(&longer)]);
    assert_eq!(with_status("needs_approval").await, [id(&unapproved)]);
    let (_, changes) = bench.get("/order/certificate/status-changes?minutes=60").await;
    assert_eq!(changes["orders"][0]["status"], "expired", "{changes}");
    bench.world.put_txt("example.net", pending["dcv_random_value"].as_str().unwrap());
    let (_, checked) = bench.put_nothing(&format!("/order/certificate/{}/check-dcv", pending["id"])).await;
    assert_eq!((&checked["order_status"], &checked["dcv_status"]), (&json!("expired"), &json!("pending")));
    let renewal = bench.order(&["example.com"], json!({"renewal_of_order_id": issued["id"]})).await;
    assert!(renewal["certificate_chain"].is_array(), "an order that has expired can be renewed: {renewal}");
}

#[tokio::test]
async fn time_runs_as_fast_as_it_is_told() {
    let bench = bench(|config| config.speed = Some(86_400.0)).await;
    let began = (std::time::Instant::now(), bench.sandbox.clock().now());
    let (real, simulated) = loop {
        let passed = (began.0.elapsed(), bench.sandbox.clock().now().duration_since(began.1));
        if passed.1.as_secs() >= 3 * DAY {
            break passed;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let factor = simulated.as_secs_f64() / real.as_secs_f64();
    assert!((80_000.0..95_000.0).contains(&factor), "{factor}");
    // The windows of the rate limits are the network's: a hundred calls in five seconds are still the most.
    let mut refused = 0;
    for _ in 0..120 {
        refused += usize::from(bench.get("/user/me").await.0 == 429);
    }
    assert!(refused > 0, "the limit has not run out with the days");
}

#[tokio::test]
async fn the_api_speaks_https_below_its_own_root() {
    let bench = bench(|config| config.tls = true).await;
    assert!(bench.sandbox.base_url().starts_with("https://127.0.0.1:"));
    let root = reqwest::Certificate::from_pem(bench.sandbox.root_pem().as_bytes()).unwrap();
    let trusting = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    let url = format!("{}/user/me", bench.sandbox.base_url());
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let answer = trusting.get(&url).header("X-DC-DEVKEY", "sandbox").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    let strangers = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(strangers.get(&url).send().await.is_err(), "nobody else trusts it");
    // Somebody who says nothing holds nobody up.
    let _silent = tokio::net::TcpStream::connect(bench.sandbox.address()).await.unwrap();
    assert!(trusting.get(&url).header("X-DC-DEVKEY", "sandbox").send().await.unwrap().status().is_success());
}
