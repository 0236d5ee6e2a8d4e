//! The keys of the outbox: one seals messages, one makes the digests of recipients.

use crate::base::id::MessageId;
use crate::base::seal::Sealer;
use crate::base::secret::{DigestKey, Purpose, Secret};
use crate::context::{Context, PerInstance};
use crate::message::MessageKind;

pub(super) struct OutboxKeys {
    pub(super) sealer: Sealer,
    pub(super) recipients: DigestKey,
}

impl PerInstance for OutboxKeys {
    fn open(context: &Context) -> Self {
        let secrets = &context.config.keys.secrets;
        Self {
            sealer: Sealer::new(secrets, Purpose::OutboxPayload),
            recipients: Self::recipients_under(&secrets[0]),
        }
    }
}

impl OutboxKeys {
    /// Returns the key of recipients under this secret.
    pub(super) fn recipients_under(secret: &Secret) -> DigestKey {
        DigestKey::new(secret, Purpose::OutboxRecipient)
    }
}

/// Returns one spelling of a recipient for all its spellings.
pub(super) fn fold(recipient: &str) -> String {
    recipient.to_lowercase()
}

/// Returns the associated data of a sealed payload: this row and this kind. So a payload cannot be
/// moved to another row.
pub(super) fn row_name(id: MessageId, kind: MessageKind) -> Vec<u8> {
    [id.as_uuid().as_bytes(), kind.stored().as_bytes()].concat()
}
