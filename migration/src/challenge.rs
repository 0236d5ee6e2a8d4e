//! Challenges: codes and links that were sent and wait for their answer.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_challenge"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let challenge = table(manager, "auth_challenge")
            .col(required("id").uuid().primary_key())
            .col(required("purpose").string_len(64))
            .col(required("subject").binary_len(32))
            .col(optional("account_id").uuid())
            .col(optional("session_id").uuid())
            .col(optional("target").string_len(255))
            .col(optional("data").text())
            .col(required("token_digest").binary_len(32))
            .col(optional("code_digest").binary_len(32))
            .col(optional("binding").binary_len(32))
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .col(optional("answered_at").big_integer())
            .col(optional("used_at").big_integer())
            .col(optional("used_from").binary_len(32))
            .col(optional("superseded_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_challenge_account")
                    .from("auth_challenge", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(challenge).await?;
        let unique = Index::create()
            .name("auth_challenge_token_digest")
            .table("auth_challenge")
            .col("token_digest")
            .unique()
            .to_owned();
        manager.create_index(unique).await?;
        for (name, column) in [
            ("auth_challenge_subject", "subject"),
            ("auth_challenge_account_id", "account_id"),
            ("auth_challenge_session_id", "session_id"),
            ("auth_challenge_expires_at", "expires_at"),
        ] {
            let index = Index::create().name(name).table("auth_challenge").col(column).to_owned();
            manager.create_index(index).await?;
        }

        // When a code was last sent, which is kept longer than the code itself.
        let start = table(manager, "auth_challenge_start")
            .col(required("subject").binary_len(32).primary_key())
            .col(required("started_at").big_integer())
            .to_owned();
        manager.create_table(start).await?;
        let by_time = Index::create()
            .name("auth_challenge_start_started_at")
            .table("auth_challenge_start")
            .col("started_at")
            .to_owned();
        manager.create_index(by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_challenge_start", "auth_challenge"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
