//! Decides if a secret can be guessed: if it was published, is text, or consists of guessable
//! parts.
//!
//! A secret signs tokens. Anyone who knows it can sign in as anyone. Guessing it offline costs only
//! computing time, and attackers start with published values and with what people invent. A random
//! secret contains neither, except by chance, and chance stays far below the limits here.
//!
//! 1. Secrets from public code and documentation are known by their digests
//!    (`published_secrets.bin`; their origin is in `published_secrets.LICENSE.txt`). The lookup
//!    covers the secret with and without a possible label or quotes, as written and decoded.
//! 2. For other secrets, the code measures which share is covered by common words, repetitions,
//!    sequences of letters or digits, and runs on a keyboard. It also measures if letters follow
//!    each other as in words.
//! 3. A text that is only wrapped in base64 or hexadecimal is unwrapped first.
//! 4. A label before or after a random secret does not make it worse. One part with 128 bits in
//!    hexadecimal, base32 or base64 that passes by itself is enough.
//!
//! Many words are refused even if they were chosen by dice: a passphrase of twelve words looks like
//! a sentence from a book.
//!
//! Random typing on a keyboard passes, unless it was published. No measure can distinguish it from
//! random data.

use std::collections::HashSet;
use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64URL, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

/// Common passwords in lower case, one per line, after a header and an empty line. The password
/// policy uses the same list.
pub(crate) static COMMON: &str = include_str!("../password/common.txt");

/// The first eight bytes of the SHA-256 digests of published secrets, sorted.
static PUBLISHED: &[u8] = include_bytes!("published_secrets.bin");

/// The number of bytes that are kept of a digest.
const PREFIX: usize = 8;

/// Words in secrets that are not common passwords.
const MORE_WORDS: [&str; 40] = [
    "secret",
    "token",
    "auth",
    "sign",
    "signing",
    "server",
    "session",
    "cookie",
    "production",
    "development",
    "service",
    "private",
    "public",
    "hmac",
    "random",
    "string",
    "long",
    "enough",
    "bits",
    "bytes",
    "this",
    "that",
    "should",
    "must",
    "very",
    "your",
    "with",
    "from",
    "please",
    "change",
    "replace",
    "here",
    "make",
    "sure",
    "super",
    "need",
    "test",
    "code",
    "node",
    "user",
];

/// The rows of a keyboard, and its columns as one row.
const KEYS: [&str; 5] =
    ["qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890", "qazwsxedcrfvtgbyhnujmikolp"];

/// The minimum length of a word, a repetition or a run, in characters.
const SHORTEST: usize = 4;

/// The length of the longest word that is searched, in characters.
const LONGEST_WORD: usize = 14;

/// The reason why a secret is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guessable {
    /// It is on the list of published secrets.
    Published,
    /// A person invented it.
    ThoughtUp,
}

/// Returns why this secret can be guessed, or `None` if it looks random.
pub(super) fn judge(secret: &[u8]) -> Option<Guessable> {
    let secret = secret.trim_ascii();
    let parts = || std::str::from_utf8(secret).into_iter().flat_map(parts);
    let values = || std::str::from_utf8(secret).into_iter().flat_map(values);
    let mut all = [secret].into_iter().chain(parts().chain(values()).map(str::as_bytes));
    if all.any(is_published_in_any_form) {
        return Some(Guessable::Published);
    }
    let is_wrapped = |inner: &[u8]| unwrapped(inner).iter().any(|inner| is_text(inner));
    let thought_up = match std::str::from_utf8(secret) {
        // No generator produces letters beyond ASCII, and random bytes are not valid text.
        Ok(text) if !text.is_ascii() => true,
        Ok(text) => {
            is_wrapped(secret)
                || parts().any(|part| is_wrapped(part.as_bytes()))
                || is_thought_up(text) && !parts().any(is_random)
        }
        Err(_) => covered(secret) > MOST_COVERED,
    };
    thought_up.then_some(Guessable::ThoughtUp)
}

