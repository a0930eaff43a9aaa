//! What the fuzz targets (`tests/fuzz`) reach of the inside: what an answer of a name server is worth. No part of the API.

use dcv_provider::{Proof, dns::Answer};

use crate::propagation::{self, ProofView, Sight, Verdict, View};

/// What an answer is worth when an authority gives it, and when a resolver does.
pub fn judge(proof: &Proof, answer: &Answer) -> (Sight, Sight) {
    (propagation::judge(proof, proof.name(), Ok(answer)), propagation::judge_resolved(proof, Ok(answer)))
}

/// What people are told of it.
pub fn verdict(proof: &Proof, sights: Vec<Sight>) -> String {
    let view = |sight| View { place: "ns1.example.com".to_owned(), address: "192.0.2.1:53".to_owned(), sight };
    let views = sights.into_iter().map(view).collect();
    Verdict { proofs: vec![ProofView { proof: proof.clone(), views, visible: false }] }.summary()
}
