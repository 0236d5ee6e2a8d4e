//! Forgotten passwords: a link in a mail sets a new one.
//!
//! 1. Someone types the name that they sign in with. The answer and the work are always the same.
//!    So nobody can tell whether there is such an account, whether it can be used, or whether mail
//!    was sent just before. The answer takes at least 25 ms. This hides the last microseconds of
//!    difference when the work takes less time, for example with a database nearby.
//! 2. The account's address gets a link with a token of 256 random bits. If a
//!    [further](crate::login_name) address was typed and is proved, that address gets the link. The
//!    database keeps only a keyed digest of the token. A link works once and for an hour. A newer
//!    link replaces it. It also becomes invalid when the address, the password, the last sign-in or
//!    the factors of the account change. The same happens when the account is disabled, or when the
//!    further address is removed. It stays valid when sessions end. Otherwise a thief with one
//!    session could end the others all the time, and so stop the owner from ever resetting the
//!    password.
//! 3. The link opens a page of your application. Opening it changes nothing. The page may
//!    [`check`](PasswordReset::check) the token, which does not use it up.
//! 4. The page sends the token and a new password. One transaction uses up the token, sets the
//!    password and ends every session of the account. It also ends all outstanding codes and links,
//!    except those that undo a change of an address. The account comes from the token. The owner
//!    gets a message. Locks of sign-ins and of requests for links are removed. The device that did
//!    the reset becomes a [known device](crate::attempt#known-devices), unless it asks not to be
//!    remembered.
//!
//! A person who receives mail at an address is its owner. So a reset marks it as verified. What
//! else happens depends on whether the address was verified before:
//!
//! - If it was not verified, someone else may have made the account to wait for the owner of the
//!   address. So the reset also removes enrolled factors, other addresses and numbers, and the
//!   former addresses with their links. Each removed factor causes a message and the event
//!   `user_updated`, `factors removed`.
//! - If it was verified, second factors stay, because a reset proves a mailbox and not a person.
//!   [Nobody can enrol one](crate::account::Accounts::set_enrolled_factors) before the address is
//!   proved.
//!
//! # Too many requests, and guessing
//!
//! Each request for a link is an [attempt](crate::attempt) that counts as failed until a reset
//! succeeds. That reset closes the account's window of requests. Too many requests are delayed and
//! then refused for a while. This also applies to names without an account. The answer is the same
//! after the same time, but nothing is sent.
//!
//! Two limits apply to a mailbox, and the lower one decides: attempts from unknown devices (15 in
//! ten minutes, then none for an hour), and mails (`mail.per_hour`). Strangers who use up a limit
//! do not lock out the owner. Their requests sent links to the owner's mailbox, and the last link
//! stays valid for an hour. A request that is delayed or refused does not replace a link. A browser
//! that the owner has signed in from has its own count of attempts.
//!
//! Each check of a token and each reset is an attempt at the token. Only a check of a valid token
//! does not count. A wrong, used or invalid token is a failure of the account that it names, or
//! else of the token itself. Such failures never lock an account, because nobody can guess 256
//! random bits. A lock would let anyone who found an old link in a log stop the owner from using a
//! new one. Instead, guessing is limited per source. A source with too many failures is refused for
//! ten minutes, except on a browser that is known to the token's account. A lock of sign-ins does
//! not stop requests or resets, because the mail is the way to end that lock.
//!
//! # A form that is sent twice
//!
//! After a double click, the second request would say that the link is invalid, and the user would
//! think that no password was set. So for one minute the browser that used a link is told that it
//! did (`reset_token_used`). This does not count as a failure. The row keeps a keyed digest of the
//! address and the `User-Agent` that used the link. A cookie would identify the browser better. But
//! the second request may be sent before the answer that sets the cookie has arrived.
//!
//! Another person who found the used link learns nothing from it, except behind the same address
//! with the same program. Then they learn that it was used within the last minute. They could also
//! find that out by watching that address. The link never gives access again.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(auth: portcullis::Portcullis, token: String) -> Result<(), portcullis::Rejection> {
//! use portcullis::ClientInfo;
//!
//! let client = ClientInfo::default();
//! auth.password_reset().forgot("alice@example.com", &client).await?;
//! // … from the page that the link leads to:
//! let known = auth.password_reset().reset(&token, "correct horse battery staple", &client).await?;
//! // Add `known` to the answer: `(known, StatusCode::NO_CONTENT)`.
//! # let _ = known;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - It does not sign in. The next step is an ordinary sign-in with its second factor.
//! - It sends no text messages. A phone number belongs to its provider, who can give it to another
//!   person.
//!
//! # Routes
//! `POST /password/forgot` (`login`; always 202), `POST /password/reset/check` (`token`; 204),
//! `POST /password/reset` (`token`, `password`, and as at a sign-in `remember` and `transport`;
//! 204, or for a bearer 200 with its `device_token`). They are part of
//! [`auth.routes()`](crate::Portcullis::routes) if there is a notifier.
//!
//! # Configuration
//! [`password_reset_lifetime`](crate::config::MailConfig::password_reset_lifetime),
//! [`links`](crate::config::MailConfig::links) and the limits for mail, in `config.mail`;
//! [`AttemptConfig`](crate::config::AttemptConfig), with the differences for
//! [`Forgot`](crate::config::AttemptKind::Forgot) in its `kinds`.
//!
//! # Events
//! `authn_password_reset_request`, `authn_password_reset`, `authn_password_reset_fail`;
//! `authn_login_lock` with the detail `forgot`. The event of a refused attempt says
//! `too_many_attempts`.
//!
//! # Errors
//! `invalid_reset_token` (400), `reset_token_used` (409), `invalid_fields` (422);
//! `too_many_attempts` (429), only with `attempts.reveal_lockout`. With a [captcha](crate::captcha) also
//! `captcha_required`, `wrong_captcha` (403) and `captcha_unavailable` (503).
//!
//! # Standard
//! OWASP Forgot Password Cheat Sheet, ASVS 5.0 6.4, NIST SP 800-63B-4 4.2.

