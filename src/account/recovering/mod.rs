//! The state of a recovery by an administrator, and what ends it in other flows.
//!
//! The column `recovery_id` in the account's row names the open recovery. So an account has at most
//! one, and whatever ends it only clears this column in an UPDATE that it makes anyway: an account that
//! is disabled, closed, deleted, erased or handed over, and the restore of a backup. A recovery whose
//! account does not name it is not open, whatever its own row says.
//!
//! The flows are in [`account_recovery`](crate::account_recovery), which is above this module.

use sea_orm::DbErr;

use crate::account::entity::account;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::outstanding::{self, Ending, Kind};

pub(crate) mod store;

/// What became of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveryState {
    /// It waits for the end of its delay, or for an administrator after it.
    Open,
    /// An administrator has sent the link, and the person has not used it yet.
    Completed,
    /// The person has set a new password.
    Finished,
    /// The owner objected.
    Objected,
    /// An administrator or a program cancelled it.
    Cancelled,
    /// The owner proved a second factor, in a sign-in or a step-up.
    SignedIn,
    /// Its time was over, or the account was changed: for example disabled, closed or erased.
    Ended,
}

impl RecoveryState {
    /// Returns the stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Finished => "finished",
            Self::Objected => "objected",
            Self::Cancelled => "cancelled",
            Self::SignedIn => "signed_in",
            Self::Ended => "ended",
        }
    }

    /// Returns true if it can still change something.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Completed)
    }

    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Open => 0,
            Self::Completed => 1,
            Self::Finished => 2,
            Self::Objected => 3,
            Self::Cancelled => 4,
            Self::SignedIn => 5,
            Self::Ended => 6,
        }
    }

    pub(crate) fn from_number(number: i16) -> Option<Self> {
        let all = [
            Self::Open,
            Self::Completed,
            Self::Finished,
            Self::Objected,
            Self::Cancelled,
            Self::SignedIn,
            Self::Ended,
        ];
        all.into_iter().find(|state| state.number() == number)
    }
}

/// Ends the open recovery of an account, because its owner has proved a second factor. The transaction
/// has locked the account's row. Without an open recovery this sends no statement.
///
/// `row` may have been read before the lock. A recovery that was opened in between stays open: the factor
/// was proved before it. If its time was already over, this is no event.
pub(crate) async fn has_factor(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    client: &ClientInfo,
    now: Timestamp,
) -> Result<(), DbErr> {
    let Some(recovery) = row.recovery_id else { return Ok(()) };
    let lifetime = context.config.account_recovery.link_lifetime;
    if !store::clear(txn, row.id, recovery).await?
        || !store::end(txn, recovery, RecoveryState::SignedIn, lifetime, now).await?
    {
        return Ok(());
    }
    outstanding::end(txn, row.id, Ending::Kind(&Kind::RecoveryObjection), now).await?;
    outstanding::end(txn, row.id, Ending::Kind(&Kind::AccountRecovery), now).await?;
    let event = Event::new(EventKind::AccountRecoveryCancelled, now).account(row.id);
    audit_log::record(txn, &event.from_client(client).detail("signed in")).await
}
