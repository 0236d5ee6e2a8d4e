//! Queries on the one row of maintenance. Every change is one conditional UPDATE whose count is the
//! verdict.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect,
};

use super::entity::{ActiveModel, Column, Entity};
use crate::base::clock::Timestamp;

/// The one row.
const ROW: i16 = 1;

/// Takes the work on until `until`. False while somebody else has it. A lease that ends later than any
/// that is taken now is from a clock that was wrong, and counts for nothing after all.
pub(super) async fn take<C: ConnectionTrait>(
    db: &C,
    lease: i64,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let latest = until.plus(until.since(now));
    let first = ActiveModel {
        id: Set(ROW),
        leased_until: Set(Timestamp::from_millis(0)),
        lease: Set(0),
        finished_at: Set(None),
    };
    Entity::insert(first)
        .on_conflict(OnConflict::column(Column::Id).do_nothing_on([Column::Id]).to_owned())
        .exec_without_returning(db)
        .await?;
    let updated = Entity::update_many()
        .col_expr(Column::LeasedUntil, Expr::value(until))
        .col_expr(Column::Lease, Expr::value(lease))
        .filter(Column::Id.eq(ROW))
        .filter(Column::LeasedUntil.lte(now).or(Column::LeasedUntil.gt(latest)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Keeps it until `until`. False when somebody else has it by now.
pub(super) async fn keep<C: ConnectionTrait>(
    db: &C,
    lease: i64,
    until: Timestamp,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::LeasedUntil, Expr::value(until))
        .filter(Column::Id.eq(ROW))
        .filter(Column::Lease.eq(lease))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Gives it back, done or not.
pub(super) async fn give_back<C: ConnectionTrait>(
    db: &C,
    lease: i64,
    finished_at: Option<Timestamp>,
) -> Result<(), DbErr> {
    let mut update = Entity::update_many()
        .col_expr(Column::LeasedUntil, Expr::value(Timestamp::from_millis(0)))
        .col_expr(Column::Lease, Expr::value(0i64))
        .filter(Column::Id.eq(ROW))
        .filter(Column::Lease.eq(lease));
    if finished_at.is_some() {
        update = update.col_expr(Column::FinishedAt, Expr::value(finished_at));
    }
    update.exec(db).await?;
    Ok(())
}

/// When it was last done.
pub(super) async fn finished_at<C: ConnectionTrait>(db: &C) -> Result<Option<Timestamp>, DbErr> {
    let at = Entity::find_by_id(ROW).select_only().column(Column::FinishedAt);
    Ok(at.into_tuple().one(db).await?.flatten())
}
