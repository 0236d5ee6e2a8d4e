//! Queries on challenges. Every change is one conditional UPDATE whose count is the verdict.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::{challenge, counter};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ChallengeId, SessionId};
use crate::config::ChallengeConfig;

pub(crate) async fn insert<C: ConnectionTrait>(db: &C, row: challenge::Model) -> Result<(), DbErr> {
    let row = challenge::ActiveModel::from(row).reset_all();
    challenge::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

pub(crate) async fn find<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
) -> Result<Option<challenge::Model>, DbErr> {
    challenge::Entity::find_by_id(id).one(db).await
}

pub(crate) async fn find_by_token<C: ConnectionTrait>(
    db: &C,
    purpose: &str,
    digests: Vec<Vec<u8>>,
) -> Result<Option<challenge::Model>, DbErr> {
    challenge::Entity::find()
        .filter(challenge::Column::TokenDigest.is_in(digests))
        .filter(challenge::Column::Purpose.eq(purpose))
        .one(db)
        .await
}

/// The newest challenge of a subject that was not superseded, in whatever state it is.
pub(crate) async fn newest<C: ConnectionTrait>(
    db: &C,
    subjects: Vec<Vec<u8>>,
) -> Result<Option<challenge::Model>, DbErr> {
    challenge::Entity::find()
        .filter(challenge::Column::Subject.is_in(subjects))
        .filter(challenge::Column::SupersededAt.is_null())
        .order_by_desc(challenge::Column::CreatedAt)
        .order_by_desc(challenge::Column::Id)
        .limit(1)
        .one(db)
        .await
}

