//! The table of hosts: what each is called, what its configuration is, and how the crate writes there. That was looked up in the crate's source,
//! version 0.6.1; another version is to be looked through again.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dcv_provider::{ErrorKind, ProviderError, Result, secret::Secret};
use dns_update::{
    DnsUpdater, Error, TsigAlgorithm,
    providers::{
        azuredns::{AzureDnsConfig, AzureEnvironment},
        bluecatv2::BluecatV2Config,
        edgedns::EdgeDnsConfig,
        google_cloud_dns::GoogleCloudDnsConfig,
        infoblox::InfobloxConfig,
        joker::JokerAuth,
        lightsail::LightsailConfig,
        oraclecloud::OracleCloudConfig,
        ovh::OvhEndpoint,
        route53::Route53Config,
        volcengine::VolcengineConfig,
        yandexcloud::YandexCloudConfig,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// How long one request may take: an isolated plugin has 50 seconds for a whole call.
const TIMEOUT: Option<Duration> = Some(Duration::from_secs(20));

/// How the crate writes at a host, by which it is decided what has to be done around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// A value is a record, which is made and deleted by itself.
    Record,
    /// Values are put in and taken out by an UPDATE, of which the server leaves out in silence what cannot be (RFC 2136 section 3.4.2.2).
    Update,
    /// The record set is read, merged and written. Who writes at the same moment may undo it.
    Set,
    /// The same with the whole zone: whatever somebody else changes anywhere in it at the same moment is lost.
    Zone,
}

/// A key of a host's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What may be given; empty when that is anything. The first is taken when none is given.
    pub(crate) choices: &'static [&'static str],
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret,
    Text,
    MaybeSecret,
    MaybeText,
    One,
    Flag,
    Number,
}

impl Field {
    pub(crate) fn required(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::Text)
    }

    pub(crate) fn secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::MaybeSecret)
    }

    /// What is wrong with a value that is not secret.
    fn fault(&self, value: &str) -> Option<String> {
        match self.kind {
            Kind::One if !self.choices.contains(&value) => {
                Some(format!("`{value}` is none of {}", self.choices.join(", ")))
            }
            Kind::Flag if !matches!(value, "true" | "false") => Some(format!("`{value}` is neither true nor false")),
            Kind::Number if value.parse::<u32>().is_err() => Some(format!("`{value}` is no whole number")),
            _ => None,
        }
    }
}

/// A DNS host.
pub(crate) struct Host {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) writes: Writes,
    pub(crate) fields: &'static [Field],
    make: fn(&Given) -> dns_update::Result<DnsUpdater>,
}

/// Hosts that cannot be had, and why.
pub(crate) const REFUSED: [(&str, &str); 4] = [
    ("ddnss", ONE_TEXT),
    ("duckdns", ONE_TEXT),
    ("freemyip", ONE_TEXT),
    (
        "hurricane",
        "its free service sets one text of a name and cannot be asked what was there, so another's would be lost; its zones can be \
     had by RFC 2136 or as secondaries of another server",
    ),
];
const ONE_TEXT: &str = "it keeps one text for each host and cannot be asked for it, so another's would be lost; prove such names by a file";

/// The values of a host's fields.
pub(crate) struct Given(BTreeMap<&'static str, SecretString>);

impl Given {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(ExposeSecret::expose_secret)
    }
}

/// A field of a row as the constructor wants it.
macro_rules! value {
    (Secret $given:ident $name:expr, $choices:expr) => {
        $given.get($name).unwrap_or_default()
    };
    (Text $given:ident $name:expr, $choices:expr) => {
        $given.get($name).unwrap_or_default()
    };
    (MaybeSecret $given:ident $name:expr, $choices:expr) => {
        $given.get($name)
    };
    (MaybeText $given:ident $name:expr, $choices:expr) => {
        $given.get($name)
    };
    (One $given:ident $name:expr, $choices:expr) => {{
        let choices: &[&str] = &$choices;
        $given.get($name).unwrap_or(choices[0])
    }};
    (Flag $given:ident $name:expr, $choices:expr) => {
        $given.get($name) == Some("true")
    };
    (Number $given:ident $name:expr, $choices:expr) => {
        $given.get($name).and_then(|number| number.parse::<u32>().ok())
    };
}

