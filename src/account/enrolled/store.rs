//! Queries on what is stored for the second factors of an account. The tables are named as text,
//! because they belong to modules above this one.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, QueryFilter};

use crate::account::entity::account;
use crate::account::store::changing;
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::AccountId;

/// The tables with the secrets of factors.
const TABLES: [(Factor, &str); 2] =
    [(Factor::Totp, "auth_totp"), (Factor::RecoveryCode, "auth_recovery_code")];

/// Deletes what is stored for factors that the account does not have.
pub(super) async fn forget<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    enrolled: EnrolledFactors,
) -> Result<(), DbErr> {
    for (_, table) in TABLES.iter().filter(|(factor, _)| !enrolled.contains(*factor)) {
        let mut delete = Query::delete();
        delete.from_table(*table).and_where(Expr::col("account_id").eq(id));
        db.execute(&delete).await?;
    }
    Ok(())
}

/// Sets the factors of an account whose row the transaction has locked.
pub(super) async fn set<C: ConnectionTrait>(
    db: &C,
    id: AccountId,
    enrolled: EnrolledFactors,
) -> Result<(), DbErr> {
    changing()
        .col_expr(account::Column::EnrolledFactors, Expr::value(enrolled.0))
        .filter(account::Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that nothing is left of a factor, without ending the sessions: the last recovery code was
/// used. The transaction has locked the row of the account.
pub(crate) async fn used_up<C: ConnectionTrait>(
    db: &C,
    row: &account::Model,
    factor: Factor,
) -> Result<(), DbErr> {
    let left = EnrolledFactors(row.enrolled_factors).without(factor);
    changing()
        .col_expr(account::Column::EnrolledFactors, Expr::value(left.0))
        .filter(account::Column::Id.eq(row.id))
        .filter(account::Column::Epoch.eq(row.epoch))
        .filter(account::Column::EnrolledFactors.eq(row.enrolled_factors))
        .exec(db)
        .await?;
    Ok(())
}
