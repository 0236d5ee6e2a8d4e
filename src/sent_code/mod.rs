//! Codes that are sent by mail or text message as a factor.
//!
//! 1. An unfinished sign-in asks for a code, if the account has this factor. A
//!    session asks for one to prove again who is there (step-up).
//! 2. The code goes to the address or number of the account, and only if it is verified. It
//!    works once, within ten minutes, and only in the session that asked. After five wrong tries it is
//!    worth nothing, and the answer says so: `code_ended`. Then ask for a new one. The database has only its
//!    keyed digest.
//! 3. [`second_factor`](crate::second_factor) accepts the code. It has one count of guesses for all
//!    second factors of an account, so another code brings no new attempts.
//!
//! # What a mailed code is worth
//! It shows that somebody reads the mailbox, and no more. So it is the weakest second factor:
//! - **It is no second factor after a reset through the same mailbox.** The person who reads the
//!   mailbox would have everything. For 24 hours after a forgotten password was replaced by mail,
//!   a sign-in needs another second factor
//!   ([`mailed_code_after_reset`](crate::config::FactorConfig::mailed_code_after_reset)).
//!   The method then has the member `usable_at` in the answer of the sign-in. Show when it can be used.
//! - A sign-in [by mail](crate::mail_login) takes no mailed code as its second step.
//! - NIST SP 800-63B-4 does not accept mail for this at all. Offer [authenticators](crate::totp).
//!
//! A texted code is a little better, but a provider can give the number to another person.
//!
//! # The first second factor of an account
//! Somebody who has stolen a password could set up the first second factor, and so lock out the owner.
//! Therefore an account with a verified address sets up its first factor only in a session that has proved the
//! mailbox within the last five minutes (`session.recent_factor`): with a mailed code, or with a sign-in by mail.
//! An account whose address is not verified must verify it first.
//! [`prove_mailbox`](crate::config::FactorConfig::prove_mailbox) switches this off.
//!
//! # As a second factor
//! A mailed or texted code is a second factor of an account after its owner has switched it on. For
//! this, the session must have proved a code of the same kind within the last five minutes. So the
//! mailbox or the phone is there now, and was not only verified once.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::second_factor::FactorCode;
//! use portcullis::sent_code::CodeChannel;
//! use portcullis::{ClientInfo, Identity, Issued, Portcullis, Rejection};
//!
//! async fn ask(auth: &Portcullis, identity: &Identity, client: &ClientInfo) -> Result<(), Rejection> {
//!     let sent = auth.sent_codes().send(identity, CodeChannel::Mail, client).await?;
//!     println!("look into {}", sent.target);
//!     Ok(())
//! }
//!
//! async fn prove(
//!     auth: &Portcullis,
//!     identity: &Identity,
//!     client: &ClientInfo,
//!     code: String,
//! ) -> Result<Issued, Rejection> {
//!     let code = FactorCode::sent(CodeChannel::Mail, code);
//!     Ok(auth.second_factor().step_up(identity, code, client).await?.issued)
//! }
//! ```
//!
//! # What it does not do
//! - It sends no link. A link opens in any browser, and a code belongs to the session that asked.
//! - It sends nothing to an address that is not verified.
//! - For a code that confirms one action, use a [challenge](crate::challenge).
//!
//! # Routes
//! They are mounted with those of [`second_factor`](crate::second_factor#routes), which has the ones that
//! send a code. The `method` is `mailed_code` or `texted_code`.
//! - `POST /sent-codes` makes it a second factor. `DELETE /sent-codes/{method}`, and
//!   `POST /sent-codes/{method}/remove` for forms, switch it off. They answer 200, as `POST /login`
//!   does.
//!
//! # Configuration
//! [`FactorConfig`](crate::config::FactorConfig);
//! [`ChallengeConfig`](crate::config::ChallengeConfig) for codes; the limits for mail in
//! [`MailConfig`](crate::config::MailConfig); `session.recent_factor`.
//!
//! # Events
//! `authn_factor_code_sent`; `user_updated` with the detail `factors enrolled` or `factors removed`.
//!
//! # Errors
//! `insufficient_user_authentication` (401), `address_not_proved`, with the member `target` if no code can
//! be sent there, `limited_session`, `mailed_code_after_reset` (403), `factor_already_enrolled`, `factor_not_enrolled`,
//! `factor_required`, `factor_too_weak`, `factor_used_already`,
//! `no_password`, `session_limit` (409), `no_address` (422), `too_soon` (429).
//!
//! # Standard
//! OWASP ASVS 5.0 6.6; NIST SP 800-63B-4 3.1.3.

