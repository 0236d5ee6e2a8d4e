//! Known devices: browsers and programs from which an account has signed in before.
//!
//! A complete sign-in gives the client a second token of its own type. It is in a cookie, or in the
//! answer for a client that stores its tokens itself. It grants no access. At the next sign-in it
//! only says that this account has signed in from this device before. This has two uses. The owner
//! can still sign in while strangers keep the account locked. A sign-in without the token comes
//! from a new device.
//!
//! The token holds up to five accounts, the most recently used first. A sixth replaces the least
//! recently used. Each account is identified by a keyed digest, so the token does not reveal who
//! they are. Each entry is bound to the epoch of its account. A changed password, a disabled
//! account, the end of all sessions and a restored backup make the entry invalid. The next sign-in
//! of that account from there counts as one from a new device, because the device may belong to the
//! person who was locked out. The device that made the change is known under the new epoch
//! immediately.
//!
//! # Two tabs at once
//! Only the client stores the token, so a sign-in can only add to what its own request carried. If
//! sign-ins of two accounts overlap in one browser, the later answer wins, and the browser does not
//! know the other account. The next sign-in of that account counts as one from a new browser. Until
//! then it has no failure counter of its own there, and its owner may be notified of a new device.
//! This gives access to nobody.

use axum_core::response::{IntoResponseParts, ResponseParts};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName};

use super::cookie::{CookieAction, Found, SessionCookie};
use crate::base::client::ClientInfo;
use crate::base::id::AccountId;
use crate::base::jwt::{DeviceClaims, MAX_TOKEN_BYTES};
use crate::base::secret::{DigestKey, Purpose, random_array};
use crate::context::{Context, PerInstance};

/// The header in which a client that stores its tokens itself sends its `device_token`. Another
/// site cannot make a browser send this header, and no other part of a request has this name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("portcullis-device");

/// The maximum number of accounts that one device knows.
const MOST: usize = 5;

/// Identifies one account on one device: eight random bytes, and the start of a keyed digest of
/// them and the account.
pub(crate) type DeviceId = [u8; 16];

/// What the device of a client means to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// The account has signed in from there, and the entry is still valid.
    Known(DeviceId),
    /// The account has signed in from there, but its epoch has increased since.
    Former,
    Stranger,
}

impl Device {
    /// Returns the device if it is known. Strangers cannot influence the counters of a known
    /// device.
    pub(crate) fn known(self) -> Option<DeviceId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Former | Self::Stranger => None,
        }
    }
}

/// One account of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: DeviceId,
    /// The epoch of the account when it signed in.
    epoch: i64,
    /// When it last signed in, in Unix seconds.
    at: i64,
}

impl Entry {
    const BYTES: usize = 32;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..24].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[24..].copy_from_slice(&self.at.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let part = |from: usize| bytes[from..from + 8].try_into().expect("eight of 32 bytes");
        Self {
            id: bytes[..16].try_into().expect("sixteen of 32 bytes"),
            epoch: i64::from_be_bytes(part(16)),
            at: i64::from_be_bytes(part(24)),
        }
    }
}

