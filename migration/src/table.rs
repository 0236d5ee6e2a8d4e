//! Declarations of tables and columns that all migrations share.

use sea_orm_migration::prelude::{ColumnDef, SchemaManager, Table, TableCreateStatement};
use sea_orm_migration::sea_orm::DbBackend;

/// Returns a new table whose text columns compare byte by byte on every database.
pub(crate) fn table(manager: &SchemaManager<'_>, name: &'static str) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    if manager.get_database_backend() == DbBackend::MySql {
        table.character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}

/// Returns a column that always has a value.
pub(crate) fn required(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.not_null();
    column
}

/// Returns a column that may be empty.
pub(crate) fn optional(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.null();
    column
}
