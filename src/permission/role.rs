//! Roles: sets of permissions with a name.

use std::time::Duration;

use super::entity::role;
use super::error::{GrantError, MAX_PERMISSIONS};
use super::language::{Permission, parse_list, write_list};
use super::level::Levels;
use super::resource::Resource;
use super::store;
use crate::account;
use crate::audit_log;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, RoleId};
use crate::base::transaction::{Db, OpenTransaction, transaction};
use crate::context::Context;
use crate::handle::Portcullis;

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The permissions that it gives.
    pub permissions: Vec<Permission>,
    /// True if its holders need a second factor.
    pub requires_factor: bool,
    /// The idle time of its holders' sessions, if it is shorter than usual.
    pub max_idle: Option<Duration>,
    /// True if its holders may [trust devices](crate::trusted_device).
    pub allows_trusted_devices: bool,
}

impl From<role::Model> for Role {
    fn from(row: role::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            description: row.description,
            permissions: parse_list(&row.permissions).0,
            requires_factor: row.requires_factor,
            allows_trusted_devices: row.trusted_devices.unwrap_or(!row.requires_factor),
            max_idle: row
                .max_idle_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis),
        }
    }
}

/// Creates, changes, grants and revokes roles.
///
/// ```no_run
/// # async fn example(auth: portcullis::Portcullis, account: portcullis::Account)
/// # -> Result<(), portcullis::permission::GrantError> {
/// use portcullis::permission::RoleDefinition;
///
/// let editor = RoleDefinition::new("editor", ["doc:read", "doc:write"]);
/// auth.roles().define([editor]).await?;                // at every start: what the code says
/// auth.roles().grant(account.id(), "editor").await?;   // counts on the next request
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Roles<'a> {
    pub(super) context: &'a Context,
    pub(super) db: Db<'a>,
}

impl Portcullis {
    /// Returns the roles.
    pub fn roles(&self) -> Roles<'_> {
        Roles { context: self.context(), db: self.context().db() }
    }
}

impl<'a> Roles<'a> {
    /// Works inside your transaction.
    #[must_use]
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Creates a role, for example on an administrator's page. If the same role already exists,
    /// nothing changes. For the roles that your code needs, use [`define`](Self::define).
    ///
    /// # Errors
    /// A role of this name exists with other permissions; a name or permission that is not valid; a
    /// name that a [level](super::Memberships) could have; an outage.
    pub async fn create<P: AsRef<str>>(
        &self,
        name: &str,
        permissions: impl IntoIterator<Item = P>,
    ) -> Result<Role, GrantError> {
        check_name(name)?;
        if Levels::new(&self.context.config.permission.levels).reserve(name) {
            return Err(GrantError::ReservedName);
        }
        let permissions = parse(permissions)?;
        let now = self.context.now();
        let row = role::Model {
            id: RoleId::new(now),
            name: name.to_owned(),
            description: None,
            permissions: write_list(&permissions),
            requires_factor: false,
            max_idle_ms: None,
            created_at: now,
            trusted_devices: None,
        };
        let event = Event::new(EventKind::RoleCreated, now).detail(name);
        let exists = || GrantError::Exists { role: name.to_owned() };
        let made = transaction!(self.db, |txn| {
            if let Some(existing) = store::role_by_name(txn, name).await? {
                return Ok(Err(existing));
            }
            // An account may already have a level with this name. The role now gives it
            // permissions, so grants in memory must be read again. Here and below the epoch comes
            // first: its row is the lock for all changes of roles and groups. Another order could
            // cause a deadlock.
            store::bump_epoch(txn).await?;
            if !store::insert_role(txn, row.clone()).await? {
                // Another transaction created it between the two statements. It is read again after
                // the rollback.
                return Err(exists());
            }
            audit_log::record(txn, &event).await?;
            Ok(Ok(()))
        });
        let existing = match made {
            Ok(Ok(())) => {
                return Ok(row.into());
            }
            Ok(Err(existing)) => existing,
            Err(GrantError::Exists { .. }) => self
                .db
                .read(store::role_by_name(&self.db.executor(), name))
                .await?
                .ok_or_else(exists)?,
            Err(error) => return Err(error),
        };
        let existing = Role::from(existing);
        if same_set(&existing.permissions, &permissions) { Ok(existing) } else { Err(exists()) }
    }

    /// Finds the role of this name.
    ///
    /// # Errors
    /// An outage.
    pub async fn find(&self, name: &str) -> Result<Option<Role>, GrantError> {
        let row = self.db.read(store::role_by_name(&self.db.executor(), name)).await?;
        Ok(row.map(Role::from))
    }

