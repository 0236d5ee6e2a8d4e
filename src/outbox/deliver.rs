//! Delivery: takes messages from the outbox and passes them to the notifier.

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

/// The number of messages that are sent at the same time.
const AT_ONCE: u64 = 8;
/// How often [`run`] looks for messages of other nodes.
const ROUND: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The result of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The number of messages that were sent.
    pub sent: u64,
    /// The number of messages that will be attempted again.
    pub put_off: u64,
    /// The number of messages that were given up.
    pub given_up: u64,
}

/// The sealed part of a message: the recipient, and the values for its templates.
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

/// The delivery of one instance.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// Sends what is due. The task never sleeps meanwhile, so a wake-up is handled at once.
    sending: Duty,
    /// Sleeps until a message is due again.
    waiting: Duty,
    /// Wakes [`run`].
    wake: Notify,
}

impl PerInstance for Worker {
    fn open(_: &Context) -> Self {
        Self::default()
    }
}

/// Work that one task does at a time. It is done once more if it was requested meanwhile.
#[derive(Debug, Default)]
struct Duty {
    asked: AtomicBool,
    busy: AtomicBool,
}

/// Releases a duty when it is dropped, even if the task panics.
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

    /// Does the requested work, unless another task is doing it. That task then looks again when it
    /// is done.
    async fn answer<F: Future<Output = ()>>(&self, work: impl Fn() -> F) {
        while self.asked.load(Ordering::SeqCst) {
            if self.busy.swap(true, Ordering::SeqCst) {
                return;
            }
            let on_duty = OnDuty(self);
            self.asked.store(false, Ordering::SeqCst);
            work().await;
            // The duty is released before `asked` is read again. A task that was refused until now
            // has set `asked` before, so its request is seen. In the other order a request could be
            // lost.
            drop(on_duty);
        }
    }
}

/// Delivers what is in the outbox, in a separate task. Call it after the commit.
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

/// Delivers waiting messages until none is left to attempt again, or the database fails. In that
/// case the rows wait for the next delivery.
async fn until_nothing_waits(context: &Context, worker: &Worker) {
    loop {
        let db = context.db();
        match db.read(store::next_try_at(&db.executor())).await {
            Ok(Some(at)) => {
                // The wait is at most one round, because a message of another node may be due
                // earlier.
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
        // This looks in every round and not only on request, because other nodes send no signal
        // about their messages.
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
            // The lease is twice the time limit of an attempt. So the sender has stopped long
            // before the lease ends, and no other node sends the message meanwhile.
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

/// The reason why an attempt failed.
enum Failure {
    ForNow,
    ForGood(&'static str),
}

/// Passes a message to its notifier, in a separate task. If that task panics or hangs, the others
/// are not affected.
fn start(
    context: &Context,
    row: &Model,
    now: Timestamp,
) -> Result<JoinHandle<Result<(), NotifyError>>, Failure> {
    if now >= row.expires_at {
        return Err(Failure::ForGood("expired"));
    }
    // A node with another version may know this kind.
    let kind = context.templates.kind(&row.kind).ok_or(Failure::ForNow)?;
    // Another node may have the secret that can read it. So no mail is lost while nodes have
    // different secrets.
    if !context.per_instance::<OutboxKeys>().sealer.knows(&row.key_id) {
        return Err(Failure::ForNow);
    }
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
                return Err(NotifyError::temporary("this node has no notifier for this recipient"));
            }
        };
        // The time limit is here and not where the result is awaited, because other messages of the
        // batch may be awaited before.
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

/// Returns true if a message is attempted once more after a failure.
fn may_try_again(row: &Model, most: u32) -> bool {
    // Only its time ends a message that nothing replaces. Otherwise an outage of the mail server for
    // an evening would be enough to lose an account.
    let has_way_back =
        MessageKind::ALL.iter().any(|kind| *kind.stored() == row.kind && kind.has_way_back());
    has_way_back || u32::from(row.attempts.unsigned_abs()) < most
}

/// Records the result of an attempt.
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
        Err(Failure::ForNow) if may_try_again(row, mail.attempts) => {
            let doublings = u32::from(row.attempts.unsigned_abs()).saturating_sub(1).min(20);
            let wait = mail.first_retry.saturating_mul(1 << doublings).min(LONGEST_WAIT);
            let until = now.plus(wait);
            db.retry(|| store::put_off(&executor, row.id, row.attempts, until)).await?;
            delivered.put_off += 1;
            return Ok(());
        }
        Err(Failure::ForNow) => "too many attempts",
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
        // Only the node that still has the message records the event. Another node may have claimed
        // it after the lease ended.
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
