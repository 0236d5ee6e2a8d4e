//! Groups of accounts, which can have roles.

use super::entity::group;
use super::error::GrantError;
use super::language::Permission;
use super::resource::Resource;
use super::role::{Role, check_name, without_effect};
use super::store;
use crate::account;
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, GroupId};
use crate::base::transaction::{Db, OpenTransaction, transaction};
use crate::context::Context;
use crate::handle::Portcullis;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
}

impl From<group::Model> for Group {
    fn from(row: group::Model) -> Self {
        Self { id: row.id, name: row.name }
    }
}

/// Creates groups, and changes their members and roles. Every change counts on the next request.
///
/// ```no_run
/// # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
/// # -> Result<(), portcullis::permission::GrantError> {
/// auth.groups().create("staff").await?;
/// auth.groups().grant("staff", "editor").await?;
/// auth.groups().join("staff", account.id()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Groups<'a> {
    context: &'a Context,
    pub(super) db: Db<'a>,
}

impl Portcullis {
    /// Returns the groups.
    pub fn groups(&self) -> Groups<'_> {
        Groups { context: self.context(), db: self.context().db() }
    }
}

impl<'a> Groups<'a> {
    /// Works inside your transaction.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Creates a group. If it exists already, nothing changes.
    ///
    /// # Errors
    /// The name is not valid; an outage.
    pub async fn create(&self, name: &str) -> Result<Group, GrantError> {
        check_name(name)?;
        let now = self.context.now();
        let row = group::Model {
            id: GroupId::new(now),
            name: name.to_owned(),
            description: None,
            created_at: now,
        };
        let event = Event::new(EventKind::GroupCreated, now).detail(name);
        let raced = || GrantError::Exists { role: name.to_owned() };
        let made = transaction!(self.db, |txn| {
            if let Some(existing) = store::group_by_name(txn, name).await? {
                return Ok(Some(existing));
            }
            if !store::insert_group(txn, row.clone()).await? {
                // Another transaction created it between the two statements. It is read again after
                // the rollback.
                return Err(raced());
            }
            audit_log::record(txn, &event).await?;
            Ok(None)
        });
        match made {
            Ok(None) => Ok(row.into()),
            Ok(Some(existing)) => Ok(existing.into()),
            Err(GrantError::Exists { .. }) => self.find(name).await?.ok_or_else(raced),
            Err(error) => Err(error),
        }
    }

    /// Finds the group of this name.
    ///
    /// # Errors
    /// An outage.
    pub async fn find(&self, name: &str) -> Result<Option<Group>, GrantError> {
        let row = self.db.read(store::group_by_name(&self.db.executor(), name)).await?;
        Ok(row.map(Group::from))
    }

