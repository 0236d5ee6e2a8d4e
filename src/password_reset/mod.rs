//! Forgotten passwords: a link by mail sets a new one.
//!
//! 1. Someone types the name they sign in with. The answer is always the same, and so is the work:
//!    whether there is such an account, whether it can be used, and whether mail was sent just before
//!    cannot be told from outside. It comes after 25 ms at the soonest: where the work takes less, as
//!    with a database nearby, the last microseconds by which it differs do not show.
//! 2. The account's address gets a link with a token of 256 random bits, of which the database keeps
//!    a keyed digest; or a [further](crate::login_name) address does, if that was typed and is proved. It
//!    is good for an hour and once. A newer one takes its place. It dies when the address, the password
//!    or the last sign-in changes, when the account's factors change, when the account is disabled, and
//!    when the further address is removed. An end of sessions leaves it good: a thief with one session
//!    could otherwise keep the owner from every reset, by ending the others all the time.
//! 3. The link leads to a page of the application's. Opening it changes nothing; the page may
//!    [`check`](PasswordReset::check) the token, which does not spend it.
//! 4. With the token and a new password one transaction spends the token, sets the password and ends
//!    every session of the account. The owner is told. Whose password it is comes from the token.
//!    Locks of sign-ins and of asking for links are lifted. The device that did it is a
//!    [known one](crate::attempt#known-devices) from then on, unless it asks not to be remembered.
//!
//! Who receives mail at an address owns it. So a reset marks it as verified; and where it was not,
//! somebody else may have made the account in wait for its owner: enrolled factors go (each with a message
//! and the event `user_updated`, `factors removed`), other addresses and numbers, and all outstanding
//! codes and links, together with the password and the sessions. Where it was, second factors stay: a
//! reset proves a mailbox, not the person. [Nobody can enrol one](crate::account::Accounts::set_enrolled_factors)
//! before the address is proved.
//!
//! # Who asks too often, and who guesses
//!
//! Each request for a link is a [try](crate::attempt) that has failed until a reset succeeds, which
//! closes the account's window of requests. Too many are delayed and then refused for a while: the
//! answer is the same, after as long a time, and nothing is sent; also for names that are nobody's. Two
//! counts bound what a mailbox gets, and the narrower one decides: tries of everybody but known devices
//! (15 in ten minutes, then none for an hour), and mails (`mail.per_hour`). Strangers who use up either
//! do not keep the owner out: they made links leave for their mailbox, and the last of these stays good for
//! an hour, while a request that is held back or refused takes no link's place. A browser that they have
//! signed in from has its own count of tries.
//!
//! Whoever sends a token tries it, whether they look or reset. A wrong, used or dead one is a failure of
//! the account that it names, or else of itself. No lock of an account follows from that: 256 random bits
//! are not guessed, and whoever found an old link in a log could otherwise keep the owner from using a
//! fresh one. What bounds guessing is the limit per source: a source with too many failures is not
//! listened to for ten minutes, except on a browser that the token's account is known to sign in from. A
//! lock of sign-ins stops neither: the mail is the way out of it.
//!
//! # A form that is sent twice
//!
//! A second click would be told that the link is not good any more, and the person would think that no
//! password was set. So for one minute the browser that used a link is told that it did
//! (`reset_token_used`), and that is no failure of anybody. The row keeps a keyed digest of the address
//! and the `User-Agent` that the link was used from. A cookie would say "the same browser" more exactly,
//! but the first answer sets one that the second request, sent before it came, does not carry yet.
//!
//! Someone else who found the spent link learns nothing from it, unless they are behind the same address
//! with the same program. Then they learn that it was used within the last minute, which they could see
//! as well by waiting at that address. It opens nothing in either case.
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
//! - It signs nobody in: the next step is an ordinary login, with its second factor.
//! - It sends no text messages: a phone number is lent by its provider, and taken back.
//!
//! # Routes
//! `POST /password/forgot` (`login`; always 202), `POST /password/reset/check` (`token`; 204),
//! `POST /password/reset` (`token`, `password`, and as at a sign-in `remember` and `transport`; 204, or
//! for a bearer 200 with its `device_token`). They are part of
//! [`auth.routes()`](crate::Portcullis::routes) where there is a notifier.
//!
//! # Configuration
//! [`password_reset_lifetime`](crate::config::MailConfig::password_reset_lifetime),
//! [`links`](crate::config::MailConfig::links), and what limits mail, in `config.mail`;
//! [`AttemptConfig`](crate::config::AttemptConfig), and what differs for
//! [`Forgot`](crate::config::AttemptKind::Forgot) in its `kinds`.
//!
//! # Events
//! `authn_password_reset_request`, `authn_password_reset`, `authn_password_reset_fail`;
//! `authn_login_lock` with the detail `forgot`. A refused try says `too_many_attempts`.
//!
//! # Errors
//! `invalid_reset_token` (400), `reset_token_used` (409), `invalid_fields` (422); `too_many_attempts` (429), only with
//! `attempts.reveal_lockout`.
//!
//! # Standard
//! OWASP Forgot Password Cheat Sheet, ASVS 5.0 6.4, NIST SP 800-63B-4 4.2.

