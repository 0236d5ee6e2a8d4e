//! Queries on sessions. Every change is one conditional UPDATE, and the number of changed rows
//! tells whether it happened. To read, decide and then write would let two requests decide at once.

use sea_orm::sea_query::{Condition, Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::{Column, Entity, Model};
use super::judge::{ClientMark, Ended, LINGERS, STEPPED_UP};
use super::stage::Stage;
use crate::account::entity::account;
use crate::account::store::changing as changing_account;
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, LineageId, SessionId};
use crate::base::secret::random_version;

pub(super) async fn insert<C: ConnectionTrait>(db: &C, row: Model) -> Result<(), DbErr> {
    let row = super::entity::ActiveModel::from(row).reset_all();
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Returns an update of sessions. It replaces their version, like an update of accounts.
fn changing() -> UpdateMany<Entity> {
    Entity::update_many().col_expr(Column::Version, Expr::value(random_version()))
}

fn ending(reason: Ended, now: Timestamp) -> UpdateMany<Entity> {
    ending_as(reason.as_str(), now)
}

fn ending_as(reason: &'static str, now: Timestamp) -> UpdateMany<Entity> {
    changing()
        .col_expr(Column::EndedAt, Expr::value(Some(now)))
        .col_expr(Column::EndReason, Expr::value(Some(reason)))
        .filter(Column::EndedAt.is_null())
}

/// Ends one session. Returns false if it had already ended.
pub(crate) async fn end<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    reason: Ended,
    now: Timestamp,
) -> Result<bool, DbErr> {
    Ok(ending(reason, now).filter(Column::Id.eq(id)).exec(db).await?.rows_affected > 0)
}

/// Ends the sessions of these sign-ins of an account. Returns how many had not ended yet.
#[cfg(feature = "federation")]
pub(crate) async fn end_lineages<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    lineages: &[LineageId],
    now: Timestamp,
) -> Result<u64, DbErr> {
    let ended = ending(Ended::Revoked, now)
        .filter(Column::AccountId.eq(account))
        .filter(Column::LineageId.is_in(lineages.iter().copied()))
        .exec(db)
        .await?;
    Ok(ended.rows_affected)
}

/// Returns the account of a session. `None` for the session of a visitor, and if there is no such
/// session.
pub(crate) async fn account_of<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
) -> Result<Option<AccountId>, DbErr> {
    let account = Entity::find_by_id(id).select_only().column(Column::AccountId);
    Ok(account.into_tuple().one(db).await?.flatten())
}

/// Returns the lineage of a session, if there is such a session.
pub(super) async fn lineage_of<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
) -> Result<Option<LineageId>, DbErr> {
    let lineage = Entity::find_by_id(id).select_only().column(Column::LineageId);
    lineage.into_tuple().one(db).await
}

/// Selects a row while a sign-in of an account continues and is not suspicious. This is the
/// condition for a change that this sign-in requested.
pub(crate) fn sign_in(account: AccountId, lineage: LineageId, now: Timestamp) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(Column::AccountId.eq(account))
        .and_where(Column::LineageId.eq(lineage))
        .and_where(Column::EndedAt.is_null())
        .and_where(Column::SuspiciousAt.is_null())
        .and_where(without_index((Entity, Column::ExpiresAt)).gt(now))
        .to_owned()
}

/// The condition that a session has not ended at `now`. It is [`SessionState::ended`](super::judge)
/// without the check for suspicion, for many rows. Lists, the session limit, ending and rotation
/// use it. Purge does not: it deletes what ended, or reached its absolute end, long enough ago,
/// because an index can find that.
fn standing(now: Timestamp, require_verified: bool) -> Condition {
    in_time(now, require_verified).add(Column::EndedAt.is_null())
}

/// The condition that a session counts at `now`, or still keeps its old rights after a step-up.
pub(crate) fn live_or_lingering(now: Timestamp, require_verified: bool) -> Condition {
    let lingering = Condition::all()
        .add(Column::EndReason.eq(STEPPED_UP))
        .add(Column::EndedAt.gt(now.minus(LINGERS)));
    let ended = Condition::any().add(Column::EndedAt.is_null()).add(lingering);
    in_time(now, require_verified).add(ended).add(Column::SuspiciousAt.is_null())
}

