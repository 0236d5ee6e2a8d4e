//! The outbox: messages are written down in the transaction of the change they tell of, and leave
//! afterwards.
//!
//! 1. A flow puts a message into `auth_outbox` in its transaction. If the change is rolled back
//!    there is no message; if the process dies after the commit there still is. What it says, and to
//!    whom, is sealed (XChaCha20-Poly1305, a key of its own, the row's id as associated data): a
//!    dump shows no code, no link and no address.
//! 2. After the commit a task takes it: one conditional UPDATE with a lease, so that of several
//!    nodes one sends. The answer to the request does not wait for it, and a slow or stopped mail
//!    server delays nothing.
//! 3. Sent, the row is wiped and remembers only that it was. Failed, it is tried again after half a
//!    minute, then twice as long each time up to an hour; after ten tries, or when nobody wants it
//!    any more (a reset link is good for an hour), it is wiped and given up, and the audit log says so.
//!
//! Messages that a stranger can trigger are limited:
//!
//! - *Per recipient*: one of a kind a minute and five an hour; the stranger is not told. All spellings
//!   of a mailbox count together: capitals, Unicode forms, what follows a `+`, and the dots that Gmail
//!   ignores. That form is used for this limit and never says whose an address is. A link that was
//!   sent before stays good, so the owner of a mailbox finds a link there even when a stranger has used
//!   up the limit. An address that its account has proved is counted by itself, because a stranger
//!   cannot make more of those, and so is each known device of an account: what others ask for
//!   takes nothing from the owner there. Requests for addresses that nobody has take nothing either.
//! - *Per source*: a hundred an hour ([`per_source`](crate::config::MailConfig::per_source)), whoever
//!   they go to. Beyond that the answer is 429 `rate_limited`, before anything is looked up.
//!
//! With [`Delivery::Soon`](crate::config::Delivery::Soon) a message leaves right after its commit, from
//! the node that wrote it, and what failed is tried again when its time comes. [`run`](Outbox::run) finds
//! what another node has left, within half a minute. A message that is for later holds up no other.
//!
//! Where nobody is to be written to, a row of kind `none` is written: the work is the same, so nobody
//! can tell by it who has an account.
//!
//! What somebody waits for leaves first: links to a new password and codes for what they are about to
//! do go before everything else of the last hour. After that hour any message is as urgent.
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis) {
//! // At start: what a node that crashed has left, and everything from then on.
//! tokio::spawn(async move { auth.outbox().run().await });
//! # }
//! ```
//!
//! # Messages of the application's own
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
//! They are sealed, delivered and attempted again like all others, and have the same limit per recipient.
//!
//! # What it does not do
//! It does not promise a message exactly once. A node that dies between sending and noting it leaves a
//! message that is sent again when its lease is over; both copies have one `Message-ID`. While the
//! nodes live, and their clocks agree to within `mail.send_timeout`, nothing is sent twice.
//!
//! # Configuration
//! [`config.mail`](crate::config::MailConfig).
//!
//! # Events
//! `message_failed`: a message was given up; its detail is the kind and the reason.

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

/// A message that nobody bounds otherwise is not wanted any more after this.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How much earlier than others a message counts as put in that somebody waits for.
const HEAD_START: Duration = Duration::from_secs(60 * 60);
/// The kind of a row that is for nobody.
const NOBODY: &str = "none";

/// A message to be put into the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) kind: MessageKind,
    /// None: there is nobody to write to, which must not be seen.
    pub(crate) to: Option<Recipient>,
    /// Whose account it is about.
    pub(crate) account_id: Option<AccountId>,
    /// What fills the blanks of its templates; see [`MessageKind`] for their names.
    pub(crate) values: Values,
    /// How long anybody wants it.
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

    /// For a message with a code or link: how long that is good. It also fills `minutes`.
    #[must_use]
    pub(crate) fn good_for(mut self, duration: Duration) -> Self {
        self.good_for = duration;
        self.values = self.values.with("minutes", duration.as_secs().div_ceil(60));
        self
    }
}

/// What became of a message that was put into the outbox. If a stranger chose the recipient, do not tell
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Put {
    /// It leaves after the commit.
    Queued,
    /// The recipient got enough of this kind. A link that was sent before must stay good.
    HeldBack,
    /// There is nobody to write to, or nothing to write with.
    Nobody,
}

