//! What an issued certificate is fetched as, and how orders are found again.

#![allow(missing_docs)]

mod common;

use std::io::{Cursor, Read};

use common::{Bench, bench, error, order};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn issued(bench: &Bench, names: &[&str], extra: Value) -> Value {
    let placed = bench.order(names, extra).await;
    for domain in placed["domains"].as_array().unwrap() {
        if let Some(value) = placed["dcv_random_value"].as_str() {
            bench.world.put_txt(domain["name"].as_str().unwrap(), value);
        }
    }
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", placed["id"])).await;
    placed
}

/// Status, content type, file name and body.
async fn fetch(bench: &Bench, path: &str) -> (u16, String, String, Vec<u8>) {
    let answer = bench.raw(Method::GET, path, None, &[]).await;
    let header =
        |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let (kind, file) = (header("content-type"), header("content-disposition"));
    (answer.status().as_u16(), kind, file, answer.bytes().await.unwrap().to_vec())
}

fn common_names(pems: &[u8]) -> Vec<String> {
    let blocks = pem::parse_many(pems).unwrap();
    let name = |block: &pem::Pem| {
        let (_, parsed) = x509_parser::parse_x509_certificate(block.contents()).unwrap();
        parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
    };
    blocks.iter().map(name).collect()
}

const CA: &str = "DCV Sandbox TLS CA 1 - NOT TRUSTED";
const ROOT: &str = "DCV Sandbox Root CA - NOT TRUSTED";

#[tokio::test]
async fn every_format_by_certificate_and_by_order() {
    let bench = bench(|_| {}).await;
    let placed = issued(&bench, &["*.example.com"], json!({})).await;
    let by = [
        format!("/certificate/{}/download/format", placed["certificate_id"]),
        format!("/certificate/download/order/{}/format", placed["id"]),
    ];
    let zip = "application/zip";
    let pkcs7 = "application/x-pkcs7-certificates";
    let text = "application/x-pem-file";
    let all: &[&str] = &["*.example.com", CA, ROOT];
    // Format, content type, extension of the file, extension of the files in it, certificates leaf first.
    let table = [
        ("default", zip, "zip", "crt", all),
        ("default_pem", zip, "zip", "crt", all),
        ("default_cer", zip, "zip", "cer", all),
        ("apache", zip, "zip", "crt", &all[..2]),
        ("cer", pkcs7, "cer", "", all),
        ("p7b", pkcs7, "p7b", "", all),
        ("pem_all", text, "pem", "", all),
        ("pem_noroot", text, "pem", "", &all[..2]),
        ("pem_nointermediate", text, "pem", "", &all[..1]),
        ("pem", text, "pem", "", &all[..1]),
        ("crt", text, "crt", "", &all[..1]),
    ];
    for (format, kind, extension, inside, names) in table {
        for path in &by {
            let (status, found, file, body) = fetch(&bench, &format!("{path}/{format}")).await;
            assert_eq!((status, found.as_str()), (200, kind), "{format}");
            assert_eq!(file, format!("attachment; filename=\"star_example_com.{extension}\""));
            if kind == zip {
                let mut archive = zip::ZipArchive::new(Cursor::new(body)).unwrap();
                let mut texts = Vec::new();
                for at in 0..archive.len() {
                    let mut file = archive.by_index(at).unwrap();
                    assert!(file.name().ends_with(inside), "{format}: {}", file.name());
                    file.read_to_end(&mut texts).unwrap();
                }
                assert_eq!(common_names(&texts), names, "{format}");
            } else if kind == pkcs7 {
                assert!(body.starts_with(b"-----BEGIN PKCS7-----"), "{format}");
                assert_eq!(pem::parse(&body).unwrap().tag(), "PKCS7");
            } else {
                assert_eq!(common_names(&body), names, "{format}");
            }
        }
    }
    assert_eq!(error(&bench.get(&format!("{}/pkcs12", by[0])).await), (400, "invalid_format"));
}

