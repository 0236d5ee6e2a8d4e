//! Queries on the addresses of an account. Every change is one conditional statement, and the
//! number of changed rows tells whether it happened.

use sea_orm::sea_query::{Expr, ExprTrait, Func, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, UpdateMany};

use super::channel::Channel;
use crate::account::entity::{account, login_name};
use crate::account::store::{changing as changing_account, ending_sessions};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId};
use crate::session::store as session_store;

/// A change of one address of an account, by the session that requested it.
pub(super) struct Move<'a> {
    pub(super) account: AccountId,
    /// The epoch of the account when the change was requested.
    pub(super) epoch: i64,
    pub(super) channel: Channel,
    pub(super) old: Option<&'a str>,
    pub(super) new: Option<&'a str>,
    pub(super) lineage: LineageId,
}

/// Records when the account was verified, unless it already was. A phone number verifies an account
/// only if it has no mail address, because that address could belong to someone else.
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

/// Replaces exactly the old address by the new one, and ends the sessions of the account. Returns
/// false if the address or the epoch has changed in the meantime, or the session that requested it
/// has ended.
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
    let asks_still = session_store::sign_in(change.account, change.lineage, now);
    let mut update = ending_sessions(change.account)
        .col_expr(column, Expr::value(change.new))
        .filter(account::Column::Epoch.eq(change.epoch))
        .filter(unchanged)
        .filter(Expr::exists(asks_still));
    match change.new {
        Some(_) => update = proving(update, change.channel, now),
        // Something must be left to sign in with.
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

/// Puts an address back. The caller has locked the account.
pub(super) async fn restore<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    channel: Channel,
    old: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let update = changing_account()
        .col_expr(channel.column(), Expr::value(Some(old)))
        .filter(account::Column::Id.eq(id));
    proving(update, channel, now).exec(db).await?;
    Ok(())
}

/// Removes a name from an account.
pub(super) async fn release<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    normal: &str,
) -> Result<(), DbErr> {
    login_name::Entity::delete_many()
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Removes the further names that an account got in the epoch `since` or later, except `kept`.
pub(super) async fn release_since<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    since: i64,
    kept: &str,
) -> Result<(), DbErr> {
    login_name::Entity::delete_many()
        .filter(login_name::Column::AccountId.eq(id))
        .filter(login_name::Column::Typed.is_not_null())
        .filter(login_name::Column::Sequence.gte(since))
        .filter(login_name::Column::Normal.ne(kept))
        .exec(db)
        .await?;
    Ok(())
}

/// Removes the phone number of an account.
pub(super) async fn clear_phone<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    changing_account()
        .col_expr(account::Column::Phone, Expr::value(None::<String>))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
