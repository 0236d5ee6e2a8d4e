//! Linking an identity to an account, listing and unlinking.

use super::entity::identity;
use super::error::FederationError;
use super::handle::Federation;
use super::remote::Remote;
use super::sign_in::{new_identity, using};
use super::store;
use crate::account::enrolled::{ChangingFactors, FactorChange};
use crate::account::entity::account;
use crate::account::{Account, has_unproved_mailbox, store as account_store, way_in};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::{PendingIdentityId, ProviderIdentityId};
use crate::base::transaction::transaction;
use crate::flow::enrolling::{self, FactorOwner};
use crate::flow::factor_undo::NewFactor;
use crate::flow::factors;
use crate::hook::{HookList, ProviderUse};
use crate::identity::{AccountOwner, owner};
use crate::session::{Issued, SessionError};

/// An identity at a provider that is linked to an account, as its owner sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProviderIdentity {
    /// Its id here.
    pub id: ProviderIdentityId,
    /// The name of the provider.
    pub provider: String,
    /// The mail address that the provider told last.
    pub email: Option<String>,
    /// The name that the provider told last.
    pub display_name: Option<String>,
    /// When it was linked.
    pub created_at: Timestamp,
    /// When it was used last.
    pub last_used_at: Option<Timestamp>,
}

impl From<identity::Model> for ProviderIdentity {
    fn from(row: identity::Model) -> Self {
        Self {
            id: row.id,
            provider: row.provider,
            email: row.email,
            display_name: row.display_name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
        }
    }
}

