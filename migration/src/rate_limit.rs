//! Rates, if they are kept in the database.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0011_rate_limit"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let rate = table(manager, "auth_rate")
            .col(required("key").binary_len(32).primary_key())
            .col(required("spent_us").big_integer())
            .to_owned();
        manager.create_table(rate).await?;
        let by_time = Index::create()
            .name("auth_rate_spent_us")
            .table("auth_rate")
            .col("spent_us")
            .to_owned();
        manager.create_index(by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_rate").to_owned()).await
    }
}
