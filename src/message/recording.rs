//! Messages for a test to look at.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Message, MessageKind, Notifier, Sending, TextMessages};

/// Remembers every message. Clones share what they remember.
#[derive(Debug, Clone, Default)]
pub struct RecordingNotifier(Arc<Mutex<Vec<Message>>>);

impl RecordingNotifier {
    /// The messages sent so far, mail and text messages together, in the order in which they were
    /// written into the outbox. Several leave at once, each in a task of its own, so the order in which
    /// they arrive is another one on a busy machine.
    pub fn sent(&self) -> Vec<Message> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sent.sort_by_key(|message| message.at);
        sent
    }

    /// Those of one kind.
    pub fn sent_of(&self, kind: MessageKind) -> Vec<Message> {
        self.sent().into_iter().filter(|message| message.kind == kind).collect()
    }

    fn keep(&self, message: &Message) -> Sending<'static> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Notifier for RecordingNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        self.keep(message)
    }
}

impl TextMessages for RecordingNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        self.keep(message)
    }
}