#[tokio::test]
async fn downloads_by_platform_and_of_what_is_not_there() {
    let bench = bench(|_| {}).await;
    for (platform, kind) in [(2, "application/zip"), (45, "application/x-pem-file"), (-1, "application/zip")] {
        let mut body = order(&["example.com"], json!({}));
        body["certificate"]["server_platform"] = json!({ "id": platform });
        let (_, placed) = bench.post("/order/certificate/ssl_basic", body).await;
        if let Some(value) = placed["dcv_random_value"].as_str() {
            let path = format!("/certificate/{}/download/platform", placed["certificate_id"]);
            assert_eq!(error(&bench.get(&path).await), (404, "not_found|certificate"), "not issued yet");
            bench.world.put_txt("example.com", value);
            bench.put_nothing(&format!("/order/certificate/{}/check-dcv", placed["id"])).await;
        }
        let of_order = format!("/certificate/download/order/{}", placed["id"]);
        let of_certificate = format!("/certificate/{}/download/platform", placed["certificate_id"]);
        for path in [of_order, of_certificate.clone()] {
            assert_eq!(fetch(&bench, &path).await.1, kind, "{platform} {path}");
        }
        assert_eq!(fetch(&bench, &format!("{of_certificate}/45")).await.1, "application/x-pem-file");
    }
    for missing in
        ["/certificate/5/download/platform", "/certificate/5/chain", "/certificate/5/download/format/pem_all"]
    {
        assert_eq!(error(&bench.get(missing).await), (404, "not_found|certificate"), "{missing}");
    }
    assert_eq!(error(&bench.get("/certificate/download/order/5").await), (404, "not_found|order"));
}

#[tokio::test]
async fn the_order_gives_the_certificate_in_force() {
    let bench = bench(|_| {}).await;
    let placed = issued(&bench, &["example.com", "www.example.com"], json!({})).await;
    let again = |what: &'static str, name: &'static str| {
        let (bench, id) = (&bench, placed["id"].clone());
        async move { bench.post(&format!("/order/certificate/{id}/{what}"), order(&[name], json!({}))).await.1 }
    };
    let copy = again("duplicate", "www.example.com").await;
    let primary = format!("/certificate/download/order/{}/format/pem", placed["id"]);
    assert_eq!(common_names(&fetch(&bench, &primary).await.3), ["example.com"], "not the duplicate");
    let of_copy = format!("/certificate/{}/download/format/pem", copy["certificate_id"]);
    assert_eq!(common_names(&fetch(&bench, &of_copy).await.3), ["www.example.com"]);
    again("reissue", "www.example.com").await;
    assert_eq!(common_names(&fetch(&bench, &primary).await.3), ["www.example.com"], "the reissue");
}

