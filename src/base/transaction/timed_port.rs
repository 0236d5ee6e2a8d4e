//! Code of the application that is waited for within a limit, outside of our transactions.
//!
//! It usually asks the application's pool. Dropped in the middle of a statement, the MySQL driver
//! leaves a connection with an answer that the next query takes for its own. So it runs in a task that
//! goes on when the limit strikes or the client hangs up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::task::{Tasks, detached};
use super::txn::Database;
use crate::base::clock::Stopwatch;

/// How many may be under way at once, of each kind, with those that are not waited for any more. More
/// than a pool has connections, so that it limits nothing but what is left behind.
const MOST: usize = 256;

/// How long one goes on that is not waited for any more. What hangs for ever, such as a connection to
/// a host that is gone, would otherwise be kept for ever.
const LINGERS: Duration = Duration::from_secs(300);

/// Something of the application's that is asked within a limit.
pub(crate) struct TimedPort<P: ?Sized> {
    port: Arc<P>,
    permits: Arc<Semaphore>,
    tasks: Tasks,
}

impl<P: ?Sized + Send + Sync + 'static> TimedPort<P> {
    pub(crate) fn new(port: Arc<P>, database: &Database) -> Self {
        Self { port, permits: Arc::new(Semaphore::new(MOST)), tasks: database.tasks().clone() }
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
        let started = Stopwatch::start();
        let permit = timeout(limit, Arc::clone(&self.permits).acquire_owned()).await.ok()?.ok()?;
        let limit = limit.saturating_sub(started.elapsed());
        let (port, running) = (Arc::clone(&self.port), self.tasks.running());
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
                    let _ = timeout(LINGERS, asking).await;
                }
            }
            drop(permit);
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
