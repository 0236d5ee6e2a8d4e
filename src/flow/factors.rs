//! What the flows of second factors share: which factor must be recent before they are changed, the
//! count of guesses, and the session that goes on after a change.

use crate::account::Account;
use crate::attempt::{Admission, Subject};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::event::EventKind;
use crate::base::factor::{Factor, PassedFactors};
use crate::base::transaction::{Fault, Txn};
use crate::config::AttemptKind;
use crate::context::Context;
use crate::guard::{Outcome, Requirement};
use crate::handle::Portcullis;
use crate::identity::{AuthError, Identity};
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
/// the account has none yet, any factor is enough. If it has one, a password is not enough: otherwise
/// a thief of the password and of a session could add a factor of their own.
///
/// # Errors
/// [`AuthError::StepUp`], with the factors of this account that would help.
pub(crate) fn require_recent(
    auth: &Portcullis,
    identity: &Identity,
    recent: Recent,
) -> Result<(), AuthError> {
    let age = auth.context().config.session.recent_factor;
    let enrolled = identity.account().enrolled_factors();
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
    let by_one = accepted.iter().filter(|factor| *factor != Factor::Password);
    let by_one = by_one.map(|factor| Requirement::factor_within(factor, age));
    let requirement = Requirement::any(by_one).unwrap_or_else(|_| Requirement::within(age));
    match requirement.check(identity) {
        Outcome::Met => Ok(()),
        Outcome::StepUp | Outcome::Denied => Err(AuthError::StepUp(requirement.step_up(identity))),
    }
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
    let subject = inside(auth, auth.attempts().subject_of(account.id()), account, client);
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

/// Continues the session of the owner who has changed the factors, under the new epoch. All other
/// sessions of the account have ended.
pub(crate) async fn go_on(
    auth: &Portcullis,
    txn: &Txn<'_>,
    identity: &Identity,
    epoch: i64,
    passed: PassedFactors,
    client: &ClientInfo,
) -> Result<Issued, SessionError> {
    let (context, session) = (auth.context(), identity.session());
    let start = StartSession::new(context, context.db(), client)
        .of(identity.account())
        .at_epoch(epoch)
        .going_on_from(&session.state, session.transport())
        .passed(passed);
    start.inside(txn).issue().await
}
