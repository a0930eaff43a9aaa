//! Holds the guide in `docs/` to its word: every block of code in it is run, in the order of the page, by one shell for each
//! chapter, in an empty folder, with the program that was just built.
//!
//! | block | what is done with it |
//! |---|---|
//! | `sh` | run, with `set -eu` |
//! | `text` | it begins with `$ COMMAND`, which is run; the lines below are what it has to say. `…` stands for anything in a line, and alone in a line for any lines. A command that fails is followed by `$ echo $?` |
//! | `toml`, `ini`, `c` | its first line is a comment with the name of a file, to which it is written |
//! | `rust` | compiled and run as a documentation test of this crate (`src/guide.rs`) |
//!
//! A block marked `ignore` is not run, and the paragraph before it says why. There is no other kind. Ports that the guide names stand
//! for free ones, so that nothing that runs on this machine is disturbed.
//!
//! `DCV_WRITE_PAGES=1 cargo test -p dcv-tests --test guide` writes the generated page anew.

use std::{
    fmt::Write as _,
    fs,
    hash::{BuildHasher, RandomState},
    net::{TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The ports in the guide's text.
const PORTS: &[&str] = &["8443", "8053", "8444", "8054", "8080", "8081", "9464", "5432"];
/// So long may a chapter take before it counts as hanging.
const DEADLINE: Duration = Duration::from_secs(300);
/// The page that the program writes itself.
const GENERATED: &str = "commands.md";

macro_rules! chapters {
    ($($name:ident: $file:literal,)*) => {
        const CHAPTERS: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $name() {
                run($file);
            }
        )*
    };
}

chapters! {
    the_first_page: "index.md",
    the_first_certificate: "first-certificate.md",
    hosts_and_targets: "hosts.md",
    plugins: "plugins.md",
    the_keeper: "keeper.md",
    many_workers: "workers.md",
    the_sandbox: "sandbox.md",
    the_cookbook: "cookbook.md",
    troubleshooting: "troubleshooting.md",
    security: "security.md",
    dated_rules: "rules.md",
}

fn page(file: &str) -> String {
    let path = Path::new(ROOT).join("docs/src").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// ---- reading

#[derive(Debug, PartialEq)]
enum Kind {
    Shell,
    Dialogue,
    /// Written to this file.
    File(String),
    Rust,
    Ignored,
}

#[derive(Debug)]
struct Block {
    /// Line of its fence.
    line: usize,
    kind: Kind,
    text: String,
}

/// The fenced blocks of a page, or what is wrong with one.
fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut paragraph = String::new();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            // A blank line before a block does not end what is said of it.
            if line.trim().is_empty() {
                paragraph.push('\n');
            } else {
                paragraph += line;
            }
            continue;
        };
        let line = at + 1;
        let mut text = String::new();
        loop {
            match lines.next() {
                None => return Err(format!("line {line}: the block does not end")),
                Some((_, "```")) => break,
                Some((_, inner)) => text.extend([inner, "\n"]),
            }
        }
        let mut words = info.split([',', ' ']).filter(|word| !word.is_empty());
        let language = words.next().unwrap_or_default();
        let marks: Vec<&str> = words.collect();
        let first = text.lines().next().unwrap_or_default();
        let named = |open: &str, close: &str| {
            let name = first.strip_prefix(open)?.strip_suffix(close)?.trim();
            let plain = !name.is_empty() && !name.contains([' ', '/', '`']);
            plain.then(|| Kind::File(name.to_owned()))
        };
        let kind = match (language, marks.as_slice()) {
            ("sh" | "text" | "toml" | "rust", ["ignore"]) => {
                let said = paragraph.trim_end().rsplit('\n').next().unwrap_or_default();
                said.contains("not run by the tests").then_some(Kind::Ignored)
            }
            ("sh", []) => Some(Kind::Shell),
            ("text", []) => first.starts_with("$ ").then_some(Kind::Dialogue),
            ("toml" | "ini", []) => named("# ", ""),
            ("c", []) => named("/* ", " */"),
            ("rust", []) => Some(Kind::Rust),
            _ => None,
        };
        let Some(kind) = kind else { return Err(format!("line {line}: a block of no known kind: ```{info}\n{first}")) };
        blocks.push(Block { line, kind, text });
        paragraph.clear();
    }
    Ok(blocks)
}

