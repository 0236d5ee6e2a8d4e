//! Queries on API keys. Every change is one conditional UPDATE, and the number of changed rows tells whether
//! it happened.

use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, UpdateMany,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use super::state::EndReason;
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, ApiKeyId, LineageId};
use crate::base::secret::random_version;

pub(crate) async fn insert<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(())
}

/// Returns an update that a request can notice. It replaces the version of the rows.
fn changing() -> UpdateMany<Entity> {
    Entity::update_many().col_expr(Column::Version, Expr::value(random_version()))
}

/// The condition that a key, which is named by its id, counts and was not replaced.
fn current(account: AccountId, now: Timestamp) -> Condition {
    Condition::all()
        // The other columns have an index. See `without_index`.
        .add(Expr::col(Column::AccountId).eq(account))
        .add(Column::RotatedAt.is_null())
        .add(without_index(Column::EndedAt).is_null())
        .add(without_index(Column::ExpiresAt).gt(now))
}

/// Returns the keys of an account that count at `now`, newest first. A key that was replaced is among them
/// while it is still good.
pub(crate) async fn live_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    now: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(without_index(Column::EndedAt).is_null())
        .filter(without_index(Column::ExpiresAt).gt(now))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .all(db)
        .await
}

/// Returns a key of an account that counts and was not replaced.
pub(crate) async fn find_current<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).filter(current(account, now)).one(db).await
}

/// Takes the names from the keys of an account that do not count any more, so that they can be used again.
/// The row of the account is locked.
pub(crate) async fn free_names<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    now: Timestamp,
) -> Result<(), DbErr> {
    let over = Condition::any().add(Column::EndedAt.is_not_null()).add(Column::ExpiresAt.lte(now));
    // Others gave up their names before. An account can have many of them.
    let held = Column::Slot.starts_with(Model::slot(account, ""));
    let rows: Vec<ApiKeyId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AccountId.eq(account))
        .filter(held)
        .filter(over)
        .into_tuple()
        .all(db)
        .await?;
    for id in rows {
        Entity::update_many()
            .col_expr(Column::Slot, Expr::value(id.to_string()))
            .filter(Column::Id.eq(id))
            .exec(db)
            .await?;
    }
    Ok(())
}

/// Replaces the scopes of a key. Returns false if it does not count, or was replaced.
pub(crate) async fn set_scopes<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: ApiKeyId,
    scopes: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = changing()
        .col_expr(Column::Scopes, Expr::value(scopes))
        .filter(Column::Id.eq(id))
        .filter(current(account, now))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Records that a new key replaces this one, which gives up its name and is good until `until`. Returns false
/// if it does not count, or was replaced before.
pub(crate) async fn replace<C: ConnectionTrait>(
    db: &C,
    row: &Model,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let mut update = changing()
        .col_expr(Column::RotatedAt, Expr::value(Some(now)))
        .col_expr(Column::Slot, Expr::value(row.id.to_string()))
        .filter(Column::Id.eq(row.id))
        .filter(current(row.account_id, now));
    update = if until > now {
        update.col_expr(Column::ExpiresAt, Expr::value(Ord::min(until, row.expires_at)))
    } else {
        update
            .col_expr(Column::EndedAt, Expr::value(Some(now)))
            .col_expr(Column::EndReason, Expr::value(Some(EndReason::Rotated.as_str())))
    };
    Ok(update.exec(db).await?.rows_affected > 0)
}

fn ending(reason: EndReason, now: Timestamp) -> UpdateMany<Entity> {
    changing()
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .col_expr(Column::EndReason, Expr::value(Some(reason.as_str())))
        .filter(without_index(Column::EndedAt).is_null())
        .filter(without_index(Column::ExpiresAt).gt(now))
}

/// Ends the keys that this one has replaced, and that are still good. Returns how many there were.
pub(crate) async fn end_replaced<C: ConnectionTrait>(
    db: &C,
    row: &Model,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let ids: Vec<ApiKeyId> =
        replaced_by(db, row, now).await?.into_iter().map(|old| old.id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let ended = ending(EndReason::Rotated, now).filter(Column::Id.is_in(ids)).exec(db).await?;
    Ok(ended.rows_affected)
}

/// Returns the keys that this one has replaced, and that are still good.
pub(crate) async fn replaced_by<C: ConnectionTrait>(
    db: &C,
    row: &Model,
    now: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AccountId.eq(row.account_id))
        .filter(Column::FirstId.eq(row.first_id))
        .filter(Column::Id.ne(row.id))
        .filter(Column::RotatedAt.is_not_null())
        .filter(without_index(Column::EndedAt).is_null())
        .filter(without_index(Column::ExpiresAt).gt(now))
        .all(db)
        .await
}

/// Limits a key that was replaced and is still good.
pub(crate) async fn narrow_replaced<C: ConnectionTrait>(
    db: &C,
    id: ApiKeyId,
    scopes: &str,
) -> Result<(), DbErr> {
    changing()
        .col_expr(Column::Scopes, Expr::value(scopes))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Returns a key of an account that counts, also if it was replaced.
pub(crate) async fn find_live<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id)
        .filter(Expr::col(Column::AccountId).eq(account))
        .filter(without_index(Column::EndedAt).is_null())
        .filter(without_index(Column::ExpiresAt).gt(now))
        .one(db)
        .await
}

