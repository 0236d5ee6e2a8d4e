//! Queries on accounts that are closed or erased. Every change is one conditional statement.

use sea_orm::sea_query::{Expr, ExprTrait, Func, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::account::entity::account::{Column, Entity, Model};
use crate::account::store::{changing, no_recovery, recording};
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

/// Returns an account and locks its row until the end of the transaction.
pub(crate) async fn lock<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
) -> Result<Option<Model>, DbErr> {
    // SQLite has no row locks and needs none: a write transaction is the only writer.
    Entity::find_by_id(id).lock_exclusive().one(db).await
}

/// Returns true if an account may do everything. It locks nothing.
pub(crate) async fn is_superuser<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<bool, DbErr> {
    let superuser = Entity::find_by_id(id).select_only().column(Column::Superuser);
    Ok(superuser.into_tuple().one(db).await?.unwrap_or(false))
}

/// A superuser that can be used.
pub(crate) struct Superuser {
    pub(crate) id: AccountId,
    /// False if it will be disabled at a later date.
    pub(crate) stays: bool,
}

/// Locks the rows of all superusers, in the order of their ids, and returns those that can be used
/// at `now`. Without the locks, two superusers could leave at the same time, because each still
/// sees the other.
pub(crate) async fn lock_superusers<C: ConnectionTrait>(
    db: &C,
    require_verified: bool,
    now: Timestamp,
) -> Result<Vec<Superuser>, DbErr> {
    // Their ids come first, without a lock. Locking by the index of `superuser` would also lock the gap
    // beside it on MySQL, where every new account is inserted.
    let ids = Entity::find().select_only().column(Column::Id).filter(Column::Superuser.eq(true));
    let ids: Vec<AccountId> = ids.into_tuple().all(db).await?;
    let rows = Entity::find()
        .filter(Column::Id.is_in(ids))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .all(db)
        .await?;
    let usable = |row: &Model| {
        row.superuser
            && row.deleted_at.is_none()
            && row.disabled_at.is_none_or(|at| at > now)
            && (!require_verified || row.verified_at.is_some())
    };
    let superuser = |row: Model| Superuser { id: row.id, stays: row.disabled_at.is_none() };
    Ok(rows.into_iter().filter(usable).map(superuser).collect())
}

/// Closes an account and ends its sessions. Returns false if it is already deleted. With `asking`,
/// also returns false if its epoch is a different one, or if the query selects no row.
pub(crate) async fn close<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    asking: Option<(i64, SelectStatement)>,
    erase_at: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let mut update = changing()
        .col_expr(Column::DeletedAt, Expr::value(Some(now)))
        .col_expr(Column::EraseAt, Expr::value(Some(erase_at)))
        .col_expr(Column::SweepAt, Expr::value(Some(erase_at)))
        .col_expr(Column::RecoveryId, no_recovery())
        .col_expr(Column::Epoch, Expr::col(Column::Epoch).add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::DeletedAt.is_null());
    if let Some((epoch, session)) = asking {
        update = update.filter(Column::Epoch.eq(epoch)).filter(Expr::exists(session));
    }
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Reopens a closed account. Returns false if it is not closed, or if its waiting time is over. Its
/// sessions stay ended.
pub(crate) async fn reopen<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let reopened = changing()
        .col_expr(Column::DeletedAt, Expr::value(None::<i64>))
        .col_expr(Column::EraseAt, Expr::value(None::<i64>))
        .col_expr(Column::SweepAt, Expr::value(None::<i64>))
        .col_expr(Column::Epoch, Expr::col(Column::Epoch).add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::ErasedAt.is_null())
        .filter(Column::EraseAt.gt(now))
        .exec(db)
        .await?;
    Ok(reopened.rows_affected > 0)
}

/// Cancels the erasure of a closed account. The account stays deleted.
pub(crate) async fn cancel_erasure<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    recording()
        .col_expr(Column::EraseAt, Expr::value(None::<i64>))
        .col_expr(Column::SweepAt, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id))
        .filter(Column::ErasedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Lets maintenance look at an account again at `until`. The time that its owner was told stays.
pub(crate) async fn postpone<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    until: Timestamp,
) -> Result<(), DbErr> {
    recording()
        .col_expr(Column::SweepAt, Expr::value(Some(until)))
        .filter(Column::Id.eq(id))
        .filter(Column::SweepAt.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Returns at most `most` accounts that maintenance must erase or clean up now, the oldest first.
pub(crate) async fn due<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    most: u64,
) -> Result<Vec<AccountId>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::SweepAt.lte(now))
        .order_by_asc(Column::SweepAt)
        .limit(most)
        .into_tuple()
        .all(db)
        .await
}

/// Removes everything from the row of an account except its id and the times of its creation,
/// deletion and erasure. The row must be locked. `next` is the time of the next clean-up by
/// maintenance.
pub(crate) async fn empty<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), DbErr> {
    let once = |column: Column| Func::coalesce([Expr::col(column), Expr::value(now)]);
    let no_text = || Expr::value(None::<String>);
    let no_time = || Expr::value(None::<i64>);
    changing()
        .col_expr(Column::Username, no_text())
        .col_expr(Column::Email, no_text())
        .col_expr(Column::Phone, no_text())
        .col_expr(Column::PasswordHash, no_text())
        .col_expr(Column::PasswordPepper, no_text())
        .col_expr(Column::MustChangePassword, Expr::value(false))
        .col_expr(Column::Superuser, Expr::value(false))
        .col_expr(Column::Epoch, Expr::col(Column::Epoch).add(1))
        .col_expr(Column::EnrolledFactors, Expr::value(0i64))
        .col_expr(Column::VerifiedAt, no_time())
        .col_expr(Column::RegisteredLineageId, Expr::value(None::<uuid::Uuid>))
        .col_expr(Column::OnTrialSince, no_time())
        .col_expr(Column::DisabledAt, no_time())
        .col_expr(Column::RateLimit, no_time())
        .col_expr(Column::LastLoginAt, no_time())
        .col_expr(Column::PasswordMailedAt, no_time())
        .col_expr(Column::EnrolmentDueAt, no_time())
        .col_expr(Column::FactorEpochs, Expr::value(None::<String>))
        .col_expr(Column::RecoveryId, no_recovery())
        .col_expr(Column::DeletedAt, once(Column::DeletedAt).into())
        .col_expr(Column::ErasedAt, once(Column::ErasedAt).into())
        .col_expr(Column::EraseAt, no_time())
        .col_expr(Column::SweepAt, Expr::value(next))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that nothing is left to erase.
pub(crate) async fn finish<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    recording()
        .col_expr(Column::SweepAt, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id))
        .filter(Column::ErasedAt.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}
