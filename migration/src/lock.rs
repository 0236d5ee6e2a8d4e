//! A lock, so that only one process at a time changes the tables.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::IntoSchemaManagerConnection;
use sea_orm_migration::SchemaManagerConnection as Executor;

/// The name of the advisory lock on PostgreSQL, as a number: `portcull` in ASCII.
const KEY: i64 = 0x706f_7274_6375_6c6c;

/// How long a process waits while another one migrates.
const PATIENCE: Duration = Duration::from_secs(300);

/// The interval between two attempts to get the lock.
const PAUSE: Duration = Duration::from_millis(200);

/// The work to do while the lock is held.
type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 't>>;

/// Runs `work` while no other process runs work under this lock on the same database.
///
/// [`Migrator`](crate::Migrator) does this by itself. Call `locked` for the migrator of your
/// application: sea-orm's migrator has no lock, and its list may contain these migrations.
///
/// ```no_run
/// use portcullis_migration::{locked, MigratorTrait};
/// # use portcullis_migration::Migrator as YourMigrator;
///
/// # async fn example(db: sea_orm_migration::sea_orm::DatabaseConnection)
/// # -> Result<(), sea_orm_migration::sea_orm::DbErr> {
/// locked(&db, |txn| Box::pin(YourMigrator::up(txn, None))).await?;
/// # Ok(())
/// # }
/// ```
///
/// `work` gets the connection that holds the lock, and must use no other connection. On PostgreSQL
/// and SQLite it is a transaction: if the work fails, all of it is undone. MySQL and MariaDB commit
/// after each statement that changes a table.
///
/// - PostgreSQL: an advisory lock of the transaction. It also works behind a pooler in transaction
///   mode.
/// - MySQL and MariaDB: `GET_LOCK`, with a name that contains the database.
/// - SQLite: the write lock of the file (`BEGIN IMMEDIATE`).
///
/// If you pass a connection, the work runs in a task. So it finishes even if the caller stops
/// waiting. If you pass a transaction, `locked` takes the lock in it, and `work` gets this
/// transaction.
///
/// # Errors
///
/// The errors of `work`, and a [`DbErr`] if the lock is not free after five minutes or the database
/// cannot be reached.
///
/// # Panics
///
/// If it is called outside of a tokio runtime.
pub async fn locked<'c, C, F, T>(db: C, work: F) -> Result<T, DbErr>
where
    C: IntoSchemaManagerConnection<'c>,
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> Work<'t, T> + Send + 'static,
    T: Send + 'static,
{
    match db.into_database_executor() {
        Executor::Connection(db) => {
            let db = db.clone();
            let task = tokio::spawn(async move {
                let txn = begin(&db).await?;
                // On MySQL the changes are committed in both cases.
                match within(&txn, work).await {
                    Ok(done) => txn.commit().await.map(|()| done),
                    Err(error) => {
                        txn.rollback().await?;
                        Err(error)
                    }
                }
            });
            task.await.map_err(|error| DbErr::Custom(format!("a migration failed: {error}")))?
        }
        Executor::Transaction(txn) => within(txn, work).await,
        Executor::OwnedTransaction(txn) => {
            let done = within(&txn, work).await?;
            txn.commit().await?;
            Ok(done)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this waits in real time, before there is a clock")]
fn now() -> Instant {
    Instant::now()
}

/// Opens the transaction that takes the lock.
async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let began = now();
    let backend = db.get_database_backend();
    let options = TransactionOptions {
        // With a stricter level, the transaction would not see the changes of the process that had
        // the lock before.
        isolation_level: (backend == DbBackend::Postgres).then_some(IsolationLevel::ReadCommitted),
        access_mode: None,
        sqlite_transaction_mode: (backend == DbBackend::Sqlite)
            .then_some(SqliteTransactionMode::Immediate),
    };
    loop {
        match db.begin_with_options(options).await {
            Err(error) if backend == DbBackend::Sqlite && is_busy(&error) => {
                wait(began).await?;
            }
            result => return result,
        }
    }
}

/// Returns true if another connection of SQLite has the lock (`SQLITE_BUSY`).
///
/// It reads the text, such as `(code: 5) database is locked`. The type of the driver's error needs
/// a feature of sea-orm. This crate cannot turn it on, because sea-orm-migration 2.0 then does not
/// compile without a driver.
fn is_busy(error: &DbErr) -> bool {
    let text = error.to_string();
    let code = text.split_once("(code: ").and_then(|(_, rest)| rest.split_once(')'));
    let code = code.and_then(|(code, _)| code.parse::<u32>().ok());
    // The lowest byte of an extended code is the code itself.
    code.is_some_and(|code| code & 0xff == 5)
}

async fn wait(began: Instant) -> Result<(), DbErr> {
    if began.elapsed() >= PATIENCE {
        return Err(DbErr::Custom(format!(
            "another process has held the lock for migrations for {} s; if none is running, look \
             for a connection that was left open",
            PATIENCE.as_secs()
        )));
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// Takes the lock on this connection, and does the work.
async fn within<F, T>(txn: &DatabaseTransaction, work: F) -> Result<T, DbErr>
where
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> Work<'t, T> + Send,
{
    let began = now();
    match txn.get_database_backend() {
        DbBackend::Postgres => {
            let query = format!("SELECT pg_try_advisory_xact_lock({KEY})");
            while !ask::<bool>(txn, &query).await? {
                wait(began).await?;
            }
            work(txn).await
        }
        DbBackend::MySql => {
            // The names of such locks belong to the whole server and have at most 64 characters.
            // Short waits are repeated, because the server may limit the time of a statement.
            let name = "CONCAT('portcullis:', SHA1(DATABASE()))";
            let query = format!("SELECT GET_LOCK({name}, 1) + 0");
            while ask::<Option<i64>>(txn, &query).await? != Some(1) {
                wait(began).await?;
            }
            let mut work = work(txn);
            let done = poll_fn(|context| {
                let poll = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
                poll.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
            })
            .await;
            // Otherwise the connection would return to its pool with the lock.
            let released =
                ask::<Option<i64>>(txn, &format!("SELECT RELEASE_LOCK({name}) + 0")).await;
            let done = done.unwrap_or_else(|panic| resume_unwind(panic))?;
            released?;
            Ok(done)
        }
        // The transaction is the lock. A transaction of the caller gets the lock with its first
        // write.
        _ => work(txn).await,
    }
}

async fn ask<T>(txn: &DatabaseTransaction, query: &str) -> Result<T, DbErr>
where
    T: sea_orm_migration::sea_orm::TryGetable,
{
    let statement = Statement::from_string(txn.get_database_backend(), query.to_owned());
    let row = txn.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::Custom("the lock for migrations did not answer".to_owned()))?
        .try_get_by_index(0)
}
