//! Accounts, and the names they sign in with.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use sea_orm_migration::sea_orm::DbBackend;

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_account"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let account = table(manager, "auth_account")
            .col(required("id").uuid().primary_key())
            .col(optional("username").string_len(255))
            .col(optional("email").string_len(255))
            .col(optional("phone").string_len(16))
            .col(optional("password_hash").text())
            .col(optional("password_pepper").string_len(64))
            .col(required("must_change_password").boolean())
            .col(required("superuser").boolean())
            .col(required("epoch").big_integer())
            .col(required("version").big_integer())
            .col(required("enrolled_factors").big_integer())
            .col(optional("verified_at").big_integer())
            .col(optional("registered_lineage_id").uuid())
            .col(optional("on_trial_since").big_integer())
            .col(optional("disabled_at").big_integer())
            .col(optional("deleted_at").big_integer())
            .col(optional("erase_at").big_integer())
            .col(optional("erased_at").big_integer())
            .col(optional("sweep_at").big_integer())
            .col(optional("rate_limit").big_integer())
            .col(optional("last_login_at").big_integer())
            .col(required("created_at").big_integer())
            .to_owned();
        manager.create_table(account).await?;
        for (name, column) in [
            ("auth_account_on_trial_since", "on_trial_since"),
            ("auth_account_sweep_at", "sweep_at"),
            ("auth_account_superuser", "superuser"),
        ] {
            let index = Index::create().name(name).table("auth_account").col(column).to_owned();
            manager.create_index(index).await?;
        }

        // One row per name. So an account can have several names, and a name is unique across all
        // kinds.
        let mut normal = required("normal").string_len(255).primary_key().to_owned();
        if manager.get_database_backend() == DbBackend::Postgres {
            // Compared byte by byte, so that the key also finds names with a prefix. Other
            // collations have another order.
            normal.extra("COLLATE \"C\"");
        }
        let login_name = table(manager, "auth_login_name")
            .col(normal)
            .col(required("account_id").uuid())
            .col(required("kind").small_integer())
            .col(optional("typed").string_len(255))
            .col(optional("verified_at").big_integer())
            .col(required("sequence").big_integer().default(0))
            .col(required("held_ms").big_integer().default(0))
            .col(required("created_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_login_name_account")
                    .from("auth_login_name", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(login_name).await?;
        manager
            .create_index(
                Index::create()
                    .name("auth_login_name_account_id")
                    .table("auth_login_name")
                    .col("account_id")
                    .to_owned(),
            )
            .await?;

        // Former addresses of accounts, as long as they can be put back.
        let former_address = table(manager, "auth_former_address")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("account_id").uuid())
            .col(required("kind").small_integer())
            .col(required("sequence").big_integer())
            .col(required("held_ms").big_integer())
            .col(required("left_epoch").big_integer())
            .col(required("settled").boolean())
            .col(required("left_at").big_integer())
            .foreign_key(
                ForeignKey::create()
                    .name("auth_former_address_account")
                    .from("auth_former_address", "account_id")
                    .to("auth_account", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(former_address).await?;
        for (name, column) in [
            ("auth_former_address_account_id", "account_id"),
            ("auth_former_address_left_at", "left_at"),
        ] {
            let index =
                Index::create().name(name).table("auth_former_address").col(column).to_owned();
            manager.create_index(index).await?;
        }

        // What happens only once in a database, such as creating the first administrator.
        let marker = table(manager, "auth_marker")
            .col(required("name").string_len(64).primary_key())
            .col(required("created_at").big_integer())
            .to_owned();
        manager.create_table(marker).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_marker", "auth_former_address", "auth_login_name", "auth_account"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
