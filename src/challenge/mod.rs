//! Challenges: a short code that is sent, or a question that is shown, and the answer that opens
//! one action.
//!
//! 1. A handler starts a challenge for the session of the request, at any stage: a visitor's, a sign-in
//!    that is not finished, or a full one. The code comes from the system's randomness; the row keeps a
//!    keyed digest of it.
//! 2. The person answers. A try is taken before the answer is looked at, so that however many
//!    answers come at once, no more are looked at than there are tries. Of any number of right
//!    answers at once one counts.
//! 3. A route that asks for an answered challenge of this purpose lets this session through, once:
//!    its use spends it.
//!
//! A challenge is bound to its purpose, account, session and target. An answer from another
//! session is refused and costs the owner no try. A session that a step-up has replaced, and that only
//! lingers, starts, answers and spends none. What was answered in a session ends with it: nothing of it
//! goes over to the session that replaces it. Tries are counted per purpose and account: a new
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
//! // Taking `Answered<Transfer>` spends it.
//! async fn transfer(answered: Answered<Transfer>) -> String {
//!     format!("sent: {}", answered.target().unwrap_or_default())
//! }
//! ```
//!
//! [`send`](StartChallenge::send) mails the code to the account's address;
//! [`prepare`](StartChallenge::prepare) hands it to the application, which has another way to send it.
//!
//! Here one request answers and another one acts. A handler that acts on the answer itself calls
//! [`answer_and_spend`](Challenges::answer_and_spend), which opens no route.
//!
//! For a picture (captcha) the application draws the question itself and says what answers it:
//! [`expecting`](StartChallenge::expecting). A visitor's anonymous session can hold one too.
//!
//! # A sign-in that is not finished
//! A [`PendingSession`] holds challenges as well, so a code can be the second factor: start one, answer it
//! with [`answer_and_spend`](Challenges::answer_and_spend), then finish the sign-in with
//! [`finish`](crate::login::Login::finish). Four things to know:
//!
//! - Only the password was proved so far. Use a purpose of its own for a second factor. With the purpose of
//!   a signed-in action, somebody who knows the password could replace the owner's codes.
//! - Attempts are counted per account, so another sign-in brings no new ones. Somebody who knows the
//!   password can therefore use them up. The owner then waits, and should change the password.
//! - A route behind [`Answered<P>`] or [`require_challenge`](Portcullis::require_challenge) lets such a
//!   session through too, if it answered. Neither says how far a sign-in has come: put a
//!   [`Requirement`](crate::Requirement) around them.
//! - Each account has the same number of attempts in any session, whatever its stage.
//!
//! # What it does not do
//! - It is no second factor by itself: it says that a code reached the account's owner, and finishes no
//!   sign-in.
//! - It does not draw captchas.
//!
//! # Configuration
//! [`ChallengeConfig`](crate::config::ChallengeConfig);
//! [`AttemptConfig`](crate::config::AttemptConfig) for sources, and what differs for codes in its
//! `kinds`.
//!
//! | for one purpose | where | why there |
//! |---|---|---|
//! | how long a code is good | [`lifetime`](StartChallenge::lifetime) | it belongs to one code |
//! | how soon there may be another | [`cool_down`](StartChallenge::cool_down) | it belongs to one code |
//! | how many wrong answers | [`tries_by_purpose`](crate::config::ChallengeConfig::tries_by_purpose) | they are counted over all codes of a purpose. If each code said it for itself, the most generous one would count |
//!
//! # Events
//! `authn_challenge_success`, `authn_challenge_fail`, with the purpose; `authn_login_lock` with the
//! detail `challenge` when the last try was wrong.
//!
//! # Errors
//! `wrong_code` (403), `too_many_tries` (429), `too_soon` (429), `challenge_required` (403),
//! `no_address` (422), `invalid_target` (422), `session_ended` (401).
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
use crate::guard::visitor::Visitor;
use crate::handle::Portcullis;
use crate::identity::Identity;
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, LONGEST_COOL_DOWN, Start, Started, Try, store};
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

/// How many rows a purge removes at once.
const BATCH: u64 = 1_000;

/// No code is good for longer (NIST SP 800-63B-4).
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The column of the target has room for so much.
const LONGEST_TARGET: usize = 255;

/// Whose challenge it is: the session that the request has, at any stage. Made from an [`Identity`], an
/// [`AnonymousSession`], a [`PendingSession`], an [`EnrolmentSession`], a [`PasswordChangeSession`] or a
/// [`Visitor`].
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

macro_rules! unfinished_holders {
    ($($session:ident),+) => { $(
        impl From<&$session> for Holder {
            fn from(session: &$session) -> Self {
                let account = Some(session.account().clone());
                // None of these lingers: what replaces it ends it at once.
                Self { session_id: session.id(), account, superseded: false }
            }
        }
    )+ };
}

unfinished_holders!(PendingSession, EnrolmentSession, PasswordChangeSession);

impl From<&Visitor> for Holder {
    fn from(visitor: &Visitor) -> Self {
        let superseded = visitor.identity().is_some_and(Identity::is_superseded);
        let account = visitor.resolved().account().cloned();
        Self { session_id: visitor.session_id(), account, superseded }
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
    holder: Holder,
    target: Option<String>,
    expected: Option<String>,
    lifetime: Duration,
    cool_down: Option<Duration>,
}

impl<'a> StartChallenge<'a> {
    /// What it is about, such as the payment that is to be confirmed, in at most 255 bytes. The
    /// route that spends it sees this and compares.
    ///
    /// A visitor has no account to count by. So wrong codes of visitors are counted by the target, which
    /// then is an address or a number that the code is sent to, and a new code replaces that of another
    /// visitor. All spellings of a mailbox count together, as for the limits of the
    /// [outbox](crate::outbox), and a number counts without spaces and dashes. What you get back is the target
    /// as you gave it. What is [asked](Self::expecting) of a visitor concerns their session alone.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The answer, where the application asks a question of its own, instead of a code. It may not be
    /// empty.
    ///
    /// A question that is asked again replaces the one before it. An answer that was not used yet stays
    /// good, the last one of a session.
    pub fn expecting(mut self, answer: impl Into<String>) -> Self {
        self.expected = Some(answer.into());
        self
    }

