//! Queries on the only row of maintenance. Every change is one conditional UPDATE; the number of
//! changed rows is the result.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter,
    QuerySelect, Statement,
};

use super::entity::{ActiveModel, Column, Entity};
use crate::base::clock::Timestamp;

/// The id of the only row.
const ROW: i16 = 1;

/// Takes the lease until `until`. Returns false while another run has it. A lease that ends later
/// than any new one could was written by a wrong clock, and is ignored.
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

/// Extends the lease until `until`. Returns false if another run has it now.
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

/// Ends the lease, and records the time if the run is complete.
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

/// Returns the time of the clock of the database.
pub(super) async fn clock<C: ConnectionTrait>(db: &C) -> Result<Option<Timestamp>, DbErr> {
    let backend = db.get_database_backend();
    // Unix milliseconds. None of these depends on the time zone of the connection.
    let text = match backend {
        DbBackend::Postgres => {
            "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS bigint)"
        }
        DbBackend::MySql => {
            "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000"
        }
        // Rounded, because the difference is a binary fraction that may be a little too small.
        _ => "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS integer)",
    };
    let row = db.query_one_raw(Statement::from_string(backend, text)).await?;
    let millis: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(millis.map(Timestamp::from_millis))
}

/// Returns when a run was last completed.
pub(super) async fn finished_at<C: ConnectionTrait>(db: &C) -> Result<Option<Timestamp>, DbErr> {
    let at = Entity::find_by_id(ROW).select_only().column(Column::FinishedAt);
    Ok(at.into_tuple().one(db).await?.flatten())
}
