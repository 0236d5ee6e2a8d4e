//! The token of a request: which of several cookies counts, and whether it has expired. Runs no
//! statement, except for a logout.

use std::sync::atomic::Ordering;

use super::{RequestIdentity, Use};
use crate::base::clock::Timestamp;
use crate::base::jwt::{Claims, TokenType};
use crate::dpop::{DpopRefusal, ProvedKey, refused};
use crate::identity::credential::{
    Credential, InHeader, bearer_token, is_in_time, verified_cookies,
};
use crate::identity::error::{AuthError, NotSignedIn};
use crate::identity::store::Found;
use crate::session::Transport;
use crate::session::cookie::Pair;

/// A token that portcullis signed and that has not expired.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) token_type: TokenType,
    pub(super) claims: Claims,
    pub(super) transport: Transport,
    /// The key that was proved, if the token is bound to one.
    pub(super) proved: Option<ProvedKey>,
}

impl RequestIdentity {
    /// Ends the session of the request's token, at any stage and in any state. The token may have
    /// expired, because a logout must always work. If there are several cookies, each of their
    /// sessions ends. It is no error if there is nothing to end. Returns what deletes the cookie,
    /// or `None` for a bearer token.
    pub(crate) async fn log_out(&self) -> Result<Option<crate::session::SignedOut>, AuthError> {
        let context = self.auth.context();
        let now = context.now();
        let (shown, transport) = match &self.credential {
            Credential::None => (Vec::new(), Transport::Cookie),
            Credential::Several => return Err(self.refuse_several()),
            Credential::Cookie(pair) => (
                verified_cookies(context, std::slice::from_ref(pair), now).found,
                Transport::Cookie,
            ),
            Credential::Header(header) => (self.verified_in(header, now)?, Transport::Bearer),
            Credential::Many { cookies, header } => {
                let verified = verified_cookies(context, cookies, now);
                match header {
                    Some(_) if verified.may_count(context) => return Err(self.refuse_several()),
                    Some(header) => (self.verified_in(header, now)?, Transport::Bearer),
                    None => (verified.found, Transport::Cookie),
                }
            }
        };
        if transport == Transport::Cookie
            && let Some(cross_site) = &self.cross_site
        {
            return Err(self.refuse_cross_site(cross_site));
        }
        for (_, claims) in shown {
            let Some(Found { state, .. }) = self.resolver.find(context, &claims.sid).await? else {
                continue;
            };
            if state.ended.is_none() || state.lingers(now) {
                let (sessions, client) = (self.auth.sessions(), Some(self.client()));
                sessions.sign_out(state.id, state.account_id, client, now).await?;
            }
        }
        let by_cookie = transport == Transport::Cookie;
        Ok(by_cookie.then(|| self.auth.sessions().signed_out()))
    }

    /// Verifies the signature of the token in a header.
    ///
    /// # Errors
    /// It is an API key, and only a session is accepted. Or it is bound to a key, and the proof is missing or
    /// refused.
    fn verified_in(
        &self,
        header: &InHeader,
        now: Timestamp,
    ) -> Result<Vec<(TokenType, Claims)>, AuthError> {
        match header {
            InHeader::Bearer(header) => {
                let verified = self.verified_bearer(header, now);
                if verified.is_empty() && self.is_bound(header, now) {
                    let reason = refused(DpopRefusal::SentAsBearer);
                    return Err(AuthError::NotSignedIn(NotSignedIn::Dpop(reason)));
                }
                Ok(verified)
            }
            // It may have expired, but the proof must be good. It is not used up, because a second logout
            // changes nothing.
            InHeader::Bound(bound) => match self.verified_bound(bound, now) {
                Ok((token_type, claims, _)) => Ok(vec![(token_type, claims)]),
                Err(NotSignedIn::InvalidToken) => Ok(Vec::new()),
                Err(reason) => Err(AuthError::NotSignedIn(reason)),
            },
            InHeader::ApiKey(_) => Err(AuthError::SessionRequired),
        }
    }

    /// Verifies the signature of a bearer token. Whether it has expired is checked later.
    fn verified_bearer(
        &self,
        header: &http::HeaderValue,
        now: Timestamp,
    ) -> Vec<(TokenType, Claims)> {
        let token = std::str::from_utf8(bearer_token(header).unwrap_or_default()).ok();
        let verified = token.and_then(|token| self.auth.context().jwt.verify_session(token, now));
        verified.into_iter().collect()
    }

