//! Tasks of ours: work that ends by itself, even when nobody waits for it any more.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

/// Starts tasks and counts those that run, so that a shutdown can wait for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    running: AtomicUsize,
    none_left: Notify,
}

/// Counts as a running task until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Arc<Count>);

impl Tasks {
    /// Starts a task. It goes on when the handle is dropped, and what it traces belongs to the span
    /// in which it was started.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let running = self.running();
        let work = async move {
            let result = work.await;
            drop(running);
            result
        };
        tokio::spawn(work.in_current_span().with_current_subscriber())
    }

    /// Something that is not finished yet.
    pub(crate) fn running(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(&self.0))
    }

    /// Waits until nothing runs.
    pub(crate) async fn ended(&self) {
        loop {
            // Before looking at the number, so that the last one cannot end in between unheard.
            let none_left = self.0.none_left.notified();
            if self.0.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            none_left.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}
