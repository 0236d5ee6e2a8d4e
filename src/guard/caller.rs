//! Who calls, at whatever stage.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use crate::base::id::SessionId;
use crate::base::problem::Rejection;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Resolved;
use crate::identity::{AuthError, Identity, NotSignedIn};
use crate::session::{
    AnonymousSession, EnrolmentSession, PasswordChangeSession, PendingSession, Stage,
};

/// Who a request is, with one arm for each stage that a session can have. It is the extractor for a
/// handler that answers more than one of them, such as a page that shows the next step of a sign-in.
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
///     }
/// }
/// ```
///
/// The enum has no further arms and no `non_exhaustive`: should a later version add a stage, a handler
/// that does not know it stops compiling, and does not take it for one that it knows. Write no `_` arm
/// that lets somebody in.
///
/// # Errors
/// 400 `multiple_credentials` for two credentials, 403 `cross_site_request` for a cookie that another
/// site made the browser send, 503 while the database does not answer. A forged, expired or ended
/// session is [`Nobody`](Self::Nobody).
#[derive(Debug, Clone)]
pub enum Caller {
    /// No session, or one that has ended.
    Nobody,
    /// A visitor without an account.
    Visitor(AnonymousSession),
    /// A sign-in that waits for its second factor.
    PendingSecondFactor(PendingSession),
    /// A sign-in that must set a new password.
    MustChangePassword(PasswordChangeSession),
    /// A sign-in that must enrol a second factor.
    MustEnrol(EnrolmentSession),
    /// An account that is signed in.
    SignedIn(Identity),
}

impl Caller {
    /// The stage of the session, if there is a session.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::Nobody => None,
            Self::Visitor(_) => Some(Stage::Anonymous),
            Self::PendingSecondFactor(_) => Some(Stage::PendingSecondFactor),
            Self::MustChangePassword(_) => Some(Stage::MustChangePassword),
            Self::MustEnrol(_) => Some(Stage::MustEnrol),
            Self::SignedIn(_) => Some(Stage::Full),
        }
    }

    /// The public id of the session, if there is a session.
    pub fn session_id(&self) -> Option<SessionId> {
        match self {
            Self::Nobody => None,
            Self::Visitor(session) => Some(session.id()),
            Self::PendingSecondFactor(session) => Some(session.id()),
            Self::MustChangePassword(session) => Some(session.id()),
            Self::MustEnrol(session) => Some(session.id()),
            Self::SignedIn(identity) => Some(identity.session().id()),
        }
    }

    /// Who is signed in, if somebody is. A sign-in that is not finished is nobody here.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::SignedIn(identity) => Some(identity),
            Self::Nobody
            | Self::Visitor(_)
            | Self::PendingSecondFactor(_)
            | Self::MustChangePassword(_)
            | Self::MustEnrol(_) => None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        let caller = match request_identity.resolve().await? {
            Resolved::Nobody(reason @ NotSignedIn::MultipleCredentials) => {
                return Err(AuthError::NotSignedIn(*reason).into());
            }
            Resolved::Nobody(_) => Self::Nobody,
            Resolved::Anonymous(session) => Self::Visitor(session.clone()),
            Resolved::Pending(session) => Self::PendingSecondFactor(session.clone()),
            Resolved::PasswordChange(session) => Self::MustChangePassword(session.clone()),
            Resolved::Enrolment(session) => Self::MustEnrol(session.clone()),
            Resolved::Full(identity) => Self::SignedIn(identity.clone()),
        };
        if caller.stage().is_some() {
            request_identity.answers_somebody();
        }
        Ok(caller)
    }
}