    /// Returns the verified token of the request. Runs no statement.
    pub(super) fn token(
        &self,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Result<Token, NotSignedIn>, AuthError> {
        match &self.credential {
            Credential::None => Ok(Err(NotSignedIn::NoCredential)),
            Credential::Several => Err(self.refuse_several()),
            Credential::Cookie(pair) => {
                if let Some(cross_site) = &self.cross_site {
                    return Err(self.refuse_cross_site(cross_site));
                }
                let verified = std::str::from_utf8(pair.value())
                    .ok()
                    .and_then(|token| self.auth.context().jwt.verify_session(token, now));
                if verified.is_none() {
                    self.note_foreign(pair);
                }
                Ok(self.in_time(verified, Transport::Cookie, purpose, now))
            }
            Credential::Header(header) => self.token_in(header, purpose, now),
            Credential::Many { cookies, header } => {
                self.token_of_many(cookies, header.as_ref(), purpose, now)
            }
        }
    }

    /// Returns the verified token of a header.
    fn token_in(
        &self,
        header: &InHeader,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Result<Token, NotSignedIn>, AuthError> {
        if let InHeader::Bound(bound) = header {
            return Ok(self.bound_token(bound, purpose, now));
        }
        match self.verified_in(header, now) {
            Ok(mut verified) => Ok(self.in_time(verified.pop(), Transport::Bearer, purpose, now)),
            Err(AuthError::NotSignedIn(reason)) => Ok(Err(reason)),
            Err(error) => Err(error),
        }
    }

    /// Returns the one token that counts among several cookies. Another program on the same host
    /// may have set a cookie with our name, and this must not lock people out. If two cookies
    /// count, the request is refused only where the user must be known.
    fn token_of_many(
        &self,
        cookies: &[Pair],
        header: Option<&InHeader>,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Result<Token, NotSignedIn>, AuthError> {
        let verified = verified_cookies(self.auth.context(), cookies, now);
        if let Some(pair) = verified.foreign {
            self.note_foreign(pair);
        }
        if let Some(header) = header {
            // A cookie that does not count is ignored beside a credential in a header.
            if verified.may_count(self.auth.context()) {
                return Err(self.refuse_several());
            }
            return self.token_in(header, purpose, now);
        }
        let expired = !verified.found.is_empty();
        let mut good: Vec<Token> = verified
            .found
            .into_iter()
            .filter_map(|found| self.in_time(Some(found), Transport::Cookie, purpose, now).ok())
            .collect();
        if let Some(cross_site) = &self.cross_site {
            return Err(self.refuse_cross_site(cross_site));
        }
        if verified.too_many || good.len() > 1 {
            // The operator is told here, because routes that need no user continue.
            drop(self.refuse_several());
            return Ok(Err(NotSignedIn::MultipleCredentials));
        }
        let reason = if expired { NotSignedIn::TokenExpired } else { NotSignedIn::InvalidToken };
        Ok(good.pop().ok_or(reason))
    }

    /// Returns the verified token if it has not expired, and otherwise the reason.
    pub(super) fn in_time(
        &self,
        verified: Option<(TokenType, Claims)>,
        transport: Transport,
        purpose: Use,
        now: Timestamp,
    ) -> Result<Token, NotSignedIn> {
        let Some((token_type, claims)) = verified else { return Err(NotSignedIn::InvalidToken) };
        if claims.is_from_the_future(now) {
            self.note_clock_skew();
        }
        let expired = now.as_secs() >= claims.expires_at;
        // A client with a bearer token renews it itself, through the refresh route. A browser
        // cannot, so its expired cookie is accepted while it can be renewed.
        let as_it_is = transport == Transport::Bearer && purpose == Use::Request;
        let good = match as_it_is {
            true => !expired,
            false => is_in_time(self.auth.context(), token_type, &claims, now),
        };
        if !good {
            return Err(NotSignedIn::TokenExpired);
        }
        Ok(Token { token_type, claims, transport, proved: None })
    }

    /// Reports once if a cookie was signed by another service, and is not merely forged or damaged.
    fn note_foreign(&self, pair: &Pair) {
        let found = &self.resolver.found_foreign_cookie;
        if !found.load(Ordering::Relaxed)
            && self.auth.context().jwt.is_of_somebody_else(pair.value())
        {
            found.store(true, Ordering::Relaxed);
            self.auth.report_finding(
                "foreign_cookie",
                "a request carried a session cookie of this service's name that this service did not \
                 make: another service on the same host uses the name too (set `cookie.name`), another \
                 node has a different secret (give all nodes the same ones), a secret was removed, or \
                 the issuer or the public URL changed, while tokens were in use",
            );
        }
    }

    fn note_clock_skew(&self) {
        if !self.resolver.found_clock_skew.swap(true, Ordering::Relaxed) {
            self.auth.report_finding(
                "clock_skew",
                "a token was issued more than 30 seconds in the future: the clock of a node is, or \
                 was, wrong; synchronize the clocks of all nodes",
            );
        }
    }
}
