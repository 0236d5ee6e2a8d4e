//! Challenges: a short code that is sent, or a question that is shown, and the answer that opens
//! one action.
//!
//! 1. A handler starts a challenge for whoever is signed in. The code comes from the system's
//!    randomness; the row keeps a keyed digest of it.
//! 2. The person answers. A try is taken before the answer is looked at, so that however many
//!    answers come at once, no more are looked at than there are tries. Of any number of right
//!    answers at once one counts.
//! 3. A route that asks for an answered challenge of this purpose lets this session through, once:
//!    its use spends it.
//!
//! A challenge is bound to its purpose, account, session and target. An answer from another
//! session is refused and costs the owner no try. A session that a step-up has replaced, and that only
//! lingers, starts, answers and spends none. Tries are counted per purpose and account: a new
//! code does not bring new tries, and once they are used up the right code is refused too, until the
//! first of the wrong ones is an hour old. A right answer uses up none and brings back none.
//!
//! They are [tries](crate::attempt) like others, of the kind
//! [`Challenge`](crate::config::AttemptKind::Challenge): one count for all nodes, written down before
//! an answer is looked at, with where it came from. Wrong passwords use up no tries at a code and wrong
//! codes lock no sign-in; nor does one purpose use up those of another, or whoever may ask for codes of
//! one could keep the owner from the other. A source with too many failures, whatever they were at, has
//! to wait with codes too, except on a browser that the account is known to sign in from. Unlike a
//! refused password a refused code is told: how many tries there are is no secret, and the person at the
//! form needs to know when to come back.
//!
//! ```no_run
//! use axum::extract::State;
//! use portcullis::challenge::{Answered, ChallengeId, ChallengePurpose};
//! use portcullis::{ClientInfo, Identity, Portcullis, Rejection};
//!
//! struct Transfer;
//! impl ChallengePurpose for Transfer {
//!     const NAME: &'static str = "transfer";
//! }
//!
//! async fn ask(auth: Portcullis, identity: Identity) -> Result<String, Rejection> {
//!     let challenge = auth.challenges().start(Transfer::NAME).of(&identity).target("DE42 100 EUR");
//!     Ok(challenge.send().await?.id.to_string())
//! }
//!
//! async fn answer(
//!     auth: Portcullis,
//!     identity: Identity,
//!     client: ClientInfo,
//!     id: ChallengeId,
//!     code: String,
//! ) -> Result<(), Rejection> {
//!     Ok(auth.challenges().answer(Transfer::NAME, &identity, id, &code, &client).await?)
//! }
//!
//! // Taking `Answered<Transfer>` spends it.
//! async fn transfer(answered: Answered<Transfer>) -> String {
//!     format!("sent: {}", answered.target().unwrap_or_default())
//! }
//! ```
//!
//! [`send`](StartChallenge::send) mails the code to the account's address;
//! [`prepare`](StartChallenge::prepare) hands it to the application, which has another way to send it.
//!
//! For a picture (captcha) the application draws the question itself and says what answers it:
//! [`expecting`](StartChallenge::expecting). A visitor's anonymous session can hold one too.
//!
//! # What it does not do
//! - It is no second factor: it says that a code reached the account's owner, not who signed in.
//! - It does not draw captchas.
//!
//! # Configuration
//! [`ChallengeConfig`](crate::config::ChallengeConfig);
//! [`AttemptConfig`](crate::config::AttemptConfig) for sources, and what differs for codes in its
//! `kinds`.
//!
//! # Events
//! `authn_challenge_success`, `authn_challenge_fail`, with the purpose; `authn_login_lock` with the
//! detail `challenge` when the last try was wrong.
//!
//! # Errors
//! `wrong_code` (403), `too_many_tries` (429), `too_soon` (429), `challenge_required` (403),
//! `no_address` (422), `session_ended` (401).
//!
//! # Standard
//! NIST SP 800-63B-4 3.1.3 and 3.2.2, ASVS 5.0 6.5 and 6.6.

use std::time::Duration;

use crate::account::Account;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Db, Fault, OpenTransaction, transaction};
use crate::context::Context;
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Start, Started, Try, store};
use crate::outbox::{self, Admitted, Counted, Outgoing, Put};
use crate::outstanding::{ApplicationPurpose, Kind};
use crate::session::{AnonymousSession, SessionError};

mod error;
mod guard;

pub use crate::base::id::ChallengeId;
pub use crate::one_time::Proof;
pub use error::ChallengeError;
pub use guard::{Answered, ChallengePurpose, RequireChallenge, RequireChallengeService};

/// How many rows a purge removes at once.
const BATCH: u64 = 1_000;

/// Whose challenge it is: who is signed in, or a visitor.
#[derive(Debug, Clone)]
pub struct Holder {
    session_id: SessionId,
    account: Option<Account>,
    /// Whether another session has taken the place of its own.
    superseded: bool,
}

impl Holder {
    fn account_id(&self) -> Option<AccountId> {
        self.account.as_ref().map(Account::id)
    }

