//! Routes that need a proof: a layer, and the proof that it found.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum_core::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::{ActionProofError, Expected, OpenConsent, Recheck, VerifiedProof};
use crate::base::problem::Rejection;
#[cfg(feature = "routes")]
use crate::guard::Requirement;
#[cfg(feature = "routes")]
use crate::guard::access::{Access, FurtherGuard};
use crate::guard::instance::{Instance, misconfigured};
use crate::guard::service::{Admit, Admitting, Guarded, Watch};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::outstanding::ApplicationPurpose;

/// The header in which a request brings the proof.
pub const HEADER: &str = "portcullis-action-proof";

/// A guard, see [`Portcullis::require_action_proof`].
#[derive(Clone)]
#[must_use = "a guard protects nothing until it is added as a layer"]
pub struct RequireActionProof {
    action: Arc<str>,
    resource: Instance,
    reading: Option<Recheck>,
}

impl Portcullis {
    /// Returns a layer that lets a request through only with the proof that the person of its session
    /// consented to this action. Add it with `route_layer`, inside the guards that decide who may call the
    /// route, or give it to a route of [`auth.router()`](Self::router), which then lists it:
    /// `auth.require_action_proof("pay").on_path("id").behind(auth.require(invoice::Pay).on_path("id"))`.
    ///
    /// The handler takes the [`VerifiedProof`], and uses it up in its transaction. **The guard does not
    /// use it up**: if the handler does not, a further request with the same proof passes. If a handler answers
    /// 2xx without having used it up, there is a finding `action_proof_not_spent`.
    /// [`for_reading`](RequireActionProof::for_reading) is for routes that may be called several times.
    ///
    /// A request without a proof gets 401 `action_proof_required`, with the action and the resource, so that a
    /// page can ask for the consent and send the request again. The proof comes in the header
    /// `Portcullis-Action-Proof`.
    pub fn require_action_proof(&self, action: impl AsRef<str>) -> RequireActionProof {
        let action = action.as_ref().into();
        RequireActionProof { action, resource: Instance::Whole, reading: None }
    }
}

impl RequireActionProof {
    /// The proof must be about what the path parameter names: on `/invoices/{id}/pay`, about the `id`.
    #[cfg(feature = "routes")]
    pub fn on_path(mut self, parameter: &str) -> Self {
        self.resource = Instance::Path(parameter.into());
        self
    }

    /// Does the same, with an id from anywhere in the request. If `resource` returns `None`, the answer is 404.
    pub fn on(
        mut self,
        resource: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.resource = Instance::Custom(Arc::new(resource));
        self
    }

    /// The route may be called several times with one proof, until the proof ends. The handler takes an
    /// [`OpenConsent`], which cannot be used up. `recheck` says whether the guard may rely on an earlier
    /// check, see [`check_open`](super::ActionProofs::check_open). Do not use it for anything that must happen
    /// only once.
    pub fn for_reading(mut self, recheck: Recheck) -> Self {
        self.reading = Some(recheck);
        self
    }

    /// Returns the access of a route of a [guarded router](crate::guard::GuardedRouter): `access` decides
    /// first who may call it, and then the proof is needed.
    #[cfg(feature = "routes")]
    pub fn behind(self, access: impl Into<Access>) -> Access {
        let text = self.to_string();
        let parameter = self.resource.parameter().map(str::to_owned);
        access.into().with(FurtherGuard::new(self, text, parameter.as_deref()))
    }

    /// Checks the request, and puts what it finds into its extensions.
    async fn judge(&self, parts: &mut Parts) -> Result<(), Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        // This comes first: a client that is not signed in must not learn what routes need.
        let identity = request_identity.full().await?;
        if identity.is_superseded() {
            return Err(AuthError::superseded().into());
        }
        if ApplicationPurpose::parse(&self.action).is_none() {
            let fault = format!("`{}` is not the name of an action", self.action);
            return Err(misconfigured(&request_identity, fault));
        }
        let resource = self.resource.find(&request_identity, parts).await?;
        let mut tokens = parts.headers.get_all(HeaderName::from_static(HEADER)).iter();
        let token = match (tokens.next(), tokens.next()) {
            (None, _) => {
                let action = self.action.as_ref().to_owned();
                return Err(ActionProofError::Required { action, resource }.into());
            }
            (Some(token), None) => token.to_str().map_err(|_| ActionProofError::Invalid)?,
            (Some(_), Some(_)) => return Err(ActionProofError::Invalid.into()),
        };
        let mut expected = Expected::action(&self.action).of(&identity);
        if let Some(resource) = &resource {
            expected = expected.resource(resource);
        }
        let proofs = request_identity.auth().action_proofs();
        match self.reading {
            None => {
                let proof = proofs.verify(token, &expected).await?;
                parts.extensions.insert(proof);
            }
            Some(recheck) => {
                let consent = proofs.check_open(token, &expected, &identity, recheck).await?;
                parts.extensions.insert(consent);
            }
        }
        Ok(())
    }
}

/// Writes for example `action_proof(pay) on {id}`.
impl fmt::Display for RequireActionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reading = if self.reading.is_some() { " for reading" } else { "" };
        write!(f, "action_proof({}){}{reading}", self.action, self.resource)
    }
}

impl fmt::Debug for RequireActionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequireActionProof({self})")
    }
}

/// The route is for accounts that are signed in. [`behind`](RequireActionProof::behind) says more.
#[cfg(feature = "routes")]
impl From<RequireActionProof> for Access {
    fn from(guard: RequireActionProof) -> Self {
        guard.behind(Requirement::signed_in())
    }
}

impl<S> Layer<S> for RequireActionProof {
    type Service = RequireActionProofService<S>;

    fn layer(&self, inner: S) -> RequireActionProofService<S> {
        Guarded::new(inner, self.clone())
    }
}

/// The service that [`RequireActionProof`] creates.
pub type RequireActionProofService<S> = Guarded<S>;

impl Admit for RequireActionProof {
    fn admit<'a>(&'a self, parts: &'a mut Parts) -> Admitting<'a> {
        Box::pin(self.judge(parts))
    }

    fn watch(&self, parts: &Parts) -> Option<Watch> {
        let proof = parts.extensions.get::<VerifiedProof>().filter(|_| self.reading.is_none())?;
        let (auth, spent, action) = (proof.auth().clone(), proof.spent(), Arc::clone(&self.action));
        Some(Box::new(move |status| {
            if status.is_success() && !spent.load(Ordering::Relaxed) {
                auth.report_finding(
                    "action_proof_not_spent",
                    &format!(
                        "a route that needs a proof of `{action}` answered {status} without using it up, \
                         so one consent opens it several times; use the proof up with `spend_within`, \
                         or say `for_reading(..)` if that is intended"
                    ),
                );
            }
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for VerifiedProof {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        // Taken out, so that no second extractor gets it.
        parts.extensions.remove::<Self>().ok_or_else(|| {
            let text = "a handler takes a VerifiedProof, but its route has no \
                        `.route_layer(auth.require_action_proof(..))`, or it takes two";
            ActionProofError::Misconfigured(text.to_owned()).into()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OpenConsent {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        parts.extensions.get().cloned().ok_or_else(|| {
            let text = "a handler takes an OpenConsent, but its route has no \
                        `auth.require_action_proof(..).for_reading(..)`";
            ActionProofError::Misconfigured(text.to_owned()).into()
        })
    }
}
