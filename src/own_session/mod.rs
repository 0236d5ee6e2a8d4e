//! One's own sessions: who am I, where else am I signed in, sign me out there.
//!
//! The flows are those of [`session`](crate::session); this is how they look from outside.
//!
//! # Routes
//! `GET /session`, `POST /session/refresh`, `GET /sessions`, `DELETE /sessions/{id}`,
//! `DELETE /sessions` (all others; with `?scope=all` this one too).
//!
//! # Errors
//! `session_not_found` (404), also for another account's session; `refresh_not_enabled` (400) where
//! tokens are not renewed.

#[cfg(feature = "routes")]
mod routes;
#[cfg(feature = "routes")]
pub use routes::routes;
