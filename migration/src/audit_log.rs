//! The audit log: events, and denials counted per account, rule and minute.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_audit_log"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // There are no foreign keys, because events stay when an account is deleted.
        let event = table(manager, "auth_event")
            .col(required("id").uuid().primary_key())
            .col(required("at").big_integer())
            .col(required("kind").string_len(64))
            .col(optional("account_id").uuid())
            .col(optional("session_id").uuid())
            .col(optional("address").string_len(45))
            .col(required("succeeded").boolean())
            .col(optional("detail").string_len(255))
            .to_owned();
        manager.create_table(event).await?;
        let denial = table(manager, "auth_denial")
            .col(required("account_id").uuid())
            .col(required("rule").string_len(255))
            .col(required("minute").big_integer())
            .col(required("count").big_integer())
            .primary_key(Index::create().col("account_id").col("rule").col("minute"))
            .to_owned();
        manager.create_table(denial).await?;
        let by_account = Index::create()
            .name("auth_event_account_id_at")
            .table("auth_event")
            .col("account_id")
            .col("at")
            .to_owned();
        manager.create_index(by_account).await?;
        let by_minute = Index::create()
            .name("auth_denial_minute")
            .table("auth_denial")
            .col("minute")
            .to_owned();
        manager.create_index(by_minute).await?;
        let by_time =
            Index::create().name("auth_event_at").table("auth_event").col("at").to_owned();
        manager.create_index(by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_denial", "auth_event"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