use std::time::Duration;

use crate::account::entity::account::Model;
use crate::account::entity::login_name;
use crate::account::{
    Account, LoginId, StoredPassword, remove_factors, store as account_store, trim_login_id,
};
use crate::attempt::{Admission, Ticket};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::{Stopwatch, Timestamp};
use crate::base::event::{Event, EventKind};
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem};
use crate::base::transaction::{Fault, may_fault, transaction};
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::hook::{ChangingPassword, HookList, NamesBefore, NamesCause, NamesChange, from_hooked};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time::{self, Answer, Challenge, Start};
use crate::outbox::{self, Counted, Outgoing};
use crate::outstanding::Kind;
use crate::password::{Names, Password, Passwords};
use crate::rate_limit::RateLimited;
use crate::session::KnownDevice;
use crate::session::device::Devices;

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;

/// Why a password was not set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordResetError {
    /// The token is unknown, used, too old, or about an account that has changed: which, is not
    /// said.
    #[error("the link is not good any more; ask for a new one")]
    InvalidToken,
    /// This browser has set a password with this link within the last minute: the form was sent twice.
    /// The second password was not set.
    #[error("the password was set with this link a moment ago; sign in with it")]
    UsedJustNow,
    /// The new password cannot be used. The token is still good.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
    /// Too many tries failed, here or from this source. Told only where the configuration says so:
    /// otherwise a request is accepted without effect, and a token is invalid.
    #[error("there were too many failed tries")]
    TooManyAttempts {
        /// When to try again at the earliest.
        retry_after: Duration,
    },
    /// This source asked too often. See [`rate_limit`](crate::rate_limit).
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// A hook of the application's refused. The token is still good.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed. The token is still good.
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
    passes on { RateLimited, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
    }
    members {
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}

/// Sets forgotten passwords anew. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct PasswordReset<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Forgotten passwords.
    pub fn password_reset(&self) -> PasswordReset<'_> {
        PasswordReset { auth: self }
    }
}

/// What a token is bound to: a change of any of it kills the token. Not to the account's epoch, which any
/// session can move; what else ends a link ends its row, see [`one_time::end_of_account`].
struct Binding([Vec<u8>; 4]);

impl Binding {
    /// With the further address that the link went to, if it was one.
    fn of(row: &Model, further: Option<&str>) -> Self {
        let last_login = row.last_login_at.map(|at| at.as_millis().to_be_bytes().to_vec());
        Self([
            row.email.clone().unwrap_or_default().into_bytes(),
            row.password_hash.clone().unwrap_or_default().into_bytes(),
            last_login.unwrap_or_default(),
            further.unwrap_or_default().as_bytes().to_vec(),
        ])
    }

    /// For a token that nobody gets.
    fn of_nobody() -> Self {
        Self(Default::default())
    }

    fn parts(&self) -> [&[u8]; 4] {
        [&self.0[0], &self.0[1], &self.0[2], &self.0[3]]
    }
}

/// Whom a link is for, and where it goes.
struct Asked {
    row: Model,
    to: Recipient,
    /// The normal form of the further address that it goes to, if that was typed.
    further: Option<String>,
}

impl Asked {
    /// To the further address that was typed, if its owner has proved it, and the account's own before:
    /// what first proves an account is its own address. Nowhere, if it has none of its own: then
    /// somebody is taking back what a thief has changed.
    fn of(name: &login_name::Model, row: Model) -> Option<Self> {
        let own = row.email.as_deref()?;
        let further = name.typed.as_deref();
        let further = further.filter(|_| name.verified_at.is_some() && row.verified_at.is_some());
        let to = Recipient::email(further.unwrap_or(own))?;
        let further = further.map(|_| name.normal.clone());
        Some(Self { row, to, further })
    }
}

