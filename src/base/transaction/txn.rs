//! The application's pool as portcullis uses it, and the transactions of portcullis on it.
//!
//! A driver counts a transaction only after `BEGIN` has been answered. The MySQL driver loses its
//! place in the stream if it is dropped while it prepares a statement. So a statement that is
//! dropped half-way returns a bad connection to the pool. It has a transaction that nobody ends, or
//! an answer that the next query takes for its own.
//!
//! Therefore every statement that is not a plain read runs in a separate task, and the request only
//! waits for it. If the request is dropped, the statement still finishes and its transaction is
//! rolled back. The connection is usable when it returns to the pool.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::after_commit::{AfterCommit, Commit, in_hook, of_hook};
use super::server::ServerConnection;
use super::task::{Running, Tasks, detached, opening, writing};
use crate::base::clock::Stopwatch;

/// The future of a statement.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>;

/// The future of a hook.
type Hook<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// The reason why a hook has no result.
#[derive(Debug)]
pub(crate) enum HookEnded {
    TookTooLong,
    /// The hook was not started, because the database failed.
    Failed(DbErr),
    /// The task of the hook ended without an answer, because the runtime is shutting down. A panic
    /// of the hook is caught before.
    Died,
}

/// How many reads may run at once where each needs a task. This is more than a pool has
/// connections, so it only limits the tasks that disconnected clients leave behind.
const READERS: usize = 256;

/// How long it may take to end the connection of a hook from another connection.
const ENDING: Duration = Duration::from_secs(2);

/// How long a hook may continue after its limit, where the driver fails if it is dropped in the
/// middle of a statement. This is enough for the hook to see that its connection is gone, or to get
/// an answer on another connection of the pool.
const LINGERS: Duration = Duration::from_secs(1);

/// The application's pool. A plain read runs on it directly, if the driver can be interrupted while
/// it reads. Anything else runs in a task that holds a permit.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: DatabaseConnection,
    most_writers: usize,
    gates: Arc<OnceLock<Gates>>,
    tasks: Tasks,
}

/// The permits.
#[derive(Debug)]
struct Gates {
    writers: Arc<Semaphore>,
    /// `Some` only on MySQL and MariaDB, where a read must not be dropped half-way either.
    readers: Option<Arc<Semaphore>>,
}

impl Database {
    /// At most `writers` writes run at once. On SQLite it is always one, because the file allows
    /// only one writer. Waiting requests are served in order, and hold no connection while they
    /// wait.
    pub(crate) fn new(pool: DatabaseConnection, writers: usize) -> Self {
        Self { pool, most_writers: writers, gates: Arc::default(), tasks: Tasks::default() }
    }

    /// Returns the permits. They are created on first use, because an instance may be built before
    /// its database exists, and the backend is not known until then.
    fn gates(&self) -> &Gates {
        self.gates.get_or_init(|| {
            let semaphore = |permits| Arc::new(Semaphore::new(permits));
            match self.backend() {
                DbBackend::Sqlite => Gates { writers: semaphore(1), readers: None },
                DbBackend::MySql => Gates {
                    writers: semaphore(self.most_writers),
                    readers: Some(semaphore(READERS)),
                },
                _ => Gates { writers: semaphore(self.most_writers), readers: None },
            }
        })
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    /// Opens a transaction that writes. On SQLite it is `BEGIN IMMEDIATE`.
    pub(crate) async fn begin(&self) -> Result<OwnTransaction, DbErr> {
        let permit = permit(&self.gates().writers).await?;
        // From here on the flow runs to its end. The client may have disconnected while this waited
        // for a permit: then the flow was dropped above, and nothing was begun.
        opening();
        let (pool, running) = (self.pool.clone(), self.tasks.running());
        let tasks = self.tasks.clone();
        // If nobody waits any more, the returned transaction is dropped, and dropping it rolls
        // back.
        self.run(async move {
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            };
            let transaction = Some(pool.begin_with_options(options).await?);
            let holding = Mutex::new(Some((permit, running)));
            let (hooks, connection) = (Mutex::default(), OnceCell::new());
            let after_commit = Arc::default();
            Ok(OwnTransaction { transaction, holding, hooks, connection, tasks, after_commit })
        })
        .await
    }

