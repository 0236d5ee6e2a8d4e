//! Tasks of portcullis: work that finishes even when nobody waits for it any more.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument;
use tracing::instrument::WithSubscriber;

/// Starts tasks and counts the running ones, so that a shutdown can wait for them.
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

/// What a flow in a separate task has begun.
#[derive(Debug, Default)]
struct Flow {
    /// True after a transaction was opened. From then on the flow runs to its end.
    opened: AtomicBool,
    /// The number of single write statements that are running.
    writing: AtomicUsize,
}

tokio::task_local! {
    static FLOW: Arc<Flow>;
}

impl Tasks {
    /// Starts a task. It continues when the handle is dropped. What it traces belongs to the span
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

    /// Runs a flow in a separate task and waits for it.
    ///
    /// If the waiting future is dropped, the flow stops too, unless it has opened a transaction.
    /// Then it runs to its end. While a single write statement runs, the flow also continues until
    /// the statement has ended. So no password is hashed for a client that has disconnected, but a
    /// change that was begun is finished. Inside such a task, another flow just runs.
    pub(crate) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        if FLOW.try_with(|_| ()).is_ok() {
            return Ok(work.await);
        }
        let flow = Arc::new(Flow::default());
        // Dropping this tells the task that nobody waits any more.
        let (_waiting, mut gone) = oneshot::channel::<()>();
        let begun = Arc::clone(&flow);
        let work = async move {
            let mut work = pin!(work);
            let mut is_gone = false;
            poll_fn(|context| {
                // Check this first: nothing is begun for a client that has disconnected.
                is_gone = is_gone || pin!(&mut gone).poll(context).is_ready();
                if is_gone && !begun.is_writing() {
                    return Poll::Ready(None);
                }
                if let Poll::Ready(result) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(result));
                }
                // Check again after the poll: a single write may have ended in it, and must not be
                // followed by more.
                if is_gone && !begun.is_writing() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        match self.spawn(FLOW.scope(flow, work)).await? {
            Some(result) => Ok(result),
            // The task saw that the waiting future was dropped, so this code is not polled any
            // more.
            None => std::future::pending().await,
        }
    }

    /// Counts one unfinished piece of work, until the returned value is dropped.
    pub(crate) fn running(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(&self.0))
    }

    /// Waits until nothing is running.
    pub(crate) async fn ended(&self) {
        loop {
            // Register before reading the number. Otherwise the last task could end in between and
            // this would wait forever.
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

/// Records that the flow of this task opens a transaction.
pub(super) fn opening() {
    let _ = FLOW.try_with(|flow| flow.opened.store(true, Ordering::SeqCst));
}

/// Records that the flow of this task runs a single write statement, until the guard is dropped.
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
