//! The account's webhook: how it is made, what it is told, and with which secret.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode};
use common::bench;
use serde_json::{Value, json};

/// A listener that remembers what it was told, and refuses the first few.
#[derive(Clone, Default)]
struct Ear {
    heard: Arc<Mutex<Vec<(String, Value)>>>,
    refuse: Arc<Mutex<u32>>,
}

impl Ear {
    async fn open() -> (Self, String) {
        let ear = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let app = Router::new().fallback(hear).with_state(ear.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (ear, url)
    }

    async fn events(&self, count: usize) -> Vec<(String, Value)> {
        let began = Instant::now();
        loop {
            let heard: Vec<_> =
                self.heard.lock().unwrap().iter().filter(|(_, one)| one["event"] != "test").cloned().collect();
            if heard.len() >= count || began.elapsed() > Duration::from_secs(10) {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn hear(State(ear): State<Ear>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut refuse = ear.refuse.lock().unwrap();
    if *refuse > 0 {
        *refuse -= 1;
        return StatusCode::BAD_GATEWAY;
    }
    let secret = headers.get("X-WEBHOOK-KEY").and_then(|value| value.to_str().ok()).unwrap_or_default();
    ear.heard.lock().unwrap().push((secret.to_owned(), serde_json::from_slice(&body).unwrap()));
    StatusCode::NO_CONTENT
}

#[tokio::test]
async fn an_endpoint_is_told_of_issue_and_revocation() {
    let bench = bench(|_| {}).await;
    let (ear, url) = Ear::open().await;
    let secret = "s".repeat(32);
    for (body, status) in [
        (json!({}), 400),
        (json!({"endpoint": "nowhere"}), 400),
        (json!({"endpoint": url, "secret": "short"}), 400),
        (json!({"endpoint": url, "events": ["birthday"]}), 400),
        (json!({"endpoint": url, "secret": secret, "events": ["certificate_issued", "certificate_revoked"]}), 201),
        (json!({"endpoint": url}), 400),
    ] {
        assert_eq!(bench.post("/webhook", body.clone()).await.0, status, "{body}");
    }
    let (_, list) = bench.get("/webhook").await;
    let id = list["webhooks"][0]["id"].as_u64().unwrap();
    assert!(!list.to_string().contains(&secret), "the secret is not shown");
    assert_eq!(bench.post("/webhook/test-endpoint", json!({"endpoint": url})).await.0, 204);
    assert_eq!(bench.put_nothing(&format!("/webhook/{id}/activate")).await.0, 204);

    *ear.refuse.lock().unwrap() = 1;
    let placed = bench.order(&["example.com"], json!({})).await;
    bench.world.put_txt("example.com", placed["dcv_random_value"].as_str().unwrap());
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", placed["id"])).await;
    let heard = ear.events(1).await;
    let issued = json!({"event": "certificate_issued", "data": {"order_id": placed["id"], "certificate_id": placed["certificate_id"]}});
    assert_eq!(heard, [(secret.clone(), issued)], "once, after the first refusal");

    let revocation = json!({"skip_approval": true});
    assert_eq!(bench.put(&format!("/certificate/{}/revoke", placed["certificate_id"]), revocation).await.0, 204);
    assert_eq!(ear.events(2).await[1].1["event"], "certificate_revoked");

    // The domain is valid now: what is issued at once is in the answer, and not told.
    let instant = bench.order(&["www.example.com"], json!({})).await;
    assert!(instant["certificate_chain"].is_array(), "{instant}");
    let told = [("webhook_send_certificate_chain", None), ("webhook_send_instant_issued_certificate_chain", Some(3))];
    for (number, (setting, links)) in (3..).zip(told) {
        let settings = json!({"webhook_settings": {"instant_issue_webhook_notification": "1", setting: "1"}});
        assert_eq!(bench.put(&format!("/webhook/{id}"), settings).await.0, 204);
        let told = bench.order(&["shop.example.com"], json!({})).await;
        let heard = ear.events(number).await;
        assert_eq!(heard.len(), number, "{heard:?}");
        let data = &heard[number - 1].1["data"];
        assert_eq!(data["order_id"], told["id"]);
        assert_eq!(data["certificate_chain"].as_array().map(Vec::len), links, "{setting}");
    }
    // What has to be proved first has the other setting.
    let settings = json!({"webhook_settings": {"webhook_send_certificate_chain": "1"}});
    assert_eq!(bench.put(&format!("/webhook/{id}"), settings).await.0, 204);
    let later = bench.order(&["example.net"], json!({})).await;
    bench.world.put_txt("example.net", later["dcv_random_value"].as_str().unwrap());
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", later["id"])).await;
    let heard = ear.events(5).await;
    assert_eq!(heard[4].1["data"]["certificate_chain"].as_array().map(Vec::len), Some(3));

    assert_eq!(bench.put_nothing(&format!("/webhook/{id}/deactivate")).await.0, 204);
    bench.order(&["last.example.com"], json!({})).await;
    assert_eq!(bench.sandbox.deliveries().len(), 5, "nothing is told while it is off");
}
