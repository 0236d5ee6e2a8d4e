//! Queries on the places and digests about which owners were notified.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entity::{digest, place};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, MessageId};

/// Returns the places about which an account was notified after `since`, and not after `until`.
/// There are at most ten a day.
pub(crate) async fn told<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<place::Model>, DbErr> {
    place::Entity::find()
        .filter(place::Column::AccountId.eq(account))
        .filter(place::Column::ToldAt.gt(since))
        .filter(place::Column::ToldAt.lte(until))
        .all(db)
        .await
}

/// Records that a place is told now.
pub(crate) async fn tell<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    place: [u8; 32],
    now: Timestamp,
) -> Result<(), DbErr> {
    let row = place::Model { account_id: account, place: place.to_vec(), told_at: now };
    let again = OnConflict::columns([place::Column::AccountId, place::Column::Place])
        .update_column(place::Column::ToldAt)
        .to_owned();
    place::Entity::insert(place::ActiveModel::from(row).reset_all())
        .on_conflict(again)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Removes the places of an account that were told at `until` or before.
pub(crate) async fn forget<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    until: Timestamp,
) -> Result<(), DbErr> {
    place::Entity::delete_many()
        .filter(place::Column::AccountId.eq(account))
        .filter(without_index(place::Column::ToldAt).lte(until))
        .exec(db)
        .await?;
    Ok(())
}

/// Returns the latest digest of an account, sent or not.
pub(crate) async fn digest<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Option<digest::Model>, DbErr> {
    digest::Entity::find_by_id(account).one(db).await
}

/// Records that the digest tells of one more sign-in.
pub(crate) async fn count<C: ConnectionTrait>(db: &C, account: AccountId) -> Result<(), DbErr> {
    digest::Entity::update_many()
        .col_expr(digest::Column::SignIns, Expr::col(digest::Column::SignIns).add(1))
        .filter(digest::Column::AccountId.eq(account))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that a new digest waits, which tells of one sign-in.
pub(crate) async fn begin<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    message: MessageId,
    now: Timestamp,
) -> Result<(), DbErr> {
    let row =
        digest::Model { account_id: account, message_id: message, began_at: now, sign_ins: 1 };
    let columns = [digest::Column::MessageId, digest::Column::BeganAt, digest::Column::SignIns];
    digest::Entity::insert(digest::ActiveModel::from(row).reset_all())
        .on_conflict(
            OnConflict::column(digest::Column::AccountId).update_columns(columns).to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Removes about `most` of the places that were told at `until` or before, the oldest first.
/// Returns how many.
pub(crate) async fn purge_places<C: ConnectionTrait>(
    db: &C,
    until: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    purge::<place::Entity, C>(db, place::Column::ToldAt, until, most).await
}

/// Does the same for digests that began at `until` or before. They were sent long ago.
pub(crate) async fn purge_digests<C: ConnectionTrait>(
    db: &C,
    until: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    purge::<digest::Entity, C>(db, digest::Column::BeganAt, until, most).await
}

async fn purge<E: EntityTrait, C: ConnectionTrait>(
    db: &C,
    at: E::Column,
    until: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let end_of_batch: Option<Timestamp> = E::find()
        .select_only()
        .column(at)
        .filter(at.lte(until))
        .order_by_asc(at)
        .offset(most - 1)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    let batch = E::delete_many().filter(at.lte(end_of_batch.unwrap_or(until)));
    Ok(batch.exec(db).await?.rows_affected)
}
