//! Reading and writing the database: one place for transactions, retries and time limits.
//!
//! A writing transaction opens as one: on SQLite `BEGIN IMMEDIATE`, because a transaction that
//! reads first and writes later fails at once beside another writer. Busy, serialization and
//! deadlock errors are retried up to three times with jitter. Whatever is left is a [`Fault`],
//! and a fault is always 503: an outage never looks like a refusal.
//!
//! Inside a transaction of the caller's nothing is opened, retried or timed: errors go to them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sea_orm::{DatabaseTransaction, DbErr};

use crate::base::problem::{ErrorChain, PrivateCause, Problem};
use crate::base::secret::random_array;

mod task;
mod txn;

pub(crate) use txn::{Database, Executor, Txn};

/// An infrastructure failure: not the client's fault, and no statement about his credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The database refused or was not reached.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Timeout,
    /// More passwords wait to be hashed than the queue takes.
    #[error("too many passwords are being checked at once")]
    Overloaded {
        /// When to come back.
        retry_after: Duration,
    },
    /// A task of ours died, or something of the application's failed, such as a hook. What it says is
    /// its cause, and is not part of what the error is called.
    #[error("an internal task failed")]
    Internal(#[source] PrivateCause),
}

impl Fault {
    /// What a hook of the application failed with. A database error stays one, so that a deadlock
    /// in it is tried again like any other.
    pub(crate) fn of_hook(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match error.downcast::<DbErr>() {
            Ok(error) => Self::Database(*error),
            Err(error) => Self::Internal(ErrorChain(&*error).to_string().into()),
        }
    }

    /// Whether the same transaction may succeed if it is run again.
    fn is_transient(&self) -> bool {
        const SIGNS: [&str; 6] = [
            "database is locked",
            "database table is locked",
            "deadlock",
            "could not serialize",
            "lock wait timeout",
            "try restarting transaction",
        ];
        match self {
            // Text, because the drivers' error types belong to features this crate leaves to the
            // host. The messages are part of each database's documented errors.
            Self::Database(error) => {
                let text = error.to_string().to_lowercase();
                SIGNS.iter().any(|sign| text.contains(sign))
            }
            _ => false,
        }
    }
}

impl Problem for Fault {
    fn status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "overloaded",
            _ => "unavailable",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => Some(*retry_after),
            _ => Some(Duration::from_secs(2)),
        }
    }
}

/// An error that may be a [`Fault`] underneath, so that a transaction knows whether to try again.
pub(crate) trait MaybeFault: From<Fault> {
    fn fault(&self) -> Option<&Fault>;
}

impl MaybeFault for Fault {
    fn fault(&self) -> Option<&Fault> {
        Some(self)
    }
}

/// The database as one flow sees it: the pool, or a transaction that is open already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Db<'a> {
    executor: Executor<'a>,
    timeout: Duration,
}

impl<'a> Db<'a> {
    pub(crate) fn new(database: &'a Database, timeout: Duration) -> Self {
        Self { executor: Executor::Pool(database), timeout }
    }

    /// The same inside a transaction of the caller's.
    #[must_use]
    pub(crate) fn within(self, txn: &'a DatabaseTransaction) -> Self {
        Self { executor: Executor::Callers(txn), ..self }
    }

    /// The same inside the transaction of another flow of ours.
    #[must_use]
    pub(crate) fn inside(self, txn: &'a Txn<'a>) -> Self {
        Self { executor: Executor::Transaction(txn), ..self }
    }

