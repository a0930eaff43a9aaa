//! The machine by table: entries so far, and the step that follows.

use certcentral::{CertificateId, OrderId};
use dcv_core::{
    Actor, Output, Request, RunId, Waiting,
    journal::Stamped,
    key::{KeyKind, PrivateKey},
    name::DnsName,
    state::{Challenge, Entry, Run, Step, Tidying, next},
};
use dcv_provider::Proof;
use jiff::{SignedDuration, Timestamp};

fn proof(domain: &str) -> Proof {
    Proof::Txt { name: domain.to_owned(), value: format!("value of {domain}") }
}

fn challenge(domain: &str, expires: Option<Timestamp>) -> Challenge {
    let names = vec![format!("www.{domain}")];
    Challenge { domain: domain.to_owned(), domain_id: None, names, proof: Some(proof(domain)), expires }
}

fn challenged(domains: &[&str]) -> Entry {
    Entry::Challenged { challenges: domains.iter().map(|domain| challenge(domain, None)).collect() }
}

fn presenting(domains: &[&str]) -> Entry {
    Entry::Presenting { proofs: domains.iter().map(|domain| proof(domain)).collect() }
}

fn retracted(domains: &[&str]) -> Entry {
    Entry::Retracted { proofs: domains.iter().map(|domain| proof(domain)).collect() }
}

fn accepted(domains: &[&str]) -> Entry {
    Entry::Accepted { domains: domains.iter().map(ToString::to_string).collect() }
}

fn placed_as(needs_approval: bool) -> Entry {
    Entry::Placed {
        order_id: OrderId(1),
        certificate_id: None,
        random_value: None,
        needs_approval,
        request_id: None,
        chain: None,
    }
}

fn placed() -> Entry {
    placed_as(false)
}

fn run(output: bool, entries: &[Entry]) -> Run {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let names = vec![DnsName::parse("www.a.com").expect("a name")];
    let mut request = Request::new("ssl_basic", 7, names, &key).expect("a request");
    request.output = output.then(|| Output { dir: "out".into(), pending_key: None });
    run_of(request, entries)
}

fn run_of(request: Request, entries: &[Entry]) -> Run {
    let planned = Entry::Planned { request: Box::new(request) };
    let at = Timestamp::now();
    let entries: Vec<Stamped> =
        std::iter::once(planned).chain(entries.iter().cloned()).map(|entry| Stamped { at, entry }).collect();
    Run::fold(RunId::new(at), &entries).expect("a run")
}

