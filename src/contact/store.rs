//! Queries on what an account is reached by. Every change is one conditional statement whose count
//! is the verdict.

use sea_orm::sea_query::{Expr, ExprTrait, Func, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, UpdateMany,
};

use super::channel::Channel;
use crate::account::LoginIdKind;
use crate::account::entity::{account, login_name};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId};
use crate::session::entity as session;

/// A change of one address of an account, by the session that asked for it.
pub(super) struct Move<'a> {
    pub(super) account: AccountId,
    /// What the account's epoch was when it was asked for.
    pub(super) epoch: i64,
    pub(super) channel: Channel,
    pub(super) old: Option<&'a str>,
    pub(super) new: Option<&'a str>,
    pub(super) lineage: LineageId,
}

/// An update of an account that is not deleted, which ends its sessions.
fn ending_sessions(id: AccountId) -> UpdateMany<account::Entity> {
    account::Entity::update_many()
        .col_expr(account::Column::Epoch, Expr::col(account::Column::Epoch).add(1))
        .filter(account::Column::Id.eq(id))
        .filter(account::Column::DeletedAt.is_null())
}

/// Notes when the account's address was proved, unless it has one that was. A number proves an
/// account only where there is no mail address: that one may be somebody else's.
fn proving(
    update: UpdateMany<account::Entity>,
    channel: Channel,
    now: Timestamp,
) -> UpdateMany<account::Entity> {
    let verified_at = Expr::col(account::Column::VerifiedAt);
    let proved = Func::coalesce([verified_at.clone(), Expr::value(now)]);
    match channel {
        Channel::Email => update.col_expr(account::Column::VerifiedAt, proved.into()),
        Channel::Phone => update.col_expr(
            account::Column::VerifiedAt,
            sea_orm::sea_query::CaseStatement::new()
                .case(Expr::col(account::Column::Email).is_null(), Expr::expr(proved))
                .finally(verified_at)
                .into(),
        ),
    }
}

/// Puts the new address in the place of exactly the old one, and ends the account's sessions. False
/// when either changed meanwhile, or the session that asked for it was ended.
pub(super) async fn change<C: ConnectionTrait>(
    db: &C,
    change: &Move<'_>,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let column = change.channel.column();
    let unchanged = match change.old {
        Some(old) => column.eq(old),
        None => column.is_null(),
    };
    let asks_still = Query::select()
        .expr(Expr::val(1))
        .from(session::Entity)
        .and_where(session::Column::AccountId.eq(change.account))
        .and_where(session::Column::LineageId.eq(change.lineage))
        .and_where(session::Column::EndedAt.is_null())
        .and_where(session::Column::SuspiciousAt.is_null())
        .and_where(session::Column::ExpiresAt.gt(now))
        .to_owned();
    let mut update = ending_sessions(change.account)
        .col_expr(column, Expr::value(change.new))
        .filter(account::Column::Epoch.eq(change.epoch))
        .filter(unchanged)
        .filter(Expr::exists(asks_still));
    match change.new {
        Some(_) => update = proving(update, change.channel, now),
        // What is left must be something to sign in with.
        None => {
            let another = Query::select()
                .expr(Expr::val(1))
                .from(login_name::Entity)
                .and_where(login_name::Column::AccountId.eq(change.account))
                .and_where(login_name::Column::Kind.ne(change.channel.kind().number()))
                .to_owned();
            update = update.filter(Expr::exists(another));
        }
    }
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Ends the sessions of an account, and with that keeps everybody else from changing it until this
/// transaction is over. False when there is none.
pub(super) async fn hold<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<bool, DbErr> {
    Ok(ending_sessions(id).exec(db).await?.rows_affected > 0)
}

/// Puts an address back into an account that is held.
pub(super) async fn restore<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    channel: Channel,
    old: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let update = account::Entity::update_many()
        .col_expr(channel.column(), Expr::value(Some(old)))
        .filter(account::Column::Id.eq(id));
    proving(update, channel, now).exec(db).await?;
    Ok(())
}

/// Gives an account a proved name. False when it is another account's: the key decides.
pub(super) async fn claim<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    kind: LoginIdKind,
    normal: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let row = login_name::ActiveModel {
        normal: Set(normal.to_owned()),
        account_id: Set(id),
        kind: Set(kind.number()),
        verified_at: Set(Some(now)),
        created_at: Set(now),
    };
    let there_already = OnConflict::column(login_name::Column::Normal)
        .do_nothing_on([login_name::Column::Normal])
        .to_owned();
    login_name::Entity::insert(row).on_conflict(there_already).exec_without_returning(db).await?;
    // It may have been one of its further names before.
    let updated = login_name::Entity::update_many()
        .col_expr(login_name::Column::VerifiedAt, Expr::value(Some(now)))
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(id))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Takes a name from an account. True when it had been proved.
pub(super) async fn release<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    normal: &str,
) -> Result<bool, DbErr> {
    let delete = || {
        login_name::Entity::delete_many()
            .filter(login_name::Column::Normal.eq(normal))
            .filter(login_name::Column::AccountId.eq(id))
    };
    let proved = delete().filter(login_name::Column::VerifiedAt.is_not_null()).exec(db).await?;
    if proved.rows_affected > 0 {
        return Ok(true);
    }
    delete().exec(db).await?;
    Ok(false)
}

/// Takes a name from an account that never proved it, and ends that account's sessions. False when
/// it did prove it, or has it no more.
pub(super) async fn evict<C: ConnectionTrait>(
    db: &C,
    holder: &account::Model,
    channel: Channel,
    normal: &str,
) -> Result<bool, DbErr> {
    let deleted = login_name::Entity::delete_many()
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(holder.id))
        .filter(login_name::Column::VerifiedAt.is_null())
        .exec(db)
        .await?;
    if deleted.rows_affected == 0 {
        return Ok(false);
    }
    let mut update = ending_sessions(holder.id);
    let typed = channel.of_row(holder);
    if typed.and_then(|typed| channel.normal(typed)).as_deref() == Some(normal) {
        update = update.col_expr(channel.column(), Expr::value(None::<String>));
    }
    update.exec(db).await?;
    Ok(true)
}
