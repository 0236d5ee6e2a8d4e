//! Closing an account, and reopening it.

use std::time::Duration;

use super::OwnAccount;
use super::error::OwnAccountError;
use crate::account::closing::{self, store as closing_store};
use crate::account::entity::account;
use crate::account::{Account, Accounts, LoginIdKind, store as account_store, superuser};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::transaction::{Fault, Txn, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::hook::{ClosingAccount, HookList};
use crate::identity::{AccountOwner, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, Start};
use crate::outbox::{self, Outgoing, Put};
use crate::outstanding::{self, Ending, Kind};
use crate::session::{SessionError, store as session_store};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An account that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedAccount {
    /// When it is erased. Until then it can be reopened.
    pub erase_at: Timestamp,
    /// The number of addresses and numbers to which a link was sent that reopens it. If it is 0,
    /// only the application can reopen it, with [`keep`](Accounts::keep).
    pub notices: usize,
}

impl Accounts<'_> {
    /// Closes an account for its owner, and sends the links that reopen it, as
    /// [`OwnAccount::close`] does. If it is already closed, nothing changes and no links are sent.
    ///
    /// # Errors
    /// - [`OwnAccountError::NotFound`]: the account does not exist, or was deleted or erased.
    /// - [`OwnAccountError::LastSuperuser`]: no other superuser is left.
    /// - [`OwnAccountError::Refused`]: a hook refused.
    /// - [`OwnAccountError::Fault`]: the infrastructure failed.
    pub async fn close(&self, id: AccountId) -> Result<ClosedAccount, OwnAccountError> {
        let (context, now) = (self.context, self.context.now());
        let closing = Closing { context, id, by: None, now };
        transaction!(self.db, |txn| { closing.close(txn).await })
    }

    /// Reopens a closed account that is not erased yet. Its sessions stay ended. If the account is
    /// disabled too, it stays disabled.
    ///
    /// # Errors
    /// - [`OwnAccountError::NotFound`]: there is no such account, or it is not closed, or its
    ///   waiting time is over.
    /// - [`OwnAccountError::Fault`]: the infrastructure failed.
    pub async fn keep(&self, id: AccountId) -> Result<(), OwnAccountError> {
        let now = self.context.now();
        transaction!(self.db, |txn| {
            match closing::reopen(txn, id, None, now).await? {
                true => Ok(()),
                false => Err(OwnAccountError::NotFound),
            }
        })
    }
}

impl OwnAccount<'_> {
    /// Closes the account of the owner. At once, nobody can sign in, and all its sessions, codes
    /// and links end. Each proved address gets a link that reopens the account. After
    /// [`closed_accounts`](crate::config::RetentionConfig::closed_accounts) the account is erased.
    ///
    /// # Errors
    /// No recent factor; [`OwnAccountError::LastSuperuser`]; the session has ended; a hook refused;
    /// an outage. If it fails, nothing is changed.
    pub async fn close(
        &self,
        identity: &AccountOwner<owner::Close>,
        client: &ClientInfo,
    ) -> Result<ClosedAccount, OwnAccountError> {
        let context = self.auth.context();
        super::recent_factor(context, identity)?;
        let (id, now) = (identity.account().id(), context.now());
        let closing = Closing { context, id, by: Some((identity, client)), now };
        transaction!(context.db(), |txn| { closing.close(txn).await })
    }

    /// Reopens a closed account, with the token of a link that was sent when it was closed. It
    /// needs no session and starts none: the owner signs in as before.
    ///
    /// # Errors
    /// [`OwnAccountError::WrongCode`] if the token is not valid, or if the account was erased;
    /// [`OwnAccountError::UsedJustNow`]; an outage. If it fails, nothing is changed.
    pub async fn keep(&self, token: &str, client: &ClientInfo) -> Result<(), OwnAccountError> {
        let (context, now) = (self.auth.context(), self.auth.context().now());
        let found = self.find(token).await?;
        let used = |found: &Challenge| found.was_used_by(context, client, now);
        if found.as_ref().is_some_and(used) {
            return Err(OwnAccountError::UsedJustNow);
        }
        let challenge = found.filter(|found| found.is_open(now));
        let challenge = challenge.ok_or(OwnAccountError::WrongCode)?;
        let id = challenge.account_id().ok_or(OwnAccountError::WrongCode)?;
        let kept = transaction!(context.db(), |txn| {
            // The account is locked first, in the same order as an erasure, so that the two do not
            // deadlock.
            let row = closing_store::lock(txn, id).await?;
            let spent = challenge.spend_from(txn, context, client, now).await?;
            // A link of an earlier closing must not undo a later one.
            let same = |at: Timestamp| challenge.is_bound_to(context, &[&bound(at)]);
            let closed = row.and_then(|row| row.erase_at).is_some_and(same);
            if !spent || !closed || !closing::reopen(txn, id, Some(client), now).await? {
                return Err(OwnAccountError::WrongCode);
            }
            Ok(())
        });
        // The owner may have clicked twice.
        if matches!(kept, Err(OwnAccountError::WrongCode))
            && self.find(token).await?.as_ref().is_some_and(used)
        {
            return Err(OwnAccountError::UsedJustNow);
        }
        kept
    }

    async fn find(&self, token: &str) -> Result<Option<Challenge>, Fault> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        db.read(one_time::find_by_token(&executor, context, &Kind::AccountKeep, token)).await
    }
}

