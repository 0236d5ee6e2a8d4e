//! What is told only once a transaction has committed: events, and that mail waits.
//!
//! A flow says what is to be told where it writes it down, in the transaction. If that is rolled back or
//! tried again, nothing was told. So no flow has to remember it, and none can tell too early.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::DatabaseTransaction;

/// What is known of a transaction when it is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Done,
    /// It is the caller's, who may still roll it back, and says nothing of its end.
    Unknown,
}

type Telling = Box<dyn FnOnce(Commit) + Send>;

tokio::task_local! {
    /// The transaction that a hook runs in, and what waits for its commit. A hook has a plain
    /// `DatabaseTransaction`, which says neither.
    static HOOK: (usize, Arc<AfterCommit>);
}

/// Runs a hook in a transaction of ours, so that what it changes `within` it is told after the commit.
pub(super) fn in_hook<F: Future>(
    txn: &DatabaseTransaction,
    after_commit: &Arc<AfterCommit>,
    hook: F,
) -> impl Future<Output = F::Output> + use<F> {
    HOOK.scope((address(txn), Arc::clone(after_commit)), hook)
}

/// What waits for the commit of this transaction, if it is the one that the running hook got.
pub(super) fn of_hook(txn: &DatabaseTransaction) -> Option<Arc<AfterCommit>> {
    let found = HOOK.try_with(|(hook, list)| (*hook == address(txn)).then(|| Arc::clone(list)));
    found.ok().flatten()
}

fn address(txn: &DatabaseTransaction) -> usize {
    std::ptr::from_ref(txn).addr()
}

/// What waits for the commit of one transaction.
#[derive(Default)]
pub(super) struct AfterCommit(Mutex<Vec<Telling>>);

impl AfterCommit {
    pub(super) fn add(&self, telling: impl FnOnce(Commit) + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(telling));
    }

    /// The transaction has committed.
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
