//! A password that somebody typed.

use zeroize::Zeroizing;

/// The longest password in bytes. Longer ones are refused before any work.
pub(super) const MAX_PASSWORD_BYTES: usize = 1024;

/// A password on its way through, wiped when it is dropped and never printed.
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

    /// Whether no account can have it. Such a one is wrong at once, whatever the name: nothing is read,
    /// hashed or counted for it.
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
