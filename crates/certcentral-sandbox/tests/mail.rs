//! The DCV method `email`: who is written to, and what opening the link does.

mod common;

use common::bench;
use serde_json::{Value, json};

fn id(answer: &Value) -> u64 {
    answer["id"].as_u64().unwrap()
}

fn by_mail(extra: Value) -> Value {
    let mut body = json!({ "dcv_method": "email" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_link_in_a_mail_approves_its_domain_and_issues_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(|config| config.mailbox = Some(folder.path().join("mail"))).await;
    let placed = bench.order(&["www.example.com", "shop.example.net"], by_mail(json!({}))).await;
    assert!(placed.get("dcv_random_value").is_none());
    let mails = bench.sandbox.mails();
    let to: Vec<&str> = mails.iter().map(|(to, ..)| to.as_str()).collect();
    for address in ["admin@example.com", "postmaster@example.com", "webmaster@example.net"] {
        assert!(to.contains(&address), "{address} in {to:?}");
    }
    let files: Vec<_> = std::fs::read_dir(folder.path().join("mail")).unwrap().flatten().collect();
    assert_eq!(files.len(), mails.len());
    let text = std::fs::read_to_string(files[0].path()).unwrap();
    assert!(text.starts_with("From: ") && text.contains("\r\n\r\n") && text.contains("/mails/"), "{text}");

    let status = async || bench.get(&format!("/order/certificate/{}", id(&placed))).await.1["status"].clone();
    for domain in ["example.com", "example.net"] {
        let (_, _, link) = mails.iter().find(|(_, name, _)| name == domain).unwrap();
        let page = bench.client.get(link).send().await.unwrap();
        assert!(page.status().is_success() && page.text().await.unwrap().contains("<button>"));
        assert_eq!(status().await, "pending", "looking approves nothing");
        assert!(bench.client.post(link).send().await.unwrap().status().is_success());
    }
    assert_eq!(status().await, "issued");
    let unknown = format!("{}/mails/nosuchlink", bench.sandbox.control_url());
    assert_eq!(bench.client.post(unknown).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn chosen_addresses_are_the_only_ones_and_can_be_written_to_again() {
    let bench = bench(|_| {}).await;
    let chosen = json!([{"dns_name": "www.example.com", "email_domain": "example.com", "email": "boss@example.com"}]);
    let placed = bench.order(&["www.example.com"], by_mail(json!({ "dcv_emails": chosen }))).await;
    let to = || bench.sandbox.mails().into_iter().map(|(to, ..)| to).collect::<Vec<_>>();
    assert_eq!(to(), ["boss@example.com"]);
    let path = format!("/order/certificate/{}/resend-emails", id(&placed));
    let again = json!({"domain_approval_emails": [{"domain": "www.example.com", "email": "other@example.com"}]});
    assert_eq!(bench.put(&path, again).await.0, 204);
    assert_eq!(to(), ["boss@example.com", "other@example.com"]);

    let (_, validation) = bench.get(&format!("/order/certificate/{}/validation", id(&placed))).await;
    let domain = validation["dns_name_validations"][0]["domain_id"].as_str().unwrap().to_owned();
    let (_, emails) = bench.get(&format!("/domain/{domain}/dcv/emails")).await;
    assert_eq!(emails["base_emails"].as_array().unwrap().len(), 5, "{emails}");
    assert_eq!(
        bench.put(&format!("/domain/{domain}/dcv/emails"), json!({"email_array": ["third@example.com"]})).await.0,
        204
    );
    assert_eq!(to().len(), 3);
    // Another method: no more mails, and the old links are dead.
    let link = bench.sandbox.mails()[0].2.clone();
    assert_eq!(bench.put(&format!("/domain/{domain}/dcv/method"), json!({"dcv_method": "dns-txt-token"})).await.0, 200);
    assert_eq!(bench.client.post(&link).send().await.unwrap().status(), 404);
    let back = json!({"dcv_method": "email", "send_dcv_email_flag": false});
    assert_eq!(bench.put(&format!("/domain/{domain}/dcv/method"), back).await.0, 200);
    assert_eq!(to().len(), 3, "nobody was written to");
}
