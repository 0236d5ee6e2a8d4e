//! A running attempt: what its flow must report about it, and what happens without a report.

use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::DbErr;

use super::key::{TOO_MANY_ATTEMPTS, Taken};
use super::queue::{QueuePosition, Underway};
use super::rule::Outcome;
use super::store;
use super::watch::{self, Seen};
use crate::audit_log;
use crate::base::event::{DENIED, Event, count};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::config::AttemptKind;
use crate::context::Context;
use crate::handle::Portcullis;
use crate::outbox::{self, Outgoing};

/// A recorded attempt. If it is dropped without a report, for example because the client
/// disconnected, it has failed.
pub(crate) struct Ticket {
    pub(super) auth: Portcullis,
    /// Its position in the queue, which it holds until the attempt is over.
    pub(super) position: Option<QueuePosition>,
    /// Held until the attempt is over, too.
    pub(super) underway: Option<Underway>,
    /// Its row in the protective count, and its row in the visible count, if there is one.
    pub(super) own: Taken,
    pub(super) told: Option<Taken>,
    pub(super) standing: Standing,
    /// What the rows contain until the attempt ends.
    pub(super) meanwhile: Outcome,
    pub(super) reports: Box<Reports>,
    /// True from the moment when a transaction begins to report the result.
    pub(super) reported: AtomicBool,
    /// True if nothing more must be reported about it.
    pub(super) over: bool,
}

/// How an attempt is recorded, and whether its result counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Counted,
    /// Its result does not count. It is recorded, but in no count of its subject.
    Refused,
    /// Its result does not count, and it leaves no record, because nothing would limit the number
    /// of records.
    Unrecorded,
    /// Its result does not count, because the source has reached its limit. This is the same for
    /// every name.
    SourceFull,
}

/// What is reported about an attempt in addition to its result.
#[derive(Default)]
pub(super) struct Reports {
    /// If it fails, that it causes a lock: the event for the operator and, for a sign-in, the
    /// message to the owner.
    pub(super) locks: Option<(Event, Option<Outgoing>)>,
    /// If it succeeds, that others failed before.
    pub(super) after_failures: Option<Event>,
    /// What the watch for guesses at many accounts needs.
    pub(super) seen: Option<Seen>,
    /// The failure of an attempt that is dropped without a word.
    pub(super) dropped: Option<Event>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("number", &self.own.number).finish_non_exhaustive()
    }
}

impl Ticket {
    /// Adds the event of its failure, for a flow of the application, which may drop the attempt.
    pub(crate) fn if_dropped(mut self, failure: Event) -> Self {
        self.reports.dropped = Some(failure);
        self
    }

    /// Returns true if the result counts. If not, it must be discarded after the work was done, and
    /// a correct guess gets the answer of a wrong one.
    #[must_use]
    pub(crate) fn counts(&self) -> bool {
        self.standing == Standing::Counted
    }