    /// Lists all groups, sorted by name.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self) -> Result<Vec<Group>, GrantError> {
        let rows = self.db.read(store::groups(&self.db.executor())).await?;
        Ok(rows.into_iter().map(Group::from).collect())
    }

    /// Returns the groups that an account belongs to.
    ///
    /// # Errors
    /// An outage.
    pub async fn of(&self, account: AccountId) -> Result<Vec<Group>, GrantError> {
        let rows = self.db.read(store::groups_of(&self.db.executor(), account)).await?;
        Ok(rows.into_iter().map(Group::from).collect())
    }

    /// Deletes a group with its memberships.
    ///
    /// # Errors
    /// No such group; an outage.
    pub async fn delete(&self, name: &str) -> Result<(), GrantError> {
        let event = Event::new(EventKind::GroupDeleted, self.context.now()).detail(name);
        transaction!(self.db, |txn| {
            store::bump_epoch(txn).await?;
            if !store::delete_group(txn, name).await? {
                return Err(GrantError::GroupNotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Adds an account. If it is a member already, nothing changes.
    ///
    /// # Errors
    /// No such group or account; an outage.
    pub async fn join(&self, name: &str, account: AccountId) -> Result<(), GrantError> {
        self.member(Member::Joins, name, account).await
    }

    /// Removes an account. If it is not a member, nothing changes.
    ///
    /// # Errors
    /// No such group or account; an outage.
    pub async fn leave(&self, name: &str, account: AccountId) -> Result<(), GrantError> {
        self.member(Member::Leaves, name, account).await
    }

    async fn member(
        &self,
        member: Member,
        name: &str,
        account: AccountId,
    ) -> Result<(), GrantError> {
        let now = self.context.now();
        let kind = match member {
            Member::Joins => EventKind::GroupJoined,
            Member::Leaves => EventKind::GroupLeft,
        };
        let event = Event::new(kind, now).account(account).detail(name);
        transaction!(self.db, |txn| {
            if !account::store::bump_grants(txn, account).await? {
                return Err(GrantError::AccountNotFound);
            }
            let group = store::group_by_name(txn, name).await?.ok_or(GrantError::GroupNotFound)?;
            let changed = match member {
                Member::Joins => {
                    let joined = store::join_group(txn, account, group.id, now).await;
                    joined.map_err(|error| GrantError::or_gone(error, GrantError::GroupNotFound))?
                }
                Member::Leaves => store::leave_group(txn, account, group.id).await?,
            };
            if changed {
                audit_log::record(txn, &event).await?;
            }
            Ok(())
        })
    }

    /// Gives all members a role.
    ///
    /// # Errors
    /// No such group or role; an outage.
    pub async fn grant(&self, name: &str, role: &str) -> Result<(), GrantError> {
        self.hand(EventKind::RoleGranted, name, role, &Resource::everywhere()).await.map(drop)
    }

    /// Takes a role away from all members.
    ///
    /// # Errors
    /// No such group or role; an outage.
    pub async fn revoke(&self, name: &str, role: &str) -> Result<(), GrantError> {
        self.hand(EventKind::RoleRevoked, name, role, &Resource::everywhere()).await.map(drop)
    }

    /// Gives all members a role on one resource. Returns the permissions of the role that have no
    /// effect there.
    ///
    /// # Errors
    /// No such group or role; an outage.
    pub async fn grant_on(
        &self,
        name: &str,
        role: &str,
        resource: &Resource,
    ) -> Result<Vec<Permission>, GrantError> {
        let role = self.hand(EventKind::RoleGranted, name, role, resource).await?;
        Ok(without_effect(&role, resource))
    }

    /// Takes a role on one resource away from all members.
    ///
    /// # Errors
    /// No such group or role; an outage.
    pub async fn revoke_on(
        &self,
        name: &str,
        role: &str,
        resource: &Resource,
    ) -> Result<(), GrantError> {
        self.hand(EventKind::RoleRevoked, name, role, resource).await.map(drop)
    }

    async fn hand(
        &self,
        kind: EventKind,
        name: &str,
        role: &str,
        resource: &Resource,
    ) -> Result<Role, GrantError> {
        let now = self.context.now();
        let event = Event::new(kind, now).detail(format!("{role} to group {name}{resource}"));
        let role = transaction!(self.db, |txn| {
            // The lock comes first. So changes of groups and roles run one after the other, and the
            // second sees what the first has done.
            store::lock_epoch(txn).await?;
            let group = store::group_by_name(txn, name).await?.ok_or(GrantError::GroupNotFound)?;
            let role = store::role_by_name(txn, role).await?.ok_or(GrantError::RoleNotFound)?;
            let changed = if kind == EventKind::RoleGranted {
                let granted = store::grant_group_role(txn, group.id, role.id, resource, now).await;
                granted.map_err(|error| GrantError::or_gone(error, GrantError::RoleNotFound))?
            } else {
                store::revoke_group_role(txn, group.id, role.id, resource).await?
            };
            if changed {
                store::bump_epoch(txn).await?;
                audit_log::record(txn, &event).await?;
            }
            Ok::<_, GrantError>(role)
        })?;
        Ok(role.into())
    }
}

#[derive(Clone, Copy)]
enum Member {
    Joins,
    Leaves,
}
