//! Queries on authenticators.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
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
    // By the primary key: on InnoDB, a delete by the account would also lock the gap beside its rows,
    // where other accounts insert theirs.
    let waiting: Vec<TotpId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AccountId.eq(row.account_id))
        .filter(Column::ConfirmedAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    if !waiting.is_empty() {
        Entity::delete_many()
            .filter(Column::Id.is_in(waiting))
            .filter(Column::ConfirmedAt.is_null())
            .exec(db)
            .await?;
    }
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(())
}

/// Removes the authenticators of an account that were confirmed.
pub(super) async fn remove_confirmed<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    // By the primary key, as above.
    let confirmed: Vec<TotpId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AccountId.eq(account))
        .filter(Column::ConfirmedAt.is_not_null())
        .into_tuple()
        .all(db)
        .await?;
    if !confirmed.is_empty() {
        Entity::delete_many().filter(Column::Id.is_in(confirmed)).exec(db).await?;
    }
    Ok(())
}

/// Uses up the code of a step. Returns false if this step or a later one was used before, or if the
/// authenticator was removed. This one UPDATE decides, on all routes and nodes. With `confirms` it
/// is the first code of an authenticator that waits for it: the time, and the epoch that begins. With `sealed` the seed is stored under
/// another secret.
pub(super) async fn spend<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: TotpId,
    step: i64,
    confirms: Option<(Timestamp, i64)>,
    sealed: Option<&Sealed>,
) -> Result<bool, DbErr> {
    let mut update = Entity::update_many().col_expr(Column::LastStep, Expr::value(step));
    if let Some(sealed) = sealed {
        update = update
            .col_expr(Column::KeyId, Expr::value(sealed.key_id.as_str()))
            .col_expr(Column::Seed, Expr::value(sealed.text.as_str()));
    }
    update = match confirms {
        Some((now, epoch)) => update
            .col_expr(Column::ConfirmedAt, Expr::value(Some(now)))
            .col_expr(Column::Epoch, Expr::value(epoch))
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

/// Returns authenticators whose seeds are sealed with this secret, in the order of their ids.
pub(super) async fn sealed_with<C: ConnectionTrait>(
    db: &C,
    key_id: &str,
    after: Option<TotpId>,
    most: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut found = Entity::find().filter(Column::KeyId.eq(key_id));
    if let Some(after) = after {
        found = found.filter(Column::Id.gt(after));
    }
    found.order_by_asc(Column::Id).limit(most).all(db).await
}

/// Stores the seed of an authenticator under another secret, if it is still as in `row`.
pub(super) async fn reseal<C: ConnectionTrait>(
    db: &C,
    row: &Model,
    sealed: &Sealed,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::KeyId, Expr::value(sealed.key_id.as_str()))
        .col_expr(Column::Seed, Expr::value(sealed.text.as_str()))
        .filter(Column::Id.eq(row.id))
        .filter(Column::KeyId.eq(row.key_id.as_str()))
        .filter(Column::Seed.eq(row.seed.as_str()))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Counts the authenticators of each secret.
pub(crate) async fn by_secret<C: ConnectionTrait>(db: &C) -> Result<Vec<(String, i64)>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::KeyId)
        .column_as(Column::Id.count(), "rows_of_secret")
        .group_by(Column::KeyId)
        .into_tuple()
        .all(db)
        .await
}

/// Removes a batch of authenticators that wait for their first code since before this time.
pub(crate) async fn purge_waiting<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<TotpId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::ConfirmedAt.is_null())
        .filter(Column::CreatedAt.lt(before))
        .order_by_asc(Column::CreatedAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let gone =
        Entity::delete_many().filter(Column::Id.is_in(ids)).filter(Column::ConfirmedAt.is_null());
    Ok(gone.exec(db).await?.rows_affected)
}
