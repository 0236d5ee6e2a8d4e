//! Queries on trusted devices. A row counts while the account has its epoch, until it ends.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, TrustedDeviceId};

/// Which rows of an account count.
#[derive(Clone, Copy)]
pub(super) struct Live {
    pub(super) account: AccountId,
    pub(super) epoch: i64,
    pub(super) now: Timestamp,
    /// The present lifetime. If it was longer when a device became trusted, the shorter one counts.
    pub(super) lifetime: Duration,
}

impl Live {
    fn condition(self) -> Condition {
        Condition::all()
            .add(Column::AccountId.eq(self.account))
            .add(Column::Epoch.eq(self.epoch))
            .add(without_index(Column::ExpiresAt).gt(self.now))
            .add(Column::CreatedAt.gt(self.now.minus(self.lifetime)))
    }

    /// The same for a row with this epoch and these times.
    fn has(self, (epoch, created_at, expires_at): (i64, Timestamp, Timestamp)) -> bool {
        let since = self.now.minus(self.lifetime);
        epoch == self.epoch && expires_at > self.now && created_at > since
    }
}

/// Returns the device with one of these digests, if it counts.
pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    live: Live,
    digests: &[Vec<u8>],
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(live.condition())
        .filter(Column::Digest.is_in(digests.iter().map(Vec::as_slice)))
        .one(db)
        .await
}

/// Replaces the digest of a device, which was found as `row`, and writes what `next` says about the client.
/// Returns false if another sign-in has used the token, or if it ended meanwhile. This one UPDATE decides.
pub(super) async fn rotate<C: ConnectionTrait>(
    db: &C,
    live: Live,
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
        .filter(live.condition())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Which devices that counted were removed for a new one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Removed {
    /// It was the one of the same browser.
    pub(super) replaced: bool,
    /// There were too many.
    pub(super) above_limit: bool,
}

/// Inserts a device. Removes those of the account that count no more, one with one of the digests
/// `replaced`, and the least recently used ones above the limit `most`.
pub(super) async fn insert<C: ConnectionTrait>(
    db: &C,
    row: Model,
    live: Live,
    replaced: &[Vec<u8>],
    most: u32,
) -> Result<Removed, DbErr> {
    let others: Vec<(TrustedDeviceId, Vec<u8>, i64, Timestamp, Timestamp)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Digest])
        .columns([Column::Epoch, Column::CreatedAt, Column::ExpiresAt])
        .filter(Column::AccountId.eq(row.account_id))
        .order_by_desc(Column::LastUsedAt)
        .order_by_desc(Column::Id)
        .into_tuple()
        .all(db)
        .await?;
    let mut room = most.saturating_sub(1);
    let (mut removed, mut over) = (Removed::default(), Vec::new());
    for (id, digest, epoch, created_at, expires_at) in others {
        let counts = live.has((epoch, created_at, expires_at));
        let same_browser = replaced.contains(&digest);
        if counts && !same_browser && room > 0 {
            room -= 1;
            continue;
        }
        removed.replaced |= counts && same_browser;
        removed.above_limit |= counts && !same_browser;
        over.push(id);
    }
    remove_these(db, over).await?;
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(removed)
}

/// Returns the devices of an account that count, the one that was used last first.
pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    live: Live,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(live.condition())
        .order_by_desc(Column::LastUsedAt)
        .order_by_desc(Column::Id)
        .all(db)
        .await
}

/// Removes one device. Returns false if the account has no such one that counts.
pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    live: Live,
    id: TrustedDeviceId,
) -> Result<bool, DbErr> {
    let one = Entity::delete_many().filter(Column::Id.eq(id)).filter(live.condition());
    Ok(one.exec(db).await?.rows_affected > 0)
}

/// Removes all devices of an account. Returns how many of them counted.
pub(super) async fn remove_all<C: ConnectionTrait>(db: &C, live: Live) -> Result<u64, DbErr> {
    // By the primary key: on InnoDB, a delete by the account would also lock the gap beside its rows,
    // where other accounts insert theirs.
    let all: Vec<(TrustedDeviceId, i64, Timestamp, Timestamp)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Epoch, Column::CreatedAt, Column::ExpiresAt])
        .filter(Column::AccountId.eq(live.account))
        .into_tuple()
        .all(db)
        .await?;
    let counted = all.iter().filter(|(_, epoch, from, to)| live.has((*epoch, *from, *to)));
    let count = counted.count() as u64;
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