/// The condition that the times of a session have not passed, and that its account may be used.
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
        .add(without_index((Entity, Column::ExpiresAt)).gt(now))
        .add(
            Expr::col((Entity, Column::RotatedAt)).add(Expr::col((Entity, Column::IdleMs))).gt(now),
        )
        .add(Condition::any().add(Expr::exists(account)).add(visitor))
}

/// The condition that a session counts at `now`: it has not ended and is not suspicious.
pub(crate) fn live(now: Timestamp, require_verified: bool) -> Condition {
    standing(now, require_verified).add(Column::SuspiciousAt.is_null())
}

/// Selects the sign-ins of an account that have a full session that counts.
pub(crate) fn live_sign_ins(
    account: AccountId,
    now: Timestamp,
    require_verified: bool,
) -> SelectStatement {
    Query::select()
        .column((Entity, Column::LineageId))
        .from(Entity)
        .cond_where(live(now, require_verified))
        .and_where(Column::AccountId.eq(account))
        .and_where(Column::Stage.eq(Stage::Full.number()))
        .to_owned()
}

/// Returns true if this sign-in of an account has a full session that counts.
pub(crate) async fn has_live<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    lineage: LineageId,
    now: Timestamp,
    require_verified: bool,
) -> Result<bool, DbErr> {
    let found = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(live(now, require_verified))
        .filter(Column::AccountId.eq(account))
        .filter(Column::LineageId.eq(lineage))
        .filter(Column::Stage.eq(Stage::Full.number()))
        .limit(1);
    Ok(found.into_tuple::<SessionId>().one(db).await?.is_some())
}

/// Returns a session, if it counts.
pub(crate) async fn live_one<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    now: Timestamp,
    require_verified: bool,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).filter(live(now, require_verified)).one(db).await
}

/// Ends the session that another one continues. Returns false if it does not count any more. With
/// `lingers` it keeps its old rights for a short time.
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
        // If the owner ended all other sessions in the meantime, the new one must not start either.
        .filter(Column::AccountEpoch.eq(epoch))
        .filter(Column::SuspiciousAt.is_null())
        .filter(without_index(Column::ExpiresAt).gt(now))
        .exec(db)
        .await?;
    Ok(ended.rows_affected > 0)
}

/// Ends one session of this account. Returns false if there is no such active session.
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

/// The result of marking a session suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    Now,
    Before,
    /// There is no such active session.
    Nothing,
}

/// Marks a session suspicious. With `account`, only if it belongs to this account.
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
    let marked = changing()
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

/// Removes the mark. Returns false if there is no such active session with the mark.
pub(crate) async fn clear_suspicion<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let cleared = changing()
        .col_expr(Column::SuspiciousAt, Expr::value(None::<i64>))
        .filter(Column::Id.eq(id))
        .filter(Column::SuspiciousAt.is_not_null())
        .filter(standing(now, false))
        .exec(db)
        .await?;
    Ok(cleared.rows_affected > 0)
}

/// Locks the account, so that flows that start or evict its sessions wait for each other.
pub(crate) async fn lock_account<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    // SQLite has no row locks and needs none: a write transaction is the only writer.
    account::Entity::find_by_id(id)
        .select_only()
        .column(account::Column::Id)
        .lock_exclusive()
        .into_tuple::<AccountId>()
        .one(db)
        .await?;
    Ok(())
}

/// Returns the ids of the account's full sessions that count, oldest first.
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
        // A plain read sees the state from the beginning of the transaction, a locking read sees
        // the present state. Otherwise parallel logins would exceed the limit.
        query = query.lock_exclusive();
    }
    query.into_tuple().all(db).await
}

/// Ends those of these sessions that have not ended yet.
pub(crate) async fn evict<C: ConnectionTrait>(
    db: &C,
    ids: &[SessionId],
    now: Timestamp,
) -> Result<(), DbErr> {
    ending(Ended::Evicted, now).filter(Column::Id.is_in(ids.iter().copied())).exec(db).await?;
    Ok(())
}

