//! The rows of accounts and of the names with which they sign in.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// An account.
pub(crate) mod account {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, AccountRecoveryId, LineageId};

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
        /// Increased by every change that ends the account's sessions.
        pub epoch: i64,
        /// A random number. Every change that a request can notice replaces it: of the row or of
        /// its grants.
        pub version: i64,
        pub enrolled_factors: i64,
        /// When its first address was verified.
        pub verified_at: Option<Timestamp>,
        /// The lineage of the browser in which it was registered, if that was a visitor's session.
        pub registered_lineage_id: Option<LineageId>,
        /// Since when an account that a stranger created waits for verification. `None` for every
        /// other account, and after maintenance found that the account was verified or used.
        pub on_trial_since: Option<Timestamp>,
        pub disabled_at: Option<Timestamp>,
        pub deleted_at: Option<Timestamp>,
        /// When a closed account is to be erased. Until then it can be reopened.
        pub erase_at: Option<Timestamp>,
        /// When it was erased. Only its id is left since then.
        pub erased_at: Option<Timestamp>,
        /// When maintenance looks at it next: to erase it, or to remove what was written since.
        pub sweep_at: Option<Timestamp>,
        /// The number of requests per period, if it differs from the default.
        pub rate_limit: Option<i64>,
        pub last_login_at: Option<Timestamp>,
        /// When the password was last set by a person who had only shown that mail reaches them.
        pub password_mailed_at: Option<Timestamp>,
        /// Until when it may be used without the second factor that one of its roles requires. `None`
        /// before the first sign-in for which this matters.
        pub enrolment_due_at: Option<Timestamp>,
        /// The epoch that began when a factor without rows of its own was set up, for each such factor.
        pub factor_epochs: Option<String>,
        /// The open recovery by an administrator. Whatever ends it, clears this column.
        pub recovery_id: Option<AccountRecoveryId>,
        pub created_at: Timestamp,
    }

    // Written by hand, because the row contains a password hash, which must never be printed.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("auth_account").field("id", &self.id).finish_non_exhaustive()
        }
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A name with which an account signs in. Each name has one row and is unique across all kinds.
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
        /// The spelling of its owner, for a further name. `None` for a name that is in the
        /// account's row.
        pub typed: Option<String>,
        /// When this address was verified. A username is never verified.
        pub verified_at: Option<Timestamp>,
        /// 0 for the first address that the account ever verified. For any other name, the
        /// account's epoch after the change that added it. See [`former`](crate::account::former).
        pub sequence: i64,
        /// For how long it was a verified address of the account before it left and was restored,
        /// in milliseconds.
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

/// A verified address or number that an account has left.
pub(crate) mod former_address {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_former_address")]
    pub struct Model {
        /// A keyed digest of the account and the address. Two accounts never have the same one.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        pub account_id: AccountId,
        pub kind: i16,
        /// The sequence that it had while it belonged to the account.
        pub sequence: i64,
        /// For how long it belonged to the account, in milliseconds.
        pub held_ms: i64,
        /// The account's epoch after the change that removed it.
        pub left_epoch: i64,
        /// True if a link to this address may undo what happened since.
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

/// Something that happens only once in a database.
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
