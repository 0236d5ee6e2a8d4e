//! Queries for captchas. Every change is one conditional statement; the number of changed rows is the
//! result.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::entity::{captcha, failures};
use crate::base::clock::Timestamp;
use crate::base::column::without_index;
use crate::base::transaction::is_unique_violation;

/// Inserts all of these rows. Returns false and inserts none if there is one with any of these ids.
pub(crate) async fn insert_all<C: ConnectionTrait>(
    db: &C,
    rows: Vec<captcha::Model>,
) -> Result<bool, DbErr> {
    let rows = rows.into_iter().map(|row| captcha::ActiveModel::from(row).reset_all());
    match captcha::Entity::insert_many(rows).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Inserts a row. Returns false if there is one with this id.
pub(crate) async fn insert<C: ConnectionTrait>(db: &C, row: captcha::Model) -> Result<bool, DbErr> {
    let row = captcha::ActiveModel::from(row).reset_all();
    match captcha::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        // This is not "on conflict do nothing", because MySQL counts an unchanged row as written.
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(feature = "captcha")]
pub(crate) async fn find<C: ConnectionTrait>(
    db: &C,
    id: Uuid,
) -> Result<Option<captcha::Model>, DbErr> {
    captcha::Entity::find_by_id(id).one(db).await
}

/// Updates one captcha that can still be answered.
#[cfg(feature = "captcha")]
fn open(id: Uuid, now: Timestamp) -> sea_orm::UpdateMany<captcha::Entity> {
    captcha::Entity::update_many()
        .filter(captcha::Column::Id.eq(id))
        .filter(captcha::Column::UsedAt.is_null())
        .filter(without_index(captcha::Column::ExpiresAt).gt(now))
}

/// Counts one more fetch, if there are fewer than `most`.
#[cfg(feature = "captcha")]
pub(crate) async fn fetch<C: ConnectionTrait>(
    db: &C,
    id: Uuid,
    most: i16,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = open(id, now)
        .col_expr(captcha::Column::Fetches, Expr::col(captcha::Column::Fetches).add(1i16))
        .filter(captcha::Column::Fetches.lt(most))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Counts one more answer, if there are fewer than `most` and it is for this action.
#[cfg(feature = "captcha")]
pub(crate) async fn try_once<C: ConnectionTrait>(
    db: &C,
    id: Uuid,
    action: &str,
    most: i16,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = open(id, now)
        .col_expr(captcha::Column::Attempts, Expr::col(captcha::Column::Attempts).add(1i16))
        .filter(captcha::Column::Action.eq(action))
        .filter(captcha::Column::Attempts.lt(most))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Uses a captcha up. Returns false if another request did so.
#[cfg(feature = "captcha")]
pub(crate) async fn spend<C: ConnectionTrait>(
    db: &C,
    id: Uuid,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated =
        open(id, now).col_expr(captcha::Column::UsedAt, Expr::value(Some(now))).exec(db).await?;
    Ok(updated.rows_affected > 0)
}

/// Takes one failure of each subject back, in a window that began after `over`.
pub(crate) async fn take_back<C: ConnectionTrait>(
    db: &C,
    subjects: &[[u8; 32]],
    over: Timestamp,
) -> Result<(), DbErr> {
    failures::Entity::update_many()
        .col_expr(failures::Column::Failures, Expr::col(failures::Column::Failures).sub(1i64))
        .filter(failures::Column::Subject.is_in(subjects.iter().map(|subject| subject.to_vec())))
        .filter(without_index(failures::Column::WindowStartedAt).gt(over))
        .filter(failures::Column::Failures.gt(0i64))
        .exec(db)
        .await?;
    Ok(())
}

/// Counts one more failure of each subject. A window that began at `over` or before begins again.
pub(crate) async fn count<C: ConnectionTrait>(
    db: &C,
    subjects: &[[u8; 32]],
    over: Timestamp,
    now: Timestamp,
) -> Result<(), DbErr> {
    let rows = subjects.iter().map(|subject| failures::ActiveModel {
        subject: Set(subject.to_vec()),
        failures: Set(1),
        window_started_at: Set(now),
    });
    let column = |column| Expr::col((failures::Entity, column));
    // A count that was taken back completely began no window.
    let is_over = || {
        let none = column(failures::Column::Failures).lte(0i64);
        column(failures::Column::WindowStartedAt).lte(over).or(none)
    };
    let more = column(failures::Column::Failures).add(1i64);
    let began = column(failures::Column::WindowStartedAt);
    // MySQL uses the new value of a column in later assignments of the same statement. So the count is
    // assigned first, and the begin looks at the time and at the new count: 1 means that a window begins.
    let begins = || {
        let first = column(failures::Column::Failures).eq(1i64);
        column(failures::Column::WindowStartedAt).lte(over).or(first)
    };
    let is_mysql = db.get_database_backend() == DbBackend::MySql;
    let begins = if is_mysql { begins() } else { is_over() };
    let again = OnConflict::column(failures::Column::Subject)
        .value(failures::Column::Failures, Expr::case(is_over(), 1i64).finally(more))
        .value(failures::Column::WindowStartedAt, Expr::case(begins, now).finally(began))
        .to_owned();
    failures::Entity::insert_many(rows).on_conflict(again).exec_without_returning(db).await?;
    Ok(())
}

/// Returns the failures of these subjects in windows that began after `over`.
pub(crate) async fn counts<C: ConnectionTrait>(
    db: &C,
    subjects: &[[u8; 32]],
    over: Timestamp,
) -> Result<Vec<(Vec<u8>, i64)>, DbErr> {
    failures::Entity::find()
        .select_only()
        .columns([failures::Column::Subject, failures::Column::Failures])
        .filter(failures::Column::Subject.is_in(subjects.iter().map(|subject| subject.to_vec())))
        .filter(failures::Column::WindowStartedAt.gt(over))
        .into_tuple()
        .all(db)
        .await
}

/// Deletes at most `batch` captchas that expired before `before`. Returns how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let rows: Vec<Uuid> = captcha::Entity::find()
        .select_only()
        .column(captcha::Column::Id)
        .filter(captcha::Column::ExpiresAt.lt(before))
        .order_by_asc(captcha::Column::ExpiresAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let gone = captcha::Entity::delete_many().filter(captcha::Column::Id.is_in(rows));
    Ok(gone.exec(db).await?.rows_affected)
}

/// Deletes at most `batch` counts whose window began before `before`. Returns how many.
pub(crate) async fn purge_failures<C: ConnectionTrait>(
    db: &C,
    before: Timestamp,
    batch: u64,
) -> Result<u64, DbErr> {
    let subjects: Vec<Vec<u8>> = failures::Entity::find()
        .select_only()
        .column(failures::Column::Subject)
        .filter(failures::Column::WindowStartedAt.lt(before))
        .order_by_asc(failures::Column::WindowStartedAt)
        .limit(batch)
        .into_tuple()
        .all(db)
        .await?;
    if subjects.is_empty() {
        return Ok(0);
    }
    let gone = failures::Entity::delete_many()
        .filter(failures::Column::Subject.is_in(subjects))
        .filter(without_index(failures::Column::WindowStartedAt).lt(before));
    Ok(gone.exec(db).await?.rows_affected)
}
