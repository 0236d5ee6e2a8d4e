//! A session for a visitor who has none, started while the request is handled.

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
use crate::identity::resolution::Resolved;
use crate::rate_limit::{Quota, RateLimited};
use crate::session::judge::{Ended, SessionState};

impl Portcullis {
    /// Counts one more anonymous session for this source, or refuses it. Without a limit, anyone
    /// could fill the table with such rows.
    pub(crate) async fn admit_visitor(&self, client: &ClientInfo) -> Result<(), RateLimited> {
        let quota = Quota::per_minute(self.context().config.session.anonymous_per_minute);
        self.rate_limits().source("anonymous", client.address(), quota).await
    }
}

impl RequestIdentity {
    /// Returns the session of the request, at any stage. If there is none, it starts one for a
    /// visitor, at most once per request. Its cookie goes on the answer.
    pub(crate) async fn visitor(&self, parts: &Parts) -> Result<&Resolved, AuthError> {
        match self.resolve_optional().await? {
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

    /// Refuses to start a session if its cookie would replace a better one in the browser, or would
    /// not reach the browser.
    fn check_visitor(&self, reason: NotSignedIn, parts: &Parts) -> Result<(), AuthError> {
        if reason == NotSignedIn::MultipleCredentials {
            // The new cookie would be a third one, and the next request would start another
            // session.
            return Err(AuthError::NotSignedIn(reason));
        }
        // A client with a bearer token gets no cookie: it would then send two credentials.
        let keeps_a_token = self.credential.has_header();
        let too_late = self.sealed.load(Ordering::Acquire);
        if keeps_a_token || too_late || self.newer_cookie.load(Ordering::Relaxed) {
            return Err(AuthError::NotSignedIn(reason));
        }
        // With a form from another site, browsers do not send a `Lax` cookie, but they store the
        // one in the answer. So such a form would sign people out by replacing their cookie.
        let facts = Facts::of(&parts.uri, &parts.headers);
        self.auth.check_origin(&parts.method, &facts)?;
        // A `Strict` cookie is not even sent when someone follows a link from another site.
        let strict = self.auth.context().config.cookie.same_site == SameSite::Strict;
        if strict && facts.sec_fetch_site == Some(b"cross-site") {
            return Err(AuthError::CrossSite(CrossSite::FetchSite));
        }
        Ok(())
    }

    /// Notes that the browser may have received a newer cookie after it sent this request: the one
    /// of the session that has just replaced this one. Then no other cookie may replace that one.
    pub(super) fn note_newer_cookie(&self, state: &SessionState, now: Timestamp) {
        let just_now = state.ended_at.is_some_and(|at| now.since(at) <= HAND_OVER_WITHIN);
        if just_now && state.ended == Some(Ended::Superseded) {
            self.newer_cookie.store(true, Ordering::Relaxed);
        }
    }
}
