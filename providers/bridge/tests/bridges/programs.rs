//! How programs are run: their deadline, their environment, their last words.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use dcv_bridge::{command, exec};
use dcv_provider::{DcvProvider, ErrorKind, Retry};

use crate::{Scripts, config, txt};

async fn told(scripts: &Scripts, script: &str, more: &str) -> impl DcvProvider + use<> {
    let path = scripts.add("hook", script);
    let toml = format!("command = ['{}', '{}']\n{more}", path.display(), scripts.path().display());
    command::from_config(config(&toml), None).await.expect("it is set up")
}

/// Whether a process is running; one that is dead but not yet waited for is not.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what} has not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pid_in(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("pid")).unwrap_or_default()
}

const WITH_CHILD: &str = "#!/bin/sh\nsleep 1000 &\necho $! >\"$1/pid.new\"; mv \"$1/pid.new\" \"$1/pid\"\n";

#[tokio::test]
async fn a_program_that_does_not_end_is_killed_with_all_it_started() {
    let scripts = Scripts::new();
    let script = format!("{WITH_CHILD}echo 'waiting for the vendor' >&2\nwait\n");
    let provider = told(&scripts, &script, "deadline = 1").await;
    let began = Instant::now();
    let error = provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect_err("it does not end");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((error.kind, error.retry), (ErrorKind::Unavailable, Retry::Yes));
    let text = error.to_string();
    assert!(text.contains("after 1 s") && text.contains("waiting for the vendor"), "{text}");
    let pid = pid_in(scripts.path());
    assert!(!pid.is_empty());
    until("the end of its child", || !runs(&pid)).await;
}

#[tokio::test]
async fn a_program_nobody_waits_for_any_more_is_killed_with_all_it_started() {
    let scripts = Scripts::new();
    let provider = told(&scripts, &format!("{WITH_CHILD}wait\n"), "").await;
    let proofs = [txt("_dnsauth.example.com", "v")];
    tokio::select! {
        result = provider.present(&proofs) => panic!("it does not end: {result:?}"),
        () = until("its child", || !pid_in(scripts.path()).is_empty()) => {}
    }
    let pid = pid_in(scripts.path());
    until("the end of its child", || !runs(&pid)).await;
}

#[tokio::test]
async fn what_a_program_leaves_running_neither_delays_nor_outlives_it() {
    let scripts = Scripts::new();
    let provider = told(&scripts, WITH_CHILD, "").await;
    let began = Instant::now();
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("it ended well");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let pid = pid_in(scripts.path());
    until("the end of its child", || !runs(&pid)).await;
}

#[tokio::test]
async fn a_program_has_the_environment_of_the_configuration_and_no_other() {
    let scripts = Scripts::new();
    let script = "#!/bin/sh\nenv >\"$1/env\"\n";
    let provider = told(&scripts, script, "env = { API_TOKEN = { command = ['echo', 'planted-token'] } }").await;
    provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect("it ended well");
    let env = std::fs::read_to_string(scripts.path().join("env")).expect("it was run");
    assert!(env.contains("\nAPI_TOKEN=planted-token\n") || env.starts_with("API_TOKEN=planted-token\n"), "{env}");
    assert!(env.contains("PATH="), "{env}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the test has it");
    assert!(!env.contains("CARGO_"), "what is ours is not the program's: {env}");
}

#[tokio::test]
async fn last_words_are_kept_and_secrets_are_not() {
    let scripts = Scripts::new();
    let env =
        "env = { TOKEN = 'planted-token', KEY = \"-----BEGIN KEY-----\\nplantedline\\n-----END KEY-----\", N = '53' }";
    let script = "#!/bin/sh\nseq 1 100 >&2\nprintf '\\033[31mdenied\\033[0m for %s at port %s\\n' \"$TOKEN\" \"$N\" >&2\n\
                  echo \"$KEY\" | head -2 >&2\nexit 3\n";
    let provider = told(&scripts, script, env).await;
    let error = provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect_err("exit code 3");
    let text = format!("{error} {error:?}");
    assert!(text.contains("exit code 3") && text.contains("denied"), "{text}");
    assert!(text.contains("for [hidden] at port 53; [hidden]; [hidden]"), "{text}");
    assert!(!text.contains("planted") && !text.contains('\u{1b}') && !text.contains("; 50;"), "{text}");
    assert_eq!((error.kind, error.retry), (ErrorKind::Rejected, Retry::Yes));
}

#[tokio::test]
async fn exit_codes_with_a_meaning_are_understood() {
    let scripts = Scripts::new();
    for (end, kind, retry, part) in [
        ("exit 75", ErrorKind::Unavailable, Retry::Yes, "exit code 75"),
        ("exit 77", ErrorKind::Credentials, Retry::No, "exit code 77"),
        ("exit 78", ErrorKind::Config, Retry::No, "exit code 78"),
        ("exec no-such-program", ErrorKind::Config, Retry::No, "no-such-program"),
        ("kill -TERM $$", ErrorKind::Unavailable, Retry::Yes, "signal 15"),
        ("echo said only here; exit 1", ErrorKind::Rejected, Retry::Yes, "said only here"),
    ] {
        let path = scripts.add("hook", &format!("#!/bin/sh\n{end}\n"));
        let provider = exec::from_config(config(&format!("path = '{}'", path.display())), None).await.expect("set up");
        let error = provider.present(&[txt("_dnsauth.example.com", "v")]).await.expect_err(end);
        assert_eq!((error.kind, error.retry), (kind, retry), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}
