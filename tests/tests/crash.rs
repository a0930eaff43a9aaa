//! Killed at every journal entry, on either side of it, and taken up again: one order, one certificate, no record left.

use std::process::Command;

use dcv_core::{Outcome, journal::Which};
use dcv_tests::{
    crash::{Crash, Moment, ZONES},
    world::World,
};

/// Runs a process that dies at `entry`. `None` when the run was over before it came to that entry.
async fn die_and_resume(entry: usize, moment: Moment) -> Option<()> {
    let world = World::start(&ZONES).await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("certificate");
    std::fs::create_dir(&out).expect("a folder");
    let journal = folder.path().join("journal.sqlite");
    let crash = Crash { world: world.address(), journal: journal.clone(), out: out.clone(), entry, moment };

    let status = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_crash-run"))
            .arg(serde_json::to_string(&crash).expect("JSON"))
            .stderr(std::process::Stdio::null())
            .status()
            .expect("crash-run runs")
    })
    .await
    .expect("it is waited for");
    let what = format!("died {moment:?} entry {entry}");
    if status.success() {
        return None;
    }
    assert_eq!(status.code(), None, "{what}: it was to die of a signal, and exited");

    let dcv = world.address().dcv_at(&journal).await;
    let runs = dcv.runs(Which::Open).await.expect("the journal is read");
    if (entry, moment) == (1, Moment::Before) {
        assert!(runs.is_empty(), "{what}: nothing was begun");
        assert_eq!(world.sandbox.orders(), 0, "{what}");
        return Some(());
    }
    assert_eq!(runs.len(), usize::from(!is_closed(&dcv).await), "{what}");
    for run in runs {
        match dcv.resume(&run.id).await {
            Ok(Outcome::Issued(issued)) => assert!(issued.left_behind.is_empty(), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(world.sandbox.orders(), 1, "{what}: one order");
    assert_eq!(world.dns.records(), Vec::<String>::new(), "{what}: no record is left");
    let mut files: Vec<String> = std::fs::read_dir(&out)
        .expect("the folder")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"], "{what}");
    assert!(dcv.runs(Which::Open).await.expect("the journal is read").is_empty(), "{what}: nothing is left to do");
    Some(())
}

async fn is_closed(dcv: &dcv_core::Dcv) -> bool {
    dcv.runs(Which::All).await.expect("the journal is read").iter().all(|run| run.closed)
}

async fn sweep(moment: Moment) {
    let mut entry = 1;
    while die_and_resume(entry, moment).await.is_some() {
        entry += 1;
        assert!(entry < 100, "the run does not end");
    }
    // planned, placing, placed, challenged, presenting, presented, visible, accepted, issued, downloaded, stored, retracted, closed
    assert!(entry > 12, "only {entry} entries were swept");
}

#[tokio::test(flavor = "multi_thread")]
async fn died_after_an_entry() {
    sweep(Moment::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn died_before_an_entry() {
    sweep(Moment::Before).await;
}
