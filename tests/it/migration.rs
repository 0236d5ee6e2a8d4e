//! Running the migrations: several processes at once, a wrong record of migrations, and the SQL
//! files for services that do not use the migration crate.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::TablesError;
use portcullis::account::NewAccount;
use portcullis_migration::{Migrator, MigratorTrait, locked};
use portcullis_test_needs::needs;
use sea_orm::sea_query::{ColumnDef, ForeignKey, Table};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};
use tokio::sync::oneshot;

use crate::schema::{catalog, check};
use crate::support::Backend;
use crate::support::database::{connect_at_most, drop_fresh, fresh};

/// Runs a test on an empty database of each kind.
macro_rules! on_every_empty_database {
    ($(async fn $name:ident($backend:ident: Backend, $url:ident: String) $body:block)*) => { $(
        mod $name {
            use super::*;

            async fn body($backend: Backend, $url: String) $body

            async fn run(backend: Backend) {
                let (url, _directory) = fresh(backend).await;
                body(backend, url.clone()).await;
                drop_fresh(backend, &url).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                run(Backend::Sqlite).await;
            }

            #[needs("PORTCULLIS_TEST_POSTGRES_URL")]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                run(Backend::Postgres).await;
            }

            #[needs("PORTCULLIS_TEST_MYSQL_URL")]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mysql() {
                run(Backend::MySql).await;
            }
        }
    )* };
}

/// Each node has its own pool with one connection, like a separate process.
async fn start_together(url: &str, nodes: usize) {
    let mut starts = Vec::new();
    for _ in 0..nodes {
        let db = connect_at_most(url, 1).await;
        starts.push(tokio::spawn(async move {
            Migrator::up(&db, None).await.expect("a node starts");
            db.close().await.expect("the connection closes");
        }));
    }
    for start in starts {
        start.await.expect("no node panics");
    }
}

async fn number(db: &DatabaseConnection, query: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), query);
    let row = db.query_one_raw(statement).await.expect("it answers").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

async fn applied(db: &DatabaseConnection) -> i64 {
    number(db, "SELECT COUNT(*) FROM auth_migration").await
}

fn all() -> i64 {
    i64::try_from(Migrator::migrations().len()).expect("a small number")
}

/// The migrator of an application, with the migrations of portcullis before its own.
struct Host;

#[sea_orm_migration::async_trait::async_trait]
impl MigratorTrait for Host {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = Migrator::migrations();
        migrations.push(Box::new(OwnProfile));
        migrations
    }
}

/// A table of the application that refers to the accounts.
struct OwnProfile;

impl MigrationName for OwnProfile {
    fn name(&self) -> &str {
        "m20260101_000001_own_profile"
    }
}

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for OwnProfile {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut key = ForeignKey::create();
        key.from("own_profile", "account_id").to("auth_account", "id");
        let id = ColumnDef::new("account_id").uuid().not_null().primary_key().to_owned();
        let table = Table::create().table("own_profile").col(id).foreign_key(&mut key).to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("own_profile").to_owned()).await
    }
}

/// Creates a table of the application without asking whether it exists.
async fn create_own_table(txn: &sea_orm::DatabaseTransaction) -> Result<(), DbErr> {
    let there = Statement::from_string(txn.get_database_backend(), "SELECT COUNT(*) FROM own");
    // On PostgreSQL, a query on a missing table would abort the transaction.
    let savepoint = txn.begin().await?;
    let exists = savepoint.query_one_raw(there).await.is_ok();
    savepoint.rollback().await?;
    if !exists {
        txn.execute_unprepared("CREATE TABLE own (id BIGINT NOT NULL PRIMARY KEY)").await?;
    }
    Ok(())
}

/// The busy timeout of SQLite may be short or zero. SQLite then reports a busy file at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_file_is_waited_for() {
    let (url, _directory) = fresh(Backend::Sqlite).await;
    let first = connect_at_most(&url, 1).await;
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let writing = first.begin_with_options(options).await.expect("it begins");
    let second = connect_at_most(&url, 1).await;
    second.execute_unprepared("PRAGMA busy_timeout = 0").await.expect("it is set");
    let mut start = tokio::spawn(async move { Migrator::up(&second, None).await });
    let early = tokio::time::timeout(Duration::from_millis(500), &mut start).await;
    assert!(early.is_err(), "it waits: {early:?}");
    writing.commit().await.expect("it commits");
    start.await.expect("it does not panic").expect("they go up");
    assert_eq!(applied(&first).await, all());
    first.close().await.expect("the connection closes");
}

