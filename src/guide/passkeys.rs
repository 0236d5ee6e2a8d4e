//! Passkeys in your pages: the script, the buttons, and what to tell people.
//!
//! [`passkey`](crate::passkey) is the manual: what is checked, and what a passkey is worth. This page has what a
//! service needs besides the routes.
//!
//! # The service
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<axum::Router, Box<dyn std::error::Error>> {
//! use portcullis::{Portcullis, passkey, second_factor};
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com") // on your own machine: http://localhost:3000
//!     .build()?;
//! let routes = auth.routes().merge(passkey::routes(&auth)).merge(second_factor::routes(&auth));
//! let script = axum::routing::get(async || ([("content-type", "text/javascript")], passkey::SCRIPT));
//! Ok(axum::Router::new()
//!     .nest("/auth", routes)
//!     .route("/passkeys.js", script)
//!     .merge(passkey::well_known(&auth)))
//! # }
//! ```
//!
//! # The script
//!
//! Passkeys need a script. This one has no dependencies, and is the constant
//! [`passkey::SCRIPT`](crate::passkey::SCRIPT). Serve it as `/passkeys.js`, with the content type `text/javascript`:
//!
//! ```js
#![doc = include_str!("../passkey/passkeys.js")]
//! ```
//!
//! If your pages have a `Content-Security-Policy`, `script-src 'self'` allows it.
//!
//! # The page for signing in
//!
//! ```html
//! <form method="post" action="/auth/login">
//!   <label>Name <input name="login" autocomplete="username webauthn" autofocus></label>
//!   <label>Password <input name="password" type="password" autocomplete="current-password"></label>
//!   <button>Sign in</button>
//! </form>
//! <button id="passkey" type="button">Sign in with a passkey</button>
//! <script type="module">
//!   import { passkeys } from "/passkeys.js";
//!   const passkey = passkeys();
//!   const field = new AbortController();
//!   const done = (answer) => {
//!     if (answer?.result === "session") location.assign("/");
//!     else if (answer) location.assign("/second-step");
//!   };
//!   passkey.signInFromField(field.signal).then(done, () => {});
//!   document.querySelector("#passkey").onclick = () => {
//!     field.abort();
//!     passkey.signIn().then(done, (error) => alert(error.message));
//!   };
//! </script>
//! ```
//!
//! The field offers the passkeys of this browser before anything is typed. The challenge behind it ends after five
//! minutes. If the page was open for longer, the answer is `passkey_challenge_ended`: call `signInFromField` again.
//!
//! # The page of an account
//!
//! - **Add**: `passkey.add("my phone")`. If the answer is `insufficient_user_authentication`, a factor must be proved
//!   first: see [step-up](crate::second_factor#step-up). For the first second factor of an account this is a
//!   [mailed code](crate::sent_code#the-first-second-factor-of-an-account).
//! - **List** `GET /auth/passkeys`. Show the name and when it was used last. `synced: true` means that it is on
//!   several devices of its owner. `second_factor: false` means that the browser made it by itself.
//! - **Remove** with `DELETE /auth/passkeys/{id}`, and pass the `signals` of the answer to the browser.
//! - After a sign-in with a password, call `passkey.addByBrowser("this browser")` and ignore its errors.
//!
//! Offer [recovery codes](crate::recovery_code) too. A person who loses the only device with a passkey needs another
//! way to prove who they are. A second passkey on another device is as good.
//!
//! # What to tell people
//!
//! - A passkey replaces the password here. They need their finger, face or PIN, and never type anything.
//! - After they have added one, the password alone is not enough any more. Set
//!   [`asked_after_password`](crate::config::PasskeyConfig::asked_after_password) to `false` if you do not want this.
//! - Someone who can unlock their device can use their passkeys.
//!
//! # Several hosts
//!
//! Passkeys belong to one domain for good. If people sign in at `app.example.com` and `www.example.com`, set
//! `passkey.rp_id` to `example.com`, and list the origin that is not `service.public_url` in
//! [`related_origins`](crate::config::PasskeyConfig::related_origins). A host under another domain, such as
//! `example.de`, is listed there too. Then the host of `rp_id` must serve
//! [`passkey::well_known`](crate::passkey::well_known), and the browser asks it. Browsers accept at most five
//! different domains.
//!
//! An app for Android states an origin of its own, and an app for iOS the one of its domain. List the first in
//! [`app_origins`](crate::config::PasskeyConfig::app_origins).
//!
//! # If it does not work
//!
//! | what you see | cause |
//! |---|---|
//! | the browser says `SecurityError` | the host of the page is not `rp_id` or below it, or is an IP address |
//! | 403 `passkey_not_accepted` with "the origin of the page" | `service.public_url` is not the address in the browser, with its port |
//! | 403 `passkey_challenge_ended` | the page waited for too long, the answer was sent twice, or the cookie of the challenge is missing: the page and the service have different hosts |
//! | 500 `passkeys_not_configured` | `service.public_url` is not set, or its host is an IP address |
//! | the browser offers no passkey | it was made for another domain, or on another device |