use std::time::Duration;

use crate::account::enrolled::{ChangingFactors, FactorChange, mailed_code_at};
use crate::account::entity::account;
use crate::account::{Account, LoginId, has_unproved_mailbox, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::{AccountId, SessionId};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::context::Context;
use crate::flow::enrolling::{Changed, FactorOwner};
use crate::flow::factor_undo::NewFactor;
use crate::flow::factors::{self, Recent};
use crate::flow::sign_in::Demands;
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, Identity, enrolment, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, Start};
use crate::outbox::{self, Counted, Outgoing, Put};
use crate::outstanding::Kind;
use crate::session::device::Devices;
use crate::session::judge::SessionState;
use crate::session::{EnrolmentSession, Issued, PendingSession, SessionError, masked};

mod error;
#[cfg(feature = "routes")]
mod routes;

pub use error::SentCodeError;
#[cfg(feature = "routes")]
pub(crate) use routes::rows;

/// How a code reaches its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeChannel {
    /// By mail, to the address of the account.
    Mail,
    /// By text message, to the phone number of the account.
    TextMessage,
}

impl CodeChannel {
    /// Returns the factor that such a code proves.
    pub const fn factor(self) -> Factor {
        match self {
            Self::Mail => Factor::MailedCode,
            Self::TextMessage => Factor::TextedCode,
        }
    }

    fn address(self, row: &account::Model) -> Option<&str> {
        match self {
            Self::Mail => row.email.as_deref(),
            Self::TextMessage => row.phone.as_deref(),
        }
    }

    fn recipient(self, address: &str) -> Option<Recipient> {
        match self {
            Self::Mail => Recipient::email(address),
            Self::TextMessage => Recipient::phone(address),
        }
    }
}

/// The session that asks for a code: one that waits for its second factor, one that must set up a
/// factor, or a full one.
#[derive(Debug)]
pub struct CodeHolder<'a> {
    pub(crate) account: &'a Account,
    pub(crate) session: SessionId,
    pub(crate) asks: Asks<'a>,
    /// True if another session has replaced this one.
    superseded: bool,
}

/// What the code is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asks<'a> {
    /// The second step of this sign-in.
    SecondStep(&'a SessionState),
    /// A step-up of a session.
    StepUp,
    /// A factor that is set up.
    SetUp,
}

impl<'a> From<&'a PendingSession> for CodeHolder<'a> {
    fn from(pending: &'a PendingSession) -> Self {
        let state = &pending.state;
        let asks = Asks::SecondStep(state);
        Self { account: pending.account(), session: state.id, asks, superseded: false }
    }
}

impl<'a> From<&'a EnrolmentSession> for CodeHolder<'a> {
    fn from(session: &'a EnrolmentSession) -> Self {
        let (account, state) = (session.account(), &session.state);
        let superseded = state.ended.is_some();
        Self { account, session: state.id, asks: Asks::SetUp, superseded }
    }
}

impl<'a> From<&'a FactorOwner> for CodeHolder<'a> {
    fn from(owner: &'a FactorOwner) -> Self {
        let (account, session) = (owner.account(), owner.session_id());
        Self { account, session, asks: Asks::SetUp, superseded: owner.is_superseded() }
    }
}

impl<'a> From<&'a Identity> for CodeHolder<'a> {
    fn from(identity: &'a Identity) -> Self {
        let (account, session) = (identity.account(), identity.session().id());
        Self { account, session, asks: Asks::StepUp, superseded: identity.is_superseded() }
    }
}

impl CodeHolder<'_> {
    /// Reads the account of the session, which must still be as it was when the session was judged.
    ///
    /// # Errors
    /// [`SessionError::Ended`], or an outage.
    pub(crate) async fn row(&self, context: &Context) -> Result<account::Model, SessionError> {
        let db = context.db();
        let row = db.read(account_store::find(&db.executor(), self.account.id())).await?;
        let require_verified = context.config.login.require_verified;
        let row = row.filter(|row| {
            let usable = Account::from(row.clone()).is_usable(context.now(), require_verified);
            row.epoch == self.account.epoch && usable && !self.superseded
        });
        row.ok_or(SessionError::Ended)
    }
}

