//! Code of the application that is waited for within a limit, outside of our transactions.
//!
//! It usually asks the application's pool. Dropped in the middle of a statement, the MySQL driver
//! leaves a connection with an answer that the next query takes for its own. So it runs in a task that
//! goes on when the client hangs up, and on MySQL and MariaDB when the limit strikes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::task::detached;
use super::txn::Database;

/// How many of each kind may go on at once that are not waited for any more. More than a pool has
/// connections, so one above that hardly holds one: it is dropped, and no new question is refused.
const MOST: usize = 256;

/// How long one goes on that is not waited for any more. What hangs for ever, such as a connection to
/// a host that is gone, would otherwise be kept for ever.
const LINGERS: Duration = Duration::from_secs(300);

/// Something of the application's that is asked within a limit.
pub(crate) struct TimedPort<P: ?Sized> {
    port: Arc<P>,
    lingering: Arc<Semaphore>,
    database: Database,
}

impl<P: ?Sized + Send + Sync + 'static> TimedPort<P> {
    pub(crate) fn new(port: Arc<P>, database: &Database) -> Self {
        Self { port, lingering: Arc::new(Semaphore::new(MOST)), database: database.clone() }
    }

    /// The answer; none if there is none within `limit`.
    ///
    /// # Panics
    /// Panics if what was asked does.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl for<'p> FnOnce(&'p P) -> Pin<Box<dyn Future<Output = T> + Send + 'p>>
        + Send
        + 'static,
    ) -> Option<T> {
        let (port, running) = (Arc::clone(&self.port), self.database.tasks().running());
        let (database, lingering) = (self.database.clone(), Arc::clone(&self.lingering));
        let (answer, answered) = oneshot::channel();
        let task = detached(async move {
            let mut asking = question(&port);
            match timeout(limit, &mut asking).await {
                Ok(result) => {
                    let _ = answer.send(Some(result));
                }
                Err(_) => {
                    let _ = answer.send(None);
                    // A shutdown does not wait for it either.
                    drop(running);
                    if database.backend() == DbBackend::MySql
                        && let Ok(_permit) = lingering.try_acquire()
                    {
                        let _ = timeout(LINGERS, asking).await;
                    }
                }
            }
        });
        if let Ok(answer) = answered.await {
            return answer;
        }
        match task.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime shuts down, and drops this too.
            _ => std::future::pending().await,
        }
    }
}
