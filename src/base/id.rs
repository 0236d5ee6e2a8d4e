//! Public identifiers: UUIDs of version 7. They are ordered by time, safe to show, and never a
//! secret.

use uuid::Uuid;

use crate::base::clock::Timestamp;
use crate::base::secret::random_array;

/// Creates a new version 7 UUID for a row that is made at `now`.
pub(crate) fn new_uuid(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random_array::<10>()).into_uuid()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => { $(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            sea_orm::DeriveValueType, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Creates a new identifier for a row that is made at `now`.
            #[allow(dead_code, reason = "not every kind is made here yet")]
            pub(crate) fn new(now: Timestamp) -> Self {
                Self(new_uuid(now))
            }

            /// Returns the identifier as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }

        // sea-orm requires this for every primary key, but the database never generates these keys.
        impl sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    )+ };
}

ids! {
    /// Identifies an account.
    AccountId,
    /// Identifies one session of a signed-in or anonymous client. It is shown in lists, and never
    /// accepted as a credential.
    SessionId,
    /// Stays the same when a session is replaced, from the anonymous visitor to the signed-in
    /// account.
    LineageId,
    /// Identifies a role.
    RoleId,
    /// Identifies a group.
    GroupId,
    /// Identifies one row of the audit log.
    EventId,
    /// Identifies a challenge: a code or link that was sent and waits for an answer. It is public
    /// and is not the code.
    ChallengeId,
    /// Identifies one outgoing message.
    MessageId,
    /// Identifies one authenticator of an account.
    TotpId,
    /// Identifies one passkey of an account. It is not the id that the authenticator has given it.
    PasskeyId,
    /// Identifies one recovery of an account by an administrator.
    AccountRecoveryId,
    /// Identifies one trusted device of an account. It is not the token of the device.
    TrustedDeviceId,
    /// Identifies one API key of an account. It is not the key.
    ApiKeyId,
    /// Identifies a request of a device to be signed in.
    DeviceRequestId,
    /// Identifies an identity at a provider that is linked to an account. It is not the subject.
    ProviderIdentityId,
    /// Identifies an identity about which a person is asked.
    PendingIdentityId,
}

impl LineageId {
    /// The smallest id. It sorts before every other one.
    pub(crate) const FIRST: Self = Self(Uuid::nil());
}
