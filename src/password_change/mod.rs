//! Changing your own password.
//!
//! 1. The user sends the current password, or has proved a factor within the last five minutes. A
//!    sign-in that must change its password has just proved one. In a session that a
//!    [trusted device](crate::trusted_device) began, the current password is not enough: a second
//!    factor must have been proved within this time.
//! 2. The new password is checked and hashed before anything is locked.
//! 3. One transaction replaces exactly the hash that was checked, and increases the account's
//!    epoch. This ends all sessions of the account everywhere. It also ends the codes and links
//!    that were sent to the account, except those that undo a change of its address. It starts a
//!    new session for the client that asked.
//! 4. The owner gets a message.
//!
//! The account comes from the session, never from the body. So nobody can change the password of
//! another account.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(
//! #     auth: portcullis::Portcullis,
//! #     session: portcullis::PasswordChangeSession,
//! # ) -> Result<(), portcullis::Rejection> {
//! use portcullis::ClientInfo;
//!
//! // A sign-in that must set a new password becomes a full session:
//! let client = ClientInfo::default();
//! let new = "correct horse battery staple";
//! let issued = auth.password_change().finish(&session, new, &client).await?;
//! // Add `issued` to the answer: `(issued, StatusCode::NO_CONTENT)`.
//! # let _ = issued;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! - It does not reset a forgotten password. See [`password_reset`](crate::password_reset).
//! - It does not set the password of another account.
//!
//! # Routes
//! `PUT /password`. Separately [`well_known`]: `GET /.well-known/change-password`, which password
//! managers request. It redirects to [`change_page`](crate::config::PasswordConfig::change_page).
//! Merge it at the root of your application, not nested.
//!
//! # Events
//! `authn_password_change`, `authn_password_change_fail`; `authn_new_device` if it finishes a
//! sign-in from a [new device](crate::new_device).
//!
//! # Errors
//! `wrong_password` (403; also for the correct one after too many failures, see
//! [`attempt`](crate::attempt)), `too_many_attempts` (429, only if limits are revealed),
//! `insufficient_user_authentication` (401), `invalid_fields` (422), `password_changed_meanwhile`
//! (409).

use std::sync::Arc;
use std::time::Duration;

use crate::account::enrolled::store as enrolled_store;
use crate::account::entity::account;
use crate::account::store::MailedPassword;
use crate::account::{Account, StoredPassword, store as account_store};
use crate::attempt::Ticket;
use crate::audit_log;
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventKind};
use crate::base::factor::Factor;
use crate::base::invalid_field::InvalidField;
use crate::base::problem::{Refusal, problem, step_up_challenge, step_up_members};
use crate::base::transaction::{Fault, Txn, may_fault, transaction};
use crate::flow::factors::would_help;
use crate::flow::password_attempt::{Attempted, attempt_inside};
use crate::flow::sign_in::{self, Demands, Locked, Made, NewSession};
use crate::handle::Portcullis;
use crate::hook::{ChangingPassword, HookList, from_hooked};
use crate::identity::{AccountOwner, owner};
use crate::message::{MessageKind, Recipient, Values};
use crate::one_time;
use crate::outbox::{self, Outgoing};
use crate::password::{Checked, Names, Password, Passwords};
use crate::session::from_session;
use crate::session::judge::SessionState;
use crate::session::{
    Issued, PasswordChangeSession, SessionError, Stage, StartSession, Transport,
    store as session_store,
};

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::{routes, well_known};

/// The field of the body that contains the new password.
const NEW_PASSWORD: &str = "new_password";

/// The reason why a password was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordChangeError {
    /// The current password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many attempts failed. This is told only with `attempts.reveal_lockout`. Otherwise the
    /// answer is that of a wrong password.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts {
        /// The time to wait before the next attempt.
        retry_after: Duration,
    },
    /// The request had no current password, and no factor was proved recently. Or a trusted device began
    /// the session, and no second factor was proved recently.
    #[error("send the current password, or sign in again first")]
    FactorTooOld {
        /// How recently a factor must have been proved.
        max_age: Duration,
        /// The factors of this account that would help.
        factors: Vec<Factor>,
    },
    /// The new password cannot be used.
    #[error("some fields are not valid")]
    Invalid(Vec<InvalidField>),
    /// Another request changed the password at the same moment.
    #[error("another request changed the password; sign in with the new one")]
    ChangedMeanwhile,
    /// The session ended meanwhile.
    #[error(transparent)]
    Session(SessionError),
    /// A hook of the application refused.
    #[error("{0}")]
    Refused(#[source] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl PasswordChangeError {
    fn same() -> Self {
        let message = "must differ from the current password";
        Self::Invalid(vec![InvalidField::new(NEW_PASSWORD, "unchanged", message)])
    }
}

