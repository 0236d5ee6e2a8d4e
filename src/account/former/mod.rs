//! Addresses and numbers that an account has left: who may restore one, and what that ends.
//!
//! A signed-in person may change an address. That person may be the owner, or a thief with a stolen
//! session. After a change, portcullis notifies the old address, and may allow it to undo the
//! change. It cannot know who the owner is. But it knows which address belonged to the account
//! first, and decides by this order.
//!
//! In this page, the *own* address is the one in the account's row. *Further* names are the others
//! with which the account signs in.
//!
//! # The stored state
//!
//! Each address, number and name of an account has a *sequence*. It is 0 for the first address that
//! the account ever verified. For any other name it is the account's epoch after the change that
//! added it. Each change of contact moves the epoch with a conditional UPDATE of the account's row.
//! So two changes never have the same sequence, and all nodes agree about the order, whatever their
//! clocks say.
//!
//! When an own address is replaced, it is remembered for 30 days. Its row contains a digest, its
//! sequence, how long it belonged to the account, the epoch after the change, and whether it was
//! *settled*. An address is settled if it was the first of all, or belonged to the account for as
//! long as a change can be undone.
//!
//! If it is now a further name, it stays remembered and its link stays valid. As a further name it
//! has the sequence of the change that added it again. So it is removed like any other name when an
//! address is restored that left before that.
//!
//! ```text
//!             another one takes its place                    30 days
//!  present ─────────────────────────────────▶ remembered ─────────────▶ forgotten
//!     ▲         settled: notice and link          │                         ▲
//!     │         not settled: notice alone         │                         │
//!     └───────────────────────────────────────────┘                         │
//!        by its link, or by a change to it from a session                   │
//!        whose present address is later                                     │
//!  present ─────────────────────────────────────────────────────────────────┘
//!              an earlier one is put back: notice, no link, no memory
//! ```
//!
//! # The rules
//!
//! - A link is valid only while its address is remembered as settled, with the sequence that the
//!   link contains. A forgotten address has no valid link, even if the row of a link still exists.
//! - To restore an earlier address is an undo, by its link or from a session, and whether or not
//!   its link still works. The address that it replaces is forgotten, and so is every address that
//!   came after the restored one. A restored mail address also removes the further names, the own
//!   username and the number that were added after this address had left. A restored number removes
//!   only numbers.
//! - To change to a *later* address is an ordinary change and not an undo. Otherwise a thief who
//!   was removed could return with the removed address, and the owner's address would get no link.
//! - A further name that was never the own address cannot be restored. When it becomes the own
//!   address, this is an ordinary change, and gives it a new sequence. See below.
//! - So every remembered mail address is older than the present one, and the same is true for phone
//!   numbers. So a reset, a changed password and an end of all sessions have nothing to end here. A
//!   link to a later address does not exist, and a link to an earlier one stays valid.
//!
//! # A further name becomes the own address
//!
//! `O` is the first address. A person makes the further name `F` the own address and so replaces
//! `L`. The owner or a thief may have added `F`, and the owner or a thief may make this change. So
//! the rule can only use the order:
//!
//! | `F` was the own address | order | `L` is settled | what happens |
//! |---|---|---|---|
//! | yes, and left within 30 days | `F` before `L` | either | `F` is restored: `L` gets a notice, no link, and is forgotten |
//! | yes, and left within 30 days | `F` after `L` | yes | an ordinary change: `L` gets a link |
//! | never, or longer ago | `F` before `L` | yes | an ordinary change: `L` gets a link |
//! | never, or longer ago | `F` before `L` | no | an ordinary change: `L` gets a notice; settled addresses before it keep their links |
//! | never, or longer ago | `F` after `L` | yes | an ordinary change: `L` gets a link |
//! | never, or longer ago | `F` after `L` | no | an ordinary change: `L` gets a notice |
//!
//! The third and the fourth row are difficult, because two cases have the same order. In the first
//! case, a thief added `F`, and the owner overlooked it and moved from `O` to `L`. In the second
//! case, the owner added `F`, and a thief moved the account from `O` to `L`. The same rule applies
//! to both, so it helps the thief in one of them:
//!
//! - With a link for `L`, the thief in the second case can undo what the owner did with `F`. The
//!   owner has a remedy while `O` is remembered: they restore `O`, before or after. That ends the
//!   thief's link. And a thief who had the account for a week does not need this link, because they
//!   could have removed `F`.
//! - Without a link for `L`, the owner in the first case loses an account that they had all the
//!   time. This happens at once and without a remedy. The thief needed access for only a minute,
//!   long ago.
//!
//! So `L` gets its link. This is also true for a name that was removed and added again. Otherwise a
//! thief would first remove and add it.
//!
//! # Why time does not decide
//!
//! An earlier version ended the links that were created "at or after" another one, by the clocks of
//! the nodes. With five seconds between two nodes, the thief's link stayed valid and the owner's
//! did not. Time now decides only two things: whether an address is settled, and when it is
//! forgotten. Both times are much longer than clocks differ.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use super::entity::former_address::Model;
use super::entity::login_name;
use super::login_id::LoginIdKind;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::secret::{DigestKey, Purpose};
use crate::context::Context;

