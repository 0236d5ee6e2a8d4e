//! Queries on the data of sessions. Each is one statement that also checks that the session is
//! alive. So no request can write after its session has ended.

use std::collections::HashSet;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::entity::{Column, Entity};
use crate::base::clock::Timestamp;
use crate::base::id::{LineageId, SessionId};
use crate::session::entity as session;
use crate::session::store::live_or_lingering;

/// Selects the session, if it still counts.
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

/// Returns the data. `None` if the session does not count any more.
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

/// Writes the data. Returns false if the session does not count any more.
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

/// The result of looking at one page of the table.
pub(crate) struct Looked {
    pub(crate) removed: u64,
    /// Where the next page starts. `None` at the end of the table.
    pub(crate) next: Option<LineageId>,
}

/// Looks at the next `most` rows after a lineage, in their order. Deletes those that were last
/// written before `then` and whose lineage has no session row left, ended or not.
///
/// Only the missing sessions tell which rows are left over, so every row is looked at: one page of
/// the primary key, and its lineages in the index of sessions. It writes only if it finds such a
/// row.
pub(crate) async fn purge<C: ConnectionTrait>(
    db: &C,
    then: Timestamp,
    after: LineageId,
    most: u64,
) -> Result<Looked, DbErr> {
    let page: Vec<(LineageId, Timestamp)> = Entity::find()
        .select_only()
        .columns([Column::LineageId, Column::WrittenAt])
        .filter(Column::LineageId.gt(after))
        .order_by_asc(Column::LineageId)
        .limit(most)
        .into_tuple()
        .all(db)
        .await?;
    let next = page.last().filter(|_| page.len() as u64 == most).map(|(lineage, _)| *lineage);
    let old = page.into_iter().filter(|(_, written_at)| *written_at < then);
    let mut left: HashSet<LineageId> = old.map(|(lineage, _)| lineage).collect();
    if !left.is_empty() {
        let with_session: Vec<LineageId> = session::Entity::find()
            .select_only()
            .column(session::Column::LineageId)
            .filter(session::Column::LineageId.is_in(left.iter().copied()))
            .into_tuple()
            .all(db)
            .await?;
        for lineage in with_session {
            left.remove(&lineage);
        }
    }
    if left.is_empty() {
        return Ok(Looked { removed: 0, next });
    }
    let its_session = Query::select()
        .expr(Expr::val(1))
        .from(session::Entity)
        .and_where(lineage().equals((Entity, Column::LineageId)))
        .to_owned();
    let deleted = Entity::delete_many()
        .filter(Column::LineageId.is_in(left))
        .filter(Column::WrittenAt.lt(then))
        // Checked again, because a session may have been added since.
        .filter(Expr::exists(its_session).not())
        .exec(db)
        .await?;
    Ok(Looked { removed: deleted.rows_affected, next })
}
