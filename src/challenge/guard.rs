//! Routes that require an answered challenge: a layer, and a type that proves that the challenge
//! was used up.

use std::marker::PhantomData;
use std::sync::Arc;

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use tower_layer::Layer;

use super::{ChallengeError, Challenges, application};
use crate::base::id::{ChallengeId, SessionId};
use crate::base::problem::Rejection;
use crate::base::transaction::transaction;
use crate::guard::service::{Admit, Admitting, Guarded};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::one_time::{self, Challenge};

/// A purpose of your application, as a type.
pub trait ChallengePurpose: Send + Sync + 'static {
    /// Its name: 1 to 48 lower-case letters, digits, dashes or underscores.
    const NAME: &'static str;
}

/// Proof that the session of this request answered a challenge of the purpose `P`. This request has
/// used it up. The type does not say who is signed in, at which stage, or what they may do. The
/// session may belong to a visitor or to an unfinished sign-in.
///
/// ```compile_fail
/// # use portcullis::challenge::{Answered, ChallengePurpose};
/// struct Transfer;
/// impl ChallengePurpose for Transfer { const NAME: &'static str = "transfer"; }
/// struct Closing;
/// impl ChallengePurpose for Closing { const NAME: &'static str = "closing"; }
///
/// fn close(_: Answered<Closing>) {}
/// fn handler(answered: Answered<Transfer>) {
///     close(answered);
/// }
/// ```
#[derive(Debug)]
pub struct Answered<P> {
    challenge: Challenge,
    purpose: PhantomData<fn() -> P>,
}

impl<P> Answered<P> {
    /// Returns the id of the challenge.
    pub fn id(&self) -> ChallengeId {
        self.challenge.id()
    }

    /// Returns what the challenge was about. Compare this with what the request asks for. Otherwise
    /// a code for one payment could confirm another.
    pub fn target(&self) -> Option<&str> {
        self.challenge.target()
    }
}

/// The challenge that a guard used up for this request, so that an extractor behind it needs no
/// second one.
#[derive(Debug, Clone)]
struct Spent {
    purpose: Arc<str>,
    challenge: Challenge,
}

/// Returns the session that may hold a challenge, at any stage. Refuses a session that a step-up
/// has replaced.
async fn session_of(parts: &Parts) -> Result<(Portcullis, SessionId), AuthError> {
    let request_identity = RequestIdentity::of(&parts.extensions)?;
    let resolved = request_identity.resolve().await?;
    if resolved.is_superseded() {
        return Err(AuthError::superseded());
    }
    let session = resolved.session_id().ok_or_else(|| resolved.no_session())?;
    request_identity.answers_somebody();
    Ok((request_identity.auth().clone(), session))
}

/// Uses up an answered challenge of this purpose and of the request's session.
async fn spend(parts: &Parts, purpose: &str) -> Result<Challenge, Rejection> {
    let (auth, session) = session_of(parts).await?;
    Ok(auth.challenges().spend(purpose, session).await?)
}

impl Challenges<'_> {
    async fn spend(&self, purpose: &str, session: SessionId) -> Result<Challenge, ChallengeError> {
        let kind = application(purpose)?;
        let now = self.auth.context().now();
        let required = || ChallengeError::Required(purpose.to_owned());
        loop {
            let executor = self.db.executor();
            let found = one_time::answered(&executor, &kind, session, now);
            let challenge = self.db.read(found).await?.ok_or_else(required)?;
            let spent = transaction!(self.db, |txn| {
                Ok::<_, ChallengeError>(challenge.spend(txn, now).await?)
            })?;
            if spent {
                return Ok(challenge);
            }
            // Another request of this session was faster. There may be a second challenge.
        }
    }
}

impl<S: Send + Sync, P: ChallengePurpose> FromRequestParts<S> for Answered<P> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let spent = parts.extensions.get::<Spent>().filter(|spent| *spent.purpose == *P::NAME);
        let challenge = match spent {
            Some(spent) => spent.challenge.clone(),
            None => spend(parts, P::NAME).await?,
        };
        Ok(Self { challenge, purpose: PhantomData })
    }
}

impl Portcullis {
    /// Returns a layer that lets a request through only if its session has answered a challenge of
    /// this purpose. The request uses it up. Add the layer with `route_layer`, inside the guards
    /// that decide who may call the route. Then a request that those guards refuse uses up nothing.
    /// Every method is checked, even `OPTIONS`, because it can reach a handler like any other.
    pub fn require_challenge(&self, purpose: impl AsRef<str>) -> RequireChallenge {
        RequireChallenge { purpose: purpose.as_ref().into() }
    }
}

/// A guard, see [`Portcullis::require_challenge`].
#[derive(Debug, Clone)]
#[must_use = "a guard protects nothing until it is added as a layer"]
pub struct RequireChallenge {
    purpose: Arc<str>,
}

impl<S> Layer<S> for RequireChallenge {
    type Service = RequireChallengeService<S>;

    fn layer(&self, inner: S) -> RequireChallengeService<S> {
        Guarded::new(inner, self.clone())
    }
}

/// The service that [`RequireChallenge`] creates.
pub type RequireChallengeService<S> = Guarded<S>;

impl Admit for RequireChallenge {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(async move {
            let challenge = spend(parts, &self.purpose).await?;
            parts.extensions.insert(Spent { purpose: Arc::clone(&self.purpose), challenge });
            Ok(())
        })
    }
}
