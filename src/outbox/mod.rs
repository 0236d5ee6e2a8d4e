//! The outbox: a message is stored in the transaction of the change that it tells of, and sent
//! afterwards.
//!
//! 1. A flow puts a message into `auth_outbox` in its transaction. If the change is rolled back,
//!    there is no message. If the process dies after the commit, there still is one. Content and
//!    recipient are sealed (XChaCha20-Poly1305, with a key for this purpose, and the row's id and
//!    kind as associated data). So a dump shows no code, no link and no address.
//! 2. After the commit a task claims it with one conditional UPDATE and a lease, so only one of
//!    several nodes sends it. The answer to the request does not wait for this. So a slow or
//!    stopped mail server delays nothing.
//! 3. After it was sent, its content is removed, and the row only tells that it was sent. If it
//!    fails, it is attempted again after half a minute, and then after twice the time each, up to
//!    an hour. After ten attempts, or when it has expired (a reset link is valid for an hour), it
//!    is given up. Its content is removed, and the audit log has an event. A message with a link
//!    that undoes a change or reopens a closed account is attempted until this link expires,
//!    because nothing else sends it again.
//!
//! Messages that a stranger can trigger are limited:
//!
//! - *Per recipient*: one of a kind a minute and five an hour. The stranger is not told. All
//!   spellings of a mailbox count together: upper case, Unicode forms, what follows a `+`, and the
//!   dots that Gmail ignores. This form is used only for the limit, and never decides who owns an
//!   address. A link that was sent before stays valid. So the owner of a mailbox finds a link there
//!   even if a stranger has used up the limit. A verified address is counted separately, because a
//!   stranger cannot make more of those. Each known device of an account is counted separately too.
//!   So the requests of others do not use up the owner's limits. Requests for addresses without an
//!   account do not either.
//! - *Per source*: a hundred an hour ([`per_source`](crate::config::MailConfig::per_source)), to
//!   any recipients. After that the answer is 429 `rate_limited`, before anything is looked up.
//!
//! With [`Delivery::Soon`](crate::config::Delivery::Soon) a message is sent right after its commit
//! by the node that wrote it, and a failed one is attempted again at its time. [`run`](Outbox::run)
//! finds messages that another node has left, within half a minute. A message for a later time does
//! not delay others.
//!
//! If there is no recipient, a row of kind `none` is written. The work is the same, so nobody can
//! tell from it who has an account.
//!
//! Messages that someone waits for are sent first: links to a new password, and codes for what a
//! user is about to do. They are sent before all other messages of the last hour. Messages older
//! than an hour have the same priority.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! // At start: sends what a crashed node has left, and from then on everything.
//! tokio::spawn(async move { auth.outbox().run().await });
//! # }
//! ```
//!
//! # Your own messages
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) -> Result<(), portcullis::outbox::SendError> {
//! use portcullis::message::{OwnMessage, Recipient};
//!
//! // Its templates: `.template(MessageKind::Own("invitation"), text, html)` of the builder.
//! let to = Recipient::Email("alice@example.com".to_owned());
//! let invitation = OwnMessage::new("invitation", to).value("link", "https://example.com/join");
//! auth.outbox().send(invitation).await?;
//! # Ok(())
//! # }
//! ```
//! They are sealed, delivered and attempted again like all others, and have the same limit per
//! recipient.
//!
//! # What it does not do
//! It does not guarantee that a message is sent exactly once. If a node dies after sending a
//! message and before recording it, the message is sent again when its lease ends. Both copies have
//! the same `Message-ID`. As long as no node dies, and the clocks agree to within
//! `mail.send_timeout`, nothing is sent twice.
//!
//! # Configuration
//! [`config.mail`](crate::config::MailConfig).
//!
//! # Events
//! `message_failed`: a message was given up. The detail is the kind and the reason.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, MessageId};
use crate::base::transaction::{Db, Fault, OpenTransaction, Txn, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::message::{Cause, MAX_CHARS, MessageKind, OwnMessage, Recipient, Values};
use crate::rate_limit::RateLimited;

mod deliver;
pub(crate) mod entity;
mod error;
mod keys;
mod mailbox;
mod purge;
pub(crate) mod store;

pub use deliver::Delivered;
pub use error::SendError;
pub(crate) use mailbox::one_spelling;
pub(crate) use purge::WINDOW;

use keys::{OutboxKeys, fold, row_name};

/// The lifetime of a message that has no other limit.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How much earlier a message is due if someone waits for it.
const HEAD_START: Duration = Duration::from_secs(60 * 60);
/// The kind of a row without a recipient.
const NOBODY: &str = "none";

/// A message for the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) kind: MessageKind,
    /// The recipient. `None` if there is none, which must not be visible.
    pub(crate) to: Option<Recipient>,
    /// The account that it is about.
    pub(crate) account_id: Option<AccountId>,
    /// The values for its templates; see [`MessageKind`] for their names.
    pub(crate) values: Values,
    /// How long it is useful.
    pub(crate) good_for: Duration,
}

impl Outgoing {
    pub(crate) fn new(kind: MessageKind, to: Option<Recipient>) -> Self {
        Self { kind, to, account_id: None, values: Values::new(), good_for: DAY }
    }

    #[must_use]
    pub(crate) fn account(mut self, id: AccountId) -> Self {
        self.account_id = Some(id);
        self
    }

    #[must_use]
    pub(crate) fn values(mut self, values: Values) -> Self {
        self.values = values;
        self
    }

    /// Sets how long a link is valid that undoes what the message tells of. The notice itself is
    /// useful for at least a day.
    #[must_use]
    pub(crate) fn undone_within(mut self, lifetime: Duration) -> Self {
        self.good_for = lifetime.max(DAY);
        self
    }

    /// Sets how long the code or link in the message is valid. It also sets the value `minutes`.
    #[must_use]
    pub(crate) fn good_for(mut self, duration: Duration) -> Self {
        self.good_for = duration;
        self.values = self.values.with("minutes", duration.as_secs().div_ceil(60));
        self
    }
}

/// The result of putting a message into the outbox. If a stranger chose the recipient, do not show
/// it to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Put {
    /// It is sent after the commit.
    Queued,
    /// The recipient got too many of this kind. A link that was sent before must stay valid.
    HeldBack,
    /// There is no recipient, or no notifier for it.
    Nobody,
}