/// Reads the entries from the text of a token. `None` if the text is not as `write` makes it.
fn read(text: &str) -> Option<Vec<Entry>> {
    // A text that is longer than five entries is not decoded.
    if text.len() > BASE64URL_NOPAD.encode_len(MOST * Entry::BYTES) {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (entries, rest) = bytes.as_chunks();
    rest.is_empty().then(|| entries.iter().map(Entry::from_bytes).collect())
}

fn write(entries: &[Entry]) -> String {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
    BASE64URL_NOPAD.encode(&bytes)
}

/// The verified entries of a client's device token. They are read before the account is known. So
/// an unknown name costs as much as a known one.
#[derive(Debug)]
pub(crate) struct Shown(Vec<Entry>);

/// The token of known devices, and the keys of its digests.
pub(crate) struct Devices {
    cookie: SessionCookie,
    /// The newest secret comes first.
    keys: Vec<DigestKey>,
    /// True if clients may store their tokens themselves.
    bearer: bool,
}

impl PerInstance for Devices {
    fn open(context: &Context) -> Self {
        let secrets = context.config.keys.secrets.iter();
        Self {
            cookie: SessionCookie::of_devices(&context.config),
            keys: secrets.map(|secret| DigestKey::new(secret, Purpose::KnownDevice)).collect(),
            bearer: context.config.service.bearer,
        }
    }
}

impl Devices {
    /// Returns the device token of a request: from its header or else from its cookie. `None` if
    /// there is not exactly one.
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<String> {
        let text = |bytes: &[u8]| {
            let bytes = (bytes.len() <= MAX_TOKEN_BYTES).then_some(bytes)?;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        if self.bearer && headers.contains_key(HEADER) {
            let mut values = headers.get_all(HEADER).iter();
            let (Some(value), None) = (values.next(), values.next()) else { return None };
            return text(value.as_bytes());
        }
        let Found::One(pair) = self.cookie.find(headers) else { return None };
        text(pair.value())
    }

    /// Verifies the token of the client. Runs no statement.
    pub(crate) fn read(&self, context: &Context, client: &ClientInfo) -> Shown {
        Shown(self.entries(context, client))
    }

    /// Returns what the device of the client means to this account. Runs no statement.
    pub(crate) fn recognize(
        &self,
        context: &Context,
        client: &ClientInfo,
        account: AccountId,
        epoch: i64,
    ) -> Device {
        self.look_up(&self.read(context, client), Some((account, epoch)))
    }

    /// The same for the account, with its epoch, that belongs to a typed name. If no account has
    /// the name, the search runs for an account that does not exist. So the time does not reveal
    /// whether it exists.
    pub(crate) fn look_up(&self, shown: &Shown, of: Option<(AccountId, i64)>) -> Device {
        let Some((account, epoch)) = of else {
            std::hint::black_box(self.find(&shown.0, AccountId::from(uuid::Uuid::nil())));
            return Device::Stranger;
        };
        match self.find(&shown.0, account) {
            None => Device::Stranger,
            Some((_, entry)) if entry.epoch == epoch => Device::Known(entry.id),
            Some(_) => Device::Former,
        }
    }

    /// Returns the token for a device on which this account has just signed in. It contains the
    /// accounts from its request, with this one first.
    pub(crate) fn remember(
        &self,
        context: &Context,
        client: &ClientInfo,
        account: AccountId,
        epoch: i64,
    ) -> KnownDevice {
        let Some(lifetime) = context.config.attempts.device_lifetime else {
            return self.unchanged();
        };
        let now = context.now();
        let mut entries = self.entries(context, client);
        let seed = match self.find(&entries, account) {
            Some((at, entry)) => {
                entries.remove(at);
                entry.id[..8].try_into().expect("eight of sixteen bytes")
            }
            None => random_array(),
        };
        // Always under the newest secret, because the older ones will be removed.
        let id = device_id(&self.keys[0], seed, account);
        entries.insert(0, Entry { id, epoch, at: now.as_secs() });
        entries.truncate(MOST);
        let claims =
            DeviceClaims { accounts: write(&entries), expires_at: now.plus(lifetime).as_secs() };
        let token = context.jwt.sign_device(&claims);
        let action = self.cookie.set(&token, Some(lifetime));
        KnownDevice { cookie: self.cookie.clone(), set: Some((token, action)) }
    }

    /// Returns what a client gets if its device does not change.
    pub(crate) fn unchanged(&self) -> KnownDevice {
        KnownDevice { cookie: self.cookie.clone(), set: None }
    }

    /// The entries in the token of the client that have not expired.
    fn entries(&self, context: &Context, client: &ClientInfo) -> Vec<Entry> {
        let now = context.now();
        let Some(lifetime) = context.config.attempts.device_lifetime else { return Vec::new() };
        let claims = client.device().and_then(|token| context.jwt.verify_device(token));
        let Some(claims) = claims.filter(|claims| now.as_secs() < claims.expires_at) else {
            return Vec::new();
        };
        let oldest = now.minus(lifetime).as_secs();
        let mut entries = read(&claims.accounts).unwrap_or_default();
        entries.retain(|entry| entry.at > oldest);
        entries
    }

    /// Returns the entry of an account and its position.
    fn find(&self, entries: &[Entry], account: AccountId) -> Option<(usize, Entry)> {
        // The signature proves that the token is genuine. The digest tells which account an entry
        // belongs to.
        let is_its_own = |entry: &Entry| {
            let seed = entry.id[..8].try_into().expect("eight of sixteen bytes");
            self.keys.iter().any(|key| device_id(key, seed, account) == entry.id)
        };
        let at = entries.iter().position(is_its_own)?;
        Some((at, entries[at]))
    }
}

fn device_id(key: &DigestKey, seed: [u8; 8], account: AccountId) -> DeviceId {
    let digest = key.digest(&[seed.as_slice(), account.as_uuid().as_bytes()].concat());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seed);
    id[8..].copy_from_slice(&digest[..8]);
    id
}

/// A device that is known to an account from now on. Add it to the answer.
///
/// It is [`IntoResponseParts`], so a handler can return `(known, StatusCode::NO_CONTENT)`.
/// Elsewhere, [`apply`](Self::apply) adds it to the headers. It changes nothing if the client asked
/// not to be remembered, if known devices are off, or if the device did not need a new token.
#[must_use = "the device is known when it gets this"]
pub struct KnownDevice {
    cookie: SessionCookie,
    set: Option<(String, CookieAction)>,
}

impl KnownDevice {
    /// Sets whether the client wants to be remembered. A client that does not gets nothing.
    pub fn remember(self, remember: bool) -> Self {
        Self { set: self.set.filter(|_| remember), ..self }
    }

    /// Returns the token, for a client that stores it itself and sends it in the header
    /// `Portcullis-Device`. A browser gets it in the cookie.
    pub fn token(&self) -> Option<&str> {
        self.set.as_ref().map(|(token, _)| &**token)
    }

    /// Adds the cookie to the headers of an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some((_, action)) = &self.set {
            self.cookie.apply(headers, action.clone());
        }
    }
}

