//! Signing in by mail: a link or a code instead of a password.
//!
//! 1. A person types the name with which they sign in. The answer and the work are always the same.
//!    So nobody learns whether there is such an account, whether it can be used, or whether mail
//!    was sent just before. The answer takes at least 25 ms.
//! 2. The answer sets a separate cookie (`__Host-session-mail`). A client that stores its tokens
//!    itself gets a `browser_token` instead. The token does not show whether the name has an
//!    account.
//! 3. The account's address gets one mail with a link and a code. If a proved
//!    [further](crate::login_name) address was typed, that address gets the mail. The link and the
//!    code work once, within ten minutes. The next mail for the same name and browser replaces
//!    them. The database has only their keyed digests.
//! 4. The link opens a page of your application. Opening it changes nothing. The page posts the
//!    token.
//! 5. **The link and the code sign in only in the browser that asked.** In any other browser, the
//!    answer to the link is the code and no session. The person types the code in the browser that
//!    asked. So if a stranger asks for another person's mail, nobody is signed in when that person
//!    follows the link.
//! 6. A sign-in by mail ends like every other sign-in: second factors, a required new password,
//!    hooks, the event, memberships and the notice of a new device. The browser becomes a [known
//!    device](crate::attempt#known-devices).
//!
//! # What it proves
//! The session records the factor [`MailedCode`](crate::Factor::MailedCode) and not the password.
//! - If the account has second factors, one of them is required. Another mailed code does not
//!   count, because both would prove the same mailbox. If mailed codes are the only second factor
//!   of an account, it must sign in with its password.
//! - A sign-in by mail meets a requirement for a mailed code. It never meets a requirement for a
//!   password. To require more than the mailbox, require both factors.
//! - A change of the account needs [any recent
//!   factor](crate::config::SessionConfig::recent_factor). A mailed code counts, because the owner
//!   of the mailbox could also set a new password by mail. A mail to a further address does not count
//!   as recent, because that address may have been added by a thief of the password.
//!
//! **If nobody has proved the address before**, an attacker may have prepared the account for its
//! owner. Then the sign-in hands the account over, as [`verification`](crate::verification) does
//! for a proof from elsewhere. It deletes the password, all sessions, factors, other addresses,
//! codes and links. It marks the address as proved, and asks for a new password. If the address was
//! proved before, everything is kept.
//!
//! # New accounts
//! With [`mail.login_creates_accounts`](crate::config::MailConfig::login_creates_accounts), an address
//! that has no account gets a mail too. The account is created when its link or code is used, with this
//! address, which is then proved, and without a password. Until then nothing is kept but the mail's own
//! row. The [hooks](crate::hook::Hooks) of a registration run in the same transaction, with the cause
//! [`MailLogin`](crate::hook::RegistrationCause::MailLogin), and may refuse. This is off by default, and
//! it does nothing while `login.registration` is closed or `login.id` requires a username. It counts in
//! [`registrations`](crate::config::RateConfig::registrations). If the address got an account in between,
//! the mail is no longer valid, and the next one is for that account.
//!
//! # What ends a link and its code
//! - Its use, its expiry after ten minutes, and the next mail for the same name and browser.
//! - A change of the address, the password or the factors, a sign-in, and the removal of the
//!   address that got the mail.
//! - Disabling or deleting the account, and everything that ends all of its sessions.
//!
//! So a thief with one session can stop sign-ins by mail, by ending all other sessions again and
//! again. The thief cannot stop a [reset of the password](crate::password_reset), which ends the
//! thief's session.
//!
//! # Too many requests, and guessing
//!
//! Each request is an [attempt](crate::attempt) of the kind `MailLoginRequest`. It counts as failed
//! until a sign-in by mail succeeds. Too many are delayed and then refused for a while, with the
//! same answer. A refused request does not replace a mail. Mailboxes and sources have the same
//! limits as for all messages that a stranger can trigger.
//!
//! Each code is an attempt of the kind `MailLogin`. Five wrong codes in an hour are allowed, for
//! all names, mails and browsers of an account together. A new mail gives no new attempts. After
//! five, the correct code is refused too. A known device has its own count.
//!
//! Each link is an attempt of the kind `MailLoginLink`. Links are counted only per source, because
//! nobody can guess 256 random bits. So the link still works in the browser that asked, even if
//! strangers have used up the attempts at codes.
//!
//! A lock of passwords does not stop a sign-in by mail. So owners can sign in while an attacker
//! guesses their password. The sign-in does not end that lock, because the password is still the
//! same. But the browser is then a known device, to which the lock does not apply.
//!
//! # Example
//!
//! ```no_run
//! use http::{HeaderMap, StatusCode, request::Parts};
//! use portcullis::mail_login::{AskingBrowser, Confirmation, Confirmed};
//! use portcullis::{ClientInfo, Issued, Portcullis, Rejection};
//!
//! async fn ask(
//!     auth: Portcullis,
//!     headers: HeaderMap,
//!     client: ClientInfo,
//! ) -> Result<(AskingBrowser, StatusCode), Rejection> {
//!     let asking = auth.mail_login().with_cookie(&headers).ask("alice@example.com", &client).await?;
//!     Ok((asking, StatusCode::ACCEPTED))
//! }
//!
//! async fn confirm(
//!     auth: &Portcullis,
//!     request: &Parts,
//!     client: &ClientInfo,
//!     code: String,
//! ) -> Result<Option<Issued>, Rejection> {
//!     let flow = auth.mail_login().replacing(&request.extensions).await?;
//!     let flow = flow.with_cookie(&request.headers);
//!     match flow.confirm(Confirmation::code(code), client).await? {
//!         Confirmed::SignedIn(outcome) => Ok(Some(outcome.into_issued())),
//!         // Only for a link: show the code, to be typed in the browser that asked.
//!         _ => Ok(None),
//!     }
//! }
//! ```
//!
//! # What it does not do
//! - It is off unless you mount its routes: [`routes`] is not part of
//!   [`Portcullis::routes`](crate::Portcullis::routes). This is your decision, because many
//!   mailboxes are badly protected.
//! - It cannot stop a person from telling the code to a stranger who asked for the mail. The mail
//!   warns of this.
//! - It sends no text messages, because a provider can give a phone number to another person.
//!
//! # Routes
//! Mount them separately. They need a notifier: `.nest("/auth",
//! auth.routes().merge(portcullis::mail_login::routes(&auth)))`.
//! - `POST /login/mail` takes `login`, and if needed `transport` and `browser_token`. It answers
//!   202 `{"result": "accepted"}` for every name.
//! - `POST /login/mail/confirm` takes `token` or `code`, and if needed `remember`, `transport` and
//!   `browser_token`. It answers 200, like `POST /login`. For a link in another browser, the answer
//!   is `{"result": "other_browser", "code": ".."}`.
//!
//! With `"transport": "bearer"`, the first route also answers with a `browser_token`. The client
//! stores it and sends it with every later request to both routes.
//!
//! With a login page, [forms without a script](crate::page) are answered by redirects. A request
//! leads back to the page of the form, with `?result=mail_sent`. A link in another browser leads
//! there with `?result=other_browser`. This answer does not contain the code, which is also in the
//! mail.
//!
//! # Configuration
//! [`login_lifetime`](crate::config::MailConfig::login_lifetime),
//! [`login_creates_accounts`](crate::config::MailConfig::login_creates_accounts),
//! [`links.login`](crate::config::LinkConfig::login) and the limits for mail, in `config.mail`;
//! [`ChallengeConfig`](crate::config::ChallengeConfig) for codes;
//! [`AttemptConfig`](crate::config::AttemptConfig), with the differences for
//! [`MailLoginRequest`](crate::config::AttemptKind::MailLoginRequest) and
//! [`MailLogin`](crate::config::AttemptKind::MailLogin) in its `kinds`. A window of `MailLogin`
//! that is shorter than `login_lifetime` is refused.
//!
//! # Events
//! `authn_mail_login_request`; then those of every [sign-in](crate::login); `authn_login_fail` with the
//! reason `wrong_code`; `authn_login_lock` with the detail `mail_login_request` or `mail_login`;
//! `user_verified` with the detail `handed over` if everything was deleted; `user_created` for a new
//! account.
//!
//! # Errors
//! `wrong_code` (403), `link_used` (409), `too_many_attempts` (429): for codes, and for requests
//! only with `attempts.reveal_lockout`; `rate_limited` (429), `session_limit` (409),
//! `bearer_not_enabled` (400). If the request has credentials that cannot be replaced:
//! `multiple_credentials` (400), `session_ended` (401).
//!
//! # Standard
//! OWASP ASVS 5.0 6.5 and 6.6 (codes by another way: random, used once, at most ten minutes, bound
//! to the request that asked for them). NIST SP 800-63B-4 3.1.3.1 does not accept mail as proof of
//! a device, so a sign-in by mail reaches no assurance level by itself.

