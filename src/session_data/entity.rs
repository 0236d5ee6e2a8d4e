//! The row of the data that an application stores with a session.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::LineageId;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_session_data")]
pub struct Model {
    /// Not the id of the session: the lineage stays the same when a session is replaced.
    #[sea_orm(primary_key, auto_increment = false)]
    pub lineage_id: LineageId,
    #[sea_orm(column_type = "Text")]
    pub data: String,
    pub written_at: Timestamp,
}

// Written by hand: the data does not belong in a log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_session_data")
            .field("lineage_id", &self.lineage_id)
            .finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
