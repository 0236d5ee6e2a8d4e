//! Who sets up a second factor: the owner of an account in a session, or a sign-in that must do so first.
//! A sign-in that must is finished by it, in the same transaction.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use crate::account::entity::account;
use crate::account::{Account, store as account_store};
use crate::base::client::ClientInfo;
use crate::base::factor::{EnrolledFactors, Factor, PassedFactors};
use crate::base::id::SessionId;
use crate::base::problem::Rejection;
use crate::base::transaction::{Fault, Txn};
use crate::context::Context;
use crate::flow::sign_in::{self, Demands, Locked, Made, NewSession};
use crate::handle::Portcullis;
use crate::identity::enrolment::requires_factor;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::identity::{AccountOwner, AuthError, Identity, NotSignedIn, owner};
use crate::session::judge::SessionState;
use crate::session::{EnrolmentSession, Issued, SessionError, Stage, StartSession, Transport};

/// Who sets up a second factor: the [owner](AccountOwner) of the account in a session, or a
/// [sign-in](EnrolmentSession) that must set one up first. It is an extractor. You can also make one with
/// `FactorOwner::from(..)`, from a reference to either.
#[derive(Debug, Clone)]
pub struct FactorOwner(Who);

#[derive(Debug, Clone)]
enum Who {
    Owner(Identity),
    Enrolling(EnrolmentSession),
}

impl From<&AccountOwner<owner::Factors>> for FactorOwner {
    fn from(owner: &AccountOwner<owner::Factors>) -> Self {
        Self(Who::Owner(owner.identity().clone()))
    }
}

impl From<&EnrolmentSession> for FactorOwner {
    fn from(session: &EnrolmentSession) -> Self {
        Self(Who::Enrolling(session.clone()))
    }
}

impl From<&FactorOwner> for FactorOwner {
    fn from(owner: &FactorOwner) -> Self {
        owner.clone()
    }
}

impl FactorOwner {
    /// The owner in a session that may change the account in another way.
    pub(crate) fn of(identity: &Identity) -> Self {
        Self(Who::Owner(identity.clone()))
    }

    /// Returns the account.
    pub fn account(&self) -> &Account {
        match &self.0 {
            Who::Owner(identity) => identity.account(),
            Who::Enrolling(session) => session.account(),
        }
    }

    /// Returns the identity of a session, or `None` for a sign-in that must set up a factor.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.0 {
            Who::Owner(identity) => Some(identity),
            Who::Enrolling(_) => None,
        }
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.state().id
    }

    pub(crate) fn passed(&self) -> &PassedFactors {
        &self.state().factors
    }

    /// True if a recovery code was used in this session or sign-in, from any source.
    pub(crate) fn has_used_recovery_code(&self) -> bool {
        self.state().has_proved(Factor::RecoveryCode)
    }

    /// True if another session has replaced this one.
    pub(crate) fn is_superseded(&self) -> bool {
        self.state().ended.is_some()
    }

    /// True if the session has a ceiling.
    pub(crate) fn is_limited(&self) -> bool {
        self.state().ceiling.is_some()
    }

    /// True if a role of the account requires a second factor.
    pub(crate) fn is_required(&self, context: &Context) -> bool {
        match &self.0 {
            Who::Owner(identity) => {
                requires_factor(context, identity.account().is_superuser(), identity.grants())
            }
            // The sign-in must set one up because of a role, or because it has used the last recovery code.
            // Only in the second case the account has a factor that is strong enough.
            Who::Enrolling(session) => {
                let enrolled = session.account().enrolled_factors();
                enrolled.enough(context.config.factor.least).is_empty()
            }
        }
    }

    fn state(&self) -> &SessionState {
        match &self.0 {
            Who::Owner(identity) => &identity.session().state,
            Who::Enrolling(session) => &session.state,
        }
    }

    fn transport(&self) -> Transport {
        match &self.0 {
            Who::Owner(identity) => identity.session().transport(),
            Who::Enrolling(session) => session.transport(),
        }
    }

    /// Returns true for a sign-in that would still have to set up a factor, if the account had these: a
    /// role requires a stronger one.
    pub(crate) async fn would_still_lack(
        &self,
        auth: &Portcullis,
        row: &account::Model,
        enrolled: EnrolledFactors,
    ) -> Result<bool, Fault> {
        if self.identity().is_some() {
            return Ok(false);
        }
        let row = account::Model { enrolled_factors: enrolled.0, ..row.clone() };
        Ok(Demands::read(auth, &row, auth.context().now()).await?.needs_enrolment())
    }

    /// Continues after the factors of the account were changed to `enrolled`, under the new epoch. All
    /// other sessions of the account have ended. A sign-in that had to set up a factor is complete now.
    pub(crate) async fn go_on(
        &self,
        auth: &Portcullis,
        txn: &Txn<'_>,
        changed: Changed<'_>,
        client: &ClientInfo,
    ) -> Result<GoesOn, SessionError> {
        let Changed { row, enrolled, epoch, passed } = changed;
        let now = auth.context().now();
        if self.state().stage == Stage::Full {
            let (state, transport) = (self.state(), self.transport());
            let issued = full(auth, txn, self.account(), (state, transport), epoch, passed, client);
            return Ok(GoesOn::Issued(Box::new(Box::pin(issued).await?)));
        }
        account_store::set_last_login(txn, row.id, now).await?;
        let demands = Demands::after_enrolment(auth.context(), row, enrolled);
        let session = NewSession::new(auth, row, passed, demands, client, now)
            .finishing(self.state(), self.transport())
            .at_epoch(epoch);
        let made = Box::pin(session.make(txn, Locked::by_the_flow())).await?;
        Ok(GoesOn::SignedIn(Box::new(made)))
    }

    /// Makes a session at the same stage that has also proved this factor.
    pub(crate) fn proving<'a>(
        &self,
        auth: &'a Portcullis,
        passed: PassedFactors,
        client: &'a ClientInfo,
    ) -> StartSession<'a> {
        let context = auth.context();
        StartSession::new(context, context.db(), client)
            .of(self.account())
            .staying_at_stage_of(self.state())
            .going_on_from(self.state(), self.transport())
            .passed(passed)
    }

    /// Records that a hook refused the sign-in, after its transaction was rolled back.
    pub(crate) async fn record_refusal(
        &self,
        auth: &Portcullis,
        client: &ClientInfo,
    ) -> Result<(), Fault> {
        if self.state().stage == Stage::Full {
            return Ok(());
        }
        sign_in::record_refusal(auth, self.account().id(), client, auth.context().now()).await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FactorOwner {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        Ok(match resolved(&request_identity).await? {
            Entitled::SignedIn(identity) => Self::from(&request_identity.owner(&identity)?),
            Entitled::Enrolling(session) => Self::from(&session),
        })
    }
}