use std::time::Duration;

use crate::account::enrolled::remove_factors;
use crate::account::enrolled::store::forget_passkeys_by_browser;
use crate::account::entity::account::Model;
use crate::account::{Account, LoginId, StoredPassword, store as account_store, trim_login_id};
use crate::api_key;
use crate::attempt::{Admission, Ticket};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::{Stopwatch, Timestamp};
use crate::base::event::{Event, EventKind};
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault, transaction};
use crate::captcha::{CaptchaError, CaptchaResponse, Guarded};
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::hook::{ChangingPassword, HookList, NamesBefore, NamesCause, NamesChange, from_hooked};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Challenge};
use crate::outbox::{self, Outgoing};
use crate::outstanding::Kind;
use crate::password::{Names, Password, Passwords};
use crate::rate_limit::RateLimited;
use crate::session::device::Devices;
use crate::session::{KnownDevice, store as session_store};

mod link;
#[cfg(feature = "routes")]
mod routes;

#[cfg(feature = "routes")]
pub use routes::routes;

use link::{Asked, Binding, Request};

/// The reason why a password was not set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordResetError {
    /// The token is unknown, used or expired, or the account has changed since. The answer does not
    /// say which.
    #[error("the link is no longer valid; request a new one")]
    InvalidToken,
    /// This browser has set a password with this link within the last minute, because the form was
    /// sent twice. The second password was not set.
    #[error("the password was set with this link a moment ago; sign in with it")]
    UsedJustNow,
    /// The new password cannot be used. The token is still valid.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// Too many attempts failed, for this account or from this source. This is told only if the
    /// configuration says so. Otherwise a request is accepted without effect, and a token is
    /// invalid.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// A captcha is needed, or its answer is wrong.
    #[error(transparent)]
    Captcha(#[from] CaptchaError),
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// A hook of the application refused. The token is still valid.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed. The token is still valid.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(PasswordResetError);
from_hooked!(PasswordResetError);

problem! {
    PasswordResetError {
        Self::InvalidToken => BAD_REQUEST, "invalid_reset_token";
        Self::UsedJustNow => CONFLICT, "reset_token_used";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
    }
    passes on { Captcha, RateLimited, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
    }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}

/// Resets forgotten passwords. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct PasswordReset<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flow for forgotten passwords.
    pub fn password_reset(&self) -> PasswordReset<'_> {
        PasswordReset { auth: self }
    }
}

