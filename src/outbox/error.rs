//! Errors of your application's own messages.

use crate::base::problem::problem;
use crate::base::transaction::{Fault, may_fault};

/// The reason why a message of the application was not put into the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no template for this kind.
    #[error("there is no template for messages of the kind {0:?}")]
    UnknownKind(&'static str),
    /// The template uses a value that the message does not have, or cannot be rendered with its
    /// values. The error names the missing values, and never shows the others.
    #[error("the template of {kind:?} cannot be rendered; missing values: {missing:?}")]
    Template {
        /// The kind.
        kind: &'static str,
        /// The names that the template uses and that have no value.
        missing: Vec<String>,
    },
    /// A value has more characters than fit. It is not cut, or a link in it would be broken.
    #[error("the value {name:?} of {kind:?} has more than {limit} characters")]
    ValueTooLong {
        /// The kind.
        kind: &'static str,
        /// The name of the value.
        name: &'static str,
        /// How many characters a value may have.
        limit: usize,
    },
    /// The recipient is not one plain mailbox or phone number.
    #[error("the recipient is not one plain mail address or phone number")]
    Recipient,
    /// There is no notifier for this recipient: see [`Builder::notifier`](crate::Builder::notifier)
    /// and [`Builder::text_messages`](crate::Builder::text_messages).
    #[error("no notifier is configured for this recipient")]
    NoNotifier,
    /// The infrastructure failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

may_fault!(SendError);

problem! {
    SendError {
        Self::UnknownKind(_) | Self::Template { .. } | Self::ValueTooLong { .. } | Self::NoNotifier =>
            INTERNAL_SERVER_ERROR, "misconfigured";
        Self::Recipient => UNPROCESSABLE_ENTITY, "invalid_recipient";
    }
    passes on { Fault }
}