/// Commands and what each of them has to say.
fn dialogue(text: &str) -> Vec<(String, Vec<String>)> {
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), said.last_mut()) {
            (Some(command), _) => said.push((command.to_owned(), Vec::new())),
            (None, Some((command, _))) if goes_on => command.extend(["\n", line]),
            (None, Some((_, lines))) => lines.push(line.to_owned()),
            (None, None) => unreachable!("a dialogue begins with a command"),
        }
        goes_on = line.ends_with('\\') && (goes_on || line.starts_with("$ "));
    }
    said
}

/// Whether lines are those that are expected. `…` alone is any lines, in a line anything; blanks count as one.
fn fits(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "…" => (0..=lines.len()).any(|skip| fits(rest, &lines[skip..])),
        Some((first, rest)) => match lines.split_first() {
            Some((line, others)) => fits_line(first, line) && fits(rest, others),
            None => false,
        },
    }
}

fn fits_line(expected: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, line) = (plain(expected), plain(line));
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    unreachable!("the last part returns")
}

// ---- running

/// Ports of this machine in place of those of the text.
fn with_ports(text: &str, ports: &[(&str, String)]) -> String {
    let mut changed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[at..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| at + length);
        let number = &rest[at..end];
        changed += &rest[..at];
        changed += ports.iter().find(|(named, _)| *named == number).map_or(number, |(_, free)| free);
        rest = &rest[end..];
    }
    changed + rest
}

/// A free port for each that the guide names: below those that the system gives to connections, which come and go.
fn free_ports() -> Vec<(&'static str, String)> {
    let seed = RandomState::new().hash_one(PORTS);
    let candidates = (0..12_000).map(|n| 20_000 + u16::try_from((seed % 12_000 + n) % 12_000).expect("it is below"));
    let is_free =
        |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    let ports: Vec<_> = PORTS.iter().copied().zip(candidates.filter(is_free).map(|port| port.to_string())).collect();
    assert_eq!(ports.len(), PORTS.len(), "no ports are free");
    ports
}

/// A shell and everything it has started; all of it ends with this.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        // It leads a process group, of which sandboxes in the background are part.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// The program, beside this test's own.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this test");
    let program = own.ancestors().nth(2).expect("target/PROFILE").join("dcv");
    assert!(program.exists(), "{} is not there; cargo build -p dcv --features postgres", program.display());
    program
}

