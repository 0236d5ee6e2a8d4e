//! The last account that may do everything can neither be closed nor erased.

use sea_orm::DbErr;

use super::error::OwnAccountError;
use crate::account::closing::store as closing_store;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::transaction::Txn;
use crate::context::Context;

/// The accounts that may do everything and can be used. Their rows are locked.
pub(super) struct Superusers(Vec<AccountId>);

/// Locks the rows of all superusers. This must be the first statement of the transaction, so that two
/// of them do not wait for each other.
pub(super) async fn lock(
    txn: &Txn<'_>,
    context: &Context,
    now: Timestamp,
) -> Result<Superusers, DbErr> {
    let require_verified = context.config.login.require_verified;
    closing_store::lock_superusers(txn, require_verified, now).await.map(Superusers)
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