on_every_empty_database! {
    async fn nodes_that_start_together_on_an_empty_database_all_start(backend: Backend, url: String) {
        start_together(&url, 5).await;
        let db = connect_at_most(&url, 1).await;
        assert_eq!(applied(&db).await, all());
        check(backend, &db).await;
        start_together(&url, 2).await;
        assert_eq!(applied(&db).await, all());
        db.close().await.expect("the connection closes");
    }

    async fn nodes_that_start_together_on_an_old_database_all_start(backend: Backend, url: String) {
        let db = connect_at_most(&url, 1).await;
        for old in [1, 3] {
            Migrator::up(&db, Some(old)).await.expect("an old version has run");
            start_together(&url, 3).await;
            assert_eq!(applied(&db).await, all());
            check(backend, &db).await;
            Migrator::down(&db, None).await.expect("they go down");
        }
        db.close().await.expect("the connection closes");
    }

    async fn a_transaction_of_the_caller_is_used(backend: Backend, url: String) {
        let db = connect_at_most(&url, 1).await;
        let txn = db.begin().await.expect("it begins");
        Migrator::up(&txn, None).await.expect("they go up");
        if backend == Backend::MySql {
            // Here each change of a table is committed at once.
            txn.commit().await.expect("it commits");
        } else {
            txn.rollback().await.expect("it rolls back");
            Migrator::up(&db, None).await.expect("nothing was left");
        }
        assert_eq!(applied(&db).await, all());
        check(backend, &db).await;
        db.close().await.expect("the connection closes");
    }

    async fn a_migrator_of_the_application_runs_under_the_same_lock(_backend: Backend, url: String) {
        let mut starts = Vec::new();
        for _ in 0..5 {
            let db = connect_at_most(&url, 1).await;
            starts.push(tokio::spawn(async move {
                locked(&db, |txn| {
                    Box::pin(async move {
                        create_own_table(txn).await?;
                        Migrator::up(txn, None).await
                    })
                })
                .await
                .expect("a node starts");
                db.close().await.expect("the connection closes");
            }));
        }
        for start in starts {
            start.await.expect("no node panics");
        }
        let db = connect_at_most(&url, 1).await;
        assert_eq!(applied(&db).await, all());
        db.close().await.expect("the connection closes");
    }

    async fn the_migrations_can_be_part_of_the_list_of_the_application(backend: Backend, url: String) {
        let mut starts = Vec::new();
        for _ in 0..5 {
            let db = connect_at_most(&url, 1).await;
            starts.push(tokio::spawn(async move {
                let up = locked(&db, |txn| Box::pin(async move { Host::up(txn, None).await }));
                up.await.expect("a node starts");
                db.close().await.expect("the connection closes");
            }));
        }
        for start in starts {
            start.await.expect("no node panics");
        }
        let db = connect_at_most(&url, 2).await;
        let secret = portcullis::Secret::generate();
        let auth = portcullis::Portcullis::builder(db.clone()).secret(secret).build().expect("it is built");
        auth.check_tables().await.expect("all is there");
        // The record of the application has all of them, and there is no other.
        assert_eq!(number(&db, "SELECT COUNT(*) FROM seaql_migrations").await, all() + 1);
        assert!(db.execute_unprepared("SELECT * FROM auth_migration").await.is_err());
        // The table of the application refers to the accounts.
        let account = NewAccount::username("alice");
        let alice = auth.accounts().create(account).await.expect("it is made").id().as_uuid();
        let insert = |id: uuid::Uuid| {
            let id = match backend {
                Backend::Postgres => format!("'{id}'"),
                Backend::Sqlite | Backend::MySql => format!("X'{}'", id.simple()),
            };
            format!("INSERT INTO own_profile (account_id) VALUES ({id})")
        };
        db.execute_unprepared(&insert(alice)).await.expect("alice has an account");
        let nobody = db.execute_unprepared(&insert(uuid::Uuid::nil())).await;
        nobody.expect_err("nobody has no account");
        locked(&db, |txn| Box::pin(async move { Host::down(txn, None).await })).await.expect("they go down");
        assert_eq!(number(&db, "SELECT COUNT(*) FROM seaql_migrations").await, 0);
        let Err(TablesError::Missing(missing)) = auth.check_tables().await else { panic!("all is gone") };
        assert_eq!(missing.len(), portcullis::schema::tables().len());
        assert!(db.execute_unprepared("SELECT * FROM own_profile").await.is_err());
        db.close().await.expect("the connection closes");
    }

    async fn work_that_fails_frees_the_lock(backend: Backend, url: String) {
        let first = connect_at_most(&url, 1).await;
        let failed: Result<(), _> = locked(&first, |txn| {
            Box::pin(async move {
                create_own_table(txn).await?;
                Err(DbErr::Custom("the third statement fails".to_owned()))
            })
        })
        .await;
        assert_eq!(failed, Err(DbErr::Custom("the third statement fails".to_owned())));
        // Its connection stays open, as in a pool.
        let second = connect_at_most(&url, 1).await;
        Migrator::up(&second, None).await.expect("the lock is free");
        let own = second.execute_unprepared("SELECT COUNT(*) FROM own").await;
        assert_eq!(own.is_ok(), backend == Backend::MySql, "the others undo all of it");
        first.close().await.expect("the connection closes");
        second.close().await.expect("the connection closes");
    }

    async fn work_that_panics_frees_the_lock(_backend: Backend, url: String) {
        let first = connect_at_most(&url, 1).await;
        let (started, has_started) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let working = {
            let first = first.clone();
            tokio::spawn(async move {
                let failed: Result<(), _> = locked(&first, |_| {
                    Box::pin(async {
                        started.send(()).expect("the test waits");
                        may_go_on.await.expect("the test goes on");
                        panic!("a fault of the application")
                    })
                })
                .await;
                failed
            })
        };
        has_started.await.expect("the work starts");
        // Another process has to wait until then.
        let second = connect_at_most(&url, 1).await;
        let mut other = tokio::spawn(async move {
            Migrator::up(&second, None).await.expect("they go up");
            second
        });
        let early = tokio::time::timeout(Duration::from_millis(300), &mut other).await;
        assert!(early.is_err(), "the lock is held");
        go_on.send(()).expect("the work waits");
        let text = working.await.expect("no panic").expect_err("it failed").to_string();
        assert!(text.contains("a fault of the application"), "{text}");
        // Its connection stays open, as in a pool.
        let second = tokio::time::timeout(Duration::from_secs(60), other);
        let second = second.await.expect("the lock is free").expect("the other process starts");
        assert_eq!(number(&first, "SELECT COUNT(*) FROM auth_migration").await, all());
        first.close().await.expect("the connection closes");
        second.close().await.expect("the connection closes");
    }

    async fn work_finishes_although_its_caller_stops_waiting(_backend: Backend, url: String) {
        let first = connect_at_most(&url, 1).await;
        let (started, has_started) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let call = locked(&first, move |txn| {
            Box::pin(async move {
                started.send(()).expect("the test waits");
                may_go_on.await.expect("the test goes on");
                create_own_table(txn).await?;
                let _ = done.send(());
                Ok(())
            })
        });
        let call = tokio::time::timeout(Duration::from_millis(300), call);
        let (stopped, has_started) = tokio::join!(call, has_started);
        assert!(stopped.is_err() && has_started.is_ok(), "the caller stops waiting");

        // Another process has to wait until the work is done.
        let second = connect_at_most(&url, 1).await;
        let mut other = tokio::spawn(async move {
            Migrator::up(&second, None).await.expect("the lock becomes free");
            second
        });
        let early = tokio::time::timeout(Duration::from_millis(300), &mut other).await;
        assert!(early.is_err(), "the lock is held");
        go_on.send(()).expect("the work waits");
        is_done.await.expect("the work finishes");
        let second = other.await.expect("the other process starts");
        assert_eq!(number(&second, "SELECT COUNT(*) FROM own").await, 0);
        assert_eq!(applied(&second).await, all());
        first.close().await.expect("the connection closes");
        second.close().await.expect("the connection closes");
    }

    async fn a_database_of_a_newer_version_is_refused_by_name(_backend: Backend, url: String) {
        let db = connect_at_most(&url, 1).await;
        Migrator::up(&db, None).await.expect("they go up");
        db.execute_unprepared("INSERT INTO auth_migration VALUES ('m9999_later', 0)").await.expect("a row");
        for refused in [Migrator::up(&db, None).await, Migrator::down(&db, None).await] {
            let text = refused.expect_err("it is refused").to_string();
            assert!(text.contains("m9999_later") && text.contains("newer"), "{text}");
        }
        assert_eq!(applied(&db).await, all() + 1, "nothing was changed");
        db.execute_unprepared("DELETE FROM auth_migration WHERE version = 'm9999_later'").await.expect("gone");
        Migrator::up(&db, None).await.expect("it fits again");
        db.close().await.expect("the connection closes");
    }

    async fn a_record_with_a_gap_is_refused_by_name(_backend: Backend, url: String) {
        let db = connect_at_most(&url, 1).await;
        Migrator::up(&db, None).await.expect("they go up");
        db.execute_unprepared("DELETE FROM auth_migration WHERE version = 'm0003_permission'").await.expect("gone");
        let refused = Migrator::up(&db, None).await.expect_err("it is refused").to_string();
        assert!(refused.contains("m0003_permission") && refused.contains("edited"), "{refused}");
        assert_eq!(applied(&db).await, all() - 1);
        db.execute_unprepared("INSERT INTO auth_migration VALUES ('m0003_permission', 0)").await.expect("a row");
        Migrator::up(&db, None).await.expect("it fits again");
        db.close().await.expect("the connection closes");
    }

    async fn starting_afresh_keeps_the_tables_of_the_application(backend: Backend, url: String) {
        let db = connect_at_most(&url, 1).await;
        db.execute_unprepared("CREATE TABLE own (id BIGINT NOT NULL PRIMARY KEY)").await.expect("a table");
        Migrator::up(&db, None).await.expect("they go up");
        db.execute_unprepared("INSERT INTO own VALUES (7)").await.expect("a row");
        db.execute_unprepared("UPDATE auth_epoch SET epoch = 5").await.expect("a change");
        for again in ["fresh", "refresh"] {
            match again {
                "fresh" => Migrator::fresh(&db).await.expect(again),
                _ => Migrator::refresh(&db).await.expect(again),
            }
            check(backend, &db).await;
            assert_eq!(number(&db, "SELECT id FROM own").await, 7);
            assert_eq!(number(&db, "SELECT epoch FROM auth_epoch").await, 0);
        }
        Migrator::reset(&db).await.expect("all is gone");
        assert!(db.execute_unprepared("SELECT * FROM auth_migration").await.is_err());
        assert_eq!(number(&db, "SELECT id FROM own").await, 7);
        db.close().await.expect("the connection closes");
    }

    async fn a_service_can_check_its_tables_when_it_starts(backend: Backend, url: String) {
        let db = connect_at_most(&url, 2).await;
        let secret = portcullis::Secret::generate();
        let auth = portcullis::Portcullis::builder(db.clone()).secret(secret).build().expect("it is built");
        let Err(TablesError::Missing(missing)) = auth.check_tables().await else { panic!("all is missing") };
        assert_eq!(missing.len(), portcullis::schema::tables().len());
        Migrator::up(&db, Some(2)).await.expect("two go up");
        let text = auth.check_tables().await.expect_err("some are missing").to_string();
        assert!(text.contains("auth_role,") && !text.contains("auth_session,"), "{text}");
        Migrator::up(&db, None).await.expect("they go up");
        auth.check_tables().await.expect("all is there");

        // Columns of a newer version are accepted.
        db.execute_unprepared("ALTER TABLE auth_session ADD COLUMN later BIGINT").await.expect("a column");
        auth.check_tables().await.expect("all is there");
        db.execute_unprepared("ALTER TABLE auth_session DROP COLUMN user_agent").await.expect("no column");
        let drop = match backend {
            Backend::MySql => "DROP TABLE auth_rate, auth_marker",
            _ => "DROP TABLE auth_rate; DROP TABLE auth_marker",
        };
        db.execute_unprepared(drop).await.expect("no tables");
        let Err(TablesError::Missing(missing)) = auth.check_tables().await else { panic!("three are missing") };
        assert_eq!(missing, ["auth_marker", "auth_session.user_agent", "auth_rate"]);
        db.close().await.expect("the connection closes");
        let outage = auth.check_tables().await;
        assert!(matches!(outage, Err(TablesError::Fault(_))), "{outage:?}");
    }

    async fn the_sql_files_do_the_same_as_the_migrations(backend: Backend, url: String) {
        let written = record(backend, &url).await;
        let db = connect_at_most(&url, 1).await;
        let first = catalog(backend, &db).await;
        Migrator::reset(&db).await.expect("all is gone");
        db.close().await.expect("the connection closes");

        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("migration/sql").join(name(backend));
        if std::env::var_os("PORTCULLIS_TEST_UPDATE").is_some() {
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            for (file, text) in &written {
                std::fs::write(folder.join(file), text).expect("a file");
            }
        }
        let mut files: Vec<String> = std::fs::read_dir(&folder)
            .expect("the folder")
            .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
            .collect();
        files.sort();
        assert_eq!(files, written.iter().map(|(file, _)| file.clone()).collect::<Vec<_>>());
        let db = connect_at_most(&url, 1).await;
        for (file, text) in &written {
            let there = std::fs::read_to_string(folder.join(file)).expect("a file");
            assert_eq!(&there, text, "{file}: run this test with PORTCULLIS_TEST_UPDATE=1");
            db.execute_unprepared(&there).await.expect(file);
        }
        check(backend, &db).await;
        assert_eq!(catalog(backend, &db).await, first);
        // The files also record their migrations. So a service may use the crate later.
        assert_eq!(applied(&db).await, all());
        Migrator::up(&db, None).await.expect("nothing is left to do");
        assert_eq!(number(&db, "SELECT COUNT(*) FROM auth_epoch").await, 1);
        db.close().await.expect("the connection closes");
    }
}

