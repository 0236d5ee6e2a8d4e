//! Messages to people: their kinds, what they say, and how they leave.
//!
//! A flow puts a message into the [outbox](crate::outbox) in the transaction of its change. From
//! there it is rendered from its templates and handed to a [`Notifier`] (mail) or to
//! [`TextMessages`] (phones), in a task of its own: a slow or failing mail server neither delays an
//! answer nor undoes a change.
//!
//! # Notifiers that are here
//! - `SmtpNotifier` (feature `smtp`): sends mail by SMTP, over TLS.
//! - [`ConsoleNotifier`]: prints, for development.
//! - [`FileNotifier`]: writes a file for each message, for development.
//! - `RecordingNotifier` (feature `test-util`): remembers them, for tests.
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
//! A provider that has templates of its own takes the [values](Message::values) of a message instead of its
//! text. Messages of the application's own are sent by [`Outbox::send`](crate::outbox::Outbox::send).
//!
//! How templates are replaced, and how mail is set up, is on the guide page
//! [`guide::mail`](crate::guide::mail).

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

/// Whom a message goes to: exactly one mailbox or one phone.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recipient {
    /// A mail address.
    Email(String),
    /// A phone number in E.164 form.
    Phone(String),
}

impl Recipient {
    /// The mailbox of an account. None for a text that could be read as anything but one plain
    /// mailbox: addresses are checked when they are stored, and this is where they leave.
    pub(crate) fn email(address: &str) -> Option<Self> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\"(),:;<>[\\]".contains(c);
        let one = address.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        let one = one && !address.starts_with('-');
        (one && address.len() <= 254 && address.chars().all(plain))
            .then(|| Self::Email(address.to_owned()))
    }

    /// The phone of an account, under the same condition.
    pub(crate) fn phone(number: &str) -> Option<Self> {
        let digits = number.strip_prefix('+')?;
        let plain = (8..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| Self::Phone(number.to_owned()))
    }

    /// The address or number.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(text) | Self::Phone(text) => text,
        }
    }
}

// Addresses are personal data; they do not belong in a log by accident.
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email(_) => "Email(..)",
            Self::Phone(_) => "Phone(..)",
        })
    }
}

/// A message, ready to leave. It may carry a code or a link, so it never prints.
#[derive(Clone)]
#[non_exhaustive]
pub struct Message {
    /// Names it: the same at every try, so a receiver can tell a repetition.
    pub id: MessageId,
    /// What it is about.
    pub kind: MessageKind,
    /// Whom it goes to.
    pub to: Recipient,
    /// The name of the service, to show as the sender.
    pub from_name: String,
    /// The sender's address, if one is configured or follows from the public URL.
    pub from_address: Option<String>,
    /// Whose account it is about.
    pub account_id: Option<AccountId>,
    /// When it was put into the outbox.
    pub at: Timestamp,
    /// One line. Empty for a phone.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML. None for a phone.
    pub html: Option<String>,
    /// What filled the blanks of the templates.
    pub(crate) values: Values,
}

impl Message {
    /// A value of the template, such as `code` or `link`, for a provider that has templates of its own.
    /// The [guide](crate::guide::mail#your-own-templates) lists the names. Empty if the message has
    /// nothing to say there; none for a name that its kind does not have.
    ///
    /// A value may be a secret that signs in. Give it to the recipient only, and never to a log.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)
    }

    /// All values of the template with their names, in the order of the names.
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

/// Why a message did not leave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// It may leave later; it is tried again.
    #[error("the message could not be sent now")]
    Temporary(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It never will; it is given up.
    #[error("the message was refused for good")]
    Permanent(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl NotifyError {
    /// Try again later.
    pub fn temporary(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Temporary(error.into())
    }

    /// Give up.
    pub fn permanent(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Permanent(error.into())
    }
}

/// What sending comes to.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), NotifyError>> + Send + 'a>>;

/// Sends mail. It is called in a task of its own, within `mail.send_timeout`. Then it is dropped, so that
/// it sends nothing that is tried again. On MySQL and MariaDB do not ask the pool of the database in it:
/// a statement that is dropped half-way spoils its connection.
///
/// One that calls a program gives it the recipient on its standard input (`sendmail -t`), or as an
/// argument behind `--`, and never through a shell. No address of ours begins with `-` and no number with
/// anything but `+`, so neither is read as an option; but a mail address may have characters that mean
/// something to a shell, such as `|`, `$` or a backtick.
pub trait Notifier: Send + Sync + fmt::Debug + 'static {
    /// Sends one message.
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a>;

    /// Asked once by `build()`: why this notifier cannot work with that sender, if so.
    fn refuses(&self, sender: Option<&str>) -> Option<String> {
        let _ = sender;
        None
    }
}

/// Sends text messages to phones. It is called in a task of its own, within `mail.send_timeout`. What
/// [`Notifier`] says about programs holds here as well.
pub trait TextMessages: Send + Sync + fmt::Debug + 'static {
    /// Sends one message; its `text` is all there is.
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
