//! Signing in and out with a password.
//!
//! 1. The name is brought to its normal form, without what cannot be seen at either end (nothing is ever
//!    cut from a password); the account is looked up, and whether the request comes from a device that
//!    is known to it. How often one may ask is counted by that device, or else by the name.
//! 2. The try is counted before it is compared ([`attempt`](crate::attempt)). After too many failures
//!    it is refused: the right password too, with the same answer and after the same work.
//! 3. The password is compared at the cost of exactly one hash, whatever the account. One of more than
//!    1 024 bytes is wrong at once, whatever the name.
//! 4. A failure is one answer, whatever its reason: unknown, wrong, disabled, not verified,
//!    deleted, without a password. Where only the proof of the address is missing, it is asked for
//!    again by mail.
//! 5. A success makes a session, or a sign-in that still waits for a second factor or a new
//!    password: another type, another token.
//!
//! # Routes
//! `POST /login` (JSON, a form from a page of ours, or HTTP Basic), `POST /logout`,
//! `POST /reauthenticate`, `GET /methods`.
//!
//! Names in the body of `POST /login` win over an `Authorization: Basic` header, which is then not even
//! read: behind a proxy with a password prompt of its own, a browser sends that header everywhere. It is
//! ours only where the body has neither `login` nor `password`.
//!
//! With `"transport": "bearer"` the answer carries `token` and `device_token`. A client that shows the
//! latter in the header `Portcullis-Device` is a known device, as a browser is by its cookie; one that
//! does not is a new one, and the owner is told.
//!
//! # Events
//! `authn_login_success`, `authn_login_fail`, `authn_login_successafterfail`, `authn_login_lock`,
//! `authn_new_device`,
//! `authn_reauthenticated`, `session_ended`.
//!
//! # Errors
//! `invalid_credentials` (401), `wrong_password` (403), `overloaded` and `unavailable` (503);
//! `too_many_attempts` (429) where the configuration says that locks are told.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderName, StatusCode};

use crate::account::{Account, LoginId, entity, store as account_store, trim_login_id};
use crate::attempt::{Admission, Subject, Ticket};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::problem::{Problem, Refusal};
use crate::base::transaction::{Fault, MaybeFault, transaction};
use crate::config::AttemptKind;
use crate::confirmation;
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::Identity;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Resolved;
use crate::new_device::NewDevice;
use crate::password::{Checked, Password, Passwords};
use crate::rate_limit::RateLimited;
use crate::session::device::{Device, Devices};
use crate::session::issue::Replaces;
use crate::session::{
    Issued, SessionError, Stage, StartSession, Transport, store as session_store,
};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

/// What someone signs in with.
#[derive(Clone)]
#[must_use]
pub struct Credentials {
    login: String,
    password: Password,
    remember: bool,
    transport: Transport,
}

impl Credentials {
    /// A name (username or email address, as configured) and a password.
    pub fn password(login: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            login: login.into(),
            password: password.into().into(),
            remember: true,
            transport: Transport::Cookie,
        }
    }

    /// Whether the session outlives the browser. Default: yes.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// How the token travels. Default: in the cookie.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// What a right password leads to.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub enum LoginOutcome {
    /// Signed in.
    Session(Issued),
    /// A second factor is still needed.
    SecondFactorRequired(Issued),
    /// A new password has to be set first.
    PasswordChangeRequired(Issued),
    /// A second factor has to be enrolled first.
    EnrolmentRequired(Issued),
}

impl LoginOutcome {
    /// What to add to the answer, whichever it is.
    pub fn into_issued(self) -> Issued {
        match self {
            Self::Session(issued)
            | Self::SecondFactorRequired(issued)
            | Self::PasswordChangeRequired(issued)
            | Self::EnrolmentRequired(issued) => issued,
        }
    }
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The name or the password is wrong, or the account cannot be used: which, is not said.
    #[error("the name or the password is wrong")]
    InvalidCredentials,
    /// The password of the one who is signed in is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many tries failed. Told only with `attempts.reveal_lockout`; otherwise it looks like a
    /// wrong password.
    #[error("too many tries failed")]
    TooManyAttempts {
        /// When to come back.
        retry_after: Duration,
    },
    /// Too many logins under this name.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session could not be made.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application's refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<SessionError> for LoginError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Fault(fault) => Self::Fault(fault),
            SessionError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Session(other),
        }
    }
}

