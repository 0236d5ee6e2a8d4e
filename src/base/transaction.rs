//! Reads and writes to the database: transactions, retries and time limits.
//!
//! # How a write runs
//!
//! 1. The request waits for a permit (`database.writers`; there is only one on SQLite). The request
//!    itself waits, not a task, so clients that disconnect leave no queue behind.
//! 2. A transaction that writes says so when it begins. On SQLite this is `BEGIN IMMEDIATE`. A
//!    transaction that reads first and writes later would fail at once beside another writer.
//! 3. Each statement runs in a separate task, and so do `BEGIN`, `COMMIT` and `ROLLBACK`. The
//!    request waits for the task. If the request is dropped, the current statement still finishes.
//!    The last owner of the transaction then rolls it back, and the connection returns to the pool
//!    in a usable state.
//! 4. Busy, serialization and deadlock errors are recognised by their codes. They are retried up to
//!    three times, with jitter. Any other error is a [`Fault`], and a fault is always 503. So an
//!    outage never looks like a refusal.
//!
//! The time limit applies to the waiting in steps 1 to 3, for all attempts together. If `COMMIT`
//! was not sent by then, the transaction is rolled back. `COMMIT` has the full limit again. If it
//! takes longer than that, the answer is 503 although the database may have committed.
//!
//! # What is reported about a write
//!
//! Nothing is traced, counted or mailed before the transaction commits. The transaction collects
//! what to report (`Txn::after_commit`). Events are added where they are recorded, and mail is
//! added where it enters the outbox. `COMMIT` and the reports run in one task, so a client that
//! disconnects loses neither.
//!
//! - A transaction from [`begin`](crate::Portcullis::begin) reports at its commit. This includes
//!   what a hook changes within the transaction that it received.
//! - Portcullis does not see how any other `DatabaseTransaction` of the caller ends. Its events are
//!   traced at once, under a separate target that says so, and are not counted.
//!
//! # Hooks and other code of the application
//!
//! Hooks run in such tasks too, with a separate time limit (`database.hook_timeout`). When the
//! limit is reached, the hook may be in the middle of a statement that waits for a lock. `ROLLBACK`
//! would queue behind that statement. So:
//!
//! 1. Before the first hook of a transaction, portcullis asks the server for the number of the
//!    connection. This is one more statement, on PostgreSQL, MySQL and MariaDB only, and only if
//!    there are hooks. In a `DatabaseTransaction` of the caller it asks before each hook.
//! 2. When the limit is reached, the request is answered. Another connection of the pool then ends
//!    the hook's connection by that number. The server releases all its locks, the hook gets an
//!    error, and the pool opens a new connection.
//! 3. Sometimes the connection cannot be ended: the pool has no free connection, the number belongs
//!    to another server behind the same address, or no answer comes in time. The permit is returned
//!    anyway. The transaction ends when the hook's statement ends, and its connection is then
//!    closed. It is not reused, because the request to end it may arrive late and would hit its
//!    next user.
//!
//! SQLite has no server to ask and no lock to wait for: a transaction that writes is the only one.
//! If a statement of a hook computes for a long time, portcullis waits for it.
//!
//! Portcullis calls other code of the application with a time limit too, such as the source of
//! memberships, `session_info` and the list of breached passwords. Such code usually queries the
//! same pool. It runs in a task that a disconnected client does not end. At its limit it is
//! dropped. On MySQL and MariaDB it continues for a while, because their driver fails if it is
//! dropped in the middle of a statement: see `TimedPort`.
//!
//! # Transactions of the caller
//!
//! Inside a transaction of the caller, portcullis opens no transaction, retries nothing and sets no
//! time limit, except for hooks. Statements run in tasks only if
//! [`begin`](crate::Portcullis::begin) opened the transaction. The caller gets every error,
//! including deadlocks. Flows lock the account's row and the rows of its codes in different orders:
//! a reset finds the code first, disabling locks the account first. So PostgreSQL, MySQL and
//! MariaDB may choose the caller's transaction as the victim of a deadlock. The caller must then
//! repeat the whole transaction.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use sea_orm::{DbErr, RuntimeErr, SqlxError};
use tokio::time::Sleep;

use crate::base::problem::{ErrorChain, PrivateCause, Problem};
use crate::base::secret::random_array;

mod after_commit;
mod server;
mod task;
mod timed_port;
mod txn;

pub(crate) use after_commit::Commit;
pub(crate) use timed_port::TimedPort;
pub(crate) use txn::{Database, Executor, HookEnded, Txn};
pub use txn::{OpenTransaction, Transaction};

