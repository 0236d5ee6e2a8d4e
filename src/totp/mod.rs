//! Authenticators: time-based codes of an app as a second factor (TOTP, RFC 6238).
//!
//! 1. The owner asks for a new authenticator and gives it a name. They get a seed as a QR code
//!    (feature `qr`), as an `otpauth:` address, and as a text to type. It is shown only now.
//! 2. The authenticator is no factor yet. It becomes one when the owner sends the first code of their
//!    app. So nobody is locked out by an app that did not read the QR code.
//! 3. From then on a password alone does not sign in. [`second_factor`](crate::second_factor) accepts
//!    the codes, for an unfinished sign-in and for a step-up.
//! 4. An account can have several authenticators, such as a phone and a tablet. Each has its own seed.
//!
//! # Each code works once
//! The row of an authenticator has the latest step whose code was used. A code is used up by one
//! UPDATE with the condition that its step is later. So of many simultaneous requests, on any route
//! and any node, one succeeds. This includes the code that confirms an authenticator: it does not also
//! sign in. The step belongs to its seed, so no authenticator blocks another one.
//!
//! The codes of the present step, of the one before and of the one after are accepted, by the clock of
//! the server. If the clocks of two nodes differ by one step, a code that the faster one has accepted
//! blocks the slower one for at most one step.
//!
//! # What a change needs, and what it ends
//! - If the account has no second factor yet, its owner must have proved the mailbox in this session a
//!   short time ago ([`recent_factor`](crate::config::SessionConfig::recent_factor)), by a [mailed
//!   code](crate::sent_code) or a sign-in by mail. With the password alone, a thief could set up the
//!   first factor and lock out the owner. Any recent factor is enough if
//!   the account has no mail address, if the service cannot send mail to it, or if
//!   [`prove_mailbox`](crate::config::FactorConfig::prove_mailbox) is off. If the account has a second factor, a
//!   second factor must be recent, and a password is not enough. Otherwise the answer is 401
//!   `insufficient_user_authentication`, with the factors of this account that would help.
//! - A recent recovery code is enough to add an authenticator, for a person who has lost the phone. It
//!   is not enough to remove one. The code of the new authenticator is.
//! - A sign-in that [must set up a factor](crate::second_factor#roles-that-require-a-factor) can do so
//!   too, and is complete then.
//! - The last one cannot be removed while a role of the account requires a factor.
//! - Nobody adds an authenticator while the main mail address of the account is not verified.
//! - Each change ends all other sessions, unfinished sign-ins, codes and links of the account. The
//!   session that asks goes on as a new one. The owner is told by mail.
//! - If the last authenticator is removed and only recovery codes are left, they are removed too.
//!
//! # Seeds
//! A seed has 160 random bits. The database has it encrypted, with a key that is derived from the
//! newest secret. The id of the row is part of the encryption, so a seed that is copied to another row
//! cannot be read. After a change of the secret, a seed is encrypted again by the next
//! [maintenance](crate::maintenance), or when its next code is used.
//! If you remove a secret before that, its authenticators stop working. This is the finding
//! `totp_seed_unreadable`.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::identity::owner::{AccountOwner, Factors};
//! use portcullis::{ClientInfo, Issued, Portcullis, Rejection, TotpId};
//!
//! async fn add(auth: Portcullis, owner: AccountOwner<Factors>) -> Result<String, Rejection> {
//!     let new = auth.totp().start(&owner, "my phone", &ClientInfo::default()).await?;
//!     Ok(format!("scan or type: {} {}", new.uri(), new.secret()))
//! }
//!
//! async fn confirm(
//!     auth: &Portcullis,
//!     owner: &AccountOwner<Factors>,
//!     client: &ClientInfo,
//!     id: TotpId,
//!     code: &str,
//! ) -> Result<Issued, Rejection> {
//!     // The session goes on as a new one: add it to the answer.
//!     Ok(auth.totp().confirm(owner, id, code, client).await?)
//! }
//! ```
//!
//! # What it does not do
//! - It does not compare codes by itself: [`second_factor`](crate::second_factor) does, and counts
//!   guesses.
//! - It does not import seeds of another system.
//!
//! # Routes
//! They are mounted with those of [`second_factor`](crate::second_factor#routes).
//! - `GET /totp` lists the authenticators.
//! - `POST /totp` takes `name`, and with the feature `qr` also `qr`. It answers 201 with `id`,
//!   `secret`, `uri`, `expires_at` and, if `qr` is true, `qr_svg`. It takes no form, because a redirect
//!   would lose the seed. Pages without a script have their own handler.
//! - `POST /totp/confirm` takes `id` and `code`. It answers 200, as `POST /login` does.
//! - `DELETE /totp/{id}`, and `POST /totp/{id}/remove` for forms, answer the same.
//!
//! # Configuration
//! [`TotpConfig`](crate::config::TotpConfig); `factor.prove_mailbox` and `factor.least`;
//! `session.recent_factor`.
//!
//! # Events
//! `user_updated` with the detail `authenticator started`, `factors enrolled` or `factors removed`.
//!
//! # Errors
//! `insufficient_user_authentication` (401), `address_not_proved`, `limited_session`, `wrong_code`
//! (403), `authenticator_not_found` (404), `factor_required`, `factor_too_weak`,
//! `session_limit`, `too_many_authenticators` (409), `invalid_fields` (422).
//!
//! # Standard
//! RFC 6238, RFC 4226; OWASP ASVS 5.0 6.5; NIST SP 800-63B-4 3.1.4.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::account::enrolled::{ChangingFactors, FactorChange};
use crate::account::entity::account;
use crate::account::{Account, has_unproved_mailbox, store as account_store};
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::id::{AccountId, TotpId};
use crate::base::invalid_field::InvalidField;
use crate::base::seal::{Sealed, Sealer};
use crate::base::secret::{Purpose, random_bytes};
use crate::base::transaction::{Fault, Txn, transaction};
use crate::config::TotpAlgorithm;
use crate::config::totp::fits_label;
use crate::context::{Context, PerInstance};
use crate::flow::enrolling::{self, Changed, FactorOwner};
use crate::flow::factor_undo::NewFactor;
use crate::flow::factors::{self, Recent};
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, enrolment, owner};
use crate::session::{Issued, SessionError, store as session_store};

