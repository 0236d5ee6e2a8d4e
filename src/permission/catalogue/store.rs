//! Queries on the catalogue.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use crate::base::clock::Timestamp;
use crate::permission::entity::{account_permission, known};

/// The number of rows in one statement.
const AT_ONCE: usize = 200;

pub(super) async fn all<C: ConnectionTrait>(db: &C) -> Result<Vec<known::Model>, DbErr> {
    known::Entity::find().order_by_asc(known::Column::Permission).all(db).await
}

pub(super) async fn add<C: ConnectionTrait>(
    db: &C,
    permissions: &[(String, Option<String>)],
    now: Timestamp,
) -> Result<(), DbErr> {
    for permissions in permissions.chunks(AT_ONCE) {
        let rows = permissions.iter().map(|(permission, description)| known::ActiveModel {
            permission: Set(permission.clone()),
            description: Set(description.clone()),
            created_at: Set(now),
        });
        known::Entity::insert_many(rows).exec_without_returning(db).await?;
    }
    Ok(())
}

pub(super) async fn describe<C: ConnectionTrait>(
    db: &C,
    permission: &str,
    description: &str,
) -> Result<(), DbErr> {
    known::Entity::update_many()
        .col_expr(known::Column::Description, Expr::value(description))
        .filter(known::Column::Permission.eq(permission))
        .exec(db)
        .await?;
    Ok(())
}

pub(super) async fn remove<C: ConnectionTrait>(
    db: &C,
    permissions: &[String],
) -> Result<(), DbErr> {
    for permissions in permissions.chunks(AT_ONCE) {
        known::Entity::delete_many()
            .filter(known::Column::Permission.is_in(permissions.iter().map(String::as_str)))
            .exec(db)
            .await?;
    }
    Ok(())
}

/// Returns the permissions that are granted directly to any account, each once.
pub(super) async fn direct<C: ConnectionTrait>(db: &C, most: u64) -> Result<Vec<String>, DbErr> {
    account_permission::Entity::find()
        .select_only()
        .column(account_permission::Column::Permission)
        .distinct()
        .order_by_asc(account_permission::Column::Permission)
        .limit(most)
        .into_tuple()
        .all(db)
        .await
}
