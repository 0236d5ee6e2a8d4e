//! Secrets: the keyring, keys derived from it per purpose, and the only source of randomness.
//!
//! One secret of at least 32 random bytes is all a host configures. Every use gets its own key
//! through HKDF-SHA-256 with its own label, so that no value made for one purpose is worth
//! anything for another.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::guessable::{self, Guessable};

/// Fills `bytes` from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give: nothing secure can go on then.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness");
}

/// `N` random bytes.
pub(crate) fn random_array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random_bytes(&mut bytes);
    bytes
}

/// A version of something that is remembered elsewhere under it. Random, not counted: after a backup
/// was restored a counter would come to the same number with something else behind it.
pub(crate) fn random_version() -> i64 {
    i64::from_be_bytes(random_array())
}

/// Why a secret is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Fewer than 32 bytes.
    #[error(
        "a secret needs at least 32 bytes of randomness (try `openssl rand -base64 32`), this one has {0}"
    )]
    TooShort(usize),
    /// A placeholder, or a value from public code or documentation.
    #[error("this secret is publicly known; make one with `openssl rand -base64 32`")]
    Known,
    /// Too few different bytes to be random.
    #[error(
        "this secret repeats too few different bytes to be random; make one with `openssl rand -base64 32`"
    )]
    Repetitive,
    /// Made of words, repetitions, sequences or runs of a keyboard.
    #[error(
        "this secret was thought up (words, repetitions or sequences) and can be guessed; even many words are not told from a sentence that is known. Make a random one with `openssl rand -base64 32`"
    )]
    Guessable,
}

/// Words that say "put your own here", whatever stands beside them. Matched in the text without case,
/// digits and separators, as those of [`NAMES`] are.
const REPLACE: [&str; 11] = [
    "changeme",
    "changethis",
    "replacewith",
    "replaceme",
    "replacethis",
    "placeholder",
    "example",
    "insecure",
    "keyboardcat",
    "yoursecret",
    "yourbit",
];

/// Words of placeholders that are also names of random secrets.
const NAMES: [&str; 6] =
    ["secretkey", "supersecret", "mysecret", "bitsecret", "topsecret", "password"];

/// Whether one of these words is in the text, without case, digits and separators.
fn has_word(text: &[u8], words: &[&str]) -> bool {
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic());
    let letters: Zeroizing<String> =
        Zeroizing::new(letters.map(|byte| char::from(byte.to_ascii_lowercase())).collect());
    words.iter().any(|word| letters.contains(word))
}

/// A master secret of at least 32 bytes. Never printed.
#[derive(Clone)]
pub struct Secret {
    bytes: Arc<Zeroizing<Vec<u8>>>,
    guessable: bool,
}

impl Secret {
    /// Takes a secret as it is configured; the bytes are used as they stand, nothing is decoded.
    ///
    /// # Errors
    /// When it is short, publicly known, or made of what can be guessed: words, repetitions,
    /// sequences. Random ones are not refused, whether they come as bytes, hexadecimal, base32,
    /// base64 or UUIDs, with or without a label, unless the label says that they are to be replaced
    /// (`changeme`, `example`). What someone has drummed on a keyboard is not told from random ones; many
    /// words are refused even if dice chose them.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let secret = Self::in_use(bytes)?;
        if secret.guessable { Err(SecretError::Guessable) } else { Ok(secret) }
    }

    /// Takes an older secret, or a pepper, that something was made under already: without it accounts
    /// could not be verified any more. One that can be guessed is not refused but a finding
    /// (`guessable_secret`), and never the newest secret.
    ///
    /// # Errors
    /// When it is short, publicly known, or repeats too few different bytes.
    pub fn in_use(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let bytes = bytes.as_ref();
        let names_it = |text: &[u8]| has_word(text, &NAMES);
        if has_word(bytes, &REPLACE)
            || names_it(bytes) && !guessable::has_random_end(bytes, |part| !names_it(part))
        {
            return Err(SecretError::Known);
        }
        if bytes.len() < 32 {
            return Err(SecretError::TooShort(bytes.len()));
        }
        let mut seen = [false; 256];
        for byte in bytes {
            seen[usize::from(*byte)] = true;
        }
        // 32 random hexadecimal digits show fewer than 8 different ones once in ten million.
        if seen.iter().filter(|seen| **seen).count() < 8 {
            return Err(SecretError::Repetitive);
        }
        let guessable = match guessable::judge(bytes) {
            Some(Guessable::Published) => return Err(SecretError::Known),
            Some(Guessable::ThoughtUp) => true,
            None => false,
        };
        Ok(Self { bytes: Arc::new(Zeroizing::new(bytes.to_vec())), guessable })
    }

    /// A fresh secret. Sessions made under it end with the process: for examples and tests.
    pub fn generate() -> Self {
        let bytes = Arc::new(Zeroizing::new(random_array::<32>().to_vec()));
        Self { bytes, guessable: false }
    }

    /// Whether it was taken though it can be guessed.
    pub(crate) fn is_guessable(&self) -> bool {
        self.guessable
    }

    /// The secret in a file, which is made with a fresh one if it is not there, readable by its owner
    /// alone. For a service on one machine; several nodes need one secret from one place.
    ///
    /// Whoever can read the file can sign tokens: keep it out of backups that others read.
    ///
    /// # Errors
    /// The file cannot be made or read, or holds what [`new`](Self::new) refuses.
    pub fn load_or_create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                fs::read(path)?
            }
            result => result?,
        };
        let bytes = Zeroizing::new(bytes);
        Self::new(&*bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// A 32-byte key for one purpose.
    pub(crate) fn derive(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"portcullis v1"), &self.bytes)
            .expand(purpose.label().as_bytes(), key.as_mut())
            .expect("32 bytes is a valid HKDF-SHA-256 length");
        key
    }

    /// A short public name for this secret, the `kid` of what it signs.
    pub(crate) fn kid(&self) -> String {
        BASE64URL_NOPAD.encode(&self.derive(Purpose::KeyId)[..6])
    }
}

