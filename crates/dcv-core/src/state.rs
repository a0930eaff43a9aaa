//! The order as a state machine: entries are folded into a [`Run`], and [`next`] says what is to be done.
//!
//! Everything here is pure; [`crate::flow`] acts. The rules of the house are visible in the order of the arms of
//! [`next`]:
//!
//! - a run that ended badly takes its proofs back before it closes;
//! - where an order may have been placed it is looked for, never placed again blindly;
//! - what is to be canceled takes its proofs back first, for the CA may refuse;
//! - only open domains are proved; each proof is journaled before it is presented, and stays on the list of what may be
//!   out there until it was taken back;
//! - the CA is asked to check once everything is visible;
//! - a certificate that can be had is fetched and stored before anything else is tidied.

use std::{collections::BTreeSet, fmt};

use certcentral::{CertificateId, DomainId, OrderId, RequestId};
use dcv_provider::Proof;
use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{journal::Stamped, request::Request};

/// A random value is renewed when it has less than this left to live; CertCentral's live 30 days, and its open
/// validator refuses them from the 29th on.
pub const RENEW_VALUE_BEFORE: SignedDuration = SignedDuration::from_hours(36);

/// How long values that are about to end are made do with before they are asked for again: the CA may go on telling the same ones.
const ASK_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// How often an order is sent at most while it may be that the CA's lists are only behind. One that is not found after its answer was
/// lost is sent once more; where that is lost, too, something is wrong that sending does not mend, and each could be an order that is
/// paid for.
const SENT_AT_MOST: u32 = 2;
/// Lists are not behind for so long.
const BEHIND: SignedDuration = SignedDuration::from_hours(24);

/// Names a run, and its order at the CA: it is sent as `alternative_order_id`, by which an order is found again after
/// an answer was lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new id: the date, for people, and 60 random bits, for uniqueness: `dcv-20261123-4kq0x7m2t9az`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut random = rand::rng();
        let tail: String = (0..12).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect();
        Self(format!("dcv-{}-{tail}", now.strftime("%Y%m%d")))
    }

    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The id as text: letters, digits and hyphens.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for RunId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let legal =
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            let text: String = text.chars().take(80).flat_map(char::escape_debug).collect();
            Err(format!("run: `{text}` is not a run id; `dcv status` lists them"))
        }
    }
}

/// One thing that was meant or that happened. The journal holds nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The run begins. Nothing has been sent yet.
    Planned {
        /// All that is needed to carry the order out.
        request: Box<Request>,
    },
    /// Intent: the order is about to be sent. From here on it may exist.
    Placing,
    /// The CA has the order.
    Placed {
        /// Its number.
        order_id: OrderId,
        /// The certificate's number, where the answer named one: of a reissue, what tells it from the one before.
        #[serde(default)]
        certificate_id: Option<CertificateId>,
        /// The order's own random value, when the answer carried one.
        random_value: Option<String>,
        /// The order waits for an approver before anything else.
        needs_approval: bool,
        /// The request that has to be approved.
        #[serde(default)]
        request_id: Option<RequestId>,
        /// The certificate came with the answer: PEM, leaf first.
        chain: Option<String>,
    },
    /// An approver has let the order pass.
    Approved,
    /// What is open and how it will be proved. Replaces earlier challenges; a domain that was accepted before is open again.
    Challenged {
        /// One for each domain under validation; empty when everything was validated already.
        challenges: Vec<Challenge>,
    },
    /// Intent: these proofs are about to be presented. From here on they may be out there.
    Presenting {
        /// The proofs.
        proofs: Vec<Proof>,
    },
    /// The providers have accepted all proofs of the last intent.
    Presented,
    /// Every proof that is open shows at every place the CA may look.
    Visible,
    /// The CA has accepted these domains.
    Accepted {
        /// The domains of their challenges.
        domains: Vec<String>,
    },
    /// Somebody else has to act.
    Waiting(Waiting),
    /// The certificate is there to be fetched.
    Issued {
        /// Its number, not the order's.
        certificate_id: CertificateId,
    },
    /// Fetched, and found to be for our key and names: PEM, leaf first.
    Downloaded {
        /// Leaf and intermediates.
        chain: String,
    },
    /// The files are written.
    Stored,
    /// Intent: the deploy command is about to be run.
    Deploying,
    /// The deploy command has succeeded.
    Deployed,
    /// The deploy command has failed as often as it is tried.
    DeployFailed {
        /// How it ended, and the last line it said.
        reason: String,
    },
    /// These proofs are gone again.
    Retracted {
        /// The proofs.
        proofs: Vec<Proof>,
    },
    /// The run has come to a bad end; what is out there is still to be taken back.
    Failed {
        /// Why, in one line.
        reason: String,
    },
    /// Intent: the order is about to be canceled.
    Canceling {
        /// Why.
        reason: String,
    },
    /// The CA does not cancel it: the run goes on.
    NotCanceled {
        /// What the CA says.
        reason: String,
    },
    /// The order is canceled, or was never placed.
    Canceled {
        /// Why.
        reason: String,
    },
    /// Nothing is left to do.
    Closed,
}

