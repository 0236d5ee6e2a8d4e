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
//! A page with a `Content-Security-Policy` needs `script-src 'self'` and `connect-src 'self'`.
//!
//! # The page for signing in
//!
//! ```html
//! <form id="login">
//!   <label>Name <input name="login" autocomplete="username webauthn" autofocus></label>
//!   <label>Password <input name="password" type="password" autocomplete="current-password"></label>
//!   <button>Sign in</button>
//! </form>
//! <button id="passkey" hidden>Sign in with a passkey</button>
//! <p id="problem" role="alert"></p>
//! <script type="module" src="/sign-in.js"></script>
//! ```
//!
//! ```js
//! // sign-in.js
//! import { passkeys } from "/passkeys.js";
//! const passkey = passkeys();
//! const pages = { session: "/", second_factor_required: "/second-step",
//!   password_change_required: "/new-password", enrolment_required: "/set-up" };
//! const done = (answer) => answer && location.assign(pages[answer.result]);
//! const failed = (error) => {
//!   // The person has cancelled, or has chosen another way.
//!   if (["NotAllowedError", "AbortError"].includes(error.name)) return;
//!   document.querySelector("#problem").textContent = error.message;
//! };
//! let field;
//! function offer() {
//!   field = new AbortController();
//!   passkey.signInFromField(field.signal).then(done, failed);
//! }
//! offer();
//! const button = document.querySelector("#passkey");
//! button.hidden = !passkey.supported;
//! button.onclick = () => {
//!   field.abort(); // a browser asks for one thing at a time
//!   passkey.signIn().then(done, (error) => { failed(error); offer(); });
//! };
//! ```
//!
//! The field offers the passkeys of this browser before anything is typed. Abort it before the form of the password is
//! sent with `fetch`, too. The page `/second-step` calls `passkey.secondStep()`, if `methods` of the answer has `passkey`.
//! A page that asks for a factor again calls `passkey.stepUp()`, if `factors` has it.
//!
//! # After a sign-in with a password
//!
//! On the next page, and within a minute, call `passkey.addByBrowser("this browser")` and ignore its errors. The browser
//! may then make a [passkey by itself](crate::passkey#passkeys-that-the-browser-makes-by-itself).
//!
//! # The page of an account
//!
//! - **Add**: `passkey.add("my phone")`. If the answer is `insufficient_user_authentication`, a factor must be proved
//!   first: see [step-up](crate::second_factor#step-up). For the first second factor of an account this is a
//!   [mailed code](crate::sent_code#the-first-second-factor-of-an-account).
//! - **List** `GET /auth/passkeys`, and pass its `signals` to `passkey.tell(..)`. Show the name and when it was used last.
//!   `synced: true` means that it is stored outside of its device too. `second_factor: false` means that the browser made
//!   it by itself.
//! - **Remove** with `passkey.remove(id)`.
//!
//! Offer [recovery codes](crate::recovery_code) too. A person who loses the only device with a passkey needs another
//! way to prove who they are. A second passkey on another device is as good.
//!
//! # What to tell people
//!
//! - A passkey signs in without the password. They need their finger, face or PIN, and type nothing.
//! - After they have added one, the password alone is not enough any more. On a device without this passkey, they need
//!   another second factor, such as a recovery code. Set
//!   [`asked_after_password`](crate::config::PasskeyConfig::asked_after_password) to `false` if you do not want this.
//! - Someone who can unlock their device can use their passkeys.
//!
//! # Several hosts
//!
//! Passkeys belong to one domain, which cannot be changed later. If people sign in at `app.example.com` and `www.example.com`, set
//! `passkey.rp_id` to `example.com`, and list the origin that is not `service.public_url` in
//! [`related_origins`](crate::config::PasskeyConfig::related_origins). A host under another domain, such as
//! `example.de`, is listed there too. Then the host of `rp_id` must serve
//! [`passkey::well_known`](crate::passkey::well_known), and the browser asks it. Browsers accept at most five
//! different domains.
//!
//! A [page on another origin](super::single_page), such as `https://app.example.com` for a service at
//! `https://api.example.com`, needs `passkey.rp_id = "example.com"` and its own origin in `related_origins`. It calls
//! `passkeys("https://api.example.com/auth")`.
//!
//! One domain should have one database. A test system under the same domain does not know the passkeys of the other one.
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
