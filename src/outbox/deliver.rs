//! Delivery: from the outbox to the notifier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::entity::message::Model;
use super::keys::{OutboxKeys, row_name};
use super::{purge::purge, store};
use crate::audit_log;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::problem::ErrorChain;
use crate::base::transaction::{Fault, transaction};
use crate::config::Delivery;
use crate::context::{Context, PerInstance};
use crate::message::{Message, MessageKind, NotifyError, Recipient, Values};

/// Messages that are on their way at once.
const AT_ONCE: u64 = 8;
/// How often [`run`] looks for what other nodes have left.
const ROUND: Duration = Duration::from_secs(30);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// What came of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// Messages that left.
    pub sent: u64,
    /// Messages that will be tried again.
    pub put_off: u64,
    /// Messages that were given up.
    pub given_up: u64,
}

/// What is sealed: whom to write to and what fills the blanks.
#[derive(Serialize, Deserialize)]
pub(super) struct Payload {
    email: Option<String>,
    phone: Option<String>,
    values: Values,
}

impl Payload {
    pub(super) fn new(to: Option<&Recipient>, values: &Values) -> Self {
        let (mut email, mut phone) = (None, None);
        match to {
            Some(Recipient::Email(address)) => email = Some(address.clone()),
            Some(Recipient::Phone(number)) => phone = Some(number.clone()),
            None => {}
        }
        Self { email, phone, values: values.clone() }
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(self).expect("texts serialize"))
    }

    fn open(context: &Context, row: &Model, kind: MessageKind) -> Option<(Recipient, Values)> {
        let sealer = &context.per_instance::<OutboxKeys>().sealer;
        let plain = sealer.open(&row.key_id, row.payload.as_deref()?, &row_name(row.id, kind))?;
        let payload: Self = serde_json::from_slice(&plain).ok()?;
        let email = payload.email.map(Recipient::Email);
        let to = email.or(payload.phone.map(Recipient::Phone))?;
        Some((to, payload.values))
    }
}

/// Who delivers for one instance.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// Sends what is due. Nobody sleeps meanwhile, so whoever is woken can send.
    sending: Duty,
    /// Sleeps until something is to be tried again.
    waiting: Duty,
    /// Wakes [`run`].
    wake: Notify,
}

impl PerInstance for Worker {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

/// What one task at a time does, and does once more if it was asked for meanwhile.
#[derive(Debug, Default)]
struct Duty {
    asked: AtomicBool,
    busy: AtomicBool,
}

/// Lets go of a duty, also when a task dies.
struct OnDuty<'a>(&'a Duty);

impl Drop for OnDuty<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

impl Duty {
    fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Does what was asked for, unless another task is at it: that one looks again when it is done.
    async fn answer<F: Future<Output = ()>>(&self, work: impl Fn() -> F) {
        while self.asked.load(Ordering::SeqCst) {
            if self.busy.swap(true, Ordering::SeqCst) {
                return;
            }
            let on_duty = OnDuty(self);
            self.asked.store(false, Ordering::SeqCst);
            work().await;
            // Before the next look at `asked`: whoever was turned away until now asked before that.
            drop(on_duty);
        }
    }
}

/// Delivers what was put into the outbox, in a task of its own. Call it after the commit.
pub(crate) fn deliver_soon(context: &Context) {
    if context.notifier.is_none() && context.text_messages.is_none() {
        return;
    }
    let worker = context.per_instance::<Worker>();
    worker.sending.ask();
    worker.wake.notify_one();
    if context.config.mail.delivery != Delivery::Soon {
        return;
    }
    let context = context.clone();
    tokio::spawn(async move {
        let worker = context.per_instance::<Worker>();
        worker.sending.answer(|| send(&context)).await;
        worker.waiting.ask();
        worker.waiting.answer(|| until_nothing_waits(&context, &worker)).await;
    });
}

async fn send(context: &Context) {
    if let Err(fault) = deliver_due(context).await {
        complain(&fault);
    }
}

/// Delivers what waits until nothing is left to be tried again, or the database fails: then the rows
/// wait for the next one who delivers.
async fn until_nothing_waits(context: &Context, worker: &Worker) {
    loop {
        let db = context.db();
        match db.read(store::next_try_at(&db.executor())).await {
            Ok(Some(at)) => {
                // Not for longer than a round: what another node adds may be due before.
                let wait = at.since(context.now()).clamp(Duration::from_secs(1), ROUND);
                tokio::time::sleep(wait).await;
                worker.sending.ask();
                worker.sending.answer(|| send(context)).await;
            }
            Ok(None) => return,
            Err(fault) => return complain(&fault),
        }
    }
}

fn complain(fault: &Fault) {
    tracing::error!(target: "portcullis", error = ?ErrorChain(fault).to_string(), "the outbox cannot be read");
}

pub(super) async fn run(context: &Context) {
    let worker = context.per_instance::<Worker>();
    loop {
        // At each round and not only when asked: of what other nodes have left nobody says anything.
        worker.sending.ask();
        worker.sending.answer(|| send(context)).await;
        if let Err(fault) = purge(context).await {
            complain(&fault);
        }
        let _ = tokio::time::timeout(ROUND, worker.wake.notified()).await;
    }
}

