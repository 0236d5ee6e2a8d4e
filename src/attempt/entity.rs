//! The row of a try.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_attempt")]
pub struct Model {
    /// Keyed digest of the account's id, of the normal form of a name that is no account's, or of what was
    /// typed.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
    pub subject: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i16,
    /// What is counted apart from the rest of its kind: the start of the keyed digest of a known
    /// device, or of what a code is for. 0 where nothing is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part: i64,
    /// Counts the tries of these three from 1. Two tries cannot take the same number: the key is
    /// what makes one of them look again.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    pub outcome: i16,
    /// The address it came from, of IPv6 the /64.
    pub source: Option<String>,
    pub at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
