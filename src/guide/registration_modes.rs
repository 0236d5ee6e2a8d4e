//! Who may register: everyone (open or strict), nobody (closed), or only people that you invite.
//!
//! # The modes
//!
//! `config.login.registration` decides. If you do not set it, the mode is strict with `login.require_verified` and a
//! notifier, and otherwise open.
//!
//! | | open | strict | closed |
//! |---|---|---|---|
//! | who creates accounts | anyone | anyone | only your application |
//! | it needs | nothing | `login.require_verified` and a notifier | nothing |
//! | a registration needs | a username or an address | an address; a phone number is added later | |
//! | `POST /auth/register` with free names | 201 and a session; with `login.require_verified` 201 and no session | 202, no session | 403 `registration_closed` |
//! | with a known address | 409 `email_taken` | 202, the same answer; its owner gets a mail | 403 |
//! | with a known username | 409 `username_taken` | 409 `username_taken` | 403 |
//! | strangers learn who has an account | yes, but a source may find only 50 taken names an hour | only for usernames, which are public | no |
//! | first sign-in | at once, if `login.require_verified` is off | after the address is verified | as you decide |
//! | [sign-in by mail](crate::mail_login) creates accounts | if `mail.login_creates_accounts` is on | the same | never |
//! | method for your own handler | [`register`](crate::registration::Registration::register) | [`apply`](crate::registration::Registration::apply) | [`accounts().create(..)`](crate::account::Accounts::create), or with a password [`registration().create(..)`](crate::registration::Registration::create) |
//! | hooks of a registration | all | `before_register` for every address, `after_register` only if an account is created | none, except for the [first administrator](crate::bootstrap) |
//! | good for | games, forums, services without mail | services where having an account is private | companies, clubs, customers with a contract |
//!
//! The methods in the last column work in every mode. `GET /auth/methods` returns the mode, so a page knows whether
//! to show the form.
//!
//! # Only people that you invite
//!
//! 1. The mode is closed.
//! 2. Your application creates the account, with the address and without a password. It grants the roles.
//! 3. [`forgot`](crate::password_reset::PasswordReset::forgot) sends a link to the address. It opens the page
//!    `mail.links.password_reset`, where the person sets the first password. This also verifies the address.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use portcullis::account::NewAccount;
//! use portcullis::config::Registration;
//! use portcullis::message::{ConsoleNotifier, MessageKind};
//! use portcullis::{ClientInfo, ConfigErrors, Fault, Portcullis, Rejection, Secret};
//!
//! fn start(db: sea_orm::DatabaseConnection, secret: Secret) -> Result<Portcullis, ConfigErrors> {
//!     let text = "Subject: Your password for {{ service }}\n\n\
//!         Open this page within {{ minutes }} minutes to set your password:\n\n{{ link }}";
//!     let html = "{% extends 'layout.html' %}{% block content %}\
//!         <p><a href=\"{{ link }}\">Set your password</a> within {{ minutes }} minutes.</p>{% endblock %}";
//!     Portcullis::builder(db)
//!         .secret(secret)
//!         .public_url("https://example.com")
//!         .notifier(ConsoleNotifier)
//!         // The same mail goes to people who are invited and to people who forgot their password.
//!         .template(MessageKind::PasswordReset, text, html)
//!         .configure(|config| {
//!             config.login.registration = Registration::Closed;
//!             // At most one day.
//!             config.mail.password_reset_lifetime = Duration::from_secs(86_400);
//!         })
//!         .build()
//! }
//!
//! /// Call this behind a guard, such as `Requirement::permission("user:invite")`.
//! async fn invite(auth: &Portcullis, email: &str) -> Result<(), Rejection> {
//!     let txn = auth.begin().await?;
//!     let account = auth.accounts().within(&txn).create(NewAccount::email(email)).await?;
//!     auth.roles().within(&txn).grant(account.id(), "member").await?; // a role that you have created
//!     txn.commit().await.map_err(Fault::from)?;
//!     // Not the client of the request. It would count against the address of the administrator.
//!     auth.password_reset().forgot(email, &ClientInfo::default()).await?;
//!     Ok(())
//! }
//! ```
//!
//! - The link works once. If it has expired, the person uses "forgot password" on your page, and gets a new one. Your
//!   administrators can also call `forgot` again, at most once a minute and five times an hour for one address.
//! - `forgot` returns `Ok` even if no mail was sent, for example because the address got one a minute ago. Many
//!   invitations at once can reach the limits of unknown sources, or those of a captcha. Then it returns an error, and
//!   the account is there. Call `forgot` again later.
//! - The lifetime also applies to links for forgotten passwords. If you want to keep it short there, or need more than
//!   a day for invitations, send [your own message](super::mail#your-own-messages) instead. Its link leads to your page
//!   for "forgot password" or for the [sign-in by mail](crate::mail_login), where the person gets a fresh link. Such an
//!   invitation contains no secret and does not expire.
//! - With `NewAccount::email(..).verified()`, the address counts as verified from the start. Here it is better not to
//!   use it, because a mistyped address would then be trusted.
//! - To take an invitation back, [erase](crate::account::Accounts::erase) the account. Its name is then free again.
//! - Invitations that people accept by a link with a name of their choice, and lists of open invitations, are not
//!   part of portcullis yet.
//!
//! # Registration only for some people
//!
//! The open and the strict mode can refuse, in the hook [`before_register`](crate::hook::Hooks::before_register):
//! for example addresses of another domain than yours, or requests without a code that you gave out. The code comes in
//! the member `profile`, see [`existing_users`](super::existing_users#new-people-create-both-rows-or-none). A hook must
//! also decide about accounts that a sign-in by mail creates. Its
//! [`cause`](crate::hook::RegistrationCause) shows which kind it is, and these have no `profile`.
