//! Queries on sessions. Every change is one conditional UPDATE whose count is the verdict.

use sea_orm::sea_query::{Condition, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::{Column, Entity, Model};
use super::judge::Ended;
use super::stage::Stage;
use crate::account::entity::account;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId, SessionId};

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

/// Finds something while a sign-in of an account goes on and is not suspicious: the condition of a
/// change that it asked for.
pub(crate) fn sign_in(account: AccountId, lineage: LineageId, now: Timestamp) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(Column::AccountId.eq(account))
        .and_where(Column::LineageId.eq(lineage))
        .and_where(Column::EndedAt.is_null())
        .and_where(Column::SuspiciousAt.is_null())
        .and_where(Column::ExpiresAt.gt(now))
        .to_owned()
}

/// That a session is not over at `now`: what [`SessionState::ended`](super::judge) says of one row,
/// but for suspicion, said of all. Lists, the cap, ends, rotation and purge ask this.
fn standing(now: Timestamp, require_verified: bool) -> Condition {
    let of_account = |column| Expr::col((account::Entity, column));
    let mut account = Query::select();
    account
        .expr(Expr::val(1))
        .from(account::Entity)
        .and_where(of_account(account::Column::Id).equals((Entity, Column::AccountId)))
        .and_where(of_account(account::Column::Epoch).equals((Entity, Column::AccountEpoch)))
        .and_where(of_account(account::Column::DeletedAt).is_null())
        .and_where(
            of_account(account::Column::DisabledAt)
                .is_null()
                .or(of_account(account::Column::DisabledAt).gt(now)),
        );
    if require_verified {
        account.and_where(of_account(account::Column::VerifiedAt).is_not_null());
    }
    let visitor = Condition::all()
        .add(Column::AccountId.is_null())
        .add(Column::Stage.eq(Stage::Anonymous.number()));
    Condition::all()
        .add(Column::EndedAt.is_null())
        .add(Column::ExpiresAt.gt(now))
        .add(
            Expr::col((Entity, Column::RotatedAt)).add(Expr::col((Entity, Column::IdleMs))).gt(now),
        )
        .add(Condition::any().add(Expr::exists(account)).add(visitor))
}

/// That a session counts at `now`: it is not over and not suspicious.
pub(crate) fn live(now: Timestamp, require_verified: bool) -> Condition {
    standing(now, require_verified).add(Column::SuspiciousAt.is_null())
}

/// Ends the session that another one goes on from. False when it does not count any more.
pub(crate) async fn promote<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = ending(Ended::Superseded, now)
        .filter(Column::Id.eq(id))
        .filter(Column::SuspiciousAt.is_null())
        .exec(db)
        .await?;
    Ok(ended.rows_affected > 0)
}

/// Ends one session of this account. False when there is none such that still stands.
pub(crate) async fn end_own<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = ending(Ended::Revoked, now)
        .filter(Column::Id.eq(id))
        .filter(Column::AccountId.eq(account))
        .filter(standing(now, false))
        .exec(db)
        .await?;
    Ok(ended.rows_affected > 0)
}

/// What became of a session that was to be marked suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    Now,
    Before,
    /// There is no such session that still stands.
    Nothing,
}

/// Marks a session suspicious: of this account, or of anyone.
pub(crate) async fn mark_suspicious<C: ConnectionTrait>(
    db: &C,
    account: Option<AccountId>,
    id: SessionId,
    now: Timestamp,
) -> Result<Marked, DbErr> {
    let mut which = standing(now, false).add(Column::Id.eq(id));
    if let Some(account) = account {
        which = which.add(Column::AccountId.eq(account));
    }
    let marked = Entity::update_many()
        .col_expr(Column::SuspiciousAt, Expr::value(Some(now)))
        .filter(Column::SuspiciousAt.is_null())
        .filter(which.clone())
        .exec(db)
        .await?;
    if marked.rows_affected > 0 {
        return Ok(Marked::Now);
    }
    let there = Entity::find().filter(which).one(db).await?.is_some();
    Ok(if there { Marked::Before } else { Marked::Nothing })
}

/// Takes the mark away again. False when there is no such session that has it and still stands.
pub(crate) async fn clear_suspicion<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let cleared = Entity::update_many()
        .col_expr(Column::SuspiciousAt, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id))
        .filter(Column::SuspiciousAt.is_not_null())
        .filter(standing(now, false))
        .exec(db)
        .await?;
    Ok(cleared.rows_affected > 0)
}

/// Makes all that start or end sessions of this account by its limit wait for each other.
pub(crate) async fn lock_account<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    // SQLite has no row locks and needs none: its transaction is the only writer.
    account::Entity::find_by_id(id)
        .select_only()
        .column(account::Column::Id)
        .lock_exclusive()
        .into_tuple::<AccountId>()
        .one(db)
        .await?;
    Ok(())
}

/// The ids of the account's full sessions that count, oldest first.
pub(crate) async fn live_of<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    now: Timestamp,
    require_verified: bool,
) -> Result<Vec<SessionId>, DbErr> {
    let mut query = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::AccountId.eq(account))
        .filter(Column::Stage.eq(Stage::Full.number()))
        .filter(live(now, require_verified))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id);
    if db.get_database_backend() == DbBackend::MySql {
        // A plain read sees what was there when the transaction began; a locking one what is.
        query = query.lock_exclusive();
    }
    query.into_tuple().all(db).await
}

/// Ends those of these sessions that are not over.
pub(crate) async fn evict<C: ConnectionTrait>(
    db: &C,
    ids: &[SessionId],
    now: Timestamp,
) -> Result<(), DbErr> {
    ending(Ended::Evicted, now).filter(Column::Id.is_in(ids.iter().copied())).exec(db).await?;
    Ok(())
}

/// Deletes at most `most` sessions that were ended by `then`. Says how many.
pub(crate) async fn purge_ended<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    delete_some(db, Condition::all().add(Column::EndedAt.lte(then)), Column::EndedAt, most).await
}

/// The same of sessions whose absolute end has passed. One that idled away, or ended with its
/// account, goes with that end too: telling those by an index would cost each rotation a write to it.
pub(crate) async fn purge_expired<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    delete_some(db, Condition::all().add(Column::ExpiresAt.lte(then)), Column::ExpiresAt, most)
        .await
}

/// The same of visitors' sessions alone, which leave nobody to be told of their end.
pub(crate) async fn purge_visitors<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let over = Condition::all().add(Column::AccountId.is_null()).add(Column::ExpiresAt.lte(then));
    delete_some(db, over, Column::ExpiresAt, most).await
}

async fn delete_some<C: ConnectionTrait>(
    db: &C,
    over: Condition,
    oldest: Column,
    most: u64,
) -> Result<u64, DbErr> {
    let ids: Vec<SessionId> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(over)
        .order_by_asc(oldest)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = Entity::delete_many().filter(Column::Id.is_in(ids)).exec(db).await?;
    Ok(deleted.rows_affected)
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

/// At most `most` full sessions of an account that are not over, newest first, from the one after
/// `after` on; the suspicious ones too.
pub(crate) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    after: Option<SessionId>,
    most: u64,
    now: Timestamp,
    require_verified: bool,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find()
        .filter(Column::AccountId.eq(account))
        .filter(Column::Stage.eq(Stage::Full.number()))
        .filter(standing(now, require_verified));
    if let Some(after) = after {
        query = query.filter(Column::Id.lt(after));
    }
    // Ids begin with the time at which they were made.
    query.order_by_desc(Column::Id).limit(most).all(db).await
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
        .filter(live(now, false))
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
