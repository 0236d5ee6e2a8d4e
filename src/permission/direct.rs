//! Permissions granted to an account without a role.

use super::error::GrantError;
use super::language::Permission;
use super::store;
use crate::account;
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::id::AccountId;
use crate::base::transaction::{Db, OpenTransaction, transaction};
use crate::context::Context;
use crate::handle::Portcullis;

/// Grants permissions to single accounts. Every change counts on the next request.
///
/// A role tells why an account may do something, so prefer roles. Direct permissions are for
/// exceptions.
#[derive(Debug, Clone, Copy)]
pub struct DirectPermissions<'a> {
    context: &'a Context,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the permissions of single accounts.
    pub fn permissions(&self) -> DirectPermissions<'_> {
        DirectPermissions { context: self.context(), db: self.context().db() }
    }
}

impl<'a> DirectPermissions<'a> {
    /// Works inside your transaction.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Grants a permission. If the account has it already, nothing changes.
    ///
    /// # Errors
    /// No such account; a permission in a domain of portcullis (`auth-…`); an outage.
    pub async fn grant(
        &self,
        account: AccountId,
        permission: &Permission,
    ) -> Result<(), GrantError> {
        GrantError::check_domain(permission)?;
        self.hand(EventKind::PermissionGranted, account, permission).await
    }

    /// Revokes a permission that was granted in exactly this form. If it was not granted, nothing
    /// changes.
    ///
    /// # Errors
    /// No such account; an outage.
    pub async fn revoke(
        &self,
        account: AccountId,
        permission: &Permission,
    ) -> Result<(), GrantError> {
        self.hand(EventKind::PermissionRevoked, account, permission).await
    }

    /// Returns the permissions that were granted to an account directly. Rows that are not valid
    /// permissions are left out, because they grant nothing.
    ///
    /// # Errors
    /// An outage.
    pub async fn of(&self, account: AccountId) -> Result<Vec<Permission>, GrantError> {
        let rows = self.db.read(store::permissions_of(&self.db.executor(), account)).await?;
        Ok(rows.iter().filter_map(|text| Permission::parse(text).ok()).collect())
    }

    async fn hand(
        &self,
        kind: EventKind,
        account: AccountId,
        permission: &Permission,
    ) -> Result<(), GrantError> {
        let now = self.context.now();
        let event = Event::new(kind, now).account(account).detail(permission.as_str());
        transaction!(self.db, |txn| {
            if !account::store::bump_grants(txn, account).await? {
                return Err(GrantError::AccountNotFound);
            }
            let changed = if kind == EventKind::PermissionGranted {
                store::grant_permission(txn, account, permission, now).await?
            } else {
                store::revoke_permission(txn, account, permission).await?
            };
            if changed {
                audit_log::record(txn, &event).await?;
            }
            Ok(())
        })
    }
}
