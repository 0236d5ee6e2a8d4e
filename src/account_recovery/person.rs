//! What the person does: object, or set a new password with the link.

use super::AccountRecoveries;
use super::address::NewAddress;
use super::error::AccountRecoveryError;
use super::recovery::AccountRecovery;
use super::store;
use crate::account::closing::store as closing_store;
use crate::account::enrolled::remove_factors;
use crate::account::entity::account;
use crate::account::recovering::{RecoveryState, store as recovering_store};
use crate::account::{Account, Email, StoredPassword, store as account_store};
use crate::api_key;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, AccountRecoveryId};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::config::AttemptKind;
use crate::context::Context;
use crate::hook::{ChangingPassword, HookList, NamesBefore, NamesCause, NamesChange};
use crate::identity::{AccountOwner, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Challenge};
use crate::outbox::{self, Outgoing};
use crate::outstanding::{self, Ending, Kind};
use crate::password::{Names, Password, Passwords};

impl AccountRecoveries<'_> {
    /// Objects to a recovery, with the token of a link from the notice. It needs no session and starts
    /// none. It counts until the person has set a new password.
    ///
    /// # Errors
    /// [`AccountRecoveryError::WrongCode`], whatever is wrong with the token;
    /// [`AccountRecoveryError::UsedJustNow`]; [`AccountRecoveryError::Fault`].
    pub async fn object(
        &self,
        token: &str,
        client: &ClientInfo,
    ) -> Result<(), AccountRecoveryError> {
        let context = self.auth.context();
        let (kind, now) = (&Kind::RecoveryObjection, context.now());
        let challenge = self.look(kind, token, client, now).await?;
        let account = challenge.account_id().ok_or(AccountRecoveryError::WrongCode)?;
        let done = transaction!(self.db, |txn| {
            // The account is locked first, in the same order as when the recovery is completed, so that
            // the two do not deadlock.
            let row = closing_store::lock(txn, account).await?;
            let spent = challenge.spend_from(txn, context, client, now).await?;
            let open = row.and_then(|row| row.recovery_id);
            // A link of an earlier recovery must not end a later one.
            let open = open.filter(|open| is_bound(context, &challenge, *open));
            let open = open.filter(|_| spent).ok_or(AccountRecoveryError::WrongCode)?;
            self.objected(txn, account, open, client, now).await
        });
        self.end(kind, token, client, now, done).await
    }

    /// Objects to the open recovery of the owner's account, in their session.
    ///
    /// # Errors
    /// [`AccountRecoveryError::NotOpen`]; [`AccountRecoveryError::Fault`].
    pub async fn object_in_session(
        &self,
        owner: &AccountOwner<owner::Factors>,
        client: &ClientInfo,
    ) -> Result<(), AccountRecoveryError> {
        let (account, now) = (owner.account().id(), self.auth.context().now());
        transaction!(self.db, |txn| {
            let row = closing_store::lock(txn, account).await?;
            // The session must still count, after a change that ended all sessions.
            let row = row.filter(|row| row.epoch == owner.account().epoch);
            let open = row.and_then(|row| row.recovery_id);
            let open = open.ok_or(AccountRecoveryError::NotOpen)?;
            match self.objected(txn, account, open, client, now).await {
                Err(AccountRecoveryError::WrongCode) => Err(AccountRecoveryError::NotOpen),
                other => other,
            }
        })
    }

    /// Returns the recoveries of the owner's account, as [`of`](Self::of) does.
    ///
    /// # Errors
    /// [`AccountRecoveryError::Fault`] if the infrastructure failed.
    pub async fn own(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<Vec<AccountRecovery>, AccountRecoveryError> {
        self.of(owner.account().id()).await
    }

    /// Finishes a recovery, with the token of the link that was sent: sets a new password, removes all
    /// second factors with their recovery codes, and ends all sessions, codes and links. If the recovery
    /// has a new mail address, it becomes the address of the account, and the other mail addresses are
    /// removed. It signs nobody in.
    ///
    /// # Errors
    /// [`AccountRecoveryError::WrongCode`], whatever is wrong with the token;
    /// [`AccountRecoveryError::UsedJustNow`]; [`AccountRecoveryError::Invalid`], if the password cannot
    /// be used; [`AccountRecoveryError::Taken`], if another account has got the new address;
    /// [`AccountRecoveryError::Refused`]; [`AccountRecoveryError::Fault`]. After an error nothing is
    /// changed.
    pub async fn finish(
        &self,
        token: &str,
        password: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<(), AccountRecoveryError> {
        let password = Password::from(password.into());
        let (kind, now) = (&Kind::AccountRecovery, self.auth.context().now());
        let challenge = self.look(kind, token, client, now).await?;
        let done = self.use_link(&challenge, &password, client, now).await;
        self.end(kind, token, client, now, done).await
    }

    async fn use_link(
        &self,
        challenge: &Challenge,
        password: &Password,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<(), AccountRecoveryError> {
        let context = self.auth.context();
        let id = challenge.account_id().ok_or(AccountRecoveryError::WrongCode)?;
        let executor = self.db.executor();
        let row = self.db.read(account_store::find(&executor, id)).await?;
        let row = row.ok_or(AccountRecoveryError::WrongCode)?;
        // Nothing is hashed for a link that cannot work.
        let open = self.of_link(&row, challenge, now)?;
        let recovery = self.db.read(store::find(&executor, open)).await?;
        let email = recovery.ok_or(AccountRecoveryError::WrongCode)?.email;
        let account = Account::from(row);
        let hashed = self.hash(password, &account, email.as_deref(), client).await?;
        transaction!(self.db, |txn| {
            let row = closing_store::lock(txn, id).await?.ok_or(AccountRecoveryError::WrongCode)?;
            let open = self.of_link(&row, challenge, now)?;
            is_still_own(txn, &row, challenge).await?;
            if !challenge.spend_from(txn, context, client, now).await? {
                return Err(AccountRecoveryError::WrongCode);
            }
            self.recover(txn, &row, open, hashed.clone(), client, now).await
        })
    }

    /// Returns the open recovery of an account to which a link belongs.
    fn of_link(
        &self,
        row: &account::Model,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<AccountRecoveryId, AccountRecoveryError> {
        let usable = Account::from(row.clone()).is_usable(now, false);
        let open = row.recovery_id.filter(|_| usable);
        let open = open.filter(|open| is_bound(self.auth.context(), challenge, *open));
        open.ok_or(AccountRecoveryError::WrongCode)
    }

    /// Changes the account, in the transaction that has used up the link and locked the account's row.
    async fn recover(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        open: AccountRecoveryId,
        hashed: StoredPassword,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<(), AccountRecoveryError> {
        let (auth, context, id) = (self.auth, self.auth.context(), row.id);
        let recovery = store::find(txn, open).await?;
        let lifetime = context.config.account_recovery.link_lifetime;
        let completed = RecoveryState::Completed.number();
        let recovery = recovery.filter(|recovery| recovery.state == completed);
        let recovery = recovery.ok_or(AccountRecoveryError::WrongCode)?;
        let email = recovery.email.as_deref().and_then(|email| Email::parse(email).ok());
        let account = Account::from(row.clone());
        let hooks = auth.per_instance::<HookList>();
        let change = ChangingPassword {
            auth,
            account: &account,
            account_id: id,
            session_id: None,
            client,
            at: now,
        };
        hooks.before_password_change(change, txn).await?;
        let names = NamesBefore::read(auth, txn, id).await?;
        let text = email.as_ref().map(Email::as_str);
        if !store::recover_account(txn, id, open, text, hashed, now).await?
            || !recovering_store::end(txn, open, RecoveryState::Finished, lifetime, now).await?
        {
            return Err(AccountRecoveryError::WrongCode);
        }
        remove_factors(txn, context, row).await?;
        if let Some(email) = &email {
            let epoch = row.epoch + 1;
            NewAddress { auth, row, email, epoch, client, now }.apply(txn).await?;
        }
        let cause = NamesCause::Changed;
        let renamed = NamesChange { auth, cause, session_id: None, client, at: now };
        names.changed(txn, renamed).await?;
        one_time::end_of_account(txn, id, None, now).await?;
        api_key::end_all(txn, id, "account recovered", now).await?;
        for kind in [Kind::RecoveryObjection, Kind::AccountRecovery] {
            outstanding::end(txn, id, Ending::Kind(&kind), now).await?;
        }
        // Strangers may have caused the locks.
        let kinds = [AttemptKind::Login, AttemptKind::Forgot, AttemptKind::SecondFactor];
        auth.attempts().close(txn, id, &kinds).await?;
        let event = Event::new(EventKind::AccountRecovered, now).account(id).from_client(client);
        audit_log::record(txn, &event).await?;
        let to = text.or(row.email.as_deref()).and_then(Recipient::email);
        let notice = Outgoing::new(MessageKind::PasswordChanged, to)
            .account(id)
            .values(Values::new().with_some("address", client.address()));
        outbox::put(txn, context, &notice).await?;
        Ok(hooks.after_password_change(change, txn).await?)
    }

    async fn objected(
        &self,
        txn: &Txn<'_>,
        account: AccountId,
        open: AccountRecoveryId,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<(), AccountRecoveryError> {
        if !self.stop(txn, account, open, RecoveryState::Objected, now).await? {
            return Err(AccountRecoveryError::WrongCode);
        }
        let event = Event::new(EventKind::AccountRecoveryObjected, now).account(account);
        Ok(audit_log::record(txn, &event.from_client(client)).await?)
    }

    /// Returns the challenge of a link, if it is still open.
    async fn look(
        &self,
        kind: &Kind,
        token: &str,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Challenge, AccountRecoveryError> {
        let found = self.find(kind, token).await?;
        let used = |found: &Challenge| found.was_used_by(self.auth.context(), client, now);
        if found.as_ref().is_some_and(used) {
            return Err(AccountRecoveryError::UsedJustNow);
        }
        found.filter(|found| found.is_open(now)).ok_or(AccountRecoveryError::WrongCode)
    }

    /// Ends a flow with a link. The same person may have clicked twice.
    async fn end(
        &self,
        kind: &Kind,
        token: &str,
        client: &ClientInfo,
        now: Timestamp,
        done: Result<(), AccountRecoveryError>,
    ) -> Result<(), AccountRecoveryError> {
        if let Err(AccountRecoveryError::WrongCode) = done {
            self.look(kind, token, client, now).await?;
        }
        done
    }

    async fn find(&self, kind: &Kind, token: &str) -> Result<Option<Challenge>, Fault> {
        let executor = self.db.executor();
        let found = one_time::find_by_token(&executor, self.auth.context(), kind, token);
        self.db.read(found).await
    }

    /// Hashes a new password, if it is accepted.
    async fn hash(
        &self,
        new: &Password,
        account: &Account,
        email: Option<&str>,
        client: &ClientInfo,
    ) -> Result<StoredPassword, AccountRecoveryError> {
        let passwords = self.auth.per_instance::<Passwords>();
        let executor = self.db.executor();
        let further = self.db.read(account_store::names_of(&executor, account.id())).await?;
        let mut names = Names::of(account).and(&further);
        // The link makes it the address of the account.
        names.0.extend(email);
        let faults = passwords.faults("password", new, &names, client.address()).await?;
        if !faults.is_empty() {
            return Err(AccountRecoveryError::Invalid(faults));
        }
        Ok(passwords.hash(new, client.address()).await?)
    }
}

/// Checks that the account still has the address to which its link was sent. The owner may have left a
/// mailbox that somebody else reads. A new address belongs to no account yet, so it is not checked here.
async fn is_still_own(
    txn: &Txn<'_>,
    row: &account::Model,
    challenge: &Challenge,
) -> Result<(), AccountRecoveryError> {
    let Some(address) = challenge.data() else { return Ok(()) };
    let names = account_store::names_of(txn, row.id).await?;
    match names.iter().any(|name| name.normal == address && name.verified_at.is_some()) {
        true => Ok(()),
        false => Err(AccountRecoveryError::WrongCode),
    }
}

/// Returns true if a link belongs to this recovery.
fn is_bound(context: &Context, challenge: &Challenge, open: AccountRecoveryId) -> bool {
    challenge.is_bound_to(context, &[open.as_uuid().as_bytes()])
}
