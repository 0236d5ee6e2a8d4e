//! The subject of an attempt, and the digests by which it is counted.

use uuid::Uuid;

use super::key::{REFUSED, WHOLE};
use crate::base::id::AccountId;
use crate::base::secret::{DigestKey, Purpose};
use crate::context::{Context, PerInstance};
use crate::handle::Portcullis;
use crate::outstanding::APPLICATION;

/// The subject of an attempt: an account, or what was typed.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The protective count uses this: the account, or what was typed if there is no account.
    pub(super) digest: [u8; 32],
    /// The typed name, independent of its account. The visible count uses it.
    pub(super) typed: Option<[u8; 32]>,
    pub(super) account: Option<AccountId>,
    pub(super) email: Option<String>,
    pub(super) part: i64,
    pub(super) origin: Origin,
    /// The maximum number of failures, if it differs from that of its kind.
    pub(super) limit: Option<u32>,
}

/// Where an attempt comes from, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    KnownDevice,
    /// A session of the account, or a link that names it. Its holder may see the limits of the
    /// account.
    Inside,
    Anywhere,
}

impl Subject {
    pub(super) fn of(digest: [u8; 32]) -> Self {
        Self {
            digest,
            typed: None,
            account: None,
            email: None,
            part: WHOLE,
            origin: Origin::Anywhere,
            limit: None,
        }
    }

    /// Sets the known device of the attempt. It then has a separate count, so that failures of
    /// strangers do not affect it.
    pub(crate) fn on_device(mut self, auth: &Portcullis, device: Option<[u8; 16]>) -> Self {
        if let Some(id) = device {
            self.part = auth.per_instance::<SubjectKey>().part(b"device ", &id);
            self.origin = Origin::KnownDevice;
        }
        self
    }

    /// Marks the caller as a person who has proved before that the account is theirs.
    pub(crate) fn inside(mut self) -> Self {
        if self.origin == Origin::Anywhere {
            self.origin = Origin::Inside;
        }
        self.typed = None;
        self
    }

    /// Sets where the owner of the account is told of a lock.
    pub(crate) fn told_at(mut self, email: Option<&str>) -> Self {
        self.email = email.map(str::to_owned);
        self
    }

    /// Sets the name that the caller typed, in its normal form.
    pub(crate) fn typed(mut self, auth: &Portcullis, normal: &str) -> Self {
        self.typed = Some(auth.per_instance::<SubjectKey>().typed(normal));
        self
    }

    /// The same, if only the [digest](super::Attempts::digest_of_typed) of the name is known.
    pub(crate) fn typed_as(mut self, digest: [u8; 32]) -> Self {
        self.typed = Some(digest);
        self
    }

    /// Gives each purpose a separate count, so that wrong codes for one purpose use up no attempts
    /// for another. A known device has no separate count here. Otherwise a thief of the device
    /// would have twice as many attempts.
    pub(crate) fn for_purpose(mut self, auth: &Portcullis, purpose: &str) -> Self {
        let limits = &auth.context().config.challenge.attempts_by_purpose;
        let own = purpose.strip_prefix(APPLICATION).and_then(|name| limits.get(name));
        self.limit = own.copied();
        self.part = auth.per_instance::<SubjectKey>().part(b"purpose ", purpose.as_bytes());
        self
    }
}

/// The key of the digests of subjects.
pub(super) struct SubjectKey(DigestKey);

/// Returns the digests under which attempts of an account and its names may be recorded, for each
/// secret.
pub(crate) fn subjects_about(context: &Context, id: AccountId, normals: &[String]) -> Vec<Vec<u8>> {
    let keys = context.config.keys.secrets.iter();
    let keys = keys.map(|secret| SubjectKey(DigestKey::new(secret, Purpose::AttemptSubject)));
    keys.flat_map(|key| {
        let names = normals.iter().flat_map(|normal| [key.name(normal), key.typed(normal)]);
        names.chain([key.account(id)]).collect::<Vec<_>>()
    })
    .map(|digest| digest.to_vec())
    .collect()
}

impl PerInstance for SubjectKey {
    fn open(context: &Context) -> Self {
        Self(DigestKey::new(&context.config.keys.secrets[0], Purpose::AttemptSubject))
    }
}

impl SubjectKey {
    pub(super) fn account(&self, id: AccountId) -> [u8; 32] {
        self.0.digest(&[b"account ", id.as_uuid().as_bytes().as_slice()].concat())
    }

    pub(super) fn name(&self, normal: &str) -> [u8; 32] {
        self.0.digest(&[b"name ", normal.as_bytes()].concat())
    }

    pub(super) fn typed(&self, normal: &str) -> [u8; 32] {
        self.0.digest(&[b"typed ", normal.as_bytes()].concat())
    }

    pub(super) fn source(&self, source: &str) -> [u8; 32] {
        self.0.digest(&[b"source ", source.as_bytes()].concat())
    }

    pub(super) fn token(&self, typed: &str) -> [u8; 32] {
        self.0.digest(&[b"token ", typed.as_bytes()].concat())
    }

    pub(super) fn unnamed(&self, id: Uuid) -> [u8; 32] {
        self.0.digest(&[b"unnamed ", id.as_bytes().as_slice()].concat())
    }

    pub(super) fn part(&self, of: &[u8], id: &[u8]) -> i64 {
        let digest = self.0.digest(&[of, id].concat());
        let start = digest[..8].try_into().expect("eight of 32 bytes");
        match i64::from_be_bytes(start) {
            WHOLE | REFUSED => 1,
            number => number,
        }
    }
}