mod code;
pub(crate) mod entity;
mod error;
#[cfg(feature = "qr")]
mod qr;
#[cfg(feature = "routes")]
mod routes;
pub(crate) mod store;

pub use error::TotpError;
#[cfg(feature = "routes")]
pub(crate) use routes::rows;

use code::{Settings, TypedCode};
use entity::Model;

/// The length of a seed in bytes (RFC 4226 4: at least 128 bits, and 160 are recommended).
const SEED: usize = 20;

/// Sets up and removes authenticators. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Totp<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows that set up and remove authenticators.
    pub fn totp(&self) -> Totp<'_> {
        Totp { auth: self }
    }
}

/// A new authenticator, which waits for its first code. Show it to its owner once, and store it
/// nowhere.
#[must_use = "its owner needs the seed"]
pub struct NewTotp {
    id: TotpId,
    secret: Zeroizing<String>,
    uri: Zeroizing<String>,
    expires_at: Timestamp,
}

impl NewTotp {
    /// Returns the id, for [`confirm`](Totp::confirm).
    pub fn id(&self) -> TotpId {
        self.id
    }

    /// Returns the seed in base32, to be typed into an app.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns the `otpauth:` address, which an app reads from a QR code.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Returns until when the first code must be sent.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the QR code of the address as an SVG picture.
    #[cfg(feature = "qr")]
    pub fn qr_svg(&self) -> String {
        qr::svg(&self.uri).expect("the address is far shorter than the largest QR code holds")
    }
}

