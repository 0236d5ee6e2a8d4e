//! What the flows of second factors share: which factor must be recent before they are changed, and
//! the count of guesses.

use std::time::Duration;

use crate::account::Account;
use crate::attempt::{Admission, Subject};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::EventKind;
use crate::base::factor::{EnrolledFactors, Factor};
use crate::base::transaction::{Fault, Txn};
use crate::config::AttemptKind;
use crate::context::Context;
use crate::flow::enrolling::FactorOwner;
use crate::guard::{Outcome, Requirement};
use crate::handle::Portcullis;
use crate::identity::owner::{self, AccountPermission};
use crate::identity::step_up::StepUp;
use crate::identity::{AuthError, Identity};
use crate::message::Recipient;
use crate::session::device::Devices;
use crate::session::{Issued, SessionError, StartSession, store as session_store};

/// What must have been proved recently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recent {
    /// Any second factor of the account, also a recovery code: a person who has lost the phone sets
    /// up a new one in this way.
    SecondFactor,
    /// A second factor that is no recovery code. A thief of the sheet of paper must not remove the
    /// other factors, nor make more codes.
    NotRecoveryCode,
}

/// Checks that a factor was proved recently enough to change the second factors of the account. If
/// the account has none yet, the mailbox must be proved, or any factor if it has no verified mailbox. If
/// it has one, a password is not enough: otherwise a thief of the password and of a session could add a
/// factor of their own.
///
/// # Errors
/// [`AuthError::StepUp`], with the factors of this account that would help.
pub(crate) fn require_recent(
    auth: &Portcullis,
    owner: &FactorOwner,
    recent: Recent,
) -> Result<(), AuthError> {
    let enrolled = owner.account().enrolled_factors();
    let first = recent == Recent::SecondFactor && enrolled.is_empty();
    if first && asks_mailbox(auth.context(), owner.account()) {
        return require_factor(auth, owner, Factor::MailedCode);
    }
    let enrolled = counting(auth.context(), enrolled);
    let strong = enrolled.without(Factor::RecoveryCode);
    let accepted = match recent {
        // An account has recovery codes only beside another factor, unless the application says
        // otherwise.
        Recent::NotRecoveryCode if !strong.is_empty() => strong,
        // A session has this factor only by a code that was right. After the last one, the account has
        // none any more, and its owner must still be able to set up a new authenticator.
        Recent::SecondFactor if !enrolled.is_empty() => enrolled.with(Factor::RecoveryCode),
        Recent::NotRecoveryCode | Recent::SecondFactor => enrolled,
    };
    require(auth, owner, accepted.without(Factor::Password))
}

/// Checks that a factor was proved recently enough for a new API key, which is a way in without a factor. If
/// the account has second factors, one of them is needed. A recovery code is not enough: with the sheet of
/// paper alone, nobody gets a key.
///
/// # Errors
/// [`AuthError::StepUp`], with the factors of this account that would help.
pub(crate) fn require_recent_for_key(
    auth: &Portcullis,
    identity: &Identity,
) -> Result<(), AuthError> {
    if identity.is_superseded() {
        return Err(AuthError::superseded());
    }
    let enrolled = counting(auth.context(), identity.account().enrolled_factors());
    let strong = enrolled.without(Factor::RecoveryCode).without(Factor::Password);
    recently(auth, identity, strong)
}

/// Returns the factors that count. A weak one, such as a mailed code, does not count if the account has a
/// strong one. Otherwise a thief of the password and the mailbox could replace the strong one (NIST SP 800-63B-4
/// section 4.1.2). A person who has lost the strong one uses a recovery code.
fn counting(context: &Context, enrolled: EnrolledFactors) -> EnrolledFactors {
    let enough = enrolled.enough(context.config.factor.least);
    if enough.is_empty() {
        enrolled
    } else if enrolled.contains(Factor::RecoveryCode) {
        enough.with(Factor::RecoveryCode)
    } else {
        enough
    }
}

/// Checks that this factor was proved recently in the session.
///
/// # Errors
/// [`AuthError::StepUp`].
pub(crate) fn require_factor(
    auth: &Portcullis,
    owner: &FactorOwner,
    factor: Factor,
) -> Result<(), AuthError> {
    require_factor_within(auth, owner, factor, auth.context().config.session.recent_factor)
}

/// The same, within this time.
pub(crate) fn require_factor_within(
    auth: &Portcullis,
    owner: &FactorOwner,
    factor: Factor,
    age: Duration,
) -> Result<(), AuthError> {
    let context = auth.context();
    check_session(owner)?;
    // It need not be a factor of the account yet.
    let passed = owner.passed().passed_at(factor);
    if passed.is_some_and(|at| context.now().since(at) < age) {
        return Ok(());
    }
    let step_up = StepUp { factors: vec![factor], max_age: Some(age), ..StepUp::default() };
    Err(AuthError::StepUp(step_up))
}

/// Checks that a session may change the factors of its account.
fn check_session(asks: &FactorOwner) -> Result<(), AuthError> {
    if asks.is_superseded() {
        return Err(AuthError::superseded());
    }
    if asks.identity().is_none() && asks.is_limited() {
        // A session that was limited, for example for another program, must not become the owner.
        return Err(AuthError::LimitedSession(owner::Factors::TEXT));
    }
    Ok(())
}

