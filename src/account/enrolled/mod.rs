//! Changes of the second factors of an account.
//!
//! The row of an account has one bit for each kind of factor. What a factor needs to be checked is in
//! the tables of [`totp`](crate::totp), [`recovery_code`](crate::recovery_code) and passkeys. These modules
//! are above this one. But several changes of an account remove factors: an administrator, the first
//! proof of its address, its erasure. So the rows are deleted here. Otherwise the secret of a removed
//! factor would count again as soon as a factor of this kind is set once more.
//!
//! Each change increases the epoch. So it ends the other sessions of the account, every unfinished
//! sign-in, and the codes and links that were sent.

use sea_orm::DbErr;

use super::entity::account;
use super::store::{find, set_enrolled_factors};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::context::Context;
use crate::message::{MessageKind, Recipient, Values};
use crate::outbox::{self, Outgoing};
use crate::outstanding::{self, Ending};

pub(crate) mod store;

/// Returns when a mailed code is a second factor again, or `None` if it is one now. It is none after the
/// password was replaced through the mailbox (`mailed_at`): the two would prove the same thing.
pub(crate) fn mailed_code_at(context: &Context, mailed_at: Option<Timestamp>) -> Option<Timestamp> {
    let wait = context.config.factor.mailed_code_after_reset;
    let at = mailed_at?.plus(wait);
    (!wait.is_zero() && at > context.now()).then_some(at)
}

/// What happens to one factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FactorChange {
    /// One of this kind was set up.
    Added(Factor),
    /// One of this kind was removed.
    Removed(Factor),
}

/// A change that the owner of an account makes in a session.
#[derive(Clone, Copy)]
pub(crate) struct ChangingFactors<'a> {
    pub(crate) context: &'a Context,
    /// The account as it was read. If it was changed in the meantime, nothing is changed.
    pub(crate) row: &'a account::Model,
    /// The factors that it has afterwards.
    pub(crate) enrolled: EnrolledFactors,
    /// What the owner is told about.
    pub(crate) change: FactorChange,
    pub(crate) client: &'a ClientInfo,
}

impl ChangingFactors<'_> {
    /// Changes the factors. The caller tells the owner of one that was added. Returns the new epoch, or `None` if the account was changed in the
    /// meantime. Then the caller must roll back.
    ///
    /// This locks the row of the account, so it must be the first statement of its transaction.
    pub(crate) async fn apply(&self, txn: &Txn<'_>) -> Result<Option<i64>, DbErr> {
        let Self { context, row, enrolled, change, client } = *self;
        let enough = !enrolled.enough(context.config.factor.least).is_empty();
        if !set_enrolled_factors(txn, row, enrolled, enough).await? {
            return Ok(None);
        }
        let verified = row.verified_at.is_some();
        outstanding::end(txn, row.id, Ending::BySession { verified }, context.now()).await?;
        let mut changes = vec![change];
        // What goes with the last factor of another kind.
        changes.extend(differences(row, enrolled).filter(|also| *also != change));
        tell(txn, context, row, &changes, Some(client)).await?;
        store::set_epochs(txn, row, added(row, enrolled), row.epoch + 1).await?;
        store::forget(txn, row.id, enrolled).await?;
        Ok(Some(row.epoch + 1))
    }
}

/// Records that the account in `row` now has these second factors, in the next epoch, and deletes what
/// was stored for the others. Notifies its owner of each factor that was added or removed.
pub(crate) async fn factors_set(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    enrolled: EnrolledFactors,
) -> Result<(), DbErr> {
    let changes: Vec<_> = differences(row, enrolled).collect();
    tell(txn, context, row, &changes, None).await?;
    store::set_epochs(txn, row, added(row, enrolled), row.epoch + 1).await?;
    store::forget(txn, row.id, enrolled).await
}

/// Removes all factors of an account at its first verification or its recovery, if it has any, and its trusted
/// devices and identities at providers with them.
pub(crate) async fn remove_factors(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
) -> Result<(), DbErr> {
    store::forget_passkeys_by_browser(txn, row.id).await?;
    store::forget_identities(txn, row.id).await?;
    match row.enrolled_factors {
        0 => Ok(()),
        _ => {
            factors_set(txn, context, row, EnrolledFactors(0)).await?;
            store::forget_trusted_devices(txn, row.id).await
        }
    }
}