/// Returns true if a part at the beginning or the end is random by itself and `counts` accepts it.
/// Random secrets have their labels on one side.
pub(super) fn has_random_end(secret: &[u8], counts: impl Fn(&[u8]) -> bool) -> bool {
    let Ok(text) = std::str::from_utf8(secret) else { return false };
    let text = text.trim_matches(|c| !is_of_encoding(c));
    let is_end = |part: &str| text.starts_with(part) || text.ends_with(part);
    parts(text).any(|part| is_end(part) && counts(part.as_bytes()) && is_random(part))
}

/// The number of base64 characters that contain 128 bits.
const SHORTEST_PART: usize = 22;

/// The maximum number of beginnings and ends of a run that are checked.
const MOST_PARTS: usize = 16;

/// Returns the runs of encoding characters, and each run without a possible label. `-` and `_`
/// belong to base64url, but also separate the words of a name.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c| !is_of_encoding(c));
    let parts = runs.filter(|run| run.len() >= SHORTEST_PART).flat_map(|run| {
        let separators = || run.match_indices(['-', '_']).map(|(at, _)| at);
        let ends = separators().rev().take(MOST_PARTS).map(|at| &run[..at]);
        let starts = separators().take(MOST_PARTS).map(|at| &run[at + 1..]);
        [run].into_iter().chain(starts).chain(ends)
    });
    parts.filter(|part| part.len() >= SHORTEST_PART)
}

fn is_of_encoding(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/-_".contains(c)
}

/// Returns what is after or before a label, with any characters in it, and without quotes around
/// it.
fn values(text: &str) -> impl Iterator<Item = &str> {
    let separator = |c: char| c.is_whitespace() || "=:\"'`-_".contains(c);
    let separators = move || text.char_indices().filter(move |(_, c)| separator(*c));
    let ends = separators().rev().take(MOST_PARTS).map(|(at, _)| &text[..at]);
    let starts = separators().take(MOST_PARTS).map(|(at, c)| &text[at + c.len_utf8()..]);
    let values = [text].into_iter().chain(starts).chain(ends).flat_map(|value| {
        let (value, statement) = (value.trim(), value.trim().trim_end_matches([';', ',']));
        [value, statement, statement.trim_matches(['"', '\'', '`'])]
    });
    values.filter(|value| value.len() >= SHORTEST_PART)
}

/// Returns true if this is 128 random bits or more in hexadecimal, base32 or base64. The measures
/// are the same as for a whole secret.
fn is_random(part: &str) -> bool {
    let count = |what: fn(&u8) -> bool| part.bytes().filter(what).count();
    let digits = count(u8::is_ascii_digit);
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    let letters = lower + upper;
    let separators = count(|byte| matches!(byte, b'-' | b'_'));
    let hexadecimal = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let base32 = part.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'2'..=b'7'));
    let one_case = lower == 0 || upper == 0;
    let long_enough = if hexadecimal {
        letters + digits >= 32 && letters > 0 && digits > 0
    } else if one_case {
        base32 && digits >= 2 && letters + digits >= 26
    } else {
        // More separators than this separate words.
        part.len() >= SHORTEST_PART && separators * 8 <= part.len()
    };
    long_enough
        && (hexadecimal || letters >= 8 && bits_of_letters(part) >= LEAST_BITS)
        && covered(part.as_bytes()) <= MOST_COVERED
}

/// Returns true if the secret was published as written, with the padding that base64 may have, or
/// decoded.
fn is_published_in_any_form(secret: &[u8]) -> bool {
    let with = |padding: &[u8]| is_published(&[secret, padding].concat());
    is_published(secret)
        || with(b"=")
        || with(b"==")
        || unwrapped(secret).iter().any(|decoded| is_published(decoded))
}

fn is_published(secret: &[u8]) -> bool {
    let digest = Sha256::digest(secret);
    let (published, _) = PUBLISHED.as_chunks::<PREFIX>();
    published.binary_search_by(|known| known[..].cmp(&digest[..PREFIX])).is_ok()
}

