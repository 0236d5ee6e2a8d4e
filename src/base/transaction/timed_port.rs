//! Code of the application that runs within a time limit, outside the transactions of portcullis.
//!
//! Such code usually queries the application's pool. If the MySQL driver is dropped in the middle of
//! a statement, its connection keeps an unread answer. The next query then takes this answer for its
//! own. So the code runs in a task. The task continues when the client disconnects, and on
//! MySQL and MariaDB also after the limit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::task::detached;
use super::txn::Database;

/// How many calls of each kind may continue after nobody waits for them. This is more than a pool
/// has connections, so a call above this number hardly holds one. Such a call is dropped. New calls
/// are never refused.
const MOST: usize = 256;

/// How long a call may continue after nobody waits for it. Without this limit, a call that hangs
/// would be kept forever, such as one to a host that is gone.
const LINGERS: Duration = Duration::from_secs(300);

/// Code of the application that is called with a time limit.
pub(crate) struct TimedPort<P: ?Sized> {
    port: Arc<P>,
    lingering: Arc<Semaphore>,
    database: Database,
}

impl<P: ?Sized + Send + Sync + 'static> TimedPort<P> {
    pub(crate) fn new(port: Arc<P>, database: &Database) -> Self {
        Self { port, lingering: Arc::new(Semaphore::new(MOST)), database: database.clone() }
    }

    /// Calls the application. Returns `None` if there is no answer within `limit`.
    ///
    /// # Panics
    /// Panics if the called code panics.
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
                    // A shutdown does not wait for this call either.
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
            // The runtime is shutting down, and drops this future too.
            _ => std::future::pending().await,
        }
    }
}