#[test]
fn the_host_on_sqlx_has_copies_of_the_sql_files() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let copies = root.join("examples/sqlx-host/migrations");
    let mut seen = 0;
    for file in std::fs::read_dir(root.join("migration/sql/postgres")).expect("the folder") {
        let file = file.expect("a file").path();
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        let (number, rest) = name.split_once('_').expect("a number and a name");
        let copy = copies.join(format!("2026010100{number}_auth_{rest}.sql"));
        let text = std::fs::read_to_string(&file).expect("a file");
        if std::env::var_os("PORTCULLIS_TEST_UPDATE").is_some() {
            std::fs::write(&copy, &text).expect("a file");
        }
        let copied = std::fs::read_to_string(&copy).unwrap_or_default();
        assert_eq!(copied, text, "{}: run this test with PORTCULLIS_TEST_UPDATE=1", copy.display());
        seen += 1;
    }
    let all = std::fs::read_dir(copies).expect("the folder");
    let auth = all.filter(|file| {
        let name = file.as_ref().expect("a file").file_name();
        name.to_string_lossy().contains("_auth_")
    });
    assert_eq!(auth.count(), seen);
}

/// The folders with the data of each release, in the order of their versions.
fn releases() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let version = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a version").to_owned();
        name.split('.').map(|part| part.parse::<u32>().expect("a number")).collect::<Vec<_>>()
    };
    let folder = std::fs::read_dir(root.join("tests/data")).expect("the folder");
    let mut releases: Vec<_> = folder.map(|release| release.expect("a folder").path()).collect();
    releases.sort_by_key(version);
    releases
}

