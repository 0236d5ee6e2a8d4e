//! The rows of recovery codes.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::AccountId;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_recovery_code")]
pub struct Model {
    /// Keyed digest of the account and the code.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
    pub digest: Vec<u8>,
    pub account_id: AccountId,
    /// The name of the secret with which it was digested.
    pub key_id: String,
    /// The epoch of the account that began when it was made.
    pub epoch: i64,
    pub created_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

// Written by hand: the digest does not belong in a log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_recovery_code")
            .field("account_id", &self.account_id)
            .finish_non_exhaustive()
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
