//! What is removed when an earlier address is put back.

use sea_orm::DbErr;

use super::channel::Channel;
use super::store;
use crate::account::enrolled::{phone_removed, removed_since};
use crate::account::entity::login_name;
use crate::account::former::{self, Standing};
use crate::account::{LoginIdKind, store as account_store};
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::context::Context;

/// How an earlier address is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// By the link that undoes the change. Its holder may be kept out of the account.
    Link,
    /// In a session. Its owner can remove second factors there, which needs one of them.
    Session,
}

/// An address that was the main one before the address that it replaces. To put it back is an undo.
pub(super) struct Returning {
    pub(super) standing: Standing,
    /// The epoch that began when it was replaced.
    pub(super) left_epoch: i64,
    pub(super) by: By,
}

impl Returning {
    /// Removes what was added after it was replaced, because a thief may have added it. Forgets the
    /// addresses that came after it, so that the links to them end. Putting back a phone number
    /// removes only numbers: the number may belong to the thief, who would otherwise remove the
    /// owner's addresses with it.
    pub(super) async fn take_along(
        &self,
        txn: &Txn<'_>,
        context: &Context,
        id: AccountId,
        channel: Channel,
        normal: &str,
        names: &[login_name::Model],
    ) -> Result<(), DbErr> {
        let since = self.left_epoch;
        if channel == Channel::Email {
            store::release_since(txn, id, since, normal).await?;
            let own_since = |kind: LoginIdKind| {
                let own =
                    |name: &&login_name::Model| name.kind == kind.number() && name.typed.is_none();
                names.iter().find(own).filter(|name| name.sequence >= since)
            };
            if let Some(number) = own_since(LoginIdKind::Phone) {
                store::release(txn, id, &number.normal).await?;
                store::clear_phone(txn, id).await?;
                phone_removed(txn, context, id).await?;
            }
            if self.by == By::Link {
                removed_since(txn, context, id, since).await?;
            }
            if let Some(username) = own_since(LoginIdKind::Username) {
                let is_further = |name: &&login_name::Model| {
                    name.kind == LoginIdKind::Username.number() && name.typed.is_some()
                };
                let next = names.iter().filter(is_further).find(|name| name.sequence < since);
                // Something must be left to sign in with.
                if next.is_some() || LoginIdKind::Email.signs_in(context.config.login.id) {
                    store::release(txn, id, &username.normal).await?;
                    account_store::set_username(txn, id, next).await?;
                }
            }
        }
        let (kind, sequence) = (channel.kind(), self.standing.sequence);
        former::forget_later(txn, id, kind, sequence, since).await
    }
}
