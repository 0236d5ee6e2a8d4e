//! Verification: a user proves that an address is theirs.
//!
//! 1. A registration or a new request sends a link and a code to the address, valid for a day. A
//!    new one replaces the old one; there is at most one a minute. The answer does not depend on
//!    whether the address is known. For an unknown address the same work is done, and nothing is
//!    sent.
//! 2. The link opens a page of your application. Opening it changes nothing, so a mail scanner that
//!    follows links uses up nothing. The page posts the token.
//! 3. The token, or the address with the code, proves the address once. A second time is answered
//!    with 409.
//! 4. **What is kept depends on who proves the address.** Everything is kept if the request comes
//!    from the browser that registered, or contains the account's password. That browser has a
//!    session of the account, or the session of the visitor who registered. In any other case, the
//!    request only proves control of the mailbox, and another person may have created the account.
//!    Then the password, all sessions, factors, other addresses and open codes are deleted. The
//!    answer is a sign-in that can only set a new password. So an attacker who prepared an account
//!    with another person's address loses access to it. With `login.require_verified`, a registration
//!    makes no session. Then every browser needs the password, except that of a visitor.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, client: portcullis::ClientInfo)
//! # -> Result<(), portcullis::verification::VerificationError> {
//! use portcullis::verification::{Confirmation, Confirmed};
//!
//! auth.verification().send("alice@example.com", &client).await?;
//! // … and with the token from the link:
//! let confirmation = Confirmation::token("…").password("her password");
//! match auth.verification().confirm(confirmation, &client).await? {
//!     Confirmed::Verified(_) => println!("everything stays"),
//!     Confirmed::PasswordRequired(issued) => println!("{:?}", issued.stage()),
//!     _ => {}
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - It does not sign in. Only an account that is handed over gets a session, in a stage that can
//!   only set the password.
//! - It proves only mail addresses. For phone numbers see [`contact`](crate::contact).
//!
//! # Routes
//! `POST /verification` with `{email}`, or empty with a session: always 202.
//! `POST /verification/confirm` with `{token}`, `{email, code}`, or `{code}` with a session; each
//! with an optional `password`. An empty `password` is a wrong one. If nothing was typed, leave the
//! field out; a form without a script needs a second form without the field.
//!
//! # Configuration
//! [`VerificationConfig`](crate::config::VerificationConfig), `login.require_verified`,
//! `mail.links.verify`, [`ChallengeConfig`](crate::config::ChallengeConfig) for codes.
//!
//! # Events
//! `user_verified`, with the detail `handed over` if everything was deleted; `user_updated` with
//! the detail `factors removed` (and a message for each) if second factors were deleted;
//! `authn_challenge_fail` for a wrong code, `authn_login_fail` for a wrong password.
//!
//! Wrong codes are counted like those of every [`challenge`](crate::challenge), also for addresses
//! without an account. Links are not counted, because nobody can guess 256 bits. A wrong password
//! counts as a failed sign-in. While the account is locked, the correct password is refused here
//! too. A link without a password, or the browser that registered, still proves the address.
//!
//! # Errors
//! `wrong_code` (403), `already_verified` (409), `wrong_password` (403), `not_signed_in` and
//! `session_ended` (401), `invalid_fields` (422); `too_many_attempts` (429): for codes, and for
//! passwords only with `attempts.reveal_lockout`.
//!
//! # Standard
//! NIST SP 800-63B-4 (codes by mail: 24 hours), OWASP ASVS 5.0 6.3 and 6.4; Sudhodanan and Paverd,
//! "Pre-hijacked accounts" (USENIX Security 2022): see [`guide::verification`](crate::guide::verification).

use zeroize::Zeroizing;

use crate::account::entity::account;
use crate::account::store::{self as account_store, Claimed};
use crate::account::{Account, Email};
use crate::attempt::Ticket;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::{Stopwatch, Timestamp};
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::{AccountId, SessionId};
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Txn, transaction};
use crate::confirmation::{self, Proof};
use crate::flow::hand_over::{HandOver, claiming, prove};
use crate::flow::password_attempt::{Attempted, attempt_inside};
use crate::flow::sign_in::{self, Demands, Locked, NewSession};
use crate::handle::Portcullis;
use crate::hook::{NamesBefore, NamesCause, NamesChange};
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::identity::{AuthError, Identity};
use crate::one_time::{self, Challenge, CodeAttempt};
use crate::outstanding::Kind;
use crate::password::{Checked, Password};
use crate::session::{Issued, SessionError, Transport};