impl From<sea_orm::DbErr> for LoginError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Fault(error.into())
    }
}

impl MaybeFault for LoginError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for LoginError {
    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Self::WrongPassword => StatusCode::FORBIDDEN,
            Self::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::RateLimited(limited) => limited.status(),
            Self::Session(error) => error.status(),
            Self::Refused(refusal) => refusal.problem().status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::WrongPassword => "wrong_password",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::RateLimited(limited) => limited.code(),
            Self::Session(error) => error.code(),
            Self::Refused(refusal) => refusal.problem().code(),
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyAttempts { retry_after } => Some(*retry_after),
            Self::RateLimited(limited) => Problem::retry_after(limited),
            _ => self.fault().and_then(Problem::retry_after),
        }
    }

    fn headers(&self) -> Vec<(HeaderName, String)> {
        match self {
            Self::RateLimited(limited) => limited.headers(),
            _ => Vec::new(),
        }
    }
}

/// Signs in. See the [module page](self).
#[derive(Debug, Clone)]
pub struct Login<'a> {
    auth: &'a Portcullis,
    /// What the request was before: a visitor's session goes on as the account's, any other ends.
    before: Option<Resolved>,
}

impl Portcullis {
    /// Signing in.
    pub fn login(&self) -> Login<'_> {
        Login { auth: self, before: None }
    }
}

