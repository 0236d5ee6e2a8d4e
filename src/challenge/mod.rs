//! Challenges: a short code that is sent, or a question that is shown. The correct answer allows
//! one action.
//!
//! # How it works
//!
//! 1. A handler starts a challenge for the session of the request. The session can be at any stage:
//!    of a visitor, of an unfinished sign-in, or full. The code comes from the system's random
//!    generator. The row stores a keyed digest of it.
//! 2. The user answers. The attempt is counted before the answer is compared. So with many
//!    simultaneous answers, no more are compared than there are attempts. Of several simultaneous
//!    correct answers, one counts.
//! 3. A route that requires an answered challenge of this purpose lets this session through once.
//!    The request uses up the challenge.
//!
//! A challenge is bound to its purpose, account, session and target. An answer from another session
//! is refused and costs the owner no attempt. A session that was replaced by a step-up, and only
//! keeps its old rights for a few seconds, cannot start, answer or use a challenge. A challenge
//! ends with its session: the session that replaces it gets nothing of it.
//!
//! # How attempts are counted
//!
//! Attempts are counted per purpose and account, so a new code brings no new attempts. When they
//! are used up, the correct code is refused too, until the first of the wrong answers is an hour
//! old. A correct answer costs no attempt, and it gives none back.
//!
//! They are [attempts](crate::attempt) of the kind
//! [`Challenge`](crate::config::AttemptKind::Challenge). All nodes share one count. An attempt is
//! recorded, with its source, before the answer is compared.
//!
//! - Wrong passwords use up no attempts at a code, and wrong codes lock no sign-in.
//! - One purpose does not use up the attempts of another. Otherwise a person who may request codes
//!   for one purpose could block the owner from another.
//! - A source with too many failures of any kind must wait with codes too. A browser from which
//!   the account is known to sign in need not wait.
//! - Unlike a refused password, a refused code is revealed. The number of attempts is no secret,
//!   and the user needs to know when to come back.
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
//!     let challenge = auth.challenges().start(Transfer::NAME, &identity).target("DE42 100 EUR");
//!     Ok(challenge.send().await?.id.to_string())
//! }
//!
//! async fn answer(
//!     auth: Portcullis,
//!     identity: Identity,
//!     client: ClientInfo,
//!     id: ChallengeId,
//!     code: String,
//! ) -> Result<String, Rejection> {
//!     let answered = auth.challenges().answer(Transfer::NAME, &identity, id, &code, &client).await?;
//!     Ok(format!("confirmed: {}", answered.target().unwrap_or_default()))
//! }
//!
//! // The extractor `Answered<Transfer>` uses it up.
//! async fn transfer(answered: Answered<Transfer>) -> String {
//!     format!("sent: {}", answered.target().unwrap_or_default())
//! }
//! ```
//!
//! [`send`](StartChallenge::send) mails the code to the address of the account.
//! [`prepare`](StartChallenge::prepare) gives it to the application, which sends it in another way.
//!
//! In this flow one request answers and another one acts. A handler that acts on the answer itself
//! calls [`answer_and_spend`](Challenges::answer_and_spend). Such an answer opens no route.
//!
//! For a picture (captcha), the application draws the question itself and sets the answer with
//! [`expecting`](StartChallenge::expecting). The anonymous session of a visitor can hold such a
//! challenge too.
//!
//! # An unfinished sign-in
//! A [`PendingSession`] can hold challenges as well, so a code can be the second factor. Start a
//! challenge, answer it with [`answer_and_spend`](Challenges::answer_and_spend), then finish the
//! sign-in with [`finish`](crate::login::Login::finish). Note four things:
//!
//! - Only the password was proved so far. Use a separate purpose for a second factor. With the
//!   purpose of an action for signed-in users, a person who knows the password could replace the
//!   owner's codes.
//! - Attempts are counted per account, so another sign-in brings no new ones. A person who knows
//!   the password can therefore use them up. The owner then has to wait, and should change the
//!   password.
//! - A route behind [`Answered<P>`] or [`require_challenge`](Portcullis::require_challenge) lets
//!   such a session through too, if it answered. Neither checks the stage of the sign-in. Put a
//!   [`Requirement`](crate::Requirement) around them.
//! - An account has the same number of attempts in any session, whatever its stage is.
//!
//! # What it does not do
//! - It is no second factor by itself. It only shows that the owner of the account received a code,
//!   and it finishes no sign-in.
//! - It does not draw captchas. For a sign-in or a registration, see [`captcha`](crate::captcha).
//!
//! # Routes
//! There are none. Your handlers start and answer challenges.
//!
//! # Configuration
//! [`ChallengeConfig`](crate::config::ChallengeConfig) has the codes and their limits.
//! [`AttemptConfig`](crate::config::AttemptConfig) has the limits per source, and its `kinds` can
//! change the limits for codes.
//!
//! | for one purpose | where | reason |
//! |---|---|---|
//! | how long a code is valid | [`lifetime`](StartChallenge::lifetime) | it belongs to one code |
//! | how soon another code may be sent | [`cool_down`](StartChallenge::cool_down) | it belongs to one code |
//! | how many wrong answers are allowed | [`attempts_by_purpose`](crate::config::ChallengeConfig::attempts_by_purpose) | they are counted over all codes of a purpose. If each code had its own limit, the most generous one would apply |
//! # Events
//! `authn_challenge_success` and `authn_challenge_fail`, with the purpose. `authn_login_lock` with
//! the detail `challenge`, if the last attempt was wrong.
//!
//! # Error codes
//! `wrong_code` (403), `too_many_attempts` (429), `too_soon` (429), `challenge_required` (403),
//! `no_address` (422), `invalid_target` (422), `session_ended` (401).
//!
//! # Standard
//! NIST SP 800-63B-4 sections 3.1.3 and 3.2.2, ASVS 5.0 sections 6.5 and 6.6.

