//! The row of a session.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, LineageId, SessionId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SessionId,
    /// Keyed digest of the secret part of the token: the only lookup key.
    #[sea_orm(unique, column_type = "Binary(32)")]
    pub token_digest: Vec<u8>,
    /// A random number. Every change of the row replaces it.
    pub version: i64,
    pub lineage_id: LineageId,
    pub account_id: Option<AccountId>,
    /// The epoch of the account when the session was made. If it has changed, the session is
    /// invalid.
    pub account_epoch: i64,
    pub stage: i16,
    pub generation: i64,
    pub rotated_at: Timestamp,
    /// When the present generation was first used late. From then on the previous one is a replay.
    pub late_use_at: Option<Timestamp>,
    /// The same for the previous generation.
    pub previous_late_use_at: Option<Timestamp>,
    /// The network and the browser family that caused the present generation, as numbers to
    /// compare.
    pub rotated_network: Option<i64>,
    pub rotated_browser: Option<i64>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub idle_ms: i64,
    /// True if the cookie survives a restart of the browser.
    pub persistent: bool,
    pub factors: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub ceiling: Option<String>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub ended_at: Option<Timestamp>,
    pub end_reason: Option<String>,
    pub suspicious_at: Option<Timestamp>,
    /// The session that approved this one, if it is the session of a [device](crate::device_login).
    pub approved_in: Option<SessionId>,
    /// The thumbprint of the [key](crate::dpop) to which the session is bound.
    #[sea_orm(column_type = "String(StringLen::N(43))", nullable)]
    pub bound_to: Option<String>,
}

// Written by hand: a digest identifies a row, so it must not appear in logs.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_session").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "crate::account::entity::account::Entity",
        from = "Column::AccountId",
        to = "crate::account::entity::account::Column::Id",
        on_delete = "Cascade"
    )]
    Account,
}

impl ActiveModelBehavior for ActiveModel {}
