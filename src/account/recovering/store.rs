//! Queries on the open recovery of an account. Its table is named as text, because it belongs to a
//! module above this one.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait, Query, UpdateStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, QueryFilter};

use super::RecoveryState;
use crate::account::entity::account::Column;
use crate::account::store::{no_recovery, recording};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, AccountRecoveryId};

/// Records that this recovery of an account is open. Any earlier one is not. The transaction has locked
/// the account's row.
pub(crate) async fn set<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    recovery: AccountRecoveryId,
) -> Result<(), DbErr> {
    recording()
        .col_expr(Column::RecoveryId, Expr::value(Some(recovery)))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that an account has no open recovery any more. Returns false if this was not the open one.
pub(crate) async fn clear<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    recovery: AccountRecoveryId,
) -> Result<bool, DbErr> {
    let cleared = recording()
        .col_expr(Column::RecoveryId, no_recovery())
        .filter(Column::Id.eq(id))
        .filter(Column::RecoveryId.eq(recovery))
        .exec(db)
        .await?;
    Ok(cleared.rows_affected > 0)
}

/// Ends a recovery. Returns false if it has already ended, or if its time was over: its link can no longer
/// be sent, and the one that was sent is too old.
pub(crate) async fn end<C: ConnectionTrait>(
    db: &C,
    recovery: AccountRecoveryId,
    state: RecoveryState,
    link_lifetime: Duration,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let link = Expr::col("completed_at").gt(now.minus(link_lifetime));
    let mut update = ending(recovery, state, now);
    update.and_where(Expr::col("expires_at").gt(now).or(link));
    Ok(db.execute(&update).await?.rows_affected() > 0)
}

/// Records that the time of a recovery was over.
pub(crate) async fn expire<C: ConnectionTrait>(
    db: &C,
    recovery: AccountRecoveryId,
    now: Timestamp,
) -> Result<(), DbErr> {
    db.execute(&ending(recovery, RecoveryState::Ended, now)).await?;
    Ok(())
}

fn ending(recovery: AccountRecoveryId, state: RecoveryState, now: Timestamp) -> UpdateStatement {
    let open = [RecoveryState::Open, RecoveryState::Completed].map(RecoveryState::number);
    let mut update = Query::update();
    update
        .table("auth_account_recovery")
        .value("state", state.number())
        .value("ended_at", Expr::value(Some(now)))
        .and_where(Expr::col("id").eq(recovery))
        .and_where(Expr::col("state").is_in(open));
    update
}