/// A domain that the CA wants proved, and the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The domain under validation, A-labels, no wildcard: an ordered name or a parent of some.
    pub domain: String,
    /// The domain object at the CA.
    pub domain_id: Option<DomainId>,
    /// The ordered names that hang on it.
    pub names: Vec<String>,
    /// What has to be visible; `None` where people show control.
    pub proof: Option<Proof>,
    /// When the random value ends.
    pub expires: Option<Timestamp>,
}

/// What an order waits for that this program cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Who must act.
    pub on: Actor,
    /// What for, in one line.
    pub what: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {}: {}", self.on, self.what)
    }
}

impl Waiting {
    /// Whether nothing is to be done until the CA tells of a change of the order: people have to act there, or the CA itself.
    #[must_use]
    pub fn is_for_the_ca_to_tell(&self) -> bool {
        matches!(self.on, Actor::Approver | Actor::OrganizationValidation | Actor::Mailbox | Actor::Issuance)
    }
}

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Somebody of the account who may approve requests.
    Approver,
    /// DigiCert's validation team, or the organization's contact whom they call.
    OrganizationValidation,
    /// Whoever reads the mail of the domains.
    Mailbox,
    /// The CA's own check of the proofs.
    DomainValidation,
    /// The CA, to issue.
    Issuance,
    /// The name servers or web servers, to show the proofs.
    Propagation,
    /// Whoever wrote the deploy command.
    Deployment,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approver => "an approver of your CertCentral account",
            Self::OrganizationValidation => "the CA's organization validation",
            Self::Mailbox => "whoever reads the CA's mail",
            Self::DomainValidation => "the CA's check of the proofs",
            Self::Issuance => "the CA to issue",
            Self::Propagation => "the name servers or web servers",
            Self::Deployment => "the owner of the deploy command",
        })
    }
}

/// What the journal knows of a run: the fold of its entries.
#[derive(Clone, Debug)]
pub struct Run {
    /// The run.
    pub id: RunId,
    /// When it began.
    pub began: Timestamp,
    /// When its last entry was written.
    pub last: Timestamp,
    /// What was asked for.
    pub request: Request,
    /// Since when an order may exist whose number is not known.
    pub placing_since: Option<Timestamp>,
    /// How often it was sent.
    pub sent: u32,
    /// The order's number.
    pub order_id: Option<OrderId>,
    /// The order's own random value.
    pub random_value: Option<String>,
    /// Whether an approver has to act before anything else.
    pub needs_approval: bool,
    /// The request that has to be approved.
    pub request_id: Option<RequestId>,
    /// The number of the certificate that was asked for, as far as the answer told.
    pub asked_for: Option<CertificateId>,
    /// What is to be proved; `None` until it is known.
    pub challenges: Option<Vec<Challenge>>,
    /// When that was asked for last.
    pub challenged: Option<Timestamp>,
    /// Domains whose proof the CA has accepted.
    pub accepted: BTreeSet<String>,
    /// Proofs that may be out there.
    pub shown: BTreeSet<Proof>,
    /// Proofs that the providers have accepted.
    pub presented: BTreeSet<Proof>,
    /// Whether all that is presented was seen at every place the CA may look.
    pub visible: bool,
    /// What the run waited for last.
    pub waiting: Option<Waiting>,
    /// The certificate's number.
    pub certificate_id: Option<CertificateId>,
    /// The certificate: PEM, leaf first.
    pub chain: Option<String>,
    /// Whether the files are written.
    pub stored: bool,
    /// Whether the deploy command has succeeded.
    pub deployed: bool,
    /// Whether the order was to be canceled.
    pub canceling: Option<String>,
    /// How it ended, if badly.
    pub end: Option<End>,
    /// Whether nothing is left to do.
    pub closed: bool,
}