mod store;

/// For how long an address that left can be restored as an undo.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// For how long an address must belong to the account to be settled, if links cannot undo changes
/// and so no time is configured.
const SETTLES_IN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The position of an address in the order of all addresses that its account ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// 0 for the first address that the account ever verified. For any other one, the account's
    /// epoch after the change that added it.
    pub(crate) sequence: i64,
    /// For how long it belonged to the account before it left and was restored, in milliseconds.
    pub(crate) held_ms: i64,
}

impl Standing {
    /// The standing of the first address that the account verifies.
    pub(crate) const FIRST: Self = Self { sequence: 0, held_ms: 0 };

    /// Returns the standing of a name that the account gets by the change that moves its epoch to
    /// `epoch`. An operator can add an address to an account whose epoch has never moved. This is
    /// not the first address, so the result is at least 1.
    pub(crate) fn from_epoch(epoch: i64) -> Self {
        Self { sequence: epoch.max(1), held_ms: 0 }
    }

    /// Adds the time for which the address belonged to the account before it left. This is for a
    /// further name.
    ///
    /// Its sequence stays that of the new name. The old sequence stays in the remembered row until
    /// it is the own address again. Otherwise the name would not be removed together with what was
    /// added since.
    pub(crate) fn added_again(self, former: Option<&Model>) -> Self {
        Self { held_ms: former.map_or(self.held_ms, |former| former.held_ms), ..self }
    }
}

impl login_name::Model {
    pub(crate) fn standing(&self) -> Standing {
        Standing { sequence: self.sequence, held_ms: self.held_ms }
    }

    /// Returns for how long it has been a verified address of the account.
    fn held_for(&self, now: Timestamp) -> Duration {
        let before = Duration::from_millis(u64::try_from(self.held_ms).unwrap_or(0));
        before + self.verified_at.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// Returns true if the address may undo later changes. It must be the first address that the
    /// account ever verified, or have belonged to it for as long as a change can be undone. A newer
    /// address may belong to a thief.
    pub(crate) fn is_settled(&self, context: &Context, now: Timestamp) -> bool {
        let settles_in = context.config.contact.undo_lifetime.unwrap_or(SETTLES_IN);
        self.verified_at.is_some() && (self.sequence == 0 || self.held_for(now) >= settles_in)
    }
}

impl Model {
    pub(crate) fn standing(&self) -> Standing {
        Standing { sequence: self.sequence, held_ms: self.held_ms }
    }
}

/// Returns what is remembered of an address that the account has left. `normal` is its normal form.
pub(crate) async fn find<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    account: AccountId,
    normal: &str,
    now: Timestamp,
) -> Result<Option<Model>, DbErr> {
    let digests = digests(context, account, normal);
    store::find(txn, digests, now.minus(REMEMBERED)).await
}

/// Remembers an address that leaves by the change that moves the account's epoch to `left_epoch`.
pub(crate) async fn remember<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    name: &login_name::Model,
    left_epoch: i64,
    now: Timestamp,
) -> Result<(), DbErr> {
    let held_ms = i64::try_from(name.held_for(now).as_millis()).unwrap_or(i64::MAX);
    let row = Model {
        account_id: name.account_id,
        digest: digests(context, name.account_id, &name.normal).swap_remove(0),
        kind: name.kind,
        sequence: name.sequence,
        held_ms,
        left_epoch,
        settled: name.is_settled(context, now),
        left_at: now,
    };
    store::put(txn, row).await
}

/// Forgets an address that belongs to the account again.
pub(crate) async fn forget<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    account: AccountId,
    normal: &str,
) -> Result<(), DbErr> {
    store::delete(txn, digests(context, account, normal)).await?;
    Ok(())
}

/// Forgets all addresses of a kind with this or a later sequence, because an earlier one was
/// restored. If the kind is mail, it also forgets numbers that came in the epoch `since` or later.
pub(crate) async fn forget_later<C: ConnectionTrait>(
    txn: &C,
    account: AccountId,
    kind: LoginIdKind,
    sequence: i64,
    since: i64,
) -> Result<(), DbErr> {
    let numbers_since = (kind == LoginIdKind::Email).then_some(since);
    store::delete_later(txn, account, kind, sequence, numbers_since).await
}

/// Forgets all addresses of an account, because it now belongs to another person.
pub(crate) async fn forget_all<C: ConnectionTrait>(
    txn: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    store::delete_all(txn, account).await
}

/// Removes at most `batch` addresses that are too old to be restored. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    store::purge(db, now.minus(REMEMBERED), batch).await
}

/// Returns the digests of account and address, one per secret, the newest first. The account is
/// included so that a dump does not reveal which accounts had the same address.
fn digests(context: &Context, account: AccountId, normal: &str) -> Vec<Vec<u8>> {
    let account = account.as_uuid();
    let parts: [&[u8]; 2] = [account.as_bytes(), normal.as_bytes()];
    let secrets = context.config.keys.secrets.iter();
    let key = |secret| DigestKey::new(secret, Purpose::FormerAddress);
    secrets.map(|secret| key(secret).digest_parts(&parts).to_vec()).collect()
}