use std::time::Duration;

use crate::account::Account;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Db, Fault, OpenTransaction, transaction};
use crate::context::Context;
use crate::guard::visitor::Visitor;
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{
    self, Answer, Challenge, CodeAttempt, LONGEST_COOL_DOWN, Start, Started, store,
};
use crate::outbox::{self, Admitted, Counted, Outgoing, Put};
use crate::outstanding::{ApplicationPurpose, Kind};
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, SessionError,
};

mod error;
mod guard;

pub use crate::base::id::ChallengeId;
pub use crate::one_time::Proof;
pub use error::ChallengeError;
pub use guard::{Answered, ChallengePurpose, RequireChallenge, RequireChallengeService};

/// How many rows a purge deletes in one statement.
const BATCH: u64 = 1_000;

/// The longest lifetime of a code (NIST SP 800-63B-4).
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The column of the target has this size in bytes.
const LONGEST_TARGET: usize = 255;

/// The session that holds a challenge: the one of the request, at any stage. It can be made from an
/// [`Identity`], an [`AnonymousSession`], a [`PendingSession`], an [`EnrolmentSession`], a
/// [`PasswordChangeSession`] or a [`Visitor`].
#[derive(Debug, Clone)]
pub struct Holder {
    session_id: SessionId,
    account: Option<Account>,
    /// True if another session has replaced this one.
    superseded: bool,
}

impl Holder {
    fn account_id(&self) -> Option<AccountId> {
        self.account.as_ref().map(Account::id)
    }