impl std::fmt::Debug for NewTotp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTotp").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An authenticator of an account, as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authenticator {
    /// The id.
    pub id: TotpId,
    /// The name that its owner has given it.
    pub name: String,
    /// When it was set up.
    pub confirmed_at: Timestamp,
    /// The begin of the step whose code was used last.
    pub last_used_at: Timestamp,
}

impl Totp<'_> {
    /// Makes a new seed. It is no factor before [`confirm`](Self::confirm). A new one replaces one
    /// that still waits.
    ///
    /// # Errors
    /// - [`TotpError::StepUp`], [`TotpError::AddressNotProved`], [`TotpError::TooMany`].
    /// - [`TotpError::Invalid`] for a name that is empty, longer than 64 characters, or contains a
    ///   control character.
    /// - [`TotpError::Session`] if the account was changed meanwhile; an outage.
    pub async fn start(
        &self,
        owner: impl Into<FactorOwner>,
        name: &str,
        client: &ClientInfo,
    ) -> Result<NewTotp, TotpError> {
        let (owner, context) = (&owner.into(), self.auth.context());
        factors::require_recent(self.auth, owner, Recent::SecondFactor)
            .map_err(TotpError::StepUp)?;
        let name = InvalidField::label(name).map_err(|fault| TotpError::Invalid(vec![fault]))?;
        let (row, authenticators) = self.read(owner).await?;
        self.has_room(owner, &authenticators)?;
        let now = context.now();
        let id = TotpId::new(now);
        let mut seed = Zeroizing::new([0; SEED]);
        random_bytes(&mut *seed);
        let totp = &context.config.totp;
        let settings =
            Settings { algorithm: totp.algorithm, digits: totp.digits, period: totp.period };
        let sealer = self.auth.per_instance::<SeedKeys>();
        let sealed = sealer.0.seal(&*seed, &row_name(id, row.id));
        let new = Model {
            id,
            account_id: row.id,
            name,
            key_id: sealed.key_id,
            seed: sealed.text,
            algorithm: settings.algorithm.number(),
            digits: i16::try_from(settings.digits).unwrap_or(6),
            period: i64::try_from(settings.period.as_secs()).unwrap_or(30),
            last_step: settings.before(now),
            epoch: row.epoch,
            created_at: now,
            confirmed_at: None,
        };
        let event = Event::new(EventKind::AccountUpdated, now).account(row.id);
        let event = event.from_client(client).detail("authenticator started");
        transaction!(context.db(), |txn| {
            // The account comes first, as in every change of factors, so that two flows do not
            // deadlock.
            session_store::lock_account(txn, row.id).await?;
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(TotpError::AddressNotProved);
            }
            store::insert_waiting(txn, new.clone()).await?;
            audit_log::record(txn, &event).await?;
            Ok(())
        })?;
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&*seed));
        let uri = uri(context, owner.account(), &secret, settings);
        Ok(NewTotp { id, secret, uri, expires_at: now.plus(totp.confirm_lifetime) })
    }

    /// Makes a new authenticator a second factor of the account, with the first code of its app. The
    /// session of the owner goes on as a new one, in which the factor is proved. All other sessions
    /// end.
    ///
    /// Guesses are not counted: the person who asks has seen the seed, or could start another
    /// authenticator. A sign-in that
    /// had to set up a factor is complete afterwards.
    ///
    /// # Errors
    /// - [`TotpError::StepUp`], [`TotpError::AddressNotProved`], [`TotpError::TooMany`].
    /// - [`TotpError::TooWeak`] for a sign-in that must set up a stronger factor.
    /// - [`TotpError::NotFound`] if no such authenticator waits, or has waited too long.
    /// - [`TotpError::WrongCode`].
    /// - [`TotpError::Session`] if the session has ended or the account was changed meanwhile; an
    ///   outage.
    pub async fn confirm(
        &self,
        owner: impl Into<FactorOwner>,
        id: TotpId,
        code: &str,
        client: &ClientInfo,
    ) -> Result<Issued, TotpError> {
        let (owner, context) = (&owner.into(), self.auth.context());
        factors::require_recent(self.auth, owner, Recent::SecondFactor)
            .map_err(TotpError::StepUp)?;
        let (row, authenticators) = self.read(owner).await?;
        let now = context.now();
        let lifetime = context.config.totp.confirm_lifetime;
        let waiting = authenticators.iter().find(|found| {
            let waits = found.id == id && found.confirmed_at.is_none();
            waits && now.since(found.created_at) < lifetime
        });
        let waiting = waiting.ok_or(TotpError::NotFound)?;
        self.has_room(owner, &authenticators)?;
        let right = TypedCode::parse(code).and_then(|code| right(self.auth, waiting, &code, now));
        let right = right.ok_or(TotpError::WrongCode)?;
        let enrolled = EnrolledFactors(row.enrolled_factors).with(Factor::Totp);
        if owner.would_still_lack(self.auth, &row, enrolled).await? {
            return Err(TotpError::TooWeak);
        }
        let change = FactorChange::Added(Factor::Totp);
        let changing = ChangingFactors { context, row: &row, enrolled, change, client };
        let passed = owner.passed().clone().with(Factor::Totp, now);
        let gone_on = transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(TotpError::Session(SessionError::Ended))?;
            if has_unproved_mailbox(txn, row.id).await? {
                return Err(TotpError::AddressNotProved);
            }
            if !EnrolledFactors(row.enrolled_factors).contains(Factor::Totp) {
                // Something took the factor away without deleting them, such as an older version on
                // another node. They must not count again now.
                store::remove_confirmed(txn, row.id).await?;
            }
            if !store::spend(txn, row.id, id, right.step, Some((now, epoch)), None).await? {
                return Err(TotpError::WrongCode);
            }
            let (row, factor) = (&row, Factor::Totp);
            NewFactor { context, owner, row, factor, epoch, client }.tell(txn).await?;
            let changed = Changed { row, enrolled, epoch, passed: passed.clone() };
            Ok::<_, TotpError>(owner.go_on(self.auth, txn, changed, client).await?)
        });
        if let Err(TotpError::Refused(_)) = &gone_on {
            owner.record_refusal(self.auth, client).await?;
        }
        Ok(gone_on?.committed(self.auth).await)
    }

    /// Lists the authenticators that are factors of the account, the oldest first.
    ///
    /// # Errors
    /// An outage.
    pub async fn list(
        &self,
        owner: &AccountOwner<owner::Factors>,
    ) -> Result<Vec<Authenticator>, TotpError> {
        let db = self.auth.context().db();
        let rows = db.read(store::of_account(&db.executor(), owner.account().id())).await?;
        let listed = rows.into_iter().filter_map(|row| {
            let last_used_at = row.last_step.saturating_mul(row.period).saturating_mul(1000);
            Some(Authenticator {
                id: row.id,
                confirmed_at: row.confirmed_at?,
                name: row.name,
                last_used_at: Timestamp::from_millis(last_used_at),
            })
        });
        Ok(listed.collect())
    }

    /// Removes an authenticator. If it was the last one, and only recovery codes are left, they are
    /// removed too. The session of the owner goes on as a new one. All other sessions end.
    ///
    /// # Errors
    /// - [`TotpError::StepUp`]: a second factor that is no recovery code must be recent.
    /// - [`TotpError::Required`]: it is the last one, and a role of the account requires a factor.
    /// - [`TotpError::NotFound`], also for an authenticator of another account.
    /// - [`TotpError::Session`] if the session has ended or the account was changed meanwhile; an
    ///   outage.
    pub async fn remove(
        &self,
        owner: &AccountOwner<owner::Factors>,
        id: TotpId,
        client: &ClientInfo,
    ) -> Result<Issued, TotpError> {
        let (asks, context) = (&FactorOwner::from(owner), self.auth.context());
        factors::require_recent(self.auth, asks, Recent::NotRecoveryCode)
            .map_err(TotpError::StepUp)?;
        let (row, authenticators) = self.read(asks).await?;
        let confirmed = || authenticators.iter().filter(|found| found.confirmed_at.is_some());
        if confirmed().all(|found| found.id != id) {
            return Err(TotpError::NotFound);
        }
        let is_last = confirmed().count() == 1;
        let before = EnrolledFactors(row.enrolled_factors);
        let enrolled = match is_last {
            true => before.left_without(Factor::Totp),
            false => before,
        };
        if enrolment::would_lack(context, owner, enrolled)
            && !enrolment::would_lack(context, owner, before)
        {
            return Err(TotpError::Required);
        }
        let changing = ChangingFactors {
            context,
            row: &row,
            enrolled,
            change: FactorChange::Removed(Factor::Totp),
            client,
        };
        let passed = owner.session().factors().clone();
        transaction!(context.db(), |txn| {
            let epoch = changing.apply(txn).await?;
            let epoch = epoch.ok_or(TotpError::Session(SessionError::Ended))?;
            // The rows of a factor that the account does not have any more are deleted already.
            if !is_last && !store::remove(txn, row.id, id).await? {
                return Err(TotpError::NotFound);
            }
            let go_on = enrolling::go_on(self.auth, txn, owner, epoch, passed.clone(), client);
            Ok(Box::pin(go_on).await?)
        })
    }

    /// Reads the account and its authenticators, in this order. If another request changes them in
    /// between, the epoch of the account is not that of the row any more, and nothing is changed.
    async fn read(&self, owner: &FactorOwner) -> Result<(account::Model, Vec<Model>), TotpError> {
        let account = owner.account();
        let db = self.auth.context().db();
        let executor = db.executor();
        let row = db.read(account_store::find(&executor, account.id())).await?;
        let row = row.filter(|row| row.epoch == account.epoch && !owner.is_superseded());
        let row = row.ok_or(TotpError::Session(SessionError::Ended))?;
        let authenticators = db.read(store::of_account(&executor, row.id)).await?;
        Ok((row, authenticators))
    }

    /// Checks the limit of authenticators. A person who has only a recovery code may remove none of
    /// them, and so may have one more. Its code then allows to remove the others.
    fn has_room(&self, owner: &FactorOwner, authenticators: &[Model]) -> Result<(), TotpError> {
        let confirmed = authenticators.iter().filter(|found| found.confirmed_at.is_some());
        let most = self.auth.context().config.totp.max_per_account as usize;
        let may_remove = factors::require_recent(self.auth, owner, Recent::NotRecoveryCode).is_ok();
        match confirmed.count() < if may_remove { most } else { most + 1 } {
            true => Ok(()),
            false => Err(TotpError::TooMany),
        }
    }
}