impl IntoResponseParts for KnownDevice {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.apply(parts.headers_mut());
        Ok(parts)
    }
}

impl std::fmt::Debug for KnownDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownDevice").field("known", &self.set.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    use super::{BASE64URL_NOPAD, Entry, MOST, read, write};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_again(
            parts in proptest::collection::vec((any::<[u8; 16]>(), any::<i64>(), any::<i64>()), 0..=MOST),
        ) {
            let entries: Vec<_> =
                parts.into_iter().map(|(id, epoch, at)| Entry { id, epoch, at }).collect();
            prop_assert_eq!(read(&write(&entries)), Some(entries));
        }

        #[test]
        fn whatever_is_read_is_written_the_same_and_is_never_more_than_five(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            text in "[A-Za-z0-9_=+/-]{0,300}",
        ) {
            for text in [BASE64URL_NOPAD.encode(&bytes), text] {
                let Some(entries) = read(&text) else { continue };
                prop_assert!(entries.len() <= MOST);
                prop_assert_eq!(write(&entries), text);
            }
        }
    }

    #[test]
    fn a_sixth_entry_and_half_an_entry_are_not_read() {
        let entry = Entry { id: [7; 16], epoch: 3, at: 5 };
        let full = write(&[entry; MOST]);
        assert_eq!(read(&full), Some(vec![entry; MOST]));
        assert_eq!(read(&write(&[entry; MOST + 1])), None);
        assert_eq!(read(&BASE64URL_NOPAD.encode(&[7; Entry::BYTES + 1])), None);
        assert_eq!(read(&format!("{full}=")), None);
        assert_eq!(read(""), Some(Vec::new()));
    }
}
