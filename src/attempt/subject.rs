//! Whom a try is about, and by which digests that is counted.

use uuid::Uuid;

use super::key::{REFUSED, WHOLE};
use crate::base::id::AccountId;
use crate::base::secret::{DigestKey, Purpose};
use crate::context::{Context, PerInstance};
use crate::handle::Portcullis;
use crate::outstanding::APPLICATION;

/// Whom a try is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What protects is counted by this: the account, or what was typed where there is none.
    pub(super) digest: [u8; 32],
    /// What was typed, whoever it belongs to: what a stranger is told is counted by it.
    pub(super) typed: Option<[u8; 32]>,
    pub(super) account: Option<AccountId>,
    pub(super) email: Option<String>,
    pub(super) part: i64,
    pub(super) origin: Origin,
    /// The limit of failures, if it is not the limit of its kind.
    pub(super) limit: Option<u32>,
}

/// From where a try comes, as far as its subject can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    KnownDevice,
    /// A session of the account, or a link that names it: its holder may know how it stands.
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

    /// The same on a device that the account is known to sign in from: it is counted by itself, and
    /// what strangers fail at does not touch it.
    pub(crate) fn on_device(mut self, auth: &Portcullis, device: Option<[u8; 16]>) -> Self {
        if let Some(id) = device {
            self.part = auth.per_instance::<SubjectKey>().part(b"device ", &id);
            self.origin = Origin::KnownDevice;
        }
        self
    }

    /// The same for a caller who proved before that the account is theirs.
    pub(crate) fn inside(mut self) -> Self {
        if self.origin == Origin::Anywhere {
            self.origin = Origin::Inside;
        }
        self.typed = None;
        self
    }

    /// The same for a caller who typed this name, in its normal form.
    pub(crate) fn typed(mut self, auth: &Portcullis, normal: &str) -> Self {
        self.typed = Some(auth.per_instance::<SubjectKey>().typed(normal));
        self
    }

    /// The same with a count for each purpose: wrong codes for one thing use up no tries at another.
    /// A known device has no count of its own here, or a thief of one had twice as many.
    pub(crate) fn for_purpose(mut self, auth: &Portcullis, purpose: &str) -> Self {
        let limits = &auth.context().config.challenge.tries_by_purpose;
        let own = purpose.strip_prefix(APPLICATION).and_then(|name| limits.get(name));
        self.limit = own.copied();
        self.part = auth.per_instance::<SubjectKey>().part(b"purpose ", purpose.as_bytes());
        self
    }
}

/// The key of subjects' digests.
pub(super) struct SubjectKey(DigestKey);

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
