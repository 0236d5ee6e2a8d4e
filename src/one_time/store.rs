//! Queries on challenges. Every change is one conditional UPDATE, and the number of changed rows
//! tells whether it happened. So of two requests with the same code, only one succeeds.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, SelectStatement};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::{challenge, start};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::{AccountId, ChallengeId, SessionId};

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

/// Returns the newest challenge of a subject that was not replaced, in any state.
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

/// Returns the newest answered challenge of this purpose and session that was not used yet.
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

/// Updates one challenge, if it is still open.
fn open(id: ChallengeId, now: Timestamp) -> UpdateMany<challenge::Entity> {
    challenge::Entity::update_many()
        .filter(challenge::Column::Id.eq(id))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
        .filter(without_index(challenge::Column::ExpiresAt).gt(now))
}

/// Records the correct answer, which is valid until `until`. Returns false if it is too late.
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

/// Records the correct answer and uses the challenge up at once.
pub(crate) async fn answer_and_spend<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = open(id, now)
        .col_expr(challenge::Column::AnsweredAt, Expr::value(Some(now)))
        .col_expr(challenge::Column::UsedAt, Expr::value(Some(now)))
        .filter(challenge::Column::AnsweredAt.is_null())
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Replaces the data of a challenge. Returns false if another request did so first.
pub(crate) async fn replace_data<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    before: Option<&str>,
    after: &str,
) -> Result<bool, DbErr> {
    let data = challenge::Column::Data;
    let updated = challenge::Entity::update_many()
        .col_expr(data, Expr::value(Some(after)))
        .filter(challenge::Column::Id.eq(id))
        .filter(before.map_or_else(|| data.is_null(), |before| data.eq(before)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Uses up a challenge. Returns false if another request did so, or if it has expired.
pub(crate) async fn spend<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated =
        open(id, now).col_expr(challenge::Column::UsedAt, Expr::value(Some(now))).exec(db).await?;
    Ok(updated.rows_affected > 0)
}

/// The same, and records the client that used it.
pub(crate) async fn spend_from<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    from: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = open(id, now)
        .col_expr(challenge::Column::UsedAt, Expr::value(Some(now)))
        .col_expr(challenge::Column::UsedFrom, Expr::value(from))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Gives a challenge to an account.
pub(crate) async fn give_to<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    account: AccountId,
) -> Result<(), DbErr> {
    challenge::Entity::update_many()
        .col_expr(challenge::Column::AccountId, Expr::value(Some(account)))
        .filter(challenge::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Which open challenges of an account to return.
pub(crate) struct OpenOfAccount<'a> {
    pub(crate) account: AccountId,
    pub(crate) purpose: &'a str,
    /// Selects the sessions of which one must be that of the challenge.
    pub(crate) sessions: SelectStatement,
    /// The last one of the page before.
    pub(crate) after: Option<ChallengeId>,
    pub(crate) most: usize,
}

/// Returns open challenges of an account and purpose, the newest first.
pub(crate) async fn open_of_account<C: ConnectionTrait>(
    db: &C,
    which: OpenOfAccount<'_>,
    now: Timestamp,
) -> Result<Vec<challenge::Model>, DbErr> {
    let mut query = challenge::Entity::find()
        .filter(challenge::Column::AccountId.eq(which.account))
        .filter(challenge::Column::Purpose.eq(which.purpose))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
        .filter(without_index(challenge::Column::ExpiresAt).gt(now))
        .filter(challenge::Column::SessionId.in_subquery(which.sessions));
    if let Some(after) = which.after {
        query = query.filter(challenge::Column::Id.lt(after));
    }
    // Ids begin with the time of their creation.
    query.order_by_desc(challenge::Column::Id).limit(which.most as u64).all(db).await
}

/// Ends the oldest open challenges of this session and purpose, so that `newest` and at most `most` others
/// stay.
pub(crate) async fn end_above<C: ConnectionTrait>(
    db: &C,
    purpose: &str,
    session: SessionId,
    newest: ChallengeId,
    most: u64,
    now: Timestamp,
) -> Result<(), DbErr> {
    let above: Vec<ChallengeId> = challenge::Entity::find()
        .select_only()
        .column(challenge::Column::Id)
        .filter(challenge::Column::SessionId.eq(session))
        .filter(challenge::Column::Purpose.eq(purpose))
        .filter(challenge::Column::Id.ne(newest))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
        .filter(without_index(challenge::Column::ExpiresAt).gt(now))
        .order_by_desc(challenge::Column::Id)
        .offset(most)
        // MySQL accepts no offset without a limit.
        .limit(MOST_ENDED)
        .into_tuple()
        .all(db)
        .await?;
    if !above.is_empty() {
        superseding(now).filter(challenge::Column::Id.is_in(above)).exec(db).await?;
    }
    Ok(())
}

/// How many challenges one statement ends. There are more only after a limit was lowered.
const MOST_ENDED: u64 = 1000;

/// Ends one open challenge of an account and purpose. Returns false if there is none with this id.
pub(crate) async fn end_one<C: ConnectionTrait>(
    db: &C,
    id: ChallengeId,
    account: AccountId,
    purpose: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = superseding(now)
        .filter(challenge::Column::Id.eq(id))
        .filter(challenge::Column::AccountId.eq(account))
        .filter(challenge::Column::Purpose.eq(purpose))
        .filter(without_index(challenge::Column::ExpiresAt).gt(now))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

fn superseding(now: Timestamp) -> UpdateMany<challenge::Entity> {
    challenge::Entity::update_many()
        .col_expr(challenge::Column::SupersededAt, Expr::value(Some(now)))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
}

/// Ends the open challenges of a subject, because a newer one replaces them.
pub(crate) async fn supersede<C: ConnectionTrait>(
    db: &C,
    subjects: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<(), DbErr> {
    superseding(now).filter(challenge::Column::Subject.is_in(subjects)).exec(db).await?;
    Ok(())
}

/// Removes the challenges of these subjects, which have a purpose of the application, because a
/// newer one replaces them. Nobody needs their rows. If they were kept, a session that starts many
/// challenges would fill the table.
pub(crate) async fn remove<C: ConnectionTrait>(
    db: &C,
    subjects: Vec<Vec<u8>>,
) -> Result<(), DbErr> {
    challenge::Entity::delete_many()
        .filter(challenge::Column::Subject.is_in(subjects))
        .exec(db)
        .await?;
    Ok(())
}

/// The same, but the newest unused answer of each session stays. `session` is the one that starts a
/// challenge. It removes its own older answers.
pub(crate) async fn remove_unanswered<C: ConnectionTrait>(
    db: &C,
    subjects: Vec<Vec<u8>>,
    session: SessionId,
    now: Timestamp,
) -> Result<(), DbErr> {
    use challenge::Column;

    let newest: Option<(Timestamp, ChallengeId)> = challenge::Entity::find()
        .select_only()
        .columns([Column::AnsweredAt, Column::Id])
        .filter(Column::Subject.is_in(subjects.clone()))
        .filter(Column::SessionId.eq(session))
        .filter(Column::AnsweredAt.is_not_null())
        .filter(Column::UsedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .order_by_desc(Column::AnsweredAt)
        .order_by_desc(Column::Id)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    // The time is compared, not only the id. A challenge that is answered now is newer.
    let older = newest.map(|(answered_at, id)| {
        let before = Column::AnsweredAt.lt(answered_at);
        let beside = Column::AnsweredAt.eq(answered_at).and(Column::Id.lt(id));
        Column::SessionId.eq(session).and(before.or(beside))
    });
    let over = Condition::any()
        .add(Column::AnsweredAt.is_null())
        .add(Column::UsedAt.is_not_null())
        .add(Column::SupersededAt.is_not_null())
        .add(Column::ExpiresAt.lte(now))
        .add_option(older);
    challenge::Entity::delete_many()
        .filter(Column::Subject.is_in(subjects))
        .filter(over)
        .exec(db)
        .await?;
    Ok(())
}

/// Records that a challenge of this subject is started now. Returns false if one was started after
/// `not_since`. Another request that starts one waits here for the end of this transaction.
///
/// Without a cool-down there is no `not_since` and nothing is compared. A node with a fast clock
/// may have recorded a start in the future of all other nodes, and they would refuse every start
/// until then.
pub(crate) async fn begin<C: ConnectionTrait>(
    db: &C,
    subject: &[u8],
    not_since: Option<Timestamp>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let row = start::ActiveModel {
        subject: Set(subject.to_vec()),
        started_at: Set(Timestamp::from_millis(0)),
    };
    start::Entity::insert(row)
        .on_conflict(
            OnConflict::column(start::Column::Subject)
                .do_nothing_on([start::Column::Subject])
                .to_owned(),
        )
        .exec_without_returning(db)
        .await?;
    let mut update = start::Entity::update_many()
        .col_expr(start::Column::StartedAt, Expr::value(now))
        .filter(start::Column::Subject.eq(subject.to_vec()));
    if let Some(not_since) = not_since {
        update = update.filter(without_index(start::Column::StartedAt).lte(not_since));
    }
    let updated = update.exec(db).await?;
    Ok(updated.rows_affected > 0)
}

/// Ends at most `batch` open challenges, of all accounts. Returns how many.
pub(crate) async fn end_open<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let rows: Vec<ChallengeId> = challenge::Entity::find()
        .select_only()
        .column(challenge::Column::Id)
        .filter(challenge::Column::ExpiresAt.gt(now))
        .filter(challenge::Column::UsedAt.is_null())
        .filter(challenge::Column::SupersededAt.is_null())
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let ended = superseding(now).filter(challenge::Column::Id.is_in(rows)).exec(db).await?;
    Ok(ended.rows_affected)
}

/// Deletes at most `batch` challenges that expired before `before`. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let rows: Vec<ChallengeId> = challenge::Entity::find()
        .select_only()
        .column(challenge::Column::Id)
        .filter(challenge::Column::ExpiresAt.lt(before))
        .order_by_asc(challenge::Column::ExpiresAt)
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

/// Deletes at most `batch` records of starts before `before`. Returns how many.
pub(crate) async fn purge_starts<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let subjects: Vec<Vec<u8>> = start::Entity::find()
        .select_only()
        .column(start::Column::Subject)
        .filter(start::Column::StartedAt.lt(before))
        .order_by_asc(start::Column::StartedAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if subjects.is_empty() {
        return Ok(0);
    }
    let removed = start::Entity::delete_many()
        .filter(start::Column::Subject.is_in(subjects))
        .filter(without_index(start::Column::StartedAt).lt(before));
    Ok(removed.exec(db).await?.rows_affected)
}
