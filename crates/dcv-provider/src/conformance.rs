//! The behaviour that every provider must show, whatever it talks to.
//!
//! A provider's test starts a real server (or the closest thing to one), says in a [`World`] how to look at it with eyes of its own,
//! and calls [`run`]. Everything in the contract of [`DcvProvider`] that can be seen from outside is tried: idempotence, exactness
//! by value, many proofs at once, writers that race, names that are not served.
//!
//! This module is for tests: it panics, and says what it saw.

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::{DcvProvider, ErrorKind, Proof, ProofKind};

/// What a test knows of the server behind a provider, and the provider must not be asked.
#[async_trait]
pub trait World: Send + Sync {
    /// A new instance of the provider, as another process would have it.
    async fn provider(&self) -> Box<dyn DcvProvider>;

    /// A name that is served and at which there is nothing; another one for each `n`.
    fn name(&self, n: usize) -> String;

    /// A name that is not served; `None` when every name is.
    fn unserved_name(&self) -> Option<String>;

    /// What the server shows at a name, asked directly: texts, targets without their final dot, or the file's body.
    async fn values(&self, kind: ProofKind, name: &str) -> Vec<String>;

    /// Whether the server keeps the case of a CNAME's target. One that does not is its own business, not the provider's.
    fn keeps_case(&self) -> bool {
        true
    }

    /// Puts somebody else's value at a name, past the provider. `false` when that cannot be: files are one for each name.
    async fn plant(&self, kind: ProofKind, name: &str, value: &str) -> bool;
}

/// Runs the whole suite for every kind of proof that the provider accepts.
///
/// # Panics
/// When the provider does not behave.
pub async fn run(world: &dyn World) {
    let provider = world.provider().await;
    let descriptor = provider.descriptor().clone();
    assert!(!descriptor.proofs.is_empty(), "{} accepts no proofs", descriptor.id);
    assert!(!descriptor.example.is_empty() && !descriptor.options.is_empty(), "{} explains itself", descriptor.id);
    let mut names = (0..).map(|n| world.name(n));
    let mut next = move || names.next().expect("names do not end");
    for kind in [ProofKind::Txt, ProofKind::Cname, ProofKind::File] {
        if !descriptor.accepts(kind) {
            let proof = proof(kind, &next(), "v");
            let error = provider.present(std::slice::from_ref(&proof)).await.expect_err("a proof it does not accept");
            assert_eq!(error.kind, ErrorKind::Unsupported, "{kind}: {error}");
            continue;
        }
        comes_and_goes(world, &*provider, kind, next()).await;
        looks_without_touching(world, &*provider, kind, next()).await;
        many_at_once(world, &*provider, kind, (0..100).map(|_| next()).collect()).await;
        leaves_others_alone(world, &*provider, kind, next()).await;
        if kind == ProofKind::Txt {
            racing_writers_lose_nothing(world, next()).await;
            odd_values_arrive_unchanged(world, &*provider, next()).await;
        }
        if let Some(name) = world.unserved_name() {
            let proof = proof(kind, &name, "v");
            for error in [
                provider.preflight(std::slice::from_ref(&proof)).await.expect_err("a name it does not serve"),
                provider.present(std::slice::from_ref(&proof)).await.expect_err("a name it does not serve"),
            ] {
                assert_eq!(error.kind, ErrorKind::NotServed, "{kind} at {name}: {error}");
                assert!(error.to_string().contains(&name), "the error names {name}: {error}");
            }
        }
    }
}

fn proof(kind: ProofKind, name: &str, value: &str) -> Proof {
    match kind {
        ProofKind::Txt => Proof::Txt { name: name.to_owned(), value: value.to_owned() },
        ProofKind::Cname => Proof::Cname { name: name.to_owned(), target: format!("{value}.dcv.example.net") },
        ProofKind::File => Proof::File {
            host: name.to_owned(),
            path: "/.well-known/pki-validation/fileauth.txt".to_owned(),
            body: value.to_owned(),
        },
    }
}

async fn shows(world: &dyn World, proof: &Proof) -> bool {
    let values = world.values(proof.kind(), proof.name()).await;
    match proof.kind() {
        // The CA looks for the value anywhere in the file.
        ProofKind::File => values.iter().any(|body| body.contains(proof.value())),
        ProofKind::Cname if !world.keeps_case() => values.iter().any(|value| value.eq_ignore_ascii_case(proof.value())),
        _ => values.iter().any(|value| value == proof.value()),
    }
}

async fn comes_and_goes(world: &dyn World, provider: &dyn DcvProvider, kind: ProofKind, name: String) {
    let proofs = [proof(kind, &name, "Comes-And-goes-1")];
    provider.retract(&proofs).await.expect("retracting what was never there is no error");
    for round in ["first", "second", "again after it was gone"] {
        if round.starts_with("again") {
            provider.retract(&proofs).await.expect("a proof is retracted");
            assert!(!shows(world, &proofs[0]).await, "{kind}: a retracted proof still shows");
            provider.retract(&proofs).await.expect("retracting twice is no error");
        }
        provider.present(&proofs).await.unwrap_or_else(|e| panic!("{kind}: presenting, {round}: {e}"));
        assert!(shows(world, &proofs[0]).await, "{kind}: it does not show after presenting it, {round}");
    }
    // Another process takes back what this one has presented.
    world.provider().await.retract(&proofs).await.expect("another instance retracts");
    if kind != ProofKind::File {
        assert_eq!(world.values(kind, &name).await, [""; 0], "{kind}: something is left at {name}");
    }
}