    /// Runs a flow that continues to its end once it has opened a transaction, even if nobody
    /// waits.
    ///
    /// # Errors
    /// The flow panicked, or the runtime is shutting down.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        self.tasks.run_to_end(work).await
    }

    /// Starts work beside a request. Only a shutdown waits for it.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(work));
    }

    /// Waits until no task is running, so no write is in progress.
    pub(crate) async fn drained(&self) {
        self.tasks.ended().await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Ends the connection of a hook that took too long, from another connection of the pool.
    /// Returns true if the connection has ended.
    async fn end(&self, connection: Option<&ServerConnection>) -> bool {
        let Some(connection) = connection else { return true };
        // If this stops while it waits for a connection, it cannot end anyone's connection later.
        // Both drivers can be dropped while they send this statement: on MySQL it is not a prepared
        // one.
        let reason = match timeout(ENDING, connection.end(&self.pool)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no connection of the pool was free, or none answered in time".to_owned(),
        };
        tracing::error!(
            target: "portcullis",
            error = ?reason,
            "the connection of a hook that took too long could not be ended",
        );
        false
    }

    /// Returns the permits that a statement needs, together with a task. Only a read that may be
    /// dropped half-way needs none.
    fn gate(&self, statement: &Statement) -> Option<&Arc<Semaphore>> {
        let gates = self.gates();
        let reads = statement.sql.starts_with("SELECT");
        if reads { gates.readers.as_ref() } else { Some(&gates.writers) }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DbErr>> + Send + 'static,
    ) -> Result<T, DbErr> {
        run(&self.tasks, work).await
    }
}

/// Waits for a task.
async fn run<T: Send + 'static>(
    tasks: &Tasks,
    work: impl Future<Output = Result<T, DbErr>> + Send + 'static,
) -> Result<T, DbErr> {
    match tasks.spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(DbErr::Custom(format!("the task that ran a statement failed: {error}"))),
    }
}

async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DbErr> {
    let permit = Arc::clone(of).acquire_owned().await;
    permit.map_err(|closed| DbErr::Custom(closed.to_string()))
}

/// The methods of [`ConnectionTrait`] that run statements. They are written as `async_trait`
/// expands them, so that a method that only forwards needs no box of its own.
macro_rules! statements {
    ($name:ident => $self:ident, $statement:ident, $run:ident, $answer:block) => {
        statements!(@ execute_raw(ExecResult), $name => $self, $statement, $run, $answer);
        statements!(@ query_one_raw(Option<QueryResult>), $name => $self, $statement, $run, $answer);
        statements!(@ query_all_raw(Vec<QueryResult>), $name => $self, $statement, $run, $answer);

        fn execute_unprepared<'a, 'b, 'async_trait>(
            &'a self,
            sql: &'b str,
        ) -> Answer<'async_trait, ExecResult>
        where
            'a: 'async_trait,
            'b: 'async_trait,
            Self: 'async_trait,
        {
            // Portcullis runs nothing unprepared, so this only has to be correct.
            self.execute_raw(Statement::from_string(self.get_database_backend(), sql))
        }
    };
    (@ $method:ident($answer_type:ty), $name:ident => $self:ident, $statement:ident, $run:ident, $answer:block) => {
        fn $method<'a, 'async_trait>(
            &'a self,
            $statement: Statement,
        ) -> Answer<'async_trait, $answer_type>
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            let $self = self;
            macro_rules! $run {
                ($on:expr) => { ConnectionTrait::$method($on, $statement) };
            }
            $answer
        }
    };
}

impl ConnectionTrait for Database {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    statements!(Database => this, statement, on, {
        let Some(gate) = this.gate(&statement) else { return on!(&this.pool) };
        let pool = this.pool.clone();
        Box::pin(async move {
            let permit = permit(gate).await?;
            let _writing = Arc::ptr_eq(gate, &this.gates().writers).then(writing);
            this.run(async move {
                let result = on!(&pool).await;
                drop(permit);
                result
            })
            .await
        })
    });
}

