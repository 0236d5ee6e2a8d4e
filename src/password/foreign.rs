//! Password hashes brought from another system: bcrypt, PBKDF2 and scrypt.
//!
//! An import needs no plaintext, and no mail to every user. The account's row keeps the old string.
//! The first correct sign-in matches it here, and the caller replaces it with Argon2id.
//!
//! 1. The prefix tells the format. For any other string the result is `None`.
//! 2. The costs in the string are checked against fixed limits before any work.
//! 3. One hash is computed at the cost of the string, and compared in constant time.
//!
//! | format | example | limits |
//! |---|---|---|
//! | bcrypt | `$2b$12$…` (`2a`, `2b`, `2x`, `2y`) | cost 4 to 14 |
//! | bcrypt, WordPress | `$wp$2y$10$…` | the same |
//! | bcrypt, Django | `bcrypt_sha256$$2b$12$…` | the same |
//! | bcrypt, passlib | `$bcrypt-sha256$v=2,t=2b,r=12$salt$hash`, `$bcrypt-sha256$2b,12$salt$hash` | the same |
//! | PBKDF2, PHC | `$pbkdf2-sha256$i=600000,l=32$salt$hash`, `sha512` | 1 to 2 000 000 iterations, times the digests that the output needs |
//! | PBKDF2, passlib | `$pbkdf2-sha256$29000$salt$hash`, `sha512` | the same |
//! | PBKDF2, Django | `pbkdf2_sha256$1000000$salt$hash` | the same |
//! | PBKDF2, werkzeug | `pbkdf2:sha256:1000000$salt$hash`, `sha512` | the same |
//! | scrypt, PHC and passlib | `$scrypt$ln=16,r=8,p=1$salt$hash` | memory 256 MiB, memory × parallelism 512 MiB |
//! | scrypt, Django | `scrypt$16384$salt$8$5$hash` | the same |
//! | scrypt, werkzeug | `scrypt:32768:8:1$salt$hash` | the same |
//!
//! The last three bcrypt formats hash the password first, so that its length does not matter:
//! WordPress with HMAC-SHA-384, the others with SHA-256 or HMAC-SHA-256.
//!
//! In each format some different passwords have the same hash. bcrypt ignores all bytes after the
//! 72nd, and repeats the password with a NUL between. HMAC fills a short key with NULs. A password
//! of such a form costs the same hash and never matches. Users whose old password was longer than
//! 72 bytes have to reset it.
//!
//! WordPress ignores white space around a password. So a password with such white space matches
//! here too. But it does not replace the hash, because the password without the white space must
//! still match.
//!
//! This module makes no such hashes, and reads no plain digests and no PBKDF2 with SHA-1. Until an
//! imported hash is replaced, a check takes as long as its own cost demands. So the time can reveal
//! that a hash was imported.
//!
//! Standards: RFC 8018 §5.2 (PBKDF2), RFC 7914 (scrypt), Provos and Mazières 1999 (bcrypt), the PHC
//! string format.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE, Specification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The bcrypt costs that are verified. 14 takes about a second of one core; each step doubles it.
const BCRYPT_COST: RangeInclusive<u32> = 4..=14;

/// The PBKDF2 iterations that are verified: up to nearly twice what Django and werkzeug use now.
const PBKDF2_ITERATIONS: RangeInclusive<u32> = 1..=2_000_000;

/// The lengths of salt and output that PBKDF2 and scrypt strings may have, in bytes. With PBKDF2,
/// each further digest of output costs all iterations again, so the limit above applies to the
/// product.
const SALT: RangeInclusive<usize> = 8..=64;
const OUTPUT: RangeInclusive<usize> = 16..=64;

/// The scrypt parameters that are verified: the binary logarithm of `N`, `r` and `p`.
const SCRYPT_LOG_N: RangeInclusive<u32> = 1..=20;
const SCRYPT_R: RangeInclusive<u32> = 1..=32;
const SCRYPT_P: RangeInclusive<u32> = 1..=16;

