//! Signing in and out with a password.
//!
//! 1. The name is brought to its normal form, without invisible characters at either end. A
//!    password is never trimmed. The flow looks up the account, and checks if it knows the device. A
//!    known device has its own rate limit; otherwise the rate limit counts by the name.
//! 2. The attempt is counted before the password is compared ([`attempt`](crate::attempt)). After
//!    too many failures it is refused. A correct password is then refused too, with the same answer
//!    and after the same work.
//! 3. The password is compared at the cost of exactly one hash, for every account and every name. A
//!    password of more than 1 024 bytes is wrong at once, whatever the name is.
//! 4. All failures get the same answer: unknown name, wrong password, or an account that is
//!    disabled, not verified, deleted or without a password. If the password is right and only the
//!    verification is missing, the verification mail is sent again.
//! 5. A success starts a session, or a sign-in that is not complete. Such a sign-in still needs a second
//!    factor, a new password or the [set-up of a second
//!    factor](crate::second_factor#roles-that-require-a-factor). It has another type and another token.
//!
//! # Your own means of sign-in
//! | to | call |
//! |---|---|
//! | sign someone in by LDAP, another service or a hardware key | [`auth.sign_in(..)`](crate::Portcullis::sign_in) |
//! | finish a sign-in with your own check of a second factor | [`auth.login().finish(..)`](Login::finish) |
//! | note that a session has proved a factor again | [`auth.login().step_up(..)`](Login::step_up) |
//! | count guesses before you compare them | [`auth.attempts().begin(..)`](crate::attempt::Attempts::begin) |
//!
//! The first two do everything that a sign-in with a password does. Only the last one counts
//! attempts, with the limits of the attempts that portcullis compares.
//!
//! # What it does not do
//! - It does not tell why a sign-in failed.
//! - It does not check a second factor. [`second_factor`](crate::second_factor) does, or your
//!   application.
//!
//! # Routes
//! `POST /login` (JSON, a form from your own pages, or HTTP Basic), `POST /logout`,
//! `POST /reauthenticate` (`password`, or `code` and if you like `method`, see
//! [`second_factor`](crate::second_factor)), `GET /methods`.
//!
//! If the body of `POST /login` contains `login` or `password`, an `Authorization: Basic` header is
//! ignored. Behind a proxy with its own password prompt, a browser sends that header with every
//! request. Only if the body has neither, the header is used.
//!
//! To read the header in your own handler, use the extractor [`BasicCredentials`].
//!
//! With `"transport": "bearer"` the answer contains `token` and `device_token`. A client that sends
//! the `device_token` in the header `Portcullis-Device` is a known device, as a browser is by its
//! cookie. A client that does not is a new device, and the owner gets a message.
//!
//! ## Forms without a script
//! A form that a browser posts to a mounted route is answered with a redirect, if there is a login
//! page. See [`page`](crate::page).
//!
//! # Events
//! `authn_login_success`, `authn_login_fail`, `authn_login_successafterfail`, `authn_login_lock`,
//! `authn_new_device`, `authn_reauthenticated`, `session_ended`.
//!
//! # Errors
//! `invalid_credentials` (401), `session_ended` (401), `wrong_password`, `wrong_code` (403), `factor_not_enrolled`,
//! `factor_used_already` and `session_limit` (409), `bearer_not_enabled` (400), `rate_limited` (429),
//! `overloaded` and `unavailable` (503); `too_many_attempts` (429), only if limits are revealed; with a
//! [captcha](crate::captcha) also `captcha_required`, `wrong_captcha` (403) and `captcha_unavailable`
//! (503).

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
use crate::captcha::{CaptchaError, CaptchaResponse, Guarded};
use crate::confirmation;
use crate::flow::factors::Reauthentication;
use crate::flow::password_attempt::{self, Attempted, Whose};
use crate::flow::sign_in::{self, Demands, Made, NewSession};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::Identity;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::password::{Checked, Password, Passwords};
use crate::rate_limit::{self, RateLimited};
use crate::session::device::{Device, Devices};
use crate::session::from_session;
use crate::session::issue::Replaces;
use crate::session::{Issued, SessionError, Transport};
use crate::trusted_device::StandIn;

mod basic;
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

/// The name and the password for a sign-in.
#[derive(Clone)]
#[must_use]
pub struct Credentials {
    login: String,
    password: Password,
    remember: bool,
    transport: Transport,
    captcha: Option<CaptchaResponse>,
}

impl Credentials {
    /// Takes a name (username or email address, as configured) and a password.
    pub fn password(login: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            login: login.into(),
            password: password.into().into(),
            remember: true,
            transport: Transport::Cookie,
            captcha: None,
        }
    }

    /// Adds the answer to a [captcha](crate::captcha) for the action `login`.
    pub fn captcha(mut self, response: CaptchaResponse) -> Self {
        self.captcha = Some(response);
        self
    }

    /// Sets whether the session is remembered after the browser closes. The default is `true`.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets how the token is sent. The default is the cookie.
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