/// A code that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentCode {
    /// Where it was sent. Most of it is hidden.
    pub target: String,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// Sends codes as factors. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct SentCodes<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows of mailed and texted codes.
    pub fn sent_codes(&self) -> SentCodes<'_> {
        SentCodes { auth: self }
    }
}

impl SentCodes<'_> {
    /// Sends a code to the account of a session. The next one replaces it.
    ///
    /// # Errors
    /// - [`SentCodeError::NotEnrolled`], [`SentCodeError::FactorUsedAlready`] and
    ///   [`SentCodeError::AfterReset`], only for an unfinished sign-in.
    /// - [`SentCodeError::NoAddress`], [`SentCodeError::NotProved`], [`SentCodeError::TooSoon`].
    /// - [`SentCodeError::Session`] if the session has ended or the account was changed meanwhile; an
    ///   outage.
    pub async fn send<'h>(
        &self,
        holder: impl Into<CodeHolder<'h>>,
        channel: CodeChannel,
        client: &ClientInfo,
    ) -> Result<SentCode, SentCodeError> {
        let holder = holder.into();
        let context = self.auth.context();
        let limited = self.auth.count_message(client).await;
        limited.map_err(|limit| SentCodeError::TooSoon { retry_after: limit.retry_after })?;
        let row = holder.row(context).await?;
        self.check_waiting(&holder, &row, channel).await?;
        let (address, recipient) = self.proved_address(&row, channel).await?;
        let devices = self.auth.per_instance::<Devices>();
        // A stranger who knows the password must not use up what the owner may request.
        let known = devices.recognize(context, client, row.id, row.epoch).known();
        let counted = match known {
            Some(_) => Counted::OnKnownDevice(&address),
            None => Counted::Proved(&address),
        };
        let (kind, target) = (MessageKind::FactorCode, target(holder.session, channel.factor()));
        let lifetime = context.config.challenge.code_lifetime;
        let now = context.now();
        let start = Start {
            kind: &Kind::FactorCode,
            account_id: Some(row.id),
            session_id: Some(holder.session),
            target: Some(&target),
            data: None,
            binding: Some(&[address.as_bytes()]),
            answer: Answer::Code,
            lifetime,
            cool_down: Duration::ZERO,
        };
        let event = Event::new(EventKind::FactorCodeSent, now).account(row.id);
        let event = event.session(holder.session).from_client(client);
        let event = event.detail(channel.factor().as_str());
        let retry_after = context.config.mail.cool_down;
        let too_soon = || SentCodeError::TooSoon { retry_after };
        let expires_at = transaction!(context.db(), |txn| {
            let admitted = outbox::admit(txn, context, kind, counted).await?;
            if !admitted.0 {
                return Err(too_soon());
            }
            let started = one_time::start(txn, context, &start).await?;
            let started = started.ok_or_else(too_soon)?;
            let code = started.code.as_ref().map(|code| code.as_str());
            let outgoing = Outgoing::new(kind, Some(recipient.clone()))
                .account(row.id)
                .values(Values::new().with_some("code", code))
                .good_for(lifetime);
            match outbox::put_admitted(txn, context, &outgoing, admitted).await? {
                Put::Queued => {}
                Put::HeldBack => return Err(too_soon()),
                Put::Nobody => return Err(SentCodeError::NoAddress),
            }
            audit_log::record(txn, &event).await?;
            Ok::<_, SentCodeError>(started.expires_at)
        })?;
        Ok(SentCode { target: masked(channel.factor(), &address), expires_at })
    }

    /// Makes codes by this channel a second factor of the account. The session of the owner goes on as
    /// a new one. All other sessions end.
    ///
    /// # Errors
    /// - [`SentCodeError::StepUp`]: such a code must have been proved recently in this session, and a
    ///   second factor of the account, if it has one.
    /// - [`SentCodeError::AlreadyEnrolled`], [`SentCodeError::AddressNotProved`].
    /// - [`SentCodeError::AfterReset`] for mailed codes.
    /// - [`SentCodeError::NoPassword`] for mailed codes: an account without a password signs in by mail,
    ///   and could not sign in any more.
    /// - [`SentCodeError::TooWeak`] for a sign-in that must set up a stronger factor.
    /// - [`SentCodeError::Session`] if the session has ended or the account was changed meanwhile; an
    ///   outage.
    pub async fn enrol(
        &self,
        owner: impl Into<FactorOwner>,
        channel: CodeChannel,
        client: &ClientInfo,
    ) -> Result<Issued, SentCodeError> {
        let (owner, factor) = (&owner.into(), channel.factor());
        factors::require_recent(self.auth, owner, Recent::SecondFactor)
            .map_err(SentCodeError::StepUp)?;
        // The mailbox or the phone must be there now. That it was proved once is not enough.
        factors::require_factor(self.auth, owner, factor).map_err(SentCodeError::StepUp)?;
        let row = CodeHolder::from(owner).row(self.auth.context()).await?;
        let enrolled = EnrolledFactors(row.enrolled_factors);
        if enrolled.contains(factor) {
            return Err(SentCodeError::AlreadyEnrolled);
        }
        if channel == CodeChannel::Mail && row.password_hash.is_none() {
            return Err(SentCodeError::NoPassword);
        }
        // It would not be accepted at the next sign-in, and might be the only one.
        if is_after_reset(self.auth.context(), &row, channel) {
            return Err(SentCodeError::AfterReset);
        }
        let enrolled = enrolled.with(factor);
        let alone = owner.passed().iter().all(|(passed, _)| passed == factor);
        // A factor is no second one in the sign-in that began with it.
        if owner.identity().is_none() && alone
            || owner.would_still_lack(self.auth, &row, enrolled).await?
        {
            return Err(SentCodeError::TooWeak);
        }
        let change = (enrolled, FactorChange::Added(factor));
        self.change(owner, &row, change, client).await
    }

    /// Switches the codes off. If only recovery codes are left, they are removed too. The session of
    /// the owner goes on as a new one. All other sessions end.
    ///
    /// # Errors
    /// - [`SentCodeError::StepUp`]: a second factor that is no recovery code must be recent.
    /// - [`SentCodeError::NotEnrolled`], [`SentCodeError::Required`].
    /// - [`SentCodeError::Session`] if the session has ended or the account was changed meanwhile; an
    ///   outage.
    pub async fn remove(
        &self,
        owner: &AccountOwner<owner::Factors>,
        channel: CodeChannel,
        client: &ClientInfo,
    ) -> Result<Issued, SentCodeError> {
        let (asks, factor) = (&FactorOwner::from(owner), channel.factor());
        factors::require_recent(self.auth, asks, Recent::NotRecoveryCode)
            .map_err(SentCodeError::StepUp)?;
        let row = CodeHolder::from(asks).row(self.auth.context()).await?;
        let enrolled = EnrolledFactors(row.enrolled_factors);
        if !enrolled.contains(factor) {
            return Err(SentCodeError::NotEnrolled);
        }
        let left = enrolled.left_without(factor);
        if enrolment::would_lack(self.auth.context(), owner, left)
            && !enrolment::would_lack(self.auth.context(), owner, enrolled)
        {
            return Err(SentCodeError::Required);
        }
        self.change(asks, &row, (left, FactorChange::Removed(factor)), client).await
    }

    async fn change(
        &self,
        owner: &FactorOwner,
        row: &account::Model,
        (enrolled, change): (EnrolledFactors, FactorChange),
        client: &ClientInfo,
    ) -> Result<Issued, SentCodeError> {
        let context = self.auth.context();
        let changing = ChangingFactors { context, row, enrolled, change, client };
        let passed = owner.passed().clone();
        let gone_on = transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(SentCodeError::Session(SessionError::Ended))?;
            if let FactorChange::Added(factor) = change {
                if has_unproved_mailbox(txn, row.id).await? {
                    return Err(SentCodeError::AddressNotProved);
                }
                NewFactor { context, owner, row, factor, epoch, client }.tell(txn).await?;
            }
            let changed = Changed { row, enrolled, epoch, passed: passed.clone() };
            Ok::<_, SentCodeError>(owner.go_on(self.auth, txn, changed, client).await?)
        });
        if let Err(SentCodeError::Refused(_)) = &gone_on {
            owner.record_refusal(self.auth, client).await?;
        }
        Ok(gone_on?.committed(self.auth).await)
    }

    /// Checks that an unfinished sign-in may use this factor.
    async fn check_waiting(
        &self,
        holder: &CodeHolder<'_>,
        row: &account::Model,
        channel: CodeChannel,
    ) -> Result<(), SentCodeError> {
        let Asks::SecondStep(state) = holder.asks else { return Ok(()) };
        let context = self.auth.context();
        let demands = Demands::read(self.auth, row, context.now()).await?;
        if !demands.accepts(channel.factor()) {
            return Err(SentCodeError::NotEnrolled);
        }
        if state.has_proved(channel.factor()) {
            return Err(SentCodeError::FactorUsedAlready);
        }
        match is_after_reset(context, row, channel) {
            true => Err(SentCodeError::AfterReset),
            false => Ok(()),
        }
    }

    /// Returns the normal form of the address or number of the account, which its owner has proved, and
    /// where to send to.
    async fn proved_address(
        &self,
        row: &account::Model,
        channel: CodeChannel,
    ) -> Result<(String, Recipient), SentCodeError> {
        let context = self.auth.context();
        let shown = channel.address(row).ok_or(SentCodeError::NoAddress)?;
        let recipient = channel.recipient(shown).filter(|to| context.can_send_to(to));
        let recipient = recipient.ok_or(SentCodeError::NoAddress)?;
        let normal = normal(shown).ok_or(SentCodeError::NoAddress)?;
        let db = context.db();
        let names =
            db.read(account_store::taken(&db.executor(), std::slice::from_ref(&normal))).await?;
        match names.iter().find(|name| name.account_id == row.id) {
            Some(name) if name.verified_at.is_some() => Ok((normal, recipient)),
            Some(_) => Err(SentCodeError::NotProved { target: masked(channel.factor(), &normal) }),
            None => Err(SentCodeError::NoAddress),
        }
    }
}

