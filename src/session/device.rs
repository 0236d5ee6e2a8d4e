//! Known devices: browsers that an account has signed in from before.
//!
//! A full sign-in leaves a second cookie behind, with a token of a type of its own. It opens nothing.
//! It says one thing at the next sign-in: this browser has been here before with this account. So its
//! owner still gets in while strangers keep the account locked, and a sign-in without it is from a
//! new device.
//!
//! The token is bound to the account by a keyed digest, without naming it, and to the account's epoch:
//! a changed password, a disabling, an end of all sessions make it worthless. What is left of it then
//! is that its browser is no new one, and not even that if the account's address was proved since:
//! it may be the browser of whoever had prepared the account.

use http::HeaderMap;

use super::cookie::{CookieAction, Found, SessionCookie};
use crate::base::client::ClientInfo;
use crate::base::clock::Timestamp;
use crate::base::id::AccountId;
use crate::base::jwt::{Claims, MAX_TOKEN_BYTES, TokenType};
use crate::base::secret::{DigestKey, Purpose, random_array};
use crate::context::{Context, Room};

/// What names one device: eight random bytes, and the start of a keyed digest of them and the
/// account.
pub(crate) type DeviceId = [u8; 16];

/// What a client's device is to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    /// It has signed in from there, and nothing has ended that since.
    Known(DeviceId),
    /// It has signed in from there, last at this second, before its sessions were ended all together.
    Former(DeviceId, i64),
    Stranger,
}

impl Device {
    /// The device, if it counts.
    pub(crate) fn known(self) -> Option<DeviceId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Former(..) | Self::Stranger => None,
        }
    }

    /// Whether its owner is to be told of a sign-in from there. `proved_at` is when the account's first
    /// address was proved: whoever signed in before, and was put out, may have been anybody.
    pub(crate) fn is_new(self, proved_at: Option<Timestamp>) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Former(_, at) => proved_at.is_some_and(|proved_at| at <= proved_at.as_secs()),
            Self::Stranger => true,
        }
    }

    fn id(self) -> Option<DeviceId> {
        match self {
            Self::Known(id) | Self::Former(id, _) => Some(id),
            Self::Stranger => None,
        }
    }
}

/// The cookie of known devices, and the keys of their digests.
pub(crate) struct Devices {
    cookie: SessionCookie,
    /// Newest secret first.
    keys: Vec<DigestKey>,
}

impl Room for Devices {
    fn open(context: &Context) -> Self {
        let secrets = context.config.keys.secrets.iter();
        Self {
            cookie: SessionCookie::of_devices(&context.config),
            keys: secrets.map(|secret| DigestKey::new(secret, Purpose::KnownDevice)).collect(),
        }
    }
}

impl Devices {
    /// The token that a request shows, if it shows exactly one.
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<String> {
        let Found::One { header, range } = self.cookie.find(headers) else { return None };
        let bytes = &header.as_bytes()[range];
        let token = bytes.len() <= MAX_TOKEN_BYTES;
        token.then(|| std::str::from_utf8(bytes).ok().map(str::to_owned)).flatten()
    }

    /// What the client's device is to this account. Asks no database.
    pub(crate) fn recognize(
        &self,
        context: &Context,
        client: &ClientInfo,
        account: AccountId,
        epoch: i64,
    ) -> Device {
        let now = context.now();
        let claims = client
            .device()
            .filter(|_| context.config.attempts.device_lifetime.is_some())
            .and_then(|token| context.jwt.verify(token, now))
            .filter(|(token_type, _)| *token_type == TokenType::Device)
            .map(|(_, claims)| claims)
            .filter(|claims| now.as_secs() < claims.expires_at);
        let Some(claims) = claims else { return Device::Stranger };
        // The signature is what makes it genuine; this says whose it is.
        let seed: [u8; 8] = claims.sid[..8].try_into().expect("eight of sixteen bytes");
        if !self.keys.iter().any(|key| device_id(key, seed, account) == claims.sid) {
            return Device::Stranger;
        }
        if claims.generation == epoch {
            Device::Known(claims.sid)
        } else {
            Device::Former(claims.sid, claims.issued_at)
        }
    }

    /// The cookie that a device gets which has just signed in. One that was known stays the same.
    pub(crate) fn remember(
        &self,
        context: &Context,
        before: Device,
        account: AccountId,
        epoch: i64,
    ) -> Option<(SessionCookie, CookieAction)> {
        let lifetime = context.config.attempts.device_lifetime?;
        let now = context.now();
        let claims = Claims {
            sid: before.id().unwrap_or_else(|| device_id(&self.keys[0], random_array(), account)),
            generation: epoch,
            issued_at: now.as_secs(),
            expires_at: now.plus(lifetime).as_secs(),
        };
        let token = context.jwt.sign(TokenType::Device, &claims);
        Some((self.cookie.clone(), self.cookie.set(&token, Some(lifetime))))
    }
}

fn device_id(key: &DigestKey, seed: [u8; 8], account: AccountId) -> DeviceId {
    let digest = key.digest(&[seed.as_slice(), account.as_uuid().as_bytes()].concat());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seed);
    id[8..].copy_from_slice(&digest[..8]);
    id
}