mod error;
#[cfg(feature = "routes")]
mod routes;

pub use error::VerificationError;
#[cfg(feature = "routes")]
pub use routes::routes;

/// What proves an address, and the other data of the request.
#[derive(Clone)]
#[must_use]
pub struct Confirmation {
    by: By,
    password: Option<Password>,
    transport: Transport,
}

#[derive(Clone)]
enum By {
    Token(Zeroizing<String>),
    Code { address: Option<String>, code: Zeroizing<String> },
}

impl Confirmation {
    /// Uses the token of the link.
    pub fn token(token: impl Into<String>) -> Self {
        Self::by(By::Token(Zeroizing::new(token.into())))
    }

    /// Uses the code, with the address that it was sent to.
    pub fn code(address: impl Into<String>, code: impl Into<String>) -> Self {
        let code = Zeroizing::new(code.into());
        Self::by(By::Code { address: Some(address.into()), code })
    }

    /// Uses the code, with the address of the account that is signed in.
    pub fn own_code(code: impl Into<String>) -> Self {
        Self::by(By::Code { address: None, code: Zeroizing::new(code.into()) })
    }

    fn by(by: By) -> Self {
        Self { by, password: None, transport: Transport::Cookie }
    }

    /// Adds the account's password, so that everything is kept.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into().into());
        self
    }

    /// Sets how a token is sent, if there will be one. The default is the cookie.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Confirmation(..)")
    }
}

/// A challenge whose token or code the client has sent, and the attempt if it was a code.
#[derive(Clone, Copy)]
struct Proved<'a> {
    challenge: &'a Challenge,
    ticket: Option<&'a Ticket>,
}

/// The result of a confirmation.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a sign-in may have begun"]
pub enum Confirmed {
    /// The address is proved and everything is kept.
    Verified(Verified),
    /// The address is proved and the account was handed over. The earlier data is deleted, and a
    /// new password must be set.
    PasswordRequired(Box<Issued>),
}

/// An address that was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The account of the address.
    pub account_id: AccountId,
    /// True if another account has meanwhile taken the username that was requested at registration.
    /// This account then has no username.
    pub username_taken: bool,
}

/// Sends and checks proofs of addresses. See the [module page](self).
#[derive(Debug, Clone)]
pub struct Verification<'a> {
    auth: &'a Portcullis,
    before: Option<Resolved>,
}

impl Portcullis {
    /// Returns the flow that verifies addresses.
    pub fn verification(&self) -> Verification<'_> {
        Verification { auth: self, before: None }
    }
}