/// Returns a secret without the encoding around it.
fn unwrapped(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut padded = secret.to_vec();
    padded.resize(secret.len().next_multiple_of(4), b'=');
    let decoded = [
        HEXLOWER_PERMISSIVE.decode(secret).ok(),
        BASE64.decode(&padded).ok(),
        BASE64URL.decode(&padded).ok(),
    ];
    decoded.into_iter().flatten().collect()
}

/// Returns true if all bytes are visible characters. For 16 random bytes the chance is one in eight
/// million.
fn is_text(bytes: &[u8]) -> bool {
    bytes.len() >= 16 && bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// The maximum share of a secret that words, repetitions, sequences and runs may cover. In 80 000
/// random secrets the share was never above 0.4.
const MOST_COVERED: f64 = 0.5;

/// The minimum number of bits per letter, given the letter before it. In English, French, German,
/// Italian and Dutch text it is below 4.2. In 80 000 random secrets it was never below 4.2.
const LEAST_BITS: f64 = 4.2;

/// The minimum number of letters for this measure. Fewer letters do not say enough.
const LEAST_LETTERS: usize = 20;

fn is_thought_up(text: &str) -> bool {
    if covered(text.as_bytes()) > MOST_COVERED {
        return true;
    }
    // Hexadecimal has only six letters, so their order says nothing.
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-:{}".contains(&byte));
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    !hexadecimal && letters >= LEAST_LETTERS && bits_of_letters(text) < LEAST_BITS
}

fn bits_of_letters(text: &str) -> f64 {
    let letters = text.bytes().filter(u8::is_ascii_alphabetic);
    let letters: Vec<u8> = letters.map(|byte| byte.to_ascii_lowercase() - b'a').collect();
    bits_per_letter(&letters)
}

/// Returns the covered share of the letters and digits, or of all bytes if there are none.
fn covered(secret: &[u8]) -> f64 {
    let lower = secret.to_ascii_lowercase();
    let mut covered = vec![false; lower.len()];
    let plain: Vec<u8> = lower.iter().map(|byte| unleet(*byte)).collect();
    for text in [&lower, &plain] {
        cover_words(text, &mut covered);
    }
    cover_repetitions(&lower, &mut covered);
    cover_runs(&lower, &mut covered);
    let counts = |at: usize| lower[at].is_ascii_alphanumeric() || !lower[at].is_ascii();
    let all = (0..lower.len()).filter(|at| counts(*at)).count();
    if all == 0 {
        return 1.0;
    }
    let found = (0..lower.len()).filter(|at| counts(*at) && covered[*at]).count();
    found as f64 / all as f64
}

/// Returns the letter that a digit or sign often replaces.
fn unleet(byte: u8) -> u8 {
    match byte {
        b'0' => b'o',
        b'1' => b'i',
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'7' => b't',
        byte => byte,
    }
}

fn cover_words(text: &[u8], covered: &mut [bool]) {
    static WORDS: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| {
        let words = common().chain(MORE_WORDS).map(str::as_bytes);
        words
            .filter(|word| word.len() >= SHORTEST && word.iter().all(u8::is_ascii_alphabetic))
            .collect()
    });
    for start in 0..text.len() {
        let letters = text[start..].iter().take(LONGEST_WORD);
        let longest = letters.take_while(|byte| byte.is_ascii_alphabetic()).count();
        let word = (SHORTEST..=longest).rev().find(|length| {
            let word = &text[start..start + length];
            WORDS.contains(word)
        });
        if let Some(length) = word {
            covered[start..start + length].fill(true);
        }
    }
}

/// Covers text that occurred earlier in the same secret.
fn cover_repetitions(text: &[u8], covered: &mut [bool]) {
    let mut seen = HashSet::new();
    for (start, window) in text.windows(SHORTEST).enumerate() {
        if !seen.insert(window) {
            covered[start..start + SHORTEST].fill(true);
        }
    }
}

