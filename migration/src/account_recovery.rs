//! Recoveries of accounts by administrators.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0017_account_recovery"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let recovery = table(manager, "auth_account_recovery")
            .col(required("id").uuid().primary_key())
            .col(required("account_id").uuid())
            .col(required("opened_by").string())
            .col(required("reason").text())
            .col(optional("email").string())
            .col(required("state").small_integer())
            .col(required("opened_at").big_integer())
            .col(required("ready_at").big_integer())
            .col(required("expires_at").big_integer())
            .col(optional("completed_by").string())
            .col(optional("completed_at").big_integer())
            .col(optional("ended_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_account_recovery_account")
                    .from("auth_account_recovery", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(recovery).await?;
        let account = Table::alter()
            .table("auth_account")
            .add_column(optional("recovery_id").uuid())
            .to_owned();
        manager.alter_table(account).await?;
        for (name, column) in [
            ("auth_account_recovery_account_id", "account_id"),
            ("auth_account_recovery_expires_at", "expires_at"),
        ] {
            let mut index = Index::create();
            index.name(name).table("auth_account_recovery").col(column);
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let account = Table::alter().table("auth_account").drop_column("recovery_id").to_owned();
        manager.alter_table(account).await?;
        manager.drop_table(Table::drop().table("auth_account_recovery").to_owned()).await
    }
}