/// A bad end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The CA refused or rejected the order, or the result cannot be used.
    Failed(String),
    /// Canceled by us.
    Canceled(String),
}

impl Run {
    /// Folds a run's entries. `None` when they do not begin with [`Entry::Planned`].
    #[must_use]
    pub fn fold(id: RunId, entries: &[Stamped]) -> Option<Self> {
        let (first, rest) = entries.split_first()?;
        let Entry::Planned { request } = &first.entry else { return None };
        let mut run = Self {
            id,
            began: first.at,
            last: first.at,
            request: (**request).clone(),
            placing_since: None,
            sent: 0,
            order_id: None,
            random_value: None,
            needs_approval: false,
            request_id: None,
            asked_for: None,
            challenges: None,
            challenged: None,
            accepted: BTreeSet::new(),
            shown: BTreeSet::new(),
            presented: BTreeSet::new(),
            visible: false,
            waiting: None,
            certificate_id: None,
            chain: None,
            stored: false,
            deployed: false,
            canceling: None,
            end: None,
            closed: false,
        };
        for stamped in rest {
            run.apply(stamped.at, &stamped.entry);
        }
        Some(run)
    }

    /// Takes one more entry in.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) {
        self.last = at;
        match entry.clone() {
            Entry::Planned { .. } | Entry::Deploying | Entry::DeployFailed { .. } => {}
            Entry::Placing => {
                self.placing_since = Some(at);
                self.sent += 1;
            }
            Entry::Placed { order_id, certificate_id, random_value, needs_approval, request_id, chain } => {
                self.order_id = Some(order_id);
                self.asked_for = certificate_id;
                self.request_id = request_id;
                self.random_value = random_value;
                self.needs_approval = needs_approval;
                self.chain = chain;
            }
            Entry::Approved => self.needs_approval = false,
            Entry::Challenged { challenges } => {
                self.accepted.retain(|domain| challenges.iter().all(|challenge| challenge.domain != *domain));
                self.challenged = Some(at);
                self.challenges = Some(challenges);
                self.visible = false;
            }
            Entry::Presenting { proofs } => {
                self.shown.extend(proofs);
                self.visible = false;
            }
            Entry::Presented => self.presented = self.shown.clone(),
            Entry::Visible => self.visible = true,
            Entry::Accepted { domains } => self.accepted.extend(domains),
            Entry::Waiting(waiting) => self.waiting = Some(waiting),
            Entry::Issued { certificate_id } => self.certificate_id = Some(certificate_id),
            Entry::Downloaded { chain } => self.chain = Some(chain),
            Entry::Stored => self.stored = true,
            Entry::Deployed => self.deployed = true,
            Entry::Retracted { proofs } => {
                for proof in &proofs {
                    self.shown.remove(proof);
                    self.presented.remove(proof);
                }
            }
            Entry::Failed { reason } => self.end = Some(End::Failed(reason)),
            Entry::Canceling { reason } => self.canceling = Some(reason),
            Entry::NotCanceled { .. } => self.canceling = None,
            Entry::Canceled { reason } => self.end = Some(End::Canceled(reason)),
            Entry::Closed => self.closed = true,
        }
    }

    /// Whether an order that was looked for in vain may be sent once more at this moment.
    #[must_use]
    pub fn may_be_sent_again(&self, now: Timestamp) -> bool {
        self.sent < SENT_AT_MOST || self.placing_since.is_some_and(|since| now.duration_since(since) >= BEHIND)
    }

    /// The challenges whose domain the CA has not accepted yet.
    pub fn open_challenges(&self) -> impl Iterator<Item = &Challenge> {
        self.challenges.iter().flatten().filter(|challenge| !self.accepted.contains(&challenge.domain))
    }

    /// Where the run stands, in a word or two.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        match (&self.end, &self.chain) {
            (Some(End::Failed(_)), _) => "failed",
            (Some(End::Canceled(_)), _) => "canceled",
            (None, Some(_)) => "issued",
            (None, None) if self.certificate_id.is_some() => "issued",
            (None, None) if self.canceling.is_some() => "canceling",
            (None, None) if self.closed => "validated",
            (None, None) if self.order_id.is_none() && self.request.purpose.has_certificate() => {
                if self.placing_since.is_some() { "placing" } else { "planned" }
            }
            (None, None) if self.needs_approval => "awaiting approval",
            (None, None) if self.challenges.is_none() || self.open_challenges().next().is_some() => "proving",
            (None, None) => "awaiting validation",
        }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the order.
    Place,
    /// An order may exist: look for it by its alternative id.
    Find,
    /// Cancel the order.
    Cancel,
    /// Ask what is open, and for the random values.
    Challenge,
    /// Present these proofs.
    Present(Vec<Proof>),
    /// Wait until the open proofs are visible everywhere.
    Watch,
    /// Ask the CA to check.
    Check,
    /// Wait for the CA or for people.
    Follow,
    /// Fetch the certificate.
    Download,
    /// Write the files.
    Store,
    /// Run the deploy command.
    Deploy,
    /// Take these proofs back.
    Retract(Vec<Proof>),
    /// Close the run.
    Close,
    /// Nothing can be done now.
    Rest,
}

