//! Queries on roles and grants. Every change of what an account may do also changes a version here:
//! the account's own version for a change of one account, the epoch for a change of a role or a
//! group.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr,
    EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationTrait,
};
use uuid::Uuid;

use super::entity::{
    account_group, account_permission, account_role, epoch, group, group_role, role,
};
use super::language::Permission;
use super::resource::Resource;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, GroupId, RoleId};
use crate::base::secret::random_version;
use crate::base::transaction::is_unique_violation;

/// The id of the only row of `auth_epoch`.
const EPOCH_ROW: i16 = 1;

/// Locks the row of the epoch until this transaction ends, without a change of it. So changes of
/// roles, of groups and of the catalogue run one after the other. Take this lock before any other
/// lock, or two changes can deadlock.
pub(crate) async fn lock_epoch<C: ConnectionTrait>(db: &C) -> Result<(), DbErr> {
    epoch::Entity::update_many()
        .col_expr(epoch::Column::Epoch, Expr::col(epoch::Column::Epoch))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes all grants in memory outdated.
pub(crate) async fn bump_epoch<C: ConnectionTrait>(db: &C) -> Result<(), DbErr> {
    let updated = epoch::Entity::update_many()
        .col_expr(epoch::Column::Epoch, Expr::col(epoch::Column::Epoch).add(1))
        .col_expr(epoch::Column::Version, Expr::value(random_version()))
        .filter(epoch::Column::Id.eq(EPOCH_ROW))
        .exec(db)
        .await?;
    if updated.rows_affected == 0 {
        // Without this row no node could tell that its grants in memory are outdated.
        return Err(DbErr::RecordNotUpdated);
    }
    Ok(())
}

/// Does the same after a backup was restored. It raises the counter above every number of the lost
/// time.
pub(crate) async fn raise_epoch<C: ConnectionTrait>(db: &C, now: Timestamp) -> Result<(), DbErr> {
    bump_epoch(db).await?;
    epoch::Entity::update_many()
        .col_expr(epoch::Column::Epoch, Expr::value(now.as_millis()))
        .filter(epoch::Column::Id.eq(EPOCH_ROW))
        .filter(epoch::Column::Epoch.lt(now.as_millis()))
        .exec(db)
        .await?;
    Ok(())
}

pub(crate) async fn role_by_name<C: ConnectionTrait>(
    db: &C,
    name: &str,
) -> Result<Option<role::Model>, DbErr> {
    role::Entity::find().filter(role::Column::Name.eq(name)).one(db).await
}

pub(crate) async fn roles<C: ConnectionTrait>(db: &C) -> Result<Vec<role::Model>, DbErr> {
    role::Entity::find().order_by_asc(role::Column::Name).all(db).await
}

/// Returns the roles with these names.
pub(crate) async fn roles_named<'n, C: ConnectionTrait>(
    db: &C,
    names: impl Iterator<Item = &'n String>,
) -> Result<Vec<role::Model>, DbErr> {
    role::Entity::find()
        .filter(role::Column::Name.is_in(names.map(String::as_str)))
        .order_by_asc(role::Column::Name)
        .all(db)
        .await
}

/// Returns the roles that were granted to an account without a limit to a resource.
pub(crate) async fn roles_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<role::Model>, DbErr> {
    role::Entity::find()
        .join(JoinType::InnerJoin, account_role::Relation::Role.def().rev())
        .filter(account_role::Column::AccountId.eq(account))
        .filter(account_role::Column::Resource.eq(""))
        .order_by_asc(role::Column::Name)
        .all(db)
        .await
}

