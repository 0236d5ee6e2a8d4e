//! Queries for addresses that accounts have left.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use crate::account::entity::former_address::{ActiveModel, Column, Entity, Model};
use crate::account::login_id::LoginIdKind;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    digests: Vec<Vec<u8>>,
    left_after: Timestamp,
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::Digest.is_in(digests))
        .filter(Column::LeftAt.gt(left_after))
        .one(db)
        .await
}

pub(super) async fn put<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    let there_already = OnConflict::column(Column::Digest)
        .update_columns([
            Column::Kind,
            Column::Sequence,
            Column::HeldMs,
            Column::LeftEpoch,
            Column::Settled,
            Column::LeftAt,
        ])
        .to_owned();
    let row = ActiveModel::from(row).reset_all();
    Entity::insert(row).on_conflict(there_already).exec_without_returning(db).await?;
    Ok(())
}

pub(super) async fn delete<C: ConnectionTrait>(
    db: &C,
    digests: Vec<Vec<u8>>,
) -> Result<u64, DbErr> {
    let deleted = Entity::delete_many().filter(Column::Digest.is_in(digests)).exec(db).await?;
    Ok(deleted.rows_affected)
}

pub(super) async fn delete_later<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    kind: LoginIdKind,
    sequence: i64,
    numbers_since: Option<i64>,
) -> Result<(), DbErr> {
    let from = |kind: LoginIdKind, sequence: i64| {
        Condition::all().add(Column::Kind.eq(kind.number())).add(Column::Sequence.gte(sequence))
    };
    let mut which = Condition::any().add(from(kind, sequence));
    if let Some(since) = numbers_since {
        which = which.add(from(LoginIdKind::Phone, since));
    }
    Entity::delete_many().filter(Column::AccountId.eq(account)).filter(which).exec(db).await?;
    Ok(())
}

pub(super) async fn delete_all<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::AccountId.eq(account)).exec(db).await?;
    Ok(())
}

pub(super) async fn purge<C: ConnectionTrait>(
    db: &C,
    left_until: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let digests: Vec<Vec<u8>> = Entity::find()
        .select_only()
        .column(Column::Digest)
        .filter(Column::LeftAt.lte(left_until))
        .order_by_asc(Column::LeftAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if digests.is_empty() {
        return Ok(0);
    }
    delete(db, digests).await
}