    /// Lists all roles, sorted by name.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(&self) -> Result<Vec<Role>, GrantError> {
        let rows = self.db.read(store::roles(&self.db.executor())).await?;
        Ok(rows.into_iter().map(Role::from).collect())
    }

    /// Returns the roles that were granted to an account.
    ///
    /// # Errors
    /// An outage.
    pub async fn of(&self, account: AccountId) -> Result<Vec<Role>, GrantError> {
        let rows = self.db.read(store::roles_of(&self.db.executor(), account)).await?;
        Ok(rows.into_iter().map(Role::from).collect())
    }

    /// Sets the description of a role.
    ///
    /// # Errors
    /// No such role; an outage.
    pub async fn describe(&self, name: &str, description: &str) -> Result<(), GrantError> {
        self.change(name, role::Column::Description, description.into()).await
    }

    /// Replaces the permissions of a role. This counts on the next request of everyone who has it.
    ///
    /// # Errors
    /// No such role; a text that is not a permission; an outage.
    pub async fn set_permissions<P: AsRef<str>>(
        &self,
        name: &str,
        permissions: impl IntoIterator<Item = P>,
    ) -> Result<(), GrantError> {
        let text = write_list(&parse(permissions)?);
        self.change(name, role::Column::Permissions, text.into()).await
    }

    /// Sets whether the holders of a role need a second factor. This counts on the next request: a
    /// holder without one reaches only the routes that set one up, until they have done so. See
    /// [`FactorConfig`](crate::config::FactorConfig) for which factors are enough, and for a time of
    /// grace.
    ///
    /// # Errors
    /// No such role; an outage.
    pub async fn require_factor(&self, name: &str, required: bool) -> Result<(), GrantError> {
        self.change(name, role::Column::RequiresFactor, required.into()).await
    }

    /// Sets whether the holders of a role may [trust devices](crate::trusted_device), which then skip the
    /// second factor. One role that forbids it is enough. Without this call, a role forbids it if it
    /// [requires a factor](Self::require_factor), and allows it otherwise. This counts at the next request: a
    /// session that a device began has ended, unless it has passed a second factor.
    ///
    /// # Errors
    /// No such role; an outage.
    pub async fn allow_trusted_devices(&self, name: &str, allowed: bool) -> Result<(), GrantError> {
        self.change(name, role::Column::TrustedDevices, allowed.into()).await
    }

    /// Limits how long a session of the role's holders may be idle. This counts on the next
    /// request.
    ///
    /// # Errors
    /// [`GrantError::IdleTooShort`] below three times
    /// [`replay_after`](crate::config::SessionConfig::replay_after) (4.5 minutes). The reason is
    /// that a token is replaced after a third of the idle time, but never earlier than
    /// `replay_after`. No such role; an outage.
    pub async fn limit_idle(&self, name: &str, idle: Option<Duration>) -> Result<(), GrantError> {
        let millis = check_idle(self.context, idle)?;
        self.change(name, role::Column::MaxIdleMs, millis.into()).await
    }

    async fn change(
        &self,
        name: &str,
        column: role::Column,
        value: sea_orm::Value,
    ) -> Result<(), GrantError> {
        let event = Event::new(EventKind::RoleChanged, self.context.now()).detail(name);
        transaction!(self.db, |txn| {
            store::bump_epoch(txn).await?;
            if !store::set_role(txn, name, column, value.clone()).await? {
                return Err(GrantError::RoleNotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Deletes a role. From the next request on nobody has it. A later role of the same name starts
    /// without holders.
    ///
    /// # Errors
    /// No such role; an outage.
    pub async fn delete(&self, name: &str) -> Result<(), GrantError> {
        let event = Event::new(EventKind::RoleDeleted, self.context.now()).detail(name);
        transaction!(self.db, |txn| {
            store::bump_epoch(txn).await?;
            if !store::delete_role(txn, name).await? {
                return Err(GrantError::RoleNotFound);
            }
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        Ok(())
    }

    /// Grants a role. If the account has it already, nothing changes. This counts on the next
    /// request.
    ///
    /// # Errors
    /// No such role or account; an outage.
    pub async fn grant(&self, account: AccountId, name: &str) -> Result<(), GrantError> {
        self.hand(Hand::Grant, account, name, &Resource::everywhere()).await.map(drop)
    }

    /// Revokes a role. If it was not granted, nothing changes. This counts on the next request.
    ///
    /// # Errors
    /// No such role or account; an outage.
    pub async fn revoke(&self, account: AccountId, name: &str) -> Result<(), GrantError> {
        self.hand(Hand::Revoke, account, name, &Resource::everywhere()).await.map(drop)
    }

    /// Grants a role on one resource. Of its permissions only those about that resource count, and
    /// only on this id (`list:edit` on list 7 is `list:edit:7`). Returns the permissions of the
    /// role that have no effect there.
    ///
    /// # Errors
    /// No such role or account; an outage.
    pub async fn grant_on(
        &self,
        account: AccountId,
        name: &str,
        resource: &Resource,
    ) -> Result<Vec<Permission>, GrantError> {
        let role = self.hand(Hand::Grant, account, name, resource).await?;
        Ok(without_effect(&role, resource))
    }

    /// Revokes a role on one resource.
    ///
    /// # Errors
    /// No such role or account; an outage.
    pub async fn revoke_on(
        &self,
        account: AccountId,
        name: &str,
        resource: &Resource,
    ) -> Result<(), GrantError> {
        self.hand(Hand::Revoke, account, name, resource).await.map(drop)
    }

    async fn hand(
        &self,
        hand: Hand,
        account: AccountId,
        name: &str,
        resource: &Resource,
    ) -> Result<Role, GrantError> {
        let now = self.context.now();
        let kind = match hand {
            Hand::Grant => EventKind::RoleGranted,
            Hand::Revoke => EventKind::RoleRevoked,
        };
        let event = Event::new(kind, now).account(account).detail(format!("{name}{resource}"));
        let role = transaction!(self.db, |txn| {
            // The version comes first: this locks the account's row. So two changes of one account
            // run one after the other, and the second sees what the first has done.
            if !account::store::bump_grants(txn, account).await? {
                return Err(GrantError::AccountNotFound);
            }
            let role = store::role_by_name(txn, name).await?.ok_or(GrantError::RoleNotFound)?;
            let changed = match hand {
                Hand::Grant => {
                    let granted = store::grant_role(txn, account, role.id, resource, now).await;
                    // The account's row is locked, so it must be the role that was deleted
                    // meanwhile.
                    granted.map_err(|error| GrantError::or_gone(error, GrantError::RoleNotFound))?
                }
                Hand::Revoke => store::revoke_role(txn, account, role.id, resource).await?,
            };
            if changed {
                audit_log::record(txn, &event).await?;
            }
            Ok(role)
        })?;
        Ok(role.into())
    }
}

/// Returns the permissions of a role that have no effect when it is granted on this resource.
pub(crate) fn without_effect(role: &Role, resource: &Resource) -> Vec<Permission> {
    let (domain, id) = resource.columns();
    role.permissions
        .iter()
        .filter(|permission| !domain.is_empty() && permission.on_resource(domain, id).is_none())
        .cloned()
        .collect()
}

#[derive(Clone, Copy)]
enum Hand {
    Grant,
    Revoke,
}

pub(crate) fn check_name(name: &str) -> Result<(), GrantError> {
    let is_token = name.len() <= 64
        && Permission::parse(name).is_ok_and(|p| !p.as_str().contains([':', ',', '*']));
    if is_token { Ok(()) } else { Err(GrantError::InvalidName) }
}

/// Returns the column of an idle limit, if the limit is long enough.
pub(super) fn check_idle(
    context: &Context,
    idle: Option<Duration>,
) -> Result<Option<i64>, GrantError> {
    let least = context.config.session.replay_after.saturating_mul(3);
    if idle.is_some_and(|idle| idle < least) {
        return Err(GrantError::IdleTooShort { least });
    }
    Ok(idle.map(|idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX)))
}

pub(super) fn parse<P: AsRef<str>>(
    permissions: impl IntoIterator<Item = P>,
) -> Result<Vec<Permission>, GrantError> {
    let mut parsed = Vec::new();
    for text in permissions {
        let text = text.as_ref();
        let permission = Permission::parse(text).map_err(|error| {
            GrantError::InvalidPermission { permission: text.chars().take(64).collect(), error }
        })?;
        GrantError::check_domain(&permission)?;
        if !parsed.contains(&permission) {
            parsed.push(permission);
        }
        if parsed.len() > MAX_PERMISSIONS {
            return Err(GrantError::TooManyPermissions);
        }
    }
    Ok(parsed)
}

pub(super) fn same_set(a: &[Permission], b: &[Permission]) -> bool {
    a.len() == b.len() && a.iter().all(|permission| b.contains(permission))
}
