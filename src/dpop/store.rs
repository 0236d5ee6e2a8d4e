//! Queries on proofs that were used.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::ProvedKey;
use super::entity::{ActiveModel, Column, Entity, Model};
use crate::base::clock::Timestamp;
use crate::base::transaction::is_unique_violation;

/// Uses a proof up. Returns false if it was used before, on any node. On PostgreSQL, a transaction in which it
/// returns false can only be rolled back.
pub(crate) async fn spend<C: ConnectionTrait>(db: &C, proved: &ProvedKey) -> Result<bool, DbErr> {
    let row = Model { digest: proved.digest.to_vec(), expires_at: proved.expires_at };
    match Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes at most `batch` proofs that are refused for their age. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let digests: Vec<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Digest)
        .filter(Column::ExpiresAt.lt(now))
        .order_by_asc(Column::ExpiresAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if digests.is_empty() {
        return Ok(0);
    }
    Ok(Entity::delete_many().filter(Column::Digest.is_in(digests)).exec(db).await?.rows_affected)
}
