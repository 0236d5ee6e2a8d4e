//! Queries on the ways to sign in. The tables are named as text, because they belong to modules above this one.

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbErr};

#[cfg(feature = "federation")]
use crate::account::entity::account;
use crate::base::id::AccountId;

/// True if the account has an identity of one of these providers.
pub(super) async fn has_identity_of<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    providers: Vec<String>,
) -> Result<bool, DbErr> {
    let mut found = one("auth_provider_identity", id);
    found.and_where(Expr::col("provider").is_in(providers));
    Ok(db.query_one(&found).await?.is_some())
}

/// True if a person could get in with a passkey alone.
#[cfg(all(feature = "federation", feature = "passkey"))]
pub(crate) async fn by_passkey<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
) -> Result<bool, DbErr> {
    let mut found = one("auth_passkey", row.id);
    // One that is one factor signs in alone only if the account asks for no second one.
    if row.enrolled_factors != 0 {
        let alone = Expr::col("is_factor").eq(true).and(Expr::col("verified").eq(true));
        found.and_where(alone);
    }
    Ok(db.query_one(&found).await?.is_some())
}

/// The same where passkeys are not compiled.
#[cfg(all(feature = "federation", not(feature = "passkey")))]
pub(crate) async fn by_passkey<C: ConnectionTrait>(
    _: &C,
    _: &account::Model,
) -> Result<bool, DbErr> {
    Ok(false)
}

fn one(table: &'static str, id: AccountId) -> SelectStatement {
    let mut select = Query::select();
    select.expr(Expr::val(1)).from(table).and_where(Expr::col("account_id").eq(id)).limit(1);
    select
}
