//! Queries on the data of sessions. Each is one statement that asks for the live session itself.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};

use super::entity::{Column, Entity};
use crate::base::clock::Timestamp;
use crate::base::id::SessionId;
use crate::session::entity as session;
use crate::session::store::live;

/// The session, if it still counts.
fn session(id: SessionId, now: Timestamp, require_verified: bool) -> SelectStatement {
    Query::select()
        .from(session::Entity)
        .and_where(session::Column::Id.eq(id))
        .cond_where(live(now, require_verified))
        .to_owned()
}

fn lineage() -> Expr {
    Expr::col((session::Entity, session::Column::LineageId))
}

/// `None` when the session does not count any more.
pub(crate) async fn read<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    now: Timestamp,
    require_verified: bool,
) -> Result<Option<Option<String>>, DbErr> {
    let select = session(id, now, require_verified)
        .column((Entity, Column::Data))
        .left_join(Entity, Expr::col((Entity, Column::LineageId)).eq(lineage()))
        .to_owned();
    db.query_one(&select).await?.map(|row| row.try_get_by_index(0)).transpose()
}

/// False when the session does not count any more.
pub(crate) async fn write<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    data: &str,
    now: Timestamp,
    require_verified: bool,
) -> Result<bool, DbErr> {
    let select = session(id, now, require_verified)
        .expr(lineage())
        .expr(Expr::val(data))
        .expr(Expr::val(now))
        .to_owned();
    let insert = Query::insert()
        .into_table(Entity)
        .columns([Column::LineageId, Column::Data, Column::WrittenAt])
        .select_from(select)
        .map_err(|error| DbErr::Custom(error.to_string()))?
        .on_conflict(
            OnConflict::column(Column::LineageId)
                .update_columns([Column::Data, Column::WrittenAt])
                .to_owned(),
        )
        .to_owned();
    Ok(db.execute(&insert).await?.rows_affected() > 0)
}

pub(crate) async fn remove<C: ConnectionTrait>(
    db: &C,
    id: SessionId,
    now: Timestamp,
    require_verified: bool,
) -> Result<(), DbErr> {
    let lineage = session(id, now, require_verified).expr(lineage()).to_owned();
    Entity::delete_many().filter(Column::LineageId.in_subquery(lineage)).exec(db).await?;
    Ok(())
}

/// Deletes what was last written before then. Says how many there were.
pub(crate) async fn delete_before<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
) -> Result<u64, DbErr> {
    let deleted = Entity::delete_many().filter(Column::WrittenAt.lt(then)).exec(db).await?;
    Ok(deleted.rows_affected)
}