/// The memory limit of scrypt, the same as for stored Argon2 hashes: 256 MiB. werkzeug uses 32 MiB,
/// and OWASP recommends 128 MiB.
const SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;

/// The limit of memory times `p`: 512 MiB, about a second of one core. Without it, memory and
/// parallelism within their own limits could cost eight times as much.
const SCRYPT_COST: u64 = 2 * SCRYPT_MEMORY;

/// The number of bytes that bcrypt reads of a password.
const BCRYPT_KEY: usize = 72;

/// The result of comparing a password with an imported hash. After a match the hash should be
/// replaced.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The password is the one that was hashed. One hash was computed.
    Match,
    /// The password matches, but has white space around it that the other system ignores. One hash
    /// was computed. The hash must not be replaced, because the password without the white space
    /// must still match.
    MatchTrimmed,
    /// It is not, or the format cannot tell it from another password. One hash was computed.
    NoMatch,
    /// The prefix is known, but the string is broken. Nothing was computed.
    Malformed,
    /// A length or a number is outside its limit. Nothing was computed.
    OutOfBounds,
    /// It asks for too much work. Nothing was computed.
    TooCostly,
    /// The working memory could not be allocated. Nothing was computed.
    OutOfMemory,
}

/// Compares `password` with a `stored` hash of another system. Returns `None` if the format is
/// unknown.
pub(crate) fn verify(password: &[u8], stored: &str) -> Option<Foreign> {
    Some(match parse(stored)? {
        Ok(row) => row.compare(password),
        Err(refused) => refused,
    })
}

/// Checks that a password could be compared with `stored`. Returns `None` if the format is unknown.
pub(crate) fn examine(stored: &str) -> Option<Result<(), Foreign>> {
    Some(parse(stored)?.map(|_| ()))
}

enum Row {
    Bcrypt { form: BcryptForm, cost: u32, salt: [u8; 16], output: [u8; 23] },
    Pbkdf2 { digest: Digest, iterations: u32, salt: Vec<u8>, output: Vec<u8> },
    Scrypt { params: scrypt::Params, memory: usize, salt: Vec<u8>, output: Vec<u8> },
}

/// The input of bcrypt.
enum BcryptForm {
    /// The password itself.
    Plain,
    /// HMAC-SHA-384 of the password without white space around it, in base64.
    WordPress,
    /// SHA-256 of the password, in hex.
    Django,
    /// SHA-256 of the password, in base64.
    Passlib1,
    /// HMAC-SHA-256 of the password in base64. The key is the text of the salt.
    Passlib2 { salt: String },
}

impl BcryptForm {
    fn key(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Plain => password.to_vec(),
            Self::WordPress => {
                let mut mac = hmac::<Hmac<Sha384>>(b"wp-sha384");
                mac.update(trimmed(password));
                BASE64.encode(&mac.finalize().into_bytes()).into_bytes()
            }
            Self::Django => HEXLOWER.encode(&Sha256::digest(password)).into_bytes(),
            Self::Passlib1 => BASE64.encode(&Sha256::digest(password)).into_bytes(),
            Self::Passlib2 { salt } => {
                let mut mac = hmac::<Hmac<Sha256>>(salt.as_bytes());
                mac.update(password);
                BASE64.encode(&mac.finalize().into_bytes()).into_bytes()
            }
        })
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Removes what PHP calls white space from both ends.
fn trimmed(password: &[u8]) -> &[u8] {
    let space = |byte: &u8| b" \t\n\r\0\x0B".contains(byte);
    let start = password.iter().position(|byte| !space(byte)).unwrap_or(password.len());
    let end = password.iter().rposition(|byte| !space(byte)).map_or(start, |last| last + 1);
    &password[start..end]
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
    fn compare(&self, password: &[u8]) -> Foreign {
        let equal = match self {
            Self::Bcrypt { form, cost, salt, output } => {
                let input = form.key(password);
                // To bcrypt, `a NUL a` is the same key as `a`, and byte 73 is never read. Such a
                // password must not pass for the shorter one. The hash is computed anyway, so that
                // the answer takes the same time.
                let exact = input.len() <= BCRYPT_KEY && !input.contains(&0);
                let mut key = Zeroizing::new([0; BCRYPT_KEY]);
                let copied = input.len().min(BCRYPT_KEY);
                key[..copied].copy_from_slice(&input[..copied]);
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
                let equal: bool = computed.ct_eq(output).into();
                equal & is_exact_key(password, block)
            }
            Self::Scrypt { params, memory, salt, output } => {
                // Without enough memory, the crate would abort the process.
                if Vec::<u8>::new().try_reserve_exact(*memory).is_err() {
                    return Foreign::OutOfMemory;
                }
                let mut computed = Zeroizing::new(vec![0; output.len()]);
                if scrypt::scrypt(password, salt, params, &mut computed).is_err() {
                    return Foreign::OutOfBounds;
                }
                let equal: bool = computed.ct_eq(output).into();
                // scrypt begins and ends with PBKDF2-HMAC-SHA-256.
                equal & is_exact_key(password, 64)
            }
        };
        match self {
            _ if !equal => Foreign::NoMatch,
            Self::Bcrypt { form: BcryptForm::WordPress, .. } if trimmed(password) != password => {
                Foreign::MatchTrimmed
            }
            _ => Foreign::Match,
        }
    }
}

