//! The session of a request. If the request has none, one is started.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use crate::base::id::SessionId;
use crate::base::problem::Rejection;
use crate::identity::Identity;
use crate::identity::request_identity::RequestIdentity;
use crate::identity::resolution::Resolved;
use crate::session::AnonymousSession;

/// The session of the request, at any stage. If there is none, the extractor starts an anonymous
/// session for a visitor, and the answer carries its cookie. So a visitor can have a challenge, or
/// anything else that needs a session, without a middleware that starts one.
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
/// 1. A request with a session keeps it. The session can be of someone who is
///    [signed in](Self::identity), of a [visitor](Self::anonymous), or of a sign-in that is not
///    finished.
/// 2. For a request without one, a session is started. It can be used at once. Everything that runs
///    later in the same request finds it, also [`replacing`](crate::login::Login::replacing).
/// 3. The answer carries the cookie, whatever its status is. It does not if it sets or clears the
///    session cookie itself, or if it takes longer than a minute.
///
/// # When none is started
/// - The source has started too many. The limit is that of `POST /session/anonymous`
///   ([`anonymous_per_minute`](crate::config::SessionConfig::anonymous_per_minute)), and both count
///   together. The answer is 429 `rate_limited`.
/// - Another site sent the request. The browser may have a session cookie that it did not send, and
///   the new cookie would replace it. The answer is 403 `cross_site_request`. With
///   `SameSite=Strict` this includes links on other sites.
/// - Another session replaced this one less than a minute ago, for example because another tab has
///   signed in. The answer is 401 `session_ended`.
/// - The token is so old that the browser may already have a newer one. The answer is 401
///   `token_expired`.
/// - The client sent a bearer token that is not valid. The answer is 401.
/// - The client sent two session cookies that are valid. The answer is 400 `multiple_credentials`.
///
/// # What it does not do
/// Two tabs without a cookie that load at the same moment start two sessions, and the later answer
/// wins. If one tab signs in, a slow answer to the other tab can still replace the new cookie by
/// that of a visitor. So use this extractor on routes that need a visitor's session. Do not use it
/// around the whole application.
#[derive(Debug, Clone)]
pub struct Visitor {
    session_id: SessionId,
    resolved: Resolved,
}

impl Visitor {
    /// Returns the public id of the session.
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// Returns the anonymous session, if the session is one.
    pub fn anonymous(&self) -> Option<&AnonymousSession> {
        match &self.resolved {
            Resolved::Anonymous(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the identity, if someone is signed in.
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
        // Boxed, because it is rare and its future is large.
        let resolved = Box::pin(request_identity.visitor(parts)).await?.clone();
        let session_id = resolved.session_id().ok_or_else(|| resolved.no_session())?;
        request_identity.answers_somebody();
        Ok(Self { session_id, resolved })
    }
}
