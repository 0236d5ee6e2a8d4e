//! Counts the statements of a connection.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{DatabaseConnection, Statement};

/// Counts and stores the statements of a connection. So a test can check how many statements a
/// request costs.
///
/// ```no_run
/// # async fn example(mut db: sea_orm::DatabaseConnection) {
/// use portcullis::test_kit::StatementCounter;
///
/// let statements = StatementCounter::install(&mut db);
/// // … build the instance with `db.clone()`; clones made before are not counted.
/// let (answer, count) = statements.during(async { "a request" }).await;
/// assert_eq!(count, 0);
/// # }
/// ```
///
/// `BEGIN`, `COMMIT` and statements that an application sends with the driver itself are not
/// counted.
#[derive(Debug, Clone, Default)]
pub struct StatementCounter(Arc<Mutex<Vec<Statement>>>);

impl StatementCounter {
    /// Installs a counter for this connection. It replaces the metric callback of the connection.
    pub fn install(db: &mut DatabaseConnection) -> Self {
        let counter = Self::default();
        counter.count_also(db);
        counter
    }

    /// Also counts the statements of another connection.
    pub fn count_also(&self, db: &mut DatabaseConnection) {
        let counter = self.clone();
        db.set_metric_callback(move |info| {
            let statement = info.statement.clone();
            counter.0.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
        });
    }

    /// Returns the number of statements so far.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the number of statements while `work` runs, including those of other tasks.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        let before = self.count();
        let result = work.await;
        (result, self.count() - before)
    }

    /// Returns the texts so far, and counts from zero again.
    pub fn take(&self) -> Vec<String> {
        self.take_statements().into_iter().map(|statement| statement.sql).collect()
    }

    /// Returns the same with their values, so that the test can ask the database how it runs them.
    pub fn take_statements(&self) -> Vec<Statement> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
