//! A notifier that sends mail by SMTP.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::runtime::Handle;

use super::{Message, Notifier, NotifyError, Sending};

/// The reason why an [`SmtpNotifier`] cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpError {
    /// TLS could not be set up: the host name or the certificate cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Unencrypted mail would leave this machine.
    #[error("unencrypted SMTP is allowed only to this machine")]
    NotLoopback,
}

/// Sends mail by SMTP, one mail at a time on each connection of a small pool.
///
/// The connection is encrypted, or nothing is sent: a server that does not offer STARTTLS gets
/// neither the password nor the mail. If the server rejects the recipient, the message is given up.
/// After any other error it is attempted again.
///
/// ```no_run
/// # fn example() -> Result<(), portcullis::message::SmtpError> {
/// use portcullis::message::SmtpNotifier;
///
/// let smtp = SmtpNotifier::starttls("smtp.example.com")?.credentials("user", "password");
/// # Ok(())
/// # }
/// ```
///
/// The sender is `mail.sender` in the configuration. This crate never logs what it sends. If you
/// turn on the feature `tracing` of `lettre`, that crate does, at debug level.
#[derive(Clone)]
#[must_use]
pub struct SmtpNotifier {
    host: String,
    builder: AsyncSmtpTransportBuilder,
    /// Created when there is something to send.
    connections: Arc<OnceLock<Connections>>,
    implicit: bool,
}

/// The pool, which closes its connections in a task when it is dropped. The last notifier may be
/// dropped outside of a runtime. So the runtime in which the pool was created is kept.
struct Connections {
    transport: Option<AsyncSmtpTransport<Tokio1Executor>>,
    runtime: Handle,
}

impl Drop for Connections {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.transport = None;
    }
}

impl SmtpNotifier {
    /// Connects to port 587, encrypted by STARTTLS.
    ///
    /// # Errors
    /// The host cannot be a name in a certificate.
    pub fn starttls(host: &str) -> Result<Self, SmtpError> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host).map_err(tls)?;
        Ok(Self::new(host, builder, false))
    }

    /// Connects to port 465, encrypted from the first byte.
    ///
    /// # Errors
    /// The host cannot be a name in a certificate.
    pub fn implicit_tls(host: &str) -> Result<Self, SmtpError> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::relay(host).map_err(tls)?;
        Ok(Self::new(host, builder, true))
    }

    /// Connects without encryption, to a mail server on this machine: `localhost` or a loopback
    /// address.
    ///
    /// # Errors
    /// The host is not on this machine.
    pub fn danger_plaintext(host: &str, port: u16) -> Result<Self, SmtpError> {
        let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !loopback {
            return Err(SmtpError::NotLoopback);
        }
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port);
        Ok(Self::new(host, builder, false))
    }

    fn new(host: &str, builder: AsyncSmtpTransportBuilder, implicit: bool) -> Self {
        let builder = builder.timeout(Some(Duration::from_secs(20)));
        Self { host: host.to_owned(), builder, connections: Arc::default(), implicit }
    }

    fn with(self, builder: AsyncSmtpTransportBuilder) -> Self {
        Self { builder, connections: Arc::default(), ..self }
    }

    /// Sets another port.
    pub fn port(self, port: u16) -> Self {
        let builder = self.builder.clone().port(port);
        self.with(builder)
    }

    /// Sets the user name and the password for the mail server.
    pub fn credentials(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let credentials = Credentials::new(user.into(), password.into());
        let builder = self.builder.clone().credentials(credentials);
        self.with(builder)
    }

    /// Also trusts this certificate (PEM), for a mail server with its own certificate authority.
    ///
    /// # Errors
    /// The text is not a certificate.
    pub fn trust_certificate(self, pem: &[u8]) -> Result<Self, SmtpError> {
        let certificate = Certificate::from_pem(pem).map_err(tls)?;
        let parameters = TlsParameters::builder(self.host.clone())
            .add_root_certificate(certificate)
            .build()
            .map_err(tls)?;
        let tls = if self.implicit { Tls::Wrapper(parameters) } else { Tls::Required(parameters) };
        let builder = self.builder.clone().tls(tls);
        Ok(self.with(builder))
    }

    /// Returns the pool. Call it inside a runtime.
    fn transport(&self) -> &AsyncSmtpTransport<Tokio1Executor> {
        let connections = self.connections.get_or_init(|| Connections {
            transport: Some(self.builder.clone().build()),
            runtime: Handle::current(),
        });
        connections.transport.as_ref().expect("only dropping takes it away")
    }

    async fn deliver(&self, message: &Message) -> Result<(), NotifyError> {
        let mail = mail(message).map_err(NotifyError::permanent)?;
        match self.transport().send(mail).await {
            Ok(_) => Ok(()),
            // 550, 551 and 553 mean that this mailbox does not exist. Any other rejection may be
            // about the sender.
            Err(error)
                if error
                    .status()
                    .is_some_and(|code| [550, 551, 553].contains(&u16::from(code))) =>
            {
                Err(NotifyError::permanent(error))
            }
            Err(error) => Err(NotifyError::temporary(error)),
        }
    }
}

