//! Calls of an Infoblox WAPI: where it is, who we are there, and what its refusals mean.

use std::path::Path;

use dcv_provider::{
    Result,
    http::{Api, Call, Refusal},
};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The version that is asked for unless the URL says another: that of NIOS 8.3. The grid answers in its manner, however new it is.
const VERSION: &str = "v2.9";

/// A grid master's API.
#[derive(Debug)]
pub(crate) struct Wapi {
    api: Api,
    /// What comes before the objects, where the URL does not say it.
    prefix: String,
}

impl Wapi {
    pub(crate) async fn new(url: &str, user: &str, password: &SecretString, ca_file: Option<&Path>) -> Result<Self> {
        let api = Api::trusting("base_url", url, ca_file).await?.basic(user, password)?;
        let prefix = if url.contains("/wapi/") { String::new() } else { format!("/wapi/{VERSION}") };
        Ok(Self { api, prefix })
    }

    /// Host and port, for people.
    pub(crate) fn place(&self) -> String {
        self.api.place()
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, object: &str, query: &[(&str, &str)]) -> Result<T, Refusal> {
        sent(self.api.get(&format!("{}/{object}", self.prefix)).query(query.iter().copied())).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, object: &str, body: &Value) -> Result<T, Refusal> {
        sent(self.api.post(&format!("{}/{object}", self.prefix)).json(body)).await
    }
}

async fn sent<T: DeserializeOwned>(call: Call<'_>) -> Result<T, Refusal> {
    call.send().await.map_err(|refusal| match refusal.status.map(|status| status.as_u16()) {
        Some(401) => refusal.hint("check username and password"),
        Some(403) => refusal.hint("check the permissions of the user's group"),
        _ => refusal,
    })
}

/// Whether it is about something that is there already, or is not there any more ("Error Handling").
pub(crate) fn is_of_state(refusal: &Refusal) -> bool {
    matches!(refusal.body["code"].as_str(), Some("Client.Ibap.Data.Conflict" | "Client.Ibap.Data.NotFound"))
}