/// Ends a key of an account. Returns false if the account has no such key that counts.
pub(crate) async fn end<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = ending(EndReason::Revoked, now)
        .col_expr(Column::Slot, Expr::value(id.to_string()))
        .filter(Column::Id.eq(id))
        .filter(Expr::col(Column::AccountId).eq(account))
        .exec(db)
        .await?;
    Ok(ended.rows_affected > 0)
}

/// Ends all keys of an account. Returns how many there were. The row of the account is locked.
pub(crate) async fn end_all<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    now: Timestamp,
) -> Result<u64, DbErr> {
    end_these(db, Condition::all().add(Column::AccountId.eq(account)), now).await
}

/// Ends the keys of an account that were made in this sign-in. The row of the account is locked.
pub(crate) async fn end_made_in<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    lineage: LineageId,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let made = Condition::all().add(Column::AccountId.eq(account)).add(Column::MadeIn.eq(lineage));
    end_these(db, made, now).await
}

async fn end_these<C: ConnectionTrait>(
    db: &C,
    which: Condition,
    now: Timestamp,
) -> Result<u64, DbErr> {
    // A locking read sees what others have committed since this transaction began. On MySQL, a plain one may
    // show an older state, in which a key is missing that was made just before.
    let ids: Vec<ApiKeyId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(which)
        .filter(without_index(Column::EndedAt).is_null())
        .lock_exclusive()
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let ended = ending(EndReason::Revoked, now).filter(Column::Id.is_in(ids)).exec(db).await?;
    Ok(ended.rows_affected)
}

/// Ends the keys of all accounts, after the restore of a backup.
pub(crate) async fn end_everything<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<ApiKeyId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::EndedAt.is_null())
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let ended = changing()
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .col_expr(Column::EndReason, Expr::value(Some(EndReason::Revoked.as_str())))
        .filter(Column::Id.is_in(ids))
        .exec(db)
        .await?;
    Ok(ended.rows_affected)
}

/// A use of a key.
pub(crate) struct Use<'a> {
    pub(crate) id: ApiKeyId,
    pub(crate) at: Timestamp,
    pub(crate) from: Option<&'a str>,
    /// The digest under the newest secret, and the name of this secret.
    pub(crate) digest: &'a [u8],
    pub(crate) key_id: &'a str,
}

/// Records a use, and stores the digest under the newest secret. Nothing is recorded if a later use was.
pub(crate) async fn mark_used<C: ConnectionTrait>(db: &C, used: &Use<'_>) -> Result<(), DbErr> {
    let later = Column::LastUsedAt.is_null().or(Column::LastUsedAt.lt(used.at));
    Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(Some(used.at)))
        .col_expr(Column::LastUsedFrom, Expr::value(used.from))
        .col_expr(Column::TokenDigest, Expr::value(used.digest))
        .col_expr(Column::KeyId, Expr::value(used.key_id))
        .filter(Column::Id.eq(used.id))
        .filter(later)
        .exec(db)
        .await?;
    Ok(())
}

/// Returns a batch of keys that end before `then`, and whose owner was not told yet.
pub(crate) async fn ending_soon<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    then: Timestamp,
    batch: u64,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::ExpiresAt.gt(now))
        .filter(Column::ExpiresAt.lte(then))
        .filter(Column::ToldAt.is_null())
        .filter(Column::RotatedAt.is_null())
        .filter(without_index(Column::EndedAt).is_null())
        .order_by_asc(Column::ExpiresAt)
        .limit(batch)
        .all(db)
        .await
}

/// Records that the owner of a key is told that it ends soon. Returns false if another node did it.
pub(crate) async fn mark_told<C: ConnectionTrait>(
    db: &C,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::ToldAt, Expr::value(Some(now)))
        .filter(Column::Id.eq(id))
        .filter(Column::ToldAt.is_null())
        .filter(without_index(Column::EndedAt).is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Returns how many keys that count were digested with each secret.
pub(crate) async fn by_secret<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
) -> Result<Vec<(String, i64)>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::KeyId)
        .column_as(Column::Id.count(), "rows_of_secret")
        .filter(Column::EndedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .group_by(Column::KeyId)
        .into_tuple()
        .all(db)
        .await
}

/// Removes a batch of keys that ended before `then`.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let mut removed = 0;
    for column in [Column::EndedAt, Column::ExpiresAt] {
        let ids: Vec<ApiKeyId> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(column.lt(then))
            .order_by_asc(column)
            .limit(batch)
            .into_tuple()
            .all(db)
            .await?;
        if !ids.is_empty() {
            let gone = Entity::delete_many().filter(Column::Id.is_in(ids));
            removed += gone.exec(db).await?.rows_affected;
        }
    }
    Ok(removed)
}
