//! Tokens that are bound to a key of their client, and the proofs of these keys that were used.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0020_dpop"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let proof = table(manager, "auth_dpop_proof")
            .col(required("digest").binary_len(32).primary_key())
            .col(required("expires_at").big_integer())
            .to_owned();
        manager.create_table(proof).await?;
        let index = Index::create()
            .name("auth_dpop_proof_expires_at")
            .table("auth_dpop_proof")
            .col("expires_at")
            .to_owned();
        manager.create_index(index).await?;
        for table in ["auth_session", "auth_device_request"] {
            let bound = Table::alter()
                .table(table)
                .add_column(optional("bound_to").string_len(43))
                .to_owned();
            manager.alter_table(bound).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["auth_device_request", "auth_session"] {
            let bound = Table::alter().table(table).drop_column("bound_to").to_owned();
            manager.alter_table(bound).await?;
        }
        manager.drop_table(Table::drop().table("auth_dpop_proof").to_owned()).await
    }
}
