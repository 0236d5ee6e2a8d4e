//! A separate database for each test.
//!
//! For SQLite this is a copy of a file that was migrated once. For PostgreSQL and MariaDB there is
//! a small pool of databases. Each is migrated once per run, and emptied before it is used again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use portcullis::test_kit::StatementCounter;
use portcullis_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::needed;

/// The databases that portcullis supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    Sqlite,
    Postgres,
    MySql,
}

impl Backend {
    fn variable(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "PORTCULLIS_TEST_POSTGRES_URL",
            Self::MySql => "PORTCULLIS_TEST_MYSQL_URL",
        }
    }

    /// Returns the server's URL without a database. It is empty for SQLite.
    fn server(self) -> String {
        if self == Self::Sqlite {
            return String::new();
        }
        let url = needed(self.variable());
        // The test chooses everything after the host itself.
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        match url[after_scheme..].find('/') {
            Some(slash) => url[..after_scheme + slash].to_owned(),
            None => url,
        }
    }
}

/// Limits how many databases are used at once. Each has one or two pools of connections, and a
/// server with its default configuration accepts only 100, on any number of cores.
static PLACES: Semaphore = Semaphore::const_new(6);

/// A migrated, empty database, which no other test uses until this is dropped.
pub struct Database {
    _place: SemaphorePermit<'static>,
    pub backend: Backend,
    pub url: String,
    /// The statements so far on connections that were opened here.
    pub statements: StatementCounter,
    pooled: Option<String>,
    _directory: Option<tempfile::TempDir>,
}

impl Database {
    pub async fn new(backend: Backend) -> Self {
        let server = backend.server();
        let place = PLACES.acquire().await.expect("the places are never closed");
        let (url, pooled, directory) = match backend {
            Backend::Sqlite => {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let path = directory.path().join("test.sqlite");
                std::fs::copy(sqlite_template().await, &path).expect("the template is copied");
                (format!("sqlite://{}?mode=rwc", path.display()), None, Some(directory))
            }
            Backend::Postgres | Backend::MySql => {
                let name = take(backend, &server).await;
                (format!("{server}/{name}"), Some(name), None)
            }
        };
        let statements = StatementCounter::default();
        Self { _place: place, backend, url, statements, pooled, _directory: directory }
    }

    /// Opens a connection pool that counts its statements.
    pub async fn connect(&self) -> DatabaseConnection {
        let mut db = connect(&self.url).await;
        self.statements.count_also(&mut db);
        db
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(name) = self.pooled.take() {
            free(self.backend).lock().expect("nothing panics while it is held").push(name);
        }
    }
}

pub async fn connect(url: &str) -> DatabaseConnection {
    connect_at_most(url, 12).await
}

/// With at most so many connections.
pub async fn connect_at_most(url: &str, connections: u32) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(20))
        .test_before_acquire(false)
        .sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|options| {
        options
            .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
            .synchronous(sea_orm::sqlx::sqlite::SqliteSynchronous::Off)
    });
    sea_orm::Database::connect(options).await.expect("the database answers")
}

/// A change of an account or a session that a request can notice must replace its version. On
/// SQLite these triggers refuse any other change, so all tests check all statements. No request
/// reads the columns that are left out.
const VERSIONS_MOVE: [&str; 2] = [
    "CREATE TRIGGER account_version AFTER UPDATE OF username, email, phone, must_change_password, \
     superuser, epoch, enrolled_factors, verified_at, registered_lineage_id, disabled_at, \
     deleted_at, rate_limit ON auth_account WHEN NEW.version = OLD.version \
     BEGIN SELECT RAISE(ABORT, 'the version of an account did not move'); END",
    "CREATE TRIGGER session_version AFTER UPDATE ON auth_session WHEN NEW.version = OLD.version \
     BEGIN SELECT RAISE(ABORT, 'the version of a session did not move'); END",
];

async fn sqlite_template() -> PathBuf {
    static TEMPLATE: OnceCell<(tempfile::TempDir, PathBuf)> = OnceCell::const_new();
    let (_, path) = TEMPLATE
        .get_or_init(|| async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("template.sqlite");
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let mut options = ConnectOptions::new(url);
            options.max_connections(1).sqlx_logging(false);
            let db = sea_orm::Database::connect(options).await.expect("a file is opened");
            Migrator::up(&db, None).await.expect("the migrations run");
            for trigger in VERSIONS_MOVE {
                db.execute_unprepared(trigger).await.expect("a trigger is created");
            }
            db.close().await.expect("the file is closed");
            (directory, path)
        })
        .await;
    path.clone()
}

fn free(backend: Backend) -> &'static Mutex<Vec<String>> {
    static POSTGRES: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    static MYSQL: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    match backend {
        Backend::Postgres => POSTGRES.get_or_init(Mutex::default),
        _ => MYSQL.get_or_init(Mutex::default),
    }
}

async fn take(backend: Backend, server: &str) -> String {
    let known = free(backend).lock().expect("nothing panics while it is held").pop();
    match known {
        Some(name) => {
            let db = connect(&format!("{server}/{name}")).await;
            empty(&db).await;
            db.close().await.expect("the connection closes");
            name
        }
        None => create(backend, server).await,
    }
}

