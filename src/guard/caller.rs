//! Who sent a request, at any stage.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use crate::base::id::SessionId;
use crate::base::problem::Rejection;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::identity::{ApiKeyIdentity, AuthError, Identity, NotSignedIn};
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Stage,
};

/// Who sent a request, with one variant for each stage that a session can have. Use this extractor
/// in a handler that answers several stages, such as a page that shows the next step of a sign-in.
///
/// ```
/// use portcullis::guard::Caller;
///
/// async fn next_step(caller: Caller) -> &'static str {
///     match caller {
///         Caller::Nobody | Caller::Visitor(_) => "sign in",
///         Caller::PendingSecondFactor(_) => "enter the code from your app",
///         Caller::MustChangePassword(_) => "choose a new password",
///         Caller::MustEnrol(_) => "set up a second factor",
///         Caller::SignedIn(_) => "welcome",
///         Caller::ApiKey(_) => "this page is for people",
///     }
/// }
/// ```
///
/// The enum is not `non_exhaustive`. If a later version adds a stage, a handler that does not know
/// it no longer compiles, and so cannot confuse it with another stage. Never write a `_` arm that
/// lets someone in.
///
/// # Errors
/// - 400 `multiple_credentials` if the request has two credentials.
/// - 403 `cross_site_request` if another site made the browser send the cookie.
/// - 503 during an outage of the database.
///
/// A forged, expired or ended session or API key is no error: it is [`Nobody`](Self::Nobody).
#[derive(Debug, Clone)]
pub enum Caller {
    /// There is no session, or it has ended.
    Nobody,
    /// A visitor without an account.
    Visitor(AnonymousSession),
    /// An unfinished sign-in, which needs its second factor.
    PendingSecondFactor(PendingSession),
    /// A sign-in that must set a new password.
    MustChangePassword(PasswordChangeSession),
    /// A sign-in that must enrol a second factor.
    MustEnrol(EnrolmentSession),
    /// An account that is signed in.
    SignedIn(Identity),
    /// A program with an [API key](crate::api_key).
    ApiKey(ApiKeyIdentity),
}

impl Caller {
    /// Returns the stage of the session, if there is a session.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::Nobody | Self::ApiKey(_) => None,
            Self::Visitor(_) => Some(Stage::Anonymous),
            Self::PendingSecondFactor(_) => Some(Stage::PendingSecondFactor),
            Self::MustChangePassword(_) => Some(Stage::MustChangePassword),
            Self::MustEnrol(_) => Some(Stage::MustEnrol),
            Self::SignedIn(_) => Some(Stage::Full),
        }
    }

    /// Returns the public id of the session, if there is a session.
    pub fn session_id(&self) -> Option<SessionId> {
        match self {
            Self::Nobody | Self::ApiKey(_) => None,
            Self::Visitor(session) => Some(session.id()),
            Self::PendingSecondFactor(session) => Some(session.id()),
            Self::MustChangePassword(session) => Some(session.id()),
            Self::MustEnrol(session) => Some(session.id()),
            Self::SignedIn(identity) => Some(identity.session().id()),
        }
    }

    /// Returns the identity, if someone is signed in. It is `None` for a sign-in that is not
    /// finished.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::SignedIn(identity) => Some(identity),
            Self::Nobody
            | Self::Visitor(_)
            | Self::PendingSecondFactor(_)
            | Self::MustChangePassword(_)
            | Self::MustEnrol(_)
            | Self::ApiKey(_) => None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        let caller = match request_identity.resolve_optional().await? {
            Resolved::Nobody(reason @ NotSignedIn::MultipleCredentials) => {
                return Err(AuthError::NotSignedIn(*reason).into());
            }
            Resolved::Nobody(_) => Self::Nobody,
            Resolved::Anonymous(session) => Self::Visitor(session.clone()),
            Resolved::Pending(session) => Self::PendingSecondFactor(session.clone()),
            Resolved::PasswordChange(session) => Self::MustChangePassword(session.clone()),
            Resolved::Enrolment(session) => Self::MustEnrol(session.clone()),
            Resolved::Full(identity) => Self::SignedIn(identity.clone()),
            Resolved::ApiKey(program) => Self::ApiKey(program.clone()),
        };
        if !matches!(caller, Self::Nobody) {
            request_identity.answers_somebody();
        }
        Ok(caller)
    }
}
