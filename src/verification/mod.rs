//! Proving that an address is one's own.
//!
//! 1. A registration, or whoever asks again, makes a message leave for the address: a link and a
//!    code, good for a day. A new one takes the place of the old, at most one a minute. What is
//!    answered does not depend on whether the address is known: for an unknown one the same work is
//!    done and nothing leaves.
//! 2. The link leads to a page of the application. Opening it changes nothing, so a mail scanner
//!    that follows links spends nothing; the page posts the token.
//! 3. The token, or the address with the code, proves the address, once. A second time is 409.
//! 4. **Who proves it decides what is kept.** In the browser that registered (a session of the
//!    account, or the visitor's who registered), or with the account's password, everything stays.
//!    From anywhere else it is somebody who has the mailbox and did not make the account, as far as
//!    anyone can tell: then the password, all sessions, factors, other addresses and open codes that
//!    were set before are wiped, and the answer is a sign-in that can do one thing, set a new
//!    password. Whoever had put a trap into an account of somebody else's address loses it.
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
//! - It does not sign in. Only the handed-over account gets a session, of a stage that can do
//!   nothing but set the password.
//! - It proves mail addresses; phones have their own flow.
//!
//! # Routes
//! `POST /verification` `{email}` (or nothing, with a session): 202 always.
//! `POST /verification/confirm` `{token}`, `{email, code}`, or `{code}` with a session; each with an
//! optional `password`.
//!
//! # Configuration
//! [`VerificationConfig`](crate::config::VerificationConfig), `login.require_verified`,
//! `mail.links.verify`, [`ChallengeConfig`](crate::config::ChallengeConfig) for codes.
//!
//! # Events
//! `user_verified`, with the detail `handed over` when everything was wiped; `user_updated` with the
//! detail `factors removed` (and a message for each) if a second factor was among it;
//! `authn_challenge_fail` for a wrong code, `authn_login_fail` for a wrong password.
//!
//! Wrong codes are counted as those of every [`challenge`](crate::challenge), also for addresses that
//! are nobody's; links are not, for nobody guesses 256 bits. A wrong password is a failure of signing
//! in: while the account is locked the right one is refused here as well, and a link without it or the
//! browser that registered still proves the address.
//!
//! # Errors
//! `wrong_code` (403), `too_many_tries` (429), `already_verified` (409), `wrong_password` (403),
//! `not_signed_in` and `session_ended` (401), `invalid_fields` (422); `too_many_attempts` (429), only with
//! `attempts.reveal_lockout`.
//!
//! # Standard
//! NIST SP 800-63B-4 (codes by mail: 24 hours), OWASP ASVS 5.0 6.3 and 6.4; Sudhodanan and Paverd,
//! "Pre-hijacked accounts" (USENIX Security 2022): see [`guide::verification`](crate::guide::verification).

use zeroize::Zeroizing;

use crate::account::entity::account;
use crate::account::store::{self as account_store, Claimed};
use crate::account::{Account, Email, remove_factors};
use crate::attempt::Ticket;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::{Stopwatch, Timestamp};
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::id::{AccountId, SessionId};
use crate::base::invalid_field::InvalidField;
use crate::base::transaction::{Txn, is_unique_violation, transaction};
use crate::confirmation::{self, Proof};
use crate::flow::password_attempt::{Attempted, attempt_inside};
use crate::flow::sign_in::{self, Demands, Locked, NewSession};
use crate::handle::Portcullis;
use crate::hook::{NamesBefore, NamesCause, NamesChange};
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Resolved;
use crate::identity::{AuthError, Identity};
use crate::one_time::{self, Challenge, Try};
use crate::outstanding::Kind;
use crate::password::{Checked, Password};
use crate::session::{Issued, SessionError, Transport};

mod error;
#[cfg(feature = "routes")]
mod routes;

pub use error::VerificationError;
#[cfg(feature = "routes")]
pub use routes::routes;

/// What proves an address, and what else comes along.
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
    /// The token of the link.
    pub fn token(token: impl Into<String>) -> Self {
        Self::by(By::Token(Zeroizing::new(token.into())))
    }

    /// The code, and the address it was sent to.
    pub fn code(address: impl Into<String>, code: impl Into<String>) -> Self {
        let code = Zeroizing::new(code.into());
        Self::by(By::Code { address: Some(address.into()), code })
    }

    /// The code, from whoever is signed in.
    pub fn own_code(code: impl Into<String>) -> Self {
        Self::by(By::Code { address: None, code: Zeroizing::new(code.into()) })
    }

    fn by(by: By) -> Self {
        Self { by, password: None, transport: Transport::Cookie }
    }

    /// With the account's password, so that everything stays.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into().into());
        self
    }

    /// How a token travels, if there is to be one. Default: in the cookie.
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

