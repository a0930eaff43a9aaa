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

/// Every kind there is.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        descriptor: &dcv_rfc2136::DESCRIPTOR,
        read: |table| read(table, |config, dns| dcv_rfc2136::from_config(config, Some(dns))),
    },
    Kind {
        descriptor: &dcv_powerdns::DESCRIPTOR,
        read: |table| read(table, |config, dns| dcv_powerdns::from_config(config, Some(dns))),
    },
    #[cfg(feature = "cloudflare")]
    Kind {
        descriptor: &dcv_cloudflare::DESCRIPTOR,
        read: |table| read(table, |config, dns| dcv_cloudflare::from_config(config, Some(dns))),
    },
    #[cfg(feature = "route53")]
    Kind {
        descriptor: &dcv_route53::DESCRIPTOR,
        read: |table| read(table, |config, dns| dcv_route53::from_config(config, Some(dns))),
    },
    Kind {
        descriptor: &dcv_webroot::DESCRIPTOR,
        read: |table| read(table, |config, _| async { dcv_webroot::Webroot::new(config) }),
    },
    Kind {
        descriptor: &dcv_standalone::DESCRIPTOR,
        read: |table| read(table, |config, _| async { dcv_standalone::Standalone::new(config) }),
    },
    Kind {
        descriptor: &dcv_plugin::DESCRIPTOR,
        read: |table| read(table, |config, dns| dcv_plugin::from_config(config, Some(dns))),
    },
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
}