    /// Refuses a session that was replaced. It may only finish what it began, and an answered
    /// challenge would outlive it.
    fn check(&self) -> Result<(), ChallengeError> {
        if self.superseded {
            return Err(ChallengeError::Session(SessionError::Ended));
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

macro_rules! unfinished_holders {
    ($($session:ident),+) => { $(
        impl From<&$session> for Holder {
            fn from(session: &$session) -> Self {
                let account = Some(session.account().clone());
                // Most of these keep no old rights: the session that replaces them ends them
                // immediately. But a full session may have to set up a factor meanwhile.
                Self { session_id: session.id(), account, superseded: session.state.ended.is_some() }
            }
        }
    )+ };
}

unfinished_holders!(PendingSession, EnrolmentSession, PasswordChangeSession);

impl From<&Visitor> for Holder {
    fn from(visitor: &Visitor) -> Self {
        let superseded = visitor.resolved().is_superseded();
        let account = visitor.resolved().account().cloned();
        Self { session_id: visitor.session_id(), account, superseded }
    }
}

/// Starts and answers challenges of your application. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Challenges<'a> {
    auth: &'a Portcullis,
    db: Db<'a>,
}

impl Portcullis {
    /// Returns the flows of challenges.
    pub fn challenges(&self) -> Challenges<'_> {
        Challenges { auth: self, db: self.context().db() }
    }
}

/// A challenge that is about to start.
#[derive(Clone)]
#[must_use = "a challenge starts when it is prepared or sent"]
pub struct StartChallenge<'a> {
    context: &'a Context,
    db: Db<'a>,
    purpose: String,
    holder: Holder,
    target: Option<String>,
    expected: Option<String>,
    lifetime: Duration,
    cool_down: Option<Duration>,
}

impl<'a> StartChallenge<'a> {
    /// Sets what the challenge is about, such as the payment to confirm, in at most 255 bytes. The
    /// route that uses it up reads this and compares it.
    ///
    /// A visitor has no account for which attempts could be counted. So wrong codes of visitors are
    /// counted for the target, which must be the address or number to which the code is sent. A new
    /// code replaces the code of another visitor with the same target. All spellings of a mailbox
    /// count together, as for the limits of the [outbox], and a number counts without
    /// spaces and dashes. You get the target back as you gave it. A question that is
    /// [shown](Self::expecting) to a visitor affects only their session.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Sets the answer, if the application asks its own question instead of sending a code. It must
    /// not be empty.
    ///
    /// A new question replaces the previous one. An answer that was not used yet stays valid, but
    /// only the last one of a session.
    pub fn expecting(mut self, answer: impl Into<String>) -> Self {
        self.expected = Some(answer.into());
        self
    }

    /// Sets how long the code is valid: at least one second and at most 24 hours. It must not be
    /// longer than wrong answers are counted. Otherwise one code would get more attempts than
    /// allowed. Default: [`code_lifetime`](crate::config::ChallengeConfig::code_lifetime).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets how soon this challenge may start after the last one of the same purpose, account and
    /// target: at most one hour. Default: [`cool_down`](crate::config::ChallengeConfig::cool_down),
    /// and zero with [`expecting`](Self::expecting), because nothing is sent then.
    ///
    /// This only limits how often a code is sent. Wrong answers are counted over all codes, so a
    /// shorter cool-down gives nobody more attempts. The mails of [`send`](Self::send) are also
    /// limited per mailbox ([`MailConfig`](crate::config::MailConfig)). A shorter cool-down does
    /// not change that.
    pub fn cool_down(mut self, cool_down: Duration) -> Self {
        self.cool_down = Some(cool_down);
        self
    }

    /// Starts the challenge inside a transaction of the caller.
    pub fn within(mut self, txn: impl Into<OpenTransaction<'a>>) -> Self {
        self.db = self.db.within(txn);
        self
    }

    /// Starts the challenge and returns the code. The application shows or sends it.
    ///
    /// # Errors
    /// The last challenge is younger than the cool-down; the purpose, the target or a setting is
    /// not valid; the session was replaced; an outage.
    pub async fn prepare(self) -> Result<PreparedChallenge, ChallengeError> {
        let kind = self.check()?;
        let started = transaction!(self.db, |txn| {
            let started = one_time::start(txn, self.context, &self.start(&kind)).await?;
            started.ok_or_else(|| self.too_soon())
        })?;
        Ok(PreparedChallenge { started })
    }

