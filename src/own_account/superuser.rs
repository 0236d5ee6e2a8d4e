//! The last account that may do everything can neither be closed nor erased.

use super::error::OwnAccountError;
use crate::account::closing::store as closing_store;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::context::Context;

/// The accounts that may do everything and can be used. Their rows are locked.
pub(super) struct Superusers(Vec<AccountId>);

/// Locks an account that leaves, and returns its row. If it may do everything, the rows of all
/// superusers are locked before it, in the order of their ids. So two of them do not wait for each
/// other. Nobody else locks a superuser here: hooks run while the locks are held, and an
/// administrator could not sign in meanwhile.
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
        // It became one in between. If this waits for another one that leaves, the database finds
        // the deadlock, and the transaction is repeated.
        superusers = closing_store::lock_superusers(txn, require_verified, now).await?;
    }
    Ok((row, Superusers(superusers)))
}

impl Superusers {
    /// Checks that somebody else is left. An account that cannot be used leaves as many as before.
    pub(super) fn check_without(&self, id: AccountId) -> Result<(), OwnAccountError> {
        match self.0.as_slice() {
            [last] if *last == id => Err(OwnAccountError::LastSuperuser),
            _ => Ok(()),
        }
    }
}