/// Whether taking proofs back is worth an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tidying {
    /// Yes.
    Possible,
    /// It has just failed; the certificate comes first, and a later run tries again.
    Failed,
}

/// Decides what to do next.
#[must_use]
pub fn next(run: &Run, now: Timestamp, tidying: Tidying) -> Step {
    let retract = |proofs: BTreeSet<Proof>, otherwise: Step| match tidying {
        _ if proofs.is_empty() => otherwise,
        Tidying::Possible => Step::Retract(proofs.into_iter().collect()),
        Tidying::Failed => Step::Rest,
    };
    if run.closed {
        return Step::Rest;
    }
    if run.end.is_some() {
        return retract(run.shown.clone(), Step::Close);
    }
    if run.chain.is_some() {
        return match (&run.request.output, run.stored) {
            (Some(_), false) => Step::Store,
            // Records go first: they are a risk as long as they stay, and a command may fail for days.
            _ if run.request.deploy.is_some() && !run.deployed => match retract(run.shown.clone(), Step::Deploy) {
                Step::Rest => Step::Deploy,
                step => step,
            },
            _ => retract(run.shown.clone(), Step::Close),
        };
    }
    if run.order_id.is_none() && !run.request.purpose.has_certificate() {
        // Nothing is ordered: taking back what is shown is all that canceling means.
        if run.canceling.is_some() {
            return Step::Cancel;
        }
    } else if run.order_id.is_none() {
        return match (run.placing_since, &run.canceling) {
            (Some(_), _) => Step::Find,
            (None, Some(_)) => Step::Cancel,
            (None, None) => Step::Place,
        };
    }
    if run.certificate_id.is_some() {
        return Step::Download;
    }
    if run.canceling.is_some() {
        return match retract(run.shown.clone(), Step::Cancel) {
            Step::Rest => Step::Cancel,
            step => step,
        };
    }
    if run.needs_approval {
        return Step::Follow;
    }
    let asked_lately = run.challenged.is_some_and(|at| now.duration_since(at).abs() < ASK_AGAIN);
    if run.challenges.is_none() || (!asked_lately && run.open_challenges().any(|challenge| is_ending(challenge, now))) {
        return Step::Challenge;
    }
    let wanted: BTreeSet<Proof> = run.open_challenges().filter_map(|challenge| challenge.proof.clone()).collect();
    if wanted.is_empty() {
        // Where people show control there is nothing to present, and still something to wait for.
        let done = run.open_challenges().next().is_none() && !run.request.purpose.has_certificate();
        return match retract(run.shown.clone(), if done { Step::Close } else { Step::Follow }) {
            Step::Rest if !done => Step::Follow,
            step => step,
        };
    }
    let missing: Vec<Proof> = wanted.difference(&run.presented).cloned().collect();
    if !missing.is_empty() {
        return Step::Present(missing);
    }
    let current: BTreeSet<Proof> =
        run.challenges.iter().flatten().filter_map(|challenge| challenge.proof.clone()).collect();
    let outlived: BTreeSet<Proof> = run.shown.difference(&current).cloned().collect();
    let go_on = if run.visible { Step::Check } else { Step::Watch };
    match retract(outlived, go_on.clone()) {
        Step::Rest => go_on,
        step => step,
    }
}

fn is_ending(challenge: &Challenge, now: Timestamp) -> bool {
    challenge.expires.is_some_and(|expires| expires.duration_since(now) < RENEW_VALUE_BEFORE)
}
