//! When maintenance last ran, and which run has the lease.

use sea_orm_migration::prelude::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0012_maintenance"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let maintenance = table(manager, "auth_maintenance")
            .col(required("id").small_integer().primary_key())
            .col(required("leased_until").big_integer())
            .col(required("lease").big_integer())
            .col(optional("finished_at").big_integer())
            .to_owned();
        manager.create_table(maintenance).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_maintenance").to_owned()).await
    }
}
