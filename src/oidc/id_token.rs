//! ID tokens (OpenID Connect Core 1.0, section 3.1.3.7).

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::LEEWAY_SECS;
use super::claims::{check_audience, list_claim, subject, text_claim, time_claim};
use super::key_set::{KeySet, UnknownKey};
use super::refusal::ProviderRefusal;
use super::signed::Unchecked;
use crate::config::IdTokenAlgorithm;

/// What an ID token must say.
pub(crate) struct ExpectedIdToken<'a> {
    pub(crate) algorithm: IdTokenAlgorithm,
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) access_token: Option<&'a str>,
    /// Unix seconds, of the start of the sign-in.
    pub(crate) began_at: i64,
    /// Unix seconds.
    pub(crate) now: i64,
}

/// An ID token that was accepted.
pub(crate) struct IdToken {
    pub(crate) subject: String,
    /// When the person proved to the provider who they are, in Unix seconds.
    pub(crate) auth_time: Option<i64>,
    pub(crate) acr: Option<String>,
    pub(crate) amr: Vec<String>,
    /// The session of the person at the provider.
    pub(crate) sid: Option<String>,
    pub(crate) claims: Map<String, Value>,
}

impl IdToken {
    /// Checks a token claim by claim. The inner error means that the provider may have a new key.
    pub(crate) fn check(
        token: &str,
        keys: &KeySet,
        expected: &ExpectedIdToken<'_>,
    ) -> Result<Result<Self, UnknownKey>, ProviderRefusal> {
        let unchecked = Unchecked::read(token, expected.algorithm)?;
        // A logout token or an access token of the same provider is no ID token.
        if unchecked.kind()?.is_some_and(|kind| kind != "jwt") {
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
        if expires_at.saturating_add(LEEWAY_SECS) <= expected.now {
            return Err(ProviderRefusal::Expired);
        }
        let issued_at = time_claim(&claims, "iat")?.ok_or(ProviderRefusal::Claim)?;
        let latest = expected.now.saturating_add(LEEWAY_SECS);
        if issued_at > latest || issued_at < expected.began_at.saturating_sub(LEEWAY_SECS) {
            return Err(ProviderRefusal::IssuedAt);
        }
        if time_claim(&claims, "nbf")?.is_some_and(|from| from > latest) {
            return Err(ProviderRefusal::IssuedAt);
        }
        let nonce = text_claim(&claims, "nonce")?.unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
            return Err(ProviderRefusal::Nonce);
        }
        if let (Some(digest), Some(token)) =
            (text_claim(&claims, "at_hash")?, expected.access_token)
            && digest != digest_of(token, expected.algorithm)
        {
            return Err(ProviderRefusal::AccessToken);
        }
        let auth_time = time_claim(&claims, "auth_time")?;
        Ok(Ok(Self {
            subject: subject(&claims)?.ok_or(ProviderRefusal::Subject)?,
            // A clock that is ahead proves nothing about the future.
            auth_time: auth_time.map(|at| at.min(expected.now)),
            acr: text_claim(&claims, "acr")?.map(str::to_owned),
            amr: list_claim(&claims, "amr")?,
            sid: text_claim(&claims, "sid")?.map(str::to_owned),
            claims,
        }))
    }
}

/// Returns the left half of the digest of an access token (section 3.1.3.6). Ed25519 signs a SHA-512 digest.
fn digest_of(token: &str, algorithm: IdTokenAlgorithm) -> String {
    match algorithm {
        IdTokenAlgorithm::EdDsa => BASE64URL_NOPAD.encode(&Sha512::digest(token)[..32]),
        IdTokenAlgorithm::Rs256 | IdTokenAlgorithm::Ps256 | IdTokenAlgorithm::Es256 => {
            BASE64URL_NOPAD.encode(&Sha256::digest(token)[..16])
        }
    }
}