fn tls(error: lettre::transport::smtp::Error) -> SmtpError {
    SmtpError::Tls(Box::new(error))
}

/// Builds the mail: one sender, one recipient, text and HTML.
fn mail(message: &Message) -> Result<lettre::Message, Box<dyn std::error::Error + Send + Sync>> {
    let from: Address = message.from_address.as_deref().unwrap_or_default().parse()?;
    let to: Address = message.to.as_str().parse()?;
    let millis = u64::try_from(message.at.as_millis()).unwrap_or(0);
    let id = format!("<{}@{}>", message.id, from.domain());
    let builder = lettre::Message::builder()
        .from(Mailbox::new(Some(message.from_name.clone()), from))
        .to(Mailbox::new(None, to))
        .subject(message.subject.clone())
        .date(UNIX_EPOCH + Duration::from_millis(millis))
        .message_id(Some(id))
        // RFC 3834: asks not to send automatic replies.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    let text = message.text.clone();
    Ok(match message.html.clone() {
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html))?,
        None => builder.body(text)?,
    })
}

impl Notifier for SmtpNotifier {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(self.deliver(message))
    }

    fn refuses(&self, sender: Option<&str>) -> Option<String> {
        match sender.map(str::parse::<Address>) {
            Some(Ok(_)) => None,
            Some(Err(_)) => Some("must be one plain address, such as no-reply@example.com".into()),
            None => Some("mail needs a sender, such as no-reply@example.com".into()),
        }
    }
}

// Written by hand: the transport contains the password.
impl fmt::Debug for SmtpNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpNotifier").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::MessageId;
    use crate::message::{MessageKind, Recipient};

    #[test]
    fn only_loopback_is_spoken_to_in_the_clear() {
        for host in ["localhost", "127.0.0.1", "127.0.0.7", "::1"] {
            assert!(SmtpNotifier::danger_plaintext(host, 25).is_ok(), "{host}");
        }
        for host in ["smtp.example.com", "localhost.example.com", "10.0.0.1", "0.0.0.0", ""] {
            assert!(SmtpNotifier::danger_plaintext(host, 25).is_err(), "{host}");
        }
    }

    #[test]
    fn a_notifier_prints_no_password() {
        let smtp = SmtpNotifier::starttls("smtp.example.com").expect("a name");
        let smtp = smtp.credentials("user", "hunter2hunter2").port(2525);
        assert_eq!(format!("{smtp:?}"), "SmtpNotifier { host: \"smtp.example.com\", .. }");
    }

    #[test]
    fn a_sender_is_needed() {
        let smtp = SmtpNotifier::implicit_tls("smtp.example.com").expect("a name");
        assert!(smtp.refuses(None).is_some());
        assert!(smtp.refuses(Some("no address")).is_some());
        assert!(smtp.refuses(Some("no-reply@example.com")).is_none());
    }

    fn message() -> Message {
        let at = Timestamp::from_millis(0);
        Message {
            id: MessageId::new(at),
            kind: MessageKind::PasswordChanged,
            to: Recipient::email("alice@example.com").expect("an address"),
            values: crate::message::Values::new(),
            from_name: "Example".to_owned(),
            from_address: Some("no-reply@example.com".to_owned()),
            account_id: None,
            at,
            subject: "Hello".to_owned(),
            text: "Hello.".to_owned(),
            html: None,
        }
    }

    #[test]
    fn a_notifier_can_be_dropped_after_its_runtime() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().expect("a runtime")
        };
        for runtime_first in [false, true] {
            // No server listens there, but the pool is created.
            let smtp = SmtpNotifier::danger_plaintext("127.0.0.1", 1).expect("loopback");
            let other = smtp.clone();
            let runtime = runtime();
            let sent = runtime.block_on(other.send(&message()));
            assert!(sent.is_err());
            if runtime_first {
                drop(runtime);
                drop((smtp, other));
            } else {
                drop((smtp, other));
                drop(runtime);
            }
        }
    }
}
