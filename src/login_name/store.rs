//! Queries on the names of an account. The account is held while they change.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};

use crate::account::entity::{account, login_name};
use crate::account::store::ending_sessions;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId};
use crate::session::store as session_store;

/// Ends the sessions of an account, and with that keeps everybody else from changing it until this
/// transaction is over. False when its epoch is another one by now, or the sign-in that asks for it
/// was ended.
pub(super) async fn hold<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    epoch: i64,
    lineage: LineageId,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let updated = ending_sessions(id)
        .filter(account::Column::Epoch.eq(epoch))
        .filter(Expr::exists(session_store::sign_in(id, lineage, now)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Takes a name from an account. False when it has not got it.
pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    normal: &str,
) -> Result<bool, DbErr> {
    let deleted = login_name::Entity::delete_many()
        .filter(login_name::Column::Normal.eq(normal))
        .filter(login_name::Column::AccountId.eq(id))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected > 0)
}

/// Makes a further username the account's own, or leaves it none.
pub(super) async fn set_username<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    next: Option<&login_name::Model>,
) -> Result<(), DbErr> {
    set(db, id, account::Column::Username, next.and_then(|name| name.typed.as_deref())).await?;
    let Some(next) = next else { return Ok(()) };
    login_name::Entity::update_many()
        .col_expr(login_name::Column::Typed, Expr::value(None::<String>))
        .filter(login_name::Column::Normal.eq(next.normal.as_str()))
        .filter(login_name::Column::AccountId.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Leaves an account without a mail address of its own.
pub(super) async fn clear_email<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    set(db, id, account::Column::Email, None).await
}

async fn set<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    column: account::Column,
    value: Option<&str>,
) -> Result<(), DbErr> {
    account::Entity::update_many()
        .col_expr(column, Expr::value(value))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
