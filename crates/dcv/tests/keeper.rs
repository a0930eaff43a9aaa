//! `dcv plan`, `run` and `import`: an inventory that is brought to life, changed, and kept.

mod bench;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bench::{Bench, check_files};
use dcv_core::{
    RunId,
    journal::{Journal, SqliteJournal, conformance::planned},
};
use dcv_journal_postgres::PostgresJournal;
use dcv_tests::postgres::{PASSWORD, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Barrier,
};

fn inventory(bench: &Bench, shop: &str, deploy: &str) {
    let text = format!(
        "{}[certificate.shop]\nnames = [{shop}]\nout = \"shop\"\ndeploy = [{deploy}]\n\
         [certificate.mail]\nnames = [\"mail.example.com\"]\nout = \"mail\"\n[keep]\ndomains = [\"example.com\"]\n",
        bench.configuration(),
    );
    bench.write("dcv.toml", &text);
}

fn acts(plan: &Value) -> Vec<(String, String, bool)> {
    let now = jiff::Timestamp::now();
    let tasks = plan["tasks"].as_array().expect("tasks");
    let mut acts: Vec<(String, String, bool)> = tasks
        .iter()
        .map(|task| {
            let text = |field: &str| task[field].as_str().expect(field).to_owned();
            (text("label"), text("act"), text("at").parse::<jiff::Timestamp>().expect("a time") <= now)
        })
        .collect();
    acts.sort();
    acts
}

