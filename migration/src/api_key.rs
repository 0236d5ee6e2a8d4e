//! API keys.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0018_api_key"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let key = table(manager, "auth_api_key")
            .col(required("id").uuid().primary_key())
            .col(required("token_digest").binary_len(32))
            .col(required("key_id").string())
            .col(required("version").big_integer())
            .col(required("first_id").uuid())
            .col(required("account_id").uuid())
            .col(optional("made_in").uuid())
            .col(required("name").string_len(64))
            .col(required("slot").string_len(101))
            .col(required("hint").string_len(24))
            .col(required("scopes").text())
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .col(optional("rotated_at").big_integer())
            .col(optional("ended_at").big_integer())
            .col(optional("end_reason").string_len(16))
            .col(optional("last_used_at").big_integer())
            .col(optional("last_used_from").string_len(45))
            .col(optional("told_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_api_key_account")
                    .from("auth_api_key", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(key).await?;
        let digest = Index::create()
            .name("auth_api_key_token_digest")
            .table("auth_api_key")
            .col("token_digest")
            .unique()
            .to_owned();
        manager.create_index(digest).await?;
        let slot = Index::create()
            .name("auth_api_key_slot")
            .table("auth_api_key")
            .col("slot")
            .unique()
            .to_owned();
        manager.create_index(slot).await?;
        for (name, column) in [
            ("auth_api_key_account_id", "account_id"),
            ("auth_api_key_expires_at", "expires_at"),
            ("auth_api_key_ended_at", "ended_at"),
        ] {
            let index = Index::create().name(name).table("auth_api_key").col(column).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_api_key").to_owned()).await
    }
}
