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
//! # Means of your own
//! | to | call |
//! |---|---|
//! | sign somebody in by LDAP, another service or a hardware key | [`auth.sign_in(..)`](crate::Portcullis::sign_in) |
//! | finish a sign-in with a second factor of your own | [`auth.login().finish(..)`](Login::finish) |
//! | note that a session has proved a factor again | [`auth.login().step_up(..)`](Login::step_up) |
//! | count guesses, before you compare them | [`auth.attempts().begin(..)`](crate::attempt::Attempts::begin) |
//!
//! The first two do everything that a sign-in with a password does. Only the last one counts anything.
//!
//! # Routes
//! `POST /login` (JSON, a form from a page of ours, or HTTP Basic), `POST /logout`,
//! `POST /reauthenticate`, `GET /methods`.
//!
//! Names in the body of `POST /login` win over an `Authorization: Basic` header, which is then not even
//! read: behind a proxy with a password prompt of its own, a browser sends that header everywhere. It is
//! ours only where the body has neither `login` nor `password`.
//!
//! A handler of your own takes the header with the extractor [`BasicCredentials`].
//!
//! With `"transport": "bearer"` the answer carries `token` and `device_token`. A client that shows the
//! latter in the header `Portcullis-Device` is a known device, as a browser is by its cookie; one that
//! does not is a new one, and the owner is told.
//!
//! ## Forms without a script
//! With a login page ([`Unauthenticated::LoginPage`](crate::config::Unauthenticated::LoginPage)), a form that a
//! browser posts to `/login` or `/logout` is answered by a redirect (303). A browser is a client that says
//! `Sec-Fetch-Mode: navigate`, or does not say and prefers HTML (`Accept`). All others get JSON, as ever.
//!
//! ```html
//! <form method="post" action="/auth/login">
//!   <input name="login" autocomplete="username">
//!   <input name="password" type="password" autocomplete="current-password">
//!   <input name="next" type="hidden" value="/docs/1">
//!   <button>Sign in</button>
//! </form>
//! ```
//!
//! | result | the browser goes to |
//! |---|---|
//! | a session, or signed out | `next`, a field of the form or a parameter of its address; else `/` |
//! | a new password is required | [`change_page`](crate::config::PasswordConfig::change_page) or else the login page, with `?result=password_change_required` |
//! | another step is missing | the login page with `?result=second_factor_required` or `?result=enrolment_required` |
//! | refused | the login page with `?error=<code>`, one of the [codes](crate::guide::errors) |
//!
//! The page that a guard sends a browser to has `next` in its own address; put it into the form. Only a path of
//! this service is taken ([`ReturnTo`](crate::base::redirect::ReturnTo)), and anything else counts as none. A
//! cross-site form, or a source that sends too many requests, is refused before and gets the plain error.
//!
//! # Events
//! `authn_login_success`, `authn_login_fail`, `authn_login_successafterfail`, `authn_login_lock`,
//! `authn_new_device`,
//! `authn_reauthenticated`, `session_ended`.
//!
//! # Errors
//! `invalid_credentials` (401), `wrong_password` (403), `factor_not_enrolled` and `factor_used_already` (409), `overloaded` and `unavailable` (503);
//! `too_many_attempts` (429) where the configuration says that locks are told.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::account::{Account, LoginId, entity, store as account_store, trim_login_id};
use crate::attempt::Ticket;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::AccountId;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault, transaction};
use crate::confirmation;
use crate::flow::password_attempt::{self, Attempted, Whose};
use crate::flow::sign_in::{self, Made, NewSession};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::Identity;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Resolved;
use crate::password::{Checked, Password, Passwords};
use crate::rate_limit::RateLimited;
use crate::session::device::{Device, Devices};
use crate::session::from_session;
use crate::session::issue::Replaces;
use crate::session::{Issued, SessionError, StartSession, Transport};

mod basic;
#[cfg(feature = "routes")]
mod form;
mod own_attempt;
mod own_means;
#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

pub use crate::flow::sign_in::LoginOutcome;
pub use basic::{BasicCredentials, BasicError};
pub use own_attempt::{Guess, OpenAttempt, Verdict};
pub use own_means::SignIn;

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
    /// The account has not enrolled the factor that a sign-in was to be finished with.
    #[error("this factor is not set up for this account")]
    FactorNotEnrolled,
    /// The sign-in began with the factor that it was to be finished with.
    #[error("this factor was the first step of the sign-in; the second one needs another factor")]
    FactorUsedAlready,
    /// Too many attempts failed. Told only with `attempts.reveal_lockout`; otherwise it looks like a
    /// wrong password.
    #[error("too many attempts failed")]
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

may_fault!(LoginError);
from_session!(LoginError);