/// Writes a fresh secret to where nothing is yet. It appears there whole or not at all, and of two
/// processes that start at once the second finds the first one's.
fn create(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", BASE64URL_NOPAD.encode(&random_array::<9>())));
    let temporary = Path::new(&name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    let linked = file
        .write_all(&*Zeroizing::new(random_array::<32>()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(temporary, path));
    let removed = fs::remove_file(temporary);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => removed,
        result => result.and(removed),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a derived key is for. Each has its own label, so a key never serves two purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// HS256 signatures of tokens.
    Signature,
    /// Digests of session ids at rest.
    SessionDigest,
    /// The public name of a secret.
    KeyId,
    /// Keys mixed into password hashes.
    Pepper,
    /// Salts of hashes that are computed for nobody.
    DummySalt,
    /// Digests of short codes that someone types.
    ChallengeCode,
    /// Digests of the tokens in links.
    ChallengeToken,
    /// What a challenge is about: its purpose, account and target.
    ChallengeSubject,
    /// What must not change while a challenge is open.
    ChallengeBinding,
    /// What waits to be sent.
    OutboxPayload,
    /// Whom it is sent to, as it is counted.
    OutboxRecipient,
    /// Digests of whom a try to prove who one is was about.
    AttemptSubject,
    /// Whose rate is counted.
    RateKey,
    /// Whose a known device is.
    KnownDevice,
    /// Addresses that an account has left.
    FormerAddress,
    /// From where a link was used.
    UsedFrom,
    /// From where a new device signed in, as its owner was told.
    ToldPlace,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Signature => "jwt signature",
            Self::SessionDigest => "session digest",
            Self::KeyId => "key id",
            Self::Pepper => "password pepper",
            Self::DummySalt => "dummy salt",
            Self::ChallengeCode => "challenge code",
            Self::ChallengeToken => "challenge token",
            Self::ChallengeSubject => "challenge subject",
            Self::ChallengeBinding => "challenge binding",
            Self::OutboxPayload => "outbox payload",
            Self::OutboxRecipient => "outbox recipient",
            Self::AttemptSubject => "attempt subject",
            Self::RateKey => "rate key",
            Self::KnownDevice => "known device",
            Self::FormerAddress => "former address",
            Self::UsedFrom => "used from",
            Self::ToldPlace => "told place",
        }
    }
}

/// A keyed digest, for what is looked up but must not be readable in a dump.
#[derive(Clone)]
pub(crate) struct DigestKey(Hmac<Sha256>);

impl DigestKey {
    pub(crate) fn new(secret: &Secret, purpose: Purpose) -> Self {
        let key = secret.derive(purpose);
        Self(Hmac::new_from_slice(key.as_ref()).expect("HMAC takes keys of any length"))
    }

    pub(crate) fn digest(&self, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(value);
        mac.finalize().into_bytes().into()
    }

