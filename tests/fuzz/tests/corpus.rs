//! Every target over its seeds and over a bounded number of mutations of them, the same ones each time.
//!
//! `DCV_FUZZ_INPUTS` sets how many mutations each target gets. An input that breaks a promise is written below
//! `target/fuzz-failures`, from where it goes to the seeds once the mistake is found.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use dcv_tests_fuzz::{
    TARGETS, Target,
    mutate::{Random, mutate},
};

/// So many inputs, fewer where one costs more, take a second or two in all, unoptimised.
const INPUTS: usize = 400;

fn seeds(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let octets = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, octets)
    };
    paths.into_iter().map(read).collect()
}

/// Runs the target; an input that breaks it is kept, and named.
fn check(target: &Target, input: &[u8], origin: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-failures");
        let file = dir.join(target.name);
        fs::create_dir_all(&dir).and_then(|()| fs::write(&file, input)).expect("a file for the input");
        panic!("{} breaks at {origin}; the input is in {}", target.name, file.display());
    }
}

fn run(name: &str) {
    let target = dcv_tests_fuzz::find(name).unwrap_or_else(|| panic!("no target {name}"));
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for (path, seed) in &seeds {
        check(target, seed, &path.display().to_string());
    }
    let inputs = match std::env::var("DCV_FUZZ_INPUTS") {
        Ok(text) => text.parse().expect("DCV_FUZZ_INPUTS is a number"),
        Err(_) => INPUTS,
    };
    let mut random = Random::new(name.bytes().fold(0u64, |sum, octet| sum.wrapping_mul(31) + u64::from(octet)));
    for round in 0..inputs.div_ceil(target.cost) {
        let (path, seed) = &seeds[random.below(seeds.len())];
        let (_, other) = &seeds[random.below(seeds.len())];
        let input = mutate(seed, other, target.words, &mut random);
        check(target, &input, &format!("mutation {round} (of {})", path.display()));
    }
}

macro_rules! tests {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            run($name);
        })*

        #[test]
        fn every_target_is_run() {
            let run = [$($name),*];
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, run);
        }
    };
}

tests! {
    ca_answer: "ca-answer",
    ca_error: "ca-error",
    ca_header: "ca-header",
    dns_answer: "dns-answer",
    dns_network: "dns-network",
    zone_text: "zone-text",
    web_file: "web-file",
    vendor_answer: "vendor-answer",
    bridge: "bridge",
    record_set: "record-set",
    key: "key",
    csr: "csr",
    chain: "chain",
    name: "name",
    config: "config",
    screen: "screen",
    plugin: "plugin",
    journal: "journal",
    sandbox_api: "sandbox-api",
    sandbox_dns: "sandbox-dns",
    sandbox_va: "sandbox-va",
}

/// The test can fail: a target that panics is caught, and its input kept.
#[test]
fn a_broken_promise_is_found() {
    let broken = Target { name: "broken", run: |input| assert!(input.len() < 4, "too long"), words: &[], cost: 1 };
    check(&broken, b"abc", "a short one");
    assert!(catch_unwind(|| check(&broken, b"abcd", "a long one")).is_err());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-failures/broken");
    assert_eq!(fs::read(kept).expect("it is kept"), b"abcd");
}

/// The same generator gives the same inputs on every machine.
#[test]
fn mutations_are_repeatable() {
    let made = |seed| {
        let mut random = Random::new(seed);
        (0..50).map(|_| mutate(b"{\"id\": 1}", b"[null]", &["0"], &mut random)).collect::<Vec<_>>()
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}