/// Puts a message into the outbox, in the transaction of the change it tells of. It is delivered soon after
/// the commit. Costs one statement, and two more for a kind that strangers can
/// bring about; the same whether or not there is somebody to write to.
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
    /// The mailbox that it goes to, in whatever spelling.
    Mailbox(&'a str),
    /// This spelling alone: the account has proved it, and a stranger cannot prove another one.
    Proved(&'a str),
    /// The same for a known device of the account.
    OnKnownDevice(&'a str),
    /// What the client typed, in its normal form. Nobody is written to: it is counted so that the
    /// work is the same, and takes nothing from a mailbox that is spelt alike.
    Nobody(&'a str),
}

impl<'a> Counted<'a> {
    pub(crate) fn mailbox(to: &'a Recipient) -> Self {
        Self::Mailbox(to.as_str())
    }

    fn text(self) -> String {
        match self {
            Self::Mailbox(text) => mailbox::one_spelling(text),
            // No address has a NUL.
            Self::Proved(text) => format!("proved\0{}", fold(text)),
            Self::OnKnownDevice(text) => format!("device\0{}", fold(text)),
            Self::Nobody(text) => format!("nobody\0{}", fold(text)),
        }
    }
}

impl Portcullis {
    /// Counts a message that a client asks for, also where nothing can be sent: the request leaves
    /// the other rows all the same. Ask before anything is looked up, so that the answer depends on
    /// nothing but the source.
    pub(crate) async fn count_message(&self, client: &ClientInfo) -> Result<(), RateLimited> {
        let context = self.context();
        match context.config.mail.per_source {
            Some(quota) => self.rate_limits().source("messages", client.address(), quota).await,
            None => Ok(()),
        }
    }
}

/// Whether the recipient may get one more message of this kind, and counts it. For a flow that must
/// know before it replaces what an earlier message said.
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
    let text = format!("{}\0{}", kind.stored(), counted.text());
    let digest = keys.recipients.digest(text.as_bytes());
    Ok(Admitted(store::admit(txn, digest, &allowed, context.now()).await?))
}

/// The verdict of [`admit`], for [`put_admitted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Admitted(pub(crate) bool);

/// Puts a message into the outbox that [`admit`] has judged.
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
    // Whatever the verdict: who it is for must not show in the work.
    txn.after_commit(move |_| deliver::deliver_soon(&context));
    Ok(verdict)
}

/// Puts a message into the outbox that leaves at `at` and may be [amended](amend) until then. Its
/// recipient is one that can be written to, and no stranger's request brings it about.
pub(crate) async fn put_later(
    txn: &Txn<'_>,
    context: &Context,
    outgoing: &Outgoing,
    at: Timestamp,
) -> Result<MessageId, DbErr> {
    let (id, row) = row(context, outgoing, outgoing.to.as_ref(), Put::Queued, at);
    store::insert(txn, row).await?;
    // So that somebody waits for it.
    let context = context.clone();
    txn.after_commit(move |_| deliver::deliver_soon(&context));
    Ok(id)
}

/// Changes what a waiting message says. False when a node has begun to send it, or it is gone.
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

/// The row of a message that is due at `due`.
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
    // Sealed for nobody too: the work is the same.
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
    /// Whether anything can leave at all.
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

/// Delivers and cleans up. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Outbox<'a> {
    context: &'a Context,
    db: Db<'a>,
}

impl Portcullis {
    /// The outbox.
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox::new(self.context())
    }
}

impl<'a> Outbox<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, db: context.db() }
    }

    /// Inside a transaction of the caller's: a message leaves only if they commit. In a
    /// `DatabaseTransaction` of your own it waits for the next one who delivers, because nobody hears
    /// of the commit.
    pub fn within(self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        Self { db: self.db.within(txn), ..self }
    }

    /// Puts a message of the application's own into the outbox. One recipient gets at most one of a kind
    /// a minute and five an hour (`mail.cool_down`, `mail.per_hour`); above that the message is
    /// [held back](Put::HeldBack), which is no error.
    ///
    /// # Errors
    /// See [`SendError`]: nothing is sent then. The templates are rendered at once, so a missing value is
    /// found here and not at the delivery.
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

    /// Delivers for as long as the process lives: what a crashed node has left, what is to be tried
    /// again, and what comes. Also removes what `mail.keep` has outlived. Spawn it at start; an outage
    /// of the database is logged and waited out.
    pub async fn run(&self) {
        deliver::run(self.context).await;
    }

    /// Delivers everything that is due and returns, for a scheduler of your own and for tests.
    ///
    /// # Errors
    /// An outage of the database. A mail server that fails is no error: it is tried again.
    pub async fn deliver_due(&self) -> Result<Delivered, Fault> {
        deliver::deliver_due(self.context).await
    }

    /// Removes finished messages older than `mail.keep`, and counts that are over. Says how many
    /// rows went.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn purge(&self) -> Result<u64, Fault> {
        purge::purge(self.context).await
    }
}
