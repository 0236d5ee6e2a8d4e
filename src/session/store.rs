//! Queries on sessions. Every change is one conditional UPDATE whose count is the verdict.

use sea_orm::sea_query::{Condition, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::{Column, Entity, Model};
use super::judge::{ClientMark, Ended, LINGERS, STEPPED_UP};
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
    ending_as(reason.as_str(), now)
}

fn ending_as(reason: &'static str, now: Timestamp) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .col_expr(Column::EndReason, Expr::value(Some(reason)))
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
/// but for suspicion, said of all. Lists, the cap, ends and rotation ask this. Purge does not: it removes
/// what ended, or reached its absolute end, long enough ago, which an index tells.
fn standing(now: Timestamp, require_verified: bool) -> Condition {
    in_time(now, require_verified).add(Column::EndedAt.is_null())
}

/// That a session counts at `now`, or keeps its old rights for a moment after a step-up.
pub(crate) fn live_or_lingering(now: Timestamp, require_verified: bool) -> Condition {
    let lingering = Condition::all()
        .add(Column::EndReason.eq(STEPPED_UP))
        .add(Column::EndedAt.gt(now.minus(LINGERS)));
    let ended = Condition::any().add(Column::EndedAt.is_null()).add(lingering);
    in_time(now, require_verified).add(ended).add(Column::SuspiciousAt.is_null())
}

/// That the times of a session and its account let it go on.
fn in_time(now: Timestamp, require_verified: bool) -> Condition {
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
/// With `lingers` it keeps its old rights for a moment.
pub(crate) async fn promote<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    epoch: i64,
    lingers: bool,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let reason = if lingers { STEPPED_UP } else { Ended::Superseded.as_str() };
    let ended = ending_as(reason, now)
        .filter(Column::Id.eq(id))
        // If its owner ended all other sessions meanwhile, the new one would be over too.
        .filter(Column::AccountEpoch.eq(epoch))
        .filter(Column::SuspiciousAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
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

/// Ends all sessions of an account, except maybe one. Says how many there were; none if the one that is
/// to go on does not any more, and then the caller undoes this.
///
/// The account's epoch moves, so that a sign-in which is under way and commits later is over as well:
/// its row is not there yet, and nothing else would end it. Its row is the first to be locked, as in
/// every sign-in. The session that goes on keeps up with the epoch.
///
/// `seen` is the epoch under which somebody asks for it: where it moved since, they were put out
/// themselves, and it is none too.
pub(crate) async fn end_all<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    except: Option<SessionId>,
    seen: Option<i64>,
    now: Timestamp,
) -> Result<Option<u64>, DbErr> {
    let epoch = account::Column::Epoch;
    let mut moved = account::Entity::update_many()
        .col_expr(epoch, Expr::col(epoch).add(1))
        .filter(account::Column::Id.eq(account));
    if let Some(seen) = seen {
        moved = moved.filter(epoch.eq(seen));
    }
    if moved.exec(db).await?.rows_affected == 0 && seen.is_some() {
        return Ok(None);
    }
    if let Some(id) = except {
        let moved = Query::select()
            .column(epoch)
            .from(account::Entity)
            .and_where(account::Column::Id.eq(account))
            .to_owned();
        let kept = Entity::update_many()
            .col_expr(Column::AccountEpoch, Expr::col(Column::AccountEpoch).add(1))
            .filter(Column::Id.eq(id))
            .filter(Column::AccountId.eq(account))
            .filter(Column::EndedAt.is_null())
            // One that was over by an earlier epoch stays so.
            .filter(Expr::col(Column::AccountEpoch).add(1).in_subquery(moved))
            .exec(db)
            .await?;
        if kept.rows_affected == 0 {
            return Ok(None);
        }
    }
    let mut update = ending(Ended::Revoked, now).filter(Column::AccountId.eq(account));
    if let Some(id) = except {
        update = update.filter(Column::Id.ne(id));
    }
    Ok(Some(update.exec(db).await?.rows_affected))
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

/// The next generation of a session's token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation<'a> {
    pub(crate) id: SessionId,
    /// The generation that is retired.
    pub(crate) generation: i64,
    pub(crate) digest: &'a [u8; 32],
    pub(crate) by: ClientMark,
    /// When the request arrived that asks for it. It is a late use of the generation that it shows.
    pub(crate) arrived_at: Timestamp,
    pub(crate) now: Timestamp,
}

/// Retires one generation of a session's token for the next. False when another request did it
/// first, or when the session or its account is over: only what still lives comes out.
pub(crate) async fn rotate<C: ConnectionTrait>(
    db: &C,
    rotation: &Rotation<'_>,
) -> Result<bool, DbErr> {
    let Rotation { id, generation, digest, by, arrived_at, now } = *rotation;
    // MySQL sets columns from left to right, each seeing those before it.
    let updated = Entity::update_many()
        .col_expr(Column::PreviousLateUseAt, Expr::col(Column::LateUseAt).if_null(arrived_at))
        .col_expr(Column::LateUseAt, Expr::value(None::<i64>))
        .col_expr(Column::Generation, Expr::col(Column::Generation).add(1))
        .col_expr(Column::RotatedAt, Expr::value(now))
        .col_expr(Column::RotatedNetwork, Expr::value(by.network))
        .col_expr(Column::RotatedBrowser, Expr::value(by.browser))
        .col_expr(Column::TokenDigest, Expr::value(digest.to_vec()))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(live(now, false))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Notes the first late use of the present generation: from then on the one before is a replay.
pub(crate) async fn mark_late_use<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    generation: i64,
    arrived_at: Timestamp,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::LateUseAt, Expr::value(Some(arrived_at)))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(Column::LateUseAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Takes what is left of its old rights from a session that a step-up has replaced.
pub(crate) async fn stop_lingering<C: ConnectionTrait>(db: &C, id: SessionId) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::EndReason, Expr::value(Some(Ended::Superseded.as_str())))
        .filter(Column::Id.eq(id))
        .filter(Column::EndReason.eq(STEPPED_UP))
        .exec(db)
        .await?;
    Ok(())
}

/// Whether a sign-in of an account goes on: one of its sessions counts.
pub(crate) async fn goes_on<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    lineage: LineageId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    Ok(db.query_one(&sign_in(account, lineage, now)).await?.is_some())
}