/// A code that was found right. It is used up by [`spend`](Self::spend).
pub(crate) struct RightTotp {
    account: AccountId,
    id: TotpId,
    step: i64,
    sealed: Option<Sealed>,
}

impl RightTotp {
    /// Compares what a person typed with the codes of all authenticators of an account. The statement
    /// is the same for every account.
    pub(crate) async fn find(
        auth: &Portcullis,
        account: AccountId,
        typed: &str,
    ) -> Result<Option<Self>, Fault> {
        let context = auth.context();
        let db = context.db();
        let rows = db.read(store::of_account(&db.executor(), account)).await?;
        let now = context.now();
        let Some(code) = TypedCode::parse(typed) else { return Ok(None) };
        let confirmed = rows.iter().filter(|row| row.confirmed_at.is_some());
        Ok(confirmed.filter_map(|row| right(auth, row, &code, now)).next())
    }

    /// Uses up the code. Returns false if another request used it first, or the authenticator was
    /// removed.
    pub(crate) async fn spend(&self, txn: &Txn<'_>) -> Result<bool, sea_orm::DbErr> {
        let Self { account, id, step, sealed } = self;
        store::spend(txn, *account, *id, *step, None, sealed.as_ref()).await
    }
}

/// Returns the step to which a code belongs, if it is a right code of this authenticator that was not
/// used yet.
fn right(auth: &Portcullis, row: &Model, code: &TypedCode, now: Timestamp) -> Option<RightTotp> {
    let settings = row.settings()?;
    let keys = auth.per_instance::<SeedKeys>();
    let name = row_name(row.id, row.account_id);
    let Some(seed) = keys.0.open(&row.key_id, &row.seed, &name) else {
        auth.report_finding(
            "totp_seed_unreadable",
            "the seed of an authenticator cannot be decrypted, because its secret is not configured \
             any more; its owner cannot use it",
        );
        return None;
    };
    let mut steps = settings.accepted_at(now).filter(|step| *step > row.last_step);
    let step = steps.find(|step| settings.is_code(&seed, *step, code))?;
    // A seed under an older secret is encrypted again.
    let sealed = (!keys.0.is_newest(&row.key_id)).then(|| keys.0.seal(&seed, &name));
    Some(RightTotp { account: row.account_id, id: row.id, step, sealed })
}