/// Inserts a role. Returns false if the name is taken.
pub(crate) async fn insert_role<C: ConnectionTrait>(
    db: &C,
    role: role::Model,
) -> Result<bool, DbErr> {
    let row = role::ActiveModel::from(role).reset_all();
    match role::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets one column of a role. Returns false if there is no such role.
pub(crate) async fn set_role<C: ConnectionTrait>(
    db: &C,
    name: &str,
    column: role::Column,
    value: sea_orm::Value,
) -> Result<bool, DbErr> {
    let updated = role::Entity::update_many()
        .col_expr(column, Expr::value(value))
        .filter(role::Column::Name.eq(name))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Writes the columns of a role that can change. Returns false if there is no such role.
pub(crate) async fn write_role<C: ConnectionTrait>(
    db: &C,
    role: role::Model,
) -> Result<bool, DbErr> {
    let updated = role::Entity::update_many()
        .col_expr(role::Column::Permissions, Expr::value(role.permissions))
        .col_expr(role::Column::Description, Expr::value(role.description))
        .col_expr(role::Column::RequiresFactor, Expr::value(role.requires_factor))
        .col_expr(role::Column::MaxIdleMs, Expr::value(role.max_idle_ms))
        .col_expr(role::Column::TrustedDevices, Expr::value(role.trusted_devices))
        .filter(role::Column::Id.eq(role.id))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Deletes a role and, through their foreign keys, all grants of it.
pub(crate) async fn delete_role<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    let deleted = role::Entity::delete_many().filter(role::Column::Name.eq(name)).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// Grants a role. Returns false if it was granted already. The caller must have locked the
/// account's row.
pub(crate) async fn grant_role<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    role: RoleId,
    resource: &Resource,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let (domain, id) = resource.columns();
    let key = (account, role, domain.to_owned(), id.to_owned());
    if account_role::Entity::find_by_id(key).one(db).await?.is_some() {
        return Ok(false);
    }
    let row = account_role::ActiveModel {
        account_id: Set(account),
        role_id: Set(role),
        resource: Set(domain.to_owned()),
        resource_id: Set(id.to_owned()),
        granted_at: Set(now),
    };
    account_role::Entity::insert(row).exec_without_returning(db).await?;
    Ok(true)
}

/// Revokes a role. Returns false if it was not granted.
pub(crate) async fn revoke_role<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    role: RoleId,
    resource: &Resource,
) -> Result<bool, DbErr> {
    let (domain, id) = resource.columns();
    let key = (account, role, domain.to_owned(), id.to_owned());
    let deleted = account_role::Entity::delete_by_id(key).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

pub(crate) async fn group_by_name<C: ConnectionTrait>(
    db: &C,
    name: &str,
) -> Result<Option<group::Model>, DbErr> {
    group::Entity::find().filter(group::Column::Name.eq(name)).one(db).await
}

pub(crate) async fn groups<C: ConnectionTrait>(db: &C) -> Result<Vec<group::Model>, DbErr> {
    group::Entity::find().order_by_asc(group::Column::Name).all(db).await
}

/// Returns the groups that an account belongs to.
pub(crate) async fn groups_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<group::Model>, DbErr> {
    group::Entity::find()
        .join(JoinType::InnerJoin, account_group::Relation::Group.def().rev())
        .filter(account_group::Column::AccountId.eq(account))
        .order_by_asc(group::Column::Name)
        .all(db)
        .await
}

/// Inserts a group. Returns false if the name is taken.
pub(crate) async fn insert_group<C: ConnectionTrait>(
    db: &C,
    group: group::Model,
) -> Result<bool, DbErr> {
    let row = group::ActiveModel::from(group).reset_all();
    match group::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes a group and, through their foreign keys, its memberships and roles.
pub(crate) async fn delete_group<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    let deleted =
        group::Entity::delete_many().filter(group::Column::Name.eq(name)).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// Adds a member. Returns false if it was a member already. The caller must have locked the
/// account's row.
pub(crate) async fn join_group<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    group: GroupId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    if account_group::Entity::find_by_id((account, group)).one(db).await?.is_some() {
        return Ok(false);
    }
    let row = account_group::ActiveModel {
        account_id: Set(account),
        group_id: Set(group),
        joined_at: Set(now),
    };
    account_group::Entity::insert(row).exec_without_returning(db).await?;
    Ok(true)
}

/// Removes a member. Returns false if it was not a member.
pub(crate) async fn leave_group<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    group: GroupId,
) -> Result<bool, DbErr> {
    let deleted = account_group::Entity::delete_by_id((account, group)).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// Gives a group a role. Returns false if it had the role already. The caller must have locked the
/// epoch.
pub(crate) async fn grant_group_role<C: ConnectionTrait>(
    db: &C,
    group: GroupId,
    role: RoleId,
    resource: &Resource,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let (domain, id) = resource.columns();
    let key = (group, role, domain.to_owned(), id.to_owned());
    if group_role::Entity::find_by_id(key).one(db).await?.is_some() {
        return Ok(false);
    }
    let row = group_role::ActiveModel {
        group_id: Set(group),
        role_id: Set(role),
        resource: Set(domain.to_owned()),
        resource_id: Set(id.to_owned()),
        granted_at: Set(now),
    };
    group_role::Entity::insert(row).exec_without_returning(db).await?;
    Ok(true)
}

/// Takes a role from a group. Returns false if it did not have the role.
pub(crate) async fn revoke_group_role<C: ConnectionTrait>(
    db: &C,
    group: GroupId,
    role: RoleId,
    resource: &Resource,
) -> Result<bool, DbErr> {
    let (domain, id) = resource.columns();
    let key = (group, role, domain.to_owned(), id.to_owned());
    let deleted = group_role::Entity::delete_by_id(key).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// The last holder of a page. The next page begins after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HolderKey<'a> {
    pub(crate) id: Uuid,
    pub(crate) resource: &'a str,
    pub(crate) resource_id: &'a str,
}

impl HolderKey<'_> {
    /// Returns the condition for the rows that come later in the order of these three columns.
    fn later(self, [id, resource, resource_id]: [impl ColumnTrait; 3]) -> Condition {
        let same = || Condition::all().add(id.eq(self.id));
        Condition::any()
            .add(id.gt(self.id))
            .add(same().add(resource.gt(self.resource)))
            .add(same().add(resource.eq(self.resource)).add(resource_id.gt(self.resource_id)))
    }
}

/// Returns the accounts that have a role directly, in the order of their ids.
pub(crate) async fn account_holders<C: ConnectionTrait>(
    db: &C,
    role: RoleId,
    after: Option<HolderKey<'_>>,
    limit: usize,
) -> Result<Vec<(account_role::Model, Option<account::Model>)>, DbErr> {
    use account_role::Column;
    let columns = [Column::AccountId, Column::Resource, Column::ResourceId];
    account_role::Entity::find()
        .join(JoinType::InnerJoin, account_role::Relation::Account.def())
        .select_also(account::Entity)
        .filter(Column::RoleId.eq(role))
        .filter(account::Column::DeletedAt.is_null())
        .filter(after.map_or_else(Condition::all, |key| key.later(columns)))
        .order_by_asc(Column::AccountId)
        .order_by_asc(Column::Resource)
        .order_by_asc(Column::ResourceId)
        .limit(limit as u64)
        .all(db)
        .await
}

/// Returns the groups that have a role, in the order of their ids.
pub(crate) async fn group_holders<C: ConnectionTrait>(
    db: &C,
    role: RoleId,
    after: Option<HolderKey<'_>>,
    limit: usize,
) -> Result<Vec<(group_role::Model, Option<group::Model>)>, DbErr> {
    use group_role::Column;
    let columns = [Column::GroupId, Column::Resource, Column::ResourceId];
    group_role::Entity::find()
        .join(JoinType::InnerJoin, group_role::Relation::Group.def())
        .select_also(group::Entity)
        .filter(Column::RoleId.eq(role))
        .filter(after.map_or_else(Condition::all, |key| key.later(columns)))
        .order_by_asc(Column::GroupId)
        .order_by_asc(Column::Resource)
        .order_by_asc(Column::ResourceId)
        .limit(limit as u64)
        .all(db)
        .await
}

/// Returns the members of a group, in the order of their ids.
pub(crate) async fn members_of<C: ConnectionTrait>(
    db: &C,
    group: GroupId,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<(account_group::Model, Option<account::Model>)>, DbErr> {
    use account_group::Column;
    let later =
        after.map_or_else(Condition::all, |id| Condition::all().add(Column::AccountId.gt(id)));
    account_group::Entity::find()
        .join(JoinType::InnerJoin, account_group::Relation::Account.def())
        .select_also(account::Entity)
        .filter(Column::GroupId.eq(group))
        .filter(account::Column::DeletedAt.is_null())
        .filter(later)
        .order_by_asc(Column::AccountId)
        .limit(limit as u64)
        .all(db)
        .await
}

/// Grants a permission. Returns false if it was granted already. The caller must have locked the
/// account's row.
pub(crate) async fn grant_permission<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    permission: &Permission,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let key = (account, permission.as_str().to_owned());
    if account_permission::Entity::find_by_id(key).one(db).await?.is_some() {
        return Ok(false);
    }
    let row = account_permission::ActiveModel {
        account_id: Set(account),
        permission: Set(permission.as_str().to_owned()),
        granted_at: Set(now),
    };
    account_permission::Entity::insert(row).exec_without_returning(db).await?;
    Ok(true)
}

/// Revokes a permission. Returns false if it was not granted.
pub(crate) async fn revoke_permission<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    permission: &Permission,
) -> Result<bool, DbErr> {
    let key = (account, permission.as_str().to_owned());
    let deleted = account_permission::Entity::delete_by_id(key).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// Returns the permissions that were granted to an account directly, as they were written.
pub(crate) async fn permissions_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<String>, DbErr> {
    let rows = account_permission::Entity::find()
        .filter(account_permission::Column::AccountId.eq(account))
        .order_by_asc(account_permission::Column::Permission)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| row.permission).collect())
}
