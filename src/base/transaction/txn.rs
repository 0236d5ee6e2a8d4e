//! The application's pool as portcullis uses it, and our transactions on it.
//!
//! A driver counts a transaction only when `BEGIN` has been answered, and the MySQL driver loses
//! its place in the stream when it is given up while it prepares a statement. So a connection whose
//! statement is dropped half-way goes back into the pool with a transaction that nobody ends, or
//! with an answer that the next query takes for its own. That is why a statement that is not a plain
//! read runs in a task of its own, and the request only waits for it: if the request goes away, the
//! statement ends, its transaction is rolled back, and the connection is whole when it goes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::task::{Running, Tasks};

/// The future of a statement.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>;

/// How many reads may be under way at once where they need a task each: more than a pool has
/// connections, so that it limits nothing but the tasks that clients leave behind who hang up.
const READERS: usize = 256;

/// The application's pool. A plain read runs on it directly where the driver can be interrupted
/// while it reads; anything else is a task that holds one of the permits.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: DatabaseConnection,
    writers: Arc<Semaphore>,
    /// Only where even a read must not be dropped half-way.
    readers: Option<Arc<Semaphore>>,
    tasks: Tasks,
}

impl Database {
    pub(crate) fn new(pool: DatabaseConnection, writers: usize) -> Self {
        let readers = match pool.get_database_backend() {
            DbBackend::MySql => Some(Arc::new(Semaphore::new(READERS))),
            _ => None,
        };
        Self { pool, writers: Arc::new(Semaphore::new(writers)), readers, tasks: Tasks::default() }
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    /// Opens a transaction that writes: on SQLite as one.
    pub(super) async fn begin(&self) -> Result<OwnTransaction, DbErr> {
        let permit = permit(&self.writers).await?;
        let (pool, running) = (self.pool.clone(), self.tasks.running());
        let tasks = self.tasks.clone();
        // Where nobody waits any more, what this returns is dropped, and dropping rolls back.
        self.run(async move {
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            };
            let transaction = Some(pool.begin_with_options(options).await?);
            Ok(OwnTransaction { transaction, holding: Some((permit, running)), tasks })
        })
        .await
    }

    /// Waits until no write is under way.
    pub(crate) async fn drained(&self) {
        self.tasks.ended().await;
    }

    /// Where a statement has to wait for a permit and to run in a task: everywhere but for a read
    /// that may be dropped half-way.
    fn gate(&self, statement: &Statement) -> Option<&Arc<Semaphore>> {
        let reads = statement.sql.starts_with("SELECT");
        if reads { self.readers.as_ref() } else { Some(&self.writers) }
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
    /// The caller looks after it: statements run as he would run them.
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
    /// Given back when it has ended.
    holding: Option<(OwnedSemaphorePermit, Running)>,
    tasks: Tasks,
}

impl OwnTransaction {
    fn inner(&self) -> &DatabaseTransaction {
        self.transaction.as_ref().expect("only its last owner ends a transaction")
    }

    pub(super) async fn commit(mut self) -> Result<(), DbErr> {
        let (transaction, holding) = (self.transaction.take(), self.holding.take());
        run(&self.tasks, async move {
            let result = match transaction {
                Some(transaction) => transaction.commit().await,
                None => Ok(()),
            };
            drop(holding);
            result
        })
        .await
    }

    /// The same as dropping it, but known to be over.
    pub(super) async fn rollback(mut self) {
        if let Some(work) = self.rolling_back() {
            let _ = self.tasks.spawn(work).await;
        }
    }

    fn rolling_back(&mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (transaction, holding) = (self.transaction.take()?, self.holding.take());
        Some(async move {
            // A failed rollback ends the connection and with it the transaction.
            if let Err(error) = transaction.rollback().await {
                tracing::debug!(target: "portcullis", %error, "rollback failed");
            }
            drop(holding);
        })
    }
}

impl Drop for OwnTransaction {
    fn drop(&mut self) {
        // Without a runtime the driver rolls back before it uses the connection again.
        if Handle::try_current().is_ok()
            && let Some(work) = self.rolling_back()
        {
            drop(self.tasks.spawn(work));
        }
    }
}