impl Verification<'_> {
    /// Takes the session of the request into account, which may show that this is the browser that
    /// registered. The mounted route does this. Your own handler passes the extensions of its
    /// request.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, a step-up replaced this session with
    /// another one, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        let request_identity = RequestIdentity::of(extensions)?;
        let before = request_identity.replaced().await?;
        // A replaced session must not count as no session. Otherwise the account would be handed
        // over, and everything that its owner has set would be deleted.
        if before.is_superseded() {
            return Err(AuthError::superseded());
        }
        self.before = Some(before.clone());
        Ok(self)
    }

    /// Sends a link and a code to an address whose account is not verified yet. Success does not
    /// tell whether there is one.
    ///
    /// # Errors
    /// The text is not a mail address; the source asked for too many messages; an outage.
    pub async fn send(&self, address: &str, client: &ClientInfo) -> Result<(), VerificationError> {
        let email = Email::parse(address)
            .map_err(|error| VerificationError::Invalid(vec![error.in_field("email")]))?;
        self.auth.count_message(client).await?;
        let started = Stopwatch::start();
        let context = self.auth.context();
        let db = context.db();
        let row = db.read(account_store::find_by_name(&db.executor(), email.normal())).await?;
        let now = context.now();
        // The mail goes to the address as the account has it, and never as it was typed here.
        // Another spelling could reach another mailbox.
        let account = row.filter(|row| {
            confirmation::unproved(row, now).is_some_and(|normal| normal == email.normal())
        });
        self.ask(account.as_ref().and_then(mailbox), email.normal()).await?;
        started.alike().await;
        Ok(())
    }

    /// Sends a link and a code to the address of the account that is signed in.
    ///
    /// # Errors
    /// The account is verified; it has no address; the session was replaced; an outage.
    pub async fn send_own(&self, identity: &Identity) -> Result<(), VerificationError> {
        let account = identity.account();
        if identity.is_superseded() {
            return Err(SessionError::Ended.into());
        }
        if account.is_verified() {
            return Err(VerificationError::AlreadyVerified);
        }
        let missing = || {
            let field = InvalidField::new("email", "no_address", "the account has no address");
            VerificationError::Invalid(vec![field])
        };
        let mailbox = account.email().ok_or_else(missing)?;
        let email = Email::parse(mailbox).map_err(|_| missing())?;
        self.ask(Some((account.id(), mailbox)), email.normal()).await
    }

    async fn ask(
        &self,
        to: Option<(AccountId, &str)>,
        normal: &str,
    ) -> Result<(), VerificationError> {
        let context = self.auth.context();
        transaction!(context.db(), |txn| {
            let proof = Proof { kind: &Kind::Verification, to, normal };
            Ok::<_, VerificationError>(confirmation::send(txn, context, &proof).await?)
        })?;
        Ok(())
    }

    /// Checks a proof of an address.
    ///
    /// # Errors
    /// See [`VerificationError`]. After an error nothing is changed. Only an attempt may be used
    /// up.
    pub async fn confirm(
        &self,
        confirmation: Confirmation,
        client: &ClientInfo,
    ) -> Result<Confirmed, VerificationError> {
        let context = self.auth.context();
        let db = context.db();
        let (challenge, ticket) = match &confirmation.by {
            By::Token(token) => {
                let executor = db.executor();
                let kind = &Kind::Verification;
                let found = one_time::find_by_token(&executor, context, kind, token);
                (db.read(found).await?.ok_or(VerificationError::WrongCode)?, None)
            }
            By::Code { address, code } => {
                let started = Stopwatch::start();
                let address = address.as_deref().or_else(|| self.own_address());
                let found = self.find_by_code(address.unwrap_or_default(), code, client).await?;
                let Some((challenge, ticket)) = found else {
                    // The time must not show whether the address has an account.
                    started.alike().await;
                    return Err(VerificationError::WrongCode);
                };
                (challenge, Some(ticket))
            }
        };
        let proof = Proved { challenge: &challenge, ticket: ticket.as_ref() };
        let confirmed = self.proved(proof, &confirmation, client).await;
        if let Some(ticket) = ticket {
            let is_wrong = |error: &_| matches!(error, VerificationError::WrongCode);
            one_time::end_right(self.auth, ticket, &confirmed, is_wrong).await;
        }
        match confirmed {
            Err(VerificationError::WrongCode | VerificationError::SignInFirst)
                if self.is_proved(&challenge).await? =>
            {
                Err(VerificationError::AlreadyVerified)
            }
            other => other,
        }
    }

    /// What happens with a correct link or code.
    async fn proved(
        &self,
        proof: Proved<'_>,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<Confirmed, VerificationError> {
        let (context, challenge) = (self.auth.context(), proof.challenge);
        let (db, now) = (context.db(), context.now());
        let id = challenge.account_id().ok_or(VerificationError::WrongCode)?;
        let row = db.read(account_store::find(&db.executor(), id)).await?;
        let usable = |row: &account::Model| Account::from(row.clone()).is_usable(now, false);
        let row = row.filter(usable).ok_or(VerificationError::WrongCode)?;
        if !challenge.is_open(now) {
            // A client with a link that was once valid may learn whether the address is verified.
            return Err(match row.verified_at {
                Some(_) => VerificationError::AlreadyVerified,
                None => VerificationError::WrongCode,
            });
        }
        let kept = self.recognizes(&row) || self.knows(&row, confirmation, client).await?;
        if kept {
            self.keep(&row, proof, client).await.map(Confirmed::Verified)
        } else if row.verified_at.is_some() {
            Err(VerificationError::SignInFirst)
        } else {
            let issued = self.hand_over(&row, proof, confirmation, client).await;
            issued.map(|issued| Confirmed::PasswordRequired(Box::new(issued)))
        }
    }

    /// Returns true if another request proved the address at the same moment.
    async fn is_proved(&self, challenge: &Challenge) -> Result<bool, VerificationError> {
        let db = self.auth.context().db();
        let wanted = [challenge.target().unwrap_or_default().to_owned()];
        let names = db.read(account_store::taken(&db.executor(), &wanted)).await?;
        Ok(names.iter().any(|name| {
            Some(name.account_id) == challenge.account_id() && name.verified_at.is_some()
        }))
    }

    /// Returns the challenge for this address if the code is right, and the attempt that this is.
    /// The attempt is counted first, even if there is no challenge. Otherwise counting would tell
    /// which addresses have one.
    async fn find_by_code(
        &self,
        address: &str,
        code: &str,
        client: &ClientInfo,
    ) -> Result<Option<(Challenge, Ticket)>, VerificationError> {
        let context = self.auth.context();
        let db = context.db();
        let kind = Kind::Verification;
        let Ok(email) = Email::parse(address) else { return Ok(None) };
        let normal = email.normal();
        let executor = db.executor();
        let row = db.read(account_store::find_by_name(&executor, normal)).await?;
        let account = row.as_ref().map(|row| row.id);
        let newest = one_time::newest(&executor, context, &kind, account, normal);
        let found = db.read(newest).await?;
        let known = row.map(|row| (row.id, row.epoch));
        let taken = one_time::take_attempt_at(self.auth, &kind, known, normal, client).await?;
        let ticket = match taken {
            CodeAttempt::Taken(ticket) => ticket,
            CodeAttempt::TooMany(retry_after) => {
                return Err(VerificationError::TooManyCodes { retry_after });
            }
        };
        // If the attempt was refused, the result is discarded. `&` and not `&&`: the code is always
        // compared, so a refused attempt does the same work.
        let right = found.filter(|found| found.is_code(context, code) & ticket.counts());
        if let Some(found) = right {
            return Ok(Some((found, ticket)));
        }
        let event = Event::new(EventKind::ChallengeFailed, context.now()).from_client(client);
        let event = account.map_or(event.clone(), |id| event.account(id)).failed("verification");
        self.auth.attempts().fail(ticket, &event).await?;
        Ok(None)
    }

    fn own_address(&self) -> Option<&str> {
        self.before.as_ref()?.signed_in()?.0.email()
    }

    /// Returns true if the request comes from the browser that registered: it has a session of the
    /// account, or is the visitor who created it.
    fn recognizes(&self, row: &account::Model) -> bool {
        if let Some(Resolved::Anonymous(session)) = &self.before {
            return row.registered_lineage_id == Some(session.lineage_id());
        }
        self.own_session(row).is_some()
    }

    /// Returns the session of the request, if it is one of this account.
    fn own_session(&self, row: &account::Model) -> Option<SessionId> {
        let (account, session) = self.before.as_ref()?.signed_in()?;
        (account.id() == row.id).then_some(session)
    }

    /// Returns true if the request contains the account's password. This counts as an attempt at
    /// the password. Otherwise someone who found a link could guess the password here without a
    /// limit.
    async fn knows(
        &self,
        row: &account::Model,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<bool, VerificationError> {
        let Some(password) = &confirmation.password else { return Ok(false) };
        if password.is_too_long() {
            return Err(VerificationError::WrongPassword);
        }
        let context = self.auth.context();
        let attempts = self.auth.attempts();
        match attempt_inside(self.auth, row.id, Some(row), password, client).await? {
            Attempted::TooMany(retry_after) => {
                Err(VerificationError::TooManyAttempts { retry_after })
            }
            Attempted::Judged(ticket, Checked::Right { .. }) => {
                let noted = transaction!(context.db(), |txn| {
                    ticket.succeeded(txn).await?;
                    Ok::<_, VerificationError>(())
                });
                attempts.end(ticket, noted).await?;
                Ok(true)
            }
            Attempted::Judged(ticket, Checked::Wrong) => {
                let event = Event::new(EventKind::LoginFailed, context.now())
                    .account(row.id)
                    .from_client(client)
                    .failed("wrong_password");
                attempts.fail(ticket, &event).await?;
                Err(VerificationError::WrongPassword)
            }
        }
    }

    async fn keep(
        &self,
        row: &account::Model,
        proof: Proved<'_>,
        client: &ClientInfo,
    ) -> Result<Verified, VerificationError> {
        let context = self.auth.context();
        let event = Event::new(EventKind::AddressVerified, context.now())
            .account(row.id)
            .from_client(client);
        let change = self.proving(self.own_session(row), client, event.at);
        let username = claiming(row, || {
            let event = &event;
            async move {
                transaction!(context.db(), |txn| {
                    self.spend(txn, proof).await?;
                    let before = NamesBefore::read(self.auth, txn, row.id).await?;
                    let normal = proof.challenge.target().unwrap_or_default();
                    let username = prove(txn, row, normal, event.at).await?;
                    let username = username.ok_or(VerificationError::WrongCode)?;
                    before.changed(txn, change).await?;
                    one_time::end_of_account(txn, row.id, Some(&Kind::Verification), event.at)
                        .await?;
                    audit_log::record(txn, event).await?;
                    Ok::<_, VerificationError>(username)
                })
            }
        });
        let username = username.await?;
        Ok(Verified { account_id: row.id, username_taken: username == Claimed::Taken })
    }

    async fn hand_over(
        &self,
        row: &account::Model,
        proof: Proved<'_>,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<Issued, VerificationError> {
        let context = self.auth.context();
        let now = context.now();
        let normal = proof.challenge.target().unwrap_or_default();
        // By then, everything that the creator of the account has set is deleted.
        let demands = Demands::of_handed_over();
        let before = self.before.as_ref();
        let session = NewSession::new(
            self.auth,
            row,
            PassedFactors::one(Factor::MailedCode, now),
            demands,
            client,
            now,
        )
        .transport(confirmation.transport)
        .replacing(before.and_then(|before| sign_in::replaces(before, None)));
        let taking = HandOver { auth: self.auth, row, normal, client, now, new_password: true };
        let made = claiming(row, || {
            let (taking, session) = (&taking, &session);
            async move {
                transaction!(context.db(), |txn| {
                    self.spend(txn, proof).await?;
                    let epoch = taking.run::<VerificationError>(txn).await?;
                    // The hand-over has increased the epoch. The new session must have the new
                    // epoch, or it would be invalid at once.
                    let epoch = epoch.ok_or(VerificationError::WrongCode)?;
                    let session = session.clone().at_epoch(epoch);
                    Ok(session.make(txn, Locked::by_the_flow()).await?)
                })
            }
        });
        let made = made.await;
        if let Err(VerificationError::Refused(_)) = &made {
            sign_in::record_refusal(self.auth, row.id, client, now).await?;
        }
        Ok(made?.committed(self.auth).await.into_issued())
    }

    /// Describes the proof to hooks.
    fn proving<'b>(
        &'b self,
        session_id: Option<SessionId>,
        client: &'b ClientInfo,
        at: Timestamp,
    ) -> NamesChange<'b> {
        NamesChange { auth: self.auth, cause: NamesCause::Proved, session_id, client, at }
    }

    async fn spend(&self, txn: &Txn<'_>, proof: Proved<'_>) -> Result<(), VerificationError> {
        // A conditional UPDATE, so that a code or link works only once, even in simultaneous
        // requests.
        if !proof.challenge.spend(txn, self.auth.context().now()).await? {
            return Err(VerificationError::WrongCode);
        }
        if let Some(ticket) = proof.ticket {
            ticket.succeeded(txn).await?;
        }
        Ok(())
    }
}

fn mailbox(row: &account::Model) -> Option<(AccountId, &str)> {
    Some((row.id, row.email.as_deref()?))
}
