//! Extractors: typed views of who a request is.
//!
//! Each takes only its own kind. A sign-in that still waits for its second factor is a
//! [`PendingSession`] and nothing else, so a handler that asks for a [`Session`] cannot be reached
//! with it.

use std::marker::PhantomData;
use std::sync::Arc;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::account::Account;
use crate::base::client::ClientInfo;
use crate::base::problem::Rejection;
use crate::handle::Portcullis;
use crate::identity::error::AuthError;
use crate::identity::requirement::Requirement;
use crate::identity::slot::{Resolved, Slot, client_of};
use crate::identity::{Identity, Outcome};
use crate::permission::typed::TypedPermission;
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Session,
};

pub(crate) fn slot(extensions: &http::Extensions) -> Result<Arc<Slot>, AuthError> {
    extensions.get::<Arc<Slot>>().cloned().ok_or(AuthError::MissingLayer)
}

/// The full identity of a request, or why there is none.
pub(crate) async fn identity(extensions: &http::Extensions) -> Result<Identity, AuthError> {
    let slot = slot(extensions)?;
    match slot.resolve().await? {
        Resolved::Full(identity) => Ok(identity.clone()),
        other => Err(AuthError::NotSignedIn(other.not_signed_in())),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(identity(&parts.extensions).await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(identity(&parts.extensions).await?.session().clone())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(identity(&parts.extensions).await?.account().clone())
    }
}

/// The identity if there is a full one. An outage and a request from another site stay errors:
/// neither says that nobody is signed in.
async fn optional(parts: &Parts) -> Result<Option<Identity>, Rejection> {
    match identity(&parts.extensions).await {
        Ok(identity) => Ok(Some(identity)),
        Err(AuthError::NotSignedIn(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        optional(parts).await
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        Ok(optional(parts).await?.map(|identity| identity.session().clone()))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Account {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        Ok(optional(parts).await?.map(|identity| identity.account().clone()))
    }
}

macro_rules! stage_extractors {
    ($($type:ident: $variant:ident, $name:literal);+ $(;)?) => { $(
        impl<S: Send + Sync> FromRequestParts<S> for $type {
            type Rejection = Rejection;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
                let slot = slot(&parts.extensions)?;
                match slot.resolve().await? {
                    Resolved::$variant(session) => Ok(session.clone()),
                    Resolved::Nobody(reason) => Err(AuthError::NotSignedIn(*reason).into()),
                    _ => Err(AuthError::WrongStage($name).into()),
                }
            }
        }

        impl<S: Send + Sync> OptionalFromRequestParts<S> for $type {
            type Rejection = Rejection;

            async fn from_request_parts(
                parts: &mut Parts,
                _: &S,
            ) -> Result<Option<Self>, Rejection> {
                let slot = slot(&parts.extensions)?;
                Ok(match slot.resolve().await? {
                    Resolved::$variant(session) => Some(session.clone()),
                    _ => None,
                })
            }
        }
    )+ };
}

stage_extractors! {
    PendingSession: Pending, "a sign-in that waits for its second factor";
    PasswordChangeSession: PasswordChange, "a sign-in that must change its password";
    EnrolmentSession: Enrolment, "a sign-in that must enrol a second factor";
    AnonymousSession: Anonymous, "an anonymous session";
}

impl<S: Send + Sync> FromRequestParts<S> for ClientInfo {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let slot = slot(&parts.extensions)?;
        Ok(client_of(slot.auth(), &parts.headers, &parts.extensions))
    }
}

/// The handle itself, so that a handler needs no state for it.
impl<S: Send + Sync> FromRequestParts<S> for Portcullis {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Ok(slot(&parts.extensions)?.auth().clone())
    }
}

/// Proof that the request was allowed `P`: a guard as an extractor.
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
#[derive(Debug, Clone)]
pub struct Allowed<P> {
    identity: Identity,
    permission: PhantomData<fn() -> P>,
}

impl<P> Allowed<P> {
    /// Who it was allowed to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl<S: Send + Sync, P: TypedPermission> FromRequestParts<S> for Allowed<P> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let slot = slot(&parts.extensions)?;
        let requirement = Requirement::permission(P::TEXT)
            .map_err(|error| AuthError::Misconfigured(format!("`{}`: {error}", P::TEXT)))?;
        let identity = super::guard::admit(&slot, &requirement, parts).await?;
        Ok(Self { identity, permission: PhantomData })
    }
}

/// Checks what is asked, and notes a denial under the name of its rule: what guards and
/// [`Allowed`] share.
pub(crate) fn decide(
    slot: &Slot,
    identity: &Identity,
    asked: &Requirement,
    rule: &Requirement,
) -> Result<(), AuthError> {
    match asked.check(identity) {
        Outcome::Met => Ok(()),
        Outcome::StepUp => Err(AuthError::StepUp(asked.step_up(identity))),
        Outcome::Denied => {
            tracing::debug!(
                target: "portcullis",
                account = %identity.account().id(),
                explanation = ?identity.explain(asked).to_string(),
                "denied",
            );
            slot.auth().note_denial(identity.account().id(), &rule.to_string());
            Err(AuthError::Denied)
        }
    }
}