fn act(label: &str, act: &str, due: bool) -> (String, String, bool) {
    (label.to_owned(), act.to_owned(), due)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_is_ordered_deployed_reissued_and_then_left_alone() {
    let bench = Bench::start().await;
    let hook = bench.path("hook.sh");
    std::fs::write(&hook, "#!/bin/sh\necho \"$DCV_NAME $DCV_NAMES $(ls $DCV_DIR/privkey.pem)\" >>deployed\n")
        .expect("a file");
    let deploy = format!("\"sh\", {hook:?}");
    inventory(&bench, "\"shop.example.com\"", &deploy);
    let plan = bench.run("--json plan").await;
    let first = [act("example.com", "validate", true), act("mail", "order", true), act("shop", "order", true)];
    assert_eq!(acts(&plan.last()), first, "{}", plan.all());
    assert_eq!(bench.changes_asked_of_ca(), 0, "a plan changes nothing");

    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    check_files(&bench.path("mail"), &bench.sandbox.root_pem(), &["mail.example.com"]);
    let deployed = std::fs::read_to_string(bench.path("deployed")).expect("the command has run");
    assert!(deployed.starts_with("shop.example.com shop.example.com /") && deployed.lines().count() == 1, "{deployed}");
    assert_eq!(bench.server.records(), [""; 0], "nothing is left in the zone");

    let plan = bench.run("--json plan").await.last();
    assert!(acts(&plan).iter().all(|(_, _, due)| !due), "{plan}");
    let changes = bench.changes_asked_of_ca();
    assert_eq!(bench.run("run --once").await.code, 0);
    assert_eq!(bench.changes_asked_of_ca(), changes, "nothing is due, nothing is done");

    // Another name: a reissue within the order, which costs nothing.
    inventory(&bench, "\"shop.example.com\", \"www.example.com\"", &deploy);
    let plan = bench.run("--json plan shop").await.last();
    assert_eq!(acts(&plan), [act("shop", "reissue", true)], "{plan}");
    let orders = bench.client().orders(&[], 100, 0).await.expect("orders").items.len();
    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com", "www.example.com"]);
    assert_eq!(bench.client().orders(&[], 100, 0).await.expect("orders").items.len(), orders, "no new order");
    let deployed = std::fs::read_to_string(bench.path("deployed")).expect("the command has run");
    assert_eq!(deployed.lines().count(), 2, "{deployed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_deploy_command_is_told_and_run_again_without_another_order() {
    let bench = Bench::start().await;
    let hook = bench.path("hook.sh");
    std::fs::write(&hook, "echo the disk is full >&2; exit 3\n").expect("a file");
    let told = bench.path("told");
    inventory(&bench, "\"shop.example.com\"", &format!("\"sh\", {hook:?}"));
    let text = std::fs::read_to_string(bench.path("dcv.toml")).expect("a file");
    let posted = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&posted);
    let hooks = axum::Router::new().fallback(move |uri: axum::http::Uri, body: String| async move {
        received.lock().expect("whole").push((uri.to_string(), body));
    });
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/planted-path", socket.local_addr().expect("it has one"));
    tokio::spawn(async move { axum::serve(socket, hooks).await });
    let notify = format!("notify = [\"sh\", \"-c\", \"cat >> {}\"]\nnotify_url = \"{url}\"\n", told.display());
    bench.write("dcv.toml", &format!("{text}{notify}"));
    let ran = bench.run("--json run --once shop").await;
    assert_eq!(ran.code, 5, "{}", ran.all());
    assert!(!ran.all().contains("planted-path"), "{}", ran.all());
    let text = ran.last()["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("the disk is full") && text.contains("exit status: 3"), "{text}");
    let told = std::fs::read_to_string(told).expect("somebody was told");
    assert!(told.contains("the disk is full") && told.contains("\"label\":\"shop\""), "{told}");
    assert_eq!(*posted.lock().expect("whole"), [("/planted-path".to_owned(), told)], "both are told the same, once");
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com"]);

    std::fs::write(&hook, "true\n").expect("a file");
    assert_eq!(acts(&bench.run("--json plan shop").await.last()), [act("shop", "resume", true)]);
    let changes = bench.changes_asked_of_ca();
    assert_eq!(bench.run("run --once shop").await.code, 0);
    assert_eq!(bench.changes_asked_of_ca(), changes, "nothing was ordered");
    assert!(acts(&bench.run("--json plan shop").await.last()).iter().all(|(_, _, due)| !due));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_the_account_are_adopted() {
    let bench = Bench::start().await;
    assert_eq!(bench.run("issue a.example.com b.example.com --out mine").await.code, 0);
    let imported = bench.run("import").await;
    assert_eq!(imported.code, 0, "{}", imported.all());
    bench.write("dcv.toml", &format!("{}{}out = \"mine\"\n", bench.configuration(), imported.stdout));
    let plan = bench.run("--json plan").await;
    assert_eq!(acts(&plan.last()), [act("a-example-com", "reissue", false)], "{}\n{}", imported.stdout, plan.all());
    let again = bench.run("import").await;
    assert!(again.stdout.starts_with("# the account has no"), "{}", again.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_shows_itself_and_stops_when_told() {
    let bench = Bench::start().await;
    inventory(&bench, "\"shop.example.com\"", "");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let text = std::fs::read_to_string(bench.path("dcv.toml")).expect("a file");
    bench.write("dcv.toml", &format!("{text}listen = \"{free}\"\ntoken = \"planted-token\"\n"));
    let mut child = bench.start_until("--json run", "\"label\":\"shop\"").await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let get = async |path: &str, token: &str| {
        let request = http.get(format!("http://{free}{path}")).header("Authorization", format!("Bearer {token}"));
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("text"))
    };
    assert_eq!(get("/healthz", "").await, (200, "alive\n".to_owned()));
    assert_eq!(get("/readyz", "").await.0, 200);
    assert_eq!(get("/metrics", "wrong").await.0, 401);
    let (_, metrics) = get("/metrics", "planted-token").await;
    assert!(metrics.contains("dcv_due_seconds{label=\"shop\",act="), "{metrics}");
    assert!(metrics.contains("dcv_api_calls{window=\"5s\"}"), "{metrics}");
    let (_, page) = get("/", "planted-token").await;
    assert!(page.contains("shop") && page.contains("Certificates and domains"), "{page}");
    assert!(!page.contains("planted-token") && !metrics.contains("planted-token"));

    let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a number")).expect("a process");
    kill_process(pid, Signal::TERM).expect("told");
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await.expect("it ends").expect("ended");
    assert_eq!(status.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_inventory_are_named() {
    let bench = Bench::start().await;
    for (text, parts) in [
        ("[certificate.a]\nnames = []\n", ["certificate.a.names", "at least one"]),
        ("[certificate.a]\nnames = [\"a b\"]\n", ["certificate.a.names", "a b"]),
        ("[certificate.a]\nnames = [\"a.example.com\"]\ndeplyo = []\n", ["deplyo", "deploy"]),
        ("[keep]\ndomains = [\"*.example.com\"]\n", ["keep.domains", "`example.com`"]),
        ("[keep]\nleft = 2.0\n", ["keep.left", "33%"]),
        ("[keep]\nlisten = \"0.0.0.0:1\"\n", ["keep.listen", "keep.token"]),
        ("[keep]\nparallel = 0\n", ["keep.parallel", "at least 1"]),
    ] {
        bench.write("bad.toml", &format!("{}{text}", bench.configuration()));
        let ran = bench.run("plan --config bad.toml").await;
        assert!(ran.code == 2 && parts.iter().all(|part| ran.stderr.contains(part)), "{text}: {}", ran.all());
    }
    let none = bench.run("run --once").await;
    assert!(none.code == 2 && none.stderr.contains("nothing to keep"), "{}", none.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_fails_holds_nothing_else_up() {
    let bench = Bench::start().await;
    let good = bench.configuration();
    let (_, provider) = good.split_once("[provider.corp]").expect("a provider");
    let (provider, _) = provider.split_once("[route]").expect("routes");
    let other = |secret: &str| {
        let provider = provider.replace(&STANDARD.encode(bench::TSIG), secret);
        let routes = "\"example.org\" = \"other\"\n[certificate.a]\nnames = [\"a.example.org\"]\nout = \"a\"\n\
                      [certificate.b]\nnames = [\"b.example.com\"]\nout = \"b\"\n";
        good.replace("[route]\n", &format!("[provider.other]{provider}[route]\n")) + routes
    };
    bench.write("dcv.toml", &other(&STANDARD.encode("planted-and-wrong-secret-of-32-o")));
    let ran = bench.run("run --once").await;
    assert_eq!(ran.code, 4, "{}", ran.all());
    assert!(ran.stdout.contains("done: b:") && ran.stdout.contains("failed: a:"), "{}", ran.all());
    assert_eq!(
        (bench.sandbox.orders(), bench.hidden_files("a")),
        (1, Vec::new()),
        "the other is found out before it costs"
    );

    bench.write("dcv.toml", &other(&STANDARD.encode(bench::TSIG)));
    let ran = bench.run("run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    check_files(&bench.path("a"), &bench.sandbox.root_pem(), &["a.example.org"]);
    assert_eq!((bench.sandbox.orders(), bench.server.records()), (2, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_secret_cannot_be_read_holds_nothing_else_up() {
    let bench = Bench::start().await;
    let other = "[provider.other]\ntype = \"powerdns\"\nurl = \"http://127.0.0.1:1\"\napi_key = { file = \"no-such.key\" }\n[route]\n";
    let certificates = "\"example.org\" = \"other\"\n[certificate.a]\nnames = [\"a.example.org\"]\nout = \"a\"\n\
                        [certificate.b]\nnames = [\"b.example.com\"]\nout = \"b\"\n";
    bench.write("dcv.toml", &(bench.configuration().replace("[route]\n", other) + certificates));
    let ran = bench.run("run --once").await;
    assert!(ran.stdout.contains("done: b:") && ran.stdout.contains("failed: a:"), "{}", ran.all());
    assert!(ran.code != 0 && ran.stdout.contains("no-such.key"), "{}", ran.all());
    assert_eq!((bench.sandbox.orders(), bench.hidden_files("a")), (1, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_had_again_for_nothing_and_what_cannot_be_read_is_not_ordered() {
    let bench = Bench::start().await;
    let certificate =
        |label: &str| format!("[certificate.{label}]\nnames = [\"{label}.example.com\"]\nout = \"{label}\"\n");
    bench.write("dcv.toml", &(bench.configuration() + &certificate("lost") + &certificate("odd")));
    assert_eq!(bench.run("run --once").await.code, 0);

    std::fs::remove_dir_all(bench.path("lost")).expect("removed");
    let odd = bench.path("odd").join("fullchain.pem");
    std::fs::remove_file(&odd).expect("removed");
    std::fs::create_dir(&odd).expect("a folder where a file should be");
    let plan = bench.run("--json plan").await;
    assert_eq!(acts(&plan.last()), [act("lost", "reissue", true)], "{}", plan.all());
    let unclear = plan.last()["unclear"][0].clone();
    assert!(plan.code == 1 && unclear["label"] == "odd", "{}", plan.all());
    assert!(unclear["why"].as_str().is_some_and(|why| why.contains("fullchain.pem")), "{unclear}");

    let ran = bench.run("run --once").await;
    assert!(ran.code == 1 && ran.stdout.contains("done: lost:"), "{}", ran.all());
    assert!(ran.stdout.contains("failed: odd:") && ran.stdout.contains("nothing is ordered"), "{}", ran.all());
    check_files(&bench.path("lost"), &bench.sandbox.root_pem(), &["lost.example.com"]);
    assert_eq!(
        bench.client().orders(&[], 100, 0).await.expect("orders").items.len(),
        2,
        "two certificates, two orders"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_waits_for_a_mail_to_be_read_keeps_no_certificate_from_its_owner() {
    let bench = Bench::start().await;
    let text = bench.configuration().replace("[defaults]\n", "[defaults]\nmethod = \"email\"\nwait = \"1s\"\n");
    assert!(text.contains("method ="), "{text}");
    let certificate =
        "[certificate.shop]\nnames = [\"shop.example.com\"]\nmethod = \"dns-txt-token\"\nout = \"shop\"\n";
    bench.write("dcv.toml", &format!("{text}{certificate}[keep]\ndomains = [\"example.com\"]\n"));
    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 5, "{}", ran.all());
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    let waits = ran.json().iter().filter(|line| line["result"] == "waiting").count();
    assert_eq!(waits, 1, "{}", ran.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificates_own_provider_proves_the_domain_of_its_names() {
    let bench = Bench::start().await;
    let certificate = "[certificate.a]\nnames = [\"a.example.org\"]\nprovider = [\"corp\"]\nout = \"a\"\n";
    bench.write("dcv.toml", &(bench.configuration() + certificate));
    let ran = bench.run("run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    check_files(&bench.path("a"), &bench.sandbox.root_pem(), &["a.example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_domains_are_proved_where_the_configuration_says() {
    let bench = Bench::start().await;
    let text = bench.configuration().replace("[defaults]\n", "[defaults]\ntxt = \"dnsauth\"\n");
    bench.write("dcv.toml", &format!("{text}[keep]\ndomains = [\"example.com\"]\n"));
    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    let lookups = bench.sandbox.lookups();
    let shown = |lookup: &&certcentral_sandbox::va::Lookup| {
        lookup.question == "_dnsauth.example.com TXT" && lookup.answer.contains("1 records")
    };
    assert!(lookups.iter().any(|lookup| shown(&lookup)), "{lookups:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_down_is_waited_for() {
    let bench = Bench::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (ca, front) = (bench.sandbox.address(), listener.local_addr().expect("it has one"));
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    tokio::spawn(async move {
        loop {
            let Ok((mut client, _)) = listener.accept().await else { return };
            // Down at first: each connection ends as soon as it is there.
            if count.fetch_add(1, Ordering::SeqCst) < 7 {
                continue;
            }
            tokio::spawn(async move {
                let mut server = TcpStream::connect(ca).await.expect("the CA");
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let text = bench.configuration().replace(&ca.to_string(), &front.to_string());
    let inventory = "[certificate.shop]\nnames = [\"shop.example.com\"]\nout = \"shop\"\n[keep]\ninterval = \"1s\"\n";
    bench.write("dcv.toml", &format!("{text}{inventory}"));
    let _keeper = bench.start_until("--json run", "\"result\":\"done\"").await;
    assert!(refused.load(Ordering::SeqCst) > 7, "a pass has failed, and the next one has not");
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    assert_eq!((bench.sandbox.orders(), bench.server.records()), (1, Vec::new()));
}

// ---- several keepers, one journal

/// Stands before the CA and lets nobody through until two have come: then both have looked at the journal, and neither has begun.
async fn gate(ca: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    let both = Arc::new(Barrier::new(2));
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((mut client, _)) = listener.accept().await else { return };
            let both = Arc::clone(&both);
            tokio::spawn(async move {
                if n < 2 {
                    both.wait().await;
                }
                let mut server = TcpStream::connect(ca).await.expect("the CA");
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

/// Writes a configuration with one certificate and this `[state]`.
fn one_certificate(bench: &Bench, state: &str) {
    inventory(bench, "\"shop.example.com\"", "");
    let text = std::fs::read_to_string(bench.path("dcv.toml")).expect("a file");
    let (shop, _) = text.split_once("[certificate.mail]").expect("the other certificate");
    let with_state = shop.replace("path = \"state/journal.sqlite\"", state);
    assert!(with_state.contains(state));
    bench.write("dcv.toml", &with_state);
}

async fn one_order_comes_of_two_keepers(state: &str) {
    let bench = Bench::start().await;
    one_certificate(&bench, state);
    let text = std::fs::read_to_string(bench.path("dcv.toml")).expect("a file");
    let (ca, gate) = (bench.sandbox.address(), gate(bench.sandbox.address()).await);
    bench.write("dcv.toml", &text.replace(&ca.to_string(), &gate.to_string()));

    let (one, other) = tokio::join!(bench.run("run --once"), bench.run("run --once"));
    let all = format!("{}\n{}", one.all(), other.all());
    assert_eq!((one.code, other.code), (0, 0), "{all}");
    assert_eq!(bench.sandbox.orders(), 1, "one order only: {all}");
    assert!(one.stderr.contains("shop: order") && other.stderr.contains("shop: order"), "both were about to: {all}");
    let told = one.stdout.lines().count() + other.stdout.lines().count();
    assert_eq!(told, 1, "one tells of it, the other is silent: {all}");
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    assert_eq!(bench.hidden_files("shop"), [""; 0], "no key is left of the one that did not begin");
    assert_eq!(bench.server.records(), [""; 0], "nothing is left in the zone");
    let again = bench.run("--json run --once").await;
    assert!(again.code == 0 && again.stdout.is_empty(), "{}", again.all());
    assert_eq!(bench.sandbox.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keepers_of_one_file_place_one_order() {
    one_order_comes_of_two_keepers("path = \"state/journal.sqlite\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keepers_of_one_database_place_one_order() {
    let server = Postgres::start();
    let url = server.url_with_password().replace(&format!(":{PASSWORD}"), "");
    one_order_comes_of_two_keepers(&format!("journal = \"{url}\"\npassword = \"{PASSWORD}\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_worker_holds_is_left_alone_without_a_word() {
    let bench = Bench::start().await;
    let server = Postgres::start();
    let in_file = SqliteJournal::open(bench.path("held.sqlite")).await.expect("it opens");
    let in_database = PostgresJournal::connect(&server.url()).await.expect("it connects");
    let journals: [(Arc<dyn Journal>, String); 2] = [
        (Arc::new(in_file), "path = \"held.sqlite\"".to_owned()),
        (Arc::new(in_database), format!("journal = \"{}\"", server.url())),
    ];
    for (journal, state) in journals {
        one_certificate(&bench, &state);
        let run = RunId::new(jiff::Timestamp::now());
        let lease = journal.begin(&run, &planned(Some("shop"), Some(0))).await.expect("begun");
        let ran = bench.run("--json run --once").await;
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{state}");
        let asked = bench.run(&format!("resume {run}")).await;
        assert!(asked.code == 6 && asked.stderr.contains("another process"), "{state}: {}", asked.all());
        drop(lease);
        journal.settle().await;
        assert_eq!(acts(&bench.run("--json plan shop").await.last()), [act("shop", "resume", true)], "{state}");
    }
    assert_eq!(bench.changes_asked_of_ca(), 0, "nothing was ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_for_a_domain_that_another_worker_validates() {
    let bench = Bench::start().await;
    inventory(&bench, "\"shop.example.com\"", "");
    let journal = SqliteJournal::open(bench.path("state/journal.sqlite")).await.expect("it opens");
    let validation = RunId::new(jiff::Timestamp::now());
    let _lease = journal.begin(&validation, &planned(Some("example.com"), Some(0))).await.expect("begun");
    let ran = bench.run("--json run --once").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.all());
    assert_eq!(bench.changes_asked_of_ca(), 0, "both certificates are below the domain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_in_a_database_serves_every_command_and_its_password_is_not_shown() {
    let bench = Bench::start().await;
    let server = Postgres::start();
    let without = server.url_with_password().replace(&format!(":{PASSWORD}"), "");
    one_certificate(&bench, &format!("journal = \"{without}\"\npassword = {{ file = \"secret\" }}"));
    bench.write("secret", PASSWORD);
    let issued = bench.run("--json issue a.example.com --out mine").await;
    assert_eq!(issued.code, 0, "{}", issued.all());
    let run = issued.last()["run"].as_str().expect("a run").to_owned();
    let status = bench.run(&format!("-vv status {run}")).await;
    assert!(status.code == 0 && status.stdout.contains("a.example.com"), "{}", status.all());
    assert!(!status.all().contains(PASSWORD), "{}", status.all());
    assert!(!server.psql("SELECT body FROM dcv_entry").expect("entries").contains("PRIVATE KEY"));
    assert_eq!(server.psql("SELECT count(*) FROM dcv_run WHERE until IS NOT NULL"), Ok("0".to_owned()), "given back");
    let resumed = bench.run(&format!("resume {run}")).await;
    assert_eq!(resumed.code, 0, "{}", resumed.all());

    bench.write("secret", "planted-wrong");
    let refused = bench.run("-vv status").await;
    assert!(refused.code == 6 && refused.stderr.contains("password authentication failed"), "{}", refused.all());
    assert!(!refused.all().contains("planted"), "{}", refused.all());
    one_certificate(&bench, &format!("journal = \"{}\"", server.url_with_password()));
    assert_eq!(bench.run("status --all").await.code, 0);
    let mut contradiction = std::fs::read_to_string(bench.path("dcv.toml")).expect("a file");
    contradiction = contradiction.replace("[state]", "[state]\npath = \"j\"");
    bench.write("dcv.toml", &contradiction);
    let refused = bench.run("status").await;
    assert!(refused.code == 2 && refused.stderr.contains("contradict"), "{}", refused.all());
    assert!(!refused.all().contains(PASSWORD), "{}", refused.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_for_people_are_left_alone_until_the_ca_tells() {
    let bench = Bench::with(|config| config.approval = certcentral_sandbox::account::Approval::Required).await;
    let text = bench.configuration().replace("[defaults]\n", "[defaults]\nwait = \"1s\"\n");
    assert!(text.contains("wait ="), "{text}");
    bench.write("dcv.toml", &format!("{text}[certificate.shop]\nnames = [\"shop.example.com\"]\nout = \"shop\"\n"));
    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 5, "{}", ran.all());

    // Nothing is asked about the order itself.
    let before = bench.sandbox.requests_seen().len();
    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 5, "{}", ran.all());
    assert_eq!(ran.last()["result"], "waiting", "{}", ran.all());
    assert!(ran.last()["text"].as_str().is_some_and(|text| text.contains("has to be approved")), "{}", ran.all());
    let asked: Vec<String> =
        bench.sandbox.requests_seen()[before..].iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].contains("/order/certificate/status-changes?"), "{asked:?}");
    assert!(asked[1].starts_with("GET /services/v2/order/certificate?"), "{asked:?}");
    let plan = bench.run("--json plan").await.last();
    assert_eq!(acts(&plan), [act("shop", "resume", false)], "{plan}");

    let client = bench.client();
    let pending = client.requests(Some(&certcentral::RequestStatus::Pending)).await.expect("listed");
    client.set_request_status(pending[0].id, &certcentral::RequestStatus::Approved, "fine").await.expect("approved");
    let ran = bench.run("--json run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    check_files(&bench.path("shop"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    assert_eq!(bench.sandbox.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_listened_to_while_all_wait_and_a_run_that_waits_again_is_heard_again() {
    const SECRET: &str = "planted-webhook-secret-of-32-characters";
    let bench = Bench::with(|config| config.approval = certcentral_sandbox::account::Approval::Required).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let inventory = "[certificate.a]\nnames = [\"a.example.com\"]\nout = \"a\"\n[certificate.b]\nnames = [\"b.example.com\"]\nout = \"b\"\n";
    let webhook = format!("[webhook]\nlisten = \"{free}\"\nsecret = \"{SECRET}\"\n");
    bench.write("dcv.toml", &format!("{}{webhook}{inventory}", bench.configuration()));
    let _keeper = bench.start_until("--json run", "\"result\":\"waiting\"").await;
    let client = bench.client();
    let http = reqwest::Client::new();
    let seen = |label: &str| bench.path(label).join("fullchain.pem").exists();
    for count in 1..=2 {
        let pending = async {
            loop {
                let all = client.requests(Some(&certcentral::RequestStatus::Pending)).await.expect("listed");
                if all.len() == 3 - count {
                    return all;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let pending = tokio::time::timeout(Duration::from_secs(30), pending).await.expect("both wait");
        client
            .set_request_status(pending[0].id, &certcentral::RequestStatus::Approved, "fine")
            .await
            .expect("approved");
        let event = http.post(format!("http://{free}/")).header(certcentral::WEBHOOK_SECRET_HEADER, SECRET).body("{}");
        let told = event.send().await.expect("it listens though nothing is worked on");
        assert!(told.status().is_success(), "{}", told.status());
        let home = async {
            while ["a", "b"].into_iter().filter(|label| seen(label)).count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), home).await.expect("it comes home");
    }
    assert_eq!((bench.sandbox.orders(), bench.server.records()), (2, Vec::new()));
}