    /// What is left of a session that was replaced ends what it began. An answered challenge would
    /// outlast that.
    fn check(&self) -> Result<(), ChallengeError> {
        if self.superseded {
            return Err(ChallengeError::Session(SessionError::Over));
        }
        Ok(())
    }
}

impl From<&Identity> for Holder {
    fn from(identity: &Identity) -> Self {
        Self {
            session_id: identity.session().id(),
            account: Some(identity.account().clone()),
            superseded: identity.is_superseded(),
        }
    }
}

impl From<&AnonymousSession> for Holder {
    fn from(session: &AnonymousSession) -> Self {
        Self { session_id: session.id(), account: None, superseded: false }
    }
}

/// Starts and answers challenges of the application's own. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Challenges<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
}

impl Portcullis {
    /// Challenges.
    pub fn challenges(&self) -> Challenges<'_> {
        Challenges { auth: self, db: self.context().db() }
    }
}

/// A challenge about to start.
#[derive(Clone)]
#[must_use = "a challenge starts when it is prepared or sent"]
pub struct StartChallenge<'a> {
    context: &'a Context,
    db: Db<'a>,
    purpose: String,
    holder: Option<Holder>,
    target: Option<String>,
    expected: Option<String>,
}

impl<'a> StartChallenge<'a> {
    /// Whose it is: an [`Identity`], or the [`AnonymousSession`] of a visitor. Only that session
    /// can answer it.
    pub fn of(mut self, holder: impl Into<Holder>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// What it is about, such as the payment that is to be confirmed, in at most 255 bytes. The
    /// route that spends it sees this and compares.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The answer, where the application asks a question of its own, instead of a code.
    pub fn expecting(mut self, answer: impl Into<String>) -> Self {
        self.expected = Some(answer.into());
        self
    }

    /// Inside a transaction of the caller's.
    pub fn within(mut self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        self.db = self.db.within(txn);
        self
    }

    /// Starts it and hands the code to the application, which shows or sends it.
    ///
    /// # Errors
    /// The last one is younger than the cool-down; the purpose cannot be one; the session was replaced;
    /// an outage.
    pub async fn prepare(self) -> Result<PreparedChallenge, ChallengeError> {
        let kind = application(&self.purpose)?;
        self.holder.as_ref().map_or(Ok(()), Holder::check)?;
        let started = transaction!(self.db, |txn| {
            let started = one_time::start(txn, self.context, &self.start(&kind)).await?;
            started.ok_or_else(|| self.too_soon())
        })?;
        Ok(PreparedChallenge { started })
    }

    /// Starts it and sends the code to the mail address of the account.
    ///
    /// # Errors
    /// The account has no address, or there is no notifier; the address got a code within the
    /// cool-down, or enough of them this hour; the purpose cannot be one; the session was replaced; an
    /// outage.
    pub async fn send(self) -> Result<SentChallenge, ChallengeError> {
        let kind = application(&self.purpose)?;
        self.holder.as_ref().map_or(Ok(()), Holder::check)?;
        let account = self.holder.as_ref().and_then(|holder| holder.account.as_ref());
        let recipient = account.and_then(Account::email).and_then(Recipient::email);
        let (account, recipient) = account.zip(recipient).ok_or(ChallengeError::NoAddress)?;
        let context = self.context;
        let sent = transaction!(self.db, |txn| {
            let message = MessageKind::ChallengeCode;
            // Somebody else who has an account with a spelling of this mailbox takes nothing from it.
            let counted = match account.is_verified() {
                true => Counted::Proved(recipient.as_str()),
                false => Counted::mailbox(&recipient),
            };
            let admitted = outbox::admit(txn, context, message, counted).await?;
            let started = match admitted {
                Admitted(true) => one_time::start(txn, context, &self.start(&kind)).await?,
                Admitted(false) => None,
            };
            let started = started.ok_or_else(|| self.too_soon())?;
            let values = Values::new()
                .with("purpose", &self.purpose)
                .with_some("code", started.code.as_ref().map(|code| code.as_str()));
            let outgoing = Outgoing::new(message, Some(recipient.clone()))
                .account(account.id())
                .values(values)
                .good_for(context.config.challenge.code_lifetime);
            match outbox::put_admitted(txn, context, &outgoing, admitted).await? {
                Put::Queued => Ok(SentChallenge { id: started.id, expires_at: started.expires_at }),
                Put::HeldBack => Err(self.too_soon()),
                Put::Nobody => Err(ChallengeError::NoAddress),
            }
        })?;
        Ok(sent)
    }

    fn start<'s>(&'s self, kind: &'s Kind) -> Start<'s> {
        let config = &self.context.config.challenge;
        Start {
            kind,
            account_id: self.holder.as_ref().and_then(Holder::account_id),
            session_id: self.holder.as_ref().map(|holder| holder.session_id),
            target: self.target.as_deref(),
            data: None,
            binding: None,
            answer: self.expected.as_deref().map_or(Answer::Code, Answer::Given),
            lifetime: config.code_lifetime,
            // A picture may be asked for again at once: nobody is sent anything.
            cool_down: if self.expected.is_some() { Duration::ZERO } else { config.cool_down },
        }
    }

    fn too_soon(&self) -> ChallengeError {
        ChallengeError::TooSoon { retry_after: self.context.config.challenge.cool_down }
    }
}

/// A challenge whose code is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentChallenge {
    /// What to name it by when it is answered. Not a secret.
    pub id: ChallengeId,
    /// When it is too late for an answer.
    pub expires_at: Timestamp,
}