/// Returns true if the password was replaced through the mailbox a short time ago. The two would then
/// prove the same thing.
pub(crate) fn is_after_reset(
    context: &Context,
    row: &account::Model,
    channel: CodeChannel,
) -> bool {
    channel == CodeChannel::Mail && mailed_code_at(context, row.password_mailed_at).is_some()
}

/// Returns the target of the challenge: one session and one factor. So a code of one sign-in neither
/// opens nor replaces that of another one.
pub(crate) fn target(session: SessionId, factor: Factor) -> String {
    format!("{} {}", session.as_uuid(), factor.as_str())
}

fn normal(address: &str) -> Option<String> {
    LoginId::parse(address).ok().map(|id| id.normal().to_owned())
}

/// How often a code may be typed. Then the person asks for a new one.
pub(crate) const TRIES: u8 = 5;

/// What became of a code that somebody typed.
pub(crate) enum Typed {
    Right(Box<RightSentCode>),
    Wrong,
    /// There were too many wrong ones. The code that was sent is worth nothing any more.
    Ended,
}

/// A code that was found right. It is used up by [`spend`](Self::spend).
pub(crate) struct RightSentCode(Challenge);

impl RightSentCode {
    /// Compares what a person typed with the newest code of this session.
    pub(crate) async fn find(
        auth: &Portcullis,
        row: &account::Model,
        session: SessionId,
        channel: CodeChannel,
        typed: &str,
    ) -> Result<Typed, Fault> {
        let context = auth.context();
        let db = context.db();
        let target = target(session, channel.factor());
        let (executor, account) = (db.executor(), Some::<AccountId>(row.id));
        let newest = one_time::newest(&executor, context, &Kind::FactorCode, account, &target);
        let found = db.read(newest).await?;
        let Some(address) = channel.address(row).and_then(normal) else { return Ok(Typed::Wrong) };
        let Some(found) = found.filter(|found| found.is_open(context.now())) else {
            return Ok(Typed::Wrong);
        };
        if !db.retry(|| found.take_try(&executor, TRIES)).await? {
            return Ok(Typed::Ended);
        }
        Ok(
            match found.is_code(context, typed) & found.is_bound_to(context, &[address.as_bytes()])
            {
                true => Typed::Right(Box::new(Self(found))),
                false => Typed::Wrong,
            },
        )
    }

    /// Uses up the code. Returns false if another request used it first.
    pub(crate) async fn spend(
        &self,
        txn: &Txn<'_>,
        now: Timestamp,
    ) -> Result<bool, sea_orm::DbErr> {
        self.0.answer_and_spend(txn, now).await
    }
}