pub(super) async fn deliver_due(context: &Context) -> Result<Delivered, Fault> {
    let db = context.db();
    let mut delivered = Delivered::default();
    loop {
        let now = context.now();
        let rows = db.read(store::due(&db.executor(), now, AT_ONCE)).await?;
        let mut on_their_way = Vec::new();
        for row in rows {
            // Twice the time a try may take: its sender has stopped long before the lease ends.
            let lease_ends_at = context.now().plus(2 * context.config.mail.send_timeout);
            let executor = db.executor();
            if !db.retry(|| store::claim(&executor, &row, lease_ends_at)).await? {
                continue;
            }
            let row = Model { attempts: row.attempts.saturating_add(1), ..row };
            let sending = start(context, &row, now);
            on_their_way.push((row, sending));
        }
        if on_their_way.is_empty() {
            return Ok(delivered);
        }
        for (row, sending) in on_their_way {
            let ended = match sending {
                Ok(task) => wait(task).await,
                Err(failure) => Err(failure),
            };
            settle(context, &row, ended, &mut delivered).await?;
        }
    }
}

/// Why a try came to nothing.
enum Failure {
    ForNow,
    ForGood(&'static str),
}

/// Hands a message to its notifier, in a task of its own: one that panics or hangs takes nobody
/// along.
fn start(
    context: &Context,
    row: &Model,
    now: Timestamp,
) -> Result<JoinHandle<Result<(), NotifyError>>, Failure> {
    if now >= row.expires_at {
        return Err(Failure::ForGood("expired"));
    }
    // A node of another version may know it.
    let kind = context.templates.kind(&row.kind).ok_or(Failure::ForNow)?;
    let unreadable = Failure::ForGood("unreadable");
    let (to, values) = Payload::open(context, row, kind).ok_or(unreadable)?;
    let phone = matches!(to, Recipient::Phone(_));
    let rendered = context.templates.render(kind, values, row.created_at).map_err(|error| {
        tracing::error!(target: "portcullis", kind = &*kind.stored(), error = ?error.kind(), "a template failed");
        match kind {
            // A node with another version of the application may have what it needs.
            MessageKind::Own(_) => Failure::ForNow,
            _ => Failure::ForGood("template"),
        }
    })?;
    let message = Message {
        id: row.id,
        kind,
        to,
        from_name: context.config.service_name(),
        from_address: context.config.sender(),
        account_id: row.account_id,
        at: row.created_at,
        subject: if phone { String::new() } else { rendered.subject },
        text: rendered.text,
        values: rendered.values,
        html: (!phone).then_some(rendered.html),
    };
    let (notifier, text_messages) = (context.notifier.clone(), context.text_messages.clone());
    let limit = context.config.mail.send_timeout;
    Ok(tokio::spawn(async move {
        let sending = match (&message.to, &notifier, &text_messages) {
            (Recipient::Email(_), Some(notifier), _) => notifier.send(&message),
            (Recipient::Phone(_), _, Some(phones)) => phones.send(&message),
            _ => {
                return Err(NotifyError::temporary(
                    "there is nothing to send it with on this node",
                ));
            }
        };
        // Here and not where it is waited for: others of the batch may take their time before.
        match tokio::time::timeout(limit, sending).await {
            Ok(result) => result,
            Err(_) => Err(NotifyError::temporary("it took too long")),
        }
    }))
}

async fn wait(task: JoinHandle<Result<(), NotifyError>>) -> Result<(), Failure> {
    let (error, failure) = match task.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => {
            let failure = match &error {
                NotifyError::Temporary(_) => Failure::ForNow,
                NotifyError::Permanent(_) => Failure::ForGood("refused"),
            };
            (ErrorChain(&error).to_string(), failure)
        }
        Err(died) => (died.to_string(), Failure::ForNow),
    };
    tracing::warn!(target: "portcullis", error = ?error, "a message could not be sent");
    Err(failure)
}

/// Notes what came of a try.
async fn settle(
    context: &Context,
    row: &Model,
    ended: Result<(), Failure>,
    delivered: &mut Delivered,
) -> Result<(), Fault> {
    let db = context.db();
    let executor = db.executor();
    let now = context.now();
    let mail = &context.config.mail;
    let reason = match ended {
        Ok(()) => {
            db.retry(|| store::finish(&executor, row.id, row.attempts, "sent", now)).await?;
            delivered.sent += 1;
            return Ok(());
        }
        Err(Failure::ForNow) if u32::from(row.attempts.unsigned_abs()) < mail.tries => {
            let doublings = u32::from(row.attempts.unsigned_abs()).saturating_sub(1).min(20);
            let wait = mail.first_retry.saturating_mul(1 << doublings).min(LONGEST_WAIT);
            let until = now.plus(wait);
            db.retry(|| store::put_off(&executor, row.id, row.attempts, until)).await?;
            delivered.put_off += 1;
            return Ok(());
        }
        Err(Failure::ForNow) => "too many tries",
        Err(Failure::ForGood(reason)) => reason,
    };
    let mut event = Event::new(EventKind::MessageFailed, now)
        .failed(reason)
        .detail(format!("{}: {reason}", row.kind));
    if let Some(account) = row.account_id {
        event = event.account(account);
    }
    let ours = transaction!(db, |txn| {
        let ours = store::finish(txn, row.id, row.attempts, "failed", now).await?;
        if ours {
            audit_log::record(txn, &event).await?;
        }
        Ok::<_, Fault>(ours)
    })?;
    if ours {
        delivered.given_up += 1;
    }
    Ok(())
}
