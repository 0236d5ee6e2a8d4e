//! The lease for maintenance, the time of its last run, and the warning if nobody runs it.
//!
//! This is below the flows, because a sign-in checks from time to time whether maintenance still
//! runs. It is separate from `maintenance`, which is above all flows because it cleans up after
//! them.
//!
//! - The lease is a row that a run takes for a few minutes and extends while it works. So two nodes
//!   that start at the same time do not do the work twice. If a node was killed, another node
//!   continues when the lease ends. The lease only saves work: two runs at the same time would do
//!   no harm.
//! - Each run first compares the clock of this node with the clock of the database. A node whose clock
//!   differs from the others ends sessions and codes at the wrong times.
//! - The same row contains the time of the last run. A process that has served for days without a
//!   run reads it, after a sign-in and at most once an hour.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::secret::random_version;
use crate::base::transaction::Fault;
use crate::context::{Context, PerInstance};
use crate::handle::Portcullis;

pub(crate) mod entity;
mod store;

/// How long a run may be silent before another node takes over.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// After this time without a run, the operator is told.
const OVERDUE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How often a process checks, once it has served for that time.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// The code of the finding that is reported.
const FINDING: &str = "maintenance_overdue";

/// By how much the clocks of this node and of the database may differ.
const MOST_SKEW: Duration = Duration::from_secs(5);

/// The lease: the right to run maintenance.
#[derive(Debug)]
pub(crate) struct Lease(i64);

impl Portcullis {
    /// Takes the lease. Returns `None` while another node has it.
    pub(crate) async fn take_upkeep(&self) -> Result<Option<Lease>, Fault> {
        let context = self.context();
        let db = context.db();
        let (executor, now) = (db.executor(), context.now());
        let lease = random_version();
        let taken = db.retry(|| store::take(&executor, lease, now.plus(LEASE), now)).await?;
        Ok(taken.then_some(Lease(lease)))
    }

    /// Extends the lease. Returns false if another node has taken over.
    pub(crate) async fn keep_upkeep(&self, lease: &Lease) -> Result<bool, Fault> {
        let context = self.context();
        let db = context.db();
        let (executor, until) = (db.executor(), context.now().plus(LEASE));
        db.retry(|| store::keep(&executor, lease.0, until)).await
    }

    /// Returns the lease. `done` is true if the run is complete.
    pub(crate) async fn end_upkeep(&self, lease: &Lease, done: bool) -> Result<(), Fault> {
        let context = self.context();
        let db = context.db();
        let executor = db.executor();
        let finished_at = done.then(|| context.now());
        db.retry(|| store::give_back(&executor, lease.0, finished_at)).await?;
        if done {
            self.per_instance::<Watch>().look_again(context.now().plus(OVERDUE));
            self.update_finding(FINDING, None);
        }
        Ok(())
    }

    /// Returns when maintenance last ran to its end, on any node.
    pub(crate) async fn last_upkeep(&self) -> Result<Option<Timestamp>, Fault> {
        let db = self.context().db();
        let executor = db.executor();
        db.read(store::finished_at(&executor)).await
    }

    /// Compares the clock of this node with the clock of the database, and reports a finding if they
    /// differ too much.
    pub(crate) async fn compare_clocks(&self) -> Result<(), Fault> {
        let context = self.context();
        if !context.clock.is_real() {
            return Ok(());
        }
        let db = context.db();
        let executor = db.executor();
        let before = context.now();
        let database = db.read(store::clock(&executor)).await?;
        let skew = database.and_then(|database| skew(before, database, context.now()));
        let text = skew.map(|skew| {
            let how = if skew > 0 { "behind" } else { "ahead of" };
            format!(
                "the clock of this node is {} s {how} the clock of the database: sessions and codes \
                 end at wrong times, and codes of authenticators may be refused. Synchronize both \
                 clocks",
                skew.unsigned_abs().div_ceil(1000)
            )
        });
        self.update_finding("database_clock_skew", text);
        Ok(())
    }

    /// Checks whether maintenance still runs, if it is time to. The sign-in does not wait for it.
    pub(crate) fn watch_upkeep(&self) {
        let now = self.context().now();
        if !self.per_instance::<Watch>().is_due(now) {
            return;
        }
        let auth = self.clone();
        self.context().database.beside(async move {
            match auth.last_upkeep().await {
                Ok(Some(at)) if at.plus(OVERDUE) > now => {
                    auth.per_instance::<Watch>().look_again(at.plus(OVERDUE));
                    auth.update_finding(FINDING, None);
                }
                Ok(at) => {
                    let since = at.map_or_else(|| "ever".to_owned(), |at| format!("since {at}"));
                    let text = format!(
                        "maintenance has not run {since}: tables grow without end. Spawn \
                         `auth.maintenance().every(..)`, or call `auth.maintenance().run()` from a \
                         scheduler"
                    );
                    auth.report_finding(FINDING, &text);
                }
                Err(fault) => {
                    tracing::debug!(target: "portcullis", %fault, "the time of the last maintenance could not be read");
                }
            }
        });
    }
}

/// Returns by how many milliseconds the clock of the database is ahead of that of this node, if that
/// is too much. A negative number means that it is behind. The database read its clock between
/// `before` and `after`, so a slow answer is no difference.
fn skew(before: Timestamp, database: Timestamp, after: Timestamp) -> Option<i64> {
    let between = |from: Timestamp, to: Timestamp| to.as_millis().saturating_sub(from.as_millis());
    if database > after.plus(MOST_SKEW) {
        Some(between(after, database))
    } else if database < before.minus(MOST_SKEW) {
        Some(between(before, database))
    } else {
        None
    }
}

/// The time of the next check, in milliseconds.
struct Watch(AtomicI64);

impl PerInstance for Watch {
    fn open(context: &Context) -> Self {
        Self(AtomicI64::new(context.now().plus(OVERDUE).as_millis()))
    }
}

impl Watch {
    /// Returns true for exactly one caller each time that a check is due.
    fn is_due(&self, now: Timestamp) -> bool {
        let due = self.0.load(Ordering::Relaxed);
        let next = now.plus(LOOK_EVERY).as_millis();
        now.as_millis() >= due
            && self.0.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn look_again(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Timestamp, skew};

    #[test]
    fn clocks_may_differ_by_five_seconds_and_a_slow_answer_is_no_difference() {
        for (before, database, after, expected) in [
            (0, 0, 0, None),
            (0, 5_000, 0, None),
            (0, 5_001, 0, Some(5_001)),
            (0, -5_000, 0, None),
            (0, -5_001, 0, Some(-5_001)),
            // The answer took a minute.
            (0, 30_000, 60_000, None),
            (0, 65_000, 60_000, None),
            (0, 65_001, 60_000, Some(5_001)),
            (0, -5_001, 60_000, Some(-5_001)),
            // The clock of the node was set back meanwhile.
            (60_000, 60_000, 50_000, Some(10_000)),
            (i64::MIN, i64::MAX, i64::MIN, Some(i64::MAX)),
        ] {
            let at = Timestamp::from_millis;
            let found = skew(at(before), at(database), at(after));
            assert_eq!(found, expected, "{before} {database} {after}");
        }
    }
}