/// The reason why a sign-in failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The name or the password is wrong, or the account cannot be used. The answer does not say
    /// which.
    #[error("the name or the password is wrong")]
    InvalidCredentials,
    /// The password of the account that is signed in is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// The account has not enrolled the factor that was to finish the sign-in.
    #[error("this factor is not set up for this account")]
    FactorNotEnrolled,
    /// The sign-in began with the factor that it was to be finished with.
    #[error("this factor was the first step of the sign-in; the second one needs another factor")]
    FactorUsedAlready,
    /// The password was replaced through the same mailbox a short time ago.
    #[error(
        "the password was set by mail a short time ago, so a mailed code is not enough; use another \
         second factor or a recovery code, or ask an administrator"
    )]
    MailedCodeAfterReset,
    /// Too many attempts failed. This is told only with `attempts.reveal_lockout`. Otherwise the
    /// answer is that of a wrong password.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// A captcha is needed, or its answer is wrong.
    #[error(transparent)]
    Captcha(#[from] CaptchaError),
    /// There were too many sign-ins under this name.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The session could not be started.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
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
        Self::MailedCodeAfterReset => FORBIDDEN, "mailed_code_after_reset";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
    }
    passes on { Captcha, RateLimited, Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
    }
}

/// Signs in with a password, and finishes sign-ins. See the [module page](self).
#[derive(Debug, Clone)]
pub struct Login<'a> {
    auth: &'a Portcullis,
    /// The identity of the request before. A visitor's session continues as the account's; any
    /// other ends.
    before: Option<Resolved>,
}

impl Portcullis {
    /// Returns the flow that signs in.
    pub fn login(&self) -> Login<'_> {
        Login { auth: self, before: None }
    }
}

