//! Access tokens that others give for a while, for APIs that want one with every call.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::{Answer, Api, Call, Refusal};
use crate::Result;

/// How long before its end a token is renewed: what a change of many record sets may take.
const MARGIN: Duration = Duration::from_secs(300);
/// The longest that a token is believed to live.
const MOST: Duration = Duration::from_secs(86_400);

/// A token and how long it is good for from now.
pub struct Granted {
    /// The token.
    pub token: SecretString,
    /// Its life.
    pub life: Duration,
}

/// Who gives tokens for credentials: a login, a metadata service.
#[async_trait]
pub trait Grantor: Send + Sync {
    /// A new token.
    ///
    /// # Errors
    /// [`Credentials`](crate::ErrorKind::Credentials) when the credentials are refused, naming their field.
    async fn grant(&self) -> Result<Granted>;
}

/// The tokens of some credentials: asked for once for all who wait, kept, renewed shortly before their end, and asked for anew where
/// the API refuses one.
#[derive(Debug)]
pub struct Tokens<G> {
    grantor: G,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    token: SecretString,
    renew: Instant,
}

impl<G: Grantor> Tokens<G> {
    /// None are asked for yet.
    pub fn new(grantor: G) -> Self {
        Self { grantor, kept: Mutex::default() }
    }

    /// Who gives them.
    pub fn grantor(&self) -> &G {
        &self.grantor
    }

    /// Makes a call with a token; once more with a new one if this one is refused.
    ///
    /// # Errors
    /// Those of the call and of [`Grantor::grant`].
    pub async fn answer(
        &self,
        api: &Api,
        make: impl for<'a> Fn(&'a Api) -> Call<'a> + Send + Sync,
    ) -> Result<Answer, Refusal> {
        let send = async |token: &SecretString| {
            make(&api.clone().bearer("access_token", token).map_err(Refusal::unsent)?).answer().await
        };
        let token = self.current(None).await.map_err(Refusal::unsent)?;
        match send(&token).await {
            Err(refusal) if refusal.is(401) => send(&self.current(Some(&token)).await.map_err(Refusal::unsent)?).await,
            other => other,
        }
    }

    /// A token that is good for a while yet, and is not the one that was `refused`.
    async fn current(&self, refused: Option<&SecretString>) -> Result<SecretString> {
        let mut kept = self.kept.lock().await;
        let same = |token: &SecretString| refused.is_some_and(|old| old.expose_secret() == token.expose_secret());
        if let Some(Kept { token, renew }) = &*kept
            && Instant::now() < *renew
            && !same(token)
        {
            return Ok(token.clone());
        }
        let Granted { token, life } = self.grantor.grant().await?;
        let life = life.min(MOST);
        let renew = Instant::now() + life.saturating_sub(MARGIN.min(life / 2));
        Ok(kept.insert(Kept { token, renew }).token.clone())
    }
}