impl Login<'_> {
    /// Signs in over whatever session the request has: a visitor's goes on as the account's, any
    /// other ends. The mounted route does this; a handler of your own passes its request's
    /// extensions.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.before = Some(RequestIdentity::of(extensions)?.resolve().await?.clone());
        Ok(self)
    }

    /// Signs in with a password.
    ///
    /// # Errors
    /// [`LoginError::InvalidCredentials`] for whatever is wrong with name, password or account;
    /// an outage or too many logins at once as 503.
    pub async fn with_password(
        &self,
        credentials: Credentials,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, LoginError> {
        let context = self.auth.context();
        if credentials.password.is_too_long() {
            return Err(LoginError::InvalidCredentials);
        }
        let asked = self.find(&credentials.login, client).await?;
        let attempts = self.auth.attempts();
        let subject = attempts.subject(asked.row.as_ref(), &asked.name);
        let subject = subject.on_device(self.auth, asked.device.known());
        let ticket = self.admit(&subject, client).await?;
        let (ticket, checked) = self
            .check(ticket, &credentials.password, asked.row.as_ref(), &asked.name, client)
            .await?;
        let now = context.now();
        let row = asked.row.as_ref().filter(|row| {
            let account = Account::from((*row).clone());
            account.is_usable(now, context.config.login.require_verified)
        });
        let (Some(row), Checked::Right { outdated }) = (row, checked) else {
            self.fail(ticket, asked.row.as_ref(), checked, client, now).await?;
            return Err(LoginError::InvalidCredentials);
        };
        // Replacing an old hash is a courtesy; the login stands without it.
        let passwords = self.auth.per_instance::<Passwords>();
        let rehashed = if outdated {
            passwords.hash(&credentials.password, client.address()).await.ok()
        } else {
            None
        };
        let stage = stage_of(row);
        let account = Account::from(row.clone());
        let start = StartSession::new(context, context.db(), client)
            .of(&account)
            .stage(stage)
            .passed(PassedFactors::one(Factor::Password, now))
            .remember(credentials.remember)
            .transport(credentials.transport)
            .event(EventKind::LoginSucceeded)
            .replaces(self.before.as_ref().and_then(|before| replaces(before, &account)));
        let full = stage == Stage::Full;
        let new_device = NewDevice::of(context, row, client, asked.device, now).filter(|_| full);
        let issued = transaction!(context.db(), |txn| {
            // Either locks the account's row first. A sign-in that is not finished is none yet.
            if full {
                account_store::set_last_login(txn, account.id, now).await?;
            } else {
                session_store::lock_account(txn, account.id).await?;
            }
            if let (Some(new), Some(old)) = (&rehashed, &row.password_hash) {
                account_store::rehash(txn, account.id, old, new.clone()).await?;
            }
            ticket.succeeded(txn).await?;
            if let Some(device) = &new_device {
                device.record(txn).await?;
            }
            Ok::<_, LoginError>(start.clone().inside(txn).issue().await?)
        });
        let issued = attempts.end(ticket, issued).await;
        if let Err(LoginError::Refused(_)) = &issued {
            let event = Event::new(EventKind::LoginFailed, now).account(account.id);
            self.record(event.from_client(client).failed("refused")).await?;
        }
        let (issued, event) = issued?;
        event.trace();
        if let Some(device) = new_device {
            device.committed();
        }
        if full {
            self.auth.memberships_at_sign_in(account.id).await;
        }
        self.auth.watch_upkeep();
        Ok(match stage {
            Stage::PendingSecondFactor => LoginOutcome::SecondFactorRequired(issued),
            Stage::MustChangePassword => LoginOutcome::PasswordChangeRequired(issued),
            _ => LoginOutcome::Session(issued),
        })
    }

    /// Proves the password again: the session is replaced by one whose password factor is fresh.
    /// Its end stays where it was.
    ///
    /// # Errors
    /// [`LoginError::WrongPassword`]; the session ended meanwhile; an outage.
    pub async fn reauthenticate(
        &self,
        identity: &Identity,
        password: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, LoginError> {
        let context = self.auth.context();
        let account = identity.account();
        let password = Password::from(password.into());
        if password.is_too_long() {
            return Err(LoginError::WrongPassword);
        }
        let db = context.db();
        let row = db.read(account_store::find(&db.executor(), account.id())).await?;
        let name = account.id().to_string();
        let attempts = self.auth.attempts();
        let device = self.device(row.as_ref(), client).known();
        let subject = attempts.subject(row.as_ref(), &name).on_device(self.auth, device).inside();
        let ticket = self.admit(&subject, client).await?;
        let (ticket, checked) = self.check(ticket, &password, row.as_ref(), &name, client).await?;
        let now = context.now();
        if matches!(checked, Checked::Wrong) {
            let event = Event::new(EventKind::LoginFailed, now)
                .account(account.id())
                .session(identity.session().id())
                .from_client(client)
                .failed("wrong_password");
            attempts.fail(ticket, &event).await?;
            return Err(LoginError::WrongPassword);
        }
        let session = identity.session();
        let factors = session.factors().clone().with(Factor::Password, now);
        let start = StartSession::new(context, db, client)
            .of(account)
            .stepping_up(&session.state, session.transport())
            .passed(factors)
            .event(EventKind::Reauthenticated);
        let issued = transaction!(db, |txn| {
            ticket.succeeded(txn).await?;
            Ok::<_, LoginError>(start.clone().inside(txn).issue().await?)
        });
        let (issued, event) = attempts.end(ticket, issued).await?;
        event.trace();
        Ok(issued)
    }

    /// The account of a name, and what is counted before anything is judged.
    async fn find(&self, login: &str, client: &ClientInfo) -> Result<Asked, LoginError> {
        let context = self.auth.context();
        let ids = context.config.login.id;
        let id = LoginId::parse(login).ok().filter(|id| id.kind().signs_in(ids));
        let db = context.db();
        // No account has the empty name; asking for it keeps the work the same.
        let normal = id.as_ref().map_or("", LoginId::normal);
        let name = id.as_ref().map_or_else(|| trim_login_id(login), LoginId::normal).to_owned();
        // Before it is known whether the name is anybody's.
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(context, client);
        let row = db.read(account_store::find_by_name(&db.executor(), normal)).await?;
        let device = devices.look_up(&shown, row.as_ref().map(|row| (row.id, row.epoch)));
        let limits = self.auth.rate_limits();
        match device.known() {
            // Its own budget, which strangers do not spend.
            Some(id) => {
                let own = row.as_ref().and_then(|row| row.rate_limit);
                let account = row.as_ref().map(|row| row.id);
                let id = BASE64URL_NOPAD.encode(&id);
                limits.principal("login_device", &id, account, own).await?;
            }
            // By what was typed, known or not, and with no limit of an account's own: a refusal tells
            // neither which names are one account nor whose name has a limit.
            None => limits.principal("login", &name, None, None).await?,
        }
        Ok(Asked { row, name, device })
    }

    /// Compares the password; a refused try does so in vain. A try that could not be judged is none.
    async fn check(
        &self,
        ticket: Ticket,
        password: &Password,
        row: Option<&entity::account::Model>,
        name: &str,
        client: &ClientInfo,
    ) -> Result<(Ticket, Checked), LoginError> {
        match self
            .auth
            .per_instance::<Passwords>()
            .check(password, row, name, client.address())
            .await
        {
            Ok(checked) => {
                let checked = if ticket.is_judged() { checked } else { Checked::Wrong };
                Ok((ticket, checked))
            }
            Err(fault) => {
                self.auth.attempts().withdraw(ticket).await;
                Err(fault.into())
            }
        }
    }

    /// A try failed. Where only the proof of the address is missing, it is asked for again.
    async fn fail(
        &self,
        ticket: Ticket,
        row: Option<&entity::account::Model>,
        checked: Checked,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<(), LoginError> {
        let mut event = Event::new(EventKind::LoginFailed, now)
            .from_client(client)
            .failed("invalid_credentials");
        if let Some(row) = row {
            event = event.account(row.id);
        }
        self.auth.attempts().fail(ticket, &event).await?;
        if let Some(row) = row.filter(|_| matches!(checked, Checked::Right { .. })) {
            confirmation::remind_soon(self.auth.context(), row, now);
        }
        Ok(())
    }

    /// Writes down a failure, which has no transaction of its own.
    async fn record(&self, event: Event) -> Result<(), LoginError> {
        transaction!(self.auth.context().db(), |txn| {
            audit_log::record(txn, &event).await?;
            Ok::<_, LoginError>(())
        })?;
        event.trace();
        Ok(())
    }

    /// What the client's device is to this account.
    fn device(&self, row: Option<&entity::account::Model>, client: &ClientInfo) -> Device {
        row.map_or(Device::Stranger, |row| {
            let devices = self.auth.per_instance::<Devices>();
            devices.recognize(self.auth.context(), client, row.id, row.epoch)
        })
    }

    /// Counts a try.
    async fn admit(&self, subject: &Subject, client: &ClientInfo) -> Result<Ticket, LoginError> {
        match self.auth.attempts().begin(AttemptKind::Login, subject, client).await? {
            Admission::Admitted(ticket) => Ok(ticket),
            Admission::TooMany { retry_after } => Err(LoginError::TooManyAttempts { retry_after }),
        }
    }
}

/// Whom a login is about.
struct Asked {
    row: Option<entity::account::Model>,
    /// The normal form of the name; as it was typed if it has none.
    name: String,
    device: Device,
}

/// What a right password leads to.
fn stage_of(row: &entity::account::Model) -> Stage {
    if row.enrolled_factors != 0 {
        // First the second factor: who only knows the password must not set a new one.
        Stage::PendingSecondFactor
    } else if row.must_change_password {
        Stage::MustChangePassword
    } else {
        Stage::Full
    }
}

/// What a login takes the place of. A visitor who signs in stays the same visitor, and so does an
/// account that signs in again; for another account nothing of the old session goes on. Nor does anything
/// go on from a session that was replaced and only lingers: what hung on it went to its successor, which
/// may live on in another tab, and no two sign-ins are one lineage.
fn replaces(before: &Resolved, account: &Account) -> Option<Replaces> {
    let (state, same) = match before {
        Resolved::Nobody(_) => return None,
        Resolved::Anonymous(session) => (&session.state, true),
        Resolved::Pending(session) => (&session.state, session.account().id() == account.id()),
        Resolved::PasswordChange(session) => {
            (&session.state, session.account().id() == account.id())
        }
        Resolved::Enrolment(session) => (&session.state, session.account().id() == account.id()),
        Resolved::Full(identity) => {
            let same = identity.account().id() == account.id() && !identity.is_superseded();
            (&identity.session().state, same)
        }
    };
    Some(Replaces { id: state.id, lineage_id: same.then_some(state.lineage_id), promotes: false })
}