use std::pin::Pin;

use data_encoding::HEXLOWER;
use http::HeaderMap;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::account::entity::account::Model;
use crate::account::entity::login_name;
use crate::account::{Account, Email, LoginId, store as account_store, trim_login_id};
use crate::attempt::{Admission, Ticket};
use crate::base::client::ClientInfo;
use crate::base::clock::Stopwatch;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{Factor, PassedFactors};
use crate::base::id::AccountId;
use crate::base::transaction::{Txn, transaction};
use crate::config::AttemptKind;
use crate::flow::hand_over::{HandOver, claiming};
use crate::flow::sign_in::{self, Demands, Locked, LoginOutcome, Made, NewSession};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::one_time::{self, Challenge};
use crate::outstanding::Kind;
use crate::session::device::Devices;
use crate::session::{SessionError, Transport};

mod browser;
mod create;
mod destination;
mod error;
mod request;
#[cfg(feature = "routes")]
mod routes;

pub use browser::AskingBrowser;
pub use error::MailLoginError;
#[cfg(feature = "routes")]
pub use routes::routes;

use browser::Browser;
use destination::{Binding, Destination};
use request::Request;

/// The link or the code, and the settings of the new session.
#[derive(Clone)]
#[must_use]
pub struct Confirmation {
    by: By,
    remember: bool,
    transport: Transport,
}