impl PasswordReset<'_> {
    /// Sends a link to the address of the account that signs in with this name (a username or an
    /// address), if there is one. Success says nothing about that, nor that mail left.
    ///
    /// # Errors
    /// [`PasswordResetError::TooManyAttempts`], where that is told; [`PasswordResetError::RateLimited`],
    /// whatever the name; an outage.
    pub async fn forgot(&self, login: &str, client: &ClientInfo) -> Result<(), PasswordResetError> {
        let started = Stopwatch::start();
        self.ask(login, client).await?;
        started.alike().await;
        Ok(())
    }

    async fn ask(&self, login: &str, client: &ClientInfo) -> Result<(), PasswordResetError> {
        self.auth.count_message(client).await?;
        let context = self.auth.context();
        let db = context.db();
        let id = LoginId::parse(login).ok();
        // No account has the empty name; asking for it keeps the work the same.
        let asked = id.as_ref().map_or("", LoginId::normal);
        let name = id.as_ref().map_or_else(|| trim_login_id(login), LoginId::normal);
        // Before it is known whether the name is anybody's.
        let devices = self.auth.per_instance::<Devices>();
        let shown = devices.read(context, client);
        let found = db.read(account_store::find_with_name(&db.executor(), asked)).await?;
        let row = found.as_ref().map(|(_, row)| row);
        let attempts = self.auth.attempts();
        let device = devices.look_up(&shown, row.map(|row| (row.id, row.epoch))).known();
        let subject = attempts.subject(row, name).on_device(self.auth, device);
        let ticket = match attempts.take(AttemptKind::Forgot, &subject, client).await? {
            Admission::Admitted(ticket) => ticket,
            Admission::TooMany { retry_after } => {
                return Err(PasswordResetError::TooManyAttempts { retry_after });
            }
        };
        if ticket.is_source_full() {
            // The answer waits as for any other, and nothing is written that would fill a table.
            return Ok(());
        }
        let now = context.now();
        let found = found.and_then(|(name, row)| {
            let usable = Account::from(row.clone()).is_usable(now, false);
            Asked::of(&name, row).filter(|_| usable)
        });
        // A refused request does the work of one for a name that nobody has.
        let owner = found.as_ref().map(|found| found.row.id);
        let found = found.filter(|_| ticket.is_judged());
        let lifetime = context.config.mail.password_reset_lifetime;
        let to = found.as_ref().map(|found| &found.to);
        let further = found.as_ref().and_then(|found| found.further.as_deref());
        let account = found.as_ref().map(|found| &found.row);
        let kind = MessageKind::PasswordReset;
        let mut event = Event::new(EventKind::PasswordResetRequested, now).from_client(client);
        if let Some(id) = owner {
            event = event.account(id);
        }
        let asked = transaction!(db, |txn| {
            let counted = match (to.map(Recipient::as_str), account) {
                // Strangers take nothing from its owner's device, nor under another spelling.
                (Some(to), _) if device.is_some() => Counted::OnKnownDevice(to),
                (Some(to), Some(row)) if row.verified_at.is_some() => Counted::Proved(to),
                (Some(to), _) => Counted::Mailbox(to),
                (None, _) => Counted::Nobody(asked),
            };
            let admitted = outbox::admit(txn, context, kind, counted).await?;
            // Whoever got a link just before keeps that one. The row that nobody can use makes the
            // work the same.
            let account = account.filter(|_| admitted.0);
            let binding = account.map_or_else(Binding::of_nobody, |row| Binding::of(row, further));
            let start = Start {
                kind: &Kind::PasswordReset,
                account_id: account.map(|row| row.id),
                session_id: None,
                target: account.and_then(|row| row.email.as_deref()),
                data: account.and(further),
                binding: Some(&binding.parts()),
                answer: Answer::TokenOnly,
                lifetime,
                cool_down: Duration::ZERO,
            };
            let started = one_time::start(txn, context, &start).await?;
            let link = started.as_ref().and_then(|started| {
                let page = &context.config.mail.links.password_reset;
                context.config.link(page, &started.token)
            });
            let outgoing = Outgoing {
                account_id: account.map(|row| row.id),
                ..Outgoing::new(kind, to.cloned())
                    .values(Values::new().with_some("link", link))
                    .good_for(lifetime)
            };
            outbox::put_admitted(txn, context, &outgoing, admitted).await?;
            ticket.record(txn, &event).await?;
            // Nobody has proved anything yet.
            ticket.failed(txn).await?;
            Ok::<_, PasswordResetError>(())
        });
        attempts.end_failed(ticket, asked)
    }

    /// Whether a token is good, without spending it: for the page that asks for the new password. A
    /// wrong one is counted as at a reset.
    ///
    /// # Errors
    /// [`PasswordResetError::InvalidToken`]; [`PasswordResetError::TooManyAttempts`], where that is
    /// told; an outage.
    pub async fn check(&self, token: &str, client: &ClientInfo) -> Result<(), PasswordResetError> {
        let (ticket, ..) = self.look(token, client).await?;
        // Looking at a good link is no try: the reset that follows is.
        self.auth.attempts().withdraw(ticket).await;
        Ok(())
    }

    /// Sets a new password for the account that the token belongs to, and ends its sessions. Nobody
    /// is signed in, but the device that did it is a known one from then on: add what is returned to
    /// the answer, unless the client asks not to be remembered.
    ///
    /// # Errors
    /// See [`PasswordResetError`]. Whatever fails, nothing is changed.
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
            if !challenge.spend_from(txn, context, client, now).await? {
                return Err(PasswordResetError::InvalidToken);
            }
            hooks.before_password_change(change, txn).await?;
            let names = NamesBefore::read(self.auth, txn, row.id).await?;
            if !account_store::reset_password(txn, &row, hashed.clone(), now).await? {
                return Err(PasswordResetError::InvalidToken);
            }
            let epoch = account_store::epoch_of(txn, row.id).await?;
            let epoch = epoch.ok_or(PasswordResetError::InvalidToken)?;
            account_store::settle_names(txn, &row, now).await?;
            names.changed(txn, proving).await?;
            if row.verified_at.is_none() {
                remove_factors(txn, context, &row).await?;
            }
            // Whatever else was sent before is worth nothing now: another link, a change of address.
            one_time::end_of_account(txn, row.id, None, now).await?;
            ticket.succeeded(txn).await?;
            // Locks that strangers brought about do not keep out who reads the account's mail.
            attempts.close(txn, row.id, &[AttemptKind::Login, AttemptKind::Forgot]).await?;
            audit_log::record(txn, &event).await?;
            outbox::put(txn, context, &notice).await?;
            hooks.after_password_change(change, txn).await?;
            Ok(epoch)
        });
        if let Err(PasswordResetError::InvalidToken) = done {
            // Somebody else was faster with it, or the same person, who pressed twice.
            if self.was_used_by(token, client).await? {
                attempts.withdraw(ticket).await;
                return Err(PasswordResetError::UsedJustNow);
            }
            let event = failed(Some(&row), client, now);
            attempts.fail(ticket, &event).await?;
            return Err(PasswordResetError::InvalidToken);
        }
        let epoch = attempts.end(ticket, done).await?;
        // Who reads the account's mail is its owner, here and under the epoch that the reset began.
        let devices = self.auth.per_instance::<Devices>();
        Ok(devices.remember(context, client, row.id, epoch))
    }

    /// Whether this browser has set a password with this token a moment ago.
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

    /// The hash of a new password, if it can be one.
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

    /// The challenge of a token and its account, if both are as they were when it was sent, and the
    /// try that this was. One that fails is over.
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
        // Of a refused try the verdict is thrown away.
        let is_good = |challenge: &Challenge, row: &Model| {
            there
                && challenge.is_open(now)
                && Account::from(row.clone()).is_usable(now, false)
                && challenge.is_bound_to(context, &Binding::of(row, challenge.data()).parts())
                && ticket.is_judged()
        };
        match challenge.zip(row) {
            Some((challenge, row)) if is_good(&challenge, &row) => Ok((ticket, challenge, row)),
            // It may have been used since it was read, and the account's row read after that.
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

/// What tells of a token that was not good.
fn failed(row: Option<&Model>, client: &ClientInfo, now: Timestamp) -> Event {
    let event = Event::new(EventKind::PasswordResetFailed, now)
        .from_client(client)
        .failed("invalid_reset_token");
    row.map_or(event.clone(), |row| event.account(row.id))
}
