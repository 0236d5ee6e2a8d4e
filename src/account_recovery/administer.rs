//! What administrators do: open a recovery, cancel it, and send the link.

use std::time::Duration;

use super::AccountRecoveries;
use super::actor::RecoveryActor;
use super::entity::Model;
use super::error::AccountRecoveryError;
use super::notice::Destination;
use super::recovery::{AccountRecovery, NewRecovery, OpenedRecovery};
use super::{notice, store};
use crate::account::closing::store as closing_store;
use crate::account::entity::account;
use crate::account::recovering::{RecoveryState, store as recovering_store};
use crate::account::{Account, Email, has_unproved_mailbox, store as account_store};
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::EventKind;
use crate::base::id::{AccountId, AccountRecoveryId};
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Txn, transaction};
use crate::outstanding::{self, Ending, Kind};

impl AccountRecoveries<'_> {
    /// Opens the recovery of an account. At once, every verified address and number of the account gets
    /// a notice with a link to object. Nothing else changes.
    ///
    /// # Errors
    /// - [`AccountRecoveryError::Auth`], [`OwnAccount`](AccountRecoveryError::OwnAccount) or
    ///   [`MoreRights`](AccountRecoveryError::MoreRights): the actor may not do this.
    /// - [`AccountRecoveryError::NotFound`], [`Disabled`](AccountRecoveryError::Disabled) or
    ///   [`AddressNotProved`](AccountRecoveryError::AddressNotProved): the account cannot be recovered.
    /// - [`AccountRecoveryError::Invalid`]: the reason is missing, or the address cannot be used. Without
    ///   a verified mail address, the account needs a new one.
    /// - [`AccountRecoveryError::Taken`]: the new address belongs to another account.
    /// - [`AccountRecoveryError::AlreadyOpen`]; [`AccountRecoveryError::Fault`].
    pub async fn open(
        &self,
        account: AccountId,
        new: NewRecovery,
        actor: RecoveryActor<'_>,
    ) -> Result<OpenedRecovery, AccountRecoveryError> {
        let (reason, email) = new.parse().map_err(AccountRecoveryError::Invalid)?;
        actor.check(self.auth, self.db, account).await?;
        let context = self.auth.context();
        let (config, now) = (&context.config.account_recovery, context.now());
        transaction!(self.db, |txn| {
            let row = self.lock(txn, account, now).await?;
            if row.verified_at.is_none() && has_unproved_mailbox(txn, account).await? {
                return Err(AccountRecoveryError::AddressNotProved);
            }
            if let Some(open) = self.of_row(txn, &row, now).await?
                && open.state.is_open()
            {
                return Err(AccountRecoveryError::AlreadyOpen);
            }
            // The own address is no new one.
            let own = row.email.as_deref().and_then(|own| Email::parse(own).ok());
            let same = |email: &&Email| own.as_ref().map(Email::normal) != Some(email.normal());
            let email = email.as_ref().filter(same);
            if let Some(email) = email {
                self.check_free(txn, &row, email, now).await?;
            }
            let text = email.map(Email::as_str);
            if notice::destination(txn, context, &row, text).await?.is_none() {
                let message = "give a mail address to which the link can be sent";
                let field = InvalidField::new("email", "undeliverable", message);
                return Err(AccountRecoveryError::Invalid(vec![field]));
            }
            let ready_at = now.plus(config.delay);
            let recovery = Model {
                id: AccountRecoveryId::new(now),
                account_id: account,
                opened_by: actor.text(),
                reason: reason.clone(),
                email: text.map(str::to_owned),
                state: RecoveryState::Open.number(),
                opened_at: now,
                ready_at,
                expires_at: ready_at.plus(config.open_for),
                completed_by: None,
                completed_at: None,
                ended_at: None,
            };
            if let Some(before) = row.recovery_id {
                recovering_store::expire(txn, before, now).await?;
            }
            store::insert(txn, recovery.clone()).await?;
            recovering_store::set(txn, account, recovery.id).await?;
            let notices = notice::opened(txn, context, &row, recovery.id).await?;
            let event = actor.event(EventKind::AccountRecoveryOpened, account, now);
            audit_log::record(txn, &event).await?;
            let open = Some(recovery.id);
            let recovery = AccountRecovery::of(recovery, open, config.link_lifetime, now);
            let needs_second_administrator =
                config.second_administrator && email.is_some() && actor.is_administrator();
            Ok(OpenedRecovery { recovery, notices, needs_second_administrator })
        })
    }

    /// Cancels the open recovery of an account.
    ///
    /// # Errors
    /// The actor may not do this; [`AccountRecoveryError::NotFound`];
    /// [`AccountRecoveryError::NotOpen`]; [`AccountRecoveryError::Fault`].
    pub async fn cancel(
        &self,
        account: AccountId,
        actor: RecoveryActor<'_>,
    ) -> Result<(), AccountRecoveryError> {
        actor.check(self.auth, self.db, account).await?;
        let now = self.auth.context().now();
        transaction!(self.db, |txn| {
            let row = closing_store::lock(txn, account).await?;
            let row = row.ok_or(AccountRecoveryError::NotFound)?;
            let open = row.recovery_id.ok_or(AccountRecoveryError::NotOpen)?;
            if !self.stop(txn, account, open, RecoveryState::Cancelled, now).await? {
                return Err(AccountRecoveryError::NotOpen);
            }
            let event = actor.event(EventKind::AccountRecoveryCancelled, account, now);
            Ok(audit_log::record(txn, &event).await?)
        })
    }

    /// Sends the link of a recovery after its delay, and ends the sessions, unfinished sign-ins, codes
    /// and links of the account. The second factors and the password stay until the link is used. Of
    /// several calls at the same time, one succeeds.
    ///
    /// # Errors
    /// The actor may not do this; [`AccountRecoveryError::NotFound`];
    /// [`AccountRecoveryError::Disabled`]; [`AccountRecoveryError::NotOpen`], also if the owner has
    /// objected or signed in; [`AccountRecoveryError::SameAdministrator`];
    /// [`AccountRecoveryError::TooEarly`]; [`AccountRecoveryError::Taken`], if another account has got
    /// the new address; [`AccountRecoveryError::Invalid`], if the account has lost the address for the
    /// link; [`AccountRecoveryError::Fault`]. After an error nothing is changed.
    pub async fn complete(
        &self,
        account: AccountId,
        actor: RecoveryActor<'_>,
    ) -> Result<(), AccountRecoveryError> {
        actor.check(self.auth, self.db, account).await?;
        let context = self.auth.context();
        let (config, now) = (&context.config.account_recovery, context.now());
        transaction!(self.db, |txn| {
            let row = self.lock(txn, account, now).await?;
            let open = self.open_of(txn, &row, RecoveryState::Open, now).await?;
            // Before the end of the delay too, so that the administrator learns it early.
            if config.second_administrator
                && open.email.is_some()
                && actor.has_opened(&open.opened_by)
            {
                return Err(AccountRecoveryError::SameAdministrator);
            }
            if open.ready_at > now {
                return Err(AccountRecoveryError::TooEarly(open.ready_at));
            }
            // A caller with a transaction of their own may commit it in spite of an error. So this is
            // checked before anything ends.
            let to = self.destination(txn, &row, &open, now).await?;
            if !store::complete(txn, open.id, &actor.text(), now).await? {
                return Err(AccountRecoveryError::NotOpen);
            }
            account_store::lock_and_end_sessions(txn, account).await?;
            outstanding::end(txn, account, Ending::All, now).await?;
            notice::completed(txn, context, &row, &open, now).await?;
            notice::link(txn, context, &row, open.id, to).await?;
            let event = actor.event(EventKind::AccountRecoveryCompleted, account, now);
            Ok(audit_log::record(txn, &event).await?)
        })
    }

    /// Sends the link of a completed recovery again. The one before is no longer valid.
    ///
    /// # Errors
    /// As for [`complete`](Self::complete).
    pub async fn send_again(
        &self,
        account: AccountId,
        actor: RecoveryActor<'_>,
    ) -> Result<(), AccountRecoveryError> {
        actor.check(self.auth, self.db, account).await?;
        let context = self.auth.context();
        let now = context.now();
        transaction!(self.db, |txn| {
            let row = self.lock(txn, account, now).await?;
            let open = self.open_of(txn, &row, RecoveryState::Completed, now).await?;
            if open.expires_at <= now {
                return Err(AccountRecoveryError::NotOpen);
            }
            let to = self.destination(txn, &row, &open, now).await?;
            store::send_again(txn, open.id, &actor.text(), now).await?;
            notice::link(txn, context, &row, open.id, to).await?;
            let event = actor.event(EventKind::AccountRecoveryCompleted, account, now);
            let event = event.detail(format!("again {}", actor.text()));
            Ok(audit_log::record(txn, &event).await?)
        })
    }

    /// Returns the recoveries of an account that are not deleted yet, at most 100, the newest first. At
    /// most the first one is open.
    ///
    /// # Errors
    /// [`AccountRecoveryError::Fault`] if the infrastructure failed.
    pub async fn of(
        &self,
        account: AccountId,
    ) -> Result<Vec<AccountRecovery>, AccountRecoveryError> {
        let executor = self.db.executor();
        let (lifetime, now) = (self.link_lifetime(), self.auth.context().now());
        let row = self.db.read(account_store::find(&executor, account)).await?;
        let open = row.and_then(|row| row.recovery_id);
        let rows = self.db.read(store::of_account(&executor, account)).await?;
        Ok(rows.into_iter().map(|row| AccountRecovery::of(row, open, lifetime, now)).collect())
    }

    /// Locks an account that can be recovered.
    async fn lock(
        &self,
        txn: &Txn<'_>,
        account: AccountId,
        now: Timestamp,
    ) -> Result<account::Model, AccountRecoveryError> {
        let row = closing_store::lock(txn, account).await?;
        let row = row.filter(|row| row.deleted_at.is_none());
        let row = row.ok_or(AccountRecoveryError::NotFound)?;
        match Account::from(row.clone()).is_usable(now, false) {
            true => Ok(row),
            false => Err(AccountRecoveryError::Disabled),
        }
    }

    /// Returns the recovery that the row of an account names.
    async fn of_row(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        now: Timestamp,
    ) -> Result<Option<AccountRecovery>, AccountRecoveryError> {
        let Some(id) = row.recovery_id else { return Ok(None) };
        let (found, lifetime) = (store::find(txn, id).await?, self.link_lifetime());
        Ok(found.map(|found| AccountRecovery::of(found, row.recovery_id, lifetime, now)))
    }

    fn link_lifetime(&self) -> Duration {
        self.auth.context().config.account_recovery.link_lifetime
    }

    async fn open_of(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        state: RecoveryState,
        now: Timestamp,
    ) -> Result<AccountRecovery, AccountRecoveryError> {
        let open = self.of_row(txn, row, now).await?;
        open.filter(|open| open.state == state).ok_or(AccountRecoveryError::NotOpen)
    }

    /// Returns where the link goes. Nothing is sent to a new address that another account has got.
    async fn destination(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        open: &AccountRecovery,
        now: Timestamp,
    ) -> Result<Destination, AccountRecoveryError> {
        let email = open.email.as_deref();
        if let Some(email) = email.and_then(|email| Email::parse(email).ok()) {
            self.check_free(txn, row, &email, now).await?;
        }
        let to = notice::destination(txn, self.auth.context(), row, email).await?;
        to.ok_or_else(|| {
            let message = "no message can be sent to it any more";
            let field = InvalidField::new("email", "undeliverable", message);
            AccountRecoveryError::Invalid(vec![field])
        })
    }

    /// Checks that the new address can become the one of this account.
    async fn check_free(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        email: &Email,
        now: Timestamp,
    ) -> Result<(), AccountRecoveryError> {
        let holder = account_store::find_with_name(txn, email.normal()).await?;
        let taken = holder.is_some_and(|(name, holder)| {
            let yields = name.verified_at.is_none() && Account::from(holder).has_no_claim(now);
            name.account_id != row.id && !yields
        });
        if taken { Err(AccountRecoveryError::Taken) } else { Ok(()) }
    }

    /// Ends the open recovery of an account, with its links. Returns false if it has already ended, or if
    /// its time is over.
    pub(super) async fn stop(
        &self,
        txn: &Txn<'_>,
        account: AccountId,
        recovery: AccountRecoveryId,
        state: RecoveryState,
        now: Timestamp,
    ) -> Result<bool, AccountRecoveryError> {
        if !recovering_store::clear(txn, account, recovery).await?
            || !recovering_store::end(txn, recovery, state, self.link_lifetime(), now).await?
        {
            return Ok(false);
        }
        outstanding::end(txn, account, Ending::Kind(&Kind::RecoveryObjection), now).await?;
        outstanding::end(txn, account, Ending::Kind(&Kind::AccountRecovery), now).await?;
        Ok(true)
    }
}
