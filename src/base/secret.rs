//! Secrets: the keyring, the keys that are derived from it per purpose, and the only source of
//! randomness.
//!
//! The host configures one secret of at least 32 random bytes. Each purpose gets its own key
//! through HKDF-SHA-256 with its own label. So a value that was made for one purpose is useless for
//! another.

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

/// Fills `bytes` with randomness of the operating system.
///
/// # Panics
/// Panics if the operating system has no randomness. Nothing would be secure without it.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
pub(crate) fn random_bytes(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness");
}

/// Returns `N` random bytes.
pub(crate) fn random_array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random_bytes(&mut bytes);
    bytes
}

/// Returns a version for something that is cached under it. It is random and not a counter: after
/// the restore of a backup, a counter would reach the same number with different content.
pub(crate) fn random_version() -> i64 {
    i64::from_be_bytes(random_array())
}

/// The reason why a secret is refused.
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
        "this secret has too few different bytes to be random; make a random one with `openssl rand -base64 32`"
    )]
    Repetitive,
    /// Made of words, repetitions, sequences or runs of a keyboard.
    #[error(
        "this secret can be guessed because it consists of words, repetitions or sequences; make a random one with `openssl rand -base64 32`"
    )]
    Guessable,
}

/// Words that mean "put your own secret here", whatever text is beside them. They are matched
/// without case, digits and separators, like [`NAMES`].
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

/// Words in placeholders that are also used as labels of random secrets.
const NAMES: [&str; 6] =
    ["secretkey", "supersecret", "mysecret", "bitsecret", "topsecret", "password"];

/// Returns true if one of these words is in the text. Case, digits and separators are ignored.
fn has_word(text: &[u8], words: &[&str]) -> bool {
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic());
    let letters: Zeroizing<String> =
        Zeroizing::new(letters.map(|byte| char::from(byte.to_ascii_lowercase())).collect());
    words.iter().any(|word| letters.contains(word))
}

/// A master secret of at least 32 bytes. It is never printed.
#[derive(Clone)]
pub struct Secret {
    bytes: Arc<Zeroizing<Vec<u8>>>,
    guessable: bool,
}

impl Secret {
    /// Takes a secret as it is configured. The bytes are used as they are, and nothing is decoded.
    ///
    /// Random secrets are not refused. They may be bytes, hexadecimal, base32, base64 or UUIDs,
    /// with or without a label. A label must not say that the secret is a placeholder (`changeme`,
    /// `example`). Random typing on a keyboard cannot be distinguished from a random secret. Many
    /// words are refused even if they were chosen by dice.
    ///
    /// # Errors
    /// The secret is short, publicly known, or can be guessed because it consists of words,
    /// repetitions or sequences.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let secret = Self::in_use(bytes)?;
        if secret.guessable { Err(SecretError::Guessable) } else { Ok(secret) }
    }

    /// Takes an older secret or a pepper that is already in use. Without it, accounts could no
    /// longer be verified. A secret that can be guessed is not refused. It is reported as the
    /// finding `guessable_secret`, and it cannot be the newest secret.
    ///
    /// # Errors
    /// The secret is short, publicly known, or repeats too few different bytes.
    pub fn in_use(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let bytes = bytes.as_ref();
        let names_it = |text: &[u8]| has_word(text, &NAMES);
        // A word such as `changeme` always refuses the secret. A word that is also a label, such as
        // `password`, refuses it only if no random part is beside the label.
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
        // 32 random hexadecimal digits contain fewer than 8 different ones only once in ten million
        // cases.
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

    /// Generates a new secret, for examples and tests. Sessions that were signed with it become
    /// invalid when the process ends.
    pub fn generate() -> Self {
        let bytes = Arc::new(Zeroizing::new(random_array::<32>().to_vec()));
        Self { bytes, guessable: false }
    }

    /// Returns true if the secret was accepted although it can be guessed.
    pub(crate) fn is_guessable(&self) -> bool {
        self.guessable
    }

    /// Reads the secret in a file. If the file does not exist, it creates the file with a new
    /// secret, readable only by its owner (on Unix). This is for a service on one machine: several
    /// nodes need one secret from one place.
    ///
    /// Anyone who can read the file can sign tokens. Keep it out of backups that other people can
    /// read.
    ///
    /// # Errors
    /// The file cannot be created or read, or its content is refused by [`new`](Self::new).
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

    /// Derives a 32-byte key for one purpose.
    pub(crate) fn derive(&self, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"portcullis v1"), &self.bytes)
            .expand(purpose.label().as_bytes(), key.as_mut())
            .expect("32 bytes is a valid HKDF-SHA-256 length");
        key
    }

    /// Returns a short public name of this secret, which is the `kid` of what it signs.
    pub(crate) fn kid(&self) -> String {
        BASE64URL_NOPAD.encode(&self.derive(Purpose::KeyId)[..6])
    }
}