#[derive(Clone)]
enum By {
    Token(Zeroizing<String>),
    Code(Zeroizing<String>),
}

impl Confirmation {
    /// Uses the token of the link.
    pub fn token(token: impl Into<String>) -> Self {
        Self::by(By::Token(Zeroizing::new(token.into())))
    }

    /// Uses the code, as it was typed.
    pub fn code(code: impl Into<String>) -> Self {
        Self::by(By::Code(Zeroizing::new(code.into())))
    }

    fn by(by: By) -> Self {
        Self { by, remember: true, transport: Transport::Cookie }
    }

    /// Sets whether the session is remembered after the browser closes. The default is `true`.
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets how the token of the session is sent. The default is the cookie.
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

/// The result of a correct link or code.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "the client is signed in when it gets this"]
pub enum Confirmed {
    /// The sign-in is complete, or needs another step.
    SignedIn(Box<LoginOutcome>),
    /// Another browser asked for the mail. The person must type this code there. The link and the
    /// code stay valid.
    OtherBrowser(CodeToType),
}

/// A code to be typed in the browser that asked for it.
#[derive(Clone)]
pub struct CodeToType(Zeroizing<String>);

impl CodeToType {
    /// Returns the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for CodeToType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CodeToType(..)")
    }
}

/// Signs in by mail. See the [module page](self).
#[derive(Debug, Clone)]
pub struct MailLogin<'a> {
    auth: &'a Portcullis,
    browser: Option<Browser>,
    before: Option<Resolved>,
}

impl Portcullis {
    /// Returns the flow that signs in by mail.
    pub fn mail_login(&self) -> MailLogin<'_> {
        MailLogin { auth: self, browser: None, before: None }
    }
}

/// A boxed part of the flow, so that its callers have smaller types.
type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T, MailLoginError>> + Send + 'f>>;

/// A correct link or code.
struct Right {
    challenge: Challenge,
    holder: Holder,
    ticket: Ticket,
}

/// Who has the address that got the mail.
enum Holder {
    Account(Box<Model>, Destination),
    /// No account, so one is created.
    Nobody(Email),
}

impl Holder {
    fn account_id(&self) -> Option<AccountId> {
        match self {
            Self::Account(row, _) => Some(row.id),
            Self::Nobody(_) => None,
        }
    }
}