/// HMAC pads a key with NULs up to its block size, so `a` and `a NUL` are the same key.
fn is_exact_key(password: &[u8], block: usize) -> bool {
    password.len() > block || password.last() != Some(&0)
}

fn parse(stored: &str) -> Option<Result<Row, Foreign>> {
    if let Some(rest) = bcrypt_text(stored) {
        return Some(bcrypt_row(BcryptForm::Plain, rest));
    }
    for (prefix, form) in [("$wp", BcryptForm::WordPress), ("bcrypt_sha256$", BcryptForm::Django)] {
        if let Some(rest) = stored.strip_prefix(prefix).and_then(bcrypt_text) {
            return Some(bcrypt_row(form, rest));
        }
    }
    if let Some(rest) = stored.strip_prefix("$bcrypt-sha256$") {
        return Some(passlib_bcrypt_row(rest));
    }
    for (prefix, digest) in
        [("$pbkdf2-sha256$", Digest::Sha256), ("$pbkdf2-sha512$", Digest::Sha512)]
    {
        if let Some(rest) = stored.strip_prefix(prefix) {
            // passlib writes only the number, and `.` instead of `+`.
            return Some(match rest.starts_with("i=") {
                true => phc_row(digest, rest),
                false => passlib_row(digest, rest),
            });
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
    for (prefix, read) in [
        ("$scrypt$", phc_scrypt_row as fn(&str) -> _),
        ("scrypt$", django_scrypt_row),
        ("scrypt:", werkzeug_scrypt_row),
    ] {
        if let Some(rest) = stored.strip_prefix(prefix) {
            return Some(read(rest));
        }
    }
    None
}

/// Returns the part after the prefix of bcrypt. `2x` marks hashes of an old crypt_blowfish, which
/// read bytes above 127 as negative numbers. Here they are computed correctly, so only ASCII
/// passwords match.
fn bcrypt_text(stored: &str) -> Option<&str> {
    ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|prefix| stored.strip_prefix(prefix))
}

/// Parses `12$`, then 22 characters of salt and 31 of hash, without a separator.
fn bcrypt_row(form: BcryptForm, rest: &str) -> Result<Row, Foreign> {
    let (cost, body) = rest.split_once('$').ok_or(Foreign::Malformed)?;
    if cost.len() != 2 {
        return Err(Foreign::Malformed);
    }
    let cost = decimal(cost, &BCRYPT_COST)?;
    let (salt, output) = body.split_at_checked(22).ok_or(Foreign::Malformed)?;
    Ok(Row::Bcrypt { form, cost, salt: bcrypt_bytes(salt)?, output: bcrypt_bytes(output)? })
}

/// Parses `v=2,t=2b,r=12$salt$hash`, or the older `2b,12$salt$hash`.
fn passlib_bcrypt_row(rest: &str) -> Result<Row, Foreign> {
    let [params, salt, output] = fields(rest, '$')?;
    let (ident, cost, form) = match params.strip_prefix("v=2,t=") {
        Some(params) => {
            let (ident, cost) = params.split_once(",r=").ok_or(Foreign::Malformed)?;
            (ident, cost, BcryptForm::Passlib2 { salt: salt.to_owned() })
        }
        None => {
            let (ident, cost) = params.split_once(',').ok_or(Foreign::Malformed)?;
            (ident, cost, BcryptForm::Passlib1)
        }
    };
    if !["2a", "2b", "2y"].contains(&ident) {
        return Err(Foreign::Malformed);
    }
    let cost = decimal(cost, &BCRYPT_COST)?;
    Ok(Row::Bcrypt { form, cost, salt: bcrypt_bytes(salt)?, output: bcrypt_bytes(output)? })
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
    let salt = decode(salt, &BASE64_NOPAD, &SALT)?;
    let output = decode(output, &BASE64_NOPAD, &OUTPUT)?;
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

/// Parses `29000$salt$hash`, both in base64 without padding, where `.` and `+` mean the same.
fn passlib_row(digest: Digest, rest: &str) -> Result<Row, Foreign> {
    static ENCODING: LazyLock<Encoding> = LazyLock::new(|| {
        let mut specification = BASE64_NOPAD.specification();
        specification.translate.from.push('.');
        specification.translate.to.push('+');
        // passlib does not clear the unused bits of a salt that its caller chose.
        specification.check_trailing_bits = false;
        specification.encoding().expect("`.` is no symbol of base64")
    });
    let [iterations, salt, output] = fields(rest, '$')?;
    let iterations = decimal(iterations, &PBKDF2_ITERATIONS)?;
    let salt = decode(salt, &ENCODING, &SALT)?;
    let output = decode(output, &ENCODING, &OUTPUT)?;
    digest.bound(iterations, output.len())?;
    Ok(Row::Pbkdf2 { digest, iterations, salt, output })
}

/// Parses `ln=16,r=8,p=1$salt$hash`, both in base64 without padding.
fn phc_scrypt_row(rest: &str) -> Result<Row, Foreign> {
    let [params, salt, output] = fields(rest, '$')?;
    let [log_n, r, p] = fields(params, ',')?;
    let named = |text: &'_ str, name, bounds| {
        decimal(text.strip_prefix(name).ok_or(Foreign::Malformed)?, bounds)
    };
    let log_n = named(log_n, "ln=", &SCRYPT_LOG_N)?;
    let (r, p) = (named(r, "r=", &SCRYPT_R)?, named(p, "p=", &SCRYPT_P)?);
    let salt = decode(salt, &BASE64_NOPAD, &SALT)?;
    scrypt_row(log_n, r, p, salt, decode(output, &BASE64_NOPAD, &OUTPUT)?)
}

/// Parses `16384$salt$8$5$hash`, with the hash in base64. The characters of the salt are its bytes.
fn django_scrypt_row(rest: &str) -> Result<Row, Foreign> {
    let [n, salt, r, p, output] = fields(rest, '$')?;
    let (r, p) = (decimal(r, &SCRYPT_R)?, decimal(p, &SCRYPT_P)?);
    let output = decode(output, &BASE64, &OUTPUT)?;
    scrypt_row(power_of_two(n)?, r, p, salt.into(), output)
}

/// Parses `32768:8:1$salt$hash`, with the hash in hex. The characters of the salt are its bytes.
fn werkzeug_scrypt_row(rest: &str) -> Result<Row, Foreign> {
    let [params, salt, output] = fields(rest, '$')?;
    let [n, r, p] = fields(params, ':')?;
    let (r, p) = (decimal(r, &SCRYPT_R)?, decimal(p, &SCRYPT_P)?);
    let output = decode(output, &HEXLOWER_PERMISSIVE, &OUTPUT)?;
    scrypt_row(power_of_two(n)?, r, p, salt.into(), output)
}

/// Returns the binary logarithm of `N`, which must be a power of two.
fn power_of_two(text: &str) -> Result<u32, Foreign> {
    let n = decimal(text, &(2..=1 << SCRYPT_LOG_N.end()))?;
    if n.is_power_of_two() { Ok(n.ilog2()) } else { Err(Foreign::Malformed) }
}

fn scrypt_row(log_n: u32, r: u32, p: u32, salt: Vec<u8>, output: Vec<u8>) -> Result<Row, Foreign> {
    let memory = (128 * u64::from(r)) << log_n;
    if memory > SCRYPT_MEMORY || !SALT.contains(&salt.len()) {
        return Err(Foreign::OutOfBounds);
    }
    if memory * u64::from(p) > SCRYPT_COST {
        return Err(Foreign::TooCostly);
    }
    let log_n = u8::try_from(log_n).map_err(|_| Foreign::OutOfBounds)?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| Foreign::OutOfBounds)?;
    let memory = usize::try_from(memory).map_err(|_| Foreign::OutOfBounds)?;
    Ok(Row::Scrypt { params, memory, salt, output })
}