/// Deletes at most `most` sessions that ended at or before `then`. Returns how many.
pub(crate) async fn purge_ended<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    delete_some(db, Condition::all().add(Column::EndedAt.lte(then)), Column::EndedAt, most).await
}

/// Deletes sessions whose absolute end has passed. A session that was idle too long, or whose
/// account ended it, is deleted at that time too. An index that finds them earlier would add a
/// write to each rotation.
pub(crate) async fn purge_expired<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    delete_some(db, Condition::all().add(Column::ExpiresAt.lte(then)), Column::ExpiresAt, most)
        .await
}

/// Deletes only sessions of visitors whose absolute end has passed. Nobody needs to learn why they
/// ended.
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

/// Ends all sessions of an account, except `except`. Returns how many. Returns `None` if `except`
/// does not count any more; the caller then rolls back.
///
/// The epoch of the account increases. This also invalidates a sign-in that is in progress and
/// commits later: its row does not exist yet, so no UPDATE of sessions could end it. The account's
/// row is locked first, as in every sign-in, so that two flows do not deadlock. The session
/// `except` gets the new epoch.
///
/// `seen` is the epoch of the request. If the epoch has increased since, the session of the request
/// has ended, and the result is `None` as well.
pub(crate) async fn end_all<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    except: Option<SessionId>,
    seen: Option<i64>,
    now: Timestamp,
) -> Result<Option<u64>, DbErr> {
    let epoch = account::Column::Epoch;
    let mut moved = changing_account()
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
        let kept = changing()
            .col_expr(Column::AccountEpoch, Expr::col(Column::AccountEpoch).add(1))
            .filter(Column::Id.eq(id))
            .filter(Column::AccountId.eq(account))
            .filter(Column::EndedAt.is_null())
            // A session that an earlier epoch invalidated must not become valid again.
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

/// Returns at most `most` full sessions of an account that have not ended, newest first, starting
/// after `after`. Suspicious ones are included.
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
    // Ids begin with the time of their creation.
    query.order_by_desc(Column::Id).limit(most).all(db).await
}

/// The next generation of a session's token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation<'a> {
    pub(crate) id: SessionId,
    /// The generation to retire.
    pub(crate) generation: i64,
    pub(crate) digest: &'a [u8; 32],
    pub(crate) by: ClientMark,
    /// When the request arrived that needs the new generation. It is a late use of the generation
    /// that it shows.
    pub(crate) arrived_at: Timestamp,
    pub(crate) now: Timestamp,
}

/// Replaces one generation of a token by the next. Returns false if another request did so first,
/// or if the session or its account has ended. Only a session that is alive is renewed. `digest` is
/// under the newest secret, so a rotation also moves the session to that secret.
pub(crate) async fn rotate<C: ConnectionTrait>(
    db: &C,
    rotation: &Rotation<'_>,
) -> Result<bool, DbErr> {
    let Rotation { id, generation, digest, by, arrived_at, now } = *rotation;
    // MySQL sets columns from left to right, and each expression sees the columns before it. So
    // `previous_late_use_at` must be set before `late_use_at` is cleared.
    let updated = changing()
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

/// Records the first late use of the present generation. From then on the previous one is a replay.
pub(crate) async fn mark_late_use<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    generation: i64,
    arrived_at: Timestamp,
) -> Result<(), DbErr> {
    changing()
        .col_expr(Column::LateUseAt, Expr::value(Some(arrived_at)))
        .filter(Column::Id.eq(id))
        .filter(Column::Generation.eq(generation))
        .filter(Column::LateUseAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Ends the remaining rights of a session that a step-up has replaced.
pub(crate) async fn stop_lingering<C: ConnectionTrait>(db: &C, id: SessionId) -> Result<(), DbErr> {
    changing()
        .col_expr(Column::EndReason, Expr::value(Some(Ended::Superseded.as_str())))
        .filter(Column::Id.eq(id))
        .filter(Column::EndReason.eq(STEPPED_UP))
        .exec(db)
        .await?;
    Ok(())
}

/// Returns true if a sign-in of an account continues: one of its sessions counts.
pub(crate) async fn goes_on<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    lineage: LineageId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    Ok(db.query_one(&sign_in(account, lineage, now)).await?.is_some())
}