/// Returns the digests and the files of a list in the format of sha256sum.
fn listed(list: &std::path::Path) -> Vec<(String, String)> {
    let text =
        std::fs::read_to_string(list).unwrap_or_else(|_| panic!("{} is gone", list.display()));
    let line = |line: &str| {
        let (digest, file) = line.split_once("  ").expect("a digest and a file");
        (digest.to_owned(), file.to_owned())
    };
    text.lines().map(line).collect()
}

/// Returns the names of the files in a folder, sorted.
fn files_in(folder: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("the folder");
    let mut names: Vec<String> = files
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

/// A database that was created by a release has run these files, so a change in one of them would reach
/// no such database. The filled databases are as the release has left them.
#[test]
fn the_migrations_and_the_data_of_a_release_are_never_edited() {
    use sha2::{Digest, Sha256};

    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for release in releases() {
        for (list, from) in [("migrations.sha256", &root), ("data.sha256", &release)] {
            for (digest, file) in listed(&release.join(list)) {
                let text =
                    std::fs::read(from.join(&file)).unwrap_or_else(|_| panic!("{file} is gone"));
                let found = data_encoding::HEXLOWER.encode(&Sha256::digest(text));
                assert_eq!(found, digest, "{file} is in {list} of {}", release.display());
                seen += 1;
            }
        }
        let files = files_in(&release);
        let lists = ["data.sha256", "migrations.sha256"].map(str::to_owned);
        let data = listed(&release.join("data.sha256")).into_iter().map(|(_, file)| file);
        let mut expected: Vec<_> = data.chain(lists).collect();
        expected.sort();
        assert_eq!(files, expected, "{}", release.display());
    }
    assert!(seen >= 39 + 6, "{seen}");
}

/// Returns the files of this database that the newest release has.
fn released(backend: Backend) -> Vec<String> {
    let newest = releases().pop().expect("a release");
    let folder = format!("migration/sql/{}/", name(backend));
    let list = listed(&newest.join("migrations.sha256")).into_iter();
    list.filter_map(|(_, file)| file.strip_prefix(&folder).map(str::to_owned)).collect()
}

/// A file that sorts between those of a release would run on no database of that release.
#[test]
fn the_files_of_a_release_come_first_and_new_ones_after_them() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for backend in [Backend::Sqlite, Backend::Postgres, Backend::MySql] {
        let released = released(backend);
        let files = files_in(&root.join("migration/sql").join(name(backend)));
        assert!(released.len() >= 13, "{}: {}", name(backend), released.len());
        assert_eq!(files[..released.len()], released, "{}", name(backend));
    }
}

