//! Codes that users type.

use zeroize::Zeroizing;

use crate::base::secret::{DigestKey, random_bytes};
use crate::config::ChallengeConfig;

/// Generates a code of the configured length. Each character is equally likely.
pub(super) fn new_code(config: &ChallengeConfig) -> Zeroizing<String> {
    code_from(config, |bytes| random_bytes(bytes))
}

/// Returns the code that belongs to a token. So portcullis can show the code to the holder of the
/// token, although no row contains it. Without the key or the token, it is as random as any other
/// code.
pub(super) fn code_of_token(
    config: &ChallengeConfig,
    key: &DigestKey,
    token: &str,
) -> Zeroizing<String> {
    let mut block: u64 = 0;
    code_from(config, |bytes| {
        *bytes = key.digest_parts(&[token.as_bytes(), &block.to_be_bytes()]);
        block += 1;
    })
}

/// Makes a code from random bytes. `next` fills in more of them.
fn code_from(config: &ChallengeConfig, mut next: impl FnMut(&mut [u8; 32])) -> Zeroizing<String> {
    let alphabet = config.code_alphabet.as_bytes();
    let mut code = Zeroizing::new(String::with_capacity(config.code_length));
    let mut random = Zeroizing::new([0; 32]);
    while code.len() < config.code_length {
        next(&mut random);
        for byte in random.iter() {
            if code.len() < config.code_length
                && let Some(at) = below(alphabet.len(), *byte)
            {
                code.push(char::from(alphabet[at]));
            }
        }
    }
    code
}

/// Returns a number below `count` from a random byte. Returns `None` for the last bytes, because
/// they would make some numbers more likely than others (modulo bias).
fn below(count: usize, byte: u8) -> Option<usize> {
    let byte = usize::from(byte);
    (byte < 256 - 256 % count).then_some(byte % count)
}

/// Returns what a user typed in the form in which the code is printed. Removes spaces and dashes,
/// with which people group characters. Changes the case if the alphabet has only one.
pub(super) fn tidy_code(config: &ChallengeConfig, typed: &str) -> Zeroizing<String> {
    let lower = config.code_alphabet.bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = config.code_alphabet.bytes().any(|byte| byte.is_ascii_uppercase());
    let tidy = typed.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').map(|c| {
        match (lower, upper) {
            (true, false) => c.to_ascii_lowercase(),
            (false, true) => c.to_ascii_uppercase(),
            _ => c,
        }
    });
    Zeroizing::new(tidy.take(128).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_of_a_code_is_as_likely_as_any_other() {
        for count in 2..=62 {
            let mut seen = vec![0; count];
            for byte in 0..=u8::MAX {
                if let Some(at) = below(count, byte) {
                    seen[at] += 1;
                }
            }
            assert!(seen[0] > 0 && seen.iter().all(|times| *times == seen[0]), "{count}: {seen:?}");
        }
    }

    #[test]
    fn a_code_has_the_configured_length_and_alphabet() {
        for (length, alphabet) in [(8, "0123456789"), (6, "0123456789"), (40, "ab"), (12, "BCDF")] {
            let config = ChallengeConfig {
                code_length: length,
                code_alphabet: alphabet.to_owned(),
                ..ChallengeConfig::default()
            };
            let code = new_code(&config);
            assert_eq!(code.len(), length);
            assert!(code.chars().all(|c| alphabet.contains(c)), "a character is not of {alphabet}");
            assert_ne!(*new_code(&config), *code);
        }
    }

    #[test]
    fn the_code_of_a_token_is_always_the_same_and_belongs_to_this_token_and_key() {
        use crate::base::secret::{Purpose, Secret};

        let key = || DigestKey::new(&Secret::generate(), Purpose::CodeOfToken);
        let (ours, other) = (key(), key());
        for (length, alphabet) in [(8, "0123456789"), (40, "BCDFGHJKLM"), (80, "0123456789")] {
            let config = ChallengeConfig {
                code_length: length,
                code_alphabet: alphabet.to_owned(),
                ..ChallengeConfig::default()
            };
            let code = code_of_token(&config, &ours, "a token");
            assert_eq!(code, code_of_token(&config, &ours, "a token"));
            assert_ne!(code, code_of_token(&config, &ours, "another token"));
            assert_ne!(code, code_of_token(&config, &other, "a token"));
            assert_eq!(code.len(), length);
            assert!(code.chars().all(|c| alphabet.contains(c)), "a character is not of {alphabet}");
        }
    }

    #[test]
    fn what_people_add_when_they_type_a_code_is_taken_away() {
        let config = |alphabet: &str| ChallengeConfig {
            code_alphabet: alphabet.to_owned(),
            ..ChallengeConfig::default()
        };
        for (alphabet, typed, code) in [
            ("0123456789", " 1234 5678\n", "12345678"),
            ("0123456789", "1234-5678", "12345678"),
            ("BCDFGH", "bcd-fgh", "BCDFGH"),
            ("bcdfgh", "BCDfgh", "bcdfgh"),
            ("abcDEF", "aBcDeF", "aBcDeF"),
            ("0123456789", "１２３４", "１２３４"),
        ] {
            assert_eq!(*tidy_code(&config(alphabet), typed), code);
        }
    }
}
