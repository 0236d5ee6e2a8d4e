//! Anonymous sessions: they recognise a visitor again who has no account.
//!
//! # How it works
//!
//! 1. `POST /session/anonymous` starts a session. Or a handler takes a
//!    [`Visitor`](crate::guard::Visitor), which starts one if there is none. Both share one limit
//!    per source.
//! 2. [`AnonymousSession`](crate::AnonymousSession) extracts it. Every permission check fails.
//! 3. When the visitor registers or signs in, the account's session keeps the
//!    [lineage](crate::AnonymousSession::lineage_id) of the anonymous one. With
//!    [`on_session_replaced`](crate::Builder::on_session_replaced) your application can move the
//!    data that it stores by session id.
//!
//! # What it does not do
//!
//! It is off unless you mount its routes or a handler takes a `Visitor`: [`routes`] is not part of
//! [`Portcullis::routes`](crate::Portcullis::routes).
//!
//! # Routes
//!
//! `POST /session/anonymous`
//!
//! # Configuration
//!
//! [`session.anonymous_lifetime`](crate::config::SessionConfig::anonymous_lifetime) (default: 24
//! hours) and [`session.anonymous_per_minute`](crate::config::SessionConfig::anonymous_per_minute):
//! each source may start ten sessions a minute by default. All clients whose address is unknown may
//! start a hundred a minute together.
//!
//! # Events
//!
//! `session_created` with the detail `anonymous`.
//!
//! # Errors
//!
//! `rate_limited` (429), `already_signed_in` (409), `bearer_not_enabled` (400).

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;
