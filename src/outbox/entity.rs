//! The rows of the outbox.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// One message.
pub(crate) mod message {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, MessageId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_outbox")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: MessageId,
        /// The kind of message; `none` where there is nobody to write to.
        pub kind: String,
        /// Keyed digest of the recipient.
        #[sea_orm(column_type = "Binary(32)")]
        pub recipient: Vec<u8>,
        pub account_id: Option<AccountId>,
        /// The secret that the payload was sealed under.
        pub key_id: String,
        /// Recipient and values, sealed; gone when the message is.
        #[sea_orm(column_type = "Text", nullable)]
        pub payload: Option<String>,
        pub state: String,
        /// Tries so far. It also tells one who claimed the row from one who claimed it later.
        pub attempts: i16,
        pub next_try_at: Timestamp,
        /// Nobody wants it any more after this.
        pub expires_at: Timestamp,
        pub created_at: Timestamp,
        pub finished_at: Option<Timestamp>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How many messages of one kind one recipient got.
pub(crate) mod limit {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_outbox_limit")]
    pub struct Model {
        /// Keyed digest of kind and recipient.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub digest: Vec<u8>,
        pub window_started_at: Timestamp,
        /// In this window.
        pub sent: i64,
        pub last_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