impl MailLogin<'_> {
    /// Sets the session that the sign-in replaces: the one of the request. A visitor's session
    /// continues as a session of the account; any other session ends. The mounted route does this.
    /// In your own handler, pass the extensions of its request.
    ///
    /// # Errors
    /// The layer is missing, another site sent the request, or there is an outage.
    pub async fn replacing(mut self, extensions: &http::Extensions) -> Result<Self, AuthError> {
        self.before = Some(RequestIdentity::of(extensions)?.replaced().await?.clone());
        Ok(self)
    }

    /// Identifies the browser by the cookie of its request. A request without a valid cookie counts
    /// as a browser that has not asked.
    pub fn with_cookie(mut self, headers: &HeaderMap) -> Self {
        self.browser = Browser::shown(self.auth.context(), headers);
        self
    }

    /// Identifies the browser by its [token](AskingBrowser::token), for a client that stores the
    /// token itself.
    pub fn in_browser(mut self, token: &str) -> Self {
        self.browser = Browser::verify(self.auth.context(), token.as_bytes());
        self
    }

    /// Sends a mail to the address of the account that signs in with this name, if there is one.
    /// Success does not tell whether there is an account, or whether mail was sent.
    ///
    /// # Errors
    /// [`MailLoginError::TooManyAttempts`], only if limits are revealed;
    /// [`MailLoginError::RateLimited`], in the same way for every name; an outage.
    pub async fn ask(
        &self,
        login: &str,
        client: &ClientInfo,
    ) -> Result<AskingBrowser, MailLoginError> {
        let started = Stopwatch::start();
        let sent: Boxed<'_, AskingBrowser> = Box::pin(self.send(login, client));
        let asking = sent.await?;
        started.alike().await;
        Ok(asking)
    }

    async fn send(
        &self,
        login: &str,
        client: &ClientInfo,
    ) -> Result<AskingBrowser, MailLoginError> {
        self.auth.count_message(client).await?;
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let id = LoginId::parse(login).ok();
        let signs_in = id.as_ref().filter(|id| id.kind().signs_in(context.config.login.id));
        // No account has the empty name. It is looked up so that the work stays the same.
        let asked = signs_in.map_or("", LoginId::normal);
        let name = match &id {
            Some(id) => id.normal().to_owned(),
            None => trim_login_id(login).to_lowercase(),
        };
        // The device is read before it is known whether the name has an account, so this work is
        // always done.
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(context, client);
        let row = db.read(account_store::find_by_name(&executor, asked)).await?;
        let now = context.now();
        // The address of an account without a claim to it is free for a new account.
        let creates = self.creates_accounts();
        let row = row.filter(|row| !creates || !Account::from(row.clone()).has_no_claim(now));
        let new = Email::parse(login).ok().filter(|_| creates && row.is_none());
        let owner = or_nobody(row.as_ref().map(|row| row.id));
        let names = db.read(account_store::names_of(&executor, owner)).await?;
        let attempts = self.auth.attempts();
        let device = devices.look_up(&shown, row.as_ref().map(|row| (row.id, row.epoch))).known();
        let subject = attempts.subject(row.as_ref(), &name).on_device(self.auth, device);
        let browser = Browser::asks(self.browser.as_ref(), attempts.digest_of_typed(&name));
        let asking = AskingBrowser::new(context, &browser, now);
        let kind = AttemptKind::MailLoginRequest;
        let ticket = match attempts.take(kind, &subject, client).await? {
            Admission::Admitted(ticket) => ticket,
            Admission::TooMany { retry_after } => {
                return Err(MailLoginError::TooManyAttempts { retry_after });
            }
        };
        if ticket.is_source_full() {
            // Nothing is written, so that a source cannot fill a table. The answer takes as long as
            // any other.
            return Ok(asking);
        }
        let found = row.as_ref().filter(|row| {
            // A mail proves an address, so an account whose address is not proved yet gets one too.
            Account::from((*row).clone()).is_usable(now, false)
        });
        let found = found.and_then(|row| Some((row, Destination::choose(row, &names, asked)?)));
        let mut event = Event::new(EventKind::MailLoginRequested, now).from_client(client);
        if let Some((row, _)) = &found {
            event = event.account(row.id);
        }
        // A refused request does the same work as a request for an unknown name.
        let counts = ticket.counts();
        let found = found.filter(|_| counts);
        let new = new.filter(|_| counts);
        let request = Request {
            context,
            asked,
            found,
            new,
            target: Some(browser.target()).filter(|_| counts),
            on_known_device: device.is_some(),
            event,
        };
        let written =
            transaction!(db, |txn| { Ok::<_, MailLoginError>(request.write(txn, &ticket).await?) });
        attempts.end_failed(ticket, written)?;
        Ok(asking)
    }

    /// Signs in with a link or a code. In a browser that did not ask, a link returns the code
    /// instead.
    ///
    /// # Errors
    /// [`MailLoginError::WrongCode`], also for an account that can no longer be used;
    /// [`MailLoginError::UsedJustNow`]; [`MailLoginError::TooManyAttempts`]; the limit of sessions;
    /// a hook's refusal; an outage. After an error nothing is changed, except that an attempt may
    /// be used up.
    pub async fn confirm(
        &self,
        confirmation: Confirmation,
        client: &ClientInfo,
    ) -> Result<Confirmed, MailLoginError> {
        let started = Stopwatch::start();
        // Boxed, so that the handlers that call this have smaller types.
        let judged: Boxed<'_, Confirmed> = Box::pin(self.judge(&confirmation, client));
        let confirmed = judged.await;
        if let Err(MailLoginError::WrongCode) = confirmed {
            // The time must not show whether the name has an account.
            started.alike().await;
        }
        confirmed
    }

    async fn judge(
        &self,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<Confirmed, MailLoginError> {
        let context = self.auth.context();
        let attempts = self.auth.attempts();
        let right = self.find(&confirmation.by, client).await?;
        if !self.asked_for(&right.challenge) {
            // Looking at a valid link is not an attempt.
            attempts.withdraw(right.ticket).await;
            let code = match &confirmation.by {
                By::Token(token) => right.challenge.code_of(context, token),
                By::Code(_) => None,
            };
            let code = code.ok_or(MailLoginError::WrongCode)?;
            return Ok(Confirmed::OtherBrowser(CodeToType(code)));
        }
        let made = match &right.holder {
            Holder::Account(row, to) if to.is_proved => {
                self.sign_in(&right, row, confirmation, client).await
            }
            Holder::Account(row, to) => self.hand_over(&right, row, to, confirmation, client).await,
            Holder::Nobody(email) => self.create(&right, email, confirmation, client).await,
        };
        if let (Err(MailLoginError::Refused(_)), Some(account)) = (&made, right.holder.account_id())
        {
            sign_in::record_refusal(self.auth, account, client, context.now()).await?;
        }
        // The proof was right. If something else failed, the attempt does not count.
        match attempts.end(right.ticket, made).await {
            Ok(made) => Ok(Confirmed::SignedIn(Box::new(made.committed(self.auth).await))),
            // Another request used it first, perhaps after a double click.
            Err(MailLoginError::WrongCode) => {
                let found = self.look_up(&confirmation.by).await?;
                Err(match self.has_used(found.as_ref(), &confirmation.by) {
                    true => MailLoginError::UsedJustNow,
                    false => MailLoginError::WrongCode,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the mail of a link or code, and the account. Both must be valid, and the values to
    /// which the mail is bound must be unchanged. After an error the attempt is already finished.
    ///
    /// A stranger can send a code for any name. So the statements are the same for every name.
    async fn find(&self, by: &By, client: &ClientInfo) -> Result<Right, MailLoginError> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let challenge = self.look_up(by).await?;
        if self.has_used(challenge.as_ref(), by) {
            return Err(MailLoginError::UsedJustNow);
        }
        let id = or_nobody(challenge.as_ref().and_then(Challenge::account_id));
        let row = db.read(account_store::find(&executor, id)).await?;
        let names = db.read(account_store::names_of(&executor, id)).await?;
        let ticket = self.attempt(by, row.as_ref(), client).await?;
        let is_right = match (by, &challenge) {
            (By::Token(_), found) => found.is_some(),
            (By::Code(code), Some(found)) => found.is_code(context, code),
            (By::Code(_), None) => false,
        };
        // If the attempt was refused, the result is discarded. This is checked after the
        // comparison, so a refused attempt does the same work.
        let is_right = is_right & ticket.counts();
        let owner = row.as_ref().map(|row| row.id);
        let found = challenge.filter(|challenge| is_right && challenge.is_open(now));
        let found = found.and_then(|challenge| {
            let holder = self.holder(&challenge, row, &names)?;
            Some((challenge, holder))
        });
        let Some((challenge, holder)) = found else {
            // Another request may have used it since it was read, and changed the account by that.
            if is_right && self.has_used(self.look_up(by).await?.as_ref(), by) {
                self.auth.attempts().withdraw(ticket).await;
                return Err(MailLoginError::UsedJustNow);
            }
            let event = Event::new(EventKind::LoginFailed, now).from_client(client);
            let event = owner.map_or(event.clone(), |id| event.account(id)).failed("wrong_code");
            self.auth.attempts().fail(ticket, &event).await?;
            return Err(MailLoginError::WrongCode);
        };
        Ok(Right { challenge, holder, ticket })
    }

    /// Returns who has the address that got the mail, if nothing has changed to which it is bound.
    fn holder(
        &self,
        challenge: &Challenge,
        row: Option<Model>,
        names: &[login_name::Model],
    ) -> Option<Holder> {
        let context = self.auth.context();
        let bound = |binding: &Binding| challenge.is_bound_to(context, &binding.parts());
        // A row without data belongs to a mail that nobody got.
        let data = challenge.data()?;
        let Some(row) = row else {
            let is_new = challenge.account_id().is_none() && self.creates_accounts();
            let email = Email::parse(data).ok().filter(|_| is_new)?;
            return bound(&Binding::of_nobody()).then_some(Holder::Nobody(email));
        };
        let to = Destination::again(&row, names, data)?;
        let is_good = Account::from(row.clone()).is_usable(context.now(), false)
            && bound(&Binding::of(&row, &to.normal));
        is_good.then(|| Holder::Account(Box::new(row), to))
    }

    /// Returns the mail of a link, or the newest mail of this browser and the name that it asked
    /// for.
    async fn look_up(&self, by: &By) -> Result<Option<Challenge>, MailLoginError> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let kind = Kind::MailLogin;
        Ok(match by {
            By::Token(token) => {
                db.read(one_time::find_by_token(&executor, context, &kind, token)).await?
            }
            By::Code(_) => {
                let browser = self.browser.as_ref().ok_or(MailLoginError::WrongCode)?;
                let target = browser.target();
                db.read(one_time::newest(&executor, context, &kind, None, &target)).await?
            }
        })
    }

    /// Takes an attempt before anything is compared.
    async fn attempt(
        &self,
        by: &By,
        row: Option<&Model>,
        client: &ClientInfo,
    ) -> Result<Ticket, MailLoginError> {
        let attempts = self.auth.attempts();
        let (kind, subject) = match (by, &self.browser) {
            (By::Token(token), _) => (AttemptKind::MailLoginLink, attempts.subject_of_token(token)),
            (By::Code(_), Some(browser)) => {
                // The visible count belongs to the name that was typed. The count of the account is
                // never shown.
                let typed = browser.typed();
                let subject = match row {
                    Some(row) => attempts.subject_of(row.id),
                    None => attempts.subject_of_token(&HEXLOWER.encode(&typed)),
                };
                (AttemptKind::MailLogin, subject.typed_as(typed))
            }
            (By::Code(_), None) => return Err(MailLoginError::WrongCode),
        };
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(self.auth.context(), client);
        let device = devices.look_up(&shown, row.map(|row| (row.id, row.epoch))).known();
        let subject = subject.on_device(self.auth, device);
        match attempts.take(kind, &subject, client).await? {
            Admission::Admitted(ticket) => Ok(ticket),
            Admission::TooMany { retry_after } => {
                Err(MailLoginError::TooManyAttempts { retry_after })
            }
        }
    }

    /// Returns true if the browser of the request asked for this mail.
    fn asked_for(&self, challenge: &Challenge) -> bool {
        self.browser.as_ref().is_some_and(|browser| browser.asked_for(challenge.target()))
    }

    /// Returns true if this browser has signed in with this link or code within the last minute.
    /// This takes no attempt, because a guess at a used code reveals nothing useful.
    fn has_used(&self, challenge: Option<&Challenge>, by: &By) -> bool {
        let context = self.auth.context();
        challenge.is_some_and(|challenge| {
            challenge.was_used_just_now(context.now())
                && self.asked_for(challenge)
                && match by {
                    By::Token(_) => true,
                    By::Code(code) => challenge.is_code(context, code),
                }
        })
    }

    /// The new session. `account` may continue the old session of the same account. It is `None`
    /// after a hand-over.
    fn session<'s>(
        &'s self,
        row: &'s Model,
        account: Option<AccountId>,
        demands: Demands,
        is_main: bool,
        confirmation: &Confirmation,
        client: &'s ClientInfo,
    ) -> NewSession<'s> {
        let (before, now) = (self.before.as_ref(), self.auth.context().now());
        // A further address may be a thief's, who added it with the password alone. A mail there must not
        // count as a recent proof of the mailbox, with which a first second factor can be set up.
        let at = match is_main {
            true => now,
            false => now.minus(self.auth.context().config.session.recent_factor),
        };
        let proved = PassedFactors::one(Factor::MailedCode, at);
        NewSession::new(self.auth, row, proved, demands, client, now)
            .remember(confirmation.remember)
            .transport(confirmation.transport)
            .replacing(before.and_then(|before| sign_in::replaces(before, account)))
    }

    async fn sign_in(
        &self,
        right: &Right,
        row: &Model,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<Made, MailLoginError> {
        let context = self.auth.context();
        let demands = Demands::read(self.auth, row, context.now()).await?;
        let is_main = matches!(&right.holder, Holder::Account(_, to) if to.is_main(row));
        let session = self.session(row, Some(row.id), demands, is_main, confirmation, client);
        transaction!(context.db(), |txn| {
            let locked = match session.lock(txn).await {
                // The account has changed since it was read.
                Err(SessionError::Ended) => return Err(MailLoginError::WrongCode),
                locked => locked?,
            };
            self.spend(txn, right).await?;
            Ok::<_, MailLoginError>(session.clone().make(txn, locked).await?)
        })
    }

    /// Hands an account with an unproved address over to the owner of the mailbox.
    async fn hand_over(
        &self,
        right: &Right,
        row: &Model,
        to: &Destination,
        confirmation: &Confirmation,
        client: &ClientInfo,
    ) -> Result<Made, MailLoginError> {
        let context = self.auth.context();
        let now = context.now();
        // By then, everything that the creator of the account has set is deleted.
        let demands = Demands::of_handed_over();
        let session = self.session(row, None, demands, true, confirmation, client);
        let taking =
            HandOver { auth: self.auth, row, normal: &to.normal, client, now, new_password: true };
        let made = claiming(row, || {
            let (taking, session) = (&taking, &session);
            async move {
                transaction!(context.db(), |txn| {
                    self.spend(txn, right).await?;
                    let epoch = taking.run::<MailLoginError>(txn).await?;
                    // The new session must have the new epoch, or it would be invalid at once.
                    let epoch = epoch.ok_or(MailLoginError::WrongCode)?;
                    let session = session.clone().at_epoch(epoch);
                    Ok(session.make(txn, Locked::by_the_flow()).await?)
                })
            }
        });
        made.await
    }

    /// Uses up the link and the code. Of several simultaneous requests, only one continues.
    async fn spend(&self, txn: &Txn<'_>, right: &Right) -> Result<(), MailLoginError> {
        if !right.challenge.spend(txn, self.auth.context().now()).await? {
            return Err(MailLoginError::WrongCode);
        }
        right.ticket.succeeded(txn).await?;
        if let Some(account) = right.holder.account_id() {
            // Its owner reads the mail, so their requests do not count any more.
            let kinds = [AttemptKind::MailLoginRequest];
            self.auth.attempts().close(txn, account, &kinds).await?;
        }
        Ok(())
    }
}

/// Returns the id of the account, or an id that no account has. So the same statements always run.
fn or_nobody(account: Option<AccountId>) -> AccountId {
    account.unwrap_or_else(|| Uuid::nil().into())
}
