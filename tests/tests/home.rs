//! Bringing certificates home: files, keys, and commands that take them into use.

use std::{path::Path, time::Duration};

use dcv_core::{
    Actor, Deploy, Error, Outcome, Output, Request,
    journal::Which,
    key::{KeyKind, PrivateKey},
    name::DnsName,
};
use dcv_tests::world::{ORGANIZATION, World, impatient, issued};
use rustix::process::{Pid, test_kill_process};
use secrecy::ExposeSecret as _;

const ZONE: &str = "home-example.com";

fn request(folder: &Path) -> Request {
    let names = vec![DnsName::parse("www.home-example.com").expect("a good name")];
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let mut request = Request::new("ssl_basic", ORGANIZATION, names, &key).expect("a good request");
    request.output = Some(Output { dir: folder.join("out"), pending_key: None });
    request
}

fn deployed(folder: &Path, script: &str, timeout: Duration) -> Request {
    let script = format!("cd {} || exit 9; {script}", folder.display());
    let command = vec!["sh".to_owned(), "-c".to_owned(), script];
    Request { deploy: Some(Deploy { command, timeout }), ..request(folder) }
}

/// Waits until the process whose number is in the file is gone.
async fn gone(file: &Path) {
    let pid: i32 = std::fs::read_to_string(file).expect("it has begun").trim().parse().expect("a number");
    let pid = Pid::from_raw(pid).expect("a process");
    // What nobody waits for stays in the list of processes as a zombie.
    let zombie = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    let ended = async {
        while test_kill_process(pid).is_ok() && !zombie() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_first_is_run_again() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().build().await.expect("it builds");
    let script = "echo x >> tries && [ $(wc -l < tries) = 2 ] && [ -e \"$DCV_DIR/fullchain.pem\" ]";
    issued(dcv.issue(deployed(folder.path(), script, Duration::from_secs(20))).await);
    let tries = std::fs::read_to_string(folder.path().join("tries")).expect("it was run");
    assert_eq!(tries.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_ended_with_everything_it_began() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().build().await.expect("it builds");
    let script = "sleep 600 & echo $! > child; wait";
    let outcome = dcv.issue(deployed(folder.path(), script, Duration::from_millis(500))).await;
    let Ok(Outcome::Waiting(waiting)) = outcome else { panic!("somebody has to look at it: {outcome:?}") };
    assert!(waiting.on == Actor::Deployment && waiting.what.contains("500ms"), "{waiting}");
    gone(&folder.path().join("child")).await;
    let run = dcv.runs(Which::Open).await.expect("the journal is read").remove(0);
    assert!(run.stored && run.shown.is_empty(), "the certificate is there, and nothing else is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_done_when_it_has_ended_whatever_it_leaves_running() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().build().await.expect("it builds");
    // As a daemon that is started: it keeps the output open that it was given.
    let script = "echo x >> tries; sleep 600 & echo $! > child";
    issued(dcv.issue(deployed(folder.path(), script, Duration::from_secs(60))).await);
    let child = std::fs::read_to_string(folder.path().join("child")).expect("a number");
    let pid = Pid::from_raw(child.trim().parse().expect("a number")).expect("a process");
    assert!(test_kill_process(pid).is_ok(), "it is left alone");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("told");
    let tries = std::fs::read_to_string(folder.path().join("tries")).expect("it was run");
    assert_eq!(tries.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_whoever_runs_it() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().settings(impatient()).build().await.expect("it builds");
    let child = folder.path().join("child");
    let request =
        deployed(folder.path(), "sleep 600 & echo $! > begun; mv begun child; wait", Duration::from_secs(600));
    let running = tokio::spawn({
        let dcv = dcv.clone();
        async move { dcv.issue(request).await }
    });
    let begun = async {
        while !child.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("it is deployed");
    running.abort();
    let _ = running.await;
    gone(&child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_said_last_is_told() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().build().await.expect("it builds");
    let script = "echo x >> tries; seq 9999 >&2; echo the disk is full >&2; echo >&2; exit 3";
    let outcome = dcv.issue(deployed(folder.path(), script, Duration::from_secs(60))).await;
    let Ok(Outcome::Waiting(waiting)) = outcome else { panic!("somebody has to look at it: {outcome:?}") };
    assert!(waiting.what.contains("exit status: 3: the disk is full;"), "{waiting}");
    let tries = std::fs::read_to_string(folder.path().join("tries")).expect("it was run");
    assert_eq!(tries.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_run_is_named() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().build().await.expect("it builds");
    let deploy = Deploy { command: vec!["no-such-program".to_owned()], timeout: Duration::from_secs(1) };
    let outcome = dcv.issue(Request { deploy: Some(deploy), ..request(folder.path()) }).await;
    let Ok(Outcome::Waiting(waiting)) = outcome else { panic!("somebody has to look at it: {outcome:?}") };
    assert!(waiting.what.contains("`no-such-program` cannot be run"), "{waiting}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_certificates_is_not_put_beside_it() {
    let (world, folder) = (World::start(&[ZONE]).await, tempfile::tempdir().expect("a folder"));
    let dcv = world.address().dcv().build().await.expect("it builds");
    let other = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let pending = folder.path().join("pending.pem");
    std::fs::write(&pending, other.to_pem().expose_secret()).expect("a file");
    let mut request = request(folder.path());
    request.output = Some(Output { dir: folder.path().join("out"), pending_key: Some(pending.clone()) });
    let error = dcv.issue(request).await.expect_err("the key is another");
    assert!(matches!(&error, Error::Certificate(why) if why.contains("pending.pem")), "{error}");
    assert!(
        pending.exists() && !folder.path().join("out/fullchain.pem").exists(),
        "nothing is written, nothing is lost"
    );
    assert_eq!(world.dns.records(), Vec::<String>::new());
}
