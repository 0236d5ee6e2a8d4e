//! The outbox: messages to send, and how many each recipient got.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_outbox"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // There is no foreign key, because a message about an account must stay when the account is
        // deleted.
        let outbox = table(manager, "auth_outbox")
            .col(required("id").uuid().primary_key())
            .col(required("kind").string_len(64))
            .col(required("recipient").binary_len(32))
            .col(optional("account_id").uuid())
            .col(required("key_id").string_len(16))
            .col(optional("payload").text())
            .col(required("state").string_len(16))
            .col(required("attempts").small_integer())
            .col(required("next_try_at").big_integer())
            .col(required("expires_at").big_integer())
            .col(required("created_at").big_integer())
            .col(optional("finished_at").big_integer())
            .to_owned();
        manager.create_table(outbox).await?;
        let limit = table(manager, "auth_outbox_limit")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("window_started_at").big_integer())
            .col(required("sent").big_integer())
            .col(required("last_at").big_integer())
            .to_owned();
        manager.create_table(limit).await?;
        let indexes = [
            Index::create()
                .name("auth_outbox_state_next_try_at")
                .table("auth_outbox")
                .col("state")
                .col("next_try_at")
                .to_owned(),
            Index::create()
                .name("auth_outbox_account_id")
                .table("auth_outbox")
                .col("account_id")
                .to_owned(),
            Index::create()
                .name("auth_outbox_recipient")
                .table("auth_outbox")
                .col("recipient")
                .to_owned(),
            Index::create()
                .name("auth_outbox_created_at")
                .table("auth_outbox")
                .col("created_at")
                .to_owned(),
            Index::create()
                .name("auth_outbox_limit_last_at")
                .table("auth_outbox_limit")
                .col("last_at")
                .to_owned(),
        ];
        for index in indexes {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_outbox_limit", "auth_outbox"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
