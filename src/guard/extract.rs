//! Extractors: typed values that say who sent a request.
//!
//! Each extractor rejects sessions in any other stage. A sign-in that still waits for its second
//! factor is only a [`PendingSession`]. So it cannot reach a handler that asks for a [`Session`].

use std::marker::PhantomData;
#[cfg(feature = "routes")]
use std::sync::Arc;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::guard::decision::admit;
use crate::guard::requirement::Requirement;
use crate::handle::Portcullis;
use crate::identity::credential::client_of;
#[cfg(feature = "routes")]
use crate::identity::owner::{AccountOwner, AccountPermission};
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::identity::{ApiKeyIdentity, AuthError, Identity, Principal};
use crate::permission::typed::TypedPermission;
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session, Stage,
};

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(RequestIdentity::of(&parts.extensions)?.full().await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(RequestIdentity::of(&parts.extensions)?.full().await?.session().clone())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(RequestIdentity::of(&parts.extensions)?.account().await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(RequestIdentity::of(&parts.extensions)?.principal().await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiKeyIdentity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        match RequestIdentity::of(&parts.extensions)?.principal().await? {
            Principal::ApiKey(program) => Ok(program),
            Principal::Session(_) => Err(AuthError::ApiKeyRequired.into()),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        Ok(match request_identity.resolve_optional().await? {
            Resolved::Full(identity) => Some(identity.clone().into()),
            Resolved::ApiKey(program) => Some(program.clone().into()),
            _ => None,
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        Ok(RequestIdentity::of(&parts.extensions)?.optional().await?)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let identity = RequestIdentity::of(&parts.extensions)?.optional().await?;
        Ok(identity.map(|identity| identity.session().clone()))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Account {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let identity = RequestIdentity::of(&parts.extensions)?.optional().await?;
        Ok(identity.map(|identity| identity.account().clone()))
    }
}

macro_rules! stage_extractors {
    ($($type:ident: $variant:ident, $stage:ident);+ $(;)?) => { $(
        impl<S: Send + Sync> FromRequestParts<S> for $type {
            type Rejection = Rejection;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
                let request_identity = RequestIdentity::of(&parts.extensions)?;
                match request_identity.resolve().await? {
                    Resolved::$variant(session) => {
                        request_identity.answers_somebody();
                        Ok(session.clone())
                    }
                    Resolved::Nobody(reason) => Err(AuthError::NotSignedIn(*reason).into()),
                    Resolved::ApiKey(_) => Err(AuthError::SessionRequired.into()),
                    _ => Err(AuthError::WrongStage(Stage::$stage.in_words()).into()),
                }
            }
        }

        impl<S: Send + Sync> OptionalFromRequestParts<S> for $type {
            type Rejection = Rejection;

            async fn from_request_parts(
                parts: &mut Parts,
                _: &S,
            ) -> Result<Option<Self>, Rejection> {
                let request_identity = RequestIdentity::of(&parts.extensions)?;
                Ok(match request_identity.resolve_optional().await? {
                    Resolved::$variant(session) => Some(session.clone()),
                    _ => None,
                })
            }
        }
    )+ };
}

stage_extractors! {
    PendingSession: Pending, PendingSecondFactor;
    PasswordChangeSession: PasswordChange, MustChangePassword;
    EnrolmentSession: Enrolment, MustEnrol;
    AnonymousSession: Anonymous, Anonymous;
}

impl<S: Send + Sync> FromRequestParts<S> for ClientInfo {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        Ok(client_of(request_identity.auth(), &parts.headers, &parts.extensions))
    }
}

/// Extracts portcullis itself, so that a handler needs no state for it.
impl<S: Send + Sync> FromRequestParts<S> for Portcullis {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(RequestIdentity::of(&parts.extensions)?.auth().clone())
    }
}

/// Proof that the request has the permission `P`: a guard as an extractor.
///
/// ```
/// use portcullis::Allowed;
///
/// portcullis::permissions! { printer: Print; }
///
/// async fn print(_: Allowed<printer::Print>) -> &'static str {
///     "printing"
/// }
/// ```
///
/// # Errors
/// A request without the permission gets the same answers as with
/// [`auth.require(..)`](Portcullis::require): 401, a redirect to the login page, or 403. A type
/// whose text is not a permission gets 500 `guard_misconfigured`.
#[derive(Debug, Clone)]
pub struct Allowed<P> {
    identity: Identity,
    permission: PhantomData<fn() -> P>,
}

impl<P> Allowed<P> {
    /// Returns the identity that has the permission.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl<S: Send + Sync, P: TypedPermission> FromRequestParts<S> for Allowed<P> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        let requirement = Requirement::permission(P::TEXT)
            .map_err(|error| AuthError::Misconfigured(format!("`{}`: {error}", P::TEXT)))?;
        let identity = admit(&request_identity, &requirement, parts).await?;
        Ok(Self { identity, permission: PhantomData })
    }
}

/// Who sent a request to a mounted route. This is resolved before the route changes anything.
#[cfg(feature = "routes")]
pub(crate) struct Before(Arc<RequestIdentity>);

#[cfg(feature = "routes")]
impl Before {
    pub(crate) fn resolved(&self) -> Option<&Resolved> {
        self.0.resolved()
    }

    /// Returns the owner of the account, for a route that accepts other sessions too.
    pub(crate) fn owner<P: AccountPermission>(
        &self,
        identity: &Identity,
    ) -> Result<AccountOwner<P>, AuthError> {
        self.0.owner(identity)
    }
}

#[cfg(feature = "routes")]
impl<S: Send + Sync> FromRequestParts<S> for Before {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        request_identity.resolve().await?;
        Ok(Self(request_identity))
    }
}

/// The lazy handle of a request. Routes that renew a token or sign out use it, because they do more
/// than read who sent the request.
#[cfg(feature = "routes")]
pub(crate) struct Handle(pub(crate) Arc<RequestIdentity>);

#[cfg(feature = "routes")]
impl<S: Send + Sync> FromRequestParts<S> for Handle {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(RequestIdentity::of(&parts.extensions)?))
    }
}
