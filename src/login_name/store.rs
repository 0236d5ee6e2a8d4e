//! Queries on the names of an account. The account's row is locked while they change.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};

use crate::account::entity::{account, login_name};
use crate::account::store::{changing as changing_account, ending_sessions};
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId};
use crate::session::store as session_store;

/// Ends the sessions of an account. This update also locks the row, so nobody else can change the
/// account until this transaction ends. Returns false if the epoch has changed, or if the sign-in
/// that asks has ended.
pub(super) async fn lock_and_end_sessions<C: ConnectionTrait>(
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

/// Removes a name from an account. Returns false if the account does not have it.
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

/// Removes the account's own mail address.
pub(super) async fn clear_email<C: ConnectionTrait>(db: &C, id: AccountId) -> Result<(), DbErr> {
    changing_account()
        .col_expr(account::Column::Email, Expr::value(None::<String>))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
