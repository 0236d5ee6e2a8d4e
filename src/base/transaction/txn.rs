//! The application's pool as portcullis uses it, and our transactions on it.
//!
//! A driver counts a transaction only when `BEGIN` has been answered, and the MySQL driver loses
//! its place in the stream when it is given up while it prepares a statement. So a connection whose
//! statement is dropped half-way goes back into the pool with a transaction that nobody ends, or
//! with an answer that the next query takes for its own. That is why a statement that is not a plain
//! read runs in a task of its own, and the request only waits for it: if the request goes away, the
//! statement ends, its transaction is rolled back, and the connection is whole when it goes back.

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

/// Why a hook has no result.
#[derive(Debug)]
pub(crate) enum HookEnded {
    TookTooLong,
    /// It was not begun: the database failed.
    Failed(DbErr),
    /// The runtime shuts down.
    Died,
}

/// How many reads may be under way at once where they need a task each: more than a pool has
/// connections, so that it limits nothing but the tasks that clients leave behind who hang up.
const READERS: usize = 256;

/// How long ending the connection of a hook may take, from another one.
const ENDING: Duration = Duration::from_secs(2);

/// How long a hook goes on that is not waited for any more, where the driver minds if it is dropped in
/// the middle of a statement: long enough to see that its connection is gone, or to be answered by
/// another one of the pool.
const LINGERS: Duration = Duration::from_secs(1);

/// The application's pool. A plain read runs on it directly where the driver can be interrupted
/// while it reads; anything else is a task that holds one of the permits.
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
    /// Only where even a read must not be dropped half-way.
    readers: Option<Arc<Semaphore>>,
}

impl Database {
    /// At most `writers` writes are under way at once; on SQLite one, because its file takes one.
    /// Who waits here waits in order and without a connection.
    pub(crate) fn new(pool: DatabaseConnection, writers: usize) -> Self {
        Self { pool, most_writers: writers, gates: Arc::default(), tasks: Tasks::default() }
    }

    /// Made when they are first needed, because an instance may be built before its database is
    /// there, and then cannot say which one it is.
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

    /// Opens a transaction that writes: on SQLite as one.
    pub(crate) async fn begin(&self) -> Result<OwnTransaction, DbErr> {
        let permit = permit(&self.gates().writers).await?;
        opening();
        let (pool, running) = (self.pool.clone(), self.tasks.running());
        let tasks = self.tasks.clone();
        // Where nobody waits any more, what this returns is dropped, and dropping rolls back.
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

    /// Runs a flow to its end once it has opened a transaction, even if nobody waits for it.
    ///
    /// # Errors
    /// It panicked, or the runtime shuts down.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        self.tasks.run_to_end(work).await
    }

    /// Starts work beside a request, which nobody waits for but a shutdown.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(work));
    }

    /// Waits until no write is under way.
    pub(crate) async fn drained(&self) {
        self.tasks.ended().await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Ends the connection of a hook that took too long, from another connection of the pool. Whether
    /// that is done.
    async fn end(&self, connection: Option<&ServerConnection>) -> bool {
        let Some(connection) = connection else { return true };
        // Given up while it waits for a connection, it ends nobody's later. What it sends may be
        // dropped half-way with either driver: nothing is prepared for it on MySQL.
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

    /// Where a statement has to wait for a permit and to run in a task: everywhere but for a read
    /// that may be dropped half-way.
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
        Err(error) => Err(DbErr::Custom(format!("the task of a statement: {error}"))),
    }
}

async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DbErr> {
    let permit = Arc::clone(of).acquire_owned().await;
    permit.map_err(|closed| DbErr::Custom(closed.to_string()))
}

/// The methods of [`ConnectionTrait`] by which statements are run, written out as `async_trait` has
/// them, so that what only passes one on needs no box of its own.
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
            // Nothing of ours runs unprepared; it only has to be right.
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

/// What to run a statement on: the pool, or a transaction.
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

/// An open transaction: the caller's, or one of ours. What a flow does in it, it does alike.
#[derive(Debug)]
pub(crate) enum Txn<'a> {
    /// The caller looks after it: statements run as they would run them.
    Callers(&'a DatabaseTransaction),
    /// Shared with the statement that is under way.
    Own(Arc<OwnTransaction>),
}

impl<'a> Txn<'a> {
    /// What hooks of the application get.
    pub(crate) fn inner(&self) -> &DatabaseTransaction {
        match self {
            Self::Callers(txn) => txn,
            Self::Own(own) => own.inner(),
        }
    }

    /// Does this once the transaction has committed, and not at all if it is rolled back. Of one that
    /// the caller opened without [`begin`](crate::Portcullis::begin) the end is not known: then at once.
    pub(crate) fn after_commit(&self, telling: impl FnOnce(Commit) + Send + 'static) {
        match self {
            Self::Callers(txn) => match of_hook(txn) {
                Some(list) => list.add(telling),
                None => telling(Commit::Unknown),
            },
            Self::Own(own) => own.after_commit.add(telling),
        }
    }

