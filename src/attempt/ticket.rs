//! A try on its way: what its flow has to say of it, and what happens if it says nothing.

use sea_orm::DbErr;

use super::key::{TOO_MANY_ATTEMPTS, Taken};
use super::queue::{Place, Underway};
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

/// A try on record. Dropped without a word, as when its client hangs up, it has failed.
pub(crate) struct Ticket {
    pub(super) auth: Portcullis,
    /// Given up when the try is over.
    pub(super) place: Option<Place>,
    /// Given up with it.
    pub(super) underway: Option<Underway>,
    /// Its row in the line that protects, and its row in the line that is told, if there is one.
    pub(super) own: Taken,
    pub(super) told: Option<Taken>,
    pub(super) standing: Standing,
    /// What the rows say of it until it ends.
    pub(super) meanwhile: Outcome,
    pub(super) telling: Box<Telling>,
    /// Whether there is nothing more to say about it.
    pub(super) over: bool,
}

/// What the verdict on a try is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Counted,
    /// Nothing. It is on record, in no count of its subject.
    Refused,
    /// Nothing, and it leaves no record, for nothing would limit how many there are.
    Unrecorded,
    /// The same for every name, because the source is full.
    SourceFull,
}

/// What is told of a try besides that it failed or succeeded.
#[derive(Default)]
pub(super) struct Telling {
    /// If it fails: that this one locks, to the operator and, of a sign-in, to the owner.
    pub(super) locks: Option<(Event, Option<Outgoing>)>,
    /// If it succeeds: that others failed before.
    pub(super) after_failures: Option<Event>,
    /// To those who watch for guesses at many accounts.
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
    /// With the event of its failure, for a flow of the application's, which may drop it.
    pub(crate) fn if_dropped(mut self, failure: Event) -> Self {
        self.telling.dropped = Some(failure);
        self
    }

    /// Whether the verdict counts. If not, it has to be thrown away after the work was done: the right
    /// answer is a wrong one.
    #[must_use]
    pub(crate) fn is_judged(&self) -> bool {
        self.standing == Standing::Counted
    }

    /// Whether it is refused because of its source, which tells nothing of the name: then a flow may do
    /// less, alike for every name.
    #[must_use]
    pub(crate) fn is_source_full(&self) -> bool {
        self.standing == Standing::SourceFull
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Taken> {
        std::iter::once(&self.own).chain(&self.told)
    }

    /// Writes down the event of it. What a full source tries fills no table: the same work is done on
    /// a row that is there.
    pub(crate) async fn record(&self, txn: &Txn<'_>, event: &Event) -> Result<(), DbErr> {
        match self.standing {
            Standing::Counted => audit_log::record(txn, event).await,
            Standing::Refused => {
                audit_log::record(txn, &event.clone().failed(TOO_MANY_ATTEMPTS)).await
            }
            Standing::Unrecorded | Standing::SourceFull => {
                store::touch(txn, &self.own, event.at).await?;
                txn.after_commit(|_| count(DENIED));
                Ok(())
            }
        }
    }

    /// Says that it failed, in the transaction of the event that tells of it.
    pub(crate) async fn failed(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        if let Some((event, notice)) = &self.telling.locks {
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

    /// Says that it succeeded, in the transaction of what it leads to. The window of its subject is
    /// closed; of what strangers are told it is taken back, which shows them nothing.
    ///
    /// # Errors
    /// The database; and always for a refused try, so that a flow which forgets to ask
    /// [`is_judged`](Self::is_judged) lets nobody in.
    pub(crate) async fn succeeded(&self, txn: &Txn<'_>) -> Result<(), DbErr> {
        if !self.is_judged() {
            return Err(DbErr::Custom("a refused try cannot succeed".to_owned()));
        }
        if let Some(event) = &self.telling.after_failures {
            audit_log::record(txn, event).await?;
        }
        if let Some(told) = &self.told {
            store::withdraw(txn, std::iter::once(told)).await?;
        }
        store::settle(txn, std::iter::once(&self.own), Outcome::Succeeded).await
    }

    /// The transaction of [`failed`](Self::failed) is committed.
    pub(crate) fn end_failed(mut self) {
        self.over = true;
        self.tell_watch(false);
    }

    /// The transaction of [`succeeded`](Self::succeeded) is committed.
    pub(crate) fn end_succeeded(mut self) {
        self.over = true;
        self.tell_watch(true);
    }

    fn tell_watch(&self, succeeded: bool) {
        if let Some(seen) = &self.telling.seen {
            watch::note(&self.auth, *seen, succeeded);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        drop(self.underway.take());
        let untold = self.telling.locks.is_some() || self.telling.dropped.is_some();
        if self.over || self.meanwhile == Outcome::Failed && !untold {
            return;
        }
        let rows = self.rows().cloned().collect();
        let telling = std::mem::take(&mut *self.telling);
        let failure = telling.dropped.map(|event| match self.standing {
            Standing::Counted => event,
            _ => event.failed(TOO_MANY_ATTEMPTS),
        });
        // What a full source brings about fills no table.
        let recorded = matches!(self.standing, Standing::Counted | Standing::Refused);
        let lost = Lost { rows, failure: failure.filter(|_| recorded), locks: telling.locks };
        give_up(self.auth.context(), lost, self.place.take());
    }
}

/// Rows that are being written, for a try that has no ticket yet.
pub(super) struct GivenUp<'a> {
    pub(super) context: &'a Context,
    pub(super) rows: Vec<Taken>,
    pub(super) armed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            let rows = std::mem::take(&mut self.rows);
            give_up(self.context, Lost { rows, failure: None, locks: None }, None);
        }
    }
}

/// An attempt that ended without a word, and what is to be told of it.
struct Lost {
    rows: Vec<Taken>,
    failure: Option<Event>,
    locks: Option<(Event, Option<Outgoing>)>,
}

/// Says in a task of its own that an attempt has failed: those who wait for its end must not wait for
/// nothing, and somebody who hangs up each time must not lock an account without anybody being told.
fn give_up(context: &Context, lost: Lost, place: Option<Place>) {
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    let context = context.clone();
    context.clone().database.beside(async move {
        let Lost { rows, failure, locks } = lost;
        let settled = transaction!(context.db(), |txn| {
            if let Some(event) = &failure {
                audit_log::record(txn, event).await?;
            }
            if let Some((event, notice)) = &locks {
                audit_log::record(txn, event).await?;
                if let Some(notice) = notice {
                    outbox::put(txn, &context, notice).await?;
                }
            }
            store::settle(txn, &rows, Outcome::Failed).await?;
            Ok::<_, Fault>(())
        });
        if let Err(error) = settled {
            tracing::debug!(target: "portcullis", %error, "a try that was given up stays open");
        }
        drop(place);
    });
}

/// What the row of a try says until it ends. What takes long to compare is under way meanwhile, and
/// later ones wait for it; what is compared at once has failed until it has not, which saves the
/// statement that would say so.
pub(super) fn meanwhile(kind: AttemptKind) -> Outcome {
    match kind {
        AttemptKind::Forgot | AttemptKind::Reset | AttemptKind::Challenge => Outcome::Failed,
        _ => Outcome::Pending,
    }
}
