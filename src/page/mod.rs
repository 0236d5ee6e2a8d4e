//! Pages without a script: forms that the mounted routes answer with redirects, and links in mails.
//!
//! Set a login page ([`Unauthenticated::LoginPage`](crate::config::Unauthenticated::LoginPage)).
//! Then your application only renders pages, and their forms post to the mounted routes.
//!
//! 1. A browser posts a form to a mounted route. A client counts as a browser if it sends
//!    `Sec-Fetch-Mode: navigate`. Without this header, it counts as one if it prefers HTML
//!    (`Accept`). All other clients get JSON, and so do all requests whose body is not a form.
//! 2. The route answers as usual. Its answer then becomes a redirect (303) with the same cookies.
//! 3. The redirect leads to a page of your application. If the route refused, this page shows what
//!    was wrong and what the user typed: [`FormFeedback`].
//!
//! ```html
//! <form method="post" action="/auth/login">
//!   <input name="login" autocomplete="username">
//!   <input name="password" type="password" autocomplete="current-password">
//!   <input name="next" type="hidden" value="/docs/1">
//!   <input name="back" type="hidden" value="/login">
//!   <button>Sign in</button>
//! </form>
//! ```
//!
//! | result | the browser goes to |
//! |---|---|
//! | done | `next`, else `/` |
//! | a new password is required | [`change_page`](crate::config::PasswordConfig::change_page), else the login page, with `?result=password_change_required` |
//! | another step is missing | the login page with `?result=second_factor_required` or `?result=enrolment_required` |
//! | a [mail for the sign-in](crate::mail_login) was sent, or another browser asked for it | `back`, else the login page, with `?result=mail_sent` or `?result=other_browser` |
//! | refused | `back`, else the login page, with `?error=<code>`, one of the [codes](crate::guide::errors) |
//! | refused, because nobody is signed in any more | the login page, and then back |
//! | refused, because a factor must be proved again | [`step_up_page`](crate::config::ServiceConfig::step_up_page), if there is one, and then back |
//!
//! `next` and `back` are fields of the form or parameters of its address. Only a path of this
//! service is accepted ([`ReturnTo`](crate::base::redirect::ReturnTo)); anything else is ignored.
//! So a form cannot be used to send a user to another site. A cross-site form, or a source that
//! sends too many requests, is refused earlier and gets the plain error.
//!
//! This works for all mounted routes with the method `POST` whose body may be a form. A form cannot
//! send `PUT` or `DELETE`, so these routes exist for forms only: `POST /password`, `POST
//! /sessions/end`, `POST /sessions/{id}/end`, `POST /totp/{id}/remove`, `POST
//! /sent-codes/{method}/remove`, `POST /trusted-devices/{id}/remove` and `POST
//! /trusted-devices/remove`.
//!
//! # What was typed
//! After a refusal a cookie keeps the message, and the fields that the page shows again: names,
//! mail addresses and phone numbers, never a password, a code or a token. The cookie is encrypted,
//! and valid for two minutes and for the page to which the redirect leads. So its content never
//! appears in an address, a log or the history of the browser.
//!
//! # Links
//! A page without a script cannot read the part of an address after the `#`. Use
//! [`LinkConfig::in_query`](crate::config::LinkConfig::in_query) together with [`LinkToken`].
//!
//! The guide page [`server_pages`](crate::guide::server_pages) shows how to build such pages.
//!
//! # What it does not do
//! - It renders no pages. The only texts for people are the messages of the errors.
//! - It does not redirect requests of `fetch`, htmx or a program.
//! - Some routes with another method have no `POST` for forms: `GET /account/export`, `DELETE
//!   /account`, `DELETE /phone` and `DELETE /login-names/{name}`. For these, write a handler that
//!   calls the flow.
//! - `POST /totp` and `POST /recovery-codes` take only JSON, because a redirect would lose the seed or
//!   the codes. For these, write a handler too: see
//!   [`server_pages`](crate::guide::server_pages#second-factors). The same holds for the challenge of a
//!   [factor of your own](crate::guide::server_pages#a-factor-of-your-own).

mod cookie;
mod feedback;
mod link;

pub use feedback::FormFeedback;
pub(crate) use feedback::plain_code;
pub use link::LinkToken;
