//! The last superuser can neither be closed nor erased.

use super::error::OwnAccountError;
use crate::account::closing::store as closing_store;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::context::Context;

/// The superusers that can be used. Their rows are locked.
pub(super) struct Superusers(Vec<AccountId>);

/// Locks an account that leaves, and returns its row. If it is a superuser, locks the rows of all
/// superusers first, in the order of their ids, so that two of them do not wait for each other. For
/// other accounts no superuser is locked: hooks run while the locks are held, and no administrator
/// could sign in during this time.
pub(super) async fn lock(
    txn: &Txn<'_>,
    context: &Context,
    id: AccountId,
    now: Timestamp,
) -> Result<(account::Model, Superusers), OwnAccountError> {
    let require_verified = context.config.login.require_verified;
    let mut superusers = Vec::new();
    if closing_store::is_superuser(txn, id).await? {
        superusers = closing_store::lock_superusers(txn, require_verified, now).await?;
    }
    let row = closing_store::lock(txn, id).await?.ok_or(OwnAccountError::NotFound)?;
    if row.superuser && superusers.is_empty() {
        // It became a superuser in between. If another superuser leaves at the same time, the
        // database detects the deadlock, and the transaction is repeated.
        superusers = closing_store::lock_superusers(txn, require_verified, now).await?;
    }
    Ok((row, Superusers(superusers)))
}

impl Superusers {
    /// Checks that another superuser is left. An account that cannot be used does not count, so it
    /// may always leave.
    pub(super) fn check_without(&self, id: AccountId) -> Result<(), OwnAccountError> {
        match self.0.as_slice() {
            [last] if *last == id => Err(OwnAccountError::LastSuperuser),
            _ => Ok(()),
        }
    }
}