#[tokio::test]
async fn chains_follow_the_chosen_ca() {
    let bench = bench(|_| {}).await;
    let (_, product) = bench.get("/product/ssl_basic").await;
    let cas = product["allowed_ca_certs"].as_array().unwrap();
    assert_eq!(cas.len(), 2);
    let mut body = order(&["example.com"], json!({}));
    body["certificate"]["ca_cert_id"] = cas[1]["id"].clone();
    let (_, placed) = bench.post("/order/certificate/ssl_basic", body).await;
    bench.world.put_txt("example.com", placed["dcv_random_value"].as_str().unwrap());
    bench.put_nothing(&format!("/order/certificate/{}/check-dcv", placed["id"])).await;
    let (_, info) = bench.get(&format!("/order/certificate/{}", placed["id"])).await;
    assert_eq!(info["certificate"]["ca_cert"], json!({"id": cas[1]["id"], "name": cas[1]["name"]}));
    let (_, chain) = bench.get(&format!("/certificate/{}/chain", placed["certificate_id"])).await;
    let names: Vec<&Value> =
        chain["intermediates"].as_array().unwrap().iter().map(|one| &one["subject_common_name"]).collect();
    assert_eq!(names, [&json!("example.com"), &cas[1]["name"], &json!(ROOT)]);
    // The chain holds: the leaf is signed by the chosen one.
    let pems = fetch(&bench, &format!("/certificate/{}/download/format/pem_all", placed["certificate_id"])).await.3;
    let blocks = pem::parse_many(&pems).unwrap();
    let parsed: Vec<_> =
        blocks.iter().map(|block| x509_parser::parse_x509_certificate(block.contents()).unwrap().1).collect();
    for pair in parsed.windows(2) {
        pair[0].verify_signature(Some(pair[1].public_key())).unwrap();
    }
    let (_, all) = bench.get("/certificate/intermediates").await;
    assert_eq!(all["intermediates"].as_array().unwrap().len(), 3);

    let mut body = order(&["example.com"], json!({}));
    // What is no CA at all is passed over; one of another product is not.
    body["certificate"]["ca_cert_id"] = json!("00112233");
    assert_eq!(bench.post("/order/certificate/ssl_basic", body.clone()).await.0, 201);
    let (_, private) = bench.get("/product/private_ssl_plus").await;
    body["certificate"]["ca_cert_id"] = private["allowed_ca_certs"][0]["id"].clone();
    assert_eq!(error(&bench.post("/order/certificate/ssl_basic", body.clone()).await), (400, "invalid_ca_cert_id"));
    body["certificate"]["ca_cert_id"] = cas[1]["id"].clone();
    assert_eq!(error(&bench.post("/order/certificate/ssl_plus", body).await), (400, "invalid_ca_cert_id"));
}

#[tokio::test]
async fn the_primary_certificate_cannot_be_archived() {
    let bench = bench(|_| {}).await;
    let placed = issued(&bench, &["example.com"], json!({})).await;
    let path = format!("/order/certificate/{}", placed["id"]);
    let (_, again) = bench.post(&format!("{path}/reissue"), order(&["example.com"], json!({}))).await;
    let (_, copy) = bench.post(&format!("{path}/duplicate"), order(&["example.com"], json!({}))).await;
    let put = |certificate: &Value, what: &str| {
        let (bench, path) = (&bench, format!("/certificate/{certificate}/{what}"));
        async move { bench.put_nothing(&path).await }
    };
    assert_eq!(error(&put(&again["certificate_id"], "archive").await), (400, "cannot_archive_primary_certificate"));
    assert_eq!(put(&copy["certificate_id"], "archive").await.0, 204);
    let listed = |query: &'static str| {
        let (bench, path) = (&bench, format!("{path}/duplicate{query}"));
        async move { bench.get(&path).await.1["certificates"].as_array().unwrap().clone() }
    };
    assert_eq!(listed("").await.len(), 0);
    assert_eq!(listed("?show_archived=true").await[0]["archived"], "1");
    assert_eq!(put(&copy["certificate_id"], "unarchive").await.0, 204);
    assert_eq!(listed("").await[0]["archived"], "0");
    assert_eq!(error(&put(&json!(5), "archive").await), (404, "not_found|certificate"));
}

