//! Shows every proof in several places at once: on all servers behind a load balancer, which answer the CA in turn.
//!
//! The CA asks from several parts of the world (Baseline Requirements 3.2.2.9), and each of its requests may reach another server;
//! so a file that only some of them have will fail now and then. A [`Farm`] is a provider made of others. It gives every proof to each
//! of them, all at once, and fails when one fails, naming which; whoever called then retracts, as after any failure, and that
//! reaches the others again.
//!
//! It decides nothing about the proofs themselves: what the members refuse, the farm refuses.

use std::sync::Arc;

use async_trait::async_trait;
use dcv_provider::{
    DcvProvider, Descriptor, ErrorKind, OptionSpec, Place, Proof, ProofKind, ProviderError, Result, Retry,
};
use futures_util::future::join_all;

/// What this provider is.
pub const DESCRIPTOR: Descriptor = Descriptor {
    id: "farm",
    title: "Several targets at once (servers behind a load balancer)",
    proofs: &[ProofKind::File],
    batch: "all members at once, each with all proofs",
    options: &[OptionSpec {
        name: "members",
        help: "Names of the other providers that each get every file; at least two.",
        required: true,
        secret: false,
    }],
    example: "type = \"farm\"\nmembers = [\"web1\", \"web2\"]\n",
};

/// Other providers, as one. Clones share them.
#[derive(Clone)]
pub struct Farm {
    members: Vec<Member>,
}

#[derive(Clone)]
struct Member {
    name: String,
    provider: Arc<dyn DcvProvider>,
}

impl std::fmt::Debug for Farm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| &member.name)).finish()
    }
}

impl Farm {
    /// A farm of these providers, which errors call by their kind and number: `webroot 2`.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub fn new(members: Vec<Arc<dyn DcvProvider>>) -> Result<Self> {
        let name = |(n, provider): (usize, Arc<dyn DcvProvider>)| {
            (format!("{} {}", provider.descriptor().id, n + 1), provider)
        };
        Self::named(members.into_iter().enumerate().map(name))
    }

    /// A farm of these providers, each with the name that the configuration gives it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no member, two have one name, or one cannot show files.
    pub fn named(members: impl IntoIterator<Item = (String, Arc<dyn DcvProvider>)>) -> Result<Self> {
        let members: Vec<Member> = members.into_iter().map(|(name, provider)| Member { name, provider }).collect();
        let wrong = |message: String| Err(ProviderError::new(ErrorKind::Config, format!("members: {message}")));
        if members.is_empty() {
            return wrong("there is none; name the providers that each get every file".to_owned());
        }
        for (n, Member { name, provider }) in members.iter().enumerate() {
            if members[..n].iter().any(|other| other.name == *name) {
                return wrong(format!("`{name}` is there twice; name each once"));
            }
            let descriptor = provider.descriptor();
            if !descriptor.accepts(ProofKind::File) {
                return wrong(format!("`{name}` ({}) cannot show files; leave it out", descriptor.id));
            }
        }
        Ok(Self { members })
    }

    /// Calls every member and waits for all of them, also when one has failed: the state after the call is known then.
    async fn each<'a, T, F>(&'a self, proofs: &'a [Proof], act: impl Fn(&'a dyn DcvProvider) -> F) -> Result<Vec<T>>
    where
        F: Future<Output = Result<T>> + 'a,
    {
        if let Some(proof) = proofs.iter().find(|proof| proof.kind() != ProofKind::File) {
            let message = format!("a web server cannot show a {}; route the name to a DNS provider", proof.kind());
            return Err(ProviderError::new(ErrorKind::Unsupported, message).about([proof.to_string()]));
        }
        let results = join_all(self.members.iter().map(|member| act(&*member.provider))).await;
        let mut done = Vec::new();
        let mut failures = Vec::new();
        for (member, result) in self.members.iter().zip(results) {
            match result {
                Ok(value) => done.push(value),
                Err(error) => failures.push((member.name.as_str(), error)),
            }
        }
        match joined(failures, self.members.len()) {
            Some(error) => Err(error),
            None => Ok(done),
        }
    }
}

/// One error of several members'. It may be tried again only if that can help all of them, and then after the longest wait.
fn joined(failures: Vec<(&str, ProviderError)>, members: usize) -> Option<ProviderError> {
    let lasting = |error: &ProviderError| matches!(error.retry, Retry::No);
    let decisive = failures.iter().position(|(_, error)| lasting(error)).unwrap_or(0);
    let kind = failures.get(decisive)?.1.kind;
    let said: Vec<String> = failures.iter().map(|(name, error)| format!("{name}: {}", error.message)).collect();
    let mut subjects: Vec<String> = Vec::new();
    for subject in failures.iter().flat_map(|(_, error)| &error.subjects) {
        if !subjects.contains(subject) {
            subjects.push(subject.clone());
        }
    }
    let wait = failures.iter().filter_map(|(_, error)| match error.retry {
        Retry::After(wait) => Some(wait),
        Retry::Yes | Retry::No => None,
    });
    let longest = wait.max().filter(|_| !failures.iter().any(|(_, error)| lasting(error)));
    let message = format!("{} of {members} targets failed: {}", failures.len(), said.join("; "));
    let source = failures.into_iter().nth(decisive)?.1;
    let mut error = ProviderError::new(kind, message).about(subjects);
    error.retry = longest.map_or(source.retry, Retry::After);
    Some(error.because(source))
}

#[async_trait]
impl DcvProvider for Farm {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    async fn preflight(&self, proofs: &[Proof]) -> Result<Vec<Place>> {
        let places = self.each(proofs, |member| member.preflight(proofs)).await?;
        let all = |n: usize| {
            let here = || places.iter().filter_map(move |member| member.get(n));
            let join = |texts: Vec<&str>| texts.join(", ");
            Place {
                target: join(here().map(|place| place.target.as_str()).collect()),
                within: join(here().map(|place| place.within.as_str()).collect()),
            }
        };
        Ok((0..proofs.len()).map(all).collect())
    }

    async fn present(&self, proofs: &[Proof]) -> Result<()> {
        self.each(proofs, |member| member.present(proofs)).await.map(drop)
    }

    async fn retract(&self, proofs: &[Proof]) -> Result<()> {
        self.each(proofs, |member| member.retract(proofs)).await.map(drop)
    }
}