/// Checks that one of these factors was proved recently, or any factor if there are none.
fn require(
    auth: &Portcullis,
    asks: &FactorOwner,
    accepted: EnrolledFactors,
) -> Result<(), AuthError> {
    let (context, age) = (auth.context(), auth.context().config.session.recent_factor);
    check_session(asks)?;
    let Some(identity) = asks.identity() else {
        // A sign-in that must set up a factor has no identity that a requirement could check.
        let passed = asks.passed().iter();
        let mut passed =
            passed.filter(|(factor, _)| accepted.is_empty() || accepted.contains(*factor));
        // After the last recovery code, the account has no other: after five minutes, or after a change of the
        // network, its owner could neither set up a factor nor sign in again. The sign-in itself ends after
        // `pending_lifetime`.
        let by_code = accepted.contains(Factor::RecoveryCode) && asks.has_used_recovery_code();
        if by_code || passed.any(|(_, at)| context.now().since(at) < age) {
            return Ok(());
        }
        let factors = accepted.iter().collect();
        let step_up = StepUp { factors, max_age: Some(age), ..StepUp::default() };
        return Err(AuthError::StepUp(step_up));
    };
    recently(auth, identity, accepted)
}

/// The same for a full session.
fn recently(
    auth: &Portcullis,
    identity: &Identity,
    accepted: EnrolledFactors,
) -> Result<(), AuthError> {
    let age = auth.context().config.session.recent_factor;
    let by_one = accepted.iter().map(|factor| Requirement::factor_within(factor, age));
    let requirement = Requirement::any(by_one).unwrap_or_else(|_| Requirement::within(age));
    match requirement.check(identity) {
        Outcome::Met => Ok(()),
        Outcome::StepUp | Outcome::Denied => Err(AuthError::StepUp(requirement.step_up(identity))),
    }
}

/// Returns true if the owner of an account must prove their mailbox before the account gets its first
/// second factor. With the password alone, a thief could set one up and lock out the owner.
fn asks_mailbox(context: &Context, account: &Account) -> bool {
    let mailbox = account.email().filter(|_| account.is_verified()).and_then(Recipient::email);
    context.config.factor.prove_mailbox && mailbox.is_some_and(|to| context.can_send_to(&to))
}

/// Returns the factors of the account that would make a factor recent enough, for a change that any
/// factor allows.
pub(crate) fn would_help(context: &Context, identity: &Identity) -> Vec<Factor> {
    Requirement::within(context.config.session.recent_factor).step_up(identity).factors
}

/// Takes an attempt at a second factor before anything is compared. All second factors of an account
/// have one count, in all sessions and sign-ins. So to change the method, or to sign in once more,
/// brings no attempts. The caller has proved another factor of the account, or has a session of it.
pub(crate) async fn take_attempt(
    auth: &Portcullis,
    account: &Account,
    client: &ClientInfo,
) -> Result<Admission, Fault> {
    let subject = auth.attempts().subject_of(account.id()).told_at(account.email());
    let subject = inside(auth, subject, account, client);
    auth.attempts().take(AttemptKind::SecondFactor, &subject, client).await
}

/// Returns the same subject for a client that has already proved that the account is theirs.
pub(crate) fn inside(
    auth: &Portcullis,
    subject: Subject,
    account: &Account,
    client: &ClientInfo,
) -> Subject {
    let devices = auth.per_instance::<Devices>();
    let device = devices.recognize(auth.context(), client, account.id(), account.epoch);
    subject.on_device(auth, device.known()).inside()
}

/// A session whose user proves a factor again. A new session, with the new time of the factor,
/// replaces it.
#[must_use = "the session is made by `make`"]
pub(crate) struct Reauthentication<'a> {
    auth: &'a Portcullis,
    identity: &'a Identity,
}

impl<'a> Reauthentication<'a> {
    /// Call this before anything is compared. Otherwise a code would be used up for nothing.
    ///
    /// # Errors
    /// Another step-up has already replaced the session.
    pub(crate) fn of(auth: &'a Portcullis, identity: &'a Identity) -> Result<Self, SessionError> {
        if identity.is_superseded() {
            return Err(SessionError::Ended);
        }
        Ok(Self { auth, identity })
    }

    /// Locks the account's row. This must be the first statement of the transaction, as in every
    /// sign-in, so that two flows do not deadlock.
    pub(crate) async fn lock(&self, txn: &Txn<'_>) -> Result<(), SessionError> {
        Ok(session_store::lock_account(txn, self.identity.account().id()).await?)
    }

    /// Makes the new session, in a transaction that has locked the account's row.
    pub(crate) async fn make(
        &self,
        txn: &Txn<'_>,
        factor: Factor,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Issued, SessionError> {
        let (context, session) = (self.auth.context(), self.identity.session());
        let start = StartSession::new(context, context.db(), client)
            .of(self.identity.account())
            .stepping_up(&session.state, session.transport())
            .passed(session.factors().clone().with(factor, now))
            .event(EventKind::Reauthenticated);
        start.inside(txn).issue().await
    }
}
