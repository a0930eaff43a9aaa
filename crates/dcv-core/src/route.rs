//! Which provider presents which proof: the longest suffix wins.

use std::{collections::BTreeMap, sync::Arc};

use dcv_provider::{DcvProvider, Proof, ProofKind};

use crate::error::{Error, Result};

/// A provider under the name it has in the configuration.
#[derive(Clone)]
pub struct Route {
    /// The name, for messages.
    pub label: String,
    /// The provider.
    pub provider: Arc<dyn DcvProvider>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Route").field(&self.label).finish()
    }
}

/// A table from domain suffix to providers. Where a suffix has several routes for one kind of proof, each of them gets
/// the proof: a zone at two DNS hosts, a web farm of several document roots.
#[derive(Clone, Debug, Default)]
pub struct Router {
    routes: BTreeMap<String, Vec<Route>>,
}

impl Router {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One provider for every name.
    pub fn single(provider: impl DcvProvider + 'static) -> Self {
        let label = provider.descriptor().id.to_owned();
        let mut router = Self::new();
        router.add("", Route { label, provider: Arc::new(provider) });
        router
    }

    /// Adds a route for `suffix` and all names below it. The empty suffix stands for every name; case, a leading `*.`
    /// and a final dot do not matter.
    pub fn add(&mut self, suffix: &str, route: Route) {
        let suffix = suffix.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        self.routes.entry(suffix).or_default().push(route);
    }

    /// The routes of the longest suffix of `name` that has any for this kind of proof.
    ///
    /// # Errors
    /// [`Error::Unroutable`].
    pub fn find(&self, name: &str, kind: ProofKind) -> Result<Vec<&Route>> {
        std::iter::successors(Some(name), |rest| rest.split_once('.').map(|(_, parent)| parent))
            .chain([""])
            .filter_map(|suffix| self.routes.get(suffix))
            .map(|routes| routes.iter().filter(|route| route.provider.descriptor().accepts(kind)).collect::<Vec<_>>())
            .find(|routes| !routes.is_empty())
            .ok_or_else(|| Error::Unroutable { domain: name.to_owned(), kind })
    }

    /// Sorts proofs by the provider that presents them.
    ///
    /// # Errors
    /// [`Error::Unroutable`] for the first proof that nobody presents.
    pub fn group(&self, proofs: &[Proof]) -> Result<Vec<(Route, Vec<Proof>)>> {
        let mut groups: Vec<(Route, Vec<Proof>)> = Vec::new();
        for proof in proofs {
            for route in self.find(proof.name(), proof.kind())? {
                match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(&known.provider, &route.provider)) {
                    Some((_, group)) => group.push(proof.clone()),
                    None => groups.push((route.clone(), vec![proof.clone()])),
                }
            }
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use dcv_provider::{Descriptor, Place};

    use super::*;

    struct Named(Descriptor);

    #[async_trait]
    impl DcvProvider for Named {
        fn descriptor(&self) -> &Descriptor {
            &self.0
        }
        async fn preflight(&self, _: &[Proof]) -> dcv_provider::Result<Vec<Place>> {
            Ok(Vec::new())
        }
        async fn present(&self, _: &[Proof]) -> dcv_provider::Result<()> {
            Ok(())
        }
        async fn retract(&self, _: &[Proof]) -> dcv_provider::Result<()> {
            Ok(())
        }
    }

    fn route(label: &'static str, proofs: &'static [ProofKind]) -> Route {
        let descriptor = Descriptor { id: label, title: label, proofs, batch: "", options: &[], example: "" };
        Route { label: label.to_owned(), provider: Arc::new(Named(descriptor)) }
    }

    #[test]
    fn the_longest_suffix_that_can_present_the_proof_wins() {
        const DNS: &[ProofKind] = &[ProofKind::Txt, ProofKind::Cname];
        let mut router = Router::new();
        router.add("", route("rest", DNS));
        router.add("example.com", route("apex", DNS));
        router.add("*.Shop.Example.com.", route("web", &[ProofKind::File]));
        router.add("twin.com", route("one", DNS));
        router.add("twin.com", route("two", DNS));

        let labels = |name: &str, kind| -> Vec<String> {
            router.find(name, kind).map(|found| found.iter().map(|r| r.label.clone()).collect()).unwrap_or_default()
        };
        assert_eq!(labels("_dnsauth.example.com", ProofKind::Txt), ["apex"]);
        assert_eq!(labels("notexample.com", ProofKind::Txt), ["rest"]);
        assert_eq!(labels("shop.example.com", ProofKind::Txt), ["apex"], "web cannot present records");
        assert_eq!(labels("a.shop.example.com", ProofKind::File), ["web"]);
        assert_eq!(labels("example.com", ProofKind::File), [""; 0]);
        assert_eq!(labels("twin.com", ProofKind::Cname), ["one", "two"]);
    }
}