/// Removes texted codes from the factors of an account that has lost its phone number. The transaction
/// has locked the row of the account.
pub(crate) async fn phone_removed(
    txn: &Txn<'_>,
    context: &Context,
    id: AccountId,
) -> Result<(), DbErr> {
    // Read again, so that the owner is told at the address that was put back.
    let Some(row) = &find(txn, id).await? else { return Ok(()) };
    let before = EnrolledFactors(row.enrolled_factors);
    if !before.contains(Factor::TextedCode) {
        return Ok(());
    }
    let left = before.left_without(Factor::TextedCode);
    store::set(txn, row.id, left).await?;
    factors_set(txn, context, row, left).await
}

/// Removes the second factors that an account got in the epoch `since` or later, because the owner of its
/// mailbox undoes a change of the address. A thief who changed the address could have set them up with the
/// new mailbox, and would otherwise keep the owner out after the undo.
///
/// The transaction has locked the row of the account.
pub(crate) async fn removed_since(
    txn: &Txn<'_>,
    context: &Context,
    id: AccountId,
    since: i64,
) -> Result<(), DbErr> {
    let Some(row) = find(txn, id).await? else { return Ok(()) };
    let (left, forgotten) = store::forget_since(txn, &row, since).await?;
    if left.0 != row.enrolled_factors {
        store::set(txn, id, left).await?;
    }
    // Also if another one of the same kind is left.
    let mut changes: Vec<_> = forgotten.into_iter().map(FactorChange::Removed).collect();
    changes.extend(
        differences(&row, left).filter(|change| !changes.contains(change)).collect::<Vec<_>>(),
    );
    if !changes.is_empty() {
        tell(txn, context, &row, &changes, None).await?;
    }
    store::forget(txn, id, left).await
}

fn added(row: &account::Model, enrolled: EnrolledFactors) -> impl Iterator<Item = Factor> {
    let before = EnrolledFactors(row.enrolled_factors);
    enrolled.iter().filter(move |factor| !before.contains(*factor))
}

/// Returns which factors differ from those in the row.
fn differences(
    row: &account::Model,
    enrolled: EnrolledFactors,
) -> impl Iterator<Item = FactorChange> {
    let before = EnrolledFactors(row.enrolled_factors);
    Factor::ALL.iter().filter_map(move |factor| {
        match (before.contains(*factor), enrolled.contains(*factor)) {
            (false, true) => Some(FactorChange::Added(*factor)),
            (true, false) => Some(FactorChange::Removed(*factor)),
            _ => None,
        }
    })
}

async fn tell(
    txn: &Txn<'_>,
    context: &Context,
    row: &account::Model,
    changes: &[FactorChange],
    client: Option<&ClientInfo>,
) -> Result<(), DbErr> {
    let (mut added, mut removed) = (false, false);
    for change in changes {
        let (kind, factor) = match change {
            // The flow tells of it, with a link that undoes it.
            FactorChange::Added(_) if client.is_some() => {
                added = true;
                continue;
            }
            FactorChange::Added(factor) => (MessageKind::FactorAdded, factor),
            FactorChange::Removed(factor) => (MessageKind::FactorRemoved, factor),
        };
        added |= kind == MessageKind::FactorAdded;
        removed |= kind == MessageKind::FactorRemoved;
        let to = row.email.as_deref().and_then(Recipient::email);
        let values = Values::new().with("factor", factor.in_words());
        let values = values.with_some("address", client.and_then(ClientInfo::address));
        let values = match factor {
            Factor::Provider => values.with("linked", true),
            _ => values,
        };
        let notice = Outgoing::new(kind, to).account(row.id).values(values);
        outbox::put(txn, context, &notice).await?;
    }
    let event = |detail| {
        let event = Event::new(EventKind::AccountUpdated, context.now()).account(row.id);
        let event = event.detail(detail);
        match client {
            Some(client) => event.from_client(client),
            None => event,
        }
    };
    if added || !removed {
        audit_log::record(txn, &event("factors enrolled")).await?;
    }
    if removed {
        audit_log::record(txn, &event("factors removed")).await?;
    }
    Ok(())
}
