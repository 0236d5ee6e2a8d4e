//! Trusted devices, and which roles allow them.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0016_trusted_device"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let device = table(manager, "auth_trusted_device")
            .col(required("id").uuid().primary_key())
            .col(required("account_id").uuid())
            .col(required("digest").binary_len(32))
            .col(required("factor").string_len(16))
            .col(required("epoch").big_integer())
            .col(optional("address").string_len(45))
            .col(optional("user_agent").string_len(256))
            .col(required("created_at").big_integer())
            .col(required("last_used_at").big_integer())
            .col(required("expires_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_trusted_device_account")
                    .from("auth_trusted_device", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(device).await?;
        for (name, column) in [
            ("auth_trusted_device_account_id", "account_id"),
            ("auth_trusted_device_expires_at", "expires_at"),
        ] {
            let index =
                Index::create().name(name).table("auth_trusted_device").col(column).to_owned();
            manager.create_index(index).await?;
        }
        let role = Table::alter()
            .table("auth_role")
            .add_column(optional("trusted_devices").boolean())
            .to_owned();
        manager.alter_table(role).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let role = Table::alter().table("auth_role").drop_column("trusted_devices").to_owned();
        manager.alter_table(role).await?;
        manager.drop_table(Table::drop().table("auth_trusted_device").to_owned()).await
    }
}