/// Nodes of the release before still run while the first new node migrates. They know nothing of a new
/// column, so it must have a default or be nullable, and nothing that they use may go.
#[test]
fn a_new_migration_only_adds_what_older_nodes_need_not_know() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for backend in [Backend::Sqlite, Backend::Postgres, Backend::MySql] {
        let released = released(backend);
        let folder = root.join("migration/sql").join(name(backend));
        for file in files_in(&folder).into_iter().filter(|file| !released.contains(file)) {
            let text = std::fs::read_to_string(folder.join(&file)).expect("a file");
            let lines = text.lines().filter(|line| !line.starts_with("--"));
            let text = lines.collect::<Vec<_>>().join(" ");
            for statement in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
                assert!(only_adds(statement), "{file}: {statement}");
                seen += 1;
            }
        }
    }
    // The first migrations after 0.1.0, on three databases.
    assert!(seen >= 6, "{seen}");
}

/// Returns true if nodes of the release before keep working after this statement.
fn only_adds(statement: &str) -> bool {
    let words: Vec<String> = statement.split_whitespace().map(str::to_uppercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let has = |part: &[&str]| words.windows(part.len()).any(|words| words == part);
    match words.as_slice() {
        ["CREATE", "TABLE", ..] | ["CREATE", "INDEX", ..] | ["CREATE", "UNIQUE", "INDEX", ..] => {
            true
        }
        ["ALTER", "TABLE", _, "ADD", ..] => {
            let drops = ["DROP", "RENAME", "MODIFY", "CHANGE", "ALTER"];
            let more = words[4..].iter().any(|word| drops.contains(word));
            !more && (!has(&["NOT", "NULL"]) || has(&["DEFAULT"]))
        }
        // Its line in the record.
        ["INSERT", "INTO", "AUTH_MIGRATION", ..] => true,
        _ => false,
    }
}

#[test]
fn a_statement_that_older_nodes_notice_is_found() {
    for good in [
        "CREATE TABLE \"a\" (\"id\" bigint NOT NULL)",
        "CREATE INDEX \"b\" ON \"a\" (\"id\")",
        "CREATE UNIQUE INDEX \"b\" ON \"a\" (\"id\")",
        "ALTER TABLE \"a\" ADD COLUMN \"c\" bigint NULL",
        "ALTER TABLE `a` ADD COLUMN `c` bigint NOT NULL DEFAULT 0",
        "INSERT INTO auth_migration (version, applied_at) VALUES ('m', 0)",
    ] {
        assert!(only_adds(good), "{good}");
    }
    for bad in [
        "DROP TABLE \"a\"",
        "DROP INDEX \"b\"",
        "UPDATE \"a\" SET \"id\" = 1",
        "INSERT INTO \"a\" VALUES (1)",
        "ALTER TABLE \"a\" ADD COLUMN \"c\" bigint NOT NULL",
        "ALTER TABLE \"a\" ADD COLUMN \"c\" bigint NULL, DROP COLUMN \"id\"",
        "ALTER TABLE \"a\" DROP COLUMN \"id\"",
        "ALTER TABLE \"a\" RENAME COLUMN \"id\" TO \"c\"",
        "ALTER TABLE `a` MODIFY COLUMN `id` bigint NULL",
    ] {
        assert!(!only_adds(bad), "{bad}");
    }
}

pub(crate) fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
        Backend::MySql => "mysql",
    }
}

