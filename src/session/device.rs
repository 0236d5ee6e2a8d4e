//! Known devices: browsers and programs that an account has signed in from before.
//!
//! A full sign-in leaves a second token behind, of a type of its own: in a cookie, or in the answer for
//! a client that keeps its tokens itself. It opens nothing. It says one thing at the next sign-in: this
//! device has been here before with this account. So the owner still gets in while strangers keep the
//! account locked, and a sign-in without it is from a new device.
//!
//! The token holds up to five accounts, the one used last first; a sixth takes the place of the one used
//! longest ago. Each account is named by a keyed digest, so the token does not tell who they are. Each is
//! bound to the account's epoch: a changed password, a disabling, an end of all sessions make it
//! worthless, and so does a restored backup. The account's next sign-in from there is one from a new
//! device then: it may be the device of whoever was put out. What did the change is known under the new
//! epoch at once.
//!
//! # Two tabs at once
//! The token lives in the client alone, so a sign-in can only add to what its own request carried. Of
//! two sign-ins of two accounts that overlap, the later answer stays, and the browser does not know the
//! other account. That account signs in as from a new browser once more: it has no count of failures of
//! its own until then, and its owner may be told of a new device. Nothing is open to anybody by that.

use axum_core::response::{IntoResponseParts, ResponseParts};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName};

use super::cookie::{CookieAction, Found, SessionCookie};
use crate::base::client::ClientInfo;
use crate::base::id::AccountId;
use crate::base::jwt::{DeviceClaims, MAX_TOKEN_BYTES};
use crate::base::secret::{DigestKey, Purpose, random_array};
use crate::context::{Context, PerInstance};

/// Where a client that keeps its tokens itself shows what it got as `device_token`. A browser's page
/// cannot be made to send it by another site, and no other part of a request is named like this.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("portcullis-device");

/// How many accounts one device knows.
const MOST: usize = 5;

/// What names one account on one device: eight random bytes, and the start of a keyed digest of them and
/// the account.
pub(crate) type DeviceId = [u8; 16];

/// What a client's device is to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// It has signed in from there, and nothing has ended that since.
    Known(DeviceId),
    /// It has signed in from there, before its sessions were ended all together.
    Former,
    Stranger,
}

impl Device {
    /// The device, if it counts: the subject of counts that strangers cannot touch.
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
    /// The account's epoch when it signed in.
    epoch: i64,
    /// When it last signed in, in seconds.
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

/// The accounts in the text of a token; none if it is not as we write it.
fn read(text: &str) -> Option<Vec<Entry>> {
    // Longer than five entries is not decoded at all.
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

/// What a client shows of its device, verified, before it is known whom the request is about. So an
/// unknown name costs what a known one costs.
#[derive(Debug)]
pub(crate) struct Shown(Vec<Entry>);

/// The token of known devices, and the keys of its digests.
pub(crate) struct Devices {
    cookie: SessionCookie,
    /// Newest secret first.
    keys: Vec<DigestKey>,
    /// Whether clients may keep their tokens themselves.
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
    /// The token that a request shows, in its header or else in its cookie, if it shows exactly one
    /// there.
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

    /// What the client shows, verified. Asks no database.
    pub(crate) fn read(&self, context: &Context, client: &ClientInfo) -> Shown {
        Shown(self.entries(context, client))
    }

    /// What the client's device is to this account. Asks no database.
    pub(crate) fn recognize(
        &self,
        context: &Context,
        client: &ClientInfo,
        account: AccountId,
        epoch: i64,
    ) -> Device {
        self.look_up(&self.read(context, client), Some((account, epoch)))
    }

    /// The same of the account, with its epoch, that a typed name turned out to belong to. For a name that
    /// is nobody's the search is the same, for an account that there is not.
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

    /// What a device gets on which this account has just signed in: the accounts that its request
    /// showed, with this one before them.
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
        // Always under the newest secret: an older one is removed some day.
        let id = device_id(&self.keys[0], seed, account);
        entries.insert(0, Entry { id, epoch, at: now.as_secs() });
        entries.truncate(MOST);
        let claims =
            DeviceClaims { accounts: write(&entries), expires_at: now.plus(lifetime).as_secs() };
        let token = context.jwt.sign_device(&claims);
        let action = self.cookie.set(&token, Some(lifetime));
        KnownDevice { cookie: self.cookie.clone(), set: Some((token, action)) }
    }

    /// What a client gets whose device stays what it is.
    pub(crate) fn unchanged(&self) -> KnownDevice {
        KnownDevice { cookie: self.cookie.clone(), set: None }
    }

    /// The accounts that the client's token names and that still count.
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

    /// The entry of an account, and where it stands.
    fn find(&self, entries: &[Entry], account: AccountId) -> Option<(usize, Entry)> {
        // The signature is what makes it genuine; this says whose it is.
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

/// A device that an account is known to sign in from, from now on: add it to an answer.
///
/// It is [`IntoResponseParts`], so a handler returns `(known, StatusCode::NO_CONTENT)`; elsewhere
/// [`apply`](Self::apply) puts it into the headers. It changes nothing where the client asked not to be
/// remembered, known devices are off, or the device was none that had to be told anew.
#[must_use = "the device is known when it gets this"]
pub struct KnownDevice {
    cookie: SessionCookie,
    set: Option<(String, CookieAction)>,
}

impl KnownDevice {
    /// Whether the client wants to be remembered: one that does not gets nothing.
    pub fn remember(self, remember: bool) -> Self {
        Self { set: self.set.filter(|_| remember), ..self }
    }

    /// The token, for a client that keeps it itself and shows it in the header `Portcullis-Device`. A
    /// browser gets it in the cookie.
    pub fn token(&self) -> Option<&str> {
        self.set.as_ref().map(|(token, _)| &**token)
    }

    /// Puts the cookie into the headers of an answer.
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
