//! The rows of recoveries.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, AccountRecoveryId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_account_recovery")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AccountRecoveryId,
    pub account_id: AccountId,
    pub opened_by: String,
    #[sea_orm(column_type = "Text")]
    pub reason: String,
    /// The new mail address, if the person has lost the old one too.
    pub email: Option<String>,
    pub state: i16,
    pub opened_at: Timestamp,
    pub ready_at: Timestamp,
    pub expires_at: Timestamp,
    pub completed_by: Option<String>,
    pub completed_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

// Written by hand: the reason and the address are personal data and do not belong in a log.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_account_recovery").field("id", &self.id).finish_non_exhaustive()
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
