//! Mail and text messages: the set-up, and your own templates.
//!
//! # Setting it up
//!
//! Without a notifier, portcullis sends no messages and stores none. Choose one of these:
//!
//! | notifier | what it does |
//! |---|---|
//! | [`ConsoleNotifier`](crate::message::ConsoleNotifier) | prints messages, for development |
//! | [`FileNotifier`](crate::message::FileNotifier) | writes messages to files, for development |
//! | `SmtpNotifier` (feature `smtp`) | sends mail |
//! | your own [`Notifier`](crate::message::Notifier) | sends in another way, such as an HTTP service or a queue |
//! | your own [`TextMessages`](crate::message::TextMessages) | sends text messages to phones |
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<(), portcullis::ConfigErrors> {
//! use portcullis::Portcullis;
//! use portcullis::message::FileNotifier;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com")
//!     .notifier(FileNotifier::new("mail"))
//!     .configure(|config| {
//!         config.mail.service_name = Some("The Shop".to_owned());
//!         config.mail.sender = Some("no-reply@example.com".to_owned());
//!         config.mail.links.password_reset = "/new-password#token={token}".to_owned();
//!     })
//!     .build()?;
//! let worker = auth.clone();
//! tokio::spawn(async move { worker.outbox().run().await });
//! # Ok(())
//! # }
//! ```
//!
//! The last two lines deliver messages that a crashed node did not send. Without these lines,
//! portcullis still sends messages. But a message of a crashed node then waits until the next
//! message is put into the outbox.
//!
//! # Links
//!
//! Links are built from the configured public URL, never from the `Host` of a request. So `build()` fails if there
//! is a notifier but no public URL. The links lead to pages of your application (`config.mail.links`).
//!
//! - The page [`server_pages`](super::server_pages#pages-of-the-links) has a table of all links, with the path of
//!   each page, the route to which it posts, and the fields.
//! - Opening such a page must change nothing, because mail scanners open links too.
//! - The page takes the token after the `#`, which the browser sends to no server. It posts the token to the route
//!   when the user confirms.
//! - Send `Referrer-Policy: no-referrer` with the page if a script posts the token. A page with a
//!   form needs [another value](super::server_pages#headers).
//! - Pages without a script cannot read the part after the `#`. For them, use
//!   [`LinkConfig::in_query`](crate::config::LinkConfig::in_query), see
//!   [`server_pages`](super::server_pages).
//!
//! # Your own templates
//!
//! Each [kind](crate::MessageKind) of message has a text template and an HTML template. The first line of the
//! text is `Subject: …`. The HTML is put into `layout.html`. All of them are
//! [Jinja](https://docs.rs/minijinja) templates.
//!
//! Replace one with [`template`](crate::Builder::template), or several with a
//! [`template_folder`](crate::Builder::template_folder) that has files such as `password_reset.txt`. `build()`
//! renders every template with sample values, so it finds a misspelt name at the start.
//!
//! ```text
//! Subject: A new password for {{ service }}
//!
//! Open {{ link }} within {{ minutes }} minutes.
//! ```
//!
//! | value | messages | content |
//! |---|---|---|
//! | `service`, `service_url` | all | the name and the origin of the service |
//! | `at` | all | when it happened |
//! | `address` | notifications about an account | the client address, if known |
//! | `link`, `minutes` | requests for a confirmation | the link, and how long it is valid |
//! | `link`, `code`, `minutes` | `mail_login` | the link and the code of the sign-in, and how long they are valid |
//! | `code`, `minutes` | messages with a code | the code, and how long it is valid |
//! | `link`, `days` | `email_changed_undo`, `phone_changed_undo`, `login_name_added`, `factor_added`, `account_closed` | the link that undoes the change or reopens the account, and how long it is valid |
//! | `link`, `hours` | `recovery_opened`, `recovery_link` | the link to object and the hours of the delay; the link that sets a new password, and how long it is valid |
//! | `link` | `recovery_completed` | another link to object |
//! | `factor` | `factor_added`, `factor_removed` | which factor |
//! | `by_browser` | `factor_added` | true for a [passkey](crate::passkey#passkeys-that-the-browser-makes-by-itself) that a browser made by itself, which is no second factor |
//! | `linked` | `factor_added`, `factor_removed` | true for an [identity at a provider](crate::federation), which is no second factor either |
//! | `minutes` | `account_locked`, `second_factor_locked` | how long attempts are refused |
//! | `count`, `first`, `last` | `new_device_digest` | how many sign-ins there were, and the times of the first and the last one |
//! | `left` | `recovery_code_used` | how many codes are left |
//! | `name` | `api_key_issued`, `api_key_changed`, `api_key_expires` | the name of the API key |
//! | `days` | `api_key_expires` | in how many days the key ends |
//! | `days` | `trusted_device_added` | how long the device is trusted |
//! | `client` | `device_login` | the name of the program, from the configuration |
//! | `purpose` | `challenge_code` | what the code is for |
//!
//! HTML templates escape every value. The built-in templates contain no text that a stranger chose. A username such
//! as `evil.example` would become a link in many mail programs.
//!
//! If your mail provider has its own templates, it needs no text:
//! [`Message::value`](crate::Message::value) returns a value by its name, and
//! [`Message::values`](crate::Message::values) returns all of them. Codes and links are secrets:
//! send them to the recipient only, and never log them.
//!
//! # Your own messages
//!
//! The outbox also sends messages of your application. Declare a kind with its templates, then send it:
//!
//! ```no_run
//! # async fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use portcullis::message::{ConsoleNotifier, MessageKind, OwnMessage, Recipient};
//! use portcullis::Portcullis;
//!
//! const INVITATION: &str = "invitation";
//!
//! let text = "Subject: An invitation\n\n{{ inviter }} invites you to {{ service }}: {{ link }}";
//! let html = "{% extends 'layout.html' %}{% block content %}<a href=\"{{ link }}\">Join</a>{% endblock %}";
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com")
//!     .notifier(ConsoleNotifier)
//!     .template(MessageKind::Own(INVITATION), text, html)
//!     .build()?;
//!
//! let to = Recipient::Email("alice@example.com".to_owned());
//! let message = OwnMessage::new(INVITATION, to)
//!     .value("inviter", "Bob")
//!     .value("link", "https://example.com/join");
//! let _ = auth.outbox().send(message).await?;
//! # Ok(())
//! # }
//! ```
//!
//! In the outbox and in the log, the names of your kinds have the prefix `app:`. Their files in a
//! folder of templates have the prefix `app-` (`app-invitation.txt`). So your kinds never collide
//! with built-in kinds.
//!
//! `auth.outbox().within(&txn).send(..)` sends it only if your transaction commits. `send` fails if the template
//! uses a value that the message does not have, or if a value has more than 500 characters.
//!
//! # A page for the sign-in by mail
//!
//! If you mount [`mail_login::routes`](crate::mail_login::routes), the page `mail.links.login` gets the link of
//! the mail. It posts the token to `/auth/login/mail/confirm` when the user confirms, and continues with the
//! answer:
//!
//! | answer | the page |
//! |---|---|
//! | 200 `session`, or another result of a sign-in | continues as after `POST /login` |
//! | 200 `other_browser` | shows the `code`: "type this code where you asked for the mail" |
//! | 409 `link_used` | continues to the start page: this browser has just signed in |
//! | 403 `wrong_code` | offers a new mail |
//!
//! For pages without a script, see [`server_pages`](super::server_pages#sign-in-by-mail).
//!
//! The page where the user asked needs a field for the code. It posts to the same route. Warn
//! people there, as the mail does: nobody from your service will ask for this code.
//!
//! # Pages for changes of addresses and names
//!
//! A signed-in user requests a new address with `POST /auth/email`, and a further name with
//! `POST /auth/login-names`. Your application needs these pages:
//!
//! | page | opened from | posts the token to |
//! |---|---|---|
//! | `mail.links.email_confirm` | the mail to the new address | `/auth/email/confirm`, signed in as the user who requested it; after a 401 let the user sign in on this page |
//! | `mail.links.email_undo` | the mail to the old address | `/auth/email/undo`, without a session; after a 204 show the form for a forgotten password, because the person who changed the address may know the password |
//! | `mail.links.phone_undo` | the text message to the old number | `/auth/phone/undo` |
//! | `mail.links.login_name_confirm` | the mail to a further address (`POST /auth/login-names`) | `/auth/login-names/confirm`, signed in as the user who requested it |
//! | `mail.links.login_name_undo` | the mail about an added name | `/auth/login-names/undo`, without a session; after a 204 show the form for a forgotten password |
//! | `mail.links.factor_undo` | the mail about a new [second factor](crate::second_factor#undoing-a-new-factor) | `/auth/second-factor/undo`, without a session; after a 204 show the form for a forgotten password |
//!
//! If you mount the routes of [`own_account`](crate::own_account), your application also needs a page for
//! `mail.links.account_keep`. It is opened from the mail about a closed account, and posts the token to
//! `/auth/account/keep`, without a session. After a 204 show the form for a forgotten password, because the person
//! who closed the account may know the password.
//!
//! If you mount the routes of [`account_recovery`](crate::account_recovery), it needs
//! [two more pages](super::lost_access#the-pages-of-the-links).
//!
//! The page [`contact`](crate::contact) explains what ends a change, and why nobody can redirect it to another
//! address. The page [`login_name`](crate::login_name) explains what an account can do with several names.
//!
//! # Limits
//!
//! Anyone can request some messages: verification, a forgotten password, a sign-in by mail, a code.
//! Each recipient gets at most one message a minute and five an hour of each kind, also of your own
//! kinds. Above the limit, the answer to the request stays the same.
//!
//! Notifications about an account are always sent. Otherwise an attacker could hide them with many requests.
