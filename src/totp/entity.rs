//! The rows of authenticators.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, TotpId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_totp")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: TotpId,
    pub account_id: AccountId,
    /// The name that its owner has given it.
    pub name: String,
    /// The secret with which the seed is sealed.
    pub key_id: String,
    #[sea_orm(column_type = "Text")]
    pub seed: String,
    pub algorithm: i16,
    pub digits: i16,
    /// In seconds.
    pub period: i64,
    /// The latest step whose code was used. It belongs to this seed alone.
    pub last_step: i64,
    /// The epoch of the account that began when it was confirmed. While it waits, the one in which it was
    /// started.
    pub epoch: i64,
    pub created_at: Timestamp,
    /// When its first code was right. Until then it is no factor.
    pub confirmed_at: Option<Timestamp>,
}

// Written by hand: the seed does not belong in a log, not even sealed.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_totp").field("id", &self.id).finish_non_exhaustive()
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
