//! Second factors: authenticators and recovery codes, and what a sign-in must know about mailed codes.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0014_second_factor"
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
        let totp = table(manager, "auth_totp")
            .col(required("id").uuid().primary_key())
            .col(required("account_id").uuid())
            .col(required("name").string())
            .col(required("key_id").string())
            .col(required("seed").text())
            .col(required("algorithm").small_integer())
            .col(required("digits").small_integer())
            .col(required("period").big_integer())
            .col(required("last_step").big_integer())
            .col(required("epoch").big_integer())
            .col(required("created_at").big_integer())
            .col(optional("confirmed_at").big_integer())
            .foreign_key(&mut of_account("auth_totp_account", "auth_totp"))
            .to_owned();
        manager.create_table(totp).await?;
        let code = table(manager, "auth_recovery_code")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("account_id").uuid())
            .col(required("key_id").string())
            .col(required("epoch").big_integer())
            .col(required("created_at").big_integer())
            .col(optional("used_at").big_integer())
            .foreign_key(&mut of_account("auth_recovery_code_account", "auth_recovery_code"))
            .to_owned();
        manager.create_table(code).await?;
        for column in ["password_mailed_at", "enrolment_due_at"] {
            // One column at a time: SQLite adds no more.
            let account = Table::alter()
                .table("auth_account")
                .add_column(optional(column).big_integer())
                .to_owned();
            manager.alter_table(account).await?;
        }
        let account = Table::alter()
            .table("auth_account")
            .add_column(optional("factor_epochs").string())
            .to_owned();
        manager.alter_table(account).await?;
        for (name, table, columns) in [
            ("auth_totp_account_id", "auth_totp", ["account_id"].as_slice()),
            ("auth_totp_key_id", "auth_totp", &["key_id", "id"]),
            ("auth_totp_waiting", "auth_totp", &["confirmed_at", "created_at"]),
            ("auth_recovery_code_account_id", "auth_recovery_code", &["account_id"]),
        ] {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_recovery_code", "auth_totp"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        for column in ["factor_epochs", "enrolment_due_at", "password_mailed_at"] {
            let account = Table::alter().table("auth_account").drop_column(column).to_owned();
            manager.alter_table(account).await?;
        }
        Ok(())
    }
}
