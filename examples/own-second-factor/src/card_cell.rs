//! The table of the application: its entity and its migration. A row is one cell of a card.
#![expect(unreachable_pub, reason = "sea-orm derives public items beside these")]

use sea_orm::entity::prelude::*;
use sea_orm_migration::prelude::{
    ColumnDef, Index, MigrationName, MigrationTrait, MigratorTrait, SchemaManager, Table,
    async_trait,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "card_cell")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The name of the cell, such as `B4`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub cell: String,
    /// A keyed digest of the account, the cell and its digits. Without the key, nobody can try out the
    /// thousand values of a cell.
    pub digest: Vec<u8>,
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
        "m0001_card_cell"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("card_cell")
            .col(ColumnDef::new("account_id").uuid().not_null())
            .col(ColumnDef::new("cell").string_len(2).not_null())
            .col(ColumnDef::new("digest").binary_len(32).not_null())
            .primary_key(Index::create().col("account_id").col("cell"))
            .to_owned();
        manager.create_table(table).await
    }
}