/// Runs a chapter.
fn run(file: &str) {
    let blocks = blocks(&page(file)).unwrap_or_else(|wrong| panic!("docs/src/{file}, {wrong}"));
    let ports = free_ports();
    let folder = tempfile::tempdir().expect("a folder");
    let (work, own) = (folder.path().join("work"), folder.path().join("own"));
    for folder in [&work, &own] {
        fs::create_dir(folder).expect("a folder");
    }
    std::os::unix::fs::symlink(program(), own.join("dcv")).expect("a link");

    // One script, so that variables and background jobs live on from block to block, as they do for a reader.
    let mut script = String::from("set -eu\n");
    let mut expected: Vec<(usize, String, Vec<String>)> = Vec::new();
    for block in &blocks {
        let text = with_ports(&block.text, &ports);
        let _ = writeln!(script, "echo {} >>{}/lines", block.line, own.display());
        match &block.kind {
            Kind::Shell => {
                let _ = writeln!(script, "{{ {text}\n}} >>{}/log 2>&1", own.display());
            }
            Kind::Dialogue => {
                let said = dialogue(&text);
                for (at, (command, lines)) in said.iter().enumerate() {
                    let may_fail = said.get(at + 1).is_some_and(|(next, _)| next == "echo $?");
                    let output = own.join(format!("said-{}", expected.len()));
                    let run = format!("{{ {command}\n}} >{} 2>&1", output.display());
                    let _ = if may_fail {
                        writeln!(script, "set +e\n{run}\nlast=$?\nset -e")
                    } else if command == "echo $?" {
                        writeln!(script, "echo $last >{}", output.display())
                    } else {
                        writeln!(script, "{run}")
                    };
                    expected.push((block.line, command.clone(), lines.clone()));
                }
            }
            Kind::File(name) => {
                let _ = writeln!(script, "cat >{name} <<'END OF BLOCK'\n{text}END OF BLOCK");
            }
            Kind::Rust | Kind::Ignored => {}
        }
    }
    let path = own.join("script");
    fs::write(&path, script).expect("a script");
    let mut command = Command::new("bash");
    for variable in
        ["DCV_CONFIG", "DCV_PLUGINS", "DIGICERT_API_KEY", "XDG_CONFIG_HOME", "RUST_LOG", "http_proxy", "https_proxy"]
    {
        command.env_remove(variable);
    }
    dcv_tests::unmarked(&mut command);
    command.arg(&path).current_dir(&work).process_group(0).stdin(Stdio::null());
    command.env("HOME", &work).env("XDG_STATE_HOME", work.join("state")).env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8");
    command.env("DCV_SRC", fs::canonicalize(ROOT).expect("the source")).env("CARGO_NET_OFFLINE", "true");
    if let Some(home) = std::env::var_os("HOME").filter(|_| std::env::var_os("CARGO_HOME").is_none()) {
        command.env("CARGO_HOME", Path::new(&home).join(".cargo")).env("RUSTUP_HOME", Path::new(&home).join(".rustup"));
    }
    command.env("PATH", format!("{}:{}:/usr/sbin:/sbin", own.display(), std::env::var("PATH").unwrap_or_default()));
    let mut shell = Shell(command.spawn().expect("bash runs"));
    let began = Instant::now();
    let ended = loop {
        match shell.0.try_wait().expect("it can be waited for") {
            Some(status) => break Some(status),
            None if began.elapsed() > DEADLINE => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    drop(shell);

    let read = |name: &str| fs::read_to_string(own.join(name)).unwrap_or_default();
    let at = read("lines").lines().last().unwrap_or("1").to_owned();
    let mut wrong = String::new();
    for (number, (line, command, lines)) in expected.iter().enumerate() {
        let Ok(said) = fs::read_to_string(own.join(format!("said-{number}"))) else { break };
        let said: Vec<String> = said.trim_end().lines().map(str::to_owned).collect();
        if !fits(lines, &said) {
            let (lines, said) = (lines.join("\n"), said.join("\n"));
            let _ = writeln!(
                wrong,
                "docs/src/{file}:{line}: $ {command}\n-- the guide:\n{lines}\n-- the program:\n{said}\n"
            );
        }
    }
    if !ended.is_some_and(|status| status.success()) {
        let how = ended.map_or("hangs".to_owned(), |status| format!("ends with {status}"));
        let _ = writeln!(
            wrong,
            "docs/src/{file}:{at}: the block that begins here {how}; all blocks before it said:\n{}",
            read("log")
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
}

// ---- the book as a whole

#[test]
fn every_page_is_in_the_table_of_contents_and_is_run() {
    let contents = page("SUMMARY.md");
    let linked: Vec<&str> =
        contents.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(file, _)| file).collect();
    let all: Vec<&str> = CHAPTERS.iter().copied().chain([GENERATED]).collect();
    assert_eq!(linked, all);
    for entry in fs::read_dir(Path::new(ROOT).join("docs/src")).expect("the pages").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name == "SUMMARY.md" || all.contains(&&*name), "{name} is in no table of contents");
    }
}

#[test]
fn no_block_is_left_out_unnoticed() {
    let tested = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide.rs")).expect("the doc tests");
    let mut ignored = 0;
    for file in CHAPTERS.iter().chain(&[GENERATED]) {
        let blocks = blocks(&page(file)).unwrap_or_else(|wrong| panic!("docs/src/{file}, {wrong}"));
        ignored += blocks.iter().filter(|block| block.kind == Kind::Ignored).count();
        let has_rust = blocks.iter().any(|block| block.kind == Kind::Rust);
        let is_tested = tested.contains(&format!("include_str!(\"../../docs/src/{file}\")"));
        assert!(is_tested == has_rust, "{file}: Rust in it is compiled by tests/src/guide.rs, and there only");
    }
    assert!(ignored <= 3, "{ignored} blocks of the guide are not run");
}

#[test]
fn links_lead_somewhere() {
    for file in CHAPTERS.iter().chain(&[GENERATED, "SUMMARY.md"]) {
        for (target, _) in page(file).split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = Path::new(ROOT).join("docs/src").join(if path.is_empty() { file } else { path });
            assert!(path.exists(), "{file} links to {target}, which is not there");
            let there = || fs::read_to_string(&path).expect("a page").lines().any(|line| anchor_of(line) == anchor);
            assert!(anchor.is_empty() || there(), "{file} links to {target}, and there is no such heading");
        }
    }
}