/// Encrypts a batch of seeds again whose secret is not the newest one, after the authenticator `after` of
/// that secret. Returns how many were changed, and where the next batch begins.
pub(crate) async fn reseal(
    auth: &Portcullis,
    key_id: &str,
    after: Option<TotpId>,
    batch: u64,
) -> Result<(u64, Option<TotpId>), Fault> {
    let db = auth.context().db();
    let executor = db.executor();
    let keys = auth.per_instance::<SeedKeys>();
    let rows = db.read(store::sealed_with(&executor, key_id, after, batch)).await?;
    let mut changed = 0;
    for row in &rows {
        let name = row_name(row.id, row.account_id);
        // A seed that cannot be read stays as it is. Its use is a finding.
        if let Some(seed) = keys.0.open(&row.key_id, &row.seed, &name) {
            let sealed = keys.0.seal(&seed, &name);
            // A code may have been used in between, which does the same.
            changed += u64::from(db.retry(|| store::reseal(&executor, row, &sealed)).await?);
        }
    }
    let full = rows.len() as u64 == batch;
    Ok((changed, rows.last().map(|row| row.id).filter(|_| full)))
}

impl Model {
    /// Returns `None` for settings that this version does not know.
    fn settings(&self) -> Option<Settings> {
        Some(Settings {
            algorithm: TotpAlgorithm::from_number(self.algorithm)?,
            digits: u32::try_from(self.digits).ok()?,
            period: Duration::from_secs(u64::try_from(self.period).ok()?),
        })
    }
}

