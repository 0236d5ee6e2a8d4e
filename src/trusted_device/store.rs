//! Queries on trusted devices. A row counts while the account has its epoch, until it ends.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, TrustedDeviceId};

/// The condition for the rows of an account that count.
fn live(account: AccountId, epoch: i64, now: Timestamp) -> Condition {
    Condition::all()
        .add(Column::AccountId.eq(account))
        .add(Column::Epoch.eq(epoch))
        .add(Column::ExpiresAt.gt(now))
}

/// Returns the device with one of these digests, if it counts.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    (account, epoch): (AccountId, i64),
    digests: &[Vec<u8>],
    now: Timestamp,
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(live(account, epoch, now))
        .filter(Column::Digest.is_in(digests.iter().map(Vec::as_slice)))
        .one(db)
        .await
}

/// Replaces the digest of a device, which was found as `row`, and writes what `next` says about the client.
/// Returns false if another sign-in has used the token, or if it ended meanwhile. This one UPDATE decides.
pub(super) async fn rotate<C: ConnectionTrait>(
    db: &C,
    row: &Model,
    next: &Model,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::Digest, Expr::value(next.digest.as_slice()))
        .col_expr(Column::Address, Expr::value(next.address.as_deref()))
        .col_expr(Column::UserAgent, Expr::value(next.user_agent.as_deref()))
        .col_expr(Column::LastUsedAt, Expr::value(next.last_used_at))
        .filter(Column::Id.eq(row.id))
        .filter(Column::Digest.eq(row.digest.as_slice()))
        .filter(live(row.account_id, row.epoch, next.last_used_at))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Inserts a device. Removes those of the account that count no more, one with one of the digests
/// `replaced`, and the least recently used ones above the limit `most`.
pub(super) async fn insert<C: ConnectionTrait>(
    db: &C,
    row: Model,
    replaced: &[Vec<u8>],
    most: u32,
) -> Result<(), DbErr> {
    let others: Vec<(TrustedDeviceId, Vec<u8>, i64, Timestamp)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Digest, Column::Epoch, Column::ExpiresAt])
        .filter(Column::AccountId.eq(row.account_id))
        .order_by_desc(Column::LastUsedAt)
        .order_by_desc(Column::Id)
        .into_tuple()
        .all(db)
        .await?;
    let mut room = most.saturating_sub(1);
    let over = others.into_iter().filter(|(_, digest, epoch, expires_at)| {
        let counts = *epoch == row.epoch && *expires_at > row.created_at;
        let stays = counts && room > 0 && !replaced.contains(digest);
        room -= u32::from(stays);
        !stays
    });
    let over: Vec<_> = over.map(|(id, ..)| id).collect();
    remove_these(db, over).await?;
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(())
}

/// Returns the devices of an account that count, the one that was used last first.
pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    epoch: i64,
    now: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(live(account, epoch, now))
        .order_by_desc(Column::LastUsedAt)
        .order_by_desc(Column::Id)
        .all(db)
        .await
}

/// Removes one device. Returns false if the account has no such one that counts.
pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    epoch: i64,
    id: TrustedDeviceId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let one = Entity::delete_many().filter(Column::Id.eq(id)).filter(live(account, epoch, now));
    Ok(one.exec(db).await?.rows_affected > 0)
}

/// Removes all devices of an account. Returns how many of them counted in this epoch.
pub(super) async fn remove_all<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    epoch: i64,
    now: Timestamp,
) -> Result<u64, DbErr> {
    // By the primary key: on InnoDB, a delete by the account would also lock the gap beside its rows,
    // where other accounts insert theirs.
    let all: Vec<(TrustedDeviceId, i64, Timestamp)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Epoch, Column::ExpiresAt])
        .filter(Column::AccountId.eq(account))
        .into_tuple()
        .all(db)
        .await?;
    let counted = |(_, of, end): &&(_, i64, Timestamp)| *of == epoch && *end > now;
    let count = all.iter().filter(counted).count() as u64;
    remove_these(db, all.into_iter().map(|(id, ..)| id).collect()).await?;
    Ok(count)
}

async fn remove_these<C: ConnectionTrait>(db: &C, ids: Vec<TrustedDeviceId>) -> Result<(), DbErr> {
    if !ids.is_empty() {
        Entity::delete_many().filter(Column::Id.is_in(ids)).exec(db).await?;
    }
    Ok(())
}

/// Removes a batch of devices that ended at `now` or before.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<TrustedDeviceId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::ExpiresAt.lte(now))
        .order_by_asc(Column::ExpiresAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let gone = Entity::delete_many().filter(Column::Id.is_in(ids));
    Ok(gone.exec(db).await?.rows_affected)
}