#[test]
fn each_history_has_its_next_step() {
    let (canceling, canceled) = (Entry::Canceling { reason: String::new() }, Entry::Canceled { reason: String::new() });
    let failed = Entry::Failed { reason: String::new() };
    let issued = Entry::Issued { certificate_id: CertificateId(2) };
    let downloaded = Entry::Downloaded { chain: String::new() };
    let both = ["a.com", "b.net"];
    let proved = [placed(), challenged(&both), presenting(&both), Entry::Presented];
    let all = |more: &[Entry]| -> Vec<Entry> { proved.iter().chain(more).cloned().collect() };
    let retract = |domains: &[&str]| Step::Retract(domains.iter().map(|domain| proof(domain)).collect());
    let table: Vec<(&str, &str, Vec<Entry>, Step)> = vec![
        ("nothing has happened", "planned", vec![], Step::Place),
        ("canceled before it was placed", "canceling", vec![canceling.clone()], Step::Cancel),
        ("an order may exist", "placing", vec![Entry::Placing], Step::Find),
        ("an order may exist that is to be canceled", "canceling", vec![Entry::Placing, canceling.clone()], Step::Find),
        ("placed", "proving", vec![Entry::Placing, placed()], Step::Challenge),
        ("to be approved", "awaiting approval", vec![placed_as(true)], Step::Follow),
        ("approved", "proving", vec![placed_as(true), Entry::Approved], Step::Challenge),
        ("everything was validated before", "awaiting validation", vec![placed(), challenged(&[])], Step::Follow),
        ("open", "proving", vec![placed(), challenged(&both)], Step::Present(vec![proof("a.com"), proof("b.net")])),
        (
            "died while presenting",
            "proving",
            vec![placed(), challenged(&["a.com"]), presenting(&["a.com"])],
            Step::Present(vec![proof("a.com")]),
        ),
        ("presented", "proving", all(&[]), Step::Watch),
        ("visible", "proving", all(&[Entry::Visible]), Step::Check),
        ("one of two accepted", "proving", all(&[Entry::Visible, accepted(&["a.com"])]), Step::Check),
        ("all accepted", "awaiting validation", all(&[Entry::Visible, accepted(&both)]), retract(&both)),
        (
            "accepted and tidied",
            "awaiting validation",
            all(&[Entry::Visible, accepted(&both), retracted(&both)]),
            Step::Follow,
        ),
        (
            "issued comes before tidying",
            "issued",
            all(&[Entry::Visible, accepted(&both), issued.clone()]),
            Step::Download,
        ),
        (
            "fetched, to be stored first",
            "issued",
            all(&[accepted(&both), issued.clone(), downloaded.clone()]),
            Step::Store,
        ),
        (
            "stored",
            "issued",
            all(&[accepted(&both), issued.clone(), downloaded.clone(), Entry::Stored]),
            retract(&both),
        ),
        (
            "all done",
            "issued",
            all(&[accepted(&both), issued.clone(), downloaded.clone(), Entry::Stored, retracted(&both)]),
            Step::Close,
        ),
        ("closed", "validated", all(&[retracted(&both), Entry::Closed]), Step::Rest),
        ("to be canceled, and proofs are out", "canceling", all(std::slice::from_ref(&canceling)), retract(&both)),
        ("to be canceled", "canceling", all(&[canceling.clone(), retracted(&both)]), Step::Cancel),
        (
            "the CA does not cancel it",
            "proving",
            all(&[canceling.clone(), retracted(&both), Entry::NotCanceled { reason: String::new() }]),
            Step::Present(vec![proof("a.com"), proof("b.net")]),
        ),
        (
            "a domain is open again",
            "proving",
            all(&[Entry::Visible, accepted(&both), retracted(&both), challenged(&["a.com"])]),
            Step::Present(vec![proof("a.com")]),
        ),
        ("canceled, and proofs are out", "canceled", all(&[canceling.clone(), canceled.clone()]), retract(&both)),
        ("canceled and tidied", "canceled", all(&[canceling.clone(), canceled, retracted(&both)]), Step::Close),
        ("issued while it was to be canceled", "issued", all(&[canceling, issued]), Step::Download),
        ("rejected, and proofs are out", "failed", all(std::slice::from_ref(&failed)), retract(&both)),
        ("rejected before anything was shown", "failed", vec![placed(), failed], Step::Close),
        (
            "a new value replaces the old one, which is taken back",
            "proving",
            vec![placed(), challenged(&["a.com"]), presenting(&["a.com", "old.com"]), Entry::Presented],
            retract(&["old.com"]),
        ),
    ];
    for (what, stage, entries, step) in table {
        let run = run(true, &entries);
        assert_eq!((run.stage(), next(&run, Timestamp::now(), Tidying::Possible)), (stage, step), "{what}");
    }
}

#[test]
fn without_an_output_there_is_nothing_to_store() {
    let entries = [placed(), Entry::Downloaded { chain: String::new() }];
    assert_eq!(next(&run(false, &entries), Timestamp::now(), Tidying::Possible), Step::Close);
}

#[test]
fn a_certificate_is_deployed_once_it_is_stored_and_records_are_gone_before() {
    let stored = [placed(), presenting(&["a.com"]), Entry::Downloaded { chain: String::new() }, Entry::Stored];
    let step = |more: &[Entry], tidying| {
        let mut run = run(true, &stored.iter().chain(more).cloned().collect::<Vec<_>>());
        let command = vec!["true".to_owned()];
        run.request.deploy = Some(dcv_core::Deploy { command, timeout: std::time::Duration::from_secs(1) });
        next(&run, Timestamp::now(), tidying)
    };
    assert_eq!(step(&[], Tidying::Possible), Step::Retract(vec![proof("a.com")]));
    assert_eq!(step(&[], Tidying::Failed), Step::Deploy, "a record that stays does not keep it from its users");
    let tidied = retracted(&["a.com"]);
    assert_eq!(step(std::slice::from_ref(&tidied), Tidying::Possible), Step::Deploy);
    assert_eq!(
        step(&[tidied.clone(), Entry::Deploying], Tidying::Possible),
        Step::Deploy,
        "nobody knows whether it ended"
    );
    let failed = Entry::DeployFailed { reason: String::new() };
    assert_eq!(step(&[tidied.clone(), Entry::Deploying, failed], Tidying::Possible), Step::Deploy);
    assert_eq!(step(&[tidied, Entry::Deploying, Entry::Deployed], Tidying::Possible), Step::Close);
    assert_eq!(step(&[Entry::Deploying, Entry::Deployed], Tidying::Failed), Step::Rest);
}

#[test]
fn what_cannot_be_taken_back_keeps_the_run_open_and_the_certificate_coming() {
    let shown = [placed(), challenged(&["a.com"]), presenting(&["a.com"]), Entry::Presented, accepted(&["a.com"])];
    let with = |more: &[Entry]| -> Run { run(true, &shown.iter().chain(more).cloned().collect::<Vec<_>>()) };
    let step = |more: &[Entry]| next(&with(more), Timestamp::now(), Tidying::Failed);
    assert_eq!(step(&[]), Step::Follow);
    let downloaded = Entry::Downloaded { chain: String::new() };
    assert_eq!(step(std::slice::from_ref(&downloaded)), Step::Store);
    assert_eq!(step(&[downloaded, Entry::Stored]), Step::Rest, "it is not closed");
    assert_eq!(step(&[Entry::Failed { reason: String::new() }]), Step::Rest);
}

