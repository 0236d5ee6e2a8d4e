//! Addresses and numbers that an account has left: who may put one back, and what that ends.
//!
//! Whoever is signed in may change an address. A thief with one stolen session may do so too, and so
//! may the owner who comes back. Both are then told what happened, and the question is which of them
//! may undo it. Nobody can say who is who; but it can be said who was there first.
//!
//! # The state
//!
//! Each address, number and name of an account has a *sequence*: 0 for the first address that the
//! account ever proved, and for any other the account's epoch after the change that brought it. Each
//! change of contact moves the epoch by a conditional UPDATE of the account's row, so no two changes
//! share one, and two nodes agree about the order whatever their clocks say.
//!
//! An own address that goes is remembered for 30 days: its digest, its sequence, how long it was the
//! account's, the epoch that began when it went, and whether it was *settled*: the first of all, or the
//! account's for as long as a change can be undone. It stays remembered, and its link stays good, while
//! it is a further name. As that it counts as added when it was added again, so that it goes like any
//! other name when an address is put back that went before.
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
//! - A link leads to an address that is remembered as settled, under the sequence that the link
//!   names. What is forgotten has no link, whatever row of a link is still there.
//! - Putting back an earlier address is an undo, whether a link does it or a session, and whatever
//!   became of the link. The address that goes is forgotten, and so is each that came after the one
//!   that is back. With a mail address go the further names, the own username and the number that came
//!   after it went. With a number go numbers only.
//! - Putting back a *later* address is no undo but a change like any other. Otherwise a thief who was
//!   put out could come back with the address that was taken away, and the owner's address would get
//!   no link.
//! - A further name that never was the account's own is not put back when it takes the own place: it is
//!   a new own address, and its sequence is that of this change. See below.
//! - So whatever is remembered came before the present address of its kind. That is why a reset, a
//!   changed password and an end of all sessions have nothing to end here: a link to a later address
//!   does not exist, and a link to an earlier one outlives them.
//!
//! # A further name takes the own place
//!
//! Say that `O` is the first address, and somebody makes a further name `F` the own address in the place
//! of `L`. Who adds and who changes may be the owner or a thief in each case, so the rule can only look
//! at the order:
//!
//! | `F` was the own address | order | `L` is settled | what happens |
//! |---|---|---|---|
//! | yes, and went within 30 days | `F` before `L` | either | `F` is put back: `L` gets a notice, no link, and is forgotten |
//! | yes, and went within 30 days | `F` after `L` | yes | an ordinary change: `L` gets a link |
//! | never, or longer ago | `F` before `L` | yes | an ordinary change: `L` gets a link |
//! | never, or longer ago | `F` before `L` | no | an ordinary change: `L` gets a notice; settled ones before it keep their links |
//! | never, or longer ago | `F` after `L` | yes | an ordinary change: `L` gets a link |
//! | never, or longer ago | `F` after `L` | no | an ordinary change: `L` gets a notice |
//!
//! The third and fourth row are the hard ones. Either a thief added `F`, the owner overlooked it and moved
//! from `O` to `L`; or the owner added `F`, and a thief moved the account from `O` to `L`. The orders are
//! the same, so one rule serves both, and it helps the wrong person in one of them:
//!
//! - With a link for `L`, the thief of the second story can undo what the owner did with `F`. The owner
//!   has a remedy as long as `O` is remembered: put `O` back, before or after. That ends the thief's link.
//!   And who has had the account for a week does not need this link: they could have removed `F`.
//! - Without a link for `L`, the owner of the first story loses an account that was in their hands all
//!   the time, in one moment and without a remedy. The thief need not have been there for more than a
//!   minute, long ago.
//!
//! So `L` gets its link. A name that was removed and is added again is no exception, or a thief would do
//! that first.
//!
//! # Not by time
//!
//! An earlier version ended the links that were made "at or after" one, by the clocks of whichever
//! node made them. Five seconds between two nodes were enough for the thief's link to outlive the
//! owner's. Time decides two things only, both far longer than clocks differ: whether an address is
//! settled, and when it is forgotten.

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

/// How long an address that went can be put back as an undo.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long an address must have been the account's to be settled, where changes cannot be undone by a
/// link and so no time is configured.
const SETTLES_IN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where an address stands among all that its account ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// 0 for the first address that the account ever proved; of any other the account's epoch after
    /// the change that brought it.
    pub(crate) sequence: i64,
    /// For how long it was the account's before it went and was put back.
    pub(crate) held_ms: i64,
}

impl Standing {
    /// Of the first address that the account proves.
    pub(crate) const FIRST: Self = Self { sequence: 0, held_ms: 0 };

    /// Of what the account gets by the change that moves its epoch to this. An account whose epoch has
    /// never moved may get an address all the same, from an operator; it is not the first one.
    pub(crate) fn from_epoch(epoch: i64) -> Self {
        Self { sequence: epoch.max(1), held_ms: 0 }
    }

    /// The same with the time that it was the account's before it went, for a further name. Its place
    /// among the own ones waits in what is remembered of it until it is the own one again: a name that is
    /// added counts as new, or it would stay when what came since is taken along.
    pub(crate) fn added_again(self, former: Option<&Model>) -> Self {
        Self { held_ms: former.map_or(self.held_ms, |former| former.held_ms), ..self }
    }
}

impl login_name::Model {
    pub(crate) fn standing(&self) -> Standing {
        Standing { sequence: self.sequence, held_ms: self.held_ms }
    }

    /// For how long it has been a proved address of the account.
    fn held_for(&self, now: Timestamp) -> Duration {
        let before = Duration::from_millis(u64::try_from(self.held_ms).unwrap_or(0));
        before + self.verified_at.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// Whether it may undo what is changed from now on: it is the first address that the account ever
    /// proved, or has been there for as long as a change can be undone. Before that it may be the
    /// thief's.
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

/// What the account remembers of an address that it left, in its normal form.
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

/// Remembers an address that goes in the change that moves the account's epoch to `left_epoch`.
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

/// Forgets an address that the account has again.
pub(crate) async fn forget<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    account: AccountId,
    normal: &str,
) -> Result<(), DbErr> {
    store::delete(txn, digests(context, account, normal)).await?;
    Ok(())
}

/// Forgets all of a kind that came with `sequence` or later: an earlier one is back. If that is a mail
/// address, numbers that came in the epoch `since` or later are forgotten too.
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

/// Forgets all that an account ever had: it is somebody else's now.
pub(crate) async fn forget_all<C: ConnectionTrait>(
    txn: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    store::delete_all(txn, account).await
}

/// Removes at most `batch` that are too old to be put back. Says how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    store::purge(db, now.minus(REMEMBERED), batch).await
}

/// The digest under each secret, newest first. Of the account and the address, so that a dump does not
/// tell which accounts had the same one.
fn digests(context: &Context, account: AccountId, normal: &str) -> Vec<Vec<u8>> {
    let account = account.as_uuid();
    let parts: [&[u8]; 2] = [account.as_bytes(), normal.as_bytes()];
    let secrets = context.config.keys.secrets.iter();
    let key = |secret| DigestKey::new(secret, Purpose::FormerAddress);
    secrets.map(|secret| key(secret).digest_parts(&parts).to_vec()).collect()
}
