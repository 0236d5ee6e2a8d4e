//! Anonymous sessions: a visitor who is recognised again but has no account.
//!
//! 1. `POST /session/anonymous` starts one; each source may start ten a minute, and all clients
//!    whose address is not known a hundred together.
//!    Or a handler takes a [`Visitor`](crate::guard::Visitor), which starts one where there is none,
//!    within the same limit.
//! 2. [`AnonymousSession`](crate::AnonymousSession) extracts it; every permission check fails.
//! 3. When the visitor registers or signs in, the account's session keeps its
//!    [lineage](crate::AnonymousSession::lineage_id), and
//!    [`on_session_replaced`](crate::Builder::on_session_replaced) lets the application move what
//!    hangs on it.
//!
//! Off unless its routes are mounted or a handler takes a `Visitor`: [`routes`] is not part of
//! [`Portcullis::routes`](crate::Portcullis::routes).
//!
//! # Routes
//! `POST /session/anonymous`
//!
//! # Errors
//! `rate_limited` (429), `already_signed_in` (409).

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;
