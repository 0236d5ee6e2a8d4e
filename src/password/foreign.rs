//! Password hashes brought from another system: bcrypt and PBKDF2.
//!
//! An import needs no plaintext, and no mail to every user. The account's row keeps the old string
//! as it is. The first correct sign-in matches it here, and the caller replaces it with Argon2id.
//!
//! 1. The prefix tells the format. For any other string the result is `None`.
//! 2. The costs in the string are checked against fixed limits before any work.
//! 3. One hash is computed at the cost of the string, and compared in constant time.
//!
//! | format | example | limits |
//! |---|---|---|
//! | bcrypt | `$2b$12$…` (`2a`, `2b`, `2x`, `2y`) | cost 4 to 14 |
//! | PBKDF2, PHC | `$pbkdf2-sha256$i=600000,l=32$salt$hash`, `sha512` | 1 to 2 000 000 iterations, times the digests that the output needs |
//! | PBKDF2, Django | `pbkdf2_sha256$1000000$salt$hash` | the same |
//! | PBKDF2, werkzeug | `pbkdf2:sha256:1000000$salt$hash`, `sha512` | the same |
//!
//! In each format some different passwords have the same hash. bcrypt ignores all bytes after the
//! 72nd, and repeats the password with a NUL between. HMAC fills a short key with NULs. A password
//! of such a form costs the same hash and never matches. Users whose old password was longer than
//! 72 bytes have to reset it.
//!
//! It does not make such hashes. It does not read pre-hashed bcrypt (`bcrypt_sha256`), passlib's
//! form of PBKDF2, or plain digests. An imported hash takes the time of its own cost until it is
//! replaced. So the time can tell it from an Argon2 row.
//!
//! Standards: RFC 8018 §5.2 (PBKDF2), Provos and Mazières 1999 (bcrypt), the PHC string format.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64_NOPAD, Encoding, HEXLOWER_PERMISSIVE, Specification};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The bcrypt costs that are verified. 14 takes about a second of one core; each step doubles it.
const BCRYPT_COST: RangeInclusive<u32> = 4..=14;

/// The PBKDF2 iterations that are verified: up to nearly twice what Django and werkzeug use now.
const PBKDF2_ITERATIONS: RangeInclusive<u32> = 1..=2_000_000;

/// The lengths of salt and output that PBKDF2 strings may have, in bytes. Each further digest of
/// output costs all iterations again, so the limit above applies to the product.
const PBKDF2_SALT: RangeInclusive<usize> = 8..=64;
const PBKDF2_OUTPUT: RangeInclusive<usize> = 16..=64;

/// The number of bytes that bcrypt reads of a password.
const BCRYPT_KEY: usize = 72;

/// The result of comparing a password with an imported hash. After a match the hash should be
/// replaced.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The password is the one that was hashed. One hash was computed.
    Match,
    /// It is not, or the format cannot tell it from another password. One hash was computed.
    NoMatch,
    /// The prefix is known, but the string is broken. Nothing was computed.
    Malformed,
    /// A length or a number is outside its limit. Nothing was computed.
    OutOfBounds,
    /// It asks for too much work. Nothing was computed.
    TooCostly,
}

/// Compares `password` with a `stored` hash of another system. Returns `None` if the format is
/// unknown.
pub(crate) fn verify(password: &[u8], stored: &str) -> Option<Foreign> {
    Some(match parse(stored)? {
        Ok(row) if row.matches(password) => Foreign::Match,
        Ok(_) => Foreign::NoMatch,
        Err(refused) => refused,
    })
}

/// Checks that a password could be compared with `stored`. Returns `None` if the format is unknown.
pub(crate) fn examine(stored: &str) -> Option<Result<(), Foreign>> {
    Some(parse(stored)?.map(|_| ()))
}

enum Row {
    Bcrypt { cost: u32, salt: [u8; 16], output: [u8; 23] },
    Pbkdf2 { digest: Digest, iterations: u32, salt: Vec<u8>, output: Vec<u8> },
}

#[derive(Clone, Copy)]
enum Digest {
    Sha256,
    Sha512,
}

impl Digest {
    /// Refuses more work than the limit on iterations allows for one digest of output.
    fn bound(self, iterations: u32, output: usize) -> Result<(), Foreign> {
        let bytes = match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        };
        let digests = u64::try_from(output.div_ceil(bytes)).unwrap_or(u64::MAX);
        let most = u64::from(*PBKDF2_ITERATIONS.end());
        if u64::from(iterations).saturating_mul(digests) > most {
            return Err(Foreign::TooCostly);
        }
        Ok(())
    }
}

