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
//! (`auth_migration`). So you can run them before or after the migrations of your application.
//!
//! Processes that start together may all call `up`: [`locked`] makes them run one after the other.
//!
//! The same tables are in the folder `sql` of this crate, as files for each database. They are for
//! services that do not use sea-orm's migrations.
//!
//! Every text column compares byte by byte. PostgreSQL and SQLite do so by default. On MySQL and
//! MariaDB the tables are created with `utf8mb4_bin`, because their default treats `Alice` as equal
//! to `alice`, and `é` as equal to `e`.

pub use lock::locked;
use sea_orm::{DatabaseTransaction, DbErr};
use sea_orm_migration::IntoSchemaManagerConnection;
pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::{DynIden, IntoIden, MigrationTrait};

mod account;
mod account_recovery;
mod api_key;
mod attempt;
mod audit_log;
mod captcha;
mod catalogue;
mod challenge;
mod device_login;
mod dpop;
mod federation;
mod lock;
mod maintenance;
mod membership;
mod new_device;
mod outbox;
mod passkey;
mod permission;
mod rate_limit;
mod second_factor;
mod session;
mod session_data;
mod table;
mod trusted_device;

/// Creates and updates the tables of portcullis. See the [crate page](crate).
#[derive(Debug)]
pub struct Migrator;

/// The list of migrations, for the methods of sea-orm.
struct List;

impl MigratorTrait for List {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        // In the order of their names. Never change a released migration. Add a new one at the end.
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
            Box::new(second_factor::Migration),
            Box::new(captcha::Migration),
            Box::new(trusted_device::Migration),
            Box::new(account_recovery::Migration),
            Box::new(api_key::Migration),
            Box::new(device_login::Migration),
            Box::new(dpop::Migration),
            Box::new(passkey::Migration),
            Box::new(federation::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        "auth_migration".into_iden()
    }
}

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        List::migrations()
    }

    fn migration_table_name() -> DynIden {
        List::migration_table_name()
    }

    /// Applies the next `steps` migrations, or all. Processes that start together wait for each
    /// other.
    async fn up<'c, C>(db: C, steps: Option<u32>) -> Result<(), DbErr>
    where
        C: IntoSchemaManagerConnection<'c>,
    {
        locked(db, move |txn| {
            Box::pin(async move {
                check_record(txn).await?;
                List::up(txn, steps).await
            })
        })
        .await
    }

    /// Undoes the last `steps` migrations, or all. This deletes the data in their tables.
    async fn down<'c, C>(db: C, steps: Option<u32>) -> Result<(), DbErr>
    where
        C: IntoSchemaManagerConnection<'c>,
    {
        locked(db, move |txn| {
            Box::pin(async move {
                check_record(txn).await?;
                List::down(txn, steps).await
            })
        })
        .await
    }

    /// Undoes all migrations and applies them again. This deletes all data of portcullis.
    async fn refresh<'c, C>(db: C) -> Result<(), DbErr>
    where
        C: IntoSchemaManagerConnection<'c>,
    {
        locked(db, |txn| {
            Box::pin(async move {
                check_record(txn).await?;
                List::refresh(txn).await
            })
        })
        .await
    }

    /// Does the same as [`refresh`](MigratorTrait::refresh). The `fresh` of sea-orm would delete
    /// all tables of the database, also those of your application.
    async fn fresh<'c, C>(db: C) -> Result<(), DbErr>
    where
        C: IntoSchemaManagerConnection<'c>,
    {
        Self::refresh(db).await
    }

    /// Undoes all migrations, and removes the table that records them.
    async fn reset<'c, C>(db: C) -> Result<(), DbErr>
    where
        C: IntoSchemaManagerConnection<'c>,
    {
        locked(db, |txn| {
            Box::pin(async move {
                check_record(txn).await?;
                List::reset(txn).await
            })
        })
        .await
    }
}

/// Checks that the recorded migrations are the first ones of the list.
async fn check_record(txn: &DatabaseTransaction) -> Result<(), DbErr> {
    let mut recorded: Vec<String> =
        List::get_migration_models(txn).await?.into_iter().map(|row| row.version).collect();
    let known: Vec<String> =
        List::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    recorded.sort();
    match record_fault(&recorded, &known) {
        Some(fault) => Err(DbErr::Custom(fault)),
        None => Ok(()),
    }
}

/// Returns what is wrong with the record of migrations. Both lists must be in ascending order.
fn record_fault(recorded: &[String], known: &[String]) -> Option<String> {
    let unknown: Vec<&str> =
        recorded.iter().filter(|name| !known.contains(name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Some(format!(
            "the database has migrations that this version of portcullis does not know ({}): it \
             was migrated by a newer version, or the table auth_migration was edited; start the \
             newer version, or restore a backup from before",
            unknown.join(", ")
        ));
    }
    let missing = known
        .iter()
        .take(recorded.len())
        .find(|name| !recorded.contains(name))
        .map(String::as_str)?;
    let last = recorded.last().map_or("", String::as_str);
    Some(format!(
        "the table auth_migration has {last} but not {missing}: it was edited, or an SQL file was \
         left out; apply {missing} by hand and record it"
    ))
}

/// The code of the README is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::{List, MigratorTrait, record_fault};

    #[test]
    fn names_are_in_the_order_in_which_the_migrations_run() {
        let names: Vec<String> =
            List::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(name.starts_with(&format!("m{:04}_", at + 1)), "{name}");
        }
    }

    #[test]
    fn a_record_that_does_not_fit_is_refused_by_name() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let known = list(&["m1", "m2", "m3"]);
        for fits in [&[][..], &["m1"], &["m1", "m2"], &["m1", "m2", "m3"]] {
            assert_eq!(record_fault(&list(fits), &known), None, "{fits:?}");
        }
        for (recorded, text) in [
            (&["m2"][..], "has m2 but not m1"),
            (&["m1", "m3"], "has m3 but not m2"),
            (&["m2", "m3"], "has m3 but not m1"),
            (&["m1", "m2", "m3", "m4"], "does not know (m4)"),
            (&["host", "m4"], "does not know (host, m4)"),
        ] {
            let fault = record_fault(&list(recorded), &known).unwrap_or_default();
            assert!(fault.contains(text), "{recorded:?}: {fault}");
        }
    }
}
