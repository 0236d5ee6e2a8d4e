//! Codes that people type.

use zeroize::Zeroizing;

use crate::base::secret::random_bytes;
use crate::config::ChallengeConfig;

/// A code of the configured length, each character as likely as any other.
pub(super) fn new_code(config: &ChallengeConfig) -> Zeroizing<String> {
    let alphabet = config.code_alphabet.as_bytes();
    let mut code = Zeroizing::new(String::with_capacity(config.code_length));
    let mut random = Zeroizing::new([0; 32]);
    while code.len() < config.code_length {
        random_bytes(random.as_mut());
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

/// A number below `count` from a random byte; none for the bytes at the end that would make some
/// numbers likelier than others.
fn below(count: usize, byte: u8) -> Option<usize> {
    let byte = usize::from(byte);
    (byte < 256 - 256 % count).then_some(byte % count)
}

/// What someone typed, as it would be printed: without the spaces and dashes that people group
/// characters with, and in the alphabet's case if it has only one.
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