    /// Returns true if it is refused because of its source. This says nothing about the name, so a
    /// flow may do less work, as long as it does the same for every name.
    #[must_use]
    pub(crate) fn is_source_full(&self) -> bool {
        self.standing == Standing::SourceFull
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Taken> {
        std::iter::once(&self.own).chain(&self.told)
    }

    /// Records its event. An attempt of a source that has reached its limit must not fill the
    /// table. It does the same work on a row that already exists.
    pub(crate) async fn record(&self, txn: &Txn<'_>, event: &Event) -> Result<(), DbErr> {
        match self.standing {
            Standing::Counted => audit_log::record(txn, event).await,
            Standing::Refused => {
                audit_log::record(txn, &event.clone().failed(TOO_MANY_ATTEMPTS)).await
            }
            Standing::Unrecorded | Standing::SourceFull => {
                store::touch(txn, &self.own, event.at).await?;
                txn.once_committed(|| count(DENIED));
                Ok(())
            }
        }
    }

    /// Reports that it failed, in the transaction of its event.
    pub(crate) async fn failed(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        self.reported.store(true, Ordering::Relaxed);
        if let Some((event, notice)) = &self.reports.locks {
            audit_log::record(txn, event).await?;
            if let Some(notice) = notice {
                outbox::put(txn, self.auth.context(), notice).await?;
            }
        }
        if self.meanwhile == Outcome::Failed {
            return Ok(());
        }
        store::settle(txn, self.rows(), Outcome::Failed).await
    }

    /// Reports that it succeeded, in the transaction of what follows from it. This closes the
    /// window of its subject. From the visible count the attempt is removed, so that strangers see
    /// nothing of the success.
    ///
    /// # Errors
    /// The database failed. A refused attempt always returns an error, so that a flow which forgets
    /// to check [`counts`](Self::counts) signs nobody in.
    pub(crate) async fn succeeded(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        if !self.counts() {
            return Err(DbErr::Custom("a refused attempt cannot succeed".to_owned()));
        }
        self.reported.store(true, Ordering::Relaxed);
        if let Some(event) = &self.reports.after_failures {
            audit_log::record(txn, event).await?;
        }
        if let Some(told) = &self.told {
            store::withdraw(txn, std::iter::once(told)).await?;
        }
        store::settle(txn, std::iter::once(&self.own), Outcome::Succeeded).await
    }

    /// Reports that it was right but proves too little, in the transaction of what follows from it. The
    /// attempt is removed, and the failures of its subject count on.
    ///
    /// # Errors
    /// As [`succeeded`](Self::succeeded).
    pub(crate) async fn taken_back(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        if !self.counts() {
            return Err(DbErr::Custom("a refused attempt cannot succeed".to_owned()));
        }
        self.reported.store(true, Ordering::Relaxed);
        store::withdraw(txn, self.rows()).await
    }

    /// Ends the attempt after the transaction of [`failed`](Self::failed) has committed.
    pub(crate) fn end_failed(mut self) {
        self.over = true;
        self.tell_watch(false);
    }

    /// Ends the attempt after the transaction of [`succeeded`](Self::succeeded) has committed.
    pub(crate) fn end_succeeded(mut self) {
        self.over = true;
        self.tell_watch(true);
    }

    fn tell_watch(&self, succeeded: bool) {
        if let Some(seen) = &self.reports.seen {
            watch::note(&self.auth, *seen, succeeded);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        drop(self.underway.take());
        if self.over {
            return;
        }
        let rows = self.rows().cloned().collect();
        let pending = self.meanwhile == Outcome::Pending;
        // The rows of fast checks already say that it failed. So they do not show whether a
        // transaction has reported the result, which may still commit in a task of its own.
        let reports = match !pending && *self.reported.get_mut() {
            true => Reports::default(),
            false => std::mem::take(&mut *self.reports),
        };
        if !pending && reports.locks.is_none() && reports.dropped.is_none() {
            return;
        }
        let failure = reports.dropped.map(|event| match self.standing {
            Standing::Counted => event,
            _ => event.failed(TOO_MANY_ATTEMPTS),
        });
        // Requests of a full source must not fill a table.
        let recorded = matches!(self.standing, Standing::Counted | Standing::Refused);
        let failure = failure.filter(|_| recorded);
        let lost = Lost { rows, pending, failure, locks: reports.locks };
        give_up(self.auth.context(), lost, self.position.take());
    }
}

/// The rows of an attempt that has no ticket yet, while they are being written.
pub(super) struct GivenUp<'a> {
    pub(super) context: &'a Context,
    pub(super) rows: Vec<Taken>,
    pub(super) armed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            let rows = std::mem::take(&mut self.rows);
            give_up(self.context, Lost { rows, pending: true, failure: None, locks: None }, None);
        }
    }
}

/// An attempt that ended without a result, and what has to be reported about it.
struct Lost {
    rows: Vec<Taken>,
    /// True if the rows say so until a result is recorded.
    pending: bool,
    failure: Option<Event>,
    locks: Option<(Event, Option<Outgoing>)>,
}

/// Records in a separate task that an attempt has failed. Otherwise later attempts would wait for
/// its result for up to a minute. An attacker who always disconnects could also lock an account
/// without any report.
fn give_up(context: &Context, lost: Lost, position: Option<QueuePosition>) {
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    let context = context.clone();
    context.clone().database.beside(async move {
        let Lost { rows, pending, failure, locks } = lost;
        let settled = transaction!(context.db(), |txn| {
            // A transaction with the result may have committed in the meantime, in a task of its
            // own. This waits for it. Then the result stays, and nothing is reported twice.
            let unknown = store::settle_pending(txn, &rows).await?;
            if pending && !unknown {
                return Ok(());
            }
            if let Some(event) = &failure {
                audit_log::record(txn, event).await?;
            }
            if let Some((event, notice)) = &locks {
                audit_log::record(txn, event).await?;
                if let Some(notice) = notice {
                    outbox::put(txn, &context, notice).await?;
                }
            }
            Ok::<_, Fault>(())
        });
        if let Err(error) = settled {
            tracing::debug!(target: "portcullis", %error, "a dropped attempt could not be marked as failed");
        }
        // Only now: this wakes the next attempt in the queue, which then reads the settled rows.
        drop(position);
    });
}

/// Returns what the row of an attempt contains until it ends. Slow comparisons are stored as
/// pending, and later attempts wait for them. Fast checks are stored as failed and corrected on
/// success, which saves a statement.
pub(super) fn meanwhile(kind: AttemptKind) -> Outcome {
    match kind {
        AttemptKind::Forgot | AttemptKind::MailLoginRequest => Outcome::Failed,
        _ if kind.is_code() || kind.is_token() => Outcome::Failed,
        _ => Outcome::Pending,
    }
}
