//! Reading and writing the database: one place for transactions, retries and time limits.
//!
//! # How a write goes
//!
//! 1. It waits for one of the permits (`database.writers`; one on SQLite), in the request, so that
//!    clients who hang up leave no queue behind.
//! 2. A writing transaction opens as one: on SQLite `BEGIN IMMEDIATE`, because a transaction that
//!    reads first and writes later fails at once beside another writer.
//! 3. Each statement runs in a task of its own, and so do `BEGIN`, `COMMIT` and `ROLLBACK`; the request
//!    waits for it. Dropped at any point, the request leaves a statement that ends and a transaction
//!    that is rolled back by its last owner, and the connection goes back whole.
//! 4. Busy, serialization and deadlock errors, told by their codes, are tried again up to three times
//!    with jitter. Whatever is left is a [`Fault`], and a fault is always 503: an outage never looks
//!    like a refusal.
//!
//! The time limit ends the waiting of steps 1 to 3, all attempts together. What was not sent to be
//! committed by then is rolled back. `COMMIT` has the limit once more to itself; only where it takes
//! longer than that may something have been carried out that was answered 503.
//!
//! # What is told of a write
//!
//! Nothing is traced, counted or mailed before its transaction is committed. The transaction keeps what
//! is to be told (`Txn::after_commit`): events are given to it where they are recorded, and mail where
//! it is put into the outbox. `COMMIT` and the telling are one task, so a client who hangs up loses
//! neither. A transaction that [`begin`](crate::Portcullis::begin) opened tells at its commit, and so does what a
//! hook changes within the transaction that it got. Of any other
//! `DatabaseTransaction` of the caller's the end is not known: its events are traced at once, under a target
//! of their own that says so, and are not counted.
//!
//! # Hooks and other code of the application
//!
//! Hooks run in such tasks too, within a limit of their own (`database.hook_timeout`). When it strikes,
//! the hook may be in the middle of a statement that waits for a lock, and `ROLLBACK` would queue behind
//! that statement. So:
//!
//! 1. Before the first hook of a transaction its connection is asked for its number at the server: one
//!    statement more, on PostgreSQL, MySQL and MariaDB, only where there are hooks. In a
//!    `DatabaseTransaction` of the caller's it is asked before each hook.
//! 2. When the limit strikes, the request is answered, and another connection of the pool ends the one
//!    of the hook by that number. The server lets go of all its locks, the hook sees an error, and the
//!    pool opens another connection.
//! 3. If it cannot be ended (the pool has no connection left, the number belongs to another server
//!    behind the same address, no answer in time), the permit is given back all the same. The transaction
//!    ends when the statement of the hook does, and its connection is closed: what was sent to end it may
//!    arrive late, and would meet its next user.
//!
//! SQLite has no server to ask, and nothing to wait for: a transaction that writes is alone there. A
//! statement of a hook that computes for long is waited for.
//!
//! What else of the application is waited for within a limit (the source of memberships, `session_info`,
//! the list of breached passwords and others) usually asks the same pool. It runs in a task, which a client
//! who hangs up does not end. At its limit it is dropped; on MySQL and MariaDB, whose driver minds that in
//! the middle of a statement, it goes on for a while: see `TimedPort`.
//!
//! # Transactions of the caller
//!
//! Inside a transaction of the caller's nothing is opened, retried, timed or put into a task: errors
//! go to them, also a deadlock. Flows lock an account's row and the rows of its codes in different
//! orders (a reset finds the code first, a disabling the account), so PostgreSQL, MySQL and MariaDB may
//! choose the caller's transaction as the one that loses. Then the caller repeats all of it.

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

/// An infrastructure failure: not the client's fault, and no statement about their credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The database refused or was not reached.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Timeout,
    /// More passwords wait to be hashed than the queue takes, or tries of one name wait for each other
    /// for too long.
    #[error("too much is under way at once")]
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
    /// in it is tried again like any other, whether sea-orm or the driver reported it.
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

    /// Whether the same transaction may succeed if it is run again.
    fn is_transient(&self) -> bool {
        self.told_by_code(|code, text| is_transient(code, text))
    }

    /// Whether a key, a check or a trigger refused this: the database works, and will say the same
    /// next time. A missing privilege or table is none: it says nothing of a row, and somebody mends
    /// it.
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

