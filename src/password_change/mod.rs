//! Changing one's password.
//!
//! 1. Someone signed in shows the current password, or has proved a factor within the last five
//!    minutes. A sign-in that must change its password has just shown it.
//! 2. The new one is checked and hashed before anything is locked.
//! 3. One transaction puts it in the place of exactly the hash that was checked, moves the
//!    account's epoch (which ends all its sessions everywhere), ends the codes and links that were sent
//!    to the account (but for those that undo a change of its address), and starts a new session for
//!    the one who asked.
//! 4. The owner is told.
//!
//! Whose password is changed comes from the session, never from the body.
//!
//! # Routes
//! `PUT /password`, and apart from the others [`well_known`]: `GET /.well-known/change-password`,
//! which password managers ask for; it leads to
//! [`change_page`](crate::config::PasswordConfig::change_page) and is to be merged at the root of
//! the application, not nested.
//!
//! # Events
//! `authn_password_change`, `authn_password_change_fail`; `authn_new_device` where it finishes a sign-in
//! from a [new device](crate::new_device).
//!
//! # Errors
//! `wrong_password` (403; also for the right one while too many have failed, see
//! [`attempt`](crate::attempt)), `too_many_attempts` (429, where that is told), `insufficient_user_authentication` (401), `invalid_fields` (422),
//! `password_changed_meanwhile` (409).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::account::{Account, InvalidField, store as account_store};
use crate::attempt::Admission;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::event::{Event, EventKind};
use crate::base::factor::Factor;
use crate::base::problem::{Problem, Refusal};
use crate::base::transaction::{Fault, MaybeFault, transaction};
use crate::config::AttemptKind;
use crate::handle::Portcullis;
use crate::identity::{AccountOwner, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::new_device::NewDevice;
use crate::one_time;
use crate::outbox::{self, Outgoing};
use crate::password::{Checked, Names, Password, Passwords};
use crate::port::{ChangingPassword, from_hooked};
use crate::session::device::Devices;
use crate::session::judge::SessionState;
use crate::session::{Issued, PasswordChangeSession, SessionError, Stage, StartSession, Transport};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::{routes, well_known};

/// The field of the body that the new password comes in.
const NEW_PASSWORD: &str = "new_password";

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordChangeError {
    /// The current password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many tries failed. Told only with `attempts.reveal_lockout`; otherwise it looks like a
    /// wrong password.
    #[error("too many tries failed")]
    TooManyAttempts {
        /// When to come back.
        retry_after: Duration,
    },
    /// Neither the current password nor a recent factor was shown.
    #[error("show the current password, or sign in again first")]
    FactorTooOld {
        /// How recent it must be.
        max_age: Duration,
    },
    /// The new password cannot be used.
    #[error("some fields cannot be used")]
    Invalid(Vec<InvalidField>),
    /// Someone else changed it in the same moment.
    #[error("the password was changed meanwhile")]
    ChangedMeanwhile,
    /// The session ended meanwhile.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application's refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl PasswordChangeError {
    fn same() -> Self {
        Self::Invalid(vec![InvalidField::new(NEW_PASSWORD, "must not be the present one")])
    }
}

impl From<SessionError> for PasswordChangeError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Fault(fault) => Self::Fault(fault),
            SessionError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Session(other),
        }
    }
}

impl From<sea_orm::DbErr> for PasswordChangeError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Fault(error.into())
    }
}

from_hooked!(PasswordChangeError);

impl MaybeFault for PasswordChangeError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl Problem for PasswordChangeError {
    fn status(&self) -> StatusCode {
        match self {
            Self::WrongPassword => StatusCode::FORBIDDEN,
            Self::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::FactorTooOld { .. } => StatusCode::UNAUTHORIZED,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ChangedMeanwhile => StatusCode::CONFLICT,
            Self::Session(error) => error.status(),
            Self::Refused(refusal) => refusal.problem().status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::FactorTooOld { .. } => "insufficient_user_authentication",
            Self::Invalid(_) => "invalid_fields",
            Self::ChangedMeanwhile => "password_changed_meanwhile",
            Self::Session(error) => error.code(),
            Self::Refused(refusal) => refusal.problem().code(),
            Self::Fault(fault) => fault.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyAttempts { retry_after } => Some(*retry_after),
            _ => self.fault().and_then(Problem::retry_after),
        }
    }

