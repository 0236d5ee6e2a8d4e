//! A notifier that stores messages for tests.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Message, MessageKind, Notifier, Sending, TextMessages};

/// Stores every message. Clones share their messages.
#[derive(Debug, Clone, Default)]
pub struct RecordingNotifier(Arc<Mutex<Vec<Message>>>);

impl RecordingNotifier {
    /// Returns the messages sent so far, mail and text messages together, in the order in which
    /// they were put into the outbox. Several are sent at once, each in a separate task. So on a
    /// busy machine they can arrive in another order.
    pub fn sent(&self) -> Vec<Message> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sent.sort_by_key(|message| message.at);
        sent
    }

    /// Returns the messages of one kind.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::MessageId;
    use crate::message::Recipient;

    #[test]
    fn messages_come_in_the_order_they_were_written_in_however_late_each_is_sent() {
        let notifier = RecordingNotifier::default();
        for at in [3, 1, 2] {
            let at = Timestamp::from_millis(at);
            let message = Message {
                id: MessageId::new(at),
                kind: MessageKind::VerifyAddress,
                to: Recipient::email("alice@example.com").expect("an address"),
                values: crate::message::Values::new(),
                from_name: String::new(),
                from_address: None,
                account_id: None,
                at,
                subject: String::new(),
                text: String::new(),
                html: None,
            };
            drop(notifier.keep(&message));
        }
        let times: Vec<_> = notifier.sent().iter().map(|message| message.at.as_millis()).collect();
        assert_eq!(times, [1, 2, 3]);
    }
}
