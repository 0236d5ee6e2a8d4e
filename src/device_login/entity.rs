//! The rows of device logins.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, DeviceRequestId, LineageId, SessionId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_device_request")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DeviceRequestId,
    /// Keyed digest of the code that the device keeps.
    #[sea_orm(unique, column_type = "Binary(32)")]
    pub device_digest: Vec<u8>,
    /// Keyed digest of the code that a person types.
    #[sea_orm(unique, column_type = "Binary(32)")]
    pub user_digest: Vec<u8>,
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub client_id: String,
    pub state: i16,
    /// The permissions that the device asks for, separated by blanks. `None`: all of its client.
    #[sea_orm(column_type = "Text", nullable)]
    pub wanted: Option<String>,
    /// Keyed digest of the sign-in name of the only account that may approve it.
    #[sea_orm(column_type = "Binary(32)", nullable)]
    pub hint: Option<Vec<u8>>,
    /// What the device claims about itself.
    #[sea_orm(column_type = "String(StringLen::N(64))", nullable)]
    pub device_name: Option<String>,
    #[sea_orm(column_type = "String(StringLen::N(200))", nullable)]
    pub message: Option<String>,
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub phrase: String,
    #[sea_orm(column_type = "String(StringLen::N(45))", nullable)]
    pub address: Option<String>,
    #[sea_orm(column_type = "String(StringLen::N(256))", nullable)]
    pub user_agent: Option<String>,
    /// The lineage of the session with which the device asked, if it had one.
    pub lineage_id: Option<LineageId>,
    pub created_at: Timestamp,
    /// Until when it waits for a decision, or after an approval for the device.
    pub expires_at: Timestamp,
    /// Who decided, under which epoch, in which session, and when.
    pub account_id: Option<AccountId>,
    pub account_epoch: Option<i64>,
    pub decided_in: Option<SessionId>,
    pub decided_lineage: Option<LineageId>,
    pub decided_at: Option<Timestamp>,
    /// When that session had passed its latest factor.
    pub factor_at: Option<Timestamp>,
    /// The permissions that were approved. `None`: all of the client.
    #[sea_orm(column_type = "Text", nullable)]
    pub granted: Option<String>,
    /// The digits that the device must repeat, and how many times it tried.
    pub confirmation: Option<i16>,
    pub confirmations: i16,
    /// The session that the device got, and when.
    pub session_id: Option<SessionId>,
    pub redeemed_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// The thumbprint of the [key](crate::dpop) that the device has proved.
    #[sea_orm(column_type = "String(StringLen::N(43))", nullable)]
    pub bound_to: Option<String>,
}

// Written by hand: the digests and what the device claims do not belong in a log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_device_request").field("id", &self.id).finish_non_exhaustive()
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
