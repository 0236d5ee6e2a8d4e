//! The tables of the outbox.
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
        /// The kind of message; `none` if there is no recipient.
        pub kind: String,
        /// Keyed digest of the recipient.
        #[sea_orm(column_type = "Binary(32)")]
        pub recipient: Vec<u8>,
        pub account_id: Option<AccountId>,
        /// The id of the secret that the payload is sealed with.
        pub key_id: String,
        /// The sealed recipient and values; removed when the message is finished.
        #[sea_orm(column_type = "Text", nullable)]
        pub payload: Option<String>,
        pub state: String,
        /// The number of attempts so far. It also distinguishes an earlier claim of the row from a
        /// later one.
        pub attempts: i16,
        pub next_try_at: Timestamp,
        /// After this time the message is not sent any more.
        pub expires_at: Timestamp,
        pub created_at: Timestamp,
        pub finished_at: Option<Timestamp>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The number of messages of one kind that one recipient got.
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
        /// The number of messages in this window.
        pub sent: i64,
        pub last_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
