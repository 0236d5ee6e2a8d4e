//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, section 2.6).

use serde_json::Value;

use super::LEEWAY_SECS;
use super::claims::{check_audience, subject, text_claim, time_claim};
use super::key_set::{KeySet, UnknownKey};
use super::refusal::ProviderRefusal;
use super::signed::Unchecked;
use crate::config::IdTokenAlgorithm;

/// The event that a logout token tells of.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The longest time between the issue of a token and its use, in seconds. A token is remembered for this long.
const OLDEST_SECS: i64 = 10 * 60;

/// What a logout token must say.
pub(crate) struct ExpectedLogoutToken<'a> {
    pub(crate) algorithm: IdTokenAlgorithm,
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    /// Unix seconds.
    pub(crate) now: i64,
}

/// A logout token that was accepted. It has a subject, a session, or both.
#[derive(Debug)]
pub(crate) struct LogoutToken {
    pub(crate) subject: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) id: String,
}

impl LogoutToken {
    /// How long a token is remembered, so that it works once, in seconds.
    pub(crate) const REMEMBERED_SECS: i64 = OLDEST_SECS + 2 * LEEWAY_SECS;

    /// Checks a token claim by claim. The inner error means that the provider may have a new key.
    pub(crate) fn check(
        token: &str,
        keys: &KeySet,
        expected: &ExpectedLogoutToken<'_>,
    ) -> Result<Result<Self, UnknownKey>, ProviderRefusal> {
        let unchecked = Unchecked::read(token, expected.algorithm)?;
        if unchecked.kind()?.as_deref() != Some("logout+jwt") {
            return Err(ProviderRefusal::Type);
        }
        let claims = match unchecked.checked(keys)? {
            Ok(claims) => claims,
            Err(unknown) => return Ok(Err(unknown)),
        };
        if text_claim(&claims, "iss")? != Some(expected.issuer) {
            return Err(ProviderRefusal::Issuer);
        }
        check_audience(&claims, expected.client_id)?;
        let expires_at = time_claim(&claims, "exp")?.ok_or(ProviderRefusal::Claim)?;
        let issued_at = time_claim(&claims, "iat")?.ok_or(ProviderRefusal::Claim)?;
        if expires_at.saturating_add(LEEWAY_SECS) <= expected.now
            || issued_at < expected.now.saturating_sub(OLDEST_SECS)
        {
            return Err(ProviderRefusal::Expired);
        }
        if issued_at > expected.now.saturating_add(LEEWAY_SECS) {
            return Err(ProviderRefusal::IssuedAt);
        }
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        // An ID token has a nonce. Nobody may pass one off as a logout token.
        if !event.is_some_and(Value::is_object) || claims.contains_key("nonce") {
            return Err(ProviderRefusal::LogoutToken);
        }
        let id = text_claim(&claims, "jti")?.filter(|id| !id.is_empty());
        let (subject, sid) = (subject(&claims)?, text_claim(&claims, "sid")?);
        if subject.is_none() && sid.is_none() {
            return Err(ProviderRefusal::LogoutToken);
        }
        let id = id.ok_or(ProviderRefusal::LogoutToken)?.to_owned();
        Ok(Ok(Self { subject, sid: sid.map(str::to_owned), id }))
    }
}
