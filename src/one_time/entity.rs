//! The rows of challenges, and when one was last started.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// A code or link that was sent and waits for its answer.
pub(crate) mod challenge {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, ChallengeId, SessionId};

    #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_challenge")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: ChallengeId,
        pub purpose: String,
        /// Keyed digest of purpose, account and target. A new challenge replaces the older ones of
        /// its subject.
        #[sea_orm(column_type = "Binary(32)")]
        pub subject: Vec<u8>,
        pub account_id: Option<AccountId>,
        /// The session that started it. A sign-in by mail has no session: if its address has no
        /// account, this is the id of the address, a keyed digest. The consent to an action has the id of
        /// its sign-in here, which a step-up keeps.
        pub session_id: Option<SessionId>,
        /// The normal form of the address that it proves, or the target of the application.
        pub target: Option<String>,
        /// What the flow needs again when it is answered. Never a secret.
        #[sea_orm(column_type = "Text", nullable)]
        pub data: Option<String>,
        /// Every challenge has a token, but not every token is sent.
        #[sea_orm(unique, column_type = "Binary(32)")]
        pub token_digest: Vec<u8>,
        #[sea_orm(column_type = "Binary(32)", nullable)]
        pub code_digest: Option<Vec<u8>>,
        /// Keyed digest of what must be unchanged when it is used.
        #[sea_orm(column_type = "Binary(32)", nullable)]
        pub binding: Option<Vec<u8>>,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
        pub answered_at: Option<Timestamp>,
        pub used_at: Option<Timestamp>,
        /// Keyed digest of the client that used it, for flows that tell that client about it.
        #[sea_orm(column_type = "Binary(32)", nullable)]
        pub used_from: Option<Vec<u8>>,
        pub superseded_at: Option<Timestamp>,
    }

    // Written by hand: with the keys, the digest of a short code reveals the code.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("auth_challenge").field("id", &self.id).finish_non_exhaustive()
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
}

/// When a challenge of a subject was last started. This record outlives the challenge.
pub(crate) mod start {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_challenge_start")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub subject: Vec<u8>,
        pub started_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