/// A challenge that somebody has the token or the code of, and of a code the try that it was.
#[derive(Clone, Copy)]
struct Proved<'a> {
    challenge: &'a Challenge,
    ticket: Option<&'a Ticket>,
}

/// What a confirmation led to.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a sign-in may have begun"]
pub enum Confirmed {
    /// The address is proved and everything stays.
    Verified(Verified),
    /// The address is proved and the account was handed over: what was set before is gone, and a
    /// new password is to be set.
    PasswordRequired(Box<Issued>),
}

/// An address that was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Whose it is.
    pub account_id: AccountId,
    /// Whether the username that was asked for at registration was taken by somebody else
    /// meanwhile; the account has none now.
    pub username_taken: bool,
}

/// Sends and takes proofs of addresses. See the [module page](self).
#[derive(Debug, Clone)]
pub struct Verification<'a> {
    auth: &'a Portcullis,
    before: Option<Resolved>,
}

impl Portcullis {
    /// Verification of addresses.
    pub fn verification(&self) -> Verification<'_> {
        Verification { auth: self, before: None }
    }
}

impl Verification<'_> {
    /// Takes the session of the request into account: it may show that this is the browser that
    /// registered. The mounted route does this; a handler of your own passes its request's
    /// extensions.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, a step-up has put another session in the
    /// place of this one, or an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        let request_identity = RequestIdentity::of(extensions)?;
        let before = request_identity.resolve().await?;
        // Not taken for nobody: the account would be handed over, and what its owner set would be gone.
        if let Resolved::Full(identity) = before
            && identity.is_superseded()
        {
            return Err(AuthError::superseded());
        }
        self.before = Some(before.clone());
        Ok(self)
    }

    /// Sends a link and a code to an address whose account is not verified yet. Whether there is
    /// one is not said.
    ///
    /// # Errors
    /// The text is no mail address; the source asked for too many messages; an outage.
    pub async fn send(&self, address: &str, client: &ClientInfo) -> Result<(), VerificationError> {
        let email = Email::parse(address)
            .map_err(|error| VerificationError::Invalid(vec![error.in_field("email")]))?;
        self.auth.count_message(client).await?;
        let started = Stopwatch::start();
        let context = self.auth.context();
        let db = context.db();
        let row = db.read(account_store::find_by_name(&db.executor(), email.normal())).await?;
        let now = context.now();
        // The address as the account has it, never as the stranger typed it.
        let account = row.filter(|row| {
            confirmation::unproved(row, now).is_some_and(|normal| normal == email.normal())
        });
        self.ask(account.as_ref().and_then(mailbox), email.normal()).await?;
        started.alike().await;
        Ok(())
    }

    /// The same for whoever is signed in.
    ///
    /// # Errors
    /// The account is verified; it has no address; the session was replaced; an outage.
    pub async fn send_own(&self, identity: &Identity) -> Result<(), VerificationError> {
        let account = identity.account();
        if identity.is_superseded() {
            return Err(SessionError::Over.into());
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

    /// Takes a proof.
    ///
    /// # Errors
    /// See [`VerificationError`]. Whatever fails, nothing is changed and nothing is spent but a try.
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
                    // Whether the address is somebody's must not show in the time.
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

    /// What becomes of a link or code that was found right.
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
            // Who has a link that was good once may know what became of it.
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

    /// Whether somebody else proved the address in the same moment.
    async fn is_proved(&self, challenge: &Challenge) -> Result<bool, VerificationError> {
        let db = self.auth.context().db();
        let wanted = [challenge.target().unwrap_or_default().to_owned()];
        let names = db.read(account_store::taken(&db.executor(), &wanted)).await?;
        Ok(names.iter().any(|name| {
            Some(name.account_id) == challenge.account_id() && name.verified_at.is_some()
        }))
    }

    /// The challenge about this address, if the code is its code, and the try that this was. One is
    /// taken first, also where there is no challenge.
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
        let taken = one_time::take_try_at(self.auth, &kind, known, normal, client).await?;
        let ticket = match taken {
            Try::Taken(ticket) => ticket,
            Try::TooMany(retry_after) => {
                return Err(VerificationError::TooManyTries { retry_after });
            }
        };
        // Of a refused try the verdict is thrown away.
        let right = found.filter(|found| found.is_code(context, code) & ticket.is_judged());
        if let Some(found) = right {
            return Ok(Some((found, ticket)));
        }
        let event = Event::new(EventKind::ChallengeFailed, context.now()).from_client(client);
        let event = account.map_or(event.clone(), |id| event.account(id)).failed("verification");
        self.auth.attempts().fail(ticket, &event).await?;
        Ok(None)
    }

    fn own_address(&self) -> Option<&str> {
        match &self.before {
            Some(Resolved::Full(identity)) => identity.account().email(),
            _ => None,
        }
    }

    /// Whether the request comes from the browser that registered: it has a session of the account,
    /// or is the visitor who made it.
    fn recognizes(&self, row: &account::Model) -> bool {
        match &self.before {
            Some(Resolved::Full(identity)) => identity.account().id() == row.id,
            Some(Resolved::Anonymous(session)) => {
                row.registered_lineage_id == Some(session.lineage_id())
            }
            _ => false,
        }
    }

    /// Whether the account's password came along. It is a try at the password as any: whoever has
    /// found a link must not guess what opens more than the address that it proves.
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
        let session_id = match &self.before {
            Some(Resolved::Full(identity)) if identity.account().id() == row.id => {
                Some(identity.session().id())
            }
            _ => None,
        };
        let change = self.proving(session_id, client, event.at);
        let username = self.claiming(row, || {
            let event = &event;
            async move {
                transaction!(context.db(), |txn| {
                    self.spend(txn, proof).await?;
                    let before = NamesBefore::read(self.auth, txn, row.id).await?;
                    let username = self.prove(txn, row, proof.challenge).await?;
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
        let event = Event::new(EventKind::AddressVerified, now)
            .account(row.id)
            .from_client(client)
            .detail("handed over");
        // What the person who prepared the account has set is gone by then.
        let demands = Demands { enrolled: EnrolledFactors::default(), new_password: true };
        let before = self.before.as_ref();
        let session = NewSession::new(
            self.auth,
            row,
            PassedFactors::one(Factor::MailedCode, now),
            client,
            now,
        )
        .demands(demands)
        .transport(confirmation.transport)
        .replacing(before.and_then(|before| sign_in::replaces(before, None)));
        let made = self.claiming(row, || {
            let (event, session) = (&event, &session);
            async move {
                transaction!(context.db(), |txn| {
                    self.spend(txn, proof).await?;
                    let before = NamesBefore::read(self.auth, txn, row.id).await?;
                    if !account_store::hand_over(txn, row, normal, now).await? {
                        return Err(VerificationError::WrongCode);
                    }
                    remove_factors(txn, context, row).await?;
                    self.prove(txn, row, proof.challenge).await?;
                    before.changed(txn, self.proving(None, client, now)).await?;
                    one_time::end_of_account(txn, row.id, None, now).await?;
                    audit_log::record(txn, event).await?;
                    let epoch = account_store::epoch_of(txn, row.id).await?;
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

    /// What hooks are told of a proof.
    fn proving<'b>(
        &'b self,
        session_id: Option<SessionId>,
        client: &'b ClientInfo,
        at: Timestamp,
    ) -> NamesChange<'b> {
        NamesChange { auth: self.auth, cause: NamesCause::Proved, session_id, client, at }
    }

    /// Runs a confirmation again if the username that comes with it was taken in the same moment:
    /// then it is seen to be taken.
    async fn claiming<T, F>(
        &self,
        row: &account::Model,
        attempt: impl Fn() -> F,
    ) -> Result<T, VerificationError>
    where
        F: Future<Output = Result<T, VerificationError>>,
    {
        use crate::base::transaction::Fault;

        match attempt().await {
            Err(VerificationError::Fault(Fault::Database(error)))
                if row.username.is_some() && is_unique_violation(&error) =>
            {
                attempt().await
            }
            other => other,
        }
    }

    async fn spend(&self, txn: &Txn<'_>, proof: Proved<'_>) -> Result<(), VerificationError> {
        if !proof.challenge.spend(txn, self.auth.context().now()).await? {
            return Err(VerificationError::WrongCode);
        }
        if let Some(ticket) = proof.ticket {
            ticket.succeeded(txn).await?;
        }
        Ok(())
    }

    /// Writes down that the address is proved, if it still is the account's, and gives the account
    /// the username that waited for this.
    async fn prove(
        &self,
        txn: &Txn<'_>,
        row: &account::Model,
        challenge: &Challenge,
    ) -> Result<Claimed, VerificationError> {
        let now = self.auth.context().now();
        let normal = challenge.target().unwrap_or_default();
        if !account_store::verify_name(txn, row, normal, now).await? {
            return Err(VerificationError::WrongCode);
        }
        account_store::verify(txn, row.id, now).await?;
        let claimed = account_store::claim_username(txn, row, now).await?;
        if claimed == Claimed::Taken {
            account_store::drop_username(txn, row.id).await?;
        }
        Ok(claimed)
    }
}

fn mailbox(row: &account::Model) -> Option<(AccountId, &str)> {
    Some((row.id, row.email.as_deref()?))
}
