//! The registry: from a `type` in the configuration to a provider, one row for each crate.
//!
//! A new DNS host or web target is one more row here and nothing else in the program: its help, its options and its
//! example come from its [`Descriptor`].

use std::{future::Future, sync::Arc};

use dcv_provider::{DcvProvider, Descriptor, Result, dns::Dns};
use futures_util::{FutureExt, future::BoxFuture};
use serde::de::DeserializeOwned;

/// Makes a provider of its configuration; reads its secrets.
pub(crate) type Build = Box<dyn Fn(Dns) -> BoxFuture<'static, Result<Arc<dyn DcvProvider>>> + Send + Sync>;

/// A kind of provider.
pub(crate) struct Kind {
    pub(crate) descriptor: &'static Descriptor,
    /// Reads its table of the configuration, less `type`.
    pub(crate) read: fn(toml::Deserializer<'_>) -> Result<Build, toml::de::Error>,
}

/// A row for a provider whose configuration makes it, and one for each of several.
macro_rules! kinds {
    ($($(#[$gate:meta])* $($module:ident)::+),* $(,)?) => {
        &[$(
            $(#[$gate])*
            Kind {
                descriptor: &$($module)::+::DESCRIPTOR,
                read: |table| read(table, |config, dns| $($module)::+::from_config(config, Some(dns))),
            },
        )*
        #[cfg(feature = "storage")]
        Kind {
            descriptor: &dcv_storage::DESCRIPTOR,
            read: |table| read(table, |config, _| dcv_storage::from_config(config)),
        },
        // Files on this machine: nothing to look up.
        Kind {
            descriptor: &dcv_webroot::DESCRIPTOR,
            read: |table| read(table, |config, _| async { dcv_webroot::Webroot::new(config) }),
        },
        Kind {
            descriptor: &dcv_standalone::DESCRIPTOR,
            read: |table| read(table, |config, _| async { dcv_standalone::Standalone::new(config) }),
        }]
    };
}

/// Types that a program may have been built without; each is the feature's name, too.
pub(crate) const FEATURES: &[&str] = &[
    "acmedns",
    "akamai",
    "azure",
    "cloudflare",
    "desec",
    "digitalocean",
    "gandi",
    "gcloud",
    "hetzner",
    "infoblox",
    "linode",
    "ns1",
    "ovh",
    "route53",
    "storage",
];

/// Every kind there is.
pub(crate) const KINDS: &[Kind] = kinds![
    dcv_rfc2136,
    dcv_powerdns,
    #[cfg(feature = "cloudflare")]
    dcv_cloudflare,
    #[cfg(feature = "route53")]
    dcv_route53,
    #[cfg(feature = "azure")]
    dcv_azure,
    #[cfg(feature = "gcloud")]
    dcv_gcloud,
    #[cfg(feature = "digitalocean")]
    dcv_digitalocean,
    #[cfg(feature = "hetzner")]
    dcv_hetzner,
    #[cfg(feature = "ovh")]
    dcv_ovh,
    #[cfg(feature = "gandi")]
    dcv_gandi,
    #[cfg(feature = "desec")]
    dcv_desec,
    #[cfg(feature = "linode")]
    dcv_linode,
    #[cfg(feature = "ns1")]
    dcv_ns1,
    #[cfg(feature = "akamai")]
    dcv_akamai,
    #[cfg(feature = "infoblox")]
    dcv_infoblox,
    #[cfg(feature = "acmedns")]
    dcv_acmedns,
    #[cfg(feature = "bridge")]
    dcv_bridge::command,
    #[cfg(feature = "bridge")]
    dcv_bridge::exec,
    #[cfg(feature = "bridge")]
    dcv_bridge::httpreq,
    #[cfg(feature = "bridge")]
    dcv_bridge::acmesh,
    dcv_plugin,
];

/// The kind of this `type`.
pub(crate) fn find(id: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.descriptor.id == id)
}

fn read<C, F, P>(table: toml::Deserializer<'_>, make: fn(C, Dns) -> F) -> Result<Build, toml::de::Error>
where
    C: DeserializeOwned + Clone + Send + Sync + 'static,
    F: Future<Output = Result<P>> + Send + 'static,
    P: DcvProvider + 'static,
{
    let config = C::deserialize(table)?;
    Ok(Box::new(move |dns| {
        let making = make(config.clone(), dns);
        async move { Ok(Arc::new(making.await?) as Arc<dyn DcvProvider>) }.boxed()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_configuration() {
        for kind in KINDS {
            let example = kind.descriptor.example;
            let mut table = toml::de::DeTable::parse(example).expect(example);
            let id = table.get_mut().remove("type").expect("an example names its type");
            assert_eq!(id.get_ref().as_str(), Some(kind.descriptor.id));
            if let Err(error) = (kind.read)(table.into()) {
                panic!("{}: {error}\n{example}", kind.descriptor.id);
            }
        }
    }

    /// Otherwise the host says so at the first record, with the order placed.
    #[tokio::test]
    async fn a_ttl_that_a_host_does_not_have_is_found_before_anything_is_asked() {
        // What DNS itself has: no caching at all.
        let have_none = ["rfc2136", "powerdns", "route53", "infoblox", "desec"];
        for kind in KINDS.iter().filter(|kind| kind.descriptor.options.iter().any(|option| option.name == "ttl")) {
            let id = kind.descriptor.id;
            let refused = [u32::MAX].into_iter().chain((!have_none.contains(&id)).then_some(0));
            for ttl in refused {
                let text = format!("ttl = {ttl}\n{}", kind.descriptor.example);
                let mut table = toml::de::DeTable::parse(&text).expect("an example");
                table.get_mut().remove("type");
                let build = (kind.read)(table.into()).expect("it can be read");
                let Err(error) = build(Dns::new(Vec::new())).await else { panic!("{id} takes a TTL of {ttl}") };
                assert!(error.to_string().starts_with("ttl: "), "{id}: {error}");
            }
        }
    }
}
