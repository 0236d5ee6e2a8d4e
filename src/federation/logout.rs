//! A provider ends sessions (OpenID Connect Back-Channel Logout 1.0).

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::FederationError;
use super::exchange::pair_digest;
use super::handle::Federation;
use super::remote::Remote;
use super::store;
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::transaction;
use crate::config::federation::ProviderKind;
use crate::oidc::{ExpectedLogoutToken, LogoutToken, ProviderRefusal};
use crate::session::store as session_store;

impl Federation<'_> {
    /// Ends the sessions that a logout token of a provider names: those that began in one session at the provider, or all that began
    /// with one identity. Returns how many ended. The token works once.
    ///
    /// # Errors
    /// [`FederationError::UnknownProvider`], also for one without ID tokens; [`FederationError::NotAccepted`];
    /// [`FederationError::Unavailable`]; an outage.
    pub async fn backchannel_logout(
        &self,
        provider: &str,
        logout_token: &str,
    ) -> Result<u64, FederationError> {
        let context = self.auth.context();
        let remote = Remote::find(context, provider)?;
        let provider = &remote.provider;
        let ProviderKind::OpenId { issuer } = &provider.kind else {
            return Err(FederationError::UnknownProvider);
        };
        let now = context.now();
        let expected = ExpectedLogoutToken {
            algorithm: provider.algorithm,
            issuer,
            client_id: &provider.client_id,
            now: now.as_secs(),
        };
        let checked = |keys: &_| LogoutToken::check(logout_token, keys, &expected);
        let token = remote.check(context, checked).await;
        if let Err(FederationError::NotAccepted(refusal)) = &token {
            // Only the provider sees the answer. The operator must know that no session ends.
            remote.log_logout_refusal(*refusal, now);
        }
        let token = token?;
        let used = pair_digest(issuer, &token.id);
        let identity = token.subject.as_deref().map(|subject| pair_digest(issuer, subject));
        let session = token.sid.as_deref().map(|sid| pair_digest(issuer, sid));
        let seconds = u64::try_from(LogoutToken::REMEMBERED_SECS).unwrap_or_default();
        let remembered = now.plus(Duration::from_secs(seconds));
        transaction!(context.db(), |txn| {
            if !store::spend_logout_token(txn, &used, remembered).await? {
                return Err(ProviderRefusal::Replayed.into());
            }
            let began = store::sessions(txn, identity.as_ref(), session.as_ref()).await?;
            let accounts: BTreeSet<_> = began.iter().map(|(_, account)| *account).collect();
            let mut ended = 0;
            for account in accounts {
                let of = began.iter().filter(|(_, one)| *one == account);
                let lineages: Vec<_> = of.map(|(lineage, _)| *lineage).collect();
                session_store::lock_account(txn, account).await?;
                let count = session_store::end_lineages(txn, account, &lineages, now).await?;
                if count > 0 {
                    let event = Event::new(EventKind::SessionsEnded, now).account(account);
                    audit_log::record(txn, &event.detail("the provider has signed out")).await?;
                }
                ended += count;
            }
            Ok::<_, FederationError>(ended)
        })
    }
}