#[tokio::test]
async fn orders_are_found_by_every_documented_filter() {
    let bench = bench(|_| {}).await;
    let first =
        issued(&bench, &["example.com", "www.example.com"], json!({"additional_emails": ["a@example.com"]})).await;
    let second = bench
        .order(
            &["shop.example.net"],
            json!({
                "organization": {"id": 10_002}, "disable_renewal_notifications": true,
                "custom_fields": [{"metadata_id": 12, "value": "x"}],
            }),
        )
        .await;
    let (one, two) = (first["id"].as_u64().unwrap(), second["id"].as_u64().unwrap());
    let (_, info) = bench.get(&format!("/order/certificate/{one}")).await;
    let certificate = &info["certificate"];
    let table = [
        (format!("filters[id]={two}"), vec![two]),
        ("filters[status]=issued".to_owned(), vec![one]),
        ("filters[status][0]=issued&filters[status][1]=pending&sort=id".to_owned(), vec![one, two]),
        ("filters[organization_id]=10002".to_owned(), vec![two]),
        ("filters[product_name_id]=ssl_basic".to_owned(), vec![one, two]),
        ("filters[product_name_id]=ssl_plus".to_owned(), vec![]),
        (format!("filters[valid_till]={}", certificate["valid_till"].as_str().unwrap()), vec![one]),
        ("filters[valid_till]=%3E2020-01-01".to_owned(), vec![one]),
        ("filters[valid_till]=2020-01-01...2020-02-01".to_owned(), vec![]),
        ("filters[user_id]=20001".to_owned(), vec![one, two]),
        ("filters[common_name]=shop.example.net".to_owned(), vec![two]),
        ("filters[domain_name]=www.example.com".to_owned(), vec![one]),
        ("filters[date_created]=%3E2020-01-01".to_owned(), vec![one, two]),
        ("filters[container_id]=2".to_owned(), vec![]),
        ("filters[metadata_id]=12".to_owned(), vec![two]),
        ("filters[is_renewed]=0".to_owned(), vec![one, two]),
        ("filters[disable_renewal_notifications]=1".to_owned(), vec![two]),
        ("filters[email]=a@example.com".to_owned(), vec![one]),
        (format!("filters[certificate_id]={}", first["certificate_id"]), vec![one]),
        (format!("filters[serial_number]={}", certificate["serial_number"].as_str().unwrap()), vec![one]),
        ("filters[origin]=migrated".to_owned(), vec![]),
        ("filters[search]=%25example.net".to_owned(), vec![two]),
        ("sort=-id".to_owned(), vec![two, one]),
        ("sort=-id&limit=1".to_owned(), vec![two]),
        ("sort=id&limit=1&offset=1".to_owned(), vec![two]),
        ("offset=9".to_owned(), vec![]),
    ];
    for (query, expected) in table {
        let (status, list) = bench.get(&format!("/order/certificate?{query}")).await;
        let ids: Vec<u64> =
            list["orders"].as_array().into_iter().flatten().map(|one| one["id"].as_u64().unwrap()).collect();
        assert_eq!((status, ids), (200, expected), "{query}");
    }
    let (_, list) = bench.get("/order/certificate?limit=5000").await;
    assert_eq!(list["page"], json!({"total": 2, "limit": 1000, "offset": 0}));
}

