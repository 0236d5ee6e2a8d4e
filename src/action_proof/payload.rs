//! What a person consented to in detail, as a digest.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// The first bytes of what is digested, so that the digest means nothing elsewhere.
const LABEL: &[u8] = b"portcullis action payload 1";

/// The details of an action: names and values, in an order that your application fixes.
///
/// Only a digest of them is in the proof. Its form is stated here, so that you can compute it in any language:
/// SHA-256 over `portcullis action payload 1`, then for each name and each value its length in bytes as 8
/// bytes with the highest first, and the bytes. In the token it is written in base64url without padding.
/// There is no JSON, so nothing depends on how a number or an escape is written. The fields are digested as
/// they are: `100` and `100.00` differ, and so does another order.
///
/// ```
/// use portcullis::action_proof::Payload;
///
/// let agreed = Payload::new().field("amount", "100.00").field("to", "DE89370400440532013000");
/// let other = Payload::new().field("amount", "1000.0").field("to", "DE89370400440532013000");
/// assert_ne!(agreed, other);
/// ```
#[derive(Clone)]
#[must_use = "a payload counts when a proof is issued over it or compared with it"]
pub struct Payload {
    digest: Sha256,
}

impl Payload {
    /// A payload without fields.
    pub fn new() -> Self {
        Self { digest: Sha256::new_with_prefix(LABEL) }
    }

    /// Adds a field after those that it has.
    pub fn field(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        for part in [name.as_ref(), value.as_ref()] {
            self.digest.update((part.len() as u64).to_be_bytes());
            self.digest.update(part.as_bytes());
        }
        self
    }

    /// Returns the digest as it is in the proof.
    pub fn digest(&self) -> String {
        BASE64URL_NOPAD.encode(&self.digest.clone().finalize())
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({})", self.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::Payload;

    #[test]
    fn no_two_lists_of_fields_have_the_same_digest() {
        let of = |fields: &[(&str, &str)]| {
            let all =
                fields.iter().fold(Payload::new(), |all, (name, value)| all.field(name, value));
            all.digest()
        };
        let lists: [&[(&str, &str)]; 9] = [
            &[],
            &[("", "")],
            &[("a", "")],
            &[("", "a")],
            &[("a", "b")],
            &[("ab", "")],
            &[("a", "b"), ("c", "d")],
            &[("c", "d"), ("a", "b")],
            &[("a", "bcd")],
        ];
        let digests: std::collections::BTreeSet<_> = lists.into_iter().map(of).collect();
        assert_eq!(digests.len(), lists.len());
    }

    #[test]
    fn the_form_is_the_stated_one() {
        // Computed with Python: hashlib.sha256(b"portcullis action payload 1" + bytes.fromhex(
        // "0000000000000006") + b"amount" + bytes.fromhex("0000000000000006") + b"100.00").
        let payload = Payload::new().field("amount", "100.00");
        assert_eq!(payload.digest(), "oZ_jCJfXkCiPw8mLJA79MP1EQ6Aa_2zKUNLeYMe3Lyc");
    }
}
