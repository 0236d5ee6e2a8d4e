//! Encryption of values that a row keeps for later. Nobody can read them in a dump or move them to
//! another row.
//!
//! It uses XChaCha20-Poly1305 with a random nonce of 24 bytes. The key is derived per purpose from
//! the secrets of the keyring (HKDF-SHA-256). The identity of the row is the associated data, so a
//! value that was sealed for one row cannot be opened for another. The newest secret seals. Values
//! of older secrets can still be opened.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::base::secret::{Purpose, Secret, random_array};

const NONCE_BYTES: usize = 24;

/// Encrypts values for one purpose.
#[derive(Clone)]
pub(crate) struct Sealer {
    /// The keys, the newest first, each with the public name of its secret.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

/// A sealed value, as two columns store it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The name of the secret that it was sealed with.
    pub(crate) key_id: String,
    /// Nonce and ciphertext, in base64url.
    pub(crate) text: String,
}

impl Sealer {
    /// Creates a sealer. The secrets are ordered with the newest first, and there is at least one.
    pub(crate) fn new(secrets: &[Secret], purpose: Purpose) -> Self {
        let key = |secret: &Secret| {
            (secret.kid(), XChaCha20Poly1305::new(&(*secret.derive(purpose)).into()))
        };
        Self { keys: secrets.iter().map(key).collect() }
    }

    /// Seals `plain` for the row that `row` names.
    pub(crate) fn seal(&self, plain: &[u8], row: &[u8]) -> Sealed {
        let (key_id, cipher) = self.keys.first().expect("build() asks for a secret");
        let nonce: [u8; NONCE_BYTES] = random_array();
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: row })
            .expect("a row's text is far shorter than the cipher's limit");
        let text = BASE64URL_NOPAD.encode(&[&nonce[..], &sealed].concat());
        Sealed { key_id: key_id.clone(), text }
    }

    /// Returns true if the secret with this name is configured.
    pub(crate) fn knows(&self, key_id: &str) -> bool {
        self.keys.iter().any(|(id, _)| id == key_id)
    }

    /// Returns true if the secret with this name seals new values.
    pub(crate) fn is_newest(&self, key_id: &str) -> bool {
        self.keys.first().is_some_and(|(id, _)| id == key_id)
    }

    /// Decrypts a value that was sealed for this row. Returns `None` if it was sealed for another
    /// row, was changed, or its secret is no longer configured.
    pub(crate) fn open(&self, key_id: &str, text: &str, row: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (_, cipher) = self.keys.iter().find(|(id, _)| id == key_id)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let plain = cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: row });
        plain.ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_row_the_purpose_and_the_secret_it_was_sealed_for_open_it() {
        let (old, new) = (Secret::generate(), Secret::generate());
        let sealer = Sealer::new(std::slice::from_ref(&old), Purpose::OutboxPayload);
        let sealed = sealer.seal(b"a code", b"row 1");
        let open = |sealer: &Sealer, row: &[u8]| {
            sealer.open(&sealed.key_id, &sealed.text, row).map(|plain| plain.to_vec())
        };
        assert_eq!(open(&sealer, b"row 1").as_deref(), Some(&b"a code"[..]));
        assert_eq!(open(&sealer, b"row 2"), None);
        // After a rotation of the keyring, the older secret still opens. A removed secret does not.
        let rotated = Sealer::new(&[new.clone(), old.clone()], Purpose::OutboxPayload);
        assert_eq!(open(&rotated, b"row 1").as_deref(), Some(&b"a code"[..]));
        assert_ne!(rotated.seal(b"a code", b"row 1").key_id, sealed.key_id);
        assert_eq!(open(&Sealer::new(&[new], Purpose::OutboxPayload), b"row 1"), None);
        assert_eq!(open(&Sealer::new(&[old], Purpose::Pepper), b"row 1"), None);
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let sealer = Sealer::new(&[Secret::generate()], Purpose::OutboxPayload);
        let sealed = sealer.seal(b"a code", b"row");
        for at in 0..sealed.text.len() {
            assert!(sealer.open(&sealed.key_id, &sealed.text[..at], b"row").is_none(), "{at}");
            let mut changed = sealed.text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(sealer.open(&sealed.key_id, &changed, b"row").is_none(), "{at}");
        }
        assert!(sealer.open("another", &sealed.text, b"row").is_none());
        assert_ne!(sealer.seal(b"a code", b"row").text, sealed.text, "each has its own nonce");
    }
}
