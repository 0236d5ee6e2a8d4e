//! The public keys of a provider (RFC 7517).

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use super::json::object;
use super::refusal::ProviderRefusal;
use crate::config::IdTokenAlgorithm;

/// The largest number of keys in a set.
const MOST_KEYS: usize = 50;

/// The lengths of the modulus of an RSA key that are accepted, in bytes: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// 65537, the only exponent that is accepted.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// No key of the set fits. The provider may have a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownKey;

/// The keys of a provider that can sign with the configured algorithm. All others are left out.
pub(crate) struct KeySet {
    algorithm: Algorithm,
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    decoding: DecodingKey,
}

impl KeySet {
    pub(crate) fn read(body: &[u8], algorithm: IdTokenAlgorithm) -> Result<Self, ProviderRefusal> {
        let document = object(body).ok_or(ProviderRefusal::KeySet)?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err(ProviderRefusal::KeySet);
        };
        if entries.len() > MOST_KEYS {
            return Err(ProviderRefusal::KeySet);
        }
        let keys = entries.iter().filter_map(|entry| key(entry.as_object()?, algorithm)).collect();
        Ok(Self { algorithm: algorithm_of(algorithm), keys })
    }

    /// Returns true if the key with this name has signed the message. A token without a name is accepted only if
    /// there is no choice.
    pub(super) fn has_signed(
        &self,
        id: Option<&str>,
        message: &[u8],
        signature: &str,
    ) -> Result<bool, UnknownKey> {
        let mut fitting = self.keys.iter().filter(|key| id.is_none() || key.id.as_deref() == id);
        let (Some(key), None) = (fitting.next(), fitting.next()) else { return Err(UnknownKey) };
        Ok(crypto::verify(signature, message, &key.decoding, self.algorithm).unwrap_or(false))
    }
}

fn algorithm_of(algorithm: IdTokenAlgorithm) -> Algorithm {
    match algorithm {
        IdTokenAlgorithm::Rs256 => Algorithm::RS256,
        IdTokenAlgorithm::Ps256 => Algorithm::PS256,
        IdTokenAlgorithm::Es256 => Algorithm::ES256,
        IdTokenAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Returns the name of an algorithm in a header, and in a key.
pub(super) fn name_of(algorithm: IdTokenAlgorithm) -> &'static str {
    match algorithm {
        IdTokenAlgorithm::Rs256 => "RS256",
        IdTokenAlgorithm::Ps256 => "PS256",
        IdTokenAlgorithm::Es256 => "ES256",
        IdTokenAlgorithm::EdDsa => "EdDSA",
    }
}

/// Reads a key, if it may sign with this algorithm and is strong enough.
fn key(entry: &Map<String, Value>, algorithm: IdTokenAlgorithm) -> Option<Key> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let bytes = |name: &str| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    // A set with a private key in it belongs to everybody.
    let is_private = ["d", "p", "q", "k"].iter().any(|name| entry.contains_key(*name));
    let for_signing = entry.get("use").is_none_or(|purpose| purpose == "sig");
    let fits = entry.get("alg").is_none_or(|alg| alg == name_of(algorithm));
    if is_private || !for_signing || !fits {
        return None;
    }
    let decoding = match (algorithm, text("kty")?) {
        (IdTokenAlgorithm::Rs256 | IdTokenAlgorithm::Ps256, "RSA") => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let (first, odd) = (*modulus.first()?, modulus.last()? & 1 == 1);
            let least = if modulus.len() == *MODULUS.start() { 0x80 } else { 1 };
            if !MODULUS.contains(&modulus.len()) || first < least || !odd || exponent != EXPONENT {
                return None;
            }
            DecodingKey::from_rsa_raw_components(&modulus, &exponent)
        }
        (IdTokenAlgorithm::Es256, "EC") => {
            if text("crv") != Some("P-256") || bytes("x")?.len() != 32 || bytes("y")?.len() != 32 {
                return None;
            }
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?
        }
        (IdTokenAlgorithm::EdDsa, "OKP") => {
            if text("crv") != Some("Ed25519") || bytes("x")?.len() != 32 {
                return None;
            }
            DecodingKey::from_ed_components(text("x")?).ok()?
        }
        _ => return None,
    };
    let id = match entry.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return None,
    };
    Some(Key { id, decoding })
}
