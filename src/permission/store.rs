//! Queries on roles and grants. Whatever changes what someone may do moves a version here: the
//! account's own for what belongs to one account, the epoch for what a role means to everyone.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, RelationTrait,
};

use super::entity::{account_role, epoch, role};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, RoleId};
use crate::base::transaction::is_unique_violation;

/// The one row of `auth_epoch`.
const EPOCH_ROW: i16 = 1;

/// Tells all remembered grants that they are stale.
pub(crate) async fn bump_epoch<C: ConnectionTrait>(db: &C) -> Result<(), DbErr> {
    let updated = epoch::Entity::update_many()
        .col_expr(epoch::Column::Epoch, Expr::col(epoch::Column::Epoch).add(1))
        .filter(epoch::Column::Id.eq(EPOCH_ROW))
        .exec(db)
        .await?;
    if updated.rows_affected == 0 {
        // Without its row nothing could tell a stale grant from a fresh one.
        return Err(DbErr::RecordNotUpdated);
    }
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

/// The roles granted to an account everywhere.
pub(crate) async fn roles_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<role::Model>, DbErr> {
    role::Entity::find()
        .join(sea_orm::JoinType::InnerJoin, account_role::Relation::Role.def().rev())
        .filter(account_role::Column::AccountId.eq(account))
        .filter(account_role::Column::Resource.eq(""))
        .order_by_asc(role::Column::Name)
        .all(db)
        .await
}

/// False when the name is taken.
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

/// Sets one column of a role. False when there is no such role.
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

/// Deletes a role and, through their foreign keys, all grants of it.
pub(crate) async fn delete_role<C: ConnectionTrait>(db: &C, name: &str) -> Result<bool, DbErr> {
    let deleted = role::Entity::delete_many().filter(role::Column::Name.eq(name)).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

/// False when it was granted already.
pub(crate) async fn grant_role<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    role: RoleId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let key = (account, role, String::new(), String::new());
    if account_role::Entity::find_by_id(key).one(db).await?.is_some() {
        return Ok(false);
    }
    let row = account_role::ActiveModel {
        account_id: Set(account),
        role_id: Set(role),
        resource: Set(String::new()),
        resource_id: Set(String::new()),
        granted_at: Set(now),
    };
    account_role::Entity::insert(row).exec_without_returning(db).await?;
    Ok(true)
}

/// False when it was not granted.
pub(crate) async fn revoke_role<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    role: RoleId,
) -> Result<bool, DbErr> {
    let key = (account, role, String::new(), String::new());
    let deleted = account_role::Entity::delete_by_id(key).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}
