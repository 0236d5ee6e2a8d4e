//! The records of notices about new devices.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// A network with a kind of browser about which the owner of an account was notified.
pub(crate) mod place {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_told_place")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        /// Keyed digest of account, network and kind of browser.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub place: Vec<u8>,
        /// When the last message about a single sign-in mentioned it.
        pub told_at: Timestamp,
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

/// The digest that waits for an account, or the last one that was sent.
pub(crate) mod digest {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, MessageId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_device_digest")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        /// The message in the outbox.
        pub message_id: MessageId,
        /// When the first of its sign-ins happened.
        pub began_at: Timestamp,
        /// The number of sign-ins that it tells of.
        pub sign_ins: i64,
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
