//! The rows of trusted devices.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, TrustedDeviceId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_trusted_device")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: TrustedDeviceId,
    pub account_id: AccountId,
    /// Keyed digest of the account and the present token. Each use replaces it.
    #[sea_orm(column_type = "Binary(32)")]
    pub digest: Vec<u8>,
    /// The name of the second factor that was passed when the device became trusted.
    #[sea_orm(column_type = "String(StringLen::N(16))")]
    pub factor: String,
    /// The epoch of the account at that time. It counts only while the account has this epoch.
    pub epoch: i64,
    /// The client that used it last.
    #[sea_orm(column_type = "String(StringLen::N(45))", nullable)]
    pub address: Option<String>,
    #[sea_orm(column_type = "String(StringLen::N(256))", nullable)]
    pub user_agent: Option<String>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
}

// Written by hand: the digest does not belong in a log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_trusted_device").field("id", &self.id).finish_non_exhaustive()
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