/// An infrastructure failure. It is not the client's fault and says nothing about their
/// credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The database returned an error or could not be reached.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Timeout,
    /// The queue of passwords that wait to be hashed is full, or attempts with one name waited too
    /// long for each other.
    #[error("the server is overloaded; try again later")]
    Overloaded {
        /// How long to wait before trying again.
        retry_after: Duration,
    },
    /// A task of portcullis died, or code of the application failed, such as a hook. The details
    /// are the source of this error. They are not part of its message.
    #[error("an internal task failed")]
    Internal(#[source] PrivateCause),
}

impl Fault {
    /// Converts the error of a hook. A database error stays a database error, whether sea-orm or
    /// the driver reported it. So a deadlock inside a hook is retried like any other.
    pub(crate) fn of_hook(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        let error = match error.downcast::<DbErr>() {
            Ok(error) => return Self::Database(*error),
            Err(error) => error,
        };
        match error.downcast::<SqlxError>() {
            Ok(error) => {
                let error = RuntimeErr::SqlxError(Arc::new(*error));
                Self::Database(DbErr::Query(error))
            }
            Err(error) => Self::Internal(ErrorChain(&*error).to_string().into()),
        }
    }

    /// True if the same transaction may succeed when it runs again.
    fn is_transient(&self) -> bool {
        self.told_by_code(|code, text| is_transient(code, text))
    }

    /// True if a key, a check or a trigger rejected the statement. The database works, and would
    /// answer the same next time. A missing privilege or table does not count: it says nothing
    /// about a row, and an operator can fix it.
    pub(crate) fn is_refusal(&self) -> bool {
        self.told_by_code(|code, text| is_refusal(code, text))
    }

