//! A notifier that prints messages to the terminal.

use std::io::Write;

use super::{Message, Notifier, Sending, TextMessages};

/// Prints every message with its codes and links, for development.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConsoleNotifier;

fn print(message: &Message) -> Sending<'_> {
    let text = format!(
        "--- to {}\n{}{}\n---\n",
        message.to.as_str(),
        if message.subject.is_empty() { String::new() } else { format!("{}\n\n", message.subject) },
        message.text.trim_end(),
    );
    // If the terminal is gone, another attempt would not help.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Box::pin(std::future::ready(Ok(())))
}

impl Notifier for ConsoleNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        print(message)
    }
}

impl TextMessages for ConsoleNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        print(message)
    }
}
