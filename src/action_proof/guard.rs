//! Routes that need a proof: a layer, and the proof that it found.

use std::fmt;
use std::sync::Arc;

use axum_core::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;
use tower_layer::Layer;

use super::{ActionProofError, Expected, VerifiedProof};
use crate::base::problem::Rejection;
use crate::guard::require::misconfigured;
#[cfg(feature = "routes")]
use crate::guard::require::path_parameter;
use crate::guard::service::{Admit, Admitting, Guarded};
use crate::handle::Portcullis;
use crate::identity::AuthError;
use crate::identity::request_identity::RequestIdentity;
use crate::outstanding::ApplicationPurpose;

/// The header in which a request brings the proof.
pub const HEADER: &str = "portcullis-action-proof";

/// Finds the id of what a request is about.
type FindResource = dyn Fn(&Parts) -> Option<String> + Send + Sync;

#[derive(Clone)]
enum Resource {
    None,
    #[cfg(feature = "routes")]
    Path(Arc<str>),
    Custom(Arc<FindResource>),
}

/// A guard, see [`Portcullis::require_action_proof`].
#[derive(Clone)]
#[must_use = "a guard protects nothing until it is added as a layer"]
pub struct RequireActionProof {
    action: Arc<str>,
    resource: Resource,
}

impl Portcullis {
    /// Returns a layer that lets a request through only with the proof that the person of its session
    /// consented to this action. Add it with `route_layer`, inside the guards that decide who may call the
    /// route. The handler takes the [`VerifiedProof`], and uses it up in its transaction. **The guard does not
    /// use it up**: if the handler does not, a further request with the same proof passes.
    ///
    /// A request without a proof gets 401 `action_proof_required`, with the action and the resource, so that a
    /// page can ask for the consent and send the request again. The proof comes in the header
    /// `Portcullis-Action-Proof`.
    pub fn require_action_proof(&self, action: impl AsRef<str>) -> RequireActionProof {
        RequireActionProof { action: action.as_ref().into(), resource: Resource::None }
    }
}

impl RequireActionProof {
    /// The proof must be about what the path parameter names: on `/invoices/{id}/pay`, about the `id`.
    #[cfg(feature = "routes")]
    pub fn on_path(mut self, parameter: &str) -> Self {
        self.resource = Resource::Path(parameter.into());
        self
    }

    /// Does the same, with an id from anywhere in the request. If `resource` returns `None`, the answer is 404.
    pub fn on(
        mut self,
        resource: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.resource = Resource::Custom(Arc::new(resource));
        self
    }

    async fn judge(&self, parts: &mut Parts) -> Result<VerifiedProof, Rejection> {
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
        let resource = match &self.resource {
            Resource::None => None,
            #[cfg(feature = "routes")]
            Resource::Path(name) => match path_parameter(parts, name).await {
                Ok(found) => Some(found.ok_or(AuthError::NoSuchInstance)?),
                Err(fault) => return Err(misconfigured(&request_identity, fault)),
            },
            Resource::Custom(find) => Some(find(parts).ok_or(AuthError::NoSuchInstance)?),
        };
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
        Ok(request_identity.auth().action_proofs().verify(token, &expected).await?)
    }
}

impl fmt::Debug for RequireActionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequireActionProof({})", self.action)
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
        Box::pin(async move {
            let proof = self.judge(parts).await?;
            parts.extensions.insert(proof);
            Ok(())
        })
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
