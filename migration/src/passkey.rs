//! Passkeys, what authenticators know of accounts, and the challenges that wait for an answer.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0021_passkey"
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
        let passkey = table(manager, "auth_passkey")
            .col(required("id").uuid().primary_key())
            .col(required("account_id").uuid())
            .col(required("credential_digest").binary_len(32))
            .col(required("credential_id").text())
            .col(required("public_key").text())
            .col(required("sign_count").big_integer())
            .col(required("is_factor").boolean())
            .col(required("verified").boolean())
            .col(required("backup_eligible").boolean())
            .col(required("backed_up").boolean())
            .col(required("aaguid").uuid())
            .col(required("transports").string())
            .col(required("name").string())
            .col(required("epoch").big_integer())
            .col(required("created_at").big_integer())
            .col(optional("last_used_at").big_integer())
            .foreign_key(&mut of_account("auth_passkey_account", "auth_passkey"))
            .to_owned();
        manager.create_table(passkey).await?;
        let user = table(manager, "auth_passkey_user")
            .col(required("account_id").uuid().primary_key())
            .col(required("handle").binary_len(32))
            .col(required("created_at").big_integer())
            .foreign_key(&mut of_account("auth_passkey_user_account", "auth_passkey_user"))
            .to_owned();
        manager.create_table(user).await?;
        let challenge = table(manager, "auth_passkey_challenge")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("purpose").string_len(32))
            .col(optional("account_id").uuid())
            .col(optional("session_id").uuid())
            .col(optional("browser").binary_len(32))
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .foreign_key(&mut of_account(
                "auth_passkey_challenge_account",
                "auth_passkey_challenge",
            ))
            .to_owned();
        manager.create_table(challenge).await?;
        for (name, table, column, unique) in [
            ("auth_passkey_credential_digest", "auth_passkey", "credential_digest", true),
            ("auth_passkey_account_id", "auth_passkey", "account_id", false),
            ("auth_passkey_user_handle", "auth_passkey_user", "handle", true),
            ("auth_passkey_challenge_account_id", "auth_passkey_challenge", "account_id", false),
            ("auth_passkey_challenge_expires_at", "auth_passkey_challenge", "expires_at", false),
        ] {
            let mut index = Index::create();
            index.name(name).table(table).col(column);
            if unique {
                index.unique();
            }
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_passkey_challenge", "auth_passkey_user", "auth_passkey"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
