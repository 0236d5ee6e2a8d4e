//! The tables of authorization: roles, groups, grants, and the epoch.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

macro_rules! belongs_to {
    ($($name:ident: $from:ident -> $to:path),+ $(,)?) => {
        #[derive(Copy, Clone, Debug, EnumIter)]
        pub enum Relation { $($name),+ }

        impl RelationTrait for Relation {
            fn def(&self) -> RelationDef {
                match self {
                    $(Self::$name => {
                        use $to as target;
                        Entity::belongs_to(target::Entity)
                            .from(Column::$from)
                            .to(target::Column::Id)
                            .on_delete(sea_orm::sea_query::ForeignKeyAction::Cascade)
                            .into()
                    }),+
                }
            }
        }
    };
}

/// One row, which changes with every change of a role or a group. `version` is a new random number
/// each time, and grants in memory are kept under it. A counter would not do: after a backup was
/// restored, it would reach a number again that a node still remembers. `epoch` counts the changes.
pub(crate) mod epoch {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_epoch")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i16,
        pub epoch: i64,
        pub version: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A role: a name and its permissions, separated by spaces.
pub(crate) mod role {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::RoleId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_role")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: RoleId,
        #[sea_orm(unique)]
        pub name: String,
        #[sea_orm(column_type = "Text", nullable)]
        pub description: Option<String>,
        #[sea_orm(column_type = "Text")]
        pub permissions: String,
        pub requires_factor: bool,
        pub max_idle_ms: Option<i64>,
        pub created_at: Timestamp,
        /// Whether its holders may trust devices. Without a value, they may if they need no second factor.
        pub trusted_devices: Option<bool>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A group of accounts, which can have roles.
pub(crate) mod group {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::GroupId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_group")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: GroupId,
        #[sea_orm(unique)]
        pub name: String,
        #[sea_orm(column_type = "Text", nullable)]
        pub description: Option<String>,
        pub created_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A role granted to an account, everywhere or on one resource.
pub(crate) mod account_role {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, RoleId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_account_role")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub role_id: RoleId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource_id: String,
        pub granted_at: Timestamp,
    }

    belongs_to! {
        Account: AccountId -> crate::account::entity::account,
        Role: RoleId -> super::role,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// An account in a group.
pub(crate) mod account_group {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{AccountId, GroupId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_account_group")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub group_id: GroupId,
        pub joined_at: Timestamp,
    }

    belongs_to! {
        Account: AccountId -> crate::account::entity::account,
        Group: GroupId -> super::group,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A role that the members of a group have.
pub(crate) mod group_role {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::{GroupId, RoleId};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_group_role")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub group_id: GroupId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub role_id: RoleId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource_id: String,
        pub granted_at: Timestamp,
    }

    belongs_to! {
        Group: GroupId -> super::group,
        Role: RoleId -> super::role,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A permission granted to an account without a role.
pub(crate) mod account_permission {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_account_permission")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub permission: String,
        pub granted_at: Timestamp,
    }

    belongs_to! {
        Account: AccountId -> crate::account::entity::account,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A level on one resource.
pub(crate) mod membership {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;
    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_membership")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub origin: i16,
        pub level: String,
        pub granted_at: Timestamp,
    }

    belongs_to! {
        Account: AccountId -> crate::account::entity::account,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The number of the last question to the source, and of the question whose answer is stored.
pub(crate) mod membership_turn {
    use sea_orm::entity::prelude::*;

    use crate::base::id::AccountId;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_membership_turn")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: AccountId,
        pub asked: i64,
        pub kept: i64,
    }

    belongs_to! {
        Account: AccountId -> crate::account::entity::account,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A permission that the code knows.
pub(crate) mod known {
    use sea_orm::entity::prelude::*;

    use crate::base::clock::Timestamp;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "auth_permission")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub permission: String,
        #[sea_orm(column_type = "Text", nullable)]
        pub description: Option<String>,
        pub created_at: Timestamp,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
