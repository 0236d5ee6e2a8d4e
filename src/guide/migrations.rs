//! The tables: how to create them, on several nodes too, and how to upgrade.
//!
//! All tables are named `auth_*`. `auth_migration` records which migrations were applied.
//!
//! # With the migration crate
//!
//! ```no_run
//! # async fn example(db: sea_orm::DatabaseConnection, auth: portcullis::Portcullis)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis_migration::{Migrator, MigratorTrait};
//!
//! Migrator::up(&db, None).await?;
//! auth.check_tables().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Call it at every start, or as a separate step of your deployment. Processes that start together
//! wait for each other, even on an empty database. One of them migrates, and the others find
//! nothing to do. If the lock is not free after five minutes, the call fails.
//!
//! | database | the lock | a migration that fails |
//! |---|---|---|
//! | PostgreSQL | an advisory lock in the transaction of all migrations | everything is undone |
//! | SQLite | the write lock of the file | everything is undone |
//! | MySQL, MariaDB | `GET_LOCK` on the migrating connection | what was created stays, because they commit after each `CREATE`; the record tells which migrations are complete |
//!
//! # Together with your own migrations
//!
//! Both can run in any order, because each has its own record. If your tables refer to
//! `auth_account`, run yours second. sea-orm's migrator has no lock. Run yours under the lock of
//! portcullis:
//!
//! ```no_run
//! # use sea_orm_migration::MigrationTrait;
//! # struct YourMigrator;
//! # impl portcullis_migration::MigratorTrait for YourMigrator {
//! #     fn migrations() -> Vec<Box<dyn MigrationTrait>> {
//! #         Vec::new()
//! #     }
//! # }
//! # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
//! use portcullis_migration::{Migrator, MigratorTrait, locked};
//!
//! locked(&db, |txn| {
//!     Box::pin(async move {
//!         Migrator::up(txn, None).await?;
//!         YourMigrator::up(txn, None).await
//!     })
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`locked`] takes a function. The function gets the connection that holds the lock, and must use
//! no other connection.
//!
//! You can also put `Migrator::migrations()` into the list of your own migrator, before yours. Then
//! your own table records them, and you must not call the `Migrator` of portcullis.
//!
//! [`locked`]: https://docs.rs/portcullis-migration/latest/portcullis_migration/fn.locked.html
//!
//! # As SQL files
//!
//! `migration/sql` has a folder for each database, with one file for each migration. A test compares them with
//! the migrations. Use them if your service does not use sea-orm's migrations. The page [`sqlx`](super::sqlx)
//! shows how. Each file also writes its line into `auth_migration`, so you can change to the crate later.
//!
//! Apply all files, in the order of their names, and do not change them. If you forget one,
//! [`check_tables`](crate::Portcullis::check_tables) names what is missing when your service
//! starts.
//!
//! # New versions
//!
//! A released migration is never changed. A new version adds migrations, and its CHANGELOG says so. A test upgrades
//! a filled database of each released version.
//!
//! - **Upgrade:** start the new version. The first node migrates while the old nodes still run.
//!   Within a compatible version (semantic versioning), migrations only add tables, columns and
//!   indexes. So old nodes keep working.
//! - **Downgrade:** an older version does not know what newer migrations changed. So its
//!   `Migrator::up` fails and names them. If you may have to go back to an older version, run the
//!   migrations as a separate step of the deployment. At the start, only call
//!   [`check_tables`](crate::Portcullis::check_tables), which accepts unknown tables and columns.
//! - **A changed record:** if the record has a gap, `Migrator::up` names the missing migration and
//!   changes nothing.
//!
//! If you change rows of `auth_account` or `auth_session` with your own SQL, also write another
//! number into the `version` of each row. A node may cache data of a row until its version changes.