async fn looks_without_touching(world: &dyn World, provider: &dyn DcvProvider, kind: ProofKind, name: String) {
    let proofs = [proof(kind, &name, "looked-for")];
    let places = provider.preflight(&proofs).await.unwrap_or_else(|e| panic!("{kind}: preflight: {e}"));
    assert_eq!(places.len(), 1, "{kind}: one place for each proof");
    assert!(!places[0].target.is_empty() && !places[0].within.is_empty(), "{kind}: a place says where it is");
    assert!(!shows(world, &proofs[0]).await, "{kind}: a preflight changes nothing");
}

async fn many_at_once(world: &dyn World, provider: &dyn DcvProvider, kind: ProofKind, names: Vec<String>) {
    let proofs: Vec<Proof> = names.iter().map(|name| proof(kind, name, "one-of-many")).collect();
    provider.present(&proofs).await.unwrap_or_else(|e| panic!("{kind}: {} at once: {e}", proofs.len()));
    for proof in &proofs {
        assert!(shows(world, proof).await, "{proof} does not show");
    }
    let (half, rest) = proofs.split_at(proofs.len() / 2);
    provider.retract(half).await.expect("some are retracted");
    for proof in half {
        assert!(!shows(world, proof).await, "{proof} still shows");
    }
    for proof in rest {
        assert!(shows(world, proof).await, "{proof} was not to be retracted");
    }
    provider.retract(&proofs).await.expect("the rest is retracted, and what is gone already");
    for proof in rest {
        assert!(!shows(world, proof).await, "{proof} still shows");
    }
}

async fn leaves_others_alone(world: &dyn World, provider: &dyn DcvProvider, kind: ProofKind, name: String) {
    let foreign = proof(kind, &name, "somebody-elses");
    if !world.plant(kind, &name, foreign.value()).await {
        return;
    }
    let ours = [proof(kind, &name, "ours")];
    provider.retract(&ours).await.expect("nothing of ours is there");
    assert!(shows(world, &foreign).await, "{kind}: retracting ours took another's value");
    let presented = provider.present(&ours).await;
    assert!(shows(world, &foreign).await, "{kind}: presenting ours took another's value");
    if kind == ProofKind::Cname {
        let error = presented.expect_err("there is room for one alias only");
        assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
        let text = error.to_string();
        assert!(text.contains(&name) && text.contains(foreign.value()), "the error names both aliases: {text}");
        return;
    }
    presented.expect("there is room beside another's value");
    assert!(shows(world, &ours[0]).await, "{kind}: ours does not show beside another's value");
    provider.retract(&ours).await.expect("ours is retracted");
    assert!(!shows(world, &ours[0]).await, "{kind}: ours still shows");
    assert!(shows(world, &foreign).await, "{kind}: retracting ours took another's value");
}

async fn racing_writers_lose_nothing(world: &dyn World, name: String) {
    let proofs: Vec<Proof> = (0..10).map(|n| proof(ProofKind::Txt, &name, &format!("racer-{n}"))).collect();
    let racers = join_all(proofs.iter().map(|_| world.provider())).await;
    let present = racers.iter().zip(&proofs).map(|(racer, proof)| racer.present(std::slice::from_ref(proof)));
    for result in join_all(present).await {
        result.expect("a racer presents");
    }
    let mut seen = world.values(ProofKind::Txt, &name).await;
    seen.sort();
    let expected: Vec<&str> = proofs.iter().map(Proof::value).collect();
    assert_eq!(seen, expected, "each of ten racers' values shows");
    // Half of them take theirs back, while the other half present it once more.
    let (leaving, staying) = proofs.split_at(5);
    let both = racers.iter().zip(&proofs).map(async |(racer, proof)| {
        let proof = std::slice::from_ref(proof);
        if leaving.contains(&proof[0]) { racer.retract(proof).await } else { racer.present(proof).await }
    });
    for result in join_all(both).await {
        result.expect("a racer presents or retracts");
    }
    let mut seen = world.values(ProofKind::Txt, &name).await;
    seen.sort();
    assert_eq!(seen, staying.iter().map(Proof::value).collect::<Vec<_>>(), "exactly those that stay show");
    let retract = racers.iter().zip(&proofs).map(|(racer, proof)| racer.retract(std::slice::from_ref(proof)));
    for result in join_all(retract).await {
        result.expect("a racer retracts");
    }
    assert_eq!(world.values(ProofKind::Txt, &name).await, [""; 0], "nothing is left of the race");
}

async fn odd_values_arrive_unchanged(world: &dyn World, provider: &dyn DcvProvider, name: String) {
    let values = [r#"quote " and \ backslash; semicolon"#.to_owned(), "Case-Counts_".to_owned(), "x".repeat(255)];
    let proofs: Vec<Proof> = values.iter().map(|value| proof(ProofKind::Txt, &name, value)).collect();
    provider.present(&proofs).await.expect("odd values are presented");
    for proof in &proofs {
        assert!(shows(world, proof).await, "{proof} has arrived as {:?}", world.values(ProofKind::Txt, &name).await);
    }
    provider.retract(&proofs).await.expect("odd values are retracted");
    assert_eq!(world.values(ProofKind::Txt, &name).await, [""; 0], "odd values are gone");
}