    fn challenge(&self) -> Option<String> {
        match self {
            // RFC 9470
            Self::FactorTooOld { max_age } => Some(format!(
                "Bearer error=\"insufficient_user_authentication\", max_age=\"{}\"",
                max_age.as_secs()
            )),
            Self::Session(error) => error.challenge(),
            _ => None,
        }
    }

    fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::Invalid(fields) => InvalidField::members(fields),
            _ => serde_json::Map::new(),
        }
    }
}

/// Changes one's password. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct PasswordChange<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Changing one's password.
    pub fn password_change(&self) -> PasswordChange<'_> {
        PasswordChange { auth: self }
    }
}

/// The session that asks, of whichever type.
struct Asking<'a> {
    account: &'a Account,
    state: &'a Arc<SessionState>,
    transport: Transport,
}

impl PasswordChange<'_> {
    /// Changes the password of whoever is signed in. Without `current` a factor must be recent.
    ///
    /// # Errors
    /// See [`PasswordChangeError`]. Whatever fails, nothing is changed.
    pub async fn change(
        &self,
        identity: &AccountOwner<owner::Password>,
        current: Option<&str>,
        new: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, PasswordChangeError> {
        let context = self.auth.context();
        let session = identity.session();
        if current.is_none() && !identity.has_recent_factor(context) {
            let max_age = context.config.session.recent_factor;
            return Err(PasswordChangeError::FactorTooOld { max_age });
        }
        let asking = Asking {
            account: identity.account(),
            state: &session.state,
            transport: session.transport(),
        };
        self.set(&asking, current, &Password::from(new.into()), client).await
    }

    /// Sets the new password that a sign-in must set first, which makes it a full session.
    ///
    /// # Errors
    /// See [`PasswordChangeError`]. Whatever fails, nothing is changed.
    pub async fn finish(
        &self,
        session: &PasswordChangeSession,
        new: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, PasswordChangeError> {
        let asking = Asking {
            account: session.account(),
            state: &session.state,
            transport: session.transport(),
        };
        let issued = self.set(&asking, None, &Password::from(new.into()), client).await?;
        // The end of a sign-in like any other.
        self.auth.memberships_at_sign_in(session.account().id()).await;
        Ok(issued)
    }

    async fn set(
        &self,
        asking: &Asking<'_>,
        current: Option<&str>,
        new: &Password,
        client: &ClientInfo,
    ) -> Result<Issued, PasswordChangeError> {
        let context = self.auth.context();
        let passwords = self.auth.per_instance::<Passwords>();
        let source = client.address();
        let account = asking.account;
        let db = context.db();
        let further = db.read(account_store::names_of(&db.executor(), account.id())).await?;
        let names = Names::of(account).and(&further);
        if let Some(field) = passwords.refused(NEW_PASSWORD, new, &names, source).await? {
            return Err(PasswordChangeError::Invalid(vec![field]));
        }
        let row = db.read(account_store::find(&db.executor(), account.id())).await?;
        let now = context.now();
        // Whoever proved the address since this session was let in may have set a password: nothing
        // but the epoch says that it is not the session's to change.
        let row = row.filter(|row| row.epoch == account.epoch);
        let row = row.ok_or(PasswordChangeError::Session(SessionError::Over))?;
        let name = account.id().to_string();
        let attempts = self.auth.attempts();
        let mut ticket = None;
        if let Some(current) = current {
            let current = Password::from(current.to_owned());
            if current.is_too_long() {
                return Err(PasswordChangeError::WrongPassword);
            }
            let device = self
                .auth
                .per_instance::<Devices>()
                .recognize(context, client, row.id, row.epoch)
                .known();
            let subject = attempts.subject(Some(&row), &name).on_device(self.auth, device).inside();
            let admitted = match attempts.begin(AttemptKind::Login, &subject, client).await? {
                Admission::Admitted(ticket) => ticket,
                Admission::TooMany { retry_after } => {
                    return Err(PasswordChangeError::TooManyAttempts { retry_after });
                }
            };
            let checked = passwords.check(&current, Some(&row), &name, source).await;
            // Of a refused try the verdict is thrown away.
            let judged = admitted.is_judged();
            match checked.map(|checked| if judged { checked } else { Checked::Wrong }) {
                Ok(Checked::Right { .. }) if current.as_str() == new.as_str() => {
                    attempts.withdraw(admitted).await;
                    return Err(PasswordChangeError::same());
                }
                Ok(Checked::Right { .. }) => ticket = Some(admitted),
                Ok(Checked::Wrong) => {
                    let event = Event::new(EventKind::PasswordChangeFailed, now)
                        .account(account.id())
                        .session(asking.state.id)
                        .from_client(client)
                        .failed("wrong_password");
                    attempts.fail(admitted, &event).await?;
                    return Err(PasswordChangeError::WrongPassword);
                }
                Err(fault) => {
                    attempts.withdraw(admitted).await;
                    return Err(fault.into());
                }
            }
        }
        // A password that has to be changed is not changed by setting the same one.
        if current.is_none()
            && row.must_change_password
            && matches!(
                passwords.check(new, Some(&row), &name, source).await?,
                Checked::Right { .. }
            )
        {
            return Err(PasswordChangeError::same());
        }
        let hashed = match passwords.hash(new, source).await {
            Ok(hashed) => hashed,
            Err(fault) => {
                if let Some(ticket) = ticket {
                    attempts.withdraw(ticket).await;
                }
                return Err(fault.into());
            }
        };
        let event = Event::new(EventKind::PasswordChanged, now)
            .account(account.id())
            .session(asking.state.id)
            .from_client(client);
        // The end of a sign-in like any other: whoever is signed in all the way was judged before.
        let signs_in_at = (asking.state.stage != Stage::Full).then_some(now);
        let new_device = signs_in_at.and_then(|now| {
            let devices = self.auth.per_instance::<Devices>();
            let device = devices.recognize(context, client, row.id, row.epoch);
            NewDevice::of(context, &row, client, device, now)
        });
        let factors = asking.state.factors.clone().with(Factor::Password, now);
        let start = StartSession::new(context, db, client)
            .of(account)
            .at_epoch(row.epoch + 1)
            .going_on_from(asking.state, asking.transport)
            .passed(factors);
        let notice =
            Outgoing::new(MessageKind::PasswordChanged, account.email().and_then(Recipient::email))
                .account(account.id())
                .values(Values::new().with_some("address", client.address()));
        let change = ChangingPassword {
            account_id: account.id(),
            session_id: Some(asking.state.id),
            client,
            at: now,
        };
        let changed: Result<_, PasswordChangeError> = transaction!(db, |txn| {
            context.hooks.before_password_change(change, txn).await?;
            if !account_store::change_password(txn, &row, hashed.clone(), signs_in_at).await? {
                return Err(PasswordChangeError::ChangedMeanwhile);
            }
            if let Some(device) = &new_device {
                device.record(txn).await?;
            }
            one_time::end_by_session(txn, account, now).await?;
            audit_log::record(txn, &event).await?;
            outbox::put(txn, context, &notice).await?;
            if let Some(ticket) = &ticket {
                ticket.succeeded(txn).await?;
            }
            let issued = start.clone().inside(txn).issue().await?;
            context.hooks.after_password_change(change, txn).await?;
            Ok(issued)
        });
        let (issued, started) = match ticket {
            Some(ticket) => attempts.end(ticket, changed).await?,
            None => changed?,
        };
        event.trace();
        started.trace();
        if let Some(device) = new_device {
            device.committed();
        }
        outbox::deliver_soon(context);
        Ok(issued)
    }
}