impl Row {
    fn matches(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { cost, salt, output } => {
                // To bcrypt, `a NUL a` is the same key as `a`, and byte 73 is never read. Such a
                // password must not pass for the shorter one. The hash is computed anyway, so that
                // the answer takes the same time.
                let exact = password.len() <= BCRYPT_KEY && !password.contains(&0);
                let mut key = Zeroizing::new([0; BCRYPT_KEY]);
                let copied = password.len().min(BCRYPT_KEY);
                key[..copied].copy_from_slice(&password[..copied]);
                // The terminating NUL is part of the key if there is space for it.
                let used = (copied + 1).min(BCRYPT_KEY);
                let computed = Zeroizing::new(bcrypt::bcrypt(*cost, *salt, &key[..used]));
                let equal: bool = computed[..output.len()].ct_eq(output).into();
                equal & exact
            }
            Self::Pbkdf2 { digest, iterations, salt, output } => {
                let mut computed = Zeroizing::new(vec![0; output.len()]);
                let block = match digest {
                    Digest::Sha256 => {
                        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, *iterations, &mut computed);
                        64
                    }
                    Digest::Sha512 => {
                        pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut computed);
                        128
                    }
                };
                // HMAC fills a key with NULs up to its block size, so `a` and `a NUL` are the same
                // key.
                let exact = password.len() > block || password.last() != Some(&0);
                let equal: bool = computed.ct_eq(output).into();
                equal & exact
            }
        }
    }
}

fn parse(stored: &str) -> Option<Result<Row, Foreign>> {
    // `2x` marks hashes of an old crypt_blowfish, which read bytes above 127 as negative numbers.
    // Here they are computed correctly. So ASCII passwords match, and other passwords do not.
    for prefix in ["$2a$", "$2b$", "$2x$", "$2y$"] {
        if let Some(rest) = stored.strip_prefix(prefix) {
            return Some(bcrypt_row(rest));
        }
    }
    for (prefix, digest) in
        [("$pbkdf2-sha256$", Digest::Sha256), ("$pbkdf2-sha512$", Digest::Sha512)]
    {
        if let Some(rest) = stored.strip_prefix(prefix) {
            return Some(phc_row(digest, rest));
        }
    }
    if let Some(rest) = stored.strip_prefix("pbkdf2_sha256$") {
        return Some(text_row(Digest::Sha256, rest, &BASE64));
    }
    for (prefix, digest) in [("pbkdf2:sha256:", Digest::Sha256), ("pbkdf2:sha512:", Digest::Sha512)]
    {
        if let Some(rest) = stored.strip_prefix(prefix) {
            return Some(text_row(digest, rest, &HEXLOWER_PERMISSIVE));
        }
    }
    None
}

/// Parses `12$`, then 22 characters of salt and 31 of hash, without a separator.
fn bcrypt_row(rest: &str) -> Result<Row, Foreign> {
    let (cost, body) = rest.split_once('$').ok_or(Foreign::Malformed)?;
    if cost.len() != 2 {
        return Err(Foreign::Malformed);
    }
    let cost = decimal(cost, &BCRYPT_COST)?;
    let (salt, output) = body.split_at_checked(22).ok_or(Foreign::Malformed)?;
    Ok(Row::Bcrypt { cost, salt: bcrypt_bytes(salt)?, output: bcrypt_bytes(output)? })
}

fn bcrypt_bytes<const N: usize>(text: &str) -> Result<[u8; N], Foreign> {
    /// bcrypt's own alphabet. Spare bits at the end are ignored, because old systems filled them at
    /// random.
    static ALPHABET: LazyLock<Encoding> = LazyLock::new(|| {
        let mut specification = Specification::new();
        specification
            .symbols
            .push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
        specification.check_trailing_bits = false;
        specification.encoding().expect("64 distinct ASCII symbols are an encoding")
    });
    if text.len() != (N * 8).div_ceil(6) {
        return Err(Foreign::Malformed);
    }
    ALPHABET
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Foreign::Malformed)
}

/// Parses `i=600000,l=32$salt$hash`, both in base64 without padding. `l` may be missing.
fn phc_row(digest: Digest, rest: &str) -> Result<Row, Foreign> {
    let (params, body) = rest.split_once('$').ok_or(Foreign::Malformed)?;
    let (salt, output) = body.split_once('$').ok_or(Foreign::Malformed)?;
    let (iterations, length) = params
        .split_once(',')
        .map_or((params, None), |(iterations, length)| (iterations, Some(length)));
    let iterations =
        decimal(iterations.strip_prefix("i=").ok_or(Foreign::Malformed)?, &PBKDF2_ITERATIONS)?;
    let salt = decode(salt, &BASE64_NOPAD, &PBKDF2_SALT)?;
    let output = decode(output, &BASE64_NOPAD, &PBKDF2_OUTPUT)?;
    digest.bound(iterations, output.len())?;
    if let Some(length) = length {
        let length =
            decimal(length.strip_prefix("l=").ok_or(Foreign::Malformed)?, &(1..=u32::MAX))?;
        if usize::try_from(length) != Ok(output.len()) {
            return Err(Foreign::Malformed);
        }
    }
    Ok(Row::Pbkdf2 { digest, iterations, salt, output })
}