impl PasswordReset<'_> {
    /// Sends a link to the address of the account that signs in with this name (a username or an
    /// address), if there is one. Success does not tell whether there is an account, or whether
    /// mail was sent.
    ///
    /// # Errors
    /// [`PasswordResetError::Captcha`], if the builder has a [captcha](crate::captcha);
    /// [`PasswordResetError::TooManyAttempts`], only if limits are revealed;
    /// [`PasswordResetError::RateLimited`], for any name alike; an outage.
    pub async fn forgot(&self, login: &str, client: &ClientInfo) -> Result<(), PasswordResetError> {
        self.forgot_with_captcha(login, None, client).await
    }

    /// The same with the answer to a [captcha](crate::captcha) for the action `forgot`.
    ///
    /// # Errors
    /// As [`forgot`](Self::forgot).
    pub async fn forgot_with_captcha(
        &self,
        login: &str,
        captcha: Option<&CaptchaResponse>,
        client: &ClientInfo,
    ) -> Result<(), PasswordResetError> {
        let started = Stopwatch::start();
        self.ask(login, captcha, client).await?;
        started.alike().await;
        Ok(())
    }

    async fn ask(
        &self,
        login: &str,
        captcha: Option<&CaptchaResponse>,
        client: &ClientInfo,
    ) -> Result<(), PasswordResetError> {
        let context = self.auth.context();
        let db = context.db();
        let id = LoginId::parse(login).ok();
        // No account has the empty name. Looking it up keeps the work the same.
        let asked = id.as_ref().map_or("", LoginId::normal);
        let name = id.as_ref().map_or_else(|| trim_login_id(login), LoginId::normal);
        // The device is read before it is known whether the name has an account, so this work is
        // always done.
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(context, client);
        let found = db.read(account_store::find_with_name(&db.executor(), asked)).await?;
        let row = found.as_ref().map(|(_, row)| row);
        let attempts = self.auth.attempts();
        let device = devices.look_up(&shown, row.map(|row| (row.id, row.epoch))).known();
        let captchas = self.auth.captchas();
        let guard = match device {
            Some(_) => None,
            None => captchas.guard(Guarded::Forgot, &[name], client),
        };
        if let Some(guard) = guard {
            // Each request counts, because nobody has proved anything yet.
            guard.admit(captcha).await?;
        }
        // After the captcha: a request without one sends nothing, so it must not use up what the others
        // of this source may send.
        self.auth.count_message(client).await?;
        let subject = attempts.subject(row, name).on_device(self.auth, device);
        let ticket = match attempts.take(AttemptKind::Forgot, &subject, client).await? {
            Admission::Admitted(ticket) => ticket,
            Admission::TooMany { retry_after } => {
                return Err(PasswordResetError::TooManyAttempts { retry_after });
            }
        };
        if ticket.is_source_full() {
            // The answer takes as long as any other. Nothing is written, so a source cannot fill a
            // table.
            return Ok(());
        }
        let now = context.now();
        let found = found.and_then(|(name, row)| {
            let usable = Account::from(row.clone()).is_usable(now, false);
            Asked::of(&name, row).filter(|_| usable)
        });
        // A refused request does the same work as one for a name without an account. Otherwise the
        // time would tell them apart.
        let owner = found.as_ref().map(|found| found.row.id);
        let found = found.filter(|_| ticket.counts());
        let mut event = Event::new(EventKind::PasswordResetRequested, now).from_client(client);
        if let Some(id) = owner {
            event = event.account(id);
        }
        let request = Request {
            context,
            asked,
            found: found.as_ref(),
            on_known_device: device.is_some(),
            event,
        };
        let written = transaction!(db, |txn| {
            Ok::<_, PasswordResetError>(request.write(txn, &ticket).await?)
        });
        attempts.end_failed(ticket, written)
    }

    /// Checks that a token is valid, without using it up. The page that asks for the new password
    /// needs this. A wrong token counts as at a reset.
    ///
    /// # Errors
    /// [`PasswordResetError::InvalidToken`]; [`PasswordResetError::UsedJustNow`];
    /// [`PasswordResetError::TooManyAttempts`], only if limits are revealed; an outage.
    pub async fn check(&self, token: &str, client: &ClientInfo) -> Result<(), PasswordResetError> {
        let (ticket, ..) = self.look(token, client).await?;
        // Looking at a valid link is not an attempt. The reset that follows is one.
        self.auth.attempts().withdraw(ticket).await;
        Ok(())
    }

    /// Sets a new password for the account of the token, and ends its sessions. It does not sign
    /// in, but the device becomes a known one. Add the returned value to the answer, unless the
    /// client asks not to be remembered.
    ///
    /// # Errors
    /// See [`PasswordResetError`]. After an error the password and the sessions are unchanged.
    pub async fn reset(
        &self,
        token: &str,
        new: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<KnownDevice, PasswordResetError> {
        let context = self.auth.context();
        let passwords = self.auth.per_instance::<Passwords>();
        let attempts = self.auth.attempts();
        let new = Password::from(new.into());
        let (ticket, challenge, row) = self.look(token, client).await?;
        let account = Account::from(row.clone());
        let hashed = match self.hash(&passwords, &new, &account, client).await {
            Ok(hashed) => hashed,
            Err(error) => {
                attempts.withdraw(ticket).await;
                return Err(error);
            }
        };
        let now = context.now();
        let event = Event::new(EventKind::PasswordReset, now).account(row.id).from_client(client);
        let notice =
            Outgoing::new(MessageKind::PasswordChanged, account.email().and_then(Recipient::email))
                .account(row.id)
                .values(Values::new().with_some("address", client.address()));
        let hooks = self.auth.per_instance::<HookList>();
        let change = ChangingPassword {
            auth: self.auth,
            account: &account,
            account_id: row.id,
            session_id: None,
            client,
            at: now,
        };
        let proving = NamesChange {
            auth: self.auth,
            cause: NamesCause::Proved,
            session_id: None,
            client,
            at: now,
        };
        let done = transaction!(context.db(), |txn| {
            // Before anything is read, so that what others have just added for the account is seen.
            session_store::lock_account(txn, row.id).await?;
            // One conditional UPDATE uses up the token, so of simultaneous requests only one
            // succeeds.
            if !challenge.spend_from(txn, context, client, now).await? {
                return Err(PasswordResetError::InvalidToken);
            }
            hooks.before_password_change(change, txn).await?;
            let names = NamesBefore::read(self.auth, txn, row.id).await?;
            let further = challenge.data().is_some();
            if !account_store::reset_password(txn, &row, hashed.clone(), further, now).await? {
                return Err(PasswordResetError::InvalidToken);
            }
            let epoch = account_store::epoch_of(txn, row.id).await?;
            let epoch = epoch.ok_or(PasswordResetError::InvalidToken)?;
            account_store::settle_names(txn, &row, now).await?;
            names.changed(txn, proving).await?;
            if row.verified_at.is_none() {
                remove_factors(txn, context, &row).await?;
                api_key::end_all(txn, row.id, "handed over", now).await?;
            }
            forget_passkeys_by_browser(txn, row.id).await?;
            // Everything that was sent before is now invalid: other links, and changes of an
            // address.
            one_time::end_of_account(txn, row.id, None, now).await?;
            ticket.succeeded(txn).await?;
            // Strangers may have caused the locks. They must not lock out an owner who can read the
            // account's mail.
            attempts.close(txn, row.id, &[AttemptKind::Login, AttemptKind::Forgot]).await?;
            audit_log::record(txn, &event).await?;
            outbox::put(txn, context, &notice).await?;
            hooks.after_password_change(change, txn).await?;
            Ok(epoch)
        });
        if let Err(PasswordResetError::InvalidToken) = done {
            // Another request used the token first. It may come from the same person after a double
            // click.
            if self.was_used_by(token, client).await? {
                attempts.withdraw(ticket).await;
                return Err(PasswordResetError::UsedJustNow);
            }
            // The token was used by another browser, or the account has changed since it was read.
            let event = failed(Some(&row), client, now);
            attempts.fail(ticket, &event).await?;
            return Err(PasswordResetError::InvalidToken);
        }
        let epoch = attempts.end(ticket, done).await?;
        // Someone who reads the account's mail is its owner. So the device becomes known, under
        // the epoch that the reset began.
        let devices = self.auth.per_instance::<Devices>();
        if row.enrolled_factors != 0 && row.verified_at.is_some() {
            // The second factors stay, and the mailbox proves none of them. A known device would have
            // its own count of guesses at them, and a thief of the mailbox one for each reset.
            return Ok(devices.unchanged());
        }
        Ok(devices.remember(context, client, row.id, epoch))
    }

    /// Returns true if this browser has set a password with this token within the last minute.
    async fn was_used_by(
        &self,
        token: &str,
        client: &ClientInfo,
    ) -> Result<bool, PasswordResetError> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let found = one_time::find_by_token(&executor, context, &Kind::PasswordReset, token);
        let found = db.read(found).await?;
        let now = context.now();
        Ok(found.is_some_and(|found| found.was_used_by(context, client, now)))
    }

    /// Hashes a new password, if it is accepted.
    async fn hash(
        &self,
        passwords: &Passwords,
        new: &Password,
        account: &Account,
        client: &ClientInfo,
    ) -> Result<StoredPassword, PasswordResetError> {
        let db = self.auth.context().db();
        let further = db.read(account_store::names_of(&db.executor(), account.id())).await?;
        let names = Names::of(account).and(&further);
        let faults = passwords.faults("password", new, &names, client.address()).await?;
        if !faults.is_empty() {
            return Err(PasswordResetError::Invalid(faults));
        }
        Ok(passwords.hash(new, client.address()).await?)
    }

    /// Returns the challenge and the account of a token, and the attempt that this is. The token
    /// must be valid, and what it is bound to unchanged. In case of an error the attempt is already
    /// finished.
    async fn look(
        &self,
        token: &str,
        client: &ClientInfo,
    ) -> Result<(Ticket, Challenge, Model), PasswordResetError> {
        let context = self.auth.context();
        let db = context.db();
        let executor = db.executor();
        let now = context.now();
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(context, client);
        let found = one_time::find_by_token(&executor, context, &Kind::PasswordReset, token);
        let challenge = db.read(found).await?;
        let row = match challenge.as_ref().and_then(Challenge::account_id) {
            Some(id) => db.read(account_store::find(&executor, id)).await?,
            None => None,
        };
        let there =
            match challenge.as_ref().and_then(|found| Some((found.account_id()?, found.data()?))) {
                Some((id, further)) => {
                    let further = [further.to_owned()];
                    let names = db.read(account_store::taken(&executor, &further)).await?;
                    names.iter().any(|name| name.account_id == id && name.verified_at.is_some())
                }
                None => true,
            };
        let attempts = self.auth.attempts();
        let subject = match &row {
            Some(row) => attempts.subject_of(row.id),
            None => attempts.subject_of_token(token),
        };
        let device = devices.look_up(&shown, row.as_ref().map(|row| (row.id, row.epoch))).known();
        let subject = subject.on_device(self.auth, device);
        let ticket = match attempts.take(AttemptKind::Reset, &subject, client).await? {
            Admission::Admitted(ticket) => ticket,
            Admission::TooMany { retry_after } => {
                return Err(PasswordResetError::TooManyAttempts { retry_after });
            }
        };
        // If the attempt was refused, the result is discarded: even a valid token is then invalid.
        // This check comes last, so a refused attempt does the same work.
        let is_good = |challenge: &Challenge, row: &Model| {
            there
                && challenge.is_open(now)
                && Account::from(row.clone()).is_usable(now, false)
                && challenge.is_bound_to(context, &Binding::of(row, challenge.data()).parts())
                && ticket.counts()
        };
        match challenge.zip(row) {
            Some((challenge, row)) if is_good(&challenge, &row) => Ok((ticket, challenge, row)),
            // The token may have been used after it was read, and before the account's row was
            // read.
            Some((challenge, _))
                if challenge.was_used_by(context, client, now)
                    || challenge.is_open(now) && self.was_used_by(token, client).await? =>
            {
                attempts.withdraw(ticket).await;
                Err(PasswordResetError::UsedJustNow)
            }
            other => {
                let event = failed(other.as_ref().map(|(_, row)| row), client, now);
                attempts.fail(ticket, &event).await?;
                Err(PasswordResetError::InvalidToken)
            }
        }
    }
}

/// Returns the event for an invalid token.
fn failed(row: Option<&Model>, client: &ClientInfo, now: Timestamp) -> Event {
    let event = Event::new(EventKind::PasswordResetFailed, now)
        .from_client(client)
        .failed("invalid_reset_token");
    row.map_or(event.clone(), |row| event.account(row.id))
}
