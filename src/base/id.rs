//! Public identifiers: UUID version 7, time-ordered, safe to show, never a secret.

use uuid::Uuid;

use crate::base::clock::Timestamp;
use crate::base::secret::random_array;

/// A fresh version 7 UUID for a row made at `now`.
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
            /// A fresh identifier for a row made at `now`.
            #[allow(dead_code, reason = "not every kind is made here yet")]
            pub(crate) fn new(now: Timestamp) -> Self {
                Self(new_uuid(now))
            }

            /// The identifier as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
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

        // sea-orm asks this of every primary key; these are never made by the database.
        impl sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    )+ };
}

ids! {
    /// Who: the row of an account.
    AccountId,
    /// One signed-in (or anonymous) client. Public: shown in lists, never accepted as a credential.
    SessionId,
    /// What stays the same while a session is replaced: from anonymous visitor to signed-in account.
    LineageId,
    /// A role.
    RoleId,
    /// A group.
    GroupId,
    /// One row of the audit log.
    EventId,
    /// A challenge: a code or link that was sent and waits for its answer. Public, not the code.
    ChallengeId,
    /// One message on its way out.
    MessageId,
}

impl LineageId {
    /// Before every other one.
    pub(crate) const FIRST: Self = Self(Uuid::nil());
}
