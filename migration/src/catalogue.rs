//! The permissions that the code knows, with their descriptions.

use sea_orm_migration::prelude::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0008_catalogue"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let permission = table(manager, "auth_permission")
            .col(required("permission").string_len(256).primary_key())
            .col(optional("description").text())
            .col(required("created_at").big_integer())
            .to_owned();
        manager.create_table(permission).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_permission").to_owned()).await
    }
}
