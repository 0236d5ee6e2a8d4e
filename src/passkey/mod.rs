//! Passkeys: signing in without a password, a second factor that no false page can ask for, and a step-up
//! (Web Authentication Level 3). Feature `passkey`.
//!
//! A passkey is a key in an authenticator: a phone, a computer, a password manager or a security key. It belongs
//! to a domain, and the browser uses it only there. The server knows only the public key.
//!
//! - **Signing in** takes no name and no password. The browser shows which passkeys it has.
//! - **A second factor**: a passkey that the owner has added is asked for after the password, as an authenticator
//!   is. [`second_factor`](crate::second_factor) checks it, also for a step-up.
//! - **Two factors in one**: if the authenticator has verified its user by a PIN, a fingerprint or a face, a
//!   passkey alone completes the sign-in of an account that has second factors.
//!
//! # Turn it on
//! 1. Turn on the feature `passkey`, and apply the migrations. The tables come with `m0021_passkey`.
//! 2. Set `service.public_url` to the address that browsers show. Its host is the domain of all passkeys. An IP
//!    address is not a domain: on your own machine, open `http://localhost:3000` and not `http://127.0.0.1:3000`. If
//!    several subdomains share the accounts, set [`rp_id`](crate::config::PasskeyConfig::rp_id) to the domain
//!    above them before the first passkey is made.
//! 3. Mount the [routes](#routes), and those of [`second_factor`](crate::second_factor#routes).
//! 4. Build the pages. See [`passkeys`](crate::guide::passkeys), which has the script.
//!
//! # What is checked
//! - Each challenge has 256 random bits and a row. It is for one purpose, and for the browser or the session that
//!   asked. The first answer deletes it, right or wrong, so nothing can be sent twice. It ends after
//!   [five minutes](crate::config::PasskeyConfig::challenge_lifetime).
//! - The origin of the page must be that of `service.public_url`, or one that is listed. It is compared as a whole.
//!   A page that is embedded in a page of another origin is refused.
//! - The algorithm must be one of those that were asked for: Ed25519, ES256 on P-256, or RS256 with 2048 to 4096
//!   bits. No attestation is asked for, and none is trusted.
//! - The authenticator must have verified its user, unless
//!   [`user_verification`](crate::config::PasskeyConfig::user_verification) is `Preferred`. Then a passkey whose
//!   authenticator did not verify the user counts as one factor: a sign-in records [`UnverifiedPasskey`](crate::Factor::UnverifiedPasskey), and needs
//!   another factor if the account has one.
//! - An authenticator that counts its uses must count upwards. Otherwise there may be a copy of it, and the answer
//!   is `passkey_copied`. A passkey that can be synchronised may count anew after it was moved. It is accepted, and
//!   the audit log has an event.
//! - A passkey that could be synchronised and suddenly cannot is refused. If it becomes synchronised later, this is
//!   stored.
//!
//! At a second step and a step-up, a wrong signature and a passkey of another account are `wrong_code`, and count as
//! wrong codes. A challenge that is not open any more is `code_ended`. What is no fault of the person, such as a wrong
//! origin, is `passkey_not_accepted` and does not count.
//!
//! # What a change needs, and what it ends
//! - The same as for an [authenticator](crate::totp#what-a-change-needs-and-what-it-ends): a recent second factor,
//!   or a proof of the mailbox for the first one; no unverified main address; the owner is told, with a link that
//!   undoes it; all other sessions end.
//! - The first proof of the mailbox removes all passkeys that were added before it, because another person may have
//!   added them.
//! - The last one cannot be removed while a role of the account requires a factor, or if the account has neither a
//!   password nor a verified mailbox.
//!
//! # Passkeys that the browser makes by itself
//! Right after a sign-in with a password, a page can ask the browser to make a passkey without a question
//! (`mediation: 'conditional'`). The browser does so if its password manager has just filled in the password. The
//! password must have been proved in this session within the last minute.
//!
//! Nobody has confirmed such a passkey. So it is worth as much as the password: it signs in as one factor, it is
//! no second factor, and it does not change how anybody else signs in. It is deleted when the password is changed
//! or reset, because a thief of the password may have made it. Its owner is told by mail. To make it a second
//! factor, the owner removes it and adds another one.
//!
//! # Signals
//! Passkeys stay in the browser after they were removed here. So the answers of `POST /login/passkey` (when the sign-in
//! is complete), `GET /passkeys`, `POST /passkeys` and the removal have the member `signals`. After a change of the
//! password or of the mail address, call `GET /passkeys`. Pass its parts to `PublicKeyCredential.signalAllAcceptedCredentials` and
//! `signalCurrentUserDetails`. If a sign-in answers `unknown_credential`, call `signalUnknownCredential` with the
//! id. It deletes the passkey from the browser permanently, so do it for no other code. Portcullis answers so only if the
//! domain and the origin are right, and an account here has had passkeys of this user. So passkeys of another service
//! with the same domain, such as a test system, are not deleted. Those of an erased account stay in the browser.
//!
//! # Example
//!
//! ```no_run
//! use axum::Json;
//! use axum::response::IntoResponse;
//! use http::{Extensions, HeaderMap};
//! use portcullis::identity::owner::{AccountOwner, Factors};
//! use portcullis::passkey::{AddedPasskey, AuthenticationResponse, RegistrationResponse};
//! use portcullis::{ClientInfo, Portcullis, Rejection};
//!
//! async fn start(auth: Portcullis, client: ClientInfo) -> Result<impl IntoResponse, Rejection> {
//!     let (asked, browser) = auth.passkey_login().start(&client).await?;
//!     Ok((browser, Json(asked.options))) // the browser gets a cookie
//! }
//!
//! async fn sign_in(
//!     auth: Portcullis,
//!     client: ClientInfo,
//!     headers: HeaderMap,
//!     extensions: Extensions,
//!     Json(credential): Json<AuthenticationResponse>,
//! ) -> Result<impl IntoResponse, Rejection> {
//!     let flow = auth.passkey_login().replacing(&extensions).await?.with_cookie(&headers);
//!     Ok((flow.finish(&credential, &client).await?.outcome.into_issued(), "signed in"))
//! }
//!
//! async fn add(
//!     auth: &Portcullis,
//!     owner: AccountOwner<Factors>,
//!     client: &ClientInfo,
//!     credential: RegistrationResponse, // for the options of `auth.passkeys().start(&owner)`
//! ) -> Result<AddedPasskey, Rejection> {
//!     Ok(auth.passkeys().add(&owner, "my phone", &credential, client).await?)
//! }
//! ```
//!
//! # What it does not do
//! - It does not ask for attestation, so it cannot tell which models of authenticators are used.
//! - Only passkeys that need no name (discoverable ones) can be added.
//! - An application that checks passkeys itself uses [`Login::finish`](crate::login::Login::finish).
//!
//! # Routes
//! They are separate: `.nest("/auth", auth.routes().merge(portcullis::passkey::routes(&auth)))`.
//! - `POST /login/passkey/challenge` answers with `options` for `navigator.credentials.get`, and `expires_at`. It
//!   sets a cookie. With `transport: "bearer"` it answers with a `browser_token` instead.
//! - `POST /login/passkey` takes `credential`: what the browser returned, as `toJSON()` writes it. It also takes
//!   `remember`, `transport` and `browser_token`. It answers as `POST /login` does, with `signals`.
//! - `GET /passkeys` lists the passkeys: `id`, `name`, `created_at`, `last_used_at`, `second_factor`, `synced` (stored
//!   outside of its device too) and `aaguid` (the model of the authenticator).
//! - `GET /methods` of [`login`](crate::login) lists `passkey` if these routes are mounted.
//! - `POST /passkeys/challenge` answers with `options` for `navigator.credentials.create`.
//!   `POST /passkeys/challenge/conditional` does so for a passkey that the browser makes by itself.
//! - `POST /passkeys` takes `name` and `credential`. It answers 201 with `id` and `signals`, and as `POST /login`
//!   does if the session goes on as a new one.
//! - `PUT /passkeys/{id}/name`, and `POST /passkeys/{id}/name` for forms, take `name`.
//! - `DELETE /passkeys/{id}`, and `POST /passkeys/{id}/remove` for forms, answer as `POST /login` does.
//! - [`well_known`], at the root of the host, if there are related origins.
//!
//! The second step and the step-up are routes of [`second_factor`](crate::second_factor#routes), with the method
//! `passkey`.
//!
//! # Configuration
//! [`PasskeyConfig`](crate::config::PasskeyConfig); `service.public_url`; `session.recent_factor`.
//!
//! # Events
//! Those of every [sign-in](crate::login); `authn_login_fail` with the reason `passkey_copied`, `wrong_user` or
//! `unusable`; `user_updated` with the detail `factors enrolled`, `factors removed`,
//! `passkey made by the browser`, `passkey renamed` or `passkey counts anew`.
//!
//! # Errors
//! `insufficient_user_authentication` (401), `address_not_proved`, `limited_session`, `passkey_cannot_sign_in`,
//! `passkey_challenge_ended`, `passkey_copied`, `passkey_not_accepted`, `unknown_credential` (403),
//! `passkey_not_found` (404), `factor_required`, `last_way_in`, `passkey_already_added`, `session_limit`,
//! `too_many_passkeys` (409), `invalid_fields` (422), `rate_limited` (429), `passkeys_not_configured` (500).
//!
//! # Standard
//! Web Authentication Level 3 (W3C), sections 7.1, 7.2 and 14; OWASP ASVS 5.0 6.3 to 6.5; NIST SP 800-63B-4
//! 3.1.6 and 3.1.7.

