//! Queries on authenticators.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, TotpId};
use crate::base::seal::Sealed;

/// Returns the authenticators of an account, the oldest first, also one that waits for its first
/// code. There are only a few.
pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AccountId.eq(account))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .all(db)
        .await
}

/// Inserts an authenticator that waits for its first code. It replaces an earlier one that still
/// waits.
pub(super) async fn insert_waiting<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::AccountId.eq(row.account_id))
        .filter(Column::ConfirmedAt.is_null())
        .exec(db)
        .await?;
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(())
}

/// Removes the authenticators of an account that were confirmed.
pub(super) async fn remove_confirmed<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::AccountId.eq(account))
        .filter(Column::ConfirmedAt.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Uses up the code of a step. Returns false if this step or a later one was used before, or if the
/// authenticator was removed. This one UPDATE decides, on all routes and nodes. With `confirms` it
/// is the first code of an authenticator that waits for it. With `sealed` the seed is stored under
/// another secret.
pub(super) async fn spend<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: TotpId,
    step: i64,
    confirms: Option<Timestamp>,
    sealed: Option<&Sealed>,
) -> Result<bool, DbErr> {
    let mut update = Entity::update_many().col_expr(Column::LastStep, Expr::value(step));
    if let Some(sealed) = sealed {
        update = update
            .col_expr(Column::KeyId, Expr::value(sealed.key_id.as_str()))
            .col_expr(Column::Seed, Expr::value(sealed.text.as_str()));
    }
    update = match confirms {
        Some(now) => update
            .col_expr(Column::ConfirmedAt, Expr::value(Some(now)))
            .filter(Column::ConfirmedAt.is_null()),
        None => update.filter(Column::ConfirmedAt.is_not_null()),
    };
    let updated = update
        .filter(Column::Id.eq(id))
        .filter(Column::AccountId.eq(account))
        .filter(Column::LastStep.lt(step))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Removes a confirmed authenticator. Returns false if the account has no such one.
pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: TotpId,
) -> Result<bool, DbErr> {
    let deleted = Entity::delete_many()
        .filter(Column::Id.eq(id))
        .filter(Column::AccountId.eq(account))
        .filter(Column::ConfirmedAt.is_not_null())
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}
