//! The thumbprint of a public key to which a session is bound.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

/// The SHA-256 thumbprint of a public key (RFC 7638). It is public: it names the key, and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JwkThumbprint(pub(crate) [u8; 32]);

/// The text is not a SHA-256 thumbprint in base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint of a key has 43 characters of base64url")]
pub struct InvalidThumbprint;

impl FromStr for JwkThumbprint {
    type Err = InvalidThumbprint;

    fn from_str(text: &str) -> Result<Self, InvalidThumbprint> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidThumbprint)?;
        bytes.try_into().map(Self).map_err(|_| InvalidThumbprint)
    }
}

/// Writes it as base64url, as `jkt` has it.
impl fmt::Display for JwkThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for JwkThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwkThumbprint({self})")
    }
}
