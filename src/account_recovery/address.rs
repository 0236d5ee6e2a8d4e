//! The new mail address of an account whose owner has lost the old one too.

use std::time::Duration;

use super::error::AccountRecoveryError;
use super::store;
use crate::account::entity::{account, login_name};
use crate::account::former::{self, Standing};
use crate::account::store::Name;
use crate::account::{Account, Email, LoginIdKind, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::Txn;
use crate::flow::way_back;
use crate::handle::Portcullis;
use crate::hook::{NamesBefore, NamesChange};
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::outstanding::Kind;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An address that becomes the one of an account, because its owner has used the link of a recovery. The
/// UPDATE of the account's row has written it.
pub(super) struct NewAddress<'a> {
    pub(super) auth: &'a Portcullis,
    /// The account before the recovery.
    pub(super) row: &'a account::Model,
    pub(super) email: &'a Email,
    /// The epoch of the account after the recovery.
    pub(super) epoch: i64,
    pub(super) client: &'a ClientInfo,
    pub(super) now: Timestamp,
}

impl NewAddress<'_> {
    /// Gives the account the new address, and removes all its other mail addresses. The owner cannot
    /// read them, and each of them could reset the password.
    pub(super) async fn apply(&self, txn: &Txn<'_>) -> Result<(), AccountRecoveryError> {
        let Self { auth, row, email, epoch, now, .. } = *self;
        let context = auth.context();
        let (id, new) = (row.id, email.normal());
        let names = account_store::names_of(txn, id).await?;
        let is_main = |name: &&login_name::Model| name.typed.is_none() && is_email(name);
        let main = names.iter().find(is_main).filter(|name| name.normal != new);
        // An address that the account had before the one that it replaces is put back.
        let former = former::find(txn, context, id, new, now).await?;
        let back = former.filter(|former| main.is_none_or(|main| former.sequence < main.sequence));
        let first = row.verified_at.is_none() && names.iter().all(|n| n.verified_at.is_none());
        let standing = match &back {
            Some(back) => back.standing(),
            None if first => Standing::FIRST,
            None => Standing::from_epoch(epoch),
        };
        let name = Name {
            account_id: id,
            kind: LoginIdKind::Email,
            normal: new,
            typed: None,
            verified_at: Some(now),
            standing,
        };
        if !account_store::claim_name(txn, name, now).await? {
            self.evict_holder(txn).await?;
            if !account_store::claim_name(txn, name, now).await? {
                return Err(AccountRecoveryError::Taken);
            }
        }
        for name in names.iter().filter(|name| is_email(name) && name.normal != new) {
            store::release(txn, id, &name.normal).await?;
            match name.typed {
                None => self.leave(txn, name, back.is_some()).await?,
                Some(_) => self.tell_removed(txn, name).await?,
            }
        }
        match &back {
            Some(back) => {
                let kind = LoginIdKind::Email;
                former::forget_later(txn, id, kind, back.sequence, back.left_epoch).await?;
            }
            None => former::forget(txn, context, id, new).await?,
        }
        let event = Event::new(EventKind::EmailChanged, now).account(id).from_client(self.client);
        audit_log::record(txn, &event.detail("account recovery")).await?;
        Ok(())
    }

    /// Takes the address from an account that never proved it and cannot be used.
    async fn evict_holder(&self, txn: &Txn<'_>) -> Result<(), AccountRecoveryError> {
        let normal = self.email.normal();
        let holder = account_store::find_by_name(txn, normal).await?;
        let holder = holder.filter(|row| Account::from(row.clone()).has_no_claim(self.now));
        let holder = holder.ok_or(AccountRecoveryError::Taken)?;
        let before = NamesBefore::read(self.auth, txn, holder.id).await?;
        account_store::evict(txn, &holder, normal).await?;
        Ok(before.changed(txn, NamesChange::lost(self.auth, self.client, self.now)).await?)
    }

    /// Tells the main address that it was replaced, with the link that undoes this, as after any change
    /// of the address: its owner may have been away while they could object.
    async fn leave(
        &self,
        txn: &Txn<'_>,
        main: &login_name::Model,
        put_back: bool,
    ) -> Result<(), AccountRecoveryError> {
        let context = self.auth.context();
        let typed = main.as_written(self.row);
        let mut values = Values::new().with_some("address", self.client.address());
        let mut lifetime = None;
        if main.verified_at.is_some() && !put_back {
            former::remember(txn, context, main, self.epoch, self.now).await?;
            if main.is_settled(context, self.now) {
                let page = &context.config.mail.links.email_undo;
                let link = way_back::link_to(txn, context, &Kind::EmailUndo, page, main, typed);
                if let Some(link) = link.await? {
                    lifetime = context.config.contact.undo_lifetime;
                    let days = lifetime.map(|lifetime| lifetime.as_secs() / DAY.as_secs());
                    values = values.with("link", link).with_some("days", days);
                }
            }
        }
        let message = Outgoing::new(MessageKind::EmailChangedUndo, Recipient::email(typed));
        let mut message = message.account(self.row.id).values(values);
        if let Some(lifetime) = lifetime {
            message = message.undone_within(lifetime);
        }
        outbox::put(txn, context, &message).await?;
        Ok(())
    }

    async fn tell_removed(
        &self,
        txn: &Txn<'_>,
        name: &login_name::Model,
    ) -> Result<(), AccountRecoveryError> {
        if name.verified_at.is_none() {
            return Ok(());
        }
        let to = Recipient::email(name.as_written(self.row));
        let values = Values::new().with_some("address", self.client.address());
        let message = Outgoing::new(MessageKind::AddressRemoved, to).account(self.row.id);
        outbox::put(txn, self.auth.context(), &message.values(values)).await?;
        Ok(())
    }
}

fn is_email(name: &login_name::Model) -> bool {
    name.kind == LoginIdKind::Email.number()
}