    fn told_by_code(&self, judge: impl FnOnce(&str, &dyn Fn() -> String) -> bool) -> bool {
        match self {
            Self::Database(
                DbErr::Exec(RuntimeErr::SqlxError(error))
                | DbErr::Query(RuntimeErr::SqlxError(error))
                | DbErr::Conn(RuntimeErr::SqlxError(error)),
            ) => match &**error {
                SqlxError::Database(error) => {
                    let code = error.code();
                    judge(code.as_deref().unwrap_or_default(), &|| error.to_string())
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// True if this error code means a conflict with another transaction. The code is the same in every
/// language and release, but the text is not.
fn is_transient(code: &str, text: impl FnOnce() -> String) -> bool {
    match code {
        // PostgreSQL: serialization failure or deadlock (MySQL uses this code too), deadlock, and a
        // lock that is not available (`NOWAIT` or `lock_timeout`).
        "40001" | "40P01" | "55P03" => true,
        // MySQL and MariaDB give most of their errors no separate SQLSTATE. The driver writes the
        // number first. 1020: the record has changed since the snapshot. 1205: the lock wait took
        // too long. 1213: deadlock. 3572: a lock that was requested without waiting.
        "HY000" => matches!(number(&text()), "1020" | "1205" | "1213" | "3572"),
        // SQLite errors are numbers, and the last byte is the kind: 5 is busy, 6 is locked. A
        // SQLSTATE always has five characters.
        _ if code.len() < 5 => code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 5 | 6)),
        _ => false,
    }
}

/// True if this error code means that a key, a check or a trigger rejected the statement.
fn is_refusal(code: &str, text: impl FnOnce() -> String) -> bool {
    match code {
        // Raised by a trigger on PostgreSQL, or signalled by most triggers on MySQL and MariaDB.
        "P0001" | "45000" => true,
        // SQLite: a constraint of any kind.
        _ if code.len() < 5 => code.parse().is_ok_and(|code: u32| code & 0xff == 19),
        // The SQLSTATE class of constraints. MySQL and MariaDB: 1217 and 1451 mean that another row
        // points to this one. 1644 means that a trigger signalled, with any SQLSTATE.
        _ => code.starts_with("23") || matches!(number(&text()), "1217" | "1451" | "1644"),
    }
}

/// The number that the MySQL and MariaDB driver writes before the text of an error.
fn number(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()
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

/// An error that may contain a [`Fault`], so that a transaction can decide about a retry.
pub(crate) trait MaybeFault: From<Fault> {
    fn fault(&self) -> Option<&Fault>;
}

/// Makes an error type contain a [`Fault`], in its variant with that name.
macro_rules! may_fault {
    ($error:ident) => {
        impl From<sea_orm::DbErr> for $error {
            fn from(error: sea_orm::DbErr) -> Self {
                Self::Fault(error.into())
            }
        }

        impl $crate::base::transaction::MaybeFault for $error {
            fn fault(&self) -> Option<&$crate::base::transaction::Fault> {
                match self {
                    Self::Fault(fault) => Some(fault),
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use may_fault;

impl MaybeFault for Fault {
    fn fault(&self) -> Option<&Fault> {
        Some(self)
    }
}

/// The database as one flow sees it: the pool, or an open transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Db<'a> {
    executor: Executor<'a>,
    timeout: Duration,
}

impl<'a> Db<'a> {
    pub(crate) fn new(database: &'a Database, timeout: Duration) -> Self {
        Self { executor: Executor::Pool(database), timeout }
    }

    /// Returns the same inside a transaction of the caller.
    #[must_use]
    pub(crate) fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { executor: txn.into().0, ..self }
    }

    /// Returns the same inside the transaction of another portcullis flow.
    #[must_use]
    pub(crate) fn inside(self, txn: &'a Txn<'a>) -> Self {
        Self { executor: Executor::Transaction(txn), ..self }
    }

    /// Returns what to run a query on.
    pub(crate) fn executor(&self) -> Executor<'a> {
        self.executor
    }

    /// True inside a transaction that another flow or the caller has opened.
    pub(crate) fn is_inside(&self) -> bool {
        !matches!(self.executor, Executor::Pool(_))
    }

    /// Awaits a read, with the time limit.
    pub(crate) async fn read<T>(
        &self,
        query: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Fault> {
        if self.is_inside() {
            return Ok(query.await?);
        }
        self.within_limit(query).await
    }

    /// Runs a single statement that writes, and retries it if the database was busy.
    pub(crate) async fn retry<T, F>(&self, statement: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut attempts = self.attempts();
        loop {
            let result = attempts.limit(async { statement().await.map_err(Fault::from) }).await;
            if let Some(result) = attempts.last(result).await {
                break result;
            }
        }
    }

    /// Returns the transaction to write in: a new one, or the open one.
    pub(crate) async fn open(&self) -> Result<Scope<'a>, Fault> {
        Ok(match self.executor {
            Executor::Pool(database) => Scope::New(Txn::Own(Arc::new(database.begin().await?))),
            Executor::Transaction(txn) => Scope::Open(txn.again()),
            Executor::Callers(txn) => Scope::Open(Txn::Callers(txn)),
        })
    }

    pub(crate) fn attempts(&self) -> Attempts {
        if self.is_inside() {
            return Attempts { made: 0, most: 1, timer: None };
        }
        Attempts { made: 0, most: 4, timer: Some(Box::pin(tokio::time::sleep(self.timeout))) }
    }

    /// Commits the transaction that was begun for this flow.
    ///
    /// `COMMIT` has the full time limit. So it is rare that an answer does not tell the result. If
    /// it takes longer, the answer is 503 and the database may still commit.
    pub(crate) async fn commit(&self, scope: Scope<'_>) -> Result<(), Fault> {
        let Scope::New(txn) = scope else { return Ok(()) };
        let Some(own) = txn.into_own() else {
            let reason = "a statement of the transaction was cancelled and is still running";
            return Err(Fault::Internal(reason.into()));
        };
        self.within_limit(own.commit()).await
    }

    async fn within_limit<T>(
        &self,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Fault::Timeout),
        }
    }
}

/// Runs a block in a transaction that writes. It commits on `Ok`, rolls back otherwise, and retries
/// if the database was busy. Inside an open transaction the block just runs.
///
/// The time limit applies to the waiting. If `COMMIT` was not sent by then, the transaction is
/// rolled back.
///
/// `transaction!(db, |txn| { ... Ok(value) })` evaluates to a `Result`. It is a macro because the
/// compiler cannot prove that an async closure with borrows is `Send`.
macro_rules! transaction {
    ($db:expr, |$txn:ident| $body:block) => {{
        let db: $crate::base::transaction::Db<'_> = $db;
        let mut attempts = db.attempts();
        loop {
            let ended = attempts.limit(async {
                match db.open().await {
                    Ok(scope) => {
                        let $txn = scope.transaction();
                        let result = async $body.await;
                        match result {
                            Ok(value) => Ok((scope, value)),
                            Err(error) => {
                                scope.roll_back().await;
                                Err(error)
                            }
                        }
                    }
                    Err(fault) => Err(fault.into()),
                }
            });
            // Outside the limit above: a `COMMIT` that was sent has the full time limit again.
            let result = match ended.await {
                Ok((scope, value)) => match db.commit(scope).await {
                    Ok(()) => Ok(value),
                    Err(fault) => Err(fault.into()),
                },
                Err(error) => Err(error),
            };
            if let Some(result) = attempts.last(result).await {
                break result;
            }
        }
    }};
}
pub(crate) use transaction;

/// A transaction, together with which flow ends it.
pub(crate) enum Scope<'a> {
    /// Begun for this flow, which ends it.
    New(Txn<'a>),
    /// Begun earlier by another flow or by the caller, which ends it.
    Open(Txn<'a>),
}

impl<'a> Scope<'a> {
    pub(crate) fn transaction(&self) -> &Txn<'a> {
        let (Self::New(txn) | Self::Open(txn)) = self;
        txn
    }

    /// Rolls back the transaction that was begun for this flow.
    pub(crate) async fn roll_back(self) {
        if let Self::New(txn) = self
            && let Some(own) = txn.into_own()
        {
            own.rollback().await;
        }
    }
}

/// Counts the attempts at one transaction and limits their number and their total time.
pub(crate) struct Attempts {
    made: u32,
    most: u32,
    /// `None` inside a transaction that is already open.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Attempts {
    /// Awaits one attempt, within the time that is left for all of them.
    pub(crate) async fn limit<T, E: From<Fault>>(
        &mut self,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut attempt = pin!(attempt);
        poll_fn(|context| {
            // The work comes before the timer, so that a result counts even if the time has just
            // ended.
            if let Poll::Ready(result) = attempt.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            match &mut self.timer {
                Some(timer) => timer.as_mut().poll(context).map(|()| Err(Fault::Timeout.into())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Returns the result if it is final. Otherwise waits until the next attempt and returns
    /// `None`.
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

/// Waits 5, 20 and 80 ms, each plus up to the same time as jitter, so that two losers do not
/// collide again.
fn backoff(attempt: u32) -> Duration {
    let base = 5 * 4u64.pow(attempt - 1);
    let jitter = u64::from(random_array::<1>()[0]) * base / 255;
    Duration::from_millis(base + jitter)
}

/// True if a unique key rejected the row.
pub(crate) fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// True if the row was rejected because the row that it points to does not exist.
pub(crate) fn is_foreign_key_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)))
}

#[cfg(test)]
mod tests {
    use super::{is_refusal, is_transient};

    #[test]
    fn what_is_tried_again_is_told_by_its_code_alone() {
        let check = |code: &str, text: &str| is_transient(code, || text.to_owned());
        for code in ["40001", "40P01", "55P03", "5", "6", "261", "262", "517", "518", "773"] {
            assert!(check(code, ""), "{code}");
        }
        for text in ["1205 (HY000): x", "1020 (HY000): x", "1213: x", "3572 (HY000): x"] {
            assert!(check("HY000", text), "{text}");
        }
        for code in ["", "19", "2067", "10", "40002", "23505", "25P02", "55000", "00005"] {
            assert!(!check(code, "1205 (HY000): deadlock detected, database is locked"), "{code}");
        }
        for text in ["", "deadlock", "12050 (HY000): x", "1105 (HY000): 1205", " 1205"] {
            assert!(!check("HY000", text), "{text}");
        }
    }

    #[test]
    fn a_refusal_is_no_outage() {
        let check = |code: &str, text: &str| is_refusal(code, || text.to_owned());
        // Keys, checks and triggers of SQLite, PostgreSQL (`RESTRICT` since 18 too) and MySQL.
        for code in ["19", "275", "787", "1811", "2067", "23503", "23001", "P0001", "45000"] {
            assert!(check(code, ""), "{code}");
        }
        for text in ["1217 (HY000): x", "1451 (HY000): x", "1644 (HY000): x"] {
            assert!(check("HY000", text), "{text}");
        }
        assert!(check("23000", "1451 (23000): x") && check("99001", "1644 (99001): x"));
        for code in ["", "1", "10", "13", "8", "1032", "08006", "25006", "53100", "57P01", "XX000"]
        {
            assert!(!check(code, "kept, 1451"), "{code}");
        }
        // A missing privilege, table or column, or a limit that was reached.
        for code in ["42501", "42P01", "42703", "57014", "25P02", "40001", "P0002"] {
            assert!(!check(code, ""), "{code}");
        }
        for (code, number) in [
            ("42000", "1142"),
            ("42S02", "1146"),
            ("HY000", "1021"),
            ("HY000", "1290"),
            ("HY000", "1105"),
            ("HY000", "16440"),
            ("70100", "1317"),
        ] {
            assert!(!check(code, &format!("{number} ({code}): 1644")), "{number}");
        }
    }
}