/// The keys that encrypt seeds.
struct SeedKeys(Sealer);

impl PerInstance for SeedKeys {
    fn open(context: &Context) -> Self {
        Self(Sealer::new(&context.config.keys.secrets, Purpose::TotpSeed))
    }
}

/// Returns the associated data of a seed: this row of this account.
fn row_name(id: TotpId, account: AccountId) -> Vec<u8> {
    [id.as_uuid().as_bytes().as_slice(), account.as_uuid().as_bytes()].concat()
}

/// Returns the address that apps read. The label has the name of the account. A name that an app could
/// misread is replaced by the id of the account.
fn uri(
    context: &Context,
    account: &Account,
    secret: &str,
    settings: Settings,
) -> Zeroizing<String> {
    let issuer = escaped(&context.config.totp_issuer());
    let name = account.email().or(account.username()).filter(|name| fits_label(name));
    let label = escaped(&name.map_or_else(|| account.id().to_string(), str::to_owned));
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{label}?secret={secret}&issuer={issuer}&algorithm={}&digits={}\
         &period={}",
        settings.algorithm.as_str(),
        settings.digits,
        settings.period.as_secs(),
    ))
}

/// Percent-encodes everything that is not unreserved (RFC 3986 2.3). Some apps show a `+` as it is.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_the_parts_of_an_address_is_escaped() {
        assert_eq!(escaped("a b&c=d/é%"), "a%20b%26c%3Dd%2F%C3%A9%25");
        assert_eq!(escaped("Az09-._~"), "Az09-._~");
    }
}
