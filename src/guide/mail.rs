//! Mail and text messages: setting them up, saying them in your own words.
//!
//! # Setting it up
//!
//! Until there is a notifier nothing is sent and nothing is kept to be sent. While you develop, a
//! [`ConsoleNotifier`](crate::message::ConsoleNotifier) prints and a
//! [`FileNotifier`](crate::message::FileNotifier) writes files. With the feature `smtp` an
//! `SmtpNotifier` sends mail. For anything else (an HTTP service, a queue) implement
//! [`Notifier`](crate::message::Notifier); for phones, [`TextMessages`](crate::message::TextMessages).
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
//! The last two lines deliver what a node that crashed has left behind. Without them messages leave
//! all the same, but such a row waits until the next one is put in.
//!
//! # Links
//!
//! They are built from the configured public URL, never from a request's `Host`, so `build()` refuses
//! a notifier without one. They lead to pages of yours (`config.mail.links`). Opening such a page must
//! change nothing, because mail scanners open links too: the page takes the token from behind the `#`,
//! where it is sent to no server, and posts it to the route when the person confirms. Send
//! `Referrer-Policy: no-referrer` with it.
//!
//! # In your own words
//!
//! Each [kind](crate::MessageKind) has a text, whose first line is `Subject: …`, and HTML around which
//! `layout.html` is put. Both are [Jinja](https://docs.rs/minijinja) templates. Replace one by
//! [`template`](crate::Builder::template), or several by a
//! [`template_folder`](crate::Builder::template_folder) with files such as `password_reset.txt`.
//! `build()` renders every template with made-up values, so a misspelt name is found at start.
//!
//! ```text
//! Subject: A new password for {{ service }}
//!
//! Open {{ link }} within {{ minutes }} minutes.
//! ```
//!
//! | value | in | is |
//! |---|---|---|
//! | `service`, `service_url` | all | the name and the origin of the service |
//! | `at` | all | when it happened |
//! | `address` | what happened to an account | where it came from, if known |
//! | `link`, `minutes` | what asks for a confirmation | the link, and how long it is good |
//! | `code`, `minutes` | what asks for a code | the code, and how long it is good |
//! | `link`, `days` | `email_changed_undo`, `phone_changed_undo`, `login_name_added` | the way back, and how long it is good |
//! | `factor` | `factor_added`, `factor_removed` | which one |
//! | `left` | `recovery_code_used` | how many are left |
//! | `purpose` | `challenge_code` | what the code is for |
//!
//! In HTML every value is escaped. The built-in templates show nothing that a stranger has chosen:
//! a username such as `evil.example` would become a link in many mail programs.
//!
//! # A new address
//!
//! Someone signed in asks for one by `POST /auth/email`. Two pages of yours go with it:
//!
//! | page | is reached from | posts the token to |
//! |---|---|---|
//! | `mail.links.email_confirm` | the mail to the new address | `/auth/email/confirm`, signed in as the one who asked; after a 401 let the person sign in there |
//! | `mail.links.email_undo` | the mail to the old address | `/auth/email/undo`, without a session; after a 204 show the form for a forgotten password, for whoever has changed the address may know it |
//! | `mail.links.phone_undo` | the text message to the old number | `/auth/phone/undo` |
//! | `mail.links.login_name_confirm` | the mail to a further address (`POST /auth/login-names`) | `/auth/login-names/confirm`, signed in as the one who asked |
//! | `mail.links.login_name_undo` | the mail about a name that was added | `/auth/login-names/undo`, without a session; after a 204 show the form for a forgotten password |
//!
//! Why a change cannot be turned to another address, and what ends it, is on the page of
//! [`contact`](crate::contact); what an account may do with several names, on that of
//! [`login_name`](crate::login_name).
//!
//! # How many
//!
//! What strangers can ask for (verification, a forgotten password, a code) reaches one recipient at
//! most once a minute and five times an hour for each kind. The answer to the request is the same.
//! What happened to an account is always told; otherwise a flood of the first sort could hide it.
