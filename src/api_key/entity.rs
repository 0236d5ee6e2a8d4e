//! The rows of API keys: one for each secret.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ApiKeyId, LineageId};

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "auth_api_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiKeyId,
    /// Keyed digest of the whole key: the only lookup key.
    #[sea_orm(unique, column_type = "Binary(32)")]
    pub token_digest: Vec<u8>,
    /// The name of the secret with which it was digested.
    pub key_id: String,
    /// A random number. Every change of the row replaces it, except a use.
    pub version: i64,
    /// The id of the first key, of which this one is a replacement.
    pub first_id: ApiKeyId,
    pub account_id: AccountId,
    /// The sign-in in which it was made. If that turns out to be a thief's, the key ends.
    pub made_in: Option<LineageId>,
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub name: String,
    /// The account and the name while the key has the name, and the id of the key afterwards. So a name is
    /// unique in the account, and can be used again.
    #[sea_orm(unique, column_type = "String(StringLen::N(101))")]
    pub slot: String,
    /// The beginning of the key, by which its owner recognizes it.
    #[sea_orm(column_type = "String(StringLen::N(24))")]
    pub hint: String,
    /// The permissions to which it is limited.
    #[sea_orm(column_type = "Text")]
    pub scopes: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// When a new key replaced it. It may be good for a while longer.
    pub rotated_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    #[sea_orm(column_type = "String(StringLen::N(16))", nullable)]
    pub end_reason: Option<String>,
    pub last_used_at: Option<Timestamp>,
    /// The network from which it was used last.
    #[sea_orm(column_type = "String(StringLen::N(45))", nullable)]
    pub last_used_from: Option<String>,
    /// When its owner was told that it ends soon.
    pub told_at: Option<Timestamp>,
}

// Written by hand: a digest identifies a row, so it must not appear in logs.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("auth_api_key").field("id", &self.id).finish_non_exhaustive()
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

impl Model {
    /// What `slot` is while the key has its name.
    pub(crate) fn slot(account: AccountId, name: &str) -> String {
        format!("{account} {name}")
    }
}

impl ActiveModelBehavior for ActiveModel {}
