//! Identities at providers, sign-ins with them that are under way, and what a provider can end.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0022_federation"
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
        let identity = table(manager, "auth_provider_identity")
            .col(required("id").uuid().primary_key())
            .col(required("account_id").uuid())
            .col(required("provider").string_len(32))
            .col(required("digest").binary_len(32))
            .col(required("issuer").text())
            .col(required("subject").text())
            .col(optional("email").text())
            .col(optional("display_name").text())
            .col(required("epoch").big_integer())
            .col(optional("tokens").text())
            .col(optional("tokens_key_id").string_len(32))
            .col(required("tokens_version").big_integer())
            .col(optional("refreshing_at").big_integer())
            .col(required("created_at").big_integer())
            .col(optional("last_used_at").big_integer())
            .foreign_key(&mut of_account(
                "auth_provider_identity_account",
                "auth_provider_identity",
            ))
            .to_owned();
        manager.create_table(identity).await?;
        let flow = table(manager, "auth_provider_flow")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("provider").string_len(32))
            .col(required("intent").string_len(16))
            .col(required("browser").binary_len(32))
            .col(optional("account_id").uuid())
            .col(optional("lineage_id").uuid())
            .col(required("redirect_uri").text())
            .col(optional("return_to").text())
            .col(required("remember").boolean())
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .foreign_key(&mut of_account("auth_provider_flow_account", "auth_provider_flow"))
            .to_owned();
        manager.create_table(flow).await?;
        let pending = table(manager, "auth_pending_identity")
            .col(required("id").uuid().primary_key())
            .col(required("provider").string_len(32))
            .col(required("browser").binary_len(32))
            .col(optional("account_id").uuid())
            .col(optional("lineage_id").uuid())
            .col(required("told").text())
            .col(required("told_key_id").string_len(32))
            .col(required("remember").boolean())
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .foreign_key(&mut of_account("auth_pending_identity_account", "auth_pending_identity"))
            .to_owned();
        manager.create_table(pending).await?;
        let session = table(manager, "auth_provider_session")
            .col(required("lineage_id").uuid().primary_key())
            .col(required("account_id").uuid())
            .col(required("identity").binary_len(32))
            .col(optional("provider_session").binary_len(32))
            .col(required("created_at").big_integer())
            .col(required("expires_at").big_integer())
            .foreign_key(&mut of_account("auth_provider_session_account", "auth_provider_session"))
            .to_owned();
        manager.create_table(session).await?;
        let logout = table(manager, "auth_logout_token")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("expires_at").big_integer())
            .to_owned();
        manager.create_table(logout).await?;
        for (name, table, columns, unique) in [
            ("auth_provider_identity_digest", "auth_provider_identity", &["digest"][..], true),
            ("auth_provider_identity_account_id", "auth_provider_identity", &["account_id"], false),
            ("auth_provider_flow_account_id", "auth_provider_flow", &["account_id"], false),
            ("auth_provider_flow_expires_at", "auth_provider_flow", &["expires_at"], false),
            ("auth_pending_identity_account_id", "auth_pending_identity", &["account_id"], false),
            ("auth_pending_identity_browser", "auth_pending_identity", &["browser"], false),
            ("auth_pending_identity_expires_at", "auth_pending_identity", &["expires_at"], false),
            ("auth_provider_session_account_id", "auth_provider_session", &["account_id"], false),
            ("auth_provider_session_identity", "auth_provider_session", &["identity"], false),
            (
                "auth_provider_session_session",
                "auth_provider_session",
                &["provider_session"],
                false,
            ),
            ("auth_provider_session_expires_at", "auth_provider_session", &["expires_at"], false),
            ("auth_logout_token_expires_at", "auth_logout_token", &["expires_at"], false),
        ] {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            if unique {
                index.unique();
            }
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "auth_logout_token",
            "auth_provider_session",
            "auth_pending_identity",
            "auth_provider_flow",
            "auth_provider_identity",
        ] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