/// What a statement runs on: the pool, or a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Executor<'a> {
    Pool(&'a Database),
    Transaction(&'a Txn<'a>),
    Callers(&'a DatabaseTransaction),
}

impl ConnectionTrait for Executor<'_> {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Pool(database) => database.get_database_backend(),
            Self::Transaction(txn) => txn.get_database_backend(),
            Self::Callers(txn) => txn.get_database_backend(),
        }
    }

    statements!(Executor => this, statement, on, {
        match *this {
            Self::Pool(database) => on!(database),
            Self::Transaction(txn) => on!(txn),
            Self::Callers(txn) => on!(txn),
        }
    });
}

/// An open transaction, of the caller or of portcullis. A flow uses both in the same way.
#[derive(Debug)]
pub(crate) enum Txn<'a> {
    /// A transaction of the caller, who ends it. Statements run as the caller would run them.
    Callers(&'a DatabaseTransaction),
    /// A transaction of portcullis, shared with the statement that is running.
    Own(Arc<OwnTransaction>),
}

impl<'a> Txn<'a> {
    /// Returns the transaction that hooks of the application receive.
    pub(crate) fn inner(&self) -> &DatabaseTransaction {
        match self {
            Self::Callers(txn) => txn,
            Self::Own(own) => own.inner(),
        }
    }

    /// Runs `telling` after the transaction has committed, and never if it is rolled back. If the
    /// caller opened the transaction without [`begin`](crate::Portcullis::begin), its end is not
    /// visible. Then `telling` runs at once.
    pub(crate) fn after_commit(&self, telling: impl FnOnce(Commit) + Send + 'static) {
        match self {
            Self::Callers(txn) => match of_hook(txn) {
                Some(list) => list.add(telling),
                None => telling(Commit::Unknown),
            },
            Self::Own(own) => own.after_commit.add(telling),
        }
    }

    /// Runs `telling` after the transaction has committed. If the caller opened the transaction
    /// without [`begin`](crate::Portcullis::begin), `telling` never runs, because the caller may
    /// still roll back.
    pub(crate) fn once_committed(&self, telling: impl FnOnce() + Send + 'static) {
        self.after_commit(move |commit| match commit {
            Commit::Done => telling(),
            Commit::Unknown => {}
        });
    }

    /// Returns a transaction of portcullis, if nothing else shares it. A statement whose request
    /// was dropped shares it until it finishes. The transaction is then rolled back.
    pub(super) fn into_own(self) -> Option<OwnTransaction> {
        match self {
            Self::Callers(_) => None,
            Self::Own(own) => Arc::into_inner(own),
        }
    }