macro_rules! hosts {
    ($($id:literal $title:literal $writes:ident
        [$($field:ident: $kind:ident $(($($choice:literal)|+))?),* $(,)?] => $make:expr;)*) => {
        /// All hosts, by their names.
        pub(crate) const HOSTS: &[Host] = &[$(Host {
            id: $id,
            title: $title,
            writes: Writes::$writes,
            fields: &[$(Field { name: stringify!($field), kind: Kind::$kind, choices: &[$($($choice),+)?] }),*],
            make: |given| {
                $(let $field = value!($kind given stringify!($field), [$($($choice),+)?]);)*
                $make
            },
        }),*];
    };
}

hosts! {
    "alidns" "Alibaba Cloud DNS" Record
        [access_key: Text, secret_key: Secret, region: MaybeText, security_token: MaybeSecret, line: MaybeText]
        => DnsUpdater::new_alidns(access_key, secret_key, region, security_token, line, TIMEOUT);
    "arvancloud" "ArvanCloud" Record [api_key: Secret] => DnsUpdater::new_arvancloud(api_key, TIMEOUT);
    "autodns" "InterNetX AutoDNS" Record [username: Text, password: Secret, context: Number]
        => DnsUpdater::new_autodns(username, password, context, TIMEOUT);
    "azuredns" "Azure DNS" Set
        [tenant_id: Text, client_id: Text, client_secret: Secret, subscription_id: Text, resource_group: Text,
         environment: One("public" | "china" | "usgovernment")]
        => DnsUpdater::new_azuredns(AzureDnsConfig {
            tenant_id: tenant_id.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            subscription_id: subscription_id.to_owned(),
            resource_group: resource_group.to_owned(),
            environment: AzureEnvironment::from_str_lossy(environment),
            request_timeout: TIMEOUT,
        });
    "baiducloud" "Baidu Cloud DNS" Record [access_key: Text, secret_key: Secret]
        => DnsUpdater::new_baiducloud(access_key, secret_key, TIMEOUT);
    "bluecatv2" "BlueCat Address Manager (REST v2)" Record
        [server_url: Text, username: Text, password: Secret, config_name: Text, view_name: Text, skip_deploy: Flag]
        => DnsUpdater::new_bluecatv2(BluecatV2Config {
            server_url: server_url.to_owned(),
            username: username.to_owned(),
            password: password.to_owned(),
            config_name: config_name.to_owned(),
            view_name: view_name.to_owned(),
            skip_deploy,
            request_timeout: TIMEOUT,
        });
    "bunny" "Bunny DNS" Record [api_key: Secret] => DnsUpdater::new_bunny(api_key, TIMEOUT);
    "cloudflare" "Cloudflare" Record [secret: Secret] => DnsUpdater::new_cloudflare(secret, TIMEOUT);
    "cloudns" "ClouDNS" Record [auth_id: MaybeText, sub_auth_id: MaybeText, auth_password: Secret]
        => DnsUpdater::new_cloudns(auth_id, sub_auth_id, auth_password, TIMEOUT);
    "constellix" "Constellix" Set [api_key: Text, secret_key: Secret]
        => DnsUpdater::new_constellix(api_key, secret_key, TIMEOUT);
    "cpanel" "cPanel (UAPI)" Record [base_url: Text, username: Text, token: Secret]
        => DnsUpdater::new_cpanel(base_url, username, token, TIMEOUT);
    "desec" "deSEC" Set [auth_token: Secret] => DnsUpdater::new_desec(auth_token, TIMEOUT);
    "digitalocean" "DigitalOcean" Record [auth_token: Secret] => DnsUpdater::new_digitalocean(auth_token, TIMEOUT);
    "dnsimple" "DNSimple" Record [auth_token: Secret, account_id: Text]
        => DnsUpdater::new_dnsimple(auth_token, account_id, TIMEOUT);
    "dnsmadeeasy" "DNS Made Easy" Record [api_key: Text, api_secret: Secret]
        => DnsUpdater::new_dnsmadeeasy(api_key, api_secret, TIMEOUT);
    "domeneshop" "Domeneshop" Record [api_token: Text, api_secret: Secret]
        => DnsUpdater::new_domeneshop(api_token, api_secret, TIMEOUT);
    "dreamhost" "DreamHost" Record [api_key: Secret] => DnsUpdater::new_dreamhost(api_key, TIMEOUT);
    "dynu" "Dynu" Record [api_key: Secret] => DnsUpdater::new_dynu(api_key, TIMEOUT);
    "easydns" "easyDNS" Record [token: Text, key: Secret] => DnsUpdater::new_easydns(token, key, TIMEOUT);
    "edgedns" "Akamai Edge DNS" Set
        [api_host: Text, client_token: Secret, client_secret: Secret, access_token: Secret, account_switch_key: MaybeText]
        => DnsUpdater::new_edgedns(EdgeDnsConfig {
            host: api_host.to_owned(),
            client_token: client_token.to_owned(),
            client_secret: client_secret.to_owned(),
            access_token: access_token.to_owned(),
            account_switch_key: account_switch_key.map(str::to_owned),
            request_timeout: TIMEOUT,
        });
    "exoscale" "Exoscale" Record [api_key: Text, api_secret: Secret]
        => DnsUpdater::new_exoscale(api_key, api_secret, TIMEOUT);
    "gandiv5" "Gandi LiveDNS" Set [personal_access_token: Secret]
        => DnsUpdater::new_gandiv5(personal_access_token, TIMEOUT);
    "gcore" "Gcore" Set [api_token: Secret] => DnsUpdater::new_gcore(api_token, TIMEOUT);
    "glesys" "GleSYS" Record [api_user: Text, api_key: Secret] => DnsUpdater::new_glesys(api_user, api_key, TIMEOUT);
    "godaddy" "GoDaddy" Set [api_key: Text, api_secret: Secret]
        => DnsUpdater::new_godaddy(api_key, api_secret, TIMEOUT);
    // The zone is asked for, for the crate would look for one by the end of its name, and take a private twin.
    "google_cloud_dns" "Google Cloud DNS" Set
        [service_account_json: Secret, project_id: Text, managed_zone: Text, impersonate_service_account: MaybeText]
        => DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: service_account_json.to_owned(),
            project_id: project_id.to_owned(),
            managed_zone: Some(managed_zone.to_owned()),
            private_zone: false,
            impersonate_service_account: impersonate_service_account.map(str::to_owned),
            request_timeout: TIMEOUT,
        });
    "hetzner" "Hetzner Cloud DNS" Record [api_token: Secret] => DnsUpdater::new_hetzner(api_token, TIMEOUT);
    "hostingde" "hosting.de" Record [api_key: Secret] => DnsUpdater::new_hostingde(api_key, TIMEOUT);
    "hostinger" "Hostinger" Set [api_token: Secret] => DnsUpdater::new_hostinger(api_token, TIMEOUT);
    "huaweicloud" "Huawei Cloud DNS" Set [access_key: Text, secret_key: Secret, region: Text]
        => DnsUpdater::new_huaweicloud(access_key, secret_key, region, TIMEOUT);
    "ibmcloud" "IBM Cloud (classic)" Record [username: Text, api_key: Secret]
        => DnsUpdater::new_ibmcloud(username, api_key, TIMEOUT);
    "infoblox" "Infoblox NIOS (WAPI)" Record
        [api_host: Text, port: MaybeText, username: Text, password: Secret, wapi_version: MaybeText, dns_view: MaybeText]
        => DnsUpdater::new_infoblox(InfobloxConfig {
            host: api_host.to_owned(),
            port: port.map(str::to_owned),
            username: username.to_owned(),
            password: password.to_owned(),
            wapi_version: wapi_version.map(str::to_owned),
            dns_view: dns_view.map(str::to_owned),
            request_timeout: TIMEOUT,
        });
    "infomaniak" "Infomaniak" Record [access_token: Secret] => DnsUpdater::new_infomaniak(access_token, TIMEOUT);
    "inwx" "INWX" Record [username: Text, password: Secret, sandbox: Flag]
        => DnsUpdater::new_inwx(username, password, sandbox, TIMEOUT);
    "ionos" "IONOS" Record [api_key: Secret] => DnsUpdater::new_ionos(api_key, TIMEOUT);
    "ipv64" "IPv64" Record [api_key: Secret] => DnsUpdater::new_ipv64(api_key, TIMEOUT);
    "joker" "Joker.com" Zone [api_key: MaybeSecret, username: MaybeText, password: MaybeSecret]
        => match (api_key, username, password) {
            (Some(key), None, None) => DnsUpdater::new_joker(JokerAuth::api_key(key), TIMEOUT),
            (None, Some(username), Some(password)) => {
                DnsUpdater::new_joker(JokerAuth::username_password(username, password), TIMEOUT)
            }
            _ => Err(Error::Parse("give either api_key, or username and password".to_owned())),
        };
    "lightsail" "Amazon Lightsail" Record
        [access_key_id: Text, secret_access_key: Secret, session_token: MaybeSecret, region: MaybeText]
        => DnsUpdater::new_lightsail(LightsailConfig {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: session_token.map(str::to_owned),
            region: region.map(str::to_owned),
            domain: None,
            request_timeout: TIMEOUT,
        });
    "linode" "Linode (Akamai Connected Cloud)" Record [auth_token: Secret]
        => DnsUpdater::new_linode(auth_token, TIMEOUT);
    "luadns" "LuaDNS" Record [api_username: Text, api_token: Secret]
        => DnsUpdater::new_luadns(api_username, api_token, TIMEOUT);
    "mythicbeasts" "Mythic Beasts" Record [username: Text, password: Secret]
        => DnsUpdater::new_mythicbeasts(username, password, TIMEOUT);
    "namecheap" "Namecheap" Zone [api_user: Text, api_key: Secret, client_ip: Text, username: MaybeText]
        => DnsUpdater::new_namecheap(api_user, api_key, client_ip, username, TIMEOUT);
    "namedotcom" "Name.com" Record [username: Text, api_token: Secret]
        => DnsUpdater::new_namedotcom(username, api_token, TIMEOUT);
    "namesilo" "NameSilo" Record [api_key: Secret] => DnsUpdater::new_namesilo(api_key, TIMEOUT);
    "netcup" "netcup" Record [customer_number: Text, api_key: Secret, api_password: Secret]
        => DnsUpdater::new_netcup(customer_number, api_key, api_password, TIMEOUT);
    "netlify" "Netlify" Record [access_token: Secret] => DnsUpdater::new_netlify(access_token, TIMEOUT);
    "nifcloud" "NIFCLOUD DNS" Set [access_key: Text, secret_key: Secret]
        => DnsUpdater::new_nifcloud(access_key, secret_key, TIMEOUT);
    "ns1" "NS1 (IBM)" Set [api_key: Secret] => DnsUpdater::new_ns1(api_key, TIMEOUT);
    "oraclecloud" "Oracle Cloud DNS" Record
        [tenancy_ocid: Text, user_ocid: Text, fingerprint: Text, private_key_pem: Secret,
         private_key_password: MaybeSecret, region: Text, compartment_ocid: Text]
        => DnsUpdater::new_oraclecloud(OracleCloudConfig {
            tenancy_ocid: tenancy_ocid.to_owned(),
            user_ocid: user_ocid.to_owned(),
            fingerprint: fingerprint.to_owned(),
            private_key_pem: private_key_pem.to_owned(),
            private_key_password: private_key_password.map(str::to_owned),
            region: region.to_owned(),
            compartment_ocid: compartment_ocid.to_owned(),
            request_timeout: TIMEOUT,
        });
    "ovh" "OVHcloud" Record
        [application_key: Text, application_secret: Secret, consumer_key: Secret,
         endpoint: One("ovh-eu" | "ovh-us" | "ovh-ca" | "kimsufi-eu" | "kimsufi-ca" | "soyoustart-eu" | "soyoustart-ca")]
        => endpoint.parse::<OvhEndpoint>().and_then(|endpoint| {
            DnsUpdater::new_ovh(application_key, application_secret, consumer_key, endpoint, TIMEOUT)
        });
    "pdns" "PowerDNS (HTTP API)" Set [api_key: Secret, endpoint: MaybeText, server_name: MaybeText]
        => DnsUpdater::new_pdns(api_key, endpoint, server_name, TIMEOUT);
    "plesk" "Plesk" Record [base_url: Text, api_key: Secret] => DnsUpdater::new_plesk(base_url, api_key, TIMEOUT);
    "porkbun" "Porkbun" Record [api_key: Secret, secret_api_key: Secret]
        => DnsUpdater::new_porkbun(api_key, secret_api_key, TIMEOUT);
    "rfc2136" "RFC 2136 dynamic update" Update
        [server: Text, key_name: Text, key: Secret,
         algorithm: One("hmac-sha256" | "hmac-sha512" | "hmac-sha384" | "hmac-sha224" | "hmac-sha1" | "hmac-md5")]
        => match (STANDARD.decode(key), algorithm.parse::<TsigAlgorithm>()) {
            (Ok(key), Ok(algorithm)) => DnsUpdater::new_rfc2136_tsig(server, key_name, key, algorithm),
            _ => Err(Error::Parse("key: it is no base64; give the key as the server's configuration has it".to_owned())),
        };
    // The zone is asked for, for the crate would take a private twin.
    "route53" "Amazon Route 53" Set
        [access_key_id: Text, secret_access_key: Secret, session_token: MaybeSecret, hosted_zone_id: Text,
         region: MaybeText, endpoint: MaybeText]
        => DnsUpdater::new_route53(Route53Config {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: session_token.map(str::to_owned),
            region: region.map(str::to_owned),
            hosted_zone_id: Some(hosted_zone_id.to_owned()),
            private_zone_only: None,
            endpoint: endpoint.map(str::to_owned),
        });
    "safedns" "ANS SafeDNS" Record [auth_token: Secret] => DnsUpdater::new_safedns(auth_token, TIMEOUT);
    "scaleway" "Scaleway" Record [api_token: Secret] => DnsUpdater::new_scaleway(api_token, TIMEOUT);
    "selectel" "Selectel (v2)" Set [username: Text, password: Secret, account_id: Text, project_id: Text]
        => DnsUpdater::new_selectel(username, password, account_id, project_id, TIMEOUT);
    "simplycom" "Simply.com" Record [account_name: Text, api_key: Secret]
        => DnsUpdater::new_simplycom(account_name, api_key, TIMEOUT);
    "spaceship" "Spaceship" Record [api_key: Text, api_secret: Secret]
        => DnsUpdater::new_spaceship(api_key, api_secret, TIMEOUT);
    "tencentcloud" "Tencent Cloud DNSPod" Record
        [secret_id: Text, secret_key: Secret, region: MaybeText, session_token: MaybeSecret]
        => DnsUpdater::new_tencentcloud(secret_id, secret_key, region, session_token, TIMEOUT);
    "transip" "TransIP" Record [login: Text, private_key_pem: Secret, global_key: Flag]
        => DnsUpdater::new_transip(login, private_key_pem, global_key, TIMEOUT);
    "ultradns" "UltraDNS" Set [username: Text, password: Secret, endpoint: MaybeText]
        => DnsUpdater::new_ultradns(username, password, endpoint.map(str::to_owned), TIMEOUT);
    "vercel" "Vercel" Record [auth_token: Secret, team_id: MaybeText]
        => DnsUpdater::new_vercel(auth_token, team_id, TIMEOUT);
    "volcengine" "Volcano Engine DNS" Record
        [access_key: Text, secret_key: Secret, region: MaybeText, api_host: MaybeText]
        => DnsUpdater::new_volcengine(VolcengineConfig {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            region: region.map(str::to_owned),
            host: api_host.map(str::to_owned),
            scheme: None,
            request_timeout: TIMEOUT,
        });
    "vultr" "Vultr" Record [api_key: Secret] => DnsUpdater::new_vultr(api_key, TIMEOUT);
    "websupport" "WebSupport" Record [api_key: Text, secret: Secret]
        => DnsUpdater::new_websupport(api_key, secret, TIMEOUT);
    "yandexcloud" "Yandex Cloud DNS" Set [iam_token_b64: Secret, folder_id: Text]
        => DnsUpdater::new_yandexcloud(YandexCloudConfig {
            iam_token_b64: iam_token_b64.to_owned(),
            folder_id: folder_id.to_owned(),
            request_timeout: TIMEOUT,
        });
    "zoneeu" "Zone.eu" Record [username: Text, api_key: Secret]
        => DnsUpdater::new_zoneeu(username, api_key, TIMEOUT);
}