/// Parses `600000$salt$hash`. The characters of the salt are its bytes.
fn text_row(digest: Digest, rest: &str, encoding: &Encoding) -> Result<Row, Foreign> {
    let (iterations, body) = rest.split_once('$').ok_or(Foreign::Malformed)?;
    let (salt, output) = body.split_once('$').ok_or(Foreign::Malformed)?;
    let iterations = decimal(iterations, &PBKDF2_ITERATIONS)?;
    if !SALT.contains(&salt.len()) {
        return Err(Foreign::OutOfBounds);
    }
    let output = decode(output, encoding, &OUTPUT)?;
    digest.bound(iterations, output.len())?;
    Ok(Row::Pbkdf2 { digest, iterations, salt: salt.into(), output })
}

/// Splits a text into exactly so many fields.
fn fields<const N: usize>(text: &str, separator: char) -> Result<[&str; N], Foreign> {
    let mut parts = text.split(separator);
    let mut found = [""; N];
    for field in &mut found {
        *field = parts.next().ok_or(Foreign::Malformed)?;
    }
    if parts.next().is_none() { Ok(found) } else { Err(Foreign::Malformed) }
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
    // WordPress: PHP 8.2, `"\$wp" . password_hash(base64_encode(hash_hmac("sha384",
    // trim($password), "wp-sha384", true)), PASSWORD_BCRYPT, ["cost" => 5])`. Django 5.2:
    // `ScryptPasswordHasher().encode(password, salt)` with a `work_factor` of 1024, and
    // `BCryptSHA256PasswordHasher().encode(password, salt)` with 5 `rounds`. werkzeug 3.1:
    // `generate_password_hash(password, "scrypt:1024:8:1")`, with a fixed salt. passlib 1.7.4:
    // `scrypt.using(rounds=10, salt=salt).hash(password)`, `pbkdf2_sha256`, `pbkdf2_sha512` and,
    // with bcrypt 4.0, `bcrypt_sha256.using(rounds=5, salt=salt, version=2)`.
    const STAPLE: &str = "correct horse battery staple";
    const UNICODE: &str = "pässwörd ✓";
    const PHC_SHA256: &str = "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI";
    const WORDPRESS: &str = "$wp$2y$05$lJpPqEoPMABcGP.Vus2Ng.10E/xnScRRxE7jVbgjK6yLRkl3SKfuK";
    const SCRYPT: &str =
        "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$7AnzIswxwEinpwz+ntydndYfVHPvOACmX9Vvo8hO1qM";
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
            (STAPLE, WORDPRESS),
            (UNICODE, "$wp$2y$05$p2dS.gn2bTBD6ghCGy.6L.lNRvj4kcCeuzmHO6kJaSpg2zHwk0QP."),
            (STAPLE, "$2y$05$jGWU8D7baXmP8xcMp3S/XO2.KQ04NpNbsDnBEVyKMk/seuGwXABfO"),
            (STAPLE, "bcrypt_sha256$$2b$05$abcdefghijklmnopqrstuuo5UaIBysJIH5CaMip.8XQbctZzHcXPa"),
            (
                STAPLE,
                "$bcrypt-sha256$v=2,t=2b,r=5$abcdefghijklmnopqrstuu$bsungiydZLgcxsIddv6ixH21Pl8kSiy",
            ),
            (STAPLE, "$bcrypt-sha256$2b,5$abcdefghijklmnopqrstuu$o1dsFCCfLvEm05UPkhVfITTBtz/RdHi"),
            (
                STAPLE,
                "$pbkdf2-sha256$1000$8PHy8/T19vf4.fr7/P3./w$0A35jjZ8X.jm/Nj9sc4uzmU/RqA2wljSyf5enbVFSOY",
            ),
            (
                STAPLE,
                "$pbkdf2-sha512$1000$8PHy8/T19vf4.fr7/P3./w$7Ny4dUakS7JIZAfjYpLQGSZsWvUihs7A6xXDgyqRrc3BkpXb3nL1/MvPpT3VxDAwU6FzpGn1KkCfA3fC7/680Q",
            ),
            (
                STAPLE,
                "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            ),
            (STAPLE, SCRYPT),
            (
                UNICODE,
                "$scrypt$ln=10,r=4,p=2$MDEyMzQ1Njc4OWFiY2RlZg$JQ+UUXaPIxvMn2yP5u4qxZv/BwkToyDi5tQD6ShIqAc",
            ),
            (
                STAPLE,
                "scrypt$1024$0123456789abcdefABCDEF$8$5$Cx+6t/u/2Eo4+vvYNgMEInOPQ2ErhQQYlMft/EzCBiaIrfgR3JtHIcS5t4GxVfjcF+fOy6L4s+SARUy6QyX1aQ==",
            ),
            (
                STAPLE,
                "scrypt:1024:8:1$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9dd61f5473ef3800a65fd56fa3c84ed6a3af9fcd3a3be8379f06faa31f6677ac1e5831a014e04eb80db05c93adbc335180",
            ),
            (
                UNICODE,
                "scrypt:1024:8:1$0123456789abcdef$cb0e690e9d9b6b4efb554fe052e7840e5665afb50e96eba1aca9c875f3c961acb48d022e65c64d03632143dcb13291279e3c74d192abecf867e187e4a09febaa",
            ),
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
            check(format!("{password}x"), stored, Some(Foreign::NoMatch));
            check("", stored, Some(Foreign::NoMatch));
            if !stored.starts_with("$wp") {
                check(format!("{password} "), stored, Some(Foreign::NoMatch));
                check(format!("{password}\0"), stored, Some(Foreign::NoMatch));
            }
        }
    }

    #[test]
    fn wordpress_ignores_white_space_around_a_password_of_any_length() {
        for spaced in [format!(" {STAPLE}"), format!("\t{STAPLE}\r\n"), format!("{STAPLE}\0\x0B")] {
            check(&spaced, WORDPRESS, Some(Foreign::MatchTrimmed));
        }
        // PHP removes no other white space, and none inside.
        for other in [format!("\u{a0}{STAPLE}"), format!("{STAPLE}\x0C"), STAPLE.replace(' ', "  ")]
        {
            check(&other, WORDPRESS, Some(Foreign::NoMatch));
        }
        assert_eq!(trimmed(b" \t "), b"");
        assert_eq!(trimmed(b" a b "), b"a b");
        // These formats hash first, so passwords with the same first 72 bytes are different.
        let long = "a".repeat(80);
        let stored = "$wp$2y$05$RpcuNfB8l1904mcY6H8CgusYjVAuXorPxWdcbAj2glQphTZXaU4Dm";
        check(&long, stored, Some(Foreign::Match));
        check(format!("{}b", &long[1..]), stored, Some(Foreign::NoMatch));
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
            "$wp$2y$15$lJpPqEoPMABcGP.Vus2Ng.10E/xnScRRxE7jVbgjK6yLRkl3SKfuK",
            "$bcrypt-sha256$v=2,t=2b,r=15$abcdefghijklmnopqrstuu$bsungiydZLgcxsIddv6ixH21Pl8kSiy",
            "$bcrypt-sha256$2b,31$abcdefghijklmnopqrstuu$o1dsFCCfLvEm05UPkhVfITTBtz/RdHi",
            &SCRYPT.replace("ln=10", "ln=0"),
            &SCRYPT.replace("ln=10", "ln=21"),
            &SCRYPT.replace("ln=10", "ln=64"),
            &SCRYPT.replace("ln=10", "ln=99999999999"),
            &SCRYPT.replace("r=8", "r=0"),
            &SCRYPT.replace("r=8", "r=4294967295"),
            &SCRYPT.replace("p=1", "p=0"),
            &SCRYPT.replace("p=1", "p=17"),
            // 512 MiB.
            &SCRYPT.replace("ln=10", "ln=19"),
            "scrypt:4294967296:8:1$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9d",
            "scrypt:1024:8:1$short$ec09f322cc31c048a7a70cfe9edc9d9d",
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
            // 256 MiB: `p` of 2 is allowed, 3 is not.
            (SCRYPT.replace("ln=10,r=8,p=1", "ln=18,r=8,p=2"), Some(Ok(()))),
            (SCRYPT.replace("ln=10,r=8,p=1", "ln=18,r=8,p=3"), Some(Err(Foreign::TooCostly))),
            (SCRYPT.replace("ln=10,r=8,p=1", "ln=15,r=8,p=16"), Some(Ok(()))),
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
            "$wp$2y$05$lJpPqEoPMABcGP.Vus2Ng.10E/xnScRRxE7jVbgjK6yLRkl3SKfu",
            "bcrypt_sha256$$2b$5$abcdefghijklmnopqrstuuo5UaIBysJIH5CaMip.8XQbctZzHcXPa",
            "$bcrypt-sha256$v=3,t=2b,r=5$abcdefghijklmnopqrstuu$bsungiydZLgcxsIddv6ixH21Pl8kSiy",
            "$bcrypt-sha256$v=2,t=2c,r=5$abcdefghijklmnopqrstuu$bsungiydZLgcxsIddv6ixH21Pl8kSiy",
            "$bcrypt-sha256$v=2,t=2b,r=5$abcdefghijklmnopqrstu$bsungiydZLgcxsIddv6ixH21Pl8kSiy",
            "$bcrypt-sha256$2b,5$abcdefghijklmnopqrstuu",
            "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI=",
            "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES_wqLsOT5YmiRBplI",
            &SCRYPT.replace("ln=10", "ln=ten"),
            &SCRYPT.replace("ln=10", "r=8"),
            &SCRYPT.replace(",p=1", ""),
            &SCRYPT.replace("p=1", "p=1,x=1"),
            &SCRYPT.replace("hO1qM", "hO1q="),
            "scrypt$1024$0123456789abcdefABCDEF$8$5",
            "scrypt:1024:8$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9d",
            "scrypt:1023:8:1$0123456789abcdef$ec09f322cc31c048a7a70cfe9edc9d9d",
            "scrypt:1024:8:1$0123456789abcdef$zz09f322cc31c048a7a70cfe9edc9d9d",
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
            "$wp$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4",
            "$P$B1234567890123456789012345678901",
            "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
            "pbkdf2_sha1$1000$0123456789abcdef$yqSq2SygY1sB4EcH9f2FG0JTMES=",
            "$2$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS",
            "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gAwJW5vx5itn2V9KHlEUjyUCrpDYgKyQf0gMaHGx1h4",
            "$pbkdf2-sha1$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
            "pbkdf2:sha1:1000$0123456789abcdef$caa4aad92ca0635b01e04707f5fd851b42533044bec2a2ec393e589a2441a652",
        ] {
            check(STAPLE, stored, None);
        }
    }
}
