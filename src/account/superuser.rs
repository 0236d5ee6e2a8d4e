//! The last superuser stays. It can neither be demoted, disabled, deleted, closed nor erased, because
//! afterwards nobody could manage the service. [`bootstrap`](crate::bootstrap) makes an administrator
//! only once.

use sea_orm::DbErr;

use super::closing::store as closing_store;
use super::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::context::Context;

/// The superusers that can be used. Their rows are locked.
pub(crate) struct Superusers(Vec<closing_store::Superuser>);

/// Locks an account that leaves, and returns its row. If it is a superuser, locks the rows of all
/// superusers first, in the order of their ids, so that two of them do not wait for each other. For
/// other accounts no superuser is locked: hooks run while the locks are held, and no administrator
/// could sign in during this time. Returns `None` if there is no such account.
pub(crate) async fn lock(
    txn: &Txn<'_>,
    context: &Context,
    id: AccountId,
    now: Timestamp,
) -> Result<Option<(account::Model, Superusers)>, DbErr> {
    let require_verified = context.config.login.require_verified;
    let mut superusers = Vec::new();
    if closing_store::is_superuser(txn, id).await? {
        superusers = closing_store::lock_superusers(txn, require_verified, now).await?;
    }
    let Some(row) = closing_store::lock(txn, id).await? else { return Ok(None) };
    if row.superuser && superusers.is_empty() {
        // It became a superuser in between. If another superuser leaves at the same time, the
        // database detects the deadlock, and the transaction is repeated.
        superusers = closing_store::lock_superusers(txn, require_verified, now).await?;
    }
    Ok(Some((row, Superusers(superusers))))
}

impl Superusers {
    /// Returns true if no other superuser is left when this one leaves. A superuser that is disabled
    /// from a later date on is not left, because it ends too. An account that cannot be used does
    /// not count, so it may always leave.
    pub(crate) fn is_last(&self, id: AccountId) -> bool {
        let others = self.0.iter().filter(|superuser| superuser.id != id);
        let leaves = self.0.iter().any(|superuser| superuser.id == id);
        leaves && !others.into_iter().any(|superuser| superuser.stays)
    }
}
