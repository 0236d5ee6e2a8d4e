//! Queries on memberships. A change locks out other changes of the same origin. By hand it locks
//! the account's row, and from the source the row of the question's number.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter,
    QueryOrder,
};

use super::MembershipOrigin;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::permission::entity::{membership, membership_turn};
use crate::permission::resource::Resource;

/// The number of rows or conditions in one statement. Each takes up to six of SQLite's 32 766
/// placeholders, and conditions are nested.
const AT_ONCE: usize = 200;

fn key(
    account: AccountId,
    resource: &Resource,
    origin: MembershipOrigin,
) -> (AccountId, String, String, i16) {
    let (domain, id) = resource.columns();
    (account, domain.to_owned(), id.to_owned(), origin.number())
}

fn row(
    account: AccountId,
    (resource, id): (&str, &str),
    origin: MembershipOrigin,
    level: &str,
    now: Timestamp,
) -> membership::ActiveModel {
    membership::ActiveModel {
        account_id: Set(account),
        resource: Set(resource.to_owned()),
        resource_id: Set(id.to_owned()),
        origin: Set(origin.number()),
        level: Set(level.to_owned()),
        granted_at: Set(now),
    }
}

/// Sets a level by hand. Returns false if it was set already. The caller must have locked the
/// account's row.
pub(super) async fn set_by_hand<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    resource: &Resource,
    level: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let key = key(account, resource, MembershipOrigin::Hand);
    match membership::Entity::find_by_id(key.clone()).one(db).await? {
        Some(row) if row.level == level => Ok(false),
        Some(_) => {
            membership::Entity::update_many()
                .col_expr(membership::Column::Level, Expr::value(level))
                .col_expr(membership::Column::GrantedAt, Expr::value(now))
                .filter(membership::Column::AccountId.eq(account))
                .filter(membership::Column::Resource.eq(key.1))
                .filter(membership::Column::ResourceId.eq(key.2))
                .filter(membership::Column::Origin.eq(key.3))
                .exec(db)
                .await?;
            Ok(true)
        }
        None => {
            let row = row(account, resource.columns(), MembershipOrigin::Hand, level, now);
            membership::Entity::insert(row).exec_without_returning(db).await?;
            Ok(true)
        }
    }
}

/// Removes a level that was given by hand. Returns false if there was none.
pub(super) async fn remove_by_hand<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    resource: &Resource,
) -> Result<bool, DbErr> {
    let key = key(account, resource, MembershipOrigin::Hand);
    let deleted = membership::Entity::delete_by_id(key).exec(db).await?;
    Ok(deleted.rows_affected > 0)
}

pub(super) async fn of_account<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<membership::Model>, DbErr> {
    membership::Entity::find()
        .filter(membership::Column::AccountId.eq(account))
        .order_by_asc(membership::Column::Resource)
        .order_by_asc(membership::Column::ResourceId)
        .order_by_asc(membership::Column::Origin)
        .all(db)
        .await
}

pub(super) async fn on_resource<C: ConnectionTrait>(
    db: &C,
    resource: &Resource,
) -> Result<Vec<membership::Model>, DbErr> {
    let (domain, id) = resource.columns();
    membership::Entity::find()
        .filter(membership::Column::Resource.eq(domain))
        .filter(membership::Column::ResourceId.eq(id))
        .order_by_asc(membership::Column::AccountId)
        .order_by_asc(membership::Column::Origin)
        .all(db)
        .await
}

/// Returns the next number of this account; `None` if it never had one.
pub(super) async fn next_turn<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Option<i64>, DbErr> {
    let updated = membership_turn::Entity::update_many()
        .col_expr(membership_turn::Column::Asked, Expr::col(membership_turn::Column::Asked).add(1))
        .filter(membership_turn::Column::AccountId.eq(account))
        .exec(db)
        .await?;
    if updated.rows_affected == 0 {
        return Ok(None);
    }
    let row = membership_turn::Entity::find_by_id(account).one(db).await?;
    Ok(row.map(|row| row.asked))
}

/// Inserts the row that counts the numbers. Another transaction may have inserted it meanwhile.
pub(super) async fn first_turn<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<(), DbErr> {
    let row =
        membership_turn::ActiveModel { account_id: Set(account), asked: Set(0), kept: Set(0) };
    membership_turn::Entity::insert(row)
        .on_conflict_do_nothing_on([membership_turn::Column::AccountId])
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Records that the answer to this question is stored. Returns false if the answer to a later one
/// already is.
pub(super) async fn keep_turn<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    turn: i64,
) -> Result<bool, DbErr> {
    let updated = membership_turn::Entity::update_many()
        .col_expr(membership_turn::Column::Kept, Expr::value(turn))
        .filter(membership_turn::Column::AccountId.eq(account))
        .filter(membership_turn::Column::Kept.lt(turn))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

pub(super) async fn from_source<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
) -> Result<Vec<membership::Model>, DbErr> {
    membership::Entity::find()
        .filter(membership::Column::AccountId.eq(account))
        .filter(membership::Column::Origin.eq(MembershipOrigin::Source.number()))
        .all(db)
        .await
}

/// A resource and id, and the level there.
type Entry = ((String, String), String);

pub(super) async fn remove_sourced<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    entries: &[Entry],
) -> Result<(), DbErr> {
    for entries in entries.chunks(AT_ONCE) {
        let any = entries.iter().fold(Condition::any(), |any, ((resource, id), _)| {
            let this = membership::Column::Resource
                .eq(resource)
                .and(membership::Column::ResourceId.eq(id));
            any.add(this)
        });
        membership::Entity::delete_many()
            .filter(membership::Column::AccountId.eq(account))
            .filter(membership::Column::Origin.eq(MembershipOrigin::Source.number()))
            .filter(any)
            .exec(db)
            .await?;
    }
    Ok(())
}

pub(super) async fn add_sourced<C: ConnectionTrait>(
    db: &C,
    account: AccountId,
    entries: &[Entry],
    now: Timestamp,
) -> Result<(), DbErr> {
    for entries in entries.chunks(AT_ONCE) {
        let rows = entries.iter().map(|((resource, id), level)| {
            row(account, (resource, id), MembershipOrigin::Source, level, now)
        });
        membership::Entity::insert_many(rows).exec_without_returning(db).await?;
    }
    Ok(())
}