    /// Starts the challenge and sends the code to the mail address of the account.
    ///
    /// # Errors
    /// The account has no address, or there is no notifier; the address got a code within the
    /// cool-down, or too many in this hour; the purpose, the target or a setting is not valid; the
    /// application set the [answer](Self::expecting), so that there is no code; the session was
    /// replaced; an outage.
    pub async fn send(self) -> Result<SentChallenge, ChallengeError> {
        let kind = self.check()?;
        if self.expected.is_some() {
            let reason =
                "this challenge has no code to send, because the application set the answer";
            return Err(ChallengeError::Misconfigured(reason));
        }
        let account = self.holder.account.as_ref();
        let recipient = account.and_then(Account::email).and_then(Recipient::email);
        let (account, recipient) = account.zip(recipient).ok_or(ChallengeError::NoAddress)?;
        let context = self.context;
        let sent = transaction!(self.db, |txn| {
            let message = MessageKind::ChallengeCode;
            // A verified address has its own count. So another person who has an account with a
            // spelling of this mailbox cannot use it up.
            let counted = match account.is_verified() {
                true => Counted::Proved(recipient.as_str()),
                false => Counted::mailbox(&recipient),
            };
            let admitted = outbox::admit(txn, context, message, counted).await?;
            let started = match admitted {
                Admitted(true) => one_time::start(txn, context, &self.start(&kind)).await?,
                Admitted(false) => None,
            };
            let started = started.ok_or_else(|| self.too_soon_to_send())?;
            let values = Values::new()
                .with("purpose", &self.purpose)
                .with_some("code", started.code.as_ref().map(|code| code.as_str()));
            let outgoing = Outgoing::new(message, Some(recipient.clone()))
                .account(account.id())
                .values(values)
                .good_for(self.lifetime);
            match outbox::put_admitted(txn, context, &outgoing, admitted).await? {
                Put::Queued => Ok(SentChallenge { id: started.id, expires_at: started.expires_at }),
                Put::HeldBack => Err(self.too_soon_to_send()),
                Put::Nobody => Err(ChallengeError::NoAddress),
            }
        })?;
        Ok(sent)
    }

    /// Refuses a challenge that cannot be started, before anything is written.
    fn check(&self) -> Result<Kind, ChallengeError> {
        let kind = application(&self.purpose)?;
        self.holder.check()?;
        // PostgreSQL does not accept a NUL byte in a text.
        let fits = |target: &str| target.len() <= LONGEST_TARGET && !target.contains('\0');
        if !self.target.as_deref().is_none_or(fits) {
            return Err(ChallengeError::InvalidTarget);
        }
        if self.expected.as_deref().is_some_and(|expected| expected.trim().is_empty()) {
            return Err(ChallengeError::Misconfigured("an empty answer would let everybody in"));
        }
        let config = &self.context.config;
        let longest = config.attempts_window().min(LONGEST_LIFETIME);
        if !(Duration::from_secs(1)..=longest).contains(&self.lifetime) {
            let reason = "the lifetime of a challenge must be between one second and 24 hours, and no \
                          longer than challenge.attempts_window, or than the window of Challenge in \
                          attempts.kinds";
            return Err(ChallengeError::Misconfigured(reason));
        }
        if self.cool_down.is_some_and(|cool_down| cool_down > LONGEST_COOL_DOWN) {
            let reason = "the cool-down of a challenge must be at most an hour";
            return Err(ChallengeError::Misconfigured(reason));
        }
        Ok(kind)
    }

    fn start<'s>(&'s self, kind: &'s Kind) -> Start<'s> {
        Start {
            kind,
            account_id: self.holder.account_id(),
            session_id: Some(self.holder.session_id),
            target: self.target.as_deref(),
            data: None,
            binding: None,
            answer: self.expected.as_deref().map_or(Answer::Code, Answer::Given),
            lifetime: self.lifetime,
            cool_down: self.effective_cool_down(),
        }
    }

    fn effective_cool_down(&self) -> Duration {
        self.cool_down.unwrap_or_else(|| match self.expected {
            // A picture may be requested again immediately, because nothing is sent.
            Some(_) => Duration::ZERO,
            None => self.context.config.challenge.cool_down,
        })
    }

    fn too_soon(&self) -> ChallengeError {
        ChallengeError::TooSoon { retry_after: self.effective_cool_down() }
    }

