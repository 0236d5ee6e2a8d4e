//! Every route: who may call it, what it takes, and what it answers.
//!
//! The table shows the paths before nesting. With `.nest("/auth", auth.routes())`, `/login` becomes
//! `/auth/login`. [`auth.routes()`](crate::Portcullis::routes) contains all routes that your
//! configuration allows, except those marked with a star. Mount these yourself:
//!
//! | routes | mount |
//! |---|---|
//! | `/session/anonymous` | [`anonymous::routes(&auth)`](crate::anonymous::routes) |
//! | `/login/mail`, `/login/mail/confirm` | [`mail_login::routes(&auth)`](crate::mail_login::routes) |
//! | `/account/recovery` and below | [`account_recovery::routes(&auth)`](crate::account_recovery::routes) |
//! | `/action-proofs`, `/action-proofs/{id}` | [`action_proof::routes(&auth, ["pay"])`](crate::action_proof::routes), with the actions for which proofs are issued |
//! | `/device` and below | [`device_login::routes(&auth)`](crate::device_login::routes) |
//! | `/.well-known/oauth-authorization-server` and below | [`device_login::well_known(&auth)`](crate::device_login::well_known), at the root |
//! | `/second-factor` and below, `/totp` and below, `/recovery-codes`, `/sent-codes` and below, `/trusted-devices` and below, `/reauthenticate/challenge` | [`second_factor::routes(&auth)`](crate::second_factor::routes) |
//! | `/passkeys` and below, `/login/passkey` and below | [`passkey::routes(&auth)`](crate::passkey::routes) |
//! | `/.well-known/webauthn` | [`passkey::well_known(&auth)`](crate::passkey::well_known), at the root |
//! | `/oauth` and below, `/pending-identity` and below | [`federation::routes(&auth)`](crate::federation::routes) |
//! | `/account`, `/account/keep`, `/account/export` | [`own_account::routes(&auth)`](crate::own_account::routes) |
//! | `/.well-known/change-password` | [`password_change::well_known(&auth)`](crate::password_change::well_known), at the root |
//!
//! # Who may call a route
//!
//! | word | meaning |
//! |---|---|
//! | anyone | everyone, with or without a session; the route may need a code or a password |
//! | signed in | an account that is signed in |
//! | owner(..) | the same, if the session is not limited, or if its ceiling covers the named permission; see [`owner`](crate::identity::owner) |
//! | stage(..) | a sign-in at this [stage](crate::Stage) |
//!
//! `DELETE /login-names/confirm` and `DELETE /login-names/undo` remove the names with this spelling, as
//! `DELETE /login-names/{name}` does for others.
//!
//! # Forms
//!
//! A form from a page of this service can be posted to each route with the method `POST` whose body may be a form. If
//! there is a login page, a browser then gets a redirect (303) instead of the answers below. See
//! [`page`](crate::page).
//!
//! # Error codes that many routes have
//!
//! | routes | codes |
//! |---|---|
//! | all | `rate_limited`, `overloaded`, `unavailable`, `internal_error` |
//! | all except `GET` | `cross_site_request` |
//! | those with a body | `invalid_body`, `body_too_large`, `unsupported_media_type` |
//! | those for accounts that are signed in | `not_signed_in`, `invalid_token`, `token_expired`, `session_ended`, `session_expired`, `session_suspicious`, `second_factor_required`, `password_change_required`, `enrolment_required`, `multiple_credentials`; with an [API key](crate::api_key) `session_required`, or `invalid_api_key`, `api_key_expired`, `api_key_revoked`, `api_key_account_unusable`; with a token that is [bound to a key](crate::dpop) `invalid_dpop_proof`, `use_dpop_nonce` |
//! | those for a sign-in at one stage alone | the same without the three codes that name a stage; `wrong_stage` |
//! | those for owners | `limited_session` |
//!
//! A [hook](crate::hook::Hooks) of your application can refuse with a code of its own. All codes are explained on
//! the page of [`errors`](super::errors).
//!
//! # All routes
//!
#![doc = include_str!("routes.md")]
//!
//! [`auth.guarded_routes()`](crate::Portcullis::guarded_routes) returns the same rows to your program. The
//! `description()` of a route has its body, its answers and its error codes.