#[test]
fn an_order_whose_answers_are_lost_is_sent_twice_and_then_once_a_day() {
    let sent = |times: usize| run(false, &vec![Entry::Placing; times]);
    let in_hours = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    assert!(sent(1).may_be_sent_again(in_hours(0)));
    assert!(!sent(2).may_be_sent_again(in_hours(0)) && !sent(2).may_be_sent_again(in_hours(23)));
    assert!(sent(2).may_be_sent_again(in_hours(25)));
    assert!(!sent(9).may_be_sent_again(in_hours(0)));
}

#[test]
fn a_value_is_renewed_before_it_ends() {
    let now = Timestamp::now() + SignedDuration::from_mins(11);
    let step_at = |now: Timestamp, life: SignedDuration| {
        let challenges = vec![challenge("a.com", Some(now + life))];
        let entries = [placed(), Entry::Challenged { challenges }, presenting(&["a.com"]), Entry::Presented];
        next(&run(true, &entries), now, Tidying::Possible)
    };
    let step = |life: SignedDuration| step_at(now, life);
    assert_eq!(step(SignedDuration::from_hours(48)), Step::Watch);
    assert_eq!(step(SignedDuration::from_hours(36)), Step::Watch);
    assert_eq!(step(SignedDuration::from_hours(24)), Step::Challenge);
    assert_eq!(step(SignedDuration::from_hours(-1)), Step::Challenge);
    let lately = step_at(Timestamp::now(), SignedDuration::from_hours(24));
    assert_eq!(lately, Step::Watch, "the CA tells the same one again, and is not asked without a pause");
}

#[test]
fn a_run_s_id_is_read_as_it_is_written_and_nothing_else_is_one() {
    let id = RunId::new("2026-11-23T12:00:00Z".parse().expect("a time"));
    assert!(id.as_str().starts_with("dcv-20261123-") && id.as_str().len() == 25, "{id}");
    assert_eq!((id.to_string().as_str(), id.to_string().parse()), (id.as_str(), Ok(id.clone())));
    for no in ["", "a b", "../a", "a\u{1b}", &"a".repeat(65)] {
        let error = no.parse::<RunId>().expect_err("no id");
        assert!(error.starts_with("run: `") && !error.contains('\u{1b}'), "{error}");
    }
    "a".repeat(64).parse::<RunId>().expect("an id");
}

#[test]
fn who_is_waited_for_is_said_in_words() {
    for (on, told, words) in [
        (Actor::Approver, true, "an approver of your CertCentral account"),
        (Actor::OrganizationValidation, true, "the CA's organization validation"),
        (Actor::Mailbox, true, "whoever reads the CA's mail"),
        (Actor::DomainValidation, false, "the CA's check of the proofs"),
        (Actor::Issuance, true, "the CA to issue"),
        (Actor::Propagation, false, "the name servers or web servers"),
        (Actor::Deployment, false, "the owner of the deploy command"),
    ] {
        let waiting = Waiting { on, what: "order 1".to_owned() };
        assert_eq!(waiting.to_string(), format!("waiting for {words}: order 1"));
        assert_eq!(waiting.is_for_the_ca_to_tell(), told, "{on}");
    }
}

#[test]
fn domains_that_no_order_is_for_are_done_when_they_are_proved_and_nothing_is_left() {
    let names = vec![DnsName::parse("a.com").expect("a name")];
    let step = |entries: &[Entry], tidying| {
        let until = Timestamp::now() + SignedDuration::from_hours(24);
        let request = Request::domains(names.clone(), None, &["ov"], until).expect("a request");
        next(&run_of(request, entries), Timestamp::now(), tidying)
    };
    assert_eq!(step(&[], Tidying::Possible), Step::Challenge);
    let by_people = Challenge { proof: None, ..challenge("a.com", None) };
    let people = [Entry::Challenged { challenges: vec![by_people] }];
    assert_eq!(step(&people, Tidying::Possible), Step::Follow);
    assert_eq!(step(&[Entry::Canceling { reason: String::new() }], Tidying::Possible), Step::Cancel);
    let proved = [challenged(&["a.com"]), presenting(&["a.com"]), Entry::Presented, accepted(&["a.com"])];
    assert_eq!(step(&proved, Tidying::Possible), Step::Retract(vec![proof("a.com")]));
    assert_eq!(step(&proved, Tidying::Failed), Step::Rest, "it is not closed while a record is out there");
    let tidied: Vec<Entry> = proved.into_iter().chain([retracted(&["a.com"])]).collect();
    assert_eq!(step(&tidied, Tidying::Possible), Step::Close);
}
