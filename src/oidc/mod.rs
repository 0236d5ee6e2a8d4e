//! What providers of OpenID Connect and OAuth 2.0 send, read strictly. No tables and no requests.
//!
//! A provider may be careless or hostile, and what it sends comes over a browser or a network. So each value has a
//! maximum size and one accepted form, and a member that is there twice is refused.

mod claims;
mod id_token;
mod json;
mod key_set;
mod logout_token;
mod metadata;
mod refusal;
mod signed;
#[cfg(test)]
mod tests;
mod token_answer;

pub(crate) use claims::text_claim;
pub(crate) use id_token::{ExpectedIdToken, IdToken};
pub(crate) use json::{object, values};
pub(crate) use key_set::{KeySet, UnknownKey};
pub(crate) use logout_token::{ExpectedLogoutToken, LogoutToken};
pub(crate) use metadata::{Metadata, discovery_url};
pub use refusal::ProviderRefusal;
pub(crate) use token_answer::{ProviderAnswer, TokenAnswer};

/// Reads these bytes as everything that a provider sends. Nobody has signed them, so no token in them may count. For the
/// fuzz target.
#[cfg(feature = "test-util")]
pub(crate) fn reads_unsigned(bytes: &[u8]) -> bool {
    use crate::config::IdTokenAlgorithm;

    const ALGORITHM: IdTokenAlgorithm = IdTokenAlgorithm::EdDsa;
    let issuer = "https://login.example";
    let read = || Metadata::read(bytes, issuer, false).ok();
    assert_eq!(read(), read(), "a document is read in two ways");
    let keys =
        KeySet::read(bytes, ALGORITHM).or_else(|_| KeySet::read(b"{\"keys\":[]}", ALGORITHM));
    if let (Ok(keys), Ok(token)) = (keys, std::str::from_utf8(bytes)) {
        let (client_id, now) = ("client", 0);
        let expected = ExpectedIdToken {
            algorithm: ALGORITHM,
            issuer,
            client_id,
            nonce: "",
            access_token: None,
            began_at: now,
            now,
        };
        let signed_in = IdToken::check(token, &keys, &expected);
        assert!(!matches!(signed_in, Ok(Ok(_))), "a token that nobody signed counts");
        let expected = ExpectedLogoutToken { algorithm: ALGORITHM, issuer, client_id, now };
        let signed_out = LogoutToken::check(token, &keys, &expected);
        assert!(!matches!(signed_out, Ok(Ok(_))), "a token that nobody signed counts");
    }
    TokenAnswer::read(200, bytes).is_ok() || read().is_some() || object(bytes).is_some()
}

/// How far the clock of a provider may differ.
pub(crate) const LEEWAY_SECS: i64 = 60;