problem! {
    LoginError {
        Self::InvalidCredentials => UNAUTHORIZED, "invalid_credentials";
        Self::WrongPassword => FORBIDDEN, "wrong_password";
        Self::FactorNotEnrolled => CONFLICT, "factor_not_enrolled";
        Self::FactorUsedAlready => CONFLICT, "factor_used_already";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
    }
    passes on { RateLimited, Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
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
        self.before = Some(RequestIdentity::of(extensions)?.replaced().await?.clone());
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
        let whose = Whose { row: asked.row.as_ref(), name: &asked.name };
        let attempted =
            password_attempt::attempt(self.auth, &subject, whose, &credentials.password, client);
        let (ticket, checked) = judged(attempted.await?)?;
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
        let proved = PassedFactors::one(Factor::Password, now);
        let session = NewSession::new(self.auth, row, proved, client, now)
            .remember(credentials.remember)
            .transport(credentials.transport)
            .replacing(self.replaces(row.id));
        let made = transaction!(context.db(), |txn| {
            let locked = session.lock(txn).await?;
            if let (Some(new), Some(old)) = (&rehashed, &row.password_hash) {
                account_store::rehash(txn, row.id, old, new.clone()).await?;
            }
            ticket.succeeded(txn).await?;
            Ok::<_, LoginError>(session.clone().make(txn, locked).await?)
        });
        let made = attempts.end(ticket, made).await;
        self.signed_in(made, row.id, client, now).await
    }

    /// Ends a sign-in whose transaction is over.
    async fn signed_in(
        &self,
        made: Result<Made, LoginError>,
        account: AccountId,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<LoginOutcome, LoginError> {
        if let Err(LoginError::Refused(_)) = &made {
            sign_in::record_refusal(self.auth, account, client, now).await?;
        }
        Ok(made?.committed(self.auth).await)
    }

    /// What the sign-in of this account takes the place of.
    fn replaces(&self, account: AccountId) -> Option<Replaces> {
        self.before.as_ref().and_then(|before| sign_in::replaces(before, Some(account)))
    }

    /// The row of an account that may be used, if its epoch is still this one.
    async fn usable(
        &self,
        account: AccountId,
        epoch: i64,
        now: Timestamp,
    ) -> Result<Option<entity::account::Model>, LoginError> {
        let context = self.auth.context();
        let db = context.db();
        let row = db.read(account_store::find(&db.executor(), account)).await?;
        let require_verified = context.config.login.require_verified;
        let usable = |row: &entity::account::Model| {
            row.epoch == epoch && Account::from(row.clone()).is_usable(now, require_verified)
        };
        Ok(row.filter(usable))
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
        let attempts = self.auth.attempts();
        let attempted = password_attempt::attempt_inside(
            self.auth,
            account.id(),
            row.as_ref(),
            &password,
            client,
        );
        let (ticket, checked) = judged(attempted.await?)?;
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
        let start = self.stepped_up(identity, Factor::Password, client, now);
        let issued = transaction!(db, |txn| {
            ticket.succeeded(txn).await?;
            Ok::<_, LoginError>(start.clone().inside(txn).issue().await?)
        });
        attempts.end(ticket, issued).await
    }

    /// The session that takes the place of this one, with a factor that was proved just now.
    fn stepped_up<'a>(
        &'a self,
        identity: &'a Identity,
        factor: Factor,
        client: &'a ClientInfo,
        now: Timestamp,
    ) -> StartSession<'a> {
        let (context, session) = (self.auth.context(), identity.session());
        StartSession::new(context, context.db(), client)
            .of(identity.account())
            .stepping_up(&session.state, session.transport())
            .passed(session.factors().clone().with(factor, now))
            .event(EventKind::Reauthenticated)
    }

    /// The account of a name, and what is counted before anything is judged.
    async fn find(&self, login: &str, client: &ClientInfo) -> Result<Asked, LoginError> {
        let context = self.auth.context();
        let ids = context.config.login.id;
        let id = LoginId::parse(login).ok();
        let db = context.db();
        // No account has the empty name; asking for it keeps the work the same.
        let signs_in = id.as_ref().filter(|id| id.kind().signs_in(ids));
        let normal = signs_in.map_or("", LoginId::normal);
        // A name that signs nobody in has one count for all its spellings too: an application may know
        // its owner by other means.
        let name = match &id {
            Some(id) => id.normal().to_owned(),
            None => trim_login_id(login).to_lowercase(),
        };
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
        Ok(())
    }
}

/// The attempt and its verdict, if there is one.
fn judged(attempted: Attempted) -> Result<(Ticket, Checked), LoginError> {
    match attempted {
        Attempted::Judged(ticket, checked) => Ok((ticket, checked)),
        Attempted::TooMany(retry_after) => Err(LoginError::TooManyAttempts { retry_after }),
    }
}

/// Whom a login is about.
struct Asked {
    row: Option<entity::account::Model>,
    /// The normal form of the name; as it was typed if it has none.
    name: String,
    device: Device,
}
