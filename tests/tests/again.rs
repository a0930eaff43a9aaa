//! Reissues and duplicates: approved, refused, lost on the way, and ended by somebody else.

use std::time::Duration;

use certcentral::{OrderId, OrderStatus, RequestStatus};
use certcentral_sandbox::account::Approval;
use dcv_core::{
    Actor, Dcv, Error, Outcome, Purpose, Request, RunId, Settings, Waiting,
    journal::Which,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_tests::world::{ORGANIZATION, World, impatient, issued};

const ZONE: &str = "again-example.com";

fn request(names: &[&str], key: &PrivateKey) -> Request {
    let names = names.iter().map(|name| DnsName::parse(name).expect("a good name")).collect();
    Request::new("ssl_basic", ORGANIZATION, names, key).expect("a good request")
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyKind::EcdsaP256).expect("a key")
}

/// An order that is issued, in a world where everything has to be approved from then on, and what came of asking for more of it.
struct Again {
    world: World,
    dcv: Dcv,
    order_id: OrderId,
}

impl Again {
    async fn start(approval: Approval) -> Self {
        let world = World::start_with(&[ZONE], |config| config.approval = approval).await;
        let settings = Settings { wait: Duration::from_secs(1), ..impatient() };
        let dcv = world.address().dcv().settings(settings).build().await.expect("it builds");
        let ordered = dcv.issue(request(&["www.again-example.com"], &key())).await;
        let again = Self { world, dcv, order_id: OrderId(0) };
        let first = if matches!(ordered, Ok(Outcome::Waiting(_))) {
            again.decide(&RequestStatus::Approved, "fine").await;
            again.dcv.resume(&again.run().await).await
        } else {
            ordered
        };
        let order_id = issued(first).order_id.expect("it is known");
        Self { order_id, ..again }
    }

    /// The request of a certificate with one name more, or of one more with the same.
    fn more(&self, purpose: &str) -> Request {
        match purpose {
            "reissue" => request(&["www.again-example.com", "new.again-example.com"], &key())
                .purpose(Purpose::Reissue { order_id: self.order_id }),
            _ => request(&["www.again-example.com"], &key()).purpose(Purpose::Duplicate { order_id: self.order_id }),
        }
    }

    /// The run that is open.
    async fn run(&self) -> RunId {
        let runs = self.dcv.runs(Which::Open).await.expect("the journal is read");
        let [run] = &runs[..] else { panic!("one run is open") };
        run.id.clone()
    }

    async fn waits(&self, purpose: &str) -> (RunId, Waiting) {
        match self.dcv.issue(self.more(purpose)).await {
            Ok(Outcome::Waiting(waiting)) => (self.run().await, waiting),
            other => panic!("it waits: {other:?}"),
        }
    }

    /// Decides on what has to be approved.
    async fn decide(&self, status: &RequestStatus, comment: &str) {
        let client = self.world.address().client();
        for request in client.requests(Some(&RequestStatus::Pending)).await.expect("listed") {
            client.set_request_status(request.id, status, comment).await.expect("decided");
        }
    }

    fn posts(&self, purpose: &str) -> usize {
        self.world.calls("POST", &format!("/{purpose}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_to_be_approved_waits_for_an_approver_and_comes_home() {
    for purpose in ["reissue", "duplicate"] {
        let again = Again::start(Approval::Required).await;
        let (run, waiting) = again.waits(purpose).await;
        assert_eq!(waiting.on, Actor::Approver, "{purpose}: {waiting}");
        assert!(waiting.what.contains(purpose) && waiting.what.contains("dcv request approve"), "{waiting}");
        again.decide(&RequestStatus::Approved, "fine").await;
        let copy = issued(again.dcv.resume(&run).await);
        assert_eq!(copy.order_id, Some(again.order_id));
        assert_eq!((again.world.sandbox.orders(), again.posts(purpose)), (1, 1), "{purpose}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_while_somebody_waits_for_it_comes_home_at_once() {
    let again = Again::start(Approval::Required).await;
    let asked = tokio::spawn({
        let (dcv, more) = (again.dcv.clone(), again.more("reissue"));
        async move { dcv.issue(more).await }
    });
    let client = again.world.address().client();
    let waits = async {
        while client.requests(Some(&RequestStatus::Pending)).await.expect("listed").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.expect("it has to be approved");
    again.decide(&RequestStatus::Approved, "fine").await;
    issued(asked.await.expect("it has come to its end"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_approved_ends_with_the_reason() {
    for purpose in ["reissue", "duplicate"] {
        let again = Again::start(Approval::Required).await;
        let (run, _) = again.waits(purpose).await;
        again.decide(&RequestStatus::Rejected, "not this year").await;
        let error = again.dcv.resume(&run).await.expect_err("rejected");
        assert!(matches!(&error, Error::Ended(why) if why.contains("rejected")), "{purpose}: {error}");
        assert!(again.dcv.runs(Which::Open).await.expect("the journal is read").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_approver_can_be_canceled() {
    for purpose in ["reissue", "duplicate"] {
        let again = Again::start(Approval::Required).await;
        let (run, _) = again.waits(purpose).await;
        again.dcv.cancel(&run, "no longer needed").await.expect("canceled");
        let client = again.world.address().client();
        assert!(client.requests(Some(&RequestStatus::Pending)).await.expect("listed").is_empty(), "{purpose}");
        let order = client.order(again.order_id).await.expect("it is there");
        assert_eq!(order.status, OrderStatus::Issued, "{purpose}: the certificate before it is as it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_on_the_way_is_found_by_its_key_and_not_asked_for_again() {
    for purpose in ["reissue", "duplicate"] {
        let again = Again::start(Approval::AsOrdered).await;
        again.world.fault("drop", 1, "POST", &format!("/{purpose}")).await;
        let copy = issued(again.dcv.issue(again.more(purpose)).await);
        assert_eq!(copy.order_id, Some(again.order_id));
        assert_eq!(again.posts(purpose), 1, "{purpose}");
    }
}

/// One key for all: what tells one from the other is when it was asked for, and its names.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_reissues_with_one_key_the_second_is_not_taken_for_the_first() {
    let again = Again::start(Approval::AsOrdered).await;
    let key = key();
    let reissue = |names: &[&str]| request(names, &key).purpose(Purpose::Reissue { order_id: again.order_id });
    issued(again.dcv.issue(reissue(&["www.again-example.com"])).await);
    again.world.fault("drop", 1, "POST", "/reissue").await;
    let second = issued(again.dcv.issue(reissue(&["www.again-example.com", "new.again-example.com"])).await);
    assert!(second.chain.names().iter().any(|name| name == "new.again-example.com"), "{:?}", second.chain.names());
    assert_eq!(again.posts("reissue"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_somebody_revokes_meanwhile_ends_what_was_asked_for_of_it() {
    let again = Again::start(Approval::Required).await;
    let (run, _) = again.waits("duplicate").await;
    again.decide(&RequestStatus::Approved, "fine").await;
    let client = again.world.address().client();
    let revocation = certcentral::Revocation { skip_approval: true, ..certcentral::Revocation::default() };
    client.revoke_order(again.order_id, &revocation).await.expect("revoked");
    let error = again.dcv.resume(&run).await.expect_err("it is over");
    assert!(matches!(&error, Error::Ended(why) if why.contains("revoked")), "{error}");
    assert_eq!(again.world.dns.records(), Vec::<String>::new());
}
