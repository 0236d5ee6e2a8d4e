//! Requests of devices to be signed in by a person elsewhere, and which session approved one.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0019_device_login"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let request = table(manager, "auth_device_request")
            .col(required("id").uuid().primary_key())
            .col(required("device_digest").binary_len(32))
            .col(required("user_digest").binary_len(32))
            .col(required("client_id").string_len(64))
            .col(required("state").small_integer())
            .col(optional("wanted").text())
            .col(optional("hint").binary_len(32))
            .col(optional("device_name").string_len(64))
            .col(optional("message").string_len(200))
            .col(required("phrase").string_len(64))
            .col(optional("address").string_len(45))
            .col(optional("user_agent").string_len(256))
            .col(optional("lineage_id").uuid())
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .col(optional("account_id").uuid())
            .col(optional("account_epoch").big_integer())
            .col(optional("decided_in").uuid())
            .col(optional("decided_lineage").uuid())
            .col(optional("decided_at").big_integer())
            .col(optional("factor_at").big_integer())
            .col(optional("granted").text())
            .col(optional("confirmation").small_integer())
            .col(required("confirmations").small_integer())
            .col(optional("session_id").uuid())
            .col(optional("redeemed_at").big_integer())
            .col(optional("ended_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_device_request_account")
                    .from("auth_device_request", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(request).await?;
        for (name, column) in [
            ("auth_device_request_device_digest", "device_digest"),
            ("auth_device_request_user_digest", "user_digest"),
        ] {
            let mut index = Index::create();
            index.name(name).table("auth_device_request").col(column).unique();
            manager.create_index(index).await?;
        }
        for (name, column) in [
            ("auth_device_request_account_id", "account_id"),
            ("auth_device_request_expires_at", "expires_at"),
        ] {
            let index =
                Index::create().name(name).table("auth_device_request").col(column).to_owned();
            manager.create_index(index).await?;
        }
        let session = Table::alter()
            .table("auth_session")
            .add_column(optional("approved_in").uuid())
            .to_owned();
        manager.alter_table(session).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let session = Table::alter().table("auth_session").drop_column("approved_in").to_owned();
        manager.alter_table(session).await?;
        manager.drop_table(Table::drop().table("auth_device_request").to_owned()).await
    }
}
