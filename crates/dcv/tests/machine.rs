//! What a machine does to the program: its disk is full, its clock is wrong.

mod bench;

use std::{
    path::PathBuf,
    process::{Child, Command as Program, Stdio},
    time::Duration,
};

use bench::{API_KEY, Bench, Ran, check_files};
use certcentral_sandbox::account::{AlternativeIds, Approval};
use serde_json::json;
use tokio::process::Command;

// ---- a full disk

/// A disk of a megabyte, at `small` in the bench's folder. It is in a mount namespace of its own, which a sleeping process holds.
struct SmallDisk<'b> {
    bench: &'b Bench,
    holder: Child,
}

impl<'b> SmallDisk<'b> {
    fn mount(bench: &'b Bench) -> Self {
        let at = bench.path("small");
        std::fs::create_dir(&at).expect("a folder");
        let mut unshare = Program::new("unshare");
        unshare.args(["--mount", "--map-root-user", "sh", "-c"]);
        unshare.arg("mount -t tmpfs -o size=1m tmpfs \"$0\" && touch \"$0/there\" && exec sleep 600").arg(&at);
        let holder = unshare.stdin(Stdio::null()).spawn().expect("unshare is part of every Debian");
        let disk = Self { bench, holder };
        for _ in 0..200 {
            if disk.sh("test -e small/there").status().is_ok_and(|status| status.success()) {
                return disk;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("a small disk cannot be mounted");
    }

    /// A shell command in the bench's folder, where the disk is.
    fn sh(&self, script: &str) -> Program {
        let mut nsenter = Program::new("nsenter");
        nsenter.args(["--user", "--preserve-credentials", "--mount", "--target", &self.holder.id().to_string()]);
        nsenter.args(["sh", "-c", "cd \"$0\" && eval \"$1\""]).arg(self.bench.dir.path()).arg(script);
        nsenter.stdin(Stdio::null()).stderr(Stdio::null());
        nsenter
    }

    fn fill(&self) {
        assert!(!self.sh("cat /dev/zero >small/filling").status().expect("a shell").success(), "the disk has an end");
    }

    fn clear(&self) {
        assert!(self.sh("rm small/filling").status().expect("a shell").success());
    }

    /// Runs the program where the disk is.
    async fn dcv(&self, arguments: &str) -> Ran {
        let known = self.bench.dcv(arguments);
        let mut program = Command::from(self.sh(&format!("exec {} {arguments}", env!("CARGO_BIN_EXE_dcv"))));
        for (name, value) in known.as_std().get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        bench::run(program.stdout(Stdio::piped()).stderr(Stdio::piped())).await
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_second_order_and_no_key() {
    let bench = Bench::with(|config| config.approval = Approval::Required).await;
    let text = bench.configuration().replace("state/journal.sqlite", "small/journal.sqlite");
    bench.write("dcv.toml", &text.replace("[defaults]\n", "[defaults]\nwait = \"1s\"\n"));
    let disk = SmallDisk::mount(&bench);

    disk.fill();
    let refused = disk.dcv("issue shop.example.com --out small/shop").await;
    assert!(matches!(refused.code, 2 | 6) && refused.stderr.contains("small"), "{}", refused.all());
    assert!(refused.stderr.to_lowercase().contains("full") || refused.stderr.contains("space"), "{}", refused.all());
    assert_eq!(bench.changes_asked_of_ca(), 0, "nothing is ordered that could not be written down");
    disk.clear();

    let waits = disk.dcv("--json issue shop.example.com --out small/shop").await;
    assert_eq!(waits.code, 5, "{}", waits.all());
    let run = waits.last()["run"].as_str().expect("a run").to_owned();
    bench.approve_everything().await;
    let asked = bench.changes_asked_of_ca();
    disk.fill();
    let failed = disk.dcv(&format!("resume {run}")).await;
    assert_eq!(failed.code, 6, "{}", failed.all());
    assert!(failed.stderr.contains("small/journal.sqlite"), "{}", failed.all());
    assert!(failed.stderr.contains("full"), "what is wrong is said: {}", failed.all());
    assert_eq!((bench.sandbox.orders(), bench.changes_asked_of_ca()), (1, asked), "{}", failed.all());
    assert_eq!(bench.server.records(), [""; 0], "nothing is presented that could not be written down");
    disk.clear();

    let issued = disk.dcv(&format!("resume {run}")).await;
    assert_eq!(issued.code, 0, "{}", issued.all());
    assert!(disk.sh("cp -a small/shop out").status().expect("a shell").success());
    check_files(&bench.path("out"), &bench.sandbox.root_pem(), &["shop.example.com"]);
    assert_eq!((bench.sandbox.orders(), bench.server.records()), (1, Vec::new()));
}

// ---- a wrong clock

/// The program with another idea of the time, e.g. `+400d`.
fn at(bench: &Bench, offset: &str, arguments: &str) -> Command {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found =
        libraries.map(|folder| folder.path().join("faketime/libfaketime.so.1")).filter(|path| path.exists());
    let library: PathBuf = found.next().expect("libfaketime; tests/run installs what the tests need");
    let mut command = bench.dcv(arguments);
    command.env("LD_PRELOAD", library).env("FAKETIME", offset);
    // What is measured goes on as it did: only the calendar is wrong.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_renews_nothing() {
    let bench = Bench::start().await;
    let text = bench.configuration();
    bench.write("dcv.toml", &format!("{text}[certificate.shop]\nnames = [\"shop.example.com\"]\nout = \"shop\"\n"));
    let ran = bench.run("run --once").await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    let asked = bench.changes_asked_of_ca();
    for (offset, word) in [("+400d", "ahead of"), ("-400d", "behind")] {
        for command in ["run --once", "plan"] {
            let refused = bench::run(&mut at(&bench, offset, command)).await;
            let said = format!("clock: this machine's is 9600 hours {word} the CA's");
            assert!(refused.code == 2 && refused.stderr.contains(&said), "{command} {offset}: {}", refused.all());
        }
    }
    // Minutes are no matter.
    let ran = bench::run(&mut at(&bench, "+10m", "run --once")).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!((bench.sandbox.orders(), bench.changes_asked_of_ca()), (1, asked));
}

/// Which order is ours only Order info tells, and by the calendar none of them is of that time. (By mail, because a name server
/// refuses what is signed by such a clock, and then nothing is ordered at all.)
#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_found_whatever_the_clock_says() {
    for (placed, resumed) in [("+400d", "+0"), ("-400d", "+0"), ("+0", "-400d"), ("+400d", "+400d")] {
        let bench = Bench::with(|config| config.switches.alternative_ids = AlternativeIds::OrderInfo).await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::new();
        // It looks, and dies before it is answered.
        for fault in [
            json!({ "fault": "drop", "method": "POST", "path": "order/certificate" }),
            json!({ "fault": "delay=20000", "method": "GET", "path": "order" }),
        ] {
            let control = format!("{}/faults", bench.sandbox.control_url());
            let answer = http.post(control).header("X-DC-DEVKEY", API_KEY).json(&fault).send().await.expect("told");
            assert!(answer.status().is_success());
        }
        let mut child =
            at(&bench, placed, "issue shop.example.com --method email --out shop").spawn().expect("it starts");
        let ordered = async {
            while bench.sandbox.orders() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ordered).await.expect("it orders");
        child.kill().await.expect("it dies");
        let runs = bench.run("--json status").await.last();
        let run = runs["runs"][0]["run"].as_str().unwrap_or_else(|| panic!("{runs}")).to_owned();

        let found = bench::run(&mut at(&bench, resumed, &format!("resume {run} --wait 1s"))).await;
        assert_eq!(found.code, 5, "{placed} {resumed}: {}", found.all());
        assert!(found.all().contains("found; it had got through"), "{placed} {resumed}: {}", found.all());
        assert_eq!(bench.sandbox.orders(), 1, "{placed} {resumed}: {}", found.all());
    }
}
