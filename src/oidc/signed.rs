//! The signature of a token (RFC 7515), with the one algorithm of its provider.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::claims::text_claim;
use super::json::object;
use super::key_set::{KeySet, UnknownKey, name_of};
use super::refusal::ProviderRefusal;
use crate::config::IdTokenAlgorithm;

/// The longest token that is read.
const MOST_BYTES: usize = 16 * 1024;

/// A token whose signature is not checked yet.
pub(super) struct Unchecked<'a> {
    message: &'a str,
    signature: &'a str,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> Unchecked<'a> {
    /// Reads a token. It must name the algorithm of the provider.
    pub(super) fn read(
        token: &'a str,
        algorithm: IdTokenAlgorithm,
    ) -> Result<Self, ProviderRefusal> {
        let malformed = ProviderRefusal::Token;
        if token.len() > MOST_BYTES {
            return Err(malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = message.split_once('.').ok_or(malformed)?;
        let part = |text: &str| object(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
        let header = part(header).ok_or(malformed)?;
        let claims = part(claims).ok_or(malformed)?;
        if header.get("alg") != Some(&Value::from(name_of(algorithm))) {
            return Err(ProviderRefusal::Algorithm);
        }
        // A token that must not be understood without an extension that is not known here.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(malformed);
        }
        Ok(Self { message, signature, header, claims })
    }

    /// Returns the type of the token, in lower case and without `application/`.
    pub(super) fn kind(&self) -> Result<Option<String>, ProviderRefusal> {
        let kind = text_claim(&self.header, "typ").map_err(|_| ProviderRefusal::Type)?;
        Ok(kind.map(|kind| {
            let kind = kind.to_ascii_lowercase();
            kind.strip_prefix("application/").map(str::to_owned).unwrap_or(kind)
        }))
    }

    /// Returns the claims, if a key of the provider has signed them.
    pub(super) fn checked(
        self,
        keys: &KeySet,
    ) -> Result<Result<Map<String, Value>, UnknownKey>, ProviderRefusal> {
        let id = text_claim(&self.header, "kid").map_err(|_| ProviderRefusal::Token)?;
        match keys.has_signed(id, self.message.as_bytes(), self.signature) {
            Ok(true) => Ok(Ok(self.claims)),
            Ok(false) => Err(ProviderRefusal::Signature),
            Err(unknown) => Ok(Err(unknown)),
        }
    }
}
