//! The data that the application stores with a session.

use sea_orm_migration::prelude::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0010_session_data"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let data = table(manager, "auth_session_data")
            .col(required("lineage_id").uuid().primary_key())
            .col(required("data").text())
            .col(required("written_at").big_integer())
            .to_owned();
        manager.create_table(data).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_session_data").to_owned()).await
    }
}
