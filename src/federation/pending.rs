//! An identity about which a person is asked: they see whose it is, and decide what happens with it.

use serde_json::Value;
use subtle::ConstantTimeEq;

use super::browser::Browser;
use super::entity::pending;
use super::error::FederationError;
use super::exchange::Told;
use super::handle::Federation;
use super::keys::FederationKeys;
use super::remote::Remote;
use super::sign_in::{Chosen, ProviderSignIn};
use super::store;
use crate::account::Email;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId, PendingIdentityId};
use crate::config::federation::ProviderPolicy;
use crate::flow::sign_in::LoginOutcome;

/// An identity about which a person is asked. Show it before they decide.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PendingIdentity {
    /// Its id. A decision names it, so that it is about what was shown.
    pub id: PendingIdentityId,
    /// The name of the provider.
    pub provider: String,
    /// How pages call the provider.
    pub label: String,
    /// The mail address that the provider told.
    pub email: Option<String>,
    /// The name that the provider told.
    pub display_name: Option<String>,
    /// True if a signed-in person asked to link it. False if they may also get an account for it.
    pub links: bool,
    /// Until when they can decide.
    pub expires_at: Timestamp,
}

/// What a person chose for a new account.
#[derive(Clone, Default)]
#[must_use]
pub struct ProviderRegistration {
    username: Option<String>,
    profile: Value,
}

impl ProviderRegistration {
    /// Sets the username. Without one, the account has none.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the data that the application's [hooks](crate::hook::Hooks) get as
    /// [`Registering::profile`](crate::hook::Registering::profile).
    pub fn profile(mut self, profile: Value) -> Self {
        self.profile = profile;
        self
    }
}

impl std::fmt::Debug for ProviderRegistration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderRegistration(..)")
    }
}

/// A pending identity with what the provider told.
pub(super) struct Asked {
    pub(super) row: pending::Model,
    pub(super) told: Told,
}

impl Federation<'_> {
    /// Stores an identity about which this browser is asked.
    pub(super) async fn ask(
        &self,
        remote: &Remote,
        told: &Told,
        browser: Browser,
        of: Option<(AccountId, LineageId)>,
        remember: bool,
    ) -> Result<PendingIdentity, FederationError> {
        let context = self.auth.context();
        let now = context.now();
        let id = PendingIdentityId::new(now);
        let keys = self.auth.per_instance::<FederationKeys>();
        let sealed = keys.seal_told(told, id.as_uuid().as_bytes());
        let (account_id, lineage_id) = of.unzip();
        let row = pending::Model {
            id,
            provider: remote.provider.name.clone(),
            browser: browser.digest().to_vec(),
            account_id,
            lineage_id,
            told: sealed.text,
            told_key_id: sealed.key_id,
            remember,
            created_at: now,
            expires_at: now.plus(context.config.federation.flow_lifetime),
        };
        let db = context.db();
        let executor = db.executor();
        db.retry(|| store::insert_pending(&executor, row.clone())).await?;
        Ok(shown(remote, &row, told))
    }

    /// Returns the newest identity about which this browser is asked.
    ///
    /// # Errors
    /// An outage.
    pub async fn pending(&self) -> Result<Option<PendingIdentity>, FederationError> {
        let context = self.auth.context();
        let Some(browser) = self.browser else { return Ok(None) };
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let digest = browser.digest();
        let newest = store::newest_pending(&executor, &digest, now);
        let Some(row) = db.read(newest).await? else { return Ok(None) };
        let Ok(remote) = Remote::find(context, &row.provider) else { return Ok(None) };
        Ok(self.open(&row).map(|told| shown(&remote, &row, &told)))
    }

    fn open(&self, row: &pending::Model) -> Option<Told> {
        let keys = self.auth.per_instance::<FederationKeys>();
        keys.open_told((&row.told_key_id, &row.told), row.id.as_uuid().as_bytes())
    }

    /// Returns a pending identity of this browser that is still open. It is not used up.
    pub(super) async fn asked(&self, id: PendingIdentityId) -> Result<Asked, FederationError> {
        let context = self.auth.context();
        let browser = self.browser.ok_or(FederationError::PendingEnded)?;
        let db = context.db();
        let row = db.read(store::find_pending(&db.executor(), id)).await?;
        let row = row.filter(|row| {
            let is_theirs = browser.digest().as_slice().ct_eq(row.browser.as_slice());
            bool::from(is_theirs) && context.now() < row.expires_at
        });
        let row = row.ok_or(FederationError::PendingEnded)?;
        let told = self.open(&row).ok_or(FederationError::PendingEnded)?;
        Ok(Asked { row, told })
    }

    /// Creates an account for a pending identity, and signs it in. The identity is used up, unless a field was invalid.
    ///
    /// # Errors
    /// [`FederationError::PendingEnded`], also for an identity that can only be linked;
    /// [`FederationError::Account`] for a username that cannot be used;
    /// [`FederationError::AccountExists`], [`FederationError::AddressNeeded`], [`FederationError::NotLinked`] if registration is closed;
    /// [`FederationError::RateLimited`]; a hook's refusal; an outage.
    pub async fn register(
        &self,
        id: PendingIdentityId,
        chosen: ProviderRegistration,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, FederationError> {
        let context = self.auth.context();
        let asked = self.asked(id).await?;
        let remote = Remote::find(context, &asked.row.provider)?;
        if asked.row.account_id.is_some() {
            return Err(FederationError::PendingEnded);
        }
        if !remote.provider.can_sign_in() || remote.provider.policy == ProviderPolicy::Closed {
            return Err(FederationError::NotForSignIn);
        }
        let new = crate::account::NewAccount {
            username: chosen.username.clone(),
            ..crate::account::NewAccount::default()
        };
        if let Err(invalid) = new.parse() {
            return Err(crate::account::AccountError::Invalid(invalid).into());
        }
        let told = &asked.told;
        let db = context.db();
        if db.read(store::by_digest(&db.executor(), &told.digest())).await?.is_some() {
            return Err(FederationError::OfOtherAccount);
        }
        let email = told.email.as_deref().filter(|_| told.email_trusted);
        let email = email.and_then(|email| Email::parse(email).ok());
        let sign_in = ProviderSignIn {
            auth: self.auth,
            remote: &remote,
            told,
            remember: asked.row.remember,
            before: self.before.as_ref(),
            client,
            now: context.now(),
        };
        let chosen = Chosen { username: chosen.username.as_deref(), profile: &chosen.profile };
        let made = sign_in.create(email.as_ref(), &chosen).await?;
        self.forget(id).await?;
        Ok(made.committed(self.auth).await)
    }

    /// Forgets a pending identity of this browser. Does nothing if there is none.
    ///
    /// # Errors
    /// An outage.
    pub async fn discard(&self, id: PendingIdentityId) -> Result<(), FederationError> {
        match self.asked(id).await {
            Ok(asked) => self.forget(asked.row.id).await,
            Err(FederationError::PendingEnded) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn forget(&self, id: PendingIdentityId) -> Result<(), FederationError> {
        let db = self.auth.context().db();
        let executor = db.executor();
        db.retry(|| store::take_pending(&executor, id)).await?;
        Ok(())
    }
}

fn shown(remote: &Remote, row: &pending::Model, told: &Told) -> PendingIdentity {
    PendingIdentity {
        id: row.id,
        provider: row.provider.clone(),
        label: remote.provider.label.clone(),
        email: told.email.clone(),
        display_name: told.display_name.clone(),
        links: row.account_id.is_some(),
        expires_at: row.expires_at,
    }
}
