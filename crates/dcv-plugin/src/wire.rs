//! What crosses the boundary, as JSON: the same for a plugin in this process and for one in its own.

use std::time::Duration;

use dcv_provider::{Descriptor, ErrorKind, OptionSpec, Place, Proof, ProofKind, ProviderError, Result, Retry};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a plugin is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// With which proofs.
    pub proofs: Vec<Proof>,
}

/// The methods of [`DcvProvider`](dcv_provider::DcvProvider).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Look, and change nothing.
    Preflight,
    /// Make visible.
    Present,
    /// Take away.
    Retract,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// What was asked for.
    Ok(serde_json::Value),
    /// Why not.
    Error(WireError),
}

/// A [`ProviderError`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WireError {
    kind: String,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// A [`Place`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WirePlace {
    target: String,
    within: String,
}

/// A [`Descriptor`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WireDescriptor {
    id: String,
    title: String,
    proofs: Vec<ProofKind>,
    #[serde(default)]
    batch: String,
    #[serde(default)]
    options: Vec<WireOption>,
    #[serde(default)]
    example: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireOption {
    name: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    secret: bool,
}

const KINDS: [(&str, ErrorKind); 8] = [
    ("config", ErrorKind::Config),
    ("credentials", ErrorKind::Credentials),
    ("not_served", ErrorKind::NotServed),
    ("unsupported", ErrorKind::Unsupported),
    ("rejected", ErrorKind::Rejected),
    ("conflict", ErrorKind::Conflict),
    ("rate_limited", ErrorKind::RateLimited),
    ("unavailable", ErrorKind::Unavailable),
];

impl From<ProviderError> for WireError {
    fn from(error: ProviderError) -> Self {
        let kind = KINDS.iter().find(|(_, kind)| *kind == error.kind).map_or("unavailable", |(word, _)| word);
        let retry_after_ms = match error.retry {
            Retry::After(wait) => u64::try_from(wait.as_millis()).ok(),
            Retry::No | Retry::Yes => None,
        };
        Self { kind: kind.to_owned(), message: error.message, subjects: error.subjects, retry_after_ms }
    }
}

impl From<WireError> for ProviderError {
    fn from(error: WireError) -> Self {
        // A kind that this host does not know is not worth a retry.
        let kind = KINDS.iter().find(|(word, _)| *word == error.kind).map_or(ErrorKind::Rejected, |(_, kind)| *kind);
        let made = Self::new(kind, error.message).about(error.subjects);
        match error.retry_after_ms {
            Some(wait) => made.retry_after(Duration::from_millis(wait)),
            None => made,
        }
    }
}

impl From<Place> for WirePlace {
    fn from(place: Place) -> Self {
        Self { target: place.target, within: place.within }
    }
}

impl From<WirePlace> for Place {
    fn from(place: WirePlace) -> Self {
        Self { target: place.target, within: place.within }
    }
}

impl From<&Descriptor> for WireDescriptor {
    fn from(descriptor: &Descriptor) -> Self {
        let option = |option: &OptionSpec| WireOption {
            name: option.name.to_owned(),
            help: option.help.to_owned(),
            required: option.required,
            secret: option.secret,
        };
        Self {
            id: descriptor.id.to_owned(),
            title: descriptor.title.to_owned(),
            proofs: descriptor.proofs.to_vec(),
            batch: descriptor.batch.to_owned(),
            options: descriptor.options.iter().map(option).collect(),
            example: descriptor.example.to_owned(),
        }
    }
}

impl WireDescriptor {
    /// As the contract has it, which lives as long as the program. A few hundred bytes for each loaded plugin are given up for
    /// that; a plugin is never unloaded either.
    #[must_use]
    pub fn leak(self) -> &'static Descriptor {
        fn text(text: String) -> &'static str {
            text.leak()
        }
        let option = |option: WireOption| OptionSpec {
            name: text(option.name),
            help: text(option.help),
            required: option.required,
            secret: option.secret,
        };
        Box::leak(Box::new(Descriptor {
            id: text(self.id),
            title: text(self.title),
            proofs: self.proofs.leak(),
            batch: text(self.batch),
            options: self.options.into_iter().map(option).collect::<Vec<_>>().leak(),
            example: text(self.example),
        }))
    }
}

impl Reply {
    /// The reply that says what came of a call.
    pub fn of<T: Serialize>(result: Result<T>) -> Self {
        match result.map(|value| serde_json::to_value(value)) {
            Ok(Ok(value)) => Self::Ok(value),
            Ok(Err(error)) => Self::Error(ProviderError::new(ErrorKind::Unavailable, error.to_string()).into()),
            Err(error) => Self::Error(error.into()),
        }
    }

    /// What came of a call.
    ///
    /// # Errors
    /// The plugin's, or [`ErrorKind::Unavailable`] when its answer makes no sense.
    pub fn into_result<T: DeserializeOwned>(self) -> Result<T> {
        match self {
            Self::Ok(value) => serde_json::from_value(value).map_err(|e| nonsense(&e)),
            Self::Error(error) => Err(error.into()),
        }
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it makes no sense.
    pub fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|e| nonsense(&e))
    }
}

fn nonsense(error: &serde_json::Error) -> ProviderError {
    ProviderError::new(ErrorKind::Unavailable, format!("the plugin's answer is not understood: {error}"))
}

/// Implements the contract for a type by its `descriptor_of_plugin` and its `call`: every form of a plugin is called by verb, and
/// answers alike.
macro_rules! provider_by_verb {
    ($form:ty) => {
        #[async_trait::async_trait]
        impl dcv_provider::DcvProvider for $form {
            fn descriptor(&self) -> &dcv_provider::Descriptor {
                self.descriptor_of_plugin()
            }
            async fn preflight(
                &self,
                proofs: &[dcv_provider::Proof],
            ) -> dcv_provider::Result<Vec<dcv_provider::Place>> {
                let reply = self.call($crate::wire::Verb::Preflight, proofs).await?;
                let places: Vec<$crate::wire::WirePlace> = reply.into_result()?;
                Ok(places.into_iter().map(dcv_provider::Place::from).collect())
            }
            async fn present(&self, proofs: &[dcv_provider::Proof]) -> dcv_provider::Result<()> {
                let reply = self.call($crate::wire::Verb::Present, proofs).await?;
                reply.into_result::<serde_json::Value>().map(drop)
            }
            async fn retract(&self, proofs: &[dcv_provider::Proof]) -> dcv_provider::Result<()> {
                let reply = self.call($crate::wire::Verb::Retract, proofs).await?;
                reply.into_result::<serde_json::Value>().map(drop)
            }
        }
    };
}
pub(crate) use provider_by_verb;
