//! The tables of portcullis as sea-orm migrations.
//!
//! ```no_run
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! # async fn example(db: sea_orm_migration::sea_orm::DatabaseConnection)
//! # -> Result<(), sea_orm_migration::sea_orm::DbErr> {
//! Migrator::up(&db, None).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every table is named `auth_*`, and what has been applied is kept in a table of its own
//! (`auth_migration`), so it runs beside the host's own migrations in either order.
//!
//! On SQLite, run `down` and a later `up` on a pool of one connection. Another connection of the pool can
//! still hold the schema from before, and then refuses to create an index of the same name.
//!
//! Every text column compares byte by byte. PostgreSQL and SQLite do that by themselves; on MySQL
//! and MariaDB the tables are created with `utf8mb4_bin`, because their default makes `Alice`
//! equal to `alice`, and `é` to `e`.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::{DynIden, IntoIden, MigrationTrait};

mod account;
mod attempt;
mod audit_log;
mod catalogue;
mod challenge;
mod maintenance;
mod membership;
mod new_device;
mod outbox;
mod permission;
mod rate_limit;
mod session;
mod session_data;
mod table;

/// Brings the tables of portcullis up to date.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(account::Migration),
            Box::new(session::Migration),
            Box::new(permission::Migration),
            Box::new(audit_log::Migration),
            Box::new(challenge::Migration),
            Box::new(outbox::Migration),
            Box::new(membership::Migration),
            Box::new(catalogue::Migration),
            Box::new(attempt::Migration),
            Box::new(session_data::Migration),
            Box::new(rate_limit::Migration),
            Box::new(maintenance::Migration),
            Box::new(new_device::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "auth_migration".into_iden()
    }
}
