//! A key as a request finds it, and when it counts.

use std::fmt;

use super::entity::Model;
use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, ApiKeyId};
use crate::base::secret::{DigestKey, Purpose, Secret};
use crate::context::{Context, PerInstance};

/// Why a key has ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    Revoked,
    Rotated,
}

impl EndReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Rotated => "rotated",
        }
    }
}

/// Why an API key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiKeyRefusal {
    /// It is malformed or unknown.
    Invalid,
    /// Its time is over.
    Expired,
    /// It was revoked, or replaced by a new one.
    Revoked,
    /// Its account is disabled, closed or not verified.
    Account,
}

/// An API key of an account. It is not the secret, which is shown only once.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    pub(crate) id: ApiKeyId,
    pub(crate) first_id: ApiKeyId,
    pub(crate) account_id: AccountId,
    pub(crate) name: String,
    pub(crate) hint: String,
    pub(crate) scopes: String,
    pub(crate) key_id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) rotated_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) last_used_from: Option<String>,
}

impl ApiKey {
    /// Returns the public id. A rotation makes a key with a new id.
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// Returns the id of the first key, which stays the same in every rotation. Use it for your own rows that
    /// belong to a key.
    pub fn first_id(&self) -> ApiKeyId {
        self.first_id
    }

    /// Returns the account.
    pub fn account_id(&self) -> AccountId {
        self.account_id
    }

    /// Returns the name that its owner gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the beginning of the key, by which its owner recognizes it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Returns the permissions to which it is limited.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.split_whitespace()
    }

    /// Returns when it was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Returns when it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns when a new key replaced it. It is then good for the rest of the overlap.
    pub fn rotated_at(&self) -> Option<Timestamp> {
        self.rotated_at
    }

    /// Returns when it was last used, to about a minute.
    pub fn last_used_at(&self) -> Option<Timestamp> {
        self.last_used_at
    }

    /// Returns the network from which it was last used: the first address of the IPv4 /24 or the IPv6 /64.
    pub fn last_used_from(&self) -> Option<&str> {
        self.last_used_from.as_deref()
    }

    /// Returns why the key does not count at `now`. `account` is the row of its account.
    pub(crate) fn refused(
        &self,
        now: Timestamp,
        account: Option<&Account>,
        require_verified: bool,
    ) -> Option<ApiKeyRefusal> {
        let over = now >= self.expires_at;
        if self.ended_at.is_some() || over && self.rotated_at.is_some() {
            Some(ApiKeyRefusal::Revoked)
        } else if over {
            Some(ApiKeyRefusal::Expired)
        } else if account.is_some_and(|account| account.is_usable(now, require_verified)) {
            None
        } else {
            Some(ApiKeyRefusal::Account)
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// Not `From`: the row would be a part of the public interface then.
impl ApiKey {
    pub(crate) fn of(row: Model) -> Self {
        Self {
            id: row.id,
            first_id: row.first_id,
            account_id: row.account_id,
            name: row.name,
            hint: row.hint,
            scopes: row.scopes,
            key_id: row.key_id,
            created_at: row.created_at,
            expires_at: row.expires_at,
            rotated_at: row.rotated_at,
            ended_at: row.ended_at,
            last_used_at: row.last_used_at,
            last_used_from: row.last_used_from,
        }
    }
}

/// The keys for the digests of API keys, one for each configured secret, newest first.
pub(crate) struct Digests(Vec<(String, DigestKey)>);

impl PerInstance for Digests {
    fn open(context: &Context) -> Self {
        let key = |secret: &Secret| (secret.kid(), DigestKey::new(secret, Purpose::ApiKey));
        Self(context.config.keys.secrets.iter().map(key).collect())
    }
}

impl Digests {
    /// Returns the digest of a key under the newest secret, and the name of the secret.
    pub(crate) fn newest(&self, key: &[u8]) -> (&str, [u8; 32]) {
        let (name, digest) = &self.0[0];
        (name, digest.digest(key))
    }

    /// Returns the digests of a key under every secret.
    pub(crate) fn all(&self, key: &[u8]) -> Vec<[u8; 32]> {
        self.0.iter().map(|(_, digest)| digest.digest(key)).collect()
    }
}
