//! A separate database for each run, and connections as the documentation recommends them.

use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::Failure;

/// The number of connections of every server, whatever it is built with.
pub(crate) const CONNECTIONS: u32 = 10;

/// Which database contains the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// An empty database. A SQLite file is deleted when the value is dropped. A database on a server is
/// dropped with [`remove`](Self::remove).
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    server: Option<String>,
    _directory: Option<tempfile::TempDir>,
}

impl Database {
    /// Creates the database. Returns `None` if the URL of the server is not set.
    pub(crate) async fn create(backend: Backend) -> Result<Option<Self>, Failure> {
        let name = format!("portcullis_bench_{}", std::process::id());
        if backend == Backend::Sqlite {
            let directory = tempfile::tempdir()?;
            let url = format!("sqlite://{}?mode=rwc", directory.path().join("db").display());
            return Ok(Some(Self { url, name, server: None, _directory: Some(directory) }));
        }
        let Ok(server) = std::env::var("PORTCULLIS_TEST_POSTGRES_URL") else {
            eprintln!("left out: PostgreSQL, because PORTCULLIS_TEST_POSTGRES_URL is not set");
            return Ok(None);
        };
        let (base, _) = server.rsplit_once('/').ok_or("the URL names a database")?;
        let url = format!("{base}/{name}");
        let admin = connect(&server, "bench-admin", 1).await?;
        admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}")).await?;
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        admin.close().await?;
        Ok(Some(Self { url, name, server: Some(server), _directory: None }))
    }

    /// Returns the ids of the database processes that serve this application.
    pub(crate) async fn processes(&self, application: &str) -> Result<Vec<u32>, Failure> {
        let Some(server) = &self.server else { return Ok(Vec::new()) };
        let admin = connect(server, "bench-admin", 1).await?;
        let query = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = $2",
            [self.name.as_str().into(), application.into()],
        );
        let rows = admin.query_all_raw(query).await?;
        let pids = rows.iter().map(|row| row.try_get_by_index::<i32>(0));
        let pids = pids.collect::<Result<Vec<_>, _>>()?;
        admin.close().await?;
        // If the server is on another machine, these ids mean nothing here.
        let here = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("postgres"))
        };
        Ok(pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).filter(here).collect())
    }

    /// Drops the database, even if clients are still connected.
    pub(crate) async fn remove(self) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            let admin = connect(server, "bench-admin", 1).await?;
            let text = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            admin.execute_unprepared(&text).await?;
            admin.close().await?;
        }
        Ok(())
    }
}

/// Opens a pool with exactly this many connections.
pub(crate) async fn connect(
    url: &str,
    application: &str,
    connections: u32,
) -> Result<DatabaseConnection, Failure> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(connections)
        .sqlx_logging(false)
        .test_before_acquire(false)
        .set_application_name(application.to_owned());
    options.test_before_acquire_if_idle_for(Duration::from_secs(30));
    options.map_sqlx_sqlite_opts(|options| {
        options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal)
    });
    Ok(sea_orm::Database::connect(options).await?)
}
