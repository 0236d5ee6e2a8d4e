//! The rows of passkeys, of the handles of their users, and of challenges.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// A passkey of an account.
pub(crate) mod passkey {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, PasskeyId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_passkey")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: PasskeyId,
        pub account_id: AccountId,
        /// The SHA-256 digest of `credential_id`, which is too long for an index.
        #[sea_orm(unique, column_type = "Binary(32)")]
        pub credential_digest: Vec<u8>,
        /// The id that the authenticator has given it, in base64url.
        #[sea_orm(column_type = "Text")]
        pub credential_id: String,
        /// The public key (COSE), in base64url.
        #[sea_orm(column_type = "Text")]
        pub public_key: String,
        /// How often it was used, as the authenticator counts. Many do not count.
        pub sign_count: i64,
        /// True if it is a second factor of the account. One that the browser has made by itself is none.
        pub is_factor: bool,
        /// True if its authenticator has verified its user when it was made, or later beside another factor.
        pub verified: bool,
        /// True if it can be synchronised.
        pub backup_eligible: bool,
        /// True if it is synchronised.
        pub backed_up: bool,
        /// The model of the authenticator, or zeros.
        pub aaguid: Uuid,
        /// How a browser reaches the authenticator, with blanks in between.
        pub transports: String,
        /// The name that its owner has given it.
        pub name: String,
        /// The epoch of the account that began when it was added, or in which the browser made it by itself.
        pub epoch: i64,
        pub created_at: Timestamp,
        pub last_used_at: Option<Timestamp>,
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
}

/// What authenticators know of an account.
pub(crate) mod user {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_passkey_user")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        /// Random, so that it tells nothing about the account.
        #[sea_orm(unique, column_type = "Binary(32)")]
        pub handle: Vec<u8>,
        pub created_at: Timestamp,
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
}

/// A challenge that waits for its answer. The first answer deletes it, right or wrong.
pub(crate) mod challenge {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, SessionId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_passkey_challenge")]
    pub struct Model {
        /// The SHA-256 digest of the challenge.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        /// What the answer is for.
        pub purpose: String,
        pub account_id: Option<AccountId>,
        /// The session that asked. A sign-in has none.
        pub session_id: Option<SessionId>,
        /// The SHA-256 digest of what the browser was given that began a sign-in.
        #[sea_orm(column_type = "Binary(32)", nullable)]
        pub browser: Option<Vec<u8>>,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
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
}
