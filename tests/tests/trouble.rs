//! What goes wrong on the way: answers that are lost, gateways, limits, approvals, organizations that are not validated, and
//! what is canceled.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use certcentral_sandbox::account::Approval;
use dcv_core::{
    Actor, Error, Event, Observer, Outcome, Purpose, Request, RunId, Settings, Waiting,
    journal::{Journal, JournalError, Lease, MemoryJournal, Stamped, Which},
    key::{KeyKind, PrivateKey},
    name::DnsName,
    placement::Method,
    state::Entry,
};
use dcv_tests::world::{ORGANIZATION, World, impatient, issued};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};

const ZONE: &str = "trouble-example.com";
/// An organization of the sandbox that is not validated.
const PENDING_ORGANIZATION: u64 = 10_002;

fn request(organization: u64) -> Request {
    let names = vec![DnsName::parse("www.trouble-example.com").expect("a good name")];
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    Request::new("ssl_basic", organization, names, &key).expect("a good request")
}

fn orders_sent(world: &World) -> usize {
    world.calls("POST", "/order/certificate/")
}

async fn waits(dcv: &dcv_core::Dcv, organization: u64) -> (RunId, Waiting) {
    let Outcome::Waiting(waiting) = dcv.issue(request(organization)).await.expect("ordered") else {
        panic!("it waits")
    };
    let runs = dcv.runs(Which::Open).await.expect("the journal is read");
    let [run] = &runs[..] else { panic!("one run is open") };
    assert_eq!(run.waiting.as_ref(), Some(&waiting), "the journal says so, too");
    (run.id.clone(), waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_found_and_not_placed_again() {
    let world = World::start(&[ZONE]).await;
    world.fault("drop", 1, "POST", "/order/certificate/").await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    issued(dcv.issue(request(ORGANIZATION)).await);
    assert_eq!((world.sandbox.orders(), orders_sent(&world)), (1, 1));
    assert_eq!(world.dns.records(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_fails_before_the_order_leaves_one_order_in_the_end() {
    let world = World::start(&[ZONE]).await;
    world.fault("502", 1, "POST", "/order/certificate/").await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    issued(dcv.issue(request(ORGANIZATION)).await);
    assert_eq!(world.sandbox.orders(), 1, "the order was looked for until it counted as never placed, and then placed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_sent_twice_at_most_however_often_it_is_gone_on_with() {
    let world = World::start(&[ZONE]).await;
    world.fault("502", 1000, "POST", "/order/certificate/").await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    let error = dcv.issue(request(ORGANIZATION)).await.expect_err("nobody knows");
    assert!(matches!(&error, Error::OutcomeUnknown { cause, .. } if cause.contains("2 times")), "{error}");
    let run = dcv.runs(Which::Open).await.expect("the journal is read").remove(0).id;
    assert!(matches!(dcv.resume(&run).await, Err(Error::OutcomeUnknown { .. })));
    assert_eq!(orders_sent(&world), 2);
    dcv.cancel(&run, "it is in nobody's list").await.expect("given up");
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
    assert_eq!(orders_sent(&world), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_limits_and_wrong_certificates_are_got_over() {
    let world = World::start(&[ZONE]).await;
    world.fault("503", 1, "GET", "/validation").await;
    world.fault("502", 1, "PUT", "check-dcv").await;
    world.fault("wrong-pem", 1, "GET", "/download").await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    issued(dcv.issue(request(ORGANIZATION)).await);
    assert_eq!(world.sandbox.orders(), 1);
    assert_eq!(world.dns.records(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_that_fail_are_got_over_and_values_that_end_are_replaced() {
    for fault in [
        "dnssec,name=trouble-example.com",
        "perspective",
        "caa",
        "caa,times=2",
        "expire,path=check-dcv",
        "expire,times=2,path=check-dcv",
    ] {
        let world = World::start_with(&[ZONE], |config| {
            // The CA's own looks would use the faults up.
            config.polling = false;
            config.faults = vec![fault.parse().expect("a fault")];
        })
        .await;
        let dcv = world.address().dcv().build().await.expect("it builds");
        issued(dcv.issue(request(ORGANIZATION)).await);
        let waiting = reqwest::get(format!("{}/faults", world.sandbox.control_url())).await.expect("it answers");
        assert_eq!(waiting.json::<Value>().await.expect("JSON"), json!({ "faults": [] }), "{fault} has happened");
        assert_eq!(orders_sent(&world), 1, "{fault}");
        assert_eq!(world.dns.records(), Vec::<String>::new(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ca_keeps_refusing_is_said() {
    for (fault, said) in [
        ("dnssec,times=1000", "trouble-example.com is pending"),
        ("caa,times=1000", "caa_check_failed|www.trouble-example.com"),
    ] {
        let world = World::start_with(&[ZONE], |config| config.faults = vec![fault.parse().expect("a fault")]).await;
        let mut settings = impatient();
        settings.wait = Duration::from_secs(3);
        let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
        let (_, waiting) = waits(&dcv, ORGANIZATION).await;
        assert!(waiting.what.contains(said), "{fault}: {waiting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_needs_approval_waits_for_an_approver_and_goes_on() {
    let world = World::start_with(&[ZONE], |config| config.approval = Approval::Required).await;
    let mut settings = impatient();
    settings.wait = Duration::from_millis(300);
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let (run, waiting) = waits(&dcv, ORGANIZATION).await;
    assert_eq!(waiting.on, Actor::Approver);
    assert_eq!(world.dns.update_count(), 0, "nothing is presented before the approval");

    let client = world.address().client();
    let pending = client.requests(Some(&certcentral::RequestStatus::Pending)).await.expect("listed");
    client.set_request_status(pending[0].id, &certcentral::RequestStatus::Approved, "fine").await.expect("approved");
    issued(dcv.resume(&run).await);
    assert_eq!(world.sandbox.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_order_ends_with_its_reason_and_leaves_nothing() {
    let world = World::start_with(&[ZONE], |config| config.approval = Approval::Required).await;
    let mut settings = impatient();
    settings.wait = Duration::from_millis(300);
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let (run, _) = waits(&dcv, ORGANIZATION).await;
    let client = world.address().client();
    let pending = client.requests(Some(&certcentral::RequestStatus::Pending)).await.expect("listed");
    client.set_request_status(pending[0].id, &certcentral::RequestStatus::Rejected, "no").await.expect("rejected");
    let error = dcv.resume(&run).await.expect_err("rejected").to_string();
    assert!(error.contains("rejected"), "{error}");
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_waits_for_an_approver_can_be_canceled() {
    let world = World::start_with(&[ZONE], |config| config.approval = Approval::Required).await;
    let mut settings = impatient();
    settings.wait = Duration::from_millis(300);
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let (run, _) = waits(&dcv, ORGANIZATION).await;
    dcv.cancel(&run, "no longer needed").await.expect("canceled");
    let client = world.address().client();
    assert!(client.requests(Some(&certcentral::RequestStatus::Pending)).await.expect("listed").is_empty());
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_is_not_validated_is_waited_for_without_records_lying_about() {
    let world = World::start(&[ZONE]).await;
    let mut settings = impatient();
    settings.wait = Duration::from_millis(500);
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let (run, waiting) = waits(&dcv, PENDING_ORGANIZATION).await;
    assert_eq!(waiting.on, Actor::OrganizationValidation, "{waiting}");
    assert!(waiting.what.contains("Pending Organization"), "{waiting}");
    assert_eq!(world.dns.records(), Vec::<String>::new(), "the proofs were accepted, and are gone");

    world
        .control(
            reqwest::Method::PUT,
            &format!("organizations/{PENDING_ORGANIZATION}"),
            &json!({ "ov": { "status": "active", "until": "2030-01-01T00:00:00Z" } }),
        )
        .await;
    issued(dcv.resume(&run).await);
    assert_eq!(world.sandbox.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_somebody_cancels_in_certcentral_is_over_and_nobody_is_waited_for() {
    let world = World::start(&[ZONE]).await;
    let settings = Settings { wait: Duration::from_millis(500), ..impatient() };
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let (run, _) = waits(&dcv, PENDING_ORGANIZATION).await;
    let client = world.address().client();
    let order = client.orders(&[], 10, 0).await.expect("listed").items.remove(0).id;
    let waiting = dcv.waits_for(order).await.expect("asked").expect("somebody is waited for");
    assert_eq!(waiting.on, Actor::OrganizationValidation, "{waiting}");

    client.cancel_order(order, "by hand").await.expect("canceled");
    assert_eq!(dcv.waits_for(order).await.expect("asked"), None);
    let error = dcv.resume(&run).await.expect_err("it is over").to_string();
    assert!(error.contains("by somebody else, in CertCentral"), "{error}");
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_whose_validation_ends_while_people_take_their_time_is_proved_anew() {
    let world = World::start_with(&[ZONE], |config| config.dcv_reuse_days = Some(1)).await;
    let settings = Settings { wait: Duration::from_secs(3), ..impatient() };
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    issued(dcv.issue(request(ORGANIZATION)).await);
    let updates = world.dns.update_count();
    let (run, waiting) = waits(&dcv, PENDING_ORGANIZATION).await;
    assert_eq!(waiting.on, Actor::OrganizationValidation, "{waiting}");
    assert_eq!(world.dns.update_count(), updates, "the domain was validated");

    world.control(reqwest::Method::POST, "clock", &json!({ "seconds": 2 * 86_400 })).await;
    world
        .control(
            reqwest::Method::PUT,
            &format!("organizations/{PENDING_ORGANIZATION}"),
            &json!({ "ov": { "status": "active", "until": "2030-01-01T00:00:00Z" } }),
        )
        .await;
    issued(dcv.resume(&run).await);
    assert!(world.dns.update_count() > updates, "it was proved again");
    assert_eq!((world.sandbox.orders(), world.dns.records()), (2, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_that_cannot_be_canceled_takes_its_records_back_and_comes_home() {
    let world = World::start_with(&[ZONE], |config| config.dcv_reuse_days = Some(1)).await;
    let settings = Settings { wait: Duration::from_millis(500), ..impatient() };
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let Ok(Outcome::Issued(first)) = dcv.issue(request(ORGANIZATION)).await else { panic!("no certificate") };
    let order_id = first.order_id.expect("it is known");

    // The domain has to be proved again, and the CA finds fault with its zone, so that the proof stays out.
    world.control(reqwest::Method::POST, "clock", &json!({ "seconds": 2 * 86_400 })).await;
    world.control(reqwest::Method::POST, "faults", &json!({ "fault": "dnssec", "times": 1000, "name": ZONE })).await;
    let copy = request(ORGANIZATION).purpose(Purpose::Duplicate { order_id });
    let Outcome::Waiting(_) = dcv.issue(copy).await.expect("asked for") else { panic!("it waits") };
    let run = dcv.runs(Which::Open).await.expect("the journal is read").remove(0).id;
    assert_eq!(world.dns.records().len(), 1, "the proof is out");
    let error = dcv.cancel(&run, "no longer needed").await.expect_err("it is refused").to_string();
    assert!(error.contains("cannot be canceled"), "{error}");
    assert_eq!(world.dns.records(), Vec::<String>::new());

    world.control(reqwest::Method::DELETE, "faults", &json!({})).await;
    issued(dcv.resume(&run).await);
    assert_eq!((world.sandbox.orders(), world.dns.records()), (1, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_renewed_by_mail_is_not_taken_for_renewed_before_anybody_acts() {
    let world = World::start(&[ZONE]).await;
    let settings = Settings { wait: Duration::from_millis(500), ..impatient() };
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let domain = || vec![DnsName::parse(ZONE).expect("a good name")];
    let in_days = |days: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    let first = Request::domains(domain(), Some(ORGANIZATION.into()), &["ov"], in_days(1)).expect("a good request");
    assert!(matches!(dcv.issue(first).await, Ok(Outcome::Validated(_))));

    world.control(reqwest::Method::POST, "clock", &json!({ "seconds": 100 * 86_400 })).await;
    let again = Request::domains(domain(), None, &["ov"], in_days(250)).expect("a good request").method(Method::Email);
    let Ok(Outcome::Waiting(waiting)) = dcv.issue(again).await else { panic!("somebody has to open the link") };
    assert_eq!(waiting.on, Actor::Mailbox, "{waiting}");
    let run = dcv.runs(Which::Open).await.expect("the journal is read").remove(0).id;
    let link = world.sandbox.mails().last().expect("a mail").2.clone();
    assert!(reqwest::Client::new().post(&link).send().await.expect("an answer").status().is_success());
    assert!(matches!(dcv.resume(&run).await, Ok(Outcome::Validated(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_was_proved_by_a_file_does_not_stand_for_the_names_below_it() {
    let world = World::start(&[ZONE]).await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    issued(dcv.issue(request(ORGANIZATION)).await);
    let client = world.address().client();
    let domain = client.domain_by_name(ZONE).await.expect("looked up").expect("it is known");
    client.change_domain_dcv_method(domain.id, &certcentral::DcvMethod::HttpToken, true).await.expect("changed");
    let nobody = world.address().dcv().router(dcv_core::Router::new()).build().await.expect("it builds");
    let error = nobody.issue(request(ORGANIZATION)).await.expect_err("unroutable").to_string();
    assert!(error.contains(ZONE) && error.contains("route"), "{error}");
    assert_eq!(world.sandbox.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_run_cancels_its_order_and_takes_its_records_back() {
    // The CA looks where nothing is, so that the proofs stay out.
    let elsewhere = World::start(&["other-example.net"]).await;
    let world = World::start_with(&[ZONE], |config| {
        for perspective in &mut config.va.perspectives {
            perspective.dns = vec![elsewhere.dns.addr()];
        }
    })
    .await;
    let mut settings = impatient();
    settings.wait = Duration::from_millis(500);
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let (run, waiting) = waits(&dcv, ORGANIZATION).await;
    assert_eq!(waiting.on, Actor::DomainValidation, "{waiting}");
    assert_eq!(world.dns.records().len(), 1, "the proof is out");
    dcv.cancel(&run, "no longer needed").await.expect("canceled");
    assert_eq!(world.dns.records(), Vec::<String>::new());
    let order = world.address().client().orders(&[], 10, 0).await.expect("listed").items.remove(0);
    assert_eq!(order.status, certcentral::OrderStatus::Canceled);
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
    assert!(matches!(dcv.resume(&run).await, Err(Error::Ended(_))), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ca_refuses_is_not_an_open_run() {
    let world = World::start(&[ZONE]).await;
    let dcv = world.address().dcv().build().await.expect("it builds");
    let mut unknown = request(ORGANIZATION);
    unknown.product = "ssl_no_such_product".to_owned();
    let error = dcv.issue(unknown).await.expect_err("refused").to_string();
    assert!(error.contains("404") && error.contains("not_found|product") && error.contains("GET /product"), "{error}");
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
    assert_eq!((world.sandbox.orders(), world.dns.update_count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_nobody_serves_is_an_error_unless_it_is_validated() {
    let world = World::start(&[ZONE]).await;
    let nobody = world.address().dcv().router(dcv_core::Router::new()).build().await.expect("it builds");
    let error = nobody.issue(request(ORGANIZATION)).await.expect_err("unroutable").to_string();
    assert!(error.contains(ZONE) && error.contains("route"), "{error}");
    assert_eq!(world.sandbox.orders(), 0);

    let dcv = world.address().dcv().build().await.expect("it builds");
    issued(dcv.issue(request(ORGANIZATION)).await);
    issued(nobody.issue(request(ORGANIZATION)).await);
    assert_eq!(world.sandbox.orders(), 2);
}

/// Says when a run is about to be begun, and takes its time then.
struct Slow {
    journal: MemoryJournal,
    begins: Notify,
}

#[async_trait]
impl Journal for Slow {
    async fn begin(&self, run: &RunId, first: &Entry) -> Result<Lease, JournalError> {
        self.begins.notify_one();
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.journal.begin(run, first).await
    }
    async fn claim(&self, run: &RunId) -> Result<Lease, JournalError> {
        self.journal.claim(run).await
    }
    async fn append(&self, lease: &Lease, entry: &Entry) -> Result<(), JournalError> {
        self.journal.append(lease, entry).await
    }
    async fn read(&self, run: &RunId) -> Result<Vec<Stamped>, JournalError> {
        self.journal.read(run).await
    }
    async fn runs(&self, which: Which) -> Result<Vec<RunId>, JournalError> {
        self.journal.runs(which).await
    }
    async fn runs_of(&self, label: &str, most: usize) -> Result<Vec<RunId>, JournalError> {
        self.journal.runs_of(label, most).await
    }
}

/// Who stops a program while it begins a run has to know whether the run is there: its key must stay, or go.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_given_up_while_it_begins_is_known_afterwards() {
    let world = World::start(&[ZONE]).await;
    let journal = Arc::new(Slow { journal: MemoryJournal::default(), begins: Notify::new() });
    let dcv = world.address().dcv_with(Arc::clone(&journal) as Arc<dyn Journal>).await;
    let run = RunId::new(jiff::Timestamp::now());
    tokio::select! {
        outcome = dcv.issue_as(run.clone(), request(ORGANIZATION)) => panic!("not stopped: {outcome:?}"),
        () = journal.begins.notified() => {}
    }
    dcv.settled().await;
    assert!(journal.read(&run).await.is_ok(), "it is begun, and the journal says so");
    issued(dcv.resume(&run).await);
    assert_eq!(orders_sent(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_stored_leaves_no_record_behind() {
    let world = World::start(&[ZONE]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_way = folder.path().join("out");
    std::fs::write(&in_the_way, "a file where the folder is to be").expect("a file");
    let dcv = world.address().dcv_at(&folder.path().join("journal.sqlite")).await;
    let mut request = request(ORGANIZATION);
    request.output = Some(dcv_core::Output { dir: in_the_way.join("www"), pending_key: None });
    let run = RunId::new(jiff::Timestamp::now());
    let failed = dcv.issue_as(run.clone(), request).await.expect_err("it cannot be stored");
    assert!(matches!(failed, Error::File { .. }), "{failed}");
    assert_eq!(world.dns.records(), Vec::<String>::new());
    std::fs::remove_file(&in_the_way).expect("removed");
    issued(dcv.resume(&run).await);
    assert!(in_the_way.join("www/fullchain.pem").exists());
    assert_eq!(orders_sent(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_fetched_leaves_no_record_behind() {
    let world = World::start(&[ZONE]).await;
    world.fault("wrong-pem", 100, "GET", "/download").await;
    let settings = Settings { wait: Duration::from_secs(3), ..impatient() };
    let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
    let run = RunId::new(jiff::Timestamp::now());
    let failed = dcv.issue_as(run.clone(), request(ORGANIZATION)).await.expect_err("it is another's certificate");
    assert!(matches!(failed, Error::Certificate(_)), "{failed}");
    assert_eq!(world.dns.records(), Vec::<String>::new());
    world.control(reqwest::Method::DELETE, "faults", &json!({})).await;
    issued(dcv.resume(&run).await);
    assert_eq!(orders_sent(&world), 1);
}

/// As where the answer was lost, and the CA's lists are behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_lists_show_late_is_waited_for_and_not_placed_again() {
    let world = World::start(&[ZONE]).await;
    let (journal, run, request) =
        (Arc::new(MemoryJournal::default()), RunId::new(jiff::Timestamp::now()), request(ORGANIZATION));
    let lease = journal.begin(&run, &Entry::Planned { request: Box::new(request.clone()) }).await.expect("begun");
    journal.append(&lease, &Entry::Placing).await.expect("written down");
    drop(lease);
    journal.settle().await;
    let settings = Settings { lookup_patience: Duration::from_secs(60), ..impatient() };
    let dcv = world.address().dcv().journal(journal).settings(settings).build().await.expect("it builds");
    let resumed = tokio::spawn({
        let (dcv, run) = (dcv.clone(), run.clone());
        async move { dcv.resume(&run).await }
    });
    let has_looked = || world.sandbox.requests_seen().iter().any(|seen| seen.path.contains("/order/certificate?"));
    while !has_looked() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut order = dcv.plan(&request).await.expect("a plan").order.expect("an order");
    order.alternative_order_id = Some(run.to_string());
    dcv.client().place_order("ssl_basic", &order).await.expect("placed");
    issued(resumed.await.expect("it has come to its end"));
    assert_eq!((world.sandbox.orders(), orders_sent(&world)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_comes_home_before_more_is_begun() {
    let world = World::start(&[ZONE]).await;
    // How many orders are placed and not home, and the most there ever were.
    let open = Arc::new(Mutex::new((0, 0)));
    let counted = Arc::clone(&open);
    let observer: Observer = Arc::new(move |_, event| {
        let mut open = counted.lock().expect("nobody panics");
        match event {
            Event::Placed { .. } => open.0 += 1,
            Event::Downloaded { .. } => open.0 -= 1,
            _ => {}
        }
        open.1 = open.1.max(open.0);
    });
    let settings = Settings { parallel: 2, ..impatient() };
    let dcv = world.address().dcv().settings(settings).observer(observer).build().await.expect("it builds");
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let dcv = dcv.clone();
        all.spawn(async move { issued(dcv.issue(request(ORGANIZATION)).await) });
    }
    all.join_all().await;
    assert_eq!(world.sandbox.orders(), 8);
    assert_eq!(*open.lock().expect("nobody panics"), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_people_is_in_nobodys_way() {
    let world = World::start(&[ZONE]).await;
    let (waits, mut waited) = tokio::sync::mpsc::unbounded_channel();
    let observer: Observer = Arc::new(move |_, event| {
        if matches!(event, Event::Waiting(_)) {
            let _ = waits.send(());
        }
    });
    let settings = Settings { parallel: 1, ..Settings::default() };
    let dcv = world.address().dcv().settings(settings).observer(observer).build().await.expect("it builds");
    let first = tokio::spawn({
        let dcv = dcv.clone();
        async move { dcv.issue(request(PENDING_ORGANIZATION)).await }
    });
    waited.recv().await.expect("the first one waits for its organization");
    issued(dcv.issue(request(ORGANIZATION)).await);
    assert!(!first.is_finished(), "it has gone on waiting");
    first.abort();
}