    /// The same, with the cool-down of the mailbox.
    fn too_soon_to_send(&self) -> ChallengeError {
        let retry_after = self.effective_cool_down().max(self.context.config.mail.cool_down);
        ChallengeError::TooSoon { retry_after }
    }
}

/// A challenge that was answered correctly, just now and by this call.
#[derive(Debug, Clone)]
#[must_use = "compare its target with what the request asks for"]
pub struct RightAnswer {
    challenge: Challenge,
}

impl RightAnswer {
    /// Returns the id of the challenge.
    pub fn id(&self) -> ChallengeId {
        self.challenge.id()
    }

    /// Returns what the challenge was about. Compare this with what the request asks for. Otherwise
    /// a code for one payment could confirm another.
    pub fn target(&self) -> Option<&str> {
        self.challenge.target()
    }
}

/// A challenge whose code is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentChallenge {
    /// The id to answer it with. It is not a secret.
    pub id: ChallengeId,
    /// When the challenge expires.
    pub expires_at: Timestamp,
}

/// A challenge whose code the application shows or sends.
pub struct PreparedChallenge {
    started: Started,
}

impl PreparedChallenge {
    /// Returns the id to answer it with. It is not a secret.
    pub fn id(&self) -> ChallengeId {
        self.started.id
    }

    /// Returns the code. `None` if the application set the answer.
    pub fn code(&self) -> Option<&str> {
        self.started.code.as_ref().map(|code| code.as_str())
    }

    /// Returns when the challenge expires.
    pub fn expires_at(&self) -> Timestamp {
        self.started.expires_at
    }
}

