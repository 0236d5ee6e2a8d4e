//! The table of the application: its entity and its migration.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;
use sea_orm_migration::prelude::{
    ColumnDef, ForeignKey, ForeignKeyAction, MigrationName, MigrationTrait, MigratorTrait,
    SchemaManager, Table, async_trait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "profile")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    #[sea_orm(unique)]
    pub display_name: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Migration)]
    }
}

struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_profile"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut account = ForeignKey::create()
            .name("profile_account")
            .from("profile", "account_id")
            .to("auth_account", "id")
            .on_delete(ForeignKeyAction::Cascade)
            .to_owned();
        let table = Table::create()
            .table("profile")
            .col(ColumnDef::new("account_id").uuid().not_null().primary_key())
            .col(ColumnDef::new("display_name").string_len(64).not_null().unique_key())
            .foreign_key(&mut account)
            .to_owned();
        manager.create_table(table).await
    }
}
