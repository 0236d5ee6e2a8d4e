//! The row of an attempt.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_attempt")]
pub struct Model {
    /// A keyed digest of the account's id, of the normal form of a name without an account, or of
    /// what was typed.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
    pub subject: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i16,
    /// Separates counts of one subject and kind: the start of the keyed digest of a known device,
    /// or of the purpose of a code. 0 for the general count.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part: i64,
    /// Numbers the attempts with the same subject, kind and part, starting at 1. Two attempts
    /// cannot take the same number: the primary key lets one of them fail, and it looks again.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    pub outcome: i16,
    /// The client's IPv4 address, or the /64 of its IPv6 address.
    pub source: Option<String>,
    pub at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
