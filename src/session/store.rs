//! Queries on sessions. Every change is one conditional UPDATE whose count is the verdict.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, UpdateMany,
};

use super::entity::{Column, Entity, Model};
use super::judge::Ended;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, SessionId};

pub(crate) async fn insert<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    let row = super::entity::ActiveModel::from(row).reset_all();
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

fn ending(reason: Ended, now: Timestamp) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .col_expr(Column::EndReason, Expr::value(Some(reason.as_str())))
        .filter(Column::EndedAt.is_null())
}

/// Ends one session. False when it was over already.
pub(crate) async fn end<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    reason: Ended,
    now: Timestamp,
) -> Result<bool, DbErr> {
    Ok(ending(reason, now).filter(Column::Id.eq(id)).exec(db).await?.rows_affected > 0)
}

/// Whose session it is; none for a visitor's, and for no session.
pub(crate) async fn account_of<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
) -> Result<Option<AccountId>, DbErr> {
    let account = Entity::find_by_id(id).select_only().column(Column::AccountId);
    Ok(account.into_tuple().one(db).await?.flatten())
}

/// That the account's sessions were not ended together since this one was made.
fn account_unchanged() -> Expr {
    Expr::exists(
        Query::select()
            .expr(Expr::val(1))
            .from(account::Entity)
            .and_where(
                Expr::col((account::Entity, account::Column::Id))
                    .equals((Entity, Column::AccountId)),
            )
            .and_where(
                Expr::col((account::Entity, account::Column::Epoch))
                    .equals((Entity, Column::AccountEpoch)),
            )
            .to_owned(),
    )
}

/// Ends one session of this account. False when there is none such that still counts.
pub(crate) async fn end_own<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = ending(Ended::Revoked, now)
        .filter(Column::Id.eq(id))
        .filter(Column::AccountId.eq(account))
        .filter(Column::ExpiresAt.gt(now))
        .filter(Expr::col(Column::RotatedAt).add(Expr::col(Column::IdleMs)).gt(now))
        .filter(account_unchanged())
        .exec(db)
        .await?;
    Ok(ended.rows_affected > 0)
}

/// Ends all sessions of an account, except maybe one. Says how many there were.
pub(crate) async fn end_all<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    except: Option<SessionId>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let mut update = ending(Ended::Revoked, now).filter(Column::AccountId.eq(account));
    if let Some(id) = except {
        update = update.filter(Column::Id.ne(id));
    }
    Ok(update.exec(db).await?.rows_affected)
}

/// The sessions of an account that are not ended or past their end, newest first.
pub(crate) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    now: Timestamp,
) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::EndedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .all(db)
        .await
}

/// Retires one generation of a session's token for the next. False when another request did it
/// first, or when the session or its account is over: only what still lives comes out.
pub(crate) async fn rotate<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    generation: i64,
    digest: &[u8; 32],
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::PreviousUsedAt, Expr::col(Column::UsedAt).if_null(now))
        .col_expr(Column::UsedAt, Expr::value(None::<i64>))
        .col_expr(Column::Generation, Expr::col(Column::Generation).add(1))
        .col_expr(Column::RotatedAt, Expr::value(now))
        .col_expr(Column::TokenDigest, Expr::value(digest.to_vec()))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(Column::EndedAt.is_null())
        .filter(Column::SuspiciousAt.is_null())
        .filter(account_unchanged())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Notes the first use of the present generation.
pub(crate) async fn mark_used<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    generation: i64,
    now: Timestamp,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::UsedAt, Expr::value(Some(now)))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(Column::UsedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}