/// An answered challenge of this purpose and session that was not used yet, the newest first.
pub(crate) async fn answered<C: ConnectionTrait>(
    db: &C,
    purpose: &str,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<challenge::Model>, DbErr> {
    challenge::Entity::find()
        .filter(challenge::Column::SessionId.eq(session))
        .filter(challenge::Column::Purpose.eq(purpose))
        .filter(challenge::Column::AnsweredAt.is_not_null())
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
        .filter(challenge::Column::ExpiresAt.gt(now))
        .order_by_desc(challenge::Column::AnsweredAt)
        .order_by_desc(challenge::Column::Id)
        .limit(1)
        .one(db)
        .await
}

/// A change of one challenge that is still open.
fn open(id: ChallengeId, now: Timestamp) -> UpdateMany<challenge::Entity> {
    challenge::Entity::update_many()
        .filter(challenge::Column::Id.eq(id))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
        .filter(challenge::Column::ExpiresAt.gt(now))
}

/// Notes the right answer, which is good until `until`. False when it is too late for one.
pub(crate) async fn answer<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = open(id, now)
        .col_expr(challenge::Column::AnsweredAt, Expr::value(Some(now)))
        .col_expr(challenge::Column::ExpiresAt, Expr::value(until))
        .filter(challenge::Column::AnsweredAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Uses a challenge up. False when someone else did, or when it is too late.
pub(crate) async fn spend<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated =
        open(id, now).col_expr(challenge::Column::UsedAt, Expr::value(Some(now))).exec(db).await?;
    Ok(updated.rows_affected > 0)
}

fn superseding(now: Timestamp) -> UpdateMany<challenge::Entity> {
    challenge::Entity::update_many()
        .col_expr(challenge::Column::SupersededAt, Expr::value(Some(now)))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
}

/// Ends the open challenges of a subject, for a newer one takes their place.
pub(crate) async fn supersede<C: ConnectionTrait>(
    db: &C,
    subjects: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<(), DbErr> {
    superseding(now).filter(challenge::Column::Subject.is_in(subjects)).exec(db).await?;
    Ok(())
}

/// Ends the open challenges of an account of one purpose, or all but what undoes a change.
pub(crate) async fn end_of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    purpose: Option<&str>,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let mut update = superseding(now).filter(challenge::Column::AccountId.eq(account));
    update = match purpose {
        Some(purpose) => update.filter(challenge::Column::Purpose.eq(purpose)),
        None => update.filter(challenge::Column::Purpose.is_not_in(super::mechanism::UNDO)),
    };
    Ok(update.exec(db).await?.rows_affected)
}

/// Ends the open challenges of an account and purpose that are not older than `since`.
pub(crate) async fn end_since<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    purpose: &str,
    since: Timestamp,
    now: Timestamp,
) -> Result<(), DbErr> {
    superseding(now)
        .filter(challenge::Column::AccountId.eq(account))
        .filter(challenge::Column::Purpose.eq(purpose))
        .filter(challenge::Column::CreatedAt.gte(since))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes sure that a subject has a counter.
async fn count_from_now<C: ConnectionTrait>(db: &C, subject: &[u8]) -> Result<(), DbErr> {
    let row = counter::ActiveModel {
        subject: Set(subject.to_vec()),
        tries: Set(0),
        window_ends_at: Set(Timestamp::from_millis(0)),
        started_at: Set(Timestamp::from_millis(0)),
    };
    counter::Entity::insert(row)
        .on_conflict(
            OnConflict::column(counter::Column::Subject)
                .do_nothing_on([counter::Column::Subject])
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Notes that a challenge of this subject is started now, unless one was within the cool-down.
/// Whoever else starts one meanwhile waits here until this transaction is over.
pub(crate) async fn begin<C: ConnectionTrait>(
    db: &C,
    subject: &[u8],
    not_since: Timestamp,
    now: Timestamp,
) -> Result<bool, DbErr> {
    count_from_now(db, subject).await?;
    let updated = counter::Entity::update_many()
        .col_expr(counter::Column::StartedAt, Expr::value(now))
        .filter(counter::Column::Subject.eq(subject.to_vec()))
        .filter(counter::Column::StartedAt.lte(not_since))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Takes one of the tries that a subject has in a window of time, before the answer is looked at.
/// False when they are used up.
pub(crate) async fn take_try<C: ConnectionTrait>(
    db: &C,
    subject: &[u8],
    config: &ChallengeConfig,
    now: Timestamp,
) -> Result<bool, DbErr> {
    count_from_now(db, subject).await?;
    let over = || Expr::col(counter::Column::WindowEndsAt).lte(now);
    let tries = Expr::col(counter::Column::Tries);
    // MySQL sets columns from left to right, each seeing those before it: the window comes last.
    let updated = counter::Entity::update_many()
        .col_expr(
            counter::Column::Tries,
            CaseStatement::new().case(over(), 1i64).finally(tries.clone().add(1i64)).into(),
        )
        .col_expr(
            counter::Column::WindowEndsAt,
            CaseStatement::new()
                .case(over(), now.plus(config.tries_window))
                .finally(Expr::col(counter::Column::WindowEndsAt))
                .into(),
        )
        .filter(counter::Column::Subject.eq(subject.to_vec()))
        .filter(over().or(tries.lt(i64::from(config.tries))))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Gives back the try of a right answer. Those of wrong ones stay counted.
pub(crate) async fn give_back_try<C: ConnectionTrait>(db: &C, subject: &[u8]) -> Result<(), DbErr> {
    counter::Entity::update_many()
        .col_expr(counter::Column::Tries, Expr::col(counter::Column::Tries).sub(1i64))
        .filter(counter::Column::Subject.eq(subject.to_vec()))
        .filter(counter::Column::Tries.gt(0i64))
        .exec(db)
        .await?;
    Ok(())
}

/// When the tries of a subject are counted anew.
pub(crate) async fn window_ends_at<C: ConnectionTrait>(
    db: &C,
    subject: &[u8],
) -> Result<Option<Timestamp>, DbErr> {
    let row = counter::Entity::find_by_id(subject.to_vec()).one(db).await?;
    Ok(row.map(|row| row.window_ends_at))
}

/// Removes at most `batch` challenges that were over before `before`. Says how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let rows: Vec<ChallengeId> = challenge::Entity::find()
        .select_only()
        .column(challenge::Column::Id)
        .filter(challenge::Column::ExpiresAt.lt(before))
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let deleted =
        challenge::Entity::delete_many().filter(challenge::Column::Id.is_in(rows)).exec(db).await?;
    Ok(deleted.rows_affected)
}

/// Removes counters that count nothing any more and whose last challenge was started before
/// `before`.
pub(crate) async fn purge_counters<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let stale = |subjects: Vec<Vec<u8>>| {
        counter::Entity::delete_many()
            .filter(counter::Column::Subject.is_in(subjects))
            .filter(counter::Column::StartedAt.lt(before))
            .filter(counter::Column::WindowEndsAt.lt(before))
    };
    let subjects: Vec<Vec<u8>> = counter::Entity::find()
        .select_only()
        .column(counter::Column::Subject)
        .filter(counter::Column::StartedAt.lt(before))
        .filter(counter::Column::WindowEndsAt.lt(before))
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if subjects.is_empty() {
        return Ok(0);
    }
    Ok(stale(subjects).exec(db).await?.rows_affected)
}
