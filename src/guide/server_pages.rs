//! Pages that your server renders, without a script.
//!
//! The example [`pages`](https://github.com/portcullis-auth/portcullis/tree/main/examples/pages) is
//! a complete service that you can copy. The example
//! [`second-factor`](https://github.com/portcullis-auth/portcullis/tree/main/examples/second-factor) has the pages for
//! [second factors](#second-factors), such as the QR code and the recovery codes. The module page
//! [`page`](crate::page) has all rules.
//!
//! # Setting it up
//!
//! Configure the paths of your pages. Then your application only renders pages. Their forms post to
//! the mounted routes, which answer a browser with a redirect.
//!
//! ```no_run
//! # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
//! # -> Result<axum::Router, portcullis::ConfigErrors> {
//! use std::time::Duration;
//!
//! use axum::response::Html;
//! use axum::routing::get;
//! use portcullis::config::{LinkConfig, Unauthenticated};
//! use portcullis::message::ConsoleNotifier;
//! use portcullis::page::{FormFeedback, LinkToken};
//! use portcullis::{Portcullis, Requirement, public};
//! # fn render(template: &str, form: &FormFeedback, token: Option<&str>) -> Html<String> {
//! #     Html(format!("{template} {form:?} {token:?}"))
//! # }
//!
//! async fn login(form: FormFeedback) -> Html<String> {
//!     render("login.html", &form, None) // your template engine
//! }
//!
//! async fn reset(link: LinkToken, form: FormFeedback) -> Html<String> {
//!     render("reset.html", &form, link.as_str())
//! }
//!
//! let auth = Portcullis::builder(db)
//!     .secret(secret)
//!     .public_url("https://example.com")
//!     .notifier(ConsoleNotifier)
//!     .configure(|config| {
//!         config.service.unauthenticated = Unauthenticated::LoginPage("/login".to_owned());
//!         config.service.step_up_page = Some("/reauthenticate".to_owned());
//!         config.password.change_page = Some("/password".to_owned());
//!         config.mail.links = LinkConfig::in_query();
//!     })
//!     .build()?;
//! let recent = Requirement::within(Duration::from_secs(300));
//! Ok(auth
//!     .router()
//!     .auth_routes("/auth", auth.routes())
//!     .route("/login", get(login), public())
//!     .route("/password/reset", get(reset), public())
//!     .route("/danger", get(async || "asks for the password again after five minutes"), recent)
//!     .into_router())
//! # }
//! ```
//!
//! The pages `/reauthenticate`, `/password` and `/verify` are not shown here. Add them in the same
//! way. Also add a page for [each link](#pages-of-the-links) of the other flows that you mount.
//!
//! # Forms
//!
//! ```html
#![doc = include_str!("server_pages/login.html")]
//! ```
//!
//! - The fields have the names of the JSON body. A checkbox needs `value="true"`. Without the field `remember`, a
//!   form starts a session that ends when the browser is closed.
//! - `next` is the page after a success, and `back` is the page after a refusal. Both are paths of your service.
//! - After a refusal, `back` shows the message and what was typed. Passwords, codes and tokens are never kept.
//! - A reload never posts a form again, because each form ends in a redirect.
//! - Your template must escape values. Most engines do.
//!
//! | form | posts to | fields |
//! |---|---|---|
//! | register | `/auth/register` | `username`, `email`, `password`, `remember`; with a [captcha](crate::captcha#forms-without-a-script), if one is needed, also `captcha` and `captcha_id` |
//! | sign in | `/auth/login` | `login`, `password`, `remember`; `captcha` and `captcha_id` if needed |
//! | sign out | `/auth/logout` | |
//! | password again | `/auth/reauthenticate` | `password`, or `code` of a second factor, and `method` for a code that was sent or for `external` |
//! | [second step](#second-factors) of a sign-in, if mounted | `/auth/second-factor/verify` | `code`, `method` for a code that was sent or for `external`, and `trust_device` |
//! | send a code for the second step | `/auth/second-factor/challenge` | `method`: `mailed_code` or `texted_code` |
//! | send a code to prove a factor again | `/auth/reauthenticate/challenge` | `method` |
//! | confirm a new authenticator | `/auth/totp/confirm` | `id`, `code` |
//! | remove an authenticator | `/auth/totp/{id}/remove` | |
//! | remove a [trusted device](crate::trusted_device), or all | `/auth/trusted-devices/{id}/remove`, `/auth/trusted-devices/remove` | |
//! | use sent codes as a second factor | `/auth/sent-codes` | `method` |
//! | stop this | `/auth/sent-codes/{method}/remove` | |
//! | new password | `/auth/password` | `current_password`, `new_password`, `new_password_again` |
//! | forgotten password | `/auth/password/forgot` | `login`; `captcha` and `captcha_id` if needed |
//! | reset it | `/auth/password/reset` | `token`, `password`, `remember` |
//! | confirm an address | `/auth/verification/confirm` | `token`, `password` |
//! | end one session | `/auth/sessions/{id}/end` | |
//! | end the others, or all | `/auth/sessions/end` | `scope`: `others` (the default) or `all` |
//! | object to a [recovery](crate::account_recovery), signed in, if mounted | `/auth/account/recovery/reject` | |
//! | [sign in by mail](crate::mail_login), if mounted | `/auth/login/mail`, then `/auth/login/mail/confirm` | `login`, then `token` or `code`, and `remember` |
//!
//! A form cannot close or export an account, remove a phone number or a name, start to set up an authenticator, or make
//! recovery codes. Write a handler for these, which calls the flow: see [`page`](crate::page).
//!
//! # Second factors
//!
//! The example `second-factor` shows all of this. Mount [`second_factor::routes`](crate::second_factor::routes) beside
//! `auth.routes()`. A sign-in that is not complete then leads to your login page, which looks at `result` in its
//! address:
//!
//! | address | what your page shows |
//! |---|---|
//! | `?result=second_factor_required` | the form for the code, which posts to `/auth/second-factor/verify`. For a code that is sent, first a form that posts `method` to `/auth/second-factor/challenge`. Then the form for the code has the hidden field `method` too |
//! | `?result=enrolment_required` | a link to the page that sets up a second factor, or this page itself. A [role requires](crate::second_factor#roles-that-require-a-factor) one and the account has none, or the sign-in used the [last recovery code](crate::recovery_code#what-a-page-should-do) |
//!
//! - Without the field `method`, a code of eight digits is read as one of an authenticator, and is wrong.
//! - A [factor of your own](#a-factor-of-your-own) that asks something needs a handler.
//! - If [`PendingSession::offers_trust`](crate::PendingSession::offers_trust) is true, show a checkbox
//!   `trust_device` with `value="true"`, which is not ticked. See [`trusted_device`](crate::trusted_device).
//! - The forms that ask for a code end at `next`. Set `next` to the page with the form for the code.
//! - A guard that redirects such a sign-in to the login page adds only `?next=`. So let the login page also take
//!   `Option<EnrolmentSession>` and `Option<PendingSession>`, and show the same forms if one of them is there.
//! - `POST /auth/totp` takes only JSON, because a redirect would lose the seed. Your own handler calls
//!   [`auth.totp().start(..)`](crate::totp::Totp::start) and shows the answer as a page. Take the extractor
//!   [`FactorOwner`](crate::second_factor::FactorOwner): it accepts a session, and also a sign-in that must set up a
//!   factor. Give the route `any_session()`, because `Requirement::signed_in()` would refuse such a sign-in. The form of this page posts `id` and `code` to `/auth/totp/confirm`.
//! - `POST /auth/recovery-codes` takes only JSON too. Your own handler takes a
//!   [`FactorOwner`](crate::second_factor::FactorOwner) too, because a sign-in with the last code may make new ones. It
//!   calls [`auth.recovery_codes().generate(..)`](crate::recovery_code::RecoveryCodes::generate). The answer must contain
//!   the new session: return `(new.into_issued(), page)`.
//! - An account with a verified address must prove the mailbox before its first factor. So the set-up page needs the
//!   forms for `/auth/reauthenticate/challenge` and `/auth/reauthenticate`, with `method` = `mailed_code`. During a sign-in,
//!   the second one leads to `?result=enrolment_required` again. This is a success: show the set-up page.
//!
//! ## A factor of your own
//!
//! A [factor of your own](crate::second_factor#a-factor-of-your-own) that asks something needs your own handler,
//! because the redirect of `/auth/second-factor/challenge` would lose the question:
//!
//! ```no_run
//! use axum::Router;
//! use axum::response::Html;
//! use axum::routing::post;
//! use portcullis::second_factor;
//! use portcullis::{ClientInfo, PendingSession, Portcullis, Rejection, Stage, stage};
//! # fn render(template: &str, shown: &serde_json::Value) -> Html<String> {
//! #     Html(format!("{template} {shown}"))
//! # }
//!
//! /// The page of the second step posts here when the person chooses the card.
//! async fn question(
//!     auth: Portcullis,
//!     pending: PendingSession,
//!     client: ClientInfo,
//! ) -> Result<Html<String>, Rejection> {
//!     let asked = auth.second_factor().challenge_external(&pending, &client).await?;
//!     // Empty if the factor asks nothing.
//!     let shown = asked.map(|challenge| challenge.shown).unwrap_or_default();
//!     Ok(render("card.html", &shown)) // your template engine
//! }
//!
//! fn pages(auth: &Portcullis) -> Router {
//!     auth.router()
//!         .auth_routes("/auth", auth.routes().merge(second_factor::routes(auth)))
//!         .route("/second-step/card", post(question), stage(Stage::PendingSecondFactor))
//!         .into_router()
//! }
//! ```
//!
//! - It is a `POST`, because each new challenge counts for `factor.challenges` (ten an hour).
//! - The form of this page posts `code` and the hidden field `method` = `external` to `/auth/second-factor/verify`.
//! - After a wrong code, `back` must lead to a page that shows the question again, for example from a parameter of its
//!   address: `/second-step?cells=B4-E1-G7`. The same challenge can be answered five times.
//! - For a step-up, pass the [`Identity`](crate::Identity), and let the form post to `/auth/reauthenticate`. For the
//!   set-up, pass the [`FactorOwner`](crate::second_factor::FactorOwner), and let the form post to your own handler.
//!
//! # Guarded pages
//!
//! A guard redirects a browser to the login page or the step-up page, with `?next=`, for `GET` and
//! `HEAD`. A form that is posted to your own route gets the 401, because a redirect would lose what
//! was typed. To show such a refusal as a page, add a layer that looks for a
//! [`Rejection`](crate::Rejection) in the extensions of the answer. The example has one.
//!
//! Your own forms need no CSRF token. Guards and `public()` routes of `auth.router()` refuse forms
//! of other sites.
//!
//! # Links in mails
//!
//! By default, the token of a link is behind a `#`, and only a script can read it. With
//! [`LinkConfig::in_query`](crate::config::LinkConfig::in_query) it is in the query. The extractor
//! [`LinkToken`](crate::page::LinkToken) moves it into a cookie, and redirects to the same page without the token. Put
//! the token into a hidden field of the form.
//!
//! | | behind `#` | in the query |
//! |---|---|---|
//! | needs a script | yes | no |
//! | in the logs of your server and proxies | no | yes, once |
//! | in the `Referer` of later requests | no | no |
//! | in the address that the user sees | until the script removes it | no |
//!
//! A token in a log is a risk until its link is used or expires (after an hour for a reset). So do
//! not log the queries of these pages, or log them where only operators can read them. Opening a
//! link changes nothing, so a mail scanner may open it.
//!
//! # Pages of the links
//!
//! Each link opens one page of your application. Its form has the token in a hidden field:
//!
//! | link in `config.mail.links` | default page | the form posts to | fields besides `token` | who may post it |
//! |---|---|---|---|---|
//! | `verify` | `/verify` | `/auth/verification/confirm` | `password` of the account, unless this browser is signed in to it or [registered as a visitor](crate::anonymous); without it, the next step is a new password | anyone |
//! | `password_reset` | `/password/reset` | `/auth/password/reset` | `password`, `remember` | anyone |
//! | `login` | `/login/mail` | `/auth/login/mail/confirm` | `remember` | the browser that asked for the mail; [another one](#sign-in-by-mail) gets no session |
//! | `email_confirm` | `/email/confirm` | `/auth/email/confirm` | | the user who asked for the change, signed in |
//! | `email_undo` | `/email/undo` | `/auth/email/undo` | | anyone |
//! | `phone_undo` | `/phone/undo` | `/auth/phone/undo` | | anyone |
//! | `login_name_confirm` | `/login-names/confirm` | `/auth/login-names/confirm` | | the user who added the name, signed in |
//! | `login_name_undo` | `/login-names/undo` | `/auth/login-names/undo` | | anyone |
//! | `factor_undo` | `/second-factor/undo` | `/auth/second-factor/undo` | | anyone |
//! | `account_keep` | `/account/keep` | `/auth/account/keep` | | anyone |
//! | `recovery_object` | `/account/recovery/object` | `/auth/account/recovery/object` | | anyone |
//! | `account_recovery` | `/account/recovery` | `/auth/account/recovery/finish` | `password` | anyone |
//!
//! - "Anyone" means anyone who has the token. No session is required.
//! - If a user must sign in first, the form leads to the login page and then back to the page of the
//!   link. The page still has the token, because the cookie of `LinkToken` is valid for an hour.
//! - Do not send an empty field `password` to `/auth/verification/confirm`. It counts as a wrong
//!   password. Without a script, offer two forms: one with the field, and one without it.
//! - After an undo, lead to the form for a forgotten password (`next`). The person who made the
//!   change may know the password.
//! - Some links lead nowhere unless you mount their routes:
//!   [`mail_login::routes`](crate::mail_login::routes) for `login`,
//!   [`second_factor::routes`](crate::second_factor::routes) for `factor_undo`,
//!   [`own_account::routes`](crate::own_account::routes) for `account_keep`, and
//!   [`account_recovery::routes`](crate::account_recovery::routes) for the last two.
//!
//! The answers to a script are on the page [`mail`](super::mail#pages-for-changes-of-addresses-and-names).
//!
//! # Sign-in by mail
//!
//! You need two pages. One asks for the mail and takes the code. The link opens the other one.
//!
//! ```no_run
//! use axum::Router;
//! use axum::response::Html;
//! use axum::routing::get;
//! use portcullis::page::{FormFeedback, LinkToken};
//! use portcullis::{Portcullis, mail_login, public};
//! # fn render(template: &str, form: &FormFeedback, token: Option<&str>) -> Html<String> {
//! #     Html(format!("{template} {form:?} {token:?}"))
//! # }
//!
//! async fn ask(form: FormFeedback) -> Html<String> {
//!     render("by-mail.html", &form, None) // your template engine
//! }
//!
//! /// The page of `mail.links.login`. With `LinkConfig::in_query()` its path is `/login/mail`.
//! async fn link(link: LinkToken, form: FormFeedback) -> Html<String> {
//!     render("mailed-link.html", &form, link.as_str())
//! }
//!
//! fn pages(auth: &Portcullis) -> Router {
//!     auth.router()
//!         .auth_routes("/auth", auth.routes().merge(mail_login::routes(auth)))
//!         .route("/login/by-mail", get(ask), public())
//!         .route("/login/mail", get(link), public())
//!         .into_router()
//! }
//! ```
//!
//! The page that asks, `by-mail.html`. It comes back with the result `mail_sent` for every name:
//!
//! ```html
#![doc = include_str!("server_pages/by-mail.html")]
//! ```
//!
//! The page of the link, `mailed-link.html`:
//!
//! ```html
#![doc = include_str!("server_pages/mailed-link.html")]
//! ```
//!
//! The form is necessary. The link must not sign in when it is opened, because mail scanners open links too.
//!
//! # Headers
//!
//! ```text
//! Content-Security-Policy: default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
//! Referrer-Policy: same-origin
//! X-Content-Type-Options: nosniff
//! Cache-Control: no-store
//! ```
//!
//! Do not use `Referrer-Policy: no-referrer` for pages with forms. Browsers then send `Origin:
//! null` with a form. An old browser without `Sec-Fetch-Site` then cannot prove where the form came
//! from, and is refused.