    /// A transaction of ours, if nobody else holds a share of it: a statement that was given up does
    /// until it has ended, and rolls back then.
    pub(super) fn into_own(self) -> Option<OwnTransaction> {
        match self {
            Self::Callers(_) => None,
            Self::Own(own) => Arc::into_inner(own),
        }
    }

    /// Runs a hook of the application in this transaction, for no longer than `limit`, which all
    /// hooks of a transaction of ours share.
    ///
    /// In a transaction of ours it runs in a task, like a statement: nothing that it asks of the
    /// database is dropped because a client hung up. At the limit its connection is ended, from
    /// another one of `database`, and the permit of the transaction comes back.
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
                    // Before the answer, because only a sole owner can commit.
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
                        drop(detached(async move { break_off(own.inner()).await }));
                    }
                }
            }
        });
        let result = answered.await;
        drop(task);
        result.unwrap_or(Err(HookEnded::Died))
    }

    /// The same transaction, for a flow inside of this one.
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

/// A transaction of ours. Each statement of it holds a share of it, so that it ends only when the
/// last of them has been answered; whatever then was not committed is rolled back.
#[derive(Debug)]
pub(crate) struct OwnTransaction {
    /// None once it is being ended.
    transaction: Option<DatabaseTransaction>,
    /// Given back when it has ended, or when it cannot be ended within a limit.
    holding: Mutex<Option<(OwnedSemaphorePermit, Running)>>,
    /// How long hooks of the application have run in it.
    hooks: Mutex<Duration>,
    /// What it runs on, asked for before the first hook.
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

    /// Gives the permit back before the transaction has ended. Nobody waits for its end any more.
    fn give_back(&self) {
        drop(self.held());
    }

    fn held(&self) -> Option<(OwnedSemaphorePermit, Running)> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) async fn commit(mut self) -> Result<(), DbErr> {
        let (transaction, holding) = (self.transaction.take(), self.held());
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

    /// The same as dropping it, but known to be over.
    pub(crate) async fn rollback(mut self) {
        if let Some(work) = self.rolling_back() {
            let _ = work.await;
        }
    }

    fn rolling_back(&mut self) -> Option<JoinHandle<()>> {
        let (transaction, holding) = (self.transaction.take()?, self.held());
        // In the task's keeping, so that a shutdown waits for it unless that was given back before.
        Some(detached(async move {
            // A failed rollback ends the connection and with it the transaction.
            if let Err(error) = transaction.rollback().await {
                tracing::debug!(target: "portcullis", %error, "rollback failed");
            }
            drop(holding);
        }))
    }
}

impl Drop for OwnTransaction {
    fn drop(&mut self) {
        // Without a runtime the driver rolls back before it uses the connection again.
        if Handle::try_current().is_ok() {
            drop(self.rolling_back());
        }
    }
}

/// A transaction of the application's, opened by [`begin`](crate::Portcullis::begin). Dropped, it is
/// rolled back.
///
/// Its statements run in tasks, like those of portcullis: nothing is cut short when the future that
/// asked is dropped. It derefs to sea-orm's for what else that can do, such as nested transactions;
/// what is asked there runs as it would without portcullis.
#[derive(Debug)]
#[must_use = "it is rolled back when it is dropped"]
pub struct Transaction(Txn<'static>);

impl Transaction {
    pub(crate) fn new(own: OwnTransaction) -> Self {
        Self(Txn::Own(Arc::new(own)))
    }

    /// Commits it. Once this is polled it is carried out, whatever becomes of the future.
    ///
    /// # Errors
    /// An outage. Whether the database has committed is then not known. A statement that was given up
    /// and is still under way: then it is rolled back.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self.0.into_own() {
            Some(own) => own.commit().await,
            None => Err(DbErr::Custom("a statement of the transaction was given up".to_owned())),
        }
    }

    /// Rolls it back, which dropping it does too, and waits for that.
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

/// A transaction that is open, for the methods that work `within` one: sea-orm's, or one that
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

/// Lets a hook see that its connection is gone, where the driver minds if it is dropped.
async fn linger<R>(database: &Database, hook: Hook<'_, R>) {
    if database.backend() == DbBackend::MySql {
        let _ = timeout(LINGERS, hook).await;
    }
}

/// Ends the connection of a transaction, on itself and after what it is busy with, so that the pool
/// opens another. For one that could not be ended from outside: a statement may have been dropped
/// half-way there, which not every driver can go on after, and what was sent to end it may still arrive
/// and would meet its next user.
async fn break_off(txn: &DatabaseTransaction) {
    match txn.get_database_backend() {
        DbBackend::MySql => {
            // The answers that were not read come first, and may look like one to this.
            for _ in 0..UNREAD {
                if txn.execute_unprepared("KILL CONNECTION_ID()").await.is_err() {
                    return;
                }
            }
        }
        DbBackend::Postgres => {
            // A transaction in which a statement failed takes nothing else before its end.
            let text = "ROLLBACK; SELECT pg_terminate_backend(pg_backend_pid())";
            let _ = txn.execute_unprepared(text).await;
        }
        _ => {}
    }
}

/// More packets than the answer to a statement that is being prepared has.
const UNREAD: usize = 100;