/// Puts a message into the outbox, in the transaction of the change that it tells of. It is
/// delivered soon after the commit. This costs one statement, and two more for a kind that
/// strangers can cause. The cost is the same with and without a recipient.
pub(crate) async fn put(
    txn: &Txn<'_>,
    context: &Context,
    outgoing: &Outgoing,
) -> Result<Put, DbErr> {
    let counted = outgoing.to.as_ref().map_or(Counted::Nobody(""), Counted::mailbox);
    let admitted = admit(txn, context, outgoing.kind, counted).await?;
    put_admitted(txn, context, outgoing, admitted).await
}

/// What a message is counted by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted<'a> {
    /// The mailbox that it goes to, in any spelling.
    Mailbox(&'a str),
    /// This spelling alone. The account has proved it, and a stranger cannot prove another one.
    Proved(&'a str),
    /// The same, for a known device of the account.
    OnKnownDevice(&'a str),
    /// What the client typed, in its normal form. There is no recipient. It is counted so that the
    /// work is the same, and does not use up the limit of a mailbox that is spelt alike.
    Nobody(&'a str),
}

impl<'a> Counted<'a> {
    pub(crate) fn mailbox(to: &'a Recipient) -> Self {
        Self::Mailbox(to.as_str())
    }

    fn text(self) -> String {
        match self {
            Self::Mailbox(text) => mailbox::one_spelling(text),
            // No address contains a NUL, so these texts cannot collide.
            Self::Proved(text) => format!("proved\0{}", fold(text)),
            Self::OnKnownDevice(text) => format!("device\0{}", fold(text)),
            Self::Nobody(text) => format!("nobody\0{}", fold(text)),
        }
    }
}

impl Portcullis {
    /// Counts a message that a client asks for. It is counted even if nothing can be sent, because
    /// the request writes the same rows. Call it before anything is looked up, so that the answer
    /// depends only on the source.
    pub(crate) async fn count_message(&self, client: &ClientInfo) -> Result<(), RateLimited> {
        let context = self.context();
        match context.config.mail.per_source {
            Some(quota) => self.rate_limits().source("messages", client.address(), quota).await,
            None => Ok(()),
        }
    }
}

/// The digests that the outbox stores about a person, under each secret.
pub(crate) struct Traces {
    /// Digests of recipients.
    pub(crate) recipients: Vec<Vec<u8>>,
    /// Digests under which messages are counted.
    pub(crate) counts: Vec<Vec<u8>>,
}

/// Returns the digests that the outbox may have stored about a person with these names. Pass each
/// name in its normal form and as it was typed.
pub(crate) fn traces_of(context: &Context, names: &[String]) -> Traces {
    let mut traces = Traces { recipients: Vec::new(), counts: Vec::new() };
    let own = context.templates.own_kinds();
    let kinds: Vec<_> = MessageKind::ALL.iter().copied().chain(own).collect();
    for secret in &context.config.keys.secrets {
        let key = OutboxKeys::recipients_under(secret);
        for name in names {
            traces.recipients.push(key.digest(fold(name).as_bytes()).to_vec());
            let counted =
                [Counted::Mailbox, Counted::Proved, Counted::OnKnownDevice, Counted::Nobody];
            let counted = counted.map(|counted| counted(name).text());
            for kind in kinds.iter().filter(|kind| kind.cause() == Cause::Asked) {
                let texts = counted.iter().map(|text| format!("{}\0{text}", kind.stored()));
                traces.counts.extend(texts.map(|text| key.digest(text.as_bytes()).to_vec()));
            }
        }
    }
    traces
}

/// Counts one more message of this kind, and returns whether the recipient may get it. A flow needs
/// this if it must know before it replaces an earlier code or link.
pub(crate) async fn admit<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    kind: MessageKind,
    counted: Counted<'_>,
) -> Result<Admitted, DbErr> {
    if !context.can_send() || kind.cause() == Cause::Happened {
        return Ok(Admitted(true));
    }
    let mail = &context.config.mail;
    let allowed = store::Limit { cool_down: mail.cool_down, most: mail.per_hour, window: WINDOW };
    let keys = context.per_instance::<OutboxKeys>();
    // The same text as in `traces_of`.
    let text = format!("{}\0{}", kind.stored(), counted.text());
    let digest = keys.recipients.digest(text.as_bytes());
    Ok(Admitted(store::admit(txn, digest, &allowed, context.now()).await?))
}

/// The result of [`admit`], for [`put_admitted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Admitted(pub(crate) bool);

/// Puts a message into the outbox after [`admit`].
pub(crate) async fn put_admitted(
    txn: &Txn<'_>,
    context: &Context,
    outgoing: &Outgoing,
    Admitted(admitted): Admitted,
) -> Result<Put, DbErr> {
    if !context.can_send() {
        return Ok(Put::Nobody);
    }
    let to = outgoing.to.as_ref().filter(|to| context.can_send_to(to));
    let verdict = match to {
        None => Put::Nobody,
        Some(_) if !admitted => Put::HeldBack,
        Some(_) => Put::Queued,
    };
    let now = context.now();
    let due = if outgoing.kind.is_awaited() { now.minus(HEAD_START) } else { now };
    let (_, row) = row(context, outgoing, to, verdict, due);
    store::insert(txn, row).await?;
    let context = context.clone();
    // This happens for every result, so that the work does not show whether there is a recipient.
    txn.after_commit(move |_| deliver::deliver_soon(&context));
    Ok(verdict)
}

/// Puts a message into the outbox that is sent at `at` and may be [amended](amend) until then. Its
/// recipient must be one that can be written to, and no stranger may be able to trigger it.
pub(crate) async fn put_later(
    txn: &Txn<'_>,
    context: &Context,
    outgoing: &Outgoing,
    at: Timestamp,
) -> Result<MessageId, DbErr> {
    let (id, row) = row(context, outgoing, outgoing.to.as_ref(), Put::Queued, at);
    store::insert(txn, row).await?;
    // This starts the task that waits for the message.
    let context = context.clone();
    txn.after_commit(move |_| deliver::deliver_soon(&context));
    Ok(id)
}

/// Changes the content of a waiting message. Returns false if a node has begun to send it, or if it
/// no longer exists.
pub(crate) async fn amend<C: ConnectionTrait>(
    txn: &C,
    context: &Context,
    id: MessageId,
    outgoing: &Outgoing,
) -> Result<bool, DbErr> {
    let payload = deliver::Payload::new(outgoing.to.as_ref(), &outgoing.values);
    let sealer = &context.per_instance::<OutboxKeys>().sealer;
    let sealed = sealer.seal(&payload.to_bytes(), &row_name(id, outgoing.kind));
    store::amend(txn, id, sealed, context.now()).await
}

/// Returns the row of a message that is due at `due`.
fn row(
    context: &Context,
    outgoing: &Outgoing,
    to: Option<&Recipient>,
    verdict: Put,
    due: Timestamp,
) -> (MessageId, entity::message::Model) {
    let now = context.now();
    let id = MessageId::new(now);
    let keys = context.per_instance::<OutboxKeys>();
    // The payload is sealed even without a recipient, so that the work is the same.
    let payload = deliver::Payload::new(to, &outgoing.values);
    let sealed = keys.sealer.seal(&payload.to_bytes(), &row_name(id, outgoing.kind));
    let recipient = to.map_or("", Recipient::as_str);
    let row = entity::message::Model {
        id,
        kind: to.map_or(NOBODY.into(), |_| outgoing.kind.stored()).into_owned(),
        recipient: keys.recipients.digest(fold(recipient).as_bytes()).to_vec(),
        account_id: outgoing.account_id,
        key_id: sealed.key_id,
        payload: (verdict == Put::Queued).then_some(sealed.text),
        state: match verdict {
            Put::Queued => store::DUE,
            Put::HeldBack => "held_back",
            Put::Nobody => NOBODY,
        }
        .to_owned(),
        attempts: 0,
        next_try_at: due,
        expires_at: due.max(now).plus(outgoing.good_for),
        created_at: now,
        finished_at: (verdict != Put::Queued).then_some(now),
    };
    (id, row)
}

impl Context {
    /// Returns true if there is any notifier.
    fn can_send(&self) -> bool {
        self.notifier.is_some() || self.text_messages.is_some()
    }

    pub(crate) fn can_send_to(&self, to: &Recipient) -> bool {
        match to {
            Recipient::Email(_) => self.notifier.is_some(),
            Recipient::Phone(_) => self.text_messages.is_some(),
        }
    }
}

/// Delivers messages and removes old ones. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Outbox<'a> {
    context: &'a Context,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the outbox.
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox::new(self.context())
    }
}