// Written by hand: it contains the expected answer, which must not be printed.
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
    /// Prepares a challenge of a purpose of your application: 1 to 48 lower-case letters, digits,
    /// dashes or underscores. Its codes are not valid for any other purpose. Only the session of
    /// the `holder` can answer it.
    pub fn start(
        &self,
        purpose: impl Into<String>,
        holder: impl Into<Holder>,
    ) -> StartChallenge<'a> {
        let context = self.auth.context();
        StartChallenge {
            context,
            db: self.db,
            purpose: purpose.into(),
            holder: holder.into(),
            target: None,
            expected: None,
            lifetime: context.config.challenge.code_lifetime,
            cool_down: None,
        }
    }

    /// Answers a challenge, once: of several correct answers, only one counts. For five minutes and
    /// one request, the correct answer gives access to the routes that require this purpose:
    /// [`Answered<P>`](Answered) or [`require_challenge`](Portcullis::require_challenge) spends it.
    ///
    /// Use this if another request does what the answer is for. If this request does it, use
    /// [`answer_and_spend`](Self::answer_and_spend). Otherwise one answer allows two actions.
    ///
    /// # Errors
    /// [`ChallengeError::WrongCode`] if anything is wrong with the answer or the challenge;
    /// [`ChallengeError::TooManyAttempts`]; [`ChallengeError::Session`] if the session was replaced;
    /// [`ChallengeError::InvalidPurpose`]; an outage.
    pub async fn answer(
        &self,
        purpose: &str,
        holder: impl Into<Holder>,
        id: ChallengeId,
        answer: &str,
        client: &ClientInfo,
    ) -> Result<RightAnswer, ChallengeError> {
        let answering = Answering { purpose, id, answer, client, then: Then::Keep };
        self.judge(answering, holder.into()).await
    }

    /// Answers a challenge and spends it, in one transaction. Of several correct answers, only one
    /// counts. It gives access to no route.
    ///
    /// Use this if the handler that calls it acts on the answer. If another request does, use
    /// [`answer`](Self::answer).
    ///
    /// # Errors
    /// The same as for [`answer`](Self::answer). After an error, do nothing.
    pub async fn answer_and_spend(
        &self,
        purpose: &str,
        holder: impl Into<Holder>,
        id: ChallengeId,
        answer: &str,
        client: &ClientInfo,
    ) -> Result<RightAnswer, ChallengeError> {
        let answering = Answering { purpose, id, answer, client, then: Then::Spend };
        self.judge(answering, holder.into()).await
    }

    async fn judge(
        &self,
        answering: Answering<'_>,
        holder: Holder,
    ) -> Result<RightAnswer, ChallengeError> {
        let Answering { purpose, id, answer, client, then } = answering;
        holder.check()?;
        let context = self.auth.context();
        let kind = application(purpose)?;
        let now = context.now();
        let found = self.db.read(one_time::find(&self.db.executor(), &kind, id)).await?;
        // The challenge of another session counts as missing, and costs its owner no attempt.
        let challenge = found
            .filter(|found| found.session_id() == Some(holder.session_id))
            .filter(|found| found.account_id() == holder.account_id())
            .filter(|found| found.is_open(now) && !found.is_answered())
            .ok_or(ChallengeError::WrongCode)?;
        let epoch = holder.account.as_ref().map(|account| account.epoch);
        let ticket = match challenge.take_attempt(self.auth, epoch, client).await? {
            CodeAttempt::Taken(ticket) => ticket,
            CodeAttempt::TooMany(retry_after) => {
                return Err(ChallengeError::TooManyAttempts { retry_after });
            }
        };
        let right = challenge.is_code(context, answer);
        let event = |kind| {
            let event = Event::new(kind, now).session(holder.session_id).detail(purpose);
            let event = event.from_client(client);
            holder.account_id().map_or(event.clone(), |id| event.account(id))
        };
        let answered = event(EventKind::ChallengeAnswered);
        let failed = Event { succeeded: false, ..event(EventKind::ChallengeFailed) };
        // The correct code alone is not enough: the conditional UPDATE decides which of several
        // simultaneous answers counts.
        let judged = transaction!(self.db, |txn| {
            if !right {
                ticket.failed(txn).await?;
                audit_log::record(txn, &failed).await?;
                return Ok(Judged::Wrong);
            }
            let counts = match then {
                Then::Keep => challenge.answer(txn, context).await?,
                Then::Spend => challenge.answer_and_spend(txn, now).await?,
            };
            if !counts {
                return Ok(Judged::Late);
            }
            ticket.succeeded(txn).await?;
            audit_log::record(txn, &answered).await?;
            Ok::<_, ChallengeError>(Judged::Right)
        });
        match &judged {
            Ok(Judged::Right) => ticket.end_succeeded(),
            Ok(Judged::Wrong) => ticket.end_failed(),
            // A double click is no guess.
            Ok(Judged::Late) => self.auth.attempts().withdraw(ticket).await,
            Err(_) if right => one_time::end_right(self.auth, ticket, &judged, |_| false).await,
            Err(_) => drop(ticket),
        }
        match judged? {
            Judged::Right => Ok(RightAnswer { challenge }),
            Judged::Wrong | Judged::Late => Err(ChallengeError::WrongCode),
        }
    }

    /// Deletes challenges that expired more than `age` ago, and the records of when the last one
    /// was started. It works in batches. Returns how many rows were deleted.
    ///
    /// # Errors
    /// An outage.
    pub async fn purge(&self, age: Duration) -> Result<u64, Fault> {
        let context = self.auth.context();
        let before = context.now().minus(age);
        // A cool-down lasts longer than its challenge.
        let cool_down = context.config.challenge.cool_down.max(LONGEST_COOL_DOWN);
        let started_before = context.now().minus(age.max(cool_down));
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

/// The result of an answer.
enum Judged {
    Right,
    Wrong,
    /// It was right, but another request was faster.
    Late,
}

/// An answer that is to be judged.
struct Answering<'a> {
    purpose: &'a str,
    id: ChallengeId,
    answer: &'a str,
    client: &'a ClientInfo,
    then: Then,
}

/// What happens with a correct answer.
#[derive(Clone, Copy)]
enum Then {
    /// It opens a route, once.
    Keep,
    /// The caller acts on it.
    Spend,
}

fn application(purpose: &str) -> Result<Kind, ChallengeError> {
    ApplicationPurpose::parse(purpose)
        .map(Kind::Application)
        .ok_or_else(|| ChallengeError::InvalidPurpose(purpose.to_owned()))
}
