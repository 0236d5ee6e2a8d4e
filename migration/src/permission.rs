//! Roles, groups, grants, and the epoch that tells when grants in memory are outdated.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Index,
    MigrationName, MigrationTrait, Query, SchemaManager, Table, async_trait,
};

use crate::table::{optional, required, table};

pub(crate) struct Migration;

/// A foreign key whose rows are deleted together with the row that they point to.
fn owned_by(
    name: &'static str,
    from: (&'static str, &'static str),
    to: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(from.0, from.1)
        .to(to, "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

/// The resource that a role is limited to; empty for no limit. The columns are not nullable,
/// because they are part of a key.
fn resource_columns() -> [ColumnDef; 2] {
    [
        required("resource").string_len(64).default("").to_owned(),
        required("resource_id").string_len(128).default("").to_owned(),
    ]
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_permission"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let epoch = table(manager, "auth_epoch")
            .col(required("id").small_integer().primary_key())
            .col(required("epoch").big_integer())
            .col(required("version").big_integer())
            .to_owned();
        manager.create_table(epoch).await?;
        let first = Query::insert()
            .into_table("auth_epoch")
            .columns(["id", "epoch", "version"])
            .values_panic([1.into(), 0i64.into(), 0i64.into()])
            .to_owned();
        manager.execute(first).await?;

        let role = table(manager, "auth_role")
            .col(required("id").uuid().primary_key())
            .col(required("name").string_len(64))
            .col(optional("description").text())
            .col(required("permissions").text())
            .col(required("requires_factor").boolean())
            .col(optional("max_idle_ms").big_integer())
            .col(required("created_at").big_integer())
            .to_owned();
        manager.create_table(role).await?;

        let group = table(manager, "auth_group")
            .col(required("id").uuid().primary_key())
            .col(required("name").string_len(64))
            .col(optional("description").text())
            .col(required("created_at").big_integer())
            .to_owned();
        manager.create_table(group).await?;

        let [resource, resource_id] = resource_columns();
        let account_role = table(manager, "auth_account_role")
            .col(required("account_id").uuid())
            .col(required("role_id").uuid())
            .col(resource)
            .col(resource_id)
            .col(required("granted_at").big_integer())
            .primary_key(
                Index::create().col("account_id").col("role_id").col("resource").col("resource_id"),
            )
            .foreign_key(&mut owned_by(
                "auth_account_role_account",
                ("auth_account_role", "account_id"),
                "auth_account",
            ))
            .foreign_key(&mut owned_by(
                "auth_account_role_role",
                ("auth_account_role", "role_id"),
                "auth_role",
            ))
            .to_owned();
        manager.create_table(account_role).await?;

        let account_group = table(manager, "auth_account_group")
            .col(required("account_id").uuid())
            .col(required("group_id").uuid())
            .col(required("joined_at").big_integer())
            .primary_key(Index::create().col("account_id").col("group_id"))
            .foreign_key(&mut owned_by(
                "auth_account_group_account",
                ("auth_account_group", "account_id"),
                "auth_account",
            ))
            .foreign_key(&mut owned_by(
                "auth_account_group_group",
                ("auth_account_group", "group_id"),
                "auth_group",
            ))
            .to_owned();
        manager.create_table(account_group).await?;

        let [resource, resource_id] = resource_columns();
        let group_role = table(manager, "auth_group_role")
            .col(required("group_id").uuid())
            .col(required("role_id").uuid())
            .col(resource)
            .col(resource_id)
            .col(required("granted_at").big_integer())
            .primary_key(
                Index::create().col("group_id").col("role_id").col("resource").col("resource_id"),
            )
            .foreign_key(&mut owned_by(
                "auth_group_role_group",
                ("auth_group_role", "group_id"),
                "auth_group",
            ))
            .foreign_key(&mut owned_by(
                "auth_group_role_role",
                ("auth_group_role", "role_id"),
                "auth_role",
            ))
            .to_owned();
        manager.create_table(group_role).await?;

        let account_permission = table(manager, "auth_account_permission")
            .col(required("account_id").uuid())
            .col(required("permission").string_len(256))
            .col(required("granted_at").big_integer())
            .primary_key(Index::create().col("account_id").col("permission"))
            .foreign_key(&mut owned_by(
                "auth_account_permission_account",
                ("auth_account_permission", "account_id"),
                "auth_account",
            ))
            .to_owned();
        manager.create_table(account_permission).await?;

        let unique = [("auth_role", "auth_role_name"), ("auth_group", "auth_group_name")];
        for (table, name) in unique {
            let index = Index::create().name(name).table(table).col("name").unique().to_owned();
            manager.create_index(index).await?;
        }
        let lookups = [
            ("auth_account_role", "auth_account_role_role_id", "role_id"),
            ("auth_account_group", "auth_account_group_group_id", "group_id"),
            ("auth_group_role", "auth_group_role_role_id", "role_id"),
        ];
        for (table, name, column) in lookups {
            let index = Index::create().name(name).table(table).col(column).to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "auth_account_permission",
            "auth_group_role",
            "auth_account_group",
            "auth_account_role",
            "auth_group",
            "auth_role",
            "auth_epoch",
        ] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        Ok(())
    }
}