    /// What to run a query on.
    pub(crate) fn executor(&self) -> Executor<'a> {
        self.executor
    }

    fn is_inside(&self) -> bool {
        !matches!(self.executor, Executor::Pool(_))
    }

    /// Awaits a read, within the time limit.
    pub(crate) async fn read<T>(
        &self,
        query: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Fault> {
        if self.is_inside() {
            return Ok(query.await?);
        }
        match tokio::time::timeout(self.timeout, query).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Fault::Timeout),
        }
    }

    /// Runs a single writing statement, again when the database was busy.
    pub(crate) async fn retry<T, F>(&self, statement: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.limit(async {
            let mut attempts = self.attempts();
            loop {
                let result = statement().await.map_err(Fault::from);
                if let Some(result) = attempts.last(result).await {
                    break result;
                }
            }
        })
        .await
    }

    /// The transaction to write in: a new one, or the one that is open.
    pub(crate) async fn open(&self) -> Result<Scope<'a>, Fault> {
        Ok(match self.executor {
            Executor::Pool(database) => Scope::New(Txn::Own(Arc::new(database.begin().await?))),
            Executor::Transaction(txn) => Scope::Open(txn.again()),
            Executor::Callers(txn) => Scope::Open(Txn::Callers(txn)),
        })
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts { made: 0, most: if self.is_inside() { 1 } else { 4 } }
    }

    /// Awaits all attempts, within the time limit.
    pub(crate) async fn limit<T, E: From<Fault>>(
        &self,
        attempts: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.is_inside() {
            return attempts.await;
        }
        match tokio::time::timeout(self.timeout, attempts).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Timeout.into()),
        }
    }
}

/// Runs a block in a writing transaction: committed if it is `Ok`, rolled back otherwise, tried
/// again when the database was busy. Inside a transaction of the caller's it just runs.
///
/// `transaction!(db, |txn| { ... Ok(value) })` is a `Result`. A macro because an async closure
/// that borrows from its surroundings cannot be shown to be `Send`.
macro_rules! transaction {
    ($db:expr, |$txn:ident| $body:block) => {{
        let db: $crate::base::transaction::Db<'_> = $db;
        db.limit(async {
            let mut attempts = db.attempts();
            loop {
                let result = match db.open().await {
                    Ok(scope) => {
                        let $txn = scope.transaction();
                        let result = async $body.await;
                        scope.close(result).await
                    }
                    Err(fault) => Err(fault.into()),
                };
                if let Some(result) = attempts.last(result).await {
                    break result;
                }
            }
        })
        .await
    }};
}
pub(crate) use transaction;

/// A transaction, and who ends it.
pub(crate) enum Scope<'a> {
    /// Begun for this flow, which ends it.
    New(Txn<'a>),
    /// Begun before, and ended by whoever began it.
    Open(Txn<'a>),
}

impl<'a> Scope<'a> {
    pub(crate) fn transaction(&self) -> &Txn<'a> {
        let (Self::New(txn) | Self::Open(txn)) = self;
        txn
    }

    pub(crate) async fn close<T, E: From<Fault>>(self, result: Result<T, E>) -> Result<T, E> {
        let Self::New(Txn::Own(own)) = self else { return result };
        // A statement that was given up still holds a share, and rolls back when it has ended.
        let own = Arc::into_inner(own);
        match (result, own) {
            (Ok(value), Some(own)) => {
                own.commit().await.map_err(Fault::from)?;
                Ok(value)
            }
            (Ok(_), None) => {
                let reason = "a statement of the transaction was given up";
                Err(Fault::Internal(reason.into()).into())
            }
            (Err(error), own) => {
                if let Some(own) = own {
                    own.rollback().await;
                }
                Err(error)
            }
        }
    }
}

/// How often a transaction was tried, and how often it may be.
pub(crate) struct Attempts {
    made: u32,
    most: u32,
}

impl Attempts {
    /// The result, unless the transaction is to be tried again; then this has waited for that.
    pub(crate) async fn last<T, E: MaybeFault>(
        &mut self,
        result: Result<T, E>,
    ) -> Option<Result<T, E>> {
        self.made += 1;
        match &result {
            Err(error)
                if self.made < self.most && error.fault().is_some_and(Fault::is_transient) =>
            {
                tokio::time::sleep(backoff(self.made)).await;
                None
            }
            _ => Some(result),
        }
    }
}

/// 5, 20, 80 ms, each with as much jitter again, so that two losers do not meet again.
fn backoff(attempt: u32) -> Duration {
    let base = 5 * 4u64.pow(attempt - 1);
    let jitter = u64::from(random_array::<1>()[0]) * base / 255;
    Duration::from_millis(base + jitter)
}

/// Whether a unique key refused the row.
pub(crate) fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// Whether a row refused because what it points to is not there.
pub(crate) fn is_foreign_key_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)))
}