async fn create(backend: Backend, server: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    static SWEPT: Mutex<Option<HashSet<Backend>>> = Mutex::new(None);
    let admin = match backend {
        Backend::Postgres => connect(&format!("{server}/postgres")).await,
        _ => connect(&format!("{server}/mysql")).await,
    };
    let first = SWEPT
        .lock()
        .expect("nothing panics while it is held")
        .get_or_insert_default()
        .insert(backend);
    if first {
        sweep(backend, &admin).await;
    }
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("portcullis_it_{}_{number}", std::process::id());
    admin
        .execute_unprepared(&format!("CREATE DATABASE {name}"))
        .await
        .expect("a database is created");
    if backend == Backend::Postgres {
        // Nothing here has to survive a crash of the server.
        let quick = format!("ALTER DATABASE {name} SET synchronous_commit = off");
        admin.execute_unprepared(&quick).await.expect("a setting is made");
    }
    admin.close().await.expect("the connection closes");
    let db = connect(&format!("{server}/{name}")).await;
    Migrator::up(&db, None).await.expect("the migrations run");
    db.close().await.expect("the connection closes");
    name
}

/// Drops what earlier runs left.
async fn sweep(backend: Backend, admin: &DatabaseConnection) {
    let query = match backend {
        Backend::Postgres => {
            "SELECT datname::text FROM pg_database WHERE datname LIKE 'portcullis_it_%'"
        }
        _ => {
            "SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata WHERE schema_name LIKE 'portcullis_it_%'"
        }
    };
    let rows = admin
        .query_all_raw(sea_orm::Statement::from_string(admin.get_database_backend(), query))
        .await
        .expect("the server lists its databases");
    for row in rows {
        let name: String = row.try_get_by_index(0).expect("a name");
        let pid = name.trim_start_matches("portcullis_it_").split('_').next().unwrap_or_default();
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            let _ = admin.execute_unprepared(&format!("DROP DATABASE {name}")).await;
        }
    }
}

/// Every table. Tables with references come before the tables to which they refer.
pub const TABLES: [&str; 43] = [
    "auth_account_recovery",
    "auth_captcha",
    "auth_captcha_failures",
    "auth_maintenance",
    "auth_recovery_code",
    "auth_trusted_device",
    "auth_api_key",
    "auth_device_request",
    "auth_dpop_proof",
    "auth_logout_token",
    "auth_provider_session",
    "auth_pending_identity",
    "auth_provider_flow",
    "auth_provider_identity",
    "auth_passkey_challenge",
    "auth_passkey_user",
    "auth_passkey",
    "auth_totp",
    "auth_told_place",
    "auth_device_digest",
    "auth_rate",
    "auth_challenge",
    "auth_challenge_start",
    "auth_outbox",
    "auth_outbox_limit",
    "auth_attempt",
    "auth_denial",
    "auth_event",
    "auth_permission",
    "auth_membership_turn",
    "auth_membership",
    "auth_account_permission",
    "auth_group_role",
    "auth_account_group",
    "auth_account_role",
    "auth_group",
    "auth_role",
    "auth_session_data",
    "auth_session",
    "auth_former_address",
    "auth_login_name",
    "auth_marker",
    "auth_account",
];

/// All at once, because this is done before each test.
async fn empty(db: &DatabaseConnection) {
    let mut all: String = TABLES.iter().map(|table| format!("DELETE FROM {table}; ")).collect();
    all.push_str("UPDATE auth_epoch SET epoch = 0, version = 0");
    db.execute_unprepared(&all).await.expect("the tables are emptied");
}

/// Creates a new empty database, for a test whose changes would disturb other tests. The next run
/// drops it.
pub async fn fresh(backend: Backend) -> (String, Option<tempfile::TempDir>) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let server = backend.server();
    if backend == Backend::Sqlite {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("fresh.sqlite");
        return (format!("sqlite://{}?mode=rwc", path.display()), Some(directory));
    }
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("portcullis_it_{}_fresh_{number}", std::process::id());
    let admin = connect(&format!(
        "{server}/{}",
        if backend == Backend::Postgres { "postgres" } else { "mysql" }
    ))
    .await;
    admin
        .execute_unprepared(&format!("CREATE DATABASE {name}"))
        .await
        .expect("a database is created");
    admin.close().await.expect("the connection closes");
    (format!("{server}/{name}"), None)
}

/// Drops what [`fresh`] created.
pub async fn drop_fresh(backend: Backend, url: &str) {
    let Some((server, name)) = url.rsplit_once('/') else { return };
    let system = match backend {
        Backend::Sqlite => return,
        Backend::Postgres => "postgres",
        Backend::MySql => "mysql",
    };
    let admin = connect(&format!("{server}/{system}")).await;
    admin.execute_unprepared(&format!("DROP DATABASE {name}")).await.expect("it is dropped");
    admin.close().await.expect("the connection closes");
}
