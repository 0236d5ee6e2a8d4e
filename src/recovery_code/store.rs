//! Queries on recovery codes.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QuerySelect,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

/// Replaces all codes of an account.
pub(super) async fn replace<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    rows: Vec<Model>,
) -> Result<(), DbErr> {
    // By the primary key: on InnoDB, a delete by the account would also lock the gap beside its rows,
    // where other accounts insert theirs.
    let old: Vec<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Digest)
        .filter(Column::AccountId.eq(account))
        .into_tuple()
        .all(db)
        .await?;
    if !old.is_empty() {
        Entity::delete_many().filter(Column::Digest.is_in(old)).exec(db).await?;
    }
    let rows = rows.into_iter().map(|row| ActiveModel::from(row).reset_all());
    Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

/// Returns true if one of these digests is that of an unused code of the account.
pub(super) async fn is_open<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    digests: &[Vec<u8>],
) -> Result<bool, DbErr> {
    let found = Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::Digest.is_in(digests.iter().cloned()))
        .filter(Column::UsedAt.is_null())
        .one(db)
        .await?;
    Ok(found.is_some())
}

/// Uses up a code. Returns false if it was used before, or replaced.
pub(super) async fn spend<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    digests: &[Vec<u8>],
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(Some(now)))
        .filter(Column::AccountId.eq(account))
        .filter(Column::Digest.is_in(digests.iter().cloned()))
        .filter(Column::UsedAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Returns how many codes are left.
pub(super) async fn left<C: ConnectionTrait>(db: &C, account: AccountId) -> Result<u64, DbErr> {
    Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::UsedAt.is_null())
        .count(db)
        .await
}

/// Counts the unused codes of each secret.
pub(crate) async fn by_secret<C: ConnectionTrait>(db: &C) -> Result<Vec<(String, i64)>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::KeyId)
        .column_as(Column::Digest.count(), "rows_of_secret")
        .filter(Column::UsedAt.is_null())
        .group_by(Column::KeyId)
        .into_tuple()
        .all(db)
        .await
}