/// A challenge whose code the application shows or sends.
pub struct PreparedChallenge {
    started: Started,
}

impl PreparedChallenge {
    /// What to name it by when it is answered. Not a secret.
    pub fn id(&self) -> ChallengeId {
        self.started.id
    }

    /// The code; none where the application said what answers it.
    pub fn code(&self) -> Option<&str> {
        self.started.code.as_ref().map(|code| code.as_str())
    }

    /// When it is too late for an answer.
    pub fn expires_at(&self) -> Timestamp {
        self.started.expires_at
    }
}

// Written by hand: it holds the answer that is expected, which never prints.
impl std::fmt::Debug for StartChallenge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartChallenge").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PreparedChallenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedChallenge").field("id", &self.started.id).finish_non_exhaustive()
    }
}

impl<'a> Challenges<'a> {
    /// A challenge of a purpose of the application's own: 1 to 48 lower-case letters, digits,
    /// dashes, underscores. Its codes are worth nothing for any other purpose.
    pub fn start(&self, purpose: impl Into<String>) -> StartChallenge<'a> {
        StartChallenge {
            context: self.auth.context(),
            db: self.db,
            purpose: purpose.into(),
            holder: None,
            target: None,
            expected: None,
        }
    }

    /// Answers a challenge. A right answer opens, for five minutes and once, the routes that ask
    /// for this purpose.
    ///
    /// # Errors
    /// [`ChallengeError::WrongCode`] for whatever is wrong with the answer or the challenge;
    /// [`ChallengeError::TooManyTries`]; [`ChallengeError::Session`]; an outage.
    pub async fn answer(
        &self,
        purpose: &str,
        holder: impl Into<Holder>,
        id: ChallengeId,
        answer: &str,
        client: &ClientInfo,
    ) -> Result<(), ChallengeError> {
        let holder = holder.into();
        holder.check()?;
        let context = self.auth.context();
        let kind = application(purpose)?;
        let now = context.now();
        let found = self.db.read(one_time::find(&self.db.executor(), &kind, id)).await?;
        // What belongs to somebody else is not there, and costs them nothing.
        let challenge = found
            .filter(|found| found.session_id() == Some(holder.session_id))
            .filter(|found| found.account_id() == holder.account_id())
            .filter(|found| found.is_open(now) && !found.is_answered())
            .ok_or(ChallengeError::WrongCode)?;
        let epoch = holder.account.as_ref().map(|account| account.epoch);
        let ticket = match challenge.take_try(self.auth, epoch, client).await? {
            Try::Taken(ticket) => ticket,
            Try::TooMany(retry_after) => return Err(ChallengeError::TooManyTries { retry_after }),
        };
        let right = challenge.is_code(context, answer);
        let event = |kind| {
            let event = Event::new(kind, now).session(holder.session_id).detail(purpose);
            let event = event.from_client(client);
            holder.account_id().map_or(event.clone(), |id| event.account(id))
        };
        let answered = event(EventKind::ChallengeAnswered);
        let failed = Event { succeeded: false, ..event(EventKind::ChallengeFailed) };
        let right = transaction!(self.db, |txn| {
            if right && challenge.answer(txn, context).await? {
                ticket.succeeded(txn).await?;
                audit_log::record(txn, &answered).await?;
                return Ok(true);
            }
            ticket.failed(txn).await?;
            audit_log::record(txn, &failed).await?;
            Ok::<_, ChallengeError>(false)
        })?;
        if right {
            ticket.end_succeeded();
            Ok(())
        } else {
            ticket.end_failed();
            Err(ChallengeError::WrongCode)
        }
    }

    /// Removes challenges that have been over for longer than `age`, and notes of when the last one
    /// was started, a batch at a time. Says how many rows.
    ///
    /// # Errors
    /// An outage.
    pub async fn purge(&self, age: Duration) -> Result<u64, Fault> {
        let context = self.auth.context();
        let before = context.now().minus(age);
        // A cool-down outlives what it was of.
        let started_before = context.now().minus(age.max(context.config.challenge.cool_down));
        let executor = self.db.executor();
        let mut removed = 0;
        loop {
            let batch = self.db.retry(|| store::purge(&executor, before, BATCH)).await?;
            removed += batch;
            if batch < BATCH {
                break;
            }
        }
        loop {
            let batch =
                self.db.retry(|| store::purge_starts(&executor, started_before, BATCH)).await?;
            removed += batch;
            if batch < BATCH {
                return Ok(removed);
            }
        }
    }
}

fn application(purpose: &str) -> Result<Kind, ChallengeError> {
    ApplicationPurpose::parse(purpose)
        .map(Kind::Application)
        .ok_or_else(|| ChallengeError::InvalidPurpose(purpose.to_owned()))
}
