//! The tables of captchas.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

/// A picture that was asked for, or another captcha that was used.
pub(crate) mod captcha {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_captcha")]
    pub struct Model {
        /// The public id of a picture. For a proof of work its nonce, and for the token of a provider
        /// a part of its keyed digest.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// What it is for.
        pub action: String,
        /// The id of the secret that the answer is sealed with.
        pub key_id: String,
        /// The sealed digits and the seed of the noise. Only a picture has them.
        #[sea_orm(column_type = "Text", nullable)]
        pub answer: Option<String>,
        /// How often it was drawn or spoken.
        pub fetches: i16,
        /// How often an answer was compared.
        pub attempts: i16,
        pub expires_at: Timestamp,
        pub used_at: Option<Timestamp>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How often a source or a typed name failed at one action.
pub(crate) mod failures {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_captcha_failures")]
    pub struct Model {
        /// Keyed digest of the action and the source or name.
        #[sea_orm(primary_key, auto_increment = false, column_type = "Binary(32)")]
        pub subject: Vec<u8>,
        /// The number of failures in this window.
        pub failures: i64,
        pub window_started_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
