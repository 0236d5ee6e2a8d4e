//! Counting what a connection asks.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{DatabaseConnection, Statement};

/// Counts the statements of a connection, and remembers them: how many a request costs is
/// a property that tests can hold.
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
/// `BEGIN`, `COMMIT` and what an application asks with the driver itself are not counted.
#[derive(Debug, Clone, Default)]
pub struct StatementCounter(Arc<Mutex<Vec<Statement>>>);

impl StatementCounter {
    /// A counter of this connection's statements, in the place of its metric callback.
    pub fn install(db: &mut DatabaseConnection) -> Self {
        let counter = Self::default();
        counter.count_also(db);
        counter
    }

    /// Counts another connection's too.
    pub fn count_also(&self, db: &mut DatabaseConnection) {
        let counter = self.clone();
        db.set_metric_callback(move |info| {
            let statement = info.statement.clone();
            counter.0.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
        });
    }

    /// How many there were so far.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many there are while `work` runs, whoever asks them.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        let before = self.count();
        let result = work.await;
        (result, self.count() - before)
    }

    /// The texts so far; counts from zero again.
    pub fn take(&self) -> Vec<String> {
        self.take_statements().into_iter().map(|statement| statement.sql).collect()
    }

    /// The same with their values, so that the database can be asked how it runs them.
    pub fn take_statements(&self) -> Vec<Statement> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