/// Parses `600000$salt$hash`. The characters of the salt are its bytes.
fn text_row(digest: Digest, rest: &str, encoding: &Encoding) -> Result<Row, Foreign> {
    let (iterations, body) = rest.split_once('$').ok_or(Foreign::Malformed)?;
    let (salt, output) = body.split_once('$').ok_or(Foreign::Malformed)?;
    let iterations = decimal(iterations, &PBKDF2_ITERATIONS)?;
    if !PBKDF2_SALT.contains(&salt.len()) {
        return Err(Foreign::OutOfBounds);
    }
    let output = decode(output, encoding, &PBKDF2_OUTPUT)?;
    digest.bound(iterations, output.len())?;
    Ok(Row::Pbkdf2 { digest, iterations, salt: salt.into(), output })
}

fn decimal(text: &str, bounds: &RangeInclusive<u32>) -> Result<u32, Foreign> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Foreign::Malformed);
    }
    text.parse().ok().filter(|number| bounds.contains(number)).ok_or(Foreign::OutOfBounds)
}

fn decode(
    text: &str,
    encoding: &Encoding,
    lengths: &RangeInclusive<usize>,
) -> Result<Vec<u8>, Foreign> {
    // Each encoding here needs at most two characters a byte. A longer text is refused before it is
    // decoded.
    if text.len() > lengths.end() * 2 {
        return Err(Foreign::OutOfBounds);
    }
    let bytes = encoding.decode(text.as_bytes()).map_err(|_| Foreign::Malformed)?;
    if lengths.contains(&bytes.len()) { Ok(bytes) } else { Err(Foreign::OutOfBounds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with Python: bcrypt 5.0, crypt(3) of libxcrypt for `2x` and `2y`, hashlib.pbkdf2_hmac.
    const STAPLE: &str = "correct horse battery staple";
    const UNICODE: &str = "pässwörd ✓";
    const PHC_SHA256: &str = "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI";
    const BCRYPT_72: &str = "$2b$05$abcdefghijklmnopqrstuuGUnCqbfgs3htOkLrFduUjAyLBw1Rq/u";
    const BCRYPT_EMPTY: &str = "$2b$05$abcdefghijklmnopqrstuu0oImNDIy4flhldV9YqunRgBAePKmw7m";

    #[track_caller]
    fn check(password: impl AsRef<[u8]>, stored: &str, expected: Option<Foreign>) {
        assert_eq!(verify(password.as_ref(), stored), expected, "{stored}");
    }

    #[test]
    fn hashes_of_other_systems_match_the_right_password_only() {
        for (password, stored) in [
            (STAPLE, "$2a$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
            (STAPLE, "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
            (STAPLE, "$2x$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
            (STAPLE, "$2y$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS"),
            (UNICODE, "$2b$05$abcdefghijklmnopqrstuucXzl.EdFiYZ8M9ef3QFcQ5vnOe67Nqe"),
            (STAPLE, PHC_SHA256),
            (
                STAPLE,
                "$pbkdf2-sha512$i=1000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$5bTW2oeyDJyGJPcmEr+mRDE11ghpozWrDGnSNhRXo2ZCu0KHRDiUMAVEGzLJC+oDhRoeIja9J1iLIv9ptDJMfQ",
            ),
            (
                UNICODE,
                "$pbkdf2-sha256$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$Tc5XOREtk+VGw3MLNzJGukScW/j7LwLeHCSanbQZgjk",
            ),
            (
                STAPLE,
                "pbkdf2_sha256$1000$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=",
            ),
            (
                STAPLE,
                "pbkdf2:sha256:1000$0123456789abcdef$caa4aad92ca0635b01e04707f5fd851b42533044bec2a2ec393e589a2441a652",
            ),
            (
                STAPLE,
                "pbkdf2:sha512:1000$0123456789abcdef$e5b4d6da87b20c9c8624f72612bfa6443135d60869a335ab0c69d2361457a36642bb42874438943005441b32c90bea03851a1e2236bd27588b22ff69b4324c7d",
            ),
        ] {
            check(password, stored, Some(Foreign::Match));
            check("Correct horse battery staple", stored, Some(Foreign::NoMatch));
            check(format!("{password} "), stored, Some(Foreign::NoMatch));
            check("", stored, Some(Foreign::NoMatch));
        }
    }

    #[test]
    fn bcrypt_takes_72_bytes_and_refuses_the_73rd() {
        let a72 = "a".repeat(72);
        check(&a72, BCRYPT_72, Some(Foreign::Match));
        check(&a72[1..], BCRYPT_72, Some(Foreign::NoMatch));
        // bcrypt itself computes the same hash for both of these passwords.
        check(format!("{a72}b"), BCRYPT_72, Some(Foreign::NoMatch));
        check(format!("{a72}c"), BCRYPT_72, Some(Foreign::NoMatch));
    }

    #[test]
    fn bcrypt_does_not_take_a_password_repeated_around_a_nul() {
        let stored = "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS";
        check(format!("{STAPLE}\0"), stored, Some(Foreign::NoMatch));
        check(format!("{STAPLE}\0{STAPLE}"), stored, Some(Foreign::NoMatch));
        check("", BCRYPT_EMPTY, Some(Foreign::Match));
        check("\0\0", BCRYPT_EMPTY, Some(Foreign::NoMatch));
    }

    #[test]
    fn pbkdf2_tells_long_passwords_and_trailing_nuls_apart() {
        let stored = "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$X2jn/H7L4bxKZmQaZtFn6YvThogcBLrYMKRWcZ+1Erg";
        let a72 = "a".repeat(72);
        check(format!("{a72}b"), stored, Some(Foreign::Match));
        check(format!("{a72}c"), stored, Some(Foreign::NoMatch));
        check(format!("{STAPLE}\0"), PHC_SHA256, Some(Foreign::NoMatch));
        check(format!("{STAPLE}\0\0\0"), PHC_SHA256, Some(Foreign::NoMatch));
    }

    #[test]
    fn a_bug_for_bug_2x_hash_of_non_ascii_text_is_not_matched() {
        check(
            UNICODE,
            "$2x$05$abcdefghijklmnopqrstuulqnsKno8pB9pUzz/uvFW7wMVs3N4U/y",
            Some(Foreign::NoMatch),
        );
    }

    #[test]
    fn bits_left_over_in_a_bcrypt_salt_are_ignored() {
        // `uu` → `uv`: only two bits of the last character of the salt count.
        check(
            STAPLE,
            "$2b$05$abcdefghijklmnopqrstuvFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            Some(Foreign::Match),
        );
    }

    #[test]
    fn costs_outside_the_bounds_are_refused_before_the_work() {
        for stored in [
            "$2b$03$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$2b$15$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$2b$31$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$pbkdf2-sha256$i=0$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "$pbkdf2-sha256$i=2000001$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "pbkdf2_sha256$99999999999$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=",
            "pbkdf2_sha256$1000$short$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=",
            "pbkdf2:sha256:1000$0123456789abcdef$caa4aad9",
            &format!("pbkdf2:sha256:1000$0123456789abcdef${}", "aa".repeat(65)),
        ] {
            check(STAPLE, stored, Some(Foreign::OutOfBounds));
        }
        let long = "aa".repeat(64);
        for (stored, expected) in [
            (
                format!("pbkdf2:sha256:1000001$0123456789abcdef${long}"),
                Some(Err(Foreign::TooCostly)),
            ),
            (format!("pbkdf2:sha256:1000000$0123456789abcdef${long}"), Some(Ok(()))),
            (format!("pbkdf2:sha512:2000000$0123456789abcdef${long}"), Some(Ok(()))),
        ] {
            assert_eq!(examine(&stored), expected, "{stored}");
        }
    }

    #[test]
    fn broken_strings_are_malformed_and_others_are_not_ours() {
        for stored in [
            "$2b$",
            "$2b$5$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$2b$+5$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/Zsu",
            "$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuSS",
            "$2b$05$abcdefghijklmnopqrstü$FiPhXf1sVd3pCCRO.uVh34H/qI/ZsuSx",
            "$2b$05$abcdefghijklmnopqrstuu+iPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "$pbkdf2-sha256$i=1000,l=31$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "$pbkdf2-sha256$i=1000,x=32$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "$pbkdf2-sha256$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=",
            "$pbkdf2-sha256$i=1000$MDEyMzQ1Njc4OWFiY2RlZg",
            "pbkdf2_sha256$1000$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "pbkdf2:sha256:1000$0123456789abcdef$zza4aad92ca0635b01e04707f5fd851b42533044bec2a2ec393e589a2441a652",
        ] {
            check(STAPLE, stored, Some(Foreign::Malformed));
        }
        for stored in [
            "",
            "!",
            STAPLE,
            "$2$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4",
            "$pbkdf2-sha1$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "pbkdf2:sha1:1000$0123456789abcdef$caa4aad92ca0635b01e04707f5fd851b42533044bec2a2ec393e589a2441a652",
        ] {
            check(STAPLE, stored, None);
        }
    }
}
