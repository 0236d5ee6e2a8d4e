//! Sealing: what a row keeps for later and nobody may read or move in a dump.
//!
//! XChaCha20-Poly1305 with a key per purpose from the keyring's secrets (HKDF-SHA-256) and a random
//! nonce of 24 bytes. The row's own identity goes in as associated data, so what was sealed for one
//! row does not open in another. The newest secret seals; older ones still open.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::base::secret::{Purpose, Secret, random_array};

const NONCE_BYTES: usize = 24;

/// Seals for one purpose.
#[derive(Clone)]
pub(crate) struct Sealer {
    /// Newest first, each under the public name of its secret.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

/// Something sealed, as two columns keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The name of the secret it was sealed under.
    pub(crate) key_id: String,
    /// Nonce and ciphertext, in base64url.
    pub(crate) text: String,
}

impl Sealer {
    /// The secrets are newest first; there is at least one.
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

    /// What was sealed for this row; none if it was for another, was changed, or its secret is
    /// gone.
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
        // The keyring moved on; the older secret still opens, a removed one does not.
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
