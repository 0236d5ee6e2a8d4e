//! Tasks of ours: work that ends by itself, even when nobody waits for it any more.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinError, JoinHandle};
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

/// What a flow that runs in a task of its own has begun.
#[derive(Debug, Default)]
struct Flow {
    /// A transaction was opened: from then on the flow goes to its end.
    opened: AtomicBool,
    /// Single statements that write and are under way.
    writing: AtomicUsize,
}

tokio::task_local! {
    static FLOW: Arc<Flow>;
}

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
        detached(work)
    }

    /// Runs a flow in a task of its own and waits for it.
    ///
    /// Where the waiting is given up, the flow is too, unless it has opened a transaction: then it
    /// goes to its end. So nobody's password is hashed for a client who is gone, and what was begun
    /// is done. Inside such a task another flow just runs.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        if FLOW.try_with(|_| ()).is_ok() {
            return Ok(work.await);
        }
        let flow = Arc::new(Flow::default());
        // Closed when the waiting ends, whichever way.
        let (_waiting, mut gone) = oneshot::channel::<()>();
        let begun = Arc::clone(&flow);
        let work = async move {
            let mut work = pin!(work);
            let mut is_gone = false;
            poll_fn(|context| {
                // Looked at first: nothing is begun for a client who is gone.
                is_gone = is_gone || pin!(&mut gone).poll(context).is_ready();
                if is_gone && !begun.is_writing() {
                    return Poll::Ready(None);
                }
                if let Poll::Ready(result) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(result));
                }
                if is_gone && !begun.is_writing() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        match self.spawn(FLOW.scope(flow, work)).await? {
            Some(result) => Ok(result),
            // Given up, and so is this waiting.
            None => std::future::pending().await,
        }
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

/// Starts a task that nobody waits for, not even a shutdown. What it traces belongs to the span in
/// which it was started.
pub(super) fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(work.in_current_span().with_current_subscriber())
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

impl Flow {
    fn is_writing(&self) -> bool {
        self.opened.load(Ordering::SeqCst) || self.writing.load(Ordering::SeqCst) > 0
    }
}

/// The flow of this task opens a transaction.
pub(super) fn opening() {
    let _ = FLOW.try_with(|flow| flow.opened.store(true, Ordering::SeqCst));
}

/// The flow of this task writes with a single statement, until the guard is dropped.
pub(super) fn writing() -> Writing {
    Writing(FLOW.try_with(Arc::clone).ok().inspect(|flow| {
        flow.writing.fetch_add(1, Ordering::SeqCst);
    }))
}

pub(super) struct Writing(Option<Arc<Flow>>);

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(flow) = &self.0 {
            flow.writing.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
