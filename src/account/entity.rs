//! The rows of accounts and of the names they sign in with.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// An account.
pub(crate) mod account {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, LineageId};

    #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_account")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: AccountId,
        pub username: Option<String>,
        pub email: Option<String>,
        pub phone: Option<String>,
        #[sea_orm(column_type = "Text", nullable)]
        pub password_hash: Option<String>,
        pub password_pepper: Option<String>,
        pub must_change_password: bool,
        pub superuser: bool,
        /// Bumped by whatever ends the account's sessions.
        pub epoch: i64,
        /// Bumped by whatever changes what the account may do.
        pub grants_version: i64,
        pub enrolled_factors: i64,
        /// When the first of its addresses was proved.
        pub verified_at: Option<Timestamp>,
        /// The browser it was registered in, as long as that was a visitor's.
        pub registered_lineage_id: Option<LineageId>,
        /// Since when an account that a stranger made waits to be proved. None for any other, and once
        /// maintenance has found that it was proved or used.
        pub on_trial_since: Option<Timestamp>,
        pub disabled_at: Option<Timestamp>,
        pub deleted_at: Option<Timestamp>,
        /// How many requests a period it may make, where that differs from everybody's.
        pub rate_limit: Option<i64>,
        pub last_login_at: Option<Timestamp>,
        pub created_at: Timestamp,
    }

    // Written by hand: the row holds a password hash, which never prints.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("auth_account").field("id", &self.id).finish_non_exhaustive()
        }
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A name that an account signs in with: one row each, unique across all kinds.
pub(crate) mod login_name {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_login_name")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub normal: String,
        pub account_id: AccountId,
        pub kind: i16,
        /// As its owner wrote it, for a further name; none for one that the account's row has.
        pub typed: Option<String>,
        /// When this address was proved; a username has nothing to prove.
        pub verified_at: Option<Timestamp>,
        /// 0 for the first address that the account ever proved; of any other name the account's
        /// epoch after the change that brought it. See [`former`](crate::account::former).
        pub sequence: i64,
        /// For how long it was the account's proved address before it went and was put back.
        pub held_ms: i64,
        pub created_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::account::Entity",
            from = "Column::AccountId",
            to = "super::account::Column::Id",
            on_delete = "Cascade"
        )]
        Account,
    }

    impl Related<super::account::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Account.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A proved address or number that an account has left.
pub(crate) mod former_address {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_former_address")]
    pub struct Model {
        /// Keyed digest of the account and the address: no two accounts share one.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        pub account_id: AccountId,
        pub kind: i16,
        /// What it was while the account had it.
        pub sequence: i64,
        /// For how long it was the account's.
        pub held_ms: i64,
        /// The account's epoch after the change by which it went.
        pub left_epoch: i64,
        /// Whether its owner may undo what happened since.
        pub settled: bool,
        pub left_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::account::Entity",
            from = "Column::AccountId",
            to = "super::account::Column::Id",
            on_delete = "Cascade"
        )]
        Account,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What happens once in the life of a database.
pub(crate) mod marker {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_marker")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub created_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