use crate::handle::Portcullis;

mod assertion;
mod browser;
mod challenge;
pub(crate) mod entity;
mod error;
mod options;
mod registration;
#[cfg(feature = "routes")]
mod routes;
mod second_factor;
mod sign_in;
pub(crate) mod store;

pub use crate::webauthn::{AuthenticationResponse, PasskeyRefusal, RegistrationResponse};
pub(crate) use assertion::{RightPasskey, Shown, record_failure};
pub use browser::PasskeyBrowser;
pub use error::PasskeyError;
pub use options::{AcceptedPasskeys, PasskeyOptions, PasskeySignals, PasskeyUser};
pub use registration::{AddedPasskey, Passkey, RemovedPasskey};
#[cfg(feature = "routes")]
pub use routes::{routes, well_known};
pub use sign_in::{PasskeyLogin, PasskeySignIn};

/// A module for pages, with a function for each thing that a page does. See
/// [`passkeys`](crate::guide::passkeys).
pub const SCRIPT: &str = include_str!("passkeys.js");

/// Adds, lists, names and removes passkeys. See the [module page](self).
#[derive(Debug, Clone, Copy)]
pub struct Passkeys<'a> {
    auth: &'a Portcullis,
}

impl Portcullis {
    /// Returns the flows that add and remove passkeys.
    pub fn passkeys(&self) -> Passkeys<'_> {
        Passkeys { auth: self }
    }
}
