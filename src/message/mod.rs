//! Messages to people: their kinds, their texts, and how they are sent.
//!
//! 1. A flow puts a message into the [outbox](crate::outbox), in the transaction of its change.
//! 2. The message is rendered from its templates.
//! 3. A separate task passes it to a [`Notifier`] (mail) or to [`TextMessages`] (phones). So a slow
//!    or failing mail server does not delay an answer, and does not undo a change.
//!
//! # Notifiers
//! - `SmtpNotifier` (feature `smtp`): sends mail by SMTP, over TLS.
//! - [`ConsoleNotifier`]: prints, for development.
//! - [`FileNotifier`]: writes a file for each message, for development.
//! - `RecordingNotifier` (feature `test-util`): stores them for tests.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<(), portcullis::ConfigErrors> {
//! use portcullis::Portcullis;
//! use portcullis::message::ConsoleNotifier;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com") // links lead here
//!     .notifier(ConsoleNotifier)
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! A provider that has its own templates uses the [values](Message::values) of a message instead of
//! its text. Use [`Outbox::send`](crate::outbox::Outbox::send) to send your own messages.
//!
//! The guide page [`guide::mail`](crate::guide::mail) explains how to replace templates and how to
//! set up mail.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::base::clock::Timestamp;
use crate::base::id::{AccountId, MessageId};

mod console;
mod file;
mod kind;
mod own;
#[cfg(feature = "test-util")]
mod recording;
#[cfg(feature = "smtp")]
mod smtp;
pub(crate) mod template;
mod values;

pub use console::ConsoleNotifier;
pub use file::FileNotifier;
pub(crate) use kind::Cause;
pub use kind::MessageKind;
pub use own::OwnMessage;
#[cfg(feature = "test-util")]
pub use recording::RecordingNotifier;
#[cfg(feature = "smtp")]
pub use smtp::{SmtpError, SmtpNotifier};
pub(crate) use values::{MAX_CHARS, Values};

/// The recipient of a message: exactly one mailbox or one phone.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recipient {
    /// A mail address.
    Email(String),
    /// A phone number in E.164 form.
    Phone(String),
}

impl Recipient {
    /// Takes the mailbox of an account. Returns `None` for a text that could be read as anything
    /// but one plain mailbox. Addresses are checked when they are stored; this is a second check
    /// before they leave.
    pub(crate) fn email(address: &str) -> Option<Self> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\"(),:;<>[\\]".contains(c);
        let one = address.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        let one = one && !address.starts_with('-');
        (one && address.len() <= 254 && address.chars().all(plain))
            .then(|| Self::Email(address.to_owned()))
    }

    /// Takes the phone number of an account, under the same condition.
    pub(crate) fn phone(number: &str) -> Option<Self> {
        let digits = number.strip_prefix('+')?;
        let plain = (8..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| Self::Phone(number.to_owned()))
    }

    /// Returns the address or number.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(text) | Self::Phone(text) => text,
        }
    }
}

// Written by hand: addresses are personal data and must not get into a log by accident.
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email(_) => "Email(..)",
            Self::Phone(_) => "Phone(..)",
        })
    }
}

/// A message that is ready to be sent. It may contain a code or a link, so its `Debug` form does
/// not show its content.
#[derive(Clone)]
#[non_exhaustive]
pub struct Message {
    /// Identifies it: the same at every attempt, so a receiver can recognise a repetition.
    pub id: MessageId,
    /// What it is about.
    pub kind: MessageKind,
    /// The recipient.
    pub to: Recipient,
    /// The name of the service, to show as the sender.
    pub from_name: String,
    /// The sender's address, if one is configured or follows from the public URL.
    pub from_address: Option<String>,
    /// The account that it is about.
    pub account_id: Option<AccountId>,
    /// When it was put into the outbox.
    pub at: Timestamp,
    /// One line. Empty for a phone.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML. None for a phone.
    pub html: Option<String>,
    /// The values that were put into the templates.
    pub(crate) values: Values,
}

impl Message {
    /// Returns a value of the template, such as `code` or `link`, for a provider that has its own
    /// templates. The [guide](crate::guide::mail#your-own-templates) lists the names. The value is
    /// empty if the message has none for this name. The result is `None` for a name that the kind
    /// does not have.
    ///
    /// A value may be a secret that gives access. Pass it only to the recipient, and never to a
    /// log.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)
    }

    /// Returns all values of the template with their names, sorted by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// The reason why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// It cannot be sent now. It is attempted again.
    #[error("the message could not be sent now")]
    Temporary(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It can never be sent. It is given up.
    #[error("the message was permanently rejected")]
    Permanent(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl NotifyError {
    /// Makes an error after which the message is attempted again.
    pub fn temporary(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Temporary(error.into())
    }

    /// Makes an error after which the message is given up.
    pub fn permanent(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Permanent(error.into())
    }
}

/// The future of sending a message.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), NotifyError>> + Send + 'a>>;

/// Sends mail. It is called in a separate task, at most for `mail.send_timeout`. Then it is
/// dropped, so that it does not send a message that is attempted again. On MySQL and MariaDB, do
/// not use the connection pool of the database in it: a statement that is dropped half-way makes
/// its connection unusable.
///
/// A notifier that calls a program must pass the recipient on the standard input (`sendmail -t`),
/// or as an argument after `--`, and never through a shell. Recipients never start with `-`, so no
/// program reads them as an option. But a mail address may contain characters with a meaning to a
/// shell, such as `|`, `$` or a backtick.
pub trait Notifier: Send + Sync + fmt::Debug + 'static {
    /// Sends one message.
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a>;

    /// Called once by `build()`. Returns why this notifier cannot work with that sender, if so.
    fn refuses(&self, sender: Option<&str>) -> Option<String> {
        let _ = sender;
        None
    }
}

/// Sends text messages to phones. It is called in a separate task, at most for `mail.send_timeout`.
/// What [`Notifier`] says about programs also applies here.
pub trait TextMessages: Send + Sync + fmt::Debug + 'static {
    /// Sends one message. It consists only of its `text`.
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_recipient_can_be_read_as_an_option() {
        for bad in ["-a@example.com", "-@example.com", "--help@example.com", "-oQ/tmp@example.com"]
        {
            assert!(Recipient::email(bad).is_none(), "{bad}");
        }
        for good in ["a-@example.com", "a-b@ex-ample.com", "+a@example.com"] {
            assert!(Recipient::email(good).is_some(), "{good}");
        }
        for bad in ["-4915112345678", "4915112345678", "--4915112345678", "+-915112345678"] {
            assert!(Recipient::phone(bad).is_none(), "{bad}");
        }
        assert!(Recipient::phone("+4915112345678").is_some());
    }
}
