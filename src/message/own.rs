//! Messages of your application.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{MAX_CHARS, Recipient, Values};
use crate::base::id::AccountId;

/// A message of your application, for [`Outbox::send`](crate::outbox::Outbox::send). It may contain
/// a link or another secret, so its `Debug` form does not show its content.
#[derive(Clone)]
#[must_use = "it is sent by `auth.outbox().send(..)`"]
pub struct OwnMessage {
    pub(crate) kind: &'static str,
    pub(crate) to: Recipient,
    pub(crate) account_id: Option<AccountId>,
    pub(crate) values: Values,
    /// The names of those that would be cut.
    pub(crate) too_long: BTreeSet<&'static str>,
    pub(crate) good_for: Duration,
}

impl OwnMessage {
    /// Returns a message of the kind [`MessageKind::Own`](super::MessageKind::Own)`(kind)`. Its templates were passed to
    /// [`Builder::template`](crate::Builder::template).
    pub fn new(kind: &'static str, to: Recipient) -> Self {
        let good_for = Duration::from_secs(24 * 60 * 60);
        let (values, too_long) = (Values::new(), BTreeSet::new());
        Self { kind, to, account_id: None, values, too_long, good_for }
    }

    /// Sets a value of the template, with at most 500 characters. A longer value is refused by
    /// [`send`](crate::outbox::Outbox::send). Line breaks, control characters and invisible
    /// characters become spaces.
    pub fn value(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        let text = value.to_string();
        if text.chars().nth(MAX_CHARS).is_some() {
            self.too_long.insert(name);
        } else {
            self.too_long.remove(name);
        }
        self.values = self.values.with(name, text);
        self
    }

    /// Sets the account that it is about. The audit log shows it if the message is given up.
    pub fn account(mut self, id: AccountId) -> Self {
        self.account_id = Some(id);
        self
    }

    /// Sets how long the message is useful. The default is a day. After this time no further
    /// attempt is made.
    pub fn good_for(mut self, duration: Duration) -> Self {
        self.good_for = duration;
        self
    }
}

impl fmt::Debug for OwnMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnMessage")
            .field("kind", &self.kind)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
