//! A session for a visitor who has none, started while their request is handled.

use std::sync::atomic::Ordering;

use http::request::Parts;

use super::{HAND_OVER_WITHIN, NextCookie, RequestIdentity};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::same_origin::{CrossSite, Facts};
use crate::config::SameSite;
use crate::handle::Portcullis;
use crate::identity::credential::client_of;
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::resolved::Resolved;
use crate::rate_limit::{Quota, RateLimited};
use crate::session::judge::{Ended, SessionState};

impl Portcullis {
    /// Counts one more anonymous session of this source, or refuses it: anybody can bring about such a
    /// row.
    pub(crate) async fn admit_visitor(&self, client: &ClientInfo) -> Result<(), RateLimited> {
        let quota = Quota::per_minute(self.context().config.session.anonymous_per_minute);
        self.rate_limits().source("anonymous", client.address(), quota).await
    }
}

impl RequestIdentity {
    /// The session of the request, at whatever stage. Where there is none, a visitor's is started, once
    /// for a request, and its cookie goes on the answer.
    pub(crate) async fn visitor(&self, parts: &Parts) -> Result<&Resolved, AuthError> {
        match self.resolve().await? {
            Resolved::Nobody(reason) => {
                self.visitor.get_or_try_init(|| self.start_visitor(*reason, parts)).await
            }
            found => Ok(found),
        }
    }

    async fn start_visitor(
        &self,
        reason: NotSignedIn,
        parts: &Parts,
    ) -> Result<Resolved, AuthError> {
        self.check_visitor(reason, parts)?;
        let client = client_of(&self.auth, &parts.headers, &parts.extensions);
        self.auth.admit_visitor(&client).await?;
        let issued = self.auth.sessions().start_anonymous(&client).await?;
        let session = issued.anonymous_session().ok_or(AuthError::NotSignedIn(reason))?;
        self.put(NextCookie::Visitor(issued.into_first_cookie()));
        Ok(Resolved::Anonymous(session))
    }

    /// Refuses a session whose cookie would take the place of a better one in the browser, or would not
    /// get there.
    fn check_visitor(&self, reason: NotSignedIn, parts: &Parts) -> Result<(), AuthError> {
        if reason == NotSignedIn::MultipleCredentials {
            // The new cookie would be a third one, and the next request would start a fourth session.
            return Err(AuthError::NotSignedIn(reason));
        }
        // A client that keeps its token itself gets no cookie beside it, which would make two credentials.
        let keeps_a_token = self.credential.has_bearer();
        let too_late = self.sealed.load(Ordering::Acquire);
        if keeps_a_token || too_late || self.newer_cookie.load(Ordering::Relaxed) {
            return Err(AuthError::NotSignedIn(reason));
        }
        // Browsers send no `Lax` cookie with a form of another site, but keep the one in the answer: that
        // form would sign people out here.
        let facts = Facts::of(&parts.uri, &parts.headers);
        self.auth.check_origin(&parts.method, &facts)?;
        // A `Strict` one they do not even send when somebody follows a link.
        let strict = self.auth.context().config.cookie.same_site == SameSite::Strict;
        if strict && facts.sec_fetch_site == Some(b"cross-site") {
            return Err(AuthError::CrossSite(CrossSite::FetchSite));
        }
        Ok(())
    }

    /// Notes that the browser may have got another cookie since it sent this request: that of the session
    /// that has just taken the place of this one. No other may go over it.
    pub(super) fn note_newer_cookie(&self, state: &SessionState, now: Timestamp) {
        let just_now = state.ended_at.is_some_and(|at| now.since(at) <= HAND_OVER_WITHIN);
        if just_now && state.ended == Some(Ended::Superseded) {
            self.newer_cookie.store(true, Ordering::Relaxed);
        }
    }
}