/// Covers runs such as `abcd`, `4321`, `aaaa` and `qwer`.
fn cover_runs(text: &[u8], covered: &mut [bool]) {
    static KEYBOARD: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
        let runs = KEYS.iter().flat_map(|row| row.as_bytes().windows(SHORTEST));
        let both = runs.flat_map(|run| [run.to_vec(), run.iter().rev().copied().collect()]);
        both.collect()
    });
    for (start, window) in text.windows(SHORTEST).enumerate() {
        let step = window[1].wrapping_sub(window[0]);
        let even = window.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
        if even && matches!(step, 0 | 1 | 255) || KEYBOARD.contains(window) {
            covered[start..start + SHORTEST].fill(true);
        }
    }
}

fn common() -> impl Iterator<Item = &'static str> {
    COMMON.split_once("\n\n").map_or("", |(_, list)| list).lines()
}

/// Returns the number of bits per letter, given the letter before it. The frequencies come from
/// common passwords.
fn bits_per_letter(letters: &[u8]) -> f64 {
    static FOLLOWS: LazyLock<[[f64; 26]; 26]> = LazyLock::new(|| {
        let mut counts = [[0.5_f64; 26]; 26];
        for word in common() {
            let letters: Vec<u8> =
                word.bytes().filter(u8::is_ascii_lowercase).map(|byte| byte - b'a').collect();
            for pair in letters.windows(2) {
                counts[usize::from(pair[0])][usize::from(pair[1])] += 1.0;
            }
        }
        for row in &mut counts {
            let all: f64 = row.iter().sum();
            for count in row {
                *count = -(*count / all).log2();
            }
        }
        counts
    });
    let pairs = letters.windows(2);
    let bits: f64 =
        pairs.clone().map(|pair| FOLLOWS[usize::from(pair[0])][usize::from(pair[1])]).sum();
    bits / pairs.count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE32, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

    use super::*;

    #[test]
    fn what_people_think_up_is_refused() {
        for text in [
            "this is a very long secret that nobody will ever guess",
            "MyVeryLongSecretForSigningTokensInProduction2024!",
            "th1s_1s_my_v3ry_s3cr3t_k3y_f0r_jwt_t0k3ns",
            "contrasenamuylargaparalosusuariosdelaaplicacion",
            "einsehrlangesgeheimnisfuerdenserver",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "0123456789abcdef0123456789abcdef",
            "qwertyuiopzxcvbnmasdfghjkl7654321poiuytr",
            "1234567890123456789012345678901234567890",
            "f3k9f3k9f3k9f3k9f3k9f3k9f3k9f3k9",
            "dragonmonkeymasterbaseballfootball",
            "мой очень длинный секрет",
            // "this is the secret of our service" in base64 and hexadecimal.
            "dGhpcyBpcyB0aGUgc2VjcmV0IG9mIG91ciBzZXJ2aWNl",
            "746869732069732074686520736563726574206f66206f75722073657276696365",
        ] {
            assert_eq!(judge(text.as_bytes()), Some(Guessable::ThoughtUp), "{text}");
        }
        assert_eq!(judge(&(0..64).collect::<Vec<u8>>()), Some(Guessable::ThoughtUp));
    }

    #[test]
    fn published_secrets_are_known_however_they_are_written() {
        let (published, rest) = PUBLISHED.as_chunks::<PREFIX>();
        assert!(rest.is_empty() && published.is_sorted());
        assert_eq!(published.len(), 2543);
        // Random secrets, which only the list can recognise.
        for text in [
            "3lvXDtIquzg9h0xIUqmBf200do7EYieXUGLwP6DdnYVHkProeuSJEYmHsktT1Uhn",
            "b74026dd-64e2-4911-a231-307f84286ad5",
            "  0747b49b0815279145cfafddb5cba1b9ec31e6b33972174c16e3b739c6051660\n",
        ] {
            assert_eq!(judge(text.as_bytes()), Some(Guessable::Published), "{text}");
        }
        let decoded = HEXLOWER
            .decode(b"0747b49b0815279145cfafddb5cba1b9ec31e6b33972174c16e3b739c6051660")
            .expect("digits");
        assert_eq!(judge(&decoded), Some(Guessable::Published));
        // Their neighbours, which differ in one character and are not published.
        for text in [
            "3lvXDtIquzg9h0xIUqmBf200do7EYieXUGLwP6DdnYVHkProeuSJEYmHsktT1Uhm",
            "b74026dd-64e2-4911-a231-307f84286ad6",
        ] {
            assert_eq!(judge(text.as_bytes()), None, "{text}");
        }
    }

    /// Returns bytes that look random and are the same in every run.
    fn bytes(number: u32, length: usize) -> Vec<u8> {
        let blocks = (0..2u8).flat_map(|block| {
            Sha256::new().chain_update(number.to_be_bytes()).chain_update([block]).finalize()
        });
        blocks.take(length).collect()
    }

    #[test]
    fn a_label_makes_no_random_secret_worse() {
        let mut refused = Vec::new();
        for number in 0..300 {
            let (short, long) = (bytes(number, 16), bytes(number, 32));
            for random in [
                HEXLOWER.encode(&short),
                HEXLOWER.encode(&long),
                HEXUPPER.encode(&short),
                BASE64.encode(&short),
                BASE64.encode(&long),
                BASE64URL_NOPAD.encode(&long),
            ] {
                for text in [
                    format!("portcullis_session_secret_{random}"),
                    format!("SECRET_KEY_FOR_SESSIONS={random}"),
                    format!("{random}-production-session-secret"),
                    format!("the secret of our service: {random}"),
                ] {
                    if judge(text.as_bytes()).is_some() {
                        refused.push(text);
                    }
                }
            }
        }
        assert_eq!(refused, [""; 0]);
    }

    #[test]
    fn a_label_makes_no_guessable_secret_better() {
        let published = "0747b49b0815279145cfafddb5cba1b9ec31e6b33972174c16e3b739c6051660";
        let decoded = HEXLOWER.decode(published.as_bytes()).expect("digits");
        let encoded = BASE64.encode(&decoded);
        for label in ["portcullis_session_secret_", "SECRET_KEY=", "our key: ", "SECRET_KEY = ", ""]
        {
            let judged = |text: &str| judge(format!("{label}{text}").as_bytes());
            for published in [
                published,
                // With padding.
                "68V0zWFrS72GbpPreidkQFLfj4v9m3Ti+DXc8OB0gcM=",
                // The same bytes as the first one, in another encoding.
                &encoded,
                // With punctuation in it.
                "!ChangeThisMercureHubJWTSecretKey!",
            ] {
                for quote in ["", "\"", "'"] {
                    let quoted = format!("{quote}{published}{quote}");
                    assert_eq!(judged(&quoted), Some(Guessable::Published), "{label}{quoted}");
                }
            }
            for text in [
                "0123456789abcdef0123456789abcdef",
                "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
                "746869732069732074686520736563726574206f66206f75722073657276696365",
                "dGhpcyBpcyB0aGUgc2VjcmV0IG9mIG91ciBzZXJ2aWNl",
                "MyVeryLongSecretForSigningTokensInProduction2024",
                "correct-horse-battery-staple-river-Garden-window-Mountain",
            ] {
                assert_eq!(judged(text), Some(Guessable::ThoughtUp), "{label}{text}");
            }
        }
    }

    #[test]
    fn no_random_secret_is_refused_in_any_encoding() {
        let uuid = |bytes: &[u8]| {
            let hex = HEXLOWER.encode(bytes);
            format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            )
        };
        for number in 0..10_000 {
            let (short, long) = (bytes(number, 16), bytes(number, 32));
            let texts = [
                HEXLOWER.encode(&short),
                HEXUPPER.encode(&long),
                BASE64.encode(&long),
                BASE64_NOPAD.encode(&bytes(number, 24)),
                BASE64URL_NOPAD.encode(&long),
                BASE32.encode(&bytes(number, 20)),
                BASE32.encode(&bytes(number, 20)).to_lowercase(),
                format!("{}{}", uuid(&long[..16]), uuid(&long[16..])),
            ];
            for text in &texts {
                assert_eq!(judge(text.as_bytes()), None, "{text}");
            }
            assert_eq!(judge(&long), None, "{long:?}");
        }
    }
}