/// What a heading is linked to by.
fn anchor_of(line: &str) -> String {
    let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) else {
        return String::new();
    };
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn the_reference_of_commands_is_of_today() {
    let output = Command::new(program()).args(["manual", "--markdown"]).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let now = String::from_utf8(output.stdout).expect("text");
    let path = Path::new(ROOT).join("docs/src").join(GENERATED);
    if std::env::var_os("DCV_WRITE_PAGES").is_some() {
        fs::write(&path, &now).expect("the page is written");
    }
    assert!(
        page(GENERATED) == now,
        "docs/src/{GENERATED} is of another day; DCV_WRITE_PAGES=1 cargo test -p dcv-tests --test guide"
    );
}

// ---- that this test can fail

#[test]
fn blocks_are_told_apart() {
    let kinds = |page: &str| blocks(page).map(|blocks| blocks.into_iter().map(|block| block.kind).collect::<Vec<_>>());
    assert_eq!(
        kinds("```sh\nls\n```\n```text\n$ ls\n```\n```toml\n# a.toml\n```\n```c\n/* a.c */\n```\n"),
        Ok(vec![Kind::Shell, Kind::Dialogue, Kind::File("a.toml".to_owned()), Kind::File("a.c".to_owned())])
    );
    assert_eq!(kinds("This is not run by the tests: why\n\n```sh,ignore\n```\n"), Ok(vec![Kind::Ignored]));
    for unknown in [
        "```\nls\n```\n",
        "```console\n$ ls\n```\n",
        "```text\nls\n```\n",
        "```toml\na = 1\n```\n",
        "```sh,ignore\n```\n",
        "```sh\nls\n",
    ] {
        assert!(kinds(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn what_is_said_is_compared() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, said, same) in [
        ("a\nb", "a\nb", true),
        ("a  b", "a b", true),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("…\nd", "d", true),
        ("order …, … days", "order 17, 3 days", true),
        ("order …", "orders", false),
        ("a", "a\nb", false),
        ("a\n…\nd", "a\nb", false),
        ("a…b", "ab", true),
        ("a…b…a", "aba", true),
        ("a…b…a", "ab", false),
    ] {
        assert_eq!(fits(&lines(expected), &lines(said)), same, "{expected} / {said}");
    }
    let ports = [("80", "1".to_owned())];
    assert_eq!(with_ports("80 8080 a80, 180", &ports), "1 8080 a1, 180");
    let said = dialogue("$ a \\\n  b\nc\n$ d\n");
    assert_eq!(said, [("a \\\n  b".to_owned(), vec!["c".to_owned()]), ("d".to_owned(), vec![])]);
}
