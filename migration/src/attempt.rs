//! Attempts at a sign-in, a code or a link. Each is a row, and the rows of one subject decide about
//! the next.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0009_attempt"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // There are no foreign keys, because names without an account have rows too.
        let attempt = table(manager, "auth_attempt")
            .col(required("subject").binary_len(32))
            .col(required("kind").small_integer())
            .col(required("part").big_integer())
            .col(required("number").big_integer())
            .col(required("outcome").small_integer())
            .col(optional("source").string_len(45))
            .col(required("at").big_integer())
            .primary_key(Index::create().col("subject").col("kind").col("part").col("number"))
            .to_owned();
        manager.create_table(attempt).await?;
        let by_source = Index::create()
            .name("auth_attempt_source_outcome_at")
            .table("auth_attempt")
            .col("source")
            .col("outcome")
            .col("at")
            .to_owned();
        manager.create_index(by_source).await?;
        let by_time =
            Index::create().name("auth_attempt_at").table("auth_attempt").col("at").to_owned();
        manager.create_index(by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("auth_attempt").to_owned()).await
    }
}
