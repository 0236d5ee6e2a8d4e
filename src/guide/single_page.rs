//! A single-page application on another port or host.
//!
//! If the page and the service have the same origin, you need nothing from here. A reverse proxy
//! that serves both under one host is the simplest and safest set-up.
//!
//! # Two lists of origins
//!
//! | question | who answers it |
//! |---|---|
//! | May the page *read* the answers? | CORS: a layer of your application |
//! | May the page *write* with the user's cookie? | `service.trusted_origins` |
//!
//! Links in mails begin with `mail.link_origin` (`PORTCULLIS_MAIL_LINK_ORIGIN`). Without it they begin with the public
//! URL, where your service has no pages.
//!
//! You need both. A page that is only in the first list gets 403 `cross_site_request`. A page that is only in the
//! second one cannot read what it gets.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<axum::Router, Box<dyn std::error::Error>> {
//! use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
//! use axum::http::{HeaderValue, Method};
//! use axum::routing::get;
//! use portcullis::{Account, Portcullis, Requirement};
//! use tower_http::cors::CorsLayer;
//!
//! const PAGE: &str = "https://app.example.com";
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://api.example.com")
//!     .configure(|config| {
//!         config.service.trusted_origins = vec![PAGE.to_owned()];
//!         config.mail.link_origin = Some(PAGE.to_owned()); // links in mails open the page
//!     })
//!     .build()?;
//! let cors = CorsLayer::new()
//!     .allow_origin(PAGE.parse::<HeaderValue>()?) // never a wildcard, and never any origin
//!     .allow_credentials(true)
//!     .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
//!     .allow_headers([CONTENT_TYPE]) // and `portcullis-action-proof`, if routes need action proofs
//!     .expose_headers([RETRY_AFTER]);
//! Ok(auth
//!     .router()
//!     .route("/me", get(async |me: Account| me.id().to_string()), Requirement::signed_in())
//!     .auth_routes("/auth", auth.routes())
//!     .into_router()
//!     .layer(cors)) // outside of all guards
//! # }
//! ```
//!
//! A preflight has no cookie. So the `CorsLayer` must be outside of the guards, or they answer it with 401. The layer
//! also adds its headers to refusals, so that the page can read their codes.
//!
//! A listed origin may do everything that the signed-in user may do. List only origins where you control all code.
//!
//! # The cookie
//!
//! Browsers distinguish an origin (scheme, host and port) from a site (scheme and registered domain).
//!
//! | page and service | one site? | setting |
//! |---|---|---|
//! | `https://app.example.com`, `https://api.example.com` | yes | `SameSite=Lax`, the default |
//! | `http://127.0.0.1:5173`, `http://127.0.0.1:3000` | yes | the default |
//! | `http://localhost:5173`, `http://127.0.0.1:3000` | no | use one name for both |
//! | `https://app.example.com`, `https://api.example.net` | no | `cookie.same_site = none` and `cookie.partitioned = true` |
//!
//! Chromium 156 stores no ordinary cookie of another site. It stores a partitioned one, which
//! belongs to this page and service together. Other browsers can be stricter. So prefer two host
//! names under one domain.
//!
//! On one site, the cookie is also sent with requests from pages that you did not list, such as
//! another port or subdomain. They cannot read the answers, and cannot write: without a listed
//! `Origin`, a request with the cookie and an unsafe method is refused, even if the browser says
//! `same-site`. A `GET` is not checked, so it must change nothing.
//!
//! # A small wrapper around `fetch`
//!
//! Send `credentials: "include"` with each request. Without it, the browser neither sends nor stores the cookie. The
//! tests of portcullis run this file in a real browser.
//!
//! ```js
#![doc = include_str!("single_page.js")]
//! ```
//!
//! | answer | what the wrapper does |
//! |---|---|
//! | 401 `insufficient_user_authentication` | asks for the password, posts it to `/auth/reauthenticate`, and sends the request again |
//! | 401 `invalid_credentials` | throws it, for the login form |
//! | 401 `enrolment_required` | calls `showSetUp`, and throws it. A session that was full gets this answer too, after a role that requires a second factor was granted |
//! | any other 401 | shows the login form. Do not delete cookies: the browser may already have a newer one |
//! | 403, 409, 422, 429, 503 | throws it: `code` is for the program, `message` for people, and `errors` has the reasons of each field |
//!
//! `factors` in the 401 lists the factors of this account that help. If `password` is not in the list, the wrapper
//! throws the answer. Ask for a code then: see [below](#second-factors-and-captchas).
//!
//! A sign-in can answer 200 with the `result` `second_factor_required`, `password_change_required` or
//! `enrolment_required`. Show the page of that step: there is no session yet, and other requests get 401 with the same
//! word as their `code`.
//!
//! # Second factors and captchas
//!
//! Both are off until you mount [`second_factor::routes`](crate::second_factor::routes) or give the builder a
//! [captcha](crate::captcha). Then the page needs more steps:
//!
//! | answer | what the page does |
//! |---|---|
//! | 200 `second_factor_required` | shows a field for a code, and posts it as `code` to `/auth/second-factor/verify`. The answer is one of a sign-in: usually `session`. If `methods` has only a [code that is sent](#codes-that-are-sent), or [`external`](#a-factor-of-your-own), ask for it first |
//! | 200 or 401 `enrolment_required` | shows the page that [sets up a second factor](#setting-up-a-required-factor) |
//! | 403 `wrong_code` of that route | lets the user type the next code. The unfinished sign-in stays |
//! | 401 `insufficient_user_authentication` without `password` in `factors` | asks for a code, and posts it as `code` to `/auth/reauthenticate`. The wrapper throws this answer. If `factors` has only a [code that is sent](#codes-that-are-sent), or [`external`](#a-factor-of-your-own), ask for it first |
//! | 401 `insufficient_user_authentication` with an empty `factors` | shows the page that sets up one of `enrol`. A code does not help: the account has none of these factors |
//! | 403 `captcha_required` or `wrong_captcha` | posts `action` from the member `captcha` to `/auth/captcha`, shows the new captcha, and sends the same request again with it. The error of the wrapper has this member |
//!
//! A picture is at `image` in the answer of `/auth/captcha`, relative to `/auth/`. Send the digits as `captcha`, with its
//! `captcha_id`. The page shows it with an ordinary `<img>`, so its content security policy must allow images of the
//! service. A widget of a provider or of ALTCHA needs its own script in the policy.
//!
//! ## Codes that are sent
//!
//! A mailed or texted code is sent only after the page asks for it, and the page must name its `method`. Without
//! `method`, a code of eight digits is read as one of an authenticator, and is wrong.
//!
//! | | to prove a factor again | at the second step of a sign-in |
//! |---|---|---|
//! | when | 401 `insufficient_user_authentication` with `"factors": ["mailed_code"]` | 200 `second_factor_required` with the method `mailed_code` |
//! | ask for the code | `POST /auth/reauthenticate/challenge` | `POST /auth/second-factor/challenge` |
//! | the body | `{"method": "mailed_code"}` | the same |
//! | send the code | `POST /auth/reauthenticate` | `POST /auth/second-factor/verify` |
//! | the body | `{"method": "mailed_code", "code": "…"}` | the same |
//!
//! The answer to the first request is 202. Show its `target`, which tells the person where to look. The first
//! `POST /auth/totp` of an account with a verified address usually needs a mailed code in this way.
//!
//! ## A factor of your own
//!
//! A [factor of your own](crate::second_factor#a-factor-of-your-own) is called `external` in `methods` and `factors`.
//! The requests are those for [codes that are sent](#codes-that-are-sent), with `"method": "external"`. If the factor
//! asks something, ask for the challenge first:
//!
//! | answer | what the page does |
//! |---|---|
//! | 202 with `challenge` and `expires_at` | shows what the challenge asks, with a field for the code. After `expires_at`, ask for a new one |
//! | 202 with `"challenge": null` | shows only the field: the factor asks nothing |
//! | 429 `too_soon` | waits for as long as `Retry-After` says, or offers another method |
//! | 503 `external_factor_unavailable` | says so, and offers another method |
//!
//! - Keep the challenge on the page. After 403 `wrong_code` it can be answered again. After 403 `code_ended`, which
//!   comes after five tries, ask for a new one.
//! - Each new challenge counts for `factor.challenges`: ten an hour. So ask for one when the person chooses this
//!   method, and not when the page opens.
//! - No mounted route sets the factor up. Your own routes do, with the extractor
//!   [`FactorOwner`](crate::second_factor::FactorOwner).
//!
//! ## Trusted devices
//!
//! If `GET /auth/second-factor` answers with `"offers_trust": true`, show a box "trust this device", which is not
//! ticked. If the person ticks it, send `"trust_device": true` with the code. The answer has `trusted_device`. See
//! [`trusted_device`](crate::trusted_device).
//!
//! ## Setting up a required factor
//!
//! A [role can require](crate::second_factor#roles-that-require-a-factor) a second factor. If the account has none that
//! is strong enough, its sign-in answers `enrolment_required`. Show your set-up page, and not the login form:
//!
//! 1. Send `POST /auth/totp` with `{"name": "My phone"}`. With the feature `qr`, add `"qr": true`.
//! 2. If the answer is 401 with `"factors": ["mailed_code"]`, send `POST /auth/reauthenticate/challenge` with
//!    `{"method": "mailed_code"}`. Let the person type the code, and send `POST /auth/reauthenticate` with
//!    `{"method": "mailed_code", "code": "…"}`. It answers 200 with the `result` `enrolment_required` again. This is a
//!    success. Then repeat the first step.
//! 3. The answer is 201. Show `qr_svg` as a picture, or `secret` as a text. Keep `id`.
//! 4. Send `POST /auth/totp/confirm` with `{"id": "…", "code": "123456"}`. It answers with the `result` `session`: the
//!    person is signed in. After 403 `wrong_code`, let the person type the next code.
//!
//! - The sign-in lives for `session.pending_lifetime` (10 minutes). A mailed code does not prolong it. Afterwards the
//!   answer is 401 `token_expired`, and the person signs in again.
//! - The password or the mailed code must be at most `session.recent_factor` old (5 minutes), also in step 4. Otherwise
//!   the answer is 401 `insufficient_user_authentication`.
//! - A sign-in with the last recovery code answers `enrolment_required` too, with `recovery_codes_left` 0. It needs no
//!   mailed code. Show [both ways to go on](crate::recovery_code#what-a-page-should-do).
//! - At this stage, `GET /auth/totp`, `GET /auth/session` and `PUT /auth/password` answer 401 `enrolment_required`. Do
//!   not call them from the set-up page.
//! - `POST /auth/reauthenticate` takes no password at this stage. Without a mailed code, the person signs in again.
//! - `POST /auth/logout` ends the sign-in.
//!
//! # What you do not need
//!
//! - No CSRF token: headers that the browser sets prove where a request comes from.
//! - No token in `localStorage`: a script of another party could read it. The cookie is `HttpOnly`.
//! - No renewal: the answer to a request with an expired token contains the next token.
