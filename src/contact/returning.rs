//! What goes when an earlier address is put back.

use sea_orm::{ConnectionTrait, DbErr};

use super::channel::Channel;
use super::store;
use crate::account::entity::login_name;
use crate::account::former::{self, Standing};
use crate::account::{LoginIdKind, store as account_store};
use crate::base::id::AccountId;
use crate::context::Context;

/// An address that was the account's own before the one whose place it takes: putting it back is an undo.
pub(super) struct Returning {
    pub(super) standing: Standing,
    /// The epoch that began when it went.
    pub(super) left_epoch: i64,
}

impl Returning {
    /// Takes away what came after it went and may be of whoever had it taken away, and forgets the
    /// addresses that came after it, with whatever links lead to them. A number takes along numbers only:
    /// who has it may be a thief who takes the owner's addresses away with it.
    pub(super) async fn take_along<C: ConnectionTrait>(
        &self,
        txn: &C,
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
            }
            if let Some(username) = own_since(LoginIdKind::Username) {
                let is_further = |name: &&login_name::Model| {
                    name.kind == LoginIdKind::Username.number() && name.typed.is_some()
                };
                let next = names.iter().filter(is_further).find(|name| name.sequence < since);
                // What is left must be something to sign in with.
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
