//! What is reported only after a transaction has committed: events, and that mail is waiting.
//!
//! A flow registers a report where it writes the change, in the same transaction. If the
//! transaction is rolled back or retried, nothing was reported. So a flow cannot forget a report
//! and cannot report too early.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::DatabaseTransaction;

/// What is known about the end of a transaction when its reports run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Done,
    /// The transaction belongs to the caller, who may still roll it back. Its end is not visible.
    Unknown,
}

type Telling = Box<dyn FnOnce(Commit) + Send>;

tokio::task_local! {
    /// The transaction that the running hook received, and the reports that wait for its commit.
    /// The hook only has a plain `DatabaseTransaction`, which carries neither. The task-local value
    /// connects a later `within(txn)` with the transaction of portcullis.
    static HOOK: (usize, Arc<AfterCommit>);
}

/// Runs a hook in a transaction of portcullis. What the hook changes `within` it is reported after
/// the commit.
pub(super) fn in_hook<F: Future>(
    txn: &DatabaseTransaction,
    after_commit: &Arc<AfterCommit>,
    hook: F,
) -> impl Future<Output = F::Output> + use<F> {
    HOOK.scope((address(txn), Arc::clone(after_commit)), hook)
}

/// Returns the list of reports of this transaction, if it is the one that the running hook
/// received.
pub(super) fn of_hook(txn: &DatabaseTransaction) -> Option<Arc<AfterCommit>> {
    let found = HOOK.try_with(|(hook, list)| (*hook == address(txn)).then(|| Arc::clone(list)));
    found.ok().flatten()
}

/// The address identifies the transaction. The hook borrows the transaction, so it cannot move while
/// the hook runs.
fn address(txn: &DatabaseTransaction) -> usize {
    std::ptr::from_ref(txn).addr()
}

/// The reports that wait for the commit of one transaction.
#[derive(Default)]
pub(super) struct AfterCommit(Mutex<Vec<Telling>>);

impl AfterCommit {
    pub(super) fn add(&self, telling: impl FnOnce(Commit) + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(telling));
    }

    /// Runs the reports. The transaction has committed.
    pub(super) fn run(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for telling in waiting {
            telling(Commit::Done);
        }
    }
}

impl fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AfterCommit(..)")
    }
}