/// The value to which a link is bound.
fn bound(erase_at: Timestamp) -> [u8; 8] {
    erase_at.as_millis().to_be_bytes()
}

/// An account that is being closed.
struct Closing<'a> {
    context: &'a Context,
    id: AccountId,
    /// The owner. `None` if the application closes it.
    by: Option<(&'a AccountOwner<owner::Close>, &'a ClientInfo)>,
    now: Timestamp,
}

impl Closing<'_> {
    async fn close(&self, txn: &Txn<'_>) -> Result<ClosedAccount, OwnAccountError> {
        let Self { context, id, by, now } = *self;
        let locked = superuser::lock(txn, context, id, now).await?;
        let (row, superusers) = locked.ok_or(OwnAccountError::NotFound)?;
        // A hook may act outside of this transaction, so everything possible is checked before it
        // runs.
        match by {
            None if row.erased_at.is_some() => return Err(OwnAccountError::NotFound),
            None if row.deleted_at.is_some() => {
                let erase_at = row.erase_at.ok_or(OwnAccountError::NotFound)?;
                return Ok(ClosedAccount { erase_at, notices: 0 });
            }
            Some((owner, _))
                if !super::sign_in_goes_on(
                    txn,
                    &row,
                    owner.account().epoch,
                    owner.session().lineage_id(),
                    now,
                )
                .await? =>
            {
                return Err(SessionError::Ended.into());
            }
            _ => {}
        }
        if superusers.is_last(id) {
            return Err(OwnAccountError::LastSuperuser);
        }
        let auth = Portcullis::of(context);
        let account = Account::from(row.clone());
        let told = ClosingAccount {
            auth: &auth,
            account: &account,
            account_id: id,
            session_id: by.map(|(owner, _)| owner.session().id()),
            client: by.map(|(_, client)| client),
            at: now,
        };
        auth.per_instance::<HookList>().before_close(told, txn).await?;
        let erase_at = now.plus(context.config.retention.closed_accounts);
        // A session that was ended in the meantime must not close the account.
        let asking = by.map(|(owner, _)| {
            let lineage = owner.session().lineage_id();
            (owner.account().epoch, session_store::sign_in(id, lineage, now))
        });
        if !closing_store::close(txn, id, asking, erase_at, now).await? {
            return Err(match by {
                Some(_) => SessionError::Ended.into(),
                None => OwnAccountError::NotFound,
            });
        }
        outstanding::end(txn, id, Ending::All, now).await?;
        let notices = self.tell(txn, &row, erase_at).await?;
        let mut event = Event::new(EventKind::AccountClosed, now).account(id);
        if let Some((owner, client)) = by {
            event = event.session(owner.session().id()).from_client(client);
        }
        audit_log::record(txn, &event).await?;
        Ok(ClosedAccount { erase_at, notices })
    }

    /// Sends a link to every address and number that the account has proved. Returns how many.
    async fn tell(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        erase_at: Timestamp,
    ) -> Result<usize, OwnAccountError> {
        let Self { context, id, by, .. } = *self;
        let config = &context.config;
        let lifetime = config.retention.closed_accounts;
        let mut notices = 0;
        for name in account_store::names_of(txn, id).await? {
            if name.verified_at.is_none() {
                continue;
            }
            let text = name.as_written(row);
            let to = match LoginIdKind::from_number(name.kind) {
                Some(LoginIdKind::Email) => Recipient::email(text),
                Some(LoginIdKind::Phone) => Recipient::phone(text),
                Some(LoginIdKind::Username) | None => None,
            };
            let Some(to) = to.filter(|to| context.can_send_to(to)) else { continue };
            let start = Start {
                kind: &Kind::AccountKeep,
                account_id: Some(id),
                session_id: None,
                // One link for each address.
                target: Some(&name.normal),
                data: None,
                binding: Some(&[&bound(erase_at)]),
                answer: Answer::TokenOnly,
                lifetime,
                cool_down: Duration::ZERO,
            };
            let started = one_time::start(txn, context, &start).await?;
            let page = &config.mail.links.account_keep;
            let link = started.and_then(|started| config.link(page, &started.token));
            let values = Values::new()
                .with_some("address", by.and_then(|(_, client)| client.address()))
                .with_some("link", link)
                .with("days", lifetime.as_secs() / DAY.as_secs());
            let message = Outgoing::new(MessageKind::AccountClosed, Some(to))
                .account(id)
                .values(values)
                .undone_within(lifetime);
            notices += usize::from(outbox::put(txn, context, &message).await? == Put::Queued);
        }
        Ok(notices)
    }
}
