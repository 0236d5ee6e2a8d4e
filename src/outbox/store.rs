//! Queries on the outbox. Every change is one conditional statement; the number of changed rows is
//! the result.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect,
};

use super::entity::{limit, message};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::id::MessageId;
use crate::base::seal::Sealed;

/// The state of a message that waits to be sent.
pub(crate) const DUE: &str = "due";

pub(crate) async fn insert<C: ConnectionTrait>(db: &C, row: message::Model) -> Result<(), DbErr> {
    message::Entity::insert(message::ActiveModel::from(row).reset_all())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// The limits for messages of one kind to one recipient.
pub(crate) struct Limit {
    /// The minimum time between two messages.
    pub(crate) cool_down: std::time::Duration,
    /// The largest number of messages in a window.
    pub(crate) most: u32,
    pub(crate) window: std::time::Duration,
}

/// Counts one more message if the limit allows it. It always runs two statements, for every
/// recipient. The first creates or locks the row, the second decides. So simultaneous requests are
/// decided one after the other.
pub(crate) async fn admit<C: ConnectionTrait>(
    db: &C,
    digest: [u8; 32],
    allowed: &Limit,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let row = limit::ActiveModel {
        digest: Set(digest.to_vec()),
        window_started_at: Set(now),
        sent: Set(0),
        last_at: Set(Timestamp::from_millis(0)),
    };
    let same = Expr::col((limit::Entity, limit::Column::Sent));
    let locked =
        OnConflict::column(limit::Column::Digest).value(limit::Column::Sent, same).to_owned();
    limit::Entity::insert(row).on_conflict(locked).exec_without_returning(db).await?;

    let over = || Expr::col(limit::Column::WindowStartedAt).lte(now.minus(allowed.window));
    let sent = || Expr::col(limit::Column::Sent);
    // The count is assigned first, because MySQL uses the new value of a column in later
    // assignments of the same statement.
    let updated = limit::Entity::update_many()
        .col_expr(
            limit::Column::Sent,
            CaseStatement::new().case(over(), 1).finally(sent().add(1)).into(),
        )
        .col_expr(
            limit::Column::WindowStartedAt,
            CaseStatement::new()
                .case(over(), now)
                .finally(Expr::col(limit::Column::WindowStartedAt))
                .into(),
        )
        .col_expr(limit::Column::LastAt, Expr::value(now))
        .filter(limit::Column::Digest.eq(digest.to_vec()))
        .filter(without_index(limit::Column::LastAt).lte(now.minus(allowed.cool_down)))
        .filter(sent().lt(allowed.most).or(over()))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Changes the content of a message that nobody has begun to send.
pub(crate) async fn amend<C: ConnectionTrait>(
    db: &C,
    id: MessageId,
    sealed: Sealed,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = message::Entity::update_many()
        .col_expr(message::Column::Payload, Expr::value(Some(sealed.text)))
        .col_expr(message::Column::KeyId, Expr::value(sealed.key_id))
        // This makes the claim of a sender fail that has just read the row. It reads the row again,
        // with the new content.
        .col_expr(message::Column::NextTryAt, Expr::col(message::Column::NextTryAt).add(1i64))
        .filter(message::Column::Id.eq(id))
        .filter(message::Column::State.eq(DUE))
        .filter(message::Column::Attempts.eq(0))
        .filter(message::Column::ExpiresAt.gt(now))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Returns the messages to send now, the oldest first.
pub(crate) async fn due<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    most: u64,
) -> Result<Vec<message::Model>, DbErr> {
    message::Entity::find()
        .filter(message::Column::State.eq(DUE))
        .filter(message::Column::NextTryAt.lte(now))
        .order_by_asc(message::Column::NextTryAt)
        .limit(most)
        .all(db)
        .await
}

/// Returns when the next message is to be sent.
pub(crate) async fn next_try_at<C: ConnectionTrait>(db: &C) -> Result<Option<Timestamp>, DbErr> {
    message::Entity::find()
        .select_only()
        .column(message::Column::NextTryAt)
        .filter(message::Column::State.eq(DUE))
        .order_by_asc(message::Column::NextTryAt)
        .limit(1)
        .into_tuple()
        .one(db)
        .await
}

/// Counts the messages that wait to be sent, for each secret.
pub(crate) async fn by_secret<C: ConnectionTrait>(db: &C) -> Result<Vec<(String, i64)>, DbErr> {
    message::Entity::find()
        .select_only()
        .column(message::Column::KeyId)
        .column_as(message::Column::Id.count(), "rows_of_secret")
        .filter(message::Column::State.eq(DUE))
        .group_by(message::Column::KeyId)
        .into_tuple()
        .all(db)
        .await
}

/// Claims a message for one attempt. Nobody else claims it until the lease ends. Returns false if
/// another sender was faster.
pub(crate) async fn claim<C: ConnectionTrait>(
    db: &C,
    row: &message::Model,
    lease_ends_at: Timestamp,
) -> Result<bool, DbErr> {
    let updated = message::Entity::update_many()
        .col_expr(message::Column::Attempts, Expr::value(row.attempts.saturating_add(1)))
        .col_expr(message::Column::NextTryAt, Expr::value(lease_ends_at))
        .filter(message::Column::Id.eq(row.id))
        .filter(message::Column::State.eq(DUE))
        .filter(message::Column::Attempts.eq(row.attempts))
        .filter(message::Column::NextTryAt.eq(row.next_try_at))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Finishes a message and removes its content. Returns false if another sender has claimed it
/// meanwhile.
pub(crate) async fn finish<C: ConnectionTrait>(
    db: &C,
    id: MessageId,
    attempts: i16,
    state: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = message::Entity::update_many()
        .col_expr(message::Column::State, Expr::value(state))
        .col_expr(message::Column::Payload, Expr::value(None::<String>))
        .col_expr(message::Column::FinishedAt, Expr::value(Some(now)))
        .filter(message::Column::Id.eq(id))
        .filter(message::Column::State.eq(DUE))
        .filter(message::Column::Attempts.eq(attempts))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Postpones a message to another attempt.
pub(crate) async fn put_off<C: ConnectionTrait>(
    db: &C,
    id: MessageId,
    attempts: i16,
    until: Timestamp,
) -> Result<bool, DbErr> {
    let updated = message::Entity::update_many()
        .col_expr(message::Column::NextTryAt, Expr::value(until))
        .filter(message::Column::Id.eq(id))
        .filter(message::Column::State.eq(DUE))
        .filter(message::Column::Attempts.eq(attempts))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Gives up at most `most` messages that wait to be sent, and removes their content. Returns how
/// many.
pub(crate) async fn give_up_due<C: ConnectionTrait>(
    db: &C,
    now: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let due: Vec<MessageId> = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(message::Column::State.eq(DUE))
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if due.is_empty() {
        return Ok(0);
    }
    let given_up = message::Entity::update_many()
        .col_expr(message::Column::State, Expr::value("failed"))
        .col_expr(message::Column::Payload, Expr::value(None::<String>))
        .col_expr(message::Column::FinishedAt, Expr::value(Some(now)))
        .filter(message::Column::Id.is_in(due))
        .filter(message::Column::State.eq(DUE))
        .exec(db)
        .await?;
    Ok(given_up.rows_affected)
}

/// Removes at most `most` messages that were created before a time. They are finished, or had
/// expired by that time: if no node delivers, those would stay forever. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let old: Vec<MessageId> = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(message::Column::CreatedAt.lt(before))
        .filter(message::Column::State.ne(DUE).or(message::Column::ExpiresAt.lt(before)))
        .order_by_asc(message::Column::CreatedAt)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if old.is_empty() {
        return Ok(0);
    }
    let deleted =
        message::Entity::delete_many().filter(message::Column::Id.is_in(old)).exec(db).await?;
    Ok(deleted.rows_affected)
}

/// Removes at most `most` counts that were last changed before a time. Returns how many.
pub(crate) async fn purge_limits<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let old: Vec<Vec<u8>> = limit::Entity::find()
        .select_only()
        .column(limit::Column::Digest)
        .filter(limit::Column::LastAt.lt(before))
        .order_by_asc(limit::Column::LastAt)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if old.is_empty() {
        return Ok(0);
    }
    let deleted = limit::Entity::delete_many()
        .filter(limit::Column::Digest.is_in(old))
        .filter(limit::Column::LastAt.lt(before))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}