/// Whether a database reports with this code that a transaction met another one. A code is the same
/// in every language and release; the words beside it are not.
fn is_transient(code: &str, text: impl FnOnce() -> String) -> bool {
    match code {
        // PostgreSQL, and for the first of them MySQL too: serialization failure or deadlock;
        // deadlock; a lock that was not to be waited for any longer.
        "40001" | "40P01" | "55P03" => true,
        // MySQL and MariaDB give most numbers of theirs no SQLSTATE of its own. The driver writes
        // the number first: 1020, the record has changed since the snapshot; 1205, the wait for a
        // lock took too long; 1213, a deadlock; 3572, the lock was not to be waited for.
        "HY000" => matches!(number(&text()), "1020" | "1205" | "1213" | "3572"),
        // SQLite numbers its errors, and keeps the kind in the last byte: busy, locked. A SQLSTATE
        // always has five characters.
        _ if code.len() < 5 => code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 5 | 6)),
        _ => false,
    }
}

/// Whether a database reports with this code that a key, a check or a trigger forbids it.
fn is_refusal(code: &str, text: impl FnOnce() -> String) -> bool {
    match code {
        // What a trigger of PostgreSQL raises, and what one of MySQL and MariaDB usually signals.
        "P0001" | "45000" => true,
        // SQLite: a constraint, of whichever kind.
        _ if code.len() < 5 => code.parse().is_ok_and(|code: u32| code & 0xff == 19),
        // The class of constraints. MySQL and MariaDB: 1217 and 1451, a row points to it; 1644, a
        // trigger signals, with whatever SQLSTATE it likes.
        _ => code.starts_with("23") || matches!(number(&text()), "1217" | "1451" | "1644"),
    }
}

/// The number that the driver of MySQL and MariaDB writes before an error's text.
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

/// An error that may be a [`Fault`] underneath, so that a transaction knows whether to try again.
pub(crate) trait MaybeFault: From<Fault> {
    fn fault(&self) -> Option<&Fault>;
}

/// Lets an error be a [`Fault`] underneath, in its variant of that name.
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
    pub(crate) fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { executor: txn.into().0, ..self }
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
        self.within_limit(query).await
    }

    /// Runs a single writing statement, again when the database was busy.
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

    /// The transaction to write in: a new one, or the one that is open.
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

    /// Commits what was begun for this flow.
    ///
    /// `COMMIT` has the time limit to itself, so that hardly an answer leaves open what became of it.
    /// Where it does not suffice, the answer is 503 and the database may still commit.
    pub(crate) async fn commit(&self, scope: Scope<'_>) -> Result<(), Fault> {
        let Scope::New(txn) = scope else { return Ok(()) };
        let Some(own) = txn.into_own() else {
            let reason = "a statement of the transaction was given up";
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

/// Runs a block in a writing transaction: committed if it is `Ok`, rolled back otherwise, tried
/// again when the database was busy. Inside a transaction that is open already it just runs.
///
/// The time limit ends the waiting: what was not sent to be committed by then is rolled back.
///
/// `transaction!(db, |txn| { ... Ok(value) })` is a `Result`. A macro because an async closure
/// that borrows from its surroundings cannot be shown to be `Send`.
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

    /// Rolls back what was begun for this flow.
    pub(crate) async fn roll_back(self) {
        if let Self::New(txn) = self
            && let Some(own) = txn.into_own()
        {
            own.rollback().await;
        }
    }
}

/// How often a transaction was tried, how often it may be, and for how long.
pub(crate) struct Attempts {
    made: u32,
    most: u32,
    /// None inside a transaction that is open already.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Attempts {
    /// Awaits one of them, within what is left of the time for all.
    pub(crate) async fn limit<T, E: From<Fault>>(
        &mut self,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut attempt = pin!(attempt);
        poll_fn(|context| {
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
        // Keys, checks and triggers: of SQLite, of PostgreSQL (RESTRICT since 18 too), of MySQL.
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
        // A privilege, a table or a column that is missing, a limit that struck.
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
