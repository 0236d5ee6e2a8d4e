//! The rows of identities at providers, of sign-ins with them that are under way, and of their sessions.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

macro_rules! of_account {
    () => {
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
    };
}

/// An identity at a provider that is linked to an account.
pub(crate) mod identity {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, ProviderIdentityId};

    #[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_provider_identity")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: ProviderIdentityId,
        pub account_id: AccountId,
        /// The name of the provider when it was linked.
        pub provider: String,
        /// The SHA-256 digest of issuer and subject, which together identify a person.
        #[sea_orm(unique, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        #[sea_orm(column_type = "Text")]
        pub issuer: String,
        #[sea_orm(column_type = "Text")]
        pub subject: String,
        /// The address and the name that the provider told last. They identify nobody.
        #[sea_orm(column_type = "Text", nullable)]
        pub email: Option<String>,
        #[sea_orm(column_type = "Text", nullable)]
        pub display_name: Option<String>,
        /// The epoch of the account that began when it was linked, or in which it was linked by itself.
        pub epoch: i64,
        /// The tokens of the provider, encrypted, if they are kept, and the name of the secret.
        #[sea_orm(column_type = "Text", nullable)]
        pub tokens: Option<String>,
        pub tokens_key_id: Option<String>,
        /// Every change of the tokens increases it.
        pub tokens_version: i64,
        /// When somebody began to refresh the tokens.
        pub refreshing_at: Option<Timestamp>,
        pub created_at: Timestamp,
        pub last_used_at: Option<Timestamp>,
    }

    // Names and addresses are personal data.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("auth_provider_identity").field("id", &self.id).finish_non_exhaustive()
        }
    }

    of_account!();
}

/// A sign-in at a provider that is under way. The first answer deletes it, right or wrong.
pub(crate) mod flow {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, LineageId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_provider_flow")]
    pub struct Model {
        /// The SHA-256 digest of `state`.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        pub provider: String,
        /// What the answer is for.
        pub intent: String,
        /// The SHA-256 digest of what the browser was given.
        #[sea_orm(column_type = "Binary(32)")]
        pub browser: Vec<u8>,
        /// The account and the sign-in that asked. A sign-in with a provider has none.
        pub account_id: Option<AccountId>,
        pub lineage_id: Option<LineageId>,
        #[sea_orm(column_type = "Text")]
        pub redirect_uri: String,
        #[sea_orm(column_type = "Text", nullable)]
        pub return_to: Option<String>,
        pub remember: bool,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
    }

    of_account!();
}

/// An identity about which a person is asked: whether it is to be linked, or to get an account.
pub(crate) mod pending {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, LineageId, PendingIdentityId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_pending_identity")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: PendingIdentityId,
        pub provider: String,
        /// The SHA-256 digest of what the browser was given.
        #[sea_orm(column_type = "Binary(32)")]
        pub browser: Vec<u8>,
        /// The account and the sign-in that asked to link it.
        pub account_id: Option<AccountId>,
        pub lineage_id: Option<LineageId>,
        /// What the provider told, encrypted, and the name of the secret.
        #[sea_orm(column_type = "Text")]
        pub told: String,
        pub told_key_id: String,
        pub remember: bool,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
    }

    of_account!();
}

/// A sign-in that began with an identity at a provider, so that the provider can end it.
pub(crate) mod session {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, LineageId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_provider_session")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub lineage_id: LineageId,
        pub account_id: AccountId,
        /// The SHA-256 digest of issuer and subject.
        #[sea_orm(column_type = "Binary(32)")]
        pub identity: Vec<u8>,
        /// The SHA-256 digest of issuer and session at the provider.
        #[sea_orm(column_type = "Binary(32)", nullable)]
        pub provider_session: Option<Vec<u8>>,
        pub created_at: Timestamp,
        pub expires_at: Timestamp,
    }

    of_account!();
}

/// A logout token that was used.
pub(crate) mod logout_token {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_logout_token")]
    pub struct Model {
        /// The SHA-256 digest of its issuer and id.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        pub expires_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
