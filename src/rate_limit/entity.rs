//! The table of rates.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_rate")]
pub struct Model {
    /// Keyed digest of rule and subject.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
    pub key: Vec<u8>,
    /// The time until which the quota is used up, in microseconds since 1970.
    pub spent_us: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
