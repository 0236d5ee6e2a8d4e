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
//! Every table is named `auth_*`. The applied migrations are recorded in a separate table
//! (`auth_migration`). So this runs beside the migrations of your application, in either order.
//!
//! Every text column compares byte by byte. PostgreSQL and SQLite do so by default. On MySQL and
//! MariaDB the tables are created with `utf8mb4_bin`, because their default treats `Alice` as equal
//! to `alice`, and `é` as equal to `e`.

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

/// Creates and updates the tables of portcullis.
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