    /// How long the code is good: at least a second, and no longer than 24 hours and than wrong answers
    /// count. Otherwise one code would get more attempts than there are. Default:
    /// [`code_lifetime`](crate::config::ChallengeConfig::code_lifetime).
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How soon after the last one of the same purpose, account and target this one may start: at most an
    /// hour. Default: [`cool_down`](crate::config::ChallengeConfig::cool_down), and zero with
    /// [`expecting`](Self::expecting), because nobody is sent anything.
    ///
    /// It only limits how often a code is sent. Wrong answers are counted over all codes, so a shorter
    /// cool-down gives nobody more attempts. What [`send`](Self::send) mails is limited per mailbox too
    /// ([`MailConfig`](crate::config::MailConfig)), and a shorter cool-down does not change that.
    pub fn cool_down(mut self, cool_down: Duration) -> Self {
        self.cool_down = Some(cool_down);
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
    /// The last one is younger than the cool-down; the purpose, the target or a setting cannot be one; the
    /// session was replaced; an outage.
    pub async fn prepare(self) -> Result<PreparedChallenge, ChallengeError> {
        let kind = self.check()?;
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
    /// cool-down, or enough of them this hour; the purpose, the target or a setting cannot be one; the
    /// application gave the [answer](Self::expecting), so that there is no code; the session was replaced;
    /// an outage.
    pub async fn send(self) -> Result<SentChallenge, ChallengeError> {
        let kind = self.check()?;
        if self.expected.is_some() {
            let reason = "a challenge whose answer the application gives has no code to send";
            return Err(ChallengeError::Misconfigured(reason));
        }
        let account = self.holder.account.as_ref();
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

    /// Refuses what cannot be started, before anything is written.
    fn check(&self) -> Result<Kind, ChallengeError> {
        let kind = application(&self.purpose)?;
        self.holder.check()?;
        // A NUL is no text to PostgreSQL.
        let fits = |target: &str| target.len() <= LONGEST_TARGET && !target.contains('\0');
        if !self.target.as_deref().is_none_or(fits) {
            return Err(ChallengeError::InvalidTarget);
        }
        if self.expected.as_deref().is_some_and(|expected| expected.trim().is_empty()) {
            return Err(ChallengeError::Misconfigured("an empty answer would let everybody in"));
        }
        let config = &self.context.config;
        let longest = config.tries_window().min(LONGEST_LIFETIME);
        if !(Duration::from_secs(1)..=longest).contains(&self.lifetime) {
            let reason = "the lifetime of a challenge must be between one second and 24 hours, and no \
                          longer than challenge.tries_window, or than the window of Challenge in \
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
            // A picture may be asked for again at once: nobody is sent anything.
            Some(_) => Duration::ZERO,
            None => self.context.config.challenge.cool_down,
        })
    }

    fn too_soon(&self) -> ChallengeError {
        ChallengeError::TooSoon { retry_after: self.effective_cool_down() }
    }

    /// The same where a mailbox has a cool-down too.
    fn too_soon_to_send(&self) -> ChallengeError {
        let retry_after = self.effective_cool_down().max(self.context.config.mail.cool_down);
        ChallengeError::TooSoon { retry_after }
    }
}

/// A challenge that was answered rightly, just now and by this call.
#[derive(Debug, Clone)]
#[must_use = "compare its target with what the request asks for"]
pub struct RightAnswer {
    challenge: Challenge,
}

impl RightAnswer {
    /// Which challenge it was.
    pub fn id(&self) -> ChallengeId {
        self.challenge.id()
    }

    /// What it was about. Compare this with what the request asks for: a code for one payment must
    /// not confirm another.
    pub fn target(&self) -> Option<&str> {
        self.challenge.target()
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
    /// dashes, underscores. Its codes are worth nothing for any other purpose. Only the session of the
    /// `holder` can answer it.
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

    /// Answers a challenge, once: of any number of right answers one counts. For five minutes and once, the
    /// answer opens the routes that ask for this purpose: [`Answered<P>`](Answered) or
    /// [`require_challenge`](Portcullis::require_challenge) spends it.
    ///
    /// Use this where another request does what the answer is for. Where this request does it, use
    /// [`answer_and_spend`](Self::answer_and_spend): otherwise one answer does two things.
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
    ) -> Result<RightAnswer, ChallengeError> {
        let answering = Answering { purpose, id, answer, client, then: Then::Keep };
        self.judge(answering, holder.into()).await
    }

    /// Answers a challenge and spends it, in one transaction: of any number of right answers one counts, and
    /// it opens no route.
    ///
    /// Use this where the handler that calls it acts on the answer. Where another request does, use
    /// [`answer`](Self::answer).
    ///
    /// # Errors
    /// The same as of [`answer`](Self::answer). Nothing may be done then.
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
            let counts = match then {
                _ if !right => false,
                Then::Keep => challenge.answer(txn, context).await?,
                Then::Spend => challenge.answer_and_spend(txn, now).await?,
            };
            if counts {
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
            Ok(RightAnswer { challenge })
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

/// An answer that is to be judged.
struct Answering<'a> {
    purpose: &'a str,
    id: ChallengeId,
    answer: &'a str,
    client: &'a ClientInfo,
    then: Then,
}

/// What becomes of a right answer.
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
