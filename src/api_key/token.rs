//! The text of a key: `<prefix>_<secret><checksum>`.
//!
//! The checksum is no protection. It tells a key from a text that only looks like one, without a statement.
//! Scanners of public code use it in the same way.

use zeroize::Zeroizing;

use crate::base::secret::random_bytes;

/// A regular expression for the keys of every service, for scanners of public code. Put your own prefix in
/// place of the first part: `\bacme_[0-9A-Za-z]{49}\b`.
pub const API_KEY_PATTERN: &str = r"\b[a-z][a-z0-9]{2,15}_[0-9A-Za-z]{49}\b";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 43 characters of 62 have 256 bits.
const SECRET: usize = 43;

/// A CRC-32 in six characters of 62.
const CHECK: usize = 6;

/// How many characters of the secret are shown in lists, so that a person recognizes the key.
const HINT: usize = 4;

/// A new key. It is shown once.
pub(crate) struct NewKey(Zeroizing<String>);

impl NewKey {
    pub(crate) fn generate(prefix: &str) -> Self {
        let mut key = Zeroizing::new(String::with_capacity(prefix.len() + 1 + SECRET + CHECK));
        key.push_str(prefix);
        key.push('_');
        let mut left = SECRET;
        while left > 0 {
            let mut bytes = Zeroizing::new([0; SECRET]);
            random_bytes(bytes.as_mut());
            // 248 is the largest multiple of 62 in a byte. Without this, some characters would be more likely.
            for byte in bytes.iter().filter(|byte| **byte < 248).take(left) {
                key.push(char::from(ALPHABET[usize::from(byte % 62)]));
                left -= 1;
            }
        }
        let check = checksum(key.as_bytes());
        key.extend(check.iter().map(|byte| char::from(*byte)));
        Self(key)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the prefix and the first characters of the secret, which tell nothing about the rest.
    pub(crate) fn hint(&self) -> String {
        let secret = self.0.find('_').map_or(0, |at| at + 1);
        self.0[..secret + HINT].to_owned()
    }
}

// Written by hand: the key must not be printed.
impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey(..)")
    }
}

/// Returns true if a value claims to be a key with this prefix.
pub(crate) fn looks_like_one(prefix: &str, value: &[u8]) -> bool {
    value.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.starts_with(b"_"))
}

/// Returns true if a value has the form of a key with this prefix, and the right checksum.
pub(crate) fn is_well_formed(prefix: &str, value: &[u8]) -> bool {
    let Some(rest) = value.strip_prefix(prefix.as_bytes()) else { return false };
    let Some(rest) = rest.strip_prefix(b"_") else { return false };
    if rest.len() != SECRET + CHECK || !rest.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let (body, check) = value.split_at(value.len() - CHECK);
    checksum(body) == *check
}

fn checksum(body: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32fast::hash(body);
    let mut text = [0; CHECK];
    for place in text.iter_mut().rev() {
        // The remainder is below 62.
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_new_key_is_well_formed_and_has_256_bits() {
        let keys: HashSet<String> =
            (0..200).map(|_| NewKey::generate("acme").as_str().to_owned()).collect();
        assert_eq!(keys.len(), 200);
        for key in &keys {
            assert!(is_well_formed("acme", key.as_bytes()), "{key}");
            assert_eq!(key.len(), "acme_".len() + 49);
        }
        assert!(62f64.log2() * SECRET as f64 >= 256.0);
        // Every character is used, and none far more often than others.
        let all: String = keys.iter().map(|key| &key[5..5 + SECRET]).collect();
        for one in ALPHABET {
            let count = all.bytes().filter(|byte| byte == one).count();
            assert!((60..230).contains(&count), "{}: {count} of {}", char::from(*one), all.len());
        }
    }

    #[test]
    fn the_pattern_for_scanners_is_that_of_the_keys() {
        let characters = SECRET + CHECK;
        let prefix = "[a-z][a-z0-9]{2,15}";
        assert_eq!(API_KEY_PATTERN, format!(r"\b{prefix}_[0-9A-Za-z]{{{characters}}}\b"));
        // The two parts mean what is configured and what is made.
        for (text, accepted) in
            [("abc", true), ("a23456789abcdef0", true), ("ab", false), ("Abc", false)]
        {
            let mut config = crate::config::Config::default();
            config.api_key.prefix = Some(text.to_owned());
            let faults = config.faults().into_iter().map(|fault| fault.to_string());
            assert_eq!(
                faults.filter(|fault| fault.contains("api_key.prefix")).count() == 0,
                accepted,
                "{text}"
            );
        }
        for _ in 0..200 {
            let key = NewKey::generate("abc");
            let (prefix, rest) = key.as_str().split_once('_').expect("a prefix");
            assert_eq!((prefix, rest.len()), ("abc", characters));
            assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{rest}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_a_known_key() {
        // CRC-32 (ISO-HDLC) of "123456789" is 0xCBF43926, which is 3421780262.
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
        let value = checksum(b"123456789").iter().fold(0u64, |value, byte| {
            value * 62 + ALPHABET.iter().position(|one| one == byte).expect("a character") as u64
        });
        assert_eq!(value, 0xCBF4_3926);
    }

    #[test]
    fn every_changed_character_is_found() {
        let key = NewKey::generate("acme");
        for at in 0..key.as_str().len() {
            let mut changed = key.as_str().as_bytes().to_vec();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_well_formed("acme", &changed), "{at}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = NewKey::generate("acme");
        let key = key.as_str();
        for other in [
            "",
            "acme",
            "acme_",
            "acme_0",
            &key[..key.len() - 1],
            &format!("{key}0"),
            &format!(" {key}"),
            &key.to_uppercase(),
            &key.replace("acme", "acm"),
            &key.replacen('_', "-", 1),
            &key.replacen("acme_", "acme_é", 1),
        ] {
            assert!(!is_well_formed("acme", other.as_bytes()), "{other}");
        }
        assert!(!is_well_formed("other", key.as_bytes()));
        assert!(looks_like_one("acme", b"acme_"));
        assert!(!looks_like_one("acme", b"acmex_"));
        assert!(!looks_like_one("acme", b"eyJhbGciOiJIUzI1NiJ9"));
    }

    #[test]
    fn a_hint_has_the_prefix_and_four_characters() {
        let key = NewKey::generate("acme");
        assert_eq!(key.hint(), key.as_str()[..9]);
        assert_eq!(format!("{key:?}"), "NewKey(..)");
    }
}