/// Writes a new secret to a path that does not exist yet. The file appears complete or not at all.
/// If two processes start at once, the second one finds the secret of the first one.
fn create(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", BASE64URL_NOPAD.encode(&random_array::<9>())));
    let temporary = Path::new(&name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    // A hard link fails if the path exists, while a rename would replace the file. So a process
    // that starts later cannot replace the secret that another one already uses.
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

/// The purpose of a derived key. Each has its own label, so a key never has two purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// HS256 signatures of tokens.
    Signature,
    /// HS256 signatures of action proofs.
    ActionProof,
    /// Digests of stored session ids.
    SessionDigest,
    /// The public name of a secret.
    KeyId,
    /// Keys mixed into password hashes.
    Pepper,
    /// Salts of hashes that are computed for names without an account.
    DummySalt,
    /// Digests of short codes that a person types.
    ChallengeCode,
    /// Digests of the tokens in links.
    ChallengeToken,
    /// Digests of what a challenge is about: its purpose, account and target.
    ChallengeSubject,
    /// Digests of what must not change while a challenge is open.
    ChallengeBinding,
    /// Messages that wait to be sent.
    OutboxPayload,
    /// Digests of the recipients of messages, for counting.
    OutboxRecipient,
    /// Digests of the subject of an attempt to prove an identity.
    AttemptSubject,
    /// Digests of the subjects of rate limits.
    RateKey,
    /// Digests of the accounts that a known device belongs to.
    KnownDevice,
    /// Digests of the tokens of trusted devices, and of the accounts that they belong to.
    TrustedDevice,
    /// Digests of addresses that an account has left.
    FormerAddress,
    /// Digests of the place from which a link was used.
    UsedFrom,
    /// Digests of the place of a new device about which the owner was notified.
    ToldPlace,
    /// The short-lived cookies of pages.
    #[cfg(feature = "routes")]
    PageCookie,
    /// Codes that belong to the token of a link.
    CodeOfToken,
    /// Seeds of authenticators.
    TotpSeed,
    /// Digests of recovery codes.
    RecoveryCode,
    /// What a factor of your own needs again, to check the answer to a challenge.
    ExternalChallenge,
    /// The digits of captchas.
    #[cfg(feature = "captcha")]
    CaptchaAnswer,
    /// Signatures of proofs of work.
    CaptchaSignature,
    /// Digests of the sources and names that may need a captcha.
    CaptchaSubject,
    /// Digests of the tokens of captchas.
    CaptchaToken,
    /// Digests of API keys.
    ApiKey,
    /// Digests of the codes of devices and of what belongs to them.
    DeviceCode,
    /// The secret parts of the tokens that devices get.
    DeviceSession,
    /// What a person was shown about a device.
    DeviceView,
    /// Nonces for proofs of keys.
    DpopNonce,
    /// Tokens of providers.
    #[cfg(feature = "federation")]
    ProviderTokens,
    /// What a provider told about a person who is asked what to do with it.
    #[cfg(feature = "federation")]
    PendingIdentity,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Signature => "jwt signature",
            Self::ActionProof => "action proof signature",
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
            Self::TrustedDevice => "trusted device",
            Self::FormerAddress => "former address",
            Self::UsedFrom => "used from",
            Self::ToldPlace => "told place",
            #[cfg(feature = "routes")]
            Self::PageCookie => "page cookie",
            Self::CodeOfToken => "code of token",
            Self::TotpSeed => "totp seed",
            Self::RecoveryCode => "recovery code",
            Self::ExternalChallenge => "external challenge",
            #[cfg(feature = "captcha")]
            Self::CaptchaAnswer => "captcha answer",
            Self::CaptchaSignature => "captcha signature",
            Self::CaptchaSubject => "captcha subject",
            Self::CaptchaToken => "captcha token",
            Self::ApiKey => "api key",
            Self::DeviceCode => "device code",
            Self::DeviceSession => "device session",
            Self::DeviceView => "device view",
            Self::DpopNonce => "dpop nonce",
            #[cfg(feature = "federation")]
            Self::ProviderTokens => "provider tokens",
            #[cfg(feature = "federation")]
            Self::PendingIdentity => "pending identity",
        }
    }
}

/// A keyed digest, for values that are looked up but must not be readable in a dump.
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

    /// Returns the digest of several values. The length of each value is included, so that bytes
    /// cannot move from one value to the next.
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
        // A word that only names the secret says nothing about a random one beside it.
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
            Purpose::ActionProof,
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
            Purpose::TrustedDevice,
            Purpose::FormerAddress,
            Purpose::UsedFrom,
            Purpose::ToldPlace,
            Purpose::CodeOfToken,
            Purpose::TotpSeed,
            Purpose::RecoveryCode,
            Purpose::ExternalChallenge,
            #[cfg(feature = "captcha")]
            Purpose::CaptchaAnswer,
            Purpose::CaptchaSignature,
            Purpose::CaptchaSubject,
            Purpose::CaptchaToken,
            Purpose::DeviceCode,
            Purpose::DeviceSession,
            Purpose::DeviceView,
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