/// Sends a request as it is and reads the answer: its status and body. `body` follows when the server says so.
async fn by_hand(stream: &mut tokio::net::TcpStream, line: &str, body: &str) -> (u16, Value) {
    let expect = if body.is_empty() { "" } else { "Expect: 100-continue\r\n" };
    let length = body.len();
    let head =
        format!("{line} HTTP/1.1\r\nHost: sandbox\r\nX-DC-DEVKEY: sandbox\r\nContent-Length: {length}\r\n{expect}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = !body.is_empty();
    loop {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(read).unwrap().to_ascii_lowercase();
        if std::mem::take(&mut interim) {
            assert!(head.starts_with("http/1.1 100"), "{head}");
            stream.write_all(body.as_bytes()).await.unwrap();
            continue;
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or("0");
        let mut answer = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut answer).await.unwrap();
        return (head[9..12].parse().unwrap(), serde_json::from_slice(&answer).unwrap_or_default());
    }
}

/// Keyfactor's client writes comparisons as they are, and other libraries would not send that.
#[tokio::test]
async fn comparisons_may_stand_in_the_query_as_they_are() {
    let bench = bench(|_| {}).await;
    issued(&bench, &["example.com"], json!({})).await;
    let mut stream = tokio::net::TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let list = "GET /services/v2/order/certificate?filters[valid_till]=";
    for round in 0..2 {
        for (filter, found) in [(">2026-01-01", 1), ("<2026-01-01", 0), ("%3E2026-01-01", 1)] {
            let (status, page) = by_hand(&mut stream, &format!("{list}{filter}"), "").await;
            assert_eq!((status, &page["page"]["total"]), (200, &json!(found)), "{filter}, {round}");
        }
        // A body stays as it is, also where it looks like the beginning of a request.
        let name = format!("GET /<{round}>");
        let body = json!({
            "name": name, "address": "1 Main Street", "zip": "84042", "city": "Lindon", "state": "Utah", "country": "us", "telephone": "1",
        });
        let body = format!("\r\n{body}\r\n");
        let (status, created) = by_hand(&mut stream, "POST /services/v2/organization", &body).await;
        assert_eq!(status, 201, "{created}");
        let (_, info) = bench.get(&format!("/organization/{}", created["id"])).await;
        assert_eq!(info["name"], name);
    }
}

#[tokio::test]
async fn lists_as_csv() {
    let bench = bench(|_| {}).await;
    bench.order(&["example.com"], json!({"skip_approval": false})).await;
    for (path, wanted) in [
        ("/order/certificate", "certificate.common_name"),
        ("/organization", "display_name"),
        ("/request?filters[status]=pending", "order.certificate.common_name"),
    ] {
        let answer = bench.raw(Method::GET, path, None, &[("accept", "text/csv")]).await;
        assert_eq!(answer.headers()["content-type"], "text/csv", "{path}");
        let text = answer.text().await.unwrap();
        let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        assert!(header.contains(&wanted), "{path}: {header:?}");
        assert!(text.lines().count() > 1, "{path}");
        assert_eq!(bench.get(path).await.0, 200, "JSON otherwise");
    }
}

#[tokio::test]
async fn windows_of_status_changes() {
    let bench = bench(|_| {}).await;
    let placed = bench.order(&["example.com"], json!({})).await;
    let path = |query: &str| format!("/order/certificate/status-changes?{query}");
    let table = [
        ("minutes=10080", (200, "no error")),
        ("minutes=10081", (400, "time_frame_too_long")),
        ("seconds=604800", (200, "no error")),
        ("seconds=604801", (400, "time_frame_too_long")),
        ("minutes=10000&seconds=4801", (400, "time_frame_too_long")),
        ("filters[status_last_updated]=2026-01-01...2026-01-08", (200, "no error")),
        ("filters[status_last_updated]=2026-01-01...2026-01-09", (400, "time_frame_too_long")),
        ("filters[status_last_updated]=2026-01-01+10:00:00...2026-01-08+10:00:01", (400, "time_frame_too_long")),
        ("filters[status_last_updated]=yesterday", (400, "invalid_status_last_updated")),
        ("", (400, "missing_time_frame")),
    ];
    for (query, expected) in table {
        assert_eq!(error(&bench.get(&path(query)).await), expected, "{query}");
    }
    // The filter's dates are US Mountain time.
    let now = bench.sandbox.clock().now();
    let zone = jiff::tz::TimeZone::posix("MST7MDT,M3.2.0,M11.1.0").unwrap();
    let at = |hours: i64| {
        let shifted = now.checked_add(jiff::Span::new().hours(hours)).unwrap();
        shifted.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d+%H:%M:%S").to_string()
    };
    let (_, found) = bench.get(&path(&format!("filters[status_last_updated]={}...{}", at(-1), at(1)))).await;
    assert_eq!(found["orders"][0]["order_id"], placed["id"]);
    let (_, found) = bench.get(&path(&format!("filters[status_last_updated]={}...{}", at(-3), at(-1)))).await;
    assert_eq!(found, json!({}));
    // Once it has changed again it is in the later window only.
    bench.control(Method::POST, "/clock", json!({"seconds": 7200})).await;
    let cancel = json!({"status": "CANCELED", "note": ""});
    bench.put(&format!("/order/certificate/{}/status", placed["id"]), cancel).await;
    let (_, found) = bench.get(&path(&format!("filters[status_last_updated]={}...{}", at(-1), at(1)))).await;
    assert_eq!(found, json!({}));
    let (_, found) = bench.get(&path("seconds=60")).await;
    let certificate = &placed["certificate_id"];
    assert_eq!(
        found["orders"],
        json!([{"order_id": placed["id"], "certificate_id": certificate, "status": "canceled"}])
    );
}