/// Runs the migrations one by one, and returns a file for each with its statements.
async fn record(backend: Backend, url: &str) -> Vec<(String, String)> {
    let mut db = connect_at_most(url, 1).await;
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = heard.clone();
    db.set_metric_callback(move |info| {
        hears.lock().expect("nothing panics while it is held").push(info.statement.to_string());
    });
    let mut files = Vec::new();
    for migration in Migrator::migrations() {
        Migrator::up(&db, Some(1)).await.expect("it goes up");
        let heard = std::mem::take(&mut *heard.lock().expect("nothing panics while it is held"));
        let name = migration.name();
        let mut text = format!(
            "-- {name}: the statements of portcullis_migration. Do not edit this file.\n\
             -- A test compares both.\n\n"
        );
        for statement in heard {
            let record = statement.contains("auth_migration");
            let changes = ["CREATE ", "ALTER ", "INSERT ", "UPDATE ", "DROP "];
            if !changes.iter().any(|verb| statement.starts_with(verb))
                || record && !files.is_empty()
            {
                continue;
            }
            if record && (statement.starts_with("INSERT") || text.contains("auth_migration")) {
                continue;
            }
            text.push_str(&lay_out(&statement));
            text.push_str(";\n\n");
        }
        let now = match backend {
            Backend::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)",
            Backend::Postgres => "CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)",
            Backend::MySql => "UNIX_TIMESTAMP()",
        };
        text.push_str(&format!(
            "INSERT INTO auth_migration (version, applied_at) VALUES ('{name}', {now});\n"
        ));
        files.push((format!("{}.sql", name.trim_start_matches('m')), text));
    }
    db.close().await.expect("the connection closes");
    files
}

/// Puts each column of a new table on a separate line.
fn lay_out(statement: &str) -> String {
    let Some(rest) = statement.strip_prefix("CREATE TABLE ") else { return statement.to_owned() };
    let mut text = "CREATE TABLE ".to_owned();
    let mut depth = 0;
    let mut fresh = false;
    for c in rest.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if std::mem::take(&mut fresh) && c == ' ' {
            continue;
        }
        match c {
            '(' if depth == 1 => text.push_str("(\n   "),
            ')' if depth == 0 => text = format!("{}\n)", text.trim_end()),
            ',' if depth == 1 => {
                text.push_str(",\n    ");
                fresh = true;
            }
            _ => text.push(c),
        }
    }
    text
}
