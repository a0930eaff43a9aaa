//! One of dcv's own providers as a plugin, for a program that was built without it: the AWS SDK, say, takes longer to build than all
//! else, and is wanted on one machine of many.
//!
//! ```sh
//! cargo build --release -p dcv-provider-plugin --features route53
//! dcv plugin check target/release/libdcv_provider_plugin.so
//! ```
//!
//! The feature is the provider's `type` (`bridge-command` and the like for those of `dcv-bridge`). One at a time: a library holds one plugin, and
//! two features are a name that is defined twice. Without any the library is empty, and `dcv plugin check` says so.

/// The providers whose configuration makes them, by feature. Each has a module of its own, so that all of them can be checked at once.
macro_rules! providers {
    ($($feature:literal $name:ident => $($module:ident)::+),* $(,)?) => {$(
        #[cfg(feature = $feature)]
        mod $name {
            dcv_plugin::export_provider!($($module)::+::DESCRIPTOR, |config: $($module)::+::Config| async move {
                // Where the system names no resolvers, aliases are not followed, which the check of visibility tells.
                $($module)::+::from_config(config, dcv_provider::dns::Dns::system().ok()).await
            });
        }
    )*};
}

providers! {
    "acmedns" acmedns => dcv_acmedns,
    "akamai" akamai => dcv_akamai,
    "azure" azure => dcv_azure,
    "cloudflare" cloudflare => dcv_cloudflare,
    "desec" desec => dcv_desec,
    "digitalocean" digitalocean => dcv_digitalocean,
    "gandi" gandi => dcv_gandi,
    "gcloud" gcloud => dcv_gcloud,
    "hetzner" hetzner => dcv_hetzner,
    "infoblox" infoblox => dcv_infoblox,
    "linode" linode => dcv_linode,
    "ns1" ns1 => dcv_ns1,
    "ovh" ovh => dcv_ovh,
    "powerdns" powerdns => dcv_powerdns,
    "rfc2136" rfc2136 => dcv_rfc2136,
    "route53" route53 => dcv_route53,
    "bridge-command" command => dcv_bridge::command,
    "bridge-exec" exec => dcv_bridge::exec,
    "bridge-httpreq" httpreq => dcv_bridge::httpreq,
    "bridge-acmesh" acmesh => dcv_bridge::acmesh,
}

#[cfg(feature = "storage")]
mod storage {
    dcv_plugin::export_provider!(dcv_storage::DESCRIPTOR, |config: dcv_storage::Config| dcv_storage::from_config(
        config
    ));
}

#[cfg(feature = "webroot")]
mod webroot {
    dcv_plugin::export_provider!(dcv_webroot::DESCRIPTOR, |config: dcv_webroot::Config| async move {
        dcv_webroot::Webroot::new(config)
    });
}

#[cfg(feature = "standalone")]
mod standalone {
    dcv_plugin::export_provider!(dcv_standalone::DESCRIPTOR, |config: dcv_standalone::Config| async move {
        dcv_standalone::Standalone::new(config)
    });
}