impl Federation<'_> {
    /// Links a pending identity to the account of a session, which goes on as a new one. All other sessions of the account end,
    /// and its owner is told.
    ///
    /// # Errors
    /// - [`FederationError::PendingEnded`], also if another session asked to link it.
    /// - [`FederationError::StepUp`], [`FederationError::AddressNotProved`], [`FederationError::AlreadyLinked`],
    ///   [`FederationError::OfOtherAccount`].
    /// - [`FederationError::Session`] if the session has ended or the account was changed meanwhile; a hook's refusal; an outage.
    pub async fn link(
        &self,
        owner: &AccountOwner<owner::Factors>,
        id: PendingIdentityId,
        client: &ClientInfo,
    ) -> Result<Issued, FederationError> {
        let context = self.auth.context();
        let asked = self.asked(id).await?;
        let asker = asked.row.account_id.zip(asked.row.lineage_id);
        let this = (owner.account().id(), owner.session().lineage_id());
        if asker.is_some_and(|asker| asker != this) {
            return Err(FederationError::PendingEnded);
        }
        let remote = Remote::find(context, &asked.row.provider)?;
        factors::require_recent_for_key(self.auth, owner.identity())
            .map_err(FederationError::StepUp)?;
        let (row, linked) = self.read(owner).await?;
        if linked.iter().any(|one| one.provider == remote.provider.name) {
            return Err(FederationError::AlreadyLinked);
        }
        let now = context.now();
        let new = new_identity(self.auth, &remote, &asked.told, row.id, row.epoch + 1, now);
        let enrolled = EnrolledFactors(row.enrolled_factors);
        let change = FactorChange::Added(Factor::Provider);
        let changing = ChangingFactors { context, row: &row, enrolled, change, client };
        let (account, asks) = (Account::from(row.clone()), &FactorOwner::from(owner));
        let hooks = self.auth.per_instance::<HookList>();
        let passed = owner.session().factors().clone();
        let event = |detail| {
            let event = Event::new(EventKind::AccountUpdated, now).account(row.id);
            event.from_client(client).detail(detail)
        };
        let issued = transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(FederationError::Session(SessionError::Ended))?;
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(FederationError::AddressNotProved);
            }
            // Of two decisions at once, one goes on.
            if !store::take_pending(txn, id).await? {
                return Err(FederationError::PendingEnded);
            }
            let told = &asked.told;
            let using =
                using(self.auth, &remote, told, Some(&account), ProviderUse::Link, client, now);
            hooks.before_provider(using, txn).await?;
            // Again, now that nobody else can link one: a sign-in links by a mail address without a new epoch.
            let linked = store::of_account(txn, row.id).await?;
            if linked.iter().any(|one| one.provider == new.provider) {
                return Err(FederationError::AlreadyLinked);
            }
            if !store::insert(txn, new.clone()).await? {
                return Err(FederationError::OfOtherAccount);
            }
            let factor = Factor::Provider;
            audit_log::record(txn, &event("identity linked")).await?;
            NewFactor { context, owner: asks, row: &row, factor, epoch, client }.tell(txn).await?;
            let go_on =
                enrolling::go_on(self.auth, txn, owner.identity(), epoch, passed.clone(), client);
            Ok(Box::pin(go_on).await?)
        })?;
        Ok(issued)
    }

    /// Lists the identities of the account, the oldest first.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<Vec<ProviderIdentity>, FederationError> {
        let db = self.auth.context().db();
        let rows = db.read(store::of_account(&db.executor(), owner.account().id())).await?;
        Ok(rows.into_iter().map(ProviderIdentity::from).collect())
    }

    /// Unlinks the identity of a provider, also of one that is switched off or not configured any more. The session goes on as
    /// a new one. All other sessions of the account end, and its owner is told.
    ///
    /// # Errors
    /// - [`FederationError::StepUp`]: a factor must be recent.
    /// - [`FederationError::NotFound`], [`FederationError::LastWayIn`].
    /// - [`FederationError::Session`] if the session has ended or the account was changed meanwhile; an outage.
    pub async fn unlink(
        &self,
        owner: &AccountOwner<owner::Factors>,
        provider: &str,
        client: &ClientInfo,
    ) -> Result<Issued, FederationError> {
        let context = self.auth.context();
        factors::require_recent_for_key(self.auth, owner.identity())
            .map_err(FederationError::StepUp)?;
        let (row, linked) = self.read(owner).await?;
        let found = linked.iter().find(|one| one.provider == provider);
        let id = found.ok_or(FederationError::NotFound)?.id;
        let db = context.db();
        let executor = db.executor();
        let is_left = way_in::by_password_or_mail(context, &row)
            || db.read(way_in::by_provider(&executor, context, row.id, Some(provider))).await?
            || db.read(way_in::by_passkey(&executor, &row)).await?;
        if !is_left {
            return Err(FederationError::LastWayIn);
        }
        let enrolled = EnrolledFactors(row.enrolled_factors);
        let change = FactorChange::Removed(Factor::Provider);
        let changing = ChangingFactors { context, row: &row, enrolled, change, client };
        let passed = owner.session().factors().clone();
        let event = Event::new(EventKind::AccountUpdated, context.now()).account(row.id);
        let event = event.from_client(client).detail("identity unlinked");
        let issued = transaction!(db, |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(FederationError::Session(SessionError::Ended))?;
            if !store::remove(txn, row.id, id).await? {
                return Err(FederationError::NotFound);
            }
            audit_log::record(txn, &event).await?;
            let go_on =
                enrolling::go_on(self.auth, txn, owner.identity(), epoch, passed.clone(), client);
            Ok::<_, FederationError>(Box::pin(go_on).await?)
        })?;
        Ok(issued)
    }

    /// Reads the account and its identities, in this order. If another request changes them in between, the epoch of the
    /// account is not that of the row any more, and nothing is changed.
    async fn read(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<(account::Model, Vec<identity::Model>), FederationError> {
        let account = owner.account();
        let db = self.auth.context().db();
        let executor = db.executor();
        let row = db.read(account_store::find(&executor, account.id())).await?;
        let row = row.filter(|row| row.epoch == account.epoch && !owner.is_superseded());
        let row = row.ok_or(FederationError::Session(SessionError::Ended))?;
        let linked = db.read(store::of_account(&executor, row.id)).await?;
        Ok((row, linked))
    }
}
