//! The program from its first command to its exit codes: orders, mistakes, crashes, what is shown and what is not.

mod bench;

use bench::{API_KEY, Bench, Ran, TSIG, check_files, dcv, mode, run};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use certcentral_sandbox::{account::Approval, dns, va};
use dcv_core::{
    certificate::Chain,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_provider::{DcvProvider, Proof};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_shows_the_whole_life_of_a_certificate() {
    let dir = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let ran = run(dcv(dir.path()).arg("quickstart")).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for part in [
        "example.com: visible everywhere",
        "example.com: accepted by the CA",
        "Verified",
        "Nothing is left in the zone",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.all());
    }
    let certificates = dir.path().join("certificates/shop.example.com");
    let root = fs::read_to_string(certificates.join("sandbox-root.pem")).expect("a root");
    check_files(&certificates, &root, &["shop.example.com", "www.example.com"]);
    let files: Vec<_> = fs::read_dir(&certificates).expect("a folder").collect();
    assert_eq!(files.len(), 5, "{files:?}");

    // Again, with other names below other top levels, for programs.
    let mut again = dcv(dir.path());
    let ran = run(again.args(["quickstart", "www.bücher.de", "shop.example.co.uk", "--json", "--out", "again"])).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.last()["records_left"], serde_json::json!([]));
    assert_eq!(mode(&dir.path().join("again/privkey.pem")), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_leaves_a_folder_with_other_files_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("privkey.pem"), "mine").expect("a file");
    let ran = run(dcv(dir.path()).args(["quickstart", "--out", "."])).await;
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("choose another folder"), "{}", ran.all());
    assert_eq!(fs::read_to_string(dir.path().join("privkey.pem")).expect("still there"), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_brings_a_certificate_home_and_leaves_nothing_behind() {
    let bench = Bench::start().await;
    let ran = bench.run("issue shop.example.com *.example.com --json --out certs/{name} --key-type rsa2048").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    let events: Vec<String> = ran.json().iter().filter_map(|line| line["event"].as_str().map(str::to_owned)).collect();
    let order =
        ["started", "checked", "placed", "challenged", "presented", "observed", "visible", "accepted", "issued"];
    let positions: Vec<Option<usize>> = order.iter().map(|e| events.iter().position(|event| event == e)).collect();
    assert!(positions.is_sorted() && !positions.contains(&None), "{events:?}");
    let result = ran.last();
    assert_eq!((result["result"].as_str(), &result["left_behind"]), (Some("issued"), &serde_json::json!([])));
    assert_eq!(
        result["files"]["key"].as_str().map(Path::new),
        Some(&*bench.path("certs/shop.example.com/privkey.pem"))
    );
    check_files(
        &bench.path("certs/shop.example.com"),
        &bench.sandbox.root_pem(),
        &["shop.example.com", "x.example.com"],
    );
    assert_eq!(bench.hidden_files("certs/shop.example.com"), [""; 0], "the pending key is gone");
    assert_eq!(bench.sandbox.orders(), 1);
    assert_eq!(bench.server.records(), [""; 0]);
    assert_eq!(mode(&bench.path("state/journal.sqlite")), 0o600);

    let open = bench.run("status").await;
    assert_eq!((open.code, open.stdout.trim()), (0, "no open runs"), "{}", open.all());
    let number = result["order_id"].to_string();
    let one = bench.run(&format!("status {number}")).await;
    for part in ["shop.example.com", "issued", "nobody", "accepted", "stored in", "closed"] {
        assert!(one.stdout.contains(part), "{part}: {}", one.all());
    }
    let all = bench.run("status --all --json").await.last();
    assert_eq!(all["runs"][0]["order_id"].to_string(), number);

    // Validated a moment ago: nothing has to be proved any more.
    let updates = bench.server.update_count();
    let second = bench.run("issue www.example.com --out certs/{name}").await;
    assert_eq!(second.code, 0, "{}", second.all());
    assert!(second.stdout.starts_with("issued: www.example.com in "), "{}", second.all());
    assert!(!second.all().contains('\u{1b}'), "a pipe gets no colors: {}", second.all());
    assert_eq!(bench.server.update_count(), updates);
    assert_eq!(mode(&bench.path("certs/www.example.com/privkey.pem")), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_keys_and_requests_are_used_and_stay_where_they_are() {
    let bench = Bench::start().await;
    let key = PrivateKey::generate(KeyKind::EcdsaP384).expect("a key");
    key.write(&bench.path("my.key")).expect("written");
    let names = [DnsName::parse("own.example.com").expect("a name")];
    bench.write("my.csr", key.csr(&names).expect("a CSR").pem());
    for (arguments, out) in [("--csr my.csr", "a"), ("own.example.com --key my.key", "b")] {
        let ran = bench.run(&format!("issue {arguments} --out {out}")).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
        let chain =
            Chain::from_pem(&fs::read(bench.path(out).join("fullchain.pem")).expect("a file")).expect("a chain");
        assert!(chain.matches_key(&key));
        assert!(!bench.path(out).join("privkey.pem").exists(), "it stays where it is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_the_web_proves_a_host() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let server = dns::Server::start(dns::Config { web_addr: Some([127, 0, 0, 1].into()), ..dns::Config::default() });
    let server = server.await.expect("a name server");
    let bench = Bench::with(|account| {
        account.va = va::Config {
            http_port: free.port(),
            https_port: closed.port(),
            ..va::Config::with_dns(vec![server.addr()])
        };
    })
    .await;
    let toml = format!(
        "[ca]\nurl = \"{}\"\nkey = {{ env = \"MY_KEY\" }}\n[dns]\nresolvers = [\"{dns}\"]\nauthority_port = {}\n\
         [propagation]\nhttp_port = {}\nhttps_port = {}\n[provider.web]\ntype = \"standalone\"\nlisten = \"{free}\"\n",
        bench.sandbox.base_url(),
        server.addr().port(),
        free.port(),
        closed.port(),
        dns = server.addr(),
    );
    bench.write("web.toml", &toml);
    let arguments =
        "issue www.example.com --config web.toml --method http-token --product ssl_basic --organization 10001";
    let ran = run(bench.dcv(arguments).args(["--wait", "20s"]).env("MY_KEY", API_KEY)).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    check_files(&bench.path("certificates/www.example.com"), &bench.sandbox.root_pem(), &["www.example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let bench = Bench::start().await;
    for json in ["", "--json"] {
        let ran = bench.run(&format!("issue shop.example.com --dry-run --validity-days 90 {json}")).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert!(ran.stdout.contains("example.com TXT"), "{}", ran.all());
        assert_eq!(ran.stdout.contains("BEGIN CERTIFICATE REQUEST"), json == "--json", "{}", ran.all());
        assert!(ran.stdout.contains("\"days\""), "{}", ran.all());
    }
    assert_eq!(bench.changes_asked_of_ca(), 0, "{:?}", bench.sandbox.requests_seen());
    assert_eq!(bench.server.records(), [""; 0]);
    let left: Vec<_> = fs::read_dir(bench.dir.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["dcv.toml"]);
}

/// Arguments, what is put into the folder first, the code, and parts of the one line that is said.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_found_before_anything_is_ordered() {
    let bench = Bench::start().await;
    let good = bench.configuration();
    let without = |part: &str| good.lines().filter(|line| !line.starts_with(part)).collect::<Vec<_>>().join("\n");
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let other = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let name = |text| DnsName::parse(text).expect("a name");
    let csr = key.csr(&[name("a.example.com"), name("b.example.com")]).expect("a CSR");
    bench.write("two.csr", csr.pem());
    bench.write("cut.csr", &csr.pem()[..200]);
    other.write(&bench.path("other.key")).expect("written");
    bench.write("open.key", "x");
    fs::set_permissions(bench.path("open.key"), fs::Permissions::from_mode(0o644)).expect("a mode");
    bench.write("file", "");
    bench.write("no-product.toml", &without("product"));
    bench.write("no-organization.toml", &without("organization"));
    bench.write("no-provider.toml", good.split("[provider.corp]").next().expect("a part"));
    bench.write("wrong-key.toml", &good.replace(API_KEY, "another-planted-key"));
    bench.write("wrong-tsig.toml", &good.replace(&STANDARD.encode(TSIG), &STANDARD.encode(b"planted-other-secret")));
    bench.write("missing-secret.toml", &good.replace(&format!("\"{API_KEY}\""), "{ file = \"nowhere\" }"));
    bench.write("open-secret.toml", &good.replace(&format!("\"{API_KEY}\""), "{ file = \"open.key\" }"));
    bench.write("unset.toml", &good.replace(&format!("\"{API_KEY}\""), "{ env = \"DCV_TEST_UNSET\" }"));
    bench.write("typo.toml", &good.replace("server =", "sever ="));
    bench.write("crop.toml", &good.replace("= \"corp\"", "= \"crop\""));
    bench.write("readable.toml", &good);
    fs::set_permissions(bench.path("readable.toml"), fs::Permissions::from_mode(0o644)).expect("a mode");
    bench.write("down.toml", &good.replace(&bench.sandbox.base_url(), "http://127.0.0.1:1/services/v2"));

    bench.write("tipe.toml", "[provider.a]\ntipe = \"powerdns\"\n");
    bench.write("unbuilt.toml", "[provider.a]\ntype = \"route53\"\n");
    let table: &[(&str, i32, &[&str])] = &[
        ("", 2, &["Usage"]),
        ("issue", 2, &["NAME"]),
        ("issue a_b.example.com", 2, &["names: ", "`a_b.example.com`", "hyphen"]),
        ("issue www.example.com 10.0.0.1", 2, &["names: ", "`10.0.0.1`", "IP address"]),
        ("issue https://www.example.com/x", 2, &["names: ", "only the host: www.example.com"]),
        ("issue *.com", 2, &["names: ", "public suffix"]),
        ("issue www.example.com --product ssl_basc", 2, &["product: `ssl_basc`", "did you mean `ssl_basic`"]),
        ("issue www.example.com --method dns-txt", 2, &["--method", "dns-txt-token"]),
        ("issue *.example.com --method http-token", 2, &["method", "http-token", "dns-txt-token"]),
        ("issue www.example.com --validity-days 9 --valid-till 2099-01-01", 2, &["--validity-days", "--valid-till"]),
        ("issue www.example.com --valid-till 2020-01-01", 2, &["valid_till: 2020-01-01 is not in the future"]),
        ("issue www.example.com --validity-days 0", 2, &["--validity-days", "0"]),
        ("issue www.example.net", 2, &["`example.net`", "route", "TXT record"]),
        ("issue www.example.com --provider crop", 2, &["--provider: ", "`crop`", "did you mean `corp`"]),
        ("issue www.example.com --provider www.example.com=crop", 2, &["--provider: ", "`crop`"]),
        ("issue www.example.com --config tipe.toml", 2, &["tipe.toml:1: provider.a", "is `tipe` meant to be it?"]),
        ("issue www.example.com --config unbuilt.toml", 2, &["`route53`", "--features route53", "plugin"]),
        ("issue --csr cut.csr", 2, &["--csr: `cut.csr`", "CSR"]),
        ("issue --csr nowhere.csr", 2, &["--csr: `nowhere.csr` cannot be read", "check the path"]),
        ("issue a.example.com --csr two.csr", 2, &["csr: ", "also names b.example.com"]),
        ("issue --csr two.csr --key other.key", 2, &["--key: ", "not made with this key"]),
        ("issue www.example.com --key open.key", 2, &["--key: `open.key`", "0644", "chmod 600"]),
        ("issue www.example.com --out file/x", 2, &["out: ", "file", "not a folder"]),
        ("issue www.example.com --out {domain}", 2, &["out: ", "{name}"]),
        ("issue www.example.com --config nowhere.toml", 2, &["config: `nowhere.toml`", "check the path"]),
        ("issue www.example.com --config no-product.toml", 2, &["product: none is given", "--product"]),
        ("issue www.example.com --config no-organization.toml", 2, &["organization: none is given", "--organization"]),
        ("issue www.example.com --config no-provider.toml", 2, &["no provider for `example.com`"]),
        ("issue www.example.com --config wrong-key.toml", 3, &["ca.key: ", "403", "check the API key"]),
        ("issue www.example.com --config wrong-tsig.toml", 4, &["provider corp: ", "TSIG"]),
        ("issue www.example.com --config missing-secret.toml", 2, &["ca.key: ", "`nowhere`", "check the path"]),
        ("issue www.example.com --config open-secret.toml", 2, &["ca.key: ", "0644", "chmod 600 open.key"]),
        ("issue www.example.com --config unset.toml", 2, &["ca.key: ", "`DCV_TEST_UNSET`", "export it"]),
        ("issue www.example.com --config typo.toml", 2, &["typo.toml:14: provider.corp", "did you mean `server`"]),
        (
            "issue www.example.com --config crop.toml",
            2,
            &["crop.toml:17: route.\"example.com\"", "did you mean `corp`"],
        ),
        ("issue www.example.com --config readable.toml", 2, &["ca.key: ", "readable.toml", "0644", "chmod 600"]),
        ("issue www.example.com --config down.toml", 3, &["GET /product", "refused", "nothing was sent"]),
        ("resume dcv-nowhere", 2, &["`dcv-nowhere` is not in the journal", "dcv status"]),
        ("cancel dcv-nowhere", 2, &["`dcv-nowhere` is not in the journal"]),
        ("status 4711", 2, &["`4711` is neither a run nor an order"]),
        ("doctor a_b.example.com", 2, &["names: "]),
    ];
    // Some wait for servers that are not there, so they run side by side.
    let room = tokio::sync::Semaphore::new(4);
    let rows = table.iter().flat_map(|row| [(row, false), (row, true)]);
    join_all(rows.map(async |((arguments, code, parts), json)| {
        let _turn = room.acquire().await;
        let ran = bench.run(&format!("{arguments} {}", if json { "--json" } else { "" })).await;
        assert_eq!(ran.code, *code, "dcv {arguments}: {}", ran.all());
        assert_eq!(ran.stdout, "", "dcv {arguments}: {}", ran.all());
        assert!(!ran.stderr.contains("planted"), "dcv {arguments} shows a secret: {}", ran.all());
        let of_the_command_line = ran.stderr.contains("--help") || arguments.is_empty();
        if !json && !of_the_command_line {
            assert_eq!(ran.stderr.trim_end().lines().count(), 1, "dcv {arguments}: more than a line: {}", ran.all());
        }
        if json && !arguments.is_empty() {
            let error: Value = serde_json::from_str(&ran.stderr).unwrap_or_else(|e| panic!("{e}: {}", ran.all()));
            assert_eq!(error["error"]["exit_code"], *code);
        }
        // Of a wrong command line programs are told the first line only.
        for part in parts.iter().filter(|_| !json) {
            assert!(ran.stderr.contains(part), "dcv {arguments}: `{part}` is missing: {}", ran.all());
        }
    }))
    .await;
    assert_eq!(bench.sandbox.orders(), 0);
    assert_eq!(bench.changes_asked_of_ca(), 0);
    assert_eq!(bench.server.records(), [""; 0]);
    // An empty folder may be left, where runs that were side by side kept each other from removing it.
    let mut folders = vec![bench.path("certificates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            assert!(entry.path().is_dir(), "left of an order that never was: {}", entry.path().display());
            folders.push(entry.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_shown_nowhere() {
    let bench = Bench::start().await;
    let tsig = STANDARD.encode(TSIG);
    for arguments in
        ["issue a.example.com -vv", "issue b.example.com --json", "doctor a.example.com -vvv", "status --all -vv"]
    {
        let ran = run(bench.dcv(arguments).env("RUST_LOG", "trace")).await;
        assert!(!ran.all().contains(API_KEY) && !ran.all().contains(&tsig), "dcv {arguments}: {}", ran.all());
        let has_reason_to_speak = !arguments.starts_with("status");
        assert!(!has_reason_to_speak || ran.stderr.len() > 100, "it said nothing that could have held a secret");
    }
    let journal = fs::read(bench.path("state/journal.sqlite")).expect("a journal");
    let wal = fs::read(bench.path("state/journal.sqlite-wal")).unwrap_or_default();
    let text = String::from_utf8_lossy(&[journal, wal].concat()).into_owned();
    assert!(text.contains("a.example.com"), "the journal is elsewhere");
    for secret in [API_KEY, &tsig, "PRIVATE KEY"] {
        assert!(!text.contains(secret), "the journal holds {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_is_resumed() {
    let bench = Bench::with(|account| account.approval = Approval::Required).await;
    let mut child = bench.start_until("issue shop.example.com --json", "\"waiting\"").await;
    child.kill().await.expect("killed");

    let open = bench.run("status --json").await.last();
    let run = open["runs"][0]["run"].as_str().expect("a run").to_owned();
    assert_eq!(open["runs"][0]["stage"], "awaiting approval");
    assert!(open["runs"][0]["who_must_act"].as_str().expect("somebody").contains("approver"), "{open}");
    let table = bench.run("status").await;
    assert!(table.stdout.contains(&run) && table.stdout.contains("awaiting approval"), "{}", table.all());
    let pending = bench.hidden_files("certificates/shop.example.com");
    assert_eq!(pending.len(), 1, "the key is there: {pending:?}");
    assert_eq!(mode(&bench.path("certificates/shop.example.com").join(&pending[0])), 0o600);

    // Nobody has approved: the program does not wait for ever, and says who has to act.
    let waiting = bench.run(&format!("resume {run} --wait 1s")).await;
    assert_eq!(waiting.code, 5, "{}", waiting.all());
    assert!(waiting.stdout.contains("approver") && waiting.stdout.contains("dcv resume"), "{}", waiting.all());

    bench.approve_everything().await;
    let ran = bench.run("resume --all --json").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!((&ran.last()["result"], &ran.last()["run"]), (&"issued".into(), &run.into()));
    check_files(&bench.path("certificates/shop.example.com"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    assert_eq!(bench.hidden_files("certificates/shop.example.com"), [""; 0]);
    assert_eq!(bench.sandbox.orders(), 1);
    assert_eq!(bench.server.records(), [""; 0]);
    assert_eq!(bench.run("resume --all").await.stdout.trim(), "no open runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_was_chosen_for_a_run_is_its_provider_also_when_it_is_gone_on_with() {
    let bench = Bench::with(|account| account.approval = Approval::Required).await;
    let mut child = bench.start_until("issue shop.example.org --provider corp --json", "\"waiting\"").await;
    let status = bench.run("status --json").await.last();
    let who = status["runs"][0]["who_must_act"].as_str().expect("somebody").to_owned();
    assert!(who.contains("a process is working on it"), "{who}");
    child.kill().await.expect("killed");
    bench.approve_everything().await;
    let ran = bench.run("resume --all --json").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!((bench.sandbox.orders(), bench.server.records()), (1, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_says_how_to_go_on_and_can_be_canceled() {
    for stop in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        // Organization 10002 is not validated, so the order waits after its names are proved.
        let bench = Bench::start().await;
        let child = bench.start_until("issue shop.example.com --organization 10002 --json", "\"waiting\"").await;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("it runs"), stop).expect("signalled");
        let ran = Ran::from(child.wait_with_output().await.expect("it ends"));
        assert_eq!(ran.code, 130, "{}", ran.all());
        let said: Value = serde_json::from_str(&ran.stderr).expect("JSON");
        assert!(said["error"]["message"].as_str().expect("a message").contains("dcv resume dcv-"), "{said}");

        let open = bench.run("status --json").await.last();
        let run = open["runs"][0]["run"].as_str().expect("a run").to_owned();
        assert_eq!(open["runs"][0]["waiting"]["on"], "organization_validation");
        let canceled = bench.run(&format!("cancel {run} --reason not-wanted")).await;
        assert_eq!(canceled.code, 0, "{}", canceled.all());
        assert!(!bench.path("certificates/shop.example.com").exists(), "its key is of no use any more");
        let status = bench.run(&format!("status {run}")).await;
        assert!(status.stdout.contains("canceled") && status.stdout.contains("not-wanted"), "{}", status.all());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tries_what_an_order_would_need() {
    let bench = Bench::start().await;
    let ran = bench.run("doctor www.example.com --json").await;
    let findings = ran.last()["findings"].clone();
    let found = |check: &str| {
        let of_check = findings.as_array().into_iter().flatten().find(|finding| finding["check"] == check);
        of_check.unwrap_or_else(|| panic!("no {check}: {findings}")).clone()
    };
    assert_eq!(found("account")["level"], "ok");
    assert_eq!(found("provider")["level"], "ok", "{findings}");
    assert!(bench.server.update_count() >= 2, "a probe is written and removed");
    assert_eq!(bench.server.records(), [""; 0]);
    assert_eq!(bench.changes_asked_of_ca(), 0);

    let updates = bench.server.update_count();
    let ran = bench.run("doctor www.example.com --no-probe").await;
    assert!(ran.stdout.contains("not tried"), "{}", ran.all());
    assert_eq!(bench.server.update_count(), updates);

    let wrong = bench.configuration().replace(API_KEY, "another").replace(&STANDARD.encode(TSIG), "b3RoZXIgc2VjcmV0");
    bench.write("wrong.toml", &wrong);
    let ran = bench.run("doctor www.example.com --config wrong.toml").await;
    assert_eq!(ran.code, 7, "{}", ran.all());
    for part in ["✗ account API key: ca.key: ", "✗ provider corp for example.com: ", "an order would fail"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.all());
    }
    // What is tried is what an order would have proved.
    bench.write("fqdn.toml", &bench.configuration().replace("[defaults]", "[defaults]\nscope = \"fqdn\""));
    let ran = bench.run("doctor www.example.com --config fqdn.toml").await;
    assert!(ran.code == 0 && ran.stdout.contains("✓ provider corp for www.example.com: "), "{}", ran.all());

    let ran = bench.run("doctor www.example.net").await;
    assert!(ran.code == 7 && ran.stdout.contains("✗ route example.net: no provider"), "{}", ran.all());
}

/// The provider may write to nothing but the zone into which `_dnsauth` is an alias.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tries_the_real_place_where_an_alias_leads_to_the_only_zone() {
    let bench = Bench::start().await;
    let alias = Proof::Cname { name: "_dnsauth.example.com".to_owned(), target: "example-com.example.org".to_owned() };
    let main = dcv_rfc2136::builder(bench.server.addr().to_string());
    let main = main.tsig("dcv-key", STANDARD.encode(TSIG).into()).build().expect("a provider");
    main.present(&[alias]).await.expect("an alias");
    let there = bench.server.records();
    let delegated = bench
        .configuration()
        .replace("[defaults]", "[defaults]\ntxt = \"dnsauth\"")
        .replace("type = \"rfc2136\"", "type = \"rfc2136\"\nzones = [\"example.org\"]");
    bench.write("delegated.toml", &delegated);
    let ran = bench.run("doctor www.example.com --config delegated.toml").await;
    let tried = "✓ provider corp for example.com: a probe (TXT record _dnsauth.example.com) was written, read back";
    assert!(ran.code == 0 && ran.stdout.contains(tried), "{}", ran.all());
    assert_eq!(bench.server.records(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_runs_until_it_is_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = dcv(dir.path());
    command.args(
        "sandbox --json --listen 127.0.0.1:0 --zone example.com --zone-listen 127.0.0.1:0 --key my-key".split(' '),
    );
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next_line().await.expect("readable").expect("a line");
    let listening: Value = serde_json::from_str(&first).expect("JSON");
    assert!(listening["root_pem"].as_str().expect("a root").starts_with("-----BEGIN CERTIFICATE-----"));

    // Everything that is needed to order is in that line.
    let text = |field: &Value| field.as_str().expect("text").to_owned();
    let dns = text(&listening["dns"][0]);
    let toml = format!(
        "[ca]\nurl = \"{}\"\nkey = \"{}\"\n[dns]\nresolvers = [\"{dns}\"]\nauthority_port = {}\n[provider.a]\ntype = \
         \"rfc2136\"\nserver = \"{dns}\"\ntsig = {{ name = \"{}\", secret = \"{}\" }}\n",
        text(&listening["base_url"]),
        text(&listening["keys"][0]),
        dns.rsplit(':').next().expect("a port"),
        text(&listening["tsig"]["name"]),
        text(&listening["tsig"]["secret"]),
    );
    let path = dir.path().join("dcv.toml");
    fs::write(&path, toml).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    let organization = listening["organizations"][0]["id"].to_string();
    let mut issue = dcv(dir.path());
    issue.args(["issue", "a.example.com", "--product", "ssl_basic", "--organization", &organization]);
    let ran = run(&mut issue).await;
    assert_eq!(ran.code, 0, "{}", ran.all());

    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("it runs"), rustix::process::Signal::TERM).expect("signalled");
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_writes_a_configuration_and_over_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("dcv.toml");
    let arguments = "sandbox --listen 127.0.0.1:0 --zone example.com --zone-listen 127.0.0.1:0 --write-config dcv.toml";
    fs::write(&path, "[ca]\n").expect("a file");
    let ran = run(dcv(dir.path()).args(arguments.split(' '))).await;
    assert!(ran.code == 2 && ran.stderr.contains("--write-config: `dcv.toml` is there already"), "{}", ran.all());
    assert_eq!(fs::read_to_string(&path).expect("still there"), "[ca]\n");

    fs::remove_file(&path).expect("removed");
    // Twice: the second one finds the configuration of the first.
    for name in ["a.example.com", "b.example.com"] {
        let mut child = dcv(dir.path()).args(arguments.split(' ')).arg("--json").spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        lines.next_line().await.expect("readable").expect("a line");
        let written = async {
            let before = fs::read_to_string(dir.path().join("before")).unwrap_or_default();
            while fs::read_to_string(&path).unwrap_or_default() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.expect("it is written");
        assert_eq!(mode(&path), 0o600, "its secrets stand in it");
        let ran = run(dcv(dir.path()).args(["issue", name])).await;
        assert_eq!(ran.code, 0, "{}", ran.all());
        fs::copy(&path, dir.path().join("before")).expect("copied");
        child.kill().await.expect("killed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_the_list_of_providers_say_what_there_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let help = run(dcv(dir.path()).arg("--help")).await;
    assert_eq!(help.code, 0);
    for part in ["quickstart", "DIGICERT_API_KEY", "Exit codes:", "  130  interrupted", "    7  the doctor"] {
        assert!(help.stdout.contains(part), "{part}: {}", help.all());
    }
    let list = run(dcv(dir.path()).args(["providers", "--json"])).await.last();
    let types: Vec<&str> =
        list["providers"].as_array().expect("a list").iter().filter_map(|p| p["type"].as_str()).collect();
    for id in ["rfc2136", "powerdns", "webroot", "standalone"] {
        assert!(types.contains(&id), "{id}: {types:?}");
    }
    let text = run(dcv(dir.path()).args(["providers", "--color", "never"])).await.stdout;
    for part in ["rfc2136 RFC 2136 dynamic update", "tsig.secret", "(secret)", "[provider.NAME]"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