    /// The digest of several values, each with its length before it, so that none can end in the
    /// next one's beginning.
    pub(crate) fn digest_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, HEXLOWER};
    use sha2::Digest;

    use super::*;

    #[test]
    fn placeholders_and_short_or_repetitive_secrets_are_refused() {
        for (text, expected) in [
            ("secret", SecretError::TooShort(6)),
            ("changeme", SecretError::Known),
            ("your-256-bit-secret", SecretError::Known),
            ("PLEASE-CHANGE-ME-I-AM-VERY-INSECURE", SecretError::Known),
            ("my-super-secret-key-that-is-long-enough", SecretError::Known),
            ("keyboard cat keyboard cat keyboard cat", SecretError::Known),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", SecretError::Repetitive),
            ("0123456789abcdef0123456789abcde", SecretError::TooShort(31)),
        ] {
            assert_eq!(Secret::new(text).unwrap_err(), expected, "{text}");
        }
        assert!(Secret::new("Tq3vYk0mVw1Jc7n4uXh8bZ5sLr2pGd6f").is_ok());
        assert!(Secret::new([7u8; 32].map(|b| b)).is_err());
        assert!(Secret::new(random_array::<32>()).is_ok());
    }

    #[test]
    fn no_part_of_a_placeholder_is_taken_for_a_random_secret() {
        for text in [
            "ChangeThisMercureHubJWTSecretKey2",
            "our key: !ChangeThisMercureHubJWTSecretKey!",
            "LongDefaultSecretKeyForEncryption7",
            "LongDefault-Secret-Key-ForEncryption7",
            "MySecret MercureHubJWTKeyForProd7 of us",
            "ReplaceWithYourHS512JWKorGUIDv4Key!",
            "ChangeMeBeforeGoLive-XyzCorp-JWTKey",
            "changeme-please-a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "replace_me_a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "example: 123e4567-e89b-12d3-a456-426614174000",
            "your-256-bit-secret-550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert_eq!(Secret::new(text).unwrap_err(), SecretError::Known, "{text}");
        }
        // What only names it says nothing of a random one.
        for number in 0..300_u32 {
            let random = Sha256::digest(number.to_be_bytes());
            for random in [
                HEXLOWER.encode(&random),
                HEXLOWER.encode(&random[..16]),
                BASE64.encode(&random),
                BASE64.encode(&random[..16]),
                BASE64URL_NOPAD.encode(&random),
            ] {
                for text in [
                    format!("SECRET_KEY={random}"),
                    format!("SECRET_KEY = \"{random}\";"),
                    format!("top-secret-{random}"),
                    format!("my_secret_password_{random}"),
                    format!("{random}-super-secret"),
                ] {
                    assert!(Secret::new(&text).is_ok(), "{number}: {text}");
                }
            }
        }
    }

    #[test]
    fn values_that_run_into_each_other_have_digests_of_their_own() {
        let key = DigestKey::new(&Secret::generate(), Purpose::ChallengeSubject);
        let whole = key.digest_parts(&[b"verify", b"alice@example.com"]);
        for other in [
            key.digest_parts(&[b"verifyalice@example.com"]),
            key.digest_parts(&[b"verifyalice", b"@example.com"]),
            key.digest_parts(&[b"verify", b"alice@example.com", b""]),
            key.digest_parts(&[b"", b"verify", b"alice@example.com"]),
        ] {
            assert_ne!(whole, other);
        }
        assert_eq!(whole, key.digest_parts(&[b"verify", b"alice@example.com"]));
    }

    #[test]
    fn a_secret_in_a_file_is_made_once_and_read_by_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let start = || Secret::load_or_create(&path).map(|secret| secret.kid()).expect("a secret");
        let kids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().expect("it starts")).collect()
        });
        assert!(kids.iter().all(|kid| *kid == start()), "{kids:?}");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        #[cfg(unix)]
        {
            let mode = fs::metadata(&path).expect("a file").permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
        }
        for bad in [&b""[..], b"changeme", &[7; 32]] {
            fs::write(&path, bad).expect("written");
            let error = Secret::load_or_create(&path).expect_err("it is no secret");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(fs::read(&path).expect("read"), bad, "nothing is overwritten");
        }
        let nowhere = directory.path().join("no/such/folder");
        assert!(Secret::load_or_create(nowhere).is_err());
    }

    #[test]
    fn each_purpose_has_its_own_key_and_a_secret_never_prints() {
        let secret = Secret::generate();
        let purposes = [
            Purpose::Signature,
            Purpose::SessionDigest,
            Purpose::KeyId,
            Purpose::Pepper,
            Purpose::DummySalt,
            Purpose::ChallengeCode,
            Purpose::ChallengeToken,
            Purpose::ChallengeSubject,
            Purpose::ChallengeBinding,
            Purpose::OutboxPayload,
            Purpose::OutboxRecipient,
            Purpose::AttemptSubject,
            Purpose::RateKey,
            Purpose::KnownDevice,
            Purpose::FormerAddress,
            Purpose::UsedFrom,
        ];
        for (i, a) in purposes.iter().enumerate() {
            for (j, b) in purposes.iter().enumerate() {
                assert_eq!(secret.derive(*a) == secret.derive(*b), i == j);
            }
        }
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(
            format!("{:?}", DigestKey::new(&secret, Purpose::SessionDigest)),
            "DigestKey(..)"
        );
    }
}