impl Login<'_> {
    /// Sets the session that the sign-in replaces: the one of the request. A visitor's session
    /// continues as the account's; any other ends. The mounted route does this. Your own handler
    /// passes the extensions of its request.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.before = Some(RequestIdentity::of(extensions)?.replaced().await?.clone());
        Ok(self)
    }

    /// Signs in with a password.
    ///
    /// # Errors
    /// [`LoginError::InvalidCredentials`] if the name, the password or the account is wrong;
    /// [`LoginError::Captcha`], if the builder has a [captcha](crate::captcha);
    /// [`LoginError::RateLimited`]; [`LoginError::TooManyAttempts`], only if limits are revealed; a
    /// hook's refusal; an outage, or too many passwords at once, as 503.
    pub async fn with_password(
        &self,
        credentials: Credentials,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, LoginError> {
        if credentials.password.is_too_long() {
            return Err(LoginError::InvalidCredentials);
        }
        let asked = self.find(&credentials.login, client).await?;
        let captcha = match asked.device.known() {
            Some(_) => None,
            None => self.auth.captchas().guard(Guarded::Login, &[&asked.name], client),
        };
        let Some(captcha) = captcha else {
            return self.compare(&asked, &credentials, client).await;
        };
        captcha.admit(credentials.captcha.as_ref()).await?;
        let outcome = self.compare(&asked, &credentials, client).await;
        if !matches!(outcome, Err(LoginError::InvalidCredentials)) {
            captcha.take_back().await;
        }
        outcome
    }

    /// Compares the password, and signs in.
    async fn compare(
        &self,
        asked: &Asked,
        credentials: &Credentials,
        client: &ClientInfo,
    ) -> Result<LoginOutcome, LoginError> {
        let context = self.auth.context();
        let attempts = self.auth.attempts();
        let subject = attempts.subject(asked.row.as_ref(), &asked.name);
        let subject = subject.on_device(self.auth, asked.device.known());
        let whose = Whose { row: asked.row.as_ref(), name: &asked.name };
        let attempted =
            password_attempt::attempt(self.auth, &subject, whose, &credentials.password, client);
        let (ticket, checked) = judged(attempted.await?)?;
        let now = context.now();
        // Whether the account can be used is checked only after the password was compared. So the
        // answer and the work are those of a wrong password.
        let row = asked.row.as_ref().filter(|row| {
            let account = Account::from((*row).clone());
            account.is_usable(now, context.config.login.require_verified)
        });
        let (Some(row), Checked::Right { outdated }) = (row, checked) else {
            self.fail(ticket, asked.row.as_ref(), checked, client, now).await?;
            return Err(LoginError::InvalidCredentials);
        };
        // Replacing an old hash is optional: the sign-in succeeds without it.
        let passwords = self.auth.per_instance::<Passwords>();
        let rehashed = if outdated {
            passwords.hash(&credentials.password, client.address()).await.ok()
        } else {
            None
        };
        let proved = PassedFactors::one(Factor::Password, now);
        let demands = match Demands::read(self.auth, row, now).await {
            Ok(demands) => demands,
            Err(fault) => {
                attempts.withdraw(ticket).await;
                return Err(fault.into());
            }
        };
        let session = NewSession::new(self.auth, row, proved, demands, client, now)
            .remember(credentials.remember)
            .transport(credentials.transport)
            .replacing(self.replaces(row.id));
        let device = match StandIn::find(self.auth, row, &session, client, now).await {
            Ok(device) => device,
            Err(fault) => {
                attempts.withdraw(ticket).await;
                return Err(fault.into());
            }
        };
        let made = transaction!(context.db(), |txn| {
            let locking = StandIn::lock(device.as_ref(), txn, session.clone());
            let (session, locked, trusted) = locking.await?;
            if let (Some(new), Some(old)) = (&rehashed, &row.password_hash) {
                account_store::rehash(txn, row.id, old, new.clone()).await?;
            }
            ticket.succeeded(txn).await?;
            let made = session.make(txn, locked).await?;
            Ok::<_, LoginError>(made.with_trusted_device(trusted))
        });
        // If the transaction was refused for another reason, the attempt is withdrawn: it was no
        // wrong guess.
        let made = attempts.end(ticket, made).await;
        self.signed_in(made, row.id, client, now).await
    }

    /// Finishes a sign-in after its transaction.
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

    /// Returns what the sign-in of this account replaces.
    fn replaces(&self, account: AccountId) -> Option<Replaces> {
        self.before.as_ref().and_then(|before| sign_in::replaces(before, Some(account)))
    }

    /// Returns the row of an account that can be used, if its epoch is still this one.
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

    /// Proves the password again. A session with a new password factor replaces the session. The
    /// end of the session does not change.
    ///
    /// # Errors
    /// [`LoginError::WrongPassword`]; [`LoginError::TooManyAttempts`], only if limits are revealed;
    /// the session ended meanwhile; an outage.
    pub async fn reauthenticate(
        &self,
        identity: &Identity,
        password: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, LoginError> {
        let again = Reauthentication::of(self.auth, identity)?;
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
        let issued = transaction!(db, |txn| {
            again.lock(txn).await?;
            ticket.succeeded(txn).await?;
            Ok::<_, LoginError>(again.make(txn, Factor::Password, client, now).await?)
        });
        attempts.end(ticket, issued).await
    }

    /// Looks up the account and the device for a name, and counts the rate limit before anything is
    /// compared.
    async fn find(&self, login: &str, client: &ClientInfo) -> Result<Asked, LoginError> {
        let context = self.auth.context();
        let ids = context.config.login.id;
        let id = LoginId::parse(login).ok();
        let db = context.db();
        // No account has the empty name. Looking it up keeps the work the same.
        let signs_in = id.as_ref().filter(|id| id.kind().signs_in(ids));
        let normal = signs_in.map_or("", LoginId::normal);
        // All spellings of a name have one count, also if the name cannot sign in. An application
        // may find its owner by other means.
        let name = match &id {
            Some(id) => id.normal().to_owned(),
            None => trim_login_id(login).to_lowercase(),
        };
        // The device is read before it is known whether the name has an account, so this work is
        // always done.
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(context, client);
        let row = db.read(account_store::find_by_name(&db.executor(), normal)).await?;
        let device = devices.look_up(&shown, row.as_ref().map(|row| (row.id, row.epoch)));
        let limits = self.auth.rate_limits();
        match device.known() {
            // A known device has its own limit, which strangers cannot use up.
            Some(id) => {
                let own = row.as_ref().and_then(|row| row.rate_limit);
                let account = row.as_ref().map(|row| row.id);
                let id = BASE64URL_NOPAD.encode(&id);
                limits.principal("login_device", &id, account, own).await?;
            }
            // This limit depends only on the name that was typed, and never on an account's own
            // limit. So a refusal does not tell which names belong to one account, or which account
            // has its own limit.
            None => limits.principal(rate_limit::LOGIN, &name, None, None).await?,
        }
        Ok(Asked { row, name, device })
    }

    /// Records a failed attempt. If the password is right and only the verification is missing, the
    /// verification mail is sent again.
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

    /// Records a failure that has no transaction of its own.
    async fn record(&self, event: Event) -> Result<(), LoginError> {
        transaction!(self.auth.context().db(), |txn| {
            audit_log::record(txn, &event).await?;
            Ok::<_, LoginError>(())
        })?;
        Ok(())
    }
}

/// Returns the attempt and the result of the comparison, or the error for too many attempts.
fn judged(attempted: Attempted) -> Result<(Ticket, Checked), LoginError> {
    match attempted {
        Attempted::Judged(ticket, checked) => Ok((ticket, checked)),
        Attempted::TooMany(retry_after) => Err(LoginError::TooManyAttempts { retry_after }),
    }
}

/// The account and the device that a sign-in is about.
struct Asked {
    row: Option<entity::account::Model>,
    /// The normal form of the name, or the typed text if it has none.
    name: String,
    device: Device,
}
