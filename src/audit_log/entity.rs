//! The rows of the audit log.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// One event.
pub(crate) mod event {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, EventId, SessionId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_event")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: EventId,
        pub at: Timestamp,
        pub kind: String,
        pub account_id: Option<AccountId>,
        pub session_id: Option<SessionId>,
        pub address: Option<String>,
        pub succeeded: bool,
        pub detail: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The counted denials of one account by one rule in one minute.
pub(crate) mod denial {
    use sea_orm::entity::prelude::*;

    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_denial")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub rule: String,
        /// Minutes since the Unix epoch.
        #[sea_orm(primary_key, auto_increment = false)]
        pub minute: i64,
        pub count: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