may_fault!(PasswordChangeError);
from_session!(PasswordChangeError);
from_hooked!(PasswordChangeError);

problem! {
    PasswordChangeError {
        Self::WrongPassword => FORBIDDEN, "wrong_password";
        Self::TooManyAttempts { .. } => TOO_MANY_REQUESTS, "too_many_attempts";
        Self::FactorTooOld { .. } => UNAUTHORIZED, "insufficient_user_authentication";
        Self::Invalid(_) => UNPROCESSABLE_ENTITY, "invalid_fields";
        Self::ChangedMeanwhile => CONFLICT, "password_changed_meanwhile";
    }
    passes on { Session, Refused, Fault }
    retry_after {
        Self::TooManyAttempts { retry_after } => *retry_after,
    }
    challenge {
        Self::FactorTooOld { max_age, factors } => step_up_challenge(factors, Some(*max_age)),
    }
    members {
        Self::FactorTooOld { max_age, factors } => step_up_members(factors, &[], Some(*max_age)),
        Self::Invalid(fields) => InvalidField::members(fields),
    }
}

/// Changes the own password of an account. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct PasswordChange<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flow that changes the own password of an account.
    pub fn password_change(&self) -> PasswordChange<'_> {
        PasswordChange { auth: self }
    }
}

/// The session that asks, of either type.
struct Asking<'a> {
    account: &'a Account,
    state: &'a Arc<SessionState>,
    transport: Transport,
    client: &'a ClientInfo,
    now: Timestamp,
}

