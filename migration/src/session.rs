//! Sessions.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_session"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let session = table(manager, "auth_session")
            .col(required("id").uuid().primary_key())
            .col(required("token_digest").binary_len(32))
            .col(required("version").big_integer())
            .col(required("lineage_id").uuid())
            .col(optional("account_id").uuid())
            .col(required("account_epoch").big_integer())
            .col(required("stage").small_integer())
            .col(required("generation").big_integer())
            .col(required("rotated_at").big_integer())
            .col(optional("late_use_at").big_integer())
            .col(optional("previous_late_use_at").big_integer())
            .col(optional("rotated_network").big_integer())
            .col(optional("rotated_browser").big_integer())
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .col(required("idle_ms").big_integer())
            .col(required("persistent").boolean())
            .col(required("factors").string_len(255))
            .col(optional("ceiling").text())
            .col(optional("address").string_len(45))
            .col(optional("user_agent").string_len(256))
            .col(optional("ended_at").big_integer())
            .col(optional("end_reason").string_len(32))
            .col(optional("suspicious_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_session_account")
                    .from("auth_session", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(session).await?;
        let indexes = [
            Index::create()
                .name("auth_session_token_digest")
                .table("auth_session")
                .col("token_digest")
                .unique()
                .to_owned(),
            Index::create()
                .name("auth_session_account_id_expires_at")
                .table("auth_session")
                .col("account_id")
                .col("expires_at")
                .to_owned(),
            Index::create()
                .name("auth_session_lineage_id")
                .table("auth_session")
                .col("lineage_id")
                .to_owned(),
            Index::create()
                .name("auth_session_ended_at")
                .table("auth_session")
                .col("ended_at")
                .to_owned(),
            Index::create()
                .name("auth_session_expires_at")
                .table("auth_session")
                .col("expires_at")
                .to_owned(),
        ];
        for index in indexes {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_session").to_owned()).await
    }
}
