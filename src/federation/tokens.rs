//! The tokens of providers, for calls of the application. They never reach a client.

use std::time::Duration;

use zeroize::Zeroizing;

use super::entity::identity;
use super::error::FederationError;
use super::exchange::{KeptTokens, request_tokens};
use super::keys::FederationKeys;
use super::remote::Remote;
use super::store;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::handle::Portcullis;

/// How long a refresh may take at least, before another request may try it. The endpoints may have to be read first.
const REFRESH: Duration = Duration::from_secs(30);

/// The tokens of an account at a provider. They are secrets, so their `Debug` is blank.
#[derive(Clone)]
#[non_exhaustive]
pub struct ProviderTokens {
    /// The access token.
    pub access_token: Zeroizing<String>,
    /// The refresh token, if the provider gave one.
    pub refresh_token: Option<Zeroizing<String>>,
    /// When the access token expires, if the provider told.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderTokens(..)")
    }
}

impl From<KeptTokens> for ProviderTokens {
    fn from(kept: KeptTokens) -> Self {
        Self {
            access_token: Zeroizing::new(kept.access_token),
            refresh_token: kept.refresh_token.map(Zeroizing::new),
            expires_at: kept.expires_at.map(Timestamp::from_millis),
        }
    }
}

impl Portcullis {
    /// Returns the tokens of an account at a provider, if the provider [keeps](crate::config::Provider::keep_tokens) them. Use
    /// them to call the provider. Never send them to a client.
    ///
    /// # Errors
    /// [`FederationError::NoTokens`]; an outage.
    pub async fn provider_tokens(
        &self,
        account: AccountId,
        provider: &str,
    ) -> Result<ProviderTokens, FederationError> {
        let (_, tokens) = self.kept_tokens(account, provider).await?;
        Ok(tokens.into())
    }

    /// Refreshes the tokens of an account at a provider. Of several requests at once, one asks the provider. Providers end all
    /// tokens if one refresh token is used twice.
    ///
    /// # Errors
    /// [`FederationError::NoTokens`], also without a refresh token; [`FederationError::Refreshing`] if another
    /// request does it; [`FederationError::NotAccepted`] if the provider refuses; [`FederationError::Unavailable`]; an outage.
    pub async fn refresh_provider_tokens(
        &self,
        account: AccountId,
        provider: &str,
    ) -> Result<ProviderTokens, FederationError> {
        let context = self.context();
        let remote = Remote::find(context, provider)?;
        let (row, before) = self.kept_tokens(account, provider).await?;
        let refresh_token = before.refresh_token.clone().ok_or(FederationError::NoTokens)?;
        let now = context.now();
        let db = context.db();
        let executor = db.executor();
        let since = now.minus(REFRESH.max(3 * context.config.federation.timeout));
        if !db.retry(|| store::begin_refresh(&executor, &row, since, now)).await? {
            return Err(FederationError::Refreshing);
        }
        let form = vec![
            ("grant_type", Zeroizing::new("refresh_token".to_owned())),
            ("refresh_token", Zeroizing::new(refresh_token)),
        ];
        let answer = match request_tokens(context, &remote, form).await {
            Ok(answer) => answer,
            // It may have used the token, and the answer was lost. So the next attempt waits.
            Err(error @ FederationError::Unavailable(_)) => return Err(error),
            Err(error) => {
                db.retry(|| store::end_refresh(&executor, &row, now, None)).await?;
                return Err(error);
            }
        };
        let tokens = KeptTokens::of(&answer, Some(&before), context.now());
        let keys = self.per_instance::<FederationKeys>();
        let sealed = keys.seal_tokens(&tokens, row.id.as_uuid().as_bytes());
        let sealed = (sealed.text, sealed.key_id);
        let stored = || store::end_refresh(&executor, &row, now, Some(sealed.clone()));
        if !db.retry(stored).await? {
            // A sign-in has stored newer ones meanwhile, or the identity was unlinked.
            return Err(FederationError::Refreshing);
        }
        Ok(tokens.into())
    }

    async fn kept_tokens(
        &self,
        account: AccountId,
        provider: &str,
    ) -> Result<(identity::Model, KeptTokens), FederationError> {
        let db = self.context().db();
        let rows = db.read(store::of_account(&db.executor(), account)).await?;
        let row = rows.into_iter().find(|row| row.provider == provider);
        let row = row.ok_or(FederationError::NoTokens)?;
        let keys = self.per_instance::<FederationKeys>();
        let sealed = row.tokens_key_id.as_deref().zip(row.tokens.as_deref());
        let tokens =
            sealed.and_then(|sealed| keys.open_tokens(sealed, row.id.as_uuid().as_bytes()));
        Ok((row, tokens.ok_or(FederationError::NoTokens)?))
    }
}
