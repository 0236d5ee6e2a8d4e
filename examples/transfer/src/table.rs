//! The tables of the application: who has how much, and the transfers.

use sea_orm::DbErr;
use sea_orm_migration::prelude::{
    ColumnDef, MigrationName, MigrationTrait, MigratorTrait, SchemaManager, Table, async_trait,
};

/// How much money a person has.
pub(crate) mod purse {
    #![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "purse")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: Uuid,
        pub cents: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What a person wants to send, or has sent.
pub(crate) mod transfer {
    #![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "transfer")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub from_id: Uuid,
        pub to_id: Uuid,
        pub to_name: String,
        pub cents: i64,
        pub times_sent: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Migration)]
    }
}

struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_transfer"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let purse = Table::create()
            .table("purse")
            .col(ColumnDef::new("account_id").uuid().not_null().primary_key())
            .col(ColumnDef::new("cents").big_integer().not_null())
            .to_owned();
        manager.create_table(purse).await?;
        let transfer = Table::create()
            .table("transfer")
            .col(ColumnDef::new("id").integer().not_null().auto_increment().primary_key())
            .col(ColumnDef::new("from_id").uuid().not_null())
            .col(ColumnDef::new("to_id").uuid().not_null())
            .col(ColumnDef::new("to_name").string_len(64).not_null())
            .col(ColumnDef::new("cents").big_integer().not_null())
            .col(ColumnDef::new("times_sent").integer().not_null())
            .to_owned();
        manager.create_table(transfer).await
    }
}
