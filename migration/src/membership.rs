//! Memberships: which account has which level on which resource, given by hand or by the
//! application's own tables. Also the numbers that order the answers of the latter.

use sea_orm_migration::prelude::{
    DbErr, ForeignKey, ForeignKeyAction, Index, MigrationName, MigrationTrait, SchemaManager,
    Table, async_trait,
};

use crate::table::{required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0007_membership"
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
        // The origin is part of the key. So an answer of the source neither overwrites nor removes
        // what was given by hand.
        let membership = table(manager, "auth_membership")
            .col(required("account_id").uuid())
            .col(required("resource").string_len(64))
            .col(required("resource_id").string_len(128))
            .col(required("origin").small_integer())
            .col(required("level").string_len(32))
            .col(required("granted_at").big_integer())
            .primary_key(
                Index::create().col("account_id").col("resource").col("resource_id").col("origin"),
            )
            .foreign_key(&mut of_account("auth_membership_account", "auth_membership"))
            .to_owned();
        manager.create_table(membership).await?;
        let holders = Index::create()
            .name("auth_membership_resource")
            .table("auth_membership")
            .col("resource")
            .col("resource_id")
            .to_owned();
        manager.create_index(holders).await?;

        let turn = table(manager, "auth_membership_turn")
            .col(required("account_id").uuid().primary_key())
            .col(required("asked").big_integer())
            .col(required("kept").big_integer())
            .foreign_key(&mut of_account("auth_membership_turn_account", "auth_membership_turn"))
            .to_owned();
        manager.create_table(turn).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["auth_membership_turn", "auth_membership"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
