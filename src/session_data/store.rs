//! Queries on the data of sessions. Each is one statement that asks for the live session itself.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::entity::{Column, Entity};
use crate::base::clock::Timestamp;
use crate::base::id::{LineageId, SessionId};
use crate::session::entity as session;
use crate::session::store::live_or_lingering;

/// The session, if it still counts.
fn session(id: SessionId, now: Timestamp, require_verified: bool) -> SelectStatement {
    Query::select()
        .from(session::Entity)
        .and_where(session::Column::Id.eq(id))
        .cond_where(live_or_lingering(now, require_verified))
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

/// Deletes at most `most` rows that were last written before then. Says how many.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    most: u64,
) -> Result<u64, DbErr> {
    let old: Vec<LineageId> = Entity::find()
        .select_only()
        .column(Column::LineageId)
        .filter(Column::WrittenAt.lt(then))
        .order_by_asc(Column::WrittenAt)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    if old.is_empty() {
        return Ok(0);
    }
    let deleted = Entity::delete_many()
        .filter(Column::LineageId.is_in(old))
        .filter(Column::WrittenAt.lt(then))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}
