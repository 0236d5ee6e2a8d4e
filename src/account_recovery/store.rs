//! Queries on recoveries. Every change is one conditional UPDATE.

use sea_orm::sea_query::{Expr, ExprTrait, Func};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entity::{ActiveModel, Column, Entity, Model};
use crate::account::StoredPassword;
use crate::account::entity::{account, login_name};
use crate::account::recovering::RecoveryState;
use crate::account::store::{changing, no_recovery};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, AccountRecoveryId};

/// How many recoveries of one account a list shows.
const MOST: u64 = 100;

pub(super) async fn insert<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    Entity::insert(ActiveModel::from(row).reset_all()).exec_without_returning(db).await?;
    Ok(())
}

pub(super) async fn find<C: ConnectionTrait>(
    db: &C,
    id: AccountRecoveryId,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).one(db).await
}

/// Returns the recoveries of an account, the newest first.
pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AccountId.eq(account))
        .order_by_desc(Column::OpenedAt)
        .order_by_desc(Column::Id)
        .limit(MOST)
        .all(db)
        .await
}

/// Records that an administrator sends the link. Returns false if it is not open, if its delay is not
/// over, or if its time is.
pub(super) async fn complete<C: ConnectionTrait>(
    db: &C,
    id: AccountRecoveryId,
    by: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::State, Expr::value(RecoveryState::Completed.number()))
        .col_expr(Column::CompletedBy, Expr::value(Some(by)))
        .col_expr(Column::CompletedAt, Expr::value(Some(now)))
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(RecoveryState::Open.number()))
        .filter(Column::ReadyAt.lte(now))
        .filter(without_index(Column::ExpiresAt).gt(now))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Records that an administrator sends the link again.
pub(super) async fn send_again<C: ConnectionTrait>(
    db: &C,
    id: AccountRecoveryId,
    by: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::CompletedBy, Expr::value(Some(by)))
        .col_expr(Column::CompletedAt, Expr::value(Some(now)))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Sets the password of an account by its recovery, and removes its second factors. Ends all sessions.
/// Returns false if the recovery is not the open one of the account, or if the account cannot be used.
pub(super) async fn recover_account<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    recovery: AccountRecoveryId,
    email: Option<&str>,
    password: StoredPassword,
    now: Timestamp,
) -> Result<bool, DbErr> {
    use account::Column;

    let mut update = changing()
        .col_expr(Column::PasswordHash, Expr::value(password.hash))
        .col_expr(Column::PasswordPepper, Expr::value(password.pepper))
        .col_expr(Column::MustChangePassword, Expr::value(false))
        .col_expr(Column::EnrolledFactors, Expr::value(0i64))
        .col_expr(Column::RecoveryId, no_recovery())
        // Who has the link has only shown that mail reaches them.
        .col_expr(Column::PasswordMailedAt, Expr::value(Some(now)))
        .col_expr(Column::Epoch, Expr::col(Column::Epoch).add(1));
    if let Some(email) = email {
        let verified_at = Func::coalesce([Expr::col(Column::VerifiedAt), Expr::value(now)]);
        update = update
            .col_expr(Column::Email, Expr::value(Some(email)))
            .col_expr(Column::VerifiedAt, verified_at.into());
    }
    let updated = update
        .filter(Column::Id.eq(id))
        .filter(Column::RecoveryId.eq(recovery))
        .filter(Column::DeletedAt.is_null())
        .filter(Column::DisabledAt.is_null().or(Column::DisabledAt.gt(now)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Removes a name from an account.
pub(super) async fn release<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    normal: &str,
) -> Result<(), DbErr> {
    login_name::Entity::delete_many()
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes at most `batch` recoveries whose time was over before `before`. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<AccountRecoveryId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::ExpiresAt.lt(before))
        .order_by_asc(Column::ExpiresAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    Ok(Entity::delete_many().filter(Column::Id.is_in(ids)).exec(db).await?.rows_affected)
}
