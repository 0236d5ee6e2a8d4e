//! Captchas, and how often sources and names failed.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0015_captcha"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let captcha = table(manager, "auth_captcha")
            .col(required("id").uuid().primary_key())
            .col(required("action").string_len(48))
            .col(required("key_id").string_len(16))
            .col(optional("answer").text())
            .col(required("fetches").small_integer())
            .col(required("attempts").small_integer())
            .col(required("expires_at").big_integer())
            .col(optional("used_at").big_integer())
            .to_owned();
        manager.create_table(captcha).await?;
        let failures = table(manager, "auth_captcha_failures")
            .col(required("subject").binary_len(32).primary_key())
            .col(required("failures").big_integer())
            .col(required("window_started_at").big_integer())
            .to_owned();
        manager.create_table(failures).await?;
        for (name, of, column) in [
            ("auth_captcha_expires_at", "auth_captcha", "expires_at"),
            (
                "auth_captcha_failures_window_started_at",
                "auth_captcha_failures",
                "window_started_at",
            ),
        ] {
            let index = Index::create().name(name).table(of).col(column).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_captcha_failures", "auth_captcha"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
