//! One proof: a JWT that the client has signed with its own key.

use data_encoding::BASE64URL_NOPAD;
use http::Uri;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use sha2::{Digest, Sha256};

use super::error::DpopRefusal;
use crate::base::clock::Timestamp;
use crate::base::jwk_thumbprint::JwkThumbprint;
use crate::base::same_origin::Origin;

/// Larger proofs are refused before any cryptography. A proof has about 500 bytes.
const LONGEST: usize = 4096;

/// The longest id of a proof.
const LONGEST_ID: usize = 256;

/// A proof with a good signature.
pub(super) struct Proof {
    pub(super) key: JwkThumbprint,
    pub(super) claims: ProofClaims,
}

/// What a proof says. Other members mean nothing.
#[derive(Deserialize)]
pub(super) struct ProofClaims {
    jti: String,
    pub(super) htm: String,
    pub(super) htu: String,
    /// Unix seconds, possibly with a fraction (RFC 7519 section 2).
    iat: f64,
    #[serde(default)]
    pub(super) ath: Option<String>,
    #[serde(default)]
    pub(super) nonce: Option<String>,
}

#[derive(Deserialize)]
struct ProofHeader {
    typ: String,
    alg: String,
    jwk: PublicKey,
    /// Extensions that must be understood. None is.
    #[serde(default, deserialize_with = "there")]
    crit: bool,
}

/// A key as a JWK (RFC 7517). The members of a private or a secret key are named, so that none is accepted.
#[derive(Deserialize)]
struct PublicKey {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: Option<String>,
    #[serde(default, deserialize_with = "there")]
    d: bool,
    #[serde(default, deserialize_with = "there")]
    k: bool,
}

/// True if a member exists, whatever its value is.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Proof {
    /// Reads a proof, and checks its signature. The key comes from the proof itself, so who sent it is decided
    /// by comparing the key.
    pub(super) fn open(text: &[u8]) -> Result<Self, DpopRefusal> {
        let malformed = DpopRefusal::Malformed;
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST);
        let text = text.ok_or(malformed)?;
        let (message, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, payload) = message.split_once('.').ok_or(malformed)?;
        let header: ProofHeader = read(header).ok_or(malformed)?;
        let private = header.jwk.d || header.jwk.k;
        if header.typ != "dpop+jwt" || header.crit || private {
            return Err(malformed);
        }
        let (algorithm, decoding, key) =
            header.jwk.key(&header.alg).ok_or(DpopRefusal::UnsupportedAlgorithm)?;
        let good = crypto::verify(signature, message.as_bytes(), &decoding, algorithm);
        if !good.unwrap_or(false) {
            return Err(DpopRefusal::WrongSignature);
        }
        let claims: ProofClaims = read(payload).ok_or(malformed)?;
        if !(1..=LONGEST_ID).contains(&claims.jti.len()) {
            return Err(malformed);
        }
        Ok(Self { key, claims })
    }

    /// Returns when the client says that it made the proof.
    pub(super) fn made_at(&self) -> Timestamp {
        // A number that is too large becomes the largest one, which is not the present.
        Timestamp::from_millis((self.claims.iat * 1000.0) as i64)
    }

    /// Returns what identifies the proof. It needs no secret, so every node computes the same.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::new_with_prefix(b"portcullis dpop proof\0")
            .chain_update(self.key.0)
            .chain_update(self.claims.jti.as_bytes())
            .finalize()
            .into()
    }
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).ok()?;
    // A list of the right values could be read too.
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    if is_object { serde_json::from_slice(&bytes).ok() } else { None }
}

impl PublicKey {
    /// Returns the key with its algorithm and its thumbprint. The algorithm must be the one of the key, so a
    /// proof cannot choose how it is verified (RFC 8725 section 3.1).
    fn key(&self, alg: &str) -> Option<(Algorithm, DecodingKey, JwkThumbprint)> {
        let coordinate = |text: &str| {
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            (bytes.len() == 32).then_some(())
        };
        coordinate(&self.x)?;
        let x = &self.x;
        // The members that a thumbprint consists of, in their order (RFC 7638 section 3.2, RFC 8037 section 2).
        // The values are base64url, so they need no escapes.
        let (algorithm, decoding, members) = match (&*self.kty, &*self.crv, alg, &self.y) {
            ("EC", "P-256", "ES256", Some(y)) => {
                coordinate(y)?;
                let decoding = DecodingKey::from_ec_components(x, y).ok()?;
                let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
                (Algorithm::ES256, decoding, members)
            }
            ("OKP", "Ed25519", "EdDSA" | "Ed25519", None) => {
                let decoding = DecodingKey::from_ed_components(x).ok()?;
                let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
                (Algorithm::EdDSA, decoding, members)
            }
            _ => return None,
        };
        Some((algorithm, decoding, JwkThumbprint(Sha256::digest(members.as_bytes()).into())))
    }
}

/// Returns the origin and the path of a URL, without its query and fragment, in a form that can be compared.
pub(super) fn origin_and_path(url: &str) -> Option<(Origin, String)> {
    let url = url.split(['?', '#']).next()?;
    let uri: Uri = url.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    Some((Origin::parse_web(&origin).ok()?, normal_path(uri.path())))
}

/// Writes a path so that two spellings of it are equal (RFC 3986 section 6.2.2): escapes in capitals, and none
/// where no escape is needed. Nothing becomes a slash or a dot segment that was none.
pub(super) fn normal_path(path: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes().peekable();
    let mut rest = path.as_bytes();
    while let Some(byte) = bytes.next() {
        rest = &rest[1..];
        let escaped = match (byte, rest) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let Some((high, low)) = escaped else {
            normal.push(char::from(byte));
            continue;
        };
        let value = high * 16 + low;
        if value.is_ascii_alphanumeric() || b"-_~".contains(&value) {
            normal.push(char::from(value));
        } else {
            normal.push_str(&format!("%{value:02X}"));
        }
        bytes.next();
        bytes.next();
        rest = &rest[2..];
    }
    if normal.is_empty() {
        normal.push('/');
    }
    normal
}

#[cfg(test)]
mod tests;