fn wrong(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Config, message)
}

/// The host of this name.
pub(crate) fn find(id: &str) -> Result<&'static Host> {
    if let Some(host) = HOSTS.iter().find(|host| host.id == id) {
        return Ok(host);
    }
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == id) {
        return Err(wrong(format!("host: `{id}` is refused: {why}")));
    }
    let known: Vec<&str> = HOSTS.iter().map(|host| host.id).collect();
    Err(wrong(format!("host: `{}` is not known; give one of {}", id.escape_debug(), known.join(", "))))
}

impl Host {
    /// Makes the crate's client from a configuration; also returns what must never be shown.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the field, its value where that is no secret, and the way out.
    pub(crate) async fn open(&self, config: &BTreeMap<String, Value>) -> Result<(DnsUpdater, Vec<SecretString>)> {
        let names = || self.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = config.keys().find(|key| !self.fields.iter().any(|field| field.name == **key)) {
            return Err(wrong(format!("{unknown}: `{}` has no such field; it has {}", self.id, names())));
        }
        let (mut given, mut secrets) = (BTreeMap::new(), Vec::new());
        for field in self.fields {
            let Some(value) = config.get(field.name) else {
                if field.required() {
                    let message = format!("{}: it is missing; `{}` takes {}", field.name, self.id, names());
                    return Err(wrong(message));
                }
                continue;
            };
            let text = match value {
                Value::Bool(_) | Value::Number(_) => SecretString::from(value.to_string()),
                _ => {
                    let secret = serde_json::from_value::<Secret>(value.clone()).map_err(|_| {
                        let forms = "{ env = … }, { file = … }, { credential = … }, { command = [ … ] }";
                        wrong(format!("{}: it is neither a text nor one of {forms}; give one of these", field.name))
                    })?;
                    secret.read(field.name).await?
                }
            };
            if field.secret() {
                secrets.extend([text.clone(), SecretString::from(percent(text.expose_secret()))]);
            } else if let Some(fault) = field.fault(text.expose_secret()) {
                return Err(wrong(format!("{}: {fault}; give one that is", field.name)));
            }
            // The crate would leave a header with a line break out, and ask without credentials.
            let has_lines = matches!(field.name, "private_key_pem" | "service_account_json");
            if !has_lines && text.expose_secret().chars().any(char::is_control) {
                let what = "there is a line break or another control character in it; take it out";
                return Err(wrong(format!("{}: {what}", field.name)));
            }
            given.insert(field.name, text);
        }
        let made = (self.make)(&Given(given));
        let updater = made.map_err(|error| {
            let said = match error {
                Error::Parse(said) | Error::Client(said) | Error::Api(said) => said,
                other => other.to_string(),
            };
            wrong(dcv_provider::secret::hide(format!("host `{}`: {said}; correct its fields", self.id), &secrets))
        })?;
        Ok((updater, secrets))
    }
}

/// As a secret stands in a URL, and in the crate's errors with it.
fn percent(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    })
}
