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
//!    address is none: on your own machine, open `http://localhost:3000` and not `http://127.0.0.1:3000`. If
//!    several subdomains share the accounts, set [`rp_id`](crate::config::PasskeyConfig::rp_id) to the domain
//!    above them before the first passkey is made.
//! 3. Mount the [routes](#routes), and those of [`second_factor`](crate::second_factor#routes).
//! 4. Build the pages. See [`passkeys`](crate::guide::passkeys), which has the scripts.
//!
//! # What is checked
//! - Each challenge has 256 random bits and a row. It is for one purpose, and for the browser or the session that
//!   asked. The first answer deletes it, right or wrong, so nothing can be sent twice. It ends after
//!   [five minutes](crate::config::PasskeyConfig::challenge_lifetime).
//! - The origin of the page must be that of `service.public_url`, or one that is listed. It is compared as a whole.
//!   A page that is embedded in another one is refused.
//! - The algorithm must be one of those that were asked for: Ed25519, ES256 on P-256, or RS256 with 2048 to 4096
//!   bits. No attestation is asked for, and none is trusted.
//! - The authenticator must have verified its user, unless
//!   [`user_verification`](crate::config::PasskeyConfig::user_verification) is `Preferred`. Then a passkey that did
//!   not is one factor: a sign-in records [`UnverifiedPasskey`](crate::Factor::UnverifiedPasskey), and needs
//!   another factor if the account has one.
//! - An authenticator that counts its uses must count upwards. Otherwise there may be a copy of it, and the answer
//!   is `passkey_copied`. A passkey that can be synchronised may count anew after it was moved. It is accepted, and
//!   the audit log has an event.
//! - A passkey that could be synchronised and suddenly cannot is refused. The other way round is stored.
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
//! Passkeys stay in the browser after they were removed here. So each answer that concerns them has the member
//! `signals`. Pass its parts to `PublicKeyCredential.signalAllAcceptedCredentials` and
//! `signalCurrentUserDetails`. If a sign-in answers `unknown_credential`, call `signalUnknownCredential` with the
//! id. It deletes the passkey from the browser for good, so do it for no other code. Portcullis checks the
//! domain and the origin first, so a wrong setting never answers `unknown_credential`.
//!
//! # Example
//!
//! ```no_run
//! use portcullis::passkey::{AuthenticationResponse, PasskeySignIn};
//! use portcullis::{ClientInfo, Portcullis, Rejection};
//!
//! async fn sign_in(
//!     auth: &Portcullis,
//!     client: &ClientInfo,
//!     headers: &http::HeaderMap,
//!     credential: AuthenticationResponse,
//! ) -> Result<PasskeySignIn, Rejection> {
//!     Ok(auth.passkey_login().with_cookie(headers).finish(&credential, client).await?)
//! }
//! ```
//!
//! # What it does not do
//! - It does not ask for attestation, so it cannot tell which models of authenticators are used.
//! - A sign-in takes no name. A key that needs one (not discoverable) can only be a second factor.
//! - An application that checks passkeys itself uses [`Login::finish`](crate::login::Login::finish).
//!
//! # Routes
//! They are separate: `.nest("/auth", auth.routes().merge(portcullis::passkey::routes(&auth)))`.
//! - `POST /login/passkey/challenge` answers with `options` for `navigator.credentials.get`, and `expires_at`. It
//!   sets a cookie. With `transport: "bearer"` it answers with a `browser_token` instead.
//! - `POST /login/passkey` takes `credential`: what the browser returned, as `toJSON()` writes it. It also takes
//!   `remember`, `transport` and `browser_token`. It answers as `POST /login` does, with `signals`.
//! - `GET /passkeys` lists the passkeys.
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
pub(crate) use assertion::{RightPasskey, Shown};
pub use browser::PasskeyBrowser;
pub use error::PasskeyError;
pub use options::{AcceptedCredentials, PasskeyOptions, PasskeySignals, UserDetails};
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
