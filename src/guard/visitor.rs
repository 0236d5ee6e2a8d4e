//! The session of a request, also of one that had none.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use crate::base::id::SessionId;
use crate::base::problem::Rejection;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolved::Resolved;
use crate::identity::{AuthError, Identity};
use crate::session::AnonymousSession;

/// The session of the request, whatever its stage. If there is none, the extractor starts a visitor's
/// (anonymous) session, and its cookie goes on the answer. So a visitor can hold a challenge, or anything
/// else that hangs on a session, without a middleware that starts one.
///
/// ```no_run
/// use portcullis::guard::Visitor;
/// use portcullis::{Portcullis, Rejection};
/// # fn draw(_: &str) -> String { String::new() }
///
/// async fn picture(auth: Portcullis, visitor: Visitor) -> Result<String, Rejection> {
///     let answer = "4821";
///     let challenge = auth.challenges().start("captcha", &visitor).expecting(answer);
///     Ok(format!("{} {}", challenge.prepare().await?.id(), draw(answer)))
/// }
/// ```
///
/// 1. A request with a session keeps it: of somebody who is [signed in](Self::identity), of a
///    [visitor](Self::anonymous), or of a sign-in that is not finished.
/// 2. For a request without one, a session is started. It can be used at once: what asks later in the same
///    request finds it, also [`replacing`](crate::login::Login::replacing).
/// 3. The cookie goes on the answer, whatever its status, unless the answer sets or clears the session
///    cookie itself, or takes longer than a minute.
///
/// # When none is started
/// - Too many were: the limit is that of `POST /session/anonymous`
///   ([`anonymous_per_minute`](crate::config::SessionConfig::anonymous_per_minute)), and both count
///   together. 429 `rate_limited`.
/// - Another site sent the request. Its browser may hold a cookie that it did not send, and the new one
///   would take its place. 403 `cross_site_request`. With `SameSite=Strict` that includes links on other
///   sites.
/// - Another session took the place of this one less than a minute ago, as when another tab has signed in.
///   401 `session_ended`.
/// - The client sends a bearer token that is not good: 401. It sends two session cookies that are: 400.
///
/// # What it does not do
/// Two tabs without a cookie that load at the same moment start two sessions, and the later answer wins.
/// If one of them signs in, a slow answer to the other can still put a visitor's cookie over the new
/// session's. So use it on routes that need a visitor's session, and not around the whole application.
#[derive(Debug, Clone)]
pub struct Visitor {
    session_id: SessionId,
    resolved: Resolved,
}

impl Visitor {
    /// The public id of the session.
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The visitor's session, if the visitor has no account.
    pub fn anonymous(&self) -> Option<&AnonymousSession> {
        match &self.resolved {
            Resolved::Anonymous(session) => Some(session),
            _ => None,
        }
    }

    /// Who is signed in, if somebody is.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.resolved {
            Resolved::Full(identity) => Some(identity),
            _ => None,
        }
    }

    pub(crate) fn resolved(&self) -> &Resolved {
        &self.resolved
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let request_identity = RequestIdentity::of(&parts.extensions)?;
        // Boxed: seldom, and large.
        let resolved = Box::pin(request_identity.visitor(parts)).await?.clone();
        let nobody = || AuthError::NotSignedIn(resolved.not_signed_in());
        let session_id = resolved.session_id().ok_or_else(nobody)?;
        request_identity.answers_somebody();
        Ok(Self { session_id, resolved })
    }
}