impl<'a> Outbox<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, db: context.db() }
    }

    /// Works inside your transaction: a message is sent only if you commit. In your own
    /// `DatabaseTransaction`, the message waits for the next delivery, because portcullis does not
    /// see the commit.
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Puts a message of your application into the outbox. One recipient gets at most one of a kind
    /// a minute and five an hour (`mail.cool_down`, `mail.per_hour`). Above that the message is
    /// [held back](Put::HeldBack), which is not an error.
    ///
    /// # Errors
    /// See [`SendError`]. After an error nothing is sent. The templates are rendered at once, so a
    /// missing value is found here and not at the delivery.
    pub async fn send(&self, message: OwnMessage) -> Result<Put, SendError> {
        let context = self.context;
        let kind = context.templates.own_kind(message.kind);
        let kind = kind.ok_or(SendError::UnknownKind(message.kind))?;
        let to = match &message.to {
            Recipient::Email(address) => Recipient::email(address),
            Recipient::Phone(number) => Recipient::phone(number),
        };
        let to = to.ok_or(SendError::Recipient)?;
        if !context.can_send_to(&to) {
            return Err(SendError::NoNotifier);
        }
        if let Some(name) = message.too_long.first() {
            return Err(SendError::ValueTooLong { kind: message.kind, name, limit: MAX_CHARS });
        }
        let values = message.values;
        if context.templates.render(kind, values.clone(), context.now()).is_err() {
            let missing = context.templates.missing(kind, &values);
            return Err(SendError::Template { kind: message.kind, missing });
        }
        let outgoing = Outgoing {
            kind,
            to: Some(to),
            account_id: message.account_id,
            values,
            good_for: message.good_for,
        };
        transaction!(self.db, |txn| { Ok::<_, SendError>(put(txn, context, &outgoing).await?) })
    }

    /// Delivers messages as long as the process lives: those that a crashed node has left, those to
    /// attempt again, and new ones. It also removes what is older than `mail.keep`. Spawn it at
    /// start. An outage of the database is logged, and delivery continues when it ends.
    pub async fn run(&self) {
        deliver::run(self.context).await;
    }

    /// Delivers everything that is due and returns, for a scheduler of your own and for tests.
    ///
    /// # Errors
    /// An outage of the database. A failing mail server is not an error: the message is attempted
    /// again.
    pub async fn deliver_due(&self) -> Result<Delivered, Fault> {
        deliver::deliver_due(self.context).await
    }

    /// Removes finished messages older than `mail.keep`, and counts that have expired. Returns how
    /// many rows were removed.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn purge(&self) -> Result<u64, Fault> {
        purge::purge(self.context).await
    }
}
