//! The order of attempts for one subject in this process.
//!
//! Attempts of one subject are admitted one after the other, so that they do not compete for the
//! same row. The rule decides how many are then compared at once. Between processes the primary key
//! of the row decides.
//!
//! Attempts at different names never wait for each other, even if the names belong to one account.
//! The waiting time would reveal that they belong together. So attempts of strangers are queued by
//! what they typed. A pending attempt at another name of the account counts as failed.

use std::collections::HashMap;
#[cfg(feature = "test-util")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, Notify};

use super::key::{Key, Taken};
use crate::base::clock::{OncePerMinute, Timestamp};
use crate::base::event::count;
use crate::context::{Context, PerInstance};

/// The queues of one instance.
#[derive(Default)]
pub(crate) struct Queues {
    queues: Mutex<HashMap<Key, Arc<Queue>>>,
    /// The attempts that are being compared now: the row of each one, and its queue.
    underway: Mutex<HashMap<Taken, Key>>,
    /// Limits the warning about attempts that waited too long.
    warning: OncePerMinute,
    #[cfg(feature = "test-util")]
    refused: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Queue {
    /// Held while the rule decides about one attempt.
    pub(crate) turn: Turn<()>,
    /// Notified when an attempt of this subject has ended.
    pub(crate) settled: Notify,
}

impl PerInstance for Queues {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

/// A position in a queue. The queue is removed with its last position.
pub(crate) struct QueuePosition {
    queues: Arc<Queues>,
    key: Key,
    /// `None` only while the position is being dropped.
    queue: Option<Arc<Queue>>,
}

impl QueuePosition {
    pub(crate) fn take(queues: &Arc<Queues>, key: &Key) -> Self {
        let mut known = queues.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = Arc::clone(known.entry(key.clone()).or_default());
        Self { queues: Arc::clone(queues), key: key.clone(), queue: Some(queue) }
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        self.queue.as_ref().expect("a position has a queue until it is dropped")
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        queue.settled.notify_one();
        let mut known = self.queues.queues.lock().unwrap_or_else(PoisonError::into_inner);
        // Drop this reference under the lock. If two positions end at once, the second one then
        // sees that it is the last.
        drop(queue);
        if known.get(&self.key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            known.remove(&self.key);
        }
    }
}

/// An attempt that is being compared now.
pub(crate) struct Underway {
    queues: Arc<Queues>,
    row: Taken,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut underway = self.queues.underway.lock().unwrap_or_else(PoisonError::into_inner);
        underway.remove(&self.row);
    }
}

impl QueuePosition {
    /// Records that this row is being compared from now on.
    pub(crate) fn begin(&self, row: &Taken) -> Underway {
        let mut underway = self.queues.underway.lock().unwrap_or_else(PoisonError::into_inner);
        underway.insert(row.clone(), self.key.clone());
        Underway { queues: Arc::clone(&self.queues), row: row.clone() }
    }

    /// Returns true if this row is being compared for an attempt in another queue of this process.
    pub(crate) fn is_elsewhere(&self, row: &Taken) -> bool {
        let underway = self.queues.underway.lock().unwrap_or_else(PoisonError::into_inner);
        underway.get(row).is_some_and(|queue| *queue != self.key)
    }
}

impl Queues {
    /// Warns the operator, once a minute, that an attempt was answered 503 because it waited too
    /// long.
    pub(crate) fn tell_overload(&self, now: Timestamp) {
        count("attempts_overloaded");
        if self.warning.is_first(now) {
            tracing::warn!(
                target: "portcullis",
                code = "attempts_overloaded",
                "attempts of one subject wait longer than `database.timeout` for each other; these requests \
                 are answered with 503",
            );
        }
    }

    /// Records that an attempt was refused, for tests.
    #[cfg_attr(not(feature = "test-util"), expect(clippy::unused_self, reason = "for tests"))]
    pub(crate) fn note_refused(&self) {
        #[cfg(feature = "test-util")]
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Returns how many subjects have an attempt in their queue.
    #[cfg(feature = "test-util")]
    pub(crate) fn busy(&self) -> usize {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AttemptKind;

    #[test]
    fn a_lane_is_kept_only_while_somebody_is_in_it() {
        let queues = Arc::new(Queues::default());
        let key = Key { subject: [1; 32], kind: AttemptKind::Login, part: 0 };
        let first = QueuePosition::take(&queues, &key);
        let second = QueuePosition::take(&queues, &key);
        assert!(Arc::ptr_eq(first.queue(), second.queue()));
        drop(first);
        assert_eq!(queues.queues.lock().unwrap().len(), 1);
        drop(second);
        assert_eq!(queues.queues.lock().unwrap().len(), 0);
    }

    #[test]
    fn places_that_end_together_leave_no_lane_behind() {
        let queues = Arc::new(Queues::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..20_000_u32 {
                        let mut subject = [0; 32];
                        // All threads use the same few subjects at about the same time.
                        subject[..4].copy_from_slice(&(number / 10).to_be_bytes());
                        let key = Key { subject, kind: AttemptKind::Login, part: 0 };
                        drop(QueuePosition::take(&queues, &key));
                    }
                });
            }
        });
        assert_eq!(queues.queues.lock().unwrap().len(), 0);
    }
}
