//! What is told only once a transaction has committed: events, and that mail waits.
//!
//! A flow says what is to be told where it writes it down, in the transaction. If that is rolled back or
//! tried again, nothing was told. So no flow has to remember it, and none can tell too early.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What is known of a transaction when it is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Done,
    /// It is the caller's, who may still roll it back, and says nothing of its end.
    Unknown,
}

type Telling = Box<dyn FnOnce(Commit) + Send>;

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
