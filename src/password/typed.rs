//! A password that a client sent.

use zeroize::Zeroizing;

/// The length limit for passwords, in bytes. Longer ones are refused before any work.
pub(super) const MAX_PASSWORD_BYTES: usize = 1024;

/// A password of a request. It is wiped when it is dropped, and never printed.
#[derive(Clone, serde::Deserialize)]
#[serde(from = "String")]
pub(crate) struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Password {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if it is longer than any account's password. Such a password is wrong at once
    /// for every name: nothing is read, hashed or counted for it.
    pub(crate) fn is_too_long(&self) -> bool {
        self.0.len() > MAX_PASSWORD_BYTES
    }

    pub(super) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.as_bytes().to_vec())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}