    /// Runs a hook of the application in this transaction, for at most `limit`. In a transaction of
    /// portcullis, all its hooks share this limit.
    ///
    /// There the hook runs in a task, like a statement: none of its queries is dropped because a
    /// client disconnected. At the limit, another connection of `database` ends the hook's
    /// connection, and the permit of the transaction is returned.
    pub(crate) async fn run_hook<R: Send + 'static>(
        &self,
        database: &Database,
        limit: Duration,
        hook: impl for<'t> FnOnce(&'t DatabaseTransaction) -> Hook<'t, R> + Send + 'static,
    ) -> Result<R, HookEnded> {
        let own = match self {
            Self::Callers(txn) => {
                let connection = ServerConnection::of(txn).await.map_err(HookEnded::Failed)?;
                let mut hook = hook(txn);
                if let Ok(result) = timeout(limit, &mut hook).await {
                    return Ok(result);
                }
                let ended = database.end(connection.as_ref()).await;
                linger(database, hook).await;
                if !ended {
                    let _ = timeout(limit, break_off(txn)).await;
                }
                return Err(HookEnded::TookTooLong);
            }
            Self::Own(own) => Arc::clone(own),
        };
        let (answer, answered) = oneshot::channel();
        let (database, tasks) = (database.clone(), own.tasks.clone());
        let task = tasks.spawn(async move {
            let connection = match own.connection().await {
                Ok(connection) => connection.cloned(),
                Err(error) => {
                    drop(own);
                    let _ = answer.send(Err(HookEnded::Failed(error)));
                    return;
                }
            };
            let limit = limit.saturating_sub(*own.hooks());
            let started = Stopwatch::start();
            let hook = in_hook(own.inner(), &own.after_commit, hook(own.inner()));
            let mut hook: Hook<'_, R> = Box::pin(hook);
            let result = timeout(limit, &mut hook).await;
            *own.hooks() += started.elapsed();
            match result {
                Ok(result) => {
                    // This must happen before the answer, because only a sole owner can commit.
                    drop(hook);
                    drop(own);
                    let _ = answer.send(Ok(result));
                }
                Err(_) => {
                    let _ = answer.send(Err(HookEnded::TookTooLong));
                    let ended = database.end(connection.as_ref()).await;
                    linger(&database, hook).await;
                    if !ended {
                        own.give_back();
                        // The statement of the hook may wait for its lock for a long time. Other
                        // writes must not wait for it, so the permit is returned before the
                        // transaction has ended.
                        drop(detached(async move { break_off(own.inner()).await }));
                    }
                }
            }
        });
        let result = answered.await;
        drop(task);
        result.unwrap_or(Err(HookEnded::Died))
    }

    /// Returns the same transaction, for a flow inside this one.
    pub(super) fn again(&'a self) -> Txn<'a> {
        match self {
            Self::Callers(txn) => Txn::Callers(txn),
            Self::Own(own) => Txn::Own(Arc::clone(own)),
        }
    }
}

impl ConnectionTrait for Txn<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner().get_database_backend()
    }

    statements!(Txn => this, statement, on, {
        match this {
            Self::Callers(txn) => on!(*txn),
            Self::Own(own) => {
                let own = Arc::clone(own);
                Box::pin(async move {
                    let tasks = own.tasks.clone();
                    run(&tasks, async move { on!(own.inner()).await }).await
                })
            }
        }
    });
}

/// A transaction of portcullis. Each of its statements holds a reference to it, so it ends only
/// after the last statement was answered. If it was not committed by then, it is rolled back.
#[derive(Debug)]
pub(crate) struct OwnTransaction {
    /// `None` once it is being ended.
    transaction: Option<DatabaseTransaction>,
    /// The permit. It is returned when the transaction has ended, or when it cannot be ended in
    /// time.
    holding: Mutex<Option<(OwnedSemaphorePermit, Running)>>,
    /// The total time for which hooks of the application have run in it.
    hooks: Mutex<Duration>,
    /// The connection that it runs on, which is asked for before the first hook.
    connection: OnceCell<Option<ServerConnection>>,
    tasks: Tasks,
    after_commit: Arc<AfterCommit>,
}

impl OwnTransaction {
    fn inner(&self) -> &DatabaseTransaction {
        self.transaction.as_ref().expect("only its last owner ends a transaction")
    }

    fn hooks(&self) -> MutexGuard<'_, Duration> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<Option<&ServerConnection>, DbErr> {
        let asked = self.connection.get_or_try_init(|| ServerConnection::of(self.inner())).await;
        asked.map(Option::as_ref)
    }

    /// Returns the permit before the transaction has ended. Nobody waits for its end any more.
    fn give_back(&self) {
        drop(self.held());
    }

    fn held(&self) -> Option<(OwnedSemaphorePermit, Running)> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) async fn commit(mut self) -> Result<(), DbErr> {
        let (transaction, holding) = (self.transaction.take(), self.held());
        // Commit and reports run in one task: if the request is dropped here, neither is lost.
        let after_commit = Arc::clone(&self.after_commit);
        run(&self.tasks, async move {
            let result = match transaction {
                Some(transaction) => transaction.commit().await,
                None => Ok(()),
            };
            if result.is_ok() {
                after_commit.run();
            }
            drop(holding);
            result
        })
        .await
    }

    /// Rolls it back and waits until that is done. Dropping it rolls back without waiting.
    pub(crate) async fn rollback(mut self) {
        if let Some(work) = self.rolling_back() {
            let _ = work.await;
        }
    }

    fn rolling_back(&mut self) -> Option<JoinHandle<()>> {
        let (transaction, holding) = (self.transaction.take()?, self.held());
        // The task holds the permit and the running count, so a shutdown waits for it. It does not
        // wait if they were returned before.
        Some(detached(async move {
            // A failed rollback closes the connection, which ends the transaction too.
            if let Err(error) = transaction.rollback().await {
                tracing::debug!(target: "portcullis", %error, "rollback failed");
            }
            drop(holding);
        }))
    }
}