/// A session that is full, or a sign-in that must set up a second factor.
pub(crate) enum Entitled {
    SignedIn(Identity),
    Enrolling(EnrolmentSession),
}

impl<S: Send + Sync> FromRequestParts<S> for Entitled {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(resolved(&*RequestIdentity::of(&parts.extensions)?).await?)
    }
}

async fn resolved(request_identity: &RequestIdentity) -> Result<Entitled, AuthError> {
    request_identity.resolve().await?;
    // The answer is for somebody, so it must not be cached.
    request_identity.answers_somebody();
    match request_identity.resolved() {
        Some(Resolved::Full(identity)) => Ok(Entitled::SignedIn(identity.clone())),
        Some(Resolved::Enrolment(session)) => Ok(Entitled::Enrolling(session.clone())),
        Some(other) => Err(other.no_session()),
        None => Err(AuthError::NotSignedIn(NotSignedIn::NoCredential)),
    }
}

/// What was changed before a session goes on.
pub(crate) struct Changed<'a> {
    /// The account before the change.
    pub(crate) row: &'a account::Model,
    pub(crate) enrolled: EnrolledFactors,
    pub(crate) epoch: i64,
    pub(crate) passed: PassedFactors,
}

/// The session after a change of the factors.
#[must_use = "the sign-in ends when this is committed"]
pub(crate) enum GoesOn {
    Issued(Box<Issued>),
    SignedIn(Box<Made>),
}

impl GoesOn {
    /// Does what follows after the commit.
    pub(crate) async fn committed(self, auth: &Portcullis) -> Issued {
        match self {
            Self::Issued(issued) => *issued,
            Self::SignedIn(made) => made.committed(auth).await.into_issued(),
        }
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
    let session = identity.session();
    let before = (&*session.state, session.transport());
    full(auth, txn, identity.account(), before, epoch, passed, client).await
}

async fn full(
    auth: &Portcullis,
    txn: &Txn<'_>,
    account: &Account,
    (state, transport): (&SessionState, Transport),
    epoch: i64,
    passed: PassedFactors,
    client: &ClientInfo,
) -> Result<Issued, SessionError> {
    let context = auth.context();
    let start = StartSession::new(context, context.db(), client)
        .of(account)
        .at_epoch(epoch)
        .going_on_from(state, transport)
        .passed(passed);
    start.inside(txn).issue().await
}
