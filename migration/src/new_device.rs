//! The places and digests of notices about new devices.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0013_new_device"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let of_account = |name: &'static str, from: &'static str| {
            ForeignKey::create()
                .name(name)
                .from(from, "account_id")
                .to("auth_account", "id")
                .on_delete(ForeignKeyAction::Cascade)
                .to_owned()
        };
        let place = table(manager, "auth_told_place")
            .col(required("account_id").uuid())
            .col(required("place").binary_len(32))
            .col(required("told_at").big_integer())
            .primary_key(Index::create().col("account_id").col("place"))
            .foreign_key(&mut of_account("auth_told_place_account", "auth_told_place"))
            .to_owned();
        manager.create_table(place).await?;
        let digest = table(manager, "auth_device_digest")
            .col(required("account_id").uuid().primary_key())
            .col(required("message_id").uuid())
            .col(required("began_at").big_integer())
            .col(required("sign_ins").big_integer())
            .foreign_key(&mut of_account("auth_device_digest_account", "auth_device_digest"))
            .to_owned();
        manager.create_table(digest).await?;
        for (name, table, column) in [
            ("auth_told_place_told_at", "auth_told_place", "told_at"),
            ("auth_device_digest_began_at", "auth_device_digest", "began_at"),
        ] {
            let index = Index::create().name(name).table(table).col(column).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_device_digest", "auth_told_place"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