impl Drop for OwnTransaction {
    fn drop(&mut self) {
        // Without a runtime, the driver rolls back before it uses the connection again.
        if Handle::try_current().is_ok() {
            drop(self.rolling_back());
        }
    }
}

/// A transaction of the application, opened by [`begin`](crate::Portcullis::begin). If it is
/// dropped, it is rolled back.
///
/// Its statements run in tasks, like those of portcullis. So a statement finishes even if the
/// future that runs it is dropped.
///
/// It derefs to the transaction of sea-orm, for its other methods, such as nested transactions.
/// What you run through that reference runs as it would without portcullis.
#[derive(Debug)]
#[must_use = "it is rolled back when it is dropped"]
pub struct Transaction(Txn<'static>);

impl Transaction {
    pub(crate) fn new(own: OwnTransaction) -> Self {
        Self(Txn::Own(Arc::new(own)))
    }

    /// Commits the transaction. Once this future has been polled, the commit runs to its end, even
    /// if the future is dropped.
    ///
    /// # Errors
    /// - The database failed. It is then not known whether it has committed.
    /// - A statement whose future was dropped is still running. The transaction is then rolled
    ///   back.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self.0.into_own() {
            Some(own) => own.commit().await,
            None => Err(DbErr::Custom(
                "a statement of the transaction was cancelled and is still running".to_owned(),
            )),
        }
    }

    /// Rolls the transaction back and waits until that is done. Dropping it rolls back without
    /// waiting.
    pub async fn rollback(self) {
        if let Some(own) = self.0.into_own() {
            own.rollback().await;
        }
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        self.0.inner()
    }
}

impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    statements!(Transaction => this, statement, on, { on!(&this.0) });
}

/// An open transaction, for the methods that work `within` one. It is one of sea-orm, or one that
/// [`begin`](crate::Portcullis::begin) opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenTransaction<'a>(pub(super) Executor<'a>);

impl<'a> From<&'a DatabaseTransaction> for OpenTransaction<'a> {
    fn from(txn: &'a DatabaseTransaction) -> Self {
        Self(Executor::Callers(txn))
    }
}

impl<'a> From<&'a Transaction> for OpenTransaction<'a> {
    fn from(txn: &'a Transaction) -> Self {
        Self(Executor::Transaction(&txn.0))
    }
}

/// Lets a hook see that its connection is gone, if the driver fails when it is dropped.
async fn linger<R>(database: &Database, hook: Hook<'_, R>) {
    if database.backend() == DbBackend::MySql {
        let _ = timeout(LINGERS, hook).await;
    }
}

/// Closes the connection of a transaction, on that connection itself and after its current
/// statement, so that the pool opens a new one.
///
/// This is for a connection that could not be ended from outside. A statement may have been dropped
/// half-way on it, and not every driver can continue after that. The request to end it may also
/// arrive late, and would then hit its next user.
async fn break_off(txn: &DatabaseTransaction) {
    match txn.get_database_backend() {
        DbBackend::MySql => {
            // The answers that were not read come first, and may look like the answer to this.
            for _ in 0..UNREAD {
                if txn.execute_unprepared("KILL CONNECTION_ID()").await.is_err() {
                    return;
                }
            }
        }
        DbBackend::Postgres => {
            // After a failed statement, the transaction accepts nothing else before its end.
            let text = "ROLLBACK; SELECT pg_terminate_backend(pg_backend_pid())";
            let _ = txn.execute_unprepared(text).await;
        }
        _ => {}
    }
}

/// More packets than the answer to a statement that is being prepared contains.
const UNREAD: usize = 100;
