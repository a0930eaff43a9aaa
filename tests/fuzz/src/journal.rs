//! What the journal holds: written by this program or by an older one, or damaged.

use dcv_core::{
    journal::Stamped,
    state::{Run, Step, Tidying, next},
};
use jiff::Timestamp;

/// Entries of one run, a line each: whatever they say, they fold, and what is to be done next can be said.
pub(crate) fn entries(input: &[u8]) {
    let entries: Vec<Stamped> =
        crate::json_lines(input).into_iter().filter_map(|json| serde_json::from_value(json).ok()).collect();
    for entry in &entries {
        let text = serde_json::to_string(entry).expect("it can be written");
        let again: Stamped = serde_json::from_str(&text).expect("what we write is read");
        assert_eq!(serde_json::to_string(&again).expect("it can be written"), text);
    }
    let id = || "dcv-20261123-4kq0x7m2t9az".parse().expect("an id");
    for from in 0..entries.len() {
        let Some(run) = Run::fold(id(), &entries[from..]) else { continue };
        let _ = (run.stage(), run.waiting.as_ref().map(ToString::to_string));
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            for tidying in [Tidying::Possible, Tidying::Failed] {
                let step = next(&run, now, tidying);
                assert!(!run.closed || step == Step::Rest, "{step:?} of a closed run");
                match step {
                    Step::Retract(proofs) => {
                        assert!(tidying == Tidying::Possible && !proofs.is_empty());
                        assert!(proofs.iter().all(|proof| run.shown.contains(proof)), "not ours to take back");
                    }
                    Step::Present(proofs) => {
                        assert!(proofs.iter().all(|proof| !run.presented.contains(proof)));
                    }
                    // A run ends with nothing left out there.
                    Step::Close => assert!(run.shown.is_empty()),
                    // Money: never without knowing that there is no order.
                    Step::Place => assert!(run.order_id.is_none() && run.placing_since.is_none()),
                    _ => {}
                }
            }
        }
    }
}
