//! Mobile apps, and other clients with bearer tokens.
//!
//! Use bearer tokens for programs that are not browsers: mobile and desktop apps, and command-line tools. In a
//! browser, use the cookie, because no script can read it.
//!
//! # Turning them on
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<portcullis::Portcullis, portcullis::ConfigErrors> {
//! use portcullis::Portcullis;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://api.example.com")
//!     .configure(|config| config.service.bearer = true)
//!     .build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! Cookies keep working. All guards and extractors accept both. A request with both gets 400
//! `multiple_credentials`.
//!
//! # Signing in
//!
//! ```text
//! POST /auth/login
//! Content-Type: application/json
//! Portcullis-Device: <the device_token of an earlier sign-in, if there is one>
//!
//! { "login": "alice", "password": "…", "transport": "bearer" }
//!
//! 200
//! { "result": "session", "token": "eyJ…", "token_type": "Bearer", "expires_in": 900, "device_token": "eyJ…", … }
//! ```
//!
//! - `/auth/register`, `/auth/session/anonymous`, `/auth/verification/confirm`,
//!   `/auth/password/reset` and both routes of the [sign-in by mail](crate::mail_login) take
//!   `transport` too.
//! - If `result` is not `session`, the token is for the next step only, such as `password_change_required`. For
//!   `second_factor_required`, send the code to `POST /auth/second-factor/verify` with this token. The answer has the token
//!   of the session.
//! - Send the token with each request: `Authorization: Bearer eyJ…`. Such a request never gets a cookie.
//!
//! # Renewal
//!
//! A token is valid for 15 minutes. Unlike a cookie, it is not replaced by ordinary requests.
//!
//! 1. Before `expires_in` seconds are over, or after a 401 `token_expired`, call `POST /auth/session/refresh` with the
//!    present token. The answer has the next one.
//! 2. Store the new token before you use it. Then forget the old one.
//! 3. Let only one request renew at a time, and let the others wait for it.
//!
//! A lost answer does no harm: repeat the request with the old token (and with a new proof, if it is bound to a key). But if the old token is used
//! after the new one has been in use for a while, this looks like theft, and the session ends. So
//! do not keep copies of tokens.
//!
//! After 7 days without a renewal, and 30 days after the sign-in, the user must sign in again. `GET
//! /auth/session` shows these times.
//!
//! | answer | what the app does |
//! |---|---|
//! | 401 `token_expired` | renews the token once; if that is refused too, asks the user to sign in |
//! | 401 `insufficient_user_authentication` | asks for one of the `factors`; for the password: `POST /auth/reauthenticate`, which answers with a new `token` |
//! | 401 `use_dpop_nonce` | repeats the request at once, with a new proof and the nonce of the header `DPoP-Nonce` |
//! | 401 `invalid_dpop_proof` | makes a new proof, once; if that is refused too, reports a fault |
//! | 401 with any other code | asks the user to sign in; keeps the device token |
//! | 503, or no answer | keeps the token and tries again later |
//!
//! The answers to `PUT /auth/password` and to a change of the address contain a new `token` too.
//! Then the old one is no longer valid.
//!
//! # Storing tokens
//!
//! A thief can use a copy of a token. A program that signs in with [`device_login`](crate::device_login) can bind its token
//! to a [key](crate::dpop); then a copy is useless. Such a program makes a new proof for each attempt, also after a lost
//! answer or a 503.
//!
//! | platform | where |
//! |---|---|
//! | iOS, macOS | the keychain, with `kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly` |
//! | Android | a file that is encrypted with a key of the Android keystore, without backups |
//! | desktop | the keyring of the system |
//! | command line | a file that only its user can read (mode 600) |
//!
//! Do not write tokens to logs, crash reports or addresses.
//!
//! # The device token
//!
//! The device token gives no access. It shows that this account has signed in from this device
//! before. Send it with each sign-in. Then the owner gets no message about a new device, and can
//! sign in while strangers lock the account. Keep it when the user signs out. Replace it when an
//! answer has a new one.
//!
//! # The token of a trusted device
//!
//! If you use [trusted devices](crate::trusted_device), a second step with `"trust_device": true` can answer with
//! `trusted_device_token`. Send it with each sign-in, in the header `Portcullis-Trusted-Device`. The password is then
//! enough. Each use brings a new token, which replaces the stored one. Store it like the token of a session, and keep it
//! when the user signs out.
//!
//! # Apps that show web pages
//!
//! Some apps are web pages in a WebView. They have an origin of their own, such as `capacitor://localhost` or
//! `tauri://localhost`. There are two ways:
//!
//! - **Bearer tokens**, stored by the native part of the app. A request whose only credential is a
//!   token in a header needs no trusted origin, because no other page can make a browser send this
//!   token.
//! - **The cookie.** List the origin in `service.trusted_origins`. Set `cookie.same_site` to `none` and
//!   `cookie.partitioned` to `true`, because the page and the service are two sites. Not every WebView stores such a
//!   cookie, so test it on all your platforms.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<portcullis::Portcullis, portcullis::ConfigErrors> {
//! # use portcullis::Portcullis;
//! use portcullis::config::SameSite;
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://api.example.com")
//!     .configure(|config| {
//!         config.service.trusted_origins =
//!             ["capacitor://localhost", "tauri://localhost"].map(str::to_owned).to_vec();
//!         config.cookie.same_site = SameSite::None;
//!         config.cookie.partitioned = true;
//!     })
//!     .build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! Both ways need CORS, with the app's origin in `allow_origin`. For bearer tokens, add
//! `AUTHORIZATION` and `portcullis-device` to `allow_headers`, and `portcullis-trusted-device` for
//! [trusted devices](crate::trusted_device), and `portcullis-action-proof` for [action proofs](crate::action_proof). See
//! [`single_page`](super::single_page). Origins are compared exactly. Do not list
//! `http://localhost`. An app with this origin shares it with every program on the device that
//! serves pages there.
//!
//! # Signing out
//!
//! `POST /auth/logout` with the token ends the session on the server. Then delete the token on the device.