impl PasswordChange<'_> {
    /// Changes the password of the account that is signed in. Without `current`, a factor must have
    /// been proved recently. In a session that a [trusted device](crate::trusted_device) began, a second
    /// factor must have been proved recently in any case.
    ///
    /// # Errors
    /// See [`PasswordChangeError`]. After an error the password is unchanged.
    pub async fn change(
        &self,
        identity: &AccountOwner<owner::Password>,
        current: Option<&str>,
        new: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, PasswordChangeError> {
        let context = self.auth.context();
        let session = identity.session();
        // A trusted device that a thief has taken must not turn the password alone into a new one.
        let needs_factor = current.is_none() || identity.lacks_second_factor();
        if needs_factor && !identity.has_recent_factor(context) {
            let max_age = context.config.session.recent_factor;
            let factors = would_help(context, identity);
            return Err(PasswordChangeError::FactorTooOld { max_age, factors });
        }
        let asking = Asking {
            account: identity.account(),
            state: &session.state,
            transport: session.transport(),
            client,
            now: context.now(),
        };
        self.set(&asking, current, &Password::from(new.into())).await
    }

    /// Sets the new password that a sign-in must set first. The sign-in then becomes a full
    /// session.
    ///
    /// # Errors
    /// See [`PasswordChangeError`]. After an error the password is unchanged.
    pub async fn finish(
        &self,
        session: &PasswordChangeSession,
        new: impl Into<String>,
        client: &ClientInfo,
    ) -> Result<Issued, PasswordChangeError> {
        if session.state.has_moved() {
            // Nothing was proved from here. At this stage no factor can be proved again, so the user
            // must sign in again.
            let max_age = self.auth.context().config.session.recent_factor;
            return Err(PasswordChangeError::FactorTooOld { max_age, factors: Vec::new() });
        }
        let asking = Asking {
            account: session.account(),
            state: &session.state,
            transport: session.transport(),
            client,
            now: self.auth.context().now(),
        };
        self.set(&asking, None, &Password::from(new.into())).await
    }

    async fn set(
        &self,
        asking: &Asking<'_>,
        current: Option<&str>,
        new: &Password,
    ) -> Result<Issued, PasswordChangeError> {
        let row = self.changeable(asking, new).await?;
        let ticket = match current {
            Some(current) => {
                let current = Password::from(current.to_owned());
                Some(self.check_current(asking, &row, &current, new).await?)
            }
            None => {
                self.check_is_another(asking, &row, new).await?;
                None
            }
        };
        // The hash is made before the transaction, because it takes long and must not hold a lock.
        // If it fails, the right password was no failed attempt.
        let passwords = self.auth.per_instance::<Passwords>();
        let hashed = match passwords.hash(new, asking.client.address()).await {
            Ok(hashed) => hashed,
            Err(fault) => {
                if let Some(ticket) = ticket {
                    self.auth.attempts().withdraw(ticket).await;
                }
                return Err(fault.into());
            }
        };
        let next = self.next(asking, &row).await;
        let next = match next {
            Ok(next) => next,
            Err(fault) => {
                if let Some(ticket) = ticket {
                    self.auth.attempts().withdraw(ticket).await;
                }
                return Err(fault.into());
            }
        };
        let signs_in = next.signs_in();
        let changed = self.write(asking, &row, hashed, next, ticket.as_ref()).await;
        let changed = match ticket {
            Some(ticket) => self.auth.attempts().end(ticket, changed).await,
            None => changed,
        };
        if signs_in && matches!(changed, Err(PasswordChangeError::Refused(_))) {
            sign_in::record_refusal(self.auth, asking.account.id(), asking.client, asking.now)
                .await?;
        }
        Ok(match changed? {
            Started::GoesOn(issued) => *issued,
            Started::SignedIn(made) => made.committed(self.auth).await.into_issued(),
        })
    }

    /// Checks the new password, and returns the row of the account that may get it.
    async fn changeable(
        &self,
        asking: &Asking<'_>,
        new: &Password,
    ) -> Result<account::Model, PasswordChangeError> {
        let account = asking.account;
        let db = self.auth.context().db();
        let further = db.read(account_store::names_of(&db.executor(), account.id())).await?;
        let names = Names::of(account).and(&further);
        let passwords = self.auth.per_instance::<Passwords>();
        let faults = passwords.faults(NEW_PASSWORD, new, &names, asking.client.address()).await?;
        if !faults.is_empty() {
            return Err(PasswordChangeError::Invalid(faults));
        }
        let row = db.read(account_store::find(&db.executor(), account.id())).await?;
        // This session may have begun before someone else proved the address and set a password.
        // Only the epoch shows that this session may no longer change it.
        let row = row.filter(|row| row.epoch == account.epoch);
        row.ok_or(PasswordChangeError::Session(SessionError::Ended))
    }

    /// Compares the current password. The attempt that is returned waits for its end.
    async fn check_current(
        &self,
        asking: &Asking<'_>,
        row: &account::Model,
        current: &Password,
        new: &Password,
    ) -> Result<Ticket, PasswordChangeError> {
        if current.is_too_long() {
            return Err(PasswordChangeError::WrongPassword);
        }
        let attempts = self.auth.attempts();
        match attempt_inside(self.auth, row.id, Some(row), current, asking.client).await? {
            Attempted::TooMany(retry_after) => {
                Err(PasswordChangeError::TooManyAttempts { retry_after })
            }
            Attempted::Judged(ticket, Checked::Right { .. }) => {
                if current.as_str() == new.as_str() {
                    attempts.withdraw(ticket).await;
                    return Err(PasswordChangeError::same());
                }
                Ok(ticket)
            }
            Attempted::Judged(ticket, Checked::Wrong) => {
                let event = Event::new(EventKind::PasswordChangeFailed, asking.now)
                    .account(row.id)
                    .session(asking.state.id)
                    .from_client(asking.client)
                    .failed("wrong_password");
                attempts.fail(ticket, &event).await?;
                Err(PasswordChangeError::WrongPassword)
            }
        }
    }

    /// If a password must be changed, setting the same one is not a change.
    async fn check_is_another(
        &self,
        asking: &Asking<'_>,
        row: &account::Model,
        new: &Password,
    ) -> Result<(), PasswordChangeError> {
        if !row.must_change_password {
            return Ok(());
        }
        let passwords = self.auth.per_instance::<Passwords>();
        let id = row.id.to_string();
        match passwords.check(new, Some(row), &id, asking.client.address()).await? {
            Checked::Right { .. } => Err(PasswordChangeError::same()),
            Checked::Wrong => Ok(()),
        }
    }

    /// Prepares the session that follows.
    async fn next<'n>(
        &'n self,
        asking: &'n Asking<'_>,
        row: &'n account::Model,
    ) -> Result<Next<'n>, Fault> {
        let context = self.auth.context();
        let (client, now) = (asking.client, asking.now);
        let factors = asking.state.factors.clone().with(Factor::Password, now);
        let epoch = row.epoch + 1;
        Ok(match asking.state.stage {
            Stage::Full => Next::GoesOn(Box::new(
                StartSession::new(context, context.db(), client)
                    .of(asking.account)
                    .at_epoch(epoch)
                    .going_on_from(asking.state, asking.transport)
                    .passed(factors),
            )),
            Stage::PendingSecondFactor
            | Stage::MustChangePassword
            | Stage::MustEnrol
            | Stage::Anonymous => {
                let demands = Demands::read(self.auth, row, now).await?.with_new_password();
                Next::SignsIn(Box::new(
                    NewSession::new(self.auth, row, factors, demands, client, now)
                        .finishing(asking.state, asking.transport)
                        .at_epoch(epoch),
                ))
            }
        })
    }

    /// Returns whether the mailbox alone was enough to set this password. A sign-in that must set a new
    /// one leaves it as it was.
    fn mailed(&self, asking: &Asking<'_>, current: bool) -> MailedPassword {
        if asking.state.stage != Stage::Full {
            return MailedPassword::Unchanged;
        }
        let recent = self.auth.context().config.session.recent_factor;
        let by_mail = |factor| factor == Factor::MailedCode;
        let passed = || asking.state.factors.iter();
        if !current && !passed().any(|(one, at)| !by_mail(one) && asking.now.since(at) < recent) {
            return MailedPassword::Since(asking.now);
        }
        // The password may itself come from the mailbox, and so does a passkey that was made from it.
        let by_password = |one| matches!(one, Factor::Password | Factor::UnverifiedPasskey);
        match passed().any(|(one, _)| !by_mail(one) && !by_password(one)) {
            true => MailedPassword::No,
            false => MailedPassword::Unchanged,
        }
    }

    /// Writes the change and everything that follows from it.
    async fn write(
        &self,
        asking: &Asking<'_>,
        row: &account::Model,
        hashed: StoredPassword,
        next: Next<'_>,
        ticket: Option<&Ticket>,
    ) -> Result<Started, PasswordChangeError> {
        let context = self.auth.context();
        let Asking { account, client, now, .. } = *asking;
        let event = Event::new(EventKind::PasswordChanged, now)
            .account(account.id())
            .session(asking.state.id)
            .from_client(client);
        let to = account.email().and_then(Recipient::email);
        let notice = Outgoing::new(MessageKind::PasswordChanged, to)
            .account(account.id())
            .values(Values::new().with_some("address", client.address()));
        let hooks = self.auth.per_instance::<HookList>();
        let change = ChangingPassword {
            auth: self.auth,
            account,
            account_id: account.id(),
            session_id: Some(asking.state.id),
            client,
            at: now,
        };
        let signs_in_at = next.signs_in().then_some(now);
        let mailed = self.mailed(asking, ticket.is_some());
        transaction!(context.db(), |txn| {
            // Before anything is read, so that what others have just added for the account is seen.
            session_store::lock_account(txn, row.id).await?;
            hooks.before_password_change(change, txn).await?;
            // This replaces only the hash that was compared. If another request changed it
            // meanwhile, the transaction fails and nothing is changed.
            let hashed = hashed.clone();
            if !account_store::change_password(txn, row, hashed, signs_in_at, mailed).await? {
                return Err(PasswordChangeError::ChangedMeanwhile);
            }
            one_time::end_by_session(txn, account, now).await?;
            enrolled_store::forget_passkeys_by_browser(txn, row.id).await?;
            audit_log::record(txn, &event).await?;
            outbox::put(txn, context, &notice).await?;
            if let Some(ticket) = ticket {
                ticket.succeeded(txn).await?;
            }
            let started = next.clone().start(txn).await?;
            hooks.after_password_change(change, txn).await?;
            Ok(started)
        })
    }
}

/// The session that follows the change of a password.
#[derive(Clone)]
enum Next<'a> {
    /// Continues a session that was signed in before.
    GoesOn(Box<StartSession<'a>>),
    /// Finishes a sign-in that had to set a new password.
    SignsIn(Box<NewSession<'a>>),
}

/// A session that was started in a transaction.
enum Started {
    GoesOn(Box<Issued>),
    SignedIn(Box<Made>),
}

impl Next<'_> {
    /// Returns true if this finishes a sign-in.
    fn signs_in(&self) -> bool {
        match self {
            Self::GoesOn(_) => false,
            Self::SignsIn(session) => session.stage() == Stage::Full,
        }
    }

    async fn start(self, txn: &Txn<'_>) -> Result<Started, SessionError> {
        Ok(match self {
            Self::GoesOn(start) => Started::GoesOn(Box::new(start.inside(txn).issue().await?)),
            Self::SignsIn(session) => {
                Started::SignedIn(Box::new(session.make(txn, Locked::by_the_flow()).await?))
            }
        })
    }
}
