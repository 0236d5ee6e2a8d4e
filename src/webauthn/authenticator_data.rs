//! What an authenticator says: for whom it signs, how it asked its user, and a new credential.

use super::cbor::Value;
use super::key::PublicKey;
use super::refusal::PasskeyRefusal;

/// The longest id of a credential (Web Authentication Level 3 section 4).
pub(crate) const LONGEST_ID: usize = 1023;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// The bytes that an authenticator has signed, taken apart.
pub(super) struct AuthenticatorData<'a> {
    pub(super) rp_id_hash: [u8; 32],
    flags: u8,
    pub(super) sign_count: u32,
    pub(super) credential: Option<AttestedCredential<'a>>,
}

/// A new credential.
pub(super) struct AttestedCredential<'a> {
    pub(super) aaguid: [u8; 16],
    pub(super) id: &'a [u8],
    /// The bytes of the key, as they are stored.
    pub(super) encoded_key: &'a [u8],
    /// `None` for a key that is not accepted.
    pub(super) key: Option<PublicKey>,
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all bytes. None may be left.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_first_chunk()?;
        let ([flags], rest) = rest.split_first_chunk()?;
        let (sign_count, mut rest) = rest.split_first_chunk()?;
        let mut credential = None;
        if flags & HAS_CREDENTIAL != 0 {
            let read = AttestedCredential::first(rest)?;
            (credential, rest) = (Some(read.0), read.1);
        }
        if flags & HAS_EXTENSIONS != 0 {
            let (Value::Map(_), after) = Value::first(rest)? else { return None };
            rest = after;
        }
        let data = Self {
            rp_id_hash: *rp_id_hash,
            flags: *flags,
            sign_count: u32::from_be_bytes(*sign_count),
            credential,
        };
        let contradicts = data.is_backed_up() && !data.is_backup_eligible();
        (rest.is_empty() && !contradicts).then_some(data)
    }

    pub(super) fn is_present(&self) -> bool {
        self.flags & PRESENT != 0
    }

    pub(super) fn is_verified(&self) -> bool {
        self.flags & VERIFIED != 0
    }

    pub(super) fn is_backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    pub(super) fn is_backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}

impl<'a> AttestedCredential<'a> {
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (aaguid, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length)?;
        if !(1..=LONGEST_ID).contains(&length) {
            return None;
        }
        let (value, after) = Value::first(rest)?;
        let encoded_key = &rest[..rest.len() - after.len()];
        let key = PublicKey::read(&value);
        Some((Self { aaguid: *aaguid, id, encoded_key, key }, after))
    }
}

/// Returns the key that was stored.
pub(super) fn stored_key(encoded: &[u8]) -> Result<PublicKey, PasskeyRefusal> {
    let key = Value::read(encoded).and_then(|value| PublicKey::read(&value));
    key.ok_or(PasskeyRefusal::UnsupportedKey)
}
